//! Why a voucher is refused: one type, with a stable code for machines and a sentence for people.

use core::fmt;

use super::ProtocolVersion;
use crate::units::{Address, Amount};

/// The curve that a signature lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// The curve of Ethereum.
    Secp256k1,
    /// The curve of passkeys (NIST P-256, secp256r1).
    P256,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secp256k1 => "secp256k1",
            Self::P256 => "P-256",
        })
    }
}

/// Why a voucher is refused. [`Self::code`] never changes for a variant; the sentence may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// The escrow's integer type cannot hold the amount.
    #[error("the cumulative amount {found} is too large, expected at most {max}")]
    AmountTooLarge {
        /// The voucher's amount.
        found: Amount,
        /// The most that the protocol knows.
        max: Amount,
    },
    /// No signature has this length.
    #[error("the signature has {found_bytes} bytes, expected {expected}")]
    WrongLength {
        /// Its length.
        found_bytes: usize,
        /// The lengths that exist.
        expected: &'static str,
    },
    /// The first byte names no signature type.
    #[error("the signature type is 0x{found:02x}, expected 0x01 (P-256) or 0x02 (WebAuthn)")]
    UnknownSignatureType {
        /// The first byte.
        found: u8,
    },
    /// A keychain wrapper: its signer's rights live in the chain's state.
    #[error(
        "keychain signatures (0x{found:02x}) are refused, expected a signature by the authorized signer itself"
    )]
    KeychainSignature {
        /// The first byte.
        found: u8,
    },
    /// A native multisig: it has no single signer.
    #[error("multisig signatures (0x05) are refused, expected a signature by the authorized signer itself")]
    MultisigSignature,
    /// The signature carries the suffix that marks it for an RPC node.
    #[error("the signature ends with 32 bytes of 0x77 (the magic suffix for RPC nodes), expected none")]
    MagicSuffix,
    /// `v` is neither 27 nor 28.
    #[error("v is {found}, expected 27 or 28")]
    BadV {
        /// The last byte.
        found: u8,
    },
    /// `r` is zero.
    #[error("r is zero, expected 1 <= r < n ({curve})")]
    ZeroR {
        /// The curve whose order is `n`.
        curve: Curve,
    },
    /// `r` is the group order or more.
    #[error("r is not below the group order, expected 1 <= r < n ({curve})")]
    ROutOfRange {
        /// The curve whose order is `n`.
        curve: Curve,
    },
    /// `s` is zero.
    #[error("s is zero, expected 1 <= s <= n/2 ({curve})")]
    ZeroS {
        /// The curve whose order is `n`.
        curve: Curve,
    },
    /// `s` is above half of the group order.
    #[error("s is above half of the group order, expected 1 <= s <= n/2 ({curve})")]
    HighS {
        /// The curve whose order is `n`.
        curve: Curve,
    },
    /// No secp256k1 key can have made the signature. Only who asks for the signer is told; see
    /// [`Domain::recover_signer`](super::Domain::recover_signer).
    #[error("no key can have made this signature: r is not the x coordinate of a usable point")]
    Unrecoverable,
    /// The P-256 public key is no point of the curve.
    #[error("the public key is not a point on P-256")]
    PublicKeyNotOnCurve,
    /// The P-256 signature does not fit its own public key and this voucher.
    #[error("the signature was not made by its public key over this voucher")]
    InvalidSignature,
    /// What the authenticator signed is not an assertion as a node accepts it.
    #[error("malformed WebAuthn data: {0}")]
    MalformedWebAuthn(#[from] WebAuthnFault),
    /// The authenticator was shown another digest.
    #[error("the WebAuthn challenge is not the digest of this voucher in base64url")]
    WebAuthnChallenge,
    /// Somebody else signed, or another voucher was signed.
    #[error("the signature is not one over this voucher by its signer, expected one by {expected:#x}")]
    WrongSigner {
        /// Who should have signed.
        expected: Address,
    },
    /// A voucher of one protocol met the domain of the other.
    #[error("the voucher speaks {found}, expected {expected}")]
    ProtocolMismatch {
        /// What the voucher speaks.
        found: ProtocolVersion,
        /// What the domain speaks.
        expected: ProtocolVersion,
    },
}

impl VoucherError {
    /// A stable name in snake_case, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AmountTooLarge { .. } => "amount_too_large",
            Self::WrongLength { .. } => "wrong_length",
            Self::UnknownSignatureType { .. } => "unknown_signature_type",
            Self::KeychainSignature { .. } => "keychain_signature",
            Self::MultisigSignature => "multisig_signature",
            Self::MagicSuffix => "magic_suffix",
            Self::BadV { .. } => "bad_v",
            Self::ZeroR { .. } => "zero_r",
            Self::ROutOfRange { .. } => "r_out_of_range",
            Self::ZeroS { .. } => "zero_s",
            Self::HighS { .. } => "high_s",
            Self::Unrecoverable => "unrecoverable",
            Self::PublicKeyNotOnCurve => "public_key_not_on_curve",
            Self::InvalidSignature => "invalid_signature",
            Self::MalformedWebAuthn(_) => "malformed_webauthn",
            Self::WebAuthnChallenge => "webauthn_challenge_mismatch",
            Self::WrongSigner { .. } => "wrong_signer",
            Self::ProtocolMismatch { .. } => "protocol_mismatch",
        }
    }
}

/// What is wrong with the data that an authenticator signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebAuthnFault {
    /// No room for authenticatorData and a clientDataJSON.
    #[error("authenticatorData and clientDataJSON have {found_bytes} bytes, expected at least 69")]
    TooShort {
        /// Their length together.
        found_bytes: usize,
    },
    /// Neither user presence nor user verification.
    #[error("the flags are 0x{flags:02x}, expected UP (0x01) or UV (0x04)")]
    NoUser {
        /// Byte 32 of authenticatorData.
        flags: u8,
    },
    /// Attested data or extensions, which a node does not take.
    #[error("the flags are 0x{flags:02x}, expected neither AT (0x40) nor ED (0x80)")]
    ExtraData {
        /// Byte 32 of authenticatorData.
        flags: u8,
    },
    /// Not JSON, or without plain `type` and `challenge`.
    #[error("clientDataJSON is not JSON with a type and a challenge, each a text without escapes")]
    ClientData,
    /// A registration, or something else that is not an assertion.
    #[error("the type in clientDataJSON is not webauthn.get")]
    NotAnAssertion,
}
