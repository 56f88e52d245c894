//! What one transaction may ask of the sponsor.

use farebox_core::units::{Address, Amount, UnixSeconds};

use super::Refusal;

/// Price units in one base unit of a fee token: gas is priced in 10^-18 dollars, and fee tokens have six decimals.
const PRICE_UNITS_A_BASE_UNIT: u128 = 1_000_000_000_000;

/// What so much gas costs at this price (10^-18 dollars a unit), in base units of the fee token, rounded up as the
/// chain does. The largest amount when it is beyond all numbers, which fits no limit.
pub const fn fee(gas: u64, price: u128) -> Amount {
    match price.checked_mul(gas as u128) {
        Some(product) => Amount::new(product.div_ceil(PRICE_UNITS_A_BASE_UNIT)),
        None => Amount::MAX,
    }
}

/// What the sponsor pays for, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The account that pays.
    pub sponsor: Address,
    /// The token in which it pays. No transaction may name another.
    pub fee_token: Address,
    /// The most gas of one transaction.
    pub gas_max: u64,
    /// The most that a unit of gas may cost, in 10^-18 dollars.
    pub gas_price_max: u128,
    /// The most that one transaction may cost, in base units of the fee token.
    pub fee_max: Amount,
    /// How far ahead a transaction may be valid: for so long its cost is set aside.
    pub valid_for_s_max: u64,
}

impl Default for Policy {
    /// A v2 open uses 300,000 gas, 803,000 on a fresh chain; a v1 open with its approval 1,600,000 to
    /// 2,100,000, which wallets estimate at up to half as much more. Expiring nonces live for 300 seconds at most.
    fn default() -> Self {
        Self {
            sponsor: Address::ZERO,
            fee_token: Address::ZERO,
            gas_max: 4_000_000,
            gas_price_max: 100_000_000_000,
            fee_max: Amount::new(100_000),
            valid_for_s_max: 300,
        }
    }
}

/// What a transaction asks of its sponsor, as far as it costs him something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who signed it.
    pub sender: Address,
    /// Whether an access key signed for the sender.
    pub is_by_access_key: bool,
    /// Whether it authorizes a new access key.
    pub authorizes_key: bool,
    /// Whether its nonce is an expiring one.
    pub has_expiring_nonce: bool,
    /// Whether it approves more than it deposits (v1).
    pub approves_too_much: bool,
    /// The token for fees that it names.
    pub fee_token: Option<Address>,
    /// How much gas it may use.
    pub gas_limit: u64,
    /// What a unit may cost in all, in 10^-18 dollars.
    pub gas_price: u128,
    /// What the proposer of the block is offered of it.
    pub priority_fee: u128,
    /// No block before this time can hold it.
    pub valid_after: Option<UnixSeconds>,
    /// No block at or after this time can hold it.
    pub valid_before: Option<UnixSeconds>,
}

impl Wish {
    /// A wish without anything unusual.
    pub const fn new(sender: Address, gas_limit: u64, gas_price: u128, valid_before: UnixSeconds) -> Self {
        Self {
            sender,
            is_by_access_key: false,
            authorizes_key: false,
            has_expiring_nonce: true,
            approves_too_much: false,
            fee_token: None,
            gas_limit,
            gas_price,
            priority_fee: 0,
            valid_after: None,
            valid_before: Some(valid_before),
        }
    }
}

impl Policy {
    /// Judges everything but the time, and says what the transaction costs at most.
    ///
    /// # Errors
    ///
    /// The first thing that is not sponsored.
    pub fn check_terms(&self, wish: &Wish) -> Result<Amount, Refusal> {
        if wish.sender == self.sponsor {
            return Err(Refusal::OwnTransaction);
        }
        if wish.is_by_access_key {
            return Err(Refusal::AccessKey);
        }
        if wish.authorizes_key {
            return Err(Refusal::KeyAuthorization);
        }
        // Another nonce could be used up by the sender at any time: our broadcast would be for nothing.
        if !wish.has_expiring_nonce {
            return Err(Refusal::NonceNotExpiring);
        }
        if wish.approves_too_much {
            return Err(Refusal::ApprovalNotExact);
        }
        if let Some(found) = wish.fee_token.filter(|token| *token != self.fee_token) {
            return Err(Refusal::FeeToken { found, expected: self.fee_token });
        }
        let (found, max) = (wish.gas_limit, self.gas_max);
        if found > max {
            return Err(Refusal::Gas { found, max });
        }
        let (found, max) = (wish.gas_price.max(wish.priority_fee), self.gas_price_max);
        if found > max {
            return Err(Refusal::GasPrice { found, max });
        }
        let (found, max) = (fee(wish.gas_limit, wish.gas_price), self.fee_max);
        if found > max {
            return Err(Refusal::Fee { found, max });
        }
        Ok(found)
    }

    /// Judges when the transaction is valid.
    ///
    /// # Errors
    ///
    /// It is over, has not begun, or would be valid for too long.
    pub fn check_time(&self, wish: &Wish, now: UnixSeconds) -> Result<(), Refusal> {
        let valid_before = wish.valid_before.ok_or(Refusal::NoExpiry)?;
        if valid_before <= now {
            return Err(Refusal::Expired { valid_before, now });
        }
        let latest = now.saturating_add(self.valid_for_s_max);
        if valid_before > latest {
            return Err(Refusal::ExpiresLate { valid_before, latest });
        }
        match wish.valid_after {
            Some(valid_after) if valid_after > now => Err(Refusal::NotYetValid { valid_after, now }),
            _ => Ok(()),
        }
    }

    /// Judges what a dry run used: a transaction that runs out of gas costs all of it, and does nothing.
    ///
    /// # Errors
    ///
    /// The gas does not suffice.
    pub fn check_run(&self, wish: &Wish, gas_used: u64) -> Result<(), Refusal> {
        if gas_used > wish.gas_limit {
            return Err(Refusal::GasTooLow { found: wish.gas_limit, needed: gas_used });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn policy() -> Policy {
        let [sponsor, fee_token] = [1, 2].map(Address::repeat_byte);
        Policy { sponsor, fee_token, ..Policy::default() }
    }

    fn wish() -> Wish {
        Wish::new(Address::repeat_byte(3), 1_000_000, 20_000_000_000, NOW.saturating_add(25))
    }

    fn refusal(change: impl FnOnce(&mut Wish)) -> Refusal {
        let mut changed = wish();
        change(&mut changed);
        let checked = policy().check_terms(&changed).map(|_| ());
        checked.and_then(|()| policy().check_time(&changed, NOW)).expect_err("refused")
    }

    #[test]
    fn an_honest_open_of_a_million_gas_is_sponsored() {
        assert_eq!(policy().check_terms(&wish()), Ok(Amount::new(20_000)));
        assert_eq!(policy().check_time(&wish(), NOW), Ok(()));
        assert_eq!(policy().check_run(&wish(), 1_000_000), Ok(()));
        let named = Wish { fee_token: Some(policy().fee_token), ..wish() };
        assert!(policy().check_terms(&named).is_ok(), "the sponsor's own token");
        let older = Wish { valid_after: Some(NOW), ..wish() };
        assert_eq!(policy().check_time(&older, NOW), Ok(()));
    }

    #[test]
    fn what_could_drain_the_sponsor_is_refused() {
        let other = Address::repeat_byte(9);
        assert_eq!(refusal(|wish| wish.sender = policy().sponsor), Refusal::OwnTransaction);
        assert_eq!(refusal(|wish| wish.is_by_access_key = true), Refusal::AccessKey);
        assert_eq!(refusal(|wish| wish.authorizes_key = true), Refusal::KeyAuthorization);
        assert_eq!(refusal(|wish| wish.has_expiring_nonce = false), Refusal::NonceNotExpiring);
        assert_eq!(refusal(|wish| wish.approves_too_much = true), Refusal::ApprovalNotExact);
        let expected = policy().fee_token;
        assert_eq!(
            refusal(|wish| wish.fee_token = Some(other)),
            Refusal::FeeToken { found: other, expected }
        );
        assert_eq!(
            refusal(|wish| wish.gas_limit = 4_000_001),
            Refusal::Gas { found: 4_000_001, max: 4_000_000 }
        );
        let (found, max) = (100_000_000_001, 100_000_000_000);
        assert_eq!(refusal(|wish| wish.gas_price = found), Refusal::GasPrice { found, max });
        assert_eq!(refusal(|wish| wish.priority_fee = found), Refusal::GasPrice { found, max });
        // Each within its own limit, and together too dear.
        let max = Amount::new(100_000);
        assert_eq!(
            refusal(|wish| (wish.gas_limit, wish.gas_price) = (2_500_000, 50_000_000_000)),
            Refusal::Fee { found: Amount::new(125_000), max }
        );
    }

    #[test]
    fn a_price_beyond_all_numbers_fits_no_limit() {
        assert_eq!(fee(u64::MAX, u128::MAX), Amount::MAX);
        let generous = Policy { gas_max: u64::MAX, gas_price_max: u128::MAX, ..policy() };
        let huge = Wish { gas_limit: u64::MAX, gas_price: u128::MAX, ..wish() };
        assert_eq!(
            generous.check_terms(&huge),
            Err(Refusal::Fee { found: Amount::MAX, max: policy().fee_max })
        );
        assert_eq!((fee(1, 1), fee(0, 5)), (Amount::new(1), Amount::ZERO), "rounded up");
    }

    #[test]
    fn a_transaction_must_end_soon_and_have_begun() {
        assert_eq!(refusal(|wish| wish.valid_before = None), Refusal::NoExpiry);
        let latest = NOW.saturating_add(300);
        let late = latest.saturating_add(1);
        assert_eq!(
            refusal(|wish| wish.valid_before = Some(late)),
            Refusal::ExpiresLate { valid_before: late, latest }
        );
        assert_eq!(
            refusal(|wish| wish.valid_before = Some(NOW)),
            Refusal::Expired { valid_before: NOW, now: NOW }
        );
        let later = NOW.saturating_add(1);
        assert_eq!(
            refusal(|wish| wish.valid_after = Some(later)),
            Refusal::NotYetValid { valid_after: later, now: NOW }
        );
    }

    #[test]
    fn too_little_gas_would_be_paid_for_nothing() {
        let (found, needed) = (1_000_000, 1_000_001);
        assert_eq!(policy().check_run(&wish(), needed), Err(Refusal::GasTooLow { found, needed }));
    }
}
