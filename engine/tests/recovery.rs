//! What is on disk is what was in memory, for any steps in any order, on every ledger.
#![cfg(feature = "pipeline")]

mod support;

use farebox_core::channel::Snapshot;
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_engine::ledger::{LedgerRead, MemoryStore, recover};
use farebox_engine::{Config, Engine, Ledger, MemoryLedger, Step, SystemClock};
use proptest::prelude::*;
use support::script::{Ask, PAYERS, ask, play};
use support::*;

type Shown = Vec<(ChannelId, Snapshot)>;

async fn live(engine: &Engine) -> Shown {
    engine.channels().await.unwrap().iter().map(|channel| (channel.id, channel.snapshot)).collect()
}

fn stored(ledger: &impl LedgerRead) -> Shown {
    let page = recover(ledger).unwrap().page(ledger, None, 100).unwrap();
    page.iter().map(|stored| (stored.channel, Snapshot::from(&stored.state))).collect()
}

fn small() -> Config {
    Config {
        shards: 2,
        checkpoint_frames: 4,
        resident_channels_max: 2,
        start_channels_max: 0,
        ..Config::default()
    }
}

/// Plays, compares with what a crash would leave, goes on after a restart, compares again.
async fn check<L: Ledger, V: LedgerRead>(
    open: impl Fn() -> L,
    views: impl Fn() -> Vec<V>,
    asks: &[(u32, Ask)],
) {
    let (first, second) = asks.split_at(asks.len() / 2);
    let engine = Engine::start(small(), open(), SystemClock).unwrap();
    play(&engine, first).await;
    let before = live(&engine).await;
    for view in views() {
        assert_eq!(stored(&view), before);
    }
    engine.shutdown().await.unwrap();
    for view in views() {
        assert_eq!(stored(&view), before, "after a shutdown");
    }

    let engine = Engine::start(small(), open(), SystemClock).unwrap();
    let after = live(&engine).await;
    assert_eq!(after.len(), before.len());
    for ((id, before), (same, after)) in before.iter().zip(&after) {
        assert_eq!(id, same);
        let released = Snapshot { reserved: Amount::ZERO, ..*before };
        let unsequenced =
            |snapshot: Snapshot| Snapshot { sequence: 0, active_at: UnixSeconds(0), ..snapshot };
        assert_eq!(unsequenced(released), unsequenced(*after), "orphans are released, nothing else changes");
        assert!(before.reserved.is_zero() || after.sequence > before.sequence);
    }
    play(&engine, second).await;
    let end = live(&engine).await;
    for view in views() {
        assert_eq!(stored(&view), end);
    }
    engine.shutdown().await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn memory_holds_what_was_answered(asks in prop::collection::vec((0..PAYERS, ask()), 1..250)) {
        let store = MemoryStore::new();
        let views = || vec![store.after_crash(false), store.after_crash(true)];
        runtime().block_on(check(|| MemoryLedger::open(&store), views, &asks));
    }
}

#[cfg(feature = "rocksdb")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn rocksdb_holds_what_was_answered(asks in prop::collection::vec((0..PAYERS, ask()), 1..250)) {
        let folder = tempfile::TempDir::new().unwrap();
        let views = || vec![farebox_engine::RocksLedger::open_read_only(folder.path()).unwrap()];
        let open = || farebox_engine::RocksLedger::open(folder.path()).unwrap();
        runtime().block_on(check(open, views, &asks));
    }
}

#[tokio::test]
async fn orphaned_requests_end_at_the_start_wherever_they_are_stored() {
    let store = MemoryStore::new();
    // A checkpoint after every frame: the first request is in an image only, the last in the journal only.
    let every = Config { checkpoint_frames: 1, journal_keep_frames: Some(0), ..config() };
    let engine = Engine::start(every, MemoryLedger::open(&store), SystemClock).unwrap();
    let (early, late) = (Payer::v2(1), Payer::v2(2));
    early.open(&engine).await;
    late.open(&engine).await;
    accepted(engine.submit(early.channel, early.sign(100), reserve(1, 40)).await.unwrap());
    let captured = Step::Capture { key: key(1), amount: Amount::new(15), units: 1, finish: false };
    accepted(engine.apply(early.channel, captured).await.unwrap());
    for _ in 0..100 {
        late.snapshot(&engine).await;
    }
    accepted(engine.submit(late.channel, late.sign(100), reserve(2, 70)).await.unwrap());
    drop(engine);

    let engine = Engine::start(config(), MemoryLedger::open(&store.after_crash(false)), SystemClock).unwrap();
    let (early_now, late_now) = (early.snapshot(&engine).await, late.snapshot(&engine).await);
    assert_eq!((early_now.reserved, late_now.reserved), (Amount::ZERO, Amount::ZERO));
    assert_eq!((early_now.spent, late_now.spent), (Amount::new(15), Amount::ZERO));
    // What captured something is over; what captured nothing may be tried again.
    let early_again = accepted(engine.apply(early.channel, Step::Spend(reserve(1, 10))).await.unwrap());
    assert!(matches!(early_again.answer, farebox_core::channel::Answer::Replayed(_)));
    let late_again = accepted(engine.apply(late.channel, Step::Spend(reserve(2, 70))).await.unwrap());
    assert_eq!(late_again.snapshot.reserved, Amount::new(70));
}

/// With many changed channels a start reads none: each is read when it is asked for, or for a checkpoint. A crash at any
/// moment of that loses nothing.
#[tokio::test]
async fn channels_are_read_when_they_are_asked_for_and_nothing_is_lost_meanwhile() {
    let (store, payers): (_, Vec<_>) = (MemoryStore::new(), (1..=40).map(Payer::v2).collect());
    let rare = |checkpoint_frames| Config { checkpoint_frames, start_channels_max: 0, ..config() };
    let engine = Engine::start(rare(u64::MAX), MemoryLedger::open(&store), SystemClock).unwrap();
    for payer in &payers {
        payer.open(&engine).await;
    }
    engine.shutdown().await.unwrap();
    let mut paid = vec![0_u128; payers.len()];
    let mut store = store.after_crash(false);
    for round in 1..=6 {
        // In half of the rounds checkpoints come often, and take the channels that nobody asked for along.
        let often = if round % 2 == 0 { 3 } else { u64::MAX };
        let engine = Engine::start(rare(often), MemoryLedger::open(&store), SystemClock).unwrap();
        for (payer, paid) in payers.iter().zip(&mut paid).skip(round % 3).step_by(1 + round % 4) {
            *paid += 10;
            let reply = accepted(
                engine.submit(payer.channel, payer.sign(*paid), charge(round as u64, 10)).await.unwrap(),
            );
            assert_eq!((reply.snapshot.accepted.get(), reply.snapshot.spent.get()), (*paid, *paid));
        }
        let crashed = store.after_crash(round % 3 == 0);
        for store in [&store, &crashed] {
            let spent: Vec<_> = stored(store).iter().map(|(_, snapshot)| snapshot.spent.get()).collect();
            assert_eq!(spent.iter().sum::<u128>(), paid.iter().sum(), "round {round}");
        }
        let listed = live(&engine).await;
        assert_eq!(listed, stored(&crashed), "round {round}");
        if round == 5 {
            // A server that ends before it read them all leaves the journal to the next one.
            engine.shutdown().await.unwrap();
        } else {
            store = crashed;
        }
    }
}
