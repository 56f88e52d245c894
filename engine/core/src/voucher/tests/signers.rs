//! Keys that sign vouchers in every encoding, by libraries that the module does not use for them.

use alloc::format;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k256::ecdsa::SigningKey as K256Key;
use p256::ecdsa::SigningKey as P256Key;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::units::{Address, B256};

/// The order of secp256k1.
pub const SECP256K1_ORDER: [u8; 32] =
    alloy_primitives::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
/// The order of P-256.
pub const P256_ORDER: [u8; 32] =
    alloy_primitives::hex!("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");

/// The flags of an authenticator that saw and verified its user.
pub const FLAGS_PRESENT_AND_VERIFIED: u8 = 0x05;

/// A generator of the same numbers in every run.
pub fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A key and the encoding that it signs in.
pub enum Signer {
    /// secp256k1, `r ‖ s ‖ v`.
    Rsv(K256Key),
    /// secp256k1, EIP-2098.
    Compact(K256Key),
    /// P-256, over the digest (false) or its SHA-256 (true).
    P256(P256Key, bool),
    /// P-256 by an authenticator.
    WebAuthn(P256Key),
}

impl Signer {
    /// A secp256k1 key that signs `r ‖ s ‖ v`.
    pub fn rsv(rng: &mut StdRng) -> Self {
        Self::Rsv(secret(rng, K256Key::from_slice))
    }

    /// A secp256k1 key that signs in the compact form.
    pub fn compact(rng: &mut StdRng) -> Self {
        Self::Compact(secret(rng, K256Key::from_slice))
    }

    /// A P-256 key.
    pub fn p256(rng: &mut StdRng, prehash: bool) -> Self {
        Self::P256(secret(rng, P256Key::from_slice), prehash)
    }

    /// An authenticator.
    pub fn webauthn(rng: &mut StdRng) -> Self {
        Self::WebAuthn(secret(rng, P256Key::from_slice))
    }

    /// The address that the chain knows the key by.
    pub fn address(&self) -> Address {
        let point = match self {
            Self::Rsv(key) | Self::Compact(key) => {
                key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
            }
            Self::P256(key, _) | Self::WebAuthn(key) => {
                key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
            }
        };
        Address::from_slice(&alloy_primitives::keccak256(&point[1..])[12..])
    }

    /// The signature over `digest`, encoded.
    pub fn sign(&self, digest: B256) -> Vec<u8> {
        match self {
            Self::Rsv(key) => {
                let (signature, id) = key.sign_prehash_recoverable(digest.as_slice());
                let mut bytes = signature.to_bytes().to_vec();
                bytes.push(27 + u8::from(id.is_y_odd()));
                bytes
            }
            Self::Compact(key) => {
                let (signature, id) = key.sign_prehash_recoverable(digest.as_slice());
                let mut bytes = signature.to_bytes().to_vec();
                bytes[32] |= u8::from(id.is_y_odd()) << 7;
                bytes
            }
            Self::P256(key, prehash) => {
                let message = if *prehash { sha256(digest.as_slice()) } else { digest.to_vec() };
                let mut bytes = [&[0x01], &keyed(key, &message)[..]].concat();
                bytes.push(u8::from(*prehash));
                bytes
            }
            Self::WebAuthn(key) => webauthn(key, FLAGS_PRESENT_AND_VERIFIED, client_data(digest).as_bytes()),
        }
    }
}

/// A WebAuthn signature over `flags` and `client_data`, whatever they are.
pub fn webauthn(key: &P256Key, flags: u8, client_data: &[u8]) -> Vec<u8> {
    let mut shown = [&[0x49; 32][..], &[flags], &[0, 0, 0, 7]].concat();
    let message = sha256(&[&shown[..], &sha256(client_data)].concat());
    shown.extend_from_slice(client_data);
    [&[0x02], &shown[..], &keyed(key, &message)].concat()
}

/// clientDataJSON as browsers write it.
pub fn client_data(digest: B256) -> alloc::string::String {
    format!(
        r#"{{"type":"webauthn.get","challenge":"{}","origin":"https://wallet.example","crossOrigin":false}}"#,
        challenge(digest)
    )
}

/// The challenge that stands for `digest`.
pub fn challenge(digest: B256) -> alloc::string::String {
    URL_SAFE_NO_PAD.encode(digest)
}

/// The malleable twin of the number at the front of `s`: `order - s`.
pub fn negate(s: &mut [u8], order: &[u8; 32]) {
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i16::from(order[i]) - i16::from(s[i]) - borrow;
        borrow = i16::from(difference < 0);
        s[i] = difference.rem_euclid(256) as u8;
    }
    assert_eq!(borrow, 0, "s is below the order");
}

/// `r ‖ s ‖ x ‖ y` with a low s.
fn keyed(key: &P256Key, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::Signature = key.sign_prehash(message).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    [&signature.normalize_s().to_bytes()[..], &point.as_bytes()[1..]].concat()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn secret<K, E>(rng: &mut StdRng, make: impl Fn(&[u8]) -> Result<K, E>) -> K {
    loop {
        if let Ok(key) = make(&rng.random::<[u8; 32]>()) {
            return key;
        }
    }
}
