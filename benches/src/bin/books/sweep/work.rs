//! The work of a row, in processes of their own: few channels that all stay in memory; many that mostly do not, with
//! checkpoints, until the process is killed; and the store that it leaves, opened again.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use farebox_core::units::ChannelId;
use farebox_crypto::keccak256;
use farebox_engine::ledger::rocksdb::tuning::{Statistics, Tuning};
use farebox_engine::{Config, Engine, LedgerRead, RocksLedger, SystemClock};
use rustix::fs::{Advice, fadvise};

use super::naming::{BASE, differences};
use super::rows::ROWS;
use super::spread::HOT;
use crate::books::Books;
use crate::crowd::Crowd;
use crate::load::{Vouchers, batches};
use crate::meter::{Histogram, Meter, rest};
use crate::reopen::{fill, spent};

/// What the children are asked for.
pub const HOT_ROLE: &str = "sweep-hot";
pub const MIXED_ROLE: &str = "sweep-mixed";
pub const OPEN_ROLE: &str = "sweep-open";

/// Channels that all stay in memory.
const HOT_CHANNELS: usize = 10_000;

/// Signers: few, so that tables of keys are soon made and do not blur what is compared.
const SIGNERS: usize = 256;

/// Vouchers of each hot channel before the clock runs.
const WARM_ROUNDS: usize = 10;

/// Shards.
const SHARDS: usize = 2;

/// Vouchers in a batch, and batches under way.
const BATCH: usize = 512;
const CALLERS: usize = 32;

/// A checkpoint is due after so many bytes: several within a short measurement.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// The part of the many channels that fits into memory.
const RESIDENT_PART: usize = 4;

/// Channels that are read from a cold store, and unknown ones that are asked for.
const COLD_READS: usize = 2_000;

/// What a child does, if this process is one.
pub fn child(arguments: &[String]) -> Option<Result<(), String>> {
    let [role, store, row, numbers @ ..] = arguments else { return None };
    let numbers: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let store = Path::new(store);
    let work = |measure: &dyn Fn(Tuning) -> Result<(), String>| tuning(row).and_then(measure);
    match (role.as_str(), &numbers[..]) {
        (HOT_ROLE, [vouchers]) => Some(work(&|tuning| hot(store, tuning, *vouchers))),
        (MIXED_ROLE, [channels, vouchers]) => {
            Some(work(&|tuning| mixed(store, tuning, *channels, *vouchers)))
        }
        (OPEN_ROLE, [channels, vouchers]) => Some(work(&|tuning| open(store, tuning, *channels, *vouchers))),
        _ => None,
    }
}

/// The options of a row.
fn tuning(name: &str) -> Result<Tuning, String> {
    let is_named = |tuning: &Tuning| differences(tuning).iter().any(|difference| difference.name() == name);
    let found = match name {
        BASE => Some(Tuning::default()),
        _ => ROWS.iter().map(super::rows::Row::tuning).find(is_named),
    };
    let tuning = found.ok_or_else(|| format!("there is no row {name:?}"))?;
    Ok(Tuning { statistics: true, ..tuning })
}

fn opened(store: &Path, tuning: Tuning) -> Result<RocksLedger, String> {
    RocksLedger::open_tuned(store, tuning).map_err(|error| error.to_string())
}

fn hot(store: &Path, tuning: Tuning, vouchers: usize) -> Result<(), String> {
    let ledger = opened(store, tuning)?;
    let statistics = ledger.statistics().ok_or("RocksDB does not count")?;
    let config = Config { shards: SHARDS, ..Config::default() };
    let books = Books::with(ledger, Crowd::new(HOT_CHANNELS, SIGNERS), config)?;
    books.open_channels()?;
    let warm = HOT_CHANNELS * WARM_ROUNDS;
    batches(&books, Vouchers::new(books.crowd.vouchers(0, warm), 0), BATCH, CALLERS)?;
    let figures = measured(&books, &statistics, warm, vouchers)?;
    books.end()?;
    check(store, warm + vouchers)?;
    say(&figures);
    Ok(())
}

/// Says what it measured, and waits to be killed.
fn mixed(store: &Path, tuning: Tuning, channels: usize, vouchers: usize) -> Result<(), String> {
    let (ledger, crowd) = (opened(store, tuning)?, Crowd::new(channels, SIGNERS));
    let statistics = ledger.statistics().ok_or("RocksDB does not count")?;
    fill(&ledger, &crowd)?;
    let config = Config {
        shards: SHARDS,
        checkpoint_bytes: CHECKPOINT_BYTES,
        resident_channels_max: (channels / RESIDENT_PART).max(1),
        ..Config::default()
    };
    let books = Books::with(ledger, crowd, config)?;
    // The first round of all channels is in the images.
    let figures = measured(&books, &statistics, channels, vouchers)?;
    say(&figures);
    loop {
        std::thread::park();
    }
}

/// Vouchers a second and latency under load; processor time and bytes until all is merged that was left to do.
fn measured(
    books: &Books,
    statistics: &Statistics,
    first: usize,
    vouchers: usize,
) -> Result<[f64; HOT.len()], String> {
    let signed = Vouchers::new(books.crowd.vouchers(first, vouchers), first);
    rest();
    let rocksdb_bytes = || {
        let (log, files) = statistics.written_bytes();
        (log + files) as f64
    };
    let (meter, before) = (Meter::start(), rocksdb_bytes());
    let load = batches(books, signed, BATCH, CALLERS)?;
    rest();
    let (used, each) = (meter.used(), |total: f64| total / vouchers as f64);
    Ok([
        vouchers as f64 / load.used.wall.as_secs_f64(),
        each(used.cpu_us),
        load.latency.quantile(0.99),
        each(used.written_bytes as f64),
        each(rocksdb_bytes() - before),
    ])
}

/// The child after the one that was killed.
fn open(store: &Path, tuning: Tuning, channels: usize, vouchers: usize) -> Result<(), String> {
    let began = Instant::now();
    let ledger = opened(store, tuning.clone())?;
    let opened_s = began.elapsed().as_secs_f64();
    let engine = Engine::start(Config::default(), ledger, SystemClock).map_err(|error| error.to_string())?;
    let taken_s = began.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let ended = runtime.map_err(|error| error.to_string())?.block_on(engine.shutdown());
    ended.map_err(|error| error.to_string())?;
    drop(engine);
    check(store, vouchers)?;
    let ledger = opened(store, tuning)?;
    rest();
    let store_mib = files(store)?.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / f64::from(1 << 20);
    let crowd = Crowd::new(channels, SIGNERS);
    // Neighbours in this order are far from each other in the store: its keys are hashes.
    let step = (channels / COLD_READS).max(1);
    let known = timed_reads(store, &ledger, crowd.channels.iter().step_by(step).copied(), true)?;
    let unknown = (0..COLD_READS as u64).map(|number| ChannelId(keccak256(&number.to_be_bytes()).into()));
    let unknown = timed_reads(store, &ledger, unknown, false)?;
    say(&[known.quantile(0.5), unknown.mean(), opened_s, taken_s, store_mib]);
    Ok(())
}

/// Reads channels of which the page cache holds nothing.
fn timed_reads(
    store: &Path,
    ledger: &RocksLedger,
    channels: impl Iterator<Item = ChannelId>,
    are_known: bool,
) -> Result<Histogram, String> {
    for (file, _) in files(store)? {
        fadvise(&file, 0, None, Advice::DontNeed).map_err(|error| error.to_string())?;
    }
    let mut took = Histogram::default();
    for channel in channels.take(COLD_READS) {
        let began = Instant::now();
        let found = ledger.load(channel).map_err(|error| error.to_string())?;
        took.push(began.elapsed());
        if found.is_some() != are_known {
            return Err(format!("channel {channel}: expected known = {are_known}"));
        }
    }
    Ok(took)
}

/// The files of a store, and their bytes.
fn files(store: &Path) -> Result<Vec<(File, u64)>, String> {
    let entries = std::fs::read_dir(store).map_err(|error| error.to_string())?;
    let opened = |entry: std::io::Result<std::fs::DirEntry>| {
        let file = File::open(entry?.path())?;
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata.len())))
    };
    let files: std::io::Result<Vec<_>> = entries.map(opened).collect();
    Ok(files.map_err(|error| error.to_string())?.into_iter().flatten().collect())
}

/// Every acknowledged charge is on disk: what is fast and forgets is no row.
fn check(store: &Path, expected: usize) -> Result<(), String> {
    match spent(store)? {
        found if found == expected as u128 => Ok(()),
        found => Err(format!("the books on disk say that {found} was spent, expected {expected}")),
    }
}

fn say(figures: &[f64]) {
    let figures: Vec<_> = figures.iter().map(|figure| format!("{figure:.3}")).collect();
    println!("{}", figures.join(" "));
}
