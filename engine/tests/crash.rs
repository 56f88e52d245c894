//! A process that dies at any write: what was acknowledged is there afterwards, and nothing is paid twice.
#![cfg(feature = "pipeline")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use farebox_core::channel::{Snapshot, Spend};
use farebox_core::units::{Amount, ChannelId};
use farebox_engine::ledger::MemoryStore;
use farebox_engine::{Config, Engine, EngineError, MemoryLedger, Step, SystemClock, Verdict};
use support::faulty::{Fault, FaultyLedger, Switch};
use support::*;

const ROUNDS: u64 = 6;
const PAYERS: u32 = 3;

/// One step of the script. Every one may be asked again after a crash.
#[derive(Clone)]
enum Ask {
    Open(Payer),
    Pay(Payer, u128, Spend),
    Capture(Payer, u64),
    TopUp(Payer, u128),
}

impl Ask {
    async fn of(&self, engine: &Engine) -> Result<Verdict, EngineError> {
        match self {
            Self::Open(payer) => {
                engine.open(payer.identity.clone(), DEPOSIT, Amount::ZERO, position(1)).await
            }
            Self::Pay(payer, amount, spend) => {
                engine.submit(payer.channel, payer.sign(*amount), *spend).await
            }
            Self::Capture(payer, number) => {
                let amount = Amount::new(7);
                let step = Step::Capture { key: key(*number), amount, units: 1, finish: true };
                engine.apply(payer.channel, step).await
            }
            Self::TopUp(payer, deposit) => {
                let deposit = Amount::new(*deposit);
                let step = Step::ToppedUp { deposit, position: position(9), cancels_close: false };
                engine.apply(payer.channel, step).await
            }
        }
    }

    fn channel(&self) -> ChannelId {
        match self {
            Self::Open(payer) | Self::Pay(payer, ..) | Self::Capture(payer, _) | Self::TopUp(payer, _) => {
                payer.channel
            }
        }
    }
}

/// Opens, charges, streams, tops up. Each payer ends with `ROUNDS` times 10 charged and 7 captured.
fn script() -> Vec<Ask> {
    let payers: Vec<_> = (0..PAYERS).map(Payer::v2).collect();
    let mut script: Vec<_> = payers.iter().cloned().map(Ask::Open).collect();
    for round in 1..=ROUNDS {
        for payer in &payers {
            let rise = u128::from(round) * 100;
            script.push(Ask::Pay(payer.clone(), rise, charge(round * 2, 10)));
            script.push(Ask::Pay(payer.clone(), rise + 50, reserve(round * 2 + 1, 7)));
            script.push(Ask::Capture(payer.clone(), round * 2 + 1));
        }
        script.push(Ask::TopUp(payers[0].clone(), DEPOSIT.get() + u128::from(round)));
    }
    script
}

fn small() -> Config {
    Config {
        shards: 2,
        checkpoint_frames: 3,
        journal_keep_frames: Some(2),
        start_channels_max: 0,
        ..Config::default()
    }
}

/// Asks until the ledger fails. Gives the last acknowledged state of each channel, and where it stopped.
async fn play(engine: &Engine, script: &[Ask]) -> (HashMap<ChannelId, Snapshot>, usize) {
    let mut acknowledged = HashMap::new();
    for (index, ask) in script.iter().enumerate() {
        match ask.of(engine).await {
            Ok(verdict) => {
                acknowledged.insert(ask.channel(), accepted(verdict).snapshot);
            }
            Err(EngineError::Poisoned { .. }) => return (acknowledged, index),
            Err(other) => panic!("{other}"),
        }
    }
    (acknowledged, script.len())
}

/// Starts on what a crash left, checks what was acknowledged, and plays the rest.
async fn resume(disk: &MemoryStore, acknowledged: &HashMap<ChannelId, Snapshot>, rest: &[Ask]) {
    let engine = Engine::start(small(), MemoryLedger::open(disk), SystemClock).unwrap();
    for (channel, before) in acknowledged {
        let now = engine.read(*channel).await.unwrap().expect("an acknowledged channel is there").snapshot;
        assert!(now.accepted >= before.accepted && now.spent >= before.spent, "{before:?} became {now:?}");
        assert!(now.deposit >= before.deposit && now.sequence >= before.sequence);
        assert!(now.reserved.is_zero(), "nobody is left to deliver to");
    }
    for ask in rest {
        match (ask.of(&engine).await.unwrap(), ask) {
            (Verdict::Accepted(_), _) => {}
            // The crash ended this running request; the client asks again with the same key.
            (Verdict::Rejected(_), Ask::Capture(payer, number)) => {
                let again = reserve(*number, 7);
                match engine.apply(payer.channel, Step::Spend(again)).await.unwrap() {
                    Verdict::Accepted(_) => drop(ask.of(&engine).await.unwrap()),
                    Verdict::Rejected(refusal) => panic!("{refusal}"),
                }
            }
            (Verdict::Rejected(refusal), _) => panic!("{refusal}"),
        }
    }
    let expected = Amount::new(u128::from(ROUNDS) * 17);
    for channel in engine.channels().await.unwrap() {
        assert_eq!(channel.snapshot.spent, expected, "everything is paid, and once");
    }
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_write_it_dies_at_nothing_acknowledged_is_lost_and_nothing_is_paid_twice() {
    let script = script();
    for fault in [Fault::BeforeWrite, Fault::AfterWrite, Fault::Panic] {
        let mut at_write = 1;
        loop {
            let switch = Switch::fail_at(at_write, fault);
            let disk = MemoryStore::new();
            let ledger = FaultyLedger { inner: MemoryLedger::open(&disk), switch: Arc::clone(&switch) };
            let engine = Engine::start(small(), ledger, SystemClock).unwrap();
            let (acknowledged, stopped_at) = play(&engine, &script).await;
            // It may also die while it ends.
            drop(engine.shutdown().await);
            for keeps_unsynced in [false, true] {
                let left = disk.after_crash(keeps_unsynced);
                resume(&left, &acknowledged, &script[stopped_at..]).await;
            }
            if switch.writes() < at_write {
                break;
            }
            at_write += 1;
        }
        assert!(at_write > script.len() as u64, "every write was tried, checkpoints too: {at_write}");
    }
}

/// The same, many times over: each start dies again at one of its first writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_again_and_again_makes_progress_and_no_mistake() {
    let script = script();
    let mut disk = MemoryStore::new();
    let (mut done, mut deaths) = (0, 0_u64);
    while done < script.len() {
        let switch = Switch::fail_at(2 + deaths % 5, Fault::AfterWrite);
        let ledger = FaultyLedger { inner: MemoryLedger::open(&disk), switch };
        // It may die while it ends orphaned requests.
        if let Ok(engine) = Engine::start(small(), ledger, SystemClock) {
            let (_, stopped_at) = play_with_retries(&engine, &script[done..]).await;
            done += stopped_at;
        }
        disk = disk.after_crash(deaths % 2 == 0);
        deaths += 1;
        assert!(deaths < 1_000, "no progress");
    }
    resume(&disk, &HashMap::new(), &[]).await;
}

/// [`play`], but a running request that a crash ended is begun again.
async fn play_with_retries(engine: &Engine, script: &[Ask]) -> (HashMap<ChannelId, Snapshot>, usize) {
    for (index, ask) in script.iter().enumerate() {
        let mut answer = ask.of(engine).await;
        if let (Ok(Verdict::Rejected(_)), Ask::Capture(payer, number)) = (&answer, ask) {
            answer = engine.apply(payer.channel, Step::Spend(reserve(*number, 7))).await;
            if answer.is_ok() {
                answer = ask.of(engine).await;
            }
        }
        match answer {
            // A capture that was done before the crash finds its request over, and its retry replayed.
            Ok(_) => {}
            Err(EngineError::Poisoned { .. }) => return (HashMap::new(), index),
            Err(other) => panic!("{other}"),
        }
    }
    (HashMap::new(), script.len())
}
