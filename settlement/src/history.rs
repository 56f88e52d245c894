//! What was sent to the chain and what became of it: a durable note a transaction, for the accounting.
//!
//! It takes the place of the intent when the books know the end: first this is written, then the intent is removed. A
//! crash in between writes the same once more. Nothing reads it but reports; the journal says what happened to channels.
//!
//! # Format (version 1)
//!
//! Key: `sent/`, the time of signing (8, big endian, so that keys are in order) and the transaction's hash (32). Value,
//! integers little endian: version (1); fate (1): 1 succeeded, 2 reverted, 3 no block took it; time of the end (8); block
//! (8); gas used (8); price of a unit of gas (16); then the intent without its signed bytes.

use alloy::primitives::U256;
use farebox_core::units::{Amount, B256, UnixSeconds};
use farebox_engine::ledger::{LedgerError, LedgerRead, Note};
use farebox_engine::{Engine, EngineError};

use crate::client::Fate;
use crate::intent::{Intent, retry_busy};

const VERSION: u8 = 1;
/// Wei-like units (10^-18 dollars) in one base unit of a fee token with six decimals.
const UNITS_PER_BASE_UNIT: u128 = 1_000_000_000_000;

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

    pub(crate) async fn keep(&self, engine: &Engine) -> Result<(), EngineError> {
        let key = self.key();
        retry_busy(|| engine.put_note(&key, self.encode())).await
    }

    fn key(&self) -> Vec<u8> {
        let Intent { tx_hash, signed_at, .. } = &self.intent;
        [Self::PREFIX, &signed_at.0.to_be_bytes(), tx_hash.as_slice()].concat()
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
        let (_, hash) = note.key.strip_prefix(Self::PREFIX)?.split_first_chunk::<8>()?;
        let tx_hash = B256::try_from(hash).ok()?;
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
}
