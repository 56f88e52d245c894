//! What the chain says. Amounts are totals and only grow, so a repeated, late or reordered word does no
//! harm; close requests come and go, so they go by their place on the chain.
//!
//! Facts about a closed channel are ignored: it is over, whatever a late word says.

use alloc::vec;
use alloc::vec::Vec;

use super::event::{ChainPosition, Event};
use super::outcome::Decision;
use super::rejection::Rejection;
use super::state::{Phase, State};
use crate::units::{Amount, UnixSeconds};

/// The escrow holds `deposit` in all.
pub(super) fn topped_up(
    state: &State,
    deposit: Amount,
    position: ChainPosition,
    cancels_close: bool,
) -> Result<Decision, Rejection> {
    if is_over(state) {
        return Ok(Decision::nothing());
    }
    let mut events: Vec<_> = deposit_at_least(state, deposit)?.into_iter().collect();
    if cancels_close {
        events.extend(cancelled(state, position));
    }
    Ok(Decision::done(events))
}

/// The payer asked to close.
pub(super) fn close_requested(state: &State, at: UnixSeconds, position: ChainPosition) -> Decision {
    if is_over(state) || position <= state.close_position {
        return Decision::nothing();
    }
    Decision::done(vec![Event::CloseRequested { at, position }])
}

/// The close request was cancelled.
pub(super) fn close_request_cancelled(state: &State, position: ChainPosition) -> Decision {
    if is_over(state) {
        return Decision::nothing();
    }
    Decision::done(cancelled(state, position).into_iter().collect())
}

/// The escrow paid out `settled` in all.
pub(super) fn settled(state: &State, settled: Amount) -> Result<Decision, Rejection> {
    if is_over(state) || settled <= state.settled {
        return Ok(Decision::nothing());
    }
    // What was paid out was there: the word about the top-up is only late.
    let mut events: Vec<_> = deposit_at_least(state, settled)?.into_iter().collect();
    events.push(Event::Settled { settled });
    Ok(Decision::done(events))
}

/// The channel is over.
pub(super) fn closed(
    state: &State,
    captured: Amount,
    refunded: Amount,
    position: ChainPosition,
    at: UnixSeconds,
) -> Result<Decision, Rejection> {
    if is_over(state) {
        return Ok(Decision::nothing());
    }
    let paid_out = captured.checked_add(refunded).ok_or(Rejection::AmountTooLarge)?;
    let mut events: Vec<_> = deposit_at_least(state, paid_out)?.into_iter().collect();
    events.push(Event::Closed { captured, refunded, at, position });
    Ok(Decision::done(events))
}

fn is_over(state: &State) -> bool {
    matches!(state.phase, Phase::Closed(_))
}

fn deposit_at_least(state: &State, deposit: Amount) -> Result<Option<Event>, Rejection> {
    if deposit > state.amount_max() {
        return Err(Rejection::AmountTooLarge);
    }
    Ok((deposit > state.deposit).then_some(Event::ToppedUp { deposit }))
}

/// Recorded even when no request is known: the word about the request may come later, and is then
/// recognised as older.
fn cancelled(state: &State, position: ChainPosition) -> Option<Event> {
    (position > state.close_position).then_some(Event::CloseRequestCancelled { position })
}
