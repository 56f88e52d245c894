//! The stores of the Rust SDK (crate `mpp`): a file a channel, which is never synced, and memory.

use std::path::Path;

use mpp::store::{FileStore, MemoryStore};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Store, key, value};

/// A store, and what drives its futures.
pub struct Mpp<S> {
    store: S,
    runtime: Runtime,
}

/// The file store, in this folder.
pub fn file(folder: &Path) -> Result<Mpp<FileStore>, String> {
    with(FileStore::new(folder.join("store")).map_err(|error| error.to_string())?)
}

/// The store in memory.
pub fn memory(_: &Path) -> Result<Mpp<MemoryStore>, String> {
    with(MemoryStore::new())
}

fn with<S>(store: S) -> Result<Mpp<S>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    Ok(Mpp { store, runtime: runtime.map_err(|error| format!("no runtime: {error}"))? })
}

impl<S: mpp::store::Store> Store for Mpp<S> {
    fn charge(&mut self, channel: usize, number: u64) -> Result<(), String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = hex(&key(channel));
        let balance = json!({ "accepted": number.to_string(), "spent": number.to_string(), "signature": hex(&value(number)[..65]) });
        let charged = async {
            self.store.get(&key).await?;
            self.store.put(&key, balance).await
        };
        self.runtime.block_on(charged).map_err(|error: mpp::store::StoreError| error.to_string())
    }
}
