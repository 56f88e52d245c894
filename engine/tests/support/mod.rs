//! What the tests of the engine share: payers who sign, and short ways to ask.
#![allow(dead_code, reason = "every test binary uses its part")]

pub mod faulty;
pub mod script;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use farebox_core::channel::{ChainPosition, Identity, RequestKey, Snapshot, Spend, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher, v1, v2};
use farebox_engine::{Config, Engine, Refusal, Reply, Verdict};
use k256::ecdsa::SigningKey;

pub const CHAIN: ChainId = ChainId(42_431);
pub const ESCROW: Address = Address::repeat_byte(0xee);
pub const DEPOSIT: Amount = Amount::new(1_000_000);

/// A payer with one channel.
#[derive(Clone)]
pub struct Payer {
    key: SigningKey,
    domain: AnyDomain,
    pub identity: Identity,
    pub channel: ChannelId,
}

impl Payer {
    /// The payer whose key and channel `number` determines.
    pub fn new(number: u32, version: ProtocolVersion) -> Self {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_slice(&secret).unwrap();
        let public = key.verifying_key().to_sec1_point(false);
        let signer = Address::from_slice(&farebox_crypto::keccak256(&public.as_bytes()[1..])[12..]);
        let (payee, token, salt) = (Address::repeat_byte(2), Address::repeat_byte(3), B256::ZERO);
        let terms = match version {
            ProtocolVersion::V1 => {
                Terms::V1(v1::Terms { payer: signer, payee, token, salt, authorized_signer: Address::ZERO })
            }
            ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
                payer: Address::repeat_byte(1),
                payee,
                operator: Address::ZERO,
                token,
                salt,
                authorized_signer: signer,
                expiring_nonce_hash: B256::repeat_byte(4),
            }),
        };
        let identity = Identity { chain_id: CHAIN, escrow: ESCROW, terms };
        let channel = identity.channel_id();
        Self { key, domain: AnyDomain::new(version, CHAIN, ESCROW), identity, channel }
    }

    pub fn v2(number: u32) -> Self {
        Self::new(number, ProtocolVersion::V2)
    }

    /// A voucher of this payer's channel, signed.
    pub fn sign(&self, amount: u128) -> AnySignedVoucher {
        self.sign_for(self.channel, amount)
    }

    /// A voucher of any channel, signed by this payer.
    pub fn sign_for(&self, channel_id: ChannelId, amount: u128) -> AnySignedVoucher {
        let voucher = Voucher { channel_id, cumulative_amount: Amount::new(amount) };
        let digest = self.domain.digest(&voucher).unwrap();
        let (signature, parity) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + parity.to_byte());
        self.domain.parse(voucher, &bytes).unwrap()
    }

    /// Enters the channel with [`DEPOSIT`].
    pub async fn open(&self, engine: &Engine) -> Reply {
        let opened = engine.open(self.identity.clone(), DEPOSIT, Amount::ZERO, position(1)).await;
        accepted(opened.unwrap())
    }

    /// What the books hold of the channel.
    pub async fn snapshot(&self, engine: &Engine) -> Snapshot {
        engine.read(self.channel).await.unwrap().unwrap().snapshot
    }
}

/// A small engine, so that tests reach its bounds.
pub fn config() -> Config {
    Config { shards: 2, ..Config::default() }
}

pub fn position(block: u64) -> ChainPosition {
    ChainPosition { block, log_index: 0 }
}

pub fn key(number: u64) -> RequestKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    RequestKey(key)
}

pub fn charge(number: u64, amount: u128) -> Spend {
    Spend::Charge { key: Some(key(number)), amount: Amount::new(amount), units: 1 }
}

pub fn reserve(number: u64, amount: u128) -> Spend {
    Spend::Reserve { key: key(number), amount: Amount::new(amount) }
}

/// Polls a future once; whoever awaits it later is woken all the same.
pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
pub fn accepted(verdict: Verdict) -> Reply {
    match verdict {
        Verdict::Accepted(reply) => reply,
        Verdict::Rejected(refusal) => panic!("refused: {refusal}"),
    }
}

#[track_caller]
pub fn refused(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Accepted(reply) => panic!("accepted: {reply:?}"),
        Verdict::Rejected(refusal) => refusal,
    }
}
