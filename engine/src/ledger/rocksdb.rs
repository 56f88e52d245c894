//! The durable ledger: one RocksDB, used as a log with an index.
//!
//! # Format (store version 3)
//!
//! | column family | key | value |
//! |---|---|---|
//! | `journal` | frame number, 8 bytes big endian | the frame, see `farebox_core::journal` |
//! | `balances` | channel id, 32 bytes | `encode_state` of its books, as of a checkpoint |
//! | `channels` | channel id, 32 bytes | `encode_identity` of its terms |
//! | `meta` | `store_version`, `epoch`, `mark`, channels with running requests, tombstones, notes | see `meta.rs` |
//!
//! Beside RocksDB's files lies `farebox.pid`, the process that writes and its epoch: see `lease.rs`. RocksDB's
//! own `LOCK` keeps a second writer out. A copy that was not compared with the chain yet has `farebox.restored`:
//! see `backup.rs`.
//!
//! # Durability invariant
//!
//! [`Ledger::append`] is one put and one synced write: when it returns, RocksDB has called `fdatasync` on
//! its write-ahead log. Images do not go into the log: they are table files, synced before RocksDB takes them over
//! (`images.rs`). Before the mark moves, the few that went another way are flushed to table files as well, and only then the mark is
//! written, synced: a mark is never newer than the images that it promises, whatever part of the log survives.
//!
//! # Recovery
//!
//! RocksDB replays its log and **skips** records that are damaged, instead of stopping at the first one
//! (which would silently forget acknowledged frames behind it) or refusing (which would refuse an honest
//! torn write). Which frames are then missing is for the frames' own chain to judge: see
//! [`recover`](super::recover()). Damage in the last block of the log can hide several frames at its end;
//! `witness.rs` finds out that they were there, and such a ledger is refused. Store version and epoch are flushed to a table file when the ledger is
//! opened, so no damage of the log touches them.
//!
//! # What it assumes of the disk
//!
//! `fdatasync` means it. Damage shows in RocksDB's checksums or in a frame's own. Damage of the very last
//! frame after its sync cannot be told from a torn write, and costs that frame.

mod backup;
mod columns;
mod failure;
mod folder;
mod images;
mod lease;
pub(super) mod meta;
mod notes;
mod open;
mod running;
mod tombstones;
#[doc(hidden)]
pub mod tuning;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox_core::channel::State;
use farebox_core::journal::Head;
use farebox_core::units::ChannelId;
use parking_lot::Mutex;
use rocksdb::{WriteBatch, WriteOptions};

pub use self::backup::{Snapshots, discard_snapshot};
use self::columns::{BALANCES, CHANNELS, Columns, JOURNAL, META};
use self::failure::failed;
use self::images::Images;
use self::lease::Lease;
pub use self::meta::STORE_VERSION;
use self::open::Opened;
use self::running::Running;
use self::tuning::{Statistics, Tuning};
use super::{EncodedBooks, Ledger, LedgerError, LedgerRead, Note, Standing, StoredChannel, StoredFrame};
use crate::fail_points::{FailPoint, reach};

/// The one writer of a RocksDB ledger.
#[derive(Debug)]
pub struct RocksLedger {
    columns: Arc<Columns>,
    path: PathBuf,
    lease: Lease,
    epoch: u64,
    last_frame: AtomicU64,
    running: Running,
    images: Images,
    statistics: Option<Statistics>,
    /// Held while a snapshot is taken, and while the mark moves or frames are forgotten: a snapshot has the list of table files
    /// of one moment and the log of a later one, which must not count on images that came between.
    turn: Arc<Mutex<()>>,
}

/// A ledger as it was when this view was opened, beside a running writer or without one.
#[derive(Debug)]
pub struct RocksView {
    columns: Columns,
}

impl RocksView {
    /// The store's version: at most [`STORE_VERSION`], or the view would not have been opened.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn store_version(&self) -> Result<u32, LedgerError> {
        open::version(&self.columns)
    }
}

impl RocksLedger {
    /// Opens the ledger in the folder `path` for writing, and makes it when there is none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Locked`] when another process writes to it, [`LedgerError::UnknownVersion`] when
    /// another version of this program made it, [`LedgerError::NotReconciled`] when it is a copy that may be
    /// older than the chain.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        if Self::is_unreconciled(path) {
            return Err(LedgerError::NotReconciled { path: path.into() });
        }
        Self::open_any(path, Tuning::default())
    }

    /// Opens the ledger with other options of RocksDB than those it is shipped with: for benchmarks that compare them.
    ///
    /// # Errors
    ///
    /// As [`RocksLedger::open`].
    #[doc(hidden)]
    pub fn open_tuned(path: impl AsRef<Path>, tuning: Tuning) -> Result<Self, LedgerError> {
        Self::open_any(path.as_ref(), tuning)
    }

    /// What RocksDB counts, if it was opened to count.
    #[doc(hidden)]
    pub fn statistics(&self) -> Option<Statistics> {
        self.statistics.clone()
    }

    fn open_any(path: &Path, tuning: Tuning) -> Result<Self, LedgerError> {
        let Opened { columns, lease, epoch, statistics } = open::for_writing(path, &tuning)?;
        // What a process that died has left of one.
        discard_snapshot(path)?;
        let last_frame = AtomicU64::new(columns.last_frame()?.max(columns.mark()?.sequence));
        let (running, images) = (Running::read(&columns)?, Images::new(path, tuning)?);
        let (columns, path) = (Arc::new(columns), std::path::absolute(path).unwrap_or_else(|_| path.into()));
        Ok(Self {
            columns,
            path,
            lease,
            epoch,
            last_frame,
            running,
            images,
            statistics,
            turn: Arc::default(),
        })
    }

    /// Opens the ledger in the folder `path` for reading only. A running writer is not disturbed, and what
    /// it writes later is not seen.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotFound`] when there is none, [`LedgerError::UnknownVersion`] when another version
    /// of this program made it.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<RocksView, LedgerError> {
        Ok(RocksView { columns: open::for_reading(path.as_ref())? })
    }

    /// Writes, and waits for the disk.
    fn write(&self, action: &'static str, batch: WriteBatch) -> Result<(), LedgerError> {
        self.lease.check()?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.columns.db.write_opt(batch, &options).map_err(|error| failed(action, error))
    }

    fn flush(&self, names: &[&'static str]) -> Result<(), LedgerError> {
        for name in names {
            let column = self.columns.column(name)?;
            self.columns.db.flush_cf(column).map_err(|error| failed("flush to table files", error))?;
        }
        Ok(())
    }

    /// Deletes frames `from..until`.
    fn delete_frames(&self, from: u64, until: u64) -> Result<(), LedgerError> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.columns.column(JOURNAL)?, from.to_be_bytes(), until.to_be_bytes());
        self.write("delete frames", batch)
    }
}

impl Ledger for RocksLedger {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        let expected = self.last_frame.load(Ordering::SeqCst) + 1;
        if sequence != expected {
            return Err(LedgerError::OutOfOrder { found: sequence, expected });
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(self.columns.column(JOURNAL)?, sequence.to_be_bytes(), frame);
        reach(FailPoint::FrameWrite);
        self.write("append a frame", batch)?;
        reach(FailPoint::FrameSynced);
        self.last_frame.store(sequence, Ordering::SeqCst);
        Ok(())
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        let mut books = EncodedBooks::default();
        channels.iter().for_each(|stored| books.push(&stored.state));
        self.images.store(&self.columns, &self.lease, &self.running, &books, channels)
    }

    fn store_books(&self, books: &EncodedBooks) -> Result<(), LedgerError> {
        self.images.store(&self.columns, &self.lease, &self.running, books, &[])
    }

    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError> {
        reach(FailPoint::BeforeFlush);
        // What is in `meta` goes along, the mark before too: RocksDB keeps its log for what is not in table files,
        // and reads all of it at the next start. Frames get there by themselves when there are enough of them.
        self.flush(&[CHANNELS, BALANCES, META])?;
        reach(FailPoint::AfterFlush);
        let mut batch = WriteBatch::default();
        batch.put_cf(self.columns.column(META)?, meta::MARK, meta::encode_mark(mark));
        let turn = self.turn.lock();
        self.write("move the checkpoint's mark", batch)?;
        drop(turn);
        reach(FailPoint::MarkSynced);
        Ok(())
    }

    fn bury(&self, retired: &[State]) -> Result<(), LedgerError> {
        self.write("store tombstones", tombstones::batch(&self.columns, retired)?)
    }

    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError> {
        let through = sequence.min(self.columns.mark()?.sequence);
        // A mark that is lost with a damaged log must not be one whose frames are gone.
        self.flush(&[META])?;
        reach(FailPoint::BeforeForget);
        let turn = self.turn.lock();
        self.delete_frames(0, through + 1)?;
        drop(turn);
        reach(FailPoint::AfterForget);
        Ok(())
    }

    fn put_note(&self, key: &[u8], note: Option<&[u8]>) -> Result<(), LedgerError> {
        let mut batch = WriteBatch::default();
        notes::put(&mut batch, self.columns.column(META)?, key, note);
        self.write("keep a note", batch)
    }

    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError> {
        reach(FailPoint::BeforeCut);
        self.delete_frames(sequence + 1, u64::MAX)?;
        reach(FailPoint::AfterCut);
        self.last_frame.store(sequence, Ordering::SeqCst);
        Ok(())
    }
}

/// Reading is the same with and without the right to write.
macro_rules! read_from_columns {
    ($ledger:ty) => {
        impl LedgerRead for $ledger {
            fn standing(&self) -> Result<Standing, LedgerError> {
                self.columns.standing()
            }

            fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
                self.columns.load(channel)
            }

            fn channels(
                &self,
                after: Option<ChannelId>,
                max: usize,
            ) -> Result<Vec<StoredChannel>, LedgerError> {
                self.columns.channels(after, max)
            }

            fn running(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<ChannelId>, LedgerError> {
                running::after(&self.columns, self, after, max)
            }

            fn tombstone(&self, channel: ChannelId) -> Result<Option<State>, LedgerError> {
                tombstones::of(&self.columns, channel)
            }

            fn tombstones(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<State>, LedgerError> {
                tombstones::after(&self.columns, after, max)
            }

            fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
                self.columns.frames_after(sequence, max)
            }

            fn notes(&self, prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
                notes::of(&self.columns, prefix)
            }
        }
    };
}

read_from_columns!(RocksLedger);
read_from_columns!(RocksView);

#[cfg(test)]
mod tests;
