//! Many vouchers in one call: order, single answers, full queues, callers that give up, failing disks.
#![cfg(feature = "pipeline")]

mod support;

use std::sync::Arc;
use std::task::Poll;

use farebox_core::channel::{Answer, Rejection, Spend};
use farebox_core::units::Amount;
use farebox_core::voucher::VoucherError;
use farebox_engine::ledger::MemoryStore;
use farebox_engine::pipeline::BATCH_SUBMIT_MAX;
use farebox_engine::{
    Config, Engine, EngineError, MemoryLedger, Refusal, SystemClock, Verdict, VoucherBatch, block_on,
};
use support::faulty::{Fault, FaultyLedger, Switch};
use support::*;

fn start(store: &MemoryStore) -> Engine {
    Engine::start(config(), MemoryLedger::open(store), SystemClock).unwrap()
}

fn start_faulty(config: Config) -> (Engine, Arc<Switch>) {
    let switch = Switch::healthy();
    let ledger = FaultyLedger { inner: MemoryLedger::open(&MemoryStore::new()), switch: Arc::clone(&switch) };
    (Engine::start(config, ledger, SystemClock).unwrap(), switch)
}

/// Payers of both shards, their channels open.
fn payers(engine: &Engine, count: u32) -> Vec<Payer> {
    let payers: Vec<_> = (0..count).map(Payer::v2).collect();
    payers.iter().for_each(|payer| drop(block_on(payer.open(engine))));
    payers
}

fn submit(batch: &mut VoucherBatch) -> Vec<Verdict> {
    block_on(batch.submit()).unwrap().iter().map(|verdict| verdict.clone().unwrap()).collect()
}

#[test]
fn every_voucher_has_its_own_answer_in_order() {
    let store = MemoryStore::new();
    let engine = start(&store);
    let payers = payers(&engine, 8);
    let mut batch = engine.batch();
    // Three rounds over all channels: each voucher of a channel builds on the one before.
    for (round, payer) in (1..=3_u64).flat_map(|round| payers.iter().map(move |payer| (round, payer))) {
        batch.push(payer.sign(u128::from(round) * 10), charge(round, 10)).unwrap();
    }
    // And some that are refused, which changes nothing for the others.
    batch.push(payers[0].sign_for(payers[1].channel, 99), charge(9, 1)).unwrap();
    batch.push(Payer::v2(77).sign(10), Spend::Nothing).unwrap();
    batch.push(payers[2].sign(20), charge(9, 1)).unwrap();
    batch.push(payers[3].sign(30), charge(2, 10)).unwrap();
    batch.push(payers[4].sign(40), charge(9, 50)).unwrap();
    assert_eq!(batch.len(), 29);
    let verdicts = submit(&mut batch);
    for (place, verdict) in verdicts[..24].iter().enumerate() {
        let reply = accepted(verdict.clone());
        let expected = Amount::new((place as u128 / 8 + 1) * 10);
        assert_eq!((reply.snapshot.accepted, reply.snapshot.spent), (expected, expected), "{place}");
        assert!(verdict.is_paid());
    }
    assert!(matches!(verdicts[24], Verdict::Rejected(Refusal::Voucher(VoucherError::WrongSigner { .. }))));
    let channel_refusal = |place: usize| match refused(verdicts[place].clone()) {
        Refusal::Channel(rejection) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(channel_refusal(25), Rejection::ChannelNotFound);
    assert_eq!(channel_refusal(26), Rejection::AmountNotIncreasing);
    assert!(matches!(accepted(verdicts[27].clone()).answer, Answer::Replayed(_)));
    assert!(matches!(accepted(verdicts[28].clone()).answer, Answer::AcceptedOnly(_)));
    assert!(verdicts[27].is_paid() && !verdicts[28].is_paid() && !verdicts[24].is_paid());

    block_on(engine.shutdown()).unwrap();
    let engine = start(&store);
    for (payer, accepted) in payers.iter().zip([30, 30, 30, 30, 40, 30, 30, 30]) {
        let snapshot = block_on(payer.snapshot(&engine));
        assert_eq!((snapshot.accepted, snapshot.spent), (Amount::new(accepted), Amount::new(30)));
    }
}

#[test]
fn a_batch_is_used_again_and_again() {
    let engine = start(&MemoryStore::new());
    let payers = payers(&engine, 4);
    let mut batch = engine.batch();
    for round in 1..=50_u64 {
        for payer in &payers {
            batch.push(payer.sign(u128::from(round)), charge(round, 1)).unwrap();
        }
        let verdicts = submit(&mut batch);
        assert_eq!(verdicts.len(), 4);
        assert!(verdicts.iter().all(|verdict| verdict.is_paid()));
        assert!(batch.is_empty());
    }
    assert!(block_on(batch.submit()).unwrap().is_empty(), "an answered batch is not submitted twice");
    assert_eq!(block_on(payers[0].snapshot(&engine)).spent, Amount::new(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_many_callers_and_single_vouchers_share_the_engine() {
    let engine = start(&MemoryStore::new());
    let callers = (0..8_u32).map(|caller| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let (in_batch, single) = (Payer::v2(2 * caller), Payer::v2(2 * caller + 1));
            in_batch.open(&engine).await;
            single.open(&engine).await;
            let mut batch = engine.batch();
            for round in 1..=20_u64 {
                let base = u128::from(round) * 4;
                for step in 0..4 {
                    batch.push(in_batch.sign(base + step), charge(round * 4 + step as u64, 1)).unwrap();
                }
                let alone = engine.submit(single.channel, single.sign(base), charge(round, 4)).await;
                assert!(alone.unwrap().is_paid());
                let verdicts = batch.submit().await.unwrap();
                assert!(verdicts.iter().all(|verdict| verdict.as_ref().unwrap().is_paid()));
            }
            (in_batch.snapshot(&engine).await.spent, single.snapshot(&engine).await.spent)
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), (Amount::new(80), Amount::new(80)));
    }
}

#[test]
fn without_room_for_all_nothing_is_done_and_the_batch_is_kept() {
    let config = Config { shards: 1, intake_max: 6, finish_reserve: 1, ..config() };
    let (engine, switch) = start_faulty(config);
    let payers = payers(&engine, 1);
    switch.close();
    let mut first = Box::pin(async {
        let mut batch = engine.batch();
        (1..=4).for_each(|number| batch.push(payers[0].sign(number), charge(number as u64, 1)).unwrap());
        batch.submit().await.map(|verdicts| verdicts.len())
    });
    assert!(poll(&mut first).is_pending());
    // What the shard has taken out waits for the disk; more batches fill its queue until one finds no room.
    let mut batches: Vec<_> = (0..8).map(|_| engine.batch()).collect();
    let mut amount = 10;
    for batch in &mut batches {
        for _ in 0..4 {
            amount += 1;
            batch.push(payers[0].sign(amount), charge(amount as u64, 1)).unwrap();
        }
    }
    let mut full = engine.batch();
    (1..=6).for_each(|step| full.push(payers[0].sign(100 + step), charge(100 + step as u64, 1)).unwrap());
    assert!(matches!(
        full.push(payers[0].sign(107), charge(107, 1)),
        Err(EngineError::BatchFull { maximum: 6 })
    ));
    let mut taken = Vec::new();
    for batch in &mut batches {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut submitted = Box::pin(batch.submit());
        match poll(&mut submitted) {
            Poll::Pending => taken.push(submitted),
            Poll::Ready(result) => {
                assert!(matches!(result, Err(EngineError::Busy { retry_after_ms: 100 })));
            }
        }
    }
    let taken_count = taken.len() as u128;
    assert!((1..8).contains(&taken_count), "{taken_count} of 8 batches found room");
    assert!(matches!(block_on(full.submit()), Err(EngineError::Busy { .. })));
    assert_eq!(full.len(), 6, "nothing of it was lost");
    switch.open();
    assert_eq!(block_on(first).unwrap(), 4);
    for submitted in taken {
        let verdicts = block_on(submitted).unwrap();
        assert!(verdicts.iter().all(|verdict| verdict.as_ref().unwrap().is_paid()));
    }
    assert!(submit(&mut full).iter().all(Verdict::is_paid), "now there is room");
    let spent = block_on(payers[0].snapshot(&engine)).spent;
    assert_eq!(spent, Amount::new(4 + 4 * taken_count + 6));
}

#[test]
fn a_caller_that_gave_up_finds_an_empty_batch() {
    let (engine, switch) = start_faulty(config());
    let payers = payers(&engine, 2);
    let mut batch = engine.batch();
    switch.close();
    payers.iter().for_each(|payer| batch.push(payer.sign(5), charge(1, 5)).unwrap());
    assert!(poll(&mut Box::pin(batch.submit())).is_pending());
    // Given up: the vouchers are with the shards, and will be done.
    assert!(batch.is_empty());
    payers.iter().for_each(|payer| batch.push(payer.sign(9), charge(2, 4)).unwrap());
    switch.open();
    let verdicts = submit(&mut batch);
    assert_eq!(verdicts.len(), 2);
    for verdict in verdicts {
        let snapshot = accepted(verdict).snapshot;
        assert_eq!((snapshot.accepted, snapshot.spent), (Amount::new(9), Amount::new(9)));
    }
}

#[test]
fn no_batch_is_acknowledged_after_a_failed_sync() {
    let (engine, switch) = start_faulty(config());
    let payers = payers(&engine, 6);
    switch.fail_next(Fault::BeforeWrite);
    let mut batch = engine.batch();
    payers.iter().for_each(|payer| batch.push(payer.sign(5), charge(1, 5)).unwrap());
    assert!(matches!(block_on(batch.submit()), Err(EngineError::Poisoned { .. })));
    payers.iter().for_each(|payer| batch.push(payer.sign(6), charge(2, 5)).unwrap());
    assert!(matches!(block_on(batch.submit()), Err(EngineError::Poisoned { .. })));
}

#[test]
fn a_batch_has_a_largest_size() {
    let config = Config { shards: 1, intake_max: BATCH_SUBMIT_MAX * 2, ..config() };
    let engine = Engine::start(config, MemoryLedger::new(), SystemClock).unwrap();
    let payer = Payer::v2(1);
    block_on(payer.open(&engine));
    let (mut batch, voucher) = (engine.batch(), payer.sign(8));
    (0..BATCH_SUBMIT_MAX).for_each(|_| batch.push(voucher.clone(), Spend::Nothing).unwrap());
    let refused = batch.push(voucher.clone(), Spend::Nothing);
    assert!(matches!(refused, Err(EngineError::BatchFull { maximum: BATCH_SUBMIT_MAX })));
    let verdicts = submit(&mut batch);
    assert_eq!(verdicts.len(), BATCH_SUBMIT_MAX);
    assert!(verdicts.iter().all(|verdict| accepted(verdict.clone()).snapshot.accepted == Amount::new(8)));
    batch.push(voucher, Spend::Nothing).unwrap();
    batch.clear();
    assert!(batch.is_empty());
}
