//! Books to measure: an engine on a RocksDB of its own, with its channels open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use farebox_core::channel::{ChainPosition, RequestKey};
use farebox_core::journal::Head;
use farebox_core::units::{Amount, ChannelId};
use farebox_engine::ledger::{EncodedBooks, Standing, StoredChannel, StoredFrame};
use farebox_engine::{Config, Engine, Ledger, LedgerError, LedgerRead, RocksLedger, SystemClock};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::crowd::Crowd;
use crate::meter::{Histogram, rss_bytes, sync_us};
use crate::report::target;

/// What every channel has: no voucher here is above it.
pub const DEPOSIT: Amount = Amount::new(1 << 60);

/// Where on the chain every channel was opened.
pub const POSITION: ChainPosition = ChainPosition { block: 1, log_index: 0 };

/// Vouchers that may wait for a shard.
const INTAKE_MAX: usize = 1 << 16;

/// Memory for tables: 10,000 signers have one, many a wide one.
const TABLES_BYTES_MAX: usize = 1_280 << 20;

/// Opens that are under way together.
const OPENING_MAX: usize = 4_096;

/// An engine with open channels.
pub struct Books {
    /// The engine.
    pub engine: Engine,
    /// Whose channels it holds.
    pub crowd: Crowd,
    /// What drives asynchronous callers: this thread alone.
    pub runtime: Runtime,
    /// Memory that each channel took.
    pub rss_bytes_per_channel: f64,
    frames: Arc<Mutex<Histogram>>,
    /// Where a crowd's own books are; those of somebody else stay.
    folder: Option<TempDir>,
}

impl Books {
    /// Opens all channels of a crowd in new books.
    pub fn open(crowd: Crowd, shards: usize) -> Result<Self, String> {
        let folder = TempDir::new_in(disk()?).map_err(|error| format!("no folder for the books: {error}"))?;
        let mut books = Self::on(&folder.path().join("books"), crowd, shards)?;
        books.folder = Some(folder);
        let before = rss_bytes();
        books.open_channels()?;
        let channels = books.crowd.channels.len() as f64;
        books.rss_bytes_per_channel = rss_bytes().saturating_sub(before) as f64 / channels;
        Ok(books)
    }

    /// An engine on the store of a crowd whose channels are there already.
    pub fn on(store: &Path, crowd: Crowd, shards: usize) -> Result<Self, String> {
        let ledger = RocksLedger::open(store).map_err(|error| error.to_string())?;
        let config =
            Config { shards, resident_channels_max: crowd.channels.len().max(1 << 20), ..Config::default() };
        Self::with(ledger, crowd, config)
    }

    /// An engine on an open ledger, with as much room for requests and tables as a measurement needs.
    pub fn with(ledger: RocksLedger, crowd: Crowd, config: Config) -> Result<Self, String> {
        let frames = Arc::default();
        let ledger = Timed { ledger, frames: Arc::clone(&frames) };
        let config = Config { intake_max: INTAKE_MAX, signer_tables_bytes_max: TABLES_BYTES_MAX, ..config };
        let engine = Engine::start(config, ledger, SystemClock).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        Ok(Self { engine, crowd, runtime, rss_bytes_per_channel: 0.0, frames, folder: None })
    }

    /// Opens every channel of the crowd.
    pub fn open_channels(&self) -> Result<(), String> {
        self.runtime.block_on(open_all(&self.engine, &self.crowd))
    }

    /// Ends the engine; what was acknowledged is on disk.
    pub fn end(self) -> Result<(), String> {
        self.runtime.block_on(self.engine.shutdown()).map_err(|error| error.to_string())
    }

    /// How long each frame's write with its sync took, since this was asked last.
    pub fn take_frames(&self) -> Histogram {
        std::mem::take(&mut *self.frames.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long the disk below takes for a sync.
    pub fn sync_us(&self) -> Result<Histogram, String> {
        sync_us(&disk()?).map_err(|error| format!("the disk's sync cannot be measured: {error}"))
    }

    /// Ends the engine, and checks that all is on disk: `spent` in all channels together, reopened.
    pub fn close(self, expected_spent: u128) -> Result<(), String> {
        let Self { engine, runtime, folder, .. } = self;
        runtime.block_on(engine.shutdown()).map_err(|error| error.to_string())?;
        drop(engine);
        let began = Instant::now();
        let folder = folder.ok_or("these are somebody else's books")?;
        let view = RocksLedger::open_read_only(folder.path().join("books"));
        let view = view.map_err(|error| error.to_string())?;
        let books = farebox_engine::ledger::recover(&view).map_err(|error| error.to_string())?;
        let (mut spent, mut after) = (0, None);
        loop {
            let page = books
                .page(&view, after, farebox_engine::ledger::CHANNELS_PAGE_MAX)
                .map_err(|error| error.to_string())?;
            spent += page.iter().map(|stored| stored.state.spent.get()).sum::<u128>();
            match page.last() {
                Some(last) => after = Some(last.channel),
                None => break,
            }
        }
        if spent != expected_spent {
            return Err(format!("the books on disk say that {spent} was spent, expected {expected_spent}"));
        }
        eprintln!("books checked on disk in {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The name of request `number`.
pub fn name(number: usize) -> RequestKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(number as u64).to_le_bytes());
    RequestKey(key)
}

/// A folder on the disk that is measured.
pub fn disk() -> Result<PathBuf, String> {
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder)
}

async fn open_all(engine: &Engine, crowd: &Crowd) -> Result<(), String> {
    let mut opening = FuturesUnordered::new();
    for channel in 0..crowd.channels.len() {
        if opening.len() == OPENING_MAX {
            opened(opening.next().await)?;
        }
        opening.push(engine.open(crowd.identity(channel), DEPOSIT, Amount::ZERO, POSITION));
    }
    while !opening.is_empty() {
        opened(opening.next().await)?;
    }
    Ok(())
}

fn opened(
    answer: Option<Result<farebox_engine::Verdict, farebox_engine::EngineError>>,
) -> Result<(), String> {
    let verdict = answer.ok_or("nothing is under way")?.map_err(|error| error.to_string())?;
    verdict.accepted().map(drop).map_err(|refusal| refusal.to_string())
}

/// A ledger that looks at the clock before and after each frame.
struct Timed {
    ledger: RocksLedger,
    frames: Arc<Mutex<Histogram>>,
}

impl LedgerRead for Timed {
    fn standing(&self) -> Result<Standing, LedgerError> {
        self.ledger.standing()
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        self.ledger.load(channel)
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        self.ledger.channels(after, max)
    }

    fn running(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<ChannelId>, LedgerError> {
        self.ledger.running(after, max)
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        self.ledger.frames_after(sequence, max)
    }
}

impl Ledger for Timed {
    fn epoch(&self) -> u64 {
        self.ledger.epoch()
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        let began = Instant::now();
        self.ledger.append(frame, sequence)?;
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
        Ok(())
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        self.ledger.store_images(channels)
    }

    fn store_books(&self, books: &EncodedBooks) -> Result<(), LedgerError> {
        self.ledger.store_books(books)
    }

    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError> {
        self.ledger.set_mark(mark)
    }

    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError> {
        self.ledger.forget_frames(sequence)
    }

    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError> {
        self.ledger.cut_tail(sequence)
    }
}
