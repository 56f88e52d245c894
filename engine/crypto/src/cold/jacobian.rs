//! Points in Jacobian coordinates: additions and doublings that divide by nothing.
//!
//! # A zero `z` stays
//!
//! The point is `(x / z^2, y / z^3)`. Both formulas are right for every point but infinity, with one exception: the
//! addition of a point with the same x coordinate. Then the difference `h` of the coordinates is zero, and `z' = z h` is
//! zero. From there on `z` remains zero modulo `p`, because an addition makes it `z h`, and a doubling `y z`. And `z` never
//! becomes zero in another way: `p` is prime, and no point of the curve has `y = 0` (the order of the group is odd). So:
//!
//! * if `z` is not zero at the end, no addition was exceptional, and the point is right;
//! * if it is zero, the lane means nothing. All magnitudes hold whatever the numbers are, and lanes never mix.

use crate::field::Field;
use crate::sum::Point;

/// A point in every lane. `x` and `y` are of magnitude up to 2, `z` is a product, or 1.
pub struct Jacobian<F: Field> {
    pub x: F::Fe,
    pub y: F::Fe,
    pub z: F::Factor,
}

impl<F: Field> Clone for Jacobian<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Field> Copy for Jacobian<F> {}

impl<F: Field> Jacobian<F> {
    /// Points in affine coordinates. `one` is 1.
    #[inline(always)]
    pub fn from_affine<const H: usize>(points: &[Point<F>; H], one: F::Factor) -> [Self; H] {
        let mut jacobian = [Self { x: points[0].x, y: points[0].y, z: one }; H];
        for h in 1..H {
            (jacobian[h].x, jacobian[h].y) = (points[h].x, points[h].y);
        }
        jacobian
    }
}

/// Doubles the point of every chain: with `L = 3/2 x^2`, `x' = L^2 - 2 x y^2`, `y' = L (x y^2 - x') - y^4`, `z' = y z`.
/// Four squares and three multiplications. (The doubling of libsecp256k1's `group_impl.h`, itself `dbl-2009-l` of the
/// Explicit-Formulas Database; every coordinate scaled so that no number is doubled.)
///
/// The chains are stepped together, so that one is multiplied while the other waits for its result. (Loops, not
/// closures: see [`crate::sum`].)
#[inline(always)]
pub fn double<F: Field, const H: usize>(field: F, p: &mut [Jacobian<F>; H]) {
    let (mut slope, mut y, mut y_squared) = ([p[0].z; H], [p[0].z; H], [p[0].z; H]);
    for h in 0..H {
        slope[h] = field.square(field.factor(p[h].x));
    }
    for h in 0..H {
        y[h] = field.factor(p[h].y);
        y_squared[h] = field.square(y[h]);
    }
    for h in 0..H {
        slope[h] = field.three_halves(slope[h]);
        p[h].z = field.mul(y[h], p[h].z);
    }
    let mut s = [p[0].x; H];
    for h in 0..H {
        s[h] = field.settle(field.mul(field.factor(p[h].x), y_squared[h]));
    }
    for h in 0..H {
        p[h].x = field.square_sub2(slope[h], s[h], s[h]);
    }
    let mut y4 = s;
    for h in 0..H {
        y4[h] = field.settle(field.square(y_squared[h]));
    }
    for h in 0..H {
        p[h].y = field.mul_sub(slope[h], field.sub(s[h], p[h].x), y4[h]);
    }
}

/// Adds an affine point in every chain: with `u = X z^2`, `h = u - x`, `r = Y z^3 - y`, `v = x h^2` and `w = u h^2`,
/// `x' = r^2 - v - w`, `y' = r (v - x') - y (w - v)`, `z' = z h`. Three squares and eight multiplications. (`madd` of the
/// Explicit-Formulas Database; `h^3 = w - v`.)
#[inline(always)]
pub fn add<F: Field, const H: usize>(field: F, p: &mut [Jacobian<F>; H], q: &[Point<F>; H]) {
    let one_factor = [p[0].z; H];
    let (mut z2, mut z3, mut u) = (one_factor, one_factor, one_factor);
    for h in 0..H {
        z2[h] = field.square(p[h].z);
    }
    for h in 0..H {
        u[h] = field.mul(field.factor(q[h].x), z2[h]);
    }
    for h in 0..H {
        z3[h] = field.mul(z2[h], p[h].z);
    }
    let mut r = one_factor;
    let mut difference = one_factor;
    for h in 0..H {
        difference[h] = field.sub(field.settle(u[h]), p[h].x);
        r[h] = field.mul(field.factor(q[h].y), z3[h]);
    }
    let mut difference2 = one_factor;
    for h in 0..H {
        difference2[h] = field.square(difference[h]);
        r[h] = field.sub(field.settle(r[h]), p[h].y);
    }
    for h in 0..H {
        p[h].z = field.mul(p[h].z, difference[h]);
    }
    let (mut v, mut w) = ([p[0].x; H], [p[0].x; H]);
    for h in 0..H {
        v[h] = field.settle(field.mul(field.factor(p[h].x), difference2[h]));
    }
    for h in 0..H {
        w[h] = field.settle(field.mul(u[h], difference2[h]));
    }
    for h in 0..H {
        p[h].x = field.square_sub2(r[h], v[h], w[h]);
    }
    let mut y = v;
    for h in 0..H {
        y[h] = field.settle(field.mul(field.factor(p[h].y), field.sub(w[h], v[h])));
    }
    for h in 0..H {
        p[h].y = field.mul_sub(r[h], field.sub(v[h], p[h].x), y[h]);
    }
}
