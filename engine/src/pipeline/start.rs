//! What happens before the threads start: recovery, and the end of orphaned requests.

use farebox_core::channel::{Command, apply};
use farebox_core::journal::{FrameBuilder, Head, Link, encode_event};

use super::risk::Unsettled;
use super::{Config, EngineError};
use crate::clock::Clock;
use crate::fail_points::{FailPoint, reach};
use crate::ledger::{Books, CHANNELS_PAGE_MAX, Ledger, LedgerError, StoredChannel, recover};

/// What the threads begin with.
pub(super) struct Recovered {
    /// Channels that changed since their last durable image.
    pub(super) channels: Vec<StoredChannel>,
    /// The end of the journal.
    pub(super) head: Head,
    /// The frame that the last checkpoint covers.
    pub(super) covers: u64,
    /// What is unsettled, when a limit asks for it.
    pub(super) unsettled: Option<Unsettled>,
}

/// Reads the books back, cuts a torn tail off, and ends the requests that a former process left running:
/// nobody is left to deliver to them.
pub(super) fn recover_and_release(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    config: &Config,
) -> Result<Recovered, EngineError> {
    let mut books = recover(ledger)?;
    if let Some(torn) = &books.torn_tail {
        let (frame, error) = (torn.sequence, torn.error);
        tracing::warn!(frame, %error, "the last frame was torn and never acknowledged; it is removed");
        ledger.cut_tail(books.head.sequence)?;
    }
    let covers = books.mark.sequence;
    let unsettled = Unsettled::new(&config.limits);
    let mut orphaned = orphaned(ledger, &books)?;
    let Books { changed, head, .. } = &mut books;
    for part in orphaned.chunks_mut(ORPHANS_FRAME_MAX) {
        *head = release(ledger, clock, config, part, *head)?;
        changed.extend(part.iter().map(|stored| (stored.channel, stored.clone())));
    }
    if let Some(unsettled) = &unsettled {
        sum_up(ledger, &books, config, unsettled)?;
    }
    let Books { changed, head, .. } = books;
    Ok(Recovered { channels: changed.into_values().collect(), head, covers, unsettled })
}

/// The channels with running requests: those that the journal changed, and those that the ledger's index names. No
/// other image is read.
fn orphaned(ledger: &dyn Ledger, books: &Books) -> Result<Vec<StoredChannel>, LedgerError> {
    let is_running = |stored: &StoredChannel| !stored.state.reservations.is_empty();
    let mut orphaned: Vec<_> = books.changed.values().filter(|stored| is_running(stored)).cloned().collect();
    let mut after = None;
    loop {
        let page = ledger.running(after, CHANNELS_PAGE_MAX)?;
        for channel in page.iter().filter(|channel| !books.changed.contains_key(channel)) {
            orphaned.extend(ledger.load(*channel)?.filter(is_running));
        }
        after = page.last().copied();
        if page.len() < CHANNELS_PAGE_MAX {
            return Ok(orphaned);
        }
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
