//! Vouchers that buy nothing yet, top-ups and closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Phase};
use farebox_core::units::{Amount, B256};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Step;
use farebox_engine::chain::{ChainRefusal, CloseFailure};
use http::Method;

use crate::support::*;

#[tokio::test]
async fn a_voucher_is_handed_in_by_head_or_an_empty_post() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let (world, client, challenge) = opened(protocol, 1_000).await;
        let seen = world.answer(Method::HEAD, authorization(&client.voucher(&challenge, 200))).await;
        assert_eq!((seen.status, seen.header("cache-control")), (204, Some("private")));
        let receipt = seen.receipt();
        assert_eq!((receipt.accepted, receipt.spent, receipt.units), (Amount::new(200), Amount::ZERO, None));
        let headers = empty(authorization(&client.voucher(&challenge, 300)));
        let seen = world.answer(Method::POST, headers).await;
        assert_eq!((seen.status, seen.receipt().accepted), (204, Amount::new(300)));
        // A POST with a body buys.
        let headers = with(authorization(&client.voucher(&challenge, 400)), "content-length", "5");
        assert_eq!(world.serve(Method::POST, headers).await.receipt().spent, PRICE);
        let headers = with(authorization(&client.voucher(&challenge, 500)), "transfer-encoding", "chunked");
        assert_eq!(world.serve(Method::POST, headers).await.receipt().spent, Amount::new(200));
    }
}

#[tokio::test]
async fn a_post_that_is_known_to_have_no_body_is_empty_without_a_length() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let headers = authorization(&client.voucher(&challenge, 200));
    let asked = farebox_engine::http::Asked {
        method: &Method::POST,
        headers: &headers,
        body_is_empty: true,
        body_digest: None,
        target: None,
        address: None,
    };
    let decision = world.door.decide(asked, &world.route).await;
    let farebox_engine::http::Decision::Answer(answer) = decision else { panic!() };
    assert_eq!(seen(answer).await.status, 204);
}

#[tokio::test]
async fn a_top_up_raises_the_deposit() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let (world, client, challenge) = opened(protocol, 1_000).await;
        for method in [Method::GET, Method::POST] {
            let seen = world.answer(method, authorization(&client.top_up(&challenge, 500))).await;
            assert_eq!((seen.status, seen.receipt().tx_hash), (204, Some(B256::repeat_byte(0x0B))));
        }
        assert_eq!(world.snapshot(client.channel).await.deposit, Amount::new(2_000));
        assert_eq!(world.get(&client.voucher(&challenge, 2_000)).await.status, 200);
    }
}

#[tokio::test]
async fn a_top_up_that_the_chain_refuses_changes_nothing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let before = world.books().await;
    let header = client.top_up(&challenge, 500);
    for (refusal, status) in [
        (ChainRefusal::BadTransaction { what: "calls".into() }, 402),
        (ChainRefusal::Reverted { tx_hash: B256::ZERO }, 402),
        (ChainRefusal::Unavailable { what: "rpc".into() }, 503),
        (ChainRefusal::Unknown { tx_hash: B256::ZERO }, 503),
    ] {
        *world.chain.fail_top_up.lock() = Some(refusal);
        assert_eq!(world.answer(Method::POST, authorization(&header)).await.status, status);
        assert_eq!(world.books().await, before);
    }
    // A descriptor of another channel is refused before the chain is asked.
    let sent = world.chain.top_ups.load(Ordering::SeqCst);
    let other = Client::new(&world, ProtocolVersion::V2, 2);
    let stolen = Client { channel: client.channel, ..other };
    let seen = world.answer(Method::POST, authorization(&stolen.top_up(&challenge, 500))).await;
    seen.is(402, "verification-failed");
    assert_eq!(world.chain.top_ups.load(Ordering::SeqCst), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_that_is_sent_twice_at_once_is_broadcast_once() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    *world.chain.takes.lock() = Duration::from_millis(50);
    let header = client.top_up(&challenge, 500);
    let (one, two) = tokio::join!(
        world.answer(Method::POST, authorization(&header)),
        world.answer(Method::POST, authorization(&header))
    );
    assert_eq!((one.status, two.status), (204, 204));
    assert_eq!(world.chain.top_ups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_close_captures_what_was_spent_and_never_more() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 9_000)).await.status, 200);
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 9_500)))).await;
    assert_eq!((seen.status, seen.receipt().tx_hash), (204, Some(B256::repeat_byte(0x0C))));
    assert_eq!(seen.receipt().spent, PRICE);
    let claims = world.chain.claims.lock().clone();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].capture, PRICE, "never the whole voucher");
    let Phase::Closed(closure) = world.snapshot(client.channel).await.phase else { panic!() };
    assert_eq!((closure.captured, closure.refunded), (PRICE, Amount::new(9_900)));
}

#[tokio::test]
async fn the_receipt_of_a_close_names_the_voucher_that_closed() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    // A request failed and was free, so the client closes with less than it once signed.
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 200)))).await;
    assert_eq!((seen.status, seen.receipt().accepted), (204, Amount::new(200)));
    assert_eq!(world.snapshot(client.channel).await.accepted, Amount::new(300));
}

#[tokio::test]
async fn a_v1_close_pays_exactly_what_was_spent() {
    let (world, client, challenge) = opened(ProtocolVersion::V1, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 250)).await.status, 200);
    // A v1 escrow would pay the whole voucher: the client is asked for one of what was spent.
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 250)))).await;
    let problem = seen.is(402, "verification-failed");
    assert_eq!(problem["requiredCumulative"], "100");
    assert!(world.chain.claims.lock().is_empty());
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 100)))).await;
    assert_eq!(seen.status, 204, "{seen:?}");
    assert_eq!(world.chain.claims.lock()[0].capture, Amount::new(100));
}

#[tokio::test]
async fn a_close_below_what_is_owed_says_what_is() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 99)))).await;
    assert_eq!(seen.is(402, "verification-failed")["requiredCumulative"], "100");
    assert_eq!(world.snapshot(client.channel).await.phase, Phase::Open);
}

#[tokio::test]
async fn a_close_that_surely_failed_leaves_the_channel_open() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let header = client.close(&challenge, 300);
    for failure in
        [CloseFailure::NotSent { what: "rpc".into() }, CloseFailure::Reverted { tx_hash: B256::ZERO }]
    {
        *world.chain.fail_close.lock() = Some(failure);
        let seen = world.answer(Method::POST, empty(authorization(&header))).await;
        assert_eq!(seen.status, 503);
        assert!(seen.header("retry-after").is_some());
        assert_eq!(world.snapshot(client.channel).await.phase, Phase::Open);
    }
    assert_eq!(world.answer(Method::POST, empty(authorization(&header))).await.status, 204);
}

#[tokio::test]
async fn a_close_of_unknown_fate_stays_closing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    *world.chain.fail_close.lock() = Some(CloseFailure::Unknown { tx_hash: B256::ZERO });
    let header = client.close(&challenge, 300);
    assert_eq!(world.answer(Method::POST, empty(authorization(&header))).await.status, 503);
    assert_eq!(world.snapshot(client.channel).await.phase, Phase::Closing { capture: PRICE });
    // Nothing is sold, and no second claim is sent.
    assert_eq!(world.answer(Method::POST, empty(authorization(&header))).await.status, 409);
    let voucher = world.answer(Method::GET, authorization(&client.voucher(&challenge, 400))).await;
    assert_eq!(voucher.status, 409);
    assert_eq!(world.chain.claims.lock().len(), 1);
}

#[tokio::test]
async fn a_close_waits_for_a_running_request() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    let world = Arc::new(world);
    let paid = world.paid(&client.voucher(&challenge, 300)).await;
    let header = client.close(&challenge, 300);
    let closing = tokio::spawn({
        let (world, header) = (Arc::clone(&world), header.clone());
        async move { world.answer(Method::POST, empty(authorization(&header))).await }
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(world.chain.claims.lock().is_empty(), "not while a request runs");
    assert_eq!(seen(paid.deliver(hello()).await).await.status, 200);
    assert_eq!(closing.await.unwrap().receipt().spent, PRICE);
    assert_eq!(world.chain.claims.lock()[0].capture, PRICE);
}

#[tokio::test]
async fn a_request_that_does_not_end_keeps_the_channel_open() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    let paid = world.paid(&client.voucher(&challenge, 300)).await;
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 300)))).await;
    assert_eq!(seen.status, 409);
    assert!(seen.header("retry-after").is_some());
    assert_eq!(world.snapshot(client.channel).await.phase, Phase::Open);
    drop(paid);
}

#[tokio::test]
async fn a_published_voucher_closes_nothing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let step = Step::Settled { settled: Amount::new(100), position: ChainPosition::default() };
    world.engine.apply(client.channel, step).await.unwrap();
    let seen = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 100)))).await;
    seen.is(402, "verification-failed");
    assert!(world.chain.claims.lock().is_empty());
}

#[tokio::test]
async fn two_closes_are_one() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 10_000).await;
    *world.chain.takes.lock() = Duration::from_millis(50);
    let header = client.close(&challenge, 0);
    let (one, two) = tokio::join!(
        world.answer(Method::POST, empty(authorization(&header))),
        world.answer(Method::POST, empty(authorization(&header)))
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    assert_eq!(world.chain.claims.lock().len(), 1);
}
