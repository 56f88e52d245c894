//! What the books know of one channel.

use alloc::vec::Vec;

use super::event::ChainPosition;
use super::kept::{KeptVoucher, KeptVouchers};
use super::outcome::{Outcomes, RequestKey};
use crate::units::{Address, Amount, ChannelId, UnixSeconds};
use crate::voucher::{Protocol, ProtocolVersion, V1, V2};

/// The most reservations (running requests and streams) that one channel may hold at once.
pub const RESERVATIONS_MAX: usize = 64;

/// The books of one channel.
///
/// Changed by [`State::evolve`] alone. Between steps every promise of [`State::check`] holds, first
/// of all `spent + reserved <= accepted <= deposit` while the channel is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose books these are; a voucher for another channel is refused whoever brings it.
    pub channel_id: ChannelId,
    /// The only address whose vouchers count, from the terms that hash to the channel id (rule 9).
    pub signer: Address,
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
    /// Since when something that was spent waits for its settlement. A settlement that leaves something
    /// begins anew at the last activity: what was settled is the older part.
    pub unsettled_since: Option<UnixSeconds>,
    /// Since when no more than a tombstone is kept: no vouchers and no outcomes.
    pub retired_at: Option<UnixSeconds>,
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
    /// When these books heard of it, and never before the last activity.
    pub at: UnixSeconds,
    /// Where the chain said so.
    pub position: ChainPosition,
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
    /// The largest amount that the channel's escrow can hold.
    pub const fn amount_max(&self) -> Amount {
        amount_max(self.protocol)
    }

    /// The sum of everything set aside. A sum that overflows stays at the top, where
    /// [`State::check`] finds it.
    pub fn reserved(&self) -> Amount {
        let amounts = self.reservations.iter().map(|reservation| reservation.amount.get());
        Amount::new(amounts.fold(0, u128::saturating_add))
    }

    /// What can still be charged or reserved: `accepted - spent - reserved`.
    pub fn available(&self) -> Amount {
        self.accepted.saturating_sub(self.spent).saturating_sub(self.reserved())
    }

    /// What a close captures: `max(spent, settled)` (rule 2).
    pub fn capture(&self) -> Amount {
        self.spent.max(self.settled)
    }

    /// True when more was settled than was charged here: somebody else settled, or the books are
    /// older than the chain (rule 2).
    pub fn settled_above_spent(&self) -> bool {
        self.settled > self.spent
    }

    /// True for a voucher that a settlement has shown to everybody (rule 4). Before the first
    /// settlement no voucher is public, not even one of zero.
    pub fn is_public(&self, amount: Amount) -> bool {
        !self.settled.is_zero() && amount <= self.settled
    }

    /// The voucher with which a `settle` may go to the chain now. A `settle` pays a voucher's whole
    /// amount, so only one that is not above `spent` is honest (rule 2), and only one above
    /// `settled` pays anything.
    pub fn settleable(&self) -> Option<&KeptVoucher> {
        match self.phase {
            Phase::Open => self.kept.highest_within(self.spent).filter(|kept| kept.amount > self.settled),
            Phase::Closing { .. } | Phase::Closed(_) => None,
        }
    }

    /// Whether no more than a tombstone is kept.
    pub const fn is_retired(&self) -> bool {
        self.retired_at.is_some()
    }

    /// The running request with this key.
    pub fn reservation(&self, key: &RequestKey) -> Option<&Reservation> {
        self.reservations.iter().find(|reservation| reservation.key == *key)
    }
}

impl Reservation {
    /// Whether anything was delivered on it, so that its end is an outcome and not a retry.
    pub(super) fn has_delivered(&self) -> bool {
        !self.captured.is_zero() || self.units > 0
    }
}

/// The largest amount that an escrow of this protocol can hold.
pub(super) const fn amount_max(protocol: ProtocolVersion) -> Amount {
    match protocol {
        ProtocolVersion::V1 => V1::AMOUNT_MAX,
        ProtocolVersion::V2 => V2::AMOUNT_MAX,
    }
}
