//! Paid requests: charged once, before the body, and only for what succeeded.

use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Rejection};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{Decision, PaidStop};
use farebox_engine::{Config, Step};
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use crate::support::*;

#[tokio::test]
async fn a_paid_request_is_charged_and_gets_a_receipt() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let (world, client, challenge) = opened(protocol, 1_000).await;
        let seen = world.get(&client.voucher(&challenge, 100)).await;
        assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]));
        assert_eq!(seen.header("cache-control"), Some("private"));
        let receipt = seen.receipt();
        assert_eq!((receipt.accepted, receipt.spent), (Amount::new(100), Amount::new(100)));
        assert_eq!((receipt.units, receipt.tx_hash), (Some(1), None));
        assert_eq!((receipt.channel, receipt.challenge_id), (client.channel, challenge.id));
        let snapshot = world.snapshot(client.channel).await;
        assert_eq!((snapshot.spent, snapshot.reserved, snapshot.units), (PRICE, Amount::ZERO, 1));
    }
}

#[tokio::test]
async fn the_price_is_set_aside_while_the_service_works() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    assert_eq!(world.snapshot(client.channel).await.reserved, PRICE);
    let other = world.challenge(ProtocolVersion::V2).await;
    let seen = world.answer(Method::GET, authorization(&client.voucher(&other, 100))).await;
    let problem = seen.is(402, "session/insufficient-balance");
    assert_eq!(problem["requiredTopUp"], "100");
    assert_eq!(problem["requiredCumulative"], "200");
    assert_eq!(seen.header("payment-receipt"), None);
    drop(paid);
    // Dropping gives it back, and the same credential may try again.
    for _ in 0..100 {
        if world.snapshot(client.channel).await.reserved == Amount::ZERO {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_while_the_books_work_leaves_no_money_set_aside() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let headers = authorization(&client.voucher(&challenge, 100));
    // Polled once: the voucher is handed in. When the books are so fast that they answer at once, the guard is what is left.
    drop(world.decide(Method::GET, &headers, &world.route).now_or_never());
    for _ in 0..1_000 {
        let snapshot = world.snapshot(client.channel).await;
        if (snapshot.accepted, snapshot.reserved) == (PRICE, Amount::ZERO) {
            break;
        }
    }
    assert_eq!(world.snapshot(client.channel).await.accepted, PRICE);
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200, "it may come back");
}

#[tokio::test]
async fn a_service_that_fails_costs_nothing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    for status in [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND] {
        let paid = world.paid(&client.voucher(&challenge, 100)).await;
        let mut answer = Response::new(Full::new(bytes::Bytes::from_static(b"sorry")));
        *answer.status_mut() = status;
        answer.headers_mut().insert("payment-receipt", http::HeaderValue::from_static("forged"));
        let seen = seen(paid.deliver(Ok::<_, std::convert::Infallible>(answer)).await).await;
        assert_eq!((seen.status, seen.body.as_slice()), (status.as_u16(), &b"sorry"[..]), "passed on");
        assert_eq!(seen.header("payment-receipt"), None);
    }
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    let none: Result<Response<Full<bytes::Bytes>>, _> = Err(std::io::Error::other("connection refused"));
    let seen = seen(paid.deliver(none).await).await;
    assert_eq!(seen.status, 502);
    assert!(!String::from_utf8_lossy(&seen.body).contains("refused"), "the service's words stay inside");
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
}

#[tokio::test]
async fn one_credential_is_delivered_once() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let header = client.voucher(&challenge, 500);
    let first = world.get(&header).await;
    assert_eq!(first.status, 200);
    for _ in 0..3 {
        let again = world.answer(Method::GET, authorization(&header)).await;
        assert_eq!((again.status, again.body.len()), (204, 0));
        let receipt = again.receipt();
        assert_eq!((receipt.spent, receipt.units), (Amount::new(100), Some(1)), "the stored outcome");
    }
    assert_eq!(world.snapshot(client.channel).await.spent, PRICE);
    // Another signature encoding of the same payment is the same payment.
    let mut fields = client.fields(500);
    fields.signature[32] |= (fields.signature[64] - 27) << 7;
    fields.signature.truncate(64);
    let compact = client.header(&challenge, farebox_core::challenge::Payload::Voucher(fields));
    assert_eq!(world.answer(Method::GET, authorization(&compact)).await.status, 204);
    // The same voucher for a fresh challenge is a new request, and is paid from what is left.
    let fresh = world.challenge(ProtocolVersion::V2).await;
    let second = world.get(&client.voucher(&fresh, 500)).await;
    assert_eq!((second.status, second.receipt().spent), (200, Amount::new(200)));
}

#[tokio::test]
async fn an_idempotency_key_is_charged_once_and_names_its_challenge() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let keyed = |header: &str, key: &str| with(authorization(header), "idempotency-key", key);
    let first = world.serve(Method::GET, keyed(&client.voucher(&challenge, 100), "a")).await;
    assert_eq!(first.status, 200);
    // A retry with a higher voucher is still the same request.
    let again = world.answer(Method::GET, keyed(&client.voucher(&challenge, 200), "a")).await;
    assert_eq!((again.status, again.receipt().spent), (204, Amount::new(100)));
    // Another key, and the same key under another challenge, are other requests.
    assert_eq!(world.serve(Method::GET, keyed(&client.voucher(&challenge, 200), "b")).await.status, 200);
    let fresh = world.challenge(ProtocolVersion::V2).await;
    assert_eq!(world.serve(Method::GET, keyed(&client.voucher(&fresh, 300), "a")).await.status, 200);
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(300));
    for bad in ["", &"k".repeat(256)] {
        assert_eq!(world.answer(Method::GET, keyed(&client.voucher(&fresh, 400), bad)).await.status, 400);
    }
    assert_eq!(world.snapshot(client.channel).await.accepted, Amount::new(300), "nothing changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_six_parallel_retries_are_one_charge_and_one_delivery() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 100_000).await;
    let world = Arc::new(world);
    let header = client.voucher(&challenge, 50_000);
    let retries = (0..36).map(|_| {
        let (world, header) = (Arc::clone(&world), header.clone());
        tokio::spawn(async move { world.get(&header).await })
    });
    let mut counts = std::collections::BTreeMap::new();
    for seen in join_all(retries).await {
        let seen = seen.unwrap();
        if seen.status == 409 {
            assert!(seen.header("retry-after").is_some());
        }
        *counts.entry(seen.status).or_insert(0) += 1;
    }
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    assert!(counts.keys().all(|status| [200, 204, 409].contains(status)), "{counts:?}");
    let snapshot = world.snapshot(client.channel).await;
    assert_eq!((snapshot.spent, snapshot.units, snapshot.reserved), (PRICE, 1, Amount::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_requests_with_one_voucher_never_spend_more_than_it() {
    let (world, client, _) = opened(ProtocolVersion::V2, 100_000).await;
    let world = Arc::new(world);
    let mut requests = Vec::new();
    for _ in 0..20 {
        let challenge = world.challenge(ProtocolVersion::V2).await;
        let (world, header) = (Arc::clone(&world), client.voucher(&challenge, 700));
        requests.push(tokio::spawn(async move { world.get(&header).await.status }));
    }
    let statuses: Vec<u16> = join_all(requests).await.into_iter().map(|status| status.unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 402].contains(status)));
    assert_eq!(world.snapshot(client.channel).await.spent, Amount::new(700));
}

#[tokio::test]
async fn amounts_only_grow() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let fresh = world.challenge(ProtocolVersion::V2).await;
    world
        .answer(Method::GET, authorization(&client.voucher(&fresh, 299)))
        .await
        .is(402, "verification-failed");
    let seen = world.answer(Method::GET, authorization(&client.voucher(&fresh, 1_001))).await;
    seen.is(402, "session/amount-exceeds-deposit");
    // An equal one is an idempotent retry for a management request.
    let equal = world.answer(Method::HEAD, authorization(&client.voucher(&fresh, 300))).await;
    assert_eq!(
        (equal.status, equal.receipt().accepted, equal.receipt().units),
        (204, Amount::new(300), None)
    );
}

#[tokio::test]
async fn a_voucher_must_rise_by_the_minimum() {
    let mut engine = Config::default();
    engine.policy.voucher_delta_min = Amount::new(50);
    let mut config = config(farebox_core::units::Address::ZERO);
    config.voucher_delta_min = Amount::new(50);
    let (world, client, challenge) = opened_in(World::with(config, engine), ProtocolVersion::V2, 1_000).await;
    let request = challenge.decode_request().unwrap();
    assert_eq!(request.details.voucher_delta_min, Amount::new(50), "it is advertised");
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    let seen = world.answer(Method::HEAD, authorization(&client.voucher(&challenge, 149))).await;
    let problem = seen.is(402, "session/delta-too-small");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("50") && !detail.contains("49"), "{detail}");
}

#[tokio::test]
async fn a_voucher_that_a_settlement_published_pays_for_nothing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 500)).await.status, 200);
    let step = Step::Settled { settled: Amount::new(500), position: ChainPosition::default() };
    world.engine.apply(client.channel, step).await.unwrap();
    let before = world.snapshot(client.channel).await;
    let fresh = world.challenge(ProtocolVersion::V2).await;
    // Anybody can read it on chain: it neither spends what is left, nor revives a lower one.
    world
        .answer(Method::GET, authorization(&client.voucher(&fresh, 500)))
        .await
        .is(402, "verification-failed");
    world
        .answer(Method::GET, authorization(&client.voucher(&fresh, 400)))
        .await
        .is(402, "verification-failed");
    // An equal retry gets the receipt, and the delivered credential its outcome.
    assert_eq!(world.answer(Method::HEAD, authorization(&client.voucher(&fresh, 500))).await.status, 204);
    assert_eq!(world.answer(Method::GET, authorization(&client.voucher(&challenge, 500))).await.status, 204);
    let after = world.snapshot(client.channel).await;
    assert_eq!((after.spent, after.accepted), (before.spent, before.accepted));
    assert_eq!(world.get(&client.voucher(&fresh, 600)).await.status, 200, "a higher one is not public");
}

#[tokio::test]
async fn a_close_request_on_chain_stops_service() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let paid = world.paid(&client.voucher(&challenge, 100)).await;
    let position = ChainPosition { block: 9, log_index: 0 };
    world.engine.apply(client.channel, Step::CloseRequested { at: UnixSeconds(5), position }).await.unwrap();
    let fresh = world.challenge(ProtocolVersion::V2).await;
    for method in [Method::GET, Method::HEAD] {
        let seen = world.answer(method, authorization(&client.voucher(&fresh, 300))).await;
        seen.is(410, "session/channel-finalized");
    }
    // What was promised before is still delivered and paid.
    assert_eq!(seen(paid.deliver(hello()).await).await.receipt().spent, PRICE);
    // A top-up cancels the request, and service goes on.
    let topped = world.answer(Method::POST, empty(authorization(&client.top_up(&fresh, 1)))).await;
    assert_eq!(topped.status, 204, "{topped:?}");
}

#[tokio::test]
async fn an_embedder_captures_as_it_goes() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let mut paid = world.paid(&client.voucher(&challenge, 350)).await;
    assert_eq!(paid.capture(2).await.unwrap().units, 2);
    let stop = paid.capture(2).await.unwrap_err();
    let PaidStop::Rejected(Rejection::InsufficientBalance { required_cumulative, .. }) = stop else {
        panic!("{stop}")
    };
    assert_eq!(required_cumulative, Amount::new(400));
    let receipt = paid.finish(1).await.unwrap();
    assert_eq!((receipt.units, receipt.spent), (Some(3), Amount::new(300)));
    let again = world.answer(Method::GET, authorization(&client.voucher(&challenge, 350))).await;
    assert_eq!(again.receipt().units, Some(3));
    let Decision::Paid(paid) = world
        .decide(
            Method::GET,
            &authorization(&client.voucher(&world.challenge(ProtocolVersion::V2).await, 400)),
            &world.route,
        )
        .await
    else {
        panic!()
    };
    paid.release().await;
    assert_eq!(world.snapshot(client.channel).await.reserved, Amount::ZERO);
}
