//! Scalars in eight lanes of AVX-512: five limbs of 52 bits, as in [`crate::field::avx512`]. Montgomery radius
//! `2^260`.
//!
//! A scalar has no rubbish in its limbs and is below `2^257`: a product is
//! `(a * b + m * n) / 2^260 < 2^(257 + 257 - 260) + n < 2^257`.

use super::{A1, A2, G1, G2, HALF_BITS, MINUS_B1, N, Scalars, Window};
use crate::backend::Avx512;
use crate::backend::avx512::{Lane8, words_of};
use crate::field::avx512::{LIMB_BITS, LIMB_MASK, limbs_of};
use crate::field::{LaneMask, Words};

/// `-1 / n` modulo `2^52`.
const MINUS_INVERSE: u64 = 0xd_ff66_5588_b13f;

/// `2^520` modulo `n`.
const RADIUS_SQUARED: Words = words_from([
    0xe_180c_268b_3b23,
    0x9_4fd6_e33e_4c8e,
    0xd_07c7_3b97_5948,
    0xc_5e69_7f5e_45bc,
    0x671c_d581_c69b,
]);

/// `n`, and `2^256 - n`.
const N_LIMBS: [u64; 5] = limbs_of(&N);
const MINUS_N_LIMBS: [u64; 5] = limbs_of(&[!N[0] + 1, !N[1], !N[2], 0]);

/// Bits of the highest limb below `2^256`.
const TOP_BITS: u32 = 48;

/// A number below `2^156`: three limbs.
type Short = [u64; 3];

const fn words_from(limbs: [u64; 5]) -> Words {
    [
        limbs[0] | limbs[1] << 52,
        limbs[1] >> 12 | limbs[2] << 40,
        limbs[2] >> 24 | limbs[3] << 28,
        limbs[3] >> 36 | limbs[4] << 16,
    ]
}

/// Three words below `2^156` to three limbs.
const fn short(a: [u64; 3]) -> Short {
    let limbs = limbs_of(&[a[0], a[1], a[2], 0]);
    [limbs[0], limbs[1], limbs[2]]
}

/// `-a` modulo `2^156`, for `a` with a lowest limb that is not zero.
const fn minus(a: [u64; 3]) -> Short {
    let a = short(a);
    [(1 << LIMB_BITS) - a[0], LIMB_MASK - a[1], LIMB_MASK - a[2]]
}

/// Eight scalars.
#[derive(Clone, Copy)]
pub struct Scalar([Lane8; 5]);

/// Eight halves in signed form: three words of 64 bits, the last one a single bit.
#[derive(Clone, Copy)]
pub struct Half([Lane8; 3]);

/// Under `verify`: limbs in order, the number below `2^257`.
#[inline(always)]
fn check(a: Scalar) -> Scalar {
    if cfg!(feature = "verify") {
        for (i, limb) in a.0.iter().enumerate() {
            let max = if i < 4 { LIMB_MASK } else { (1 << (TOP_BITS + 1)) - 1 };
            assert!(words_of(*limb).iter().all(|limb| *limb <= max), "limb {i} of a scalar: {limb:x?}");
        }
    }
    a
}

impl Avx512 {
    /// Adds the low three columns of `a * b` to `acc`: the product modulo `2^156`. Every column gets at most
    /// five halves of 52 bits. Rubbish in `a` is ignored.
    #[inline(always)]
    fn mul_add_short(self, mut acc: [Lane8; 3], a: [Lane8; 3], b: &Short) -> [Lane8; 3] {
        for i in 0..3 {
            for j in 0..3 - i {
                acc[i + j] = self.madd_lo(acc[i + j], a[i], self.all(b[j]));
            }
            for j in 0..2_usize.saturating_sub(i) {
                acc[i + j + 1] = self.madd_hi(acc[i + j + 1], a[i], self.all(b[j]));
            }
        }
        acc
    }

    /// `u * g / 2^384`, rounded down, or one more so that it has the parity of `odd`'s lowest bit. Below `2^130`;
    /// limbs 0 and 1 with rubbish.
    #[inline(always)]
    fn multiple(self, u: Scalar, g: &Words, odd: Lane8) -> [Lane8; 3] {
        let mut t = self.columns([self.zero(); 10], &u.0, &self.all_limbs(&limbs_of(g)));
        let mask = self.all(LIMB_MASK);
        for i in 0..9 {
            t[i + 1] = self.add(t[i + 1], self.shift_right::<LIMB_BITS>(t[i]));
        }
        let (t7, t8) = (self.and(t[7], mask), self.and(t[8], mask));
        // 384 = 7 * 52 + 20.
        let low = self.or(self.shift_right::<20>(t7), self.and(self.shift_left::<32>(t8), mask));
        let middle = self.or(self.shift_right::<20>(t8), self.and(self.shift_left::<32>(t[9]), mask));
        let high = self.shift_right::<20>(t[9]);
        let low = self.add(low, self.and(self.xor(low, odd), self.all(1)));
        let middle = self.add(middle, self.shift_right::<LIMB_BITS>(low));
        [low, middle, self.add(high, self.shift_right::<LIMB_BITS>(middle))]
    }

    /// Half of a number of 156 bits in columns below `2^60`, as words. The number is even and below `2^130`
    /// modulo `2^156`.
    #[inline(always)]
    fn halve(self, e: [Lane8; 3]) -> Half {
        let mask = self.all(LIMB_MASK);
        let e1 = self.add(e[1], self.shift_right::<LIMB_BITS>(e[0]));
        let e2 = self.add(e[2], self.shift_right::<LIMB_BITS>(e1));
        let (e0, e1, e2) = (self.and(e[0], mask), self.and(e1, mask), self.and(e2, mask));
        Half([
            self.or(self.shift_right::<1>(e0), self.shift_left::<51>(e1)),
            self.or(self.shift_right::<13>(e1), self.shift_left::<39>(e2)),
            self.shift_right::<25>(e2),
        ])
    }
}

impl Scalars for Avx512 {
    type Scalar = Scalar;
    type Half = Half;

    const RADIUS_SQUARED: Words = RADIUS_SQUARED;

    #[inline(always)]
    fn load_scalars(self, values: &[Words]) -> Scalar {
        let values = values.try_into().expect("one number a lane");
        check(Scalar(self.to_limbs(self.read_numbers(values))))
    }

    #[inline(always)]
    fn store_scalars(self, a: Scalar, values: &mut [Words]) {
        let values = values.try_into().expect("one number a lane");
        let mut r = check(a).0;
        // Below 2^257 < 3n: take n away twice, where it can be. a >= n exactly if a + (2^256 - n) >= 2^256.
        for _ in 0..2 {
            let plus = self.tidy(self.carry(self.add_limbs(r, self.all_limbs(&MINUS_N_LIMBS))));
            let at_least_n = self.at_least(plus[4], self.all(1 << TOP_BITS));
            let mut less = plus;
            less[4] = self.sub(plus[4], self.all(1 << TOP_BITS));
            r = self.blend_limbs(at_least_n, less, r);
        }
        self.write_numbers(self.to_words(r), values);
    }

    /// One limb of `m` at a time clears the lowest limb of the sum, which then moves down. Columns stay below
    /// `2^57`: ten halves of the product, ten of `m * n`, and a carry.
    #[inline(always)]
    fn mul_mod_n(self, a: Scalar, b: Scalar) -> Scalar {
        let mut t = self.columns([self.zero(); 10], &check(a).0, &check(b).0);
        let n = self.all_limbs(&N_LIMBS);
        for i in 0..5 {
            // Only the low 52 bits of a column and of m count here.
            let m = self.madd_lo(self.zero(), t[i], self.all(MINUS_INVERSE));
            for j in 0..5 {
                t[i + j] = self.madd_lo(t[i + j], m, n[j]);
            }
            for j in 0..5 {
                t[i + j + 1] = self.madd_hi(t[i + j + 1], m, n[j]);
            }
            t[i + 1] = self.add(t[i + 1], self.shift_right::<LIMB_BITS>(t[i]));
        }
        check(Scalar(self.tidy(self.carry([t[5], t[6], t[7], t[8], t[9]]))))
    }

    #[inline(always)]
    fn split(self, u: Scalar) -> [Half; 2] {
        let u_low = check(u).0[0];
        let c1 = self.multiple(u, &G1, self.xor(u_low, self.all(1)));
        let c2 = self.multiple(u, &G2, u_low);
        // 2^129 - 1, plus the half: between 0 and 2^130, so 156 bits lose nothing.
        let bias =
            [self.all(LIMB_MASK), self.all(LIMB_MASK), self.all((1 << (HALF_BITS - 2 * LIMB_BITS)) - 1)];
        let with_u = [self.add(bias[0], u.0[0]), self.add(bias[1], u.0[1]), self.add(bias[2], u.0[2])];
        let k1 = self.mul_add_short(with_u, c1, const { &minus(A1) });
        let k1 = self.mul_add_short(k1, c2, const { &minus(A2) });
        let k2 = self.mul_add_short(bias, c1, const { &short(MINUS_B1) });
        let k2 = self.mul_add_short(k2, c2, const { &minus(A1) });
        [self.halve(k1), self.halve(k2)]
    }

    #[inline(always)]
    fn window(self, half: Half, window: &Window, entries: &mut [u16]) -> LaneMask {
        let entries = entries.try_into().expect("one entry a lane");
        let (word, shift) = ((window.offset / 64) as usize, window.offset % 64);
        let high = if word < 2 { half.0[word + 1] } else { self.zero() };
        let value = self.shift_right_pair(half.0[word], high, self.all(u64::from(shift)));
        let top = 1 << (window.bits - 1);
        let low_mask = self.all(top - 1);
        let negative = !self.any_bit(value, self.all(top));
        let index = self.and(self.blend(negative, self.xor(value, low_mask), value), low_mask);
        self.write_u16(self.add(index, self.all(u64::from(window.first))), entries);
        negative
    }
}
