//! What the books hold of a channel, for a client that lost it: `Payment-Session-Snapshot` of the session draft (v2 only).
//!
//! It goes only to who proved with a voucher that the channel is his: it shows what was accepted and spent.

use alloc::string::{String, ToString};

use serde_json::{Map, Value};

use super::base64url;
use super::credential::descriptor_value;
use super::fields::{decimal, lowercase};
use crate::channel::Snapshot;
use crate::units::{Address, Amount, ChainId, ChannelId};
use crate::voucher::v2::Descriptor;

/// A channel's terms and what the books hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSnapshot<'a> {
    /// The channel.
    pub channel: ChannelId,
    /// Its chain.
    pub chain_id: ChainId,
    /// Its escrow.
    pub escrow: Address,
    /// Its terms.
    pub descriptor: &'a Descriptor,
    /// What the books hold.
    pub books: &'a Snapshot,
    /// What the next voucher must reach.
    pub required: Amount,
}

impl SessionSnapshot<'_> {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| {
            members.insert(name.into(), value);
        };
        let books = self.books;
        for (name, amount) in [
            ("acceptedCumulative", books.accepted),
            ("deposit", books.deposit),
            ("requiredCumulative", self.required),
            ("settled", books.settled),
            ("spent", books.spent),
        ] {
            add(name, Value::String(decimal(amount)));
        }
        add("chainId", self.chain_id.0.into());
        add("channelId", Value::String(self.channel.to_string()));
        if let Some(at) = books.close_requested_at {
            add("closeRequestedAt", Value::String(at.0.to_string()));
        }
        add("descriptor", descriptor_value(self.descriptor));
        add("escrow", Value::String(lowercase(self.escrow)));
        add("units", books.units.into());
        Value::Object(members).to_string()
    }

    /// The value of the header.
    pub fn to_header(&self) -> String {
        base64url::encode(self.to_json())
    }
}
