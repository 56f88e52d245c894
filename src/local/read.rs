//! Reads requests: JSON into types, and of everything that is wrong the field, what was found and what is expected.
//!
//! Unknown fields are refused: a `charge` with a typing error must not become free service.

use std::str::FromStr;

use alloy::hex;
use axum::http::HeaderMap;
use farebox_engine::core::channel::{RequestKey, Spend};
use farebox_engine::core::units::{Amount, B256, ChannelId};
use farebox_engine::core::voucher::{AnySignedVoucher, ProtocolVersion, Voucher};
use farebox_engine::http::IDEMPOTENCY_KEY_CHARS_MAX;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The most characters of a signature: the largest one (WebAuthn), in hex.
const SIGNATURE_CHARS_MAX: usize = 2 + 2 * 2_049;

/// What is wrong with a request. It never repeats a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// No JSON, or other fields than those of the request.
    #[error("the text is not the JSON of this request: {0}")]
    Json(String),
    /// A field that cannot be read.
    #[error("{field} is {found}, expected {expected}")]
    Field { field: &'static str, found: String, expected: &'static str },
    /// The voucher's form.
    #[error("{0}")]
    Voucher(#[from] farebox_engine::core::voucher::VoucherError),
    /// A name for the request is needed, so that a retry charges once.
    #[error(
        "no idempotency key, expected idempotencyKey or the header Idempotency-Key: a retry would charge twice"
    )]
    NoKey,
    /// Two names.
    #[error("found idempotencyKey and the header Idempotency-Key, expected one of them")]
    TwoKeys,
}

/// A voucher, and what it pays for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VoucherText {
    channel_id: String,
    cumulative_amount: String,
    signature: String,
    /// `v1` or `v2`; v2 when absent.
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    charge: Option<ChargeText>,
    #[serde(default)]
    reserve: Option<ReserveText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChargeText {
    amount: String,
    #[serde(default = "one")]
    units: u64,
    #[serde(default)]
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReserveText {
    amount: String,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// `POST /v1/charges` and `POST /v1/reservations`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpendText {
    channel_id: String,
    amount: String,
    #[serde(default)]
    units: Option<u64>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// `POST …/capture`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CaptureText {
    amount: String,
    #[serde(default = "one")]
    units: u64,
    /// Whether the request is over.
    #[serde(default = "yes")]
    finish: bool,
}

const fn one() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

/// The JSON of a request.
pub(super) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(text).map_err(|error| Unreadable::Json(error.to_string()))
}

/// `Idempotency-Key`, when there is one.
pub(super) fn header_key(headers: &HeaderMap) -> Result<Option<String>, Unreadable> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let field = "the header Idempotency-Key";
    if values.next().is_some() {
        return Err(Unreadable::Field { field, found: "there twice".into(), expected: "one" });
    }
    let expected = "visible ASCII";
    let text = value.to_str().map_err(|_| Unreadable::Field { field, found: "no text".into(), expected })?;
    Ok(Some(text.into()))
}

impl VoucherText {
    /// The voucher and what it pays for. Without a name of its own, a paid voucher is named by itself: one voucher, at most
    /// one charge (rule 8).
    pub(super) fn read(self, header: Option<String>) -> Result<(AnySignedVoucher, Spend), Unreadable> {
        let channel = channel("channelId", &self.channel_id)?;
        let cumulative = amount("cumulativeAmount", &self.cumulative_amount)?;
        let itself = || key(&[b"voucher", channel.0.as_slice(), &cumulative.get().to_be_bytes()]);
        let named =
            |name| Ok::<_, Unreadable>(one_key(name, header)?.map_or_else(itself, |name| named(&name)));
        let then = match (self.charge, self.reserve) {
            (None, None) => Spend::Nothing,
            (Some(charge), None) => Spend::Charge {
                amount: amount("charge.amount", &charge.amount)?,
                units: charge.units,
                key: Some(named(charge.idempotency_key)?),
            },
            (None, Some(reserve)) => Spend::Reserve {
                amount: amount("reserve.amount", &reserve.amount)?,
                key: named(reserve.idempotency_key)?,
            },
            (Some(_), Some(_)) => {
                let found = "there beside charge".into();
                return Err(Unreadable::Field { field: "reserve", found, expected: "one of both" });
            }
        };
        let protocol = match self.protocol.as_deref() {
            None | Some("v2") => ProtocolVersion::V2,
            Some("v1") => ProtocolVersion::V1,
            Some(other) => {
                let found = format!("a text of {} bytes", other.len());
                return Err(Unreadable::Field { field: "protocol", found, expected: "\"v1\" or \"v2\"" });
            }
        };
        let voucher = Voucher { channel_id: channel, cumulative_amount: cumulative };
        let voucher = AnySignedVoucher::parse(protocol, voucher, &signature(&self.signature)?)?;
        Ok((voucher, then))
    }
}

impl SpendText {
    /// The channel, and the charge.
    pub(super) fn charge(self, header: Option<String>) -> Result<(ChannelId, Spend), Unreadable> {
        let key = one_key(self.idempotency_key, header)?.ok_or(Unreadable::NoKey)?;
        let amount = amount("amount", &self.amount)?;
        let spend = Spend::Charge { key: Some(named(&key)), amount, units: self.units.unwrap_or(1) };
        Ok((channel("channelId", &self.channel_id)?, spend))
    }

    /// The channel, and the reservation.
    pub(super) fn reserve(
        self,
        header: Option<String>,
    ) -> Result<(ChannelId, RequestKey, Spend), Unreadable> {
        let key = named(&one_key(self.idempotency_key, header)?.ok_or(Unreadable::NoKey)?);
        if let Some(units) = self.units {
            let expected = "nothing: units are captured, not reserved";
            return Err(Unreadable::Field { field: "units", found: units.to_string(), expected });
        }
        let spend = Spend::Reserve { key, amount: amount("amount", &self.amount)? };
        Ok((channel("channelId", &self.channel_id)?, key, spend))
    }
}

impl CaptureText {
    /// Amount, units, and whether the request is over.
    pub(super) fn read(self) -> Result<(Amount, u64, bool), Unreadable> {
        Ok((amount("amount", &self.amount)?, self.units, self.finish))
    }
}

/// A channel id in hex of either case, with `0x`.
pub(super) fn channel(field: &'static str, text: &str) -> Result<ChannelId, Unreadable> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64);
    digits.and_then(|digits| B256::from_str(digits).ok()).map(ChannelId).ok_or_else(|| Unreadable::Field {
        field,
        found: format!("a text of {} bytes", text.len()),
        expected: "0x and 64 hex digits",
    })
}

/// A reservation's name, as [`shown`] writes it.
pub(super) fn reservation(text: &str) -> Result<RequestKey, Unreadable> {
    let mut key = [0; 16];
    let decoded = hex::decode_to_slice(text, &mut key);
    decoded.map(|()| RequestKey(key)).map_err(|_| Unreadable::Field {
        field: "the reservation",
        found: format!("a text of {} bytes", text.len()),
        expected: "the 32 hex digits that POST /v1/reservations answered",
    })
}

/// A reservation's name.
pub(super) fn shown(key: &RequestKey) -> String {
    hex::encode(key.0)
}

fn amount(field: &'static str, text: &str) -> Result<Amount, Unreadable> {
    text.parse().map_err(|_| Unreadable::Field {
        field,
        found: format!("a text of {} bytes", text.len()),
        expected: "base units: decimal digits in quotes, below 2^128",
    })
}

fn signature(text: &str) -> Result<Vec<u8>, Unreadable> {
    let malformed = || Unreadable::Field {
        field: "signature",
        found: format!("a text of {} bytes", text.len()),
        expected: "0x and hex digits, at most 2049 bytes",
    };
    let digits = text.strip_prefix("0x").filter(|_| text.len() <= SIGNATURE_CHARS_MAX);
    hex::decode(digits.ok_or_else(malformed)?).map_err(|_| malformed())
}

/// The name that a caller gave to its request: in the body or in the header.
fn one_key(body: Option<String>, header: Option<String>) -> Result<Option<String>, Unreadable> {
    let name = match (body, header) {
        (Some(_), Some(_)) => return Err(Unreadable::TwoKeys),
        (name, None) | (None, name) => name,
    };
    if let Some(name) = &name
        && !(1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&name.len())
    {
        let found = format!("a text of {} bytes", name.len());
        return Err(Unreadable::Field { field: "idempotencyKey", found, expected: "1 to 255 bytes" });
    }
    Ok(name)
}

fn named(name: &str) -> RequestKey {
    key(&[b"named", name.as_bytes()])
}

/// The name of a paid request. No two kinds of parts give the same one, nor does the door's, whose hash begins with other
/// words.
fn key(parts: &[&[u8]]) -> RequestKey {
    let mut hash = Sha256::new();
    hash.update(b"farebox local request key 1");
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    RequestKey(key)
}
