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
use crate::field::{LaneMask, PackedPoint, Words, number};
use crate::scalar::{Window, invert_all};
use crate::sum::{Background, Point, Tree};
use crate::table::{Shape, Table};
use alloc::vec;
use alloc::vec::Vec;

/// Signatures that share their inversions. More would share better and fall out of the second-level cache.
pub const CHUNK: usize = 64;

/// The most lanes of any backend.
const LANES_MAX: usize = 8;

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

    /// A pipeline: while a chunk's points are summed, the next one's are chosen and fetched into the cache.
    #[inline(always)]
    fn run(self, lanes: L) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(self.items.len());
        let Workspace { chooser, tree } = self.workspace;
        chooser.set_shapes(self.generator.shape(), self.shape);
        tree.set_count(chooser.windows.len());
        let chunk = |items| Chunk { generator: self.generator, items };
        let mut coming = self.items.chunks(CHUNK).map(chunk);
        let mut arriving = self.items.chunks(CHUNK);
        let mut next = coming.next();
        if let Some(chunk) = next {
            chooser.choose(lanes, chunk);
        }
        while decisions.len() < self.items.len() {
            if let Some(chunk) = next {
                chooser.gather(lanes, chunk, tree);
                next = coming.next();
                if let Some(chunk) = next {
                    chooser.choose(lanes, chunk);
                }
            }
            let arrived = match next {
                Some(chunk) => tree.step(lanes, &mut chooser.fetch(lanes, chunk)),
                None => tree.step(lanes, &mut ()),
            };
            if arrived > 0 {
                let items = arriving.next().expect("as many chunks arrive as were sent");
                compare(lanes, tree, items, &mut decisions);
            }
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

/// Signatures that go through the tree together. Signature `i` is lane `i % LANES` of group `i / LANES`; lanes without
/// a signature repeat the last one.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    generator: &'a Table,
    items: &'a [Item<'a>],
}

impl<'a> Chunk<'a> {
    /// How many groups of so many lanes it fills.
    #[inline(always)]
    fn groups(self, lanes: usize) -> usize {
        self.items.len().div_ceil(lanes)
    }

    #[inline(always)]
    fn item(self, index: usize) -> &'a Item<'a> {
        &self.items[index.min(self.items.len() - 1)]
    }

    /// One number of every signature of a group.
    #[inline(always)]
    fn numbers<L: Lanes>(self, group: usize, of: impl Fn(&Item<'a>) -> &'a [u8; 32]) -> [Words; LANES_MAX] {
        let mut numbers = [[0; 4]; LANES_MAX];
        for (lane, number_of_lane) in numbers.iter_mut().enumerate().take(L::LANES) {
            *number_of_lane = number(of(self.item(group * L::LANES + lane)));
        }
        numbers
    }

    /// The tables of a group's signers.
    #[inline(always)]
    fn signers<L: Lanes>(self, group: usize) -> [&'a [PackedPoint]; LANES_MAX] {
        let mut tables = [self.generator.points(); LANES_MAX];
        for (lane, table) in tables.iter_mut().enumerate().take(L::LANES) {
            *table = self.item(group * L::LANES + lane).table.points();
        }
        tables
    }
}

/// Which points of their tables the lanes of a group add.
#[derive(Clone, Copy, Default)]
struct Choice {
    entries: [u16; LANES_MAX],
    negate: LaneMask,
}

/// From signatures to table entries, and from those to points.
struct Chooser<L: Lanes> {
    /// Windows of the generator's table, then those of a signer's.
    windows: Vec<Window>,
    /// How many of them are the generator's.
    generator_windows: usize,
    /// `s`, then `R/s`, by group.
    inverses: Vec<L::Scalar>,
    /// Memory for the inversion.
    prefixes: Vec<L::Scalar>,
    /// By group and window: the entries to add, for both halves.
    choices: Vec<[Choice; 2]>,
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
            choices: vec![[Choice::default(); 2]; groups * windows],
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
    fn choose(&mut self, lanes: L, chunk: Chunk) {
        let groups = chunk.groups(L::LANES);
        for group in 0..groups {
            let s = chunk.numbers::<L>(group, |item| item.signature.s());
            self.inverses[group] = lanes.load_scalars(&s[..L::LANES]);
        }
        invert_all(lanes, &mut self.inverses[..groups], &mut self.prefixes[..groups]);
        for group in 0..groups {
            let z = chunk.numbers::<L>(group, |item| item.digest);
            let r = chunk.numbers::<L>(group, |item| item.signature.r());
            let u1 = lanes.mul_mod_n(lanes.load_scalars(&z[..L::LANES]), self.inverses[group]);
            let u2 = lanes.mul_mod_n(lanes.load_scalars(&r[..L::LANES]), self.inverses[group]);
            let (u1, u2) = (lanes.split(u1), lanes.split(u2));
            let choices = &mut self.choices[group * self.windows.len()..][..self.windows.len()];
            for (i, (window, choices)) in self.windows.iter().zip(choices).enumerate() {
                let halves = if i < self.generator_windows { u1 } else { u2 };
                for h in 0..2 {
                    let choice = &mut choices[h];
                    choice.negate = lanes.window(halves[h], window, &mut choice.entries[..L::LANES]);
                }
            }
        }
    }

    /// Writes the chosen points of a chunk onto the first level of the tree.
    #[inline(always)]
    fn gather(&self, lanes: L, chunk: Chunk, tree: &mut Tree<L>) {
        let groups = chunk.groups(L::LANES);
        tree.enter(groups);
        for group in 0..groups {
            let signers = chunk.signers::<L>(group);
            let generator = [chunk.generator.points(); LANES_MAX];
            for slot in 0..self.windows.len() {
                let tables = if slot < self.generator_windows { &generator } else { &signers };
                let choices = &self.choices[group * self.windows.len() + slot];
                let points = tree.point(group, slot);
                for h in 0..2 {
                    let mut chosen = [&tables[0][0]; LANES_MAX];
                    for lane in 0..L::LANES {
                        chosen[lane] = &tables[lane][usize::from(choices[h].entries[lane])];
                    }
                    let (x, y) = lanes.gather(&chosen[..L::LANES], choices[h].negate);
                    points[h] = Point { x, y };
                }
            }
        }
    }

    /// Work for the background: fetches the chosen points of a chunk.
    #[inline(always)]
    fn fetch<'c>(&'c self, lanes: L, chunk: Chunk<'c>) -> Fetch<'c, L> {
        let signers = chunk.signers::<L>(0);
        Fetch { lanes, chunk, chooser: self, signers, group: 0, slot: 0 }
    }
}

/// Fetches chosen points into the cache.
struct Fetch<'c, L: Lanes> {
    lanes: L,
    chunk: Chunk<'c>,
    chooser: &'c Chooser<L>,
    /// The tables of the group's signers.
    signers: [&'c [PackedPoint]; LANES_MAX],
    /// What comes next.
    group: usize,
    slot: usize,
}

impl<L: Lanes> Fetch<'_, L> {
    /// Fetches what the next window of a group adds.
    #[inline(always)]
    fn window(&mut self) {
        let windows = self.chooser.windows.len();
        if self.slot == windows {
            (self.group, self.slot) = (self.group + 1, 0);
            self.signers = self.chunk.signers::<L>(self.group);
        }
        if self.group == self.chunk.groups(L::LANES) {
            return;
        }
        for choice in &self.chooser.choices[self.group * windows + self.slot] {
            for lane in 0..L::LANES {
                let entry = usize::from(choice.entries[lane]);
                let from_generator = self.slot < self.chooser.generator_windows;
                let table = if from_generator { self.chunk.generator.points() } else { self.signers[lane] };
                self.lanes.prefetch(&table[entry]);
            }
        }
        self.slot += 1;
    }
}

/// Two windows an addition: the first level alone has half as many additions as there are windows.
impl<L: Lanes> Background for Fetch<'_, L> {
    #[inline(always)]
    fn work(&mut self) {
        self.window();
        self.window();
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
            let same_x = xs[lane] == number(item.signature.r());
            let same_parity = (ys[lane][0] & 1 == 1) == item.signature.parity();
            decisions.push(match sum.flagged >> lane & 1 {
                1 => Decision::Undecided,
                _ if same_x && same_parity => Decision::Match,
                _ => Decision::Mismatch,
            });
        }
    }
}

#[cfg(test)]
mod tests;
