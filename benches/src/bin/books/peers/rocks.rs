//! RocksDB with one synced write a voucher.

use std::path::Path;

use rocksdb::{DB, Options, WriteOptions};

use super::{Store, key, value};

/// An open database.
pub struct Rocks {
    db: DB,
    synced: WriteOptions,
}

impl Rocks {
    /// A new one in this folder.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let mut options = Options::default();
        options.create_if_missing(true);
        let db = DB::open(&options, folder.join("db")).map_err(|error| error.to_string())?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, synced })
    }
}

impl Store for Rocks {
    fn charge(&mut self, channel: usize, number: u64) -> Result<(), String> {
        let key = key(channel);
        self.db.get_pinned(key).map_err(|error| error.to_string())?;
        self.db.put_opt(key, value(number), &self.synced).map_err(|error| error.to_string())
    }
}
