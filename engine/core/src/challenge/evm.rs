//! The intent `charge` of the method `evm` (draft-evm-charge-00): an authorization that the token's contract takes for a
//! transfer (EIP-3009), signed by the payer and sent by somebody else.
//!
//! Here are its words and what can be said of it without a chain: for whom it is, how much, when it holds, and who signed.
//! Whether money moved is the word of who sent it. [`super::x402`] has the same in the words of x402.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use farebox_crypto::{ecdsa, keccak256, recover};
use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::field;
use super::{FieldError, base64url};
use crate::units::{Address, Amount, B256, ChainId, UnixSeconds};

/// The method's name.
pub const EVM: &str = "evm";
/// The canonical Permit2 contract, which every request must name. Credentials for it are not taken here.
const PERMIT2: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";

const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const AUTHORIZATION_TYPE: &[u8] = b"TransferWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";

/// In which token of which chain who is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmTerms {
    /// The chain.
    pub chain_id: ChainId,
    /// The token: one that takes authorizations.
    pub token: Address,
    /// The name in the token's EIP-712 domain.
    pub token_name: String,
    /// The version in the token's EIP-712 domain.
    pub token_version: String,
    /// Who is paid.
    pub payee: Address,
    /// Digits behind the point, for clients that show amounts.
    pub decimals: u8,
}

/// A signed authorization. Its signature is money to who knows where to send it.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The payer.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// How much.
    pub value: Amount,
    /// It holds after this moment.
    pub valid_after: UnixSeconds,
    /// It holds before this moment.
    pub valid_before: UnixSeconds,
    /// The token's contract takes it once for each payer.
    pub nonce: B256,
    /// The payer's signature, unread.
    pub signature: Vec<u8>,
}

/// Why an authorization is no payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// It pays somebody else.
    #[error("the authorization pays {found}, expected {expected}")]
    Payee {
        /// Whom.
        found: Address,
        /// Whom it should.
        expected: Address,
    },
    /// It pays another amount.
    #[error("the authorization is for {found}, expected exactly {expected}")]
    Amount {
        /// How much.
        found: Amount,
        /// How much it should.
        expected: Amount,
    },
    /// It belongs to another challenge.
    #[error("the nonce of the authorization is not the one of its challenge")]
    Nonce,
    /// Its time has not come, or is over.
    #[error("the authorization holds between {after} and {before}, and it is {now} (seconds since 1970)")]
    Time {
        /// From when on.
        after: u64,
        /// Until when.
        before: u64,
        /// Now.
        now: u64,
    },
    /// It holds for so long that nobody remembers it to its end.
    #[error("the authorization holds until {before}, expected {latest} at most (seconds since 1970)")]
    TooLong {
        /// Until when.
        before: u64,
        /// Until when it may.
        latest: u64,
    },
    /// The signature is none of secp256k1.
    #[error("the authorization's signature has {found_bytes} bytes, expected 65 of secp256k1 with low s")]
    Signature {
        /// Its length.
        found_bytes: usize,
    },
    /// Somebody else signed.
    #[error("the authorization was not signed by its payer")]
    OtherSigner,
}

/// Members in the order of RFC 8785, so that plain serialization is canonical.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    amount: String,
    currency: String,
    method_details: WireDetails,
    recipient: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireDetails {
    chain_id: u64,
    credential_types: [&'static str; 1],
    decimals: u8,
    permit2_address: &'static str,
}

impl EvmTerms {
    /// The text of the `request` parameter for a price.
    pub fn request(&self, price: Amount) -> String {
        let wire = Wire {
            amount: price.to_string(),
            // With a checksum, as the draft wants addresses.
            currency: self.token.to_string(),
            method_details: WireDetails {
                chain_id: self.chain_id.0,
                credential_types: ["authorization"],
                decimals: self.decimals,
                permit2_address: PERMIT2,
            },
            recipient: self.payee.to_string(),
        };
        base64url::encode(serde_json::to_string(&wire).expect("strings and numbers always have a JSON form"))
    }

    /// What the payer signs (EIP-712).
    pub fn digest(&self, authorization: &Authorization) -> B256 {
        let number = |value: u128| B256::from(alloy_primitives::U256::from(value));
        let hash = |text: &str| B256::new(keccak256(text.as_bytes()));
        let domain = hash_words(&[
            B256::new(keccak256(DOMAIN_TYPE)),
            hash(&self.token_name),
            hash(&self.token_version),
            number(self.chain_id.0.into()),
            self.token.into_word(),
        ]);
        let message = hash_words(&[
            B256::new(keccak256(AUTHORIZATION_TYPE)),
            authorization.from.into_word(),
            authorization.to.into_word(),
            number(authorization.value.get()),
            number(authorization.valid_after.0.into()),
            number(authorization.valid_before.0.into()),
            authorization.nonce,
        ]);
        let text = [&[0x19, 0x01], domain.as_slice(), message.as_slice()].concat();
        B256::new(keccak256(&text))
    }

    /// Whether an authorization pays `price` now. `nonce` is what it must carry; `None` when its own will do.
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`].
    pub fn check(
        &self,
        authorization: &Authorization,
        price: Amount,
        nonce: Option<B256>,
        now: UnixSeconds,
        latest: UnixSeconds,
    ) -> Result<(), AuthorizationError> {
        use AuthorizationError as E;
        let Authorization { from, to, value, valid_after, valid_before, nonce: found, ref signature } =
            *authorization;
        if to != self.payee {
            return Err(E::Payee { found: to, expected: self.payee });
        }
        if value != price {
            return Err(E::Amount { found: value, expected: price });
        }
        if nonce.is_some_and(|nonce| nonce != found) {
            return Err(E::Nonce);
        }
        if now <= valid_after || now >= valid_before {
            return Err(E::Time { after: valid_after.0, before: valid_before.0, now: now.0 });
        }
        if valid_before > latest {
            return Err(E::TooLong { before: valid_before.0, latest: latest.0 });
        }
        let malformed = E::Signature { found_bytes: signature.len() };
        let bytes: &[u8; 65] = signature.as_slice().try_into().map_err(|_| malformed)?;
        let signature = ecdsa::Signature::from_rsv(bytes).map_err(|_| malformed)?;
        let signer = recover(&self.digest(authorization).0, &signature).map(|key| key.address());
        if signer == Some(from.0.0) { Ok(()) } else { Err(E::OtherSigner) }
    }
}

/// The nonce of an authorization that answers a challenge.
pub fn challenge_nonce(challenge_id: &str, realm: &str) -> B256 {
    B256::new(keccak256(&[challenge_id.as_bytes(), realm.as_bytes()].concat()))
}

fn hash_words(words: &[B256]) -> B256 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.0).collect();
    B256::new(keccak256(&bytes))
}

impl Authorization {
    /// Reads the payload of a credential.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn read(payload: &Map<String, Value>) -> Result<Self, FieldError> {
        field(payload, "payload.type").literal("authorization")?;
        Self::read_members(payload, payload)
    }

    /// Reads its members from one object, its signature from another.
    pub(super) fn read_members(
        object: &Map<String, Value>,
        signed: &Map<String, Value>,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            from: field(object, "payload.authorization.from").address()?,
            to: field(object, "payload.authorization.to").address()?,
            value: field(object, "payload.authorization.value").amount(Amount::MAX)?,
            valid_after: field(object, "payload.authorization.validAfter").seconds()?,
            valid_before: field(object, "payload.authorization.validBefore").seconds()?,
            nonce: field(object, "payload.authorization.nonce").word()?,
            signature: field(signed, "payload.signature").bytes()?,
        })
    }

    /// Its members without the signature, for who sends it to the chain.
    pub fn to_value(&self) -> Value {
        serde_json::json!({
            "from": self.from.to_string(),
            "nonce": self.nonce.to_string(),
            "to": self.to.to_string(),
            "validAfter": self.valid_after.0.to_string(),
            "validBefore": self.valid_before.0.to_string(),
            "value": self.value.to_string(),
        })
    }

    /// The signature as text.
    pub fn signature_text(&self) -> String {
        alloy_primitives::hex::encode_prefixed(&self.signature)
    }

    /// The payload of a credential.
    pub fn to_payload(&self) -> Map<String, Value> {
        let Value::Object(mut payload) = self.to_value() else { unreachable!("it is made as an object") };
        payload.insert("type".into(), "authorization".into());
        payload.insert("signature".into(), self.signature_text().into());
        payload
    }
}

impl fmt::Debug for Authorization {
    /// Names the payer alone: the rest is a bearer token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization({}, ..)", self.from)
    }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    fn terms() -> EvmTerms {
        EvmTerms {
            chain_id: ChainId(84_532),
            token: Address::repeat_byte(0x03),
            token_name: "USDC".into(),
            token_version: "2".into(),
            payee: Address::repeat_byte(0x70),
            decimals: 6,
        }
    }

    fn signed(change: impl FnOnce(&mut Authorization)) -> Authorization {
        let key = SigningKey::from_slice(&[1; 32]).expect("a key");
        let public = key.verifying_key().to_sec1_point(false);
        let mut authorization = Authorization {
            from: Address::from_slice(&keccak256(&public.as_bytes()[1..])[12..]),
            to: terms().payee,
            value: Amount::new(1_000),
            valid_after: UnixSeconds(0),
            valid_before: UnixSeconds(2_000),
            nonce: challenge_nonce("id", "realm"),
            signature: Vec::new(),
        };
        change(&mut authorization);
        let (signature, parity) = key.sign_prehash_recoverable(terms().digest(&authorization).as_slice());
        authorization.signature = signature.to_bytes().to_vec();
        authorization.signature.push(27 + parity.to_byte());
        authorization
    }

    fn check(authorization: &Authorization) -> Result<(), AuthorizationError> {
        let nonce = Some(challenge_nonce("id", "realm"));
        terms().check(authorization, Amount::new(1_000), nonce, UnixSeconds(1_000), UnixSeconds(3_000))
    }

    /// Made with viem 2 (`hashTypedData`).
    #[test]
    fn the_digest_is_that_of_eip_712() {
        let mut authorization = signed(|_| ());
        authorization.from = Address::repeat_byte(0x11);
        assert_eq!(alloc::format!("{:#x}", terms().digest(&authorization)), DIGEST);
    }

    const DIGEST: &str = "0x59ae3b38273491deb10353a867809810a79ec86f967b5f6efb5ec97bd100c645";

    #[test]
    fn an_authorization_pays_exactly_what_is_asked() {
        use AuthorizationError as E;
        assert_eq!(check(&signed(|_| ())), Ok(()));
        let payee = Address::repeat_byte(0x71);
        assert!(matches!(check(&signed(|own| own.to = payee)), Err(E::Payee { .. })));
        assert!(matches!(check(&signed(|own| own.value = Amount::new(999))), Err(E::Amount { .. })));
        assert!(matches!(check(&signed(|own| own.value = Amount::new(1_001))), Err(E::Amount { .. })));
        assert_eq!(check(&signed(|own| own.nonce = B256::ZERO)), Err(E::Nonce));
        for (after, before) in [(1_000, 2_000), (0, 1_000)] {
            let late = signed(|own| (own.valid_after.0, own.valid_before.0) = (after, before));
            assert!(matches!(check(&late), Err(E::Time { .. })));
        }
        assert!(matches!(check(&signed(|own| own.valid_before.0 = 3_001)), Err(E::TooLong { .. })));
        let mut other = signed(|_| ());
        other.from = payee;
        assert_eq!(check(&other), Err(E::OtherSigner));
        let mut short = signed(|_| ());
        short.signature.pop();
        assert_eq!(check(&short), Err(E::Signature { found_bytes: 64 }));
    }

    #[test]
    fn payloads_come_back_and_are_not_shown() {
        let authorization = signed(|_| ());
        assert_eq!(Authorization::read(&authorization.to_payload()), Ok(authorization.clone()));
        for name in ["type", "from", "value", "validBefore", "nonce", "signature"] {
            let mut payload = authorization.to_payload();
            payload.remove(name);
            let error = Authorization::read(&payload).expect_err("refused").to_string();
            assert!(error.contains(name) && error.contains("is missing"), "{error}");
        }
        let shown = alloc::format!("{authorization:?}");
        assert!(!shown.contains(&authorization.signature_text()[2..20]), "{shown}");
    }

    #[test]
    fn requests_are_canonical() {
        let json = base64url::decode(&terms().request(Amount::new(1_000))).expect("base64url");
        let expected = "{\"amount\":\"1000\",\"currency\":\"0x0303030303030303030303030303030303030303\",\
            \"methodDetails\":{\"chainId\":84532,\"credentialTypes\":[\"authorization\"],\"decimals\":6,\
            \"permit2Address\":\"0x000000000022D473030F116dDEE9F6B43aC78BA3\"},\
            \"recipient\":\"0x7070707070707070707070707070707070707070\"}";
        assert_eq!(core::str::from_utf8(&json), Ok(expected));
    }
}
