//! The field with plain integers: one number, four words, always below `2^256` and not always below `p`.
//!
//! Runs on every processor, and is the oracle for the other backends. Multiplication is schoolbook, a row of four
//! products at a time; the upper half folds down with `2^256 = 2^32 + 977 (mod p)`.
//!
//! # What makes it fast
//!
//! * A row is added up in one chain of carries, and a chain is nothing but `overflowing_add` and `carrying_add` next to each
//!   other: then the compiler keeps the carry in the processor's flag, and does not count it with comparisons.
//! * A borrow is as likely as not, so it is no branch: [`select_unpredictable`] says so. A *second* carry or borrow is
//!   met once in `2^189` numbers, so it is a branch that is always foreseen, and costs nothing.

use super::{FOLD_256, Field, LaneMask, P, PackedPoint, THREE_HALVES, Words};
use crate::modinv::{self, Modulus};
use core::hint::select_unpredictable;

/// The plain backend: nothing to detect, so anyone may make one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

/// `p` for the inversion.
static MODULUS: Modulus = Modulus::new(P);

/// The low and the high word of a product.
#[inline(always)]
const fn product(a: u64, b: u64) -> (u64, u64) {
    let product = a as u128 * b as u128;
    (product as u64, (product >> 64) as u64)
}

/// `a * word`: at most `(2^256 - 1) * (2^64 - 1)`.
#[inline(always)]
pub(crate) fn row(a: &Words, word: u64) -> [u64; 5] {
    let (l0, h0) = product(a[0], word);
    let (l1, h1) = product(a[1], word);
    let (l2, h2) = product(a[2], word);
    let (l3, h3) = product(a[3], word);
    let (r1, carry) = l1.overflowing_add(h0);
    let (r2, carry) = l2.carrying_add(h1, carry);
    let (r3, carry) = l3.carrying_add(h2, carry);
    [l0, r1, r2, r3, h3 + u64::from(carry)]
}

/// `a` plus a [`row`]: below `2^320`, `2^256 - 1 + (2^256 - 1) * (2^64 - 1) = (2^256 - 1) * 2^64`.
#[inline(always)]
pub(crate) fn add_row(a: &[u64], row: [u64; 5]) -> [u64; 5] {
    let (s0, carry) = a[0].overflowing_add(row[0]);
    let (s1, carry) = a[1].carrying_add(row[1], carry);
    let (s2, carry) = a[2].carrying_add(row[2], carry);
    let (s3, carry) = a[3].carrying_add(row[3], carry);
    [s0, s1, s2, s3, row[4] + u64::from(carry)]
}

/// The whole product of two numbers of 256 bits.
#[inline(always)]
pub(crate) fn wide(a: &Words, b: &Words) -> [u64; 8] {
    let t0 = row(a, b[0]);
    let t1 = add_row(&t0[1..], row(a, b[1]));
    let t2 = add_row(&t1[1..], row(a, b[2]));
    let t3 = add_row(&t2[1..], row(a, b[3]));
    [t0[0], t1[0], t2[0], t3[0], t3[1], t3[2], t3[3], t3[4]]
}

/// The whole square: the mixed products once, doubled, and the squares of the words.
#[inline(always)]
fn wide_square(a: &Words) -> [u64; 8] {
    // a0 * (a1, a2, a3), and a1 * (a2, a3) with a2 * a3 above it: five words from bit 64 on, and four from bit 192 on.
    let (m1, h1) = product(a[0], a[1]);
    let (l2, h2) = product(a[0], a[2]);
    let (l3, h3) = product(a[0], a[3]);
    let (m2, carry) = l2.overflowing_add(h1);
    let (m3, carry) = l3.carrying_add(h2, carry);
    let m4 = h3 + u64::from(carry);
    let (n3, g3) = product(a[1], a[2]);
    let (l4, g4) = product(a[1], a[3]);
    let (l5, g5) = product(a[2], a[3]);
    let (n4, carry) = l4.overflowing_add(g3);
    let (n5, carry) = l5.carrying_add(g4, carry);
    let n6 = g5 + u64::from(carry);
    let (m3, carry) = m3.overflowing_add(n3);
    let (m4, carry) = m4.carrying_add(n4, carry);
    let (m5, carry) = n5.carrying_add(0, carry);
    let m6 = n6 + u64::from(carry);
    let (s0, s1) = product(a[0], a[0]);
    let (s2, s3) = product(a[1], a[1]);
    let (s4, s5) = product(a[2], a[2]);
    let (s6, s7) = product(a[3], a[3]);
    let (r1, carry) = (m1 << 1).overflowing_add(s1);
    let (r2, carry) = (m2 << 1 | m1 >> 63).carrying_add(s2, carry);
    let (r3, carry) = (m3 << 1 | m2 >> 63).carrying_add(s3, carry);
    let (r4, carry) = (m4 << 1 | m3 >> 63).carrying_add(s4, carry);
    let (r5, carry) = (m5 << 1 | m4 >> 63).carrying_add(s5, carry);
    let (r6, carry) = (m6 << 1 | m5 >> 63).carrying_add(s6, carry);
    [s0, r1, r2, r3, r4, r5, r6, s7 + (m6 >> 63) + u64::from(carry)]
}

/// A product of 512 bits modulo `p`, below `2^256`.
#[inline(always)]
fn reduce(t: &[u64; 8]) -> Words {
    let upper = [t[4], t[5], t[6], t[7]];
    // What is left above 2^256 is at most FOLD_256, so that its own fold is below 2^67.
    let [l0, l1, l2, l3, over] = add_row(&t[..4], row(&upper, FOLD_256));
    let (low, high) = product(over, FOLD_256);
    let (l0, carry) = l0.overflowing_add(low);
    let (l1, carry) = l1.carrying_add(high, carry);
    let (l2, carry) = l2.carrying_add(0, carry);
    let (l3, carry) = l3.carrying_add(0, carry);
    if carry { fold_carry([l0, l1, l2, l3]) } else { [l0, l1, l2, l3] }
}

/// `a + 2^256` modulo `p`, for `a` below `2^67`.
#[cold]
fn fold_carry(a: Words) -> Words {
    let (l0, carry) = a[0].overflowing_add(FOLD_256);
    [l0, a[1] + u64::from(carry), a[2], a[3]]
}

/// `a - 2^256` modulo `p`, for `a` of at least `2^256 - FOLD_256`, whose lowest word is large enough to take from.
#[cold]
fn fold_borrow(a: Words) -> Words {
    [a[0] - FOLD_256, a[1], a[2], a[3]]
}

/// `a * b` modulo `p`.
#[inline(always)]
fn mul(a: &Words, b: &Words) -> Words {
    reduce(&wide(a, b))
}

/// `a^2` modulo `p`.
#[inline(always)]
fn square(a: &Words) -> Words {
    reduce(&wide_square(a))
}

/// `a - b` modulo `p`.
#[inline(always)]
fn sub(a: &Words, b: &Words) -> Words {
    let (l0, borrow) = a[0].overflowing_sub(b[0]);
    let (l1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (l2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (l3, borrow) = a[3].borrowing_sub(b[3], borrow);
    // A borrow stands for 2^256 too much: take FOLD_256 back. A second one needs b > p.
    let (l0, borrow) = l0.overflowing_sub(select_unpredictable(borrow, FOLD_256, 0));
    let (l1, borrow) = l1.borrowing_sub(0, borrow);
    let (l2, borrow) = l2.borrowing_sub(0, borrow);
    let (l3, borrow) = l3.borrowing_sub(0, borrow);
    if borrow { fold_borrow([l0, l1, l2, l3]) } else { [l0, l1, l2, l3] }
}

/// `p - a` if asked, else `a`, for `0 < a < p`. The signs of digits are random, so there is no branch.
#[inline(always)]
fn negate_if(negate: bool, a: &Words) -> Words {
    let mask = select_unpredictable(negate, u64::MAX, 0);
    // p - a = (2^256 - 1 - a) - (FOLD_256 - 1).
    let (l0, borrow) = (a[0] ^ mask).overflowing_sub(mask & (FOLD_256 - 1));
    let (l1, borrow) = (a[1] ^ mask).borrowing_sub(0, borrow);
    let (l2, borrow) = (a[2] ^ mask).borrowing_sub(0, borrow);
    [l0, l1, l2, (a[3] ^ mask) - u64::from(borrow)]
}

/// The number below `p`.
#[inline(always)]
fn canonical(a: &Words) -> Words {
    // a >= p exactly if a + (2^256 - p) carries out, and then the sum is the number wanted.
    let (l0, carry) = a[0].overflowing_add(FOLD_256);
    let (l1, carry) = a[1].carrying_add(0, carry);
    let (l2, carry) = a[2].carrying_add(0, carry);
    let (l3, carry) = a[3].carrying_add(0, carry);
    if carry { [l0, l1, l2, l3] } else { *a }
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
        (point.x, negate_if(negate & 1 == 1, &point.y))
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
        square(&a)
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
        sub(&sub(&square(&a), &b), &c)
    }

    #[inline(always)]
    fn three_halves(self, a: Words) -> Words {
        mul(&a, &THREE_HALVES)
    }

    #[inline(always)]
    fn is_zero(self, a: Words) -> LaneMask {
        LaneMask::from(a == [0; 4] || a == P)
    }

    #[inline(always)]
    fn select(self, mask: LaneMask, on: Words, off: Words) -> Words {
        if mask & 1 == 1 { on } else { off }
    }
}
