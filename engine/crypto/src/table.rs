//! Tables of a point's odd multiples: what the sum of a signature is put together from.
//!
//! A half of a scalar has 129 bits in signed form (see [`crate::scalar`]). A table cuts them into windows, and keeps for
//! the window at bit `o` with `b` bits the points `(2 i + 1) * 2^o * Q` for `i` in `0..2^(b-1)`. Each window then adds
//! one point of the table, or its opposite. Fewer, wider windows mean fewer additions and more memory:
//!
//! | shape | windows | bits | points | bytes |
//! |---|---|---|---|---|
//! | [`Shape::SIGNER_16_KB`] | 32 | 4, one of 5 | 264 | 16,896 |
//! | [`Shape::SIGNER_25_KB`] | 26 | 5, one of 4 | 408 | 26,112 |
//! | [`Shape::SIGNER_41_KB`] | 22 | 6, three of 5 | 656 | 41,984 |
//! | [`Shape::SIGNER_136_KB`] | 16 | 8, one of 9 | 2,176 | 139,264 |
//! | [`Shape::GENERATOR`] | 10 | 13, one of 12 | 38,912 | 2,490,368 |

use crate::backend::{Kernel, Lanes};
use crate::field::{Field, PackedPoint, Words, invert};
use crate::memory::Slot;
use crate::scalar::{HALF_BITS, Window};
use crate::sum::{Point, add_affine};
use alloc::vec;
use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// The x coordinate of the generator, and its y.
const GENERATOR_X: Words =
    [0x59f2_815b_16f8_1798, 0x029b_fcdb_2dce_28d9, 0x55a0_6295_ce87_0b07, 0x79be_667e_f9dc_bbac];
const GENERATOR_Y: Words =
    [0x9c47_d08f_fb10_d4b8, 0xfd17_b448_a685_5419, 0x5da4_fbfc_0e11_08a8, 0x483a_da77_26a3_c465];

/// The generator of the group.
pub const GENERATOR_POINT: PackedPoint = PackedPoint { x: GENERATOR_X, y: GENERATOR_Y };

/// Three halves modulo `p`.
const THREE_HALVES: Words = [0xffff_ffff_7fff_fe19, u64::MAX, u64::MAX, 0x7fff_ffff_ffff_ffff];

/// How a half is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    windows: u32,
}

impl Shape {
    /// 32 windows: the smallest table of a signer.
    pub const SIGNER_16_KB: Self = Self { windows: 32 };
    /// 26 windows.
    pub const SIGNER_25_KB: Self = Self { windows: 26 };
    /// 22 windows.
    pub const SIGNER_41_KB: Self = Self { windows: 22 };
    /// 16 windows: for signers that are met often.
    pub const SIGNER_136_KB: Self = Self { windows: 16 };
    /// 10 windows: for the generator, which every signature needs.
    pub const GENERATOR: Self = Self { windows: 10 };

    /// Every shape, the generator's last.
    pub const ALL: [Self; 5] =
        [Self::SIGNER_16_KB, Self::SIGNER_25_KB, Self::SIGNER_41_KB, Self::SIGNER_136_KB, Self::GENERATOR];

    /// The shapes of signers' tables.
    pub const SIGNERS: [Self; 4] =
        [Self::SIGNER_16_KB, Self::SIGNER_25_KB, Self::SIGNER_41_KB, Self::SIGNER_136_KB];

    /// How many windows it has: the points that a half adds.
    pub const fn window_count(self) -> usize {
        self.windows as usize
    }

    /// Its windows, from the lowest bit up. The first few are one bit wider if 129 does not divide evenly.
    pub fn windows(self) -> impl Iterator<Item = Window> {
        let (bits, wider) = (HALF_BITS / self.windows, HALF_BITS % self.windows);
        let mut next = Window { offset: 0, bits: 0, first: 0 };
        (0..self.windows).map(move |i| {
            let window = Window { bits: bits + u32::from(i < wider), ..next };
            next.offset += window.bits;
            next.first += 1 << (window.bits - 1);
            window
        })
    }

    /// How many points a table of this shape holds.
    pub fn points(self) -> usize {
        self.windows().map(|window| 1 << (window.bits - 1)).sum()
    }

    /// The memory that a table of this shape takes, in bytes.
    pub fn bytes(self) -> usize {
        self.points() * size_of::<PackedPoint>()
    }
}

/// The odd multiples of one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    points: Slot,
}

impl Table {
    /// How it is cut into windows.
    pub const fn shape(&self) -> Shape {
        self.points.shape()
    }

    /// The point whose multiples it holds: the first of them.
    pub fn key(&self) -> PackedPoint {
        self.points[0]
    }

    /// Its points, window after window.
    #[inline(always)]
    pub fn points(&self) -> &[PackedPoint] {
        &self.points
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.shape().bytes()
    }
}

/// Builds the tables of some points of the curve, all of one shape, as many at a time as the backend has lanes.
pub struct Build<'a> {
    /// The points: on the curve, not infinity, coordinates below `p`.
    pub keys: &'a [PackedPoint],
    /// The shape of all tables.
    pub shape: Shape,
}

impl<L: Lanes> Kernel<L> for Build<'_> {
    type Output = Vec<Table>;

    #[inline(always)]
    fn run(self, lanes: L) -> Vec<Table> {
        let mut tables = Vec::with_capacity(self.keys.len());
        for keys in self.keys.chunks(L::LANES) {
            let doubles = doubles(lanes, keys);
            let points = odd_multiples(lanes, &doubles, self.shape);
            tables.extend(unpack(lanes, &points, self.shape, keys.len()));
        }
        tables
    }
}

/// A point in Jacobian coordinates, `(x / z^2, y / z^3)`.
struct Jacobian<F: Field> {
    x: F::Fe,
    y: F::Fe,
    z: F::Factor,
}

/// `2 * p`. Three squares and five multiplications, every coordinate scaled so that no doubling of numbers is
/// needed: with `L = 3/2 x^2`, `x' = L^2 - 2 x y^2`, `y' = L (x y^2 - x') - y^4`, `z' = y z`.
/// (The doubling of libsecp256k1's `group_impl.h`, itself `dbl-2009-l` of the Explicit-Formulas Database.)
#[inline(always)]
fn double<F: Field>(field: F, p: &Jacobian<F>) -> Jacobian<F> {
    let (x, y) = (field.factor(p.x), field.factor(p.y));
    let slope = field.mul(field.square(x), field.factor(field.splat(&THREE_HALVES)));
    let y_squared = field.square(y);
    let s = field.settle(field.mul(x, y_squared));
    let x = field.square_sub2(slope, s, s);
    let y4 = field.settle(field.square(y_squared));
    Jacobian { x, y: field.mul_sub(slope, field.sub(s, x), y4), z: field.mul(y, p.z) }
}

/// `2^j * Q` for every bit `j` of a half. Missing lanes repeat the first key.
#[inline(always)]
fn doubles<F: Field>(field: F, keys: &[PackedPoint]) -> Vec<Point<F>> {
    let mut chosen = [&keys[0]; 8];
    for (chosen, key) in chosen.iter_mut().zip(keys) {
        *chosen = key;
    }
    let (x, y) = field.gather(&chosen[..F::LANES], 0);
    let mut chain = Vec::with_capacity(HALF_BITS as usize);
    chain.push(Jacobian { x, y, z: field.factor(field.splat(&[1, 0, 0, 0])) });
    for j in 1..HALF_BITS as usize {
        let next = double(field, &chain[j - 1]);
        chain.push(next);
    }
    // One inversion for all z. None is zero: 2^j * Q is not infinity, the order of the group is an odd prime.
    let mut product = chain[0].z;
    let mut prefixes = vec![product; chain.len()];
    for j in 1..chain.len() {
        prefixes[j] = product;
        product = field.mul(product, chain[j].z);
    }
    // The first z is one, but no product; multiplied by itself it is.
    let mut inverse = invert(field, field.mul(product, chain[0].z));
    let mut points = vec![Point { x, y }; chain.len()];
    for j in (1..chain.len()).rev() {
        let z = field.mul(inverse, prefixes[j]);
        inverse = field.mul(inverse, chain[j].z);
        let z2 = field.square(z);
        let z3 = field.mul(z2, z);
        let (x, y) = (field.factor(chain[j].x), field.factor(chain[j].y));
        points[j] = Point { x: field.settle(field.mul(x, z2)), y: field.settle(field.mul(y, z3)) };
    }
    points
}

/// All points of a table, from the doubles: the odd multiples up to `2^k` and `2^k` itself give those up to `2^(k+1)`,
/// in all windows at once, with one inversion a step.
///
/// No addition is exceptional: it adds `m * 2^o * Q` and `2^(o+k) * Q` with `0 < m < 2^k`, and two multiples
/// below `2^129` of a point of order `n` are neither equal nor opposite.
#[inline(always)]
fn odd_multiples<F: Field>(field: F, doubles: &[Point<F>], shape: Shape) -> Vec<Point<F>> {
    let mut points = vec![doubles[0]; shape.points()];
    for window in shape.windows() {
        points[usize::from(window.first)] = doubles[window.offset as usize];
    }
    let one = field.factor(field.splat(&[1, 0, 0, 0]));
    let mut prefixes = vec![one; shape.points()];
    for step in 1..HALF_BITS {
        let known = 1_usize << (step - 1);
        let mut product = one;
        for window in shape.windows().filter(|window| window.bits > step) {
            let first = usize::from(window.first);
            let double = &doubles[(window.offset + step) as usize];
            for i in first..first + known {
                prefixes[i] = product;
                product = field.mul(product, field.sub(double.x, points[i].x));
            }
        }
        let wide: Vec<_> = shape.windows().filter(|window| window.bits > step).collect();
        if wide.is_empty() {
            break;
        }
        let mut inverse = [invert(field, product)];
        for window in wide.iter().rev() {
            let first = usize::from(window.first);
            let double = [doubles[(window.offset + step) as usize]];
            for i in (first..first + known).rev() {
                points[i + known] = add_affine(field, &[points[i]], &double, &[prefixes[i]], &mut inverse)[0];
            }
        }
    }
    points
}

/// The tables of the first lanes.
#[inline(always)]
fn unpack<F: Field>(field: F, points: &[Point<F>], shape: Shape, lanes: usize) -> Vec<Table> {
    let mut slots: Vec<_> = (0..lanes).map(|_| Slot::new(shape)).collect();
    let mut row = [PackedPoint { x: [0; 4], y: [0; 4] }; 8];
    for (i, point) in points.iter().enumerate() {
        field.scatter(point.x, point.y, &mut row[..F::LANES]);
        for (slot, point) in slots.iter_mut().zip(&row) {
            slot[i] = *point;
        }
    }
    slots.into_iter().map(|points| Table { points }).collect()
}
