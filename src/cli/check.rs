//! `farebox check`: reads everything in a store or a backup, and says what is wrong. Changes nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use farebox_engine::ledger::{Finding, LedgerRead, Place, Summary, check};
use farebox_engine::verifier::SIGNER_TABLES_BYTES_MAX;
use farebox_engine::{LedgerError, RocksLedger, verifier_from_environment};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{End, end_with, load_config};
use crate::config::Ledger;
use crate::copy::{CopyError, MANIFEST, Manifest, STORE};

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What is checked.
struct Target {
    /// The store.
    store: PathBuf,
    /// The backup around it.
    backup: Option<PathBuf>,
    /// The chain that its channels must live on, if that is known.
    chain_id: Option<u64>,
}

/// Checks the configured ledger, or what lies in a folder.
pub fn run(config: Option<&Path>, path: Option<&Path>, as_json: bool) -> End {
    let verifier = match verifier_from_environment(SIGNER_TABLES_BYTES_MAX) {
        Ok(verifier) => verifier,
        Err(error) => return end_with(End::Refused, &error),
    };
    let target = match (config.map(load_config), path) {
        (Some(Err(error)), _) => return end_with(End::Refused, &error),
        (Some(Ok(config)), _) => match config.ledger {
            Ledger::RocksDb(store) => Target { store, backup: None, chain_id: Some(config.chain.id.0) },
            Ledger::Memory => return end_with(End::Refused, &CheckError::Volatile),
        },
        (None, path) => Target::in_folder(path.unwrap_or(Path::new("."))),
    };
    let mut summary = Summary::default();
    if let Err(error) = check_target(&target, &verifier, &mut summary) {
        return end_with(End::CannotStart, &error);
    }
    let is_reconciled = target.backup.is_some() || !RocksLedger::is_unreconciled(&target.store);
    let mut output = io::stdout().lock();
    let written = if as_json {
        writeln!(output, "{:#}", as_value(&summary, is_reconciled))
    } else {
        print(&summary, is_reconciled, &mut output)
    };
    if let Err(error) = written.and_then(|()| output.flush()) {
        return end_with(End::CannotStart, &error);
    }
    if summary.is_sound() { End::Done } else { End::Failed }
}

impl Target {
    /// A backup, whole or not, or a store.
    fn in_folder(path: &Path) -> Self {
        let store = path.join(STORE);
        if path.join(MANIFEST).exists() || store.is_dir() {
            return Self { store, backup: Some(path.into()), chain_id: None };
        }
        Self { store: path.into(), backup: None, chain_id: None }
    }
}

fn check_target(
    target: &Target,
    verifier: &farebox_engine::Verifier,
    summary: &mut Summary,
) -> Result<(), CheckError> {
    let manifest = target.backup.as_deref().map(|backup| {
        let manifest = Manifest::read(backup)?;
        let mut progress = Progress::new("verifying", manifest.bytes());
        manifest.verify(backup, &mut |bytes| progress.add(bytes)).map(|()| manifest)
    });
    match RocksLedger::open_read_only(&target.store) {
        Ok(view) => *summary = check(&view as &dyn LedgerRead, verifier),
        Err(error @ LedgerError::NotFound { .. }) if target.backup.is_none() => return Err(error.into()),
        Err(LedgerError::CorruptFrame { sequence, what }) => summary.note(Place::Frame(sequence), what),
        Err(error) => summary.note(Place::Store, error),
    }
    let mut chain_id = target.chain_id;
    match manifest {
        None => {}
        Some(Ok(manifest)) => {
            chain_id = Some(manifest.chain_id);
            check_manifest(&manifest, summary);
        }
        Some(Err(error)) => summary.note(Place::Store, in_a_backup(&error)),
    }
    if let Some(expected) = chain_id {
        let others: Vec<_> =
            summary.chains.iter().map(|chain| chain.0).filter(|id| *id != expected).collect();
        for found in others {
            summary.note(Place::Store, format!("it holds channels of chain {found}, expected {expected}"));
        }
    }
    Ok(())
}

fn check_manifest(manifest: &Manifest, summary: &mut Summary) {
    let pairs = [
        ("channels", summary.channels, manifest.channels),
        ("last frame", summary.last_frame, manifest.last_frame),
    ];
    for (name, found, expected) in pairs {
        if summary.is_sound() && found != expected {
            summary.note(Place::Store, format!("{name}: found {found}, its manifest says {expected}"));
        }
    }
}

fn in_a_backup(error: &CopyError) -> String {
    format!("this backup must not be used: {error}")
}

/// What to do about a finding.
fn advice(finding: &Finding, mark: u64) -> &'static str {
    match finding.place {
        Place::Store => "do not serve it; restore the newest backup that `farebox check` finds sound",
        Place::Frame(frame) if frame <= mark => {
            "balances do not depend on it, and servers start; the accounting journal is incomplete: look for this frame in a backup"
        }
        Place::Frame(_) => {
            "steps that were acknowledged are missing, and no server starts; restore the newest sound backup and reconcile it"
        }
        Place::Channel(_) => {
            "do not serve it; compare the channel with the chain; restore the newest sound backup and reconcile it"
        }
    }
}

fn place(finding: &Finding) -> String {
    match finding.place {
        Place::Store => "store".into(),
        Place::Frame(frame) => format!("frame {frame}"),
        Place::Channel(channel) => format!("channel {channel}"),
    }
}

fn print(summary: &Summary, is_reconciled: bool, output: &mut impl Write) -> io::Result<()> {
    let Summary { first_frame, last_frame, frames, events, mark, .. } = summary;
    writeln!(
        output,
        "journal: frames {first_frame} to {last_frame} ({frames} frames, {events} events), images cover frame {mark}"
    )?;
    if let Some(torn) = summary.torn_frame {
        writeln!(output, "  frame {torn} is torn; nobody was told of it, and the next start removes it")?;
    }
    let Summary { channels, open, closing, closed, vouchers, .. } = summary;
    writeln!(output, "channels: {channels} ({open} open, {closing} closing, {closed} closed)")?;
    if summary.tombstones > 0 {
        writeln!(output, "retired: {} channels, of which a tombstone is left", summary.tombstones)?;
    }
    writeln!(output, "vouchers: {vouchers} kept, with a signature that holds")?;
    if summary.settled_above_spent > 0 {
        let count = summary.settled_above_spent;
        writeln!(
            output,
            "note: of {count} channels the chain paid out more than was charged here; somebody else settled, or the books are older than the chain"
        )?;
    }
    if !is_reconciled {
        writeln!(
            output,
            "note: restored from a backup; no server starts on it before `farebox restore --reconcile`"
        )?;
    }
    for finding in &summary.findings {
        writeln!(output, "WRONG: {}: {}", place(finding), finding.what)?;
        writeln!(output, "  -> {}", advice(finding, summary.mark))?;
    }
    let total = summary.findings.len() as u64 + summary.findings_left_out;
    match total {
        0 => writeln!(output, "sound"),
        _ => writeln!(output, "{total} things are wrong"),
    }
}

fn as_value(summary: &Summary, is_reconciled: bool) -> Value {
    let finding = |finding: &Finding| {
        let mut value = json!({ "what": finding.what, "advice": advice(finding, summary.mark) });
        match finding.place {
            Place::Store => value["place"] = "store".into(),
            Place::Frame(frame) => {
                value["place"] = "frame".into();
                value["frame"] = frame.into();
            }
            Place::Channel(channel) => {
                value["place"] = "channel".into();
                value["channel"] = channel.to_string().into();
            }
        }
        value
    };
    json!({
        "sound": summary.is_sound(),
        "reconciled": is_reconciled,
        "epoch": summary.epoch,
        "firstFrame": summary.first_frame,
        "lastFrame": summary.last_frame,
        "frames": summary.frames,
        "events": summary.events,
        "coveredFrame": summary.mark,
        "tornFrame": summary.torn_frame,
        "channels": summary.channels,
        "open": summary.open,
        "closing": summary.closing,
        "closed": summary.closed,
        "tombstones": summary.tombstones,
        "vouchers": summary.vouchers,
        "settledAboveSpent": summary.settled_above_spent,
        "findings": summary.findings.iter().map(finding).collect::<Vec<_>>(),
        "findingsLeftOut": summary.findings_left_out,
    })
}
