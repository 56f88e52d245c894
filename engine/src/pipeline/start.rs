//! What happens before the threads start: recovery, and the end of orphaned requests.

use std::collections::{BTreeMap, BTreeSet};

use farebox_core::channel::{Command, Event, apply};
use farebox_core::journal::{FrameBuilder, Head, Link, Record, encode_event};
use farebox_core::units::ChannelId;

use super::risk::Unsettled;
use super::tail::Tail;
use super::{Config, EngineError};
use crate::clock::Clock;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{Books, CHANNELS_PAGE_MAX, Ledger, LedgerError, Replayed, StoredChannel, begin, replay};

/// What the threads begin with.
pub(super) struct Recovered {
    /// Channels that changed since their last durable image, as they are now.
    pub(super) channels: Vec<StoredChannel>,
    /// What the journal says of others that did.
    pub(super) tail: Tail,
    /// The end of the journal.
    pub(super) head: Head,
    /// The frame that the last checkpoint covers.
    pub(super) covers: u64,
    /// Bytes of the frames behind it.
    pub(super) bytes: u64,
    /// What is unsettled, when a limit asks for it.
    pub(super) unsettled: Option<Unsettled>,
}

/// Channels behind the last checkpoint.
#[derive(Default)]
struct Changed {
    /// As they are now.
    known: BTreeMap<ChannelId, StoredChannel>,
    tail: Tail,
    /// Those of the tail that began a request since.
    reserving: BTreeSet<ChannelId>,
}

/// Reads the books back, cuts a torn tail off, and ends the requests that a former process left running:
/// nobody is left to deliver to them.
pub(super) fn recover_and_release(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    config: &Config,
) -> Result<Recovered, EngineError> {
    let mut changed = Changed::default();
    let replayed = replay(ledger, |record| changed.note(ledger, record))?;
    let Replayed { mark, mut head, torn_tail, bytes } = replayed;
    if let Some(torn) = &torn_tail {
        let (frame, error) = (torn.sequence, torn.error);
        tracing::warn!(frame, %error, "the last frame was torn and never acknowledged; it is removed");
        ledger.cut_tail(head.sequence)?;
    }
    let unsettled = Unsettled::new(&config.limits);
    // Sums need every channel.
    if unsettled.is_some() || changed.tail.len() <= config.start_channels_max {
        changed.read_all(ledger)?;
    }
    let mut orphaned = changed.orphaned(ledger)?;
    let Changed { mut known, tail, .. } = changed;
    known.values().try_for_each(StoredChannel::check)?;
    for part in orphaned.chunks_mut(ORPHANS_FRAME_MAX) {
        head = release(ledger, clock, config, part, head)?;
        known.extend(part.iter().map(|stored| (stored.channel, stored.clone())));
    }
    let books = Books { changed: known, mark, head, torn_tail };
    if let Some(unsettled) = &unsettled {
        sum_up(ledger, &books, config, unsettled)?;
    }
    let channels = books.changed.into_values().collect();
    Ok(Recovered { channels, tail, head, covers: mark.sequence, bytes, unsettled })
}

impl Changed {
    /// Keeps what a record of the journal says.
    fn note(&mut self, ledger: &dyn Ledger, record: Record) -> Result<(), LedgerError> {
        let Record { channel, sequence, ref event } = record;
        if let Some(stored) = self.known.get_mut(&channel) {
            return stored.follow(sequence, event);
        }
        match event {
            // A checkpoint that was stopped before its mark may have left an image of it, or even a tombstone.
            Event::Opened { .. }
                if ledger.load(channel)?.is_none() && ledger.tombstone(channel)?.is_none() =>
            {
                self.known.insert(channel, begin(channel, sequence, event)?);
                return Ok(());
            }
            Event::Reserved { .. } => {
                self.reserving.insert(channel);
            }
            _ => {}
        }
        self.tail.push(&record);
        Ok(())
    }

    /// Moves a channel from the tail to the known ones.
    fn read(&mut self, ledger: &dyn Ledger, channel: ChannelId) -> Result<(), LedgerError> {
        let taken = self.tail.take(channel, ledger)?;
        self.known.extend(taken.map(|stored| (channel, stored)));
        Ok(())
    }

    /// The same for all.
    fn read_all(&mut self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let mut tail = std::mem::take(&mut self.tail).split(1).pop().expect("it was split into one");
        while let Some(stored) = tail.take_next(ledger)? {
            self.known.insert(stored.channel, stored);
        }
        Ok(())
    }

    /// The channels with running requests: those that the journal changed, and those that the ledger's index names. No
    /// other image is read.
    fn orphaned(&mut self, ledger: &dyn Ledger) -> Result<Vec<StoredChannel>, LedgerError> {
        for channel in std::mem::take(&mut self.reserving) {
            self.read(ledger, channel)?;
        }
        let mut idle = Vec::new();
        let mut after = None;
        loop {
            let page = ledger.running(after, CHANNELS_PAGE_MAX)?;
            for channel in &page {
                self.read(ledger, *channel)?;
                if !self.known.contains_key(channel) {
                    idle.extend(ledger.load(*channel)?);
                }
            }
            after = page.last().copied();
            if page.len() < CHANNELS_PAGE_MAX {
                break;
            }
        }
        let all = self.known.values().cloned().chain(idle);
        Ok(all.filter(|stored| !stored.state.reservations.is_empty()).collect())
    }
}

/// What all payers owe. A sum needs every channel: with a limit on sums, a start reads them all.
fn sum_up(
    ledger: &dyn Ledger,
    books: &Books,
    config: &Config,
    unsettled: &Unsettled,
) -> Result<(), LedgerError> {
    let mut after = None;
    loop {
        let page = books.page(ledger, after, CHANNELS_PAGE_MAX)?;
        for stored in &page {
            unsettled.add(stored.identity.payer(), config.limits.exposure(&stored.state));
        }
        after = page.last().map(|stored| stored.channel);
        if page.len() < CHANNELS_PAGE_MAX {
            return Ok(());
        }
    }
}

/// The most channels whose requests are ended with one frame: 64 records each, of at most 100 bytes.
const ORPHANS_FRAME_MAX: usize = 1_024;

/// Ends every running request of these channels with one frame.
fn release(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    config: &Config,
    channels: &mut [StoredChannel],
    head: Head,
) -> Result<Head, EngineError> {
    let mut records = Vec::new();
    for stored in &mut *channels {
        let released = apply(&stored.state, Command::ReleaseAll, &config.policy, clock.now());
        let released = released.expect("running requests can always be ended");
        let sequences = stored.state.sequence + 1..;
        for (event, sequence) in released.events.iter().zip(sequences) {
            encode_event(&mut records, stored.channel, sequence, event);
        }
        stored.state = released.next;
    }
    let (epoch, sequence) = (ledger.epoch(), head.sequence + 1);
    let mut frame = FrameBuilder::new();
    frame.append(&records).expect("ORPHANS_FRAME_MAX bounds the records");
    let bytes = frame.finish(epoch, sequence, head.link, None);
    reach(FailPoint::BeforeOrphans);
    ledger.append(bytes, sequence)?;
    reach(FailPoint::AfterOrphans);
    tracing::info!(channels = channels.len(), "ended requests that a former process left running");
    Ok(Head { epoch, sequence, link: Link::to(bytes), ..head })
}
