//! A ledger on a disk that fails.
//!
//! The disk keeps two images: what a reader sees now, and what a power cut at this moment would leave for sure.
//! A write goes into the first at once and waits for its sync; until then a power cut may lose it, keep it, or
//! tear it, each write for itself, so that later ones may survive earlier ones. A killed process loses nothing
//! that it wrote. Between any two steps of a write the process may be told to die.
//!
//! It is harsher than RocksDB: a sync of one frame syncs nothing else, and deletions may be undone. It stores
//! images as the bytes that `encode_state` makes, so that every restart reads them through the real decoder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use farebox_core::journal::{Head, decode_identity, decode_state, encode_identity, encode_state};
use farebox_core::units::ChannelId;
use farebox_engine::ledger::{Ledger, LedgerError, LedgerRead, Standing, StoredChannel, StoredFrame};

use crate::bug::Bug;

mod crash;

pub use crash::Crash;

/// Places where a process can die in the middle of its writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Nothing of a frame is written yet.
    BeforeAppend,
    /// The frame is written and not synced.
    DuringAppend,
    /// The frame is durable, and nobody was told.
    AfterAppend,
    /// No image of this part is written yet.
    BeforeImages,
    /// The images are written and not synced.
    AfterImages,
    /// The images are durable, the mark is as before.
    BeforeMark,
    /// The mark is written and not synced.
    DuringMark,
    /// The mark is durable; no frame before it is deleted yet.
    AfterMark,
    /// Frames before the mark are deleted, perhaps.
    DuringForget,
    /// A torn tail is found and still there.
    BeforeCut,
    /// A torn tail is deleted, perhaps.
    DuringCut,
    /// Somewhere else: it was killed from outside.
    Outside,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

/// What a disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    mark: Head,
    frames: BTreeMap<u64, Vec<u8>>,
    channels: BTreeMap<ChannelId, StoredBytes>,
}

/// A channel's image as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StoredBytes {
    identity: Vec<u8>,
    state: Vec<u8>,
}

/// A write that waits for its sync.
#[derive(Clone, Debug)]
enum Write {
    Frame { sequence: u64, bytes: Vec<u8> },
    Remove { sequence: u64 },
    Channel { channel: ChannelId, bytes: StoredBytes },
    Mark(Head),
}

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    live: Image,
    durable: Image,
    /// In the order in which they were written.
    unsynced: Vec<Write>,
    /// Places passed since the process started.
    points: u64,
    /// The place at which the process dies, counted from one.
    die_at: Option<u64>,
    /// Where it died; nothing is written any more.
    died: Option<Point>,
    /// The longest that an append is held up, so that requests gather behind it.
    delay_us_max: u64,
    bug: Option<Bug>,
}

impl Default for Image {
    fn default() -> Self {
        Self { mark: Head::GENESIS, frames: BTreeMap::new(), channels: BTreeMap::new() }
    }
}

impl Image {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Frame { sequence, bytes } => drop(self.frames.insert(*sequence, bytes.clone())),
            Write::Remove { sequence } => drop(self.frames.remove(sequence)),
            Write::Channel { channel, bytes } => drop(self.channels.insert(*channel, bytes.clone())),
            Write::Mark(mark) => self.mark = *mark,
        }
    }

    fn last_frame(&self) -> u64 {
        self.frames.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }
}

impl Write {
    /// Whether both write to one place, so that the later one hides the earlier.
    fn hides(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (
                Self::Frame { sequence, .. } | Self::Remove { sequence },
                Self::Frame { sequence: same, .. } | Self::Remove { sequence: same },
            ) => sequence == same,
            (Self::Channel { channel, .. }, Self::Channel { channel: same, .. }) => channel == same,
            (Self::Mark(_), Self::Mark(_)) => true,
            _ => false,
        }
    }
}

impl Inner {
    fn point(&mut self, point: Point) -> Result<(), LedgerError> {
        if self.died.is_some() {
            return Err(dead());
        }
        self.points += 1;
        if self.die_at == Some(self.points) {
            self.died = Some(point);
            return Err(dead());
        }
        Ok(())
    }

    fn write(&mut self, write: Write) {
        self.live.apply(&write);
        self.unsynced.push(write);
    }

    /// Makes the last write durable, and nothing else; what it hides can never come back.
    fn sync_last(&mut self) {
        if let Some(write) = self.unsynced.pop() {
            self.unsynced.retain(|earlier| !write.hides(earlier));
            self.durable.apply(&write);
        }
    }

    /// Makes all images durable.
    fn sync_channels(&mut self) {
        for write in std::mem::take(&mut self.unsynced) {
            match write {
                Write::Channel { .. } => self.durable.apply(&write),
                other => self.unsynced.push(other),
            }
        }
    }
}

impl Disk {
    /// An empty disk with a planted mistake, perhaps.
    pub fn new(bug: Option<Bug>) -> Self {
        Self(Arc::new(Mutex::new(Inner { bug, ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere is reported there; the disk is not hurt by it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts a process that writes to this disk, and fences every older one.
    pub fn open(&self) -> Writer {
        let mut disk = self.lock();
        disk.epoch += 1;
        (disk.died, disk.points) = (None, 0);
        let epoch = disk.epoch;
        drop(disk);
        Writer { disk: self.clone(), epoch }
    }

    /// The process dies at the `count`th place from now on.
    pub fn die_in(&self, count: u64) {
        let mut disk = self.lock();
        disk.die_at = Some(disk.points + count);
    }

    /// The next process dies at its `count`th place.
    pub fn die_in_next_life(&self, count: u64) {
        self.lock().die_at = Some(count);
    }

    /// The process lives on.
    pub fn spare(&self) {
        self.lock().die_at = None;
    }

    /// The process dies now, whatever it does.
    pub fn kill(&self) {
        let mut disk = self.lock();
        if disk.died.is_none() {
            disk.died = Some(Point::Outside);
        }
    }

    /// Appends take up to so long, each its own time.
    pub fn slow_down(&self, delay_us_max: u64) {
        self.lock().delay_us_max = delay_us_max;
    }

    /// Where the process died, if it did.
    pub fn died(&self) -> Option<Point> {
        self.lock().died
    }

    /// How many places were passed since the process started.
    pub fn points(&self) -> u64 {
        self.lock().points
    }

    /// The disk as a power cut at this moment leaves it at the worst: without anything that was not synced.
    #[must_use]
    pub fn at_worst(&self) -> Self {
        let disk = self.lock();
        let (live, durable) = (disk.durable.clone(), disk.durable.clone());
        Self(Arc::new(Mutex::new(Inner { epoch: disk.epoch, live, durable, ..Inner::default() })))
    }
}

/// A process that may write to a [`Disk`], until a newer one is started.
#[derive(Debug)]
pub struct Writer {
    disk: Disk,
    epoch: u64,
}

impl Writer {
    /// The disk, unless a newer process took it over.
    fn write<T>(&self, write: impl FnOnce(&mut Inner) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let mut disk = self.disk.lock();
        if disk.epoch != self.epoch {
            return Err(LedgerError::Fenced { ours: self.epoch, current: disk.epoch });
        }
        write(&mut disk)
    }
}

impl LedgerRead for Disk {
    fn standing(&self) -> Result<Standing, LedgerError> {
        let disk = self.lock();
        Ok(Standing { epoch: disk.epoch, mark: disk.live.mark, last_frame: disk.live.last_frame() })
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        let disk = self.lock();
        disk.live.channels.get(&channel).map(|bytes| read(channel, bytes)).transpose()
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let disk = self.lock();
        let range = disk.live.channels.range((after.map_or(Unbounded, Excluded), Unbounded));
        range.take(max).map(|(channel, bytes)| read(*channel, bytes)).collect()
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        let disk = self.lock();
        let frames = disk.live.frames.range(sequence.saturating_add(1)..).take(max);
        Ok(frames.map(|(&sequence, bytes)| StoredFrame { sequence, bytes: bytes.clone() }).collect())
    }
}

impl LedgerRead for Writer {
    fn standing(&self) -> Result<Standing, LedgerError> {
        self.disk.standing()
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        self.disk.load(channel)
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        self.disk.channels(after, max)
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        self.disk.frames_after(sequence, max)
    }
}

impl Ledger for Writer {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        let delay_us_max = self.disk.lock().delay_us_max;
        if delay_us_max > 0 {
            let micros = u64::from(frame[frame.len() - 1]) % delay_us_max;
            std::thread::sleep(std::time::Duration::from_micros(micros));
        }
        self.write(|disk| {
            disk.point(Point::BeforeAppend)?;
            let expected = disk.live.last_frame().max(disk.live.mark.sequence) + 1;
            if sequence != expected {
                return Err(LedgerError::OutOfOrder { found: sequence, expected });
            }
            disk.write(Write::Frame { sequence, bytes: frame.to_vec() });
            disk.point(Point::DuringAppend)?;
            if disk.bug != Some(Bug::AnswerBeforeSync) {
                disk.sync_last();
            }
            disk.point(Point::AfterAppend)
        })
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        self.write(|disk| {
            disk.point(Point::BeforeImages)?;
            for StoredChannel { channel, identity, state } in channels {
                let mut bytes = StoredBytes { identity: Vec::new(), state: Vec::new() };
                encode_identity(&mut bytes.identity, identity);
                encode_state(&mut bytes.state, state);
                disk.write(Write::Channel { channel: *channel, bytes });
            }
            disk.point(Point::AfterImages)
        })
    }

    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError> {
        self.write(|disk| {
            if disk.bug != Some(Bug::MarkBeforeImages) {
                disk.sync_channels();
            }
            disk.point(Point::BeforeMark)?;
            disk.write(Write::Mark(*mark));
            disk.point(Point::DuringMark)?;
            disk.sync_last();
            disk.point(Point::AfterMark)
        })
    }

    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError> {
        self.write(|disk| {
            let through = sequence.min(disk.live.mark.sequence);
            let gone: Vec<_> = disk.live.frames.range(..=through).map(|(&sequence, _)| sequence).collect();
            for sequence in gone {
                disk.write(Write::Remove { sequence });
            }
            disk.point(Point::DuringForget)
        })
    }

    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError> {
        self.write(|disk| {
            disk.point(Point::BeforeCut)?;
            let tail: Vec<_> = disk.live.frames.range(sequence + 1..).map(|(&number, _)| number).collect();
            for sequence in tail {
                disk.write(Write::Remove { sequence });
            }
            disk.point(Point::DuringCut)
        })
    }
}

fn read(channel: ChannelId, bytes: &StoredBytes) -> Result<StoredChannel, LedgerError> {
    let corrupt = |error: String| LedgerError::CorruptChannel { channel, what: error.into() };
    let identity = decode_identity(&bytes.identity).map_err(|error| corrupt(error.to_string()))?;
    let state = decode_state(&bytes.state).map_err(|error| corrupt(error.to_string()))?;
    Ok(StoredChannel { channel, identity: Arc::new(identity), state })
}

fn dead() -> LedgerError {
    LedgerError::Io { action: "write", cause: "the process died".into() }
}

#[cfg(test)]
mod tests;
