//! Follows the escrows' events and tells the books.
//!
//! The cursor in the books says which block comes next. A look reads from a few blocks before it (a node
//! that was behind may have left something out) up to the newest block, tells every fact to the engine,
//! and moves the cursor only when all of them are durable. So a restart repeats facts and loses none;
//! facts are totals and carry their place on the chain, so a repeated one changes nothing.
//!
//! Every look shows the blocks to the [`Branch`]. When the chain replaced some, the cursor goes back to the common
//! ancestor, everything above it is read and told again, and the channels of which the replaced blocks spoke are held
//! against their escrow: what the new branch does not say any more no event tells.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Rejection};
use farebox_core::journal::Cursor;
use farebox_core::units::{B256, BlockNumber, ChannelId};
use farebox_engine::{Engine, EngineError, Refusal, Verdict};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::branch::{Branch, Followed};
use crate::client::{Client, ClientError, Head, LogFilter};
use crate::config::Config;
use crate::fact::{Fact, watched_events};
use crate::feed::Feed;
use crate::heads::Heads;
use crate::opening::Openings;

/// How often one block is asked for before a look fails: many of them are read in a row behind a gap.
const BLOCK_TRIES_MAX: u32 = 4;

/// How the watcher is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatcherHealth {
    /// The next block to read.
    pub next_block: u64,
    /// How many looks failed in a row.
    pub failures: u32,
    /// Why the last one failed; empty when it did not.
    pub last_error: String,
    /// False until the first look succeeded.
    pub is_following: bool,
}

/// Why a look failed. The cursor did not move.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a task that tells facts ended early")]
    TaskLost,
}

/// Follows the escrows.
pub(crate) struct Watcher {
    client: Client,
    config: Arc<Config>,
    engine: Engine,
    openings: Openings,
    /// Tells the worker of channels that the chain spoke of.
    feed: Arc<Feed>,
    /// New blocks, when a node tells of them.
    heads: Arc<Heads>,
    health: watch::Sender<WatcherHealth>,
    filter: LogFilter,
    next_block: u64,
    range_blocks: u64,
    /// The newest blocks that were read, by hash.
    branch: Branch,
    /// Facts of the newest blocks that the books have, and of which channels they are.
    told: BTreeMap<ChainPosition, ChannelId>,
    /// Facts of channels that are about to enter the books; the cursor stays before them.
    held: BTreeMap<ChainPosition, Fact>,
}

/// What became of a fact.
enum Told {
    Yes,
    /// The books do not know the channel.
    UnknownChannel(Box<Fact>),
}

impl Watcher {
    /// Prepares to follow from the cursor in the books, or from `start` when they have none.
    pub(crate) fn new(
        client: Client,
        config: Arc<Config>,
        engine: Engine,
        openings: Openings,
        feed: Arc<Feed>,
        heads: Arc<Heads>,
        start: u64,
    ) -> (Self, watch::Receiver<WatcherHealth>) {
        let next_block = engine.cursor().map_or(start, |cursor| cursor.next_block.0);
        let initial = WatcherHealth { next_block, ..WatcherHealth::default() };
        let (health, seen) = watch::channel(initial);
        let filter = LogFilter {
            addresses: config.escrows.iter().map(|escrow| escrow.address).collect(),
            events: watched_events(),
            channel: None,
            payee: Some(config.payee),
        };
        let range_blocks = config.watch.range_blocks_max;
        let (told, held) = (BTreeMap::new(), BTreeMap::new());
        let known = engine.cursor().filter(|cursor| !cursor.parent.is_zero() && cursor.next_block.0 > 0);
        let known = known.map(|cursor| (cursor.next_block.0 - 1, cursor.parent));
        let branch = Branch::new(config.watch.window_blocks, known);
        let watcher = Self {
            client,
            config,
            engine,
            openings,
            feed,
            heads,
            health,
            filter,
            next_block,
            range_blocks,
            branch,
            told,
            held,
        };
        (watcher, seen)
    }

    /// Follows until told to stop. A look that is under way may be dropped at any point: the cursor moves
    /// last.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        loop {
            let pause_ms = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                looked = self.look() => match looked {
                    Ok(is_caught_up) => {
                        failures = 0;
                        if is_caught_up { self.poll_ms() } else { 0 }
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        self.note_failure(failures, &error);
                        if matches!(error, LookError::Engine(EngineError::Stopped | EngineError::Poisoned { .. })) {
                            return;
                        }
                        self.config.watch.backoff.delay_ms(failures)
                    }
                },
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.heads.told(), if failures == 0 => {}
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
    }

    /// The pause between two looks.
    fn poll_ms(&self) -> u64 {
        let watch = &self.config.watch;
        if self.heads.is_live() { watch.poll_told_ms.max(watch.poll_ms) } else { watch.poll_ms }
    }

    /// One look at one range of blocks. True when there is nothing more to read right now.
    pub(crate) async fn look(&mut self) -> Result<bool, LookError> {
        let newest = self.client.head().await?;
        let head = newest.number.saturating_sub(self.config.watch.confirm_blocks);
        self.follow_branch(newest, self.last_block(head)).await?;
        // Perhaps another one: the branch may have sent us back.
        let to = self.last_block(head);
        let from = self.next_block.saturating_sub(self.config.watch.overlap_blocks);
        if newest.number < from {
            // The node is behind us by more than the overlap.
            return Err(ClientError::Behind { wanted: from, found: newest.number }.into());
        }
        if to < from {
            // Nothing new is confirmed.
            return Ok(true);
        }
        let logs = match self.client.logs(&self.filter, from, to).await {
            Err(ClientError::Refused { .. }) if self.range_blocks > 1 => {
                // Too many blocks or logs for this node.
                self.range_blocks /= 2;
                return Ok(false);
            }
            logs => logs?,
        };
        self.check_branch(&logs)?;
        self.tell(self.new_facts(&logs)).await?;
        self.advance(to);
        self.range_blocks = (self.range_blocks * 2).min(self.config.watch.range_blocks_max);
        Ok(self.next_block > head || !self.held.is_empty())
    }

    /// The last block of the next range.
    fn last_block(&self, head: u64) -> u64 {
        head.min(self.next_block.saturating_add(self.range_blocks - 1))
    }

    /// Shows the branch the block up to which is read. When blocks were replaced, goes back to before them.
    async fn follow_branch(&mut self, newest: Head, to: u64) -> Result<(), LookError> {
        let is_alone = self.client.config().quorum <= 1;
        let block = if newest.number == to && is_alone { newest } else { self.client.block(to).await? };
        if block.hash.is_zero() {
            // A node that does not say its hashes cannot be followed by them.
            return Ok(());
        }
        let client = self.client.clone();
        let read = |number| {
            let client = client.clone();
            async move {
                let mut tries_left = BLOCK_TRIES_MAX;
                loop {
                    tries_left -= 1;
                    match client.block(number).await {
                        Err(_) if tries_left > 0 => {}
                        read => return read,
                    }
                }
            }
        };
        let back_to = match self.branch.follow(block, read).await? {
            Followed::On => return Ok(()),
            Followed::Replaced { ancestor } => {
                tracing::warn!(ancestor, "the chain replaced its newest blocks; their events are read again");
                ancestor.saturating_add(1)
            }
            Followed::Deep { oldest } => {
                let window = self.config.watch.window_blocks as u64;
                tracing::error!(oldest, "ALARM: the chain replaced blocks deeper than what is remembered");
                oldest.min(self.next_block).saturating_sub(window)
            }
        };
        metrics::counter!("farebox_watcher_reorgs_total").increment(1);
        self.roll_back(back_to);
        Ok(())
    }

    /// Forgets what was told from a block on. What of it is not on the chain any more, a look at the channels shows.
    fn roll_back(&mut self, back_to: u64) {
        let first = ChainPosition { block: back_to, log_index: 0 };
        drop(self.held.split_off(&first));
        let undone = self.told.split_off(&first);
        self.feed.suspect(undone.into_values());
        if back_to >= self.next_block {
            return;
        }
        self.next_block = back_to;
        if self.engine.cursor().is_some_and(|known| known.next_block.0 > back_to) {
            self.set_cursor(back_to);
        }
    }

    fn set_cursor(&self, next_block: u64) {
        let parent = next_block.checked_sub(1).and_then(|last| self.branch.hash_of(last));
        let parent = parent.unwrap_or(B256::ZERO);
        self.engine.set_cursor(Cursor { next_block: BlockNumber(next_block), parent });
    }

    /// Logs count only when they are of the blocks that were shown: the chain may have changed in between.
    fn check_branch(&self, logs: &[alloy::rpc::types::Log]) -> Result<(), LookError> {
        let strange = logs.iter().any(|log| {
            let known = log.block_number.and_then(|block| self.branch.hash_of(block));
            matches!((known, log.block_hash), (Some(known), Some(hash)) if known != hash)
        });
        if strange {
            let what = "logs of the blocks that it shows";
            return Err(ClientError::BadAnswer { endpoint: "the nodes".to_owned(), what }.into());
        }
        Ok(())
    }

    /// The facts of the logs that were not told yet, and those that are held, by place on the chain.
    fn new_facts(&self, logs: &[alloy::rpc::types::Log]) -> BTreeMap<ChainPosition, Fact> {
        let mut facts = self.held.clone();
        for log in logs {
            let Some(protocol) = self.config.protocol_of(log.address()) else { continue };
            match Fact::read(protocol, log) {
                Ok(Some(fact)) if !self.told.contains_key(&fact.position) => {
                    facts.insert(fact.position, fact);
                }
                Ok(_) => {}
                Err(error) => {
                    metrics::counter!("farebox_watcher_bad_events_total").increment(1);
                    tracing::error!(%error, "ALARM: an escrow's event cannot be read");
                }
            }
        }
        facts
    }

    /// Tells the engine, channels side by side, the facts of one channel in order.
    async fn tell(&mut self, facts: BTreeMap<ChainPosition, Fact>) -> Result<(), LookError> {
        let mut by_channel: HashMap<ChannelId, Vec<Fact>> = HashMap::new();
        for fact in facts.into_values() {
            by_channel.entry(fact.channel).or_default().push(fact);
        }
        let mut waiting = by_channel.into_values();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.config.watch.channels_in_flight_max
                && let Some(facts) = waiting.next()
            {
                running.spawn(tell_channel(self.engine.clone(), Arc::clone(&self.feed), facts));
            }
            let Some(joined) = running.join_next().await else { return Ok(()) };
            for (position, channel, told) in joined.map_err(|_| LookError::TaskLost)?? {
                self.note(position, channel, told);
            }
        }
    }

    /// Remembers what became of a fact.
    fn note(&mut self, position: ChainPosition, channel: ChannelId, told: Told) {
        match told {
            Told::UnknownChannel(fact) if self.openings.contains(fact.channel) => {
                self.held.insert(position, *fact);
                return;
            }
            Told::UnknownChannel(fact) => {
                tracing::debug!(channel = %fact.channel, "an event of a channel that is not in the books");
            }
            Told::Yes => {}
        }
        self.held.remove(&position);
        self.told.insert(position, channel);
    }

    /// Moves the cursor: everything before it is durable. It never passes a fact that is held.
    fn advance(&mut self, to: u64) {
        let held = self.held.keys().next().map_or(u64::MAX, |position| position.block);
        self.next_block = self.next_block.max(to.saturating_add(1));
        let cursor = self.next_block.min(held);
        let watch = self.config.watch;
        let kept = self.next_block.saturating_sub(watch.overlap_blocks.max(watch.window_blocks as u64));
        self.told = self.told.split_off(&ChainPosition { block: kept.min(cursor), log_index: 0 });
        if self.engine.cursor().is_none_or(|known| known.next_block.0 < cursor) {
            self.set_cursor(cursor);
        }
        metrics::gauge!("farebox_watcher_next_block").set(cursor as f64);
        metrics::gauge!("farebox_watcher_failures").set(0.0);
        let next_block = cursor;
        self.health.send_replace(WatcherHealth {
            next_block,
            is_following: true,
            ..WatcherHealth::default()
        });
    }

    fn note_failure(&self, failures: u32, error: &LookError) {
        metrics::gauge!("farebox_watcher_failures").set(f64::from(failures));
        tracing::warn!(failures, %error, "the escrows cannot be followed at this moment");
        self.health.send_modify(|health| {
            health.failures = failures;
            health.last_error = error.to_string();
        });
    }
}

/// Tells one channel's facts, in order.
async fn tell_channel(
    engine: Engine,
    feed: Arc<Feed>,
    facts: Vec<Fact>,
) -> Result<Vec<(ChainPosition, ChannelId, Told)>, LookError> {
    let mut all = Vec::with_capacity(facts.len());
    for fact in facts {
        let (position, channel) = (fact.position, fact.channel);
        all.push((position, channel, tell_fact(&engine, &feed, fact).await?));
    }
    Ok(all)
}

async fn tell_fact(engine: &Engine, feed: &Feed, fact: Fact) -> Result<Told, LookError> {
    let channel = fact.channel;
    let Some(step) = fact.step() else { return Ok(Told::Yes) };
    let Some(identity) = engine.identity(channel).await? else {
        return Ok(Told::UnknownChannel(Box::new(fact)));
    };
    if identity.escrow != fact.escrow {
        tracing::error!(%channel, escrow = %fact.escrow, "another escrow speaks of a known channel; ignored");
        return Ok(Told::Yes);
    }
    match engine.apply(channel, step).await? {
        Verdict::Accepted(_) => {
            tracing::info!(%channel, kind = ?fact.kind, block = fact.position.block, "the chain says");
            feed.fact(channel);
            Ok(Told::Yes)
        }
        Verdict::Rejected(Refusal::Channel(Rejection::ChannelNotFound)) => {
            Ok(Told::UnknownChannel(Box::new(fact)))
        }
        Verdict::Rejected(refusal) => {
            metrics::counter!("farebox_watcher_refused_facts_total").increment(1);
            tracing::error!(%channel, ?fact, %refusal, "ALARM: the books refuse what the chain says");
            Ok(Told::Yes)
        }
    }
}
