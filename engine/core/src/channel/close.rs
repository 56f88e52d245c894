//! Closing: what is claimed, with which voucher, and when a close may begin (rules 2, 4, 7 and 10).
//!
//! The claim is a function of the state alone, and nothing that it depends on changes while the close
//! is in flight (but `settled`, which the chain may raise). So it can be asked for again after a crash:
//! a forced close of a closing channel answers the same claim and changes nothing.
//!
//! | | v2 | v1 |
//! |---|---|---|
//! | captures | `max(spent, settled)` | the highest kept voucher not above `spent`, at least `settled` |
//! | with the voucher | the lowest kept one that covers it | that one |
//! | without a signature | when nothing above `settled` is captured | the same: the escrow then looks at none |

use alloc::vec;
use alloc::vec::Vec;

use super::accept::{check_covered, check_voucher};
use super::apply::{after, check_not_closed, check_not_closing};
use super::command::CloseReason;
use super::event::Event;
use super::kept::KeptVoucher;
use super::outcome::{Answer, Claim, Decision};
use super::rejection::Rejection;
use super::state::{Phase, State};
use crate::units::UnixSeconds;
use crate::voucher::{ProtocolVersion, Verified, Voucher};

/// Begins to close, or says again with which claim a forced close goes on.
pub(super) fn begin(state: &State, reason: CloseReason, now: UnixSeconds) -> Result<Decision, Rejection> {
    check_not_closed(state)?;
    match reason {
        CloseReason::Cooperative(voucher) => {
            check_not_closing(state)?;
            cooperative(state, voucher, now)
        }
        CloseReason::Forced if matches!(state.phase, Phase::Closing { .. }) => {
            Ok(Decision { events: Vec::new(), answer: Answer::Close(claim(state)) })
        }
        CloseReason::Forced => Ok(start(state, Vec::new())),
    }
}

/// The close did not and will not happen: service goes on, unless a close request stands.
pub(super) fn abort(state: &State) -> Result<Decision, Rejection> {
    match state.phase {
        Phase::Closing { .. } => Ok(Decision::done(vec![Event::CloseAborted])),
        Phase::Open => Err(Rejection::NotClosing),
        Phase::Closed(_) => Err(Rejection::ChannelFinalized),
    }
}

/// With which voucher a `settle` may go to the chain.
pub(super) fn plan_settle(state: &State) -> Result<Decision, Rejection> {
    check_not_closed(state)?;
    check_not_closing(state)?;
    let voucher = state.settleable().ok_or(Rejection::NothingToSettle)?;
    Ok(Decision { events: Vec::new(), answer: Answer::Settle(whole(voucher)) })
}

/// The client asks to close, with a voucher that covers what is owed. Running requests end first: the
/// voucher may be one that everybody knows, and must not end a stream (rule 4).
fn cooperative(state: &State, voucher: Verified<Voucher>, now: UnixSeconds) -> Result<Decision, Rejection> {
    check_voucher(state, &voucher)?;
    let amount = voucher.cumulative_amount();
    check_covered(state, amount)?;
    if !state.reservations.is_empty() {
        return Err(Rejection::ReservationsActive { count: state.reservations.len() });
    }
    if state.is_public(amount) && !(amount == state.settled && amount == state.accepted) {
        return Err(Rejection::VoucherPublic);
    }
    let owed = state.capture();
    if amount < owed {
        return Err(Rejection::CloseBelowOwed { amount, owed });
    }
    let events = keep(state, voucher, now);
    match state.protocol {
        ProtocolVersion::V2 => {}
        ProtocolVersion::V1 => check_exact(&after(state, &events))?,
    }
    Ok(start(state, events))
}

/// Keeps the voucher of the close, for its claim may need it, also after a crash.
fn keep(state: &State, voucher: Verified<Voucher>, now: UnixSeconds) -> Vec<Event> {
    let (Voucher { cumulative_amount: amount, .. }, signature) = voucher.into_parts();
    if amount > state.accepted {
        vec![Event::Accepted { amount, signature, at: now }]
    } else if amount > state.settled && state.kept.exact(amount).is_none() {
        vec![Event::VoucherKept { amount, signature, at: now }]
    } else {
        Vec::new()
    }
}

/// A v1 close pays a voucher's whole amount: it needs one of exactly `spent`, or nothing to pay.
fn check_exact(state: &State) -> Result<(), Rejection> {
    if state.spent <= state.settled || state.kept.exact(state.spent).is_some() {
        return Ok(());
    }
    Err(Rejection::CloseNotExact { spent: state.spent })
}

/// Keeps no more than a tombstone of a channel that is over for long enough.
pub(super) fn retire(state: &State, closed_before: UnixSeconds, now: UnixSeconds) -> Decision {
    match state.phase {
        Phase::Closed(closure) if closure.at < closed_before && state.retired_at.is_none() => {
            Decision::done(vec![Event::Retired { at: now }])
        }
        Phase::Open | Phase::Closing { .. } | Phase::Closed(_) => Decision::nothing(),
    }
}

/// Fixes the claim. Running requests end here (a forced close only): nothing more can be charged.
fn start(state: &State, mut events: Vec<Event>) -> Decision {
    let claim = claim(&after(state, &events));
    events.push(Event::CloseStarted { capture: claim.capture });
    Decision { events, answer: Answer::Close(claim) }
}

/// What a close says to the escrow.
fn claim(state: &State) -> Claim {
    let voucher = match state.protocol {
        ProtocolVersion::V1 => state.kept.highest_within(state.spent),
        ProtocolVersion::V2 => covering(state),
    };
    let unsettled = voucher.filter(|kept| kept.amount > state.settled && state.spent > state.settled);
    match (unsettled, state.protocol) {
        // v1 and v2 alike: a close that captures no more than `settled` ends the channel, refunds
        // the rest and looks at no signature.
        (None, _) => Claim { cumulative: state.settled, capture: state.settled, signature: None },
        (Some(kept), ProtocolVersion::V1) => whole(kept),
        (Some(kept), ProtocolVersion::V2) => Claim { capture: state.spent, ..whole(kept) },
    }
}

/// The voucher for a v2 capture. Any that covers it would do. The lowest is taken because a close that
/// fails leaves its voucher readable on chain for everybody, and the channel then goes on: the less the
/// voucher is worth beyond what is spent, the better for the payer.
fn covering(state: &State) -> Option<&KeptVoucher> {
    let voucher = state.kept.lowest_covering(state.spent);
    assert!(
        voucher.is_some() || state.spent <= state.settled,
        "what was spent above `settled` was accepted, and the highest accepted voucher is always kept"
    );
    voucher
}

/// A claim that pays a voucher's whole amount.
fn whole(voucher: &KeptVoucher) -> Claim {
    let KeptVoucher { amount, signature } = voucher;
    Claim { cumulative: *amount, capture: *amount, signature: Some(signature.clone()) }
}
