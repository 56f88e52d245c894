//! Channels that are about to enter the books.
//!
//! Between the moment when the opener looks at a new channel and the moment when the books know it, the
//! payer may ask on chain to close it. The watcher hears that, finds no such channel in the books, and would
//! drop it: service would flow into a closing channel. So the opener says here which channels are coming,
//! and the watcher keeps what it hears of those until the books know them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::units::ChannelId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The most channels that may be coming at once; more opens are told to come again.
pub(crate) const OPENINGS_MAX: usize = 4_096;
/// How long a channel counts as coming after the opener is done with it: until the door has told the
/// books, which takes milliseconds.
const LINGER_MS: u64 = 30_000;

/// The channels that are coming. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Openings(Arc<Mutex<HashMap<ChannelId, Opening>>>);

#[derive(Clone, Copy, Debug)]
struct Opening {
    /// How many openers work on it.
    openers: usize,
    /// Until when it counts as coming, when no opener does.
    until: Instant,
}

/// Says that a channel is coming, for as long as it lives, and a little longer.
#[derive(Debug)]
pub(crate) struct OpeningGuard {
    openings: Openings,
    channel: ChannelId,
}

impl Openings {
    /// Says that a channel is coming; `None` when too many are.
    pub(crate) fn begin(&self, channel: ChannelId) -> Option<OpeningGuard> {
        let mut openings = self.0.lock();
        let now = Instant::now();
        openings.retain(|_, opening| opening.openers > 0 || opening.until > now);
        if openings.len() >= OPENINGS_MAX && !openings.contains_key(&channel) {
            return None;
        }
        openings.entry(channel).or_insert(Opening { openers: 0, until: now }).openers += 1;
        Some(OpeningGuard { openings: self.clone(), channel })
    }

    /// True while the channel may enter the books any moment.
    pub(crate) fn contains(&self, channel: ChannelId) -> bool {
        let openings = self.0.lock();
        openings.get(&channel).is_some_and(|opening| opening.openers > 0 || opening.until > Instant::now())
    }
}

impl Drop for OpeningGuard {
    fn drop(&mut self) {
        if let Some(opening) = self.openings.0.lock().get_mut(&self.channel) {
            opening.openers = opening.openers.saturating_sub(1);
            opening.until = Instant::now() + Duration::from_millis(LINGER_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use farebox_core::units::B256;

    use super::*;

    fn channel(number: u64) -> ChannelId {
        ChannelId(B256::left_padding_from(&number.to_be_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_coming_until_a_while_after_its_last_opener() {
        let openings = Openings::default();
        let guards = [openings.begin(channel(1)), openings.begin(channel(1))];
        assert!(!openings.contains(channel(2)));
        let [first, second] = guards;
        drop(first);
        tokio::time::advance(Duration::from_millis(10 * LINGER_MS)).await;
        assert!(openings.contains(channel(1)), "the second opener still works on it");
        drop(second);
        assert!(openings.contains(channel(1)), "the door tells the books now");
        tokio::time::advance(Duration::from_millis(LINGER_MS)).await;
        assert!(!openings.contains(channel(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_bound_and_it_frees_itself() {
        let openings = Openings::default();
        let guards: Vec<_> = (0..OPENINGS_MAX as u64).map(|number| openings.begin(channel(number))).collect();
        assert!(guards.iter().all(Option::is_some));
        assert!(openings.begin(channel(1 << 40)).is_none());
        assert!(openings.begin(channel(7)).is_some(), "a channel that is coming already");
        drop(guards);
        tokio::time::advance(Duration::from_millis(LINGER_MS)).await;
        assert!(openings.begin(channel(1 << 40)).is_some());
    }
}
