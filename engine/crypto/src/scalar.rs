//! The scalars: numbers modulo the group order `n`, several at once, on their way to table lookups.
//!
//! This file is the contract, with the same two backends as [`crate::field`]. A signature `(r, s)` over `z` is checked by the
//! sum `u1 G + u2 Q` with `u1 = z/s` and `u2 = r/s`. What this module gives for `u1` and `u2` is which points
//! of the tables to add, in four steps:
//!
//! 1. [`invert_all`]: all `1/s` of a chunk, by one inversion.
//! 2. [`Scalars::mul_mod_n`]: Montgomery products, `a * b / R` modulo `n`. `R` is the backend's own affair, and
//!    cancels: `invert_all` gives `R/s`, so that a product with it is `z/s`.
//! 3. [`Scalars::split`]: the endomorphism splits `u = k1 + k2 * lambda` into two *halves* below `2^129` in
//!    magnitude, **both odd**.
//! 4. [`Scalars::window`]: an odd half is a sum of odd signed digits, none of them zero, so that every window adds
//!    exactly one point.
//!
//! # Splitting into odd halves
//!
//! Take `c1` and `c2` near `u * b2 / n` and `-u * b1 / n`; then `k1 = u - c1 a1 - c2 a2` and `k2 = -c1 b1 - c2 b2`
//! are small for the lattice basis `(a1, b1)`, `(a2, b2)` of Gallant, Lambert and Vanstone (CRYPTO 2001; the
//! basis is the one libsecp256k1 derives in `scalar_impl.h`). Of the four numbers only `a2` is even. So
//! `k1 = u + c1` and `k2 = c1 + c2` modulo 2, and both are odd exactly if `c1` differs from `u` in parity and
//! `c2` does not. Instead of rounding to the nearest integer we round down and, if the parity is wrong, add 1:
//! each `c` is off by at most `1 + 2^-100`, and
//! `|k1| <= (1 + 2^-100) (a1 + a2) < 1.28 * 2^128`, `|k2| <= (1 + 2^-100) (|b1| + b2) < 1.09 * 2^128`.
//!
//! # Signed digits without carries
//!
//! `v = (k + 2^129 - 1) / 2` has 129 bits, and `k` is the sum of `±2^j`, plus where bit `j` of `v` is set. A window
//! of `b` bits of `v` with the value `w` is therefore the odd digit `2 w - (2^b - 1)`: its sign is its top bit,
//! and the index of its magnitude among the odd numbers is `w` without the top bit, inverted if negative.
//! [`Scalars::split`] gives `v`.

use crate::field::{Field, LaneMask, Words};

#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod portable;

#[cfg(test)]
mod tests;

/// The order of the group, `n`.
pub const N: Words = [0xbfd2_5e8c_d036_4141, 0xbaae_dce6_af48_a03b, 0xffff_ffff_ffff_fffe, u64::MAX];

/// Bits of a half in its signed form.
pub const HALF_BITS: u32 = 129;

/// `2^384 * b2 / n` and `2^384 * -b1 / n`, rounded to the nearest.
const G1: Words =
    [0xe893_209a_45db_b031, 0x3daa_8a14_71e8_ca7f, 0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd];
const G2: Words =
    [0x1571_b4ae_8ac4_7f71, 0x2212_08ac_9df5_06c6, 0x6f54_7fa9_0abf_e4c4, 0xe443_7ed6_010e_8828];

/// The basis: `a1 = b2`, `a2`, and `-b1`. Three words each.
const A1: [u64; 3] = [0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd, 0];
const A2: [u64; 3] = [0x57c1_108d_9d44_cfd8, 0x14ca_50f7_a8e2_f3f6, 1];
const MINUS_B1: [u64; 3] = [0x6f54_7fa9_0abf_e4c3, 0xe443_7ed6_010e_8828, 0];

/// Where a window lies in a half, and in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its lowest bit.
    pub offset: u32,
    /// How many bits it has: 2 to 15.
    pub bits: u32,
    /// Where the table keeps its first point: that of the digit 1.
    pub first: u16,
}

/// The scalars in lanes. Slices hold one entry a lane.
pub trait Scalars: Field {
    /// A number modulo `n` in every lane.
    type Scalar: Copy;
    /// A half in signed form (`v` above) in every lane.
    type Half: Copy;

    /// The square of the Montgomery radius, modulo `n`.
    const RADIUS_SQUARED: Words;

    /// One number a lane, below `2^256`.
    fn load_scalars(self, values: &[Words]) -> Self::Scalar;

    /// The number of every lane, below `n`.
    fn store_scalars(self, a: Self::Scalar, values: &mut [Words]);

    /// `a * b / R` modulo `n`. Both are products, or loaded, and at least one of them is a product or was loaded
    /// below `n`.
    fn mul_mod_n(self, a: Self::Scalar, b: Self::Scalar) -> Self::Scalar;

    /// Two odd halves of a product `u`: `u = k1 + k2 * lambda`.
    fn split(self, u: Self::Scalar) -> [Self::Half; 2];

    /// The table entry of a window's digit in every lane, and the lanes whose digit is negative.
    fn window(self, half: Self::Half, window: &Window, entries: &mut [u16]) -> LaneMask;
}

/// Turns every `s` into `R/s` modulo `n`, by one inversion for all. None is zero modulo `n`, all are below `n`.
/// `prefixes` is memory of the same length.
#[inline(always)]
pub fn invert_all<L: Scalars>(lanes: L, scalars: &mut [L::Scalar], prefixes: &mut [L::Scalar]) {
    let mut product = scalars[0];
    for i in 1..scalars.len() {
        prefixes[i] = product;
        product = lanes.mul_mod_n(product, scalars[i]);
    }
    let mut values = [[0; 4]; 8];
    let values = &mut values[..L::LANES];
    lanes.store_scalars(product, values);
    portable::invert_plain(values);
    // The product of m numbers stands for R times the product of m numbers divided by R. One factor of R more here
    // and every step below gives R/s.
    let radius_squared = lanes.load_scalars(&[L::RADIUS_SQUARED; 8][..L::LANES]);
    let mut inverse = lanes.mul_mod_n(lanes.load_scalars(values), radius_squared);
    for i in (1..scalars.len()).rev() {
        let next = lanes.mul_mod_n(inverse, scalars[i]);
        scalars[i] = lanes.mul_mod_n(inverse, prefixes[i]);
        inverse = next;
    }
    scalars[0] = inverse;
}
