//! The signers of a batch.

use super::NONE;
use crate::field::PackedPoint;
use crate::table::{Shape, Table};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What is known of a signer. Keys are places in [`Met::keys`].
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// The key: it has earned no table.
    Key(usize),
    /// Its table is at hand.
    Table(Arc<Table>),
    /// A table of this shape should be built of its key, and handed to [`super::Signers::keep`].
    Earned(usize, Shape),
}

/// A signer of a batch.
pub(crate) struct MetSigner {
    /// The first job that names it.
    pub job: u32,
    /// How many jobs name it, without those that were recovered before its key was known.
    pub vouchers: u32,
    /// What is known of it.
    pub known: Known,
}

/// The signers of a batch, each once.
pub(crate) struct Met {
    /// In the order in which the jobs name them.
    pub signers: Vec<MetSigner>,
    /// By job: the place of its signer. (In the making: its record.)
    pub of_job: Vec<u32>,
    /// Keys of signers without a table.
    pub keys: Vec<PackedPoint>,
    /// In the making: places of signers and their records.
    pub(super) records: Vec<(u32, u32)>,
}

impl Met {
    /// No signer yet, but the record of each job's.
    pub(super) fn new(records: impl Iterator<Item = u32>) -> Self {
        Self { signers: Vec::new(), of_job: records.collect(), keys: Vec::new(), records: Vec::new() }
    }

    /// Adds a signer, whom a job names first.
    pub(super) fn add(&mut self, job: usize) -> u32 {
        let place = u32::try_from(self.signers.len()).ok().filter(|place| *place != NONE);
        self.signers.push(MetSigner { job: job as u32, vouchers: 0, known: Known::Nothing });
        place.expect("a batch is smaller than 2^32 - 1")
    }

    /// What is known of a job's signer.
    pub(crate) fn known(&self, job: usize) -> &Known {
        &self.signers[self.of_job[job] as usize].known
    }
}
