//! `farebox backup`: copies the books into a folder, beside a running server or without one.
//!
//! Of a running server it asks the admin API for a snapshot, which lies in the store's own folder and costs the
//! server a flush; the copying is done here. Without a server it opens the store itself. The copy is then
//! opened and its journal followed, and only after that its manifest is written: a backup that has one is
//! whole.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::ledger::{Books, LedgerRead, RocksView, STORE_VERSION, discard_snapshot, recover};
use farebox_engine::{LedgerError, RocksLedger};
use serde_json::{Value, json};

use super::pages::pages;
use super::progress::Progress;
use super::{End, end_with, load_config};
use crate::config::{Config, Ledger};
use crate::copy::{
    CopyError, Facts, Manifest, STORE, copy_store, io_error, must_be_free, store_bytes, sync_folder,
};

/// How long a server may take to flush and to take a snapshot.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(600);
/// How long a connection to it may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The most bytes of its answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("ledger.kind: found \"memory\", expected \"rocksdb\": books in memory have no files to copy")]
    Volatile,
    #[error("ledger.path: {0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(
        "{locked}, and its admin API at {address} does not take a snapshot: {what} (server.admin_listen, or --admin, says where it is)"
    )]
    Admin { locked: LedgerError, address: SocketAddr, what: String },
    #[error("the server at {address} keeps its books in {}, expected {}", found.display(), expected.display())]
    OtherServer { address: SocketAddr, found: PathBuf, expected: PathBuf },
    #[error("the copy ends with frame {found}, it should hold frame {expected} at least")]
    TooShort { found: u64, expected: u64 },
}

/// Makes a backup.
pub fn run(config: &Path, to: &Path, admin: Option<SocketAddr>, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    match back_up(&config, to, admin.unwrap_or(config.server.admin_listen)) {
        Ok(manifest) => {
            let Manifest { last_frame, channels, files, .. } = &manifest;
            let (files, bytes) = (files.len(), manifest.bytes());
            if as_json {
                println!(
                    "{}",
                    json!({
                        "backup": to, "channels": channels, "lastFrame": last_frame, "takenAt": manifest.taken_at,
                        "files": files, "bytes": bytes,
                    })
                );
            } else {
                println!(
                    "{}: {channels} channels up to frame {last_frame}, {files} files, {bytes} bytes",
                    to.display()
                );
            }
            End::Done
        }
        Err(error @ BackupError::Volatile) => end_with(End::Refused, &error),
        Err(BackupError::Copy(error)) if error.is_bad_input() => end_with(End::Unusable, &error),
        Err(error) => end_with(End::CannotStart, &error),
    }
}

fn back_up(config: &Config, to: &Path, admin: SocketAddr) -> Result<Manifest, BackupError> {
    let Ledger::RocksDb(path) = &config.ledger else { return Err(BackupError::Volatile) };
    // The store first: a wrong path makes no folder.
    let before = RocksLedger::open_read_only(path)?.standing()?.last_frame;
    must_be_free(to)?;
    fs::create_dir_all(to).map_err(io_error("make the folder", to))?;
    let source = Source::of(path, admin)?;
    let taken_at = SystemClock.now().0;
    let store = to.join(STORE);
    let mut progress = Progress::new("copying", store_bytes(&source.folder)?);
    let files = copy_store(&source.folder, &store, &mut |bytes| progress.add(bytes))?;
    drop(progress);
    drop(source);
    let view = RocksLedger::open_read_only(&store)?;
    let books = recover(&view)?;
    let standing = view.standing()?;
    let last_frame = books.head.sequence;
    if last_frame < before {
        return Err(BackupError::TooShort { found: last_frame, expected: before });
    }
    let facts = Facts {
        store_version: STORE_VERSION,
        chain_id: config.chain.id.0,
        epoch: standing.epoch,
        last_frame,
        taken_at,
        channels: count(&view, &books)?,
    };
    drop(view);
    sync_folder(to)?;
    let manifest = Manifest::new(facts, files);
    manifest.write(to)?;
    // The folder itself must survive, too. It has a parent: it is not the root, which is never empty.
    let absolute = std::path::absolute(to).map_err(io_error("find", to))?;
    absolute.parent().map_or(Ok(()), sync_folder)?;
    Ok(manifest)
}

/// How many channels there are. All of them are read, and so are their checksums.
fn count(view: &RocksView, books: &Books) -> Result<u64, LedgerError> {
    pages(view, books).map(|page| Ok(page?.len() as u64)).sum()
}

/// A snapshot that is removed when it was copied.
struct Source {
    folder: PathBuf,
    store: PathBuf,
}

impl Source {
    /// Takes a snapshot: here, or in the process that holds the store.
    fn of(store: &Path, admin: SocketAddr) -> Result<Self, BackupError> {
        let folder = match RocksLedger::open(store) {
            Ok(ledger) => ledger.snapshots().take()?,
            Err(locked @ LedgerError::Locked { .. }) => {
                let found = match ask(admin) {
                    Ok(found) => found,
                    Err(what) => return Err(BackupError::Admin { locked, address: admin, what }),
                };
                let real = |path: &Path| path.canonicalize().map_err(io_error("find", path));
                let expected = real(store)?;
                if found.parent().map(real).transpose()?.as_ref() != Some(&expected) {
                    return Err(BackupError::OtherServer { address: admin, found, expected });
                }
                found
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { folder, store: store.into() })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Err(error) = discard_snapshot(&self.store) {
            tracing::warn!(%error, "a snapshot stays in the store's folder until the next one, or the next start");
        }
    }
}

/// Asks a server for a snapshot; gives its folder, or why there is none.
fn ask(address: SocketAddr) -> Result<PathBuf, String> {
    let answer = post(address).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its answer is no HTTP")?;
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| json!({}));
    match (head.split(' ').nth(1), body["snapshot"].as_str(), body["detail"].as_str()) {
        (Some("200"), Some(folder), _) => Ok(folder.into()),
        (_, _, Some(detail)) => Err(detail.into()),
        _ => Err(format!("it answers {:?}", head.lines().next().unwrap_or_default())),
    }
}

fn post(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
    stream.set_read_timeout(Some(SNAPSHOT_WAIT))?;
    stream.set_write_timeout(Some(CONNECT_WAIT))?;
    // HTTP/1.0: an answer of one piece, until the end.
    write!(
        stream,
        "POST /v1/snapshot HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
