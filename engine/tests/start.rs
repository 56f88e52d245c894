//! A start reads what it has to end, and no other channel.
#![cfg(feature = "rocksdb")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use farebox_core::channel::{Event, Limits, State};
use farebox_core::journal::Head;
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::Signature;
use farebox_engine::ledger::{Ledger, LedgerError, LedgerRead, Standing, StoredChannel, StoredFrame};
use farebox_engine::{Config, Engine, RocksLedger, SystemClock};
use support::*;

/// Counts the channels that are read.
struct Counted {
    ledger: RocksLedger,
    read: Arc<AtomicUsize>,
}

impl LedgerRead for Counted {
    fn standing(&self) -> Result<Standing, LedgerError> {
        self.ledger.standing()
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.ledger.load(channel)
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        let page = self.ledger.channels(after, max)?;
        self.read.fetch_add(page.len(), Ordering::SeqCst);
        Ok(page)
    }

    fn running(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<ChannelId>, LedgerError> {
        self.ledger.running(after, max)
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        self.ledger.frames_after(sequence, max)
    }
}

impl Ledger for Counted {
    fn epoch(&self) -> u64 {
        self.ledger.epoch()
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        self.ledger.append(frame, sequence)
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        self.ledger.store_images(channels)
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

const IDLE: u32 = 3_000;

/// A channel as it begins.
fn image(payer: &Payer) -> StoredChannel {
    let opened = Event::Opened {
        identity: Box::new(payer.identity.clone()),
        deposit: DEPOSIT,
        settled: Amount::ZERO,
        at: UnixSeconds(10),
        position: position(1),
    };
    let (identity, state) = (Arc::new(payer.identity.clone()), State::from_opened(&opened).unwrap());
    StoredChannel { channel: payer.channel, identity, state }
}

/// Channels that rest, but for one whose request nobody is left to deliver to.
fn fill(ledger: &RocksLedger, payer: &Payer) {
    let mut images: Vec<_> = (1..=IDLE).map(|number| image(&Payer::v2(10 + number))).collect();
    let mut running = image(payer);
    let signature = Signature::restore(&[7; 65]).unwrap();
    running.state.evolve(&Event::Accepted { amount: Amount::new(100), signature, at: UnixSeconds(11) });
    running.state.evolve(&Event::Reserved { key: key(1), amount: Amount::new(40), at: UnixSeconds(12) });
    images.push(running);
    ledger.store_images(&images).unwrap();
    ledger.set_mark(&Head::GENESIS).unwrap();
}

async fn start(limits: Limits, folder: &std::path::Path, payer: &Payer) -> usize {
    let read = Arc::new(AtomicUsize::new(0));
    let ledger = Counted { ledger: RocksLedger::open(folder).unwrap(), read: Arc::clone(&read) };
    let engine = Engine::start(Config { limits, ..config() }, ledger, SystemClock).unwrap();
    let count = read.load(Ordering::SeqCst);
    assert_eq!(payer.snapshot(&engine).await.reserved, Amount::ZERO);
    engine.shutdown().await.unwrap();
    count
}

#[tokio::test]
async fn a_start_reads_the_channels_whose_requests_it_ends_and_no_others() {
    let (folder, payer) = (tempfile::TempDir::new().unwrap(), Payer::v2(1));
    fill(&RocksLedger::open(folder.path()).unwrap(), &payer);
    assert_eq!(start(Limits::default(), folder.path(), &payer).await, 1);
    assert_eq!(start(Limits::default(), folder.path(), &payer).await, 0, "the request is over");
    // A limit on a sum needs all of them.
    let sums = Limits { unsettled_total_max: Some(Amount::new(1 << 40)), ..Limits::default() };
    assert_eq!(start(sums, folder.path(), &payer).await, IDLE as usize + 1);
}
