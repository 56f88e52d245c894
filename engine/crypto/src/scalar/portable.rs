//! Scalars with plain integers: one number, four words, products always below `n`. Montgomery radius `2^256`.

use super::{A1, A2, G1, G2, HALF_BITS, MINUS_B1, N, Scalars, Window};
use crate::field::portable::{Portable, add_row, row, wide};
use crate::field::{LaneMask, Words};
use crate::modinv::{self, Modulus};

/// `-1 / n` modulo `2^64`.
const MINUS_INVERSE: u64 = 0x4b0d_ff66_5588_b13f;

/// `2^512` modulo `n`.
const RADIUS_SQUARED: Words =
    [0x896c_f214_67d7_d140, 0x7414_96c2_0e7c_f878, 0xe697_f5e4_5bcd_07c6, 0x9d67_1cd5_81c6_9bc5];

/// `n` for the inversion.
static MODULUS: Modulus = Modulus::new(N);

/// `a - n` if that is not negative, for `a` with a fifth word of 1 if `high`, below `2n`.
#[inline(always)]
fn below_n(a: Words, high: bool) -> Words {
    let (l0, borrow) = a[0].overflowing_sub(N[0]);
    let (l1, borrow) = a[1].borrowing_sub(N[1], borrow);
    let (l2, borrow) = a[2].borrowing_sub(N[2], borrow);
    let (l3, borrow) = a[3].borrowing_sub(N[3], borrow);
    if borrow & !high { a } else { [l0, l1, l2, l3] }
}

/// The Montgomery product `a * b / 2^256` modulo `n`, below `n`, for `a * b < 2^256 * n`.
#[inline(always)]
fn mul(a: &Words, b: &Words) -> Words {
    let mut t = wide(a, b);
    let mut high = false;
    for i in 0..4 {
        // The multiple of n that clears word i.
        let m = t[i].wrapping_mul(MINUS_INVERSE);
        let [_, t1, t2, t3, t4] = add_row(&t[i..], row(&N, m));
        (t[i + 1], t[i + 2], t[i + 3]) = (t1, t2, t3);
        (t[i + 4], high) = t[i + 4].carrying_add(t4, high);
    }
    // (a * b + m * n) / 2^256 < 2n.
    below_n([t[4], t[5], t[6], t[7]], high)
}

/// `a * b` modulo `n`, without a radius: for numbers below `n`.
#[inline(always)]
fn mul_plain(a: &Words, b: &Words) -> Words {
    mul(&mul(a, b), &RADIUS_SQUARED)
}

/// Turns up to eight numbers below `n`, none zero, into their inverses modulo `n`.
pub(super) fn invert_plain(values: &mut [Words]) {
    let mut prefixes = [[0; 4]; 8];
    let mut product = [1, 0, 0, 0];
    for (prefix, value) in prefixes.iter_mut().zip(values.iter()) {
        *prefix = product;
        product = mul_plain(&product, value);
    }
    let mut inverse = modinv::invert(&product, &MODULUS);
    for (prefix, value) in prefixes[..values.len()].iter().zip(values.iter_mut()).rev() {
        let next = mul_plain(&inverse, value);
        *value = mul_plain(&inverse, prefix);
        inverse = next;
    }
}

/// `-a` modulo `2^192`, for `a` with a lowest word that is not zero.
const fn minus(a: [u64; 3]) -> [u64; 3] {
    [a[0].wrapping_neg(), !a[1], !a[2]]
}

/// `acc + a * b` modulo `2^192`.
#[inline(always)]
fn mul_add(acc: [u64; 3], a: [u64; 2], b: [u64; 3]) -> [u64; 3] {
    let (l0, carry) = a[0].carrying_mul_add(b[0], acc[0], 0);
    let (l1, carry) = a[0].carrying_mul_add(b[1], acc[1], carry);
    let l2 = a[0].wrapping_mul(b[2]).wrapping_add(acc[2]).wrapping_add(carry);
    let (l1, carry) = a[1].carrying_mul_add(b[0], l1, 0);
    [l0, l1, a[1].wrapping_mul(b[1]).wrapping_add(l2).wrapping_add(carry)]
}

/// `u * g / 2^384`, rounded down, or one more so that it is odd as asked. Below `2^128`: `u < n` and `g / 2^256 < 0.9`.
#[inline(always)]
fn multiple(u: &Words, g: &Words, odd: u64) -> [u64; 2] {
    let product = wide(u, g);
    let (low, carry) = product[6].overflowing_add((product[6] ^ odd) & 1);
    [low, product[7] + u64::from(carry)]
}

/// `(k + 2^129 - 1) / 2`, given `k + 2^129 - 1`, which is even.
#[inline(always)]
fn halve(e: [u64; 3]) -> [u64; 3] {
    [e[0] >> 1 | e[1] << 63, e[1] >> 1 | e[2] << 63, e[2] >> 1]
}

impl Scalars for Portable {
    type Scalar = Words;
    type Half = [u64; 3];

    const RADIUS_SQUARED: Words = RADIUS_SQUARED;

    #[inline(always)]
    fn load_scalars(self, values: &[Words]) -> Words {
        values[0]
    }

    #[inline(always)]
    fn store_scalars(self, a: Words, values: &mut [Words]) {
        values[0] = below_n(a, false);
    }

    #[inline(always)]
    fn mul_mod_n(self, a: Words, b: Words) -> Words {
        mul(&a, &b)
    }

    #[inline(always)]
    fn split(self, u: Words) -> [[u64; 3]; 2] {
        let c1 = multiple(&u, &G1, !u[0] & 1);
        let c2 = multiple(&u, &G2, u[0] & 1);
        // 2^129 - 1, plus the half: between 0 and 2^130, so 192 bits lose nothing.
        let bias = [u64::MAX, u64::MAX, 1];
        let (l0, carry) = u[0].overflowing_add(bias[0]);
        let (l1, carry) = u[1].carrying_add(bias[1], carry);
        let l2 = u[2].wrapping_add(bias[2]).wrapping_add(u64::from(carry));
        let k1 = mul_add(mul_add([l0, l1, l2], c1, const { minus(A1) }), c2, const { minus(A2) });
        let k2 = mul_add(mul_add(bias, c1, MINUS_B1), c2, const { minus(A1) });
        [halve(k1), halve(k2)]
    }

    #[inline(always)]
    fn window(self, half: [u64; 3], window: &Window, entries: &mut [u16]) -> LaneMask {
        debug_assert!(window.offset + window.bits <= HALF_BITS);
        let (word, shift) = ((window.offset / 64) as usize, window.offset % 64);
        let high = if word < 2 { half[word + 1] } else { 0 };
        let value = (u128::from(high) << 64 | u128::from(half[word])) >> shift;
        let low_mask = (1 << (window.bits - 1)) - 1;
        let negative = value as u64 >> (window.bits - 1) & 1 ^ 1;
        // Inverted if negative: signs are random, so there is no branch.
        let index = (value as u64 ^ negative.wrapping_neg()) & low_mask;
        entries[0] = window.first + index as u16;
        negative as LaneMask
    }
}
