//! A claim on its way: what is asked of an escrow, and what came of it.

pub(crate) mod call;

use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Identity};
use farebox_core::units::{Amount, B256, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::chain::{CloseFailure, ClosedOnChain};
use farebox_settlement_plan::ClaimCall;

/// A claim that the books decided, in the words of the escrow, with what the chain held when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Claiming {
    pub(crate) identity: Arc<Identity>,
    pub(crate) call: ClaimCall,
    /// What the escrow held.
    pub(crate) deposit: Amount,
    /// When the payer asked on chain to close.
    pub(crate) close_asked_at: Option<UnixSeconds>,
}

impl Claiming {
    pub(crate) fn channel(&self) -> ChannelId {
        self.call.channel
    }

    pub(crate) fn protocol(&self) -> ProtocolVersion {
        self.identity.protocol()
    }
}

/// What a claim did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paid {
    /// It, or somebody else, ended the channel.
    Closed(ClosedOnChain),
    /// This much is paid out in all.
    Settled { settled: Amount, position: ChainPosition, tx_hash: B256 },
}

/// Why a claim did nothing, or may have done nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was surely not executed, and the reason is not the channel: a node, the fees, the time.
    #[error("not sent: {what}")]
    Unavailable { what: String },
    /// The payer took the close request back; nothing was sent.
    #[error("not sent: the close request was taken back")]
    TakenBack,
    /// The books do not ask for it any more; nothing was sent.
    #[error("not sent: nothing to claim")]
    NothingToDo,
    /// The chain would refuse it; nothing was sent.
    #[error("the escrow refuses it: {what}")]
    Refused { what: String },
    /// It was executed alone and reverted.
    #[error("transaction {tx_hash:#x} reverted")]
    Reverted { tx_hash: B256 },
    /// It may still happen (rule 10).
    #[error("transaction {tx_hash:#x} was broadcast, its receipt is not known yet")]
    Unknown { tx_hash: B256 },
}

impl Failure {
    pub(crate) fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        Self::Unavailable { what: cause.to_string() }
    }

    pub(crate) fn refused(cause: &dyn std::fmt::Display) -> Self {
        Self::Refused { what: cause.to_string() }
    }

    /// Whether the channel itself is the reason, so that others must not wait for it.
    pub(crate) const fn is_poison(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Reverted { .. })
    }

    /// The same for the door.
    pub(crate) fn close_failure(&self) -> CloseFailure {
        match self {
            Self::Unavailable { what } | Self::Refused { what } => {
                CloseFailure::NotSent { what: what.clone() }
            }
            Self::TakenBack | Self::NothingToDo => CloseFailure::NotSent { what: self.to_string() },
            Self::Reverted { tx_hash } => CloseFailure::Reverted { tx_hash: *tx_hash },
            Self::Unknown { tx_hash } => CloseFailure::Unknown { tx_hash: *tx_hash },
        }
    }
}

/// What came of one channel's claim.
pub(crate) type Claimed = (ChannelId, Result<Paid, Failure>);
