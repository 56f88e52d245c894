//! WebAuthn signatures (TIP-1020, prefix `0x02`): `0x02 ‖ authenticatorData ‖ clientDataJSON ‖ r ‖ s ‖ x ‖ y`.
//!
//! An authenticator signs what it was shown: 37 bytes about itself, and a JSON text whose challenge is the
//! digest. The rules are those of a Tempo node, so that a voucher that is accepted here can be settled:
//!
//! - authenticatorData is exactly 37 bytes; its flags (byte 32) say that a user was present (UP) or
//!   verified (UV), and that neither attested data (AT) nor extensions (ED) follow;
//! - clientDataJSON is JSON with `type` equal to `webauthn.get` and `challenge` equal to the digest in
//!   base64url without padding; both are compared as they stand, without escapes. The rest is not looked at:
//!   origin and relying party mean nothing on a chain;
//! - the P-256 signature is over `sha256(authenticatorData ‖ sha256(clientDataJSON))`.

use alloc::boxed::Box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::p256::{KEYED_BYTES, Keyed, sha256};
use super::{VoucherError, WebAuthnFault};
use crate::units::{Address, B256};

/// The least length of a WebAuthn signature: the prefix, then at least `r ‖ s ‖ x ‖ y`.
pub(super) const WEBAUTHN_BYTES_MIN: usize = 1 + KEYED_BYTES;
/// The greatest length of a WebAuthn signature: the prefix, then 2 KiB.
pub(super) const WEBAUTHN_BYTES_MAX: usize = 1 + 2048;

/// rpIdHash (32), flags (1), signCount (4).
const AUTHENTICATOR_DATA_BYTES: usize = 37;
/// A clientDataJSON with type and challenge cannot be shorter; a node refuses it without reading.
const CLIENT_DATA_BYTES_MIN: usize = 32;
/// Where the flags stand in authenticatorData.
const FLAGS_AT: usize = 32;

const FLAG_USER_PRESENT: u8 = 0x01;
const FLAG_USER_VERIFIED: u8 = 0x04;
const FLAG_ATTESTED_DATA: u8 = 0x40;
const FLAG_EXTENSIONS: u8 = 0x80;

/// What an assertion calls itself, as opposed to a registration.
const ASSERTION_TYPE: &str = "webauthn.get";

/// A WebAuthn signature; `r` and `s` are in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAuthnSignature(Box<[u8]>);

/// What matters of clientDataJSON. Borrowed text cannot hold escapes: a name written with them is refused,
/// as a node refuses it.
#[derive(Deserialize)]
struct ClientData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    challenge: &'a str,
}

impl WebAuthnSignature {
    /// Reads the bytes, prefix included; the caller has looked at prefix and length.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, VoucherError> {
        if !(WEBAUTHN_BYTES_MIN..=WEBAUTHN_BYTES_MAX).contains(&bytes.len()) {
            return Err(VoucherError::WrongLength {
                found_bytes: bytes.len(),
                expected: "129 to 2049 bytes (0x02, WebAuthn)",
            });
        }
        let signature = Self(bytes.into());
        signature.parts().1.check_range()?;
        Ok(signature)
    }

    /// The bytes as they came, prefix included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The address that signed `digest`, or why nobody did.
    pub(super) fn signer(&self, digest: B256) -> Result<Address, VoucherError> {
        let (shown, keyed) = self.parts();
        keyed.verify(signed_hash(shown, digest)?)
    }

    /// What the authenticator was shown, and its signature with the key.
    fn parts(&self) -> (&[u8], Keyed<'_>) {
        let (shown, keyed) = self.0[1..].split_last_chunk().expect("at least 128 bytes after the prefix");
        (shown, Keyed::new(keyed))
    }
}

/// Checks what the authenticator was shown, and gives the hash that it signed.
fn signed_hash(shown: &[u8], digest: B256) -> Result<B256, VoucherError> {
    if shown.len() < AUTHENTICATOR_DATA_BYTES + CLIENT_DATA_BYTES_MIN {
        return Err(WebAuthnFault::TooShort { found_bytes: shown.len() }.into());
    }
    let (authenticator_data, client_data) = shown.split_at(AUTHENTICATOR_DATA_BYTES);
    let flags = authenticator_data[FLAGS_AT];
    if flags & (FLAG_USER_PRESENT | FLAG_USER_VERIFIED) == 0 {
        return Err(WebAuthnFault::NoUser { flags }.into());
    }
    if flags & (FLAG_ATTESTED_DATA | FLAG_EXTENSIONS) != 0 {
        return Err(WebAuthnFault::ExtraData { flags }.into());
    }
    let parsed: ClientData<'_> =
        serde_json::from_slice(client_data).map_err(|_| WebAuthnFault::ClientData)?;
    if parsed.kind != ASSERTION_TYPE {
        return Err(WebAuthnFault::NotAnAssertion.into());
    }
    if parsed.challenge != URL_SAFE_NO_PAD.encode(digest) {
        return Err(VoucherError::WebAuthnChallenge);
    }
    let mut hasher = Sha256::new();
    hasher.update(authenticator_data);
    hasher.update(sha256(client_data));
    Ok(B256::new(hasher.finalize().into()))
}
