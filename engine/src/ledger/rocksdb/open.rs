//! Opening: options, the lock, the store's version, the epoch.

use std::path::Path;
use std::time::Duration;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBRecoveryMode, Env, IteratorMode, Options, WriteBatch, WriteOptions,
};

use super::columns::{ALL, BALANCES, CHANNELS, Columns, JOURNAL, META};
use super::failure::{failed, failed_to_open, is_locked};
use super::folder;
use super::lease::{self, Lease};
use super::meta::{
    EPOCH, STORE_VERSION, VERSION, VERSION_WITHOUT_RUNNING, VERSION_WITHOUT_TOMBSTONES, decode_u32,
    decode_u64,
};
use super::running;
use super::tuning::{Statistics, Tuning};
use super::witness::{lists, newest_frame};
use crate::fail_points::{FailPoint, reach};
use crate::ledger::LedgerError;

/// RocksDB's own log files that are kept.
const INFO_LOGS_MAX: usize = 4;
/// How often a view is tried: a running writer may delete a file between two looks.
const VIEW_TRIES_MAX: u32 = 5;
/// How often while it is seen that a writer moves from log to log.
const VIEW_MOVING_TRIES_MAX: u32 = 100;
/// How long is waited between two tries.
const VIEW_PAUSE: Duration = Duration::from_millis(2);

/// A store that is open for writing.
pub(super) struct Opened {
    pub(super) columns: Columns,
    pub(super) lease: Lease,
    pub(super) epoch: u64,
    pub(super) statistics: Option<Statistics>,
}

/// Opens or makes the store, and raises the epoch.
pub(super) fn for_writing(path: &Path, tuning: &Tuning) -> Result<Opened, LedgerError> {
    reach(FailPoint::BeforeOpen);
    let has_store = folder::prepare(path)?;
    let mut options = database_options(tuning);
    let mut environment = Env::new().map_err(|error| failed("prepare its threads", error))?;
    if tuning.database.lower_background_priority {
        environment.lower_thread_pool_cpu_priority();
    }
    options.set_env(&environment);
    let wants_direct = tuning.database.use_direct_io_for_flush_and_compaction;
    options.set_use_direct_io_for_flush_and_compaction(wants_direct && folder::takes_direct_writes(path));
    let statistics = tuning.statistics.then(|| Statistics::begin(&mut options));
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    if has_store {
        // Opening for writing moves the log's content to table files, and with it the traces of damage.
        // So the end of the journal is looked at before.
        drop(for_reading(path)?);
    }
    let opened = DB::open_cf_descriptors(&options, path, descriptors(tuning));
    let db = opened.map_err(|error| {
        if is_locked(&error) {
            return LedgerError::Locked { path: path.into(), pid: lease::holder(path) };
        }
        failed_to_open("open", error)
    })?;
    let columns = Columns { db };
    reach(FailPoint::Opened);
    check_version(&columns, true)?;
    let epoch = raise_epoch(&columns)?;
    reach(FailPoint::EpochRaised);
    let lease = Lease::take(path, epoch)?;
    reach(FailPoint::AfterOpen);
    Ok(Opened { columns, lease, epoch, statistics })
}

/// Opens the store without a lock and without the right to write.
pub(super) fn for_reading(path: &Path) -> Result<Columns, LedgerError> {
    must_exist(path)?;
    // Whatever a store was written with, the shipped options read it.
    let tuning = Tuning::default();
    let mut options = database_options(&tuning);
    // All files are held from now on: a running writer replaces them.
    options.set_max_open_files(-1);
    let mut tries = 0;
    loop {
        tries += 1;
        let before = lists(path)?;
        // Before RocksDB: a running writer goes on, and the view may only be newer than what was seen.
        let witness = newest_frame(path)?;
        let opened = DB::open_cf_descriptors_read_only(&options, path, descriptors(&tuning), false);
        // RocksDB reads which table files there are, and then the logs. When the writer moved a log's content to a table
        // file in between, the view has neither; when it stored images and the mark that counts on them, it has the mark alone.
        let is_whole = before == lists(path)?;
        let is_last = tries >= if is_whole { VIEW_TRIES_MAX } else { VIEW_MOVING_TRIES_MAX };
        match opened {
            Ok(db) if is_whole => {
                let columns = Columns { db };
                check_version(&columns, false)?;
                check_end(&columns, witness)?;
                return Ok(columns);
            }
            Err(error) if is_last => return Err(failed_to_open("open for reading", error)),
            Ok(_) if is_last => {
                let cause = "a running writer changes its files all the time; try again".into();
                return Err(LedgerError::Io { action: "open for reading", cause });
            }
            Ok(_) | Err(_) => {
                tracing::debug!(tries, "the ledger changed while it was opened for reading");
                std::thread::sleep(VIEW_PAUSE);
            }
        }
    }
}

/// Refuses a folder without a store.
pub(super) fn must_exist(path: &Path) -> Result<(), LedgerError> {
    if path.exists() && folder::has_store(path)? {
        Ok(())
    } else {
        Err(LedgerError::NotFound { path: path.into() })
    }
}

fn database_options(tuning: &Tuning) -> Options {
    let mut options = Options::default();
    // See the module's words on recovery: the frames' chain decides, not the mode.
    options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    options.set_keep_log_file_num(INFO_LOGS_MAX);
    // A log is written once: in one that is used again, `witness.rs` and a reader beside us would find old frames.
    options.set_recycle_log_file_num(0);
    tuning.database.apply(&mut options);
    options
}

fn descriptors(tuning: &Tuning) -> Vec<ColumnFamilyDescriptor> {
    ALL.iter().map(|name| ColumnFamilyDescriptor::new(*name, tuning.family(name))).collect()
}

/// Refuses a store that another version made; a new one is given this version, and so is one of the version before.
/// The version that a store says it has, which was checked when it was opened.
pub(super) fn version(columns: &Columns) -> Result<u32, LedgerError> {
    match columns.meta(VERSION)? {
        Some(bytes) => decode_u32("store_version", &bytes),
        None => Err(LedgerError::UnknownVersion { found: None, expected: STORE_VERSION }),
    }
}

fn check_version(columns: &Columns, may_write: bool) -> Result<(), LedgerError> {
    let found = match columns.meta(VERSION)? {
        Some(bytes) => Some(decode_u32("store_version", &bytes)?),
        None if may_write && is_empty(columns)? => {
            return put_meta(columns, VERSION, &STORE_VERSION.to_le_bytes());
        }
        None => None,
    };
    match found {
        Some(STORE_VERSION) => Ok(()),
        Some(VERSION_WITHOUT_RUNNING | VERSION_WITHOUT_TOMBSTONES) if !may_write => Ok(()),
        Some(VERSION_WITHOUT_TOMBSTONES) => put_meta(columns, VERSION, &STORE_VERSION.to_le_bytes()),
        Some(VERSION_WITHOUT_RUNNING) => {
            running::index_all(columns)?;
            reach(FailPoint::Migrated);
            // Last: stopped before it, the next opening begins anew.
            put_meta(columns, VERSION, &STORE_VERSION.to_le_bytes())
        }
        _ => Err(LedgerError::UnknownVersion { found, expected: STORE_VERSION }),
    }
}

/// Refuses a journal that ends although a later frame was begun: the frames between were acknowledged.
fn check_end(columns: &Columns, witness: u64) -> Result<(), LedgerError> {
    let last = columns.last_frame()?.max(columns.mark()?.sequence);
    let missing = last + 1;
    if witness <= missing {
        return Ok(());
    }
    let what = format!("it cannot be read, but the write-ahead log shows that frame {witness} came after it");
    Err(LedgerError::CorruptFrame { sequence: missing, what: what.into() })
}

fn is_empty(columns: &Columns) -> Result<bool, LedgerError> {
    for name in [JOURNAL, BALANCES, CHANNELS, META] {
        let mut entries = columns.db.iterator_cf(columns.column(name)?, IteratorMode::Start);
        if entries.next().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fences every former writer.
fn raise_epoch(columns: &Columns) -> Result<u64, LedgerError> {
    let epoch = columns.epoch()?.max(columns.mark()?.epoch) + 1;
    put_meta(columns, EPOCH, &epoch.to_le_bytes())?;
    Ok(epoch)
}

/// Writes a value and flushes it to a table file: no damage of the log may touch it.
fn put_meta(columns: &Columns, key: &[u8], value: &[u8]) -> Result<(), LedgerError> {
    let column = columns.column(META)?;
    let mut batch = WriteBatch::default();
    batch.put_cf(column, key, value);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    columns.db.write_opt(batch, &options).map_err(|error| failed("write its head", error))?;
    reach(FailPoint::HeadWritten);
    columns.db.flush_cf(column).map_err(|error| failed("flush its head", error))
}

impl Columns {
    /// The newest writer's epoch.
    pub(super) fn epoch(&self) -> Result<u64, LedgerError> {
        self.meta(EPOCH)?.map_or(Ok(0), |bytes| decode_u64("epoch", &bytes))
    }
}
