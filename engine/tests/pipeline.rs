//! The engine as its callers see it: one voucher, many callers, full queues, failing disks.
#![cfg(feature = "pipeline")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{Answer, Phase, Rejection, Spend};
use farebox_core::journal::Cursor;
use farebox_core::units::{Amount, B256, BlockNumber, UnixSeconds};
use farebox_core::voucher::{ProtocolVersion, VoucherError};
use farebox_engine::clock::ManualClock;
use farebox_engine::ledger::{LedgerRead, MemoryStore, recover};
use farebox_engine::{
    Config, Engine, EngineError, Health, MemoryLedger, Refusal, Step, SystemClock, Verdict, Waited,
};
use support::faulty::{Fault, FaultyLedger, Switch};
use support::*;

fn start(store: &MemoryStore) -> Engine {
    Engine::start(config(), MemoryLedger::open(store), SystemClock).unwrap()
}

/// An engine on a disk that the test holds.
fn start_faulty(config: Config, switch: &Arc<Switch>) -> (Engine, MemoryStore) {
    let store = MemoryStore::new();
    let ledger = FaultyLedger { inner: MemoryLedger::open(&store), switch: Arc::clone(switch) };
    (Engine::start(config, ledger, SystemClock).unwrap(), store)
}

#[tokio::test]
async fn a_voucher_pays_and_the_books_show_it() {
    let engine = start(&MemoryStore::new());
    for version in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let payer = Payer::new(1, version);
        payer.open(&engine).await;
        let reply = accepted(engine.submit(payer.channel, payer.sign(100), charge(1, 30)).await.unwrap());
        assert_eq!(reply.answer, Answer::Done);
        assert_eq!((reply.snapshot.accepted, reply.snapshot.spent), (Amount::new(100), Amount::new(30)));
        let found = engine.read(payer.channel).await.unwrap().unwrap();
        assert_eq!(found.snapshot, reply.snapshot);
        assert_eq!(*found.identity, payer.identity);
    }
    assert_eq!(engine.channels().await.unwrap().len(), 2);
    assert_eq!(engine.read(Payer::v2(9).channel).await.unwrap(), None);
    engine.shutdown().await.unwrap();
}

/// Seen elsewhere: two concurrent verifications of one voucher both said "accepted".
#[tokio::test(flavor = "multi_thread")]
async fn two_requests_with_one_voucher_give_one_acceptance() {
    let engine = start(&MemoryStore::new());
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    for round in 1..=50 {
        let voucher = payer.sign(u128::from(round) * 10);
        // Both want the whole rise: only one can have it.
        let (first, second) = tokio::join!(
            engine.submit(payer.channel, voucher.clone(), charge(round * 2, 10)),
            engine.submit(payer.channel, voucher, charge(round * 2 + 1, 10)),
        );
        let verdicts = [first.unwrap(), second.unwrap()];
        let paid = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Accepted(_))).count();
        assert_eq!(paid, 1, "{verdicts:?}");
        assert_eq!(payer.snapshot(&engine).await.spent, Amount::new(u128::from(round) * 10));
    }
}

/// Seen elsewhere: 36 retries made 54 debits.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_six_concurrent_retries_make_one_debit() {
    let store = MemoryStore::new();
    let engine = start(&store);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    let retries: Vec<_> = (0..36)
        .map(|_| {
            let (engine, payer) = (engine.clone(), payer.clone());
            tokio::spawn(async move { engine.submit(payer.channel, payer.sign(500), charge(7, 25)).await })
        })
        .collect();
    let mut fresh = 0;
    for retry in retries {
        match accepted(retry.await.unwrap().unwrap()).answer {
            Answer::Done => fresh += 1,
            Answer::Replayed(outcome) => assert_eq!(outcome.charged, Amount::new(25)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh, 1);
    let snapshot = payer.snapshot(&engine).await;
    assert_eq!((snapshot.accepted, snapshot.spent), (Amount::new(500), Amount::new(25)));

    // Also after a restart.
    engine.shutdown().await.unwrap();
    let engine = start(&store);
    let again = accepted(engine.submit(payer.channel, payer.sign(500), charge(7, 25)).await.unwrap());
    assert!(matches!(again.answer, Answer::Replayed(_)));
    assert_eq!(again.snapshot.spent, Amount::new(25));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_one_channel_happen_in_the_order_they_were_asked() {
    let switch = Switch::healthy();
    let (engine, _store) = start_faulty(config(), &switch);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    switch.close();
    // Asked in order, answered later: each depends on the one before.
    let steps: Vec<_> = (1..=200_u64)
        .map(|number| {
            let voucher = payer.sign(u128::from(number) * 10);
            let mut step = Box::pin(engine.submit(payer.channel, voucher, charge(number, 10)));
            assert!(poll(&mut step).is_pending());
            step
        })
        .collect();
    switch.open();
    for step in steps {
        assert_eq!(accepted(step.await.unwrap()).answer, Answer::Done);
    }
    assert_eq!(payer.snapshot(&engine).await.spent, Amount::new(2_000));
}

#[tokio::test]
async fn an_open_and_a_voucher_in_one_batch_are_both_taken() {
    let engine = start(&MemoryStore::new());
    let payer = Payer::v2(1);
    let (opened, paid) = tokio::join!(
        engine.open(payer.identity.clone(), DEPOSIT, Amount::ZERO, position(1)),
        engine.submit(payer.channel, payer.sign(10), charge(1, 10)),
    );
    accepted(opened.unwrap());
    accepted(paid.unwrap());
}

#[tokio::test]
async fn a_replayed_open_resets_nothing() {
    let engine = start(&MemoryStore::new());
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    let before = accepted(engine.submit(payer.channel, payer.sign(100), charge(1, 60)).await.unwrap());
    assert_eq!(payer.open(&engine).await.snapshot, before.snapshot);
    let closed =
        Step::Closed { captured: Amount::new(60), refunded: Amount::new(999_940), position: position(3) };
    accepted(engine.apply(payer.channel, closed).await.unwrap());
    assert!(matches!(payer.open(&engine).await.snapshot.phase, Phase::Closed(_)));
}

#[tokio::test]
async fn forged_and_foreign_vouchers_are_refused() {
    let engine = start(&MemoryStore::new());
    let (payer, stranger) = (Payer::v2(1), Payer::v2(2));
    payer.open(&engine).await;
    let forged = stranger.sign_for(payer.channel, 100);
    let verdict = engine.submit(payer.channel, forged.clone(), charge(1, 1)).await.unwrap();
    assert!(matches!(refused(verdict), Refusal::Voucher(VoucherError::WrongSigner { .. })));
    let verdict = engine.begin_close(payer.channel, forged).await.unwrap();
    assert!(matches!(refused(verdict), Refusal::Voucher(VoucherError::WrongSigner { .. })));
    // A voucher handed in for another channel than its own.
    let verdict = engine.submit(payer.channel, stranger.sign(100), charge(1, 1)).await.unwrap();
    assert!(matches!(refused(verdict), Refusal::Channel(Rejection::WrongChannel { .. })));
    let verdict = engine.submit(stranger.channel, stranger.sign(100), charge(1, 1)).await.unwrap();
    assert_eq!(refused(verdict), Refusal::Channel(Rejection::ChannelNotFound));
    // A v1 voucher for a v2 channel.
    let other = Payer::new(1, ProtocolVersion::V1).sign_for(payer.channel, 100);
    let verdict = engine.submit(payer.channel, other, charge(1, 1)).await.unwrap();
    assert!(matches!(refused(verdict), Refusal::Voucher(VoucherError::ProtocolMismatch { .. })));
    assert_eq!(payer.snapshot(&engine).await.accepted, Amount::ZERO);
}

/// Seen elsewhere: a stale amount skipped the signature check, which gave free service on anyone's channel.
#[tokio::test]
async fn a_stale_amount_is_never_a_success_whoever_signed_it() {
    let engine = start(&MemoryStore::new());
    let (payer, stranger) = (Payer::v2(1), Payer::v2(2));
    payer.open(&engine).await;
    accepted(engine.submit(payer.channel, payer.sign(100), charge(1, 10)).await.unwrap());
    for (voucher, spend) in [
        (stranger.sign_for(payer.channel, 99), Spend::Nothing),
        (stranger.sign_for(payer.channel, 100), Spend::Nothing),
        (stranger.sign_for(payer.channel, 99), charge(2, 10)),
        (stranger.sign_for(payer.channel, 100), charge(2, 10)),
        // A known request key does not open the door either.
        (stranger.sign_for(payer.channel, 50), charge(1, 10)),
    ] {
        match refused(engine.submit(payer.channel, voucher, spend).await.unwrap()) {
            Refusal::Voucher(VoucherError::WrongSigner { .. })
            | Refusal::Channel(Rejection::AmountNotIncreasing) => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(payer.snapshot(&engine).await.spent, Amount::new(10));
}

#[tokio::test]
async fn a_full_queue_says_busy_and_still_takes_what_ends_running_work() {
    let switch = Switch::healthy();
    let config = Config {
        shards: 1,
        intake_max: 4,
        finish_reserve: 4,
        batch_vouchers_max: 1,
        commit_batches_max: 1,
        busy_retry_after_ms: 77,
        ..Config::default()
    };
    let (engine, _store) = start_faulty(config, &switch);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    accepted(engine.submit(payer.channel, payer.sign(1_000), reserve(1, 100)).await.unwrap());
    switch.close();
    let mut queued = Vec::new();
    let mut turned_away = None;
    // What the shard and the committer hold, then what the queue takes.
    for number in 2..40 {
        let (engine, channel) = (engine.clone(), payer.channel);
        let spend = Step::Spend(charge(number, 1));
        let mut step = Box::pin(async move { engine.apply(channel, spend).await });
        match poll(&mut step) {
            std::task::Poll::Pending => queued.push(step),
            std::task::Poll::Ready(Err(EngineError::Busy { retry_after_ms: 77 })) => {
                turned_away = Some(number);
                break;
            }
            std::task::Poll::Ready(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(turned_away.is_some_and(|number| number >= 6), "{turned_away:?}");
    let capture = Step::Capture { key: key(1), amount: Amount::new(60), units: 1, finish: true };
    let mut finishing = Box::pin(engine.apply(payer.channel, capture));
    assert!(poll(&mut finishing).is_pending());
    switch.open();
    for step in queued {
        accepted(step.await.unwrap());
    }
    accepted(finishing.await.unwrap());
    let spent = 60 + u128::from(turned_away.unwrap() - 2);
    assert_eq!(payer.snapshot(&engine).await.spent, Amount::new(spent));
}

#[tokio::test]
async fn nothing_is_answered_before_its_frame_is_durable() {
    let switch = Switch::healthy();
    let (engine, _store) = start_faulty(config(), &switch);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    switch.close();
    let mut paying = Box::pin(engine.submit(payer.channel, payer.sign(10), charge(1, 10)));
    assert!(poll(&mut paying).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(poll(&mut paying).is_pending());
    // A read and a refusal would show what is not durable yet: they wait as well.
    let mut reading = Box::pin(engine.read(payer.channel));
    let mut lower = Box::pin(engine.submit(payer.channel, payer.sign(5), charge(2, 1)));
    assert!(poll(&mut reading).is_pending());
    assert!(poll(&mut lower).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(poll(&mut reading).is_pending());
    assert!(poll(&mut lower).is_pending());
    switch.open();
    accepted(paying.await.unwrap());
    assert_eq!(reading.await.unwrap().unwrap().snapshot.spent, Amount::new(10));
    assert_eq!(refused(lower.await.unwrap()), Refusal::Channel(Rejection::AmountNotIncreasing));
}

#[tokio::test]
async fn a_batch_grows_while_the_one_before_is_synced() {
    let switch = Switch::healthy();
    let (engine, store) = start_faulty(Config { shards: 1, ..Config::default() }, &switch);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    switch.close();
    let tasks: Vec<_> = (1..=300_u64)
        .map(|number| {
            let (engine, payer) = (engine.clone(), payer.clone());
            let voucher = payer.sign(u128::from(number));
            tokio::spawn(async move { engine.submit(payer.channel, voucher, Spend::Nothing).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    switch.open();
    for task in tasks {
        drop(task.await.unwrap().unwrap());
    }
    let frames = store.standing().unwrap().last_frame;
    assert!(frames < 50, "300 requests behind a slow disk took {frames} frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_poisons_for_good_and_keeps_its_cause() {
    for fault in [Fault::BeforeWrite, Fault::AfterWrite, Fault::Panic] {
        let switch = Switch::healthy();
        let (engine, _store) = start_faulty(config(), &switch);
        let payer = Payer::v2(1);
        payer.open(&engine).await;
        switch.fail_next(fault);
        for attempt in 1..4 {
            match engine.submit(payer.channel, payer.sign(10 * attempt), Spend::Nothing).await {
                Err(EngineError::Poisoned { cause }) => {
                    assert!(cause.contains("the test said so"), "{cause}")
                }
                other => panic!("{fault:?}: {other:?}"),
            }
        }
        assert!(matches!(engine.health(), Health::Poisoned { .. }));
        assert!(matches!(engine.read(payer.channel).await, Err(EngineError::Poisoned { .. })));
        assert!(matches!(engine.shutdown().await, Err(EngineError::Poisoned { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_flight_learn_of_a_failure_and_none_hangs() {
    for fault in [Fault::BeforeWrite, Fault::AfterWrite, Fault::Panic] {
        let switch = Switch::healthy();
        let small = Config { shards: 2, batch_vouchers_max: 8, commit_batches_max: 1, ..Config::default() };
        let (engine, _store) = start_faulty(small, &switch);
        let payers: Vec<_> = (0..16).map(Payer::v2).collect();
        for payer in &payers {
            payer.open(&engine).await;
        }
        switch.close();
        let tasks: Vec<_> = payers
            .iter()
            .flat_map(|payer| (1..=20_u128).map(move |amount| (payer.clone(), amount)))
            .map(|(payer, amount)| {
                let engine = engine.clone();
                tokio::spawn(
                    async move { engine.submit(payer.channel, payer.sign(amount), Spend::Nothing).await },
                )
            })
            .collect();
        while switch.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        switch.fail_next(fault);
        switch.open();
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(20), task).await;
            match ended.expect("no caller hangs").unwrap() {
                Err(EngineError::Poisoned { .. }) => {}
                other => panic!("{fault:?}: {other:?}"),
            }
        }
    }
}

/// A clock that panics takes its shard down, and with it the engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_shard_poisons() {
    struct Bomb;
    impl farebox_engine::Clock for Bomb {
        fn unix_millis(&self) -> u64 {
            panic!("tick")
        }
    }
    let engine = Engine::start(config(), MemoryLedger::new(), Bomb).unwrap();
    let payers: Vec<_> = (0..8).map(Payer::v2).collect();
    for payer in &payers {
        let opened = engine.open(payer.identity.clone(), DEPOSIT, Amount::ZERO, position(1));
        match tokio::time::timeout(Duration::from_secs(20), opened).await.expect("no caller hangs") {
            Err(EngineError::Poisoned { cause }) => assert!(cause.contains("panicked: tick"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(engine.shutdown().await, Err(EngineError::Poisoned { .. })));
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_queued_and_takes_nothing_new() {
    let switch = Switch::healthy();
    let (engine, store) = start_faulty(config(), &switch);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    switch.close();
    let mut paying = Box::pin(engine.submit(payer.channel, payer.sign(10), charge(1, 10)));
    assert!(poll(&mut paying).is_pending());
    let mut stopping = Box::pin(engine.shutdown());
    assert!(poll(&mut stopping).is_pending());
    assert_eq!(engine.health(), Health::Stopping);
    assert!(matches!(engine.read(payer.channel).await, Err(EngineError::Stopped)));
    switch.open();
    accepted(paying.await.unwrap());
    stopping.await.unwrap();
    assert_eq!(engine.health(), Health::Stopped);
    engine.shutdown().await.unwrap();
    assert!(matches!(engine.read(payer.channel).await, Err(EngineError::Stopped)));
    // Everything is in the images: nothing is left to replay.
    let books = recover(&store).unwrap();
    assert!(books.changed.is_empty());
    assert_eq!(books.mark, books.head);
    assert_eq!(store.load(payer.channel).unwrap().unwrap().state.spent, Amount::new(10));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_threads_in_good_order() {
    let store = MemoryStore::new();
    let engine = start(&store);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    drop(engine.clone());
    accepted(engine.submit(payer.channel, payer.sign(10), charge(1, 10)).await.unwrap());
    drop(engine);
    for _ in 0..2_000 {
        let books = recover(&store).unwrap();
        if books.mark.sequence > 0 && books.mark == books.head {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the threads did not end");
}

#[tokio::test]
async fn a_wait_ends_with_a_higher_voucher_a_close_or_the_time() {
    let engine = start(&MemoryStore::new());
    let payer = Payer::v2(1);
    let long = Duration::from_secs(60);
    assert_eq!(engine.wait_above(payer.channel, Amount::ZERO, long).await.unwrap(), Waited::NotFound);
    payer.open(&engine).await;
    accepted(engine.submit(payer.channel, payer.sign(10), Spend::Nothing).await.unwrap());

    // Already there.
    let waited = engine.wait_above(payer.channel, Amount::new(9), long).await.unwrap();
    assert!(matches!(waited, Waited::Above(snapshot) if snapshot.accepted == Amount::new(10)));
    // Not coming.
    let short = Duration::from_millis(30);
    let waited = engine.wait_above(payer.channel, Amount::new(10), short).await.unwrap();
    assert!(matches!(waited, Waited::TimedOut(_)));
    // Comes while somebody waits; other changes do not end the wait.
    let (waited, _) = tokio::join!(engine.wait_above(payer.channel, Amount::new(10), long), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let step =
            Step::ToppedUp { deposit: Amount::new(2_000_000), position: position(2), cancels_close: false };
        accepted(engine.apply(payer.channel, step).await.unwrap());
        accepted(engine.submit(payer.channel, payer.sign(20), Spend::Nothing).await.unwrap());
    });
    assert!(matches!(waited.unwrap(), Waited::Above(snapshot) if snapshot.accepted == Amount::new(20)));
    // The payer asks to close.
    let (waited, _) = tokio::join!(engine.wait_above(payer.channel, Amount::new(20), long), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let step = Step::CloseRequested { at: UnixSeconds(5), position: position(9) };
        accepted(engine.apply(payer.channel, step).await.unwrap());
    });
    assert!(matches!(waited.unwrap(), Waited::Ended(_)));
    // The engine ends.
    let other = Payer::v2(2);
    other.open(&engine).await;
    let (waited, stopped) = tokio::join!(engine.wait_above(other.channel, Amount::new(20), long), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        engine.shutdown().await
    });
    assert!(matches!(waited, Err(EngineError::Stopped)));
    stopped.unwrap();
}

#[tokio::test]
async fn changes_are_told_after_they_are_durable() {
    let switch = Switch::healthy();
    let (engine, _store) = start_faulty(config(), &switch);
    let mut changes = engine.subscribe();
    let (first, second) = (Payer::v2(1), Payer::v2(2));
    first.open(&engine).await;
    second.open(&engine).await;
    let opened: HashSet<_> = [changes.recv().await.unwrap(), changes.recv().await.unwrap()].into();
    assert_eq!(opened, [first.channel, second.channel].into());
    switch.close();
    let mut paying = Box::pin(engine.submit(first.channel, first.sign(10), charge(1, 10)));
    assert!(poll(&mut paying).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(changes.try_recv().is_err());
    switch.open();
    accepted(paying.await.unwrap());
    assert_eq!(changes.recv().await.unwrap(), first.channel);
    // A refusal and a read change nothing.
    refused(engine.submit(first.channel, first.sign(5), charge(2, 1)).await.unwrap());
    first.snapshot(&engine).await;
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn the_cursor_rides_with_frames_and_not_without() {
    let cursor = |block| Cursor { next_block: BlockNumber(block), parent: B256::repeat_byte(7) };
    let store = MemoryStore::new();
    let engine = start(&store);
    let payer = Payer::v2(1);
    payer.open(&engine).await;
    assert_eq!(engine.cursor(), None);
    engine.set_cursor(cursor(100));
    assert_eq!(engine.cursor(), Some(cursor(100)));
    payer.snapshot(&engine).await;
    assert_eq!(recover(&store).unwrap().head.cursor, None, "no frame is made for a small step");
    accepted(engine.submit(payer.channel, payer.sign(10), Spend::Nothing).await.unwrap());
    assert_eq!(recover(&store).unwrap().head.cursor, Some(cursor(100)));
    // A quiet night: a large step makes a frame of its own.
    engine.set_cursor(cursor(400));
    for _ in 0..2_000 {
        if recover(&store).unwrap().head.cursor == Some(cursor(400)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(recover(&store).unwrap().head.cursor, Some(cursor(400)));
    // The last word is kept by a shutdown.
    engine.set_cursor(cursor(401));
    engine.shutdown().await.unwrap();
    let engine = start(&store);
    assert_eq!(engine.cursor(), Some(cursor(401)));
}

#[tokio::test]
async fn time_comes_from_the_clock() {
    let clock = Arc::new(ManualClock::new(UnixSeconds(1_000)));
    let engine = Engine::start(config(), MemoryLedger::new(), Arc::clone(&clock)).unwrap();
    let payer = Payer::v2(1);
    assert_eq!(payer.open(&engine).await.snapshot.active_at, UnixSeconds(1_000));
    clock.advance_millis(5_000);
    let reply = accepted(engine.submit(payer.channel, payer.sign(10), Spend::Nothing).await.unwrap());
    assert_eq!(reply.snapshot.active_at, UnixSeconds(1_005));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_vouchers_pass() {
    let store = MemoryStore::new();
    let small = Config { shards: 2, checkpoint_frames: 8, resident_channels_max: 20, ..Config::default() };
    let engine = Engine::start(small, MemoryLedger::open(&store), SystemClock).unwrap();
    let payers: Vec<_> = (0..100).map(Payer::v2).collect();
    for payer in &payers {
        payer.open(&engine).await;
    }
    let tasks: Vec<_> = payers
        .iter()
        .map(|payer| {
            let (engine, payer) = (engine.clone(), payer.clone());
            tokio::spawn(async move {
                for number in 1..=100_u64 {
                    let voucher = payer.sign(u128::from(number) * 3);
                    accepted(engine.submit(payer.channel, voucher, charge(number, 3)).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let channels = engine.channels().await.unwrap();
    assert_eq!(channels.len(), 100);
    assert!(channels.is_sorted_by_key(|channel| channel.id));
    for channel in &channels {
        assert_eq!(channel.snapshot.spent, Amount::new(300));
    }
    let page = engine.channels_page(Some(channels[30].id), 20).await.unwrap();
    assert_eq!(page, channels[31..51]);
    engine.shutdown().await.unwrap();
    let engine = start(&store);
    assert_eq!(engine.channels().await.unwrap(), channels);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let wrong = Config { shards: 0, ..Config::default() };
    match Engine::start(wrong, MemoryLedger::new(), SystemClock) {
        Err(EngineError::Config(error)) => assert_eq!((error.name, error.found), ("shards", 0)),
        other => panic!("{other:?}"),
    }
}
