//! A receipt: what the server says after it took a payment, on 2xx answers only.

use alloc::string::{String, ToString};

use serde::Serialize;
use serde_json::Value;

use super::fields::{decimal, field};
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

impl Receipt {
    /// The JSON text: the data of a `payment-receipt` event.
    pub fn to_json(&self) -> String {
        let channel = self.channel.to_string();
        let wire = Wire {
            method: METHOD,
            intent: INTENT,
            status: "success",
            timestamp: rfc3339::format_millis(self.timestamp),
            reference: &channel,
            challenge_id: &self.challenge_id,
            channel_id: &channel,
            accepted_cumulative: decimal(self.accepted),
            spent: decimal(self.spent),
            units: self.units,
            tx_hash: self.tx_hash.map(|hash| alloc::format!("{hash:#x}")),
        };
        serde_json::to_string(&wire).expect("strings and numbers always have a JSON form")
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
