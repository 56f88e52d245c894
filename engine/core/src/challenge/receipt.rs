//! A receipt: what the server says after it took a payment, on 2xx answers only.

use alloc::string::{String, ToString};
use core::fmt::{self, Write as _};

use serde_json::Value;

use super::fields::field;
use super::rfc3339::{self, UnixMillis};
use super::{FieldError, INTENT, METHOD, base64url};
use crate::units::{Amount, B256, ChannelId};

/// The fields of the session draft. `reference` is the channel id, `status` always `success`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the answer was given.
    pub timestamp: UnixMillis,
    /// The challenge that was answered.
    pub challenge_id: String,
    /// The channel that paid.
    pub channel: ChannelId,
    /// The highest accepted voucher amount.
    pub accepted: Amount,
    /// Everything charged so far.
    pub spent: Amount,
    /// What this request bought; the price of one is the challenge's amount.
    pub units: Option<u64>,
    /// The transaction of an `open`, `topUp` or `close`.
    pub tx_hash: Option<B256>,
}

/// About how long a receipt is as JSON, in bytes.
const JSON_BYTES: usize = 512;

/// Why a text is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It is not base64url of a JSON object.
    #[error("the receipt is not a JSON object in base64url")]
    NotJson,
    /// One of its fields is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl Receipt {
    /// The JSON text: the data of a `payment-receipt` event. Every paid answer has one, so it is written into one piece of
    /// memory.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(JSON_BYTES);
        for text in
            [r#"{"method":""#, METHOD, r#"","intent":""#, INTENT, r#"","status":"success","timestamp":""#]
        {
            json.push_str(text);
        }
        rfc3339::push_millis(&mut json, self.timestamp);
        let channel = self.channel.to_string();
        for text in [r#"","reference":""#, channel.as_str(), r#"","challengeId":"#] {
            json.push_str(text);
        }
        push_quoted(&mut json, &self.challenge_id);
        for text in [r#","channelId":""#, channel.as_str(), r#"","acceptedCumulative":""#] {
            json.push_str(text);
        }
        let written = self.write_rest(&mut json);
        written.expect("a string takes everything");
        json
    }

    fn write_rest(&self, json: &mut String) -> fmt::Result {
        write!(json, r#"{}","spent":"{}""#, self.accepted, self.spent)?;
        if let Some(units) = self.units {
            write!(json, r#","units":{units}"#)?;
        }
        if let Some(hash) = self.tx_hash {
            write!(json, r#","txHash":"{hash:#x}""#)?;
        }
        json.write_char('}')
    }

    /// The value of the `Payment-Receipt` header.
    pub fn to_header(&self) -> String {
        base64url::encode(self.to_json())
    }

    /// Reads a header value.
    pub fn parse_header(text: &str) -> Result<Self, ReceiptError> {
        let json = base64url::decode(text).ok_or(ReceiptError::NotJson)?;
        Self::parse_json(&json)
    }

    /// Reads the data of an event.
    pub fn parse_json(json: &[u8]) -> Result<Self, ReceiptError> {
        let value: Value = serde_json::from_slice(json).map_err(|_| ReceiptError::NotJson)?;
        let object = value.as_object().ok_or(ReceiptError::NotJson)?;
        field(object, "receipt.method").literal(METHOD)?;
        field(object, "receipt.intent").literal(INTENT)?;
        field(object, "receipt.status").literal("success")?;
        Ok(Self {
            timestamp: field(object, "receipt.timestamp").time()?,
            challenge_id: field(object, "receipt.challengeId").text()?.to_string(),
            channel: field(object, "receipt.channelId").channel()?,
            accepted: field(object, "receipt.acceptedCumulative").amount(Amount::MAX)?,
            spent: field(object, "receipt.spent").amount(Amount::MAX)?,
            units: field(object, "receipt.units").optional(|field| field.integer())?,
            tx_hash: field(object, "receipt.txHash").optional(|field| field.word())?,
        })
    }
}

/// A text in quotes. Ours need no escapes; another's might.
fn push_quoted(json: &mut String, text: &str) {
    if text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        json.push_str(&serde_json::to_string(text).expect("every text has a JSON form"));
        return;
    }
    for part in ["\"", text, "\""] {
        json.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::super::fields::decimal;
    use super::*;

    /// The same fields, for a writer that is not ours.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        method: &'static str,
        intent: &'static str,
        status: &'static str,
        timestamp: String,
        reference: &'a str,
        challenge_id: &'a str,
        channel_id: &'a str,
        accepted_cumulative: String,
        spent: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        units: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tx_hash: Option<String>,
    }

    proptest! {
        #[test]
        fn it_is_written_as_serde_writes_it(
            (accepted, spent, id, units, hash) in any::<(u128, u128, [u8; 32], Option<u64>, Option<[u8; 32]>)>(),
            millis in 0..=rfc3339::UNIX_MILLIS_MAX.0 + 1,
            challenge_id in "[A-Za-z0-9_-]{43}|\\PC{0,20}|[\"\\\\\u{0}-\u{1f}a]{0,9}",
        ) {
            let (channel, timestamp) = (ChannelId(B256::new(id)), UnixMillis(millis));
            let (accepted, spent) = (Amount::new(accepted), Amount::new(spent));
            let tx_hash = hash.map(B256::new);
            let receipt = Receipt { timestamp, challenge_id, channel, accepted, spent, units, tx_hash };
            let channel = receipt.channel.to_string();
            let wire = Wire {
                method: METHOD,
                intent: INTENT,
                status: "success",
                timestamp: rfc3339::format_millis(receipt.timestamp),
                reference: &channel,
                challenge_id: &receipt.challenge_id,
                channel_id: &channel,
                accepted_cumulative: decimal(receipt.accepted),
                spent: decimal(receipt.spent),
                units: receipt.units,
                tx_hash: receipt.tx_hash.map(|hash| alloc::format!("{hash:#x}")),
            };
            prop_assert_eq!(receipt.to_json(), serde_json::to_string(&wire).unwrap());
        }
    }
}
