//! The public key that made a signature, and its address.
//!
//! The verifier uses it for signers whose key it does not know. It returns `None` for the few signatures
//! that no key can have made; it never says whether a signature is *wanted*.

use crate::ecdsa::Signature;
use crate::keccak::keccak256;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey as Point};

/// A public key: the affine coordinates of a point on secp256k1, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    x: [u8; 32],
    y: [u8; 32],
}

impl PublicKey {
    /// The x coordinate.
    pub const fn x(&self) -> &[u8; 32] {
        &self.x
    }

    /// The y coordinate.
    pub const fn y(&self) -> &[u8; 32] {
        &self.y
    }

    /// The Ethereum address: the last 20 bytes of `keccak256(x ‖ y)`.
    pub fn address(&self) -> [u8; 20] {
        let mut coordinates = [0; 64];
        coordinates[..32].copy_from_slice(&self.x);
        coordinates[32..].copy_from_slice(&self.y);
        let mut address = [0; 20];
        address.copy_from_slice(&keccak256(&coordinates)[12..]);
        address
    }
}

/// The key that signed `digest`, or `None` when there is none: `r` is no x coordinate of the curve, or
/// the recovered point is infinity. `ecrecover` answers nothing in the same cases.
pub fn recover(digest: &[u8; 32], signature: &Signature) -> Option<PublicKey> {
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(signature.r());
    compact[32..].copy_from_slice(signature.s());
    // Ids 2 and 3 (x = r + n) have no `v`: a contract cannot name them, so they are never tried.
    let id = if signature.parity() { RecoveryId::One } else { RecoveryId::Zero };
    let recoverable = RecoverableSignature::from_compact(&compact, id).ok()?;
    let point = recoverable.recover_ecdsa(Message::from_digest(*digest)).ok()?;
    Some(from_point(&point))
}

fn from_point(point: &Point) -> PublicKey {
    let bytes = point.serialize_uncompressed();
    let mut key = PublicKey { x: [0; 32], y: [0; 32] };
    key.x.copy_from_slice(&bytes[1..33]);
    key.y.copy_from_slice(&bytes[33..]);
    key
}
