//! The two events that a metered stream adds to the upstream's own (server-sent events).

use alloc::format;
use alloc::string::{String, ToString};

use serde::Serialize;
use serde_json::Value;

use super::fields::{decimal, field};
use super::receipt::{Receipt, ReceiptError};
use crate::units::{Amount, ChannelId};

/// The event that asks for a higher voucher. Delivery pauses after it.
pub const EVENT_NEED_VOUCHER: &str = "payment-need-voucher";
/// The event that ends a paid stream.
pub const EVENT_RECEIPT: &str = "payment-receipt";

/// The data of `payment-need-voucher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedVoucher {
    /// The channel.
    pub channel: ChannelId,
    /// What the next voucher must reach. Above `deposit`, the client must top up first.
    pub required: Amount,
    /// The highest accepted voucher amount.
    pub accepted: Amount,
    /// What the escrow holds.
    pub deposit: Amount,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    channel_id: String,
    required_cumulative: String,
    accepted_cumulative: String,
    deposit: String,
}

impl NeedVoucher {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            channel_id: self.channel.to_string(),
            required_cumulative: decimal(self.required),
            accepted_cumulative: decimal(self.accepted),
            deposit: decimal(self.deposit),
        };
        serde_json::to_string(&wire).expect("strings always have a JSON form")
    }

    /// The whole event.
    pub fn to_event(&self) -> String {
        format!("event: {EVENT_NEED_VOUCHER}\ndata: {}\n\n", self.to_json())
    }

    /// Reads the data.
    pub fn parse_json(json: &[u8]) -> Result<Self, ReceiptError> {
        let value: Value = serde_json::from_slice(json).map_err(|_| ReceiptError::NotJson)?;
        let object = value.as_object().ok_or(ReceiptError::NotJson)?;
        Ok(Self {
            channel: field(object, "event.channelId").channel()?,
            required: field(object, "event.requiredCumulative").amount(Amount::MAX)?,
            accepted: field(object, "event.acceptedCumulative").amount(Amount::MAX)?,
            deposit: field(object, "event.deposit").amount(Amount::MAX)?,
        })
    }
}

impl Receipt {
    /// The event that ends a stream.
    pub fn to_event(&self) -> String {
        format!("event: {EVENT_RECEIPT}\ndata: {}\n\n", self.to_json())
    }
}
