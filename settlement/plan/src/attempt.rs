//! The life of one transaction, from signing to a fate that is sure.
//!
//! A transaction that was handed to a node is neither done nor failed until the chain says so (rule 10):
//! a receipt decides, or the chain's clock passing the transaction's validity. Every transaction that
//! settlement signs has an expiring nonce, so the second always comes.

use farebox_core::units::{B256, UnixSeconds};

/// How far the chain's clock must have passed `valid_before` before a missing receipt means "never".
///
/// The rule of TIP-1009 is strict (no block at or after `valid_before` may hold the transaction); the
/// margin is for nodes whose receipts trail their head.
pub const EXPIRY_MARGIN_SECONDS: u64 = 3;

/// One signed transaction and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its hash.
    pub tx_hash: B256,
    /// No block at or after this time can hold it.
    pub valid_before: UnixSeconds,
    /// How far it came.
    pub phase: Phase,
}

/// How far a transaction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Signed, and handed to nobody.
    Prepared,
    /// It is being handed to a node: from here on it may happen.
    Sending,
    /// Every node refused it, and none can have it.
    Refused,
    /// Some node has it, or may have it.
    Broadcast,
    /// The wait ended without an answer. It may still happen.
    Unknown,
    /// It executed.
    Confirmed,
    /// It executed and failed: nothing moved.
    Reverted,
    /// Its validity ended and it is in no block: it will never happen.
    Expired,
}

/// Something that was seen of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It is about to be handed to a node.
    Sending,
    /// A node took it, or did not answer and may have taken it.
    Sent,
    /// All nodes refused it with an answer, so none has it.
    Refused,
    /// Its receipt.
    Receipt {
        /// Whether it executed without revert.
        success: bool,
    },
    /// There was no receipt in the chain up to a block with this timestamp.
    Absent {
        /// The block's timestamp.
        chain_time: UnixSeconds,
    },
    /// Nobody waits any longer.
    WaitOver,
}

impl Attempt {
    /// A transaction that was signed just now.
    pub const fn new(tx_hash: B256, valid_before: UnixSeconds) -> Self {
        Self { tx_hash, valid_before, phase: Phase::Prepared }
    }

    /// What is known after an observation.
    ///
    /// A receipt beats everything but another receipt; silence is never taken for failure before the
    /// validity ended.
    #[must_use]
    pub fn observe(mut self, observation: Observation) -> Self {
        self.phase = match (self.phase, observation) {
            (decided @ (Phase::Confirmed | Phase::Reverted), _) => decided,
            (_, Observation::Receipt { success: true }) => Phase::Confirmed,
            (_, Observation::Receipt { success: false }) => Phase::Reverted,
            (Phase::Expired, _) => Phase::Expired,
            (Phase::Prepared | Phase::Refused, Observation::Sending) => Phase::Sending,
            (Phase::Sending, Observation::Refused) => Phase::Refused,
            (Phase::Sending, Observation::Sent) => Phase::Broadcast,
            (Phase::Sending | Phase::Broadcast | Phase::Unknown, Observation::Absent { chain_time })
                if chain_time >= self.expires_at() =>
            {
                Phase::Expired
            }
            (Phase::Sending | Phase::Broadcast, Observation::WaitOver) => Phase::Unknown,
            (phase, _) => phase,
        };
        self
    }

    /// From which chain time on a missing receipt means "never".
    pub const fn expires_at(&self) -> UnixSeconds {
        self.valid_before.saturating_add(EXPIRY_MARGIN_SECONDS)
    }

    /// True when it surely did not happen and never will, so that the same can be tried anew.
    pub const fn surely_failed(&self) -> bool {
        matches!(self.phase, Phase::Refused | Phase::Reverted | Phase::Expired)
    }

    /// True while it may still happen.
    pub const fn may_happen(&self) -> bool {
        matches!(self.phase, Phase::Sending | Phase::Broadcast | Phase::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const VALID_BEFORE: UnixSeconds = UnixSeconds(1_000);

    fn after(observations: &[Observation]) -> Attempt {
        let new = Attempt::new(B256::ZERO, VALID_BEFORE);
        observations.iter().fold(new, |attempt, observation| attempt.observe(*observation))
    }

    fn absent(at: u64) -> Observation {
        Observation::Absent { chain_time: UnixSeconds(at) }
    }

    #[test]
    fn silence_is_not_failure_before_the_validity_ended() {
        use Observation::{Sending, Sent, WaitOver};
        assert_eq!(after(&[Sending, Sent, absent(999)]).phase, Phase::Broadcast);
        assert_eq!(after(&[Sending, Sent, absent(1_000)]).phase, Phase::Broadcast, "nodes may trail");
        assert_eq!(after(&[Sending, Sent, WaitOver]).phase, Phase::Unknown);
        assert_eq!(
            after(&[Sending, WaitOver]).phase,
            Phase::Unknown,
            "the crash between sending and its answer"
        );
        assert_eq!(after(&[Sending, WaitOver, absent(1_002)]).phase, Phase::Unknown);
        assert_eq!(after(&[Sending, WaitOver, absent(1_003)]).phase, Phase::Expired);
    }

    #[test]
    fn a_receipt_beats_every_belief() {
        use Observation::{Receipt, Refused, Sending, Sent, WaitOver};
        for before in
            [&[Sending, Refused][..], &[Sending], &[Sending, Sent, WaitOver], &[Sending, absent(2_000)]]
        {
            let attempt = after(before);
            assert_eq!(attempt.observe(Receipt { success: true }).phase, Phase::Confirmed, "{before:?}");
            assert_eq!(attempt.observe(Receipt { success: false }).phase, Phase::Reverted, "{before:?}");
        }
    }

    #[test]
    fn what_was_never_sent_does_not_expire() {
        assert_eq!(after(&[absent(5_000)]).phase, Phase::Prepared);
        let refused = after(&[Observation::Sending, Observation::Refused, absent(5_000)]);
        assert_eq!(refused.phase, Phase::Refused);
    }

    #[test]
    fn a_refused_repeat_does_not_undo_the_first_broadcast() {
        use Observation::{Refused, Sending, Sent};
        assert_eq!(after(&[Sending, Sent, Sending, Refused]).phase, Phase::Broadcast);
    }

    fn observations() -> impl Strategy<Value = Vec<Observation>> {
        let one = prop_oneof![
            Just(Observation::Sending),
            Just(Observation::Sent),
            Just(Observation::Refused),
            any::<bool>().prop_map(|success| Observation::Receipt { success }),
            (0..2_000_u64).prop_map(absent),
            Just(Observation::WaitOver),
        ];
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn decided_is_decided(before in observations(), later in observations()) {
            let attempt = after(&before);
            if matches!(attempt.phase, Phase::Confirmed | Phase::Reverted) {
                let end = later.iter().fold(attempt, |attempt, seen| attempt.observe(*seen));
                prop_assert_eq!(end.phase, attempt.phase);
            }
        }

        #[test]
        fn expiry_needs_a_chain_time_past_the_validity(seen in observations()) {
            if after(&seen).phase == Phase::Expired {
                let past = |seen: &Observation| matches!(seen, Observation::Absent { chain_time }
                    if chain_time.0 >= VALID_BEFORE.0 + EXPIRY_MARGIN_SECONDS);
                prop_assert!(seen.iter().any(past));
            }
        }

        #[test]
        fn confirmation_needs_a_receipt(seen in observations()) {
            let first = seen.iter().find_map(|seen| match seen {
                Observation::Receipt { success } => Some(*success),
                _ => None,
            });
            let expected = match after(&seen).phase {
                Phase::Confirmed => Some(true),
                Phase::Reverted => Some(false),
                _ => None,
            };
            prop_assert_eq!(first, expected);
        }

        #[test]
        fn what_may_happen_is_never_called_failed(seen in observations()) {
            let attempt = after(&seen);
            prop_assert!(!(attempt.may_happen() && attempt.surely_failed()));
        }
    }
}
