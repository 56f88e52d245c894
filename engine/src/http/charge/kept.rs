//! What is kept of charges, in durable notes: which were delivered, and what came of asking for the money.
//!
//! | note | says | written | removed |
//! |---|---|---|---|
//! | `charge/` key | this challenge was delivered | before the answer leaves | when the challenge expired |
//! | `paying/` key | this method was asked for the money; with its settlement: the money is here | before the method is asked, and once more when it paid | when it was delivered, when the method surely took nothing, or when the challenge expired |
//!
//! The second is kept for methods that cannot find a payment again ([`PaymentMethod::is_repeatable`]). One that is still
//! there when its challenge expired is money that nobody was served for, or may be: that is told before it is removed.
//!
//! [`PaymentMethod::is_repeatable`]: super::super::PaymentMethod::is_repeatable

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use farebox_core::challenge::rfc3339::UnixMillis;
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::super::door::Inner;
use super::super::method::Settled;
use super::super::problem::{self, Refused};
use crate::EngineError;

/// Charges that may be under way at once.
const RUNNING_MAX: usize = 1_024;
/// Notes of expired challenges that are removed with each new one: more than one, so that they become fewer.
const REMOVED_AT_ONCE_MAX: usize = 4;
/// What the keys of delivered charges begin with.
const DELIVERED: &[u8] = b"charge/";
/// What the keys of charges begin with whose money was asked for.
const PAYING: &[u8] = b"paying/";

/// A challenge, or what stands for one, hashed.
pub(super) type Key = [u8; 32];

/// Keys by the end of their challenges, in milliseconds: the notes of one prefix.
type ByExpiry = OnceCell<Mutex<BTreeSet<(u64, Key)>>>;

/// The charges under way, and those that are kept.
#[derive(Debug, Default)]
pub(in crate::http) struct Charges {
    running: Mutex<HashSet<Key>>,
    delivered: ByExpiry,
    paying: ByExpiry,
}

/// Keeps everybody else from the same challenge.
#[derive(Debug)]
pub(super) struct Turn {
    charges: Arc<Charges>,
    pub(super) key: Key,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.charges.running.lock().remove(&self.key);
    }
}

/// A `paying/` note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paying {
    pub(super) expires_ms: u64,
    /// The hash of the credential that was handed in. Another one for the same challenge is not served for its money.
    pub(super) credential: Key,
    pub(super) method: String,
    pub(super) challenge: String,
    /// The payment; absent as long as nobody knows.
    pub(super) settled: Option<Settled>,
}

/// What is known of a challenge.
#[derive(Debug)]
pub(super) enum Known {
    Nothing,
    Delivered,
    Paying(Paying),
}

impl Charges {
    pub(super) fn turn(self: &Arc<Self>, key: Key) -> Result<Turn, Refused> {
        let mut running = self.running.lock();
        if running.len() >= RUNNING_MAX {
            return Err(problem::too_many_transactions());
        }
        if !running.insert(key) {
            return Err(problem::charge_in_flight());
        }
        Ok(Turn { charges: Arc::clone(self), key })
    }
}

impl Inner {
    /// What the notes say of a challenge.
    pub(super) async fn known_charge(&self, key: Key) -> Result<Known, Refused> {
        let read = async |prefix| self.engine.notes(&note_key(prefix, key)).await;
        if !read(DELIVERED).await.map_err(|error| problem::engine(&error))?.is_empty() {
            return Ok(Known::Delivered);
        }
        let notes = read(PAYING).await.map_err(|error| problem::engine(&error))?;
        let Some(note) = notes.first() else { return Ok(Known::Nothing) };
        match serde_json::from_slice(&note.bytes) {
            Ok(paying) => Ok(Known::Paying(paying)),
            Err(error) => {
                tracing::error!(%error, "the note of a charge cannot be read; its credential is not served");
                Err(problem::charge_unknown())
            }
        }
    }

    /// Writes down that the money is asked for, or that it came.
    pub(super) async fn note_paying(&self, key: Key, paying: &Paying) -> Result<(), EngineError> {
        let open = self.charges.paying.get_or_try_init(|| self.load(PAYING)).await?;
        let bytes = serde_json::to_vec(paying).expect("texts and numbers always have a JSON form");
        self.engine.put_note(&note_key(PAYING, key), bytes).await?;
        open.lock().insert((paying.expires_ms, key));
        Ok(())
    }

    /// Removes a `paying/` note: nothing was taken, or it was delivered. One that stays is safe: its credential is not
    /// served for it again.
    pub(super) async fn forget_paying(&self, key: Key, expires: UnixMillis) {
        match self.engine.remove_note(&note_key(PAYING, key)).await {
            Ok(()) => {
                if let Some(open) = self.charges.paying.get() {
                    open.lock().remove(&(expires.0, key));
                }
            }
            Err(error) => tracing::warn!(%error, "the note of a charge stays until its challenge expired"),
        }
    }

    /// Writes down that a challenge was delivered, and forgets some that nobody can use any more.
    pub(super) async fn use_up(&self, key: Key, expires: UnixMillis) -> Result<(), EngineError> {
        let delivered = self.charges.delivered.get_or_try_init(|| self.load(DELIVERED)).await?;
        self.engine.put_note(&note_key(DELIVERED, key), expires.0.to_be_bytes().to_vec()).await?;
        delivered.lock().insert((expires.0, key));
        for (expires_ms, key) in self.expired(delivered) {
            // One that stays is removed after the next start.
            if self.engine.remove_note(&note_key(DELIVERED, key)).await.is_ok() {
                delivered.lock().remove(&(expires_ms, key));
            }
        }
        Ok(())
    }

    /// Tells of money whose challenge expired before anybody was served for it, and forgets it.
    pub(super) async fn tell_undelivered(&self) -> Result<(), EngineError> {
        let open = self.charges.paying.get_or_try_init(|| self.load(PAYING)).await?;
        for (expires_ms, key) in self.expired(open) {
            let notes = self.engine.notes(&note_key(PAYING, key)).await?;
            let known = notes.first().and_then(|note| serde_json::from_slice::<Paying>(&note.bytes).ok());
            if let Some(Paying { method, challenge, settled, .. }) = known {
                let reference = settled.as_ref().map(|settled| settled.reference.as_str());
                let result = if reference.is_some() { "undelivered" } else { "undecided" };
                tracing::warn!(
                    method,
                    challenge,
                    reference,
                    "a charge expired undelivered: with a reference it was paid, without one it may have been"
                );
                counter!("farebox_charges_total", "method" => method, "result" => result).increment(1);
            }
            self.engine.remove_note(&note_key(PAYING, key)).await?;
            open.lock().remove(&(expires_ms, key));
        }
        Ok(())
    }

    /// Some keys whose challenges expired, and that nobody is being served for.
    fn expired(&self, kept: &Mutex<BTreeSet<(u64, Key)>>) -> Vec<(u64, Key)> {
        let now_ms = self.clock.unix_millis();
        let (kept, running) = (kept.lock(), self.charges.running.lock());
        let over = kept.iter().take_while(|(expires_ms, _)| *expires_ms <= now_ms);
        over.filter(|(_, key)| !running.contains(key)).take(REMOVED_AT_ONCE_MAX).copied().collect()
    }

    async fn load(&self, prefix: &[u8]) -> Result<Mutex<BTreeSet<(u64, Key)>>, EngineError> {
        let notes = self.engine.notes(prefix).await?;
        let read = notes.iter().filter_map(|note| {
            let key: Key = note.key.strip_prefix(prefix)?.try_into().ok()?;
            let expires_ms = match <[u8; 8]>::try_from(note.bytes.as_slice()) {
                Ok(bytes) if prefix == DELIVERED => u64::from_be_bytes(bytes),
                _ => serde_json::from_slice::<Paying>(&note.bytes).ok()?.expires_ms,
            };
            Some((expires_ms, key))
        });
        Ok(Mutex::new(read.collect()))
    }
}

fn note_key(prefix: &[u8], key: Key) -> Vec<u8> {
    [prefix, &key].concat()
}
