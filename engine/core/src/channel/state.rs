//! What the books know of one channel.

use alloc::vec::Vec;

use super::event::ChainPosition;
use super::kept::KeptVouchers;
use super::outcome::{Outcomes, RequestKey};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::ProtocolVersion;

/// The most reservations (running requests and streams) that one channel may hold at once.
pub const RESERVATIONS_MAX: usize = 64;

/// The books of one channel.
///
/// Changed by [`State::evolve`] alone. Between steps every promise of [`State::check`] holds, first
/// of all `spent + reserved <= accepted <= deposit` while the channel is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The protocol of the escrow; fixes the amount bound and what a close can capture.
    pub protocol: ProtocolVersion,
    /// How many events made this state: the per-channel sequence number of the journal.
    pub sequence: u64,
    /// Where in its life the channel is.
    pub phase: Phase,
    /// What the escrow holds for the channel, as last seen on chain; only grows.
    pub deposit: Amount,
    /// What the escrow has paid out to the payee, as last seen on chain; only grows.
    pub settled: Amount,
    /// The highest cumulative amount that a verified voucher authorized; only grows.
    pub accepted: Amount,
    /// What was charged for delivered service; only grows.
    pub spent: Amount,
    /// Units delivered in all (tokens, events, requests), for receipts and reports.
    pub units: u64,
    /// The vouchers that a claim may need.
    pub kept: KeptVouchers,
    /// Running requests and streams, oldest first; at most [`RESERVATIONS_MAX`].
    pub reservations: Vec<Reservation>,
    /// Finished paid requests that a retry may ask for again.
    pub outcomes: Outcomes,
    /// When the payer asked on chain to close, if the request stands (rule 7).
    pub close_requested_at: Option<UnixSeconds>,
    /// The newest chain fact that set or cleared the close request; older ones are ignored.
    pub close_position: ChainPosition,
    /// When the channel entered the books.
    pub opened_at: UnixSeconds,
    /// When a voucher or a charge was last taken.
    pub active_at: UnixSeconds,
}

/// Where in its life a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Vouchers and charges are taken (unless a close request is pending).
    Open,
    /// A close is on its way to the chain: nothing new is taken until it landed or surely failed.
    Closing {
        /// What the close captures for the payee.
        capture: Amount,
    },
    /// Over. The tombstone stays, so that a replayed `open` revives nothing (rule 6).
    Closed(Closure),
}

/// How a channel ended, from the chain's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closure {
    /// What the payee got over the channel's whole life.
    pub captured: Amount,
    /// What the payer got back.
    pub refunded: Amount,
    /// What was spent but could not be claimed: `spent - captured` when positive (rule 2, v1).
    pub lost: Amount,
}

/// Money set aside for a running request or stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The paid request that holds it.
    pub key: RequestKey,
    /// What is still set aside; zero for a stream that pays as it goes.
    pub amount: Amount,
    /// What this request was charged so far.
    pub captured: Amount,
    /// Units delivered to this request so far.
    pub units: u64,
}

impl State {
    /// The sum of everything set aside.
    pub fn reserved(&self) -> Amount {
        let sum = self.reservations.iter().map(|reservation| reservation.amount.get()).sum();
        Amount::new(sum)
    }

    /// What can still be charged or reserved: `accepted - spent - reserved`.
    pub fn available(&self) -> Amount {
        self.accepted.saturating_sub(self.spent).saturating_sub(self.reserved())
    }

    /// What a close captures: `max(spent, settled)` (rule 2).
    pub fn capture(&self) -> Amount {
        self.spent.max(self.settled)
    }
}
