//! What a crash leaves.

use farebox_core::journal::{decode, decode_identity, decode_state};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt};

use super::{Disk, Image, StoredBytes, Write};

/// How a process ends without a goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// It is killed: the operating system still writes what it was given.
    Kill,
    /// The power fails: what was not synced is lost, kept or torn, each write for itself.
    PowerCut,
}

impl Disk {
    /// Ends the process that writes. The disk then holds what the crash left, and waits for the next one.
    pub fn crash(&self, crash: Crash, dice: &mut Xoshiro256PlusPlus) {
        let mut disk = self.lock();
        let unsynced = std::mem::take(&mut disk.unsynced);
        for write in unsynced {
            match crash {
                Crash::Kill => disk.durable.apply(&write),
                Crash::PowerCut => cut(&mut disk.durable, write, dice),
            }
        }
        disk.live = disk.durable.clone();
        disk.die_at = None;
        // Whoever still holds the old process is fenced: nothing of it reaches the disk any more.
        disk.epoch += 1;
    }
}

/// A third of the writes is lost, a third whole, a third torn where that can be seen.
fn cut(image: &mut Image, write: Write, dice: &mut Xoshiro256PlusPlus) {
    let fate = dice.random_range(0..3);
    match (fate, write) {
        (0, _) => {}
        (1, whole) => image.apply(&whole),
        (_, Write::Frame { sequence, bytes }) => {
            let torn = tear(bytes.clone(), dice);
            let is_noticed = torn == bytes || decode(&torn).is_err_and(|error| error.is_damage());
            assert!(is_noticed, "torn frame {sequence} is not noticed");
            image.apply(&Write::Frame { sequence, bytes: torn });
        }
        // A database gives the old value back when a new one does not check out. So do these, if they notice.
        (_, Write::Channel { channel, bytes }) => {
            let torn = StoredBytes { state: tear(bytes.state.clone(), dice), ..bytes.clone() };
            if torn != bytes {
                assert!(decode_state(&torn.state).is_err(), "a torn image of {channel} is not noticed");
            }
            let torn = tear(bytes.identity.clone(), dice);
            if torn != bytes.identity {
                assert!(decode_identity(&torn).is_err(), "torn terms of {channel} are not noticed");
            }
        }
        (_, Write::Remove { .. } | Write::Mark(_)) => {}
    }
}

/// Cuts the bytes somewhere, or leaves rubbish from some sector on.
fn tear(mut bytes: Vec<u8>, dice: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    const SECTOR_BYTES: usize = 512;
    match dice.random_range(0..3) {
        0 => bytes.truncate(dice.random_range(0..bytes.len())),
        1 => {
            let from = dice.random_range(0..=bytes.len() / SECTOR_BYTES) * SECTOR_BYTES;
            bytes[from..].fill(0);
        }
        _ => {
            let from = dice.random_range(0..=bytes.len() / SECTOR_BYTES) * SECTOR_BYTES;
            dice.fill_bytes(&mut bytes[from..]);
        }
    }
    bytes
}
