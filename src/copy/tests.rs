use tempfile::TempDir;

use super::*;

const FACTS: Facts =
    Facts { store_version: 1, chain_id: 7, epoch: 2, last_frame: 9, taken_at: 1_700_000_000, channels: 3 };

/// A backup of a store of three files.
fn backup() -> TempDir {
    let source = TempDir::new().unwrap();
    for (name, bytes) in
        [("CURRENT", &b"MANIFEST-1"[..]), ("000001.sst", &[7; 5_000]), ("LOG", b"x"), ("LOCK", b"")]
    {
        fs::write(source.path().join(name), bytes).unwrap();
    }
    let backup = TempDir::new().unwrap();
    let files = copy_store(source.path(), &backup.path().join(STORE), &mut |_| {}).unwrap();
    Manifest::new(FACTS, files).write(backup.path()).unwrap();
    backup
}

fn verify(backup: &Path) -> Result<(), CopyError> {
    Manifest::read(backup)?.verify(backup, &mut |_| {})
}

#[test]
fn a_backup_is_what_its_manifest_says() {
    let backup = backup();
    let manifest = Manifest::read(backup.path()).unwrap();
    let files: Vec<_> = manifest.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    assert_eq!(files, [("000001.sst", 5_000), ("CURRENT", 10)]);
    // printf MANIFEST-1 | sha256sum
    let sha256 = "c5ebb99bef6cbeea230c5fe471f7a23c2fb35ba5859e6b8ff2d65c2c5f20453b";
    assert_eq!(manifest.files[1].sha256, sha256);
    assert_eq!((manifest.bytes(), manifest.last_frame, manifest.chain_id), (5_010, 9, 7));
    manifest.verify(backup.path(), &mut |_| {}).unwrap();
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    for name in ["store/CURRENT", "store/000001.sst", MANIFEST] {
        let backup = backup();
        let path = backup.path().join(name);
        let bytes = fs::read(&path).unwrap();
        // The last byte of the manifest is the end of its line.
        for at in [0, bytes.len() / 2, bytes.len() - 2] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let error = verify(backup.path()).unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains(name), "{name} at {at}: {error}");
        }
    }
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let lost = backup();
    fs::remove_file(lost.path().join("store/CURRENT")).unwrap();
    assert!(verify(lost.path()).unwrap_err().to_string().contains("CURRENT: found no file, expected one"));
    let cut = backup();
    fs::write(cut.path().join("store/000001.sst"), [7; 4_999]).unwrap();
    assert!(verify(cut.path()).unwrap_err().to_string().contains("found 4999 bytes, expected 5000"));
    let more = backup();
    fs::write(more.path().join("store/000002.sst"), "x").unwrap();
    assert!(verify(more.path()).unwrap_err().to_string().contains("000002.sst: found a file, expected none"));
    let unfinished = backup();
    fs::remove_file(unfinished.path().join(MANIFEST)).unwrap();
    assert!(matches!(verify(unfinished.path()), Err(CopyError::Unfinished { .. })));
    assert!(matches!(verify(&unfinished.path().join("none")), Err(CopyError::NoFolder { .. })));
}

#[test]
fn nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    must_be_free(folder.path()).unwrap();
    must_be_free(&folder.path().join("new/deep")).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(must_be_free(&file), Err(CopyError::TargetTaken { .. })));
    assert!(matches!(must_be_free(folder.path()), Err(CopyError::TargetTaken { .. })));
}
