//! The kernel as the tests ask it: with jobs and tables, on every backend of this machine.

use std::sync::OnceLock;

use farebox_crypto::Job;
use farebox_crypto::backend::{Backend, Lanes};
use farebox_crypto::cold::{ColdItem, ColdWorkspace, DecideCold, NewColdWorkspace};
use farebox_crypto::field::portable::Portable;
use farebox_crypto::field::{PackedPoint, number};
use farebox_crypto::kernel::{Decide, Decision, Item, NewWorkspace, Workspace};
use farebox_crypto::table::{Build, GENERATOR_POINT, Shape, Table};
use secp256k1::PublicKey;

pub fn generator() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Portable.run(Build { keys: &[GENERATOR_POINT], shape: Shape::GENERATOR }).remove(0))
}

pub fn packed(key: &PublicKey) -> PackedPoint {
    let bytes = key.serialize_uncompressed();
    let coordinate = |bytes: &[u8]| number(bytes.try_into().expect("32 bytes"));
    PackedPoint { x: coordinate(&bytes[1..33]), y: coordinate(&bytes[33..]) }
}

/// What a test does on every backend of this machine.
pub trait OnLanes {
    fn run<L: Lanes>(&self, lanes: L);
}

pub fn on_all_backends(test: &impl OnLanes) {
    test.run(Portable);
    #[cfg(target_arch = "x86_64")]
    if let Backend::Avx512(lanes) = Backend::detect() {
        test.run(lanes);
    }
}

/// The kernel and its memory, which is used again and again: what one use leaves behind must not matter to the next.
pub struct Kernel<L: Lanes> {
    lanes: L,
    workspace: Workspace<L>,
}

impl<L: Lanes> Kernel<L> {
    pub fn new(lanes: L) -> Self {
        Self { lanes, workspace: lanes.run(NewWorkspace) }
    }

    pub fn decide(&mut self, shape: Shape, jobs: &[(Job, &Table)]) -> Vec<Decision> {
        let items: Vec<_> = jobs
            .iter()
            .map(|(job, table)| Item { digest: &job.digest, signature: &job.signature, table })
            .collect();
        let generator = generator();
        self.lanes.run(Decide { workspace: &mut self.workspace, generator, shape, items: &items })
    }
}

/// The same for signers without a table.
pub struct ColdKernel<L: Lanes> {
    lanes: L,
    workspace: ColdWorkspace<L>,
}

impl<L: Lanes> ColdKernel<L> {
    pub fn new(lanes: L) -> Self {
        Self { lanes, workspace: lanes.run(NewColdWorkspace) }
    }

    pub fn decide(&mut self, jobs: &[(Job, PackedPoint)]) -> Vec<Decision> {
        let items: Vec<_> = jobs
            .iter()
            .map(|(job, key)| ColdItem { digest: &job.digest, signature: &job.signature, key: *key })
            .collect();
        let generator = generator();
        self.lanes.run(DecideCold { workspace: &mut self.workspace, generator, items: &items })
    }
}
