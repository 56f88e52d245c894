//! What only the chain can do to a channel, and what the server makes of it.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, hex};
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use mpp::protocol::methods::tempo::session::SessionCredentialPayload;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

mod support;

use support::gate::Closes;
use support::hand::{Hand, Opened, PATH};
use support::{
    Options, Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, TOKEN_PRICE, World, amount, assert_closed, good,
    until,
};

/// After a close request the escrows hold the money for the payee this long.
const GRACE_PERIOD_S: u64 = 900;
/// How much of it the server may use up when nothing is wrong.
const ANSWER_S_MAX: u64 = 60;
/// Longer than the server's first pauses between two looks at the chain and between two tries to close.
const QUIET: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_is_answered_with_exactly_what_was_spent() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    // More is promised than spent: a close must not take it.
    assert_eq!(payer.promise(&opened, 7 * REQUEST_PRICE).await.status, StatusCode::NO_CONTENT);

    let asked_at = request_close_v2(&world, &opened).await;
    let closed = wait_closed(&world, &opened).await;
    assert_closed(&closed, 2 * REQUEST_PRICE);
    assert_eq!(amount(&closed, "accepted"), 7 * REQUEST_PRICE);
    world.balances().await.assert_paid(&before, 2 * REQUEST_PRICE);
    assert_eq!(world.chain.state_v2(opened.channel).await.deposit.to::<u128>(), 0);
    let took_s = world.chain.timestamp().await - asked_at;
    assert!(took_s <= ANSWER_S_MAX, "{took_s} s of the {GRACE_PERIOD_S} s of grace were used");

    // The tombstone stays: no voucher and no repeated open brings the channel back (rule 6).
    payer.pay(&opened, 8 * REQUEST_PRICE).await.assert_refused(410, "channel-finalized");
    let again = payer.hand_in(&opened, opened.payload.clone(), Protocol::V2, Method::GET).await;
    again.assert_refused(410, "channel-finalized");
    assert_eq!(world.channel(opened.channel).await, Some(closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_while_the_server_is_down_is_answered_at_the_start() {
    let mut world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.stop_server().await;
    request_close_v2(&world, &opened).await;
    world.start_server();
    assert_closed(&wait_closed(&world, &opened).await, REQUEST_PRICE);
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_that_was_made_and_taken_back_while_the_server_was_down_closes_nothing() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.stop_server().await;
    request_close_v2(&world, &opened).await;
    take_back_and_go_on(world, payer, opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_that_the_books_know_and_that_was_taken_back_closes_nothing() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.gate.set(Closes::Refused);
    request_close_v2(&world, &opened).await;
    until("the server tried to close", || async { (world.gate.spoiled() > 0).then_some(()) }).await;
    world.stop_server().await;
    world.gate.set(Closes::Pass);
    take_back_and_go_on(world, payer, opened).await;
}

/// The payer takes the request back while the server is down; then service goes on, and no close was sent.
async fn take_back_and_go_on(mut world: World, payer: Hand, opened: Opened) {
    // A top-up of nothing takes the request back, too.
    let call = ITIP20ChannelReserve::topUpCall {
        descriptor: opened.descriptor(),
        additionalDeposit: Default::default(),
    };
    world.chain.send(world.payer.address, world.chain.info().escrow_v2, call).await;
    assert_eq!(world.chain.state_v2(opened.channel).await.closeRequestedAt, 0);
    let sent = world.gate.calls("eth_sendRawTransaction");

    world.start_server();
    let payer = payer.at(&world, PATH);
    let paid = until("service goes on", || async {
        // Nothing of a request that is refused is booked, so the voucher stays the same.
        let answer = payer.pay(&opened, 2 * REQUEST_PRICE).await;
        (answer.status != StatusCode::GONE).then_some(answer)
    })
    .await;
    assert_eq!(paid.status, StatusCode::OK, "{paid:?}");
    tokio::time::sleep(QUIET).await;
    assert_eq!(world.gate.calls("eth_sendRawTransaction"), sent, "no close was sent");
    let books = world.channel(opened.channel).await.expect("in the books");
    assert_eq!(books["phase"], "open", "{books}");
    assert!(books["closeRequestedAt"].is_null(), "{books}");
    let closed = payer.close(&opened, 2 * REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    assert_closed(&world.channel(opened.channel).await.expect("in the books"), 2 * REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_ends_a_running_stream_and_takes_what_was_delivered() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.promise(&opened, SUGGESTED_DEPOSIT).await.status, StatusCode::NO_CONTENT);

    // The money is there for the whole stream; it would run for a minute.
    let chat = payer.at(&world, "/v1/chat?tokens=300&every_ms=200");
    let mut stream = chat.begin(&opened, SUGGESTED_DEPOSIT).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let mut text = String::new();
    while text.matches("data:").count() < 5 {
        let chunk = good("a piece", stream.chunk().await).expect("the stream goes on");
        text.push_str(good("text", std::str::from_utf8(&chunk)));
    }
    request_close_v2(&world, &opened).await;
    while let Some(chunk) = good("a piece", stream.chunk().await) {
        text.push_str(good("text", std::str::from_utf8(&chunk)));
    }
    let delivered = text.matches("{\"index\":").count() as u128;
    assert!(delivered < 300, "the stream ended early");
    assert_eq!(text.matches("event: payment-receipt").count(), 1, "with a receipt: {text}");

    let spent = REQUEST_PRICE + delivered * TOKEN_PRICE;
    assert_closed(&wait_closed(&world, &opened).await, spent);
    world.balances().await.assert_paid(&before, spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_v1_close_claims_the_highest_voucher_that_was_spent_and_books_the_rest_as_lost() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V1).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    // This voucher is worth more than what it pays for. A v1 close pays a voucher whole, so it stays at home.
    assert_eq!(payer.pay(&opened, 3 * REQUEST_PRICE + 500).await.status, StatusCode::OK);

    let call = ITempoStreamChannel::requestCloseCall { channelId: opened.channel };
    world.chain.send(world.payer.address, world.chain.info().escrow_v1, call).await;
    let closed = wait_closed(&world, &opened).await;
    assert_eq!(amount(&closed, "spent"), 3 * REQUEST_PRICE, "{closed}");
    assert_eq!(amount(&closed, "captured"), 2 * REQUEST_PRICE, "{closed}");
    assert_eq!(amount(&closed, "lost"), REQUEST_PRICE, "{closed}");
    assert_eq!(amount(&closed, "refunded"), SUGGESTED_DEPOSIT - 2 * REQUEST_PRICE, "{closed}");
    world.balances().await.assert_paid(&before, 2 * REQUEST_PRICE);
    assert!(world.chain.state_v1(opened.channel).await.finalized);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_v1_close_pays_exactly_what_was_spent() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V1).await;
    let spent = 2 * REQUEST_PRICE;
    assert_eq!(payer.pay(&opened, spent + 500).await.status, StatusCode::OK);
    let refused = payer.close(&opened, spent + 500).await;
    refused.assert_refused(402, "verification-failed");
    assert_eq!(refused.body["requiredCumulative"], json!(spent.to_string()), "what to sign: {refused:?}");
    let closed = payer.close(&opened, spent).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    assert_closed(&world.channel(opened.channel).await.expect("in the books"), spent);
    world.balances().await.assert_paid(&before, spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payers_own_operator_is_refused_before_anything_is_broadcast() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    // With this operator the payer could empty the channel at any time, without signature or grace period.
    let opened = payer.prepare_open(&world, Protocol::V2, world.stranger.address).await;
    let answer = payer.hand_in(&opened, opened.payload.clone(), Protocol::V2, Method::GET).await;
    answer.assert_refused(402, "verification-failed");
    assert_eq!(world.gate.calls("eth_sendRawTransaction"), 0);
    assert_eq!(world.balances().await, before);
    assert_eq!(world.channels().await, Vec::<Value>::new());
    assert_eq!(world.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advertised_operator_is_demanded_and_taken() {
    let world = World::start_with(Options { operator: true, ..Options::default() }).await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    for other in [Address::ZERO, world.stranger.address] {
        let opened = payer.prepare_open(&world, Protocol::V2, other).await;
        let answer = payer.hand_in(&opened, opened.payload.clone(), Protocol::V2, Method::GET).await;
        answer.assert_refused(402, "verification-failed");
    }
    assert_eq!(world.gate.calls("eth_sendRawTransaction"), 0);

    let opened = payer.prepare_open(&world, Protocol::V2, world.operator.address).await;
    let answer = payer.hand_in(&opened, opened.payload.clone(), Protocol::V2, Method::GET).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let books = world.channel(opened.channel).await.expect("in the books");
    assert_eq!(books["operator"], json!(format!("{:#x}", world.operator.address)));
    let closed = payer.close(&opened, REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_was_settled_is_public_and_buys_nothing() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    let public = payer.voucher(&opened, 3 * REQUEST_PRICE).await;
    let promised = payer.hand_in(&opened, public.clone(), Protocol::V2, Method::POST).await;
    assert_eq!(promised.status, StatusCode::NO_CONTENT, "{promised:?}");

    settle(&world, &opened, 3 * REQUEST_PRICE, &public).await;
    until("the books know that it is settled", || async {
        let books = world.channel(opened.channel).await?;
        (amount(&books, "settled") == 3 * REQUEST_PRICE).then_some(())
    })
    .await;
    let books = world.channel(opened.channel).await;

    // Everybody can read it on chain now. It buys nothing, under any challenge, and ends nothing.
    let stranger = Hand::new(&world, &world.stranger);
    for path in [PATH, "/v1/chat?tokens=5"] {
        let replay =
            stranger.at(&world, path).hand_in(&opened, public.clone(), Protocol::V2, Method::GET).await;
        replay.assert_refused(402, "verification-failed");
    }
    assert_eq!(world.channel(opened.channel).await, books, "nothing changed");
    // The payer may hear again that it was taken; that charges nothing.
    let retry = payer.hand_in(&opened, public, Protocol::V2, Method::POST).await;
    assert_eq!(retry.status, StatusCode::NO_CONTENT, "{retry:?}");
    assert_eq!(world.channel(opened.channel).await, books, "nothing changed");

    // A voucher above it pays again, out of what was promised and not spent.
    assert_eq!(payer.pay(&opened, 4 * REQUEST_PRICE).await.status, StatusCode::OK);
    let closed = payer.close(&opened, 4 * REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    let books = world.channel(opened.channel).await.expect("in the books");
    assert_eq!(amount(&books, "spent"), 2 * REQUEST_PRICE, "{books}");
    assert_eq!(amount(&books, "captured"), 3 * REQUEST_PRICE, "what was settled stays settled: {books}");
    world.balances().await.assert_paid(&before, 3 * REQUEST_PRICE);
}

/// The payer asks the reserve to close, and the time at which it did.
async fn request_close_v2(world: &World, opened: &Opened) -> u64 {
    let call = ITIP20ChannelReserve::requestCloseCall { descriptor: opened.descriptor() };
    world.chain.send(world.payer.address, world.chain.info().escrow_v2, call).await
}

/// The payee settles a voucher without the server.
async fn settle(world: &World, opened: &Opened, cumulative: u128, voucher: &SessionCredentialPayload) {
    let SessionCredentialPayload::Voucher { signature, .. } = voucher else { panic!("a voucher") };
    let call = ITIP20ChannelReserve::settleCall {
        descriptor: opened.descriptor(),
        cumulativeAmount: cumulative.try_into().expect("96 bits"),
        signature: Bytes::from(good("hex", hex::decode(signature))),
    };
    world.chain.send(world.payee.address, world.chain.info().escrow_v2, call).await;
}

async fn wait_closed(world: &World, opened: &Opened) -> Value {
    until("the channel is closed in the books", || async {
        world.channel(opened.channel).await.filter(|books| books["phase"] == "closed")
    })
    .await
}
