//! How a ledger fails.

use std::path::PathBuf;
use std::sync::Arc;

use farebox_core::units::ChannelId;

/// What is to be done with damaged books.
const AFTER_DAMAGE: &str =
    "; keep the store as it is, see what `farebox check` finds, and restore a backup with `farebox restore`";

/// A ledger could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk, or the database on it, failed.
    #[error("the ledger cannot {action}: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        cause: Arc<str>,
    },
    /// The disk is full. Free some space, then restart: nothing that was acknowledged is lost.
    #[error("the ledger cannot {action}: the disk is full ({cause})")]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        cause: Arc<str>,
    },
    /// Another process (or another handle in this one) writes to the ledger.
    #[error("the ledger at {} is in use by {}", path.display(), describe_pid(*pid))]
    Locked {
        /// Where the ledger is.
        path: PathBuf,
        /// The process that holds it, when it left its number.
        pid: Option<u32>,
    },
    /// A newer writer took over; this one must not acknowledge anything any more.
    #[error("another writer took over the ledger: its epoch is {current}, ours is {ours}")]
    Fenced {
        /// The epoch of this writer.
        ours: u64,
        /// The newest epoch.
        current: u64,
    },
    /// A frame with the wrong number.
    #[error("frame {found} cannot be appended, the next is {expected}")]
    OutOfOrder {
        /// The number that came.
        found: u64,
        /// The number that is next.
        expected: u64,
    },
    /// The ledger was made by another version of this program.
    #[error("the ledger has store version {found:?}, this program knows version {expected}")]
    UnknownVersion {
        /// What is written in it; `None` when nothing is.
        found: Option<u32>,
        /// What this program reads and writes.
        expected: u32,
    },
    /// There is no ledger at this path.
    #[error("there is no ledger at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The ledger is a copy, and the chain may have moved on since it was taken: money that was paid out
    /// could be spent again.
    #[error(
        "the ledger at {} was restored from a backup and not compared with the chain yet; run `farebox restore --reconcile`",
        path.display()
    )]
    NotReconciled {
        /// Where the ledger is.
        path: PathBuf,
    },
    /// The ledger was closed meanwhile.
    #[error("the ledger is closed")]
    Closed,
    /// A frame is damaged or missing although a later one is there: the journal cannot be trusted.
    #[error("the journal is damaged at frame {sequence}: {what}{}", AFTER_DAMAGE)]
    CorruptFrame {
        /// The first frame that cannot be trusted.
        sequence: u64,
        /// What is wrong with it.
        what: Arc<str>,
    },
    /// A channel's image or its part of the journal does not fit.
    #[error("the books of channel {channel} are damaged: {what}{}", AFTER_DAMAGE)]
    CorruptChannel {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        what: Arc<str>,
    },
    /// Something else in the store cannot be read.
    #[error("the ledger is damaged: {what}{}", AFTER_DAMAGE)]
    Corrupt {
        /// What is wrong.
        what: Arc<str>,
    },
}

/// Names the holder of a lock.
fn describe_pid(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}; stop it first"),
        None => "another process; stop it first".into(),
    }
}
