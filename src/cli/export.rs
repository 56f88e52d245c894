//! `farebox export`: the journal and what settlement sent, as rows for the accounting. Reads the books beside a running
//! server or without one, and changes nothing.
//!
//! One row is one money event: what was accepted, charged, set aside, captured, settled, closed and refunded, and for
//! every claim what was intended, what became of its transaction, and the fee. Rows come in the order of the journal.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use farebox_engine::core::challenge::rfc3339;
use farebox_engine::core::channel::{ChainPosition, Event, RequestKey};
use farebox_engine::core::journal::{Head, Record, Replay, Step};
use farebox_engine::core::units::{Amount, ChannelId, UnixSeconds};
use farebox_engine::ledger::{FRAMES_PAGE_MAX, LedgerRead, RocksView};
use farebox_engine::{LedgerError, RocksLedger};
use farebox_settlement::{BooksAtRest, Intent, SentFate, SentTransaction};
use serde::Serialize;

use super::{End, end_with, load_config};
use crate::config::Ledger;

/// In which form rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Which rows are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// From this time on.
    pub from: Option<UnixSeconds>,
    /// Before this time.
    pub to: Option<UnixSeconds>,
    /// Of this channel alone.
    pub channel: Option<ChannelId>,
}

/// A time on the command line: Unix seconds, or RFC 3339.
pub fn time(text: &str) -> Result<UnixSeconds, String> {
    let number = text.parse().map(UnixSeconds).ok();
    let written = || rfc3339::parse(text).map(|time| UnixSeconds(time.0 / 1_000));
    number
        .or_else(written)
        .ok_or_else(|| "expected Unix seconds or a time such as 2027-01-01T00:00:00Z".into())
}

/// A channel on the command line.
pub fn channel(text: &str) -> Result<ChannelId, String> {
    let id =
        text.strip_prefix("0x").filter(|digits| digits.len() == 64).and_then(|digits| digits.parse().ok());
    id.map(ChannelId).ok_or_else(|| "expected 0x and 64 hex digits".into())
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
    #[error("frame {0} cannot be read; `farebox check` says more")]
    Damaged(u64),
    #[error("what is about to be sent cannot be read: {0}")]
    Intents(#[from] farebox_settlement::BooksAtRestError),
}

/// One money event. Amounts are base units; what a row does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Unix seconds. Of events that carry no time: that of the event before.
    time: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    channel_id: String,
    /// Frame and number of the event in its channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    frame: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sequence: String,
    /// What moved.
    #[serde(skip_serializing_if = "String::is_empty")]
    amount: String,
    /// The new total, where the event names one.
    #[serde(skip_serializing_if = "String::is_empty")]
    total: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    refund: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    units: String,
    /// The paid request.
    #[serde(skip_serializing_if = "String::is_empty")]
    request: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    block: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    transaction: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fee: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fee_token: String,
}

/// The columns, in the order of [`Row::fields`].
const COLUMNS: &str =
    "time,kind,channelId,frame,sequence,amount,total,refund,units,request,block,transaction,fee,feeToken";

impl Row {
    fn fields(&self) -> [&str; 13] {
        [
            self.kind,
            &self.channel_id,
            &self.frame,
            &self.sequence,
            &self.amount,
            &self.total,
            &self.refund,
            &self.units,
            &self.request,
            &self.block,
            &self.transaction,
            &self.fee,
            &self.fee_token,
        ]
    }
}

/// Prints the rows.
pub fn run(config: &Path, format: Format, wanted: Wanted) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    let Ledger::RocksDb(path) = &config.ledger else {
        return end_with(End::CannotStart, &ExportError::Volatile);
    };
    let exported = RocksLedger::open_read_only(path).map_err(ExportError::from).and_then(|view| {
        let mut output = Output { format, wanted, output: BufWriter::new(io::stdout().lock()) };
        export(&view, &mut output)
    });
    match exported {
        Ok(()) => End::Done,
        Err(error) => end_with(End::CannotStart, &error),
    }
}

fn export(view: &RocksView, output: &mut Output<impl Write>) -> Result<(), ExportError> {
    if output.format == Format::Csv {
        writeln!(output.output, "{COLUMNS}")?;
    }
    let mut claims = claims(view)?.into_iter().peekable();
    let (mut after, mut time, mut replay) = (0, 0, None);
    loop {
        let page = view.frames_after(after, FRAMES_PAGE_MAX)?;
        let is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            after = stored.sequence;
            let decoded = match &mut replay {
                Some(replay) => Replay::feed(replay, stored.sequence, &stored.bytes),
                None => {
                    // Older frames may be gone: the first one that is kept is believed as it is.
                    let head = before(stored.sequence, &stored.bytes).ok_or(ExportError::Damaged(after))?;
                    if head.sequence > 0 {
                        let first = stored.sequence;
                        eprintln!(
                            "farebox: the journal begins at frame {first}; what was before is not kept"
                        );
                    }
                    replay.insert(Replay::after(head)).feed(stored.sequence, &stored.bytes)
                }
            };
            let frame = match decoded {
                Ok(Step::Apply(frame)) => frame,
                // A torn last frame was never acknowledged; one inside says so at the next.
                Ok(Step::Damaged(_)) => continue,
                Err(_) => return Err(ExportError::Damaged(after)),
            };
            for record in &frame.records {
                time = record.event.at().map_or(time, |at| at.0.max(time));
                while let Some(claim) = claims.next_if(|claim| claim.time <= time) {
                    output.print(&claim)?;
                }
                output.print(&row(record, frame.sequence, time))?;
            }
        }
        if is_last {
            break;
        }
    }
    claims.try_for_each(|claim| output.print(&claim))?;
    Ok(output.output.flush()?)
}

/// What stands before the first frame that is kept.
fn before(sequence: u64, bytes: &[u8]) -> Option<Head> {
    let frame = farebox_engine::core::journal::decode(bytes).ok()?;
    let sequence = sequence.checked_sub(1)?;
    Some(Head { epoch: frame.epoch, sequence, link: frame.link, cursor: None })
}

struct Output<W> {
    format: Format,
    wanted: Wanted,
    output: W,
}

impl<W: Write> Output<W> {
    fn print(&mut self, row: &Row) -> io::Result<()> {
        let Wanted { from, to, channel } = self.wanted;
        let is_wanted = from.is_none_or(|from| row.time >= from.0)
            && to.is_none_or(|to| row.time < to.0)
            && channel.is_none_or(|channel| row.channel_id == channel.to_string());
        if !is_wanted {
            return Ok(());
        }
        match self.format {
            // Digits, hex and our own words: nothing needs a quote.
            Format::Csv => writeln!(self.output, "{},{}", row.time, row.fields().join(",")),
            Format::Jsonl => {
                serde_json::to_writer(&mut self.output, row)?;
                writeln!(self.output)
            }
        }
    }
}

/// One event of the journal.
fn row(record: &Record, frame: u64, time: u64) -> Row {
    let Record { channel, sequence, event } = record;
    let row = Row {
        time,
        channel_id: channel.to_string(),
        frame: frame.to_string(),
        sequence: sequence.to_string(),
        ..Row::default()
    };
    let text = |amount: &Amount| amount.to_string();
    let block = |position: &ChainPosition| position.block.to_string();
    let key = |key: &RequestKey| alloy::hex::encode(key.0);
    match event {
        Event::Opened { deposit, settled, position, .. } => {
            Row { kind: "opened", total: text(deposit), amount: text(settled), block: block(position), ..row }
        }
        Event::Accepted { amount, .. } => Row { kind: "accepted", total: text(amount), ..row },
        Event::VoucherKept { amount, .. } => Row { kind: "voucher_kept", total: text(amount), ..row },
        Event::Charged { key: name, amount, units, .. } => Row {
            kind: "charged",
            amount: text(amount),
            units: units.to_string(),
            request: name.as_ref().map(key).unwrap_or_default(),
            ..row
        },
        Event::Reserved { key: name, amount, .. } => {
            Row { kind: "reserved", amount: text(amount), request: key(name), ..row }
        }
        Event::Captured { key: name, amount, units, finished, .. } => Row {
            kind: if *finished { "captured_finally" } else { "captured" },
            amount: text(amount),
            units: units.to_string(),
            request: key(name),
            ..row
        },
        Event::Released { key: name, .. } => Row { kind: "released", request: key(name), ..row },
        Event::ToppedUp { deposit } => Row { kind: "topped_up", total: text(deposit), ..row },
        Event::CloseRequested { position, .. } => {
            Row { kind: "close_requested", block: block(position), ..row }
        }
        Event::CloseRequestCancelled { position } => {
            Row { kind: "close_request_cancelled", block: block(position), ..row }
        }
        Event::Settled { settled } => Row { kind: "settled", total: text(settled), ..row },
        Event::CloseStarted { capture } => Row { kind: "close_started", total: text(capture), ..row },
        Event::CloseAborted => Row { kind: "close_aborted", ..row },
        Event::Closed { captured, refunded, position, .. } => Row {
            kind: "closed",
            total: text(captured),
            refund: text(refunded),
            block: block(position),
            ..row
        },
        Event::Retired { .. } => Row { kind: "retired", ..row },
    }
}

/// What was sent: of every transaction a row a claim when it was signed, and one when its fate was known.
fn claims(view: &RocksView) -> Result<Vec<Row>, ExportError> {
    let mut rows = Vec::new();
    for sent in SentTransaction::all(view)? {
        rows.extend(intended(&sent.intent));
        rows.push(ended(&sent));
    }
    for intent in BooksAtRest::intents(view)? {
        rows.extend(intended(&intent));
    }
    rows.sort_by_key(|row| row.time);
    Ok(rows)
}

fn intended(intent: &Intent) -> impl Iterator<Item = Row> {
    intent.calls.iter().map(|call| Row {
        time: intent.signed_at.0,
        kind: if call.is_close { "claim_close" } else { "claim_settle" },
        channel_id: call.channel.to_string(),
        total: call.capture.to_string(),
        transaction: format!("{:#x}", intent.tx_hash),
        ..Row::default()
    })
}

fn ended(sent: &SentTransaction) -> Row {
    let row = Row {
        time: sent.ended_at.0,
        kind: match sent.fate {
            SentFate::Succeeded(_) => "transaction_succeeded",
            SentFate::Reverted(_) => "transaction_reverted",
            SentFate::NeverMined => "transaction_never_mined",
        },
        transaction: format!("{:#x}", sent.intent.tx_hash),
        ..Row::default()
    };
    match sent.fate.execution() {
        Some(execution) => Row {
            block: execution.block.to_string(),
            fee: execution.fee().to_string(),
            fee_token: format!("{:#x}", sent.intent.fee_token),
            ..row
        },
        None => row,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_field_a_column() {
        let row = Row { kind: "charged", fee_token: "last".into(), ..Row::default() };
        let fields = row.fields();
        assert_eq!(fields.len() + 1, COLUMNS.split(',').count());
        assert_eq!((fields[0], fields[12]), ("charged", "last"));
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(time("1800000000"), Ok(UnixSeconds(1_800_000_000)));
        assert_eq!(time("2027-01-15T08:00:00Z"), Ok(UnixSeconds(1_800_000_000)));
        assert!(time("yesterday").is_err());
        assert!(channel("0x12").is_err());
    }
}
