//! Jobs in, outcomes out: whether a signature was made by the address that should have made it.
//!
//! The rule is that of a contract that calls `ecrecover` and compares: recover the key from digest,
//! `r`, `s` and parity, hash it to an address, compare. A batch gives the same outcomes as its jobs one
//! by one, in their order, whatever else is in it: one bad signature never spoils its neighbours.
//!
//! # Ways to the same outcome
//!
//! * [`recover`]: libsecp256k1, one job after the other, about 38 µs. For signers that are not known yet, and for the few
//!   cases that the kernel leaves to others.
//! * In lanes, valid or not: about a microsecond a job in a batch for signers with a table ([`crate::kernel`]), four for signers
//!   whose key is known ([`crate::cold`]).
//!
//! | the job's signer | what happens |
//! |---|---|
//! | unknown | its jobs of the batch are recovered until one is valid, which shows the key |
//! | known, without a table | the chain of doublings in lanes, or recovered where that is faster |
//! | known, and has earned a table | its table is built, with those of all other signers of the batch that have earned one |
//! | has a table | the kernel |
//!
//! A case that the additions of a table leave to others goes through the chain of doublings; what that leaves is recovered.
//!
//! An invalid signature of a signer with a table costs what a valid one costs: nobody is asked *who* made it instead. A caller
//! that must know asks [`recover`].

#[cfg(target_arch = "x86_64")]
use crate::backend::Avx512;
use crate::backend::{Backend, Lanes};
use crate::cold::{ColdItem, ColdWorkspace, DecideCold, NewColdWorkspace};
use crate::ecdsa::Signature;
use crate::field::PackedPoint;
use crate::field::portable::Portable;
use crate::kernel::{Decide, Decision, Item, NewWorkspace, Workspace};
use crate::lock::Mutex;
use crate::recover::recover;
use crate::signers::{FIRST_SHAPE, Known, Met, Signers, WIDE_SHAPE};
use crate::table::{Build, GENERATOR_POINT, Shape, Table};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Once;

/// One question: did `signer` sign `digest`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The hash that was signed.
    pub digest: [u8; 32],
    /// The signature, in range and low-s.
    pub signature: Signature,
    /// The address that should have signed.
    pub signer: [u8; 20],
}

/// The answer to a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The signer signed the digest.
    Valid,
    /// `ecrecover` returns another address, or nothing. [`recover`] tells which.
    Invalid,
}

/// Memory for what is known of signers unless told otherwise, in bytes: 230,000 keys, 3,200 tables, and 720 wide ones.
pub const SIGNER_TABLES_BYTES_MAX: usize = 256 << 20;

/// Vouchers after which a table is built: it takes as long as six or seven vouchers without one.
const TABLE_AT_VOUCHERS: u32 = 6;

/// Signatures of signers with a table from which on eight lanes are faster than one (16 and 22 microseconds for one).
#[cfg(target_arch = "x86_64")]
const WIDE_ITEMS_MIN: usize = 2;

/// Signatures of signers without a table from which on eight lanes are faster than one recovery after the other.
#[cfg(target_arch = "x86_64")]
const COLD_ITEMS_MIN: usize = 2;

/// The most workspaces that wait for their next use: one a thread that verifies at the same time. Each takes less
/// than a megabyte.
const WORKSPACES_MAX: usize = 64;

/// The generator's table, shared by all verifiers; built by the first, in some milliseconds.
static GENERATOR: Once<Table> = Once::new();

fn generator() -> &'static Table {
    let build = Build { keys: &[GENERATOR_POINT], shape: Shape::GENERATOR };
    GENERATOR.call_once(|| Portable.run(build).remove(0))
}

/// Verifies signatures. Make one, keep it, share it between threads.
///
/// It learns the keys of signers and keeps tables of those that come back, bounded in bytes: they change the speed of
/// an answer, never the answer. Locks are held for lookups only, never while signatures are verified.
pub struct Verifier {
    engine: Engine,
    signers: Mutex<Signers>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let tables_bytes = self.signers.lock().bytes();
        f.debug_struct("Verifier")
            .field("backend", &self.backend().name())
            .field("tables_bytes", &tables_bytes)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that knows no signer yet, with the fastest backend of this machine.
    pub fn new() -> Self {
        Self::with(Backend::detect(), SIGNER_TABLES_BYTES_MAX)
    }

    /// A verifier with this backend that keeps no more than so many bytes of tables.
    pub fn with(backend: Backend, signer_tables_bytes_max: usize) -> Self {
        let engine = match backend {
            Backend::Portable(lanes) => Engine::Portable(Pool::new(lanes)),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(lanes) => Engine::Avx512 { wide: Pool::new(lanes), alone: Pool::new(Portable) },
        };
        Self { engine, signers: Mutex::new(Signers::new(signer_tables_bytes_max, TABLE_AT_VOUCHERS)) }
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        match &self.engine {
            Engine::Portable(pool) => Backend::Portable(pool.lanes),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 { wide, .. } => Backend::Avx512(wide.lanes),
        }
    }

    /// Answers one job.
    pub fn verify_one(&self, job: &Job) -> Outcome {
        let mut outcomes = Vec::with_capacity(1);
        self.verify_batch(core::slice::from_ref(job), &mut outcomes);
        outcomes[0]
    }

    /// Answers every job. `outcomes` is emptied first and then holds one outcome a job, in order: a caller
    /// can keep the vector and pay for its memory once.
    pub fn verify_batch(&self, jobs: &[Job], outcomes: &mut Vec<Outcome>) {
        outcomes.clear();
        // What no other way decides stands to be recovered.
        let mut decided: Vec<Option<Outcome>> = alloc::vec![None; jobs.len()];
        let mut met = self.signers.lock().meet(jobs);
        self.introduce(jobs, &mut met, &mut decided);
        self.build(jobs, &mut met);
        for shape in [FIRST_SHAPE, WIDE_SHAPE] {
            self.decide_with_tables(shape, jobs, &met, &mut decided);
        }
        self.decide_with_keys(jobs, &met, &mut decided);
        outcomes.extend(jobs.iter().zip(decided).map(|(job, decided)| decided.unwrap_or_else(|| ask(job).0)));
    }

    /// Recovers the jobs of signers that are not known, each signer's until one is valid and shows its key.
    fn introduce(&self, jobs: &[Job], met: &mut Met, decided: &mut [Option<Outcome>]) {
        for ((job, decided), place) in jobs.iter().zip(decided).zip(&met.of_job) {
            let signer = &mut met.signers[*place as usize];
            if !matches!(signer.known, Known::Nothing) {
                continue;
            }
            let (outcome, key) = ask(job);
            *decided = Some(outcome);
            signer.vouchers -= 1;
            if let Some(key) = key {
                // This voucher is counted by `learn`; those before it did not name its signer truly.
                let mut signers = self.signers.lock();
                signer.known = signers.learn(&job.signer, key, signer.vouchers, &mut met.keys);
            }
        }
    }

    /// Builds the tables that signers of this batch have earned, all together.
    fn build(&self, jobs: &[Job], met: &mut Met) {
        for shape in [FIRST_SHAPE, WIDE_SHAPE] {
            let mut places = Vec::new();
            let mut keys = Vec::new();
            for (place, signer) in met.signers.iter().enumerate() {
                if let Known::Earned(key, earned) = signer.known
                    && earned == shape
                {
                    places.push(place);
                    keys.push(met.keys[key]);
                }
            }
            if keys.is_empty() {
                continue;
            }
            let tables = self.engine.build(&keys, shape);
            let mut signers = self.signers.lock();
            for (place, table) in places.into_iter().zip(tables) {
                let table = Arc::new(table);
                let signer = &mut met.signers[place];
                signers.keep(&jobs[signer.job as usize].signer, &table);
                signer.known = Known::Table(table);
            }
        }
    }

    /// Decides the jobs whose signers have a table of this shape.
    fn decide_with_tables(&self, shape: Shape, jobs: &[Job], met: &Met, decided: &mut [Option<Outcome>]) {
        let mut places = Vec::new();
        let mut items = Vec::new();
        for (place, job) in jobs.iter().enumerate() {
            if let Known::Table(table) = met.known(place)
                && table.shape() == shape
                && decided[place].is_none()
            {
                places.push(place);
                items.push(Item { digest: &job.digest, signature: &job.signature, table });
            }
        }
        for (place, decision) in places.into_iter().zip(self.engine.decide(shape, &items)) {
            decided[place] = outcome(decision);
        }
    }

    /// Decides what is left of signers whose key is known: those without a table, and what additions of table entries could
    /// not decide. (It is hard to make both ways exceptional: on this one, a hash would have to be chosen.)
    fn decide_with_keys(&self, jobs: &[Job], met: &Met, decided: &mut [Option<Outcome>]) {
        let mut places = Vec::new();
        let mut items = Vec::new();
        for (place, job) in jobs.iter().enumerate().filter(|(place, _)| decided[*place].is_none()) {
            let key = match met.known(place) {
                Known::Key(key) => met.keys[*key],
                Known::Table(table) => table.key(),
                Known::Nothing | Known::Earned(..) => continue,
            };
            places.push(place);
            items.push(ColdItem { digest: &job.digest, signature: &job.signature, key });
        }
        for (place, decision) in places.into_iter().zip(self.engine.decide_cold(&items)) {
            decided[place] = outcome(decision);
        }
    }
}

/// What the lanes found, unless they leave it to others.
fn outcome(decision: Decision) -> Option<Outcome> {
    match decision {
        Decision::Match => Some(Outcome::Valid),
        Decision::Mismatch => Some(Outcome::Invalid),
        Decision::Undecided => None,
    }
}

/// Asks libsecp256k1, and gives the key if the job is valid.
fn ask(job: &Job) -> (Outcome, Option<PackedPoint>) {
    match recover(&job.digest, &job.signature) {
        Some(key) if key.address() == job.signer => (Outcome::Valid, Some(PackedPoint::from(&key))),
        _ => (Outcome::Invalid, None),
    }
}

/// A backend and its memory.
enum Engine {
    Portable(Pool<Portable>),
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        wide: Pool<Avx512>,
        /// For a signature that comes alone: eight lanes take longer than it does in one.
        alone: Pool<Portable>,
    },
}

impl Engine {
    fn decide(&self, shape: Shape, items: &[Item]) -> Vec<Decision> {
        match self {
            Self::Portable(pool) => pool.decide(shape, items),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 { alone, .. } if items.len() < WIDE_ITEMS_MIN => alone.decide(shape, items),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 { wide, .. } => wide.decide(shape, items),
        }
    }

    /// Decisions of signatures whose signers have no table; none at all where one by one is faster.
    fn decide_cold(&self, items: &[ColdItem]) -> Vec<Decision> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 { .. } if items.len() < COLD_ITEMS_MIN => Vec::new(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 { wide, .. } => wide.decide_cold(items),
            Self::Portable(pool) => pool.decide_cold(items),
        }
    }

    fn build(&self, keys: &[PackedPoint], shape: Shape) -> Vec<Table> {
        match self {
            Self::Portable(pool) => pool.lanes.run(Build { keys, shape }),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 { wide, .. } => wide.lanes.run(Build { keys, shape }),
        }
    }
}

/// A backend and the workspaces that nobody uses now.
struct Pool<L: Lanes> {
    lanes: L,
    workspaces: Mutex<Vec<Box<Workspace<L>>>>,
    cold_workspaces: Mutex<Vec<Box<ColdWorkspace<L>>>>,
}

impl<L: Lanes> Pool<L> {
    const fn new(lanes: L) -> Self {
        Self { lanes, workspaces: Mutex::new(Vec::new()), cold_workspaces: Mutex::new(Vec::new()) }
    }

    fn decide(&self, shape: Shape, items: &[Item]) -> Vec<Decision> {
        if items.is_empty() {
            return Vec::new();
        }
        let mut workspace = take(&self.workspaces, || self.lanes.run(NewWorkspace));
        let decide = Decide { workspace: &mut workspace, generator: generator(), shape, items };
        let decisions = self.lanes.run(decide);
        give_back(&self.workspaces, workspace);
        decisions
    }

    fn decide_cold(&self, items: &[ColdItem]) -> Vec<Decision> {
        if items.is_empty() {
            return Vec::new();
        }
        let mut workspace = take(&self.cold_workspaces, || self.lanes.run(NewColdWorkspace));
        let decide = DecideCold { workspace: &mut workspace, generator: generator(), items };
        let decisions = self.lanes.run(decide);
        give_back(&self.cold_workspaces, workspace);
        decisions
    }
}

/// A workspace that nobody uses, or a new one.
fn take<W>(waiting: &Mutex<Vec<Box<W>>>, new: impl FnOnce() -> W) -> Box<W> {
    let waiting = waiting.lock().pop();
    waiting.unwrap_or_else(|| Box::new(new()))
}

fn give_back<W>(waiting: &Mutex<Vec<Box<W>>>, workspace: Box<W>) {
    let mut waiting = waiting.lock();
    if waiting.len() < WORKSPACES_MAX {
        waiting.push(workspace);
    }
}

#[cfg(test)]
mod tests;
