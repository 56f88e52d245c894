//! Words of 32 bytes, as the ABI and EIP-712 lay them out, and their hash.

use crate::units::{Address, B256, ChainId};

/// The Keccak-256 hash of `bytes`.
pub(super) fn keccak(bytes: &[u8]) -> B256 {
    B256::new(farebox_crypto::keccak256(bytes))
}

/// The Keccak-256 hash of `words`, one after the other: `keccak256(abi.encode(...))` of static types.
pub(super) fn keccak_words<const N: usize>(words: [B256; N]) -> B256 {
    keccak(words.map(|word| word.0).as_flattened())
}

/// An address, padded on the left.
pub(super) fn address_word(address: Address) -> B256 {
    address.into_word()
}

/// A chain id as an unsigned integer.
pub(super) fn chain_word(chain_id: ChainId) -> B256 {
    let mut word = B256::ZERO;
    word[24..].copy_from_slice(&chain_id.0.to_be_bytes());
    word
}
