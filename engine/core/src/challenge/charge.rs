//! The intent `charge` of the method `tempo` (draft-tempo-charge-00): one transfer for one request, and the proof of an
//! account for nothing.
//!
//! The door offers it beside the session. Here are its words only: whether money arrived is the chain's word.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::{decimal, field, lowercase};
use super::issued::Kind;
use super::request::{self, RequestError};
use super::rfc3339::{self, UnixMillis};
use super::{CREDENTIAL_CHARS_MAX, CredentialError, Echo, FieldError, METHOD, base64url};
use crate::units::{Address, Amount, B256, ChainId};

/// The payment intent.
pub const INTENT: &str = "charge";

impl Kind<'static> {
    /// A charge of the method `tempo`.
    pub const CHARGE: Self = Self { method: METHOD, intent: INTENT };
}

/// What a transfer must be, or, with the amount zero, whose account is to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeRequest {
    /// What is to be transferred.
    pub amount: Amount,
    /// The TIP-20 token.
    pub currency: Address,
    /// The payee.
    pub recipient: Address,
    /// The chain.
    pub chain_id: ChainId,
    /// What the transfer must carry: it binds the transfer to one challenge.
    pub memo: Option<B256>,
    /// Whether the server pays the fees.
    pub fee_payer: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    fee_payer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memo: Option<String>,
    /// Modes do not apply to a proof. Else the server broadcasts: a hash proves nothing about its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    supported_modes: Option<[&'static str; 1]>,
}

impl ChargeRequest {
    /// The canonical JSON text.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            amount: decimal(self.amount),
            currency: lowercase(self.currency),
            method_details: WireDetails {
                chain_id: self.chain_id.0,
                fee_payer: self.fee_payer.then_some(true),
                memo: self.memo.map(|memo| alloc::format!("{memo:#x}")),
                supported_modes: (!self.amount.is_zero()).then_some(["pull"]),
            },
            recipient: lowercase(self.recipient),
        };
        serde_json::to_string(&wire).expect("strings, numbers and booleans always have a JSON form")
    }

    /// The text of the `request` parameter.
    pub fn encode(&self) -> String {
        base64url::encode(self.to_json())
    }

    /// Reads a `request` parameter.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(text: &str) -> Result<Self, RequestError> {
        let object = &request::decode_object(text)?;
        let none = Map::new();
        let details = field(object, "request.methodDetails").optional(|field| field.object())?;
        let details = details.unwrap_or(&none);
        Ok(Self {
            amount: field(object, "request.amount").amount(Amount::MAX)?,
            currency: field(object, "request.currency").address()?,
            recipient: field(object, "request.recipient").address()?,
            chain_id: request::chain_id(details)?,
            memo: field(details, "request.methodDetails.memo").optional(|field| field.word())?,
            fee_payer: request::fee_payer(details)?,
        })
    }
}

/// What a client sends to answer a charge of whatever method. Its payload is that method's matter.
#[derive(Clone, PartialEq, Eq)]
pub struct AnyCharge {
    /// The challenge that it answers.
    pub challenge: Echo,
    /// What it hands in: a bearer token.
    pub payload: Map<String, Value>,
    /// Who the client says that it is (a DID). Never believed.
    pub source: Option<String>,
}

impl AnyCharge {
    /// Reads what follows `Payment` in the header, if it answers a charge.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn parse(token: &str) -> Result<Self, CredentialError> {
        if token.len() > CREDENTIAL_CHARS_MAX {
            return Err(CredentialError::TooLong { found_chars: token.len() });
        }
        let json = base64url::decode(token).ok_or(CredentialError::NotBase64Url)?;
        let value: Value = serde_json::from_slice(&json)
            .map_err(|error| CredentialError::NotJson { line: error.line(), column: error.column() })?;
        let object = value.as_object().ok_or(CredentialError::NotAnObject)?;
        let challenge = field(object, "challenge").object()?;
        field(challenge, "challenge.intent").literal(INTENT)?;
        Ok(Self {
            challenge: Echo::read(challenge)?,
            payload: field(object, "payload").object()?.clone(),
            source: field(object, "source").optional(|field| field.text())?.map(ToString::to_string),
        })
    }

    /// Its payload as that of the method `tempo`.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn tempo(&self) -> Result<ChargePayload, FieldError> {
        ChargePayload::read(&self.payload)
    }

    /// Whether a token answers a charge, as far as that can be told: so errors speak of the right intent.
    pub fn is_meant(token: &str) -> bool {
        let read = || {
            let value: Value = serde_json::from_slice(&base64url::decode(token)?).ok()?;
            Some(value.get("challenge")?.get("intent")?.as_str()? == INTENT)
        };
        token.len() <= CREDENTIAL_CHARS_MAX && read().unwrap_or_default()
    }
}

impl fmt::Debug for AnyCharge {
    /// Names the challenge alone: the rest is a bearer token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyCharge({}, ..)", self.challenge.id)
    }
}

/// What a client sends to answer a charge of the method `tempo`.
#[derive(Clone, PartialEq, Eq)]
pub struct ChargeCredential {
    /// The challenge that it answers.
    pub challenge: Echo,
    /// What it hands in.
    pub payload: ChargePayload,
    /// Who the client says that it is (a DID).
    pub source: Option<String>,
}

/// What a client hands in.
#[derive(Clone, PartialEq, Eq)]
pub enum ChargePayload {
    /// A signed transaction with the transfer.
    Transaction(Vec<u8>),
    /// The hash of a transaction that the client sent itself.
    Hash(B256),
    /// A signature of the challenge.
    Proof(Vec<u8>),
}

impl ChargeCredential {
    /// Reads what follows `Payment` in the header, if it answers a charge.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn parse(token: &str) -> Result<Self, CredentialError> {
        let any = AnyCharge::parse(token)?;
        let payload = any.tempo()?;
        Ok(Self { challenge: any.challenge, payload, source: any.source })
    }

    /// The header value that a client sends.
    pub fn to_header(&self) -> String {
        let (kind, name, bytes) = match &self.payload {
            ChargePayload::Transaction(bytes) => ("transaction", "signature", bytes.as_slice()),
            ChargePayload::Hash(hash) => ("hash", "hash", hash.as_slice()),
            ChargePayload::Proof(bytes) => ("proof", "signature", bytes.as_slice()),
        };
        let mut payload = Map::new();
        payload.insert("type".into(), kind.into());
        payload.insert(name.into(), alloy_primitives::hex::encode_prefixed(bytes).into());
        let mut members = Map::new();
        members.insert("challenge".into(), self.challenge.to_value());
        members.insert("payload".into(), Value::Object(payload));
        if let Some(source) = &self.source {
            members.insert("source".into(), source.as_str().into());
        }
        alloc::format!("{} {}", super::SCHEME, base64url::encode(Value::Object(members).to_string()))
    }
}

impl ChargePayload {
    fn read(payload: &Map<String, Value>) -> Result<Self, FieldError> {
        let kind = field(payload, "payload.type");
        match kind.text()? {
            "transaction" => field(payload, "payload.signature").bytes().map(Self::Transaction),
            "hash" => field(payload, "payload.hash").word().map(Self::Hash),
            "proof" => field(payload, "payload.signature").bytes().map(Self::Proof),
            other => Err(FieldError::Unexpected {
                field: "payload.type",
                found: super::fields::Found::Text(other.len()),
                expected: "transaction, hash or proof",
            }),
        }
    }
}

impl fmt::Debug for ChargeCredential {
    /// Names the challenge alone: the rest is a bearer token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChargeCredential({}, ..)", self.challenge.id)
    }
}

impl fmt::Debug for ChargePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transaction(_) => "ChargePayload::Transaction(..)",
            Self::Hash(_) => "ChargePayload::Hash(..)",
            Self::Proof(_) => "ChargePayload::Proof(..)",
        })
    }
}

/// What a server says after it took a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeReceipt {
    /// The method that was paid by.
    pub method: String,
    /// The chain of the payment, where the method's receipts name it.
    pub chain_id: Option<ChainId>,
    /// When the answer was given.
    pub timestamp: UnixMillis,
    /// The challenge that was answered.
    pub challenge_id: String,
    /// The payment's own name, such as its transaction; the challenge of a proof.
    pub reference: String,
}

/// Members in the order of their names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_id: Option<u64>,
    challenge_id: &'a str,
    intent: &'static str,
    method: &'a str,
    reference: &'a str,
    status: &'static str,
    timestamp: String,
}

impl ChargeReceipt {
    /// The value of the `Payment-Receipt` header.
    pub fn to_header(&self) -> String {
        let wire = WireReceipt {
            chain_id: self.chain_id.map(|chain_id| chain_id.0),
            challenge_id: &self.challenge_id,
            intent: INTENT,
            method: &self.method,
            reference: &self.reference,
            status: "success",
            timestamp: rfc3339::format_millis(self.timestamp),
        };
        base64url::encode(serde_json::to_string(&wire).expect("strings always have a JSON form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge::issued::Binding;
    use crate::challenge::{Challenge, ChallengeKey, ChallengeKeys, Credential, EchoError, Realm};

    fn request() -> ChargeRequest {
        ChargeRequest {
            amount: Amount::new(1_000),
            currency: Address::repeat_byte(0x20),
            recipient: Address::repeat_byte(0x70),
            chain_id: ChainId(42_431),
            memo: Some(B256::repeat_byte(9)),
            fee_payer: true,
        }
    }

    #[test]
    fn requests_are_canonical_and_come_back() {
        let expected = "{\"amount\":\"1000\",\"currency\":\"0x2020202020202020202020202020202020202020\",\
                        \"methodDetails\":{\"chainId\":42431,\"feePayer\":true,\"memo\":\"0x0909090909090909090909090909090909090909090909090909090909090909\",\
                        \"supportedModes\":[\"pull\"]},\"recipient\":\"0x7070707070707070707070707070707070707070\"}";
        assert_eq!(request().to_json(), expected);
        assert_eq!(ChargeRequest::decode(&request().encode()), Ok(request()));
        let nothing = ChargeRequest { amount: Amount::ZERO, memo: None, fee_payer: false, ..request() };
        assert!(nothing.to_json().contains("\"methodDetails\":{\"chainId\":42431}"), "no modes for a proof");
        assert_eq!(ChargeRequest::decode(&nothing.encode()), Ok(nothing));
        assert!(ChargeRequest::decode("e30").is_err());
    }

    #[test]
    fn credentials_come_back_and_belong_to_their_intent() {
        let key = ChallengeKey::new(&[7; 32]).expect("long enough");
        let (keys, realm) = (ChallengeKeys::new(key), Realm::new("r").expect("a realm"));
        let expires = UnixMillis(2_000);
        let text = request().encode();
        let challenge = Challenge::issue_for(&keys, &realm, Kind::CHARGE, &text, expires, Binding::default());
        for payload in [
            ChargePayload::Transaction(alloc::vec![0x76, 1]),
            ChargePayload::Hash(B256::repeat_byte(1)),
            ChargePayload::Proof(alloc::vec![1; 65]),
        ] {
            let sent =
                ChargeCredential { challenge: Echo::of(&challenge), payload, source: Some("did".into()) };
            let header = sent.to_header();
            let token = header.strip_prefix("Payment ").expect("the scheme");
            let read = ChargeCredential::parse(token).expect("our own");
            assert_eq!(read, sent);
            assert!(AnyCharge::is_meant(token));
            assert!(Credential::parse(token).is_err(), "no session");
            assert_eq!(
                read.challenge.authenticate_for(Kind::CHARGE, &keys, &realm, UnixMillis(1_999)),
                Ok(())
            );
            let expired = read.challenge.authenticate_for(Kind::CHARGE, &keys, &realm, expires);
            assert!(matches!(expired, Err(EchoError::Expired { .. })));
            let other = Kind { method: "stripe", intent: INTENT };
            let posing = read.challenge.authenticate_for(other, &keys, &realm, UnixMillis(1));
            assert_eq!(posing, Err(EchoError::Unknown), "another method's");
            assert_eq!(
                read.challenge.authenticate(&keys, &realm, UnixMillis(1)),
                Err(EchoError::Unknown),
                "a charge's challenge buys no session"
            );
        }
        let session = Challenge::issue_encoded(&keys, &realm, &text, expires, Binding::default());
        let echo = Echo::of(&session);
        assert_eq!(
            echo.authenticate_for(Kind::CHARGE, &keys, &realm, UnixMillis(1)),
            Err(EchoError::Unknown)
        );
    }

    #[test]
    fn what_is_no_charge_is_named_and_not_repeated() {
        let token = |payload: &str| {
            let echo = "{\"id\":\"i\",\"realm\":\"r\",\"method\":\"tempo\",\"intent\":\"charge\",\"request\":\"e30\"}";
            base64url::encode(alloc::format!("{{\"challenge\":{echo},\"payload\":{payload}}}"))
        };
        for (payload, found) in [
            ("{}", "payload.type is missing"),
            ("{\"type\":\"secret\"}", "payload.type is a string of 6 characters"),
            ("{\"type\":\"transaction\"}", "payload.signature is missing"),
            ("{\"type\":\"hash\",\"hash\":\"0x12\"}", "payload.hash is a string of 4 characters"),
            ("{\"type\":\"proof\",\"signature\":\"zz\"}", "payload.signature is a string of 2 characters"),
        ] {
            let error = ChargeCredential::parse(&token(payload)).expect_err("refused").to_string();
            assert!(error.starts_with(found), "{error}");
        }
        assert!(!AnyCharge::is_meant("!!"));
    }
}
