//! The published Rust client (crate `mpp`, which we did not write) pays through Farebox, and the money arrives on
//! chain.

use reqwest::StatusCode;
use serde_json::{Value, json};

mod support;

use support::client::Client;
use support::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, TOKEN_PRICE, World, amount, assert_closed, good};

/// Events of the stream: more than the first deposit pays for, so that the client must top up in mid-stream.
const TOKENS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn requests_a_stream_with_a_top_up_in_the_middle_and_a_close() {
    let world = World::start().await;
    let before = world.balances().await;
    let client = Client::new(&world, &world.payer, Protocol::V2);

    let mut owed = 0;
    for n in 1..=3_u128 {
        let response = client.get(&world.url(&format!("/v1/quote?n={n}"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()["cache-control"].to_str().is_ok_and(|value| value.contains("private")));
        owed += REQUEST_PRICE;
        let receipt = receipt(&response);
        assert_eq!(receipt["spent"], json!(owed.to_string()), "{receipt}");
        assert_eq!(receipt["acceptedCumulative"], json!(owed.to_string()), "{receipt}");
        assert_eq!(receipt["units"], 1, "{receipt}");
    }
    let channel = client.channel();
    let open = world.channel(channel).await.expect("the channel is in the books");
    assert_eq!(open["protocol"], "v2");
    assert_eq!(amount(&open, "deposit"), SUGGESTED_DEPOSIT);

    let chat = world.url(&format!("/v1/chat?tokens={TOKENS}"));
    let streamed = client.stream(&chat).await;
    let expected: Vec<Value> = (0..TOKENS).map(|index| json!({ "index": index })).collect();
    assert_eq!(streamed.messages, expected, "every event, once, in order");
    assert!(streamed.vouchers_asked > 1, "vouchers came in mid-stream: {}", streamed.vouchers_asked);
    owed += TOKENS as u128 * TOKEN_PRICE;
    let [last] = streamed.receipts.as_slice() else { panic!("receipts: {:?}", streamed.receipts) };
    assert_eq!(last["spent"], json!(owed.to_string()), "the last receipt tells the whole amount");
    assert_eq!(last["units"], TOKENS);

    let open = world.channel(channel).await.expect("the channel is in the books");
    assert_eq!(open["phase"], "open");
    assert_eq!(amount(&open, "spent"), owed);
    assert!(amount(&open, "deposit") > SUGGESTED_DEPOSIT, "the stream topped up: {open}");
    assert_eq!(amount(&open, "deposit"), client.deposit(), "the client and the books agree on the deposit");
    assert_eq!(client.session.spend().spent, owed, "and on what was spent");

    let tx_hash = client.close(&chat).await;
    let close = world.chain.rpc("eth_getTransactionReceipt", json!([tx_hash])).await;
    assert_eq!(close["status"], "0x1", "the receipt names the transaction that closed: {close}");
    let closed = world.channel(channel).await.expect("a closed channel stays known");
    assert_closed(&closed, owed);
    world.balances().await.assert_paid(&before, owed);
    assert_eq!(world.chain.state_v2(channel).await.deposit.to::<u128>(), 0, "the reserve forgot the channel");
    assert_eq!(world.upstream.payment_headers(), 0, "credentials do not reach the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_protocol_requests_a_stream_and_a_close() {
    let world = World::start().await;
    let before = world.balances().await;
    let client = Client::new(&world, &world.payer, Protocol::V1);
    for _ in 0..2 {
        assert_eq!(client.get(&world.url("/v1/quote")).await.status(), StatusCode::OK);
    }
    let chat = world.url("/v1/chat?tokens=120");
    let streamed = client.stream(&chat).await;
    assert_eq!(streamed.messages.len(), 120);
    assert!(streamed.vouchers_asked > 1, "vouchers came in mid-stream: {}", streamed.vouchers_asked);
    let owed = 2 * REQUEST_PRICE + 120 * TOKEN_PRICE;
    let channel = client.channel();
    let open = world.channel(channel).await.expect("the channel is in the books");
    assert_eq!(open["protocol"], "v1");
    assert_eq!(amount(&open, "spent"), owed);

    client.close(&chat).await;
    assert_closed(&world.channel(channel).await.expect("a closed channel stays known"), owed);
    world.balances().await.assert_paid(&before, owed);
    assert!(world.chain.state_v1(channel).await.finalized);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_channel_is_followed_by_a_new_one() {
    let world = World::start().await;
    let before = world.balances().await;
    let client = Client::new(&world, &world.payer, Protocol::V2);
    let url = world.url("/v1/quote");
    let mut channels = Vec::new();
    for _ in 0..2 {
        assert_eq!(client.get(&url).await.status(), StatusCode::OK);
        channels.push(client.channel());
        client.close(&url).await;
        assert_eq!(client.deposit(), 0, "the client forgot the closed channel");
    }
    assert_ne!(channels[0], channels[1]);
    for channel in channels {
        assert_closed(&world.channel(channel).await.expect("a closed channel stays known"), REQUEST_PRICE);
    }
    world.balances().await.assert_paid(&before, 2 * REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_upstream_is_free_and_the_voucher_pays_for_the_next_request() {
    let world = World::start().await;
    let before = world.balances().await;
    let client = Client::new(&world, &world.payer, Protocol::V2);
    assert_eq!(client.get(&world.url("/v1/quote")).await.status(), StatusCode::OK);
    let failed = client.get(&world.url("/v1/fail")).await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!failed.headers().contains_key("payment-receipt"));
    let channel = client.channel();
    let books = world.channel(channel).await.expect("the channel is in the books");
    assert_eq!(amount(&books, "spent"), REQUEST_PRICE);
    assert_eq!(amount(&books, "reserved"), 0);
    client.close(&world.url("/v1/quote")).await;
    assert_closed(&world.channel(channel).await.expect("a closed channel stays known"), REQUEST_PRICE);
    world.balances().await.assert_paid(&before, REQUEST_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_payers_at_once_pay_each_for_themselves() {
    let world = World::start().await;
    let before = world.balances().await;
    let chat = world.url("/v1/chat?tokens=60");
    let clients = [&world.payer, &world.stranger, &world.operator]
        .map(|payer| Client::new(&world, payer, Protocol::V2));
    let streams = futures_util::future::join_all(clients.iter().map(|client| client.stream(&chat))).await;
    for (client, streamed) in clients.iter().zip(streams) {
        assert_eq!(streamed.messages.len(), 60);
        let channel = client.channel();
        client.close(&chat).await;
        assert_closed(&world.channel(channel).await.expect("in the books"), 60 * TOKEN_PRICE);
    }
    let after = world.balances().await;
    assert_eq!(after.payee, before.payee + 3 * 60 * TOKEN_PRICE);
    assert_eq!(after.escrow, before.escrow);
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_do_not_ask_the_chain() {
    let world = World::start().await;
    let client = Client::new(&world, &world.payer, Protocol::V2);
    let url = world.url("/v1/quote");
    assert_eq!(client.get(&url).await.status(), StatusCode::OK);
    let calls = || {
        ["eth_call", "eth_getTransactionReceipt", "eth_sendRawTransaction"]
            .map(|method| world.gate.calls(method))
    };
    let before = calls();
    for _ in 0..9 {
        assert_eq!(client.get(&url).await.status(), StatusCode::OK);
    }
    assert_eq!(calls(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_the_server_takes_the_next_voucher() {
    let mut world = World::start().await;
    let before = world.balances().await;
    let client = Client::new(&world, &world.payer, Protocol::V2);
    assert_eq!(client.get(&world.url("/v1/quote")).await.status(), StatusCode::OK);
    let channel = client.channel();
    let books = world.channel(channel).await;
    world.kill_server();
    world.start_server();
    assert_eq!(world.channel(channel).await, books, "the same books");
    assert_eq!(client.get(&world.url("/v1/quote")).await.status(), StatusCode::OK);
    client.close(&world.url("/v1/quote")).await;
    assert_closed(&world.channel(channel).await.expect("in the books"), 2 * REQUEST_PRICE);
    world.balances().await.assert_paid(&before, 2 * REQUEST_PRICE);
}

/// The receipt of a paid answer.
fn receipt(response: &reqwest::Response) -> Value {
    let header = response.headers().get("payment-receipt").expect("a receipt");
    let bytes = good("base64url", mpp::base64url_decode(good("ASCII", header.to_str())));
    good("a receipt is JSON", serde_json::from_slice(&bytes))
}
