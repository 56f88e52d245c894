//! A store that the program before store version 3 wrote is opened by this one: nothing is lost, and it goes on.
//!
//! `fixtures/store-2` was written by commit 7567bfc, the last one of store version 2: three channels, a checkpoint in order, then a
//! voucher with a reservation and a voucher with a charge, and a kill. RocksDB's own log and lock are left out.
#![cfg(feature = "rocksdb")]

mod support;

use std::fs;
use std::path::Path;

use farebox_core::channel::{Phase, RequestKey, Snapshot, Spend};
use farebox_core::units::Amount;
use farebox_core::voucher::{ProtocolVersion, Verifier};
use farebox_engine::ledger::{STORE_VERSION, check};
use farebox_engine::{Engine, RocksLedger, SystemClock};
use support::{Payer, accepted, config};

/// A copy that may be changed.
fn store() -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-2");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn sums(snapshot: &Snapshot) -> [u128; 4] {
    [snapshot.accepted, snapshot.spent, snapshot.reserved, snapshot.settled].map(Amount::get)
}

fn charge(key: u8, amount: u128) -> Spend {
    Spend::Charge { key: Some(RequestKey([key; 16])), amount: Amount::new(amount), units: 1 }
}

#[tokio::test]
async fn a_store_of_the_version_before_opens_and_goes_on() {
    let folder = store();
    let (one, two, three) = (Payer::v2(1), Payer::new(2, ProtocolVersion::V1), Payer::v2(3));
    assert_eq!(RocksLedger::open_read_only(folder.path()).unwrap().store_version().unwrap(), 2);
    let open = || Engine::start(config(), RocksLedger::open(folder.path()).unwrap(), SystemClock).unwrap();
    let engine = open();
    // The request that ran when the process was killed is released; all else is as it was acknowledged.
    assert_eq!(sums(&one.snapshot(&engine).await), [800, 400, 0, 0]);
    assert_eq!(sums(&two.snapshot(&engine).await), [75, 70, 0, 30]);
    let closed = three.snapshot(&engine).await;
    assert!(
        matches!(&closed.phase, Phase::Closed(closure) if closure.captured == Amount::new(10)),
        "{closed:?}"
    );

    // A retry of what was paid before the upgrade is not charged again; new vouchers are.
    let again = engine.submit(one.channel, one.sign(700), charge(1, 400)).await.unwrap();
    assert_eq!(accepted(again).snapshot.spent, Amount::new(400));
    let more = engine.submit(two.channel, two.sign(100), charge(9, 30)).await.unwrap();
    assert_eq!(accepted(more).snapshot.spent, Amount::new(100));
    engine.shutdown().await.unwrap();

    let view = RocksLedger::open_read_only(folder.path()).unwrap();
    assert_eq!(view.store_version().unwrap(), STORE_VERSION);
    let summary = check(&view, &Verifier::new());
    assert!(summary.is_sound() && summary.channels == 3, "{summary:?}");
    drop(view);
    let engine = open();
    assert_eq!(sums(&two.snapshot(&engine).await), [100, 100, 0, 30]);
    assert_eq!(sums(&one.snapshot(&engine).await), [800, 400, 0, 0]);
    engine.shutdown().await.unwrap();
}
