//! One file: as it is, as it is durable, and all that its sectors were since.

use std::collections::BTreeMap;

use crate::seed::Dice;

/// What a disk writes at once, or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Versions of a sector that are remembered between two syncs.
const VERSIONS_MAX: usize = 8;

type Sector = [u8; SECTOR_BYTES];

#[derive(Debug, Default)]
pub struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since the last sync, with everything that they were. A disk may hold any of it: a page
    /// is written whenever the kernel likes, so a later version has all that the earlier ones had.
    dirty: BTreeMap<usize, Vec<Sector>>,
}

/// What becomes of the changes of one file that were not synced.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// Everything before a place is kept.
    Torn,
    /// Each sector by itself, in any version.
    Reordered,
    /// The new length is there, and nothing of the content.
    LengthOnly,
}

const FATES: [Fate; 5] = [Fate::Lost, Fate::Kept, Fate::Torn, Fate::Reordered, Fate::LengthOnly];

impl File {
    pub fn bytes(&self) -> &[u8] {
        &self.live
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        let (end, from) = (at + bytes.len(), at.min(self.live.len()));
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        self.note(from, end);
    }

    pub fn resize(&mut self, length: usize) {
        let from = length.min(self.live.len());
        self.live.resize(length, 0);
        let beyond = length.div_ceil(SECTOR_BYTES);
        self.dirty.retain(|sector, _| *sector < beyond);
        self.note(from, length);
    }

    pub fn sync(&mut self) {
        if self.durable.len() > self.live.len() {
            self.durable.truncate(self.live.len());
        }
        let known = self.durable.len();
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(known);
            if from < to {
                self.durable[from..to].copy_from_slice(&self.live[from..to]);
            }
        }
        self.durable.extend_from_slice(&self.live[known..]);
    }

    /// Leaves what a disk could have when the power goes.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        let fate = *dice.pick(&FATES);
        let torn_at = dice.below(self.live.len() as u64 + 1) as usize / SECTOR_BYTES * SECTOR_BYTES;
        let length = match fate {
            Fate::Lost => self.durable.len(),
            Fate::Kept | Fate::LengthOnly => self.live.len(),
            Fate::Torn => self.durable.len().max(torn_at).min(self.live.len().max(self.durable.len())),
            Fate::Reordered => *dice.pick(&[self.live.len(), self.durable.len()]),
        };
        let mut left = std::mem::take(&mut self.durable);
        left.resize(length, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let at = sector * SECTOR_BYTES;
            let version = match fate {
                Fate::Lost | Fate::LengthOnly => None,
                Fate::Kept => versions.last(),
                Fate::Torn => versions.last().filter(|_| at < torn_at),
                Fate::Reordered => versions.get(dice.below(versions.len() as u64 + 1) as usize),
            };
            let end = (at + SECTOR_BYTES).min(length);
            if let Some(version) = version
                && at < end
            {
                left[at..end].copy_from_slice(&version[..end - at]);
            }
        }
        self.live.clone_from(&left);
        self.durable = left;
    }

    /// Remembers what the sectors with these bytes are now.
    fn note(&mut self, from: usize, end: usize) {
        for sector in from / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.live.len());
            let mut now = [0; SECTOR_BYTES];
            now[..to - from].copy_from_slice(&self.live[from..to]);
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(now);
        }
    }
}
