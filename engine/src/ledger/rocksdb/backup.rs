//! Copies of a store: how one is taken beside the writer, and how one is kept from being served unseen.
//!
//! A snapshot is made by RocksDB in a folder inside the store: hard links to table files, which never change,
//! and a copy of the log's end. It is the books as of one moment during the call, and costs the writer a flush
//! of its memtables. Whoever asked for it copies the files away and removes the folder. There is one at a
//! time: the next one replaces it.
//!
//! A copy is older than the chain from the moment on in which it was taken. So every snapshot carries the file
//! `farebox.restored`, and with it every copy does, whoever put it where: a store with that file is not opened
//! for writing ([`LedgerError::NotReconciled`]) until somebody compared it with the chain
//! ([`RocksLedger::open_restored`], then [`RocksLedger::mark_reconciled`]). Reading is free.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;

use super::columns::Columns;
use super::failure::{failed, io_failed};
use super::tuning::Tuning;
use super::{RocksLedger, open};
use crate::fail_points::{FailPoint, reach};
use crate::ledger::LedgerError;

/// The folder of a snapshot, in the store's.
const SNAPSHOT: &str = "farebox.snapshot";
/// Where RocksDB builds it.
const SNAPSHOT_UNFINISHED: &str = "farebox.snapshot.tmp";
/// Marks a copy whose books may be older than the chain.
const RESTORED: &str = "farebox.restored";
/// What it says to who finds it.
const RESTORED_TEXT: &str = "These books are a copy and may be older than the chain. They are served once `farebox restore --reconcile` \
     has compared them with it and removed this file.\n";

/// Takes snapshots of a ledger that somebody else owns: an engine, most often. It does not keep the ledger
/// open.
#[derive(Clone, Debug)]
pub struct Snapshots {
    columns: Weak<Columns>,
    store: PathBuf,
    /// See [`RocksLedger`].
    turn: Arc<Mutex<()>>,
}

impl Snapshots {
    /// Takes one, and gives its folder. It blocks while RocksDB flushes.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Closed`] when the ledger is not open any more; [`LedgerError::DiskFull`] and
    /// [`LedgerError::Io`] when the disk does not take it. The ledger itself goes on.
    pub fn take(&self) -> Result<PathBuf, LedgerError> {
        let _turn = self.turn.lock();
        let columns = self.columns.upgrade().ok_or(LedgerError::Closed)?;
        discard_snapshot(&self.store)?;
        let folder = self.store.join(SNAPSHOT);
        reach(FailPoint::BeforeSnapshot);
        let taken = Checkpoint::new(&columns.db).and_then(|taker| taker.create_checkpoint(&folder));
        taken.map_err(|error| failed("take a snapshot", error))?;
        reach(FailPoint::SnapshotTaken);
        let marked = File::create(folder.join(RESTORED)).and_then(|mut file| {
            io::Write::write_all(&mut file, RESTORED_TEXT.as_bytes())?;
            file.sync_all()
        });
        marked.map_err(|error| io_failed("mark a snapshot", &error))?;
        reach(FailPoint::SnapshotMarked);
        Ok(folder)
    }
}

impl RocksLedger {
    /// Takes snapshots of this ledger, also after it was given to an engine.
    pub fn snapshots(&self) -> Snapshots {
        let (columns, store) = (Arc::downgrade(&self.columns), self.path.clone());
        Snapshots { columns, store, turn: Arc::clone(&self.turn) }
    }

    /// Opens a copy for who is about to compare it with the chain. Like [`RocksLedger::open`], but it makes
    /// no new ledger, and it does not matter whether the copy was compared already.
    ///
    /// # Errors
    ///
    /// As [`RocksLedger::open`], and [`LedgerError::NotFound`].
    pub fn open_restored(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        open::must_exist(path)?;
        Self::open_any(path, Tuning::default())
    }

    /// Says that the copy in the folder `path` was compared with the chain: from now on it is a store like
    /// any other.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the mark may then stand, and the comparison can be done again.
    pub fn mark_reconciled(path: impl AsRef<Path>) -> Result<(), LedgerError> {
        let (folder, mark) = (path.as_ref(), path.as_ref().join(RESTORED));
        let removed = match fs::remove_file(mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| File::open(folder)?.sync_all()),
        };
        removed.map_err(|error| io_failed("take the mark of a copy away", &error))
    }

    /// Whether the store in the folder `path` is a copy that nobody compared with the chain yet.
    pub fn is_unreconciled(path: impl AsRef<Path>) -> bool {
        path.as_ref().join(RESTORED).exists()
    }
}

/// Removes the snapshot in a store's folder, if there is one; also what a process that died left half made.
///
/// # Errors
///
/// [`LedgerError::Io`].
pub fn discard_snapshot(store: &Path) -> Result<(), LedgerError> {
    for name in [SNAPSHOT, SNAPSHOT_UNFINISHED] {
        match fs::remove_dir_all(store.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_failed("remove an old snapshot", &error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::conformance::write_channel;
    use crate::ledger::{LedgerRead, recover};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tempfile::TempDir;

    #[test]
    fn a_snapshot_is_the_books_of_one_moment_and_the_writer_goes_on() {
        let folder = TempDir::new().unwrap();
        let ledger = RocksLedger::open(folder.path()).unwrap();
        write_channel(&ledger, 1, 5);
        let snapshots = ledger.snapshots();
        let first = snapshots.take().unwrap();
        write_channel(&ledger, 2, 5);
        let view = RocksLedger::open_read_only(&first).unwrap();
        assert_eq!(recover(&view).unwrap().head.sequence, 6);
        drop(view);
        // The next one replaces it.
        let second = snapshots.take().unwrap();
        let view = RocksLedger::open_read_only(&second).unwrap();
        assert_eq!(recover(&view).unwrap().head, recover(&ledger).unwrap().head);
        drop((view, ledger));
        assert!(matches!(snapshots.take(), Err(LedgerError::Closed)));
        // A start tidies up.
        drop(RocksLedger::open(folder.path()).unwrap());
        assert!(!second.exists());
    }

    /// A snapshot holds every frame that was acknowledged before it was asked for, none that was begun after
    /// it was given, and no gap.
    #[test]
    fn snapshots_under_load_lose_nothing_that_was_acknowledged() {
        let folder = TempDir::new().unwrap();
        let ledger = Arc::new(RocksLedger::open(folder.path()).unwrap());
        let snapshots = ledger.snapshots();
        let ended = Arc::new(AtomicBool::new(false));
        let writer = {
            let (ledger, ended) = (Arc::clone(&ledger), Arc::clone(&ended));
            std::thread::spawn(move || {
                for number in 1.. {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    write_channel(&*ledger, number, 40);
                }
            })
        };
        let frames = || ledger.standing().unwrap().last_frame;
        let mut grew = 0;
        for _ in 0..20 {
            let before = frames();
            let copy = snapshots.take().unwrap();
            let after = frames();
            let view = RocksLedger::open_read_only(&copy).unwrap();
            let books = recover(&view).unwrap();
            // The frame under way may be in the log already, and not yet be seen by readers.
            assert!((before..=after + 1).contains(&books.head.sequence), "{before} {:?} {after}", books.head);
            grew += u32::from(after > before);
        }
        ended.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        assert!(grew > 0, "frames were written while snapshots were taken");
    }

    #[test]
    fn a_copy_is_not_written_to_until_it_was_reconciled() {
        let folder = TempDir::new().unwrap();
        let ledger = RocksLedger::open(folder.path()).unwrap();
        write_channel(&ledger, 1, 2);
        let copy = TempDir::new().unwrap();
        let path = copy.path().join("copy");
        fs::rename(ledger.snapshots().take().unwrap(), &path).unwrap();
        assert!(RocksLedger::is_unreconciled(&path));
        match RocksLedger::open(&path) {
            Err(LedgerError::NotReconciled { path: told }) => assert_eq!(told, path),
            other => panic!("expected a refusal, found {other:?}"),
        }
        assert_eq!(RocksLedger::open_read_only(&path).unwrap().standing().unwrap().last_frame, 3);
        drop(RocksLedger::open_restored(&path).unwrap());
        assert!(RocksLedger::is_unreconciled(&path), "opening is not comparing");
        RocksLedger::mark_reconciled(&path).unwrap();
        RocksLedger::mark_reconciled(&path).unwrap();
        write_channel(&RocksLedger::open(&path).unwrap(), 2, 1);
        assert!(matches!(RocksLedger::open_restored(copy.path()), Err(LedgerError::NotFound { .. })));
    }
}
