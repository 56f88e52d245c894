//! Scalars with plain integers: one number, four words, products always below `n`. Montgomery radius `2^256`.

use super::{A1, A2, G1, G2, HALF_BITS, MINUS_B1, N, Scalars, Window};
use crate::field::portable::{Portable, adc, mac, sbb, wide};
use crate::field::{LaneMask, Words};
use crate::modinv::{self, Modulus};

/// `-1 / n` modulo `2^64`.
const MINUS_INVERSE: u64 = 0x4b0d_ff66_5588_b13f;

/// `2^512` modulo `n`.
const RADIUS_SQUARED: Words =
    [0x896c_f214_67d7_d140, 0x7414_96c2_0e7c_f878, 0xe697_f5e4_5bcd_07c6, 0x9d67_1cd5_81c6_9bc5];

/// `n` for the inversion.
static MODULUS: Modulus = Modulus::new(N);

/// `a - n` if that is not negative, for `a` with a fifth word `high`, below `2n`.
#[inline(always)]
fn below_n(a: Words, high: u64) -> Words {
    let (l0, borrow) = sbb(a[0], N[0], 0);
    let (l1, borrow) = sbb(a[1], N[1], borrow);
    let (l2, borrow) = sbb(a[2], N[2], borrow);
    let (l3, borrow) = sbb(a[3], N[3], borrow);
    if borrow > high { a } else { [l0, l1, l2, l3] }
}

/// The Montgomery product `a * b / 2^256` modulo `n`, below `n`, for `a * b < 2^256 * n`.
#[inline(always)]
fn mul(a: &Words, b: &Words) -> Words {
    let mut t = wide(a, b);
    let mut high = 0;
    for i in 0..4 {
        let m = t[i].wrapping_mul(MINUS_INVERSE);
        let mut carry = 0;
        for j in 0..4 {
            (t[i + j], carry) = mac(t[i + j], m, N[j], carry);
        }
        (t[i + 4], high) = adc(t[i + 4], carry, high);
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

/// `-a` modulo `2^192`.
const fn minus(a: [u64; 3]) -> [u64; 3] {
    let (l0, borrow) = sbb(0, a[0], 0);
    let (l1, borrow) = sbb(0, a[1], borrow);
    let (l2, _) = sbb(0, a[2], borrow);
    [l0, l1, l2]
}

/// `acc + a * b` modulo `2^192`.
#[inline(always)]
fn mul_add(mut acc: [u64; 3], a: [u64; 2], b: [u64; 3]) -> [u64; 3] {
    for (i, a) in a.into_iter().enumerate() {
        let mut carry = 0;
        for j in 0..3 - i {
            (acc[i + j], carry) = mac(acc[i + j], a, b[j], carry);
        }
    }
    acc
}

/// `u * g / 2^384`, rounded down, or one more so that it is odd as asked. Below `2^128`: `u < n` and `g / 2^256 < 0.9`.
#[inline(always)]
fn multiple(u: &Words, g: &Words, odd: u64) -> [u64; 2] {
    let product = wide(u, g);
    let (low, carry) = adc(product[6], (product[6] ^ odd) & 1, 0);
    [low, product[7] + carry]
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
        values[0] = below_n(a, 0);
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
        let (l0, carry) = adc(bias[0], u[0], 0);
        let (l1, carry) = adc(bias[1], u[1], carry);
        let (l2, _) = adc(bias[2], u[2], carry);
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
        let negative = value as u64 >> (window.bits - 1) & 1 == 0;
        let index = if negative { !value as u64 } else { value as u64 } & low_mask;
        entries[0] = window.first + index as u16;
        LaneMask::from(negative)
    }
}
