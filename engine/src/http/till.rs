//! Charges for pieces of a stream, in order, before they leave, and asks for a voucher when the money is out.
//!
//! Both kinds of metered streams (server-sent events, WebSocket messages) keep what their service has ready in a [`Till`].
//! It says how many pieces are paid for, or what the client must sign for the next one. It delivers nothing itself.

use std::collections::VecDeque;

use farebox_core::challenge::NeedVoucher;
use farebox_core::channel::{Rejection, Snapshot};
use farebox_core::units::Amount;
use tokio::time::Instant;

use super::{Paid, PaidStop};

/// The most pieces that are charged in one step.
pub const CHUNK_EVENTS_MAX: usize = 64;
/// About the most bytes that are collected for one step.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How often a stream looks again when the money that it saw was taken by another request.
const RACES_MAX: u32 = 64;

/// A piece, and how many units it adds.
pub(super) struct Priced<T> {
    pub(super) piece: T,
    pub(super) bytes: usize,
    pub(super) units: u64,
}

/// What to do next with what is ready.
pub(super) enum Turn {
    /// So many pieces of the queue are paid or free.
    Deliver(usize),
    /// The client has to sign more.
    Ask(NeedVoucher),
    /// Nothing more can be charged.
    End,
}

/// Pieces that the service gave and that are not delivered yet, and the money for them.
pub(super) struct Till<T> {
    pub(super) ready: VecDeque<Priced<T>>,
    pub(super) paid: Paid,
    /// When the last voucher came: the one that began the stream, or one that it asked for.
    raised_at: Instant,
}

impl<T> Till<T> {
    pub(super) fn new(paid: Paid) -> Self {
        Self { ready: VecDeque::new(), paid, raised_at: Instant::now() }
    }

    /// Notes that a voucher came.
    pub(super) fn raised(&mut self) {
        self.raised_at = Instant::now();
    }

    /// Until when the next voucher is better not asked for: the channel's rate would refuse it. `None`: ask now.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        let ask_at = self.raised_at + self.paid.voucher_interval();
        (Instant::now() < ask_at).then_some(ask_at)
    }

    /// Whether more may be collected for the next step.
    pub(super) fn has_room(&self) -> bool {
        let bytes: usize = self.ready.iter().map(|piece| piece.bytes).sum();
        self.ready.len() < CHUNK_EVENTS_MAX && bytes < CHUNK_BYTES_MAX
    }

    /// Charges for as much of what is ready as can be paid. It must not be dropped before it is ready: what it charged
    /// would not be delivered.
    pub(super) async fn turn(&mut self) -> Turn {
        let count = self.ready.len().min(CHUNK_EVENTS_MAX);
        for _ in 0..RACES_MAX {
            let due = self.ready.iter().take(count).map(|piece| piece.units);
            let billed = due.fold(0_u64, u64::saturating_add);
            if billed == 0 {
                return Turn::Deliver(count);
            }
            let payable = match self.paid.capture(billed).await {
                Ok(_) => return Turn::Deliver(count),
                Err(PaidStop::Rejected(Rejection::InsufficientBalance { available, .. })) => {
                    units_within(available, self.paid.price())
                }
                Err(stop) => return self.stop(&stop),
            };
            let (pieces, units) = self.prefix(payable.min(billed));
            if units > 0 {
                match self.paid.capture(units).await {
                    Ok(_) => return Turn::Deliver(pieces),
                    // Another request was faster: look again.
                    Err(PaidStop::Rejected(Rejection::InsufficientBalance { .. })) => continue,
                    Err(stop) => return self.stop(&stop),
                }
            }
            if pieces > 0 {
                return Turn::Deliver(pieces);
            }
            if let Some(turn) = self.ask(billed).await {
                return turn;
            }
        }
        tracing::debug!(channel = %self.paid.channel(), "a stream ends: others take all money of its channel");
        Turn::End
    }

    /// Finds out what the client must sign to pay for `billed` units; `None` to look again.
    async fn ask(&mut self, billed: u64) -> Option<Turn> {
        // What the next piece needs, in the words of the books. If it can be paid by now, it is.
        let first = self.ready.front().map_or(0, |piece| piece.units);
        let least = match self.paid.capture(first).await {
            Ok(_) => return Some(Turn::Deliver(1)),
            Err(PaidStop::Rejected(Rejection::InsufficientBalance { required_cumulative, .. })) => {
                required_cumulative
            }
            Err(stop) => return Some(self.stop(&stop)),
        };
        let snapshot = match self.paid.refresh().await {
            Ok(snapshot) => snapshot,
            Err(error) => return Some(self.stop(&PaidStop::Engine(error))),
        };
        if snapshot.accepted >= least {
            // A voucher came in between: waiting for a higher one would wait for ever.
            return None;
        }
        let required = required(least, self.paid.price(), billed.saturating_sub(first), &snapshot);
        let channel = self.paid.channel();
        Some(Turn::Ask(NeedVoucher {
            channel,
            required,
            accepted: snapshot.accepted,
            deposit: snapshot.deposit,
        }))
    }

    fn stop(&self, stop: &PaidStop) -> Turn {
        tracing::debug!(channel = %self.paid.channel(), %stop, "a stream ends");
        Turn::End
    }

    /// How many pieces of the queue `units` pay for, with the free ones before the next billed one, and how many units
    /// these cost.
    fn prefix(&self, units: u64) -> (usize, u64) {
        let mut cost = 0_u64;
        let within = self.ready.iter().take_while(|piece| {
            let next = cost.saturating_add(piece.units);
            let is_paid = piece.units == 0 || next <= units;
            cost = if is_paid { next } else { cost };
            is_paid
        });
        (within.count(), cost)
    }
}

/// How many units `money` buys. A free unit is never short of money, so a price of zero does not come here.
pub(super) fn units_within(money: Amount, price: Amount) -> u64 {
    let units = money.get().checked_div(price.get()).unwrap_or_default();
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// What the next voucher must reach for the next piece, which needs `least`, and `more` units after it: as much as
/// the deposit allows, but that one piece at least (then the client has to top up first).
fn required(least: Amount, price: Amount, more: u64, snapshot: &Snapshot) -> Amount {
    let room = snapshot.deposit.saturating_sub(least);
    let more = units_within(room, price).min(more);
    price.checked_mul(more).and_then(|more| least.checked_add(more)).unwrap_or(least)
}
