//! What was sent to the chain and what became of it: a durable note a transaction, for the accounting.
//!
//! It takes the place of the intent when the books know the end: first this is written, then the intent is removed. A
//! crash in between writes the same once more. Nothing reads it but reports; the journal says what happened to channels.
//!
//! It is bounded in time and number, as the journal is: [`History`] forgets the oldest.
//!
//! # Format (version 1)
//!
//! Key: `sent/`, the time of signing (8, big endian, so that keys are in order) and the transaction's hash (32). Value,
//! integers little endian: version (1); fate (1): 1 succeeded, 2 reverted, 3 no block took it; time of the end (8); block
//! (8); gas used (8); price of a unit of gas (16); then the intent without its signed bytes.

use std::collections::BTreeSet;

use alloy::primitives::U256;
use farebox_core::units::{Amount, B256, UnixSeconds};
use farebox_engine::ledger::{LedgerError, LedgerRead, Note};
use farebox_engine::{Engine, EngineError};
use parking_lot::Mutex;

use crate::client::Fate;
use crate::config::HistoryConfig;
use crate::intent::{Intent, retry_busy};

const VERSION: u8 = 1;
/// Wei-like units (10^-18 dollars) in one base unit of a fee token with six decimals.
const UNITS_PER_BASE_UNIT: u128 = 1_000_000_000_000;

/// The most notes that one call removes: each costs a sync of the store.
const REMOVED_AT_ONCE_MAX: usize = 16;

/// Where a note stands: time of signing and hash.
type Place = (UnixSeconds, B256);

/// The notes of all transactions that are over, by their places; what they say stays in the store.
#[derive(Debug)]
pub(crate) struct History {
    config: HistoryConfig,
    places: Mutex<BTreeSet<Place>>,
}

impl History {
    /// Finds the notes that the store has.
    pub(crate) async fn open(config: HistoryConfig, engine: &Engine) -> Result<Self, EngineError> {
        let notes = retry_busy(|| engine.notes(SentTransaction::PREFIX)).await?;
        let places = notes.iter().filter_map(|note| place(&note.key)).collect();
        Ok(Self { config, places: Mutex::new(places) })
    }

    /// Writes one down, and forgets some of those that are too many or too old.
    pub(crate) async fn keep(&self, sent: &SentTransaction, engine: &Engine) -> Result<(), EngineError> {
        let key = sent.key();
        retry_busy(|| engine.put_note(&key, sent.encode())).await?;
        self.places.lock().insert((sent.intent.signed_at, sent.intent.tx_hash));
        self.trim(sent.ended_at, engine).await
    }

    /// Forgets the oldest, as long as they are too many or were signed too long before `now`, some at a time.
    pub(crate) async fn trim(&self, now: UnixSeconds, engine: &Engine) -> Result<(), EngineError> {
        for _ in 0..REMOVED_AT_ONCE_MAX {
            let Some(oldest) = self.superfluous(now) else { return Ok(()) };
            let key = key(oldest);
            retry_busy(|| engine.remove_note(&key)).await?;
            self.places.lock().remove(&oldest);
        }
        Ok(())
    }

    fn superfluous(&self, now: UnixSeconds) -> Option<Place> {
        let places = self.places.lock();
        let oldest = *places.first()?;
        let is_too_old = self.config.keep_s.is_some_and(|keep_s| oldest.0.saturating_add(keep_s) < now);
        (is_too_old || places.len() > self.config.transactions_max).then_some(oldest)
    }
}

fn key((signed_at, tx_hash): Place) -> Vec<u8> {
    [SentTransaction::PREFIX, &signed_at.0.to_be_bytes(), tx_hash.as_slice()].concat()
}

fn place(key: &[u8]) -> Option<Place> {
    let (signed_at, hash) = key.strip_prefix(SentTransaction::PREFIX)?.split_first_chunk::<8>()?;
    Some((UnixSeconds(u64::from_be_bytes(*signed_at)), B256::try_from(hash).ok()?))
}

/// A transaction that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTransaction {
    /// What was intended; without the signed bytes.
    pub intent: Intent,
    /// What became of it.
    pub fate: SentFate,
    /// When that was known.
    pub ended_at: UnixSeconds,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentFate {
    /// A block holds it, and it did what it says.
    Succeeded(Execution),
    /// A block holds it, and it did nothing but cost its fee.
    Reverted(Execution),
    /// No block holds it, and none ever will.
    NeverMined,
}

/// An execution, by its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The block.
    pub block: u64,
    /// What it used.
    pub gas_used: u64,
    /// What a unit of gas cost, in 10^-18 dollars.
    pub gas_price: u128,
}

impl Execution {
    /// The fee in base units of its token, rounded up as the chain does.
    pub fn fee(&self) -> Amount {
        let fee = U256::from(self.gas_used) * U256::from(self.gas_price);
        Amount::new(fee.div_ceil(U256::from(UNITS_PER_BASE_UNIT)).saturating_to())
    }
}

impl SentFate {
    /// The fate, if it is sure.
    pub(crate) fn of(fate: &Fate) -> Option<Self> {
        match fate {
            Fate::Mined(receipt) => {
                let execution = Execution {
                    block: receipt.block,
                    gas_used: receipt.gas_used,
                    gas_price: receipt.gas_price,
                };
                Some(if receipt.success { Self::Succeeded(execution) } else { Self::Reverted(execution) })
            }
            Fate::Absent(_) => Some(Self::NeverMined),
            Fate::Unknown => None,
        }
    }

    /// The execution, if there was one.
    pub const fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Succeeded(execution) | Self::Reverted(execution) => Some(execution),
            Self::NeverMined => None,
        }
    }

    /// A stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "succeeded",
            Self::Reverted(_) => "reverted",
            Self::NeverMined => "never_mined",
        }
    }
}

impl SentTransaction {
    /// What the keys begin with.
    pub(crate) const PREFIX: &[u8] = b"sent/";

    /// All that are over, by time of signing. One that cannot be read is left out: it is history, and moves no money.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub fn all(ledger: &impl LedgerRead) -> Result<Vec<Self>, LedgerError> {
        let notes = ledger.notes(Self::PREFIX)?;
        Ok(notes.iter().filter_map(Self::decode).collect())
    }

    fn key(&self) -> Vec<u8> {
        key((self.intent.signed_at, self.intent.tx_hash))
    }

    fn encode(&self) -> Vec<u8> {
        let tag = match self.fate {
            SentFate::Succeeded(_) => 1,
            SentFate::Reverted(_) => 2,
            SentFate::NeverMined => 3,
        };
        let none = Execution { block: 0, gas_used: 0, gas_price: 0 };
        let Execution { block, gas_used, gas_price } = *self.fate.execution().unwrap_or(&none);
        let mut out = vec![VERSION, tag];
        out.extend_from_slice(&self.ended_at.0.to_le_bytes());
        out.extend_from_slice(&block.to_le_bytes());
        out.extend_from_slice(&gas_used.to_le_bytes());
        out.extend_from_slice(&gas_price.to_le_bytes());
        out.extend_from_slice(&self.intent.encode_without_bytes());
        out
    }

    fn decode(note: &Note) -> Option<Self> {
        let (_, tx_hash) = place(&note.key)?;
        let (&[VERSION, tag], rest) = note.bytes.split_first_chunk::<2>()? else { return None };
        let (ended_at, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (gas_used, rest) = rest.split_first_chunk()?;
        let (gas_price, rest) = rest.split_first_chunk()?;
        let execution = Execution {
            block: u64::from_le_bytes(*block),
            gas_used: u64::from_le_bytes(*gas_used),
            gas_price: u128::from_le_bytes(*gas_price),
        };
        let fate = match tag {
            1 => SentFate::Succeeded(execution),
            2 => SentFate::Reverted(execution),
            3 => SentFate::NeverMined,
            _ => return None,
        };
        let intent = Intent::decode_without_bytes(tx_hash, rest).ok()?;
        Some(Self { intent, fate, ended_at: UnixSeconds(u64::from_le_bytes(*ended_at)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::intent;

    #[test]
    fn what_was_sent_comes_back_without_its_bytes() {
        let intent = Intent { bytes: Vec::new(), ..intent() };
        let execution = Execution { block: 9, gas_used: 100_000, gas_price: 20_000_000_001 };
        for fate in [SentFate::Succeeded(execution), SentFate::Reverted(execution), SentFate::NeverMined] {
            let sent = SentTransaction { intent: intent.clone(), fate, ended_at: UnixSeconds(77) };
            let note = Note { key: sent.key(), bytes: sent.encode() };
            assert_eq!(SentTransaction::decode(&note), Some(sent.clone()));
            let cut = Note { bytes: note.bytes[..note.bytes.len() - 1].to_vec(), ..note };
            assert_eq!(SentTransaction::decode(&cut), None);
        }
        // 100,000 * 20,000,000,001 / 10^12 = 2000.0001
        assert_eq!(execution.fee(), Amount::new(2_001));
    }

    #[tokio::test]
    async fn the_history_is_bounded_in_time_and_number() {
        use farebox_engine::ledger::MemoryStore;
        use farebox_engine::{MemoryLedger, SystemClock};

        let store = MemoryStore::default();
        let engine =
            Engine::start(farebox_engine::Config::default(), MemoryLedger::open(&store), SystemClock);
        let engine = engine.expect("the books open");
        let sent = |at: u64| {
            let tx_hash = B256::left_padding_from(&at.to_be_bytes());
            let intent = Intent { bytes: Vec::new(), signed_at: UnixSeconds(at), tx_hash, ..intent() };
            SentTransaction { intent, fate: SentFate::NeverMined, ended_at: UnixSeconds(at) }
        };
        let kept = || {
            let all = SentTransaction::all(&store.after_crash(false)).expect("readable");
            all.iter().map(|sent| sent.intent.signed_at.0).collect::<Vec<_>>()
        };
        let config = HistoryConfig { keep_s: None, transactions_max: 5 };
        let history = History::open(config, &engine).await.expect("readable");
        for at in (100..140).rev() {
            history.keep(&sent(at), &engine).await.expect("written");
        }
        assert_eq!(kept(), [135, 136, 137, 138, 139], "the newest by time of signing");
        // Another process finds what is there, and goes on.
        let config = HistoryConfig { keep_s: Some(10), transactions_max: 5 };
        let history = History::open(config, &engine).await.expect("readable");
        history.trim(UnixSeconds(147), &engine).await.expect("removed");
        assert_eq!(kept(), [137, 138, 139]);
        history.keep(&sent(150), &engine).await.expect("written");
        assert_eq!(kept(), [150]);
        engine.shutdown().await.expect("the books close");
    }
}
