//! The disk under the books: room, speed of a sync, kind of file system.
//!
//! A voucher is answered when it is on disk, so a sync is what a client waits for. It is timed as the journal does it: a
//! few hundred bytes are appended to a file, and then it is synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{statfs, statvfs};

use super::Thresholds;
use super::finding::Finding;
use crate::config::{Config, Ledger};

/// How often a sync is timed.
const SYNCS: usize = 100;
/// How long that may take in all.
const SYNCS_FOR: Duration = Duration::from_secs(3);
/// What is written before each, in bytes: a small frame.
const FRAME_BYTES: usize = 512;
/// A sync that is faster cannot have reached a disk, in microseconds.
const SYNC_US_MIN: u64 = 5;
/// Of the disk's room, this part should be free, in percent.
const FREE_PERCENT_MIN: u64 = 5;

/// File systems by what `statfs` calls them (Linux, `magic.h`).
const TMPFS: u64 = 0x0102_1994;
const NFS: u64 = 0x6969;
const CIFS: u64 = 0xff53_4d42;
const SMB2: u64 = 0xfe53_4d42;

/// Looks at the disk of the books; books in memory are a finding themselves.
pub(super) fn disk(config: &Config, thresholds: &Thresholds, findings: &mut Vec<Finding>) {
    let Ledger::RocksDb(path) = &config.ledger else {
        let found =
            "ledger.kind is \"memory\": the books are lost at the end of every run, and money with them";
        findings.push(Finding::warning("books", found, "set ledger.kind to \"rocksdb\" and ledger.path"));
        return;
    };
    let folder = existing(path);
    if !folder.is_dir() {
        let found = format!("{} cannot be a folder: {} is a file", path.display(), folder.display());
        let fix = "let ledger.path name a folder that can be made";
        findings.push(Finding::error("disk.folder", found, fix));
        return;
    }
    kind(&folder, findings);
    room(&folder, thresholds.free_bytes_min, findings);
    match time_syncs(&folder) {
        Ok(times) => findings.push(speed(times, thresholds.sync_us_max)),
        Err(error) => {
            let found = format!("{} cannot be written: {error}", folder.display());
            let fix =
                format!("let the user that Farebox runs as write there: chown farebox {}", folder.display());
            findings.push(Finding::error("disk.folder", found, fix));
        }
    }
}

/// The folder, or the nearest above it that is there already.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let found = path.ancestors().find(|above| fs::symlink_metadata(above).is_ok());
    found.unwrap_or(&path).into()
}

fn kind(folder: &Path, findings: &mut Vec<Finding>) {
    const CHECK: &str = "disk.kind";
    let Ok(system) = statfs(folder) else { return };
    // The type's width differs between platforms; the numbers are 32 bits wide.
    let kind = u64::from(system.f_type as u32);
    if kind == TMPFS {
        let found =
            format!("{} is memory (tmpfs): a restart of the machine loses the books", folder.display());
        findings.push(Finding::warning(CHECK, found, "put ledger.path on a disk"));
    } else if [NFS, CIFS, SMB2].contains(&kind) {
        let found = format!("{} is a network file system: its locks and syncs are weak", folder.display());
        findings.push(Finding::warning(CHECK, found, "put ledger.path on a local disk"));
    }
}

fn room(folder: &Path, free_bytes_min: u64, findings: &mut Vec<Finding>) {
    const CHECK: &str = "disk.space";
    let system = match statvfs(folder) {
        Ok(system) => system,
        Err(error) => {
            let found = format!("the room on the disk of {} is not known: {error}", folder.display());
            findings.push(Finding::warning(CHECK, found, "look with df"));
            return;
        }
    };
    let block = system.f_frsize.max(1);
    let (free, total) = (system.f_bavail.saturating_mul(block), system.f_blocks.saturating_mul(block));
    let (free_mb, total_mb) = (free >> 20, total >> 20);
    let fix =
        "free some space, or move ledger.path to a larger disk; [books] journal_keep_days bounds the journal";
    findings.push(if free < free_bytes_min {
        let least_mb = free_bytes_min >> 20;
        let found = format!(
            "{free_mb} MB of {total_mb} MB are free, {least_mb} MB are wanted: full, the server stops"
        );
        Finding::error(CHECK, found, fix)
    } else if free / 100 < total / 10_000 * FREE_PERCENT_MIN {
        Finding::warning(
            CHECK,
            format!("{free_mb} MB of {total_mb} MB are free, less than {FREE_PERCENT_MIN} %"),
            fix,
        )
    } else {
        Finding::ok(CHECK, format!("{free_mb} MB of {total_mb} MB are free"))
    });
    if system.f_files > 0 && system.f_favail < 1_000 {
        let found = format!("{} more files can be made on the disk (inodes)", system.f_favail);
        findings.push(Finding::error("disk.files", found, "remove small files, or take another file system"));
    }
}

fn speed(mut times: Vec<Duration>, sync_us_max: u64) -> Finding {
    const CHECK: &str = "disk.sync";
    times.sort_unstable();
    let at = |percent: usize| {
        let place = (times.len() * percent / 100).min(times.len() - 1);
        u64::try_from(times[place].as_micros()).unwrap_or(u64::MAX)
    };
    let (p50, p99) = (at(50), at(99));
    let found = format!("a sync takes {p50} us (p50), {p99} us (p99), in {} tries", times.len());
    if p99 > sync_us_max {
        let fix = "every answer waits for a sync: use an SSD with power-loss protection, and let no other program write much to it";
        Finding::warning(CHECK, found, fix)
    } else if p50 < SYNC_US_MIN {
        let found = format!("{found}: no disk is that fast, so it may not keep what it says it keeps");
        Finding::warning(CHECK, found, "do not use a disk in memory, or one that ignores syncs")
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Times appends with a sync each, in a file that is gone afterwards.
pub fn time_syncs(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".farebox-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let timed = time_syncs_in(file);
    fs::remove_file(&path)?;
    timed
}

fn time_syncs_in(mut file: File) -> io::Result<Vec<Duration>> {
    let begin = Instant::now();
    let mut times = Vec::with_capacity(SYNCS);
    while times.is_empty() || (times.len() < SYNCS && begin.elapsed() < SYNCS_FOR) {
        let started = Instant::now();
        file.write_all(&[0; FRAME_BYTES])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn times(us: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        us.into_iter().map(Duration::from_micros).collect()
    }

    #[test]
    fn one_slow_sync_in_a_hundred_is_a_slow_disk() {
        let fast = speed(times((0..100).map(|_| 200)), 20_000);
        assert_eq!(fast.level, Level::Ok);
        assert!(fast.found.contains("200 us (p50), 200 us (p99), in 100 tries"), "{fast:?}");
        let slow = speed(times((0..99).map(|_| 200).chain([50_000])), 20_000);
        assert_eq!(slow.level, Level::Warning, "{slow:?}");
        assert!(slow.found.contains("50000 us (p99)"), "{slow:?}");
        assert_eq!(speed(times([1]), 20_000).level, Level::Warning, "no disk is that fast");
    }

    #[test]
    fn the_disk_of_a_folder_that_is_not_there_is_that_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
        assert_eq!(time_syncs(folder.path()).unwrap().len(), SYNCS);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
