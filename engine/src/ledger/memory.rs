//! A ledger in memory, for tests: it forgets everything with the process.
//!
//! A [`MemoryStore`] plays the disk, a [`MemoryLedger`] is a writer on it. Two writers may be opened on
//! one store: the second fences the first. The store keeps what was written apart from what was synced,
//! and [`MemoryStore::after_crash`] shows the disk as a crash would leave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use farebox_core::channel::State;
use farebox_core::journal::Head;
use farebox_core::units::ChannelId;
use parking_lot::Mutex;

use super::{Ledger, LedgerError, LedgerRead, Note, Standing, StoredChannel, StoredFrame};

/// A disk that is none. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Disk>>);

/// What is on it.
#[derive(Clone, Debug)]
struct Disk {
    epoch: u64,
    frames: BTreeMap<u64, Vec<u8>>,
    mark: Head,
    /// Images that a crash keeps.
    images: BTreeMap<ChannelId, StoredChannel>,
    /// What is left of retired channels.
    tombstones: BTreeMap<ChannelId, State>,
    /// Images that were stored since the mark moved.
    images_unsynced: BTreeMap<ChannelId, StoredChannel>,
    notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            epoch: 0,
            frames: BTreeMap::new(),
            mark: Head::GENESIS,
            images: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            images_unsynced: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }
}

impl MemoryStore {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the disk as a crash at this moment leaves it. What was written and not synced may be
    /// there or not: `keeps_unsynced` decides.
    #[must_use]
    pub fn after_crash(&self, keeps_unsynced: bool) -> Self {
        let mut disk = self.0.lock().clone();
        let unsynced = std::mem::take(&mut disk.images_unsynced);
        if keeps_unsynced {
            disk.images.extend(unsynced);
        }
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Replaces a frame's bytes by what `damage` makes of them; removes the frame when that is nothing.
    pub fn damage_frame(&self, sequence: u64, damage: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut disk = self.0.lock();
        if let Some(damaged) = disk.frames.remove(&sequence).and_then(damage) {
            disk.frames.insert(sequence, damaged);
        }
    }

    /// Replaces a channel's image by what `damage` makes of it.
    pub fn damage_image(&self, channel: ChannelId, damage: impl FnOnce(&mut State)) {
        let mut disk = self.0.lock();
        if let Some(stored) = disk.images.get_mut(&channel) {
            damage(&mut stored.state);
        }
    }
}

impl LedgerRead for MemoryStore {
    fn standing(&self) -> Result<Standing, LedgerError> {
        let disk = self.0.lock();
        Ok(Standing { epoch: disk.epoch, mark: disk.mark, last_frame: disk.last_frame() })
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        let disk = self.0.lock();
        let image = disk.images_unsynced.get(&channel).or_else(|| disk.images.get(&channel));
        Ok(image.cloned())
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let disk = self.0.lock();
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut page: BTreeMap<_, _> = disk.images.range(range).take(max).collect();
        page.extend(disk.images_unsynced.range(range).take(max));
        Ok(page.into_values().take(max).cloned().collect())
    }

    fn tombstone(&self, channel: ChannelId) -> Result<Option<State>, LedgerError> {
        Ok(self.0.lock().tombstones.get(&channel).cloned())
    }

    fn tombstones(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<State>, LedgerError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let disk = self.0.lock();
        let range = disk.tombstones.range((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(range.take(max).map(|(_, state)| state.clone()).collect())
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        let disk = self.0.lock();
        let frames = disk.frames.range(sequence.saturating_add(1)..).take(max);
        Ok(frames
            .map(|(sequence, bytes)| StoredFrame { sequence: *sequence, bytes: bytes.clone() })
            .collect())
    }

    fn notes(&self, prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
        let disk = self.0.lock();
        let from = disk.notes.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(from.map(|(key, bytes)| Note { key: key.clone(), bytes: bytes.clone() }).collect())
    }
}

impl Disk {
    fn last_frame(&self) -> u64 {
        self.frames.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }
}

/// A writer on a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryLedger {
    store: MemoryStore,
    epoch: u64,
}

impl MemoryLedger {
    /// A writer on a disk of its own, which is lost with it.
    pub fn new() -> Self {
        Self::open(&MemoryStore::new())
    }

    /// The newest writer on a disk; every older one is fenced from here on.
    pub fn open(store: &MemoryStore) -> Self {
        let mut disk = store.0.lock();
        disk.epoch += 1;
        let epoch = disk.epoch;
        drop(disk);
        Self { store: store.clone(), epoch }
    }

    /// The disk.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The disk, unless a newer writer took it over.
    fn write<T>(&self, write: impl FnOnce(&mut Disk) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let mut disk = self.store.0.lock();
        if disk.epoch != self.epoch {
            return Err(LedgerError::Fenced { ours: self.epoch, current: disk.epoch });
        }
        write(&mut disk)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl LedgerRead for MemoryLedger {
    fn standing(&self) -> Result<Standing, LedgerError> {
        self.store.standing()
    }

    fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        self.store.load(channel)
    }

    fn channels(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<StoredChannel>, LedgerError> {
        self.store.channels(after, max)
    }

    fn tombstone(&self, channel: ChannelId) -> Result<Option<State>, LedgerError> {
        self.store.tombstone(channel)
    }

    fn tombstones(&self, after: Option<ChannelId>, max: usize) -> Result<Vec<State>, LedgerError> {
        self.store.tombstones(after, max)
    }

    fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        self.store.frames_after(sequence, max)
    }

    fn notes(&self, prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
        self.store.notes(prefix)
    }
}

impl Ledger for MemoryLedger {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn append(&self, frame: &[u8], sequence: u64) -> Result<(), LedgerError> {
        self.write(|disk| {
            let expected = disk.last_frame().max(disk.mark.sequence) + 1;
            if sequence != expected {
                return Err(LedgerError::OutOfOrder { found: sequence, expected });
            }
            disk.frames.insert(sequence, frame.to_vec());
            Ok(())
        })
    }

    fn store_images(&self, channels: &[StoredChannel]) -> Result<(), LedgerError> {
        self.write(|disk| {
            let images = channels.iter().map(|stored| (stored.channel, stored.clone()));
            disk.images_unsynced.extend(images);
            Ok(())
        })
    }

    fn bury(&self, retired: &[State]) -> Result<(), LedgerError> {
        self.write(|disk| {
            for state in retired {
                disk.images.remove(&state.channel_id);
                disk.images_unsynced.remove(&state.channel_id);
                disk.tombstones.insert(state.channel_id, state.clone());
            }
            Ok(())
        })
    }

    fn set_mark(&self, mark: &Head) -> Result<(), LedgerError> {
        self.write(|disk| {
            let images = std::mem::take(&mut disk.images_unsynced);
            disk.images.extend(images);
            disk.mark = *mark;
            Ok(())
        })
    }

    fn forget_frames(&self, sequence: u64) -> Result<(), LedgerError> {
        self.write(|disk| {
            let through = sequence.min(disk.mark.sequence);
            disk.frames = disk.frames.split_off(&(through + 1));
            Ok(())
        })
    }

    fn put_note(&self, key: &[u8], note: Option<&[u8]>) -> Result<(), LedgerError> {
        self.write(|disk| {
            match note {
                Some(note) => disk.notes.insert(key.to_vec(), note.to_vec()),
                None => disk.notes.remove(key),
            };
            Ok(())
        })
    }

    fn cut_tail(&self, sequence: u64) -> Result<(), LedgerError> {
        self.write(|disk| {
            drop(disk.frames.split_off(&(sequence + 1)));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::conformance::{Disk, conformance};

    impl Disk for MemoryStore {
        type Writer = MemoryLedger;
        type View = MemoryStore;

        fn new() -> Self {
            Self::new()
        }

        fn open(&self) -> Result<MemoryLedger, LedgerError> {
            Ok(MemoryLedger::open(self))
        }

        fn view(&self) -> MemoryStore {
            self.after_crash(true)
        }

        fn damage_frame(&self, sequence: u64, damage: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
            Self::damage_frame(self, sequence, damage);
        }
    }

    conformance!(MemoryStore);
}
