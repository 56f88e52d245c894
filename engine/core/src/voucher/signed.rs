//! A voucher as it came: well-formed, with a signature in range, and not yet verified.
//!
//! [`super::Verifier`] says whether the signature holds.

use farebox_crypto::{ecdsa, recover};

use super::domain::check_amount;
use super::p256::P256Signature;
use super::protocol::SignatureScheme;
use super::webauthn::WebAuthnSignature;
use super::{Domain, Protocol, Signature, Voucher, VoucherError};
use crate::units::Address;

/// Keeps the protocol traits closed.
pub(super) mod sealed {
    /// Implemented inside `voucher` only.
    pub trait Sealed {}
}

/// A voucher with a signature that is well-formed, and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedVoucher<P: Protocol> {
    voucher: Voucher,
    signature: P::Signature,
}

impl<P: Protocol> SignedVoucher<P> {
    /// Checks that the amount fits the protocol, then reads the signature. No cryptography yet.
    pub fn parse(voucher: Voucher, signature: &[u8]) -> Result<Self, VoucherError> {
        check_amount::<P>(&voucher)?;
        Ok(Self { voucher, signature: P::Signature::parse(signature)? })
    }

    /// What was signed, if the signature holds.
    pub const fn voucher(&self) -> &Voucher {
        &self.voucher
    }

    /// The signature in the form that the escrow takes.
    pub fn to_chain_bytes(&self) -> Signature {
        self.signature.to_chain_bytes()
    }

    /// What there is to verify.
    pub(super) fn signature(&self) -> SignatureRef<'_> {
        self.signature.as_ref()
    }
}

impl<P: Protocol> Domain<P> {
    /// Who signed a voucher, for a caller that must know: to show it, or to learn a channel's signer from its
    /// first voucher. It costs a recovery (some 40 µs), and it is no proof: whatever was signed, and by whomever, some
    /// address comes out for nearly every secp256k1 signature.
    pub fn recover_signer(&self, voucher: &SignedVoucher<P>) -> Result<Address, VoucherError> {
        // The amount was checked by the only constructor.
        let digest = self.words().digest(&voucher.voucher);
        match voucher.signature.as_ref() {
            SignatureRef::Secp256k1(signature) => recover(&digest.0, signature)
                .map(|key| Address::new(key.address()))
                .ok_or(VoucherError::Unrecoverable),
            SignatureRef::P256(signature) => signature.signer(digest),
            SignatureRef::WebAuthn(signature) => signature.signer(digest),
        }
    }
}

/// A parsed signature of any kind, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum SignatureRef<'a> {
    /// secp256k1.
    Secp256k1(&'a ecdsa::Signature),
    /// P-256.
    P256(&'a P256Signature),
    /// P-256 by an authenticator.
    WebAuthn(&'a WebAuthnSignature),
}

impl SignatureRef<'_> {
    /// The bytes that the escrow takes.
    pub(super) fn to_chain_bytes(self) -> Signature {
        match self {
            Self::Secp256k1(signature) => Signature::secp256k1(signature.to_rsv()),
            Self::P256(signature) => Signature::typed(signature.as_bytes()),
            Self::WebAuthn(signature) => Signature::typed(signature.as_bytes()),
        }
    }
}
