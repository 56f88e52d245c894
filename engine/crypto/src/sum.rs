//! Sums of many points for many signatures at once: a tree of affine additions, as a pipeline.
//!
//! Every signature is a lane; eight of them (or one, by backend) make a *group*, and a chunk has several
//! groups. Each signature brings two lists of points of equal length, its two *halves*. A list is added
//! up by a binary tree, and at the end the second sum, times `lambda`, is added to the first:
//!
//! ```text
//! level 0   P0  P1  P2  P3  P4        P0+P3, P1+P4; P2 moves up as it is
//! level 1   P03 P14 P2                P03+P2; P14 moves up
//! level 2   P032 P14                  one addition; the sums of both halves: A and B
//! the end   A   lambda B              one addition
//! ```
//!
//! # One inversion a step
//!
//! An affine addition divides by the difference of two x. Montgomery's trick turns any number of inversions
//! into one and three multiplications each, so that an addition costs five multiplications and a square.
//! Levels of one chunk cannot share an inversion, since each needs the result of the one before. Levels of
//! *different* chunks can: [`Tree::step`] moves the chunk on every level up by one, with a single inversion for all.
//! A chunk that enters leaves after as many steps as there are levels.
//!
//! # Exceptional additions
//!
//! Points with equal x (equal or opposite points) cannot be added by the formula, and the difference of
//! zero would spoil the product of everybody else. Whoever chooses key and signature can provoke that. The
//! product is therefore looked at after every group: lanes in which it became zero are *flagged*, and their
//! product goes back to what it was before the group. A flagged lane carries nonsense from then on, within all
//! bounds, and its neighbours never notice. The caller verifies flagged lanes in another way.
//!
//! Infinity cannot appear otherwise: tables hold no infinity, and two points that add up to it have equal x.

use crate::field::{Field, LaneMask, Words, invert};
use alloc::vec;
use alloc::vec::Vec;

/// A point of the curve in every lane.
pub struct Point<F: Field> {
    /// The x coordinates, of magnitude up to 2.
    pub x: F::Fe,
    /// The y coordinates, of magnitude up to 2.
    pub y: F::Fe,
}

impl<F: Field> Clone for Point<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Field> Copy for Point<F> {}

/// `beta`: `(beta * x, y)` is `lambda` times the point `(x, y)`. (Gallant, Lambert, Vanstone 2001)
pub const BETA: Words =
    [0xc139_6c28_7195_01ee, 0x9cf0_4975_12f5_8995, 0x6e64_479e_ac34_34e9, 0x7ae9_6a2b_657c_0710];

/// Work that is done bit by bit between additions, while the multiplier is busy: fetching the next chunk's points
/// into the cache.
pub trait Background {
    /// Does a small piece.
    fn work(&mut self);
}

/// Nothing to do.
impl Background for () {
    #[inline(always)]
    fn work(&mut self) {}
}

/// Where the points of a level come from.
pub trait Source<F: Field> {
    /// The x coordinates of point `slot` of both lists of an entry, of magnitude up to 2.
    fn xs(&mut self, entry: usize, slot: usize) -> [F::Fe; 2];

    /// Point `slot` of both lists of an entry.
    fn points(&mut self, entry: usize, slot: usize) -> [Point<F>; 2];
}

/// Points that are kept: point `slot` of both lists of `entry` is at `entry * count + slot`.
struct Kept<'a, F: Field> {
    count: usize,
    points: &'a [[Point<F>; 2]],
}

impl<F: Field> Source<F> for Kept<'_, F> {
    #[inline(always)]
    fn xs(&mut self, entry: usize, slot: usize) -> [F::Fe; 2] {
        let [a, b] = &self.points[entry * self.count + slot];
        [a.x, b.x]
    }

    #[inline(always)]
    fn points(&mut self, entry: usize, slot: usize) -> [Point<F>; 2] {
        self.points[entry * self.count + slot]
    }
}

/// One level: lists of `count` points, two at a time, that wait for their next addition.
///
/// The two lists of an entry are two independent chains of multiplications: the halves of a signature, or, at the
/// end, two groups. The points themselves are elsewhere: see [`Source`].
struct Level<F: Field> {
    /// Points in every list.
    count: usize,
    /// The product of all differences before an addition, at the place of its first point.
    prefixes: Vec<[F::Factor; 2]>,
    /// By entry and list: the lanes that met an exceptional addition, here or further down.
    flagged: Vec<[LaneMask; 2]>,
    /// By entry and list: those that met it here.
    zero: Vec<[LaneMask; 2]>,
    /// Entries in use: 0 if no chunk is on this level.
    entries: usize,
    /// The products of all differences of both lists; later their inverses.
    products: [F::Factor; 2],
    /// The product of everything that is inverted together and comes before either of them.
    before: [F::Factor; 2],
}

impl<F: Field> Level<F> {
    #[inline(always)]
    fn new(field: F, entries: usize, count: usize) -> Self {
        let one = field.factor(field.splat(&[1, 0, 0, 0]));
        Self {
            count,
            prefixes: vec![[one; 2]; entries * (count / 2)],
            flagged: vec![[0; 2]; entries],
            zero: vec![[0; 2]; entries],
            entries: 0,
            products: [one; 2],
            before: [one; 2],
        }
    }

    /// Points in every list of the next level.
    #[inline(always)]
    fn next_count(&self) -> usize {
        self.count.div_ceil(2)
    }

    /// Multiplies the differences of x of all pairs; keeps every intermediate product. The pairs are the slots
    /// `i` and `i + ceil(count / 2)`.
    #[inline(always)]
    fn multiply_differences(
        &mut self,
        field: F,
        source: &mut impl Source<F>,
        background: &mut impl Background,
    ) {
        let (pairs, right) = (self.count / 2, self.next_count());
        let mut products = [field.factor(field.splat(&[1, 0, 0, 0])); 2];
        for entry in 0..self.entries {
            let prefixes = &mut self.prefixes[entry * pairs..][..pairs];
            let before = products;
            for (pair, prefix) in prefixes.iter_mut().enumerate() {
                *prefix = products;
                let (p, q) = (source.xs(entry, pair), source.xs(entry, pair + right));
                for h in 0..2 {
                    products[h] = field.mul(products[h], field.sub(q[h], p[h]));
                }
                background.work();
            }
            for h in 0..2 {
                let zero = field.is_zero(products[h]);
                products[h] = field.select(zero, before[h], products[h]);
                self.flagged[entry][h] |= zero;
                self.zero[entry][h] = zero;
            }
        }
        self.products = products;
    }

    /// Walks the pairs backwards, turns the running inverses into that of each difference, and adds. `sums` gets
    /// the points of the next level.
    #[inline(always)]
    fn add_pairs(
        &self,
        field: F,
        source: &mut impl Source<F>,
        sums: &mut [[Point<F>; 2]],
        background: &mut impl Background,
    ) {
        let mut inverses = self.products;
        let (pairs, right) = (self.count / 2, self.next_count());
        for entry in (0..self.entries).rev() {
            let prefixes = &self.prefixes[entry * pairs..][..pairs];
            let sums = &mut sums[entry * right..][..right];
            let after = inverses;
            if pairs < right {
                sums[pairs] = source.points(entry, pairs);
            }
            for pair in (0..pairs).rev() {
                let (p, q) = (source.points(entry, pair), source.points(entry, pair + right));
                sums[pair] = add_affine(field, &p, &q, &prefixes[pair], &mut inverses);
                background.work();
            }
            for h in 0..2 {
                inverses[h] = field.select(self.zero[entry][h], after[h], inverses[h]);
            }
        }
    }

    /// The chunk moves on: what is known of its lanes goes to the next level, which is free.
    #[inline(always)]
    fn pass_on(&mut self, next: &mut Self) {
        next.entries = core::mem::take(&mut self.entries);
        next.flagged[..next.entries].copy_from_slice(&self.flagged[..next.entries]);
    }
}

/// `p + q` in every chain, where `inverses * prefixes` are the inverses of their differences of x. Takes the
/// differences out of `inverses`.
///
/// The chains are stepped together, one operation at a time, so that one is multiplied while the other waits for its
/// result. (Loops, not closures: a closure is a function of its own, which the compiler may leave without the
/// backend's instructions.)
#[inline(always)]
pub(crate) fn add_affine<F: Field, const H: usize>(
    field: F,
    p: &[Point<F>; H],
    q: &[Point<F>; H],
    prefixes: &[F::Factor; H],
    inverses: &mut [F::Factor; H],
) -> [Point<F>; H] {
    let mut inverse = *prefixes;
    for h in 0..H {
        inverse[h] = field.mul(inverses[h], prefixes[h]);
    }
    let mut slope = inverse;
    for h in 0..H {
        slope[h] = field.mul(field.sub(q[h].y, p[h].y), inverse[h]);
    }
    for h in 0..H {
        inverses[h] = field.mul(inverses[h], field.sub(q[h].x, p[h].x));
    }
    let mut sum = *p;
    for h in 0..H {
        sum[h].x = field.square_sub2(slope[h], p[h].x, q[h].x);
    }
    for h in 0..H {
        sum[h].y = field.mul_sub(slope[h], field.sub(p[h].x, sum[h].x), p[h].y);
    }
    sum
}

/// The sum of a group: `A + lambda B`.
pub struct Sum<F: Field> {
    /// The point in every lane.
    pub point: Point<F>,
    /// The lanes whose point means nothing.
    pub flagged: LaneMask,
}

/// The tree: a chunk on every level, at most.
pub struct Tree<F: Field> {
    /// The halves on their way to one point each. The points of the first level are with the caller.
    halves: Vec<Level<F>>,
    /// By level but the first: the points of the chunk there.
    points: Vec<Vec<[Point<F>; 2]>>,
    /// The level of `halves` whose lists have one point: the last in use.
    last: usize,
    /// Where `A` and `lambda B` meet: lists of two points, one list a group, two groups an entry.
    end: Level<F>,
    end_points: Vec<[Point<F>; 2]>,
    /// `A + lambda B`: lists of one point.
    sums: Vec<[Point<F>; 2]>,
    /// By two groups, as the sums are: the lanes whose sum means nothing.
    sums_flagged: Vec<[LaneMask; 2]>,
    /// How many groups the chunk in `end` has.
    end_groups: usize,
}

impl<F: Field> Tree<F> {
    /// A tree for chunks of up to `groups` groups and halves of up to `count` points.
    #[inline(always)]
    pub fn new(field: F, groups: usize, count: usize) -> Self {
        let zero = field.splat(&[0; 4]);
        let none = [Point { x: zero, y: zero }; 2];
        let mut halves = vec![Level::new(field, groups, count)];
        let mut points = Vec::new();
        let mut count = count;
        while count > 1 {
            count = count.div_ceil(2);
            halves.push(Level::new(field, groups, count));
            points.push(vec![none; groups * count]);
        }
        let pairs = groups.div_ceil(2);
        Self {
            last: halves.len() - 1,
            halves,
            points,
            end: Level::new(field, pairs, 2),
            end_points: vec![none; 2 * pairs],
            sums: vec![none; pairs],
            sums_flagged: vec![[0; 2]; pairs],
            end_groups: 0,
        }
    }

    /// Says how many points the halves of the chunks to come have: at least 2. No chunk may be on its way.
    #[inline(always)]
    pub fn set_count(&mut self, count: usize) {
        let mut count = count;
        self.last = 0;
        self.halves[0].count = count;
        while count > 1 {
            count = count.div_ceil(2);
            self.last += 1;
            self.halves[self.last].count = count;
        }
    }

    /// Brings a chunk of `groups` groups onto the first level and moves every chunk up by one level. Returns how many
    /// groups have arrived: their sums are there until the next step.
    ///
    /// `source` has the points of the chunk that enters. It is asked twice for each, and the tree does not keep them: a
    /// chunk's points take more room than the cache has. With no groups it is not asked. `background` is asked
    /// to work twice for every addition.
    #[inline(always)]
    pub fn step(
        &mut self,
        field: F,
        groups: usize,
        source: &mut impl Source<F>,
        background: &mut impl Background,
    ) -> usize {
        let last = self.last;
        let first = &mut self.halves[0];
        first.entries = groups;
        first.flagged.fill([0; 2]);
        first.multiply_differences(field, source, background);
        for (level, points) in self.halves[1..last].iter_mut().zip(&self.points) {
            let count = level.count;
            level.multiply_differences(field, &mut Kept { count, points }, background);
        }
        let mut kept = Kept { count: 2, points: &self.end_points };
        self.end.multiply_differences(field, &mut kept, background);
        self.invert(field);
        // From the end to the beginning: a level is empty before the next chunk moves in.
        let mut kept = Kept { count: 2, points: &self.end_points };
        self.end.add_pairs(field, &mut kept, &mut self.sums, background);
        self.sums_flagged.copy_from_slice(&self.end.flagged);
        self.end.entries = 0;
        let arrived = core::mem::take(&mut self.end_groups);
        for i in (1..last).rev() {
            let (level, next) = self.halves[i..i + 2].split_at_mut(1);
            let (points, sums) = self.points[i - 1..i + 1].split_at_mut(1);
            let mut kept = Kept { count: level[0].count, points: &points[0] };
            level[0].add_pairs(field, &mut kept, &mut sums[0], background);
            level[0].pass_on(&mut next[0]);
        }
        let (first, second) = self.halves.split_at_mut(1);
        first[0].add_pairs(field, source, &mut self.points[0], background);
        first[0].pass_on(&mut second[0]);
        self.join(field);
        arrived
    }

    /// Turns the products of all levels in use into their inverses.
    #[inline(always)]
    fn invert(&mut self, field: F) {
        let (last, mut product) = (self.last, field.factor(field.splat(&[1, 0, 0, 0])));
        for level in self.halves[..last].iter_mut().chain([&mut self.end]) {
            if level.entries > 0 {
                for h in 0..2 {
                    level.before[h] = product;
                    product = field.mul(product, level.products[h]);
                }
            }
        }
        // The product of nothing is one and no product, but then there is nothing to invert either.
        if self.is_empty() {
            return;
        }
        let mut inverse = invert(field, product);
        for level in self.halves[..last].iter_mut().chain([&mut self.end]).rev() {
            if level.entries > 0 {
                for h in [1, 0] {
                    let next = field.mul(inverse, level.products[h]);
                    level.products[h] = field.mul(inverse, level.before[h]);
                    inverse = next;
                }
            }
        }
    }

    /// Whether no chunk is on its way.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.end.entries == 0 && self.halves[..self.last].iter().all(|level| level.entries == 0)
    }

    /// Moves a chunk whose halves are single points on: `A` and `lambda B` become a list of two.
    #[inline(always)]
    fn join(&mut self, field: F) {
        let last = self.last;
        let arrived = &mut self.halves[last];
        let groups = core::mem::take(&mut arrived.entries);
        let beta = field.factor(field.splat(&BETA));
        // An odd last group is added twice: its entry needs a second list.
        for list in 0..groups.next_multiple_of(2) {
            let group = list.min(groups.max(1) - 1);
            let [a, b] = self.points[last - 1][group];
            let x = field.settle(field.mul(field.factor(b.x), beta));
            let (entry, h) = (list / 2, list % 2);
            self.end_points[entry * 2][h] = a;
            self.end_points[entry * 2 + 1][h] = Point { x, y: b.y };
            self.end.flagged[entry][h] = arrived.flagged[group][0] | arrived.flagged[group][1];
        }
        self.end.entries = groups.div_ceil(2);
        self.end_groups = groups;
    }

    /// The sum of a group that has arrived.
    #[inline(always)]
    pub fn sum(&self, group: usize) -> Sum<F> {
        let (entry, h) = (group / 2, group % 2);
        Sum { point: self.sums[entry][h], flagged: self.sums_flagged[entry][h] }
    }
}
