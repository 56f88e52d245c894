//! How facts change a state: the only code that does, for live traffic and for replay alike.
//!
//! Nothing is decided here and nothing is refused. A fact that [`super::decide`] would not have made
//! leaves a state that [`State::check`] refuses, never a wrapped number and never a panic: sums stay
//! at the top when they overflow, a capture of an unknown request is still counted as spent.

use alloc::vec::Vec;

use super::event::{ChainPosition, Event};
use super::kept::{KeptVoucher, KeptVouchers};
use super::outcome::{Outcome, Outcomes, RequestKey};
use super::state::{Closure, Phase, Reservation, State};
use crate::units::{Amount, UnixSeconds};
use crate::voucher::Signature;

impl State {
    /// The state that an `Opened` fact begins with; `None` for every other fact.
    ///
    /// A channel that comes with something settled is older than these books. What was settled then
    /// counts as spent and as accepted: it was paid for service that these books have not seen, and
    /// must not buy service again.
    pub fn from_opened(event: &Event) -> Option<Self> {
        let Event::Opened { identity, deposit, settled, at, position } = event else { return None };
        Some(Self {
            channel_id: identity.channel_id(),
            signer: identity.expected_signer(),
            protocol: identity.protocol(),
            sequence: 1,
            phase: Phase::Open,
            deposit: *deposit,
            settled: *settled,
            accepted: *settled,
            spent: *settled,
            units: 0,
            kept: KeptVouchers::default(),
            reservations: Vec::new(),
            outcomes: Outcomes::default(),
            close_requested_at: None,
            close_position: *position,
            opened_at: *at,
            active_at: *at,
            unsettled_since: None,
            retired_at: None,
        })
    }

    /// Makes a fact part of the state. A second `Opened` is counted and changes nothing else (rule 6).
    pub fn evolve(&mut self, event: &Event) {
        self.sequence = self.sequence.saturating_add(1);
        match event {
            Event::Opened { .. } => {}
            Event::Accepted { amount, signature, at } => {
                self.accepted = self.accepted.max(*amount);
                self.keep(*amount, signature);
                self.touch(*at);
            }
            Event::VoucherKept { amount, signature, at } => {
                self.keep(*amount, signature);
                self.touch(*at);
            }
            Event::Charged { key, amount, units, at } => {
                self.spend(*amount, *units);
                if let Some(key) = key {
                    self.finish(Outcome { key: *key, charged: *amount, units: *units, ..self.balance(*at) });
                }
                self.touch(*at);
                self.owe_since(*at);
            }
            Event::Reserved { key, amount, at } => {
                let reservation =
                    Reservation { key: *key, amount: *amount, captured: Amount::ZERO, units: 0 };
                self.outcomes.forget(key);
                self.reservations.push(reservation);
                self.touch(*at);
            }
            Event::Captured { key, amount, units, finished, at } => {
                self.capture_request(key, *amount, *units);
                if *finished {
                    self.end_request(key, true, *at);
                }
                self.touch(*at);
                self.owe_since(*at);
            }
            // Not activity: after a restart every orphan is released, and that must not look like it.
            Event::Released { key, at } => self.end_request(key, false, *at),
            Event::ToppedUp { deposit } => self.deposit = self.deposit.max(*deposit),
            Event::CloseRequested { at, position } => {
                self.close_requested_at = Some(*at);
                self.close_position = *position;
            }
            Event::CloseRequestCancelled { position } => {
                self.close_requested_at = None;
                self.close_position = *position;
            }
            Event::Settled { settled } => {
                if *settled > self.settled {
                    self.settled = *settled;
                    self.unsettled_since = None;
                    self.owe_since(self.active_at);
                }
            }
            Event::CloseStarted { capture } => {
                self.end_all_requests();
                self.phase = Phase::Closing { capture: *capture };
            }
            Event::CloseAborted => self.phase = Phase::Open,
            Event::Closed { captured, refunded, at, position } => {
                self.close((*captured, *refunded), *at, *position);
            }
            Event::Retired { at } => {
                self.kept = KeptVouchers::default();
                self.outcomes = Outcomes::default();
                self.retired_at = Some(*at);
            }
        }
    }

    fn touch(&mut self, at: UnixSeconds) {
        self.active_at = self.active_at.max(at);
    }

    /// Notes that something spent is unsettled, unless that is known or not so.
    fn owe_since(&mut self, at: UnixSeconds) {
        if self.spent > self.settled && self.unsettled_since.is_none() {
            self.unsettled_since = Some(at);
        }
    }

    fn keep(&mut self, amount: Amount, signature: &Signature) {
        let voucher = KeptVoucher { amount, signature: signature.clone() };
        self.kept.insert(voucher, self.spent, self.settled);
    }

    fn spend(&mut self, amount: Amount, units: u64) {
        self.spent = saturating_add(self.spent, amount);
        self.units = self.units.saturating_add(units);
        self.kept.prune(self.spent);
    }

    /// Charges a running request: its own reservation pays first.
    fn capture_request(&mut self, key: &RequestKey, amount: Amount, units: u64) {
        self.spend(amount, units);
        if let Some(reservation) = self.reservations.iter_mut().find(|held| held.key == *key) {
            reservation.amount = reservation.amount.saturating_sub(amount);
            reservation.captured = saturating_add(reservation.captured, amount);
            reservation.units = reservation.units.saturating_add(units);
        }
    }

    /// Ends a running request. Its outcome is kept when it is `finished` or anything was delivered
    /// on it (one credential, at most one delivery); otherwise it may be tried again (rule 8).
    fn end_request(&mut self, key: &RequestKey, finished: bool, at: UnixSeconds) {
        let Some(place) = self.reservations.iter().position(|held| held.key == *key) else { return };
        let ended = self.reservations.remove(place);
        if finished || ended.has_delivered() {
            let Reservation { key, captured, units, amount: _ } = ended;
            self.finish(Outcome { key, charged: captured, units, ..self.balance(at) });
        }
    }

    fn end_all_requests(&mut self) {
        while let Some(oldest) = self.reservations.first().map(|reservation| reservation.key) {
            self.end_request(&oldest, false, self.active_at);
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// The balance part of an outcome, as it is now. A channel's own time never goes back: an outcome that a clock dated
    /// into the past would be forgotten too early when the clock is right again.
    fn balance(&self, at: UnixSeconds) -> Outcome {
        Outcome {
            key: RequestKey([0; 16]),
            charged: Amount::ZERO,
            units: 0,
            accepted: self.accepted,
            spent: self.spent,
            at: at.max(self.active_at),
        }
    }

    /// A record that says no time is of the last activity at the earliest.
    fn close(&mut self, (captured, refunded): (Amount, Amount), at: UnixSeconds, position: ChainPosition) {
        self.end_all_requests();
        self.settled = self.settled.max(captured);
        self.unsettled_since = None;
        let lost = self.spent.saturating_sub(captured);
        self.phase =
            Phase::Closed(Closure { captured, refunded, lost, at: at.max(self.active_at), position });
    }
}

fn saturating_add(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).unwrap_or(Amount::MAX)
}
