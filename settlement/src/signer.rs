//! The payee's key, and the transactions that it signs.
//!
//! Every transaction has an expiring nonce (TIP-1009): it is valid for seconds, waits for no other one, and
//! blocks none. So many can be under way at once, and the fate of each is sure soon.

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use farebox_core::units::{ChainId, UnixSeconds};
use tempo_primitives::transaction::{Call, PrimitiveSignature};
use tempo_primitives::{TempoSignature, TempoTransaction};
use zeroize::Zeroizing;

/// The permission bits of a key file that let others than its owner at it.
#[cfg(unix)]
const MODE_OTHERS: u32 = 0o077;

/// A key that signs transactions of ours: the payee's own, or the operator's that was advertised; and the sponsor's.
#[derive(Clone)]
pub struct PayeeSigner(PrivateKeySigner);

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

/// What a transaction of ours is to do.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) chain_id: ChainId,
    /// Contracts and calldata, in order.
    pub(crate) calls: Vec<(Address, Bytes)>,
    pub(crate) gas_limit: u64,
    pub(crate) max_fee_per_gas: u128,
    pub(crate) max_priority_fee_per_gas: u128,
    pub(crate) fee_token: Address,
    pub(crate) valid_before: UnixSeconds,
}

/// A transaction that is ready to be broadcast.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tx_hash: B256,
}

impl fmt::Debug for PayeeSigner {
    /// The address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PayeeSigner").field(&self.0.address()).finish()
    }
}

impl PayeeSigner {
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

    /// Takes a key that the caller holds. For tests and embedding services.
    pub fn from_signer(key: PrivateKeySigner) -> Self {
        Self(key)
    }

    /// The key's account.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a hash. `None` when the key cannot sign, which a local key always can.
    pub(crate) fn sign_hash(&self, hash: B256) -> Option<Signature> {
        self.0.sign_hash_sync(&hash).ok()
    }

    /// Signs a transaction. `None` when the key cannot sign, which a local key always can.
    pub(crate) fn sign(&self, order: Order) -> Option<Signed> {
        let call = |(to, input)| Call { to: TxKind::Call(to), value: U256::ZERO, input };
        let tx = TempoTransaction {
            chain_id: order.chain_id.0,
            max_priority_fee_per_gas: order.max_priority_fee_per_gas,
            max_fee_per_gas: order.max_fee_per_gas,
            gas_limit: order.gas_limit,
            calls: order.calls.into_iter().map(call).collect(),
            nonce_key: U256::MAX,
            nonce: 0,
            valid_before: NonZeroU64::new(order.valid_before.0),
            fee_token: Some(order.fee_token),
            ..TempoTransaction::default()
        };
        let signature = self.0.sign_hash_sync(&tx.signature_hash()).ok()?;
        let signature = TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature));
        let signed = tx.into_signed(signature);
        let mut bytes = Vec::new();
        signed.eip2718_encode(&mut bytes);
        Some(Signed { bytes, tx_hash: *signed.hash() })
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
            let signer = PayeeSigner::from_file(key_file(&content, 0o600).path()).expect("a key");
            assert_eq!(signer.address(), expected);
            let shown = format!("{signer:?}");
            assert_eq!(shown, format!("PayeeSigner({expected:?})"));
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let file = key_file(KEY, mode);
            let error = PayeeSigner::from_file(file.path()).expect_err("refused");
            assert!(matches!(error, SignerError::Exposed { mode: found, .. } if found == mode), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let zero = "00".repeat(32);
        for content in ["", "secret", "0x07", &zero, &"zz".repeat(32)] {
            let file = key_file(content, 0o600);
            let error = PayeeSigner::from_file(file.path()).expect_err("refused");
            assert!(matches!(error, SignerError::NotAKey { .. }));
            assert!(content.is_empty() || !format!("{error} {error:?}").contains(content));
        }
        let missing = PayeeSigner::from_file(Path::new("/nonexistent/key")).expect_err("refused");
        assert!(matches!(missing, SignerError::Unreadable { .. }));
    }

    #[test]
    fn orders_are_signed_with_an_expiring_nonce() {
        let signer =
            PayeeSigner::from_signer(PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).expect("a key"));
        let order = Order {
            chain_id: ChainId(42),
            calls: vec![
                (Address::repeat_byte(1), Bytes::from_static(&[1, 2, 3])),
                (Address::repeat_byte(4), Bytes::new()),
            ],
            gas_limit: 100_000,
            max_fee_per_gas: 2,
            max_priority_fee_per_gas: 1,
            fee_token: Address::repeat_byte(2),
            valid_before: UnixSeconds(1_000),
        };
        let signed = signer.sign(order).expect("a local key signs");
        let read = crate::transaction::ClientTransaction::decode(&signed.bytes).expect("a Tempo transaction");
        assert_eq!((read.sender, read.tx_hash), (signer.address(), Some(signed.tx_hash)));
        assert!(read.has_expiring_nonce);
        assert_eq!(read.valid_before, Some(UnixSeconds(1_000)));
        assert_eq!((read.chain_id, read.fee_token), (ChainId(42), Some(Address::repeat_byte(2))));
        assert_eq!((read.calls.len(), read.calls[0].to), (2, Address::repeat_byte(1)));
    }
}
