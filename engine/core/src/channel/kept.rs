//! The vouchers that a claim may need.
//!
//! Two matter at any time: the highest accepted one, and the highest whose amount is not above
//! `spent` (a v1 close and every `settle` pay a voucher's whole amount, so only that one is honest
//! to use). Vouchers in between are kept because `spent` may still reach them.

use alloc::vec::Vec;

use crate::units::Amount;
use crate::voucher::Signature;

/// The most vouchers that are kept for one channel.
///
/// Clients sign one voucher for each thing they are about to buy, so `spent` is hardly ever more
/// than one voucher behind; the bound is for the client that does not.
pub const KEPT_VOUCHERS_MAX: usize = 8;

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

    /// All of them, by rising amount.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &KeptVoucher> {
        self.0.iter()
    }
}
