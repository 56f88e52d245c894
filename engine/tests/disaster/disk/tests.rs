//! The disk itself: through the kernel it is a file system, and it loses only what was not synced.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::Disk;
use crate::seed::Dice;

const PLENTY: u64 = 1 << 30;

/// What is left of a disk after a power loss, in a folder of this machine.
fn after_power_loss(disk: &Disk, seed: u64) -> TempDir {
    let left = TempDir::new().unwrap();
    disk.lose_power(&mut Dice::of(seed, &[]));
    disk.copy_to(left.path());
    left
}

#[test]
fn what_was_synced_is_there_and_what_was_not_is_there_or_not() {
    let mut seen = [false; 4];
    for seed in 0..40 {
        let (disk, at) = (Disk::new(PLENTY), TempDir::new().unwrap());
        let mounted = disk.mount(at.path());
        let mut file = fs::File::create(at.path().join("synced")).unwrap();
        file.write_all(&[1; 1_500]).unwrap();
        file.sync_data().unwrap();
        fs::File::open(at.path()).unwrap().sync_all().unwrap();
        file.write_at(&[2; 1_500], 1_500).unwrap();
        fs::write(at.path().join("new"), b"not synced").unwrap();
        fs::rename(at.path().join("new"), at.path().join("renamed")).unwrap();
        assert_eq!(fs::read(at.path().join("synced")).unwrap().len(), 3_000);
        assert_eq!(fs::read(at.path().join("renamed")).unwrap(), b"not synced");
        drop(file);
        drop(mounted);

        let left = after_power_loss(&disk, seed);
        let bytes = fs::read(left.path().join("synced")).unwrap();
        assert_eq!(bytes[..1_500], [1; 1_500]);
        let behind = &bytes[1_500..];
        assert!(behind.iter().all(|byte| [0, 2].contains(byte)));
        let names: Vec<_> =
            fs::read_dir(left.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!(names.contains(&"new".into()) && names.contains(&"renamed".into())));
        seen[0] |= behind.is_empty();
        seen[1] |= behind.len() == 1_500 && behind.iter().all(|byte| *byte == 2);
        seen[2] |= behind.contains(&0);
        seen[3] |= names.contains(&"renamed".into());
    }
    assert_eq!(seen, [true; 4], "lost, kept, torn, and a name that was kept");
}

#[test]
fn once_the_power_is_gone_nothing_changes() {
    let (disk, at) = (Disk::new(PLENTY), TempDir::new().unwrap());
    let mounted = disk.mount(at.path());
    let mut file = fs::File::create(at.path().join("file")).unwrap();
    fs::File::open(at.path()).unwrap().sync_all().unwrap();
    file.write_all(b"first").unwrap();
    disk.freeze_in(1, true);
    file.write_all(b", second").unwrap();
    assert!(!disk.is_frozen());
    file.sync_all().unwrap_err();
    assert!(disk.is_frozen());
    file.write_all(b", third").unwrap_err();
    drop(file);
    drop(mounted);
    let left = after_power_loss(&disk, 1);
    assert_eq!(fs::read(left.path().join("file")).unwrap(), b"first, second", "the sync came through");
}

#[test]
fn a_full_disk_says_so() {
    let (disk, at) = (Disk::new(10_000), TempDir::new().unwrap());
    let mounted = disk.mount(at.path());
    fs::write(at.path().join("file"), [7; 9_000]).unwrap();
    let error = fs::write(at.path().join("more"), [7; 2_000]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.resize(20_000);
    fs::write(at.path().join("more"), [7; 2_000]).unwrap();
    drop(mounted);
}
