//! What a step answers: transitions, snapshots, claims, and the outcomes kept for retries.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::event::Event;
use super::rejection::Rejection;
use super::state::{Phase, State};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::{ProtocolVersion, Signature};

/// The most finished requests that one channel remembers for retries; the oldest goes first. None is answered after
/// [`super::Policy::outcome_age_s_max`] either; it stays until others take its place.
///
/// A retry that falls out of this window carries a voucher below the accepted amount in all but the
/// rarest traffic, and is refused for that (rule 3).
pub const OUTCOMES_MAX: usize = 32;

/// The name of one paid request: a hash of (challenge id, idempotency key), or of the credential
/// itself when the client sent no key (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 16]);

impl RequestKey {
    /// A byte that depends on all others, also where keys are no hashes but count.
    fn tag(&self) -> u8 {
        /// Odd, with bits that look random (2^128 divided by the golden ratio).
        const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        (u128::from_le_bytes(self.0).wrapping_mul(FACTOR) >> 120) as u8
    }
}

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
    /// When it ended, by our clock; the last activity when a close ended it.
    pub at: UnixSeconds,
}

/// The finished requests that a channel remembers, oldest first; at most [`OUTCOMES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    outcomes: VecDeque<Outcome>,
    /// A byte of each one's key, in the same order. Nearly every request is new: these bytes tell so, and the outcomes
    /// themselves, some kilobytes in memory that is hardly ever in a cache, are not looked at.
    tags: Tags,
}

/// One byte a key.
type Tags = [u8; OUTCOMES_MAX];

impl Outcomes {
    /// The outcome of a request, if it is remembered.
    pub fn get(&self, key: &RequestKey) -> Option<&Outcome> {
        let tag = key.tag();
        // A fixed length, for the whole array at once; what is behind the last outcome is sorted out below.
        if !self.tags.contains(&tag) {
            return None;
        }
        let found = |place: &usize| self.tags[*place] == tag && self.outcomes[*place].key == *key;
        (0..self.outcomes.len().min(OUTCOMES_MAX)).rev().find(found).map(|place| &self.outcomes[place])
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Outcome> {
        self.outcomes.iter()
    }

    /// Forgets an outcome whose key names a new request: its time was over.
    pub(super) fn forget(&mut self, key: &RequestKey) {
        let tag = key.tag();
        if !self.tags.contains(&tag) {
            return;
        }
        let Some(place) = self.outcomes.iter().position(|outcome| outcome.key == *key) else { return };
        self.outcomes.remove(place);
        self.tags.copy_within(place + 1.., place);
        self.tags[OUTCOMES_MAX - 1] = 0;
    }

    /// Remembers an outcome, and none of the same key beside it; the oldest makes room.
    pub(super) fn push(&mut self, outcome: Outcome) {
        self.forget(&outcome.key);
        while self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.pop_front();
            self.tags.rotate_left(1);
        }
        self.tags[self.outcomes.len()] = outcome.key.tag();
        self.outcomes.push_back(outcome);
    }

    /// What a checkpoint held, oldest first; [`State::check`] counts them.
    pub(crate) fn restore(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let outcomes: VecDeque<_> = outcomes.into_iter().collect();
        let mut tags = Tags::default();
        tags.iter_mut().zip(&outcomes).for_each(|(tag, outcome)| *tag = outcome.key.tag());
        Self { outcomes, tags }
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
    /// Since when something that was spent waits for its settlement.
    pub unsettled_since: Option<UnixSeconds>,
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
            unsettled_since: state.unsettled_since,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(number: u64) -> Outcome {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let amount = Amount::new(u128::from(number));
        let at = UnixSeconds(number);
        Outcome { key: RequestKey(key), charged: amount, units: 1, accepted: amount, spent: amount, at }
    }

    /// 3,000 keys have only 256 tags between them, so every lookup meets tags of others.
    #[test]
    fn the_last_ones_are_found_and_no_others_also_after_a_restart() {
        let mut outcomes = Outcomes::default();
        for number in 0..3_000 {
            outcomes.push(outcome(number));
            let oldest = (number + 1).saturating_sub(OUTCOMES_MAX as u64);
            let restored = Outcomes::restore(outcomes.iter().copied());
            assert_eq!(restored, outcomes);
            for kept in oldest..=number {
                assert_eq!(restored.get(&outcome(kept).key), Some(&outcome(kept)));
            }
            for other in (oldest.saturating_sub(9)..oldest).chain(number + 1..number + 300) {
                assert_eq!(outcomes.get(&outcome(other).key), None);
            }
        }
    }

    #[test]
    fn a_key_is_there_once_and_the_others_stay() {
        for count in [1, 7, OUTCOMES_MAX as u64] {
            for again in 0..count {
                let mut outcomes = Outcomes::default();
                (0..count).for_each(|number| outcomes.push(outcome(number)));
                outcomes.forget(&outcome(count + 1).key);
                assert_eq!(outcomes.iter().len() as u64, count);
                outcomes.push(Outcome { units: 9, ..outcome(again) });
                let keys = (0..count).filter(|number| *number != again).chain([again]);
                assert!(outcomes.iter().map(|kept| kept.key).eq(keys.map(|number| outcome(number).key)));
                assert_eq!(outcomes.get(&outcome(again).key).map(|kept| kept.units), Some(9));
                assert_eq!(
                    Outcomes::restore(outcomes.iter().copied()).get(&outcome(0).key),
                    outcomes.get(&outcome(0).key)
                );
                outcomes.forget(&outcome(again).key);
                assert_eq!(outcomes.get(&outcome(again).key), None);
                for kept in (0..count).filter(|number| *number != again) {
                    assert_eq!(outcomes.get(&outcome(kept).key), Some(&outcome(kept)));
                }
            }
        }
    }

    #[test]
    fn keys_that_count_have_all_tags_and_so_have_keys_that_differ_in_their_last_byte() {
        let tags = |keys: &mut dyn Iterator<Item = RequestKey>| {
            keys.map(|key| key.tag()).collect::<alloc::collections::BTreeSet<u8>>().len()
        };
        assert!(tags(&mut (0..2_048).map(|number| outcome(number).key)) > 250);
        let last = (0..=255).map(|byte| {
            let mut key = [7; 16];
            key[15] = byte;
            RequestKey(key)
        });
        assert!(tags(&mut { last }) > 250);
    }
}
