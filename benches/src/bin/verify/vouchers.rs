//! Signed vouchers to measure with. Keys and amounts are the same in every run.

use std::hint::black_box;
use std::sync::LazyLock;

use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{Domain, SignedVoucher, V1, Voucher};
use farebox_crypto::{Signature, keccak256};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};

/// The chain of all vouchers.
pub const CHAIN: ChainId = ChainId(42_431);

/// The escrow of all vouchers.
pub const ESCROW: Address = Address::repeat_byte(0x5e);

/// A voucher as a server meets it: parsed, with the signer that its channel names.
pub type Claim<'a> = (&'a SignedVoucher<V1>, Address);

/// The protocol is v1, since the peers' checks know no other. In v2 nothing but the constants of the digest differs.
pub fn domain() -> &'static Domain<V1> {
    static DOMAIN: LazyLock<Domain<V1>> = LazyLock::new(|| Domain::new(CHAIN, ESCROW));
    &DOMAIN
}

/// Somebody with a key.
#[derive(Clone)]
pub struct Payer {
    secret: SecretKey,
    /// The key.
    pub key: PublicKey,
    /// The key's address.
    pub address: Address,
}

impl Payer {
    /// The payer with this secret.
    pub fn new(secret: [u8; 32]) -> Self {
        let secret = SecretKey::from_secret_bytes(secret).expect("a hash is hardly ever above the order");
        let key = secret.public_key();
        let hash = keccak256(&key.serialize_uncompressed()[1..]);
        Self { secret, key, address: Address::from_slice(&hash[12..]) }
    }

    /// Payers, all different from those of another crowd.
    pub fn crowd(crowd: &str, count: usize) -> Vec<Self> {
        (0..count).map(|i| Self::new(keccak256(format!("{crowd} {i}").as_bytes()))).collect()
    }

    /// The channel of this payer.
    pub fn channel_id(&self) -> ChannelId {
        ChannelId(B256::new(keccak256(self.address.as_slice())))
    }

    /// A voucher over this many base units.
    pub fn voucher(&self, base_units: u128) -> Voucher {
        Voucher { channel_id: self.channel_id(), cumulative_amount: Amount::new(base_units) }
    }

    /// Signs a voucher, as a client does: `r ‖ s ‖ v`.
    pub fn sign(&self, voucher: &Voucher) -> [u8; 65] {
        let digest = domain().digest(voucher).expect("v1 takes every amount");
        let (id, rs) = self.sign_digest(digest.0).serialize_compact();
        let mut rsv = [0; 65];
        rsv[..64].copy_from_slice(&rs);
        rsv[64] = 27 + id.to_u8();
        rsv
    }

    /// Signs a digest.
    pub fn sign_digest(&self, digest: [u8; 32]) -> RecoverableSignature {
        RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest), &self.secret)
    }
}

/// A parsed voucher and its payer's address.
#[derive(Clone)]
pub struct Paid {
    /// The voucher.
    pub signed: SignedVoucher<V1>,
    /// Who should have signed.
    pub signer: Address,
}

impl Paid {
    /// Parses a voucher with its signature.
    pub fn new(voucher: Voucher, rsv: &[u8; 65], signer: Address) -> Self {
        let signed = SignedVoucher::parse(voucher, rsv).expect("signatures here are in range and low-s");
        Self { signed, signer }
    }

    /// The signature: `r ‖ s ‖ v`.
    pub fn rsv(&self) -> [u8; 65] {
        self.signed.to_chain_bytes().as_bytes().try_into().expect("all signatures here are secp256k1")
    }

    /// What the verifier is asked.
    pub fn claim(&self) -> Claim<'_> {
        (&self.signed, self.signer)
    }
}

/// Vouchers of these payers, who take turns.
pub fn vouchers(payers: &[Payer], count: usize) -> Vec<Paid> {
    let turns = payers.iter().cycle().take(count).enumerate();
    turns
        .map(|(i, payer)| {
            let voucher = payer.voucher(1 + i as u128);
            Paid::new(voucher, &payer.sign(&voucher), payer.address)
        })
        .collect()
}

/// What the verifier is asked about all of them.
pub fn claims(vouchers: &[Paid]) -> Vec<Claim<'_>> {
    vouchers.iter().map(Paid::claim).collect()
}

/// Hands out batches; no voucher comes again before all others have come.
pub struct Rounds<'a> {
    claims: &'a [Claim<'a>],
    next: usize,
}

impl<'a> Rounds<'a> {
    /// Begins at the place `next`.
    pub fn new(claims: &'a [Claim<'a>], next: usize) -> Self {
        Self { claims, next }
    }

    /// The next batch, of at most all vouchers.
    pub fn batch(&mut self, size: usize) -> &'a [Claim<'a>] {
        if self.next + size > self.claims.len() {
            self.next = 0;
        }
        self.next += size;
        &self.claims[self.next - size..self.next]
    }
}

/// A digest with a signature that names its key.
pub struct Recoverable {
    digest: [u8; 32],
    signature: RecoverableSignature,
}

impl Recoverable {
    /// Some of them, each of another payer.
    pub fn some(count: usize) -> Vec<Self> {
        Payer::crowd("recoverable", count).iter().map(Self::by).collect()
    }

    /// One of this payer.
    pub fn by(payer: &Payer) -> Self {
        let digest = keccak256(payer.address.as_slice());
        Self { digest, signature: payer.sign_digest(digest) }
    }

    /// The key, as Farebox keeps it.
    pub fn key(&self) -> farebox_crypto::PublicKey {
        let (id, rs) = self.signature.serialize_compact();
        let (r, s) = rs.split_at(32);
        let [r, s] = [r, s].map(|half| half.try_into().expect("32 bytes"));
        let signature = Signature::new(r, s, id.to_u8() == 1).expect("signatures are in range and low-s");
        farebox_crypto::recover(&self.digest, &signature).expect("the signature is valid")
    }

    /// Recovers the key with libsecp256k1.
    pub fn recover(&self) {
        let key = self.signature.recover_ecdsa(Message::from_digest(black_box(self.digest)));
        black_box(key).expect("the signature is valid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vouchers_come_in_rounds_and_payers_take_turns() {
        let payers = Payer::crowd("test", 3);
        let vouchers = vouchers(&payers, 7);
        assert_eq!(vouchers[4].signer, payers[1].address);
        let claims = claims(&vouchers);
        let mut rounds = Rounds::new(&claims, 0);
        assert_eq!(rounds.batch(3), &claims[..3]);
        assert_eq!(rounds.batch(3), &claims[3..6]);
        assert_eq!(rounds.batch(3), &claims[..3], "only whole batches");
    }

    #[test]
    fn signatures_hold() {
        let verifier = farebox_core::voucher::Verifier::new();
        let vouchers = vouchers(&Payer::crowd("test", 2), 5);
        let answers = verifier.verify_batch(domain(), &claims(&vouchers));
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}
