//! Payers with a channel each, and their vouchers.

use farebox_core::challenge::credential::VoucherFields;
use farebox_core::challenge::{Challenge, ChallengeKey, ChallengeKeys, Credential, Echo, Payload, Realm};
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion, Voucher, v2};
use farebox_crypto::keccak256;
use farebox_engine::http::{DoorConfig, Escrow};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

/// The price of a request.
pub const PRICE: Amount = Amount::new(100);
/// What every channel holds that no chain knows.
pub const DEPOSIT: Amount = Amount::new(1 << 40);

const CHAIN: ChainId = ChainId(42_431);
const PAYEE: Address = Address::repeat_byte(2);
const TOKEN: Address = Address::repeat_byte(3);

/// The door of the server under measurement; its key is no secret here.
pub fn door_config() -> DoorConfig {
    let keys = ChallengeKeys::new(ChallengeKey::new(&[7; 32]).expect("32 bytes are enough"));
    let realm = Realm::new("bench.example").expect("it is a realm");
    let escrow = Escrow {
        protocol: ProtocolVersion::V2,
        chain_id: CHAIN,
        address: v2::CHANNEL_RESERVE,
        operator: Address::ZERO,
    };
    DoorConfig::new(realm, keys, PAYEE, TOKEN).escrow(escrow)
}

/// A key that signs vouchers.
#[derive(Clone)]
pub struct Signer {
    secret: SecretKey,
    pub address: Address,
}

impl Signer {
    /// Signer number `index`; every process makes the same ones.
    pub fn new(index: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let secret = SecretKey::from_secret_bytes(bytes).expect("small numbers are secrets");
        let point = secret.public_key().serialize_uncompressed();
        Self { secret, address: Address::from_slice(&keccak256(&point[1..])[12..]) }
    }

    /// Signs a voucher of the v2 reserve on `chain`.
    pub fn sign(&self, chain: ChainId, channel_id: ChannelId, cumulative_amount: Amount) -> Vec<u8> {
        let domain = AnyDomain::new(ProtocolVersion::V2, chain, v2::CHANNEL_RESERVE);
        let digest = domain.digest(&Voucher { channel_id, cumulative_amount }).expect("the amounts fit");
        let signed =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (recovery, compact) = signed.serialize_compact();
        let mut signature = compact.to_vec();
        signature.push(27 + recovery.to_u8());
        signature
    }
}

/// Somebody with a channel.
#[derive(Clone)]
pub struct Payer {
    signer: Signer,
    chain: ChainId,
    descriptor: v2::Descriptor,
    channel: ChannelId,
    source: String,
}

impl Payer {
    /// Payer number `index`, whose channel no chain knows. Both processes make the same ones.
    pub fn new(index: usize) -> Self {
        let signer = Signer::new(index);
        let descriptor = v2::Descriptor {
            payer: signer.address,
            payee: PAYEE,
            operator: Address::ZERO,
            token: TOKEN,
            salt: B256::repeat_byte(1),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        Self::with(signer, CHAIN, descriptor)
    }

    /// Who signs for a channel that was opened on a chain.
    pub fn with(signer: Signer, chain: ChainId, descriptor: v2::Descriptor) -> Self {
        let channel = descriptor.channel_id(chain, v2::CHANNEL_RESERVE);
        let source = format!("did:pkh:eip155:{}:{}", chain.0, signer.address);
        Self { signer, chain, descriptor, channel, source }
    }

    /// Its channel.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Its channel's terms.
    pub fn identity(&self) -> Identity {
        Identity { chain_id: self.chain, escrow: v2::CHANNEL_RESERVE, terms: Terms::V2(self.descriptor) }
    }

    /// The `Authorization` header of its request number `round`: each pays one request more.
    pub fn authorization(&self, challenge: &Challenge, round: usize) -> String {
        let cumulative = PRICE.checked_mul(round as u64 + 1).expect("small numbers");
        self.voucher(challenge, cumulative)
    }

    /// The `Authorization` header with a voucher for `cumulative`.
    pub fn voucher(&self, challenge: &Challenge, cumulative: Amount) -> String {
        let signature = self.signer.sign(self.chain, self.channel, cumulative);
        let fields =
            VoucherFields { channel: self.channel, cumulative, signature, descriptor: Some(self.descriptor) };
        let (challenge, payload) = (Echo::of(challenge), Payload::Voucher(fields));
        Credential { challenge, payload, source: Some(self.source.clone()) }.to_header()
    }
}
