//! `farebox restore`: puts a backup in the place of lost books, and compares them with the chain.
//!
//! The two steps may be one command or two. Between them lies the mark that every backup carries: a server
//! does not start on such books, because they may be older than the chain.

use std::fs;
use std::path::{Path, PathBuf};

use farebox_core::units::ChannelId;
use farebox_engine::ledger::recover;
use farebox_engine::{Engine, EngineError, LedgerError, RocksLedger, SystemClock};
use farebox_settlement::{Conflict, Correction, ReconcileError, Reconciliation, Retire, reconcile};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{End, end_with, load_config};
use crate::config::{Config, Ledger};
use crate::copy::{CopyError, Manifest, STORE, copy_store, io_error, must_be_free, sync_folder};
use crate::serve::engine_config;
use crate::serve::settlement::{SettlementError, check_chain, client, settings};

/// Appended to the ledger's path while a backup is copied there.
const UNFINISHED: &str = ".restoring";

/// Why nothing was restored, or not reconciled.
#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error("ledger.kind: found \"memory\", expected \"rocksdb\": books in memory cannot be restored")]
    Volatile,
    #[error("the backup is of chain {found}, chain.id says {expected}")]
    OtherChain { found: u64, expected: u64 },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("ledger.path: {0}")]
    Ledger(#[from] LedgerError),
    #[error("cannot start the engine: {0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error("the comparison with the chain did not come to its end and can be begun again: {0}")]
    Reconcile(#[from] ReconcileError),
    #[error("books and chain cannot both be right about {count} channels: the books stay closed")]
    Conflicts { count: usize },
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

impl RestoreError {
    fn end(&self) -> End {
        match self {
            Self::Volatile => End::Refused,
            Self::Settlement(error) if error.is_refusal() => End::Refused,
            Self::OtherChain { .. } => End::Unusable,
            Self::Copy(error) if error.is_bad_input() => End::Unusable,
            Self::Conflicts { .. } => End::Failed,
            _ => End::CannotStart,
        }
    }
}

/// Restores, reconciles, or both.
pub fn run(config: &Path, from: Option<&Path>, reconcile: Option<Retire>, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    let done = match &config.ledger {
        Ledger::RocksDb(path) => {
            from.map_or(Ok(()), |from| restore(&config, from, path, as_json)).and_then(|()| {
                reconcile.map_or(Ok(()), |retire| reconcile_store(&config, path, retire, as_json))
            })
        }
        Ledger::Memory => Err(RestoreError::Volatile),
    };
    match done {
        Ok(()) => End::Done,
        Err(error) => end_with(error.end(), &error),
    }
}

/// Copies a backup to where the books belong.
fn restore(config: &Config, from: &Path, path: &Path, as_json: bool) -> Result<(), RestoreError> {
    let manifest = Manifest::read(from)?;
    let (found, expected) = (manifest.chain_id, config.chain.id.0);
    if found != expected {
        return Err(RestoreError::OtherChain { found, expected });
    }
    // Refused before anything is copied.
    must_be_free(path)?;
    let mut progress = Progress::new("verifying", manifest.bytes());
    manifest.verify(from, &mut |bytes| progress.add(bytes))?;
    drop(progress);
    let unfinished = unfinished(path);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error("remove what an earlier try left in", &unfinished)(error).into());
        }
        _ => {}
    }
    let absolute = std::path::absolute(path).map_err(io_error("find", path))?;
    let parent = absolute.parent().unwrap_or(&absolute);
    fs::create_dir_all(parent).map_err(io_error("make the folder", parent))?;
    let mut progress = Progress::new("copying", manifest.bytes());
    let files = copy_store(&from.join(STORE), &unfinished, &mut |bytes| progress.add(bytes))?;
    drop(progress);
    // What was verified above is what was copied.
    if let Some((found, expected)) = files.iter().zip(&manifest.files).find(|(copy, listed)| copy != listed) {
        let path = from.join(STORE).join(&expected.name);
        let (found, expected) = (found.sha256.clone(), expected.sha256.clone());
        return Err(CopyError::BadFile { path, found, expected }.into());
    }
    let last_frame = recover(&RocksLedger::open_read_only(&unfinished)?)?.head.sequence;
    if last_frame != manifest.last_frame {
        let expected = manifest.last_frame;
        return Err(CopyError::OtherBooks { path: unfinished, found: last_frame, expected }.into());
    }
    // An empty folder gives way to a folder; anything else does not.
    fs::rename(&unfinished, path).map_err(io_error("name", path))?;
    sync_folder(parent)?;
    if as_json {
        let (channels, taken_at) = (manifest.channels, manifest.taken_at);
        println!(
            "{}",
            json!({ "restored": path, "channels": channels, "lastFrame": last_frame, "takenAt": taken_at })
        );
        return Ok(());
    }
    println!(
        "{}: restored {} channels up to frame {last_frame}, as they were at Unix time {}",
        path.display(),
        manifest.channels,
        manifest.taken_at
    );
    println!("no server starts on them before `farebox restore --reconcile` compared them with the chain");
    Ok(())
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Compares the books with the chain. When they agree, servers may start on them.
fn reconcile_store(config: &Config, path: &Path, retire: Retire, as_json: bool) -> Result<(), RestoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(RestoreError::Runtime)?;
    let done = runtime.block_on(async {
        let client = client(config)?;
        check_chain(config, &client).await?;
        let ledger = RocksLedger::open_restored(path)?;
        let engine = Engine::start(engine_config(config), ledger, SystemClock)?;
        let done = reconcile(&engine, &client, settings(config), retire).await;
        // What was told is on disk before anybody hears of it.
        engine.shutdown().await?;
        Ok::<_, RestoreError>(done?)
    })?;
    if as_json {
        println!("{}", view(&done))
    } else {
        print(&done)
    }
    if !done.conflicts.is_empty() {
        return Err(RestoreError::Conflicts { count: done.conflicts.len() });
    }
    RocksLedger::mark_reconciled(path)?;
    if !as_json {
        println!("{}: agrees with the chain; a server may start on it", path.display());
    }
    Ok(())
}

fn view(done: &Reconciliation) -> Value {
    let told = |channel: &ChannelId, what: String| json!({ "channelId": channel.to_string(), "what": what });
    let corrections = done.corrections.iter().map(|(channel, what)| told(channel, say(what)));
    let conflicts = done.conflicts.iter().map(|(channel, what)| told(channel, say_conflict(what)));
    json!({
        "block": done.block, "compared": done.compared, "leftOut": done.left_out, "agrees": done.conflicts.is_empty(),
        "corrections": corrections.collect::<Vec<_>>(), "conflicts": conflicts.collect::<Vec<_>>(),
    })
}

fn print(done: &Reconciliation) {
    let Reconciliation { block, compared, corrections, conflicts, left_out } = done;
    for (channel, correction) in corrections {
        println!("corrected: {channel}: {}", say(correction));
    }
    for (channel, conflict) in conflicts {
        println!("CONFLICT: {channel}: {}", say_conflict(conflict));
    }
    if *left_out > 0 {
        println!("and {left_out} more");
    }
    let (corrected, conflicting) = (corrections.len(), conflicts.len());
    println!(
        "compared {compared} channels with the chain at block {block}: {corrected} corrections, {conflicting} conflicts"
    );
}

fn say(correction: &Correction) -> String {
    match correction {
        Correction::Deposit { was, is } => format!("deposit {was} -> {is}"),
        Correction::Settled { was, is } => format!("settled {was} -> {is}"),
        Correction::CloseRequested { at } => format!("the payer asked to close at Unix time {}", at.0),
        Correction::CloseRequestCancelled => "the payer took the close request back".into(),
        Correction::Closed { captured, lost } => {
            format!("closed on chain, {captured} captured, {lost} spent and not claimed")
        }
        Correction::Retired { settled, spent } => format!(
            "is being closed: {settled} were paid out, these books charged {spent}; its client opens another one"
        ),
    }
}

fn say_conflict(conflict: &Conflict) -> String {
    match conflict {
        Conflict::Elsewhere { chain_id } => {
            format!("it is of chain {}, in an escrow that is not configured for it", chain_id.0)
        }
        Conflict::DepositBehind { books, chain } => {
            format!(
                "the books know a deposit of {books}, the chain of {chain}: a node that is behind, or another chain"
            )
        }
        Conflict::SettledBehind { books, chain } => {
            format!(
                "the books know of {books} settled, the chain of {chain}: a node that is behind, or another chain"
            )
        }
        Conflict::Unknown => "the escrow does not know it, and no event says how it ended".into(),
    }
}
