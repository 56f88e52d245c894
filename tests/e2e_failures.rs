//! What goes wrong around a server: the way to the chain, the server itself, the upstream, a second server.

use std::process::Command;

use alloy_primitives::Address;
use farebox_contracts::v2::ITIP20ChannelReserve;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

mod support;

use support::gate::Closes;
use support::hand::{Hand, Opened};
use support::{
    Options, Protocol, REQUEST_PRICE, World, amount, assert_closed, farebox, program, text, until,
};

/// `farebox serve` ends with this when something that it needs is not there.
const CANNOT_START: i32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_stops_service_at_once_and_a_top_up_resumes_it() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;

    // No claim gets to the chain, so the payer can take the request back.
    world.gate.set(Closes::Refused);
    request_close(&world, &opened).await;
    until("the server tried to close", || async { (world.gate.spoiled() > 0).then_some(()) }).await;
    let books = world.channel(opened.channel).await.expect("in the books");
    assert!(books["closeRequestedAt"].is_u64(), "{books}");
    let (accepted, spent) = (amount(&books, "accepted"), amount(&books, "spent"));

    payer.pay(&opened, 2 * REQUEST_PRICE).await.assert_refused(410, "channel-finalized");
    payer.promise(&opened, 2 * REQUEST_PRICE).await.assert_refused(410, "channel-finalized");
    let books = world.channel(opened.channel).await.expect("in the books");
    assert_eq!((amount(&books, "accepted"), amount(&books, "spent")), (accepted, spent), "{books}");

    // While a try to close is on its way a top-up has to wait.
    let topped_up = until("a top-up is taken", || async {
        let answer = payer.top_up(&opened, 5_000).await;
        (answer.status != StatusCode::CONFLICT).then_some(answer)
    })
    .await;
    assert_eq!(topped_up.status, StatusCode::NO_CONTENT, "{topped_up:?}");
    until("the channel is open again", || async {
        let books = world.channel(opened.channel).await?;
        (books["phase"] == "open" && books["closeRequestedAt"].is_null()).then_some(())
    })
    .await;
    world.gate.set(Closes::Pass);
    assert_eq!(world.chain.state_v2(opened.channel).await.closeRequestedAt, 0);
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    let closed = payer.close(&opened, 2 * REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    let books = world.channel(opened.channel).await.expect("in the books");
    assert_closed(&books, 2 * REQUEST_PRICE);
    assert_eq!(amount(&books, "deposit"), support::SUGGESTED_DEPOSIT + 5_000);
    world.balances().await.assert_paid(&before, 2 * REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_close_is_tried_again_until_it_comes_through() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.gate.set(Closes::Refused);
    request_close(&world, &opened).await;
    until("two tries failed", || async { (world.gate.spoiled() >= 2).then_some(()) }).await;
    world.gate.set(Closes::Pass);
    assert_closed(&wait_closed(&world, &opened).await, REQUEST_PRICE);
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_whose_answer_is_lost_is_booked_as_it_happened() {
    let world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.gate.set(Closes::AnswerLost);
    let closed = payer.close(&opened, REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    assert!(closed.receipt()["txHash"].is_string(), "{closed:?}");
    assert_closed(&world.channel(opened.channel).await.expect("in the books"), REQUEST_PRICE);
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_close_was_broadcast_books_it_at_the_start() {
    crash_while_closing(Closes::AnswerHeld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_close_was_broadcast_closes_at_the_start() {
    crash_while_closing(Closes::Held).await;
}

/// Kills the server between the moment when its books say "closing" and the answer of the chain.
async fn crash_while_closing(closes: Closes) {
    let mut world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    world.gate.set(closes);
    request_close(&world, &opened).await;
    until("the close is on its way", || async { (world.gate.spoiled() > 0).then_some(()) }).await;
    world.kill_server();
    let on_chain = world.chain.state_v2(opened.channel).await.deposit.to::<u128>();
    assert_eq!(on_chain == 0, closes == Closes::AnswerHeld, "the chain got the close, or not: {on_chain}");
    world.gate.set(Closes::Pass);
    world.start_server();
    assert_closed(&wait_closed(&world, &opened).await, REQUEST_PRICE);
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_upstream_answers_502_and_charges_nothing() {
    let world = World::start_with(Options { upstream_is_away: true, ..Options::default() }).await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.prepare_open(&world, Protocol::V2, Address::ZERO).await;
    let answer = payer.hand_in(&opened, opened.payload.clone(), Protocol::V2, Method::GET).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
    assert!(!answer.headers.contains_key("payment-receipt"), "{answer:?}");
    let stream = payer.at(&world, "/v1/chat?tokens=5").pay(&opened, 2 * REQUEST_PRICE).await;
    assert_eq!(stream.status, StatusCode::BAD_GATEWAY, "{stream:?}");
    let books = world.channel(opened.channel).await.expect("the channel was opened");
    assert_eq!(amount(&books, "spent"), 0, "{books}");
    assert_eq!(amount(&books, "reserved"), 0, "{books}");
    // Nothing was delivered, so everything goes back.
    let closed = payer.close(&opened, 2 * REQUEST_PRICE).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT, "{closed:?}");
    assert_closed(&world.channel(opened.channel).await.expect("in the books"), 0);
    world.balances().await.assert_paid(&before, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_books_is_refused_and_says_why() {
    let world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    let second =
        Command::new(farebox()).args(["serve", "-c"]).arg(&world.config).output().expect("runs farebox");
    assert_eq!(second.status.code(), Some(CANNOT_START), "{second:?}");
    assert_eq!(text(&second.stdout), "", "it never said that it listens");
    let said = text(&second.stderr);
    assert!(said.contains("ledger.path") && said.contains("is in use by"), "{said}");
    // The first one did not notice.
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_can_be_listed_beside_a_running_server() {
    let mut world = World::start().await;
    let payer = Hand::new(&world, &world.payer);
    let v2 = payer.open(&world, Protocol::V2).await;
    let v1 = payer.open(&world, Protocol::V1).await;
    assert_eq!(payer.pay(&v2, 2 * REQUEST_PRICE).await.status, StatusCode::OK);
    assert_eq!(payer.close(&v1, REQUEST_PRICE).await.status, StatusCode::NO_CONTENT);
    let books = world.channels().await;
    assert_eq!(books.len(), 2);
    assert_eq!(list(&world), json!({ "channels": books }));
    world.stop_server().await;
    assert_eq!(list(&world), json!({ "channels": books }), "and without one");
}

/// `farebox channels --json`.
fn list(world: &World) -> Value {
    let config = world.config.to_str().expect("a path of ASCII");
    let listed = program::run(&["channels", "-c", config, "--json"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    serde_json::from_slice(&listed.stdout).expect("JSON")
}

async fn request_close(world: &World, opened: &Opened) {
    let call = ITIP20ChannelReserve::requestCloseCall { descriptor: opened.descriptor() };
    world.chain.send(world.payer.address, world.chain.info().escrow_v2, call).await;
}

async fn wait_closed(world: &World, opened: &Opened) -> Value {
    until("the channel is closed in the books", || async {
        world.channel(opened.channel).await.filter(|books| books["phase"] == "closed")
    })
    .await
}
