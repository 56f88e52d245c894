//! The forms in which key services give keys and signatures.

use alloy::primitives::{Signature, U256};
use alloy::signers::local::PrivateKeySigner;

/// The order of the group of secp256k1.
const ORDER: [u8; 32] =
    alloy::primitives::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
/// A `SubjectPublicKeyInfo` of secp256k1 up to the point.
const SPKI_HEAD: [u8; 23] = alloy::primitives::hex!("3056301006072a8648ce3d020106052b8104000a034200");

/// The public key as `SubjectPublicKeyInfo`.
pub(super) fn public_key(key: &PrivateKeySigner) -> Vec<u8> {
    let point = key.public_key();
    [SPKI_HEAD.as_slice(), &[4], point.as_slice()].concat()
}

/// A signature as services give it: DER, without parity, its s in either half.
pub(super) fn signature(signature: &Signature, is_high: bool) -> Vec<u8> {
    let s = if is_high { U256::from_be_bytes(ORDER) - signature.s() } else { signature.s() };
    let body = [integer(signature.r()), integer(s)].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
}

fn integer(value: U256) -> Vec<u8> {
    let mut bytes = value.to_be_bytes_trimmed_vec();
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    [&[2, bytes.len() as u8], bytes.as_slice()].concat()
}
