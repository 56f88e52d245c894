//! A channel as JSON: what the admin API and `farebox channels --json` show.
//!
//! Amounts are strings of base units, as everywhere in the protocol: JSON numbers lose digits. The same channel
//! has the same text before and after a restart.

use farebox_engine::Channel;
use farebox_engine::core::channel::{Phase, Snapshot, Terms};
use farebox_engine::core::units::{Address, Amount};
use serde::Serialize;

/// One channel.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelView {
    /// Lowercase hex.
    pub channel_id: String,
    /// `v1` or `v2`.
    pub protocol: String,
    /// `open`, `closing` or `closed`.
    pub phase: &'static str,
    /// Who locked the deposit.
    pub payer: String,
    /// Who is paid.
    pub payee: String,
    /// Who signs vouchers.
    pub signer: String,
    /// Who else may settle and close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The token.
    pub token: String,
    /// The contract that holds the deposit.
    pub escrow: String,
    /// The chain.
    pub chain_id: u64,
    /// What the escrow holds, or held.
    pub deposit: String,
    /// What the escrow paid out.
    pub settled: String,
    /// The highest accepted voucher.
    pub accepted: String,
    /// What was charged.
    pub spent: String,
    /// What is set aside for running requests.
    pub reserved: String,
    /// What can still be charged.
    pub available: String,
    /// Units delivered in all.
    pub units: u64,
    /// When the payer asked on chain to close, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_requested_at: Option<u64>,
    /// What a close on its way will capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capturing: Option<String>,
    /// What the payee got in all (closed channels).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<String>,
    /// What the payer got back (closed channels).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<String>,
    /// What was spent and could not be claimed (closed channels).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// When a voucher or a charge was last taken, in Unix seconds.
    pub active_at: u64,
    /// How many events made this state.
    pub sequence: u64,
}

impl From<&Channel> for ChannelView {
    fn from(channel: &Channel) -> Self {
        let Channel { id, identity, snapshot } = channel;
        let Snapshot { phase, .. } = snapshot;
        let mut view = Self {
            channel_id: id.to_string(),
            protocol: snapshot.protocol.to_string(),
            phase: "open",
            payer: hex(identity.payer()),
            payee: hex(identity.payee()),
            signer: hex(identity.expected_signer()),
            operator: match &identity.terms {
                Terms::V2(descriptor) if !descriptor.operator.is_zero() => Some(hex(descriptor.operator)),
                _ => None,
            },
            token: hex(identity.token()),
            escrow: hex(identity.escrow),
            chain_id: identity.chain_id.0,
            deposit: snapshot.deposit.to_string(),
            settled: snapshot.settled.to_string(),
            accepted: snapshot.accepted.to_string(),
            spent: snapshot.spent.to_string(),
            reserved: snapshot.reserved.to_string(),
            available: snapshot.available().to_string(),
            units: snapshot.units,
            close_requested_at: snapshot.close_requested_at.map(|at| at.0),
            capturing: None,
            captured: None,
            refunded: None,
            lost: None,
            active_at: snapshot.active_at.0,
            sequence: snapshot.sequence,
        };
        let text = |amount: Amount| Some(amount.to_string());
        match phase {
            Phase::Open => {}
            Phase::Closing { capture } => {
                view.phase = "closing";
                view.capturing = text(*capture);
            }
            Phase::Closed(closure) => {
                view.phase = "closed";
                view.captured = text(closure.captured);
                view.refunded = text(closure.refunded);
                view.lost = text(closure.lost);
            }
        }
        view
    }
}

/// An address in lowercase, as it goes on the wire.
fn hex(address: Address) -> String {
    format!("{address:#x}")
}
