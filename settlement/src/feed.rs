//! What the worker has to look at: channels that changed, each once however often it changed.
//!
//! The watcher tells what the chain said; a follower tells what the books did. Neither ever waits.

use std::collections::BTreeSet;
use std::time::Duration;

use farebox_core::units::ChannelId;
use farebox_engine::Engine;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, watch};

/// How long the follower lets changes gather before it looks again.
const GATHER_MS: u64 = 5;
/// The most channels that wait to be looked at. What is beyond is found when the books are looked through.
const WAITING_MAX: usize = 1 << 20;

/// Channels to look at.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    waiting: Mutex<Waiting>,
    told: Notify,
    suspected: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The chain said something about them: they come first.
    facts: BTreeSet<ChannelId>,
    /// The books changed.
    changes: BTreeSet<ChannelId>,
    /// The operator wants them settled now.
    wanted: BTreeSet<ChannelId>,
    /// The chain may not say any more what the books were told of them.
    suspects: BTreeSet<ChannelId>,
    /// Changes were missed: only a look through all books finds them.
    is_incomplete: bool,
}

impl Feed {
    /// The chain said something about a channel.
    pub(crate) fn fact(&self, channel: ChannelId) {
        let mut waiting = self.waiting.lock();
        if waiting.facts.len() < WAITING_MAX {
            waiting.facts.insert(channel);
        } else {
            waiting.is_incomplete = true;
        }
        drop(waiting);
        self.told.notify_one();
    }

    /// The operator wants a channel settled.
    pub(crate) fn want(&self, channel: ChannelId) {
        let mut waiting = self.waiting.lock();
        if waiting.wanted.len() < WAITING_MAX {
            waiting.wanted.insert(channel);
        }
        drop(waiting);
        self.told.notify_one();
    }

    /// What the books were told of these channels may not be true any more. Those beyond the bound are found when all
    /// open channels are held against the chain, in turn.
    pub(crate) fn suspect(&self, channels: impl Iterator<Item = ChannelId>) {
        let mut waiting = self.waiting.lock();
        for channel in channels {
            if waiting.suspects.len() >= WAITING_MAX {
                break;
            }
            waiting.suspects.insert(channel);
        }
        drop(waiting);
        self.suspected.notify_one();
    }

    /// Waits until there are suspects.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// The suspects, at most `max`.
    pub(crate) fn take_suspects(&self, max: usize) -> Vec<ChannelId> {
        take(&mut self.waiting.lock().suspects, max)
    }

    /// The channels that the operator wants settled, at most `max`.
    pub(crate) fn take_wanted(&self, max: usize) -> Vec<ChannelId> {
        take(&mut self.waiting.lock().wanted, max)
    }

    /// Waits until the chain or the operator said something.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// The channels that the chain spoke of, at most `max`.
    pub(crate) fn take_facts(&self, max: usize) -> Vec<ChannelId> {
        take(&mut self.waiting.lock().facts, max)
    }

    /// The channels that the books changed, at most `max`.
    pub(crate) fn take_changes(&self, max: usize) -> Vec<ChannelId> {
        take(&mut self.waiting.lock().changes, max)
    }

    /// True, once, when changes were missed.
    pub(crate) fn take_incomplete(&self) -> bool {
        std::mem::take(&mut self.waiting.lock().is_incomplete)
    }

    fn change(&self, channels: &mut Vec<ChannelId>, missed: bool) {
        let mut waiting = self.waiting.lock();
        waiting.is_incomplete |= missed;
        for channel in channels.drain(..) {
            if waiting.changes.len() >= WAITING_MAX {
                waiting.is_incomplete = true;
                break;
            }
            waiting.changes.insert(channel);
        }
        channels.clear();
    }

    /// Follows the changes of the books until told to stop.
    pub(crate) async fn follow(&self, engine: Engine, mut stop: watch::Receiver<bool>) {
        let mut changes = engine.subscribe();
        let mut gathered = Vec::new();
        loop {
            let first = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                first = changes.recv() => first,
            };
            let mut missed = match first {
                Ok(channel) => {
                    gathered.push(channel);
                    false
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            };
            loop {
                match changes.try_recv() {
                    Ok(channel) => gathered.push(channel),
                    Err(TryRecvError::Lagged(_)) => missed = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
                if gathered.len() >= WAITING_MAX {
                    break;
                }
            }
            self.change(&mut gathered, missed);
            tokio::time::sleep(Duration::from_millis(GATHER_MS)).await;
        }
    }
}

fn take(set: &mut BTreeSet<ChannelId>, max: usize) -> Vec<ChannelId> {
    std::iter::from_fn(|| set.pop_first()).take(max).collect()
}
