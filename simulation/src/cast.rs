//! The channels that play, and everything that is ever signed.
//!
//! The cast is the same for every seed, so that a voucher is signed once and its signature verified once by the
//! real verifier, and both are remembered: a verdict on a signature depends on nothing but its bytes. What is
//! not remembered yet is verified in one batch, as a server would.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use farebox_core::channel::{Advertised, Identity, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{
    AnyDomain, AnySignedVoucher, ProtocolVersion, Verified, Verifier, Voucher, VoucherError, v1, v2,
};
use k256::ecdsa::SigningKey;

/// Channels with terms as advertised.
pub const HONEST: usize = 12;
/// All channels: behind the honest ones come those whose payer named an operator of his own.
pub const MEMBERS: usize = HONEST + 2;

/// The escrows of both protocols are at one address: what tells their vouchers apart is the domain's name.
const ESCROW: Address = Address::repeat_byte(0xee);
const CHAIN: ChainId = ChainId(42_431);
const PAYEE: Address = Address::repeat_byte(0x02);
const TOKEN: Address = Address::repeat_byte(0x03);

/// A channel's place in the cast.
pub type MemberIndex = usize;

/// What the server told its clients.
pub const ADVERTISED: Advertised =
    Advertised { chain_id: CHAIN, escrow: ESCROW, payee: PAYEE, token: TOKEN, operator: Address::ZERO };

/// One channel and who signs for it.
#[derive(Debug)]
pub struct Member {
    /// Its terms.
    pub identity: Identity,
    /// Its id.
    pub channel: ChannelId,
    /// Its escrow.
    pub domain: AnyDomain,
    key: SigningKey,
}

/// Whose hand made the signature under a voucher, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hand {
    /// The channel's signer, over this very voucher.
    Signer,
    /// Somebody else.
    Stranger,
    /// The signer, over the next higher amount.
    OtherAmount,
    /// The signer, over the voucher of another channel, in its place.
    OtherChannel,
    /// The signer, for the escrow of the other protocol.
    OtherProtocol,
}

impl Hand {
    /// Every way to sign wrongly.
    pub const FORGERIES: [Self; 4] =
        [Self::Stranger, Self::OtherAmount, Self::OtherChannel, Self::OtherProtocol];
}

static CAST: LazyLock<Vec<Member>> = LazyLock::new(|| (0..MEMBERS).map(Member::new).collect());

/// A member of the cast.
pub fn member(index: MemberIndex) -> &'static Member {
    &CAST[index]
}

/// The member with this channel.
pub fn index_of(channel: ChannelId) -> MemberIndex {
    CAST.iter().position(|member| member.channel == channel).expect("every channel is of the cast")
}

impl Member {
    /// Even members speak v1, odd ones v2. Every third pair lets another key sign; members `n` and `n + 6`
    /// have the same signer, so a signature alone does not tell the channel.
    fn new(index: MemberIndex) -> Self {
        let version = if index.is_multiple_of(2) { ProtocolVersion::V1 } else { ProtocolVersion::V2 };
        let own_operator = index >= HONEST;
        let version = if own_operator { ProtocolVersion::V2 } else { version };
        let key = signing_key(index % (HONEST / 2));
        let signer = address(&key);
        let delegates = (index / 2).is_multiple_of(3);
        let payer = if delegates { Address::repeat_byte(0x40 + index as u8) } else { signer };
        let authorized_signer = if delegates { signer } else { Address::ZERO };
        let salt = B256::repeat_byte(index as u8);
        let terms = match version {
            ProtocolVersion::V1 => {
                Terms::V1(v1::Terms { payer, payee: PAYEE, token: TOKEN, salt, authorized_signer })
            }
            ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
                payer,
                payee: PAYEE,
                operator: if own_operator { payer } else { Address::ZERO },
                token: TOKEN,
                salt,
                authorized_signer,
                expiring_nonce_hash: B256::repeat_byte(0x80 + index as u8),
            }),
        };
        let identity = Identity { chain_id: CHAIN, escrow: ESCROW, terms };
        let channel = identity.channel_id();
        Self { identity, channel, domain: AnyDomain::new(version, CHAIN, ESCROW), key }
    }

    /// Which protocol it speaks.
    pub const fn version(&self) -> ProtocolVersion {
        self.domain.version()
    }
}

/// A voucher of a member's channel, signed by some hand.
pub fn sign(index: MemberIndex, amount: Amount, hand: Hand) -> AnySignedVoucher {
    thread_local! {
        static SIGNED: RefCell<HashMap<(MemberIndex, Amount, Hand), AnySignedVoucher>> = RefCell::default();
    }
    SIGNED.with_borrow_mut(|signed| {
        signed.entry((index, amount, hand)).or_insert_with(|| sign_anew(index, amount, hand)).clone()
    })
}

fn sign_anew(index: MemberIndex, amount: Amount, hand: Hand) -> AnySignedVoucher {
    let ours = member(index);
    let voucher = Voucher { channel_id: ours.channel, cumulative_amount: amount };
    let next = Amount::new(amount.get() + 1);
    let (domain, signed, stranger) = match hand {
        Hand::Signer => (ours.domain, voucher, None),
        Hand::Stranger => (ours.domain, voucher, Some(strangers_key(index))),
        Hand::OtherAmount => (ours.domain, Voucher { cumulative_amount: next, ..voucher }, None),
        Hand::OtherChannel => {
            let other = member((index + HONEST / 2) % HONEST);
            (ours.domain, Voucher { channel_id: other.channel, ..voucher }, None)
        }
        Hand::OtherProtocol => {
            let other = match ours.version() {
                ProtocolVersion::V1 => ProtocolVersion::V2,
                ProtocolVersion::V2 => ProtocolVersion::V1,
            };
            (AnyDomain::new(other, CHAIN, ESCROW), voucher, None)
        }
    };
    let digest = domain.digest(&signed).expect("the amounts of this play fit both protocols");
    let key = stranger.as_ref().unwrap_or(&ours.key);
    let (signature, parity) = key.sign_prehash_recoverable(digest.as_slice());
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + parity.to_byte());
    ours.domain.parse(voucher, &bytes).expect("whoever signed, the voucher is well-formed")
}

/// A voucher to verify: for which terms, and who should have signed.
pub type Question<'a> = (&'a AnyDomain, &'a AnySignedVoucher, Address);

/// What the verifier says of a voucher.
pub type Verdict = Result<Verified<Voucher>, VoucherError>;

/// Everything that a verdict depends on.
type Evidence = (ProtocolVersion, ProtocolVersion, Voucher, Vec<u8>, Address);

/// Asks the real verifier; what it was asked before, it is not asked again.
#[derive(Default)]
pub struct Notary {
    verifier: Verifier,
    known: HashMap<Evidence, Verdict>,
}

impl std::fmt::Debug for Notary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notary").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Notary {
    /// The most verdicts that are remembered; then all are forgotten.
    const KNOWN_MAX: usize = 100_000;

    /// One verdict a question, in order.
    pub fn verify(&mut self, questions: &[Question<'_>]) -> Vec<Verdict> {
        if self.known.len() > Self::KNOWN_MAX {
            self.known.clear();
        }
        let evidence: Vec<_> = questions.iter().map(evidence).collect();
        let new = |index: &usize| !self.known.contains_key(&evidence[*index]);
        let new: Vec<_> = (0..questions.len()).filter(new).collect();
        let asked: Vec<_> = new.iter().map(|&index| questions[index]).collect();
        for (&index, verdict) in new.iter().zip(self.verifier.verify_mixed(&asked)) {
            self.known.insert(evidence[index].clone(), verdict);
        }
        evidence.iter().map(|evidence| self.known[evidence].clone()).collect()
    }

    /// Whether the member's signer signed this amount with these bytes: what its escrow would find.
    pub fn is_signed(&mut self, index: MemberIndex, amount: Amount, signature: &[u8]) -> bool {
        let member = member(index);
        let voucher = Voucher { channel_id: member.channel, cumulative_amount: amount };
        let Ok(signed) = member.domain.parse(voucher, signature) else { return false };
        let signer = member.identity.expected_signer();
        self.verify(&[(&member.domain, &signed, signer)]).iter().all(Result::is_ok)
    }
}

fn evidence(&(domain, voucher, signer): &Question<'_>) -> Evidence {
    let signature = voucher.to_chain_bytes().as_bytes().to_vec();
    (domain.version(), voucher.version(), *voucher.voucher(), signature, signer)
}

thread_local! {
    static NOTARY: RefCell<Notary> = RefCell::default();
}

/// The notary of this thread.
pub fn with_notary<T>(work: impl FnOnce(&mut Notary) -> T) -> T {
    NOTARY.with_borrow_mut(work)
}

/// The address of who signs as a stranger for a channel.
pub fn stranger(index: MemberIndex) -> Address {
    address(&strangers_key(index))
}

fn strangers_key(index: MemberIndex) -> SigningKey {
    signing_key(HONEST + index)
}

fn signing_key(number: usize) -> SigningKey {
    let mut secret = [1; 32];
    secret[31] = number as u8;
    SigningKey::from_slice(&secret).expect("a small number is a valid key")
}

fn address(key: &SigningKey) -> Address {
    let public = key.verifying_key().to_sec1_point(false);
    Address::from_slice(&farebox_crypto::keccak256(&public.as_bytes()[1..])[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signers_hand_convinces() {
        for index in 0..MEMBERS {
            let amount = Amount::new(40);
            let genuine = sign(index, amount, Hand::Signer).to_chain_bytes();
            assert!(with_notary(|notary| notary.is_signed(index, amount, genuine.as_bytes())));
            for hand in Hand::FORGERIES {
                let forged = sign(index, amount, hand).to_chain_bytes();
                assert!(
                    !with_notary(|notary| notary.is_signed(index, amount, forged.as_bytes())),
                    "{hand:?}"
                );
            }
        }
    }

    #[test]
    fn only_the_last_members_have_terms_that_were_not_advertised() {
        for index in 0..MEMBERS {
            assert_eq!(member(index).identity.check(&ADVERTISED).is_ok(), index < HONEST);
            assert_eq!(index_of(member(index).channel), index);
        }
    }
}
