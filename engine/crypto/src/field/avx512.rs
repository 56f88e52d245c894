//! The field in eight lanes of AVX-512: five limbs of 52 bits, one register a limb.
//!
//! The instructions `vpmadd52luq` and `vpmadd52huq` (IFMA) multiply the **low 52 bits** of two lanes and add
//! the low or the high half of the product to a third. So whatever lies above bit 52 of a factor's limb is
//! ignored, and a carry need not be masked off once it has been added to the limb above. That is the whole
//! difference between the two types:
//!
//! * [`Factor`]: the digits of the number are the low 52 bits of each limb; the rest of limbs 0 to 3 is
//!   rubbish, a carry that limb 4 and its like below already contain. Limb 4 is exact.
//! * [`Fe`]: the number is the plain sum of its limbs: no rubbish, so limbs can be subtracted. Limbs 0 to 3 are below
//!   `2^52` in magnitude, and may be negative: a point is negated without a carry.
//!
//! Reduction: `2^260 = 16 * (2^32 + 977)` folds the upper five limbs of a product onto the lower five, and
//! `2^256 = 2^32 + 977` folds what then lies above bit 256. A product costs 62 multiply-adds, a square 42;
//! the processor starts one in a cycle, and everything else fits beside them.

use super::{FOLD_256, Field, LaneMask, P, PackedPoint, Words};
use crate::backend::Avx512;
use crate::backend::avx512::{Lane8, words_of};

/// Bits of a limb.
pub(crate) const LIMB_BITS: u32 = 52;

/// The lowest 52 bits.
pub(crate) const LIMB_MASK: u64 = u64::MAX >> 12;

/// Bits of the highest limb that lie below `2^256`.
const TOP_BITS: u32 = 48;

/// The lowest 48 bits.
const TOP_MASK: u64 = u64::MAX >> 16;

/// `2^256`, seen from limb 4.
const TOP_ONE: u64 = 1 << TOP_BITS;

/// `2^260` modulo `p`.
const FOLD_260: u64 = FOLD_256 << 4;

/// `p` in limbs of 52 bits.
const P_LIMBS: [u64; 5] = limbs_of(&P);

/// The largest magnitude of a factor: `15 * (2^48 + 2^16) < 2^52`.
const FACTOR_MAX: u64 = 15;

/// Eight elements.
#[derive(Clone, Copy)]
pub struct Fe([Lane8; 5]);

/// Eight factors.
#[derive(Clone, Copy)]
pub struct Factor([Lane8; 5]);

/// A number of 256 bits in limbs.
pub(crate) const fn limbs_of(a: &Words) -> [u64; 5] {
    [
        a[0] & LIMB_MASK,
        (a[0] >> 52 | a[1] << 12) & LIMB_MASK,
        (a[1] >> 40 | a[2] << 24) & LIMB_MASK,
        (a[2] >> 28 | a[3] << 36) & LIMB_MASK,
        a[3] >> 16,
    ]
}

/// Limbs. (Loops, not closures: a closure is a function of its own, which the compiler may leave without the
/// backend's instructions.)
impl Avx512 {
    /// The same number in every lane.
    #[inline(always)]
    pub(crate) fn all_limbs(self, value: &[u64; 5]) -> [Lane8; 5] {
        let mut r = [self.zero(); 5];
        for i in 0..5 {
            r[i] = self.all(value[i]);
        }
        r
    }

    /// `a + b`, limb by limb.
    #[inline(always)]
    pub(crate) fn add_limbs(self, mut a: [Lane8; 5], b: [Lane8; 5]) -> [Lane8; 5] {
        for i in 0..5 {
            a[i] = self.add(a[i], b[i]);
        }
        a
    }

    /// `a - b`, limb by limb.
    #[inline(always)]
    pub(crate) fn sub_limbs(self, mut a: [Lane8; 5], b: [Lane8; 5]) -> [Lane8; 5] {
        for i in 0..5 {
            a[i] = self.sub(a[i], b[i]);
        }
        a
    }

    /// `on` in the lanes of `mask`, `off` in the others.
    #[inline(always)]
    pub(crate) fn blend_limbs(self, mask: LaneMask, on: [Lane8; 5], mut off: [Lane8; 5]) -> [Lane8; 5] {
        for i in 0..5 {
            off[i] = self.blend(mask, on[i], off[i]);
        }
        off
    }

    /// Adds to each of limbs 1 to 4 what lies above bit 52 of the limb below, which keeps it as rubbish. Limbs
    /// are signed, below `2^63` in magnitude; the number they stand for must not be negative.
    #[inline(always)]
    pub(crate) fn carry(self, mut r: [Lane8; 5]) -> [Lane8; 5] {
        for i in 0..4 {
            r[i + 1] = self.add(r[i + 1], self.shift_right_signed::<LIMB_BITS>(r[i]));
        }
        r
    }

    /// Takes the rubbish off limbs 0 to 3.
    #[inline(always)]
    pub(crate) fn tidy(self, mut r: [Lane8; 5]) -> [Lane8; 5] {
        for limb in &mut r[..4] {
            *limb = self.and(*limb, self.all(LIMB_MASK));
        }
        r
    }

    /// Adds the ten columns of `a * b` to `acc`. Every column gets at most ten halves of 52 bits: below `2^56`.
    #[inline(always)]
    pub(crate) fn columns(self, mut acc: [Lane8; 10], a: &[Lane8; 5], b: &[Lane8; 5]) -> [Lane8; 10] {
        for i in 0..5 {
            for j in 0..5 {
                acc[i + j] = self.madd_lo(acc[i + j], a[i], b[j]);
            }
            for j in 0..5 {
                acc[i + j + 1] = self.madd_hi(acc[i + j + 1], a[i], b[j]);
            }
        }
        acc
    }

    /// Adds the ten columns of `a^2` to `low` and zeros: the mixed products once, doubled, then the squares.
    #[inline(always)]
    fn square_columns(self, low: Option<[Lane8; 5]>, a: &[Lane8; 5]) -> [Lane8; 10] {
        let mut acc = [self.zero(); 10];
        for i in 0..5 {
            for j in i + 1..5 {
                acc[i + j] = self.madd_lo(acc[i + j], a[i], a[j]);
                acc[i + j + 1] = self.madd_hi(acc[i + j + 1], a[i], a[j]);
            }
        }
        for column in &mut acc[1..9] {
            *column = self.add(*column, *column);
        }
        if let Some(low) = low {
            acc[0] = low[0];
            for i in 1..5 {
                acc[i] = self.add(acc[i], low[i]);
            }
        }
        for i in 0..5 {
            acc[2 * i] = self.madd_lo(acc[2 * i], a[i], a[i]);
            acc[2 * i + 1] = self.madd_hi(acc[2 * i + 1], a[i], a[i]);
        }
        acc
    }

    /// Folds ten columns into five limbs. `base` is added to the top limb: 0 if no column can be negative, else
    /// `2^48`, and then the caller has added `k * p - 2^256` with `k` large enough for the top column to stay
    /// positive.
    ///
    /// Columns 5 to 9 are below `2^56`; columns 0 to 4 are below `2^56` and above `-2^54`; the number that all
    /// columns stand for is below `2^520 + 2^260`. Gives a number in `[0, 2^256 + base * 2^208 + 2^222)`,
    /// carries added but not masked off.
    #[inline(always)]
    fn fold(self, c: [Lane8; 10], base: u64) -> [Lane8; 5] {
        let [mut r0, mut r1, mut r2, mut r3, mut r4, t5, mut t6, mut t7, mut t8, mut t9] = c;
        t6 = self.add(t6, self.shift_right::<LIMB_BITS>(t5));
        t7 = self.add(t7, self.shift_right::<LIMB_BITS>(t6));
        t8 = self.add(t8, self.shift_right::<LIMB_BITS>(t7));
        t9 = self.add(t9, self.shift_right::<LIMB_BITS>(t8));
        let fold_260 = self.all(FOLD_260);
        // Top first: the next fold waits for it.
        r4 = self.madd_hi(r4, t8, fold_260);
        r4 = self.madd_lo(r4, t9, fold_260);
        let r5 = self.madd_hi(self.zero(), t9, fold_260);
        r3 = self.madd_hi(r3, t7, fold_260);
        r3 = self.madd_lo(r3, t8, fold_260);
        r2 = self.madd_hi(r2, t6, fold_260);
        r2 = self.madd_lo(r2, t7, fold_260);
        r1 = self.madd_hi(r1, t5, fold_260);
        r1 = self.madd_lo(r1, t6, fold_260);
        r0 = self.madd_lo(r0, t5, fold_260);
        // Everything from bit 256 up: r5 is below 2^37, so `over` is below 2^42 and fits a factor's limb.
        let over = self.add(self.shift_right::<TOP_BITS>(r4), self.shift_left::<4>(r5));
        r4 = if base == 0 {
            self.and(r4, self.all(TOP_MASK))
        } else {
            // (r4 & mask) | base
            self.and_or(r4, self.all(TOP_MASK), self.all(base))
        };
        let fold_256 = self.all(FOLD_256);
        r0 = self.madd_lo(r0, over, fold_256);
        r1 = self.madd_hi(r1, over, fold_256);
        self.carry([r0, r1, r2, r3, r4])
    }

    /// `k * p - 2^256` minus the given limbs, with `k` = 4 (one subtrahend) or 7 (two): their magnitudes are at most 2
    /// each, so limb 4 stays at `(k - 1) * 2^48 - (k - 3) * (2^48 + 2^16) > 0` or more.
    #[inline(always)]
    fn bias_minus(self, k: u64, c: &[Lane8; 5]) -> [Lane8; 5] {
        let bias = [
            self.all((k * FOLD_256).wrapping_neg()),
            self.zero(),
            self.zero(),
            self.zero(),
            self.all((k - 1) << TOP_BITS),
        ];
        self.sub_limbs(bias, *c)
    }

    /// The number below `p`. Takes magnitude 2.
    #[inline(always)]
    fn canonical(self, a: &Fe) -> [Lane8; 5] {
        let fold_256 = self.all(FOLD_256);
        let top_mask = self.all(TOP_MASK);
        let mut r = self.tidy(self.carry(a.0));
        // Fold what lies above 2^256, at most 2; then the number is below 2^256 + 2^35 and below 2p.
        let over = self.shift_right::<TOP_BITS>(r[4]);
        r[4] = self.and(r[4], top_mask);
        r[0] = self.madd_lo(r[0], over, fold_256);
        r = self.tidy(self.carry(r));
        // It is at least p exactly if adding 2^256 - p reaches 2^256, and then the rest is the number wanted.
        let mut plus = r;
        plus[0] = self.add(plus[0], fold_256);
        plus = self.tidy(self.carry(plus));
        let at_least_p = self.at_least(plus[4], self.all(TOP_ONE));
        plus[4] = self.and(plus[4], top_mask);
        self.blend_limbs(at_least_p, plus, r)
    }

    /// A product is below `2p`, so it is zero modulo `p` exactly if it is 0 or `p`.
    #[inline(always)]
    fn zero_lanes(self, a: &Factor) -> LaneMask {
        let r = self.tidy(a.0);
        let mut not_zero = r[0];
        let mut not_p = self.xor(r[0], self.all(P_LIMBS[0]));
        for i in 1..5 {
            not_zero = self.or(not_zero, r[i]);
            not_p = self.or(not_p, self.xor(r[i], self.all(P_LIMBS[i])));
        }
        self.equal(not_zero, self.zero()) | self.equal(not_p, self.zero())
    }

    /// Four words to five limbs.
    #[inline(always)]
    pub(crate) fn to_limbs(self, w: [Lane8; 4]) -> [Lane8; 5] {
        let r = [
            w[0],
            self.shift_right_pair(w[0], w[1], self.all(52)),
            self.shift_right_pair(w[1], w[2], self.all(40)),
            self.shift_right_pair(w[2], w[3], self.all(28)),
            self.shift_right::<16>(w[3]),
        ];
        self.tidy(r)
    }

    /// Five limbs of a number below `2^256`, without rubbish, to four words.
    #[inline(always)]
    pub(crate) fn to_words(self, r: [Lane8; 5]) -> [Lane8; 4] {
        [
            self.or(r[0], self.shift_left::<52>(r[1])),
            self.or(self.shift_right::<12>(r[1]), self.shift_left::<40>(r[2])),
            self.or(self.shift_right::<24>(r[2]), self.shift_left::<28>(r[3])),
            self.or(self.shift_right::<36>(r[3]), self.shift_left::<16>(r[4])),
        ]
    }
}

/// Under `verify`: limbs 0 to 3 in order, the number not negative and of magnitude `m` or less.
#[inline(always)]
fn check_fe(a: Fe, m: u64) -> Fe {
    if cfg!(feature = "verify") {
        check_top(&a.0, m);
        for limb in &a.0[..4] {
            let in_order = |limb: &u64| (*limb as i64).unsigned_abs() <= LIMB_MASK;
            assert!(words_of(*limb).iter().all(in_order), "an element out of order: {limb:x?}");
        }
    }
    a
}

/// Under `verify`: a factor of magnitude `m` or less.
#[inline(always)]
fn check_factor(a: Factor, m: u64) -> Factor {
    if cfg!(feature = "verify") {
        check_top(&a.0, m);
    }
    a
}

fn check_top(limbs: &[Lane8; 5], m: u64) {
    let top_max = m * (TOP_ONE + (1 << 16));
    assert!(words_of(limbs[4]).iter().all(|top| *top <= top_max), "magnitude above {m}: {:x?}", limbs[4]);
}

impl Field for Avx512 {
    const LANES: usize = 8;
    type Fe = Fe;
    type Factor = Factor;

    #[inline(always)]
    fn splat(self, value: &Words) -> Fe {
        check_fe(Fe(self.all_limbs(&limbs_of(value))), 1)
    }

    #[inline(always)]
    fn load(self, values: &[Words]) -> Fe {
        let values = values.try_into().expect("one number a lane");
        check_fe(Fe(self.to_limbs(self.read_numbers(values))), 1)
    }

    #[inline(always)]
    fn store(self, a: Fe, values: &mut [Words]) {
        let values = values.try_into().expect("one number a lane");
        self.write_numbers(self.to_words(self.canonical(&check_fe(a, 2))), values);
    }

    #[inline(always)]
    fn gather(self, points: &[&PackedPoint], negate: LaneMask) -> (Fe, Fe) {
        let points: &[&PackedPoint; 8] = points.try_into().expect("one point a lane");
        let x = self.to_limbs(self.read_xs(points));
        let y = self.to_limbs(self.read_ys(points));
        // p - y: no point of the curve has y = 0, and y < p, so 0 < p - y < p.
        let opposite = self.sub_limbs(self.all_limbs(&P_LIMBS), y);
        let y = self.blend_limbs(negate, opposite, y);
        (check_fe(Fe(x), 1), check_fe(Fe(y), 1))
    }

    #[inline(always)]
    fn gather_x(self, points: &[&PackedPoint]) -> Fe {
        let points = points.try_into().expect("one point a lane");
        check_fe(Fe(self.to_limbs(self.read_xs(points))), 1)
    }

    #[inline(always)]
    fn scatter(self, x: Fe, y: Fe, points: &mut [PackedPoint]) {
        let points: &mut [PackedPoint; 8] = points.try_into().expect("one point a lane");
        let x = self.to_words(self.canonical(&check_fe(x, 2)));
        let y = self.to_words(self.canonical(&check_fe(y, 2)));
        let rows = self.transpose([x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]]);
        for (row, point) in rows.into_iter().zip(points) {
            self.write_point(row, point);
        }
    }

    #[inline(always)]
    fn factor(self, a: Fe) -> Factor {
        check_factor(Factor(self.carry(check_fe(a, 2).0)), 2)
    }

    #[inline(always)]
    fn settle(self, a: Factor) -> Fe {
        check_fe(Fe(self.tidy(check_factor(a, 1).0)), 1)
    }

    #[inline(always)]
    fn mul(self, a: Factor, b: Factor) -> Factor {
        let (a, b) = (check_factor(a, FACTOR_MAX), check_factor(b, FACTOR_MAX));
        check_factor(Factor(self.fold(self.columns([self.zero(); 10], &a.0, &b.0), 0)), 1)
    }

    #[inline(always)]
    fn square(self, a: Factor) -> Factor {
        let a = check_factor(a, FACTOR_MAX);
        check_factor(Factor(self.fold(self.square_columns(None, &a.0), 0)), 1)
    }

    /// `a + 3p - b` is not negative, because `b` of magnitude 2 is below `3p`.
    #[inline(always)]
    fn sub(self, a: Fe, b: Fe) -> Factor {
        let (a, b) = (check_fe(a, 2), check_fe(b, 2));
        let mut r = self.sub_limbs(a.0, b.0);
        r[0] = self.sub(r[0], self.all(3 * FOLD_256));
        r[4] = self.add(r[4], self.all(3 << TOP_BITS));
        check_factor(Factor(self.carry(r)), 5)
    }

    #[inline(always)]
    fn mul_sub(self, a: Factor, b: Factor, c: Fe) -> Fe {
        let (a, b, c) = (check_factor(a, FACTOR_MAX), check_factor(b, FACTOR_MAX), check_fe(c, 2));
        let mut acc = [self.zero(); 10];
        acc[..5].copy_from_slice(&self.bias_minus(4, &c.0));
        check_fe(Fe(self.tidy(self.fold(self.columns(acc, &a.0, &b.0), TOP_ONE))), 2)
    }

    #[inline(always)]
    fn square_sub2(self, a: Factor, b: Fe, c: Fe) -> Fe {
        let (a, b, c) = (check_factor(a, FACTOR_MAX), check_fe(b, 2), check_fe(c, 2));
        let both = self.add_limbs(b.0, c.0);
        let acc = self.square_columns(Some(self.bias_minus(7, &both)), &a.0);
        check_fe(Fe(self.tidy(self.fold(acc, TOP_ONE))), 2)
    }

    /// `a + a / 2`. An odd `a` gets `p` first: `(a + p) / 2` is `a / 2`, rounded down, and `(p + 1) / 2`. Below
    /// `(3 * (2^256 + 2^224) + 2^256) / 2`.
    #[inline(always)]
    fn three_halves(self, a: Factor) -> Factor {
        let a = self.tidy(check_factor(a, 1).0);
        let odd = self.any_bit(a[0], self.all(1));
        let mut r = a;
        for i in 0..5 {
            r[i] = self.add(a[i], self.shift_right::<1>(a[i]));
        }
        for i in 0..4 {
            // The lowest bit of the limb above.
            let half =
                self.and(self.shift_left::<{ LIMB_BITS - 1 }>(a[i + 1]), self.all(1 << (LIMB_BITS - 1)));
            r[i] = self.add(r[i], half);
        }
        // (p + 1) / 2 = 2^255 - (2^32 + 976) / 2.
        r[0] = self.blend(odd, self.sub(r[0], self.all(FOLD_256 / 2)), r[0]);
        r[4] = self.blend(odd, self.add(r[4], self.all(TOP_ONE / 2)), r[4]);
        check_factor(Factor(self.carry(r)), 2)
    }

    #[inline(always)]
    fn is_zero(self, a: Factor) -> LaneMask {
        self.zero_lanes(&check_factor(a, 1))
    }

    #[inline(always)]
    fn select(self, mask: LaneMask, on: Factor, off: Factor) -> Factor {
        Factor(self.blend_limbs(mask, on.0, off.0))
    }
}

/// Numbers made of limbs, for the shared suite.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::avx512::from_words;
    use num_bigint::{BigInt, BigUint};
    use rand::RngExt;
    use rand::rngs::StdRng;

    /// Any limbs of magnitude up to `m`, often the extreme ones; limbs 0 to 3 with rubbish above bit 52 (for a
    /// factor), or with any sign (for an element).
    pub(crate) fn loose(rng: &mut StdRng, m: u64, rubbish: bool) -> [u64; 5] {
        let top_max = m * (TOP_ONE + (1 << 16));
        let mut limbs: [u64; 5] = match rng.random_range(0..4) {
            0 => [LIMB_MASK, LIMB_MASK, LIMB_MASK, LIMB_MASK, top_max],
            1 => core::array::from_fn(|_| if rng.random() { LIMB_MASK } else { 0 }),
            // Multiples of p and their neighbours.
            2 => {
                let k = rng.random_range(0..m);
                let mut limbs = P_LIMBS;
                limbs[4] = ((k + 1) << TOP_BITS) - 1;
                limbs[0] = limbs[0] - k * FOLD_256 + rng.random_range(0..3) - 1;
                limbs
            }
            _ => rng.random(),
        };
        limbs[4] = if limbs[4] > top_max { limbs[4] % (top_max + 1) } else { limbs[4] };
        // With a top limb of at least 1, no signs make the number negative.
        let signs = !rubbish && limbs[4] > 0 && rng.random();
        for limb in &mut limbs[..4] {
            *limb &= LIMB_MASK;
            if rubbish {
                *limb |= rng.random::<u64>() << LIMB_BITS;
            } else if signs && rng.random() {
                *limb = limb.wrapping_neg();
            }
        }
        limbs
    }

    /// What the limbs of an element stand for.
    pub(crate) fn value(limbs: &[u64; 5]) -> BigUint {
        let signed = |i: usize| BigInt::from(limbs[i] as i64) << (i as u32 * LIMB_BITS);
        (0..5).map(signed).sum::<BigInt>().try_into().expect("an element is not negative")
    }

    /// What the limbs of a factor stand for.
    pub(crate) fn digits(limbs: &[u64; 5]) -> BigUint {
        value(&core::array::from_fn(|i| limbs[i] & LIMB_MASK))
    }

    /// The element with these limbs.
    pub(crate) fn fe(lanes: &[[u64; 5]]) -> Fe {
        Fe(core::array::from_fn(|i| from_words(core::array::from_fn(|lane| lanes[lane][i]))))
    }

    /// The factor with these limbs.
    pub(crate) fn factor(lanes: &[[u64; 5]]) -> Factor {
        Factor(fe(lanes).0)
    }
}
