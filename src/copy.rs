//! Copies of a store: what a backup consists of, and how it is told from a half-made one.
//!
//! A backup is a folder with the store in `store/` and, written last, `manifest.json`: what is in it, every
//! file with its size and SHA-256 (`sha256sum` gives the same), and a checksum of the manifest itself. So a
//! backup without a manifest was not finished, and a changed bit anywhere is found before the copy is used.
//!
//! `farebox backup` makes it, `farebox restore` and `farebox check` read it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use farebox_engine::LedgerError;
use sha2::{Digest, Sha256};

mod manifest;

pub use manifest::{Facts, FileEntry, MANIFEST, Manifest, STORE};

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Files of a store that mean nothing in a copy: RocksDB's lock and its own log.
const LEFT_OUT: [&str; 2] = ["LOCK", "LOG"];

/// Why a copy cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no backup here.
    #[error("{}: found no folder, expected a backup", path.display())]
    NoFolder {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The manifest was never written.
    #[error(
        "{}: found no {MANIFEST}: the backup was not finished, or this is none; take another one",
        path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// The manifest is damaged, or of another version.
    #[error("{}: found {found}, expected {expected}", path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A file is not what the manifest says.
    #[error("{}: found {found}, expected {expected}; use another backup", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// Where a copy should go, something is already.
    #[error("{}: found something there, expected no such folder, or an empty one; nothing is overwritten", path.display())]
    TargetTaken {
        /// The folder.
        path: PathBuf,
    },
    /// The copy holds other books than the manifest says.
    #[error("{}: found books that end with frame {found}, expected frame {expected}", path.display())]
    OtherBooks {
        /// The store.
        path: PathBuf,
        /// The last frame.
        found: u64,
        /// The manifest's.
        expected: u64,
    },
    /// The disk failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The books in the copy cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl CopyError {
    /// Whether what was named cannot be used, as opposed to a machine that failed.
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Ledger(_))
    }
}

/// Says of an error what was being done, and to what.
pub fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CopyError + use<'a> {
    move |cause| CopyError::Io { action, path: path.into(), cause }
}

/// Refuses a path where anything is already, but for an empty folder.
pub fn must_be_free(path: &Path) -> Result<(), CopyError> {
    if fs::symlink_metadata(path).is_ok() {
        let taken = || CopyError::TargetTaken { path: path.into() };
        let mut entries = fs::read_dir(path).map_err(|_| taken())?;
        if entries.next().is_some() {
            return Err(taken());
        }
    }
    Ok(())
}

/// How many bytes [`copy_store`] would copy.
pub fn store_bytes(from: &Path) -> Result<u64, CopyError> {
    let copied = names(from)?.into_iter().filter(|name| !LEFT_OUT.contains(&name.as_str()));
    copied.map(|name| Ok(fs::metadata(from.join(name)).map_err(io_error("look at", from))?.len())).sum()
}

/// Copies the files of `from` into the new folder `to`, each synced, and lists them by name. `copied` is told of bytes.
pub fn copy_store(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> Result<Vec<FileEntry>, CopyError> {
    fs::create_dir(to).map_err(io_error("make the folder", to))?;
    let mut files = Vec::new();
    for name in names(from)? {
        if !LEFT_OUT.contains(&name.as_str()) {
            files.push(copy_file(&from.join(&name), &to.join(&name), name, copied)?);
        }
    }
    sync_folder(to)?;
    Ok(files)
}

/// The names of all entries of a folder, sorted.
pub fn names(folder: &Path) -> Result<Vec<String>, CopyError> {
    let failed = || io_error("list", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn copy_file(
    from: &Path,
    to: &Path,
    name: String,
    copied: &mut dyn FnMut(u64),
) -> Result<FileEntry, CopyError> {
    let mut target = File::create_new(to).map_err(io_error("make", to))?;
    let mut hash = Sha256::new();
    let bytes = read_all(from, |chunk| {
        hash.update(chunk);
        copied(chunk.len() as u64);
        target.write_all(chunk).map_err(io_error("write", to))
    })?;
    target.sync_all().map_err(io_error("sync", to))?;
    Ok(FileEntry { name, bytes, sha256: hex(&hash.finalize()) })
}

/// Looks whether a file is what a manifest says.
pub fn verify_file(
    folder: &Path,
    expected: &FileEntry,
    verified: &mut dyn FnMut(u64),
) -> Result<(), CopyError> {
    let path = folder.join(&expected.name);
    let bad = |found: String, expected: String| CopyError::BadFile { path: path.clone(), found, expected };
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(bad("no file".into(), "one".into()));
        }
        Err(error) => return Err(io_error("look at", &path)(error)),
    };
    if found.len() != expected.bytes {
        return Err(bad(format!("{} bytes", found.len()), expected.bytes.to_string()));
    }
    let mut hash = Sha256::new();
    read_all(&path, |chunk| {
        hash.update(chunk);
        verified(chunk.len() as u64);
        Ok(())
    })?;
    let sha256 = hex(&hash.finalize());
    if sha256 == expected.sha256 { Ok(()) } else { Err(bad(sha256, expected.sha256.clone())) }
}

/// Gives a file's bytes to `take`, and their number back.
fn read_all(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), CopyError>) -> Result<u64, CopyError> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let (mut bytes, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk).map_err(io_error("read", path))? {
            0 => return Ok(bytes),
            read => {
                take(&chunk[..read])?;
                bytes += read as u64;
            }
        }
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), CopyError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync", path))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
