//! Little-endian integers, fixed arrays and signatures: how every layout of the journal is written and
//! read. The reader refuses what is not there, what is unknown and what is left over.

use alloc::vec::Vec;

use crate::channel::{ChainPosition, RequestKey};
use crate::units::{Address, Amount, B256, ChannelId, UnixSeconds};
use crate::voucher::Signature;

/// Why bytes are not what their layout says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field needs more bytes than are left.
    #[error("a field of {needed_bytes} bytes has only {found_bytes}")]
    UnexpectedEnd {
        /// What the field needs.
        needed_bytes: usize,
        /// What is left.
        found_bytes: usize,
    },
    /// Bytes are left after the last field.
    #[error("{bytes} bytes are left after the last field")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// A tag has no meaning in this version.
    #[error("{field} is {found}, which means nothing in this version")]
    UnknownTag {
        /// Which tag.
        field: &'static str,
        /// What it says.
        found: u8,
    },
    /// The bytes have the shape of no signature.
    #[error("{bytes} bytes are no signature that an escrow takes")]
    NotASignature {
        /// How many.
        bytes: usize,
    },
    /// The terms of an `Opened` record hash to another channel.
    #[error("the terms belong to channel {found}, the record to {expected}")]
    ForeignTerms {
        /// The channel that the terms hash to.
        found: ChannelId,
        /// The channel that the record names.
        expected: ChannelId,
    },
}

/// XXH3-64, unseeded.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let found_bytes = self.rest.len();
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::UnexpectedEnd { needed_bytes: count, found_bytes })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let found_bytes = self.rest.len();
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::UnexpectedEnd { needed_bytes: N, found_bytes })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Malformed::UnknownTag { field, found }),
        }
    }

    pub(super) fn amount(&mut self) -> Result<Amount, Malformed> {
        self.array().map(u128::from_le_bytes).map(Amount::new)
    }

    pub(super) fn seconds(&mut self) -> Result<UnixSeconds, Malformed> {
        self.u64().map(UnixSeconds)
    }

    pub(super) fn address(&mut self) -> Result<Address, Malformed> {
        self.array().map(Address::new)
    }

    pub(super) fn hash(&mut self) -> Result<B256, Malformed> {
        self.array().map(B256::new)
    }

    pub(super) fn channel_id(&mut self) -> Result<ChannelId, Malformed> {
        self.hash().map(ChannelId)
    }

    pub(super) fn key(&mut self) -> Result<RequestKey, Malformed> {
        self.array().map(RequestKey)
    }

    pub(super) fn position(&mut self) -> Result<ChainPosition, Malformed> {
        Ok(ChainPosition { block: self.u64()?, log_index: self.u32()? })
    }

    pub(super) fn signature(&mut self) -> Result<Signature, Malformed> {
        let length = usize::from(self.u16()?);
        let bytes = self.bytes(length)?;
        Signature::restore(bytes).map_err(|_| Malformed::NotASignature { bytes: length })
    }

    /// Refuses what is left over.
    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(Malformed::LeftOver { bytes }),
        }
    }
}

/// Fields that are written to the end of a buffer.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn amount(&mut self, amount: Amount) {
        self.put(&amount.get().to_le_bytes());
    }

    fn seconds(&mut self, time: UnixSeconds) {
        self.u64(time.0);
    }

    fn key(&mut self, key: &RequestKey) {
        self.put(&key.0);
    }

    fn position(&mut self, position: ChainPosition) {
        self.u64(position.block);
        self.u32(position.log_index);
    }

    fn signature(&mut self, signature: &Signature) {
        let bytes = signature.as_bytes();
        self.u16(u16::try_from(bytes.len()).expect("signatures have at most 2049 bytes"));
        self.put(bytes);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
