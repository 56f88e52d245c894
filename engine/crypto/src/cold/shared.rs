//! Additions and doublings in affine coordinates, two at a time, that share one inversion.
//!
//! A round: [`Round::begin`], then an announcement for each (`.._later`), then [`Round::invert`], then the additions and
//! doublings themselves **in the opposite order**. No difference may be zero: the caller proves that.

use crate::field::{Field, invert};
use crate::sum::{Point, add_affine};
use alloc::vec;
use alloc::vec::Vec;

/// Numbers that are inverted together. Each belongs to one of two chains.
pub struct Round<F: Field> {
    /// By place: the product of the chain before it.
    prefixes: Vec<[F::Factor; 2]>,
    /// How many places are in use.
    used: usize,
    /// The product of each chain; later the inverse of what is left of it.
    products: [F::Factor; 2],
    one: F::Factor,
}

impl<F: Field> Round<F> {
    /// Memory for so many places.
    #[inline(always)]
    pub fn new(field: F, places: usize) -> Self {
        let one = field.factor(field.splat(&[1, 0, 0, 0]));
        Self { prefixes: vec![[one; 2]; places], used: 0, products: [one; 2], one }
    }

    /// Forgets the round before.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.used = 0;
        self.products = [self.one; 2];
    }

    /// Takes a difference of every chain, or of the first.
    #[inline(always)]
    pub fn divide_later<const H: usize>(&mut self, field: F, differences: [F::Factor; H]) {
        self.prefixes[self.used] = self.products;
        self.used += 1;
        for (product, difference) in self.products.iter_mut().zip(differences) {
            *product = field.mul(*product, difference);
        }
    }

    /// Takes the difference of [`Round::add`].
    #[inline(always)]
    pub fn add_later<const H: usize>(&mut self, field: F, p: &[Point<F>; H], q: &[Point<F>; H]) {
        let mut differences = [self.one; H];
        for h in 0..H {
            differences[h] = field.sub(q[h].x, p[h].x);
        }
        self.divide_later(field, differences);
    }

    /// Takes the difference of [`Round::double`].
    #[inline(always)]
    pub fn double_later<const H: usize>(&mut self, field: F, p: &[Point<F>; H]) {
        let mut differences = [self.one; H];
        for h in 0..H {
            differences[h] = field.factor(p[h].y);
        }
        self.divide_later(field, differences);
    }

    /// The inversion of all.
    #[inline(always)]
    pub fn invert(&mut self, field: F) {
        let [a, b] = self.products;
        let inverse = invert(field, field.mul(a, b));
        self.products = [field.mul(inverse, b), field.mul(inverse, a)];
    }

    /// The chains' products before the last place, which is free again.
    #[inline(always)]
    fn take<const H: usize>(&mut self) -> ([F::Factor; H], [F::Factor; H]) {
        self.used -= 1;
        let prefixes = &self.prefixes[self.used];
        let (mut before, mut inverses) = ([self.one; H], [self.one; H]);
        before[..H].copy_from_slice(&prefixes[..H]);
        inverses[..H].copy_from_slice(&self.products[..H]);
        (before, inverses)
    }

    /// The inverse of the difference of the last place.
    #[inline(always)]
    pub fn inverse<const H: usize>(&mut self, field: F, differences: [F::Factor; H]) -> [F::Factor; H] {
        let (mut before, inverses) = self.take::<H>();
        for h in 0..H {
            before[h] = field.mul(inverses[h], before[h]);
            self.products[h] = field.mul(inverses[h], differences[h]);
        }
        before
    }

    /// `p + q`, whose difference `q.x - p.x` is at the last place.
    #[inline(always)]
    pub fn add<const H: usize>(&mut self, field: F, p: &[Point<F>; H], q: &[Point<F>; H]) -> [Point<F>; H] {
        let (before, mut inverses) = self.take::<H>();
        let sum = add_affine(field, p, q, &before, &mut inverses);
        self.products[..H].copy_from_slice(&inverses);
        sum
    }

    /// `2 p`, whose difference `p.y` is at the last place: the slope is `3/2 x^2 / y`.
    #[inline(always)]
    pub fn double<const H: usize>(&mut self, field: F, p: &[Point<F>; H]) -> [Point<F>; H] {
        let mut y = [self.one; H];
        for h in 0..H {
            y[h] = field.factor(p[h].y);
        }
        let mut slope = self.inverse(field, y);
        for h in 0..H {
            let x_squared = field.square(field.factor(p[h].x));
            slope[h] = field.mul(field.three_halves(x_squared), slope[h]);
        }
        let mut double = *p;
        for h in 0..H {
            double[h].x = field.square_sub2(slope[h], p[h].x, p[h].x);
        }
        for h in 0..H {
            double[h].y = field.mul_sub(slope[h], field.sub(p[h].x, double[h].x), p[h].y);
        }
        double
    }
}
