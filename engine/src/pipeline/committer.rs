//! One thread that makes batches durable and only then lets their answers out.
//!
//! It takes what all shards have ready, writes it as one frame with one sync, answers, and looks again.
//! While it syncs, the shards prepare what comes next: the slower the disk, the larger the frames. A
//! single batch is written at once, unless nobody waits for it.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use farebox_core::journal::{FrameBuilder, Head, Link};

use super::checkpointer::{Images, Job};
use super::message::{Batch, ToCommitter};
use super::report;
use super::shard::Control;
use super::shared::Shared;
use super::threads::Intakes;
use super::{Config, EngineError};
use crate::fail_points::{FailPoint, reach};
use crate::ledger::Ledger;

/// How long records wait for a frame when nobody waits for them: their request is served meanwhile, and its last step
/// brings the next frame.
const UNAWAITED_WAIT_MAX: Duration = Duration::from_millis(2);

/// The committer's parts.
pub(super) struct Committer {
    pub(super) config: Arc<Config>,
    pub(super) queue: Receiver<ToCommitter>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) shared: Arc<Shared>,
    pub(super) controls: Vec<Arc<Control>>,
    /// Only to wake shards that sleep: the committer must not keep their queues open.
    pub(super) intakes: Weak<Intakes>,
    pub(super) checkpointer: SyncSender<Job>,
    pub(super) frame: FrameBuilder,
    /// The end of the journal.
    pub(super) head: Head,
    pub(super) checkpoint: Checkpoint,
    /// Shards that ended in good order.
    pub(super) shards_done: usize,
    /// Whether they gave images of all that changed.
    pub(super) is_all_imaged: bool,
}

/// The checkpoint under way, and the last one.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Numbers the checkpoints of this process.
    pub(super) generation: u64,
    /// The frame that the newest one covers.
    pub(super) covers: u64,
    /// Bytes of the frames since then.
    pub(super) bytes: u64,
    /// The one under way: its mark, and how many shards still give images.
    pub(super) under_way: Option<(Head, usize)>,
}

/// What was taken from the queue at once.
#[derive(Default)]
struct Round {
    batches: Vec<Batch>,
    images: Vec<(Images, bool)>,
    record_bytes: usize,
    /// There is something else to look at.
    is_urgent: bool,
}

impl Round {
    /// Whether nobody waits for any of it.
    fn may_wait(&self) -> bool {
        !self.is_urgent && self.images.is_empty() && self.batches.iter().all(|batch| batch.answers.is_empty())
    }
}

/// Another thread ended, and said why.
struct Ended;

impl Committer {
    /// Commits until all shards are done, or something fails.
    pub(super) fn run(&mut self) {
        while let Ok(first) = self.queue.recv() {
            let round = self.gather(first);
            if self.shared.is_poisoned() {
                return;
            }
            if let Err(error) = self.commit(&round.batches) {
                self.shared.poison(&error.to_string());
                return;
            }
            if self.shared.is_poisoned() {
                return;
            }
            self.release(round.batches);
            if let Err(error) = self.shared.notes.serve(&*self.ledger) {
                self.shared.poison(&error.to_string());
                return;
            }
            if self.pass_images(round.images).is_err() {
                return;
            }
            if self.shards_done == self.controls.len() {
                self.finish();
                return;
            }
            self.begin_checkpoint();
        }
    }

    /// Takes what is ready, up to a full frame. Records that nobody waits for wait for others, for some time.
    fn gather(&mut self, first: ToCommitter) -> Round {
        let mut round = Round::default();
        self.take(first, &mut round);
        let mut until = None;
        while round.record_bytes < self.config.frame_bytes_max {
            let next = match self.queue.try_recv() {
                Err(TryRecvError::Empty) if round.may_wait() => {
                    let until = *until.get_or_insert_with(|| Instant::now() + UNAWAITED_WAIT_MAX);
                    self.queue.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
                }
                next => next.ok(),
            };
            match next {
                Some(message) => self.take(message, &mut round),
                None => break,
            }
        }
        round
    }

    fn take(&mut self, message: ToCommitter, round: &mut Round) {
        match message {
            ToCommitter::Batch(batch) => {
                round.record_bytes += batch.records.len();
                round.batches.push(batch);
            }
            ToCommitter::Images { generation, images, last } => {
                let is_last = last && generation == self.checkpoint.generation;
                round.images.push((images, is_last));
            }
            ToCommitter::Done { images, is_all } => {
                self.shards_done += 1;
                self.is_all_imaged &= is_all;
                round.images.push((images, false));
            }
            ToCommitter::Wake => round.is_urgent = true,
        }
    }

    /// Writes the records as one frame. Without any there is nothing to write, unless the cursor is far
    /// ahead of the journal.
    fn commit(&mut self, batches: &[Batch]) -> Result<(), EngineError> {
        let records_count: u32 = batches.iter().map(|batch| batch.records_count).sum();
        if records_count == 0 && !self.shared.cursor.is_overdue() {
            return Ok(());
        }
        let cursor = self.shared.cursor.pending();
        for batch in batches {
            self.frame.append(&batch.records).expect("Config::check bounds batches and frames");
        }
        let (epoch, sequence) = (self.ledger.epoch(), self.head.sequence + 1);
        let bytes = self.frame.finish(epoch, sequence, self.head.link, cursor);
        let began = Instant::now();
        reach(FailPoint::FrameEncoded);
        self.ledger.append(bytes, sequence)?;
        report::frame(began.elapsed(), records_count, bytes.len());
        self.checkpoint.bytes += bytes.len() as u64;
        let link = Link::to(bytes);
        self.head = Head { epoch, sequence, link, cursor: cursor.or(self.head.cursor) };
        if let Some(cursor) = cursor {
            self.shared.cursor.journaled(cursor);
        }
        Ok(())
    }

    /// Everything in these batches is durable: lets the answers out and tells who waits for a change.
    fn release(&self, batches: Vec<Batch>) {
        reach(FailPoint::BeforeAnswers);
        for mut batch in batches {
            for answer in batch.answers.drain(..) {
                answer.release();
                reach(FailPoint::BetweenAnswers);
            }
            self.shared.waiters.notify(&batch.changed);
            if self.shared.changes.receiver_count() > 0 {
                for channel in &batch.changed {
                    // The last receiver may have left just now.
                    drop(self.shared.changes.send(*channel));
                }
            }
            self.shared.spare.give_back(batch);
        }
        reach(FailPoint::AfterAnswers);
    }

    /// Hands images on, now that every frame in them is appended.
    fn pass_images(&mut self, images: Vec<(Images, bool)>) -> Result<(), Ended> {
        for (images, is_last) in images {
            self.tell_checkpointer(Job::Images(images))?;
            let Some((_, shards_left)) = &mut self.checkpoint.under_way else { continue };
            *shards_left -= usize::from(is_last);
            if *shards_left == 0
                && let Some((mark, _)) = self.checkpoint.under_way.take()
            {
                let generation = self.checkpoint.generation;
                self.tell_checkpointer(Job::Mark { mark, generation })?;
            }
        }
        Ok(())
    }

    /// Asks the shards for images when enough frames were written since the last time.
    fn begin_checkpoint(&mut self) {
        let since = self.head.sequence - self.checkpoint.covers;
        let is_due =
            since >= self.config.checkpoint_frames || self.checkpoint.bytes >= self.config.checkpoint_bytes;
        if !is_due || self.checkpoint.under_way.is_some() {
            return;
        }
        let mark = self.head;
        (self.checkpoint.covers, self.checkpoint.bytes) = (mark.sequence, 0);
        self.checkpoint.generation += 1;
        self.checkpoint.under_way = Some((mark, self.controls.len()));
        for control in &self.controls {
            control.generation.store(self.checkpoint.generation, Ordering::SeqCst);
        }
        // Without handles the queues are closed, and no shard sleeps.
        if let Some(intakes) = self.intakes.upgrade() {
            intakes.wake();
        }
    }

    /// All shards are done and gave their last images: the mark moves to the end of the journal.
    fn finish(&mut self) {
        if !self.is_all_imaged {
            return;
        }
        let mark = Head { cursor: self.shared.cursor.get(), ..self.head };
        let generation = self.checkpoint.generation + 1;
        // When the checkpointer is gone, it has said why.
        drop(self.tell_checkpointer(Job::Mark { mark, generation }));
    }

    fn tell_checkpointer(&self, job: Job) -> Result<(), Ended> {
        self.checkpointer.send(job).map_err(|_| Ended)
    }
}
