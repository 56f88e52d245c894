//! What became true: the records that the journal keeps.

use alloc::boxed::Box;

use super::identity::Identity;
use super::outcome::RequestKey;
use crate::units::{Amount, UnixSeconds};
use crate::voucher::Signature;

/// A place on the chain, in the chain's own order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainPosition {
    /// The block's height.
    pub block: u64,
    /// The log's index in its block.
    pub log_index: u32,
}

/// One fact about one channel. Amounts that the chain told are totals, never differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The channel entered the books.
    Opened {
        /// Its immutable terms.
        identity: Box<Identity>,
        /// What the escrow held then.
        deposit: Amount,
        /// What the escrow had paid out then.
        settled: Amount,
        /// Our time.
        at: UnixSeconds,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// A higher voucher was taken.
    Accepted {
        /// Its cumulative amount.
        amount: Amount,
        /// Its signature, in the form that the escrow takes.
        signature: Signature,
        /// Our time.
        at: UnixSeconds,
    },
    /// A voucher that is not the highest was kept, because a close may need its very amount (v1).
    VoucherKept {
        /// Its cumulative amount.
        amount: Amount,
        /// Its signature, in the form that the escrow takes.
        signature: Signature,
        /// Our time.
        at: UnixSeconds,
    },
    /// A whole price was charged.
    Charged {
        /// The paid request; without a name its outcome is not remembered.
        key: Option<RequestKey>,
        /// The price.
        amount: Amount,
        /// Units bought.
        units: u64,
        /// Our time.
        at: UnixSeconds,
    },
    /// Money was set aside.
    Reserved {
        /// The paid request.
        key: RequestKey,
        /// How much.
        amount: Amount,
        /// Our time.
        at: UnixSeconds,
    },
    /// A running request was charged.
    Captured {
        /// The paid request.
        key: RequestKey,
        /// How much.
        amount: Amount,
        /// Units delivered for it.
        units: u64,
        /// Whether the request is over.
        finished: bool,
        /// Our time.
        at: UnixSeconds,
    },
    /// A running request ended without a further charge.
    Released {
        /// The paid request.
        key: RequestKey,
        /// Our time.
        at: UnixSeconds,
    },
    /// The deposit grew.
    ToppedUp {
        /// The new total.
        deposit: Amount,
    },
    /// The payer asked on chain to close.
    CloseRequested {
        /// The block's timestamp.
        at: UnixSeconds,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The close request was cancelled.
    CloseRequestCancelled {
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// The escrow paid out.
    Settled {
        /// The new total.
        settled: Amount,
    },
    /// A close is on its way.
    CloseStarted {
        /// What it captures.
        capture: Amount,
    },
    /// The close will not happen.
    CloseAborted,
    /// The channel is over.
    Closed {
        /// What the payee got over the channel's whole life.
        captured: Amount,
        /// What the payer got back at the end.
        refunded: Amount,
        /// Our time.
        at: UnixSeconds,
        /// Where the chain said so.
        position: ChainPosition,
    },
    /// Of a channel that is over, no more than a tombstone is kept.
    Retired {
        /// Our time.
        at: UnixSeconds,
    },
}

impl Event {
    /// When it became true by our clock, where it says so.
    pub const fn at(&self) -> Option<UnixSeconds> {
        match self {
            Self::Opened { at, .. }
            | Self::Accepted { at, .. }
            | Self::VoucherKept { at, .. }
            | Self::Charged { at, .. }
            | Self::Reserved { at, .. }
            | Self::Captured { at, .. }
            | Self::Released { at, .. }
            | Self::Closed { at, .. }
            | Self::Retired { at } => Some(*at),
            Self::ToppedUp { .. }
            | Self::CloseRequested { .. }
            | Self::CloseRequestCancelled { .. }
            | Self::Settled { .. }
            | Self::CloseStarted { .. }
            | Self::CloseAborted => None,
        }
    }
}
