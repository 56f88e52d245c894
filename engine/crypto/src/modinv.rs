//! Inverses modulo an odd number of 256 bits, by the "safegcd" of Bernstein and Yang in its variable-time
//! form: the fastest way known for one number, about a microsecond.
//!
//! Source: Daniel J. Bernstein and Bo-Yin Yang, *Fast constant-time gcd computation and modular inversion*
//! (2019), in the arrangement that Pieter Wuille wrote down for libsecp256k1 (`doc/safegcd_implementation.md`).
//!
//! The state is a pair `(f, g)` that starts as `(modulus, x)` and shrinks to `(±1, 0)`; `(d, e)` follow it
//! with `d * x = f` and `e * x = g` modulo the modulus. Sixty-two steps at a time are computed on the lowest
//! words alone, collected in a 2x2 matrix, and then applied to the long numbers.

use crate::field::Words;

/// How many steps one matrix collects.
const STEPS: u32 = 62;

/// Bits of a limb.
const LIMB_BITS: u32 = 62;

/// The lowest 62 bits.
const LIMB_MASK: u64 = u64::MAX >> 2;

/// A signed number: five limbs of 62 bits; the last one carries the sign.
type Signed = [i64; 5];

/// An odd modulus and its inverse modulo `2^62`.
pub struct Modulus {
    limbs: Signed,
    inverse_62: u64,
}

impl Modulus {
    /// Prepares an odd modulus.
    pub const fn new(modulus: Words) -> Self {
        // Newton's iteration doubles the number of right bits: 3, 6, 12, 24, 48, 96.
        let odd = modulus[0];
        let mut inverse = odd;
        let mut i = 0;
        while i < 5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
            i += 1;
        }
        Self { limbs: to_signed(&modulus), inverse_62: inverse & LIMB_MASK }
    }
}

const fn to_signed(a: &Words) -> Signed {
    [
        (a[0] & LIMB_MASK) as i64,
        ((a[0] >> 62 | a[1] << 2) & LIMB_MASK) as i64,
        ((a[1] >> 60 | a[2] << 4) & LIMB_MASK) as i64,
        ((a[2] >> 58 | a[3] << 6) & LIMB_MASK) as i64,
        (a[3] >> 56) as i64,
    ]
}

/// `a` is in `[0, 2^256)` with every limb in `[0, 2^62)`.
const fn from_signed(a: &Signed) -> Words {
    [
        a[0] as u64 | (a[1] as u64) << 62,
        a[1] as u64 >> 2 | (a[2] as u64) << 60,
        a[2] as u64 >> 4 | (a[3] as u64) << 58,
        a[3] as u64 >> 6 | (a[4] as u64) << 56,
    ]
}

/// What 62 steps do: `2^62 * (f', g') = (u f + v g, q f + r g)`. The sum of a row's magnitudes is at most 2^62.
struct Matrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

/// Makes 62 steps on the lowest words. `eta` is minus the delta of the paper.
#[inline(always)]
fn steps(mut eta: i64, f0: u64, g0: u64) -> (i64, Matrix) {
    let (mut u, mut v, mut q, mut r) = (1_u64, 0_u64, 0_u64, 1_u64);
    let (mut f, mut g) = (f0, g0);
    let mut left = STEPS;
    loop {
        // All trailing zeros of g are steps that only halve it; a sentinel stops at the last step.
        let zeros = (g | u64::MAX << left).trailing_zeros();
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        eta -= i64::from(zeros);
        left -= zeros;
        if left == 0 {
            break;
        }
        // f and g are odd. Swap so that eta is not negative, then add the multiple of f that clears as many
        // low bits of g as the formulas below and the steps left allow.
        let w;
        if eta < 0 {
            eta = -eta;
            (f, g) = (g, f.wrapping_neg());
            (u, q) = (q, u.wrapping_neg());
            (v, r) = (r, v.wrapping_neg());
            // -g/f modulo 2^6: f * (f^2 - 2) is -1/f to six bits.
            let limit = left.min((eta as u32).wrapping_add(1)).min(6);
            let mask = u64::MAX >> (64 - limit);
            w = f.wrapping_mul(g).wrapping_mul(f.wrapping_mul(f).wrapping_sub(2)) & mask;
        } else {
            // -g/f modulo 2^4: f + 2 * ((f + 1) & 4) is 1/f to four bits.
            let limit = left.min((eta as u32).wrapping_add(1)).min(4);
            let mask = u64::MAX >> (64 - limit);
            let inverse = f.wrapping_add((f.wrapping_add(1) & 4) << 1);
            w = inverse.wrapping_mul(g).wrapping_neg() & mask;
        }
        g = g.wrapping_add(f.wrapping_mul(w));
        q = q.wrapping_add(u.wrapping_mul(w));
        r = r.wrapping_add(v.wrapping_mul(w));
    }
    (eta, Matrix { u: u as i64, v: v as i64, q: q as i64, r: r as i64 })
}

/// `a * b` of signed 64-bit numbers: below `2^126` in magnitude for limbs.
#[inline(always)]
fn product(a: i64, b: i64) -> i128 {
    i128::from(a) * i128::from(b)
}

/// Applies a matrix to `(d, e)` modulo the modulus. Both stay in `(-2 * modulus, modulus)`.
#[inline(always)]
fn update_de(d: &mut Signed, e: &mut Signed, t: &Matrix, modulus: &Modulus) {
    let m = &modulus.limbs;
    // Negative numbers get one modulus, so that the result stays in range.
    let sign_d = d[4] >> 63;
    let sign_e = e[4] >> 63;
    let mut md = (t.u & sign_d) + (t.v & sign_e);
    let mut me = (t.q & sign_d) + (t.r & sign_e);
    let mut cd = product(t.u, d[0]) + product(t.v, e[0]);
    let mut ce = product(t.q, d[0]) + product(t.r, e[0]);
    // Add the multiple of the modulus that clears the lowest limb.
    let fix = |c: i128, m: i64| {
        let low = modulus.inverse_62.wrapping_mul(c as u64).wrapping_add(m as u64) & LIMB_MASK;
        m - low as i64
    };
    md = fix(cd, md);
    me = fix(ce, me);
    cd = (cd + product(m[0], md)) >> LIMB_BITS;
    ce = (ce + product(m[0], me)) >> LIMB_BITS;
    for i in 1..5 {
        cd += product(t.u, d[i]) + product(t.v, e[i]) + product(m[i], md);
        ce += product(t.q, d[i]) + product(t.r, e[i]) + product(m[i], me);
        d[i - 1] = (cd as u64 & LIMB_MASK) as i64;
        e[i - 1] = (ce as u64 & LIMB_MASK) as i64;
        cd >>= LIMB_BITS;
        ce >>= LIMB_BITS;
    }
    d[4] = cd as i64;
    e[4] = ce as i64;
}

/// Applies a matrix to `(f, g)`, which divides exactly. Only the lowest `len` limbs are in use.
#[inline(always)]
fn update_fg(f: &mut Signed, g: &mut Signed, t: &Matrix, len: usize) {
    let mut cf = (product(t.u, f[0]) + product(t.v, g[0])) >> LIMB_BITS;
    let mut cg = (product(t.q, f[0]) + product(t.r, g[0])) >> LIMB_BITS;
    for i in 1..len {
        cf += product(t.u, f[i]) + product(t.v, g[i]);
        cg += product(t.q, f[i]) + product(t.r, g[i]);
        f[i - 1] = (cf as u64 & LIMB_MASK) as i64;
        g[i - 1] = (cg as u64 & LIMB_MASK) as i64;
        cf >>= LIMB_BITS;
        cg >>= LIMB_BITS;
    }
    f[len - 1] = cf as i64;
    g[len - 1] = cg as i64;
}

/// Brings `a` from `(-2 * modulus, modulus)` to `[0, modulus)`, negated first if `negative`.
fn normalize(mut a: Signed, negative: bool, modulus: &Modulus) -> Signed {
    let m = &modulus.limbs;
    let add_if_negative = |a: &mut Signed| {
        if a[4] < 0 {
            a.iter_mut().zip(m).for_each(|(a, m)| *a += m);
        }
    };
    let carry = |a: &mut Signed| {
        for i in 0..4 {
            a[i + 1] += a[i] >> LIMB_BITS;
            a[i] &= LIMB_MASK as i64;
        }
    };
    add_if_negative(&mut a);
    if negative {
        a.iter_mut().for_each(|a| *a = -*a);
    }
    carry(&mut a);
    add_if_negative(&mut a);
    carry(&mut a);
    a
}

/// The inverse of `x` modulo the modulus. `x` is below the modulus and shares no factor with it; zero gives
/// zero.
pub fn invert(x: &Words, modulus: &Modulus) -> Words {
    let mut d = [0; 5];
    let mut e = [1, 0, 0, 0, 0];
    let mut f = modulus.limbs;
    let mut g = to_signed(x);
    let mut len = 5;
    let mut eta = -1;
    // Ends after at most 12 rounds: 735 steps suffice for 256 bits (the paper, theorem 11.2).
    loop {
        let (next, t) = steps(eta, f[0] as u64, g[0] as u64);
        eta = next;
        update_de(&mut d, &mut e, &t, modulus);
        update_fg(&mut f, &mut g, &t, len);
        if g[..len].iter().all(|limb| *limb == 0) {
            break;
        }
        // Drop the top limbs once both are mere sign extensions, and put the sign into the limb below.
        let (top_f, top_g) = (f[len - 1], g[len - 1]);
        if len > 1 && (top_f == 0 || top_f == -1) && (top_g == 0 || top_g == -1) {
            f[len - 2] |= top_f << LIMB_BITS;
            g[len - 2] |= top_g << LIMB_BITS;
            len -= 1;
        }
    }
    from_signed(&normalize(d, f[len - 1] < 0, modulus))
}
