//! `farebox reconcile`: compares books, journal and chain, names every channel and amount that differ, and changes nothing.
//!
//! The books are the images with what the journal says since; where the whole journal is kept, every channel is made anew
//! from its first event and held against them. The chain is read at one block. Beside a running server the chain may be
//! some blocks ahead of its books: what differs is looked at again before it is said.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use farebox_engine::core::channel::{Phase, State};
use farebox_engine::core::journal::{Head, Record, Replay, Step};
use farebox_engine::core::units::ChannelId;
use farebox_engine::ledger::{Books, FRAMES_PAGE_MAX, LedgerRead, RocksView, StoredChannel, recover};
use farebox_engine::{Channel, LedgerError, RocksLedger};
use farebox_settlement::{ClientError, Difference, differences};
use serde_json::json;

use super::pages::pages;
use super::{End, end_with, load_config};
use crate::config::{Config, Ledger};
use crate::serve::settlement::{SettlementError, client, settings};

/// How often what differs from the chain is looked at again.
const LOOKS_MAX: u32 = 5;
/// The pause before another look.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error("chain.rpc: {0}")]
    Client(#[from] ClientError),
    #[error("cannot {what}: {cause}")]
    System { what: &'static str, cause: io::Error },
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    channels: u64,
    /// The block of the chain's word.
    block: u64,
    /// Whether the journal reaches back to the first frame.
    is_whole: bool,
    found: Vec<(ChannelId, Found)>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Between books and chain.
    Chain(Difference),
    /// Between books and journal.
    Journal { what: &'static str, books: String, journal: String },
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chain(difference) => difference.fmt(f),
            Self::Journal { what, books, journal } => write!(f, "{what}: books {books}, journal {journal}"),
        }
    }
}

/// Compares, and prints what differs.
pub fn run(config: &Path, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    let report = match reconcile(&config) {
        Ok(report) => report,
        Err(error) => return end_with(End::CannotStart, &error),
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let printed = if as_json { print_json(&report, &mut output) } else { print(&report, &mut output) };
    if let Err(cause) = printed.and_then(|()| output.flush()) {
        return end_with(End::CannotStart, &ReconcileError::System { what: "write", cause });
    }
    if report.found.is_empty() { End::Done } else { End::Failed }
}

fn reconcile(config: &Config) -> Result<Report, ReconcileError> {
    let Ledger::RocksDb(path) = &config.ledger else { return Err(ReconcileError::Volatile) };
    let view = RocksLedger::open_read_only(path)?;
    let books = recover(&view)?;
    let mut report = Report::default();
    let journal = replay_all(&view, &books)?;
    report.is_whole = journal.is_some();
    if let Some(mut journal) = journal {
        for page in pages(&view, &books) {
            for stored in page? {
                match journal.remove(&stored.channel) {
                    Some(state) => compare(&stored, &state, &mut report.found),
                    None => report.found.push((stored.channel, nowhere("there", "nothing"))),
                }
            }
        }
        for (channel, state) in journal {
            // A retired channel has no image any more, but a tombstone.
            if view.tombstone(channel)?.is_none_or(|tombstone| tombstone.spent != state.spent) {
                report.found.push((channel, nowhere("nothing", "there")));
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| ReconcileError::System { what: "start the runtime", cause })?;
    runtime.block_on(compare_with_chain(config, path, &view, &books, &mut report))?;
    report.found.sort_by_key(|(channel, _)| *channel);
    Ok(report)
}

fn nowhere(books: &str, journal: &str) -> Found {
    Found::Journal { what: "the channel", books: books.into(), journal: journal.into() }
}

/// Every channel as the journal tells it from the first event on; `None` when older frames are gone.
fn replay_all(view: &RocksView, books: &Books) -> Result<Option<BTreeMap<ChannelId, State>>, LedgerError> {
    let mut states: BTreeMap<ChannelId, State> = BTreeMap::new();
    let (mut replay, mut after) = (Replay::after(Head::GENESIS), 0);
    loop {
        let page = view.frames_after(after, FRAMES_PAGE_MAX)?;
        let is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            if after == 0 && stored.sequence != 1 {
                return Ok(None);
            }
            after = stored.sequence;
            if after > books.head.sequence {
                // Written since the books were read.
                return Ok(Some(states));
            }
            let step = replay.feed(stored.sequence, &stored.bytes).map_err(|corruption| {
                LedgerError::CorruptFrame { sequence: after, what: corruption.to_string().into() }
            })?;
            let Step::Apply(frame) = step else { continue };
            for Record { channel, event, .. } in frame.records {
                match states.get_mut(&channel) {
                    Some(state) => state.evolve(&event),
                    None => states.extend(State::from_opened(&event).map(|state| (channel, state))),
                }
            }
        }
        if is_last {
            return Ok((after > 0 || books.head.sequence == 0).then_some(states));
        }
    }
}

fn compare(stored: &StoredChannel, journal: &State, found: &mut Vec<(ChannelId, Found)>) {
    let books = &stored.state;
    let amounts = [
        ("deposit", books.deposit, journal.deposit),
        ("settled", books.settled, journal.settled),
        ("accepted", books.accepted, journal.accepted),
        ("spent", books.spent, journal.spent),
        ("reserved", books.reserved(), journal.reserved()),
    ];
    for (what, books, journal) in amounts {
        if books != journal {
            let (books, journal) = (books.to_string(), journal.to_string());
            found.push((stored.channel, Found::Journal { what, books, journal }));
        }
    }
    let others = [
        ("units", books.units.to_string(), journal.units.to_string()),
        ("sequence", books.sequence.to_string(), journal.sequence.to_string()),
        ("phase", phase(books), phase(journal)),
    ];
    for (what, books, journal) in others {
        if books != journal {
            found.push((stored.channel, Found::Journal { what, books, journal }));
        }
    }
}

fn phase(state: &State) -> String {
    match state.phase {
        Phase::Open => "open".into(),
        Phase::Closing { capture } => format!("closing for {capture}"),
        Phase::Closed(closure) => format!("closed for {}, {} refunded", closure.captured, closure.refunded),
    }
}

/// Holds all channels against the chain; those that differ again and again, each time with the books of that moment.
async fn compare_with_chain(
    config: &Config,
    path: &Path,
    view: &RocksView,
    books: &Books,
    report: &mut Report,
) -> Result<(), ReconcileError> {
    let (client, settings) = (client(config)?, settings(config));
    client.check().await?;
    let mut suspects = BTreeMap::new();
    for page in pages(view, books) {
        let channels: Vec<Channel> = page?.iter().map(Channel::from).collect();
        report.channels += channels.len() as u64;
        let (found, block) = differences(&settings, &client, &channels).await?;
        report.block = report.block.max(block);
        note(&mut suspects, found);
    }
    for _ in 1..LOOKS_MAX {
        if suspects.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let view = RocksLedger::open_read_only(path)?;
        let books = recover(&view)?;
        let mut channels = Vec::new();
        for channel in suspects.keys() {
            let stored = match books.changed.get(channel) {
                Some(stored) => Some(stored.clone()),
                None => view.load(*channel)?,
            };
            channels.extend(stored.as_ref().map(Channel::from));
        }
        let (found, block) = differences(&settings, &client, &channels).await?;
        report.block = report.block.max(block);
        suspects.clear();
        note(&mut suspects, found);
    }
    for (channel, differences) in suspects {
        report.found.extend(differences.into_iter().map(|difference| (channel, Found::Chain(difference))));
    }
    Ok(())
}

fn note(suspects: &mut BTreeMap<ChannelId, Vec<Difference>>, found: Vec<(ChannelId, Difference)>) {
    for (channel, difference) in found {
        suspects.entry(channel).or_default().push(difference);
    }
}

fn print(report: &Report, output: &mut impl Write) -> io::Result<()> {
    for (channel, found) in &report.found {
        writeln!(output, "DIFFERENT: {channel}: {found}")?;
    }
    if !report.is_whole {
        writeln!(
            output,
            "the journal does not reach back to the first frame: books and journal were not compared"
        )?;
    }
    let Report { channels, block, found, .. } = report;
    writeln!(
        output,
        "compared {channels} channels with the chain at block {block}: {} differences",
        found.len()
    )
}

fn print_json(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let found = report.found.iter().map(|(channel, found)| {
        let (with, what) = match found {
            Found::Chain(difference) => ("chain", difference.name()),
            Found::Journal { what, .. } => ("journal", *what),
        };
        json!({ "channelId": channel.to_string(), "with": with, "what": what, "detail": found.to_string() })
    });
    let document = json!({
        "channels": report.channels,
        "block": report.block,
        "journalIsWhole": report.is_whole,
        "differences": found.collect::<Vec<_>>(),
    });
    serde_json::to_writer(&mut *output, &document)?;
    writeln!(output)
}
