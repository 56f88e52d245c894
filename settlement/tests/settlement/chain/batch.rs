//! Many channels in few transactions, and the ones that do not fit in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloy::primitives::hex;
use alloy::sol_types::SolCall;
use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_core::channel::Phase;
use farebox_core::units::Amount;
use farebox_engine::Channel;
use farebox_engine::chain::ChainRefusal;
use farebox_settlement::{Intent, Quarantine};
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::node::{Answer, Node};
use crate::support::payer::Opened;
use crate::support::world::{DEPOSIT, World, devnet, eventually};

/// An endpoint that nobody serves.
pub(super) const NOBODY: &str = "http://127.0.0.1:9";
/// Opens and close requests that are under way at the same time: the least, and the most that a block takes.
const AT_ONCE: (usize, usize) = (10, 40);
/// How often an open is asked for.
const OPENS_MAX: u32 = 5;

/// So many of `all`: ten thousand by tens would take an hour.
fn at_once(all: usize) -> usize {
    (all / 20).clamp(AT_ONCE.0, AT_ONCE.1)
}

fn captured(books: &Channel) -> Option<Amount> {
    match books.snapshot.phase {
        Phase::Closed(closure) => Some(closure.captured),
        Phase::Open | Phase::Closing { .. } => None,
    }
}

/// Opens channels and spends `1_000 + number` in each. Each open is signed when its turn comes: it is valid for seconds.
pub(super) async fn open_many(
    world: &World,
    all: impl IntoIterator<Item = Opened, IntoIter: ExactSizeIterator>,
) -> Vec<Opened> {
    let mut all = all.into_iter();
    let at_once = at_once(all.len());
    let mut opened = Vec::new();
    loop {
        let some: Vec<Opened> = all.by_ref().take(at_once).collect();
        if some.is_empty() {
            return opened;
        }
        futures(some.iter().map(|one| open(world, one))).await;
        for one in some {
            let amount = spent_in(opened.len());
            world.pay(&one, amount, amount).await;
            opened.push(one);
        }
    }
}

/// Opens a channel, and asks again when a busy node did not answer in time, as a client does.
async fn open(world: &World, one: &Opened) {
    for _ in 1..OPENS_MAX {
        match world.open(one).await {
            Err(ChainRefusal::Unavailable { .. }) => {}
            answer => {
                answer.expect("an open");
                return;
            }
        }
    }
    world.open(one).await.expect("an open, at last");
}

pub(super) fn spent_in(number: usize) -> u128 {
    1_000 + number as u128
}

/// Has the payers ask on chain to close, while settlement sees nothing.
pub(super) async fn request_closes(world: &World, opened: &[Opened]) {
    for some in opened.chunks(at_once(opened.len())) {
        let signed: Vec<_> = some.iter().map(|one| world.payer.request_close(one)).collect();
        for receipt in futures(signed.iter().map(|bytes| world.send(bytes))).await {
            assert!(receipt.success);
        }
    }
}

/// Runs futures side by side, in the order given.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (one, done) in all.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = one.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        match all.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    all.into_iter().map(|(_, done)| done.expect("all are done")).collect()
}

pub(super) async fn wait_captured(world: &World, one: &Opened, amount: u128) {
    let books = world.books_until(one.channel, "the claim", |books| captured(books).is_some()).await;
    assert_eq!(captured(&books), Some(Amount::new(amount)));
}

#[tokio::test(flavor = "multi_thread")]
async fn seventy_close_requests_are_answered_in_three_transactions() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |_, _| Answer::Forward).await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    let all = (0..70).map(|_| world.open_v2());
    let opened = open_many(&world, all).await;
    world.config.work.gather_ms = 3_000;
    let world = world.restart(vec![NOBODY.to_owned()]).await;
    request_closes(&world, &opened).await;
    let payee = world.balance(&world.payee).await;
    let sent = node.count("eth_sendRawTransaction");
    let world = world.restart(vec![node.url.clone()]).await;
    let mut total = 0;
    for (number, one) in opened.iter().enumerate() {
        wait_captured(&world, one, spent_in(number)).await;
        total += spent_in(number);
    }
    assert_eq!(node.count("eth_sendRawTransaction") - sent, 3, "70 claims need ceil(70 / 32) transactions");
    let fees = payee + alloy::primitives::U256::from(total) - world.balance(&world.payee).await;
    assert!(fees > alloy::primitives::U256::ZERO, "the payee pays the fees, and gets all of the rest");
    eventually("nothing is left open", async || {
        Intent::open(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}

/// A node whose chain refuses calls that hold a text.
pub(super) async fn refusing(upstream: String, refused: Arc<Mutex<Vec<String>>>) -> Node {
    Node::before(Some(upstream), move |method, params| {
        let params = params.to_string();
        let is_refused = refused.lock().iter().any(|text| params.contains(text.as_str()));
        match method {
            "eth_estimateGas" if is_refused => Answer::Error(3, "execution reverted: PolicyForbids()"),
            _ => Answer::Forward,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_channel_among_forty_keeps_nobody_waiting_and_is_claimed_when_it_can_be() {
    let devnet = devnet().await;
    let refused = Arc::new(Mutex::new(Vec::new()));
    let node = refusing(devnet.info().rpc_url.clone(), Arc::clone(&refused)).await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    let all = (0..40).map(|_| world.open_v2());
    let opened = open_many(&world, all).await;
    let poisoned = &opened[17];
    // A hash: a salt that counts could be an amount in another call.
    refused.lock().push(hex::encode(poisoned.descriptor().expiring_nonce_hash));
    world.config.work.gather_ms = 2_000;
    let world = world.restart(vec![NOBODY.to_owned()]).await;
    request_closes(&world, &opened).await;
    let sent = node.count("eth_sendRawTransaction");
    let world = world.restart(vec![node.url.clone()]).await;
    for (number, one) in opened.iter().enumerate().filter(|(number, _)| *number != 17) {
        wait_captured(&world, one, spent_in(number)).await;
    }
    assert_eq!(node.count("eth_sendRawTransaction") - sent, 2, "39 claims in two transactions");
    let stuck = eventually("it is set apart with its reason", async || {
        Quarantine::all(&world.engine).await.expect("readable").pop()
    })
    .await;
    assert_eq!(stuck.channel, poisoned.channel);
    assert!(stuck.reason.contains("PolicyForbids"), "{stuck:?}");
    let books = world.books(poisoned.channel).await;
    assert!(books.snapshot.phase == Phase::Open && books.snapshot.close_requested_at.is_some(), "{books:?}");
    // The reason goes away, and so does the channel.
    refused.lock().clear();
    wait_captured(&world, poisoned, spent_in(17)).await;
    eventually("it is no longer set apart", async || {
        Quarantine::all(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}

/// The refund of a blocked payer cannot be paid, so the close is refused; a `settle` still gets the payee his share.
#[tokio::test(flavor = "multi_thread")]
async fn when_a_close_is_refused_the_payee_is_paid_by_a_settle() {
    let devnet = devnet().await;
    let refused = Arc::new(Mutex::new(vec![hex::encode(ITIP20ChannelReserve::closeCall::SELECTOR)]));
    let node = refusing(devnet.info().rpc_url.clone(), Arc::clone(&refused)).await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = open_many(&world, vec![world.open_v2()]).await;
    request_closes(&world, &opened).await;
    let is_paid = |books: &Channel| books.snapshot.settled == Amount::new(spent_in(0));
    let books = world.books_until(opened[0].channel, "the settlement", is_paid).await;
    assert_eq!(books.snapshot.phase, Phase::Open, "only the refund is left");
    eventually("the close is set apart", async || {
        Quarantine::all(&world.engine).await.expect("readable").pop()
    })
    .await;
    refused.lock().clear();
    wait_captured(&world, &opened[0], spent_in(0)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_channels_are_settled_by_policy_and_go_on() {
    let mut world = World::start().await;
    world.config.work.policy.amount_min = Amount::new(100_000);
    world.config.work.follow_ms = 100;
    let url = world.url();
    let world = world.restart(vec![url]).await;
    for opened in [world.open_v2(), world.open_v1()] {
        world.open(&opened).await.expect("an open");
        world.pay(&opened, 90_000, 90_000).await;
        // More is promised than spent: a settle must not take it.
        world.pay(&opened, 150_000, 10_000).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        assert_eq!(world.books(opened.channel).await.snapshot.settled, Amount::ZERO, "not enough waits yet");
        world.pay(&opened, 160_000, 60_000).await;
        let is_settled = |books: &Channel| books.snapshot.settled == Amount::new(160_000);
        let books = world.books_until(opened.channel, "the settlement", is_settled).await;
        assert_eq!(books.snapshot.phase, Phase::Open);
        world.pay(&opened, 170_000, 10_000).await;
        assert!(world.send(&world.payer.request_close(&opened)).await.success);
        wait_captured(&world, &opened, 170_000).await;
    }
    world.stop().await;
}

fn is_claim(params: &Value) -> bool {
    let bytes = params[0].as_str().expect("hex");
    bytes.contains(&hex::encode(ITIP20ChannelReserve::closeCall::SELECTOR))
}

/// The process ends after the intent was written down and before a node had the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_written_down_and_never_sent_is_sent_by_the_next_process() {
    let devnet = devnet().await;
    let node = Node::before(Some(devnet.info().rpc_url.clone()), |method, params| match method {
        "eth_sendRawTransaction" if is_claim(params) => Answer::Hang,
        _ => Answer::Forward,
    })
    .await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = open_many(&world, vec![world.open_v2(), world.open_v2()]).await;
    request_closes(&world, &opened).await;
    let written = eventually("the intent is durable", async || {
        let open = Intent::open(&world.engine).await.expect("readable");
        (!open.is_empty()).then_some(open)
    })
    .await;
    let url = world.url();
    let world = world.crash(vec![url]).await;
    for (number, one) in opened.iter().enumerate() {
        wait_captured(&world, one, spent_in(number)).await;
    }
    // The same transaction, not another one.
    assert!(world.receipt(written[0].tx_hash, "the transaction of the intent").await.success);
    eventually("nothing is left open", async || {
        Intent::open(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}

/// The process ends after a node had the transaction and before its receipt was seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_sent_before_the_crash_is_found_and_not_made_again() {
    let devnet = devnet().await;
    let is_hidden = Arc::new(AtomicBool::new(false));
    let hidden = Arc::clone(&is_hidden);
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, params| match method {
        "eth_sendRawTransaction" if is_claim(params) => Answer::ForwardAndDrop,
        "eth_getTransactionReceipt" if hidden.load(Ordering::SeqCst) => Answer::Result(Value::Null),
        _ => Answer::Forward,
    })
    .await;
    let world = World::on(devnet, vec![node.url.clone()]).await;
    let opened = open_many(&world, vec![world.open_v2(), world.open_v2()]).await;
    is_hidden.store(true, Ordering::SeqCst);
    request_closes(&world, &opened).await;
    let written = eventually("the intent is durable", async || {
        let open = Intent::open(&world.engine).await.expect("readable");
        (!open.is_empty()).then_some(open)
    })
    .await;
    let claimed = world.receipt(written[0].tx_hash, "the claim, which only the world sees").await;
    assert!(claimed.success);
    let intents: usize = written.iter().map(|intent| intent.calls.len()).sum();
    is_hidden.store(false, Ordering::SeqCst);
    let world = world.crash(vec![node.url.clone()]).await;
    for (number, one) in opened.iter().enumerate() {
        wait_captured(&world, one, spent_in(number)).await;
    }
    assert!(intents >= 1);
    eventually("nothing is left open", async || {
        Intent::open(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    let payer = world.balance(&world.payer).await;
    assert!(payer > alloy::primitives::U256::from(DEPOSIT), "the refunds are there");
    world.stop().await;
}

/// Numbers that look random, the same in every run.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Every third request to the node goes wrong in some way. All close requests are answered all the same, with exactly
/// what was spent, and no fault of a node is taken for a refusal by the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drops_delays_and_hides_costs_time_and_no_money() {
    let devnet = devnet().await;
    let (is_faulty, asked) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let faulty = Arc::clone(&is_faulty);
    let node = Node::before(Some(devnet.info().rpc_url.clone()), move |method, _| {
        if !faulty.load(Ordering::SeqCst) {
            return Answer::Forward;
        }
        match mix(asked.fetch_add(1, Ordering::SeqCst)) % 100 {
            0..10 => Answer::Drop,
            10..18 => Answer::Error(-32_603, "busy"),
            18..24 => Answer::ForwardAndDrop,
            24..26 => Answer::Garbage,
            26..28 => Answer::Status(502),
            28..29 => Answer::Hang,
            29..36 if method == "eth_getTransactionReceipt" => Answer::Result(Value::Null),
            _ => Answer::Forward,
        }
    })
    .await;
    let mut world = World::on(devnet, vec![node.url.clone()]).await;
    let mut all: Vec<_> = (0..8).map(|_| world.open_v2()).collect();
    all.extend((0..4).map(|_| world.open_v1()));
    let opened = open_many(&world, all).await;
    world.config.close.validity_seconds = 5;
    // With a question in three unanswered most tries fail: pauses of a minute would be all that is tested.
    world.config.watch.backoff.max_ms = 1_000;
    world.config.work.backoff.max_ms = 1_000;
    let world = world.restart(vec![node.url.clone()]).await;
    is_faulty.store(true, Ordering::SeqCst);
    request_closes(&world, &opened).await;
    for (number, one) in opened.iter().enumerate() {
        wait_captured(&world, one, spent_in(number)).await;
        let Phase::Closed(closure) = world.books(one.channel).await.snapshot.phase else {
            unreachable!("waited for it")
        };
        assert_eq!(closure.refunded, Amount::new(DEPOSIT - spent_in(number)));
        assert_eq!(closure.lost, Amount::ZERO);
    }
    assert_eq!(Quarantine::all(&world.engine).await.expect("readable"), [], "no fault is a refusal");
    is_faulty.store(false, Ordering::SeqCst);
    eventually("nothing is left open", async || {
        Intent::open(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    world.stop().await;
}
