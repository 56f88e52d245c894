//! The index of channels with running requests: a key in `meta` for each, added before its image is stored and removed
//! after another one was.
//!
//! A start ends the requests that nobody is left to deliver to. With this index it need not read every image to find
//! them: they are here, or in the journal behind the mark. For as of the mark all images and this index are
//! flushed, and what an image has changed since, the journal tells. An entry too many does no harm.

use std::collections::HashSet;

use farebox_core::units::ChannelId;
use parking_lot::{Mutex, MutexGuard};
use rocksdb::{ColumnFamily, Direction, IteratorMode, WriteBatch};

use super::columns::{Columns, META, channel_id};
use super::failure::failed;
use super::meta::{RUNNING, VERSION, VERSION_WITHOUT_RUNNING, decode_u32};
use crate::ledger::{CHANNELS_PAGE_MAX, EncodedState, LedgerError, LedgerRead, running_among_all};

/// A prefix and a channel id.
const KEY_BYTES: usize = RUNNING.len() + 32;

/// What the index holds, so that only changes are written: without it every image would leave a deletion, and a start
/// would step over all of them.
#[derive(Debug)]
pub(super) struct Running(Mutex<Index>);

#[derive(Debug, Default)]
pub(super) struct Index {
    stored: HashSet<ChannelId>,
    /// Those that the batch under way adds.
    adding: Vec<ChannelId>,
}

impl Running {
    /// What the store says.
    pub(super) fn read(columns: &Columns) -> Result<Self, LedgerError> {
        let stored = indexed(columns, None)?.collect::<Result<_, _>>()?;
        Ok(Self(Mutex::new(Index { stored, adding: Vec::new() })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock()
    }
}

impl Index {
    /// Adds what an image needs to the batches that are written before and after it.
    pub(super) fn note(
        &mut self,
        before: &mut WriteBatch,
        after: &mut WriteBatch,
        meta: &ColumnFamily,
        image: &EncodedState<'_>,
    ) {
        let channel = image.channel;
        if !image.is_running {
            if self.stored.remove(&channel) {
                after.delete_cf(meta, key(channel));
            }
        } else if self.stored.insert(channel) {
            before.put_cf(meta, key(channel), []);
            self.adding.push(channel);
        }
    }

    /// Hears whether the batch before the images was written. If not, what it would have added is to be added again.
    pub(super) fn written(&mut self, result: Result<(), LedgerError>) -> Result<(), LedgerError> {
        for channel in self.adding.drain(..) {
            if result.is_err() {
                self.stored.remove(&channel);
            }
        }
        result
    }
}

/// See [`LedgerRead::running`]. A store of the first version has no index yet.
pub(super) fn after(
    columns: &Columns,
    ledger: &impl LedgerRead,
    after: Option<ChannelId>,
    max: usize,
) -> Result<Vec<ChannelId>, LedgerError> {
    let version = columns.meta(VERSION)?.map(|bytes| decode_u32("store_version", &bytes)).transpose()?;
    if version == Some(VERSION_WITHOUT_RUNNING) {
        return running_among_all(ledger, after, max);
    }
    indexed(columns, after)?.take(max).collect()
}

/// Makes the index of a store that has none.
pub(super) fn index_all(columns: &Columns) -> Result<(), LedgerError> {
    tracing::info!(
        "the store is of version 1: reading all channels once, to index those with running requests"
    );
    let meta = columns.column(META)?;
    let mut after = None;
    loop {
        let page = columns.channels(after, CHANNELS_PAGE_MAX)?;
        let mut batch = WriteBatch::default();
        for stored in page.iter().filter(|stored| !stored.state.reservations.is_empty()) {
            batch.put_cf(meta, key(stored.channel), []);
        }
        columns.db.write(batch).map_err(|error| failed("index running requests", error))?;
        after = page.last().map(|stored| stored.channel);
        if page.len() < CHANNELS_PAGE_MAX {
            return Ok(());
        }
    }
}

fn indexed(
    columns: &Columns,
    after: Option<ChannelId>,
) -> Result<impl Iterator<Item = Result<ChannelId, LedgerError>>, LedgerError> {
    let from = after.map_or_else(|| RUNNING.to_vec(), |channel| key(channel).to_vec());
    let mode = IteratorMode::From(&from, Direction::Forward);
    let entries = columns.db.iterator_cf(columns.column(META)?, mode);
    let ids = entries.map_while(|entry| match entry {
        Ok((key, _)) => key.strip_prefix(RUNNING).map(channel_id),
        Err(error) => Some(Err(failed("read the index of running requests", error))),
    });
    Ok(ids.skip_while(move |id| matches!(id, Ok(id) if Some(*id) == after)))
}

fn key(channel: ChannelId) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..RUNNING.len()].copy_from_slice(RUNNING);
    key[RUNNING.len()..].copy_from_slice(channel.0.as_slice());
    key
}
