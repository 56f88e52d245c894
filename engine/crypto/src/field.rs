//! The field: numbers modulo `p = 2^256 - 2^32 - 977`, several at once.
//!
//! This file is the contract. [`portable`] fulfils it with plain integers, one number at a time, and is the
//! oracle of the tests; `avx512` fulfils it with eight numbers in the lanes of AVX-512 registers. The tree of
//! additions ([`crate::sum`]) and the tables ([`crate::table`]) are written once, against this contract.
//!
//! # Two kinds of numbers
//!
//! * [`Field::Fe`], an *element*: may be stored, subtracted, and turned into a factor.
//! * [`Field::Factor`]: may only be multiplied. A multiplication needs less order among its limbs than a
//!   subtraction does, and most results of this kernel are multiplied again. The type keeps the two apart,
//!   so that the work of tidying a number is only done where it is needed.
//!
//! # Magnitudes
//!
//! The *magnitude* of a number is how far it may lie above `p`: a number of magnitude `m` is below
//! `m * (2^256 + 2^224)`. Every function says what it takes and what it gives. Backends check it under the
//! feature `verify`; the portable backend needs no rule, because all its numbers are below `2^256`.
//!
//! | function | takes | gives |
//! |---|---|---|
//! | `splat`, `load`, `gather`, `gather_x` | numbers below `p` | element of magnitude 1 |
//! | `mul`, `square` | factors of magnitude up to 15 | factor of magnitude 1 |
//! | `sub` | elements of magnitude up to 2 | factor of magnitude up to 5 |
//! | `mul_sub`, `square_sub2` | factors up to 15, elements up to 2 | element of magnitude 2 |
//! | `three_halves` | factor of magnitude 1 | factor of magnitude 2 |
//! | `settle` | factor of magnitude 1 | element of magnitude 1 |
//! | `is_zero` | factor of magnitude 1 | a mask |
//! | `store` | element of magnitude up to 2 | numbers below `p` |
//!
//! Nothing here is constant time: all numbers are public (see the crate's docs).

#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod portable;

use bytemuck::{Pod, Zeroable};

#[cfg(test)]
mod tests;

/// A number of 256 bits: four words, the least significant first.
pub type Words = [u64; 4];

/// The prime `p`.
pub const P: Words = [0xffff_fffe_ffff_fc2f, u64::MAX, u64::MAX, u64::MAX];

/// `2^256 - p`: what a carry out of 256 bits is worth modulo `p`.
pub const FOLD_256: u64 = 0x1_0000_03d1;

/// Three halves modulo `p`.
pub const THREE_HALVES: Words = [0xffff_ffff_7fff_fe19, u64::MAX, u64::MAX, 0x7fff_ffff_ffff_ffff];

/// A point of the curve, neither infinity nor anything but affine coordinates: one cache line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable, Pod)]
#[repr(C, align(64))]
pub struct PackedPoint {
    /// The x coordinate, below `p`.
    pub x: Words,
    /// The y coordinate, below `p`.
    pub y: Words,
}

impl From<&crate::recover::PublicKey> for PackedPoint {
    fn from(key: &crate::recover::PublicKey) -> Self {
        Self { x: number(key.x()), y: number(key.y()) }
    }
}

/// The number that 32 big-endian bytes hold.
#[inline(always)]
pub fn number(bytes: &[u8; 32]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().rev().zip(bytes.as_chunks().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

/// One bit a lane, the first lane lowest.
pub type LaneMask = u8;

/// The field in lanes. Slices hold one entry a lane; a slice of another length is a broken invariant.
pub trait Field: Copy {
    /// How many numbers one element holds: at most 8.
    const LANES: usize;
    /// Elements; see the module's docs.
    type Fe: Copy;
    /// Numbers that can only be multiplied; see the module's docs.
    type Factor: Copy;

    /// The same number in every lane.
    fn splat(self, value: &Words) -> Self::Fe;

    /// One number a lane.
    fn load(self, values: &[Words]) -> Self::Fe;

    /// The number of every lane, below `p`.
    fn store(self, a: Self::Fe, values: &mut [Words]);

    /// One point a lane as `(x, y)`; where `negate` is set, the opposite point.
    fn gather(self, points: &[&PackedPoint], negate: LaneMask) -> (Self::Fe, Self::Fe);

    /// The x coordinate of one point a lane.
    fn gather_x(self, points: &[&PackedPoint]) -> Self::Fe;

    /// One point a lane, written as a table keeps it.
    fn scatter(self, x: Self::Fe, y: Self::Fe, points: &mut [PackedPoint]);

    /// The element as a factor.
    fn factor(self, a: Self::Fe) -> Self::Factor;

    /// A factor that came out of [`Field::mul`] or [`Field::square`] as an element.
    fn settle(self, a: Self::Factor) -> Self::Fe;

    /// `a * b`.
    fn mul(self, a: Self::Factor, b: Self::Factor) -> Self::Factor;

    /// `a^2`.
    fn square(self, a: Self::Factor) -> Self::Factor;

    /// `a - b`.
    fn sub(self, a: Self::Fe, b: Self::Fe) -> Self::Factor;

    /// `a * b - c`.
    fn mul_sub(self, a: Self::Factor, b: Self::Factor, c: Self::Fe) -> Self::Fe;

    /// `a^2 - b - c`.
    fn square_sub2(self, a: Self::Factor, b: Self::Fe, c: Self::Fe) -> Self::Fe;

    /// `3/2 * a`: what doubling a point multiplies by.
    fn three_halves(self, a: Self::Factor) -> Self::Factor;

    /// The lanes in which a product is zero modulo `p`.
    fn is_zero(self, a: Self::Factor) -> LaneMask;

    /// `on` in the lanes of `mask`, `off` in the others.
    fn select(self, mask: LaneMask, on: Self::Factor, off: Self::Factor) -> Self::Factor;
}

/// Turns every lane into its inverse modulo `p`, at the cost of one inversion and three multiplications a
/// lane (Montgomery's trick). A lane that holds zero makes every lane meaningless: the caller rules it out.
#[inline(always)]
pub fn invert<F: Field>(field: F, a: F::Factor) -> F::Factor {
    let mut values = [[0; 4]; 8];
    let values = &mut values[..F::LANES];
    field.store(field.settle(a), values);
    portable::invert_all(values);
    field.factor(field.load(values))
}
