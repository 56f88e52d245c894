//! The conformance suite on a real disk, and what only this ledger can get wrong.

use std::process::Command;

use farebox_core::journal::{FrameBuilder, Head, Link, encode_identity};
use farebox_core::units::ChannelId;
use farebox_core::voucher::Verifier;
use rocksdb::{DB, Options};
use tempfile::TempDir;

use super::columns::{ALL, BALANCES, CHANNELS, JOURNAL, META};
use super::failure::failed;
use super::meta::{RUNNING, VERSION};
use super::tuning::Tuning;
use super::{RocksLedger, RocksView, STORE_VERSION};
use crate::ledger::conformance::{Disk, accepted, conformance, identity, image, reserved, write_running};
use crate::ledger::{EncodedBooks, Ledger, LedgerError, LedgerRead, Place, check, recover};

struct Folder(TempDir);

impl Disk for Folder {
    type Writer = RocksLedger;
    type View = RocksView;

    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> Result<RocksLedger, LedgerError> {
        RocksLedger::open(self.0.path())
    }

    fn view(&self) -> RocksView {
        RocksLedger::open_read_only(self.0.path()).unwrap()
    }

    fn damage_frame(&self, sequence: u64, damage: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let db = self.raw();
        let (column, key) = (db.cf_handle(JOURNAL).unwrap(), sequence.to_be_bytes());
        match damage(db.get_cf(column, key).unwrap().unwrap()) {
            Some(bytes) => db.put_cf(column, key, bytes).unwrap(),
            None => db.delete_cf(column, key).unwrap(),
        }
    }
}

impl Folder {
    /// The database without the ledger around it.
    fn raw(&self) -> DB {
        DB::open_cf(&Options::default(), self.0.path(), ALL).unwrap()
    }
}

conformance!(Folder);

#[test]
fn an_unknown_version_is_refused_for_writing_and_reading() {
    let disk = Folder::new();
    drop(disk.open().unwrap());
    let raw = disk.raw();
    raw.put_cf(raw.cf_handle(META).unwrap(), VERSION, (STORE_VERSION + 1).to_le_bytes()).unwrap();
    drop(raw);
    for result in [disk.open().map(drop), RocksLedger::open_read_only(disk.0.path()).map(drop)] {
        match result {
            Err(LedgerError::UnknownVersion { found: Some(found), expected: STORE_VERSION })
                if found == STORE_VERSION + 1 => {}
            other => panic!("expected an unknown version, found {other:?}"),
        }
    }
}

#[test]
fn a_filled_store_without_a_version_is_refused() {
    let disk = Folder::new();
    drop(disk.open().unwrap());
    let raw = disk.raw();
    raw.delete_cf(raw.cf_handle(META).unwrap(), VERSION).unwrap();
    drop(raw);
    assert!(matches!(disk.open(), Err(LedgerError::UnknownVersion { found: None, .. })));
}

/// What the second version left has an index and no tombstones. Opened for writing it becomes one of this version, so that
/// a program that knows no tombstones refuses it from then on.
#[test]
fn a_store_of_the_second_version_is_read_and_made_one_of_this() {
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    write_vouchers(&ledger, 3);
    let running = write_running(&ledger, 2);
    drop(ledger);
    let raw = disk.raw();
    raw.put_cf(raw.cf_handle(META).unwrap(), VERSION, 2_u32.to_le_bytes()).unwrap();
    drop(raw);
    assert_eq!(disk.view().running(None, 9).unwrap(), [running]);
    assert_eq!(disk.view().tombstones(None, 9).unwrap(), []);
    for _ in 0..2 {
        let ledger = disk.open().unwrap();
        assert_eq!(ledger.running(None, 9).unwrap(), [running]);
        assert_eq!(ledger.columns.meta(VERSION).unwrap().unwrap(), STORE_VERSION.to_le_bytes());
    }
}

/// A start ends the requests that the index names, and trusts it.
#[test]
fn a_check_holds_the_index_of_running_requests_against_the_images() {
    let verifier = Verifier::with(farebox_crypto::backend::Backend::detect(), 1 << 20);
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    write_vouchers(&ledger, 3);
    let unknown = identity(9).channel_id();
    let (idle, running) = (image(4, &[]), image(2, &[reserved(1, 0)]));
    // Of this one the journal tells: after a crash its image may be there without its entry.
    let newer = image(1, &[reserved(1, 0), reserved(2, 0)]);
    ledger.store_images(&[idle.clone(), running.clone(), newer.clone()]).unwrap();
    drop(ledger);
    let findings = |disk: &Folder| -> Vec<_> {
        let summary = check(&disk.view(), &verifier);
        summary
            .findings
            .iter()
            .filter(|finding| finding.what.contains("index"))
            .map(|found| found.place)
            .collect()
    };
    assert_eq!(findings(&disk), []);
    let key = |channel: ChannelId| [RUNNING.as_slice(), channel.0.as_slice()].concat();
    let write = |disk: &Folder, adds: &[ChannelId], removes: &[ChannelId]| {
        let raw = disk.raw();
        let meta = raw.cf_handle(META).unwrap();
        adds.iter().for_each(|channel| raw.put_cf(meta, key(*channel), []).unwrap());
        removes.iter().for_each(|channel| raw.delete_cf(meta, key(*channel)).unwrap());
    };
    write(&disk, &[], &[newer.channel]);
    assert_eq!(findings(&disk), []);
    write(&disk, &[], &[running.channel]);
    assert_eq!(findings(&disk), [Place::Channel(running.channel)], "a start would not end its request");
    write(&disk, &[running.channel, idle.channel], &[]);
    assert_eq!(findings(&disk), [Place::Channel(idle.channel)]);
    write(&disk, &[unknown], &[idle.channel]);
    assert_eq!(findings(&disk), [Place::Channel(unknown)]);
    write(&disk, &[], &[unknown]);
    assert_eq!(findings(&disk), []);
}

/// What the first version left has no index. It is made once, and reading alone does without.
#[test]
fn a_store_of_the_first_version_is_indexed_when_it_is_opened_for_writing() {
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    write_vouchers(&ledger, 3);
    let running = write_running(&ledger, 2);
    drop(ledger);
    let raw = disk.raw();
    let meta = raw.cf_handle(META).unwrap();
    raw.put_cf(meta, VERSION, 1_u32.to_le_bytes()).unwrap();
    raw.delete_range_cf(meta, RUNNING.as_slice(), b"runninh".as_slice()).unwrap();
    drop(raw);
    assert_eq!(disk.view().running(None, 9).unwrap(), [running]);
    for _ in 0..2 {
        let ledger = disk.open().unwrap();
        assert_eq!(ledger.running(None, 9).unwrap(), [running]);
        assert_eq!(ledger.columns.meta(VERSION).unwrap().unwrap(), STORE_VERSION.to_le_bytes());
    }
    assert_eq!(disk.view().running(None, 9).unwrap(), [running]);
}

#[test]
fn a_view_of_nothing_is_refused_and_makes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("none");
    assert!(matches!(RocksLedger::open_read_only(&path), Err(LedgerError::NotFound { .. })));
    assert!(!path.exists());
}

#[test]
fn damaged_images_are_told_by_channel() {
    let disk = Folder::new();
    drop(disk.open().unwrap());
    let channel = identity(1).channel_id();
    let raw = disk.raw();
    raw.put_cf(raw.cf_handle(BALANCES).unwrap(), channel.0, b"not a state").unwrap();
    drop(raw);
    let ledger = disk.open().unwrap();
    for result in [ledger.load(channel).map(drop), ledger.channels(None, 9).map(drop)] {
        match result {
            Err(LedgerError::CorruptChannel { channel: told, .. }) => assert_eq!(told, channel),
            other => panic!("expected a damaged channel, found {other:?}"),
        }
    }
}

/// Enough images at once to become files of their own: with and without terms, twice the same channel, over older ones.
#[test]
fn many_images_are_stored_as_files() {
    let many = u16::try_from(2 * Tuning::default().images_file_min).unwrap();
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    let running = [accepted(100), reserved(1, 40)];
    let mut images: Vec<_> = (0..many).map(|number| image(number, &[])).collect();
    ledger.store_images(&images).unwrap();
    ledger.store_images(&[image(5, &[accepted(7)])]).unwrap();
    let newer =
        |number| if number % 2 == 0 { image(number, &running) } else { image(number, &[accepted(9)]) };
    images = (0..many).map(newer).collect();
    let mut books = EncodedBooks::default();
    (0..many).for_each(|number| books.push(&image(number, &[accepted(8)]).state));
    images.iter().for_each(|image| books.push(&image.state));
    ledger.store_books(&books).unwrap();
    images.sort_by_key(|image| image.channel);
    let expected: Vec<_> = images.iter().filter(|image| !image.state.reservations.is_empty()).collect();
    let view = disk.view();
    for ledger in [&ledger as &dyn LedgerRead, &view] {
        assert_eq!(ledger.channels(None, images.len() + 1).unwrap(), images);
        let running = ledger.running(None, images.len()).unwrap();
        assert!(running.iter().eq(expected.iter().map(|image| &image.channel)));
        assert_eq!(ledger.load(images[3].channel).unwrap().as_ref(), Some(&images[3]));
    }
    // What a process that died in the middle leaves: a file nobody took over, and terms without books.
    drop((ledger, view));
    let unfinished = disk.0.path().join("farebox.images");
    std::fs::write(unfinished.join("balances"), b"half").unwrap();
    let raw = disk.raw();
    let mut terms = Vec::new();
    encode_identity(&mut terms, &identity(many + 1));
    raw.put_cf(raw.cf_handle(CHANNELS).unwrap(), identity(many + 1).channel_id().0, &terms).unwrap();
    drop(raw);
    let ledger = disk.open().unwrap();
    assert!(!unfinished.exists());
    assert_eq!(ledger.load(identity(many + 1).channel_id()).unwrap(), None);
    assert_eq!(ledger.channels(None, images.len() + 1).unwrap(), images);
}

/// Cuts and flips the very file that a crash leaves: RocksDB's write-ahead log.
#[test]
fn a_torn_log_loses_its_last_frame_and_a_damaged_one_is_refused() {
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    write_vouchers(&ledger, 20);
    // A crash: the log stays as it is, nothing is flushed.
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(disk.0.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    drop(ledger);
    let log = newest_log(copy.path());
    let bytes = std::fs::read(&log).unwrap();

    for cut in [1, 7, 60] {
        std::fs::write(&log, &bytes[..bytes.len() - cut]).unwrap();
        let view = RocksLedger::open_read_only(copy.path()).unwrap();
        assert_eq!(recover(&view).unwrap().head.sequence, 19, "cut by {cut} bytes");
    }

    // Damage inside: RocksDB drops it with all that follows in its block, and says nothing.
    for part in [5, 3, 2] {
        let mut flipped = bytes.clone();
        flipped[bytes.len() * (part - 1) / part] ^= 0x40;
        std::fs::write(&log, &flipped).unwrap();
        let view = || RocksLedger::open_read_only(copy.path()).map(drop);
        let writer = || RocksLedger::open(copy.path()).map(drop);
        // A refusal leaves the traces where they are.
        for opened in [view(), writer(), writer(), view()] {
            match opened {
                Err(LedgerError::CorruptFrame { sequence, .. }) => assert!((2..20).contains(&sequence)),
                other => panic!("expected damage inside, found {other:?}"),
            }
        }
    }
}

fn newest_log(folder: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.filter(|path| path.metadata().unwrap().len() > 0).max().unwrap()
}

fn write_vouchers(ledger: &RocksLedger, frames: u64) {
    use crate::ledger::conformance::write_channel;
    write_channel(ledger, 1, frames - 1);
}

#[test]
fn a_second_process_is_refused_with_the_number_of_the_first() {
    let disk = Folder::new();
    let _ledger = disk.open().unwrap();
    // This very test binary, asked to run the one test below.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::rocksdb::tests::opens_the_folder_of_another_process", "--nocapture"])
        .env(OTHER_PROCESS, disk.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
}

const OTHER_PROCESS: &str = "FAREBOX_TEST_OTHER_PROCESS";

/// The other process of the test above; by itself it has nothing to do.
#[test]
fn opens_the_folder_of_another_process() {
    let Some(path) = std::env::var_os(OTHER_PROCESS) else { return };
    let refused = RocksLedger::open(path).unwrap_err();
    assert!(matches!(refused, LedgerError::Locked { .. }), "{refused}");
    println!("{refused}");
}

/// RocksDB's lock is a file, and a file can be removed: the second process gets in then. The first one must
/// not acknowledge anything any more.
#[test]
fn a_writer_whose_lock_was_removed_notices_the_one_after_it() {
    let disk = Folder::new();
    let ledger = disk.open().unwrap();
    write_vouchers(&ledger, 3);
    std::fs::remove_file(disk.0.path().join("LOCK")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::rocksdb::tests::takes_the_folder_of_another_process", "--nocapture"])
        .env(OTHER_PROCESS, disk.0.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let bytes = FrameBuilder::new().finish(1, 4, Link(0), None).to_vec();
    for refused in [ledger.append(&bytes, 4), ledger.set_mark(&Head::GENESIS), ledger.cut_tail(0)] {
        assert!(matches!(refused, Err(LedgerError::Fenced { ours: 1, current: 2 })), "{refused:?}");
    }
}

/// The other process of the test above; by itself it has nothing to do.
#[test]
fn takes_the_folder_of_another_process() {
    let Some(path) = std::env::var_os(OTHER_PROCESS) else { return };
    assert_eq!(RocksLedger::open(path).unwrap().epoch(), 2);
}

#[test]
fn a_full_disk_has_its_own_error() {
    let folder = TempDir::new().unwrap();
    // RocksDB makes no error of a given text by itself; this one has its shape.
    let missing = DB::open_cf(&Options::default(), folder.path().join("No space left on device/db"), ALL);
    let error = failed("append a frame", missing.unwrap_err());
    assert!(matches!(error, LedgerError::DiskFull { action: "append a frame", .. }), "{error:?}");
    let missing = DB::open_cf(&Options::default(), folder.path().join("elsewhere/db"), ALL);
    let error = failed("append a frame", missing.unwrap_err());
    assert!(matches!(error, LedgerError::Io { .. } | LedgerError::Corrupt { .. }), "{error:?}");
}
