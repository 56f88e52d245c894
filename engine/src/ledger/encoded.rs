//! Books of many channels as the ledger stores them, one behind the other: what a checkpoint hands over without a
//! copy of every channel.

use farebox_core::channel::State;
use farebox_core::journal::encode_state;
use farebox_core::units::ChannelId;

/// Encoded books. Of two of the same channel the later one counts.
#[derive(Debug, Default)]
pub struct EncodedBooks {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    channel: ChannelId,
    /// Where its bytes begin; they end where those of the next begin.
    begins: usize,
    ends: usize,
    is_running: bool,
}

/// The books of one channel.
#[derive(Clone, Copy, Debug)]
pub struct EncodedState<'a> {
    /// Whose.
    pub channel: ChannelId,
    /// As [`encode_state`] writes them.
    pub bytes: &'a [u8],
    /// Whether they have running requests.
    pub is_running: bool,
}

impl EncodedBooks {
    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a channel's books.
    pub fn push(&mut self, state: &State) {
        let is_running = !state.reservations.is_empty();
        self.push_with(state.channel_id, is_running, |bytes| encode_state(bytes, state));
    }

    /// Adds what `encode` appends.
    pub fn push_with(&mut self, channel: ChannelId, is_running: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        let begins = self.bytes.len();
        encode(&mut self.bytes);
        self.entries.push(Entry { channel, begins, ends: self.bytes.len(), is_running });
    }

    /// Adds those of another, and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        let behind = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        let moved =
            |entry: Entry| Entry { begins: entry.begins + behind, ends: entry.ends + behind, ..entry };
        self.entries.extend(other.entries.drain(..).map(moved));
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Each channel once, by rising id.
    pub fn sorted(&self) -> Vec<EncodedState<'_>> {
        let mut sorted: Vec<_> = self.entries.iter().collect();
        // Stable, and read from behind: the later one of a channel is kept.
        sorted.sort_by_key(|entry| entry.channel);
        sorted.reverse();
        sorted.dedup_by_key(|entry| entry.channel);
        sorted.reverse();
        let state = |entry: &Entry| EncodedState {
            channel: entry.channel,
            bytes: &self.bytes[entry.begins..entry.ends],
            is_running: entry.is_running,
        };
        sorted.into_iter().map(state).collect()
    }
}
