//! The client against nodes that do what nodes sometimes do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, B256};
use farebox_core::units::{Amount, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_settlement::client::{Broadcast, ChannelOnChain, Fate, LogFilter};
use farebox_settlement::{Client, ClientConfig, ClientError};
use serde_json::{Value, json};

use crate::support::node::{Answer, Node};
use crate::support::payer::now;
use crate::support::world::quick;

const CHAIN: u64 = 42_431;
const TX: B256 = B256::repeat_byte(7);
/// Nobody listens on the discard port.
const NOBODY: &str = "http://127.0.0.1:9";

fn client(endpoints: &[&str]) -> Client {
    let endpoints = endpoints.iter().map(|url| (*url).to_owned()).collect();
    let config = ClientConfig {
        request_timeout_ms: 300,
        retry_pause_ms: 10,
        receipt_poll_ms: 10,
        read_tries_max: 3,
        refused_looks_max: 2,
        ..quick(endpoints)
    };
    Client::new(ChainId(CHAIN), config).expect("a client")
}

/// A node of the right chain that says something special to one method.
async fn node(method: &'static str, answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Node {
    Node::start(move |asked, params| match asked {
        _ if asked == method => answer(params),
        "eth_chainId" => Answer::Result(json!("0xa5bf")),
        "eth_getBlockByNumber" => Answer::Result(block(100, 1_000)),
        other => panic!("unexpected question {other}"),
    })
    .await
}

fn block(number: u64, timestamp: u64) -> Value {
    json!({
        "number": format!("{number:#x}"),
        "timestamp": format!("{timestamp:#x}"),
        "baseFeePerGas": "0x10",
    })
}

fn receipt(tx_hash: B256, block: Option<u64>, status: Option<&str>) -> Value {
    json!({
        "transactionHash": tx_hash,
        "blockNumber": block.map(|block| format!("{block:#x}")),
        "status": status,
        "logs": [],
        "gasUsed": "0x1",
    })
}

/// A head that is fresh by our clock.
fn fresh(number: u64) -> Answer {
    Answer::Result(block(number, now()))
}

const HEAD: &str = "eth_getBlockByNumber";

async fn head(client: &Client) -> Result<u64, ClientError> {
    client.head().await.map(|head| head.number)
}

#[tokio::test]
async fn endpoints_are_tried_in_order_and_a_failed_one_comes_last_for_a_while() {
    let hanging = node(HEAD, |_| Answer::Hang).await;
    let good = node(HEAD, |_| fresh(101)).await;
    let client = client(&[NOBODY, &hanging.url, &good.url]);
    assert_eq!(head(&client).await, Ok(101));
    assert_eq!(head(&client).await, Ok(101));
    assert_eq!(hanging.count(HEAD), 1, "it is cooling at the second question");
    assert_eq!(good.count(HEAD), 2);
}

#[tokio::test]
async fn broken_answers_send_the_question_on() {
    for broken in
        [|| Answer::Status(503), || Answer::Garbage, || Answer::Drop, || Answer::Error(-32_005, "limit")]
    {
        let bad = node(HEAD, move |_| broken()).await;
        let good = node(HEAD, |_| fresh(102)).await;
        assert_eq!(head(&client(&[&bad.url, &good.url])).await, Ok(102));
        assert!(head(&client(&[&bad.url])).await.is_err(), "no answer is not an answer");
    }
}

/// A node that stopped following its chain still answers.
#[tokio::test]
async fn a_stuck_node_is_passed_over() {
    let stuck = node(HEAD, |_| Answer::Result(block(90, now() - 60))).await;
    let good = node(HEAD, |_| fresh(103)).await;
    let both = client(&[&stuck.url, &good.url]);
    assert_eq!(head(&both).await, Ok(103));
    assert_eq!(both.newest_block(), 103);
    let older = node(HEAD, |_| Answer::Result(block(80, now() - 90))).await;
    assert_eq!(head(&client(&[&older.url, &stuck.url])).await, Ok(90), "the newest, when none is fresh");
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_asked() {
    let other = node("eth_chainId", |_| Answer::Result(json!("0x1"))).await;
    let good = node(HEAD, |_| fresh(103)).await;
    let both = client(&[&other.url, &good.url]);
    assert_eq!(head(&both).await, Ok(103));
    assert_eq!(other.count(HEAD), 0);
    let wrong = both.check().await.expect_err("a mistake in the configuration");
    assert!(matches!(wrong, ClientError::WrongChain { found: ChainId(1), expected: ChainId(CHAIN), .. }));
    let alone = client(&[&other.url]);
    assert!(matches!(alone.broadcast(&[1], TX).await, Broadcast::Unreachable { .. }));
    assert_eq!(other.count("eth_sendRawTransaction"), 0);
}

#[tokio::test]
async fn addresses_never_show_in_errors() {
    let secret = "http://user:hunter2@127.0.0.1:9/v1/apikey123";
    let client = client(&[secret]);
    let error = client.head().await.expect_err("nobody answers");
    let shown = format!("{error} {error:?} {client:?} {:?}", client.config());
    assert!(!shown.contains("hunter2") && !shown.contains("apikey123"), "{shown}");
    assert!(shown.contains("127.0.0.1:9"), "{shown}");
    let bad =
        Client::new(ChainId(1), ClientConfig::new(vec!["ftp://hunter2".to_owned()])).expect_err("not http");
    assert!(!format!("{bad} {bad:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_receipt_counts_only_with_its_status_block_and_hash() {
    let ask = async |answer: Value| {
        let node = node("eth_getTransactionReceipt", move |_| Answer::Result(answer.clone())).await;
        client(&[&node.url]).receipt(TX).await
    };
    let good = ask(receipt(TX, Some(5), Some("0x1"))).await.expect("an answer").expect("a receipt");
    assert_eq!((good.success, good.block), (true, 5));
    let reverted = ask(receipt(TX, Some(5), Some("0x0"))).await.expect("an answer").expect("a receipt");
    assert!(!reverted.success);
    assert!(ask(receipt(TX, None, Some("0x1"))).await.expect("an answer").is_none(), "pending");
    assert!(ask(Value::Null).await.expect("an answer").is_none());
    let other = ask(receipt(B256::repeat_byte(8), Some(5), Some("0x1"))).await;
    assert!(matches!(other, Err(ClientError::BadAnswer { .. })));
    let silent = ask(receipt(TX, Some(5), None)).await;
    assert!(matches!(silent, Err(ClientError::BadAnswer { .. })), "no status is no success");
}

#[tokio::test]
async fn a_receipt_that_one_node_misses_is_found_at_another() {
    let behind = node("eth_getTransactionReceipt", |_| Answer::Result(Value::Null)).await;
    let good = node("eth_getTransactionReceipt", |_| Answer::Result(receipt(TX, Some(9), Some("0x1")))).await;
    let found = client(&[&behind.url, &good.url]).receipt(TX).await.expect("an answer");
    assert_eq!(found.map(|receipt| receipt.block), Some(9));
}

async fn broadcast(answers: &[fn() -> Answer]) -> Broadcast {
    let mut nodes = Vec::new();
    for answer in answers {
        let answer = *answer;
        nodes.push(node("eth_sendRawTransaction", move |_| answer()).await);
    }
    let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
    client(&urls).broadcast(&[1, 2, 3], TX).await
}

#[tokio::test]
async fn a_broadcast_is_refused_only_when_no_node_can_have_it() {
    let taken: fn() -> Answer = || Answer::Result(json!(TX));
    let strange: fn() -> Answer = || Answer::Result(json!(B256::repeat_byte(9)));
    let known: fn() -> Answer = || Answer::Error(-32_000, "already known");
    let low: fn() -> Answer = || Answer::Error(-32_000, "nonce too low");
    let hang: fn() -> Answer = || Answer::Hang;
    let cut: fn() -> Answer = || Answer::Drop;
    let status: fn() -> Answer = || Answer::Status(502);
    let refused = Broadcast::Refused { code: -32_000, message: "nonce too low".to_owned() };
    assert_eq!(broadcast(&[taken]).await, Broadcast::Taken);
    assert_eq!(broadcast(&[known]).await, Broadcast::Taken);
    assert_eq!(broadcast(&[low]).await, refused);
    assert_eq!(broadcast(&[low, low]).await, refused);
    assert_eq!(broadcast(&[low, taken]).await, Broadcast::Taken);
    for unclear in [hang, cut, status, strange] {
        assert_eq!(broadcast(&[unclear]).await, Broadcast::Unclear);
        assert_eq!(broadcast(&[unclear, low]).await, Broadcast::Unclear, "the first may have it");
        assert_eq!(broadcast(&[low, unclear]).await, Broadcast::Unclear);
    }
    let nobody = client(&[NOBODY]).broadcast(&[1], TX).await;
    assert!(matches!(nobody, Broadcast::Unreachable { .. }), "{nobody:?}");
}

/// A node whose clock and whose receipt are what the test says.
async fn fate_node(chain_time: Arc<AtomicU64>, receipt_after: usize) -> Node {
    let looks = AtomicUsize::new(0);
    Node::start(move |asked, _| match asked {
        "eth_chainId" => Answer::Result(json!("0xa5bf")),
        "eth_getBlockByNumber" => Answer::Result(block(100, chain_time.load(Ordering::SeqCst))),
        "eth_getTransactionReceipt" => {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            match look {
                _ if look >= receipt_after => Answer::Result(receipt(TX, Some(100), Some("0x1"))),
                _ if look % 3 == 1 => Answer::Drop,
                _ => Answer::Result(Value::Null),
            }
        }
        other => panic!("unexpected question {other}"),
    })
    .await
}

#[tokio::test]
async fn silence_is_a_fate_only_after_the_validity_by_the_chains_clock() {
    let clock = Arc::new(AtomicU64::new(1_000));
    let node = fate_node(Arc::clone(&clock), usize::MAX).await;
    let client = client(&[&node.url]);
    let wait = Duration::from_millis(1_500);
    let fate = client.await_fate(TX, Some(UnixSeconds(1_001)), wait).await;
    assert!(matches!(fate, Fate::Unknown), "{fate:?}");
    let fate = client.await_fate(TX, None, Duration::from_millis(100)).await;
    assert!(matches!(fate, Fate::Unknown), "{fate:?}");
    clock.store(1_001, Ordering::SeqCst);
    let patient = Duration::from_secs(30);
    let fate = client.await_fate(TX, Some(UnixSeconds(1_001)), patient).await;
    assert!(matches!(fate, Fate::Absent(head) if head.number == 100), "{fate:?}");
}

#[tokio::test]
async fn a_late_receipt_is_awaited_through_failures() {
    let node = fate_node(Arc::new(AtomicU64::new(1_000)), 5).await;
    let fate = client(&[&node.url]).await_fate(TX, Some(UnixSeconds(2_000)), Duration::from_secs(20)).await;
    assert!(matches!(fate, Fate::Mined(ref receipt) if receipt.success), "{fate:?}");
}

/// `settled`, `deposit` and `closeRequestedAt` as the reserve answers.
fn state(settled: u64, deposit: u64, close_requested_at: u64) -> Value {
    json!(format!("0x{settled:064x}{deposit:064x}{close_requested_at:064x}"))
}

#[tokio::test]
async fn a_node_that_is_behind_is_not_believed() {
    let head = Arc::new(AtomicU64::new(90));
    let heads = Arc::clone(&head);
    let node = Node::start(move |asked, params| match asked {
        "eth_chainId" => Answer::Result(json!("0xa5bf")),
        "eth_getBlockByNumber" => Answer::Result(block(heads.load(Ordering::SeqCst), 1)),
        "eth_getTransactionReceipt" => Answer::Result(receipt(TX, Some(100), Some("0x1"))),
        "eth_call" => {
            assert_eq!(params[1], json!("0x64"), "the block of the receipt, by number");
            Answer::Result(state(3, 10, 0))
        }
        other => panic!("unexpected question {other}"),
    })
    .await;
    let client = client(&[&node.url]);
    let read = || client.channel(ProtocolVersion::V2, Address::ZERO, ChannelId(TX), 100);
    assert_eq!(read().await, Err(ClientError::Behind { wanted: 100, found: 90 }));
    assert_eq!(node.count("eth_call"), 0);
    // Also when nobody says which block: the receipt was seen, and nothing older counts since.
    client.receipt(TX).await.expect("an answer");
    let unbound = client.channel(ProtocolVersion::V2, Address::ZERO, ChannelId(TX), 0).await;
    assert_eq!(unbound, Err(ClientError::Behind { wanted: 100, found: 90 }));
    head.store(100, Ordering::SeqCst);
    let open =
        ChannelOnChain::Open { deposit: Amount::new(10), settled: Amount::new(3), close_requested_at: None };
    assert_eq!(read().await, Ok((open, 100)));
}

#[tokio::test]
async fn an_escrow_that_answers_nonsense_is_an_error_and_no_empty_channel() {
    let node = node("eth_call", |_| Answer::Result(json!("0x"))).await;
    let read = client(&[&node.url]).channel(ProtocolVersion::V2, Address::ZERO, ChannelId(TX), 0).await;
    assert!(matches!(read, Err(ClientError::BadAnswer { .. })), "{read:?}");
}

fn log(block: u64, index: u64, removed: bool) -> Value {
    json!({
        "address": Address::ZERO, "topics": [TX], "data": "0x", "removed": removed,
        "blockNumber": format!("{block:#x}"), "logIndex": format!("{index:#x}"),
        "transactionHash": TX, "transactionIndex": "0x0", "blockHash": TX,
    })
}

#[tokio::test]
async fn logs_come_from_a_node_that_has_the_blocks_and_only_of_the_range() {
    let behind = Node::start(|asked, _| match asked {
        "eth_chainId" => Answer::Result(json!("0xa5bf")),
        "eth_getBlockByNumber" => Answer::Result(block(99, 1)),
        other => panic!("a node that is behind was asked for {other}"),
    })
    .await;
    let logs = json!([
        log(100, 1, false),
        log(100, 0, false),
        log(98, 0, true),
        log(97, 7, false),
        log(101, 0, false)
    ]);
    let good = node("eth_getLogs", move |_| Answer::Result(logs.clone())).await;
    let filter = LogFilter { addresses: vec![Address::ZERO], events: vec![TX], channel: None, payee: None };
    let found = client(&[&behind.url, &good.url]).logs(&filter, 97, 100).await.expect("logs");
    let places: Vec<_> = found.iter().map(|log| (log.block_number, log.log_index)).collect();
    assert_eq!(places, [(Some(97), Some(7)), (Some(100), Some(0)), (Some(100), Some(1))]);
    let none = client(&[&behind.url]).logs(&filter, 97, 100).await;
    assert_eq!(none.expect_err("behind"), ClientError::Behind { wanted: 100, found: 99 });
}

#[tokio::test]
async fn a_revert_is_an_answer_and_other_refusals_are_not() {
    let reverting = node("eth_estimateGas", |_| Answer::Error(3, "execution reverted: NotPayee()")).await;
    let good = node("eth_estimateGas", |_| Answer::Result(json!("0x5208"))).await;
    let estimate = async |client: Client| {
        client.estimate_gas(Address::ZERO, &[(Address::ZERO, Default::default())]).await
    };
    let reverts = estimate(client(&[&reverting.url, &good.url])).await;
    assert!(matches!(reverts, Err(ClientError::Reverts { .. })), "{reverts:?}");
    assert_eq!(good.count("eth_estimateGas"), 0);
    let busy = node("eth_estimateGas", |_| Answer::Error(-32_603, "busy")).await;
    assert_eq!(estimate(client(&[&busy.url, &good.url])).await, Ok(21_000));
}
