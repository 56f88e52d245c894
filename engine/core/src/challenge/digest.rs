//! The digest of a request's body, as RFC 9530 writes it: `sha-256=:base64:`.

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The algorithm that challenges name.
const SHA_256: &str = "sha-256";

/// The digest of a body.
pub fn body_digest(body: &[u8]) -> String {
    alloc::format!("{SHA_256}=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// The SHA-256 digest in the value of a `Content-Digest` header, in the form of [`body_digest`]; `None` without one.
pub fn sha256_of(header: &str) -> Option<String> {
    header.split(',').find_map(|entry| {
        let (name, value) = entry.trim().split_once('=')?;
        let is_ours = name.trim().eq_ignore_ascii_case(SHA_256);
        is_ours.then(|| alloc::format!("{SHA_256}={}", value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_9530() {
        let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(body_digest(br#"{"hello": "world"}"#), digest);
        assert_eq!(sha256_of(digest).as_deref(), Some(digest));
        let both = alloc::format!("sha-512=:AAAA:, SHA-256 = {}", &digest[8..]);
        assert_eq!(sha256_of(&both).as_deref(), Some(digest));
        assert_eq!(sha256_of("sha-512=:AAAA:"), None);
        assert_eq!(sha256_of(""), None);
    }
}
