//! EIP-712: where a voucher is valid, and the digest that is signed there.
//!
//! A [`Domain`] is one escrow on one chain. Its separator is hashed once; a digest then costs two
//! Keccak calls, of messages that have one length in all domains: so a batch's are hashed in lanes.

use core::marker::PhantomData;

use super::hash::{address_word, chain_word, keccak, keccak_words};
use super::{Protocol, Terms, V2, Voucher, VoucherError, v2};
use crate::units::{Address, B256, ChainId, ChannelId};

/// The EIP-712 type of every domain here.
const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// One escrow on one chain, and what vouchers for it are hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain<P> {
    chain_id: ChainId,
    escrow: Address,
    words: HashWords,
    protocol: PhantomData<P>,
}

/// The words that all vouchers of a domain are hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashWords {
    separator: B256,
    voucher_type: B256,
}

impl HashWords {
    /// What hashes to a voucher's struct hash.
    pub(super) fn fields(&self, voucher: &Voucher) -> [u8; 96] {
        let mut fields = [0; 96];
        fields[..32].copy_from_slice(self.voucher_type.as_slice());
        fields[32..64].copy_from_slice(voucher.channel_id.0.as_slice());
        fields[80..].copy_from_slice(&voucher.cumulative_amount.get().to_be_bytes());
        fields
    }

    /// A voucher's digest.
    pub(super) fn digest(&self, voucher: &Voucher) -> B256 {
        let struct_hash = keccak(&self.fields(voucher));
        keccak(&self.message(&struct_hash))
    }

    /// What hashes to the digest of the voucher with this struct hash.
    pub(super) fn message(&self, struct_hash: &[u8; 32]) -> [u8; 66] {
        let mut message = [0; 66];
        message[..2].copy_from_slice(&[0x19, 0x01]);
        message[2..34].copy_from_slice(self.separator.as_slice());
        message[34..].copy_from_slice(struct_hash);
        message
    }
}

impl<P: Protocol> Domain<P> {
    /// The domain of the escrow at `escrow`.
    pub fn new(chain_id: ChainId, escrow: Address) -> Self {
        let separator = keccak_words([
            keccak(DOMAIN_TYPE.as_bytes()),
            keccak(P::DOMAIN_NAME.as_bytes()),
            keccak(P::DOMAIN_VERSION.as_bytes()),
            chain_word(chain_id),
            address_word(escrow),
        ]);
        let words = HashWords { separator, voucher_type: keccak(P::VOUCHER_TYPE.as_bytes()) };
        Self { chain_id, escrow, words, protocol: PhantomData }
    }

    /// The chain that the escrow lives on.
    pub const fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The contract that holds the deposits.
    pub const fn escrow(&self) -> Address {
        self.escrow
    }

    /// The EIP-712 domain separator.
    pub const fn separator(&self) -> B256 {
        self.words.separator
    }

    /// What its vouchers are hashed with.
    pub(super) const fn words(&self) -> &HashWords {
        &self.words
    }

    /// The id of the channel with these terms at this escrow.
    pub fn channel_id(&self, terms: &P::Terms) -> ChannelId {
        terms.channel_id(self.chain_id, self.escrow)
    }

    /// The hash that the payer signs. An amount that the escrow cannot hold has none: it is refused.
    pub fn digest(&self, voucher: &Voucher) -> Result<B256, VoucherError> {
        check_amount::<P>(voucher)?;
        Ok(self.words.digest(voucher))
    }
}

impl Domain<V2> {
    /// The channel reserve at its fixed address on a Tempo chain.
    pub fn tempo(chain_id: ChainId) -> Self {
        Self::new(chain_id, v2::CHANNEL_RESERVE)
    }
}

/// Refuses an amount that the escrow's integer type cannot hold.
pub(super) fn check_amount<P: Protocol>(voucher: &Voucher) -> Result<(), VoucherError> {
    let found = voucher.cumulative_amount;
    if found > P::AMOUNT_MAX {
        return Err(VoucherError::AmountTooLarge { found, max: P::AMOUNT_MAX });
    }
    Ok(())
}
