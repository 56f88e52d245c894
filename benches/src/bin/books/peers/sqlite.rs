//! SQLite in WAL mode with full sync: one transaction a voucher.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{Store, key, value};

/// An open database.
pub struct Sqlite(Connection);

impl Sqlite {
    /// A new one in this folder.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let open = || {
            let connection = Connection::open(folder.join("db.sqlite"))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(
                "CREATE TABLE balances (channel BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
            )?;
            Ok(Self(connection))
        };
        open().map_err(|error: rusqlite::Error| error.to_string())
    }

    fn charge_one(&mut self, channel: usize, number: u64) -> rusqlite::Result<()> {
        let (key, value) = (key(channel), value(number));
        let step = self.0.transaction()?;
        let read = "SELECT value FROM balances WHERE channel = ?1";
        step.prepare_cached(read)?.query_row([key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        let write = "INSERT INTO balances VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
        step.prepare_cached(write)?.execute((key, value))?;
        step.commit()
    }
}

impl Store for Sqlite {
    fn charge(&mut self, channel: usize, number: u64) -> Result<(), String> {
        self.charge_one(channel, number).map_err(|error| error.to_string())
    }
}
