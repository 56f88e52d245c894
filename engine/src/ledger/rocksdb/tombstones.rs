//! What is left of retired channels: their books without vouchers and outcomes, under keys of their own in `meta`.
//!
//! Such a channel has no image and no terms any more, so nothing that pages through channels meets it. Whoever asks for
//! a channel that has no image asks here, so that none ever enters the books again (rule 6).

use farebox_core::channel::State;
use farebox_core::journal::{decode_state, encode_state};
use farebox_core::units::ChannelId;
use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::columns::{BALANCES, CHANNELS, Columns, META, channel_id};
use super::failure::failed;
use super::meta::TOMBSTONE;
use crate::ledger::LedgerError;

/// A prefix and a channel id.
const KEY_BYTES: usize = TOMBSTONE.len() + 32;

/// One batch: the tombstones in, images and terms out.
pub(super) fn batch(columns: &Columns, retired: &[State]) -> Result<WriteBatch, LedgerError> {
    let (meta, balances, terms) =
        (columns.column(META)?, columns.column(BALANCES)?, columns.column(CHANNELS)?);
    let (mut batch, mut bytes) = (WriteBatch::default(), Vec::new());
    for state in retired {
        bytes.clear();
        encode_state(&mut bytes, state);
        batch.put_cf(meta, key(state.channel_id), &bytes);
        batch.delete_cf(balances, state.channel_id.0);
        batch.delete_cf(terms, state.channel_id.0);
    }
    Ok(batch)
}

/// See [`crate::ledger::LedgerRead::tombstone`].
pub(super) fn of(columns: &Columns, channel: ChannelId) -> Result<Option<State>, LedgerError> {
    let bytes = columns.meta(&key(channel))?;
    bytes.map(|bytes| read(channel, &bytes)).transpose()
}

/// See [`crate::ledger::LedgerRead::tombstones`].
pub(super) fn after(
    columns: &Columns,
    after: Option<ChannelId>,
    max: usize,
) -> Result<Vec<State>, LedgerError> {
    let from = after.map_or_else(|| TOMBSTONE.to_vec(), |channel| key(channel).to_vec());
    let mode = IteratorMode::From(&from, Direction::Forward);
    let mut tombstones = Vec::new();
    for entry in columns.db.iterator_cf(columns.column(META)?, mode) {
        let (key, bytes) = entry.map_err(|error| failed("read tombstones", error))?;
        let Some(id) = key.strip_prefix(TOMBSTONE) else { break };
        let channel = channel_id(id)?;
        if Some(channel) == after {
            continue;
        }
        if tombstones.len() == max {
            break;
        }
        tombstones.push(read(channel, &bytes)?);
    }
    Ok(tombstones)
}

fn read(channel: ChannelId, bytes: &[u8]) -> Result<State, LedgerError> {
    let damaged = |what: String| LedgerError::CorruptChannel { channel, what: what.into() };
    let state = decode_state(bytes).map_err(|error| damaged(format!("its tombstone: {error}")))?;
    if state.channel_id != channel {
        return Err(damaged(format!("its tombstone is that of {}", state.channel_id)));
    }
    if !state.is_retired() {
        return Err(damaged("its tombstone holds books that are not retired".into()));
    }
    Ok(state)
}

fn key(channel: ChannelId) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..TOMBSTONE.len()].copy_from_slice(TOMBSTONE);
    key[TOMBSTONE.len()..].copy_from_slice(channel.0.as_slice());
    key
}
