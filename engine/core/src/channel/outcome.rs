//! What a step answers: transitions, snapshots, claims, and the outcomes kept for retries.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::event::Event;
use super::rejection::Rejection;
use super::state::{Phase, State};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::{ProtocolVersion, Signature};

/// The most finished requests that one channel remembers for retries; the oldest goes first.
///
/// A retry that falls out of this window carries a voucher below the accepted amount in all but the
/// rarest traffic, and is refused for that (rule 3).
pub const OUTCOMES_MAX: usize = 32;

/// The name of one paid request: a hash of (challenge id, idempotency key), or of the credential
/// itself when the client sent no key (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 16]);

/// How a finished request ended: enough to answer its retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The request.
    pub key: RequestKey,
    /// What it cost.
    pub charged: Amount,
    /// Units delivered to it.
    pub units: u64,
    /// `accepted` when it ended.
    pub accepted: Amount,
    /// `spent` when it ended.
    pub spent: Amount,
}

/// The finished requests that a channel remembers, oldest first; at most [`OUTCOMES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes(pub(super) VecDeque<Outcome>);

impl Outcomes {
    /// The outcome of a request, if it is remembered.
    pub fn get(&self, key: &RequestKey) -> Option<&Outcome> {
        self.0.iter().rev().find(|outcome| outcome.key == *key)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Outcome> {
        self.0.iter()
    }

    /// Remembers an outcome; the oldest makes room.
    pub(super) fn push(&mut self, outcome: Outcome) {
        while self.0.len() >= OUTCOMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(outcome);
    }

    /// What a checkpoint held, oldest first; [`State::check`] counts them.
    pub(crate) fn restore(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        Self(outcomes.into_iter().collect())
    }
}

/// What the books hold, as one value: the content of receipts, event data and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The channel's sequence number.
    pub sequence: u64,
    /// The protocol.
    pub protocol: ProtocolVersion,
    /// Where in its life the channel is.
    pub phase: Phase,
    /// What the escrow holds.
    pub deposit: Amount,
    /// What the escrow paid out.
    pub settled: Amount,
    /// The highest accepted voucher amount.
    pub accepted: Amount,
    /// What was charged.
    pub spent: Amount,
    /// What is set aside.
    pub reserved: Amount,
    /// The amount with which a `settle` would pay something now (see [`State::settleable`]); zero
    /// when none would.
    pub settleable: Amount,
    /// Units delivered in all.
    pub units: u64,
    /// The pending close request.
    pub close_requested_at: Option<UnixSeconds>,
    /// When a voucher or a charge was last taken.
    pub active_at: UnixSeconds,
}

impl Snapshot {
    /// What can still be charged or reserved: `accepted - spent - reserved`.
    pub fn available(&self) -> Amount {
        self.accepted.saturating_sub(self.spent).saturating_sub(self.reserved)
    }
}

impl From<&State> for Snapshot {
    fn from(state: &State) -> Self {
        Self {
            sequence: state.sequence,
            protocol: state.protocol,
            phase: state.phase,
            deposit: state.deposit,
            settled: state.settled,
            accepted: state.accepted,
            spent: state.spent,
            reserved: state.reserved(),
            settleable: state.settleable().map_or(Amount::ZERO, |kept| kept.amount),
            units: state.units,
            close_requested_at: state.close_requested_at,
            active_at: state.active_at,
        }
    }
}

/// What a close is to say to the escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The voucher's cumulative amount.
    pub cumulative: Amount,
    /// What the payee captures: v2 states it, in v1 it equals `cumulative`.
    pub capture: Amount,
    /// The voucher's signature; `None` when nothing above `settled` is captured, so that the escrow
    /// asks for none (v2), or when there is nothing to claim at all.
    pub signature: Option<Signature>,
}

/// What [`super::decide`] decided: the new facts and the answer, not yet applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The new facts, in order; empty when nothing changes.
    pub events: Vec<Event>,
    /// What to answer.
    pub answer: Answer,
}

/// What a step means for who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done, or there was nothing to do.
    Done,
    /// The request was paid before; this is how it ended, and nothing was charged again.
    Replayed(Outcome),
    /// The voucher was taken, and that is kept; what it was to pay for was refused.
    AcceptedOnly(Rejection),
    /// The close may go to the chain with this claim.
    Close(Claim),
    /// A `settle` may go to the chain with this claim.
    Settle(Claim),
}

/// A legal step: what becomes true, what to answer, and what the books hold then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The new facts, in order; empty when nothing changed.
    pub events: Vec<Event>,
    /// What to answer.
    pub answer: Answer,
    /// The state after the events.
    pub next: State,
    /// True when the step showed `settled > spent`: somebody else settled, or the books are older
    /// than the chain (rule 2). The operator must know.
    pub alarm_settled_above_spent: bool,
}
