//! Charging, reserving, capturing and releasing: how accepted money becomes spent (rules 5, 7 and 8).

use alloc::vec;
use alloc::vec::Vec;

use super::apply::{check_not_closed, check_not_closing, check_serving};
use super::command::{Policy, Spend};
use super::event::Event;
use super::outcome::{Answer, Decision, RequestKey};
use super::rejection::Rejection;
use super::state::{RESERVATIONS_MAX, State};
use crate::units::{Amount, UnixSeconds};

/// What [`super::Command::Capture`] says.
pub(super) struct Delivery {
    pub(super) key: RequestKey,
    pub(super) amount: Amount,
    pub(super) units: u64,
    pub(super) finish: bool,
}

/// Pays without a new voucher.
///
/// A voucher that everybody knows buys nothing new here either (rule 4).
pub(super) fn spend(
    state: &State,
    spend: Spend,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Decision, Rejection> {
    if let Some(answer) = replayed(state, &spend, policy, now)? {
        return Ok(answer);
    }
    check_serving(state)?;
    let charged = pay(state, state.accepted, spend, policy, now)?;
    if charged.is_some() && state.is_public(state.accepted) {
        return Err(Rejection::VoucherPublic);
    }
    Ok(Decision::done(charged.into_iter().collect()))
}

/// Looks for an earlier try of the same paid request: finished, it is answered again and charges
/// nothing; still running, it is refused (rule 8). A charge without a name is always a new one.
pub(super) fn replayed(
    state: &State,
    spend: &Spend,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Option<Decision>, Rejection> {
    let Some(key) = spend.key() else { return Ok(None) };
    if let Some(outcome) = state.outcomes.get(key).filter(|outcome| policy.remembers(outcome, now)) {
        return Ok(Some(Decision { events: Vec::new(), answer: Answer::Replayed(*outcome) }));
    }
    match state.reservation(key) {
        Some(_) => Err(Rejection::RequestInFlight),
        None => Ok(None),
    }
}

/// Pays when `accepted` is the highest accepted amount: the state's own, or that of a voucher that
/// is accepted in the same step.
pub(super) fn pay(
    state: &State,
    accepted: Amount,
    spend: Spend,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Option<Event>, Rejection> {
    match spend {
        Spend::Nothing => Ok(None),
        Spend::Charge { key, amount, units } => {
            check_available(state, accepted, Cost::of(amount), policy)?;
            check_units(state, units)?;
            Ok(Some(Event::Charged { key, amount, units, at: now }))
        }
        Spend::Reserve { key, amount } => {
            if state.reservations.len() >= RESERVATIONS_MAX {
                return Err(Rejection::TooManyReservations { maximum: RESERVATIONS_MAX });
            }
            check_available(state, accepted, Cost::of(amount), policy)?;
            Ok(Some(Event::Reserved { key, amount, at: now }))
        }
    }
}

/// Charges a running request. What its own reservation covers was promised and is paid even when a
/// close request is pending; anything beyond is a new charge (rule 7).
pub(super) fn capture(
    state: &State,
    delivery: Delivery,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Decision, Rejection> {
    check_not_closed(state)?;
    check_not_closing(state)?;
    let Delivery { key, amount, units, finish } = delivery;
    let reservation = state.reservation(&key).ok_or(Rejection::ReservationNotFound)?;
    let cost = Cost { price: amount, set_aside: reservation.amount };
    if !cost.beyond().is_zero() {
        check_serving(state)?;
        check_available(state, state.accepted, cost, policy)?;
    }
    check_units(state, units)?;
    Ok(Decision::done(vec![Event::Captured { key, amount, units, finished: finish, at: now }]))
}

/// Ends a running request.
pub(super) fn release(state: &State, key: RequestKey, now: UnixSeconds) -> Result<Decision, Rejection> {
    state.reservation(&key).ok_or(Rejection::ReservationNotFound)?;
    Ok(Decision::done(vec![Event::Released { key, at: now }]))
}

/// Ends every running request.
pub(super) fn release_all(state: &State, now: UnixSeconds) -> Decision {
    let keys = state.reservations.iter().map(|reservation| reservation.key);
    Decision::done(keys.map(|key| Event::Released { key, at: now }).collect())
}

/// A price, and how much of it is set aside already.
#[derive(Clone, Copy)]
struct Cost {
    price: Amount,
    set_aside: Amount,
}

impl Cost {
    fn of(price: Amount) -> Self {
        Self { price, set_aside: Amount::ZERO }
    }

    /// What must come out of the available money.
    fn beyond(self) -> Amount {
        self.price.saturating_sub(self.set_aside)
    }
}

fn check_available(state: &State, accepted: Amount, cost: Cost, policy: &Policy) -> Result<(), Rejection> {
    let free = accepted.saturating_sub(state.spent).saturating_sub(state.reserved());
    if cost.beyond() <= free {
        return Ok(());
    }
    Err(Rejection::InsufficientBalance {
        cost: cost.price,
        available: saturating_add(free, cost.set_aside),
        required_cumulative: required_cumulative(state, accepted, cost, policy),
    })
}

/// What the next voucher must reach so that it is taken (above the last one by the minimum, and not
/// public) and pays. At most the protocol's bound: a price beyond it can never be paid.
fn required_cumulative(state: &State, accepted: Amount, cost: Cost, policy: &Policy) -> Amount {
    let pays = saturating_add(saturating_add(state.spent, state.reserved()), cost.beyond());
    let rises = saturating_add(accepted, policy.voucher_delta_min);
    let unsettled = saturating_add(state.settled, Amount::new(1));
    let secret = if pays <= state.settled { unsettled } else { pays };
    pays.max(rises).max(secret).min(state.amount_max())
}

/// Refuses units that the channel's counter cannot hold.
fn check_units(state: &State, units: u64) -> Result<(), Rejection> {
    state.units.checked_add(units).map(|_| ()).ok_or(Rejection::AmountTooLarge)
}

/// For amounts that are shown or compared; what is booked was checked before.
fn saturating_add(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).unwrap_or(Amount::MAX)
}
