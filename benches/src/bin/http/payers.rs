//! Payers with a channel each, and their vouchers. Both processes make the same ones, from numbers.

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
/// What every channel holds.
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

/// Somebody with a channel.
pub struct Payer {
    secret: SecretKey,
    descriptor: v2::Descriptor,
    channel: ChannelId,
}

impl Payer {
    /// Payer number `index`.
    pub fn new(index: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let secret = SecretKey::from_secret_bytes(bytes).expect("small numbers are secrets");
        let point = secret.public_key().serialize_uncompressed();
        let payer = Address::from_slice(&keccak256(&point[1..])[12..]);
        let descriptor = v2::Descriptor {
            payer,
            payee: PAYEE,
            operator: Address::ZERO,
            token: TOKEN,
            salt: B256::repeat_byte(1),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        Self { secret, descriptor, channel: descriptor.channel_id(CHAIN, v2::CHANNEL_RESERVE) }
    }

    /// Its channel's terms.
    pub fn identity(&self) -> Identity {
        Identity { chain_id: CHAIN, escrow: v2::CHANNEL_RESERVE, terms: Terms::V2(self.descriptor) }
    }

    /// The `Authorization` header of its request number `round`.
    pub fn authorization(&self, challenge: &Challenge, round: usize) -> String {
        let cumulative = PRICE.checked_mul(round as u64 + 1).expect("small numbers");
        let domain = AnyDomain::new(ProtocolVersion::V2, CHAIN, v2::CHANNEL_RESERVE);
        let voucher = Voucher { channel_id: self.channel, cumulative_amount: cumulative };
        let digest = domain.digest(&voucher).expect("the amounts fit");
        let signed =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (recovery, compact) = signed.serialize_compact();
        let mut signature = compact.to_vec();
        signature.push(27 + recovery.to_u8());
        let fields =
            VoucherFields { channel: self.channel, cumulative, signature, descriptor: Some(self.descriptor) };
        let challenge = Echo::of(challenge);
        Credential { challenge, payload: Payload::Voucher(fields), source: None }.to_header()
    }
}
