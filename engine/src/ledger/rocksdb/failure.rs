//! Failures of RocksDB and of the disk, in our words.

use std::io;

use rocksdb::{Error, ErrorKind};

use crate::ledger::LedgerError;

/// What the operating system says when nothing is left (`ENOSPC`, `EDQUOT`).
const DISK_FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// What it says when a name stands for nothing (`ENOENT`).
const NO_FILE: &str = "No such file or directory";

/// A failure while `action` was being done.
pub(super) fn failed(action: &'static str, error: Error) -> LedgerError {
    let kind = error.kind();
    let cause = error.into_string();
    if DISK_FULL.iter().any(|text| cause.contains(text)) {
        return LedgerError::DiskFull { action, cause: cause.into() };
    }
    match kind {
        ErrorKind::Corruption => LedgerError::Corrupt { what: cause.into() },
        _ => LedgerError::Io { action, cause: cause.into() },
    }
}

/// The same for what we do with files ourselves.
pub(super) fn io_failed(action: &'static str, error: &io::Error) -> LedgerError {
    let cause = error.to_string().into();
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return LedgerError::DiskFull { action, cause };
    }
    LedgerError::Io { action, cause }
}

/// A failure to open a store that is there. A file that is missing then is damage, like one that cannot be read.
pub(super) fn failed_to_open(action: &'static str, error: Error) -> LedgerError {
    match failed(action, error) {
        LedgerError::Io { cause, .. } if cause.contains(NO_FILE) => {
            LedgerError::Corrupt { what: format!("a file of it is missing ({cause})").into() }
        }
        other => other,
    }
}

/// Whether the lock file is held, by this or by another process.
pub(super) fn is_locked(error: &Error) -> bool {
    let text: &str = error.as_ref();
    error.kind() == ErrorKind::IOError && (text.contains("While lock file") || text.contains("lock hold by"))
}
