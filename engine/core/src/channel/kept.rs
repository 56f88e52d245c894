//! The vouchers that a claim may need.
//!
//! Two matter at any time: the highest accepted one, and the highest whose amount is not above
//! `spent` (a v1 close and every `settle` pay a voucher's whole amount, so only that one is honest
//! to use). Vouchers in between are kept because `spent` may still reach them; those below the
//! second are forgotten, because `spent` never falls.

use alloc::vec::Vec;

use crate::units::Amount;
use crate::voucher::Signature;

/// The most vouchers that are kept for one channel.
///
/// Clients sign one voucher for each thing they are about to buy, so `spent` is hardly ever more
/// than one voucher behind; the bound is for the client that does not.
pub const KEPT_VOUCHERS_MAX: usize = 8;

/// The highest, the highest within `spent`, and at least one that may be dropped between them.
const _: () = assert!(KEPT_VOUCHERS_MAX >= 3);

/// A voucher's amount and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVoucher {
    /// Its cumulative amount.
    pub amount: Amount,
    /// Its signature, in the form that the escrow takes.
    pub signature: Signature,
}

/// Kept vouchers by rising amount: at most one is not above `spent`, and the last is the highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptVouchers(pub(super) Vec<KeptVoucher>);

impl KeptVouchers {
    /// The highest accepted voucher.
    pub fn highest(&self) -> Option<&KeptVoucher> {
        self.0.last()
    }

    /// The highest voucher whose amount is not above `spent`.
    pub fn highest_within(&self, spent: Amount) -> Option<&KeptVoucher> {
        self.0.iter().rev().find(|voucher| voucher.amount <= spent)
    }

    /// The lowest voucher that covers `capture`.
    pub fn lowest_covering(&self, capture: Amount) -> Option<&KeptVoucher> {
        self.0.iter().find(|voucher| voucher.amount >= capture)
    }

    /// The voucher of exactly this amount.
    pub fn exact(&self, amount: Amount) -> Option<&KeptVoucher> {
        self.0.iter().find(|voucher| voucher.amount == amount)
    }

    /// All of them, by rising amount.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &KeptVoucher> {
        self.0.iter()
    }

    /// Keeps a voucher; when there are too many, the one goes whose loss can cost the payee least.
    /// A second voucher of a known amount adds nothing. `settled` is what is safe without a voucher.
    pub(super) fn insert(&mut self, voucher: KeptVoucher, spent: Amount, settled: Amount) {
        if let Err(place) = self.0.binary_search_by_key(&voucher.amount, |kept| kept.amount) {
            self.0.insert(place, voucher);
        }
        self.prune(spent);
        while self.0.len() > KEPT_VOUCHERS_MAX {
            self.0.remove(self.least_loss(spent, settled));
        }
    }

    /// Forgets what `spent` has left behind: of the vouchers not above it, only the highest counts.
    pub(super) fn prune(&mut self, spent: Amount) {
        let within = self.0.partition_point(|voucher| voucher.amount <= spent);
        self.0.drain(..within.saturating_sub(1));
    }

    /// What a checkpoint held; [`super::State::check`] looks at order and number.
    pub(crate) fn restore(vouchers: impl IntoIterator<Item = KeptVoucher>) -> Self {
        Self(vouchers.into_iter().collect())
    }

    /// The place of the voucher whose loss can cost least: without it a claim falls back to the one
    /// below it. Neither the highest nor the highest within `spent` is ever chosen. Of equals the
    /// lowest goes, so that what stays thins out towards `spent` and is dense where the client signs.
    fn least_loss(&self, spent: Amount, settled: Amount) -> usize {
        let first = usize::from(self.0.first().is_some_and(|voucher| voucher.amount <= spent));
        let last = self.0.len() - 1;
        let loss = |&place: &usize| {
            let below = if place == 0 { settled } else { self.0[place - 1].amount };
            self.0[place].amount.saturating_sub(below)
        };
        (first..last).min_by_key(loss).expect("more vouchers than the two that are never dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voucher(amount: u128) -> KeptVoucher {
        let mut bytes = [0; 65];
        bytes[..16].copy_from_slice(&amount.to_le_bytes());
        KeptVoucher { amount: Amount::new(amount), signature: Signature::restore(&bytes).unwrap() }
    }

    fn kept(amounts: &[u128], spent: u128, settled: u128) -> KeptVouchers {
        let mut kept = KeptVouchers::default();
        for &amount in amounts {
            kept.insert(voucher(amount), Amount::new(spent), Amount::new(settled));
        }
        kept
    }

    fn amounts(kept: &KeptVouchers) -> Vec<u128> {
        kept.iter().map(|voucher| voucher.amount.get()).collect()
    }

    #[test]
    fn vouchers_that_spent_left_behind_are_forgotten() {
        let mut kept = kept(&[10, 20, 30, 40], 0, 0);
        kept.prune(Amount::new(9));
        assert_eq!(amounts(&kept), [10, 20, 30, 40]);
        kept.prune(Amount::new(30));
        assert_eq!(amounts(&kept), [30, 40]);
        kept.prune(Amount::new(1000));
        assert_eq!(amounts(&kept), [40]);
    }

    #[test]
    fn the_voucher_whose_loss_costs_least_makes_room() {
        // 100 is within spent and stays, 900 is the highest and stays; 301 adds 1 above 300.
        let kept = kept(&[100, 200, 300, 301, 500, 600, 700, 800, 900], 150, 0);
        assert_eq!(amounts(&kept), [100, 200, 300, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn the_highest_and_the_highest_within_spent_are_never_dropped() {
        let many: Vec<u128> = (1..=100).collect();
        let kept = kept(&many, 3, 0);
        assert_eq!(kept.iter().len(), KEPT_VOUCHERS_MAX);
        assert_eq!(kept.highest(), Some(&voucher(100)));
        assert_eq!(kept.highest_within(Amount::new(3)), Some(&voucher(3)));
    }

    #[test]
    fn a_first_voucher_above_spent_is_measured_from_settled() {
        // Without 51 a claim would fall back to 50, which is settled: it costs least.
        let kept = kept(&[51, 60, 70, 80, 90, 100, 110, 120, 130], 0, 50);
        assert_eq!(amounts(&kept), [60, 70, 80, 90, 100, 110, 120, 130]);
    }

    #[test]
    fn finds_by_amount() {
        let kept = kept(&[10, 20, 30], 0, 0);
        assert_eq!(kept.exact(Amount::new(20)), Some(&voucher(20)));
        assert_eq!(kept.exact(Amount::new(21)), None);
        assert_eq!(kept.lowest_covering(Amount::new(11)), Some(&voucher(20)));
        assert_eq!(kept.lowest_covering(Amount::new(31)), None);
        assert_eq!(kept.highest_within(Amount::new(9)), None);
    }
}
