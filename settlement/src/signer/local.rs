//! A key that this process holds: of a file, or given by the caller.

use std::fmt;
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use zeroize::Zeroizing;

use super::SigningError;

/// The permission bits of a key file that let others than its owner at it.
#[cfg(unix)]
const MODE_OTHERS: u32 = 0o077;

/// A key in this process. It signs at once, and the same hash always with the same signature (RFC 6979): who pays the
/// fees of clients needs that, to find what it signed before.
#[derive(Clone)]
pub struct LocalKey(PrivateKeySigner);

/// Why there is no key. None of this shows what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file cannot be read.
    #[error("the key file {path} cannot be read: {cause}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Others can read the key.
    #[error("the key file {path} has mode {mode:03o}; only its owner may have access (chmod 600)")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("the key file {path} does not hold a secp256k1 key: 64 hex digits, with or without 0x")]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
}

impl fmt::Debug for LocalKey {
    /// The address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalKey").field(&self.0.address()).finish()
    }
}

impl LocalKey {
    /// Reads the key from a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, SignerError> {
        let unreadable = |cause| SignerError::Unreadable { path: path.to_owned(), cause };
        check_mode(path)?;
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
        let not_a_key = || SignerError::NotAKey { path: path.to_owned() };
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut key = Zeroizing::new([0; 32]);
        alloy::primitives::hex::decode_to_slice(digits, &mut *key).map_err(|_| not_a_key())?;
        PrivateKeySigner::from_slice(&*key).map(Self).map_err(|_| not_a_key())
    }

    /// Takes a key that the caller holds.
    pub fn from_signer(key: PrivateKeySigner) -> Self {
        Self(key)
    }

    /// The key's account.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a hash. Fails when the key cannot sign, which a local key always can.
    pub(crate) fn sign_hash(&self, hash: B256) -> Result<Signature, SigningError> {
        self.0.sign_hash_sync(&hash).map_err(|error| SigningError::malformed(&error))
    }
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), SignerError> {
    use std::os::unix::fs::PermissionsExt;

    let metadata =
        std::fs::metadata(path).map_err(|cause| SignerError::Unreadable { path: path.to_owned(), cause })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & MODE_OTHERS != 0 {
        return Err(SignerError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), SignerError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0x0707070707070707070707070707070707070707070707070707070707070707";

    fn key_file(content: &str, mode: u32) -> tempfile::NamedTempFile {
        use std::os::unix::fs::PermissionsExt;

        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("mode set");
        file
    }

    #[test]
    fn a_key_is_read_from_its_file_and_never_shown() {
        let expected = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).expect("a key").address();
        for content in [KEY.to_owned(), format!("{KEY}\n"), KEY[2..].to_owned()] {
            let key = LocalKey::from_file(key_file(&content, 0o600).path()).expect("a key");
            assert_eq!(key.address(), expected);
            assert_eq!(format!("{key:?}"), format!("LocalKey({expected:?})"));
            let signer = super::super::PayeeSigner::from(key);
            assert_eq!(format!("{signer:?}"), format!("PayeeSigner({expected:?})"));
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let file = key_file(KEY, mode);
            let error = LocalKey::from_file(file.path()).expect_err("refused");
            assert!(matches!(error, SignerError::Exposed { mode: found, .. } if found == mode), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let zero = "00".repeat(32);
        for content in ["", "secret", "0x07", &zero, &"zz".repeat(32)] {
            let file = key_file(content, 0o600);
            let error = LocalKey::from_file(file.path()).expect_err("refused");
            assert!(matches!(error, SignerError::NotAKey { .. }));
            assert!(content.is_empty() || !format!("{error} {error:?}").contains(content));
        }
        let missing = LocalKey::from_file(Path::new("/nonexistent/key")).expect_err("refused");
        assert!(matches!(missing, SignerError::Unreadable { .. }));
    }
}
