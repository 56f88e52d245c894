//! Notes: keys in `meta` behind a prefix of their own.

use rocksdb::{ColumnFamily, Direction, IteratorMode, WriteBatch};

use super::columns::{Columns, META};
use super::failure::failed;
use super::meta::NOTE;
use crate::ledger::{LedgerError, Note};

/// Adds a note, or the end of one, to a batch.
pub(super) fn put(batch: &mut WriteBatch, meta: &ColumnFamily, key: &[u8], note: Option<&[u8]>) {
    match note {
        Some(note) => batch.put_cf(meta, stored(key), note),
        None => batch.delete_cf(meta, stored(key)),
    }
}

/// See [`crate::ledger::LedgerRead::notes`].
pub(super) fn of(columns: &Columns, prefix: &[u8]) -> Result<Vec<Note>, LedgerError> {
    let from = stored(prefix);
    let entries =
        columns.db.iterator_cf(columns.column(META)?, IteratorMode::From(&from, Direction::Forward));
    let mut notes = Vec::new();
    for entry in entries {
        let (key, bytes) = entry.map_err(|error| failed("read notes", error))?;
        let Some(key) = key.strip_prefix(NOTE).filter(|key| key.starts_with(prefix)) else { break };
        notes.push(Note { key: key.to_vec(), bytes: bytes.into() });
    }
    Ok(notes)
}

fn stored(key: &[u8]) -> Vec<u8> {
    [NOTE, key].concat()
}
