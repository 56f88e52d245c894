//! The folder of a store: made so that a power loss does not take it away, and not taken for a new one when it is not.
//!
//! RocksDB makes its folder and syncs the names in it, but not the folder's own name in the folder above: after a power
//! loss a store whose every file was synced could be gone as a whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::failure::io_failed;
use super::witness::newest_frame;
use crate::ledger::LedgerError;

/// The file that every RocksDB has, and that it looks at first.
const CURRENT: &str = "CURRENT";

/// A file that is made and removed, to try what the file system can do.
#[cfg(target_os = "linux")]
const DIRECT_PROBE: &str = "direct-probe";

/// Makes the folder of a new store, or sees that it is one. Called before RocksDB may write into it. True when a store is
/// there: one whose making was interrupted is not, and is made anew in its place, for nothing was acknowledged before
/// it was whole.
///
/// # Errors
///
/// [`LedgerError::Corrupt`] when there are books without the file that leads to them: RocksDB would begin new ones beside
/// them.
pub(super) fn prepare(path: &Path) -> Result<bool, LedgerError> {
    let path = std::path::absolute(path).map_err(|error| io_failed("find its folder", &error))?;
    fs::create_dir_all(&path).map_err(|error| io_failed("make its folder", &error))?;
    // Every name on the way, each time: whoever made these folders, or moved a copy to here, may have died or not have
    // synced them. It costs nothing when there is nothing to sync.
    for folder in path.ancestors().skip(1) {
        sync(folder).map_err(|error| io_failed("sync the folder above it", &error))?;
    }
    if has_store(&path)? {
        return Ok(true);
    }
    if let Some(table) = find_table(&path)? {
        let what = format!("the file {CURRENT} is missing, but there are books: {table}");
        return Err(LedgerError::Corrupt { what: what.into() });
    }
    match newest_frame(&path)? {
        0 => Ok(false),
        frame => {
            let what = format!("all table files are missing, but its log has frame {frame}");
            Err(LedgerError::Corrupt { what: what.into() })
        }
    }
}

/// Whether a store is there, and whole: it has a table file, with its version, before it takes its first frame.
pub(super) fn has_store(path: &Path) -> Result<bool, LedgerError> {
    Ok(path.join(CURRENT).exists() && find_table(path)?.is_some())
}

/// Whether files here can be written without the page cache. Tried out, for file systems do not tell; RocksDB would refuse to
/// open a store with the wrong answer.
#[cfg(target_os = "linux")]
pub(super) fn takes_direct_writes(path: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let probe = path.join(DIRECT_PROBE);
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR);
    // A file system may make the file before it refuses. One that stays is empty, and is used again.
    let _ = fs::remove_file(&probe);
    opened.is_ok()
}

/// Whether files here can be written without the page cache: not known of this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn takes_direct_writes(_path: &Path) -> bool {
    false
}

fn find_table(path: &Path) -> Result<Option<String>, LedgerError> {
    let failed = |error: io::Error| io_failed("look at its folder", &error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            return Ok(Some(path.display().to_string()));
        }
    }
    Ok(None)
}

/// Syncs the names in a folder. One that this process may not read is somebody else's, and older than the store.
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if is_not_ours(&error) => Ok(()),
        synced => synced,
    }
}

/// Also where folders cannot be synced: some file systems have nothing to sync.
fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
            | ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerRead;
    use crate::ledger::RocksLedger;
    use crate::ledger::conformance::write_channel;

    /// What a process leaves that died while it made a store: RocksDB is there, its column families are not.
    #[test]
    fn a_store_whose_making_was_interrupted_is_made_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        drop(rocksdb::DB::open(&options, folder.path()).unwrap());
        assert!(folder.path().join(CURRENT).exists());
        assert!(matches!(RocksLedger::open_read_only(folder.path()), Err(LedgerError::NotFound { .. })));
        write_channel(&RocksLedger::open(folder.path()).unwrap(), 1, 3);
        assert_eq!(RocksLedger::open(folder.path()).unwrap().standing().unwrap().last_frame, 4);
    }

    #[test]
    fn books_without_the_file_that_leads_to_them_are_refused_and_not_begun_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("some/where");
        write_channel(&RocksLedger::open(&path).unwrap(), 1, 3);
        let (current, aside) = (path.join(CURRENT), path.join("aside"));
        fs::rename(&current, &aside).unwrap();
        for _ in 0..2 {
            match RocksLedger::open(&path) {
                Err(LedgerError::Corrupt { what }) => assert!(what.contains("CURRENT is missing"), "{what}"),
                other => panic!("expected a refusal, found {other:?}"),
            }
        }
        fs::rename(&aside, &current).unwrap();
        drop(RocksLedger::open(&path).unwrap());

        let ledger = RocksLedger::open(&path).unwrap();
        write_channel(&ledger, 2, 3);
        let copy = folder.path().join("copy");
        fs::create_dir(&copy).unwrap();
        let logs = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
            fs::copy(&log, copy.join(log.file_name().unwrap())).unwrap();
        }
        match RocksLedger::open(&copy) {
            Err(LedgerError::Corrupt { what }) => assert!(what.contains("has frame 8"), "{what}"),
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
}
