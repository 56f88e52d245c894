//! What RocksDB writes down of its options. That each value of a sweep gets there is tested beside the sweep.

use std::fs;
use std::path::Path;

use super::{Compaction, Tuning};
use crate::ledger::conformance::write_channel;
use crate::ledger::{LedgerRead, RocksLedger};

/// The newest of the files in which RocksDB writes its options down.
fn written_options(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_options = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("OPTIONS-");
    fs::read_to_string(files.filter(|path| is_options(path)).max().unwrap()).unwrap()
}

fn unlike_the_shipped() -> Tuning {
    let mut tuning = Tuning::default();
    tuning.database.manual_wal_flush = true;
    tuning.database.max_background_jobs = 1;
    tuning.journal.vector_memtable = true;
    tuning.journal.min_blob_size = 1;
    tuning.images.compaction = Compaction::Universal;
    tuning.images_file_min = usize::MAX;
    tuning
}

/// The witness, views and whoever follows the log read it beside RocksDB: it must hold each frame as it is, once.
#[test]
fn no_tuning_touches_how_the_log_is_kept() {
    for tuning in [Tuning::default(), unlike_the_shipped()] {
        let folder = tempfile::TempDir::new().unwrap();
        let _ledger = RocksLedger::open_tuned(folder.path(), tuning).unwrap();
        let options = written_options(folder.path());
        for kept in [
            "recycle_log_file_num=0\n",
            "wal_compression=kNoCompression\n",
            "wal_recovery_mode=kSkipAnyCorruptedRecords\n",
            "use_fsync=false\n",
            "unordered_write=false\n",
        ] {
            assert!(options.contains(kept), "{kept} is not in {options}");
        }
    }
}

#[test]
fn the_shipped_options_read_and_go_on_with_what_others_wrote() {
    let folder = tempfile::TempDir::new().unwrap();
    let ledger = RocksLedger::open_tuned(folder.path(), unlike_the_shipped()).unwrap();
    write_channel(&ledger, 1, 5);
    drop(ledger);
    let options = written_options(folder.path());
    assert!(
        options.contains("manual_wal_flush=true") && options.contains("max_background_jobs=1"),
        "{options}"
    );
    let expected = RocksLedger::open_read_only(folder.path()).unwrap().frames_after(0, 9).unwrap();
    assert_eq!(expected.len(), 6);
    let shipped = RocksLedger::open(folder.path()).unwrap();
    assert_eq!(shipped.frames_after(0, 9).unwrap(), expected);
}
