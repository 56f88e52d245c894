//! What can be asked of a channel, and what the chain can tell about it.

use super::event::ChainPosition;
use super::outcome::{Outcome, RequestKey};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::{Verified, Voucher};

/// Limits that the operator sets; rules, not facts, so they are no part of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The least by which a new voucher must exceed the accepted amount (`minVoucherDelta`).
    pub voucher_delta_min: Amount,
    /// How long a finished paid request is answered again, in seconds. Its key then names a new request.
    pub outcome_age_s_max: u64,
}

/// [`Policy::outcome_age_s_max`] when the operator says nothing: a day. No client retries longer.
pub const OUTCOME_AGE_S_MAX_DEFAULT: u64 = 86_400;

impl Default for Policy {
    fn default() -> Self {
        Self { voucher_delta_min: Amount::ZERO, outcome_age_s_max: OUTCOME_AGE_S_MAX_DEFAULT }
    }
}

impl Policy {
    /// Whether a retry of this request is still answered with its outcome. A clock that went back forgets nothing.
    pub const fn remembers(&self, outcome: &Outcome, now: UnixSeconds) -> bool {
        now.0.saturating_sub(outcome.at.0) <= self.outcome_age_s_max
    }
}

/// One step that is asked of a channel.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take a voucher and, in the same step, pay for a request with it (rule 5).
    Accept {
        /// The voucher; that it is verified is its type.
        voucher: Verified<Voucher>,
        /// What the voucher is to pay for at once.
        then: Spend,
    },
    /// Pay from what was accepted before, without a new voucher.
    Spend(Spend),
    /// Charge a running request for units that are about to be delivered, from its reservation
    /// first and from what is available after that.
    Capture {
        /// The request.
        key: RequestKey,
        /// What these units cost.
        amount: Amount,
        /// How many units.
        units: u64,
        /// True when the request is over: the rest of its reservation is released and its outcome
        /// is kept for retries.
        finish: bool,
    },
    /// End a running request. What it captured stays; if it captured nothing, it may be tried again.
    Release {
        /// The request.
        key: RequestKey,
    },
    /// End every running request: after a restart nobody is left to deliver to (same rule as
    /// [`Command::Release`]).
    ReleaseAll,
    /// The chain says: the escrow now holds `deposit` in all. A total, so a repeated or late word
    /// does no harm.
    ToppedUp {
        /// The new total.
        deposit: Amount,
        /// Where the chain said so.
        position: ChainPosition,
        /// True when the same step cancelled a close request.
        cancels_close: bool,
    },
    /// The chain says: the payer asked to close at `at`.
    CloseRequested {
        /// The block's timestamp.
        at: UnixSeconds,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The chain says: the close request was cancelled.
    CloseRequestCancelled {
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The chain says: `settled` was paid out in all.
    Settled {
        /// The new total.
        settled: Amount,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The chain says: the channel is over (closed or withdrawn).
    Closed {
        /// What the payee got over the channel's whole life.
        captured: Amount,
        /// What the payer got back at the end.
        refunded: Amount,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// Keep no more of a channel than a tombstone, when it closed before this time; otherwise nothing changes.
    Retire {
        /// By our clock.
        closed_before: UnixSeconds,
    },
    /// Begin to close: fixes what is claimed and stops service until the chain has spoken.
    BeginClose(CloseReason),
    /// The close did not and will not happen (refused before broadcast, reverted, or expired).
    AbortClose,
    /// Say with which voucher a `settle` may go to the chain; changes nothing.
    PlanSettle,
    /// Say what the books hold; changes nothing.
    Read,
}

/// What a request asks to be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// Nothing: a management request.
    Nothing,
    /// A whole price at once.
    Charge {
        /// The paid request: charged once, whatever is retried (rule 8). Without a name no outcome is kept,
        /// and the same call twice charges twice: for a service that bills what it delivered and retries
        /// nothing, such as by the token.
        key: Option<RequestKey>,
        /// The price.
        amount: Amount,
        /// Units that the price buys.
        units: u64,
    },
    /// Set money aside for a request whose delivery may fail or whose price is not known yet.
    Reserve {
        /// The paid request; the captures and the end of the reservation name it.
        key: RequestKey,
        /// What to set aside.
        amount: Amount,
    },
}

impl Spend {
    /// The name of the paid request, when it has one.
    pub const fn key(&self) -> Option<&RequestKey> {
        match self {
            Self::Nothing => None,
            Self::Charge { key, .. } => key.as_ref(),
            Self::Reserve { key, .. } => Some(key),
        }
    }
}

/// Why a channel is closed.
#[derive(Clone, Debug)]
pub enum CloseReason {
    /// The client asked, with a voucher that covers at least what is owed.
    Cooperative(Verified<Voucher>),
    /// The payer asked on chain, or the operator wants it: claim what is claimable.
    Forced,
}
