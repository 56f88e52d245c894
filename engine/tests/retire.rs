//! Channels that are over become tombstones, and never come back, whenever the process dies.
#![cfg(feature = "pipeline")]

mod support;

use std::sync::Arc;

use farebox_core::channel::{Answer, ChainPosition, Phase, Rejection, Spend};
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_engine::clock::ManualClock;
use farebox_engine::ledger::{Ledger, LedgerRead, MemoryStore, check, recover};
use farebox_engine::{Config, Engine, MemoryLedger, Refusal, Step, Verdict};
use support::*;

const NOW: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

const CLOSED: Step = Step::Closed {
    captured: Amount::new(60),
    refunded: Amount::new(40),
    position: ChainPosition { block: 9, log_index: 0 },
};

/// Costs nothing and is new each time, so there is a frame.
const TICK: Spend = Spend::Charge { key: None, amount: Amount::ZERO, units: 1 };

/// Two channels, of which one is over.
async fn fill(engine: &Engine) -> (Payer, Payer) {
    let (over, open) = (Payer::v2(1), Payer::v2(2));
    for payer in [&over, &open] {
        payer.open(engine).await;
        accepted(engine.submit(payer.channel, payer.sign(100), charge(1, 60)).await.unwrap());
    }
    accepted(engine.apply(over.channel, CLOSED).await.unwrap());
    (over, open)
}

fn start(ledger: impl Ledger, clock: &Arc<ManualClock>) -> Engine {
    // A checkpoint after every frame.
    Engine::start(Config { checkpoint_frames: 1, ..config() }, ledger, Arc::clone(clock)).unwrap()
}

/// Looks at all images again and again, while the other channel keeps the checkpoints going: until so many channels are
/// buried, or, for none, as often as would do.
async fn retire(engine: &Engine, before: u64, busy: &Payer, expected: usize) -> usize {
    let mut buried = 0;
    // Checkpoints are written by another thread, which a busy machine may keep waiting.
    let rounds = if expected == 0 { 20 } else { 10_000 };
    for _ in 0..rounds {
        let step = engine.retire_closed(None, UnixSeconds(before)).unwrap();
        assert_eq!(step.next, None, "two images are one page");
        buried += step.buried;
        for _ in 0..3 {
            accepted(engine.apply(busy.channel, Step::Spend(TICK)).await.unwrap());
            busy.snapshot(engine).await;
        }
        if expected > 0 && buried >= expected {
            break;
        }
    }
    buried
}

/// What everybody hears of a channel that is over, whole or not.
async fn is_over(engine: &Engine, over: &Payer, retired: bool) {
    let finalized = |verdict: Verdict| {
        assert_eq!(refused(verdict), Refusal::Channel(Rejection::ChannelFinalized));
    };
    finalized(engine.submit(over.channel, over.sign(200), charge(9, 10)).await.unwrap());
    finalized(engine.apply(over.channel, Step::Spend(charge(9, 10))).await.unwrap());
    finalized(engine.begin_close(over.channel, over.sign(200)).await.unwrap());
    let opened = engine.open(over.identity.clone(), DEPOSIT, Amount::ZERO, position(1)).await.unwrap();
    if retired {
        finalized(opened);
    } else {
        assert!(matches!(accepted(opened).snapshot.phase, Phase::Closed(_)));
    }
    // A late or repeated word of the chain does no harm.
    let heard = accepted(engine.apply(over.channel, CLOSED).await.unwrap());
    assert_eq!((heard.answer, heard.snapshot.spent), (Answer::Done, Amount::new(60)));
    let Phase::Closed(closure) = heard.snapshot.phase else { panic!("{:?}", heard.snapshot) };
    assert_eq!((closure.captured, closure.refunded), (Amount::new(60), Amount::new(40)));
    assert_eq!((closure.at, closure.position), (UnixSeconds(NOW), position(9)));
}

fn tombstones(ledger: &impl LedgerRead) -> Vec<ChannelId> {
    ledger.tombstones(None, 9).unwrap().iter().map(|state| state.channel_id).collect()
}

/// `reopened` is the ledger as another process finds it.
async fn life<L: Ledger>(first: L, reopened: impl Fn() -> L) {
    let clock = Arc::new(ManualClock::new(UnixSeconds(NOW)));
    let engine = start(first, &clock);
    let (over, open) = fill(&engine).await;
    clock.advance_millis(30 * DAY_S * 1_000);
    assert_eq!(retire(&engine, NOW, &open, 0).await, 0, "it did not close before that");
    is_over(&engine, &over, false).await;
    assert_eq!(retire(&engine, NOW + 1, &open, 1).await, 1);
    is_over(&engine, &over, false).await;
    engine.shutdown().await.unwrap();

    for _ in 0..2 {
        let ledger = reopened();
        assert_eq!(tombstones(&ledger), [over.channel]);
        assert_eq!(ledger.load(over.channel).unwrap(), None);
        let summary = check(&ledger, &farebox_core::voucher::Verifier::new());
        assert_eq!((summary.tombstones, summary.channels, summary.closed), (1, 1, 0));
        assert_eq!(summary.findings, []);
        let engine = start(ledger, &clock);
        is_over(&engine, &over, true).await;
        assert_eq!(retire(&engine, u64::MAX, &open, 0).await, 0);
        assert_eq!(engine.channels().await.unwrap().len(), 1);
        engine.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_that_is_over_becomes_a_tombstone_and_stays_one() {
    let store = MemoryStore::new();
    life(MemoryLedger::open(&store), || MemoryLedger::open(&store)).await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn the_same_on_disk() {
    let folder = tempfile::TempDir::new().unwrap();
    let open = || farebox_engine::RocksLedger::open(folder.path()).unwrap();
    life(open(), open).await;
}

/// Whatever a crash leaves of images and mark, the channel is over and is there once.
#[tokio::test]
async fn a_crash_at_any_moment_leaves_the_channel_or_its_tombstone() {
    let clock = Arc::new(ManualClock::new(UnixSeconds(NOW)));
    let store = MemoryStore::new();
    let engine = start(MemoryLedger::open(&store), &clock);
    let (over, open) = fill(&engine).await;
    let mut retired = 0;
    for round in 0..80 {
        engine.retire_closed(None, UnixSeconds(NOW + 1)).unwrap();
        accepted(engine.apply(open.channel, Step::Spend(TICK)).await.unwrap());
        for keeps_unsynced in [false, true] {
            let left = store.after_crash(keeps_unsynced);
            let books = recover(&left).unwrap();
            let buried = left.tombstone(over.channel).unwrap();
            let books = books.changed.get(&over.channel).cloned().or(left.load(over.channel).unwrap());
            let state = match (&books, &buried) {
                (Some(stored), None) => &stored.state,
                (None, Some(state)) => state,
                both => panic!("expected books or a tombstone, found {both:?}"),
            };
            assert!(matches!(state.phase, Phase::Closed(_)) && state.spent == Amount::new(60));
            retired += usize::from(buried.is_some());
            if round % 40 == 39 {
                let again = start(MemoryLedger::open(&left), &clock);
                is_over(&again, &over, buried.is_some()).await;
                again.shutdown().await.unwrap();
            }
        }
    }
    assert!(retired > 0, "it was never retired");
    engine.shutdown().await.unwrap();
}

/// A tombstone may be there before the mark came past what it holds.
#[tokio::test]
async fn a_tombstone_that_is_ahead_of_the_mark_is_believed() {
    // Whether the mark is behind the whole life of the channel, or came past its beginning.
    for (began_before, start_channels_max) in [(false, 0), (false, 9), (true, 0), (true, 9)] {
        let clock = Arc::new(ManualClock::new(UnixSeconds(NOW)));
        let config = Config { start_channels_max, ..config() };
        let start = |store: &MemoryStore| {
            Engine::start(config.clone(), MemoryLedger::open(store), Arc::clone(&clock)).unwrap()
        };
        let (over, store) = (Payer::v2(1), MemoryStore::new());
        let mut engine = start(&store);
        over.open(&engine).await;
        accepted(engine.submit(over.channel, over.sign(100), charge(1, 60)).await.unwrap());
        if began_before {
            engine.shutdown().await.unwrap();
            engine = start(&store);
        }
        accepted(engine.apply(over.channel, CLOSED).await.unwrap());
        accepted(
            engine.apply(over.channel, Step::Retire { closed_before: UnixSeconds(NOW + 1) }).await.unwrap(),
        );
        let left = store.after_crash(false);
        let ledger = MemoryLedger::open(&left);
        let state = recover(&ledger).unwrap().changed[&over.channel].state.clone();
        assert!(state.is_retired());
        ledger.bury(&[state]).unwrap();
        assert!(!recover(&ledger).unwrap().changed.contains_key(&over.channel));
        for _ in 0..2 {
            let engine = start(&left);
            is_over(&engine, &over, true).await;
            engine.shutdown().await.unwrap();
            assert_eq!((tombstones(&left), left.load(over.channel).unwrap()), (vec![over.channel], None));
        }
    }
}
