//! P-256 signatures (TIP-1020, prefix `0x01`): `0x01 ‖ r ‖ s ‖ x ‖ y ‖ prehash`.
//!
//! The public key comes with the signature; its address is the signer. The rules are those of a Tempo
//! node: low s, a point on the curve, and a digest that was hashed once more with SHA-256 when the last
//! byte is not zero (Web Crypto cannot sign a digest as it is).

use alloc::boxed::Box;

use ::p256::ecdsa::signature::hazmat::PrehashVerifier;
use ::p256::ecdsa::{Signature as EcdsaSignature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::hash::keccak;
use super::{Curve, VoucherError};
use crate::units::{Address, B256};

/// The length of a P-256 signature with its prefix.
pub(super) const P256_BYTES: usize = 130;

/// The length of `r ‖ s ‖ x ‖ y`.
pub(super) const KEYED_BYTES: usize = 128;

/// The order of the group: `n`.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// `n/2`, rounded down: the largest low `s`.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// A P-256 signature with its public key; `r` and `s` are in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P256Signature(Box<[u8; P256_BYTES]>);

impl P256Signature {
    /// Reads the 130 bytes, prefix included; the caller has looked at prefix and length.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, VoucherError> {
        let bytes: Box<[u8; P256_BYTES]> = Box::new(bytes.try_into().map_err(|_| {
            VoucherError::WrongLength { found_bytes: bytes.len(), expected: "130 bytes (0x01, P-256)" }
        })?);
        let signature = Self(bytes);
        signature.keyed().check_range()?;
        Ok(signature)
    }

    /// The bytes as they came, prefix included.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The address that signed `digest`, or why nobody did.
    pub(super) fn signer(&self, digest: B256) -> Result<Address, VoucherError> {
        let prehash = self.0[P256_BYTES - 1] != 0;
        let message = if prehash { sha256(digest.as_slice()) } else { digest };
        self.keyed().verify(message)
    }

    fn keyed(&self) -> Keyed<'_> {
        Keyed::new(self.0[1..=KEYED_BYTES].try_into().expect("128 of 130 bytes"))
    }
}

/// `r ‖ s ‖ x ‖ y`: a signature with the key that made it. WebAuthn signatures end with one too.
#[derive(Clone, Copy)]
pub(super) struct Keyed<'a> {
    bytes: &'a [u8; KEYED_BYTES],
}

impl<'a> Keyed<'a> {
    pub(super) fn new(bytes: &'a [u8; KEYED_BYTES]) -> Self {
        Self { bytes }
    }

    /// `1 <= r < n` and `1 <= s <= n/2`.
    pub(super) fn check_range(self) -> Result<(), VoucherError> {
        let curve = Curve::P256;
        let (r, s) = (&self.bytes[..32], &self.bytes[32..64]);
        // Big-endian slices of one length compare like the numbers they hold.
        if r == [0; 32] {
            return Err(VoucherError::ZeroR { curve });
        }
        if r >= &ORDER[..] {
            return Err(VoucherError::ROutOfRange { curve });
        }
        if s == [0; 32] {
            return Err(VoucherError::ZeroS { curve });
        }
        if s > &HALF_ORDER[..] {
            return Err(VoucherError::HighS { curve });
        }
        Ok(())
    }

    /// Verifies the signature over `message`, a hash, and gives the key's address.
    pub(super) fn verify(self, message: B256) -> Result<Address, VoucherError> {
        let (scalars, point) = self.bytes.split_at(64);
        let mut sec1 = [0x04; 65];
        sec1[1..].copy_from_slice(point);
        let key = VerifyingKey::from_sec1_bytes(&sec1).map_err(|_| VoucherError::PublicKeyNotOnCurve)?;
        let signature = EcdsaSignature::from_slice(scalars).map_err(|_| VoucherError::InvalidSignature)?;
        key.verify_prehash(message.as_slice(), &signature).map_err(|_| VoucherError::InvalidSignature)?;
        Ok(Address::from_slice(&keccak(point)[12..]))
    }
}

/// The SHA-256 hash of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> B256 {
    B256::new(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_order_is_half() {
        // 2 * HALF_ORDER + 1 == ORDER, byte by byte from the right.
        let mut carry = 1;
        for i in (0..32).rev() {
            let sum = 2 * u16::from(HALF_ORDER[i]) + carry;
            assert_eq!(sum & 0xff, u16::from(ORDER[i]), "byte {i}");
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
    }
}
