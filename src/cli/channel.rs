//! `farebox channel ID`: one channel with its history from the journal; beside a running server or without one. Changes
//! nothing.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use farebox_engine::core::units::{B256, ChannelId};
use farebox_engine::ledger::recover;
use farebox_engine::{Channel, LedgerError, LedgerRead, RocksLedger};
use serde_json::{Value, json};

use super::{End, end_with, load_config};
use crate::admin::channel_history;
use crate::config::Ledger;
use crate::view::ChannelView;

/// Why it is not shown.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("the id is malformed: found {found:?}, expected 0x and 64 hex digits")]
    BadId { found: String },
    #[error("the books hold no channel {0}")]
    Unknown(ChannelId),
    #[error("the channel {0} closed long ago: only a tombstone of it is kept")]
    Retired(ChannelId),
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Prints the channel.
pub fn run(config: &Path, id: &str, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    match show(&config.ledger, id, as_json, io::stdout().lock()) {
        Ok(()) => End::Done,
        Err(error @ (ShowError::BadId { .. } | ShowError::Unknown(_) | ShowError::Retired(_))) => {
            end_with(End::Unusable, &error)
        }
        Err(error) => end_with(End::CannotStart, &error),
    }
}

fn show(ledger: &Ledger, id: &str, as_json: bool, output: impl Write) -> Result<(), ShowError> {
    let Ledger::RocksDb(path) = ledger else { return Err(ShowError::Volatile) };
    let digits = id.strip_prefix("0x").filter(|digits| digits.len() == 64);
    let parsed = digits.and_then(|digits| digits.parse::<B256>().ok()).map(ChannelId);
    let channel = parsed.ok_or_else(|| ShowError::BadId { found: id.chars().take(80).collect() })?;
    let view = RocksLedger::open_read_only(path)?;
    let books = recover(&view)?;
    let Some(stored) = books.load(&view, channel)? else {
        let is_retired = view.tombstone(channel)?.is_some();
        return Err(if is_retired { ShowError::Retired(channel) } else { ShowError::Unknown(channel) });
    };
    let shown = ChannelView::from(&Channel::from(&stored));
    let history = channel_history(path, channel)?;
    let mut output = BufWriter::new(output);
    if as_json {
        let document = json!({ "channel": shown, "history": history });
        serde_json::to_writer(&mut output, &document).map_err(io::Error::from)?;
        writeln!(output)?;
    } else {
        let fields = serde_json::to_value(&shown).map_err(io::Error::from)?;
        print(&fields, &history, &mut output)?;
    }
    output.flush()?;
    Ok(())
}

fn print(fields: &Value, history: &Value, output: &mut impl Write) -> io::Result<()> {
    for (name, value) in fields.as_object().into_iter().flatten() {
        writeln!(output, "{name:>18}  {}", plain(value))?;
    }
    writeln!(output, "\nframe {} to {} of the journal:", plain(&history["fromFrame"]), history["toFrame"])?;
    for event in history["events"].as_array().into_iter().flatten() {
        let amount = ["amount", "deposit", "captured", "capture", "settled"].map(|name| &event[name]);
        let amount = amount.into_iter().find(|value| !value.is_null());
        writeln!(
            output,
            "{:>10}  {:>10}  {:<22}  {}",
            plain(&event["frame"]),
            plain(&event["at"]),
            plain(&event["event"]),
            amount.map_or_else(String::new, plain)
        )?;
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
