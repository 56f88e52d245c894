//! The manifest of a backup.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CopyError, hex, io_error, names, sync_folder, verify_file};

/// Its name in a backup's folder.
pub const MANIFEST: &str = "manifest.json";
/// The name of the store's folder beside it.
pub const STORE: &str = "store";
/// Its name before it is whole.
const NEW_MANIFEST: &str = "manifest.json.new";
/// The format that this program writes and reads.
const FORMAT: u32 = 1;
/// The most bytes of a manifest: some 100,000 files.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The version of this list.
    pub format: u32,
    /// The version of the store.
    pub store_version: u32,
    /// The chain that the books are about.
    pub chain_id: u64,
    /// The epoch of the writer then.
    pub epoch: u64,
    /// The last frame.
    pub last_frame: u64,
    /// When it was taken, in Unix seconds.
    pub taken_at: u64,
    /// How many channels it holds, closed ones too.
    pub channels: u64,
    /// Every file of the store, by name.
    pub files: Vec<FileEntry>,
    /// SHA-256 of this list as compact JSON, with this field empty.
    pub checksum: String,
}

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in lowercase hex.
    pub sha256: String,
}

/// What is known of the books besides their files.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub store_version: u32,
    pub chain_id: u64,
    pub epoch: u64,
    pub last_frame: u64,
    pub taken_at: u64,
    pub channels: u64,
}

impl Manifest {
    /// A list of these files.
    pub fn new(facts: Facts, files: Vec<FileEntry>) -> Self {
        let Facts { store_version, chain_id, epoch, last_frame, taken_at, channels } = facts;
        let mut manifest = Self {
            format: FORMAT,
            store_version,
            chain_id,
            epoch,
            last_frame,
            taken_at,
            channels,
            files,
            checksum: String::new(),
        };
        manifest.checksum = manifest.computed();
        manifest
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn computed(&self) -> String {
        let blank = Self { checksum: String::new(), ..self.clone() };
        hex(&Sha256::digest(serde_json::to_vec(&blank).expect("numbers and strings are JSON")))
    }

    /// Writes it into a backup's folder, as the last step: whole, synced, and then under its name.
    pub fn write(&self, backup: &Path) -> Result<(), CopyError> {
        let (new, path) = (backup.join(NEW_MANIFEST), backup.join(MANIFEST));
        let text = serde_json::to_vec_pretty(self).expect("numbers and strings are JSON");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.map_err(io_error("write", &new))?;
        fs::rename(&new, &path).map_err(io_error("name", &path))?;
        sync_folder(backup)
    }

    /// Reads that of a backup's folder.
    pub fn read(backup: &Path) -> Result<Self, CopyError> {
        if !backup.is_dir() {
            return Err(CopyError::NoFolder { path: backup.into() });
        }
        let path = backup.join(MANIFEST);
        let bad =
            |found: String, expected: String| CopyError::BadManifest { path: path.clone(), found, expected };
        let size = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CopyError::Unfinished { path: backup.into() });
            }
            Err(error) => return Err(io_error("look at", &path)(error)),
        };
        if size > MANIFEST_BYTES_MAX {
            return Err(bad(format!("{size} bytes"), format!("at most {MANIFEST_BYTES_MAX}")));
        }
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("no list of files ({error})"), "a manifest".into()))?;
        if manifest.format != FORMAT {
            return Err(bad(format!("format {}", manifest.format), format!("format {FORMAT}")));
        }
        let computed = manifest.computed();
        if manifest.checksum != computed {
            return Err(bad(format!("checksum {:?}", manifest.checksum), computed));
        }
        Ok(manifest)
    }

    /// Compares the store beside it with the list: every file, and none besides. `verified` is told of bytes.
    pub fn verify(&self, backup: &Path, verified: &mut dyn FnMut(u64)) -> Result<(), CopyError> {
        let store = backup.join(STORE);
        self.files.iter().try_for_each(|file| verify_file(&store, file, verified))?;
        let known = |name: &String| self.files.iter().any(|file| file.name == *name);
        match names(&store)?.into_iter().find(|name| !known(name)) {
            Some(name) => Err(CopyError::BadFile {
                path: store.join(name),
                found: "a file".into(),
                expected: "none of this name".into(),
            }),
            None => Ok(()),
        }
    }
}
