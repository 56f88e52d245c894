//! What RocksDB's write-ahead log says of frames, read without RocksDB.
//!
//! When a record of the log is damaged, RocksDB drops it *and the rest of its block of 32 KiB*: frames that
//! were acknowledged, and of which then nothing is left to see. If that was the last block, the journal
//! would end early, and look whole. So before RocksDB opens the log, this module looks for the headers of
//! frames in its bytes. A frame is written only after the one before it is durable, so the header of
//! frame `n + 2` proves that frame `n + 1` was acknowledged, even if its own bytes are torn. If the journal
//! then ends at frame `n`, it is damaged, and not torn.
//!
//! A header that a block boundary of the log splits is not seen; its neighbours are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use farebox_core::journal::{FRAME_PAYLOAD_BYTES_MAX, FRAME_VERSION, RECORD_BYTES_MIN};

use super::failure::io_failed;
use crate::ledger::LedgerError;

/// The layout of a frame's header, see `farebox_core::journal`.
const MAGIC: &[u8; 4] = b"FBXJ";
const HEADER_BYTES: usize = 80;
const FLAGS_MAX: u16 = 1;

/// How the names of RocksDB's lists of table files begin.
const MANIFEST: &str = "MANIFEST-";

/// Bytes of a log that are looked at at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The highest number of a frame whose header stands in a log in this folder; zero without one.
pub(super) fn newest_frame(folder: &Path) -> Result<u64, LedgerError> {
    let mut newest = 0;
    for path in log_files(folder)? {
        match File::open(&path).and_then(newest_in) {
            Ok(found) => newest = newest.max(found),
            // A running writer deletes logs whose content is in table files.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(newest)
}

/// RocksDB's logs in a folder.
fn log_files(folder: &Path) -> Result<BTreeSet<PathBuf>, LedgerError> {
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
    Ok(lists(folder)?.into_keys().filter(|path| is_log(path)).collect())
}

/// What tells which files a store has: its logs, and its lists of table files with their lengths. A writer that begins or
/// deletes a log changes this, and so does one that adds or removes a table file.
pub(super) fn lists(folder: &Path) -> Result<BTreeMap<PathBuf, u64>, LedgerError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut lists = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&error))?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            lists.insert(path, 0);
        } else if entry.file_name().to_string_lossy().starts_with(MANIFEST) {
            // Gone already: a length that no other look finds.
            lists.insert(path, entry.metadata().map_or(u64::MAX, |metadata| metadata.len()));
        }
    }
    Ok(lists)
}

fn failed(error: &std::io::Error) -> LedgerError {
    io_failed("look at its log", error)
}

fn newest_in(mut log: impl Read) -> std::io::Result<u64> {
    let (mut newest, mut kept, mut chunk) = (0, 0, vec![0; CHUNK_BYTES]);
    loop {
        let read = log.read(&mut chunk[kept..])?;
        if read == 0 {
            return Ok(newest);
        }
        let filled = kept + read;
        newest = newest.max(newest_among(&chunk[..filled]));
        // The end may be the beginning of a header.
        let from = filled.saturating_sub(HEADER_BYTES - 1);
        chunk.copy_within(from..filled, 0);
        kept = filled - from;
    }
}

fn newest_among(bytes: &[u8]) -> u64 {
    let headers = bytes.windows(HEADER_BYTES).filter(|window| window.starts_with(MAGIC));
    headers.filter_map(frame_number).max().unwrap_or(0)
}

/// The number in a header, if these bytes make sense as one.
fn frame_number(header: &[u8]) -> Option<u64> {
    let u16_at = |at: usize| header[at..].first_chunk().copied().map(u16::from_le_bytes);
    let u32_at = |at: usize| header[at..].first_chunk().copied().map(u32::from_le_bytes);
    let u64_at = |at: usize| header[at..].first_chunk().copied().map(u64::from_le_bytes);
    let flags = u16_at(6)?;
    let (records, bytes) = (u32_at(72)? as usize, u32_at(76)? as usize);
    let has_cursor = flags == FLAGS_MAX || header[32..72].iter().all(|byte| *byte == 0);
    let makes_sense = u16_at(4)? == FRAME_VERSION
        && flags <= FLAGS_MAX
        && has_cursor
        && bytes <= FRAME_PAYLOAD_BYTES_MAX
        && records <= bytes / RECORD_BYTES_MIN;
    u64_at(16).filter(|_| makes_sense)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_core::journal::{Cursor, FrameBuilder, Link};
    use farebox_core::units::{B256, BlockNumber};

    fn frame(sequence: u64, cursor: Option<Cursor>) -> Vec<u8> {
        FrameBuilder::new().finish(3, sequence, Link(9), cursor).to_vec()
    }

    #[test]
    fn headers_are_found_at_any_place_also_between_two_chunks() {
        let cursor = Some(Cursor { next_block: BlockNumber(8), parent: B256::repeat_byte(1) });
        for place in
            [0, 1, CHUNK_BYTES - 100, CHUNK_BYTES - 80, CHUNK_BYTES - 79, CHUNK_BYTES - 1, CHUNK_BYTES]
        {
            let mut log = vec![b'F'; place];
            log.extend(frame(41, None));
            log.extend(frame(7, cursor));
            assert_eq!(newest_in(&*log).unwrap(), 41, "at {place}");
            log.truncate(place + 79);
            assert_eq!(newest_in(&*log).unwrap(), 0, "cut at {place}");
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_no_header() {
        let whole = frame(5, None);
        for (at, change) in [(0, 1), (4, 8), (6, 2), (40, 1), (72, 1), (79, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            assert_eq!(newest_in(&*bytes).unwrap(), 0, "byte {at}");
        }
    }

    #[test]
    fn a_folder_without_logs_tells_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(newest_frame(folder.path()).unwrap(), 0);
        assert_eq!(newest_frame(&folder.path().join("none")).unwrap(), 0);
        std::fs::write(folder.path().join("000004.log"), frame(6, None)).unwrap();
        std::fs::write(folder.path().join("000005.sst"), frame(9, None)).unwrap();
        assert_eq!(newest_frame(folder.path()).unwrap(), 6);
    }
}
