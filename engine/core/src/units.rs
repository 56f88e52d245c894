//! Amounts, channel ids and times: the words that everything else is made of.
//!
//! Every quantity past the parser has a type, and arithmetic on money is checked: an overflow is
//! `None`, never a wrapped number.

use core::fmt;
use core::str::FromStr;

pub use alloy_primitives::{Address, B256};

/// An amount of a TIP-20 token in base units (six decimals: 1,000,000 base units are one token).
///
/// The v1 escrow counts in `uint128`, the v2 reserve in `uint96`; [`Amount::MAX_V2`] is the bound
/// that v2 checks use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    /// No money at all.
    pub const ZERO: Self = Self(0);
    /// The largest amount that a v2 channel can hold: `2^96 - 1` (TIP-1034, packed state).
    pub const MAX_V2: Self = Self((1 << 96) - 1);
    /// The largest amount that a v1 channel can hold: `2^128 - 1`.
    pub const MAX: Self = Self(u128::MAX);

    /// Wraps a number of base units.
    pub const fn new(base_units: u128) -> Self {
        Self(base_units)
    }

    /// The number of base units.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// True when there is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self + other`, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, or `None` when `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `self - other`, or zero when `other` is larger. For amounts that are *shown* or compared
    /// with a limit; books use [`Amount::checked_sub`].
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * count`, or `None` on overflow: the price of `count` units.
    pub const fn checked_mul(self, count: u64) -> Option<Self> {
        match self.0.checked_mul(count as u128) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Empty, a sign, a space, a decimal point, a leading `0x`: anything but ASCII digits.
    #[error("an amount is a string of decimal digits (base units), without sign, point or prefix")]
    NotDigits,
    /// More than `2^128 - 1`.
    #[error("the amount does not fit 128 bits")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Parses base units as the drafts write them: decimal digits only.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseAmountError::NotDigits);
        }
        text.parse().map(Self).map_err(|_| ParseAmountError::TooLarge)
    }
}

/// The identity of a channel: a Keccak-256 hash of its immutable terms (see [`crate::voucher`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub B256);

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChannelId {
    /// Lowercase hex with `0x`, all 32 bytes: the form that goes on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// This time plus `seconds`, at most the end of time.
    pub const fn saturating_add(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// The height of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

/// The id of a chain (4217 is Tempo mainnet, 42431 its testnet).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_parse_digits_only() {
        assert_eq!("25".parse(), Ok(Amount::new(25)));
        assert_eq!("000".parse(), Ok(Amount::ZERO));
        for text in ["", "+1", "-1", " 1", "1.0", "0x1", "1e3", "١"] {
            assert_eq!(text.parse::<Amount>(), Err(ParseAmountError::NotDigits), "{text:?}");
        }
        let above = "340282366920938463463374607431768211456";
        assert_eq!(above.parse::<Amount>(), Err(ParseAmountError::TooLarge));
    }

    #[test]
    fn arithmetic_is_checked() {
        assert_eq!(Amount::MAX.checked_add(Amount::new(1)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::new(1)), None);
        assert_eq!(Amount::MAX.checked_mul(2), None);
        assert_eq!(Amount::new(25).checked_mul(500), Some(Amount::new(12_500)));
    }
}
