//! Payers who buy as fast as they can while a test replaces the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloy_primitives::B256;
use tokio::task::JoinHandle;

use super::hand::{Hand, Opened};
use super::{Protocol, REQUEST_PRICE, World, amount, until};

/// What each payer adds to its deposit, in base units: more than it can spend in a test.
const MORE: u128 = 50_000_000;
/// Requests that each payer makes before, between and after the replacements.
const REQUESTS_MIN: u64 = 8;

struct Load {
    channel: B256,
    answered: Arc<AtomicU64>,
    /// Ends with the sum of what was paid.
    task: JoinHandle<u128>,
}

/// The running payers.
#[derive(Default)]
pub struct Loads {
    all: Vec<Load>,
    is_over: Arc<AtomicBool>,
}

impl Loads {
    /// Opens a channel with a deposit that lasts and buys with it until the end. Every request must be answered with 200.
    pub async fn add(&mut self, world: &World, hand: Hand) {
        let opened = hand.open(world, Protocol::V2).await;
        assert_eq!(hand.top_up(&opened, MORE).await.status, 204);
        let (channel, answered) = (opened.channel, Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(buy(hand, opened, Arc::clone(&answered), Arc::clone(&self.is_over)));
        self.all.push(Load { channel, answered, task });
    }

    /// Returns when every payer was answered some times more.
    pub async fn go_on(&self, what: &str) {
        let answered = |load: &Load| load.answered.load(Ordering::Relaxed);
        let before: Vec<u64> = self.all.iter().map(answered).collect();
        until(what, || async {
            assert!(!self.all.iter().any(|load| load.task.is_finished()), "a request failed");
            let mut pairs = self.all.iter().zip(&before);
            pairs.all(|(load, before)| answered(load) >= before + REQUESTS_MIN).then_some(())
        })
        .await;
    }

    /// Ends them; the books must have what they paid, to the unit.
    pub async fn end(self, world: &World) {
        self.is_over.store(true, Ordering::Relaxed);
        for load in self.all {
            let paid = load.task.await.expect("no request failed");
            let books = world.channel(load.channel).await.expect("in the books");
            assert_eq!((amount(&books, "spent"), amount(&books, "accepted")), (paid, paid), "{books}");
            assert_eq!(amount(&books, "reserved"), 0, "{books}");
        }
    }
}

async fn buy(hand: Hand, opened: Opened, answered: Arc<AtomicU64>, is_over: Arc<AtomicBool>) -> u128 {
    let mut cumulative = REQUEST_PRICE;
    while !is_over.load(Ordering::Relaxed) {
        cumulative += REQUEST_PRICE;
        let answer = hand.pay(&opened, cumulative).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
    cumulative
}
