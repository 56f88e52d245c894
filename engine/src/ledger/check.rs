//! Reads everything that a ledger holds, and says what is wrong with it.
//!
//! [`recover()`](super::recover()) stops at the first damage, because such books must not be opened. This is for people who
//! want to know all of it: after an accident, before a backup is trusted, from time to time. `farebox check`
//! calls it. Nothing is written.
//!
//! What is read and compared: every frame that is kept (checksum, number, link to the frame before, epoch, and
//! that the mark is where the chain passes), every image (its checksum, that its terms hash to its id), and of
//! every channel, as it is after the last frame, the promises of [`State::check`](farebox_core::channel::State::check)
//! and the signature of every kept voucher. The index of running requests is held against the images, both ways. A store's dead bytes are not read: what RocksDB has replaced or
//! deleted matters to nobody.

use std::collections::BTreeSet;

use farebox_core::channel::Phase;
use farebox_core::journal::{Head, Link, decode};
use farebox_core::units::{Address, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, Verifier, Voucher};

use super::{
    Books, CHANNELS_PAGE_MAX, FRAMES_PAGE_MAX, LedgerError, LedgerRead, Standing, StoredChannel, recover,
};

/// The most findings that are listed; more are only counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

/// Where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The store as a whole.
    Store,
    /// A frame of the journal.
    Frame(u64),
    /// A channel.
    Channel(ChannelId),
}

/// What a ledger holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The newest writer's epoch.
    pub epoch: u64,
    /// The first frame that is kept; zero when none is.
    pub first_frame: u64,
    /// The last whole frame; zero when there never was one.
    pub last_frame: u64,
    /// Frames that were read.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// The frame that the images cover.
    pub mark: u64,
    /// A torn last frame that nobody was told of. It is no damage: the next start removes it.
    pub torn_frame: Option<u64>,
    /// Channels, closed ones too.
    pub channels: u64,
    /// Those that take vouchers, or would without a close request.
    pub open: u64,
    /// Those whose close is on its way.
    pub closing: u64,
    /// Those that are over.
    pub closed: u64,
    /// Channels that are over and retired: of them only a tombstone is left, which is none of the above.
    pub tombstones: u64,
    /// Kept vouchers whose signature was verified.
    pub vouchers: u64,
    /// Open channels of which the chain paid out more than was charged here. The books may be older than the
    /// chain, or somebody else settled.
    pub settled_above_spent: u64,
    /// The chains that the channels live on.
    pub chains: BTreeSet<ChainId>,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub findings_left_out: u64,
}

impl Summary {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Notes something that is wrong. A place that is known to be damaged is noted once.
    pub fn note(&mut self, place: Place, what: impl ToString) {
        let is_known = place != Place::Store && self.findings.iter().any(|known| known.place == place);
        if is_known {
            return;
        }
        if self.findings.len() == FINDINGS_MAX {
            self.findings_left_out += 1;
            return;
        }
        self.findings.push(Finding { place, what: what.to_string() });
    }

    fn note_error(&mut self, error: &LedgerError) {
        match error {
            LedgerError::CorruptFrame { sequence, what } => self.note(Place::Frame(*sequence), what),
            LedgerError::CorruptChannel { channel, what } => self.note(Place::Channel(*channel), what),
            other => self.note(Place::Store, other),
        }
    }
}

/// Reads everything.
pub fn check(ledger: &(impl LedgerRead + ?Sized), verifier: &Verifier) -> Summary {
    let mut summary = Summary::default();
    match ledger.standing() {
        Ok(standing) => {
            summary.epoch = standing.epoch;
            summary.mark = standing.mark.sequence;
            if let Err(error) = check_frames(ledger, &standing, &mut summary) {
                summary.note_error(&error);
            }
        }
        Err(error) => summary.note_error(&error),
    }
    let books = match recover(ledger) {
        Ok(books) => Some(books),
        Err(error) => {
            // Without a journal that can be followed, the images are all there is to check.
            summary.note_error(&error);
            None
        }
    };
    let mut running = BTreeSet::new();
    check_channels(ledger, books.as_ref(), verifier, &mut running, &mut summary);
    check_tombstones(ledger, &mut summary);
    if let Err(error) = check_running(ledger, books.as_ref(), &running, &mut summary) {
        summary.note_error(&error);
    }
    summary
}

/// Reads every tombstone. Its channel has neither image nor terms any more; a checkpoint after a crash may store once more
/// what the tombstone says, and the next look at it takes that away.
fn check_tombstones(ledger: &(impl LedgerRead + ?Sized), summary: &mut Summary) {
    let mut after = None;
    loop {
        let page = match ledger.tombstones(after, CHANNELS_PAGE_MAX) {
            Ok(page) => page,
            Err(error) => return summary.note_error(&error),
        };
        summary.tombstones += page.len() as u64;
        for tombstone in &page {
            if let Ok(Some(image)) = ledger.load(tombstone.channel_id)
                && image.state != *tombstone
            {
                summary.note(
                    Place::Channel(tombstone.channel_id),
                    "it has a tombstone, and other books beside it",
                );
            }
        }
        after = page.last().map(|tombstone| tombstone.channel_id);
        if page.len() < CHANNELS_PAGE_MAX {
            return;
        }
    }
}

/// Holds the index of running requests against the images that have some. One that is not in it would not be ended by a start. One
/// too many is of a channel that changed since the mark, which the journal names, or it is wrong.
fn check_running(
    ledger: &(impl LedgerRead + ?Sized),
    books: Option<&Books>,
    running: &BTreeSet<ChannelId>,
    summary: &mut Summary,
) -> Result<(), LedgerError> {
    let is_damaged = |summary: &Summary, channel| {
        summary.findings.iter().any(|known| known.place == Place::Channel(channel))
    };
    let mut index = BTreeSet::new();
    let mut after = None;
    loop {
        let page = ledger.running(after, CHANNELS_PAGE_MAX)?;
        after = page.last().copied();
        let is_last = page.len() < CHANNELS_PAGE_MAX;
        index.extend(page);
        if is_last {
            break;
        }
    }
    // Without books nobody knows what changed since the mark. Of what did, a start hears from the journal: after a crash an
    // image may be there without its entry.
    let Some(books) = books else { return Ok(()) };
    let is_told_by_index = |channel: &&ChannelId| !books.changed.contains_key(*channel);
    for channel in running.difference(&index).filter(is_told_by_index) {
        let what =
            "it has running requests, and the index of them does not name it: a start would not end them";
        summary.note(Place::Channel(*channel), what);
    }
    for channel in index.difference(running).filter(is_told_by_index) {
        if !is_damaged(summary, *channel) {
            let what = "the index of running requests names it, and it has none";
            summary.note(Place::Channel(*channel), what);
        }
    }
    Ok(())
}

/// The frame before the one that is looked at.
struct Before {
    sequence: u64,
    epoch: u64,
    link: Link,
}

/// Reads all frames that are kept, also those that the images cover.
fn check_frames(
    ledger: &(impl LedgerRead + ?Sized),
    standing: &Standing,
    summary: &mut Summary,
) -> Result<(), LedgerError> {
    let mark = &standing.mark;
    summary.last_frame = mark.sequence;
    let (mut after, mut before, mut damaged) = (0, None, None);
    loop {
        let page = ledger.frames_after(after, FRAMES_PAGE_MAX)?;
        let is_last = page.len() < FRAMES_PAGE_MAX;
        for stored in page {
            after = stored.sequence;
            if summary.frames == 0 {
                summary.first_frame = after;
            }
            summary.frames += 1;
            if let Some((sequence, error)) = damaged.take() {
                let what = format!("it is damaged ({error}), and frame {after} was stored after it");
                summary.note(Place::Frame(sequence), what);
            }
            match decode(&stored.bytes) {
                Ok(frame) => {
                    check_frame(after, &frame, before.as_ref(), mark, summary);
                    summary.events += frame.records.len() as u64;
                    summary.last_frame = after;
                    before = Some(Before { sequence: after, epoch: frame.epoch, link: frame.checksum });
                }
                Err(error) if error.is_damage() => {
                    damaged = Some((after, error));
                    before = None;
                }
                Err(error) => {
                    summary.note(Place::Frame(after), format!("it is intact but not understood: {error}"));
                    before = None;
                }
            }
        }
        if is_last {
            break;
        }
    }
    match damaged {
        // Covered by images, so it was acknowledged long ago.
        Some((sequence, error)) if sequence <= mark.sequence => {
            summary.note(Place::Frame(sequence), format!("it is damaged ({error})"));
        }
        Some((sequence, _)) => summary.torn_frame = Some(sequence),
        None => {}
    }
    Ok(())
}

/// One whole frame: that it is what its place says, and follows the one before it.
fn check_frame(
    stored_as: u64,
    frame: &farebox_core::journal::Frame,
    before: Option<&Before>,
    mark: &Head,
    summary: &mut Summary,
) {
    let place = Place::Frame(stored_as);
    if frame.sequence != stored_as {
        summary.note(place, format!("it says that it is frame {}", frame.sequence));
    }
    if stored_as == mark.sequence && frame.checksum != mark.link {
        summary.note(place, "it is not the frame that the last checkpoint covers");
    }
    let begins = Before { sequence: mark.sequence, epoch: mark.epoch, link: mark.link };
    let genesis = Before { sequence: 0, epoch: 0, link: Link::GENESIS };
    let before = match before {
        Some(before) => before,
        None if stored_as == mark.sequence + 1 => &begins,
        None if stored_as == 1 => &genesis,
        // The frames before it are forgotten, or a finding of their own.
        None => return,
    };
    if stored_as != before.sequence + 1 {
        let missing = before.sequence + 1;
        summary.note(Place::Frame(missing), format!("it is missing: the next one is {stored_as}"));
    } else if frame.link != before.link {
        summary.note(place, "it does not follow the frame before it");
    }
    if frame.epoch < before.epoch {
        let what =
            format!("its epoch {} is older than {}, that of the frame before", frame.epoch, before.epoch);
        summary.note(place, what);
    }
}

/// Walks through all channels, and collects those whose image has running requests. A damaged one is noted and passed
/// over.
fn check_channels(
    ledger: &(impl LedgerRead + ?Sized),
    books: Option<&Books>,
    verifier: &Verifier,
    running: &mut BTreeSet<ChannelId>,
    summary: &mut Summary,
) {
    let (mut after, mut max) = (None, CHANNELS_PAGE_MAX);
    loop {
        let page = match books {
            Some(books) => books.page(ledger, after, max),
            None => ledger.channels(after, max),
        };
        match page {
            Ok(page) => {
                check_page(&page, verifier, summary);
                running.extend(
                    page.iter().filter(|stored| runs(ledger, books, stored)).map(|stored| stored.channel),
                );
                if page.len() < max {
                    return;
                }
                after = page.last().map(|stored| stored.channel);
            }
            // One at a time from here, so that those before it are looked at.
            Err(LedgerError::CorruptChannel { .. }) if max > 1 => max = 1,
            Err(error @ LedgerError::CorruptChannel { channel, .. }) => {
                summary.note_error(&error);
                if after.is_some_and(|after| channel <= after) {
                    return;
                }
                (after, max) = (Some(channel), CHANNELS_PAGE_MAX);
            }
            Err(error) => return summary.note_error(&error),
        }
    }
}

/// Whether the image of a channel has running requests.
fn runs(ledger: &(impl LedgerRead + ?Sized), books: Option<&Books>, stored: &StoredChannel) -> bool {
    if books.is_none_or(|books| !books.changed.contains_key(&stored.channel)) {
        return !stored.state.reservations.is_empty();
    }
    // It was read a moment ago, to be changed; one that cannot be read is a finding already.
    matches!(ledger.load(stored.channel), Ok(Some(image)) if !image.state.reservations.is_empty())
}

fn check_page(page: &[StoredChannel], verifier: &Verifier, summary: &mut Summary) {
    let mut vouchers = Vec::new();
    for stored in page {
        let StoredChannel { channel, identity, state } = stored;
        let place = Place::Channel(*channel);
        summary.channels += 1;
        summary.chains.insert(identity.chain_id);
        match state.phase {
            Phase::Open => summary.open += 1,
            Phase::Closing { .. } => summary.closing += 1,
            Phase::Closed(_) => summary.closed += 1,
        }
        if !matches!(state.phase, Phase::Closed(_)) && state.settled_above_spent() {
            summary.settled_above_spent += 1;
        }
        if let Err(violation) = state.check() {
            summary.note(place, violation);
        }
        let hash = identity.channel_id();
        if hash != *channel {
            summary.note(place, format!("its terms are those of channel {hash}"));
            continue;
        }
        let domain = AnyDomain::new(state.protocol, identity.chain_id, identity.escrow);
        for kept in state.kept.iter() {
            let voucher = Voucher { channel_id: *channel, cumulative_amount: kept.amount };
            match domain.parse(voucher, kept.signature.as_bytes()) {
                Ok(signed) => vouchers.push((domain, signed, state.signer)),
                Err(error) => {
                    summary.note(place, format!("its voucher of {} is malformed: {error}", kept.amount))
                }
            }
        }
    }
    verify(&vouchers, verifier, summary);
}

fn verify(vouchers: &[(AnyDomain, AnySignedVoucher, Address)], verifier: &Verifier, summary: &mut Summary) {
    let batch: Vec<_> = vouchers.iter().map(|(domain, signed, signer)| (domain, signed, *signer)).collect();
    for ((_, signed, _), answer) in vouchers.iter().zip(verifier.verify_mixed(&batch)) {
        match answer {
            Ok(_) => summary.vouchers += 1,
            Err(error) => {
                let Voucher { channel_id, cumulative_amount } = *signed.voucher();
                summary.note(
                    Place::Channel(channel_id),
                    format!("its voucher of {cumulative_amount} does not hold: {error}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
