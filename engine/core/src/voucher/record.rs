//! A voucher as text: what `farebox verify` reads, a line of JSON at a time.
//!
//! Tools hand over a [`VoucherRecord`] as it came; every field is checked here, so that a refusal names
//! the field and what it holds. Nothing is trusted but the expected signer, which the caller vouches for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use alloy_primitives::hex;
use serde::Deserialize;

use super::{AnyDomain, AnySignedVoucher, ProtocolVersion, Verifier, Voucher, VoucherError};
use crate::units::{Address, Amount, B256, ChainId, ChannelId};

mod field;

pub use field::{Field, FieldName, Found};

/// A voucher with everything that its verification needs. Unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VoucherRecord {
    /// `"v1"` or `"v2"`.
    pub protocol: Field,
    /// The chain id: a number, or its decimal digits as text.
    pub chain_id: Field,
    /// The escrow's address.
    pub escrow: Field,
    /// The channel's id: 32 bytes.
    pub channel_id: Field,
    /// Base units as decimal digits.
    pub cumulative_amount: Field,
    /// The signature as it came over the wire.
    pub signature: Field,
    /// The address that should have signed.
    pub expected_signer: Field,
}

/// Why a record does not hold a valid voucher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A field cannot be read.
    #[error("{field} is malformed: found {found}, expected {}", .field.expected())]
    Malformed {
        /// Which one.
        field: FieldName,
        /// What it held.
        found: Found,
    },
    /// The record is well-formed, its voucher is not valid.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
}

impl Reason {
    /// A stable name in snake_case, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { field, .. } => field.code(),
            Self::Voucher(error) => error.code(),
        }
    }
}

/// A record whose fields were read.
struct Parsed {
    key: (ProtocolVersion, ChainId, Address),
    voucher: AnySignedVoucher,
    expected_signer: Address,
}

impl VoucherRecord {
    /// Whether the record holds a voucher that its expected signer signed.
    pub fn verify(&self, verifier: &Verifier) -> Result<(), Reason> {
        let Parsed { key: (version, chain_id, escrow), voucher, expected_signer } = self.parse()?;
        let domain = AnyDomain::new(version, chain_id, escrow);
        verifier.verify_one(&domain, &voucher, expected_signer)?;
        Ok(())
    }

    /// Who signed the record's voucher, whoever is expected; see
    /// [`Domain::recover_signer`](super::Domain::recover_signer).
    pub fn recover_signer(&self) -> Result<Address, Reason> {
        let Parsed { key: (version, chain_id, escrow), voucher, .. } = self.parse()?;
        Ok(AnyDomain::new(version, chain_id, escrow).recover_signer(&voucher)?)
    }

    fn parse(&self) -> Result<Parsed, Reason> {
        let version = self.protocol.read(FieldName::Protocol, |text| text.parse().ok())?;
        let chain_id = self.parse_chain_id()?;
        let escrow = self.escrow.read(FieldName::Escrow, fixed_hex).map(Address::new)?;
        let channel_id = self.channel_id.read(FieldName::ChannelId, fixed_hex).map(B256::new)?;
        let cumulative_amount: Amount =
            self.cumulative_amount.read(FieldName::CumulativeAmount, |text| text.parse().ok())?;
        let signature =
            self.signature.read(FieldName::Signature, |text| hex::decode(prefixed(text)?).ok())?;
        let expected_signer =
            self.expected_signer.read(FieldName::ExpectedSigner, fixed_hex).map(Address::new)?;
        let voucher = Voucher { channel_id: ChannelId(channel_id), cumulative_amount };
        let voucher = AnySignedVoucher::parse(version, voucher, &signature)?;
        Ok(Parsed { key: (version, chain_id, escrow), voucher, expected_signer })
    }

    fn parse_chain_id(&self) -> Result<ChainId, Reason> {
        if let Field::Number(number) = self.chain_id {
            return Ok(ChainId(number));
        }
        self.chain_id.read(FieldName::ChainId, |text| {
            // The standard parser would take a plus sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok())?.map(ChainId)
        })
    }
}

/// Verifies many records in one batch; one answer a record, in order. Records of one escrow share the
/// work of hashing its domain.
pub fn verify_records(verifier: &Verifier, records: &[VoucherRecord]) -> Vec<Result<(), Reason>> {
    let parsed: Vec<_> = records.iter().map(VoucherRecord::parse).collect();
    let mut domains = BTreeMap::new();
    for Parsed { key, .. } in parsed.iter().flatten() {
        domains.entry(*key).or_insert_with(|| AnyDomain::new(key.0, key.1, key.2));
    }
    let batch: Vec<_> = parsed
        .iter()
        .flatten()
        .map(|record| (&domains[&record.key], &record.voucher, record.expected_signer))
        .collect();
    let mut answers = verifier.verify_mixed(&batch).into_iter();
    let mut next = || answers.next().expect("a batch has one answer for every voucher");
    parsed
        .iter()
        .map(|record| record.as_ref().map_err(Reason::clone).and_then(|_| Ok(next().map(drop)?)))
        .collect()
}

/// `text`, if it begins with `0x`.
fn prefixed(text: &str) -> Option<&str> {
    text.starts_with("0x").then_some(text)
}

/// `0x` and exactly `2 * N` hex digits of either case.
fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode_to_array(prefixed(text)?).ok()
}

#[cfg(test)]
mod tests;
