//! Where the books live when the power goes: frames, images of channels, and how far each of them goes.
//!
//! The pipeline's committer appends frames, its checkpointer stores images, recovery reads both back, and
//! tools read beside a running server. A ledger stores bytes and answers for their durability; it knows
//! no rule about money.
//!
//! # The contract that every ledger keeps (one conformance suite checks it)
//!
//! 1. **Append is durable.** When [`Ledger::append`] returns `Ok`, the frame survives a crash of the
//!    process and of the machine. When it returns an error, the frame may or may not be there; the caller
//!    must not append again.
//! 2. **Frames are a sequence.** They are numbered without gaps; `append` takes only the next number.
//! 3. **One writer.** Opening for writing raises the epoch durably; a writer with an older epoch is
//!    refused with [`LedgerError::Fenced`] from then on, so two servers can never both acknowledge.
//! 4. **Images never lead.** The caller stores an image of a channel only after every frame in it was
//!    appended. The mark moves only when all images of the checkpoint are durable, so an image may be newer
//!    than the mark (replay skips what it holds), never older.
//! 5. **Notes are durable, and apart.** When [`Ledger::put_note`] returns, the note survives a crash. Notes are small
//!    values of a part beside the books, such as what settlement is about to send; they are in no frame, and neither
//!    marks nor forgotten frames touch them.
//! 6. **Damage is told, not repaired.** What cannot be read is [`LedgerError::Corrupt`], never skipped. The
//!    one exception is a torn last frame: see [`recover()`].

pub mod check;
#[cfg(test)]
mod conformance;
mod encoded;
mod error;
pub mod memory;
pub mod recover;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;

use std::sync::Arc;

use farebox_core::channel::{Identity, State};
use farebox_core::journal::{Head, decode_state};
use farebox_core::units::ChannelId;

pub use check::{Finding, Place, Summary, check};
pub use encoded::{EncodedBooks, EncodedState};
pub use error::LedgerError;
pub use memory::{MemoryLedger, MemoryStore};
pub use recover::{Books, recover};
pub(crate) use recover::{Replayed, begin, replay};
#[cfg(feature = "rocksdb")]
pub use rocksdb::{RocksLedger, RocksView, STORE_VERSION, Snapshots, discard_snapshot};

/// The most frames that one call of [`LedgerRead::frames_after`] is asked for.
pub const FRAMES_PAGE_MAX: usize = 256;
/// The most bytes of a note's key.
pub const NOTE_KEY_BYTES_MAX: usize = 64;
/// The most bytes of a note: a batch of claims with the largest signatures.
pub const NOTE_BYTES_MAX: usize = 256 * 1_024;
/// The most channels that one call of [`LedgerRead::channels`] is asked for.
pub const CHANNELS_PAGE_MAX: usize = 1_024;

/// A channel as a checkpoint holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChannel {
    /// Its id.
    pub channel: ChannelId,
    /// Its immutable terms.
    pub identity: Arc<Identity>,
    /// Its books, as of `state.sequence`.
    pub state: State,
}

/// What a ledger says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest writer's epoch; zero before the first.
    pub epoch: u64,
    /// How far the images go: every event in frames up to this one is in them, and replay starts behind
    /// it. [`Head::GENESIS`] before the first checkpoint.
    pub mark: Head,
    /// The last frame that is stored, damaged or not; zero when there is none.
    pub last_frame: u64,
}

/// A stored frame, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its number, from the key under which it is stored.
    pub sequence: u64,
    /// Its bytes, perhaps damaged.
    pub bytes: Vec<u8>,
}

/// Reading a ledger: all that a tool beside a running server gets.
pub trait LedgerRead: Send + Sync + 'static {
    /// Epoch, mark and last frame.
    fn standing(&self) -> Result<Standing, LedgerError>;

    /// The image of one channel, as of the last checkpoint that held it.
    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError>;

    /// Images by rising channel id, from the one behind `after`, at most `max`. Fewer means the end.
    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError>;

    /// Channels whose image has running requests, by rising id, from the one behind `after`, at most `max`.
    /// Fewer means the end. It may name others too, whose requests ended behind the mark. A durable ledger has an
    /// index, stored with the images, so that a start need not read them all.
    fn running(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<ChannelId>, LedgerError> {
        running_among_all(self, after, max)
    }

    /// The tombstone of a channel that was retired: its books without vouchers and outcomes. Its terms are gone, and so
    /// is its image. By default there is none: see [`Ledger::bury`].
    fn tombstone(&self, _channel: ChannelId) -> Result<Option<State>, LedgerError> {
        Ok(None)
    }

    /// Tombstones by rising channel id, from the one behind `after`, at most `max`. Fewer means the end.
    fn tombstones(&self, _after: Option<ChannelId>, _max: usize) -> Result<Vec<State>, LedgerError> {
        Ok(Vec::new())
    }

    /// Frames by rising number, from the one behind `sequence`, at most `max`. Fewer means the end.
    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError>;

    /// The notes whose keys begin with `prefix`, by rising key. A ledger that keeps none has none.
    fn notes(&self, _prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
        Ok(Vec::new())
    }
}

/// A stored note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What [`LedgerRead::running`] says, from the images themselves.
fn running_among_all(
    ledger: &(impl LedgerRead + ?Sized),
    mut after: Option<ChannelId>,
    max: usize,
) -> Result<Vec<ChannelId>, LedgerError> {
    let mut running = Vec::new();
    loop {
        let page = ledger.channels(after, CHANNELS_PAGE_MAX)?;
        after = page.last().map(|stored| stored.channel);
        let is_last = page.len() < CHANNELS_PAGE_MAX;
        let found = page.iter().filter(|stored| !stored.state.reservations.is_empty());
        running.extend(found.map(|stored| stored.channel));
        if is_last || running.len() >= max {
            running.truncate(max);
            return Ok(running);
        }
    }
}

/// Writing a ledger. One thread appends, another may checkpoint at the same time.
pub trait Ledger: LedgerRead {
    /// The epoch that this writer got when it opened the ledger; its frames carry it.
    fn epoch(&self) -> u64;

    /// Stores a frame; it is durable when this returns.
    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError>;

    /// Stores images. They need not be durable before [`Ledger::set_mark`] returns.
    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError>;

    /// The same for channels that had an image when the mark was moved last: their terms never change and need not be
    /// stored again.
    fn store_books(&self, books: &EncodedBooks) -> Result<(), LedgerError> {
        let mut channels = Vec::with_capacity(books.len());
        for EncodedState { channel, bytes, .. } in books.sorted() {
            let damaged = |what: String| LedgerError::CorruptChannel { channel, what: what.into() };
            let state = decode_state(bytes).map_err(|error| damaged(error.to_string()))?;
            let stored = self.load(channel)?;
            let stored =
                stored.ok_or_else(|| damaged("it has no image, and its terms are not known".into()))?;
            channels.push(StoredChannel { state, ..stored });
        }
        self.store_images(&channels)
    }

    /// Moves the mark, after all images that were stored before are durable. It is durable when this
    /// returns. Stopped before that, the old mark stands and the newer images do no harm.
    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError>;

    /// Deletes frames up to and with `sequence`, never beyond the mark. Where the journal is the
    /// accounting, nobody calls this.
    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError>;

    /// Puts tombstones in the place of images and terms, at once. The caller gives books that an image holds already and
    /// that never change again; the journal may still tell how they came about.
    fn bury(&self, _retired: &[State]) -> Result<(), LedgerError> {
        Err(LedgerError::Io { action: "keep tombstones", cause: "this ledger keeps none".into() })
    }

    /// Stores a note in the place of the one with the same key, or removes that one; it is durable when this returns.
    fn put_note(&self, _key: &[u8], _note: Option<&[u8]>) -> Result<(), LedgerError> {
        Err(LedgerError::Io { action: "keep a note", cause: "this ledger keeps none".into() })
    }

    /// Deletes the frames behind `sequence`: a torn tail that recovery found.
    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError>;
}
