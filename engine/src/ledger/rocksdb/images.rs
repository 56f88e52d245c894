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

use farebox_core::journal::encode_identity;
use farebox_core::units::ChannelId;
use rocksdb::{ColumnFamily, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch};

use super::columns::{BALANCES, CHANNELS, Columns, META};
use super::failure::{failed, io_failed};
use super::lease::Lease;
use super::running::Running;
use super::tuning::Tuning;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{EncodedBooks, LedgerError, StoredChannel};

/// Where files are built, in the store's folder.
const FOLDER: &str = "farebox.images";

/// Builds files in a folder of its own.
#[derive(Debug)]
pub(super) struct Images {
    folder: PathBuf,
    tuning: Tuning,
}

impl Images {
    /// Files of a store; those that a former process left are removed.
    pub(super) fn new(store: &Path, tuning: Tuning) -> Result<Self, LedgerError> {
        let folder = store.join(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_failed("remove unfinished images", &error))
            }
            Ok(()) | Err(_) => Ok(Self { folder, tuning }),
        }
    }

    /// Stores books, and before them the terms of those that are new.
    pub(super) fn store(
        &self,
        columns: &Columns,
        lease: &Lease,
        running: &Running,
        books: &EncodedBooks,
        new: &[StoredChannel],
    ) -> Result<(), LedgerError> {
        if books.is_empty() {
            return Ok(());
        }
        reach(FailPoint::BeforeImages);
        lease.check()?;
        let (books, terms) = (books.sorted(), EncodedTerms::sorted(new));
        let mut index = running.lock();
        let meta = columns.column(META)?;
        let (mut before, mut after) = (WriteBatch::default(), WriteBatch::default());
        for state in &books {
            index.note(&mut before, &mut after, meta, state);
        }
        let states = || books.iter().map(|state| (state.channel, state.bytes));
        if books.len() < self.tuning.images_file_min {
            put(&mut before, columns.column(CHANNELS)?, terms.iter());
            put(&mut before, columns.column(BALANCES)?, states());
            index.written(write(columns, before))?;
            reach(FailPoint::BetweenImages);
            write(columns, after)?;
            reach(FailPoint::AfterImages);
            return Ok(());
        }
        index.written(write(columns, before))?;
        self.take_over(columns, CHANNELS, terms.iter())?;
        reach(FailPoint::BetweenImages);
        lease.check()?;
        self.take_over(columns, BALANCES, states())?;
        write(columns, after)?;
        reach(FailPoint::AfterImages);
        Ok(())
    }

    /// Builds a file for a column family, and gives it to RocksDB.
    fn take_over<'a>(
        &self,
        columns: &Columns,
        name: &'static str,
        sorted: impl Iterator<Item = (ChannelId, &'a [u8])>,
    ) -> Result<(), LedgerError> {
        let mut sorted = sorted.peekable();
        if sorted.peek().is_none() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(|error| io_failed("make a folder for images", &error))?;
        let file = self.folder.join(name);
        build(&self.tuning.family(name), &file, sorted).map_err(|error| failed("write images", error))?;
        reach(FailPoint::ImagesBuilt);
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let taken = columns.db.ingest_external_file_cf_opts(columns.column(name)?, &options, vec![&file]);
        taken.map_err(|error| failed("store images", error))
    }
}

/// Terms as bytes, one behind the other.
#[derive(Default)]
struct EncodedTerms {
    bytes: Vec<u8>,
    /// By rising id, each once, and where its bytes end.
    entries: Vec<(ChannelId, usize)>,
}

impl EncodedTerms {
    fn sorted(channels: &[StoredChannel]) -> Self {
        let mut sorted: Vec<_> = channels.iter().collect();
        sorted.sort_unstable_by_key(|stored| stored.channel);
        sorted.dedup_by_key(|stored| stored.channel);
        let mut terms = Self::default();
        for stored in sorted {
            encode_identity(&mut terms.bytes, &stored.identity);
            terms.entries.push((stored.channel, terms.bytes.len()));
        }
        terms
    }

    fn iter(&self) -> impl Iterator<Item = (ChannelId, &[u8])> {
        self.entries.iter().scan(0, |begins, (channel, ends)| {
            let bytes = &self.bytes[std::mem::replace(begins, *ends)..*ends];
            Some((*channel, bytes))
        })
    }
}

fn build<'a>(
    options: &Options,
    file: &Path,
    sorted: impl Iterator<Item = (ChannelId, &'a [u8])>,
) -> Result<(), rocksdb::Error> {
    let mut writer = SstFileWriter::create(options);
    writer.open(file)?;
    for (channel, bytes) in sorted {
        writer.put(channel.0, bytes)?;
    }
    writer.finish()
}

/// Adds images to a batch.
fn put<'a>(
    batch: &mut WriteBatch,
    column: &ColumnFamily,
    images: impl Iterator<Item = (ChannelId, &'a [u8])>,
) {
    for (channel, bytes) in images {
        batch.put_cf(column, channel.0, bytes);
    }
}

fn write(columns: &Columns, batch: WriteBatch) -> Result<(), LedgerError> {
    if batch.is_empty() {
        return Ok(());
    }
    columns.db.write(batch).map_err(|error| failed("store images", error))
}
