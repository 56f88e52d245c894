//! Signatures of signers whose tables are known: the whole computation, chunk by chunk.
//!
//! For a signature `(r, s)` with parity `v` over `z` by the key `Q`, `ecrecover` returns `Q` exactly if the point
//! `R' = (z/s) G + (r/s) Q` has `x(R') = r` **as integers** and `y(R')` has the parity `v`. (Comparing modulo `n`
//! would accept `x = r + n`, which no contract can be told about.) So no square root is needed, and no
//! doubling: `R'` is a sum of table entries.
//!
//! ```text
//! z, r, s --1/s--> u1, u2 --split--> 4 odd halves --windows--> entries of the tables of G and Q
//!   first halves of u1 and u2:  tree of additions -> A
//!   second halves:              tree of additions -> B         R' = A + lambda B,  lambda (x, y) = (beta x, y)
//! ```
//!
//! A lane that met an exceptional addition is [`Decision::Undecided`]: the caller asks libsecp256k1.

use crate::backend::{Kernel, Lanes};
use crate::ecdsa::Signature;
use crate::field::{LaneMask, PackedPoint};
use crate::scalar::{Window, invert_all};
use crate::signed::{LANES_MAX, Number, Signed, decision, item, numbers};
use crate::sum::{Background, Point, Source, Tree};
use crate::table::{Shape, Table};
use alloc::vec;
use alloc::vec::Vec;

/// Signatures that share their inversions. More would share better and fall out of the second-level cache.
pub const CHUNK: usize = 64;

/// How many slots ahead of the first level a point is fetched once more: since its chunk was chosen, all levels of the tree
/// went through the cache, and some points have left it again.
const SLOTS_AHEAD: usize = 2;

/// One signature and the table of the key that should have made it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The hash that was signed.
    pub digest: &'a [u8; 32],
    /// The signature.
    pub signature: &'a Signature,
    /// The key's table.
    pub table: &'a Table,
}

impl Signed for Item<'_> {
    #[inline(always)]
    fn digest(&self) -> &[u8; 32] {
        self.digest
    }

    #[inline(always)]
    fn signature(&self) -> &Signature {
        self.signature
    }
}

/// What the kernel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `ecrecover` returns the key.
    Match,
    /// `ecrecover` returns another key, or none.
    Mismatch,
    /// The additions met a case that the kernel leaves to others.
    Undecided,
}

/// Decides every item; all tables have the same shape.
pub struct Decide<'w, 'a, L: Lanes> {
    /// The memory of the computation, for use again and again.
    pub workspace: &'w mut Workspace<L>,
    /// The generator's table.
    pub generator: &'a Table,
    /// The shape of every item's table.
    pub shape: Shape,
    /// The signatures.
    pub items: &'a [Item<'a>],
}

impl<L: Lanes> Kernel<L> for Decide<'_, '_, L> {
    type Output = Vec<Decision>;

    /// A pipeline: while a chunk's points are summed, those of the next one are fetched into the cache.
    #[inline(always)]
    fn run(self, lanes: L) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(self.items.len());
        let Workspace { chooser, tree } = self.workspace;
        chooser.set_shapes(self.generator.shape(), self.shape);
        tree.set_count(chooser.windows.len());
        let groups_max = self.items.len().min(CHUNK).div_ceil(L::LANES);
        let mut entering = Chosen::new::<L>(self.generator, groups_max, chooser.windows.len());
        let mut coming = entering.clone();
        let mut chunks = self.items.chunks(CHUNK);
        let mut arriving = self.items.chunks(CHUNK);
        if let Some(items) = chunks.next() {
            chooser.choose(lanes, self.generator, items, &mut entering);
            Fetch { lanes, points: entering.points::<L>() }.all();
        }
        while decisions.len() < self.items.len() {
            match chunks.next() {
                Some(items) => chooser.choose(lanes, self.generator, items, &mut coming),
                None => coming.groups = 0,
            }
            let mut fetch = Fetch { lanes, points: coming.points::<L>() };
            let arrived =
                tree.step(lanes, entering.groups, &mut Gather { lanes, chosen: &entering }, &mut fetch);
            fetch.all();
            if arrived > 0 {
                let items = arriving.next().expect("as many chunks arrive as were sent");
                compare(lanes, tree, items, &mut decisions);
            }
            core::mem::swap(&mut entering, &mut coming);
        }
        decisions
    }
}

/// The memory that deciding takes: less than a megabyte, for shapes of up to 32 windows. Between two uses it holds
/// nothing of meaning.
pub struct Workspace<L: Lanes> {
    chooser: Chooser<L>,
    tree: Tree<L>,
}

/// Makes a [`Workspace`].
pub struct NewWorkspace;

impl<L: Lanes> Kernel<L> for NewWorkspace {
    type Output = Workspace<L>;

    #[inline(always)]
    fn run(self, lanes: L) -> Workspace<L> {
        let groups = CHUNK / L::LANES;
        let windows = Shape::GENERATOR.window_count() + Shape::SIGNER_16_KB.window_count();
        Workspace { chooser: Chooser::new(lanes, groups, windows), tree: Tree::new(lanes, groups, windows) }
    }
}

/// The points that a chunk adds, in their tables. A chunk is signatures that go through the tree together: signature
/// `i` is lane `i % LANES` of group `i / LANES`, and lanes without a signature repeat the last one.
#[derive(Clone)]
struct Chosen<'a> {
    /// How many groups the chunk has.
    groups: usize,
    /// How many points a half adds.
    windows: usize,
    /// By group, window, half, and lane.
    points: Vec<&'a PackedPoint>,
    /// By group, window, and half: the lanes that add the opposite point.
    negate: Vec<[LaneMask; 2]>,
}

impl<'a> Chosen<'a> {
    /// Memory for so many groups. The generator's table gives points to begin with.
    #[inline(always)]
    fn new<L: Lanes>(generator: &'a Table, groups: usize, windows: usize) -> Self {
        let points = vec![&generator.points()[0]; groups * windows * 2 * L::LANES];
        Self { groups: 0, windows, points, negate: vec![[0; 2]; groups * windows] }
    }

    /// All points of the chunk.
    #[inline(always)]
    fn points<L: Lanes>(&self) -> &[&'a PackedPoint] {
        &self.points[..self.groups * self.windows * 2 * L::LANES]
    }
}

/// The points of a chunk, for the tree.
struct Gather<'c, 'a, L: Lanes> {
    lanes: L,
    chosen: &'c Chosen<'a>,
}

impl<L: Lanes> Source<L> for Gather<'_, '_, L> {
    #[inline(always)]
    fn xs(&mut self, group: usize, slot: usize) -> [L::Fe; 2] {
        let at = group * self.chosen.windows + slot;
        let (a, b) = self.chosen.points[at * 2 * L::LANES..][..2 * L::LANES].split_at(L::LANES);
        let soon = (at + SLOTS_AHEAD) * 2 * L::LANES;
        if let Some(points) = self.chosen.points.get(soon..soon + 2 * L::LANES) {
            for point in points {
                self.lanes.prefetch(point);
            }
        }
        [self.lanes.gather_x(a), self.lanes.gather_x(b)]
    }

    #[inline(always)]
    fn points(&mut self, group: usize, slot: usize) -> [Point<L>; 2] {
        let at = group * self.chosen.windows + slot;
        let (a, b) = self.chosen.points[at * 2 * L::LANES..][..2 * L::LANES].split_at(L::LANES);
        let negate = self.chosen.negate[at];
        let (ax, ay) = self.lanes.gather(a, negate[0]);
        let (bx, by) = self.lanes.gather(b, negate[1]);
        [Point { x: ax, y: ay }, Point { x: bx, y: by }]
    }
}

/// Fetches points into the cache, a few at a time.
struct Fetch<'c, 'a, L: Lanes> {
    lanes: L,
    points: &'c [&'a PackedPoint],
}

impl<L: Lanes> Fetch<'_, '_, L> {
    #[inline(always)]
    fn some(&mut self, count: usize) {
        let (now, later) = self.points.split_at(count.min(self.points.len()));
        for point in now {
            self.lanes.prefetch(point);
        }
        self.points = later;
    }

    #[inline(always)]
    fn all(&mut self) {
        self.some(self.points.len());
    }
}

/// A point a lane for each piece of work: a full step then fetches evenly what the next one needs, which keeps the memory
/// busy and its queue short. (There are two pieces of work an addition, and half as many additions as points.)
impl<L: Lanes> Background for Fetch<'_, '_, L> {
    #[inline(always)]
    fn work(&mut self) {
        self.some(L::LANES);
    }
}

/// From signatures to points.
struct Chooser<L: Lanes> {
    /// Windows of the generator's table, then those of a signer's.
    windows: Vec<Window>,
    /// How many of them are the generator's.
    generator_windows: usize,
    /// `s`, then `R/s`, by group.
    inverses: Vec<L::Scalar>,
    /// Memory for the inversion.
    prefixes: Vec<L::Scalar>,
}

impl<L: Lanes> Chooser<L> {
    #[inline(always)]
    fn new(lanes: L, groups: usize, windows: usize) -> Self {
        let zero = lanes.load_scalars(&[[0; 4]; LANES_MAX][..L::LANES]);
        Self {
            windows: Vec::with_capacity(windows),
            generator_windows: 0,
            inverses: vec![zero; groups],
            prefixes: vec![zero; groups],
        }
    }

    #[inline(always)]
    fn set_shapes(&mut self, generator: Shape, signer: Shape) {
        self.windows.clear();
        self.windows.extend(generator.windows().chain(signer.windows()));
        self.generator_windows = generator.window_count();
    }

    /// Chooses the points of a chunk.
    #[inline(always)]
    fn choose<'a>(&mut self, lanes: L, generator: &'a Table, items: &[Item<'a>], chosen: &mut Chosen<'a>) {
        chosen.groups = items.len().div_ceil(L::LANES);
        for (group, s) in self.inverses[..chosen.groups].iter_mut().enumerate() {
            *s = lanes.load_scalars(&numbers::<L>(items, group, Number::S)[..L::LANES]);
        }
        invert_all(lanes, &mut self.inverses[..chosen.groups], &mut self.prefixes[..chosen.groups]);
        let (of_generator, of_signer) = self.windows.split_at(self.generator_windows);
        for group in 0..chosen.groups {
            let z = lanes.load_scalars(&numbers::<L>(items, group, Number::Digest)[..L::LANES]);
            let r = lanes.load_scalars(&numbers::<L>(items, group, Number::R)[..L::LANES]);
            let u1 = lanes.split(lanes.mul_mod_n(z, self.inverses[group]));
            let u2 = lanes.split(lanes.mul_mod_n(r, self.inverses[group]));
            let mut tables = [generator.points(); LANES_MAX];
            let at = group * self.windows.len();
            choose_windows(lanes, of_generator, &tables, u1, at, chosen);
            for (lane, table) in tables.iter_mut().enumerate().take(L::LANES) {
                *table = item(items, group * L::LANES + lane).table.points();
            }
            choose_windows(lanes, of_signer, &tables, u2, at + of_generator.len(), chosen);
        }
    }
}

/// Chooses the points of both halves of a scalar, one a window. `at` is the place of the first window.
#[inline(always)]
fn choose_windows<'a, L: Lanes>(
    lanes: L,
    windows: &[Window],
    tables: &[&'a [PackedPoint]; LANES_MAX],
    halves: [L::Half; 2],
    at: usize,
    chosen: &mut Chosen<'a>,
) {
    let points = &mut chosen.points[at * 2 * L::LANES..][..windows.len() * 2 * L::LANES];
    let negate = &mut chosen.negate[at..][..windows.len()];
    for (i, (window, negate)) in windows.iter().zip(negate).enumerate() {
        for h in 0..2 {
            let mut entries = [0; LANES_MAX];
            negate[h] = lanes.window(halves[h], window, &mut entries[..L::LANES]);
            let points = &mut points[(2 * i + h) * L::LANES..][..L::LANES];
            for lane in 0..L::LANES {
                points[lane] = &tables[lane][usize::from(entries[lane])];
            }
        }
    }
}

/// From `R'` to decisions.
#[inline(always)]
fn compare<L: Lanes>(lanes: L, tree: &Tree<L>, items: &[Item], decisions: &mut Vec<Decision>) {
    let (mut xs, mut ys) = ([[0; 4]; LANES_MAX], [[0; 4]; LANES_MAX]);
    for (group, items) in items.chunks(L::LANES).enumerate() {
        let sum = tree.sum(group);
        lanes.store(sum.point.x, &mut xs[..L::LANES]);
        lanes.store(sum.point.y, &mut ys[..L::LANES]);
        for (lane, item) in items.iter().enumerate() {
            let flagged = sum.flagged >> lane & 1 == 1;
            decisions.push(decision(item, flagged, &xs[lane], &ys[lane]));
        }
    }
}

#[cfg(test)]
mod tests;
