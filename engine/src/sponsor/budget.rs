//! What the sponsor spends in an hour: on one payer, and on all.
//!
//! What a transaction may cost is set aside before it is broadcast, and exchanged for what its receipt says after that;
//! so requests that come together cannot overrun it together. Hours slide: what was paid counts for 60 to 65 minutes.
//! The budget lives in memory and begins anew with the process.

use std::collections::HashMap;

use farebox_core::units::{Address, Amount, UnixSeconds};

use super::Refusal;

/// The most payers that are remembered at once; a new one beyond it is told to come later.
pub const PAYERS_MAX: usize = 65_536;
/// How finely the hour slides.
const SLOT_S: u64 = 300;
/// An hour, and the slot that is only partly over.
const SLOTS: usize = 13;

/// What may be spent in an hour, in base units of the fee token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// On one payer.
    pub payer: Amount,
    /// On all.
    pub all: Amount,
}

/// What is set aside for one transaction. [`Budget::settle`] takes it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is set aside stays so until it is settled"]
pub struct Reservation {
    payer: Address,
    most: Amount,
}

impl Reservation {
    /// The most that it can become.
    pub const fn most(&self) -> Amount {
        self.most
    }
}

/// Keeps the sponsor's spending within its limits.
#[derive(Debug)]
pub struct Budget {
    limits: BudgetLimits,
    all: Window,
    payers: HashMap<Address, Window>,
}

/// The spending of an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// What was paid, by the slot's number modulo [`SLOTS`].
    paid: [u128; SLOTS],
    /// The newest slot's number.
    newest: u64,
    /// What is set aside.
    reserved: u128,
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(limits: BudgetLimits) -> Self {
        Self { limits, all: Window::default(), payers: HashMap::new() }
    }

    /// Sets aside what a transaction costs at most.
    ///
    /// # Errors
    ///
    /// A limit would be overrun, if everything that is set aside were spent.
    pub fn reserve(
        &mut self,
        payer: Address,
        most: Amount,
        now: UnixSeconds,
    ) -> Result<Reservation, Refusal> {
        let retry_after_s = SLOT_S - now.0 % SLOT_S;
        self.all.slide(now);
        if !self.all.fits(most, self.limits.all) {
            return Err(Refusal::Budget { retry_after_s });
        }
        if !self.payers.contains_key(&payer) && self.payers.len() >= PAYERS_MAX {
            self.payers.retain(|_, window| {
                window.slide(now);
                !window.is_empty()
            });
            if self.payers.len() >= PAYERS_MAX {
                return Err(Refusal::Budget { retry_after_s });
            }
        }
        let window = self.payers.entry(payer).or_default();
        window.slide(now);
        if !window.fits(most, self.limits.payer) {
            return Err(Refusal::PayerBudget { retry_after_s });
        }
        window.reserved += most.get();
        self.all.reserved += most.get();
        Ok(Reservation { payer, most })
    }

    /// Exchanges what was set aside for what was paid; zero when the transaction surely never happened. More than was
    /// set aside counts in full: it was paid.
    pub fn settle(&mut self, reservation: Reservation, paid: Amount, now: UnixSeconds) {
        let Reservation { payer, most } = reservation;
        self.all.settle(most, paid, now);
        if let Some(window) = self.payers.get_mut(&payer) {
            window.settle(most, paid, now);
            if window.is_empty() {
                self.payers.remove(&payer);
            }
        }
    }

    /// What is set aside for all transactions that are under way.
    pub fn reserved(&self) -> Amount {
        Amount::new(self.all.reserved)
    }
}

impl Window {
    /// Forgets what is older than an hour. A clock that goes back forgets nothing.
    fn slide(&mut self, now: UnixSeconds) {
        let slot = now.0 / SLOT_S;
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for back in 0..passed {
            self.paid[Self::place(slot - back)] = 0;
        }
        self.newest = self.newest.max(slot);
    }

    const fn place(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }

    fn fits(&self, most: Amount, limit: Amount) -> bool {
        self.total().checked_add(most.get()).is_some_and(|total| total <= limit.get())
    }

    /// Sums cannot overflow: every part passed `fits` below a limit of 128 bits, or was paid in a real token.
    fn total(&self) -> u128 {
        self.paid.iter().fold(self.reserved, |sum, paid| sum.saturating_add(*paid))
    }

    fn settle(&mut self, most: Amount, paid: Amount, now: UnixSeconds) {
        self.slide(now);
        self.reserved = self.reserved.saturating_sub(most.get());
        let place = Self::place(self.newest);
        self.paid[place] = self.paid[place].saturating_add(paid.get());
    }

    fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixSeconds = UnixSeconds(6_000_000);

    fn payer(number: u64) -> Address {
        Address::left_padding_from(&number.to_be_bytes())
    }

    fn budget(payer: u128, all: u128) -> Budget {
        Budget::new(BudgetLimits { payer: Amount::new(payer), all: Amount::new(all) })
    }

    fn amount(base_units: u128) -> Amount {
        Amount::new(base_units)
    }

    #[test]
    fn what_is_set_aside_counts_until_it_is_settled() {
        let mut budget = budget(100, 1_000);
        let first = budget.reserve(payer(1), amount(60), START).expect("fits");
        let refused = budget.reserve(payer(1), amount(41), START);
        assert!(matches!(refused, Err(Refusal::PayerBudget { retry_after_s: 1..=300 })), "{refused:?}");
        let second = budget.reserve(payer(1), amount(40), START).expect("fits exactly");
        assert_eq!(budget.reserved(), amount(100));
        budget.settle(first, amount(10), START);
        budget.settle(second, Amount::ZERO, START);
        assert_eq!(budget.reserved(), Amount::ZERO);
        assert!(budget.reserve(payer(1), amount(91), START).is_err(), "10 were paid");
        let third = budget.reserve(payer(1), amount(90), START).expect("fits");
        budget.settle(third, amount(90), START);
    }

    #[test]
    fn all_payers_together_have_a_limit_of_their_own() {
        let mut budget = budget(100, 250);
        let held: Vec<_> = (1..=2).map(|number| budget.reserve(payer(number), amount(100), START)).collect();
        assert!(held.iter().all(Result::is_ok));
        let refused = budget.reserve(payer(3), amount(51), START);
        assert!(matches!(refused, Err(Refusal::Budget { .. })), "{refused:?}");
        assert!(budget.reserve(payer(3), amount(50), START).is_ok());
    }

    #[test]
    fn an_hour_later_it_is_free_again_and_not_before() {
        let mut budget = budget(100, 100);
        let held = budget.reserve(payer(1), amount(100), START).expect("fits");
        budget.settle(held, amount(100), START);
        for later in [0, 1_800, 3_599] {
            assert!(budget.reserve(payer(1), amount(1), START.saturating_add(later)).is_err(), "{later}");
        }
        let later = START.saturating_add(3_600 + SLOT_S);
        let held = budget.reserve(payer(1), amount(100), later).expect("an hour is over");
        assert!(budget.reserve(payer(1), amount(1), START).is_err(), "a clock that goes back frees nothing");
        budget.settle(held, amount(100), START);
        assert!(budget.reserve(payer(1), amount(1), later).is_err());
    }

    #[test]
    fn more_than_was_set_aside_counts_in_full() {
        let mut budget = budget(100, 1_000);
        let held = budget.reserve(payer(1), amount(10), START).expect("fits");
        budget.settle(held, amount(95), START);
        assert!(budget.reserve(payer(1), amount(6), START).is_err());
        assert!(budget.reserve(payer(1), amount(5), START).is_ok());
    }

    #[test]
    fn amounts_beyond_all_numbers_do_not_fit() {
        let mut budget = budget(u128::MAX, u128::MAX);
        let _held = budget.reserve(payer(1), Amount::MAX, START).expect("fits exactly");
        assert!(budget.reserve(payer(2), amount(1), START).is_err());
    }

    #[test]
    fn payers_are_bounded_and_those_who_cost_nothing_are_forgotten() {
        let mut budget = budget(1, u128::MAX);
        let mut held = Vec::new();
        for number in 0..PAYERS_MAX as u64 {
            held.push(budget.reserve(payer(number), amount(1), START).expect("fits"));
        }
        let newcomer = payer(PAYERS_MAX as u64);
        assert!(matches!(budget.reserve(newcomer, amount(1), START), Err(Refusal::Budget { .. })));
        budget.settle(held.pop().expect("one"), Amount::ZERO, START);
        assert!(budget.reserve(newcomer, amount(1), START).is_ok(), "one cost nothing");
        for held in held {
            budget.settle(held, amount(1), START);
        }
        assert!(budget.reserve(payer(u64::MAX), amount(1), START).is_err());
        let later = START.saturating_add(3_600 + SLOT_S);
        assert!(budget.reserve(payer(u64::MAX), amount(1), later).is_ok(), "their hour is over");
    }
}
