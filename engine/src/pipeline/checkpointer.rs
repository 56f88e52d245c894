//! One thread that writes images and moves the mark, so that no voucher waits for a checkpoint.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use farebox_core::journal::Head;

use super::report;
use super::shared::Shared;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{Ledger, LedgerError, StoredChannel};

/// Jobs that may wait for the checkpointer; behind them the committer waits.
pub(super) const JOBS_MAX: usize = 64;

/// What the committer hands over, in the order in which it has to happen.
pub(super) enum Job {
    /// Store these.
    Images(Vec<StoredChannel>),
    /// All images of a checkpoint came before: move the mark.
    Mark {
        /// Where to.
        mark: Head,
        /// The number of the checkpoint.
        generation: u64,
    },
}

/// The checkpointer's parts.
pub(super) struct Checkpointer {
    pub(super) jobs: Receiver<Job>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) shared: Arc<Shared>,
    /// How many frames stay behind a mark; `None` for all of them.
    pub(super) keep_frames: Option<u64>,
}

impl Checkpointer {
    /// Works until the committer ends, or something fails.
    pub(super) fn run(&mut self) {
        while let Ok(job) = self.jobs.recv() {
            if self.shared.is_poisoned() {
                return;
            }
            if let Err(error) = self.work(job) {
                self.shared.poison(&error.to_string());
                return;
            }
        }
    }

    fn work(&self, job: Job) -> Result<(), LedgerError> {
        match job {
            Job::Images(channels) => self.ledger.store_images(&channels),
            Job::Mark { mark, generation } => {
                self.ledger.set_mark(&mark)?;
                self.shared.set_durable_generation(generation);
                report::checkpoint(mark.sequence);
                reach(FailPoint::AfterMark);
                match self.keep_frames.map(|keep| mark.sequence.saturating_sub(keep)) {
                    Some(through) if through > 0 => self.ledger.forget_frames(through),
                    Some(_) | None => Ok(()),
                }
            }
        }
    }
}
