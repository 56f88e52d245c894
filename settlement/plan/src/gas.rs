//! Gas, what it costs, and what is offered for it.
//!
//! A unit of gas is priced in 10^-18 dollars; tokens that pay fees have six decimals, so a fee is rounded up to
//! 10^-6 dollars.

use core::fmt;

use farebox_core::units::{Amount, UnixSeconds};

use crate::deadline::CloseDeadlines;

/// Price units in one base unit of a fee token: 10^18 over 10^6.
const PRICE_UNITS_A_BASE_UNIT: u128 = 1_000_000_000_000;

/// A number of gas units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gas(pub u64);

/// What a unit of gas costs, in 10^-18 dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GasPrice(pub u128);

impl Gas {
    /// The sum; at the top it stays there, and fits no limit.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What this much gas costs, in base units of the fee token, rounded up.
    pub const fn fee(self, price: GasPrice) -> Amount {
        Amount::new((self.0 as u128).saturating_mul(price.0).div_ceil(PRICE_UNITS_A_BASE_UNIT))
    }
}

impl fmt::Display for Gas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GasPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may be offered for a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeePolicy {
    /// What the block's proposer is offered when nothing presses.
    pub priority: GasPrice,
    /// The most that a unit may cost in all, whatever presses.
    pub max: GasPrice,
}

/// What presses a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Transactions before this one, with the same claim, that no block took.
    pub tries: u32,
    /// The earliest close request among its claims.
    pub close_asked_at: Option<UnixSeconds>,
}

/// What is offered for a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The most that is paid in all.
    pub max_fee: GasPrice,
    /// What the block's proposer gets of it.
    pub priority: GasPrice,
}

/// Gas costs more than may be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gas costs {base_fee} a unit, at most {max} may be paid")]
pub struct TooDear {
    /// What the chain asks for at least.
    pub base_fee: GasPrice,
    /// What may be paid.
    pub max: GasPrice,
}

/// How much a try that no block took adds to the next one's priority, in percent of what nothing presses.
const TRY_PERCENT: u128 = 50;
/// Tries after which the priority grows no more with them.
const TRIES_MAX: u32 = 20;
/// What the end of the grace period adds to the priority, in percent; on the way there it grows with the square
/// of the time, so the last minutes add most.
const DEADLINE_PERCENT: u128 = 2_000;

impl FeePolicy {
    /// What to offer at `now` when a unit costs at least `base_fee`.
    ///
    /// The base fee may double until a block takes the transaction, for it lives for seconds.
    pub fn offer(&self, base_fee: GasPrice, pressure: Pressure, now: UnixSeconds) -> Result<Offer, TooDear> {
        if base_fee > self.max {
            return Err(TooDear { base_fee, max: self.max });
        }
        let percent = 100 + u128::from(pressure.tries.min(TRIES_MAX)) * TRY_PERCENT + deadline(pressure, now);
        let wanted = self.priority.0.saturating_mul(percent) / 100;
        let max_fee = base_fee.0.saturating_mul(2).saturating_add(wanted).min(self.max.0);
        Ok(Offer { max_fee: GasPrice(max_fee), priority: GasPrice(wanted.min(max_fee)) })
    }
}

/// What the time since the close request adds, in percent.
fn deadline(pressure: Pressure, now: UnixSeconds) -> u128 {
    let Some(asked_at) = pressure.close_asked_at else { return 0 };
    let deadlines = CloseDeadlines::of(asked_at);
    let whole = u128::from(deadlines.grace_end.0.saturating_sub(asked_at.0)).max(1);
    let over = u128::from(now.0.saturating_sub(asked_at.0)).min(whole);
    DEADLINE_PERCENT * over * over / (whole * whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: FeePolicy = FeePolicy { priority: GasPrice(1_000), max: GasPrice(1_000_000) };
    const ASKED: UnixSeconds = UnixSeconds(10_000);

    fn priority(tries: u32, after_s: u64) -> u128 {
        let pressure = Pressure { tries, close_asked_at: Some(ASKED) };
        POLICY.offer(GasPrice(100), pressure, UnixSeconds(ASKED.0 + after_s)).expect("affordable").priority.0
    }

    #[test]
    fn a_fee_is_rounded_up_to_a_base_unit() {
        assert_eq!(Gas(56_400).fee(GasPrice(20_000_000_000)), Amount::new(1_128));
        assert_eq!(Gas(1).fee(GasPrice(1)), Amount::new(1));
        assert_eq!(Gas(0).fee(GasPrice(1)), Amount::ZERO);
    }

    #[test]
    fn the_offer_steepens_toward_the_deadline() {
        let growth = [0, 300, 600, 900].map(|after_s| priority(0, after_s));
        assert_eq!(growth, [1_000, 3_220, 9_880, 21_000]);
        assert_eq!(priority(0, 5_000), 21_000, "and then stays");
        assert_eq!(priority(2, 0), 2_000);
    }

    #[test]
    fn gas_that_is_too_dear_is_not_bought() {
        let too_dear = POLICY.offer(GasPrice(1_000_001), Pressure::default(), ASKED);
        assert_eq!(too_dear, Err(TooDear { base_fee: GasPrice(1_000_001), max: GasPrice(1_000_000) }));
    }

    proptest! {
        #[test]
        fn an_offer_never_exceeds_its_cap_and_grows_with_pressure(
            base_fee in 0..1_000_000_u128, tries in 0..40_u32, after_s in 0..2_000_u64,
        ) {
            let at = |tries, after_s: u64| {
                let pressure = Pressure { tries, close_asked_at: Some(ASKED) };
                POLICY.offer(GasPrice(base_fee), pressure, UnixSeconds(ASKED.0 + after_s)).expect("affordable")
            };
            let offer = at(tries, after_s);
            prop_assert!(offer.max_fee <= POLICY.max && offer.priority <= offer.max_fee);
            prop_assert!(offer.max_fee.0 >= base_fee);
            prop_assert!(at(tries + 1, after_s).priority >= offer.priority);
            prop_assert!(at(tries, after_s + 1).priority >= offer.priority);
        }
    }
}
