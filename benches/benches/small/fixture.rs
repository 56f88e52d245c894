//! Payers with a channel of either protocol. Keys and amounts are the same in every run.

use farebox_core::challenge::{ChallengeKey, ChallengeKeys, MethodDetails, Realm, Request};
use farebox_core::channel::{ChainPosition, Identity, State, Terms, open};
use farebox_core::units::{Address, Amount, B256, ChainId, UnixSeconds};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher, v1, v2};
use farebox_crypto::keccak256;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

/// The price of a request.
pub const PRICE: Amount = Amount::new(100);
/// When everything happens.
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// The protocol of everything that is not about protocols: the newest.
pub const PROTOCOL: ProtocolVersion = ProtocolVersion::V2;

const CHAIN: ChainId = ChainId(42_431);
const PAYEE: Address = Address::repeat_byte(2);
const TOKEN: Address = Address::repeat_byte(3);
const SALT: B256 = B256::repeat_byte(1);
const DEPOSIT: Amount = Amount::new(1 << 40);

/// The server's keys and its name; the key is no secret here.
pub fn server() -> (ChallengeKeys, Realm) {
    let key = ChallengeKey::new(&[7; 32]).expect("32 bytes are enough");
    (ChallengeKeys::new(key), Realm::new("bench.example").expect("it is a realm"))
}

/// What the server asks.
pub fn request() -> Request {
    Request {
        amount: PRICE,
        currency: TOKEN,
        recipient: PAYEE,
        unit_type: Some("request".into()),
        suggested_deposit: Some(Amount::new(1_000_000)),
        details: MethodDetails {
            chain_id: CHAIN,
            escrow: escrow(PROTOCOL),
            protocol: PROTOCOL,
            operator: Address::ZERO,
            voucher_delta_min: Amount::ZERO,
            fee_payer: false,
        },
    }
}

fn escrow(protocol: ProtocolVersion) -> Address {
    match protocol {
        ProtocolVersion::V1 => Address::repeat_byte(0x5e),
        ProtocolVersion::V2 => v2::CHANNEL_RESERVE,
    }
}

/// The domain of a protocol's vouchers.
pub fn domain(protocol: ProtocolVersion) -> AnyDomain {
    AnyDomain::new(protocol, CHAIN, escrow(protocol))
}

/// Somebody with a key and a channel.
pub struct Payer {
    secret: SecretKey,
    /// The key's address.
    pub address: Address,
    /// The channel.
    pub identity: Identity,
}

impl Payer {
    /// Payer number `index`.
    pub fn new(index: u64, protocol: ProtocolVersion) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&(index + 1).to_be_bytes());
        let secret = SecretKey::from_secret_bytes(bytes).expect("small numbers are secrets");
        let point = secret.public_key().serialize_uncompressed();
        let address = Address::from_slice(&keccak256(&point[1..])[12..]);
        let (payer, payee, token, salt, authorized_signer) = (address, PAYEE, TOKEN, SALT, Address::ZERO);
        let terms = match protocol {
            ProtocolVersion::V1 => Terms::V1(v1::Terms { payer, payee, token, salt, authorized_signer }),
            ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
                payer,
                payee,
                operator: Address::ZERO,
                token,
                salt,
                authorized_signer,
                expiring_nonce_hash: B256::repeat_byte(4),
            }),
        };
        Self { secret, address, identity: Identity { chain_id: CHAIN, escrow: escrow(protocol), terms } }
    }

    /// The voucher that pays for so many requests in all.
    pub fn voucher(&self, requests: u64) -> Voucher {
        let cumulative_amount = PRICE.checked_mul(requests).expect("small numbers");
        Voucher { channel_id: self.identity.channel_id(), cumulative_amount }
    }

    /// Its signature: `r ‖ s ‖ v`.
    pub fn sign(&self, voucher: &Voucher) -> Vec<u8> {
        let digest = domain(self.identity.protocol()).digest(voucher).expect("the amounts fit");
        let signed =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (recovery, compact) = signed.serialize_compact();
        let mut signature = compact.to_vec();
        signature.push(27 + recovery.to_u8());
        signature
    }

    /// The same, parsed.
    pub fn signed(&self, requests: u64) -> AnySignedVoucher {
        let voucher = self.voucher(requests);
        let domain = domain(self.identity.protocol());
        domain.parse(voucher, &self.sign(&voucher)).expect("signatures are in range and low-s")
    }

    /// Its channel in the books, with nothing paid yet.
    pub fn state(&self) -> State {
        let opened = open(self.identity.clone(), DEPOSIT, Amount::ZERO, ChainPosition::default(), NOW);
        opened.expect("the deposit is not too large").next
    }
}
