//! Disks that fill up under a server: it says so, acknowledges nothing more, and goes on when there is room again.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use farebox_core::journal::{FrameBuilder, Head, Link};
use farebox_engine::ledger::{Ledger, recover};
use farebox_engine::{LedgerError, RocksLedger};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use crate::child::Orders;
use crate::disk::{Disk, Mounted};
use crate::kill::orders;
use crate::seed::{Dice, seed};
use crate::watch::{Plan, Watch};

/// Times that each disk fills up.
const FILLS: u64 = 8;
/// Room that is left when a server starts: sometimes too little to open its books.
const ROOM_BYTES_MAX: u64 = 600_000;
const PLENTY_BYTES: u64 = 64 << 20;
const PAGE_BYTES: u64 = 4_096;
/// What a full disk is called.
const FULL: &str = "the disk is full";
/// More answers than any of these disks holds.
const ANSWERS_ENDLESS: u64 = 1 << 40;

/// A disk whose size can be changed.
trait Tiny {
    fn path(&self) -> &Path;
    fn resize(&self, bytes: u64);
}

/// Linux' own file system in memory; it takes the right to mount.
struct Tmpfs(TempDir);

impl Tmpfs {
    /// `None` without the right to.
    fn new() -> Option<Self> {
        let at = TempDir::new().expect("a folder");
        let size = size(PLENTY_BYTES);
        match mount("tmpfs", at.path(), "tmpfs", MountFlags::empty(), size.as_c_str()) {
            Ok(()) => Some(Self(at)),
            Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => None,
            Err(error) => panic!("cannot mount a tmpfs: {error}"),
        }
    }
}

impl Tiny for Tmpfs {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn resize(&self, bytes: u64) {
        let size = size(bytes);
        mount_remount(self.path(), MountFlags::empty(), size.as_c_str()).expect("it is ours");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What a process that another test starts has open for a moment keeps nothing here.
        unmount(self.path(), UnmountFlags::DETACH).expect("it is ours");
    }
}

fn size(bytes: u64) -> CString {
    CString::new(format!("size={}", bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES)).expect("text")
}

/// Our own.
struct Own {
    disk: Disk,
    /// Dropped before its folder.
    _mounted: Mounted,
    at: TempDir,
}

impl Own {
    fn new() -> Self {
        let (disk, at) = (Disk::new(PLENTY_BYTES), TempDir::new().expect("a folder"));
        Self { _mounted: disk.mount(at.path()), disk, at }
    }
}

impl Tiny for Own {
    fn path(&self) -> &Path {
        self.at.path()
    }

    fn resize(&self, bytes: u64) {
        self.disk.resize(bytes);
    }
}

/// Without the right to mount one, there is our own alone.
fn disks() -> Vec<Box<dyn Tiny>> {
    let tmpfs = Tmpfs::new().map(|tmpfs| Box::new(tmpfs) as Box<dyn Tiny>);
    tmpfs.into_iter().chain([Box::new(Own::new()) as Box<dyn Tiny>]).collect()
}

#[test]
fn a_server_on_a_full_disk_says_so_and_has_everything_that_it_answered() {
    let seed = seed("full disks");
    for disk in disks() {
        let (mut dice, mut watch) = (Dice::of(seed, &[1]), Watch::new(seed));
        let store = disk.path().join("store");
        let mut answers = 0;
        for fill in 0..FILLS {
            disk.resize(used(disk.path()) + dice.below(ROOM_BYTES_MAX));
            // Nothing is forgotten, so that the disk fills up.
            let orders = Orders {
                answers: ANSWERS_ENDLESS,
                journal_keep_frames: u64::MAX,
                snapshots: false,
                ..orders(&mut dice)
            };
            let life = watch.live(&store, orders, Plan::Never);
            answers += life.answers;
            let cause = life.refused.or(life.down).expect("it does not end by itself");
            assert!(cause.contains(FULL), "seed {seed}, fill {fill}: {cause}");
            disk.resize(PLENTY_BYTES);
            if let Err(what) = watch.verify(&store) {
                panic!("seed {seed}, fill {fill}, {cause}: {what}");
            }
        }
        assert!(answers > 0);
        let life = watch.live(&store, orders(&mut dice), Plan::Never);
        assert!(life.has_ended, "with room it serves again: {life:?}");
        watch.verify(&store).unwrap();
    }
}

/// The ledger itself: its error has a type of its own, and what it took is there.
#[test]
fn a_ledger_on_a_full_disk_has_its_own_error() {
    for disk in disks() {
        let store = disk.path().join("store");
        drop(RocksLedger::open(&store).unwrap());
        disk.resize(used(disk.path()) + ROOM_BYTES_MAX);
        let ledger = RocksLedger::open(&store).unwrap();
        let (taken, error) = fill(&ledger);
        assert!(matches!(error, LedgerError::DiskFull { .. }), "{error:?}");
        assert!(taken > 0);
        drop(ledger);
        disk.resize(PLENTY_BYTES);
        let ledger = RocksLedger::open(&store).unwrap();
        let last = recover(&ledger).unwrap().head.sequence;
        // The frame that failed may be there: whoever asked for it heard nothing.
        assert!([taken, taken + 1].contains(&last), "{taken} were taken, {last} are there");
    }
}

/// Appends until it fails; says how many frames were taken.
fn fill(ledger: &RocksLedger) -> (u64, LedgerError) {
    let mut link = Head::GENESIS.link;
    for sequence in 1.. {
        let mut frame = FrameBuilder::new();
        let bytes = frame.finish(ledger.epoch(), sequence, link, None);
        if let Err(error) = ledger.append(bytes, sequence) {
            return (sequence - 1, error);
        }
        link = Link::to(bytes);
    }
    unreachable!("every disk is full one day")
}

/// What the files take, in whole pages.
fn used(path: &Path) -> u64 {
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("a name").path());
    entries
        .map(|path: PathBuf| {
            let about = path.symlink_metadata().expect("a file");
            if about.is_dir() { used(&path) } else { about.len().div_ceil(PAGE_BYTES) * PAGE_BYTES }
        })
        .sum()
}
