//! `open`: verified first, broadcast once, never reset.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farebox_core::challenge::Payload;
use farebox_core::challenge::credential::Open;
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Address, Amount, B256};
use farebox_core::voucher::{ProtocolVersion, v2};
use farebox_engine::Config;
use farebox_engine::chain::ChainRefusal;
use futures_util::future::join_all;
use http::Method;

use crate::support::*;

#[tokio::test]
async fn an_open_pays_and_delivers() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let world = World::new();
        let client = Client::new(&world, protocol, 1);
        let challenge = world.challenge(protocol).await;
        let seen = world.get(&client.open(&challenge, 1_000, 100)).await;
        assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]));
        let receipt = seen.receipt();
        assert_eq!(receipt.tx_hash, Some(B256::repeat_byte(0x0A)));
        assert_eq!((receipt.accepted, receipt.spent), (PRICE, PRICE));
        let snapshot = world.snapshot(client.channel).await;
        assert_eq!((snapshot.deposit, snapshot.spent), (Amount::new(1_000), PRICE));
    }
}

#[tokio::test]
async fn a_first_voucher_of_nothing_opens_and_must_rise_to_buy() {
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let seen = world.answer(Method::GET, authorization(&client.open(&challenge, 1_000, 0))).await;
    let problem = seen.is(402, "session/insufficient-balance");
    assert_eq!((&problem["requiredTopUp"], &problem["requiredCumulative"]), (&"100".into(), &"100".into()));
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_empty_post_opens_without_buying() {
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let headers = empty(authorization(&client.open(&challenge, 1_000, 100)));
    let seen = world.answer(Method::POST, headers).await;
    assert_eq!((seen.status, seen.receipt().spent, seen.receipt().units), (204, Amount::ZERO, None));
    assert!(seen.receipt().tx_hash.is_some());
}

#[tokio::test]
async fn a_route_may_sell_to_an_empty_post() {
    let mut world = World::new();
    world.route.pays_for_empty_post = true;
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let headers = empty(authorization(&client.open(&challenge, 1_000, 100)));
    assert_eq!(world.serve(Method::POST, headers).await.receipt().spent, PRICE);
    let headers = authorization(&client.voucher(&challenge, 200));
    assert_eq!(world.serve(Method::HEAD, headers).await.status, 204, "HEAD never buys");
}

#[tokio::test]
async fn nothing_is_broadcast_for_a_voucher_that_does_not_hold() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let world = World::new();
        let client = Client::new(&world, protocol, 1);
        let stranger = Client { key: Client::new(&world, protocol, 2).key, ..client.clone() };
        let challenge = world.challenge(protocol).await;
        let seen = world.answer(Method::GET, authorization(&stranger.open(&challenge, 1_000, 100))).await;
        seen.is(402, "session/signer-mismatch");
        assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0);
        assert!(world.books().await.is_empty());
    }
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let mut open = client.open_payload(1_000, 100);
    open.authorized_signer = Some(PAYEE);
    let seen =
        world.answer(Method::GET, authorization(&client.header(&challenge, Payload::Open(open)))).await;
    seen.is(402, "verification-failed");
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_v1_client_need_not_name_its_signer() {
    for stated in [None, Some(Address::ZERO)] {
        let world = World::new();
        let client = Client::new(&world, ProtocolVersion::V1, 1);
        let stranger = Client { key: Client::new(&world, ProtocolVersion::V1, 2).key, ..client.clone() };
        let challenge = world.challenge(ProtocolVersion::V1).await;
        let open = |client: &Client| {
            let open = Open { authorized_signer: stated, ..client.open_payload(1_000, 100) };
            client.header(&challenge, Payload::Open(open))
        };
        let seen = world.answer(Method::GET, authorization(&open(&stranger))).await;
        seen.is(402, "verification-failed");
        assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0);
        assert_eq!(world.get(&open(&client)).await.status, 200);
    }
}

#[tokio::test]
async fn the_advertised_operator_is_the_only_one() {
    let operator = Address::repeat_byte(0x0F);
    let world = World::with(config(operator), Config::default());
    let key = Client::new(&world, ProtocolVersion::V2, 1).key;
    let payer = address(&key);
    let client = |operator| {
        let terms = Terms::V2(v2::Descriptor {
            payer,
            payee: PAYEE,
            operator,
            token: TOKEN,
            salt: B256::ZERO,
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::ZERO,
        });
        Client::of(key.clone(), Identity { chain_id: CHAIN, escrow: v2::CHANNEL_RESERVE, terms })
    };
    let challenge = world.challenge(ProtocolVersion::V2).await;
    assert_eq!(challenge.decode_request().unwrap().details.operator, operator);
    for wrong in [Address::ZERO, payer] {
        let header = client(wrong).open(&challenge, 1_000, 100);
        world.answer(Method::GET, authorization(&header)).await.is(402, "verification-failed");
    }
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0);
    assert_eq!(world.get(&client(operator).open(&challenge, 1_000, 100)).await.status, 200);
}

#[tokio::test]
async fn a_replayed_open_is_worth_its_voucher() {
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let header = client.open(&challenge, 1_000, 100);
    assert_eq!(world.get(&header).await.status, 200);
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let before = world.snapshot(client.channel).await;
    let again = world.answer(Method::GET, authorization(&header)).await;
    assert_eq!((again.status, again.receipt().spent), (204, PRICE), "it was delivered before");
    let fresh = world.challenge(ProtocolVersion::V2).await;
    let seen = world.answer(Method::GET, authorization(&client.open(&fresh, 1_000, 100))).await;
    seen.is(402, "verification-failed");
    assert_eq!(world.get(&client.open(&fresh, 1_000, 400)).await.status, 200, "a higher voucher pays");
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 1);
    let after = world.snapshot(client.channel).await;
    assert_eq!(after.spent, before.spent.checked_add(PRICE).unwrap());
    assert_eq!(after.deposit, before.deposit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_identical_opens_broadcast_once() {
    let world = Arc::new(World::new());
    *world.chain.takes.lock() = Duration::from_millis(50);
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let header = client.open(&challenge, 1_000, 100);
    let opens = (0..36).map(|_| {
        let (world, header) = (Arc::clone(&world), header.clone());
        tokio::spawn(async move { world.get(&header).await.status })
    });
    let statuses: Vec<u16> = join_all(opens).await.into_iter().map(|status| status.unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 204, 409].contains(status)), "{statuses:?}");
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 1);
    assert_eq!(world.snapshot(client.channel).await.spent, PRICE);
}

#[tokio::test]
async fn a_client_that_leaves_still_has_its_channel() {
    let world = Arc::new(World::new());
    *world.chain.takes.lock() = Duration::from_millis(50);
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let header = client.open(&challenge, 1_000, 100);
    let leaving = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.get(&header).await.status }
    });
    while world.chain.opens.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.snapshot(client.channel).await.deposit, Amount::new(1_000), "it was booked");
}

#[tokio::test]
async fn what_the_chain_says_decides() {
    let tx_hash = B256::repeat_byte(1);
    for (refusal, status, kind) in [
        (ChainRefusal::BadTransaction { what: "gas".into() }, 402, "verification-failed"),
        (ChainRefusal::Reverted { tx_hash }, 402, "verification-failed"),
        (ChainRefusal::Unavailable { what: "no route to http://key@rpc".into() }, 503, "about:blank"),
        (ChainRefusal::Unknown { tx_hash }, 503, "about:blank"),
    ] {
        let world = World::new();
        let client = Client::new(&world, ProtocolVersion::V2, 1);
        let challenge = world.challenge(ProtocolVersion::V2).await;
        let header = client.open(&challenge, 1_000, 100);
        *world.chain.fail_open.lock() = Some(refusal);
        let seen = world.answer(Method::GET, authorization(&header)).await;
        let problem = seen.is(status, kind);
        assert!(!problem["detail"].as_str().unwrap().contains("rpc"), "the operator's URLs stay inside");
        assert_eq!(seen.header("retry-after").is_some(), status == 503);
        assert!(world.books().await.is_empty());
        assert_eq!(world.get(&header).await.status, 200, "it may be tried again");
    }
}

#[tokio::test]
async fn a_deposit_below_price_and_voucher_is_not_enough() {
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    for (deposit, amount) in [(99, 0), (150, 200)] {
        let seen = world.answer(Method::GET, authorization(&client.open(&challenge, deposit, amount))).await;
        seen.is(402, "verification-failed");
    }
    assert!(world.books().await.is_empty());
}
