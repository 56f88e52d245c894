//! A stream whose gateway is killed: its books hold what left it, and no more than one step beyond.
//!
//! `FAREBOX_GATEWAY_KILLS` kills it more often.

mod support;

use farebox_engine::http::sse::CHUNK_EVENTS_MAX;
use futures_util::StreamExt;
use support::hand::Hand;
use support::{Protocol, REQUEST_PRICE, TOKEN_PRICE, World};

/// Tokens of a stream: more than are delivered before the kill.
const TOKENS: u128 = 20_000;

fn kills() -> u64 {
    std::env::var("FAREBOX_GATEWAY_KILLS").ok().map_or(2, |text| text.parse().expect("a number"))
}

async fn spent(world: &World, channel: impl ToString) -> u128 {
    let books = world.channel(channel).await.expect("the channel is in the books");
    assert_eq!(books["reserved"], "0", "{books}");
    books["spent"].as_str().expect("an amount").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_gateway_is_killed_was_charged_for_what_was_delivered() {
    let mut world = World::start().await;
    let hand = Hand::new(&world, &world.payer);
    let opened = hand.open(&world, Protocol::V2).await;
    let deposit = u128::from(kills()) * TOKENS * TOKEN_PRICE;
    assert_eq!(hand.top_up(&opened, deposit).await.status.as_u16(), 204);
    let mut owed = REQUEST_PRICE;
    for kill in 0..kills() {
        let before = spent(&world, opened.channel).await;
        let chat = hand.at(&world, &format!("/v1/chat?tokens={TOKENS}&every_ms=1"));
        owed += TOKENS * TOKEN_PRICE;
        let answer = chat.begin(&opened, owed).await;
        assert_eq!(answer.status().as_u16(), 200);
        let mut pieces = answer.bytes_stream();
        let (mut read, mut is_killed) = (String::new(), false);
        while let Some(Ok(piece)) = pieces.next().await {
            read.push_str(std::str::from_utf8(&piece).expect("text"));
            if !is_killed && read.matches("data: ").count() as u64 >= 50 + 77 * (kill % 7) {
                world.kill_server();
                is_killed = true;
            }
        }
        assert!(is_killed, "{read}");
        let delivered = read.matches("\n\n").count() as u128;
        world.start_server();
        let charged = (spent(&world, opened.channel).await - before) / TOKEN_PRICE;
        assert!(charged >= delivered, "kill {kill}: {delivered} delivered, {charged} charged");
        assert!(charged - delivered <= CHUNK_EVENTS_MAX as u128, "kill {kill}: {delivered}, {charged}");
    }
}
