//! The TIP-1034 channel reserve: the terms of its channels, and the signatures that it takes.

mod known_ids;

use farebox_crypto::ecdsa;

pub use known_ids::{KNOWN_IDS_MAX, KnownIds};

use super::VoucherError;
use super::hash::{address_word, chain_word, keccak_words};
use super::p256::{P256_BYTES, P256Signature};
use super::protocol::{self, SignatureScheme};
use super::signature::{PREFIX_P256, PREFIX_WEBAUTHN, refuse_wrapper};
use super::signed::{SignatureRef, sealed::Sealed};
use super::v1::parse_secp256k1;
use super::webauthn::{WEBAUTHN_BYTES_MAX, WEBAUTHN_BYTES_MIN, WebAuthnSignature};
use crate::units::{Address, B256, ChainId, ChannelId};

/// Where the channel reserve lives on every Tempo chain (TIP-1034).
pub const CHANNEL_RESERVE: Address = Address::new(*b"MPP\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

/// The lengths that a v2 signature can have, for the reader of a refusal.
const LENGTHS: &str =
    "65 bytes (r, s, v), 64 bytes (EIP-2098), 130 bytes (0x01, P-256) or 129 to 2049 bytes (0x02, WebAuthn)";

/// The immutable terms of a v2 channel: its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Who locked the deposit.
    pub payer: Address,
    /// Who gets what was spent.
    pub payee: Address,
    /// Who else may settle and close; zero when nobody may.
    pub operator: Address,
    /// The TIP-20 token.
    pub token: Address,
    /// What makes channels of the same parties differ.
    pub salt: B256,
    /// Who signs vouchers; zero when the payer does.
    pub authorized_signer: Address,
    /// The hash of the transaction that opened the channel, so that its id is never used twice.
    pub expiring_nonce_hash: B256,
}

impl Descriptor {
    /// The channel's id: `keccak256(abi.encode(payer, payee, operator, token, salt, authorizedSigner,
    /// expiringNonceHash, escrow, chainId))`.
    pub fn channel_id(&self, chain_id: ChainId, escrow: Address) -> ChannelId {
        ChannelId(keccak_words([
            address_word(self.payer),
            address_word(self.payee),
            address_word(self.operator),
            address_word(self.token),
            self.salt,
            address_word(self.authorized_signer),
            self.expiring_nonce_hash,
            address_word(escrow),
            chain_word(chain_id),
        ]))
    }

    /// The only address whose vouchers count: the authorized signer, or the payer when there is none.
    pub fn expected_signer(&self) -> Address {
        if self.authorized_signer.is_zero() { self.payer } else { self.authorized_signer }
    }
}

impl Sealed for Descriptor {}

impl protocol::Terms for Descriptor {
    fn channel_id(&self, chain_id: ChainId, escrow: Address) -> ChannelId {
        Self::channel_id(self, chain_id, escrow)
    }

    fn expected_signer(&self) -> Address {
        Self::expected_signer(self)
    }
}

/// A v2 signature: one of the TIP-1020 primitives.
///
/// Wrappers are refused: a keychain signature names an access key whose rights live in the chain's state,
/// a multisig has no single signer, and the escrow takes neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrimitiveSignature {
    /// secp256k1, 65 bytes without a prefix (or 64 bytes, which become 65).
    Secp256k1(ecdsa::Signature),
    /// P-256 with its public key, prefix `0x01`.
    P256(P256Signature),
    /// P-256 by an authenticator, over what it was shown, prefix `0x02`.
    WebAuthn(WebAuthnSignature),
}

impl Sealed for PrimitiveSignature {}

impl SignatureScheme for PrimitiveSignature {
    /// TIP-1020: 65 bytes are secp256k1, every other length goes by its first byte. The session draft
    /// adds the 64 bytes of EIP-2098; no typed signature is that short.
    fn parse(bytes: &[u8]) -> Result<Self, VoucherError> {
        if let Some(parsed) = parse_secp256k1(bytes) {
            return parsed.map(Self::Secp256k1);
        }
        match (bytes.first(), bytes.len()) {
            (Some(&PREFIX_P256), P256_BYTES) => P256Signature::parse(bytes).map(Self::P256),
            (Some(&PREFIX_WEBAUTHN), WEBAUTHN_BYTES_MIN..=WEBAUTHN_BYTES_MAX) => {
                refuse_wrapper(bytes)?;
                WebAuthnSignature::parse(bytes).map(Self::WebAuthn)
            }
            _ => Err(refusal(bytes)),
        }
    }

    fn as_ref(&self) -> SignatureRef<'_> {
        match self {
            Self::Secp256k1(signature) => SignatureRef::Secp256k1(signature),
            Self::P256(signature) => SignatureRef::P256(signature),
            Self::WebAuthn(signature) => SignatureRef::WebAuthn(signature),
        }
    }
}

/// Why `bytes`, which have the shape of no primitive, are refused.
fn refusal(bytes: &[u8]) -> VoucherError {
    if let Err(wrapper) = refuse_wrapper(bytes) {
        return wrapper;
    }
    match bytes.first() {
        // Long enough to be typed, so the first byte is a type and not a part of r.
        Some(&found)
            if bytes.len() >= WEBAUTHN_BYTES_MIN && !matches!(found, PREFIX_P256 | PREFIX_WEBAUTHN) =>
        {
            VoucherError::UnknownSignatureType { found }
        }
        _ => VoucherError::WrongLength { found_bytes: bytes.len(), expected: LENGTHS },
    }
}
