//! Decides: what a command makes true of a channel, or why it is refused.
//!
//! [`decide`] looks and changes nothing; [`apply`] also shows the state that follows. Each command has
//! its file; this one only sends them there.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::command::{Command, Policy};
use super::event::{ChainPosition, Event};
use super::identity::Identity;
use super::outcome::{Answer, Decision, Transition};
use super::rejection::Rejection;
use super::state::{Phase, State, amount_max};
use super::{accept, chain_facts, close, spend};
use crate::units::{Amount, UnixSeconds};

/// Takes a new channel into the books, with what the chain says about it.
///
/// The caller asks its store first: a channel that the books know, also a closed one, is never opened
/// again (rule 6).
///
/// # Errors
///
/// [`Rejection::AmountTooLarge`] and [`Rejection::OpenMismatch`] when the chain's word cannot be true.
pub fn open(
    identity: Identity,
    deposit: Amount,
    settled: Amount,
    position: ChainPosition,
    now: UnixSeconds,
) -> Result<Transition, Rejection> {
    if deposit > amount_max(identity.protocol()) {
        return Err(Rejection::AmountTooLarge);
    }
    if settled > deposit {
        return Err(Rejection::OpenMismatch { what: "more is settled than was deposited" });
    }
    let event = Event::Opened { identity: Box::new(identity), deposit, settled, at: now, position };
    let next = State::from_opened(&event).expect("the event is Opened");
    debug_assert_eq!(next.check(), Ok(()));
    // Nothing was spent in these books, so anything settled is more than was spent.
    let alarm_settled_above_spent = !settled.is_zero();
    Ok(Transition { events: vec![event], answer: Answer::Done, next, alarm_settled_above_spent })
}

/// Decides a command and applies it to a copy of the state.
///
/// # Errors
///
/// A [`Rejection`]: an expected answer, and nothing changed.
pub fn apply(
    state: &State,
    command: Command,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Transition, Rejection> {
    let Decision { events, answer } = decide(state, command, policy, now)?;
    let next = after(state, &events);
    debug_assert_eq!(next.check(), Ok(()), "after {events:?}");
    let alarm_settled_above_spent = next.settled > state.settled && next.settled_above_spent();
    Ok(Transition { events, answer, next, alarm_settled_above_spent })
}

/// Decides a command without applying it, for a caller that applies the events to its own state
/// with [`State::evolve`] and saves the copy. The events are in force only together.
///
/// # Errors
///
/// A [`Rejection`]: an expected answer, and nothing changes.
pub fn decide(
    state: &State,
    command: Command,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Decision, Rejection> {
    match command {
        Command::Accept { voucher, then } => accept::accept(state, voucher, then, policy, now),
        Command::Spend(spend) => spend::spend(state, spend, policy, now),
        Command::Capture { key, amount, units, finish } => {
            spend::capture(state, spend::Delivery { key, amount, units, finish }, policy, now)
        }
        Command::Release { key } => spend::release(state, key, now),
        Command::ReleaseAll => Ok(spend::release_all(state, now)),
        Command::ToppedUp { deposit, position, cancels_close } => {
            chain_facts::topped_up(state, deposit, position, cancels_close)
        }
        Command::CloseRequested { at, position } => Ok(chain_facts::close_requested(state, at, position)),
        Command::CloseRequestCancelled { position } => {
            Ok(chain_facts::close_request_cancelled(state, position))
        }
        Command::Settled { settled, position: _ } => chain_facts::settled(state, settled),
        Command::Closed { captured, refunded, position } => {
            chain_facts::closed(state, captured, refunded, position, now)
        }
        Command::Retire { closed_before } => Ok(close::retire(state, closed_before, now)),
        Command::BeginClose(reason) => close::begin(state, reason, now),
        Command::AbortClose => close::abort(state),
        Command::PlanSettle => close::plan_settle(state),
        Command::Read => Ok(Decision::nothing()),
    }
}

impl Decision {
    /// Nothing becomes true, and that is fine.
    pub(super) fn nothing() -> Self {
        Self::done(Vec::new())
    }

    /// The events become true, and there is nothing more to say.
    pub(super) fn done(events: Vec<Event>) -> Self {
        Self { events, answer: Answer::Done }
    }
}

/// The state after the events.
pub(super) fn after(state: &State, events: &[Event]) -> State {
    let mut next = state.clone();
    for event in events {
        next.evolve(event);
    }
    next
}

/// Refuses what a channel may not do any more once its end has begun (rules 6 and 7).
pub(super) fn check_serving(state: &State) -> Result<(), Rejection> {
    check_not_closed(state)?;
    if let Some(requested_at) = state.close_requested_at {
        return Err(Rejection::ClosePending { requested_at });
    }
    check_not_closing(state)
}

/// Refuses a closed channel (rule 6).
pub(super) fn check_not_closed(state: &State) -> Result<(), Rejection> {
    match state.phase {
        Phase::Closed(_) => Err(Rejection::ChannelFinalized),
        Phase::Open | Phase::Closing { .. } => Ok(()),
    }
}

/// Refuses a channel whose claim is fixed and on its way.
pub(super) fn check_not_closing(state: &State) -> Result<(), Rejection> {
    match state.phase {
        Phase::Closing { .. } => Err(Rejection::CloseInFlight),
        Phase::Open | Phase::Closed(_) => Ok(()),
    }
}
