//! What the journal says behind the last checkpoint, of channels that nobody asked for since the start.
//!
//! After a kill there may be a million of them, and reading that many images takes many seconds. So a start
//! only reads the journal. A channel is read when somebody asks for it, or when the next checkpoint comes to it, and is then
//! what its image and its part of the journal make of it.

use std::collections::HashMap;

use farebox_core::journal::{Record, decode_records, encode_record};
use farebox_core::units::ChannelId;

use super::shared::shard_of;
use crate::ledger::{LedgerError, LedgerRead, StoredChannel};

/// Parts of the journal, by channel.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The records of each channel, one behind the other, as the journal has them.
    records: HashMap<ChannelId, Vec<u8>>,
    /// The same channels and some that are gone, the lowest id last: neighbours lie beside each other on disk.
    order: Vec<ChannelId>,
}

impl Tail {
    /// Adds a record; those of a channel come in order.
    pub(super) fn push(&mut self, record: &Record) {
        encode_record(self.records.entry(record.channel).or_default(), record);
    }

    /// How many channels there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Divides the channels among shards.
    pub(super) fn split(self, shards: usize) -> Vec<Self> {
        let mut parts: Vec<Self> = (0..shards).map(|_| Self::default()).collect();
        for (channel, records) in self.records {
            let part = &mut parts[shard_of(channel, shards)];
            part.order.push(channel);
            part.records.insert(channel, records);
        }
        for part in &mut parts {
            part.order.sort_unstable_by(|left, right| right.cmp(left));
        }
        parts
    }

    /// Removes a channel, and gives it as it is now; `None` when nothing is here of it.
    pub(super) fn take(
        &mut self,
        channel: ChannelId,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<StoredChannel>, LedgerError> {
        let Some(records) = self.records.get(&channel) else { return Ok(None) };
        let Some(image) = ledger.load(channel)? else {
            if is_buried(ledger, channel, records)? {
                self.records.remove(&channel);
                return Ok(None);
            }
            let what = "the journal goes on with it, but there is neither an image nor its beginning";
            return Err(LedgerError::CorruptChannel { channel, what: what.into() });
        };
        let taken = follow(image, records)?;
        self.records.remove(&channel);
        Ok(Some(taken))
    }

    /// Removes the channel that is next on disk, and gives it as it is now.
    pub(super) fn take_next(
        &mut self,
        ledger: &dyn LedgerRead,
    ) -> Result<Option<StoredChannel>, LedgerError> {
        while let Some(channel) = self.order.pop() {
            if let Some(taken) = self.take(channel, ledger)? {
                return Ok(Some(taken));
            }
        }
        // Its memory is free from now on.
        *self = Self::default();
        Ok(None)
    }

    /// What an image is now.
    pub(super) fn over(&self, image: StoredChannel) -> Result<StoredChannel, LedgerError> {
        match self.records.get(&image.channel) {
            Some(records) => follow(image, records),
            None => Ok(image),
        }
    }
}

/// Whether a tombstone took the image's place before the mark came past these records: it holds all that they say.
fn is_buried(ledger: &dyn LedgerRead, channel: ChannelId, records: &[u8]) -> Result<bool, LedgerError> {
    let Some(tombstone) = ledger.tombstone(channel)? else { return Ok(false) };
    let records = decode_records(records).expect("these bytes were encoded by this process");
    Ok(records.iter().all(|record| record.sequence <= tombstone.sequence))
}

/// Applies records to an image.
fn follow(mut image: StoredChannel, records: &[u8]) -> Result<StoredChannel, LedgerError> {
    for record in decode_records(records).expect("these bytes were encoded by this process") {
        image.follow(record.sequence, &record.event)?;
    }
    image.check()?;
    Ok(image)
}
