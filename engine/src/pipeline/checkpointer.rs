//! One thread that writes images and moves the mark, so that no voucher waits for a checkpoint.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use farebox_core::journal::Head;

use super::keep::Keep;
use super::report;
use super::shared::Shared;
use crate::clock::Clock;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{EncodedBooks, Ledger, LedgerError, StoredChannel};

/// Jobs that may wait for the checkpointer; behind them the committer waits.
pub(super) const JOBS_MAX: usize = 64;

/// Images that are stored with one call: enough that the files they end in are few and sorted in one go.
const IMAGES_STORE_MAX: usize = 1 << 17;

/// Channels as they were when a checkpoint came to them.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// Those that perhaps have no durable image yet.
    pub(super) new: Vec<StoredChannel>,
    /// Those whose terms are durable.
    pub(super) known: EncodedBooks,
}

impl Images {
    fn len(&self) -> usize {
        self.new.len() + self.known.len()
    }

    fn append(&mut self, mut others: Self) {
        self.new.append(&mut others.new);
        self.known.append(&mut others.known);
    }
}

/// What the committer hands over, in the order in which it has to happen.
pub(super) enum Job {
    /// Store these.
    Images(Images),
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
    pub(super) clock: Arc<dyn Clock>,
    /// What stays of the journal behind a mark.
    pub(super) keep: Keep,
    /// Not stored yet.
    pub(super) images: Images,
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

    fn work(&mut self, job: Job) -> Result<(), LedgerError> {
        match job {
            Job::Images(images) => {
                self.images.append(images);
                if self.images.len() >= IMAGES_STORE_MAX { self.store() } else { Ok(()) }
            }
            Job::Mark { mark, generation } => {
                self.store()?;
                self.ledger.set_mark(&mark)?;
                self.shared.set_durable_generation(generation);
                report::checkpoint(mark.sequence);
                reach(FailPoint::AfterMark);
                match self.keep.forget_through(&*self.ledger, mark.sequence, self.clock.now())? {
                    Some(through) => self.ledger.forget_frames(through),
                    None => Ok(()),
                }
            }
        }
    }

    fn store(&mut self) -> Result<(), LedgerError> {
        let Images { new, known } = &mut self.images;
        self.ledger.store_images(new)?;
        self.ledger.store_books(known)?;
        new.clear();
        known.clear();
        Ok(())
    }
}
