//! Each row changes one option, RocksDB hears of it, and a store that is written so holds what was written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use farebox_core::journal::{FrameBuilder, Link};
use farebox_engine::ledger::{EncodedBooks, StoredChannel};
use farebox_engine::{Ledger, LedgerRead, RocksLedger};
use tempfile::TempDir;

use super::super::naming::differences;
use super::*;
use crate::crowd::Crowd;
use crate::reopen::image;

/// Frames of a store here, and channels: enough for both ways of storing images.
const FRAMES: u64 = 5;
const CHANNELS: usize = 12;
const FILE_IMAGES: usize = 8;

/// What RocksDB does not write down: its caches and priorities are objects of their own, of a filter it tells the kind alone, and what
/// goes into files is ours.
const NOT_WRITTEN: [&str; 4] = [
    "database.lower_background_priority",
    "images.block_cache_bytes",
    "images.filter_bits",
    "images_file_min",
];
/// Where the file system decides as well.
const PERHAPS_WRITTEN: &str = "database.use_direct_io_for_flush_and_compaction";

#[test]
fn every_row_is_another_single_difference() {
    let mut names = BTreeSet::new();
    for row in ROWS {
        let found = differences(&row.tuning());
        let [difference] = &found[..] else { panic!("expected one difference, found {found:?}") };
        assert!(names.insert(difference.name()), "{} is there twice", difference.name());
    }
}

#[test]
fn rocksdb_hears_of_every_row() {
    let shipped = written_options(Tuning::default());
    let unheard = ROWS.iter().filter(|row| written_options(row.tuning()) == shipped);
    let unheard = unheard.map(|row| differences(&row.tuning()).remove(0).option);
    let unheard: BTreeSet<String> = unheard.filter(|option| option != PERHAPS_WRITTEN).collect();
    assert_eq!(unheard, NOT_WRITTEN.map(String::from).into());
}

/// The options that RocksDB writes down when a store is opened.
fn written_options(tuning: Tuning) -> String {
    let folder = TempDir::new().unwrap();
    drop(RocksLedger::open_tuned(folder.path(), tuning).unwrap());
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_options = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("OPTIONS-");
    let written = fs::read_to_string(files.filter(|path| is_options(path)).max().unwrap()).unwrap();
    written.replace(&*folder.path().to_string_lossy(), "")
}

#[test]
fn a_store_of_every_row_holds_what_was_written() {
    let crowd = Crowd::new(CHANNELS, 2);
    let mut images: Vec<_> = (0..CHANNELS).map(|place| image(&crowd, place)).collect();
    images.sort_by_key(|image| image.channel);
    for row in ROWS {
        let name = differences(&row.tuning()).remove(0).name();
        let mut tuning = row.tuning();
        if tuning.images_file_min != usize::MAX {
            tuning.images_file_min = FILE_IMAGES;
        }
        let folder = TempDir::new().unwrap();
        let ledger = RocksLedger::open_tuned(folder.path(), tuning.clone()).unwrap();
        let frames = write(&ledger, &images);
        assert_holds(&ledger, &frames, &images, &name);
        drop(ledger);
        assert_holds(&RocksLedger::open_tuned(folder.path(), tuning).unwrap(), &frames, &images, &name);
        // The options that are shipped read it as well, beside nobody and for writing.
        assert_holds(&RocksLedger::open_read_only(folder.path()).unwrap(), &frames, &images, &name);
        assert_holds(&RocksLedger::open(folder.path()).unwrap(), &frames, &images, &name);
    }
}

/// Frames, a file of images, images that go through the log, and the books of some once more.
fn write(ledger: &RocksLedger, images: &[StoredChannel]) -> Vec<Vec<u8>> {
    let frames: Vec<_> = (1..=FRAMES)
        .map(|sequence| FrameBuilder::new().finish(ledger.epoch(), sequence, Link(sequence), None).to_vec())
        .collect();
    for (sequence, frame) in (1..).zip(&frames) {
        ledger.append(frame, sequence).unwrap();
    }
    let (file, few) = images.split_at(FILE_IMAGES);
    ledger.store_images(file).unwrap();
    ledger.store_images(few).unwrap();
    let mut books = EncodedBooks::default();
    file.iter().for_each(|image| books.push(&image.state));
    ledger.store_books(&books).unwrap();
    frames
}

fn assert_holds(ledger: &impl LedgerRead, frames: &[Vec<u8>], images: &[StoredChannel], name: &str) {
    let found: Vec<_> = ledger.frames_after(0, 99).unwrap().into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(found, frames, "{name}");
    assert_eq!(ledger.channels(None, 99).unwrap(), images, "{name}");
    for image in images {
        assert_eq!(ledger.load(image.channel).unwrap().as_ref(), Some(image), "{name}");
    }
    let unknown = Crowd::new(CHANNELS + 1, 3).channels[CHANNELS];
    assert_eq!(ledger.load(unknown).unwrap(), None, "{name}");
}
