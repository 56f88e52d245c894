//! Many channels due at once, one in a hundred of them poisoned: how many transactions, how long, for which fees.
//!
//! `FAREBOX_DUE` says how many; `make bench-settlement` asks for a thousand, and compares with one transaction a channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::{U256, hex};
use farebox_core::channel::Phase;
use farebox_core::units::ChannelId;
use farebox_engine::Channel;
use farebox_settlement::Quarantine;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::batch::{NOBODY, open_many, refusing, request_closes, spent_in};
use crate::support::node::Node;
use crate::support::payer::Opened;
use crate::support::world::{PATIENCE_S, World, bench_keep, devnet, eventually, eventually_within};

/// How many channels when nothing is said.
const DUE_DEFAULT: usize = 100;
/// Calls that one transaction takes.
const CALLS_MAX: usize = 32;
/// How many blocks a poisoned channel may cost the others.
const BLOCKS_LOST_MAX: u64 = 10;

/// What a run came to.
#[derive(Debug)]
struct Measured {
    claimed: usize,
    transactions: usize,
    /// Blocks from the first look to the last claim of a sound channel.
    blocks: u64,
    seconds: f64,
    /// Base units of the fee token.
    fees: u128,
    /// Seconds from the start to each claim, in order.
    waits: Vec<f64>,
}

impl Measured {
    /// Seconds from the start until so many percent were claimed.
    fn wait_s(&self, percent: usize) -> f64 {
        self.waits[(self.waits.len() * percent / 100).min(self.waits.len() - 1)]
    }

    fn figures(&self) -> Value {
        json!({
            "claims": self.claimed,
            "transactions": self.transactions,
            "blocks": self.blocks,
            "claimsPerSecond": self.claimed as f64 / self.seconds,
            "feePerChannel": (self.fees / self.claimed as u128).to_string(),
            "waitSecondsP50": self.wait_s(50),
            "waitSecondsP99": self.wait_s(99),
        })
    }

    fn print(&self, what: &str) {
        let Self { claimed, transactions, blocks, seconds, fees, .. } = self;
        println!(
            "{what}: {claimed} claims in {transactions} transactions, {blocks} blocks, {seconds:.1} s: {:.1} claims/s, \
             {} base units of fees a channel, close to claim p50 {:.1} s, p99 {:.1} s",
            *claimed as f64 / seconds,
            fees / *claimed as u128,
            self.wait_s(50),
            self.wait_s(99),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_due_at_once_go_in_full_transactions_and_poison_keeps_none_waiting() {
    let due = std::env::var("FAREBOX_DUE").ok().map_or(DUE_DEFAULT, |text| text.parse().expect("a number"));
    let sound = run(due, 0, CALLS_MAX).await;
    sound.print("sound");
    let full = due.div_ceil(CALLS_MAX);
    assert!(sound.transactions * 100 <= full * 102 + 99, "{sound:?}: at most 2 % more than {full}");
    let poisoned = run(due, due.div_ceil(100), CALLS_MAX).await;
    poisoned.print("1 % poisoned");
    assert!(
        poisoned.blocks <= sound.blocks + BLOCKS_LOST_MAX,
        "a sound channel waited {} blocks instead of {}",
        poisoned.blocks,
        sound.blocks
    );
    if std::env::var_os("FAREBOX_BENCH_DIR").is_some() {
        let alone = run(due, 0, 1).await;
        alone.print("one transaction a channel");
        let all = json!({
            "due": due, "batched": sound.figures(), "poisoned": poisoned.figures(), "alone": alone.figures(),
        });
        bench_keep("claims", &all);
    }
}

/// Has `due` close requests answered, `poisoned` of which the chain refuses, with `calls_max` claims a transaction.
async fn run(due: usize, poisoned: usize, calls_max: usize) -> Measured {
    let devnet = devnet().await;
    let refused = Arc::new(Mutex::new(Vec::new()));
    let node: Node = refusing(devnet.info().rpc_url.clone(), Arc::clone(&refused)).await;
    let mut world = World::tuned(devnet, vec![node.url.clone()], |config| {
        config.work.limits.calls_max = calls_max;
        // All requests are there when the worker starts: they are found in one look through the books.
        config.work.gather_ms = 1_000;
    })
    .await;
    let all = (0..due).map(|_| world.open_v2());
    let opened = open_many(&world, all).await;
    // Spread over the batches, not all in one.
    let bad: Vec<usize> = (0..poisoned).map(|number| number * due / poisoned).collect();
    for number in &bad {
        refused.lock().push(hex::encode(opened[*number].descriptor().expiring_nonce_hash));
    }
    world = world.restart(vec![NOBODY.to_owned()]).await;
    request_closes(&world, &opened).await;
    let before = world.balance(&world.payee).await;
    let sent = node.count("eth_sendRawTransaction");
    let first_block = world.client.head().await.expect("a head").number;
    let world = world.restart(vec![node.url.clone()]).await;
    let good: BTreeMap<ChannelId, u128> = (0..due)
        .filter(|number| !bad.contains(number))
        .map(|number| (opened[number].channel, spent_in(number)))
        .collect();
    let (last_block, waits) = wait_for_all(&world, &opened, &good).await;
    let transactions = node.count("eth_sendRawTransaction") - sent;
    let spent: u128 = good.values().sum();
    let fees = before + U256::from(spent) - world.balance(&world.payee).await;
    if poisoned > 0 {
        let stuck = eventually("the poisoned ones are set apart", async || {
            let stuck = Quarantine::all(&world.engine).await.expect("readable");
            (stuck.len() == poisoned).then_some(stuck)
        })
        .await;
        assert!(stuck.iter().all(|stuck| !good.contains_key(&stuck.channel)), "no sound one is blamed");
    }
    world.stop().await;
    let seconds = waits.last().copied().unwrap_or_default().max(0.001);
    let blocks = last_block.saturating_sub(first_block);
    Measured { claimed: good.len(), transactions, blocks, seconds, fees: fees.to(), waits }
}

/// Waits until every sound channel is closed for exactly what was spent; the last one's block, and when each came.
async fn wait_for_all(world: &World, opened: &[Opened], good: &BTreeMap<ChannelId, u128>) -> (u64, Vec<f64>) {
    let start = tokio::time::Instant::now();
    let mut left: BTreeMap<ChannelId, u128> = good.clone();
    let mut waits = Vec::new();
    let seen = AtomicU64::new(0);
    let patience_s = PATIENCE_S + good.len() as u64 / 10;
    eventually_within(patience_s, "all claims", async || {
        let known = left.len();
        for channel in opened.iter().map(|one| one.channel) {
            let Some(spent) = left.get(&channel).copied() else { continue };
            let books: Channel = world.books(channel).await;
            if let Phase::Closed(closure) = books.snapshot.phase {
                assert_eq!(closure.captured.get(), spent, "exactly what was spent");
                left.remove(&channel);
                waits.push(start.elapsed().as_secs_f64());
            }
        }
        if left.len() < known {
            seen.store(world.client.head().await.expect("a head").number, Ordering::SeqCst);
        }
        left.is_empty().then_some(())
    })
    .await;
    waits.sort_by(f64::total_cmp);
    (seen.load(Ordering::SeqCst), waits)
}
