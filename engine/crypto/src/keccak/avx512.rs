//! Eight messages at once: one AVX-512 register for each of the 25 words of the state.

use super::rounds::{BLOCK_WORDS, PADDED_WORDS, StateLanes, hash, pad, permute};
use crate::backend::avx512::Lane8;
use crate::backend::{Avx512, Kernel};
use crate::field::Words;
use alloc::vec::Vec;

/// Hashes messages that fit one block, eight at a time; appends the hashes.
pub(super) struct HashMany<'a, const N: usize> {
    pub(super) messages: &'a [[u8; N]],
    pub(super) hashes: &'a mut Vec<[u8; 32]>,
}

impl<const N: usize> Kernel<Avx512> for HashMany<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(self, lanes: Avx512) {
        // Lanes without a message hash nothing of meaning, and are dropped.
        let mut blocks = [[0; PADDED_WORDS]; 8];
        let mut hashes: [Words; 8] = [[0; 4]; 8];
        for messages in self.messages.chunks(8) {
            for (block, message) in blocks.iter_mut().zip(messages) {
                *block = pad(message);
            }
            let state = permute(lanes, lanes.absorb::<N>(&blocks));
            lanes.write_numbers([state[0], state[1], state[2], state[3]], &mut hashes);
            self.hashes.extend(hashes[..messages.len()].iter().map(hash));
        }
    }
}

impl StateLanes for Avx512 {
    type Word = Lane8;

    #[inline(always)]
    fn all(self, word: u64) -> Lane8 {
        Self::all(self, word)
    }

    #[inline(always)]
    fn xor(self, a: Lane8, b: Lane8) -> Lane8 {
        Self::xor(self, a, b)
    }

    #[inline(always)]
    fn xor3(self, a: Lane8, b: Lane8, c: Lane8) -> Lane8 {
        Self::xor3(self, a, b, c)
    }

    #[inline(always)]
    fn chi(self, a: Lane8, b: Lane8, c: Lane8) -> Lane8 {
        Self::chi(self, a, b, c)
    }

    #[inline(always)]
    fn rotate_left(self, a: Lane8, by: u32) -> Lane8 {
        Self::rotate_left(self, a, Self::all(self, u64::from(by)))
    }
}

impl Avx512 {
    /// Eight states that have taken in one block each, padded messages of `N` bytes.
    #[inline(always)]
    fn absorb<const N: usize>(self, blocks: &[[u64; PADDED_WORDS]; 8]) -> [Lane8; 25] {
        let mut state = [self.zero(); 25];
        // The end of the padding is the same in all of them, and before it there may be nothing but zeros.
        state[BLOCK_WORDS - 1] = self.all(1 << 63);
        for part in 0..(N + 1).div_ceil(64) {
            let mut rows = [self.zero(); 8];
            for (row, block) in rows.iter_mut().zip(blocks) {
                *row = self.read(&block.as_chunks().0[part]);
            }
            let words = self.transpose(rows);
            for (i, word) in words.into_iter().enumerate() {
                // Beyond the block there are zeros, as in a fresh state.
                if 8 * part + i < BLOCK_WORDS {
                    state[8 * part + i] = word;
                }
            }
        }
        state
    }
}
