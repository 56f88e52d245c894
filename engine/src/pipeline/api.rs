//! What goes in and what comes out.

use std::sync::Arc;

use farebox_core::channel::{
    Answer, ChainPosition, CloseReason, Command, Identity, Rejection, RequestKey, Snapshot, Spend,
};
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::VoucherError;

use crate::ledger::StoredChannel;

/// One step that needs no signature; the fields are those of [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pay from what was accepted before.
    Spend(Spend),
    /// Charge a running request.
    Capture {
        /// The request.
        key: RequestKey,
        /// What these units cost.
        amount: Amount,
        /// How many units.
        units: u64,
        /// True when the request is over.
        finish: bool,
    },
    /// End a running request.
    Release {
        /// The request.
        key: RequestKey,
    },
    /// The chain says: the deposit is now this much in all.
    ToppedUp {
        /// The new total.
        deposit: Amount,
        /// Where the chain said so.
        position: ChainPosition,
        /// True when the same step cancelled a close request.
        cancels_close: bool,
    },
    /// The chain says: the payer asked to close.
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
    /// The chain says: this much was paid out in all.
    Settled {
        /// The new total.
        settled: Amount,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The chain says: the channel is over.
    Closed {
        /// What the payee got over the channel's whole life.
        captured: Amount,
        /// What the payer got back at the end.
        refunded: Amount,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// Keep no more than a tombstone of a channel that closed before this time.
    Retire {
        /// By our clock.
        closed_before: UnixSeconds,
    },
    /// Begin to close without the client: claim what is claimable.
    BeginCloseForced,
    /// The close did not and will not happen.
    AbortClose,
    /// Say with which voucher a `settle` may go to the chain.
    PlanSettle,
    /// Say what the books hold.
    Read,
}

impl Step {
    /// True for a step after which the channel buys nothing new.
    pub(super) const fn ends_service(&self) -> bool {
        matches!(self, Self::CloseRequested { .. } | Self::Closed { .. } | Self::BeginCloseForced)
    }

    /// True for a step that asks for new service. It is turned away first when queues are full, so that
    /// running requests can end and the chain's facts get in.
    pub(super) const fn is_new_work(&self) -> bool {
        matches!(self, Self::Spend(_))
    }
}

impl From<Step> for Command {
    fn from(step: Step) -> Self {
        match step {
            Step::Spend(spend) => Self::Spend(spend),
            Step::Capture { key, amount, units, finish } => Self::Capture { key, amount, units, finish },
            Step::Release { key } => Self::Release { key },
            Step::ToppedUp { deposit, position, cancels_close } => {
                Self::ToppedUp { deposit, position, cancels_close }
            }
            Step::Retire { closed_before } => Self::Retire { closed_before },
            Step::CloseRequested { at, position } => Self::CloseRequested { at, position },
            Step::CloseRequestCancelled { position } => Self::CloseRequestCancelled { position },
            Step::Settled { settled, position } => Self::Settled { settled, position },
            Step::Closed { captured, refunded, position } => Self::Closed { captured, refunded, position },
            Step::BeginCloseForced => Self::BeginClose(CloseReason::Forced),
            Step::AbortClose => Self::AbortClose,
            Step::PlanSettle => Self::PlanSettle,
            Step::Read => Self::Read,
        }
    }
}

/// What came of a request. Whatever it is, it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every verdict is the large one")]
pub enum Verdict {
    /// It was done.
    Accepted(Reply),
    /// It was refused, and nothing changed.
    Rejected(Refusal),
}

impl Verdict {
    /// The reply, if it was done.
    pub fn accepted(self) -> Result<Reply, Refusal> {
        match self {
            Self::Accepted(reply) => Ok(reply),
            Self::Rejected(refusal) => Err(refusal),
        }
    }

    /// Whether what was asked for is paid: now, or by an earlier try of the same request.
    pub const fn is_paid(&self) -> bool {
        !matches!(self, Self::Rejected(_) | Self::Accepted(Reply { answer: Answer::AcceptedOnly(_), .. }))
    }

    /// The reply, if what was asked for is paid: now, or by an earlier try of the same request. A voucher
    /// that was taken but does not cover the price is kept in the books, and is not payment.
    pub fn paid(self) -> Result<Reply, Refusal> {
        match self.accepted()? {
            Reply { answer: Answer::AcceptedOnly(rejection), .. } => Err(rejection.into()),
            reply => Ok(reply),
        }
    }
}

/// What was done, and what the books hold since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the step means for who asked.
    pub answer: Answer,
    /// The channel right after the step.
    pub snapshot: Snapshot,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rules say no.
    #[error(transparent)]
    Channel(#[from] Rejection),
    /// The voucher is not what its channel's signer signed.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
}

/// A channel as the books hold it, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Its immutable terms.
    pub identity: Arc<Identity>,
    /// What the books hold.
    pub snapshot: Snapshot,
}

impl From<&StoredChannel> for Channel {
    fn from(stored: &StoredChannel) -> Self {
        let StoredChannel { channel, identity, state } = stored;
        Self { id: *channel, identity: Arc::clone(identity), snapshot: Snapshot::from(state) }
    }
}

/// How a wait for a higher voucher ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A higher voucher is in the books.
    Above(Snapshot),
    /// None will be taken: a close is asked for or on its way, or the channel is over.
    Ended(Snapshot),
    /// The time is up.
    TimedOut(Snapshot),
    /// The books do not know the channel.
    NotFound,
}
