//! Endpoints that disagree: the majority decides, who is outvoted is set aside, and without a majority nobody is believed.

use alloy::primitives::{Address, B256};
use farebox_core::channel::Phase;
use farebox_core::units::{Amount, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_settlement::client::{Broadcast, ChannelOnChain, Fate};
use farebox_settlement::{Client, ClientConfig, ClientError};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::node::{Answer, Node};
use crate::support::payer::now;
use crate::support::world::{DEPOSIT, World, devnet, quick};

const CHAIN: u64 = 42_431;
const TX: B256 = B256::repeat_byte(7);

fn client(nodes: &[&Node], quorum: usize) -> Client {
    let endpoints = nodes.iter().map(|node| node.url.clone()).collect();
    let config = ClientConfig {
        quorum,
        request_timeout_ms: 300,
        retry_pause_ms: 10,
        receipt_poll_ms: 10,
        read_tries_max: 2,
        ..quick(endpoints)
    };
    Client::new(ChainId(CHAIN), config).expect("a client")
}

/// A node with a height, and a word on the transaction.
async fn node(height: u64, status: Option<&'static str>) -> Node {
    let deposit = if status == Some("0x1") { 500_u64 } else { 0 };
    Node::start(move |method, _| match method {
        "eth_chainId" => Answer::Result(json!("0xa5bf")),
        "eth_getBlockByNumber" => Answer::Result(json!({
            "number": format!("{height:#x}"), "timestamp": format!("{:#x}", now()), "baseFeePerGas": "0x10",
        })),
        "eth_getTransactionReceipt" => Answer::Result(match status {
            Some(status) => json!({
                "transactionHash": TX, "blockNumber": "0x5", "status": status, "logs": [],
            }),
            None => Value::Null,
        }),
        "eth_call" => Answer::Result(json!(format!("0x{:064x}{deposit:064x}{:064x}", 0, 0))),
        "eth_estimateGas" if status == Some("0x1") => Answer::Result(json!("0x5208")),
        "eth_estimateGas" => Answer::Error(3, "execution reverted: Lie()"),
        "eth_sendRawTransaction" => Answer::Result(json!(TX)),
        other => panic!("unexpected question {other}"),
    })
    .await
}

const RECEIPT: &str = "eth_getTransactionReceipt";

#[tokio::test]
async fn a_lie_about_a_receipt_is_outvoted_and_the_liar_set_aside() {
    let (liar, one, other) =
        (node(100, Some("0x0")).await, node(100, Some("0x1")).await, node(101, Some("0x1")).await);
    let client = client(&[&liar, &one, &other], 2);
    let receipt = client.receipt(TX).await.expect("answers").expect("a receipt");
    assert!(receipt.success, "two of three say that it succeeded");
    assert_eq!(liar.count(RECEIPT), 1);
    client.receipt(TX).await.expect("answers").expect("a receipt");
    assert_eq!(liar.count(RECEIPT), 1, "it is not asked again");
    assert_eq!((one.count(RECEIPT), other.count(RECEIPT)), (2, 2));
    // The two that are left must agree, or nobody is believed.
    let head = client.head().await.expect("a head");
    assert_eq!((head.number, client.newest_block()), (100, 100), "what both have");
}

#[tokio::test]
async fn without_a_majority_nobody_is_believed() {
    let (one, other) = (node(100, Some("0x0")).await, node(100, Some("0x1")).await);
    let both = client(&[&one, &other], 2);
    let refused = both.receipt(TX).await.expect_err("nobody is right");
    assert!(
        matches!(refused, ClientError::Disagreement { answers: 2, different: 2, wanted: 2, .. }),
        "{refused}"
    );
    let state = both.channel(ProtocolVersion::V2, Address::ZERO, ChannelId(B256::ZERO), 0).await;
    assert!(matches!(state, Err(ClientError::Disagreement { .. })), "{state:?}");
    // A fate is not guessed: no receipt, no absence.
    let fate = both.await_fate(TX, Some(UnixSeconds(1)), Duration::from_millis(1_500)).await;
    assert!(matches!(fate, Fate::Unknown), "{fate:?}");
}

#[tokio::test]
async fn a_node_that_has_not_seen_a_receipt_is_behind_and_no_liar() {
    let (behind, one, other) =
        (node(99, None).await, node(100, Some("0x1")).await, node(100, Some("0x1")).await);
    let all = client(&[&behind, &one, &other], 2);
    assert!(all.receipt(TX).await.expect("answers").expect("a receipt").success);
    assert!(all.receipt(TX).await.expect("answers").is_some());
    assert_eq!(behind.count(RECEIPT), 2, "it is still asked");
    let alone = client(&[&behind, &one], 2);
    assert!(alone.receipt(TX).await.expect("answers").is_none(), "one receipt is not enough");
    // Nor is one that does not have it enough to say that it never happened.
    let fate = alone.await_fate(TX, Some(UnixSeconds(1)), Duration::from_millis(1_500)).await;
    assert!(matches!(fate, Fate::Unknown), "{fate:?}");
}

#[tokio::test]
async fn a_height_that_nobody_else_has_makes_nobody_late() {
    let (liar, one, other) =
        (node(1_000_000_000, Some("0x1")).await, node(100, Some("0x1")).await, node(101, Some("0x1")).await);
    let all = client(&[&liar, &one, &other], 2);
    assert_eq!(all.head().await.expect("a head").number, 101);
    assert_eq!(all.newest_block(), 101);
    let (state, block) =
        all.channel(ProtocolVersion::V2, Address::ZERO, ChannelId(B256::ZERO), 0).await.expect("a state");
    assert_eq!(block, 101);
    assert!(matches!(state, ChannelOnChain::Open { .. }), "{state:?}");
}

#[tokio::test]
async fn a_simulated_revert_needs_a_second_voice_and_a_broadcast_goes_to_all() {
    let (liar, one, other) =
        (node(100, Some("0x0")).await, node(100, Some("0x1")).await, node(100, Some("0x1")).await);
    let all = client(&[&liar, &one, &other], 2);
    let calls = [(Address::ZERO, alloy::primitives::Bytes::new())];
    assert_eq!(all.estimate_gas(Address::ZERO, &calls).await, Ok(21_000));
    assert_eq!(all.broadcast(&[1], TX).await, Broadcast::Taken);
    for node in [&liar, &one, &other] {
        assert_eq!(node.count("eth_sendRawTransaction"), 1, "the first may have dropped it");
    }
}

/// The whole of settlement with an endpoint that says of every channel that it is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_request_is_claimed_beside_an_endpoint_that_lies_about_channels() {
    let devnet = devnet().await;
    let url = devnet.info().rpc_url.clone();
    let liar = Node::before(Some(url.clone()), |method, _| match method {
        "eth_call" => Answer::ForwardAndLie(|result| {
            let zeros = result.as_str().map_or(0, str::len).saturating_sub(2);
            *result = json!(format!("0x{}", "0".repeat(zeros)));
        }),
        "eth_getTransactionReceipt" => Answer::Result(Value::Null),
        "eth_getLogs" => Answer::Result(json!([])),
        _ => Answer::Forward,
    })
    .await;
    let one = Node::before(Some(url.clone()), |_, _| Answer::Forward).await;
    let other = Node::before(Some(url), |_, _| Answer::Forward).await;
    let endpoints = [&liar, &one, &other].map(|node| node.url.clone()).to_vec();
    let world = World::on(devnet, endpoints).await;
    let opened = world.open_v2();
    world.open(&opened).await.expect("an open");
    world.pay(&opened, 700, 600).await;
    assert!(world.send(&world.payer.request_close(&opened)).await.success);
    let books = world
        .books_until(opened.channel, "the claim", |books| matches!(books.snapshot.phase, Phase::Closed(_)))
        .await;
    let Phase::Closed(closure) = books.snapshot.phase else { unreachable!("waited for it") };
    assert_eq!((closure.captured, closure.refunded), (Amount::new(600), Amount::new(DEPOSIT - 600)));
    world.stop().await;
}
