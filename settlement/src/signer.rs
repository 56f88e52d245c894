//! The payee's key, and the transactions that it signs.
//!
//! Every transaction has an expiring nonce (TIP-1009): it is valid for seconds, waits for no other one, and
//! blocks none. So many can be under way at once, and the fate of each is sure soon.
//!
//! The key is here ([`LocalKey`]), or somebody else keeps it ([`KeyService`]) and may be away, slow, or wrong. Then
//! nothing is sent, and the claim waits like one that no node took.

#[cfg(feature = "kms-aws")]
pub mod aws;
#[cfg(feature = "kms-gcp")]
pub mod gcp;
mod kms;
mod local;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy::signers::local::PrivateKeySigner;
use farebox_core::units::{ChainId, UnixSeconds};
use tempo_primitives::transaction::{Call, PrimitiveSignature};
use tempo_primitives::{TempoSignature, TempoTransaction};

pub use self::kms::{AwsKeyName, GcpKeyName, KmsKeyError, KmsKeyName};
pub use self::local::{LocalKey, SignerError};
pub use self::service::{KeyHealth, KeyService, RemoteKey, SigningError};

/// A key that signs claims: the payee's own, or the operator's that was advertised.
#[derive(Clone)]
pub struct PayeeSigner(Kind);

#[derive(Clone)]
enum Kind {
    Local(LocalKey),
    Service(Arc<KeyService>),
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
        f.debug_tuple("PayeeSigner").field(&self.address()).finish()
    }
}

impl From<LocalKey> for PayeeSigner {
    fn from(key: LocalKey) -> Self {
        Self(Kind::Local(key))
    }
}

impl From<KeyService> for PayeeSigner {
    fn from(service: KeyService) -> Self {
        Self(Kind::Service(Arc::new(service)))
    }
}

impl PayeeSigner {
    /// Reads the key from a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, SignerError> {
        LocalKey::from_file(path).map(Self::from)
    }

    /// Takes a key that the caller holds. For tests and embedding services.
    pub fn from_signer(key: PrivateKeySigner) -> Self {
        LocalKey::from_signer(key).into()
    }

    /// The key's account.
    pub fn address(&self) -> Address {
        match &self.0 {
            Kind::Local(key) => key.address(),
            Kind::Service(service) => service.address(),
        }
    }

    /// How the key is doing: whether the last signature that was asked for was given.
    pub fn health(&self) -> KeyHealth {
        match &self.0 {
            Kind::Local(_) => KeyHealth::default(),
            Kind::Service(service) => service.health(),
        }
    }

    /// Asks for a signature that is good for nothing, and so finds out whether claims could be signed now. A key that
    /// is here always can.
    ///
    /// # Errors
    ///
    /// The key service does not sign, or has another key.
    pub async fn check(&self) -> Result<(), SigningError> {
        match &self.0 {
            Kind::Local(_) => Ok(()),
            Kind::Service(service) => service.check().await,
        }
    }

    /// Waits until the key can be asked. What it is to sign may hold a time, which must not pass meanwhile.
    pub(crate) async fn ready(&self) -> Result<(), SigningError> {
        match &self.0 {
            Kind::Local(_) => Ok(()),
            Kind::Service(service) => service.ready().await,
        }
    }

    /// Signs a hash with the key of [`PayeeSigner::address`], or says why not.
    pub(crate) async fn sign_hash(&self, hash: B256) -> Result<Signature, SigningError> {
        match &self.0 {
            Kind::Local(key) => key.sign_hash(hash),
            Kind::Service(service) => service.sign_hash(hash).await,
        }
    }

    /// Signs a transaction, or says why not.
    pub(crate) async fn sign(&self, order: Order) -> Result<Signed, SigningError> {
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
        let signature = self.sign_hash(tx.signature_hash()).await?;
        let signature = TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature));
        let signed = tx.into_signed(signature);
        let mut bytes = Vec::new();
        signed.eip2718_encode(&mut bytes);
        Ok(Signed { bytes, tx_hash: *signed.hash() })
    }
}
