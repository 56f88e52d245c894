//! Two messages at once, in the registers that every x86-64 processor has: for the portable backend.
//!
//! A rotation takes three instructions here and one in a plain register, but sixteen registers hold two words
//! each: two hashes cost little more than one alone.

use super::rounds::{BLOCK_WORDS, StateLanes, hash, pad, permute};
use crate::backend::sse2::{Lane2, Sse2};

/// The hashes of two messages that fit one block.
pub(super) fn hash_two<const N: usize>(messages: [&[u8; N]; 2]) -> [[u8; 32]; 2] {
    let (first, second) = (pad(messages[0]), pad(messages[1]));
    let mut state = [Sse2.all(0); 25];
    for i in 0..BLOCK_WORDS {
        state[i] = Sse2.pair(first[i], second[i]);
    }
    let [a, b, c, d, ..] = permute(Sse2, state);
    [hash(&[a, b, c, d].map(|word| Sse2.first(word))), hash(&[a, b, c, d].map(|word| Sse2.second(word)))]
}

impl StateLanes for Sse2 {
    type Word = Lane2;

    #[inline(always)]
    fn all(self, word: u64) -> Lane2 {
        Self::all(self, word)
    }

    #[inline(always)]
    fn xor(self, a: Lane2, b: Lane2) -> Lane2 {
        Self::xor(self, a, b)
    }

    #[inline(always)]
    fn xor3(self, a: Lane2, b: Lane2, c: Lane2) -> Lane2 {
        Self::xor(self, a, Self::xor(self, b, c))
    }

    #[inline(always)]
    fn chi(self, a: Lane2, b: Lane2, c: Lane2) -> Lane2 {
        Self::xor(self, a, self.not_and(b, c))
    }

    #[inline(always)]
    fn rotate_left(self, a: Lane2, by: u32) -> Lane2 {
        // The counts are constants, and become part of the instructions.
        self.or(self.shift_left(a, by), self.shift_right(a, 64 - by))
    }
}
