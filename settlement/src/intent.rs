//! What settlement is about to send, written down before it is sent.
//!
//! An intent is a note in the store of the books: durable before the first node sees the transaction, removed after
//! the books know what came of it. So after a crash the open intents name every transaction that may have happened, and
//! a channel without one has nothing under way. The signed bytes are kept too: sent again they are the same
//! transaction, which the chain executes once.
//!
//! # Format (version 1)
//!
//! Key: `intent/` and the transaction's hash (32). Value, integers little endian: version (1), sender (20), fee token
//! (20), nonce lane (32), valid before (8), most for a unit of gas (16), priority (16), gas limit (8), time of
//! signing (8), tries before (4); number of calls (2), each channel (32), escrow (20), protocol (1), 1 for a close (1),
//! what it captures (16), what the escrow held (16), time of the close request or zero (8); the signed bytes, whose hash is the
//! key's.

use alloy::primitives::U256;
use farebox_core::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::ledger::Note;
use farebox_engine::{Engine, EngineError};

const VERSION: u8 = 1;

/// One transaction that may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its hash.
    pub tx_hash: B256,
    /// Who sends it.
    pub sender: Address,
    /// In which token its fee is paid.
    pub fee_token: Address,
    /// Its nonce lane; the largest number stands for an expiring nonce (TIP-1009).
    pub nonce_lane: U256,
    /// No block at or after this time can hold it.
    pub valid_before: UnixSeconds,
    /// The most that a unit of gas may cost.
    pub max_fee_per_gas: u128,
    /// What the block's proposer gets of it.
    pub max_priority_fee_per_gas: u128,
    /// The most gas.
    pub gas_limit: u64,
    /// When it was signed, by our clock.
    pub signed_at: UnixSeconds,
    /// Transactions before it with the same claims, which no block took.
    pub tries: u32,
    /// What it claims, in order.
    pub calls: Vec<IntendedCall>,
    /// The signed transaction.
    pub bytes: Vec<u8>,
}

/// One call of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntendedCall {
    /// The channel.
    pub channel: ChannelId,
    /// Its escrow.
    pub escrow: Address,
    /// What that speaks.
    pub protocol: ProtocolVersion,
    /// Whether it ends the channel.
    pub is_close: bool,
    /// What the payee will have got over the channel's life.
    pub capture: Amount,
    /// What the escrow held when it was signed.
    pub deposit: Amount,
    /// When the payer asked on chain to close.
    pub close_asked_at: Option<UnixSeconds>,
}

/// A note that is no intent of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored intent {tx_hash:#x} cannot be read: {what}")]
pub struct BadIntent {
    /// The transaction that its key names.
    pub tx_hash: B256,
    /// What is wrong.
    pub what: &'static str,
}

/// Why the open intents are not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntentError {
    /// The books cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// One cannot be read: what it was about to do is not known, so nothing may be sent.
    #[error(transparent)]
    Bad(#[from] BadIntent),
}

impl Intent {
    /// What the keys of intents begin with.
    pub(crate) const PREFIX: &[u8] = b"intent/";

    /// Writes it down. Only after this may the transaction be sent.
    pub(crate) async fn keep(&self, engine: &Engine) -> Result<(), EngineError> {
        let key = key(self.tx_hash);
        retry_busy(|| engine.put_note(&key, self.encode())).await
    }

    /// Forgets it: the books know what came of it.
    pub(crate) async fn forget(tx_hash: B256, engine: &Engine) -> Result<(), EngineError> {
        let key = key(tx_hash);
        retry_busy(|| engine.remove_note(&key)).await
    }

    /// All that may still happen, or whose end the books may not know.
    pub async fn open(engine: &Engine) -> Result<Vec<Self>, IntentError> {
        let notes = retry_busy(|| engine.notes(Self::PREFIX)).await?;
        Ok(Self::read(&notes)?)
    }

    pub(crate) fn read(notes: &[Note]) -> Result<Vec<Self>, BadIntent> {
        let read = notes.iter().map(|note| {
            let hash = note.key.strip_prefix(Self::PREFIX).and_then(|hash| B256::try_from(hash).ok());
            let tx_hash = hash.unwrap_or_default();
            let what = "its key is no transaction's hash";
            if hash.is_none() {
                return Err(BadIntent { tx_hash, what });
            }
            Self::decode(tx_hash, &note.bytes).map_err(|what| BadIntent { tx_hash, what })
        });
        read.collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_without_bytes();
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Everything but the signed transaction.
    pub(crate) fn encode_without_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.sender.as_slice());
        out.extend_from_slice(self.fee_token.as_slice());
        out.extend_from_slice(&self.nonce_lane.to_le_bytes::<32>());
        out.extend_from_slice(&self.valid_before.0.to_le_bytes());
        out.extend_from_slice(&self.max_fee_per_gas.to_le_bytes());
        out.extend_from_slice(&self.max_priority_fee_per_gas.to_le_bytes());
        out.extend_from_slice(&self.gas_limit.to_le_bytes());
        out.extend_from_slice(&self.signed_at.0.to_le_bytes());
        out.extend_from_slice(&self.tries.to_le_bytes());
        let count = u16::try_from(self.calls.len()).expect("a batch has at most some dozens of calls");
        out.extend_from_slice(&count.to_le_bytes());
        for call in &self.calls {
            out.extend_from_slice(call.channel.0.as_slice());
            out.extend_from_slice(call.escrow.as_slice());
            out.push(match call.protocol {
                ProtocolVersion::V1 => 1,
                ProtocolVersion::V2 => 2,
            });
            out.push(u8::from(call.is_close));
            out.extend_from_slice(&call.capture.get().to_le_bytes());
            out.extend_from_slice(&call.deposit.get().to_le_bytes());
            out.extend_from_slice(&call.close_asked_at.map_or(0, |at| at.0).to_le_bytes());
        }
        out
    }

    fn decode(tx_hash: B256, bytes: &[u8]) -> Result<Self, &'static str> {
        let (mut intent, rest) = Self::decode_fields(tx_hash, bytes)?;
        intent.bytes = rest.to_vec();
        if alloy::primitives::keccak256(&intent.bytes) != tx_hash {
            return Err("its bytes are those of another transaction");
        }
        Ok(intent)
    }

    /// What [`Self::encode_without_bytes`] gave.
    pub(crate) fn decode_without_bytes(tx_hash: B256, bytes: &[u8]) -> Result<Self, &'static str> {
        match Self::decode_fields(tx_hash, bytes)? {
            (intent, []) => Ok(intent),
            _ => Err("something stands behind it"),
        }
    }

    fn decode_fields(tx_hash: B256, bytes: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let mut reader = Reader(bytes);
        if reader.take::<1>()? != [VERSION] {
            return Err("it was written by another version");
        }
        let mut intent = Self {
            tx_hash,
            sender: Address::new(reader.take()?),
            fee_token: Address::new(reader.take()?),
            nonce_lane: U256::from_le_bytes(reader.take::<32>()?),
            valid_before: UnixSeconds(reader.u64()?),
            max_fee_per_gas: reader.u128()?,
            max_priority_fee_per_gas: reader.u128()?,
            gas_limit: reader.u64()?,
            signed_at: UnixSeconds(reader.u64()?),
            tries: u32::from_le_bytes(reader.take()?),
            calls: Vec::new(),
            bytes: Vec::new(),
        };
        for _ in 0..u16::from_le_bytes(reader.take()?) {
            intent.calls.push(reader.call()?);
        }
        Ok((intent, reader.0))
    }
}

/// Fields from the front of a note.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or("it is too short")?;
        self.0 = rest;
        Ok(*field)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, &'static str> {
        self.take().map(u128::from_le_bytes)
    }

    fn call(&mut self) -> Result<IntendedCall, &'static str> {
        Ok(IntendedCall {
            channel: ChannelId(B256::new(self.take()?)),
            escrow: Address::new(self.take()?),
            protocol: match self.take()? {
                [1] => ProtocolVersion::V1,
                [2] => ProtocolVersion::V2,
                _ => return Err("it names an unknown protocol"),
            },
            is_close: self.take()? == [1],
            capture: Amount::new(self.u128()?),
            deposit: Amount::new(self.u128()?),
            close_asked_at: Some(self.u64()?).filter(|at| *at > 0).map(UnixSeconds),
        })
    }
}

fn key(tx_hash: B256) -> Vec<u8> {
    [Intent::PREFIX, tx_hash.as_slice()].concat()
}

/// How often a full queue is asked again.
const BUSY_TRIES_MAX: u32 = 100;

/// Asks the books again while they are busy, a bounded number of times.
pub(crate) async fn retry_busy<T, F>(mut ask: impl FnMut() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match ask().await {
            Err(EngineError::Busy { retry_after_ms }) if tries < BUSY_TRIES_MAX => {
                tokio::time::sleep(std::time::Duration::from_millis(retry_after_ms)).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloy::primitives::keccak256;

    use super::*;

    pub(crate) fn intent() -> Intent {
        let call = |number: u8| IntendedCall {
            channel: ChannelId(B256::repeat_byte(number)),
            escrow: Address::repeat_byte(3),
            protocol: if number.is_multiple_of(2) { ProtocolVersion::V1 } else { ProtocolVersion::V2 },
            is_close: number > 1,
            capture: Amount::new(7),
            deposit: Amount::MAX,
            close_asked_at: (number > 2).then_some(UnixSeconds(9)),
        };
        let bytes = vec![1, 2, 3];
        Intent {
            tx_hash: keccak256(&bytes),
            sender: Address::repeat_byte(1),
            fee_token: Address::repeat_byte(2),
            nonce_lane: U256::MAX,
            valid_before: UnixSeconds(1_000),
            max_fee_per_gas: 5,
            max_priority_fee_per_gas: 4,
            gas_limit: 800_000,
            signed_at: UnixSeconds(975),
            tries: 2,
            calls: (1..4).map(call).collect(),
            bytes,
        }
    }

    #[test]
    fn an_intent_comes_back() {
        let intent = intent();
        assert_eq!(Intent::decode(intent.tx_hash, &intent.encode()), Ok(intent));
    }

    #[test]
    fn no_cut_or_changed_transaction_is_taken_for_an_intent() {
        let intent = intent();
        let whole = intent.encode();
        for length in 0..whole.len() {
            assert!(Intent::decode(intent.tx_hash, &whole[..length]).is_err(), "{length} bytes");
        }
        let mut changed = whole.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert!(Intent::decode(intent.tx_hash, &changed).is_err());
        let mut newer = whole;
        newer[0] = 2;
        assert_eq!(Intent::decode(intent.tx_hash, &newer), Err("it was written by another version"));
    }
}
