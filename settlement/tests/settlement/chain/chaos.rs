//! Claims through a node that drops, delays, doubles, reorders, answers stale, lies about receipts, answers 5xx and hangs,
//! while the process crashes in between. Every close request is claimed for exactly what was spent, and nothing is
//! claimed twice.
//!
//! `FAREBOX_FAULT_RUNS` asks for more runs, `FAREBOX_SEED` for others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy::primitives::{U256, keccak256};
use farebox_core::channel::Phase;
use farebox_core::units::Amount;
use farebox_settlement::Intent;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::node::{Answer, Node};
use crate::support::payer::Opened;
use crate::support::world::{World, devnet, eventually, quick};

/// How many runs when nothing is said.
const RUNS_DEFAULT: u64 = 2;
/// Channels of a run.
const CHANNELS: usize = 4;
/// How long the node may keep an answer.
const LATE_MS_MAX: u64 = 400;

/// Numbers that look random, all from one seed.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What the node did with broadcasts.
#[derive(Debug, Default)]
struct Seen {
    /// Raw transactions that it was given.
    raw: Mutex<BTreeSet<String>>,
}

/// A node with faults: `percent` of its answers.
async fn spoiled(upstream: String, seed: u64, percent: Arc<AtomicU32>, seen: Arc<Seen>) -> Node {
    let dice = Mutex::new(Dice(seed));
    let old_head: Mutex<Option<Value>> = Mutex::new(None);
    Node::before(Some(upstream), move |method, params| {
        if method == "eth_sendRawTransaction" {
            seen.raw.lock().insert(params[0].as_str().unwrap_or_default().to_owned());
        }
        let mut dice = dice.lock();
        if dice.below(100) >= u64::from(percent.load(Ordering::SeqCst)) {
            return Answer::Forward;
        }
        match dice.below(10) {
            0 => Answer::Drop,
            1 => Answer::ForwardAndDrop,
            2 | 3 => Answer::ForwardLate(Duration::from_millis(dice.below(LATE_MS_MAX))),
            4 => Answer::ForwardTwice,
            5 => Answer::Status(503),
            6 => Answer::Hang,
            7 => Answer::Garbage,
            8 => match method {
                // A balancer's other node, which has not seen it yet.
                "eth_getTransactionReceipt" => Answer::Result(Value::Null),
                "eth_getLogs" => Answer::Result(json!([])),
                _ => Answer::Error(-32_000, "header not found"),
            },
            _ => match method {
                "eth_getTransactionReceipt" => Answer::ForwardAndLie(failed),
                "eth_getBlockByNumber" => {
                    // The same old block again and again, as a node that is stuck has it.
                    let mut old = old_head.lock();
                    match &*old {
                        Some(block) => Answer::Result(block.clone()),
                        None => {
                            *old = Some(stuck_block());
                            Answer::Forward
                        }
                    }
                }
                _ => Answer::Forward,
            },
        }
    })
    .await
}

/// A receipt that says of a transaction that it failed.
fn failed(receipt: &mut Value) {
    if receipt.is_object() {
        receipt["status"] = "0x0".into();
        receipt["logs"] = json!([]);
    }
}

fn stuck_block() -> Value {
    json!({
        "number": "0x1", "timestamp": "0x1", "baseFeePerGas": "0x1",
        "hash": format!("0x{}", "11".repeat(32)), "parentHash": format!("0x{}", "22".repeat(32)),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_close_request_is_claimed_exactly_through_a_node_with_faults() {
    let runs = number("FAREBOX_FAULT_RUNS").unwrap_or(RUNS_DEFAULT);
    let seed = number("FAREBOX_SEED").unwrap_or(0);
    for run in seed..seed + runs {
        println!("FAREBOX_SEED={run}");
        one_run(run).await;
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: found {text:?}, expected a whole number")))
}

async fn one_run(seed: u64) {
    let mut dice = Dice(seed ^ 0xfa_7e_b0_78);
    let percent = Arc::new(AtomicU32::new(0));
    let seen = Arc::new(Seen::default());
    let devnet = devnet().await;
    let node = spoiled(devnet.info().rpc_url.clone(), seed, Arc::clone(&percent), Arc::clone(&seen)).await;
    let mut world = World::tuned(devnet, vec![node.url.clone()], |config| {
        // A transaction that was lost is replaced sooner.
        config.close.validity_seconds = 6;
        config.close.receipt_wait_ms = 8_000;
        config.work.backoff.first_ms = 100;
        config.work.backoff.max_ms = 1_000;
        config.watch.backoff.first_ms = 50;
        config.watch.backoff.max_ms = 500;
    })
    .await;
    let payee_before = world.balance(&world.payee).await;
    let mut channels: Vec<(Opened, u128)> = Vec::new();
    for number in 0..CHANNELS {
        let opened = if number % 2 == 0 { world.open_v2() } else { world.open_v1() };
        world.open(&opened).await.expect("an open");
        let spent = 1_000 + u128::from(dice.below(1_000));
        // v1 claims a whole voucher; v2 only what was spent of it.
        let promised = if number % 2 == 0 { spent + u128::from(dice.below(500)) } else { spent };
        world.pay(&opened, promised, spent).await;
        channels.push((opened, spent));
    }
    seen.raw.lock().clear();
    percent.store(20 + dice.below(15) as u32, Ordering::SeqCst);
    for (opened, _) in &channels {
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        assert!(world.send(&world.payer.request_close(opened)).await.success);
        if dice.below(3) == 0 {
            world = crash(world, vec![node.url.clone()], &percent).await;
        }
    }
    for (opened, spent) in &channels {
        let closed = |books: &farebox_engine::Channel| match books.snapshot.phase {
            Phase::Closed(closure) => Some(closure),
            Phase::Open | Phase::Closing { .. } => None,
        };
        let books = world.books_until(opened.channel, "the claim", |books| closed(books).is_some()).await;
        let closure = closed(&books).expect("waited for it");
        assert_eq!((closure.captured, closure.lost), (Amount::new(*spent), Amount::ZERO));
        assert_eq!(closure.refunded.get(), books.snapshot.deposit.get() - spent, "the payer gets the rest");
    }
    percent.store(0, Ordering::SeqCst);
    eventually("nothing is left open", async || {
        Intent::open(&world.engine).await.expect("readable").is_empty().then_some(())
    })
    .await;
    assert_claimed_once(&world, &seen, channels.len(), payee_before, &channels).await;
    world.stop().await;
}

/// A crash: settlement is stopped, what was durable at that moment is started again. The start itself meets no faults: a
/// server that finds no node at its start has tests of its own.
async fn crash(world: World, endpoints: Vec<String>, percent: &AtomicU32) -> World {
    let before = percent.swap(0, Ordering::SeqCst);
    let world = world.crash(endpoints).await;
    percent.store(before, Ordering::SeqCst);
    world
}

/// Of all transactions that were ever broadcast, the ones that succeeded hold one close a channel.
async fn assert_claimed_once(
    world: &World,
    seen: &Seen,
    channels: usize,
    payee_before: U256,
    claimed: &[(Opened, u128)],
) {
    let client =
        farebox_settlement::Client::new(world.client.chain_id(), quick(vec![world.url()])).expect("a client");
    let raw: Vec<String> = seen.raw.lock().iter().cloned().collect();
    let mut closes = 0;
    for raw in raw {
        let bytes = alloy::hex::decode(raw).expect("hex");
        let receipt = client.receipt(keccak256(&bytes)).await.expect("the chain answers");
        let Some(receipt) = receipt.filter(|receipt| receipt.success) else { continue };
        let facts = receipt
            .logs
            .iter()
            .filter(|log| claimed.iter().any(|(opened, _)| log.topics().get(1) == Some(&opened.channel.0)));
        closes += facts.count();
    }
    assert_eq!(closes, channels, "one close a channel");
    let spent: u128 = claimed.iter().map(|(_, spent)| spent).sum();
    let gained = world.balance(&world.payee).await.saturating_sub(payee_before);
    assert!(gained <= U256::from(spent), "no more than was spent: {gained} of {spent}");
}
