//! A credential: what a client sends in `Authorization: Payment …` to answer a challenge.
//!
//! Parsing is strict where money is named (fields, types, hex, amounts) and open where the drafts ask for
//! it: unknown fields are ignored, letter case of hex does not matter, padding may be there. Amounts and
//! the descriptor depend on the protocol, which the echoed challenge names; so a payload is read twice:
//! [`Credential::parse`] reads what both protocols share, [`Payload::check`] what one of them adds.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{Field, decimal, field, lowercase};
use super::{CREDENTIAL_CHARS_MAX, Echo, FieldError, SCHEME, base64url, request, scan};
use crate::channel::RequestKey;
use crate::units::{Address, Amount, ChannelId};
use crate::voucher::ProtocolVersion;
use crate::voucher::v2::Descriptor;

/// The longest part of an unknown action that an error repeats, in characters.
const ACTION_SHOWN_CHARS_MAX: usize = 24;

/// What a client sends.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The challenge that it answers.
    pub challenge: Echo,
    /// What it asks for.
    pub payload: Payload,
    /// Who the client says that it is (a DID). Never believed.
    pub source: Option<String>,
}

/// What a credential asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Open a channel with a signed transaction, and take its first voucher.
    Open(Open),
    /// Raise the deposit with a signed transaction.
    TopUp(TopUp),
    /// Take a higher voucher.
    Voucher(VoucherFields),
    /// Close the channel; the voucher covers what is owed.
    Close(VoucherFields),
}

/// A voucher as it stands in a payload.
#[derive(Clone, PartialEq, Eq)]
pub struct VoucherFields {
    /// The channel.
    pub channel: ChannelId,
    /// What the payee may have had in total.
    pub cumulative: Amount,
    /// The signature's bytes, unread.
    pub signature: Vec<u8>,
    /// The channel's terms (v2).
    pub descriptor: Option<Descriptor>,
}

/// The fields of an `open`.
#[derive(Clone, PartialEq, Eq)]
pub struct Open {
    /// The first voucher.
    pub voucher: VoucherFields,
    /// The signed transaction.
    pub transaction: Vec<u8>,
    /// Who signs vouchers, as the client says it.
    pub authorized_signer: Option<Address>,
}

/// The fields of a `topUp`.
#[derive(Clone, PartialEq, Eq)]
pub struct TopUp {
    /// The channel.
    pub channel: ChannelId,
    /// The signed transaction.
    pub transaction: Vec<u8>,
    /// By how much the deposit is to rise.
    pub additional_deposit: Amount,
    /// The channel's terms (v2).
    pub descriptor: Option<Descriptor>,
}

/// Why a credential is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// More than one credential of the scheme.
    #[error("the request carries {count} Payment credentials, expected one")]
    Several {
        /// How many.
        count: usize,
    },
    /// Too long.
    #[error("the credential has {found_chars} characters, expected at most {CREDENTIAL_CHARS_MAX}")]
    TooLong {
        /// Its length.
        found_chars: usize,
    },
    /// The header is not visible ASCII.
    #[error("the Authorization header is not text, expected `Payment` and base64url")]
    NotText,
    /// The scheme without a credential, or with characters that are not base64url.
    #[error("the credential is not base64url")]
    NotBase64Url,
    /// The decoded text is no JSON.
    #[error("the credential is not JSON: error at line {line}, column {column}")]
    NotJson {
        /// Where the parser stopped.
        line: usize,
        /// Where the parser stopped.
        column: usize,
    },
    /// The decoded JSON is something else.
    #[error("the credential is not a JSON object")]
    NotAnObject,
    /// One of its fields is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// An action that the session intent does not have.
    #[error("payload.action is {found:?}, expected open, topUp, voucher or close")]
    UnknownAction {
        /// The beginning of it.
        found: String,
    },
}

/// Finds the `Payment` credential among the values of all `Authorization` headers of a request; each value
/// may hold several credentials, separated by commas. `None` when there is none.
pub fn find<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a str>, CredentialError> {
    let mut found = None;
    let mut count = 0;
    let mut look = |part: &'a [u8]| {
        let part = part.trim_ascii();
        let Some((scheme, token)) = part.split_at_checked(SCHEME.len()) else { return };
        let ends = token.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
        if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && ends {
            count += 1;
            found = Some(token.trim_ascii());
        }
    };
    for value in values {
        // Nearly always one credential; to learn that costs much less than to split.
        if memchr::memchr(b',', value).is_some() {
            value.split(|byte| *byte == b',').for_each(&mut look);
        } else {
            look(value);
        }
    }
    match found {
        _ if count > 1 => Err(CredentialError::Several { count }),
        Some(token) => core::str::from_utf8(token).map(Some).map_err(|_| CredentialError::NotText),
        None => Ok(None),
    }
}

impl Credential {
    /// Reads what follows `Payment` in the header.
    pub fn parse(token: &str) -> Result<Self, CredentialError> {
        Self::parse_with(token, &mut Vec::new())
    }

    /// [`Self::parse`] for who reads many: `scratch` is memory that is used again, and holds the credential afterwards.
    pub fn parse_with(token: &str, scratch: &mut Vec<u8>) -> Result<Self, CredentialError> {
        if token.len() > CREDENTIAL_CHARS_MAX {
            return Err(CredentialError::TooLong { found_chars: token.len() });
        }
        let json = base64url::decode_into(token, scratch).filter(|json| !json.is_empty());
        let json = json.ok_or(CredentialError::NotBase64Url)?;
        match core::str::from_utf8(json).ok().and_then(scan::voucher) {
            Some(credential) => Ok(credential),
            None => Self::parse_json(json),
        }
    }

    /// Reads the JSON of any credential, and says what is wrong with it. [`Self::parse`] reads plain vouchers in a
    /// faster way, with the same result.
    pub fn parse_json(json: &[u8]) -> Result<Self, CredentialError> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| CredentialError::NotJson { line: error.line(), column: error.column() })?;
        let object = value.as_object().ok_or(CredentialError::NotAnObject)?;
        Ok(Self {
            challenge: Echo::read(field(object, "challenge").object()?)?,
            payload: Payload::read(field(object, "payload").object()?)?,
            source: field(object, "source").optional(|field| field.text())?.map(ToString::to_string),
        })
    }

    /// The header value that a client sends.
    pub fn to_header(&self) -> String {
        let mut members = Map::new();
        members.insert("challenge".into(), self.challenge.to_value());
        members.insert("payload".into(), self.payload.to_value());
        if let Some(source) = &self.source {
            members.insert("source".into(), Value::String(source.clone()));
        }
        let mut header = String::from(SCHEME);
        header.push(' ');
        header.push_str(&base64url::encode(Value::Object(members).to_string()));
        header
    }

    /// The name of the paid request that this credential makes: of the idempotency key when the client sent
    /// one, else of the credential itself (challenge, channel, amount), so that one credential is delivered
    /// at most once, however its text or its signature is written.
    pub fn request_key(&self, idempotency_key: Option<&str>) -> RequestKey {
        let mut hash = Sha256::new();
        let id = self.challenge.id.as_bytes();
        hash.update(b"farebox request key 1");
        hash.update((id.len() as u64).to_be_bytes());
        hash.update(id);
        match idempotency_key {
            Some(key) => {
                hash.update([1]);
                hash.update(key.as_bytes());
            }
            None => {
                hash.update([0]);
                hash.update(self.payload.channel().0);
                hash.update(self.payload.amount().get().to_be_bytes());
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        RequestKey(key)
    }
}

impl fmt::Debug for Credential {
    /// Names the action and the channel; a credential's content is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} {}, ..)", self.payload.action(), self.payload.channel())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} {}, ..)", self.action(), self.channel())
    }
}

impl fmt::Debug for VoucherFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoucherFields({}, ..)", self.channel)
    }
}

impl Payload {
    /// Reads a payload that comes without its challenge: from a service that checked that itself.
    ///
    /// # Errors
    ///
    /// What is wrong with it; never what is in it.
    pub fn parse(json: &[u8]) -> Result<Self, CredentialError> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| CredentialError::NotJson { line: error.line(), column: error.column() })?;
        Self::read(value.as_object().ok_or(CredentialError::NotAnObject)?)
    }

    /// The action's name on the wire.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::TopUp(_) => "topUp",
            Self::Voucher(_) => "voucher",
            Self::Close(_) => "close",
        }
    }

    /// The channel that it is about.
    pub const fn channel(&self) -> ChannelId {
        match self {
            Self::Open(open) => open.voucher.channel,
            Self::TopUp(top_up) => top_up.channel,
            Self::Voucher(voucher) | Self::Close(voucher) => voucher.channel,
        }
    }

    /// The amount that it names: cumulative, or the top-up.
    pub const fn amount(&self) -> Amount {
        match self {
            Self::Open(open) => open.voucher.cumulative,
            Self::TopUp(top_up) => top_up.additional_deposit,
            Self::Voucher(voucher) | Self::Close(voucher) => voucher.cumulative,
        }
    }

    /// The descriptor that it carries.
    pub const fn descriptor(&self) -> Option<&Descriptor> {
        match self {
            Self::Open(open) => open.voucher.descriptor.as_ref(),
            Self::TopUp(top_up) => top_up.descriptor.as_ref(),
            Self::Voucher(voucher) | Self::Close(voucher) => voucher.descriptor.as_ref(),
        }
    }

    /// Checks what `protocol` adds: its bound on amounts, and in v2 the descriptor.
    pub fn check(&self, protocol: ProtocolVersion) -> Result<(), FieldError> {
        let maximum = request::amount_max(protocol);
        if self.amount() > maximum {
            let field = match self {
                Self::TopUp(_) => "payload.additionalDeposit",
                _ => "payload.cumulativeAmount",
            };
            let found = super::fields::Found::Text(decimal(self.amount()).len());
            let expected = "a decimal string of base units, at most 2^96 - 1";
            return Err(FieldError::Unexpected { field, found, expected });
        }
        if protocol == ProtocolVersion::V2 && self.descriptor().is_none() {
            let expected = "the channel's descriptor (v2)";
            return Err(FieldError::Missing { field: "payload.descriptor", expected });
        }
        Ok(())
    }

    fn read(payload: &Map<String, Value>) -> Result<Self, CredentialError> {
        match field(payload, "payload.action").text()? {
            "open" => {
                field(payload, "payload.type").literal("transaction")?;
                Ok(Self::Open(Open {
                    voucher: VoucherFields::read(payload)?,
                    transaction: field(payload, "payload.transaction").bytes()?,
                    authorized_signer: field(payload, "payload.authorizedSigner").optional(Field::address)?,
                }))
            }
            "topUp" => {
                field(payload, "payload.type").literal("transaction")?;
                Ok(Self::TopUp(TopUp {
                    channel: field(payload, "payload.channelId").channel()?,
                    transaction: field(payload, "payload.transaction").bytes()?,
                    additional_deposit: field(payload, "payload.additionalDeposit").amount(Amount::MAX)?,
                    descriptor: field(payload, "payload.descriptor").optional(Field::descriptor)?,
                }))
            }
            "voucher" => VoucherFields::read(payload).map(Self::Voucher).map_err(Into::into),
            "close" => VoucherFields::read(payload).map(Self::Close).map_err(Into::into),
            unknown => {
                let found = unknown.chars().take(ACTION_SHOWN_CHARS_MAX).collect();
                Err(CredentialError::UnknownAction { found })
            }
        }
    }

    fn to_value(&self) -> Value {
        let mut members = Map::new();
        let mut add = |name: &str, value: String| members.insert(name.into(), Value::String(value));
        add("action", self.action().into());
        add("channelId", self.channel().to_string());
        let transaction = match self {
            Self::Open(open) => Some(&open.transaction),
            Self::TopUp(top_up) => Some(&top_up.transaction),
            _ => None,
        };
        if let Some(transaction) = transaction {
            add("type", "transaction".into());
            add("transaction", hex(transaction));
        }
        match self {
            Self::TopUp(top_up) => {
                add("additionalDeposit", decimal(top_up.additional_deposit));
            }
            Self::Open(Open { voucher, .. }) | Self::Voucher(voucher) | Self::Close(voucher) => {
                add("cumulativeAmount", decimal(voucher.cumulative));
                add("signature", hex(&voucher.signature));
            }
        }
        if let Self::Open(Open { authorized_signer: Some(signer), .. }) = self {
            add("authorizedSigner", lowercase(*signer));
        }
        if let Some(descriptor) = self.descriptor() {
            members.insert("descriptor".into(), descriptor_value(descriptor));
        }
        Value::Object(members)
    }
}

impl VoucherFields {
    fn read(payload: &Map<String, Value>) -> Result<Self, FieldError> {
        Ok(Self {
            channel: field(payload, "payload.channelId").channel()?,
            cumulative: field(payload, "payload.cumulativeAmount").amount(Amount::MAX)?,
            signature: field(payload, "payload.signature").bytes()?,
            descriptor: field(payload, "payload.descriptor").optional(Field::descriptor)?,
        })
    }
}

/// A descriptor as JSON.
pub(super) fn descriptor_value(descriptor: &Descriptor) -> Value {
    let members = [
        ("authorizedSigner", lowercase(descriptor.authorized_signer)),
        ("expiringNonceHash", hex(descriptor.expiring_nonce_hash.as_slice())),
        ("operator", lowercase(descriptor.operator)),
        ("payee", lowercase(descriptor.payee)),
        ("payer", lowercase(descriptor.payer)),
        ("salt", hex(descriptor.salt.as_slice())),
        ("token", lowercase(descriptor.token)),
    ];
    Value::Object(members.into_iter().map(|(name, value)| (name.into(), Value::String(value))).collect())
}

/// Lowercase hex with `0x`.
fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode_prefixed(bytes)
}
