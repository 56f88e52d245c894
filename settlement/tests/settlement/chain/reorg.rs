//! The chain takes blocks back: the books are told what is true now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use farebox_core::channel::Phase;
use farebox_core::units::Amount;
use farebox_engine::Channel;
use serde_json::{Value, json};

use crate::support::node::{Answer, Node};
use crate::support::payer::Opened;
use crate::support::world::{DEPOSIT, World, devnet, eventually};

/// Longer than any test: the worker leaves close requests alone.
const NEVER_S: u64 = 10_000;

/// A world that claims nothing by itself, and checks channels soon.
async fn world(endpoint: impl AsyncFnOnce(String) -> String) -> World {
    let devnet = devnet().await;
    let endpoint = endpoint(devnet.info().rpc_url.clone()).await;
    World::tuned(devnet, vec![endpoint], |config| {
        config.work.close_request_rest_s = NEVER_S;
        config.check.look_ms = 300;
    })
    .await
}

async fn rpc(world: &World, method: &str, params: Value) -> Value {
    let http = alloy::transports::http::reqwest::Client::new();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let request = http.post(world.url()).header("content-type", "application/json").body(body);
    let answer = request.send().await.expect("an answer").text().await.expect("text");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

/// Sets the chain back, and lets it grow above where it was: other blocks, without what was in the old ones.
async fn set_back(world: &World, to: Value) {
    let was = rpc(world, "eth_blockNumber", json!([])).await;
    let number = |value: &Value| u64::from_str_radix(&value.as_str().expect("hex")[2..], 16).expect("hex");
    assert_eq!(rpc(world, "evm_revert", json!([to])).await, json!(true));
    let is = rpc(world, "eth_blockNumber", json!([])).await;
    for _ in number(&is)..number(&was) + 2 {
        rpc(world, "evm_mine", json!([])).await;
    }
}

async fn request_known(world: &World, opened: &Opened) -> Channel {
    let is_known = |books: &Channel| books.snapshot.close_requested_at.is_some();
    world.books_until(opened.channel, "the close request", is_known).await
}

async fn request_unknown(world: &World, opened: &Opened) -> Channel {
    let is_unknown = |books: &Channel| books.snapshot.close_requested_at.is_none();
    world.books_until(opened.channel, "no close request", is_unknown).await
}

/// What happened in blocks that were taken back is undone, and what happens in the new ones counts.
async fn blocks_are_taken_back(world: World, go_wrong: &AtomicBool) {
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    go_wrong.store(true, Ordering::SeqCst);
    world.pay(&opened, 1_000, 1_000).await;

    // A close request that is not there any more: service goes on.
    let before = rpc(&world, "evm_snapshot", json!([])).await;
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    request_known(&world, &opened).await;
    set_back(&world, before).await;
    request_unknown(&world, &opened).await;
    world.pay(&opened, 3_000, 2_000).await;

    // A top-up that took a close request back, and is not there any more: the request stands again, or the payer could
    // withdraw behind our back.
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    request_known(&world, &opened).await;
    let before = rpc(&world, "evm_snapshot", json!([])).await;
    assert!(world.send(&world.payer.top_up(&opened, 5)).await.success);
    let books = request_unknown(&world, &opened).await;
    assert_eq!(books.snapshot.deposit, Amount::new(DEPOSIT + 5));
    set_back(&world, before).await;
    let books = request_known(&world, &opened).await;
    assert_eq!(books.snapshot.phase, Phase::Open);

    // The new branch goes on as any other.
    assert!(world.send(&world.payer.top_up(&opened, 7)).await.success);
    let books = request_unknown(&world, &opened).await;
    assert!(books.snapshot.deposit >= Amount::new(DEPOSIT + 7));
    let next = world.engine.cursor().expect("following");
    assert!(!next.parent.is_zero(), "the block below the cursor is remembered: {next:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replaced_blocks_said_is_undone() {
    blocks_are_taken_back(world(async |url| url).await, &AtomicBool::new(false)).await;
}

/// The same through a node that drops, delays, doubles and refuses one answer in seven.
#[tokio::test(flavor = "multi_thread")]
async fn what_replaced_blocks_said_is_undone_through_a_node_with_faults() {
    let count = AtomicU64::new(0);
    let goes_wrong = Arc::new(AtomicBool::new(false));
    let is_on = Arc::clone(&goes_wrong);
    let mut node = None;
    let world = world(async |url| {
        let faulty = Node::before(Some(url), move |_, _| match count.fetch_add(1, Ordering::SeqCst) {
            number if number % 7 != 6 || !is_on.load(Ordering::SeqCst) => Answer::Forward,
            number => match number / 7 % 4 {
                0 => Answer::Drop,
                1 => Answer::ForwardTwice,
                2 => Answer::Status(503),
                _ => Answer::ForwardLate(std::time::Duration::from_millis(200)),
            },
        })
        .await;
        let url = faulty.url.clone();
        node = Some(faulty);
        url
    })
    .await;
    blocks_are_taken_back(world, &goes_wrong).await;
}

/// Blocks were replaced while nobody looked: the cursor remembers the hash of the last one.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_were_replaced_during_a_stop_are_noticed() {
    let world = world(async |url| url).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    let before = rpc(&world, "evm_snapshot", json!([])).await;
    let asked = world.send(&world.payer.request_close(&opened)).await;
    request_known(&world, &opened).await;
    eventually("the cursor is past the request", async || {
        (world.engine.cursor()?.next_block.0 > asked.block).then_some(())
    })
    .await;
    let url = world.url();
    let world = world.restart(vec!["http://127.0.0.1:9".to_owned()]).await;
    set_back(&world, before).await;
    let world = world.restart(vec![url]).await;
    request_unknown(&world, &opened).await;
    world.stop().await;
}

/// A node leaves events out for ever: the channels' state on chain tells what they did not.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_the_comparison_with_the_escrow_finds() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |method, _| match method {
        "eth_getLogs" => Answer::Result(json!([])),
        _ => Answer::Forward,
    })
    .await;
    let world = World::tuned(devnet, vec![node.url.clone()], |config| {
        config.work.close_request_rest_s = NEVER_S;
        config.check.look_ms = 300;
        config.check.every_ms = 500;
        config.check.page_channels = 2;
    })
    .await;
    let mut opened = Vec::new();
    for _ in 0..3 {
        let one = world.open_v2();
        world.open(&one).await.expect("an open");
        opened.push(one);
    }
    let [asked, raised, quiet] = &opened[..] else { unreachable!("three") };
    assert!(world.send(&world.payer.request_close(asked)).await.success);
    assert!(world.send(&world.payer.top_up(raised, 9)).await.success);
    request_known(&world, asked).await;
    let is_raised = |books: &Channel| books.snapshot.deposit == Amount::new(DEPOSIT + 9);
    world.books_until(raised.channel, "the top-up", is_raised).await;
    let books = world.books(quiet.channel).await;
    assert_eq!((books.snapshot.deposit, books.snapshot.close_requested_at), (Amount::new(DEPOSIT), None));
    world.stop().await;
}
