//! Streams that wait for a channel to change.
//!
//! One entry a channel that somebody waits for, counted: it goes with its last waiter, so streams that
//! come and go leave nothing behind. The committer asks for nothing when nobody waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use farebox_core::units::ChannelId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// All waiters of an engine.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    channels: Mutex<HashMap<ChannelId, Entry>>,
    /// `channels.len()`, readable without the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entry {
    notify: Arc<Notify>,
    waiters: usize,
}

impl Waiters {
    /// Begins to wait for a channel; the wait ends when the answer is dropped.
    pub(super) fn register(&self, channel: ChannelId) -> Waiter<'_> {
        let mut channels = self.channels.lock();
        let entry = channels.entry(channel).or_default();
        entry.waiters += 1;
        let notify = Arc::clone(&entry.notify);
        self.waiting.store(channels.len(), Ordering::SeqCst);
        Waiter { waiters: self, channel, notify }
    }

    /// Wakes who waits for one of these channels. Called by the committer after durability.
    pub(super) fn notify(&self, changed: &[ChannelId]) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let channels = self.channels.lock();
        for entry in changed.iter().filter_map(|channel| channels.get(channel)) {
            entry.notify.notify_waiters();
        }
    }
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    channel: ChannelId,
    notify: Arc<Notify>,
}

impl Waiter<'_> {
    /// Ready at the next change after it was enabled.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut channels = self.waiters.channels.lock();
        if let Some(entry) = channels.get_mut(&self.channel) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                channels.remove(&self.channel);
            }
        }
        self.waiters.waiting.store(channels.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farebox_core::units::B256;

    const CHANNEL: ChannelId = ChannelId(B256::repeat_byte(1));
    const OTHER: ChannelId = ChannelId(B256::repeat_byte(2));

    #[tokio::test]
    async fn a_change_between_enabling_and_waiting_is_not_missed() {
        let waiters = Waiters::default();
        let waiter = waiters.register(CHANNEL);
        let changed = waiter.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        waiters.notify(&[OTHER]);
        assert!(!changed.as_mut().enable());
        waiters.notify(&[OTHER, CHANNEL]);
        changed.await;
    }

    #[test]
    fn waiters_leave_nothing_behind() {
        let waiters = Waiters::default();
        for _ in 0..100 {
            let first = waiters.register(CHANNEL);
            let second = waiters.register(CHANNEL);
            drop(first);
            assert_eq!(waiters.waiting.load(Ordering::SeqCst), 1);
            drop(second);
        }
        assert!(waiters.channels.lock().is_empty());
        assert_eq!(waiters.waiting.load(Ordering::SeqCst), 0);
    }
}
