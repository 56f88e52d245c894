//! The proof of an account for a charge of nothing: a signature of the challenge (EIP-712).
//!
//! It buys nothing and moves nothing. The door answers it with what the books hold of the account's channel.
//!
//! Clients sign account, challenge and realm (domain version 3); the draft's form has the challenge alone (version 1).
//! Both name one challenge of one server, and the account is always the one that signed.

use alloc::vec::Vec;

use farebox_crypto::{ecdsa, keccak256, recover};

use crate::units::{Address, B256, ChainId};

const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,uint256 chainId)";
const DOMAIN_NAME: &[u8] = b"MPP";
const PROOF_TYPE: &[u8] = b"Proof(address account,string challengeId,string realm)";
const PROOF_TYPE_DRAFT: &[u8] = b"Proof(string challengeId)";

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The credential names no account.
    #[error("source is no account of the challenge's chain, expected did:pkh:eip155:<chainId>:<address>")]
    Source,
    /// The signature is none of secp256k1.
    #[error("the proof's signature has {found_bytes} bytes, expected 65 of secp256k1 with low s")]
    Signature {
        /// Its length.
        found_bytes: usize,
    },
    /// Somebody else signed.
    #[error("the proof was not signed by the account that source names")]
    OtherSigner,
}

/// The account of a source such as `did:pkh:eip155:4217:0x…`, if it is one of this chain.
pub fn account_of(source: &str, chain_id: ChainId) -> Option<Address> {
    let (chain, account) = source.strip_prefix("did:pkh:eip155:")?.split_once(':')?;
    // Numbers in their one form: no sign, no leading zero.
    let is_chain = chain.parse() == Ok(chain_id.0) && alloc::format!("{}", chain_id.0) == chain;
    let digits = account.strip_prefix("0x").filter(|digits| digits.len() == 40)?;
    is_chain.then(|| alloy_primitives::hex::decode_to_array(digits).ok())?.map(Address::new)
}

/// What the account signs.
pub fn digest(account: Address, chain_id: ChainId, challenge_id: &str, realm: &str) -> B256 {
    let fields = [
        B256::new(keccak256(PROOF_TYPE)),
        account.into_word(),
        B256::new(keccak256(challenge_id.as_bytes())),
        B256::new(keccak256(realm.as_bytes())),
    ];
    typed(b"3", chain_id, &fields)
}

fn digest_of_draft(chain_id: ChainId, challenge_id: &str) -> B256 {
    let fields = [B256::new(keccak256(PROOF_TYPE_DRAFT)), B256::new(keccak256(challenge_id.as_bytes()))];
    typed(b"1", chain_id, &fields)
}

fn typed(version: &[u8], chain_id: ChainId, fields: &[B256]) -> B256 {
    let mut chain = B256::ZERO;
    chain[24..].copy_from_slice(&chain_id.0.to_be_bytes());
    let domain = [
        B256::new(keccak256(DOMAIN_TYPE)),
        B256::new(keccak256(DOMAIN_NAME)),
        B256::new(keccak256(version)),
        chain,
    ];
    let mut message = Vec::from([0x19, 0x01]);
    message.extend_from_slice(&hash_words(&domain));
    message.extend_from_slice(&hash_words(fields));
    B256::new(keccak256(&message))
}

fn hash_words(words: &[B256]) -> [u8; 32] {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.0).collect();
    keccak256(&bytes)
}

/// The account that proved itself.
///
/// # Errors
///
/// [`ProofError`].
pub fn verify(
    source: Option<&str>,
    signature: &[u8],
    chain_id: ChainId,
    challenge_id: &str,
    realm: &str,
) -> Result<Address, ProofError> {
    let account = source.and_then(|source| account_of(source, chain_id)).ok_or(ProofError::Source)?;
    let malformed = ProofError::Signature { found_bytes: signature.len() };
    let bytes: &[u8; 65] = signature.try_into().map_err(|_| malformed)?;
    let signature = ecdsa::Signature::from_rsv(bytes).map_err(|_| malformed)?;
    let signed = [digest(account, chain_id, challenge_id, realm), digest_of_draft(chain_id, challenge_id)];
    let is_signer =
        |digest: &B256| recover(&digest.0, &signature).is_some_and(|key| key.address() == account.0);
    signed.iter().any(is_signer).then_some(account).ok_or(ProofError::OtherSigner)
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    const CHAIN: ChainId = ChainId(42_431);

    fn key(byte: u8) -> (SigningKey, Address) {
        let key = SigningKey::from_slice(&[byte; 32]).expect("a key");
        let public = key.verifying_key().to_sec1_point(false);
        let account = Address::from_slice(&keccak256(&public.as_bytes()[1..])[12..]);
        (key, account)
    }

    fn sign(key: &SigningKey, digest: B256) -> Vec<u8> {
        let (signature, parity) = key.sign_prehash_recoverable(digest.as_slice());
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + parity.to_byte());
        bytes
    }

    #[test]
    fn both_forms_prove_the_account_that_signed() {
        let (signing, account) = key(1);
        let source = alloc::format!("did:pkh:eip155:42431:{account}");
        for digest in [digest(account, CHAIN, "id", "realm"), digest_of_draft(CHAIN, "id")] {
            let signature = sign(&signing, digest);
            assert_eq!(verify(Some(&source), &signature, CHAIN, "id", "realm"), Ok(account));
            let other = verify(Some(&source), &signature, CHAIN, "other", "realm");
            assert_eq!(other, Err(ProofError::OtherSigner), "another challenge");
            let mut broken = signature.clone();
            broken[64] = 99;
            let found = ProofError::Signature { found_bytes: 65 };
            assert_eq!(verify(Some(&source), &broken, CHAIN, "id", "realm"), Err(found));
        }
        let stranger = sign(&key(2).0, digest(account, CHAIN, "id", "realm"));
        assert_eq!(verify(Some(&source), &stranger, CHAIN, "id", "realm"), Err(ProofError::OtherSigner));
        let elsewhere = sign(&signing, digest(account, CHAIN, "id", "elsewhere"));
        assert_eq!(verify(Some(&source), &elsewhere, CHAIN, "id", "realm"), Err(ProofError::OtherSigner));
        let short = verify(Some(&source), &[1; 64], CHAIN, "id", "realm");
        assert_eq!(short, Err(ProofError::Signature { found_bytes: 64 }));
    }

    #[test]
    fn a_source_names_an_account_of_the_chain() {
        let account = Address::repeat_byte(0xAB);
        let with = |chain: &str, account: &str| alloc::format!("did:pkh:eip155:{chain}:{account}");
        assert_eq!(account_of(&with("42431", &alloc::format!("{account}")), CHAIN), Some(account));
        assert_eq!(account_of(&with("42431", &alloc::format!("{account:#x}")), CHAIN), Some(account));
        for (chain, text) in [("1", "0xab"), ("042431", "0xab"), ("+42431", "0xab")] {
            let text = text.replace("ab", &"ab".repeat(20));
            assert_eq!(account_of(&with(chain, &text), CHAIN), None, "{chain}");
        }
        for text in ["0xab", "0x0x", &alloc::format!("0x{}:1", "ab".repeat(20)), &"ab".repeat(21)] {
            assert_eq!(account_of(&with("42431", text), CHAIN), None, "{text}");
        }
        assert_eq!(verify(None, &[], CHAIN, "id", "realm"), Err(ProofError::Source));
    }
}
