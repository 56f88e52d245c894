//! Who writes: a note beside RocksDB's files that names the writing process and its epoch.
//!
//! RocksDB's `LOCK` keeps a second writer out, but says nothing about who holds it, and it protects nothing
//! once somebody removed the file: two processes then write to one store, and neither notices. So each
//! writer leaves its note after it has raised the epoch, and looks before every write whether the note is
//! still its own. One whose note was replaced is fenced, and acknowledges nothing any more.
//!
//! A note that is missing says nothing: people remove such files. A second writer always leaves one.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::io_failed;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::LedgerError;

/// The process and the epoch of the last writer, in decimal, with a space between.
const NOTE: &str = "farebox.pid";
/// The same, before it takes its name.
const NEW_NOTE: &str = "farebox.pid.new";

/// A writer's note.
#[derive(Debug)]
pub(super) struct Lease {
    path: PathBuf,
    text: String,
    epoch: u64,
}

impl Lease {
    /// Leaves a note. The caller holds RocksDB's lock and has raised the epoch.
    pub(super) fn take(folder: &Path, epoch: u64) -> Result<Self, LedgerError> {
        let (path, new) = (folder.join(NOTE), folder.join(NEW_NOTE));
        let text = format!("{} {epoch}\n", std::process::id());
        // Renamed into its place, so that nobody reads half of it.
        let written = fs::write(&new, &text).and_then(|()| {
            reach(FailPoint::NoteWritten);
            fs::rename(&new, &path)
        });
        written.map_err(|error| io_failed("note beside its files who writes", &error))?;
        Ok(Self { path, text, epoch })
    }

    /// Fails when another writer left its note since. Costs two microseconds; a frame's sync costs a hundred.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        match fs::read_to_string(&self.path) {
            Ok(found) if found != self.text => {
                let current = read(&found).map_or(self.epoch, |(_, epoch)| epoch);
                Err(LedgerError::Fenced { ours: self.epoch, current })
            }
            _ => Ok(()),
        }
    }
}

/// The process that holds the store, if the note names one that lives. A note outlives a process that was
/// killed, and its number would then send people after a stranger.
pub(super) fn holder(folder: &Path) -> Option<u32> {
    let (pid, _) = read(&fs::read_to_string(folder.join(NOTE)).ok()?)?;
    let processes = Path::new("/proc");
    let may_live = !processes.join("self").exists() || processes.join(pid.to_string()).exists();
    may_live.then_some(pid)
}

/// Process and epoch.
fn read(text: &str) -> Option<(u32, u64)> {
    let (pid, epoch) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_whose_note_was_replaced_is_fenced() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = Lease::take(folder.path(), 4).unwrap();
        first.check().unwrap();
        let second = Lease::take(folder.path(), 5).unwrap();
        assert!(matches!(first.check(), Err(LedgerError::Fenced { ours: 4, current: 5 })));
        second.check().unwrap();
        fs::remove_file(folder.path().join(NOTE)).unwrap();
        second.check().unwrap();
    }

    #[test]
    fn only_a_process_that_lives_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(holder(folder.path()), None);
        Lease::take(folder.path(), 1).unwrap();
        assert_eq!(holder(folder.path()), Some(std::process::id()));
        for text in ["4194305 7\n", "no number\n", "", "12\n"] {
            // Linux gives no number above 4194304.
            fs::write(folder.path().join(NOTE), text).unwrap();
            assert_eq!(holder(folder.path()), None, "{text:?}");
        }
    }
}
