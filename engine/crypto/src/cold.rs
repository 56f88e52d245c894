//! Signatures of signers whose key is known, and who have no table.
//!
//! The question and the answers are those of [`crate::kernel`]: whether the point `R' = u1 G + u2 Q` has `x = r` as
//! integers and the right parity. A table of 656 points is not worth its while for one signature. Here each signature gets
//! sixteen multiples of its key, and the doublings that a table would have saved are made:
//!
//! ```text
//! u2 --split--> k1, k2 --windows of 5 bits--> odd digits d1, d2: 26 of each
//!   multiples Q, 3Q, .. 31Q;  T = d1 Q + lambda d2 Q for every window        affine: inversions are shared by the chunk
//! u1 --split--> two halves --windows of the generator's table--> A, B        affine, trees of additions
//!   ((T25 * 32 + T24) * 32 + ..) * 32 + T0 + A + lambda B                     Jacobian: nothing is divided
//! ```
//!
//! Everything affine is done for all signatures of a chunk before the next step begins, so that a step has one inversion. What
//! is left to the Jacobian chain is 125 doublings and 27 additions.
//!
//! # No affine addition is exceptional
//!
//! Whatever the signature is, so that nothing has to be flagged there:
//!
//! * The multiples: `i Q` and `j Q` with `0 < i < j < 32` are neither equal nor opposite, and no point doubled is its own
//!   opposite, because the order `n` is an odd prime.
//! * `d1 Q` and `lambda d2 Q`: `d1 = ± lambda d2` modulo `n` would be a vector of the lattice of [`crate::scalar`] that is shorter
//!   than 32; the shortest is longer than `2^127`.
//! * The trees of the generator: both sides are sums over windows of one half, no window on both sides, and no digit is
//!   zero. The highest window of all outweighs the others together: so the sums are, as integers, neither equal nor
//!   opposite, and they are below `2^130`.
//!
//! `A` and `lambda B` can meet, and so can `u2 Q` and `A`: a signer chooses that. These additions are made in
//! Jacobian coordinates, where an exceptional one leaves `z = 0` behind (see the module [`jacobian`]). Such a lane is
//! [`Decision::Undecided`], and its `z` is replaced by one before the last inversion: its neighbours never notice.

use crate::backend::{Kernel, Lanes};
use crate::ecdsa::Signature;
use crate::field::{Field, PackedPoint};
use crate::kernel::Decision;
use crate::scalar::{HALF_BITS, Window, invert_all};
use crate::signed::{LANES_MAX, Number, Signed, decision, item, numbers};
use crate::sum::{BETA, Point};
use crate::table::{Shape, Table};
use alloc::vec;
use alloc::vec::Vec;
use jacobian::Jacobian;
use shared::Round;

mod jacobian;
mod shared;

/// Signatures that share their inversions. (64: 2.5 percent slower; 256: 1.5 percent faster, and twice the memory.)
pub const CHUNK: usize = 128;

/// Bits of a window: 5.
const WINDOW_BITS: u32 = 5;

/// Windows of a half. The highest one is a bit narrower.
const WINDOWS: usize = HALF_BITS.div_ceil(WINDOW_BITS) as usize;

/// Odd multiples of a key.
const MULTIPLES: usize = 1 << (WINDOW_BITS - 1);

/// Windows of a half of the generator's scalar.
const GENERATOR_WINDOWS: usize = Shape::GENERATOR.window_count();

/// What the Jacobian chain adds up: the sums of the windows, `A`, and `lambda B`.
const TERMS: usize = WINDOWS + 2;

/// One signature and the key that should have made it.
#[derive(Clone, Copy, Debug)]
pub struct ColdItem<'a> {
    /// The hash that was signed.
    pub digest: &'a [u8; 32],
    /// The signature.
    pub signature: &'a Signature,
    /// The key: on the curve, not infinity, coordinates below `p`.
    pub key: PackedPoint,
}

impl Signed for ColdItem<'_> {
    #[inline(always)]
    fn digest(&self) -> &[u8; 32] {
        self.digest
    }

    #[inline(always)]
    fn signature(&self) -> &Signature {
        self.signature
    }
}

/// Decides every item.
pub struct DecideCold<'w, 'a, L: Lanes> {
    /// The memory of the computation, for use again and again.
    pub workspace: &'w mut ColdWorkspace<L>,
    /// The generator's table, of [`Shape::GENERATOR`].
    pub generator: &'a Table,
    /// The signatures.
    pub items: &'a [ColdItem<'a>],
}

impl<L: Lanes> Kernel<L> for DecideCold<'_, '_, L> {
    type Output = Vec<Decision>;

    #[inline(always)]
    fn run(self, lanes: L) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(self.items.len());
        for items in self.items.chunks(CHUNK) {
            // Two groups at a time keep the multiplier busy. A group alone is not worth a second one.
            if items.len() <= L::LANES {
                self.workspace.decide::<1>(lanes, self.generator, items, &mut decisions);
            } else {
                self.workspace.decide::<2>(lanes, self.generator, items, &mut decisions);
            }
        }
        decisions
    }
}

/// The memory that deciding takes: about a megabyte. Between two uses it holds nothing of meaning.
///
/// Signature `i` of a chunk is lane `i % LANES` of group `i / LANES`; lanes without a signature repeat the last one. `H` groups
/// are worked on together, so that their points lie side by side: point `i` of `count` of the groups `first..first + H`
/// is at `first * count + i * H`.
pub struct ColdWorkspace<L: Lanes> {
    /// By group: `s`, then `R/s`.
    inverses: Vec<L::Scalar>,
    /// Memory for the inversion.
    prefixes: Vec<L::Scalar>,
    /// By group: the halves of `u2`.
    halves: Vec<[L::Half; 2]>,
    /// By group and window: the points of both halves of `u1`; later the sums of the trees, at the first place.
    of_generator: Vec<[Point<L>; 2]>,
    /// By group: `2^k Q`.
    doubles: Vec<Point<L>>,
    /// Side by side: the odd multiples of the keys.
    multiples: Vec<Point<L>>,
    /// The same, by multiple and lane.
    tables: Vec<PackedPoint>,
    /// Side by side: the terms of the chain, in their order.
    terms: Vec<Point<L>>,
    /// By group: the end of the chain.
    sums: Vec<Jacobian<L>>,
    round: Round<L>,
}

/// Makes a [`ColdWorkspace`].
pub struct NewColdWorkspace;

impl<L: Lanes> Kernel<L> for NewColdWorkspace {
    type Output = ColdWorkspace<L>;

    #[inline(always)]
    fn run(self, lanes: L) -> ColdWorkspace<L> {
        let groups = CHUNK / L::LANES;
        let zero = lanes.load_scalars(&[[0; 4]; LANES_MAX][..L::LANES]);
        let coordinate = lanes.splat(&[0; 4]);
        let point = Point { x: coordinate, y: coordinate };
        let nowhere = Jacobian { x: coordinate, y: coordinate, z: lanes.factor(coordinate) };
        ColdWorkspace {
            inverses: vec![zero; groups],
            prefixes: vec![zero; groups],
            halves: vec![lanes.split(zero); groups],
            of_generator: vec![[point; 2]; groups * GENERATOR_WINDOWS],
            doubles: vec![point; groups],
            multiples: vec![point; groups * MULTIPLES],
            tables: vec![PackedPoint { x: [0; 4], y: [0; 4] }; groups * MULTIPLES * L::LANES],
            terms: vec![point; groups * TERMS],
            sums: vec![nowhere; groups],
            // The windows of a step take the most.
            round: Round::new(lanes, groups * WINDOWS),
        }
    }
}

impl<L: Lanes> ColdWorkspace<L> {
    /// Decides a chunk, `H` groups at a time.
    #[inline(always)]
    fn decide<const H: usize>(
        &mut self,
        lanes: L,
        generator: &Table,
        items: &[ColdItem],
        decisions: &mut Vec<Decision>,
    ) {
        let groups = items.len().div_ceil(L::LANES).next_multiple_of(H);
        self.choose(lanes, generator, items, groups);
        self.multiply::<H>(lanes, groups);
        self.add_windows::<H>(lanes, groups);
        self.chain::<H>(lanes, groups);
        self.compare(lanes, items, groups, decisions);
    }

    /// From signatures to the halves of `u2` and the points of `u1`; and the keys.
    #[inline(always)]
    fn choose(&mut self, lanes: L, generator: &Table, items: &[ColdItem], groups: usize) {
        for (group, s) in self.inverses[..groups].iter_mut().enumerate() {
            *s = lanes.load_scalars(&numbers::<L>(items, group, Number::S)[..L::LANES]);
        }
        invert_all(lanes, &mut self.inverses[..groups], &mut self.prefixes[..groups]);
        let mut windows = [Window { offset: 0, bits: 0, first: 0 }; GENERATOR_WINDOWS];
        for (window, of_shape) in windows.iter_mut().zip(generator.shape().windows()) {
            *window = of_shape;
        }
        let table = generator.points();
        let mut chosen = vec![&table[0]; groups * GENERATOR_WINDOWS * 2 * L::LANES];
        let mut negate = vec![[0; 2]; groups * GENERATOR_WINDOWS];
        for group in 0..groups {
            let z = lanes.load_scalars(&numbers::<L>(items, group, Number::Digest)[..L::LANES]);
            let r = lanes.load_scalars(&numbers::<L>(items, group, Number::R)[..L::LANES]);
            let u1 = lanes.split(lanes.mul_mod_n(z, self.inverses[group]));
            self.halves[group] = lanes.split(lanes.mul_mod_n(r, self.inverses[group]));
            for (i, window) in windows.iter().enumerate() {
                let at = group * GENERATOR_WINDOWS + i;
                for h in 0..2 {
                    let mut entries = [0; LANES_MAX];
                    negate[at][h] = lanes.window(u1[h], window, &mut entries[..L::LANES]);
                    let points = &mut chosen[(at * 2 + h) * L::LANES..][..L::LANES];
                    for lane in 0..L::LANES {
                        points[lane] = &table[usize::from(entries[lane])];
                        lanes.prefetch(points[lane]);
                    }
                }
            }
        }
        for group in 0..groups {
            let mut keys = [&items[0].key; LANES_MAX];
            for (lane, key) in keys.iter_mut().enumerate().take(L::LANES) {
                *key = &item(items, group * L::LANES + lane).key;
            }
            let (x, y) = lanes.gather(&keys[..L::LANES], 0);
            self.doubles[group] = Point { x, y };
            for at in group * GENERATOR_WINDOWS..(group + 1) * GENERATOR_WINDOWS {
                for h in 0..2 {
                    let points = &chosen[(at * 2 + h) * L::LANES..][..L::LANES];
                    let (x, y) = lanes.gather(points, negate[at][h]);
                    self.of_generator[at][h] = Point { x, y };
                }
            }
        }
    }

    /// The odd multiples of all keys, and the trees of the generator's points, which need as many inversions. With
    /// the odd multiples below `2^k` and `2^k Q`, step `k` gives those below `2^(k+1)`.
    #[inline(always)]
    fn multiply<const H: usize>(&mut self, lanes: L, groups: usize) {
        for first in (0..groups).step_by(H) {
            let keys: [Point<L>; H] = side_by_side(&self.doubles, first);
            self.multiples[first * MULTIPLES..][..H].copy_from_slice(&keys);
        }
        let mut count = GENERATOR_WINDOWS;
        for k in 0..WINDOW_BITS as usize {
            // Step 0 only doubles, the last one only adds.
            let known = if k == 0 { 0 } else { 1 << (k - 1) };
            let doubles = k + 1 < WINDOW_BITS as usize;
            self.round.begin();
            for first in (0..groups).step_by(H) {
                let double: [Point<L>; H] = side_by_side(&self.doubles, first);
                for i in 0..known {
                    let multiple: [Point<L>; H] = side_by_side(&self.multiples, first * MULTIPLES + i * H);
                    self.round.add_later(lanes, &multiple, &double);
                }
                if doubles {
                    self.round.double_later(lanes, &double);
                }
            }
            let (pairs, right) = (count / 2, count.div_ceil(2));
            for points in self.of_generator.chunks_exact(GENERATOR_WINDOWS).take(groups) {
                for i in 0..pairs {
                    self.round.add_later(lanes, &points[i], &points[i + right]);
                }
            }
            self.round.invert(lanes);
            for points in self.of_generator.chunks_exact_mut(GENERATOR_WINDOWS).take(groups).rev() {
                for i in (0..pairs).rev() {
                    points[i] = self.round.add(lanes, &points[i], &points[i + right]);
                }
            }
            count = right;
            for first in (0..groups).step_by(H).rev() {
                let double: [Point<L>; H] = side_by_side(&self.doubles, first);
                if doubles {
                    let next = self.round.double(lanes, &double);
                    self.doubles[first..][..H].copy_from_slice(&next);
                }
                for i in (0..known).rev() {
                    let at = first * MULTIPLES + i * H;
                    let multiple: [Point<L>; H] = side_by_side(&self.multiples, at);
                    let sum = self.round.add(lanes, &multiple, &double);
                    self.multiples[at + known * H..][..H].copy_from_slice(&sum);
                }
            }
        }
    }

    /// `d1 Q + lambda d2 Q` for every window, from the highest down; then `A` and `lambda B`.
    #[inline(always)]
    fn add_windows<const H: usize>(&mut self, lanes: L, groups: usize) {
        let beta = lanes.factor(lanes.splat(&BETA));
        let packed = self.tables.chunks_exact_mut(L::LANES);
        for (multiple, packed) in self.multiples[..groups * MULTIPLES].iter().zip(packed) {
            lanes.scatter(multiple.x, multiple.y, packed);
        }
        let mut chosen = vec![&self.tables[0]; groups * WINDOWS * 2 * L::LANES];
        let mut negate = vec![[0; 2]; groups * WINDOWS];
        for group in 0..groups {
            let (first, h) = (group / H * H, group % H);
            let table = &self.tables[(first * MULTIPLES + h) * L::LANES..];
            for i in 0..WINDOWS {
                let at = first * WINDOWS + i * H + h;
                for half in 0..2 {
                    let mut entries = [0; LANES_MAX];
                    negate[at][half] =
                        lanes.window(self.halves[group][half], &window(i), &mut entries[..L::LANES]);
                    let points = &mut chosen[(at * 2 + half) * L::LANES..][..L::LANES];
                    for lane in 0..L::LANES {
                        points[lane] = &table[usize::from(entries[lane]) * H * L::LANES + lane];
                    }
                }
            }
        }
        self.round.begin();
        for first in (0..groups).step_by(H) {
            for i in 0..WINDOWS {
                let (from, to) = (first * WINDOWS + i * H, first * TERMS + i * H);
                let mut differences = [beta; H];
                for (h, difference) in differences.iter_mut().enumerate() {
                    let (a, b) = chosen[(from + h) * 2 * L::LANES..][..2 * L::LANES].split_at(L::LANES);
                    let (x, y) = lanes.gather(b, negate[from + h][1]);
                    let x = lanes.settle(lanes.mul(lanes.factor(x), beta));
                    *difference = lanes.sub(x, lanes.gather_x(a));
                    // lambda d2 Q waits where the sum will be.
                    self.terms[to + h] = Point { x, y };
                }
                self.round.divide_later(lanes, differences);
            }
        }
        self.round.invert(lanes);
        for first in (0..groups).step_by(H).rev() {
            for i in (0..WINDOWS).rev() {
                let (from, to) = (first * WINDOWS + i * H, first * TERMS + i * H);
                let q: [Point<L>; H] = side_by_side(&self.terms, to);
                let mut p = q;
                for (h, p) in p.iter_mut().enumerate() {
                    let a = &chosen[(from + h) * 2 * L::LANES..][..L::LANES];
                    let (x, y) = lanes.gather(a, negate[from + h][0]);
                    *p = Point { x, y };
                }
                let sum = self.round.add(lanes, &p, &q);
                self.terms[to..][..H].copy_from_slice(&sum);
            }
        }
        for group in 0..groups {
            let [a, b] = self.of_generator[group * GENERATOR_WINDOWS];
            let x = lanes.settle(lanes.mul(lanes.factor(b.x), beta));
            let at = group / H * H * TERMS + WINDOWS * H + group % H;
            self.terms[at] = a;
            self.terms[at + H] = Point { x, y: b.y };
        }
    }

    /// Adds up the terms.
    #[inline(always)]
    fn chain<const H: usize>(&mut self, lanes: L, groups: usize) {
        let one = lanes.factor(lanes.splat(&[1, 0, 0, 0]));
        for first in (0..groups).step_by(H) {
            let highest: [Point<L>; H] = side_by_side(&self.terms, first * TERMS);
            let mut sum = Jacobian::from_affine(&highest, one);
            for i in 1..TERMS {
                // The windows are five bits apart; A and lambda B belong to bit 0.
                if i < WINDOWS {
                    for _ in 0..WINDOW_BITS {
                        jacobian::double(lanes, &mut sum);
                    }
                }
                jacobian::add(lanes, &mut sum, &side_by_side(&self.terms, first * TERMS + i * H));
            }
            self.sums[first..][..H].copy_from_slice(&sum);
        }
    }

    /// From `R'` to decisions.
    #[inline(always)]
    fn compare(&mut self, lanes: L, items: &[ColdItem], groups: usize, decisions: &mut Vec<Decision>) {
        let one = lanes.factor(lanes.splat(&[1, 0, 0, 0]));
        let mut flagged = [0; CHUNK];
        self.round.begin();
        for (sum, flagged) in self.sums[..groups].iter_mut().zip(&mut flagged) {
            *flagged = lanes.is_zero(sum.z);
            sum.z = lanes.select(*flagged, one, sum.z);
            self.round.divide_later(lanes, [sum.z]);
        }
        self.round.invert(lanes);
        let first = decisions.len();
        decisions.resize(first + items.len(), Decision::Undecided);
        let decisions = &mut decisions[first..];
        for (group, sum) in self.sums[..groups].iter().enumerate().rev() {
            let [z] = self.round.inverse(lanes, [sum.z]);
            let z2 = lanes.square(z);
            let x = lanes.settle(lanes.mul(lanes.factor(sum.x), z2));
            let y = lanes.settle(lanes.mul(lanes.factor(sum.y), lanes.mul(z2, z)));
            let (mut xs, mut ys) = ([[0; 4]; LANES_MAX], [[0; 4]; LANES_MAX]);
            lanes.store(x, &mut xs[..L::LANES]);
            lanes.store(y, &mut ys[..L::LANES]);
            for lane in 0..L::LANES {
                let Some(item) = items.get(group * L::LANES + lane) else { break };
                let flagged = flagged[group] >> lane & 1 == 1;
                decisions[group * L::LANES + lane] = decision(item, flagged, &xs[lane], &ys[lane]);
            }
        }
    }
}

/// Window `i` of a half of `u2`, from the highest down.
#[inline(always)]
const fn window(i: usize) -> Window {
    let offset = (WINDOWS - 1 - i) as u32 * WINDOW_BITS;
    let bits = if i == 0 { HALF_BITS - offset } else { WINDOW_BITS };
    Window { offset, bits, first: 0 }
}

/// The points of `H` groups.
#[inline(always)]
fn side_by_side<F: Field, const H: usize>(points: &[Point<F>], at: usize) -> [Point<F>; H] {
    points[at..][..H].try_into().expect("H points")
}

#[cfg(test)]
mod tests;
