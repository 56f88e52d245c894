//! Reading the column families.

use std::sync::Arc;

use farebox_core::channel::{Identity, State};
use farebox_core::journal::{Head, decode_identity, decode_state};
use farebox_core::units::{B256, ChannelId};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, Snapshot};

use super::failure::failed;
use super::meta::{MARK, decode_mark, decode_u64};
use crate::ledger::{LedgerError, Standing, StoredChannel, StoredFrame};

pub(in crate::ledger) const JOURNAL: &str = "journal";
pub(in crate::ledger) const BALANCES: &str = "balances";
pub(super) const CHANNELS: &str = "channels";
pub(in crate::ledger) const META: &str = "meta";

/// All of them.
pub(in crate::ledger) const ALL: [&str; 4] = [JOURNAL, BALANCES, CHANNELS, META];

/// An open database.
#[derive(Debug)]
pub(in crate::ledger) struct Columns {
    pub(in crate::ledger) db: DB,
}

type Entry = (Box<[u8]>, Box<[u8]>);

impl Columns {
    pub(in crate::ledger) fn column(&self, name: &'static str) -> Result<&ColumnFamily, LedgerError> {
        let missing = || LedgerError::Corrupt { what: format!("column family {name} is missing").into() };
        self.db.cf_handle(name).ok_or_else(missing)
    }

    pub(super) fn standing(&self) -> Result<Standing, LedgerError> {
        Ok(Standing { epoch: self.epoch()?, mark: self.mark()?, last_frame: self.last_frame()? })
    }

    pub(super) fn mark(&self) -> Result<Head, LedgerError> {
        self.meta(MARK)?.map_or(Ok(Head::GENESIS), |bytes| decode_mark(&bytes))
    }

    pub(super) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        let column = self.column(META)?;
        self.db.get_cf(column, key).map_err(|error| failed("read its head", error))
    }

    pub(super) fn last_frame(&self) -> Result<u64, LedgerError> {
        let mut frames = self.db.iterator_cf(self.column(JOURNAL)?, IteratorMode::End);
        match frames.next() {
            Some(entry) => {
                let (key, _) = entry.map_err(|error| failed("read the last frame", error))?;
                frame_number(&key)
            }
            None => Ok(0),
        }
    }

    pub(super) fn frames_after(&self, sequence: u64, max: usize) -> Result<Vec<StoredFrame>, LedgerError> {
        let Some(first) = sequence.checked_add(1) else { return Ok(Vec::new()) };
        let from = first.to_be_bytes();
        let column = self.column(JOURNAL)?;
        let frames = self.db.iterator_cf(column, IteratorMode::From(&from, Direction::Forward));
        let read = |entry: Result<Entry, _>| {
            let (key, bytes) = entry.map_err(|error| failed("read frames", error))?;
            Ok(StoredFrame { sequence: frame_number(&key)?, bytes: bytes.into() })
        };
        frames.take(max).map(read).collect()
    }

    pub(super) fn load(&self, channel: ChannelId) -> Result<Option<StoredChannel>, LedgerError> {
        let get = |name| {
            let column = self.column(name)?;
            self.db.get_pinned_cf(column, channel.0).map_err(|error| failed("read a channel", error))
        };
        // Books first: terms are stored before them, perhaps just now.
        let Some(state) = get(BALANCES)? else { return Ok(None) };
        match get(CHANNELS)? {
            Some(identity) => stored(channel, &state, &identity).map(Some),
            None => Err(damaged(channel, "its books are stored, its terms are not")),
        }
    }

    /// Walks both families side by side, as of one moment. Terms are stored before books, so there may be some whose
    /// books never came: nobody was told of such a channel.
    pub(super) fn channels(
        &self,
        after: Option<ChannelId>,
        max: usize,
    ) -> Result<Vec<StoredChannel>, LedgerError> {
        let moment = self.db.snapshot();
        let states = entries_after(&moment, self.column(BALANCES)?, after);
        let mut identities = entries_after(&moment, self.column(CHANNELS)?, after);
        let mut page = Vec::new();
        for state in states.take(max) {
            let (key, state) = state.map_err(|error| failed("read channels", error))?;
            let channel = channel_id(&key)?;
            let identity = identities.find(|entry| !matches!(entry, Ok((found, _)) if *found < key));
            match identity.transpose().map_err(|error| failed("read channels", error))? {
                Some((found, identity)) if found == key => page.push(stored(channel, &state, &identity)?),
                Some(_) | None => return Err(damaged(channel, "its books are stored, its terms are not")),
            }
        }
        Ok(page)
    }
}

/// The entries of a family behind a channel, as of a moment.
fn entries_after<'a>(
    moment: &'a Snapshot<'_>,
    column: &ColumnFamily,
    after: Option<ChannelId>,
) -> impl Iterator<Item = Result<Entry, rocksdb::Error>> + use<'a> {
    let after = after.map(|channel| channel.0);
    let from = after.unwrap_or_default();
    let entries = moment.iterator_cf(column, IteratorMode::From(from.as_slice(), Direction::Forward));
    entries.skip_while(move |entry| match (entry, &after) {
        (Ok((key, _)), Some(after)) => **key == **after,
        _ => false,
    })
}

fn frame_number(key: &[u8]) -> Result<u64, LedgerError> {
    // The key is big endian, so that frames are sorted.
    decode_u64("the key of a frame", key).map(u64::swap_bytes)
}

pub(super) fn channel_id(key: &[u8]) -> Result<ChannelId, LedgerError> {
    let what = || format!("the key of a channel has {} bytes, expected 32", key.len());
    let id = B256::try_from(key).map_err(|_| LedgerError::Corrupt { what: what().into() })?;
    Ok(ChannelId(id))
}

/// A channel from its two values, which have to be about the same one.
fn stored(channel: ChannelId, state: &[u8], identity: &[u8]) -> Result<StoredChannel, LedgerError> {
    let state: State = decode_state(state).map_err(|error| damaged(channel, error))?;
    let identity: Identity = decode_identity(identity).map_err(|error| damaged(channel, error))?;
    if state.channel_id != channel {
        return Err(damaged(channel, format!("its books are those of {}", state.channel_id)));
    }
    if state.signer != identity.expected_signer() || state.protocol != identity.protocol() {
        return Err(damaged(channel, "its books and its terms name different signers or protocols"));
    }
    Ok(StoredChannel { channel, identity: Arc::new(identity), state })
}

fn damaged(channel: ChannelId, what: impl ToString) -> LedgerError {
    LedgerError::CorruptChannel { channel, what: what.to_string().into() }
}
