//! Storing images: many as table files that are built here and handed to RocksDB whole, few as it writes anything.
//!
//! A checkpoint has up to a million images, and the journal tells everything that they tell until the mark moves. So
//! they need neither RocksDB's log nor its memtables, where each would be written once more and sorted one by
//! one; and frames do not wait for them. They are sorted here, written to a file a column family, synced, and
//! taken over by a link. That takes some syncs a file, and files are merged later: for a few images the log is cheaper.
//!
//! What a process that died left behind is harmless: terms are taken over before books, so no books are ever without
//! theirs. An entry of the index that belongs to an image goes before it, and one that is not needed any more
//! goes after it. Whatever image is newer than the mark, the journal names its channel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use farebox_core::journal::{encode_identity, encode_state};
use rocksdb::{IngestExternalFileOptions, Options, SstFileWriter, WriteBatch};

use super::columns::{BALANCES, CHANNELS, Columns, META};
use super::failure::{failed, io_failed};
use super::lease::Lease;
use super::open::column_options;
use super::running::Running;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{LedgerError, StoredChannel};

/// Fewer images than this go through the log. Servers that are killed in tests serve few channels, and need both ways.
pub(super) const FILE_IMAGES_MIN: usize = if cfg!(feature = "failpoints") { 3 } else { 1_024 };

/// Where files are built, in the store's folder.
const FOLDER: &str = "farebox.images";

/// Builds files in a folder of its own.
#[derive(Debug)]
pub(super) struct Images {
    folder: PathBuf,
}

/// What is stored of a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its books, and its terms.
    All,
    /// Its books alone.
    Books,
}

impl Images {
    /// Files of a store; those that a former process left are removed.
    pub(super) fn new(store: &Path) -> Result<Self, LedgerError> {
        let folder = store.join(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_failed("remove unfinished images", &error))
            }
            Ok(()) | Err(_) => Ok(Self { folder }),
        }
    }

    /// Stores images.
    pub(super) fn store(
        &self,
        columns: &Columns,
        lease: &Lease,
        running: &Running,
        channels: &[StoredChannel],
        part: Part,
    ) -> Result<(), LedgerError> {
        let mut sorted: Vec<&StoredChannel> = channels.iter().collect();
        // Stable: of two images of a channel the later one comes last, and is kept.
        sorted.sort_by_key(|stored| stored.channel);
        sorted.reverse();
        sorted.dedup_by_key(|stored| stored.channel);
        sorted.reverse();
        if sorted.is_empty() {
            return Ok(());
        }
        reach(FailPoint::BeforeImages);
        lease.check()?;
        let mut index = running.lock();
        let meta = columns.column(META)?;
        let (mut before, mut after) = (WriteBatch::default(), WriteBatch::default());
        for stored in &sorted {
            index.note(&mut before, &mut after, meta, stored);
        }
        if sorted.len() < FILE_IMAGES_MIN {
            put(columns, &mut before, &sorted, part)?;
            index.written(write(columns, before))?;
            reach(FailPoint::BetweenImages);
            write(columns, after)?;
            reach(FailPoint::AfterImages);
            return Ok(());
        }
        index.written(write(columns, before))?;
        if part == Part::All {
            self.take_over(columns, CHANNELS, &sorted, |bytes, stored| {
                encode_identity(bytes, &stored.identity)
            })?;
        }
        reach(FailPoint::BetweenImages);
        lease.check()?;
        self.take_over(columns, BALANCES, &sorted, |bytes, stored| encode_state(bytes, &stored.state))?;
        write(columns, after)?;
        reach(FailPoint::AfterImages);
        Ok(())
    }

    /// Builds a file for a column family, and gives it to RocksDB.
    fn take_over(
        &self,
        columns: &Columns,
        name: &'static str,
        sorted: &[&StoredChannel],
        encode: impl Fn(&mut Vec<u8>, &StoredChannel),
    ) -> Result<(), LedgerError> {
        fs::create_dir_all(&self.folder).map_err(|error| io_failed("make a folder for images", &error))?;
        let file = self.folder.join(name);
        build(&column_options(name), &file, sorted, encode).map_err(|error| failed("write images", error))?;
        reach(FailPoint::ImagesBuilt);
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let taken = columns.db.ingest_external_file_cf_opts(columns.column(name)?, &options, vec![&file]);
        taken.map_err(|error| failed("store images", error))
    }
}

fn build(
    options: &Options,
    file: &Path,
    sorted: &[&StoredChannel],
    encode: impl Fn(&mut Vec<u8>, &StoredChannel),
) -> Result<(), rocksdb::Error> {
    let mut writer = SstFileWriter::create(options);
    writer.open(file)?;
    let mut bytes = Vec::new();
    for stored in sorted {
        bytes.clear();
        encode(&mut bytes, stored);
        writer.put(stored.channel.0, &bytes)?;
    }
    writer.finish()
}

/// Adds images to a batch.
fn put(
    columns: &Columns,
    batch: &mut WriteBatch,
    channels: &[&StoredChannel],
    part: Part,
) -> Result<(), LedgerError> {
    let (balances, identities) = (columns.column(BALANCES)?, columns.column(CHANNELS)?);
    let mut bytes = Vec::new();
    for stored in channels {
        if part == Part::All {
            bytes.clear();
            encode_identity(&mut bytes, &stored.identity);
            batch.put_cf(identities, stored.channel.0, &bytes);
        }
        bytes.clear();
        encode_state(&mut bytes, &stored.state);
        batch.put_cf(balances, stored.channel.0, &bytes);
    }
    Ok(())
}

fn write(columns: &Columns, batch: WriteBatch) -> Result<(), LedgerError> {
    if batch.is_empty() {
        return Ok(());
    }
    columns.db.write(batch).map_err(|error| failed("store images", error))
}
