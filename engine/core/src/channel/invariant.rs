//! The promises that hold between any two steps.
//!
//! [`State::check`] is the one place that states them. It runs after every step in debug builds, over
//! every state that comes from disk, and in every property test.

use alloc::vec::Vec;

use super::kept::KEPT_VOUCHERS_MAX;
use super::outcome::{OUTCOMES_MAX, RequestKey};
use super::state::{Phase, RESERVATIONS_MAX, State};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::ProtocolVersion;

/// A broken promise: the books of this channel cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Every state comes from at least one event.
    #[error("the sequence number is zero")]
    NoSequence,
    /// `deposit` fits the protocol; everything else is below it.
    #[error("the deposit {deposit} exceeds the protocol's bound {bound}")]
    DepositAboveBound {
        /// What the books say.
        deposit: Amount,
        /// The bound.
        bound: Amount,
    },
    /// `accepted <= deposit` (rule 2).
    #[error("the accepted amount {accepted} exceeds the deposit {deposit}")]
    AcceptedAboveDeposit {
        /// What was accepted.
        accepted: Amount,
        /// What the escrow holds.
        deposit: Amount,
    },
    /// `settled <= deposit`.
    #[error("the settled amount {settled} exceeds the deposit {deposit}")]
    SettledAboveDeposit {
        /// What was settled.
        settled: Amount,
        /// What the escrow holds.
        deposit: Amount,
    },
    /// `spent + reserved <= accepted` (rule 2).
    #[error("spent {spent} and reserved {reserved} exceed the accepted amount {accepted}")]
    SpentAndReservedAboveAccepted {
        /// What was spent.
        spent: Amount,
        /// What is set aside.
        reserved: Amount,
        /// What was accepted.
        accepted: Amount,
    },
    /// The parts that running requests were charged are parts of `spent`.
    #[error("running requests were charged {captured}, more than the spent amount {spent}")]
    CapturedAboveSpent {
        /// What they were charged.
        captured: Amount,
        /// What was spent in all.
        spent: Amount,
    },
    /// The bounded lists are bounded.
    #[error("there are {found} {list}, at most {maximum} may be")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// Its length.
        found: usize,
        /// Its bound.
        maximum: usize,
    },
    /// A paid request is running or finished, and once (rule 8).
    #[error("a paid request is in the books twice")]
    DuplicateRequest {
        /// Its key.
        key: RequestKey,
    },
    /// Kept vouchers rise strictly.
    #[error("the kept vouchers do not rise")]
    KeptOutOfOrder,
    /// Of the kept vouchers at most one is not above `spent`.
    #[error("{found} kept vouchers are not above the spent amount, at most one may be")]
    KeptLeftBehind {
        /// How many.
        found: usize,
    },
    /// The highest accepted voucher is kept; without one, only what is settled counts as accepted.
    #[error("the accepted amount is {accepted}, the highest kept voucher says {kept:?}")]
    HighestNotKept {
        /// What was accepted.
        accepted: Amount,
        /// The highest kept amount.
        kept: Option<Amount>,
    },
    /// While a claim is in flight and after the end, nothing is promised to anybody.
    #[error("{count} requests run on a channel that is closing or closed")]
    ReservationsAfterEnd {
        /// How many.
        count: usize,
    },
    /// A claim in flight captures no more than was spent, or settled by somebody (rule 2).
    #[error("the close captures {capture}, owed is {owed}")]
    CaptureAboveOwed {
        /// What the close captures.
        capture: Amount,
        /// `max(spent, settled)`.
        owed: Amount,
    },
    /// A v2 claim in flight captures no less than was spent (rule 2).
    #[error("the close captures {capture}, less than the spent amount {spent}")]
    CaptureBelowSpent {
        /// What the close captures.
        capture: Amount,
        /// What was spent.
        spent: Amount,
    },
    /// A closed channel's numbers add up: what was captured is settled, the rest of `spent` is lost,
    /// and no more left the escrow than it held.
    #[error("the closing balance does not add up")]
    ClosureDoesNotAddUp,
    /// Of a retired channel, which is over, neither vouchers nor outcomes are kept.
    #[error("the channel is retired, and is not over or keeps vouchers or outcomes")]
    NoTombstone,
    /// The age of unsettled value is known while there is some, and only then.
    #[error("spent is {spent}, settled {settled}, and the time since when that is so is {since:?}")]
    UnsettledSince {
        /// What was spent.
        spent: Amount,
        /// What was settled.
        settled: Amount,
        /// What the books say.
        since: Option<UnixSeconds>,
    },
}

impl State {
    /// Checks every promise.
    ///
    /// # Errors
    ///
    /// The first broken one.
    pub fn check(&self) -> Result<(), Violation> {
        if self.sequence == 0 {
            return Err(Violation::NoSequence);
        }
        self.check_amounts()?;
        self.check_requests()?;
        self.check_kept()?;
        self.check_phase()?;
        self.check_age()
    }

    fn check_amounts(&self) -> Result<(), Violation> {
        let Self { deposit, settled, accepted, spent, .. } = *self;
        let bound = self.amount_max();
        if deposit > bound {
            return Err(Violation::DepositAboveBound { deposit, bound });
        }
        if accepted > deposit {
            return Err(Violation::AcceptedAboveDeposit { accepted, deposit });
        }
        if settled > deposit {
            return Err(Violation::SettledAboveDeposit { settled, deposit });
        }
        let reserved = self.reserved();
        if spent.checked_add(reserved).is_none_or(|sum| sum > accepted) {
            return Err(Violation::SpentAndReservedAboveAccepted { spent, reserved, accepted });
        }
        let captured = self.reservations.iter().map(|held| held.captured.get());
        let captured = Amount::new(captured.fold(0, u128::saturating_add));
        if captured > spent {
            return Err(Violation::CapturedAboveSpent { captured, spent });
        }
        Ok(())
    }

    fn check_requests(&self) -> Result<(), Violation> {
        at_most("running requests", self.reservations.len(), RESERVATIONS_MAX)?;
        at_most("outcomes", self.outcomes.iter().len(), OUTCOMES_MAX)?;
        let running = self.reservations.iter().map(|held| held.key);
        let finished = self.outcomes.iter().map(|outcome| outcome.key);
        let mut keys: Vec<_> = running.chain(finished).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Violation::DuplicateRequest { key: pair[0] }),
            None => Ok(()),
        }
    }

    fn check_kept(&self) -> Result<(), Violation> {
        if self.is_retired() {
            return self.check_retired();
        }
        at_most("kept vouchers", self.kept.iter().len(), KEPT_VOUCHERS_MAX)?;
        if !self.kept.iter().is_sorted_by(|low, high| low.amount < high.amount) {
            return Err(Violation::KeptOutOfOrder);
        }
        let found = self.kept.iter().filter(|kept| kept.amount <= self.spent).count();
        if found > 1 {
            return Err(Violation::KeptLeftBehind { found });
        }
        let (accepted, kept) = (self.accepted, self.kept.highest().map(|kept| kept.amount));
        let fits = kept.map_or(accepted <= self.settled, |kept| kept == accepted);
        if fits { Ok(()) } else { Err(Violation::HighestNotKept { accepted, kept }) }
    }

    fn check_retired(&self) -> Result<(), Violation> {
        let is_bare = self.kept.iter().len() == 0 && self.outcomes.iter().len() == 0;
        let is_over = matches!(self.phase, Phase::Closed(_));
        if is_bare && is_over { Ok(()) } else { Err(Violation::NoTombstone) }
    }

    fn check_phase(&self) -> Result<(), Violation> {
        if !matches!(self.phase, Phase::Open) && !self.reservations.is_empty() {
            return Err(Violation::ReservationsAfterEnd { count: self.reservations.len() });
        }
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Closing { capture } => self.check_claim(capture),
            Phase::Closed(closure) => {
                let paid_out = closure.captured.checked_add(closure.refunded);
                let adds_up = paid_out.is_some_and(|paid_out| paid_out <= self.deposit)
                    && closure.captured <= self.settled
                    && closure.lost == self.spent.saturating_sub(closure.captured);
                if adds_up { Ok(()) } else { Err(Violation::ClosureDoesNotAddUp) }
            }
        }
    }

    fn check_age(&self) -> Result<(), Violation> {
        let Self { spent, settled, unsettled_since: since, .. } = *self;
        let is_unsettled = spent > settled && !matches!(self.phase, Phase::Closed(_));
        let fits = since.is_some() == is_unsettled;
        if fits { Ok(()) } else { Err(Violation::UnsettledSince { spent, settled, since }) }
    }

    fn check_claim(&self, capture: Amount) -> Result<(), Violation> {
        let (spent, owed) = (self.spent, self.capture());
        if capture > owed {
            return Err(Violation::CaptureAboveOwed { capture, owed });
        }
        if self.protocol == ProtocolVersion::V2 && capture < spent {
            return Err(Violation::CaptureBelowSpent { capture, spent });
        }
        Ok(())
    }
}

fn at_most(list: &'static str, found: usize, maximum: usize) -> Result<(), Violation> {
    if found > maximum { Err(Violation::TooMany { list, found, maximum }) } else { Ok(()) }
}
