//! The field with plain integers: one number, four words, always below `2^256` and not always below `p`.
//!
//! Runs on every processor, and is the oracle for the other backends. Multiplication is schoolbook with
//! 128-bit products; the upper half folds down with `2^256 = 2^32 + 977 (mod p)`.

use super::{FOLD_256, Field, LaneMask, P, PackedPoint, THREE_HALVES, Words};
use crate::modinv::{self, Modulus};

/// The plain backend: nothing to detect, so anyone may make one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

/// `p` for the inversion.
static MODULUS: Modulus = Modulus::new(P);

/// `a + b + carry` and the carry out, which is 0 or 1 if `carry` is.
#[inline(always)]
pub(crate) const fn adc(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = a as u128 + b as u128 + carry as u128;
    (sum as u64, (sum >> 64) as u64)
}

/// `a - b - borrow` and the borrow out, 0 or 1.
#[inline(always)]
pub(crate) const fn sbb(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let difference = (a as u128).wrapping_sub(b as u128).wrapping_sub(borrow as u128);
    (difference as u64, (difference >> 64) as u64 & 1)
}

/// `acc + a * b + carry` and the carry out: never overflows, `(2^64-1)^2 + 2 * (2^64-1) < 2^128`.
#[inline(always)]
pub(crate) const fn mac(acc: u64, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = acc as u128 + a as u128 * b as u128 + carry as u128;
    (sum as u64, (sum >> 64) as u64)
}

/// The whole product of two numbers of 256 bits.
#[inline(always)]
pub(crate) fn wide(a: &Words, b: &Words) -> [u64; 8] {
    let mut product = [0; 8];
    for i in 0..4 {
        let mut carry = 0;
        for j in 0..4 {
            (product[i + j], carry) = mac(product[i + j], a[i], b[j], carry);
        }
        product[i + 4] = carry;
    }
    product
}

/// The whole square: the mixed products once, doubled, and the squares of the words.
#[inline(always)]
fn wide_square(a: &Words) -> [u64; 8] {
    let (m1, carry) = mac(0, a[0], a[1], 0);
    let (m2, carry) = mac(0, a[0], a[2], carry);
    let (m3, m4) = mac(0, a[0], a[3], carry);
    let (m3, carry) = mac(m3, a[1], a[2], 0);
    let (m4, m5) = mac(m4, a[1], a[3], carry);
    let (m5, m6) = mac(m5, a[2], a[3], 0);
    let square = |word: u64| {
        let square = u128::from(word) * u128::from(word);
        (square as u64, (square >> 64) as u64)
    };
    let (s0, s1) = square(a[0]);
    let (s2, s3) = square(a[1]);
    let (s4, s5) = square(a[2]);
    let (s6, s7) = square(a[3]);
    let (r1, carry) = adc(m1 << 1, s1, 0);
    let (r2, carry) = adc(m2 << 1 | m1 >> 63, s2, carry);
    let (r3, carry) = adc(m3 << 1 | m2 >> 63, s3, carry);
    let (r4, carry) = adc(m4 << 1 | m3 >> 63, s4, carry);
    let (r5, carry) = adc(m5 << 1 | m4 >> 63, s5, carry);
    let (r6, carry) = adc(m6 << 1 | m5 >> 63, s6, carry);
    [s0, r1, r2, r3, r4, r5, r6, s7 + (m6 >> 63) + carry]
}

/// Adds `extra * 2^256`, reduced modulo `p`, to `a`. `extra` is below `2^34`.
#[inline(always)]
fn fold(a: [u64; 4], extra: u64) -> Words {
    let (l0, carry) = mac(a[0], extra, FOLD_256, 0);
    let (l1, carry) = adc(a[1], 0, carry);
    let (l2, carry) = adc(a[2], 0, carry);
    let (l3, carry) = adc(a[3], 0, carry);
    // A second carry leaves less than 2^68 behind, so that adding FOLD_256 once more ends in word 1.
    let (l0, carry) = adc(l0, carry * FOLD_256, 0);
    [l0, l1 + carry, l2, l3]
}

/// A product of 512 bits modulo `p`, below `2^256`.
#[inline(always)]
fn reduce(product: [u64; 8]) -> Words {
    let (l0, carry) = mac(product[0], product[4], FOLD_256, 0);
    let (l1, carry) = mac(product[1], product[5], FOLD_256, carry);
    let (l2, carry) = mac(product[2], product[6], FOLD_256, carry);
    let (l3, carry) = mac(product[3], product[7], FOLD_256, carry);
    // The carry is below FOLD_256 + 1 < 2^34.
    fold([l0, l1, l2, l3], carry)
}

/// `a * b` modulo `p`.
#[inline(always)]
pub fn mul(a: &Words, b: &Words) -> Words {
    reduce(wide(a, b))
}

/// `a - b` modulo `p`.
#[inline(always)]
pub fn sub(a: &Words, b: &Words) -> Words {
    let (l0, borrow) = sbb(a[0], b[0], 0);
    let (l1, borrow) = sbb(a[1], b[1], borrow);
    let (l2, borrow) = sbb(a[2], b[2], borrow);
    let (l3, borrow) = sbb(a[3], b[3], borrow);
    // A borrow stands for 2^256 too much: take FOLD_256 back. A second borrow leaves at least 2^256 - 2^33
    // behind, whose lowest word is large enough to take the rest from.
    let (l0, borrow) = sbb(l0, borrow * FOLD_256, 0);
    let (l1, borrow) = sbb(l1, 0, borrow);
    let (l2, borrow) = sbb(l2, 0, borrow);
    let (l3, borrow) = sbb(l3, 0, borrow);
    [l0 - borrow * FOLD_256, l1, l2, l3]
}

/// The number below `p`.
#[inline(always)]
pub fn canonical(a: &Words) -> Words {
    // a >= p exactly if a + (2^256 - p) carries out, and then the sum is the number wanted.
    let (l0, carry) = adc(a[0], FOLD_256, 0);
    let (l1, carry) = adc(a[1], 0, carry);
    let (l2, carry) = adc(a[2], 0, carry);
    let (l3, carry) = adc(a[3], 0, carry);
    if carry == 1 { [l0, l1, l2, l3] } else { *a }
}

/// Turns every number into its inverse modulo `p`. None may be zero modulo `p`.
pub fn invert_all(values: &mut [Words]) {
    let mut prefixes = [[0; 4]; 8];
    let mut product = [1, 0, 0, 0];
    for (prefix, value) in prefixes.iter_mut().zip(values.iter()) {
        *prefix = product;
        product = mul(&product, value);
    }
    let mut inverse = modinv::invert(&canonical(&product), &MODULUS);
    for (prefix, value) in prefixes[..values.len()].iter().zip(values.iter_mut()).rev() {
        let next = mul(&inverse, value);
        *value = canonical(&mul(&inverse, prefix));
        inverse = next;
    }
}

impl Field for Portable {
    const LANES: usize = 1;
    type Fe = Words;
    type Factor = Words;

    #[inline(always)]
    fn splat(self, value: &Words) -> Words {
        *value
    }

    #[inline(always)]
    fn load(self, values: &[Words]) -> Words {
        values[0]
    }

    #[inline(always)]
    fn store(self, a: Words, values: &mut [Words]) {
        values[0] = canonical(&a);
    }

    #[inline(always)]
    fn gather(self, points: &[&PackedPoint], negate: LaneMask) -> (Words, Words) {
        let point = points[0];
        (point.x, if negate & 1 == 0 { point.y } else { sub(&[0; 4], &point.y) })
    }

    #[inline(always)]
    fn gather_x(self, points: &[&PackedPoint]) -> Words {
        points[0].x
    }

    #[inline(always)]
    fn scatter(self, x: Words, y: Words, points: &mut [PackedPoint]) {
        points[0] = PackedPoint { x: canonical(&x), y: canonical(&y) };
    }

    #[inline(always)]
    fn factor(self, a: Words) -> Words {
        a
    }

    #[inline(always)]
    fn settle(self, a: Words) -> Words {
        a
    }

    #[inline(always)]
    fn mul(self, a: Words, b: Words) -> Words {
        mul(&a, &b)
    }

    #[inline(always)]
    fn square(self, a: Words) -> Words {
        reduce(wide_square(&a))
    }

    #[inline(always)]
    fn sub(self, a: Words, b: Words) -> Words {
        sub(&a, &b)
    }

    #[inline(always)]
    fn mul_sub(self, a: Words, b: Words, c: Words) -> Words {
        sub(&mul(&a, &b), &c)
    }

    #[inline(always)]
    fn square_sub2(self, a: Words, b: Words, c: Words) -> Words {
        sub(&sub(&reduce(wide_square(&a)), &b), &c)
    }

    #[inline(always)]
    fn three_halves(self, a: Words) -> Words {
        mul(&a, &THREE_HALVES)
    }

    #[inline(always)]
    fn is_zero(self, a: Words) -> LaneMask {
        LaneMask::from(canonical(&a) == [0; 4])
    }

    #[inline(always)]
    fn select(self, mask: LaneMask, on: Words, off: Words) -> Words {
        if mask & 1 == 1 { on } else { off }
    }
}
