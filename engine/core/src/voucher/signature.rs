//! A signature's bytes as the escrow takes them, and the wrappers that it does not take.
//!
//! The books keep a [`Signature`] beside every voucher that a claim may need, and the journal stores it.
//! It says nothing about validity: only [`super::Verified`] does.

use alloc::boxed::Box;

use super::VoucherError;
use super::p256::P256_BYTES;
use super::webauthn::{WEBAUTHN_BYTES_MAX, WEBAUTHN_BYTES_MIN};

/// The first byte of a P-256 signature (TIP-1020).
pub(super) const PREFIX_P256: u8 = 0x01;
/// The first byte of a WebAuthn signature (TIP-1020).
pub(super) const PREFIX_WEBAUTHN: u8 = 0x02;
/// The first byte of a keychain signature: the first version, and the one bound to the account.
const PREFIXES_KEYCHAIN: [u8; 2] = [0x03, 0x04];
/// The first byte of a native multisig (TIP-1061).
const PREFIX_MULTISIG: u8 = 0x05;

/// Clients append this to a signature to mark it for their RPC node. It is no part of the signature.
const MAGIC_SUFFIX: [u8; 32] = [0x77; 32];

/// Prefix, account and at least an inner signature: a shorter text is no wrapper, but a cut signature.
const WRAPPER_BYTES_MIN: usize = 1 + 20 + 64;

/// The length of a secp256k1 signature on chain.
const SECP256K1_BYTES: usize = 65;

/// What lengths a signature on chain can have, for the reader of a refusal.
const CHAIN_LENGTHS: &str = "65 bytes, 130 bytes with prefix 0x01, or 129 to 2049 bytes with prefix 0x02";

/// The bytes of a voucher's signature, in the form that `settle` and `close` take.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature(Bytes);

/// secp256k1 stays in place: nearly every signature is one, and the books hold millions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bytes {
    Secp256k1([u8; SECP256K1_BYTES]),
    Typed(Box<[u8]>),
}

impl Signature {
    /// A secp256k1 signature `r ‖ s ‖ v`.
    pub(super) fn secp256k1(rsv: [u8; SECP256K1_BYTES]) -> Self {
        Self(Bytes::Secp256k1(rsv))
    }

    /// A P-256 or WebAuthn signature with its prefix.
    pub(super) fn typed(bytes: &[u8]) -> Self {
        Self(Bytes::Typed(bytes.into()))
    }

    /// Rebuilds what [`Self::as_bytes`] gave, for the replay of a journal. Only the shape is checked: the
    /// voucher was verified before it was stored, and these bytes prove nothing by themselves.
    pub fn restore(bytes: &[u8]) -> Result<Self, VoucherError> {
        if let Ok(rsv) = bytes.try_into() {
            return Ok(Self::secp256k1(rsv));
        }
        match (bytes.first(), bytes.len()) {
            (Some(&PREFIX_P256), P256_BYTES) => Ok(Self::typed(bytes)),
            (Some(&PREFIX_WEBAUTHN), WEBAUTHN_BYTES_MIN..=WEBAUTHN_BYTES_MAX) => Ok(Self::typed(bytes)),
            _ => Err(VoucherError::WrongLength { found_bytes: bytes.len(), expected: CHAIN_LENGTHS }),
        }
    }

    /// The bytes for the escrow.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Secp256k1(bytes) => bytes,
            Bytes::Typed(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Refuses keychain wrappers, multisigs and magic suffixes by name. The caller has taken 64 and 65 bytes
/// before: those lengths are secp256k1 whatever they begin or end with.
pub(super) fn refuse_wrapper(bytes: &[u8]) -> Result<(), VoucherError> {
    if bytes.len() > MAGIC_SUFFIX.len() && bytes.ends_with(&MAGIC_SUFFIX) {
        return Err(VoucherError::MagicSuffix);
    }
    match bytes.first() {
        _ if bytes.len() < WRAPPER_BYTES_MIN => Ok(()),
        Some(&found) if PREFIXES_KEYCHAIN.contains(&found) => Err(VoucherError::KeychainSignature { found }),
        Some(&PREFIX_MULTISIG) => Err(VoucherError::MultisigSignature),
        _ => Ok(()),
    }
}
