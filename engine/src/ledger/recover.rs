//! Reading the books back: images, and what the journal says since.
//!
//! Used by the engine at its start, and by tools that only look. Nothing is written here.
//!
//! A channel's events are numbered. Replay skips those that its image holds already, applies the next
//! one, and calls a gap corruption. The same frames may so be replayed over newer images, any number of
//! times.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use farebox_core::channel::{Event, State};
use farebox_core::journal::{Corruption, End, Head, Record, Replay, Step, TornTail};
use farebox_core::units::ChannelId;

use super::{CHANNELS_PAGE_MAX, FRAMES_PAGE_MAX, LedgerError, LedgerRead, Standing, StoredChannel};

/// The books as the ledger has them: the images, and over them what changed since.
#[derive(Clone, Debug)]
pub struct Books {
    /// Channels with events behind the mark, as they are after the last whole frame.
    pub changed: BTreeMap<ChannelId, StoredChannel>,
    /// The last checkpoint.
    pub mark: Head,
    /// The end of the journal: what the next frame follows.
    pub head: Head,
    /// A damaged last frame that nobody heard of. A writer removes it first.
    pub torn_tail: Option<TornTail>,
}

/// Replays the journal behind the last checkpoint.
///
/// # Errors
///
/// [`LedgerError::CorruptFrame`] and [`LedgerError::CorruptChannel`] when something that was acknowledged
/// is damaged or missing: such books must not be opened.
pub fn recover(ledger: &(impl LedgerRead + ?Sized)) -> Result<Books, LedgerError> {
    let mut changed = BTreeMap::new();
    let Replayed { mark, head, torn_tail, .. } =
        replay(ledger, |record| apply(ledger, &mut changed, record))?;
    changed.values().try_for_each(StoredChannel::check)?;
    Ok(Books { changed, mark, head, torn_tail })
}

/// What the journal is behind the last checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    /// The last checkpoint.
    pub(crate) mark: Head,
    /// The end of the journal.
    pub(crate) head: Head,
    /// See [`Books::torn_tail`].
    pub(crate) torn_tail: Option<TornTail>,
    /// The bytes of the frames between.
    pub(crate) bytes: u64,
}

/// Hands every record behind the last checkpoint to `each`, in order.
pub(crate) fn replay(
    ledger: &(impl LedgerRead + ?Sized),
    mut each: impl FnMut(Record) -> Result<(), LedgerError>,
) -> Result<Replayed, LedgerError> {
    let Standing { mark, .. } = ledger.standing()?;
    let (mut replay, mut after, mut bytes) = (Replay::after(mark), mark.sequence, 0);
    loop {
        let page = ledger.frames_after(after, FRAMES_PAGE_MAX)?;
        let is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            after = stored.sequence;
            bytes += stored.bytes.len() as u64;
            match replay.feed(stored.sequence, &stored.bytes).map_err(corrupt)? {
                Step::Apply(frame) => frame.records.into_iter().try_for_each(&mut each)?,
                Step::Damaged(_) => {}
            }
        }
        if is_last {
            break;
        }
    }
    let End { head, torn_tail } = replay.finish();
    Ok(Replayed { mark, head, torn_tail, bytes })
}

impl StoredChannel {
    /// Applies event number `sequence`, unless the books hold it.
    pub(crate) fn follow(&mut self, sequence: u64, event: &Event) -> Result<(), LedgerError> {
        let next = self.state.sequence + 1;
        if sequence > next {
            let what = format!("event {next} is missing, the next in the journal is {sequence}");
            return Err(corrupt_channel(self.channel, what));
        }
        if sequence == next {
            self.state.evolve(event);
        }
        Ok(())
    }

    /// Checks every promise of its books.
    pub(crate) fn check(&self) -> Result<(), LedgerError> {
        self.state.check().map_err(|violation| corrupt_channel(self.channel, violation.to_string()))
    }
}

impl Books {
    /// One channel.
    pub fn load(
        &self,
        ledger: &(impl LedgerRead + ?Sized),
        channel: ChannelId,
    ) -> Result<Option<StoredChannel>, LedgerError> {
        match self.changed.get(&channel) {
            Some(changed) => Ok(Some(changed.clone())),
            None => ledger.load(channel),
        }
    }

    /// Channels by rising id, from the one behind `after`, at most `max`. Fewer means the end.
    pub fn page(
        &self,
        ledger: &(impl LedgerRead + ?Sized),
        after: Option<ChannelId>,
        max: usize,
    ) -> Result<Vec<StoredChannel>, LedgerError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let max = max.min(CHANNELS_PAGE_MAX);
        let images = ledger.channels(after, max)?;
        let mut page: BTreeMap<_, _> = images.into_iter().map(|stored| (stored.channel, stored)).collect();
        let changed = self.changed.range((after.map_or(Unbounded, Excluded), Unbounded)).take(max);
        page.extend(changed.map(|(id, stored)| (*id, stored.clone())));
        Ok(page.into_values().take(max).collect())
    }
}

/// Applies one event, unless the image holds it.
fn apply(
    ledger: &(impl LedgerRead + ?Sized),
    changed: &mut BTreeMap<ChannelId, StoredChannel>,
    record: Record,
) -> Result<(), LedgerError> {
    let Record { channel, sequence, event } = record;
    let stored = match changed.entry(channel) {
        Entry::Occupied(place) => place.into_mut(),
        Entry::Vacant(place) => match ledger.load(channel)? {
            Some(stored) => place.insert(stored),
            // A tombstone holds all that ever happened to its channel.
            None if ledger.tombstone(channel)?.is_some_and(|tombstone| sequence <= tombstone.sequence) => {
                return Ok(());
            }
            None => {
                place.insert(begin(channel, sequence, &event)?);
                return Ok(());
            }
        },
    };
    stored.follow(sequence, &event)
}

/// A channel that begins in the journal.
pub(crate) fn begin(channel: ChannelId, sequence: u64, event: &Event) -> Result<StoredChannel, LedgerError> {
    let (Event::Opened { identity, .. }, Some(state)) = (event, State::from_opened(event)) else {
        let what = format!("the journal has its event {sequence}, but neither an image nor its beginning");
        return Err(corrupt_channel(channel, what));
    };
    if state.channel_id != channel || state.sequence != sequence {
        return Err(corrupt_channel(channel, "its beginning in the journal names another channel".into()));
    }
    Ok(StoredChannel { channel, identity: Arc::new((**identity).clone()), state })
}

fn corrupt(corruption: Corruption) -> LedgerError {
    let sequence = match corruption {
        Corruption::Gap { expected, .. } => expected,
        Corruption::Misplaced { stored_as, .. } => stored_as,
        Corruption::DamagedInside { sequence, .. }
        | Corruption::NotUnderstood { sequence, .. }
        | Corruption::ChainBroken { sequence, .. }
        | Corruption::EpochWentBack { sequence, .. } => sequence,
    };
    LedgerError::CorruptFrame { sequence, what: corruption.to_string().into() }
}

fn corrupt_channel(channel: ChannelId, what: String) -> LedgerError {
    LedgerError::CorruptChannel { channel, what: what.into() }
}
