//! Keccak-f\[1600\] on eight states at once: one register for each of the 25 words of the state.
//!
//! Source: Bertoni, Daemen, Peeters, Van Assche, *The Keccak reference* 3.0, sections 1.2 (the steps) and 1.3 (the
//! sponge). The word at column `x` and row `y` is `state[x + 5 * y]`.

use super::BLOCK_BYTES;
use crate::backend::avx512::Lane8;
use crate::backend::{Avx512, Kernel};
use crate::field::Words;
use alloc::vec::Vec;

/// Words of a block.
const BLOCK_WORDS: usize = BLOCK_BYTES / 8;

/// The block rounded up to three registers of eight words.
const PADDED_WORDS: usize = 24;

/// The constants of the step iota, one a round.
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// How far the step rho rotates the word at `x + 5 * y`.
const ROTATIONS: [u64; 25] =
    [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14];

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
            let mut state = lanes.absorb(&blocks);
            for constant in ROUND_CONSTANTS {
                state = lanes.round(state, constant);
            }
            lanes.write_numbers([state[0], state[1], state[2], state[3]], &mut hashes);
            for hash in &hashes[..messages.len()] {
                let mut bytes = [0; 32];
                for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(hash) {
                    *bytes = word.to_le_bytes();
                }
                self.hashes.push(bytes);
            }
        }
    }
}

/// A message as a block: a 1 bit after it, another one at the end of the block.
#[inline(always)]
fn pad<const N: usize>(message: &[u8; N]) -> [u64; PADDED_WORDS] {
    let mut bytes = [0; PADDED_WORDS * 8];
    bytes[..N].copy_from_slice(message);
    bytes[N] = 0x01;
    bytes[BLOCK_BYTES - 1] |= 0x80;
    let mut words = [0; PADDED_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

impl Avx512 {
    /// Eight states that have taken in one block each.
    #[inline(always)]
    fn absorb(self, blocks: &[[u64; PADDED_WORDS]; 8]) -> [Lane8; 25] {
        let mut state = [self.zero(); 25];
        for part in 0..PADDED_WORDS / 8 {
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

    /// One round: theta, rho, pi, chi, iota.
    #[inline(always)]
    fn round(self, mut a: [Lane8; 25], constant: u64) -> [Lane8; 25] {
        let mut parity = [self.zero(); 5];
        for x in 0..5 {
            parity[x] = self.xor3(self.xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
        }
        let mut b = [self.zero(); 25];
        for x in 0..5 {
            let rotated = self.rotate_left(parity[(x + 1) % 5], self.all(1));
            for y in 0..5 {
                let word = self.xor3(a[x + 5 * y], parity[(x + 4) % 5], rotated);
                b[y + 5 * ((2 * x + 3 * y) % 5)] = self.rotate_left(word, self.all(ROTATIONS[x + 5 * y]));
            }
        }
        for y in 0..5 {
            for x in 0..5 {
                a[x + 5 * y] = self.chi(b[x + 5 * y], b[(x + 1) % 5 + 5 * y], b[(x + 2) % 5 + 5 * y]);
            }
        }
        a[0] = self.xor(a[0], self.all(constant));
        a
    }
}
