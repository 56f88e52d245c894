//! The secret that binds challenge ids to their parameters.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::base64url;

/// The least secret bytes that a key may have: the strength of SHA-256.
pub const CHALLENGE_KEY_BYTES_MIN: usize = 32;

/// A secret for HMAC-SHA256: the two states of the hash that it leads to, so that no message pays for them again.
/// They are wiped when dropped (`hmac`'s feature `zeroize`) and have no text form.
#[derive(Clone)]
pub struct ChallengeKey(Hmac<Sha256>);

/// The secret is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the challenge key has {found_bytes} bytes, expected at least {CHALLENGE_KEY_BYTES_MIN}")]
pub struct ChallengeKeyTooShort {
    /// How many bytes it has.
    pub found_bytes: usize,
}

impl ChallengeKey {
    /// Wraps a secret of at least [`CHALLENGE_KEY_BYTES_MIN`] bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ChallengeKeyTooShort> {
        if secret.len() < CHALLENGE_KEY_BYTES_MIN {
            return Err(ChallengeKeyTooShort { found_bytes: secret.len() });
        }
        Ok(Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length (RFC 2104)")))
    }

    fn mac(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                mac.update(b"|");
            }
            mac.update(part.as_bytes());
        }
        mac
    }

    /// base64url of the HMAC of `parts`, joined with `|`.
    pub(super) fn sign(&self, parts: &[&str]) -> String {
        base64url::encode(self.mac(parts).finalize().into_bytes())
    }

    /// Whether `id` is what [`Self::sign`] says, compared in constant time.
    pub(super) fn verify(&self, parts: &[&str], id: &str) -> bool {
        base64url::decode_exact::<32>(id).is_some_and(|id| self.mac(parts).verify(&id.into()).is_ok())
    }
}

impl fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeKey(..)")
    }
}

/// The most keys that are kept after a rotation: each is tried for a challenge that no newer one signed.
pub const PREVIOUS_KEYS_MAX: usize = 8;

/// The key that signs new challenges, and those before it, whose challenges hold until they expire.
#[derive(Clone, Debug)]
pub struct ChallengeKeys {
    current: ChallengeKey,
    previous: Vec<ChallengeKey>,
}

impl ChallengeKeys {
    /// One key.
    pub const fn new(current: ChallengeKey) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// Takes challenges of an older key too: for the time after a rotation, the newest first. Keys beyond
    /// [`PREVIOUS_KEYS_MAX`] are not taken.
    pub fn with_previous(mut self, previous: ChallengeKey) -> Self {
        if self.previous.len() < PREVIOUS_KEYS_MAX {
            self.previous.push(previous);
        }
        self
    }

    pub(super) fn sign(&self, parts: &[&str]) -> String {
        self.current.sign(parts)
    }

    pub(super) fn verify(&self, parts: &[&str], id: &str) -> bool {
        self.current.verify(parts, id) || self.previous.iter().any(|key| key.verify(parts, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_long_enough_and_never_shown() {
        assert_eq!(ChallengeKey::new(&[7; 31]).unwrap_err().found_bytes, 31);
        let keys = ChallengeKeys::new(ChallengeKey::new(&[b'S'; 32]).unwrap());
        let shown = alloc::format!("{keys:?}");
        assert!(!shown.contains("SS") && !shown.contains("83"), "{shown}");
    }

    #[test]
    fn the_previous_key_still_holds() {
        let old = ChallengeKey::new(&[1; 32]).unwrap();
        let id = old.sign(&["a", "b"]);
        let keys = ChallengeKeys::new(ChallengeKey::new(&[2; 32]).unwrap());
        assert!(!keys.verify(&["a", "b"], &id));
        let keys = keys.with_previous(old);
        assert!(keys.verify(&["a", "b"], &id));
        assert!(!keys.verify(&["a", "c"], &id));
        assert_ne!(keys.sign(&["a", "b"]), id);
    }

    #[test]
    fn a_known_answer() {
        // Agrees with: printf 'realm|tempo|session|e30|||' | openssl dgst -sha256 -hmac <32 x "k">
        let key = ChallengeKey::new(&[b'k'; 32]).unwrap();
        assert_eq!(key.sign(&["realm", "tempo", "session", "e30", "", "", ""]), KNOWN);
    }

    const KNOWN: &str = "AMFkUkK6f7rNcgmSxZefo1MgvPt6Ex4GbcLF3PmFABw";
}
