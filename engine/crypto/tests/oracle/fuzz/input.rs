//! Bytes as a source of choices and of numbers.

use std::convert::Infallible;

use farebox_crypto::field::{P, Words};
use farebox_crypto::scalar::N;
use num_bigint::BigUint;
use rand::TryRng;

/// The bytes of one run. When they are used up, there are more, made from how many there were: a short input is a
/// whole run as well, and the same bytes are always the same run.
#[derive(Clone)]
pub struct Input<'a> {
    bytes: &'a [u8],
    /// The state of SplitMix64.
    state: u64,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, state: bytes.len() as u64 }
    }

    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => {
                // Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ mixed >> 31) as u8
            }
        }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// One of `0..count`, from one byte.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// Any number of 256 bits, often one at an edge: of zero, of a modulus, of a word, of a limb of 52 bits.
    pub fn number(&mut self) -> Words {
        let near = |number: &Words, distance: u8| {
            let low = number[0].wrapping_add(u64::from(distance)).wrapping_sub(128);
            [low, number[1], number[2], number[3]]
        };
        match self.byte() % 16 {
            0 => [u64::from(self.byte()), 0, 0, 0],
            1 => near(&P, self.byte()),
            2 => near(&N, self.byte()),
            3 => [u64::MAX - u64::from(self.byte()), u64::MAX, u64::MAX, u64::MAX],
            4 => {
                let pattern = self.byte();
                core::array::from_fn(|i| if pattern >> i & 1 == 1 { u64::MAX } else { 0 })
            }
            // A power of two, and a number of ones.
            5 => words(&(BigUint::from(1_u8) << self.byte())),
            6 => words(&((BigUint::from(1_u8) << self.byte()) - 1_u8)),
            7 => self.limbs(),
            _ => core::array::from_fn(|_| u64::from_le_bytes(self.array())),
        }
    }

    /// Limbs of 52 bits that are zero, full, or nearly so.
    fn limbs(&mut self) -> Words {
        let limbs = (0..5).map(|i| {
            let bits = if i < 4 { 52 } else { 48 };
            let full = (1_u64 << bits) - 1;
            let small = u64::from(self.byte());
            let limb = [0, full, small, full - small][self.below(4)];
            BigUint::from(limb) << (52 * i)
        });
        words(&limbs.sum())
    }

    /// A number below a modulus.
    pub fn number_below(&mut self, modulus: &Words) -> Words {
        words(&(big(&self.number()) % big(modulus)))
    }

    /// A number below a modulus that is not zero.
    pub fn not_zero_below(&mut self, modulus: &Words) -> Words {
        let number = self.number_below(modulus);
        if number == [0; 4] { [1, 0, 0, 0] } else { number }
    }
}

/// So that the generators of signatures can be driven by the bytes.
impl TryRng for Input<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill_with(|| self.byte());
        Ok(())
    }
}

pub fn big(words: &[u64]) -> BigUint {
    words.iter().rev().fold(BigUint::ZERO, |sum, word| (sum << 64) + *word)
}

/// The number in words; it is below 2^256.
pub fn words(number: &BigUint) -> Words {
    let mut words = [0; 4];
    assert!(number.bits() <= 256);
    for (word, digit) in words.iter_mut().zip(number.iter_u64_digits()) {
        *word = digit;
    }
    words
}
