//! Keccak-f\[1600\], written once for any number of states side by side, and the padding of a block.
//!
//! Source: Bertoni, Daemen, Peeters, Van Assche, *The Keccak reference* 3.0, sections 1.2 (the steps) and 1.3 (the
//! sponge). The word at column `x` and row `y` is `state[x + 5 * y]`.
//!
//! The callers are the registers: [`super::sse2`] and [`super::avx512`].

use super::BLOCK_BYTES;
use crate::field::Words;

/// Words of a block.
pub(super) const BLOCK_WORDS: usize = BLOCK_BYTES / 8;

/// The block rounded up to three registers of eight words.
pub(super) const PADDED_WORDS: usize = 24;

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
const ROTATIONS: [u32; 25] =
    [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14];

/// What the rounds do to a word, in as many states at once as a register has lanes. All methods are `#[inline(always)]`,
/// so that they are compiled with the instructions of their caller.
pub(super) trait StateLanes: Copy {
    /// One word of every state.
    type Word: Copy;

    /// The same word in every state.
    fn all(self, word: u64) -> Self::Word;

    /// `a ^ b`.
    fn xor(self, a: Self::Word, b: Self::Word) -> Self::Word;

    /// `a ^ b ^ c`.
    fn xor3(self, a: Self::Word, b: Self::Word, c: Self::Word) -> Self::Word;

    /// `a ^ (!b & c)`.
    fn chi(self, a: Self::Word, b: Self::Word, c: Self::Word) -> Self::Word;

    /// `a` rotated to the left, by less than 64.
    fn rotate_left(self, a: Self::Word, by: u32) -> Self::Word;
}

/// All 24 rounds.
#[inline(always)]
pub(super) fn permute<L: StateLanes>(lanes: L, mut state: [L::Word; 25]) -> [L::Word; 25] {
    for constant in ROUND_CONSTANTS {
        state = round(lanes, state, constant);
    }
    state
}

/// One round: theta, rho, pi, chi, iota.
#[inline(always)]
fn round<L: StateLanes>(lanes: L, mut a: [L::Word; 25], constant: u64) -> [L::Word; 25] {
    let zero = lanes.all(0);
    let mut parity = [zero; 5];
    for x in 0..5 {
        parity[x] = lanes.xor3(lanes.xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
    }
    let mut b = [zero; 25];
    for x in 0..5 {
        let rotated = lanes.rotate_left(parity[(x + 1) % 5], 1);
        for y in 0..5 {
            let word = lanes.xor3(a[x + 5 * y], parity[(x + 4) % 5], rotated);
            b[y + 5 * ((2 * x + 3 * y) % 5)] = lanes.rotate_left(word, ROTATIONS[x + 5 * y]);
        }
    }
    for y in 0..5 {
        for x in 0..5 {
            a[x + 5 * y] = lanes.chi(b[x + 5 * y], b[(x + 1) % 5 + 5 * y], b[(x + 2) % 5 + 5 * y]);
        }
    }
    a[0] = lanes.xor(a[0], lanes.all(constant));
    a
}

/// A message as a block: a 1 bit after it, another one at the end of the block.
#[inline(always)]
pub(super) fn pad<const N: usize>(message: &[u8; N]) -> [u64; PADDED_WORDS] {
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

/// The hash that the first words of a state are.
#[inline(always)]
pub(super) fn hash(words: &Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}
