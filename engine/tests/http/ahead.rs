//! The service may work while the disk still writes; nothing leaves the door before it has written.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::challenge::Challenge;
use farebox_core::units::Address;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{Decision, Route};
use farebox_engine::{Config, EngineError, MemoryLedger};

use crate::faulty::{Fault, FaultyLedger, Switch};
use crate::support::*;

/// How long a test looks whether something comes that must not come.
const LOOK: Duration = Duration::from_millis(60);

/// A client with a channel of 1,000 that bought once, its next challenge, and a disk that is held from now on.
async fn held() -> (Arc<Switch>, World, Client, Challenge) {
    let switch = Switch::healthy();
    let ledger = FaultyLedger { inner: MemoryLedger::default(), switch: Arc::clone(&switch) };
    let world = World::on(ledger, config(Address::ZERO), Config::default());
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    world.get(&client.open(&challenge, 1_000, PRICE.get())).await.receipt();
    let challenge = world.challenge(ProtocolVersion::V2).await;
    switch.close();
    (switch, world, client, challenge)
}

async fn is_pending(future: impl Future) -> bool {
    tokio::time::timeout(LOOK, future).await.is_err()
}

#[tokio::test]
async fn the_answer_waits_for_the_disk_and_the_service_does_not() {
    let (switch, world, client, challenge) = held().await;
    let paid = world.paid(&client.voucher(&challenge, 200)).await;
    let mut answer = pin!(async { seen(paid.deliver(hello()).await).await });
    assert!(is_pending(&mut answer).await, "nothing is on the disk");
    switch.open();
    let receipt = answer.await.receipt();
    assert_eq!((receipt.accepted.get(), receipt.spent.get()), (200, 200));
    assert_eq!(world.snapshot(client.channel).await.spent.get(), 200);
}

#[tokio::test]
async fn what_is_not_a_yes_waits_for_the_disk() {
    let (switch, world, client, challenge) = held().await;
    let paid = world.paid(&client.voucher(&challenge, 200)).await;
    // The same money again: the refusal tells what the first one made of the books.
    let other = world.challenge(ProtocolVersion::V2).await;
    let mut refused = pin!(world.serve(http::Method::GET, authorization(&client.voucher(&other, 200))));
    assert!(is_pending(&mut refused).await, "it shows what is not on the disk");
    switch.open();
    refused.await.is(402, "session/insufficient-balance");
    assert_eq!(seen(paid.deliver(hello()).await).await.receipt().spent.get(), 200);
}

#[tokio::test]
async fn the_head_of_a_stream_waits_for_the_disk() {
    let (switch, mut world, client, _) = held().await;
    world.route = Route::per_event(PRICE);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let headers = authorization(&client.voucher(&challenge, 200));
    let mut decided = pin!(world.decide(http::Method::GET, &headers, &world.route));
    assert!(is_pending(&mut decided).await, "its head may leave before an event is charged");
    switch.open();
    assert!(matches!(decided.await, Decision::Paid(_)));
}

#[tokio::test]
async fn a_disk_that_fails_meanwhile_delivers_nothing() {
    for fault in [Fault::BeforeWrite, Fault::AfterWrite] {
        let (switch, world, client, challenge) = held().await;
        switch.fail_next(fault);
        let paid = world.paid(&client.voucher(&challenge, 200)).await;
        switch.open();
        let seen = seen(paid.deliver(hello()).await).await;
        assert_eq!((seen.status, seen.header("payment-receipt")), (503, None), "{seen:?}");
        assert!(!String::from_utf8_lossy(&seen.body).contains("hello"));
        let failed = world.engine.read(client.channel).await;
        assert!(matches!(failed, Err(EngineError::Poisoned { .. })));
    }
}

#[tokio::test]
async fn who_leaves_in_between_gets_the_money_back() {
    let (switch, world, client, challenge) = held().await;
    let paid = world.paid(&client.voucher(&challenge, 200)).await;
    drop(paid);
    switch.open();
    // The same voucher pays for another request, as soon as the books have heard of it.
    let seen = loop {
        let seen = world.get(&client.voucher(&challenge, 200)).await;
        if seen.status != 409 {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen.receipt().spent.get(), 200);
}
