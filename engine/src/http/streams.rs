//! The running streams, by channel, so that a close, or the end of a channel's service, can end them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::units::ChannelId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// All running streams of a door. One entry a channel that has any; the books bound how many one channel
/// may have.
#[derive(Debug, Default)]
pub(super) struct Streams {
    channels: Mutex<HashMap<ChannelId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// How many streams run; and the number of the last call to stop.
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    running: usize,
    stops: u64,
}

impl Streams {
    /// Notes a stream; it is over when the answer is dropped.
    pub(super) fn enter(self: &Arc<Self>, channel: ChannelId) -> Ticket {
        let mut channels = self.channels.lock();
        let entry =
            channels.entry(channel).or_insert_with(|| Entry { state: watch::channel(State::default()).0 });
        entry.state.send_modify(|state| state.running += 1);
        let state = entry.state.subscribe();
        let stops = state.borrow().stops;
        Ticket { streams: Arc::clone(self), channel, state, stops }
    }

    /// Asks all streams of a channel to end.
    pub(super) fn ask_to_end(&self, channel: ChannelId) {
        if let Some(entry) = self.channels.lock().get(&channel) {
            entry.state.send_modify(|state| state.stops += 1);
        }
    }

    /// The channels that have streams now.
    pub(super) fn running(&self) -> Vec<ChannelId> {
        self.channels.lock().keys().copied().collect()
    }

    /// Asks all streams of a channel to end, and waits until they did, at most `wait`. True when none is
    /// left of those that ran.
    pub(super) async fn stop(&self, channel: ChannelId, wait: Duration) -> bool {
        let mut state = {
            let channels = self.channels.lock();
            let Some(entry) = channels.get(&channel) else { return true };
            entry.state.send_modify(|state| state.stops += 1);
            entry.state.subscribe()
        };
        // An entry that is dropped has no streams any more.
        let none_left = async { drop(state.wait_for(|state| state.running == 0).await) };
        tokio::time::timeout(wait, none_left).await.is_ok()
    }
}

/// One running stream.
#[derive(Debug)]
pub(super) struct Ticket {
    streams: Arc<Streams>,
    channel: ChannelId,
    state: watch::Receiver<State>,
    stops: u64,
}

impl Ticket {
    /// Whether the stream should end.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.borrow().stops > self.stops
    }

    /// Asks all other streams of the channel to end.
    pub(super) fn replace_others(&mut self) {
        let channels = self.streams.channels.lock();
        if let Some(entry) = channels.get(&self.channel) {
            entry.state.send_modify(|state| state.stops += 1);
            self.stops = entry.state.borrow().stops;
        }
    }

    /// Ready when the stream should end.
    pub(super) async fn stopped(&mut self) {
        let stops = self.stops;
        if self.state.wait_for(|state| state.stops > stops).await.is_err() {
            // The entry outlives its tickets; without it nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut channels = self.streams.channels.lock();
        if let Some(entry) = channels.get(&self.channel) {
            entry.state.send_modify(|state| state.running -= 1);
            if entry.state.borrow().running == 0 {
                channels.remove(&self.channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use farebox_core::units::B256;

    use super::*;

    const CHANNEL: ChannelId = ChannelId(B256::repeat_byte(1));

    #[tokio::test]
    async fn streams_are_stopped_and_counted() {
        let streams = Arc::new(Streams::default());
        assert!(streams.stop(CHANNEL, Duration::ZERO).await, "there is none");
        let mut first = streams.enter(CHANNEL);
        let second = streams.enter(CHANNEL);
        assert!(!streams.stop(CHANNEL, Duration::from_millis(10)).await, "they do not listen");
        first.stopped().await;
        drop(first);
        let waiting = tokio::spawn({
            let streams = Arc::clone(&streams);
            async move { streams.stop(CHANNEL, Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiting.await.unwrap());
        assert!(streams.channels.lock().is_empty());
    }

    #[tokio::test]
    async fn the_newest_stream_may_end_the_others() {
        let streams = Arc::new(Streams::default());
        let mut first = streams.enter(CHANNEL);
        let mut second = streams.enter(CHANNEL);
        second.replace_others();
        assert!(first.is_stopped() && !second.is_stopped());
        first.replace_others();
        assert!(!first.is_stopped() && second.is_stopped());
    }

    #[tokio::test]
    async fn a_later_stream_is_not_stopped_by_an_earlier_call() {
        let streams = Arc::new(Streams::default());
        let first = streams.enter(CHANNEL);
        streams.stop(CHANNEL, Duration::ZERO).await;
        let mut second = streams.enter(CHANNEL);
        drop(first);
        let stopped = tokio::time::timeout(Duration::from_millis(10), second.stopped()).await;
        assert!(stopped.is_err());
    }
}
