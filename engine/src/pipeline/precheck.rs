//! What can be refused before any cryptography (rule 3).
//!
//! A refusal from here goes to somebody who has proved nothing, so it reveals no accepted or spent
//! amount, and it is never a success. It must be one that the rules would give as well: `channel::decide`
//! stays the only judge, this module only saves it the work. A retry of a known paid request, old or not, is left to
//! it, for the answer to that is a success.

use farebox_core::channel::{Phase, Rejection, Spend, State};
use farebox_core::units::Amount;

/// Why a voucher for `amount` cannot be taken, as far as a stranger may know. `limited` is asked last: what the
/// operator's limits would refuse.
pub(super) fn submit(
    state: &State,
    amount: Amount,
    then: &Spend,
    limited: impl FnOnce() -> Option<Rejection>,
) -> Option<Rejection> {
    let refused = match state.phase {
        Phase::Closed(_) => Some(Rejection::ChannelFinalized),
        Phase::Open | Phase::Closing { .. } if state.close_requested_at.is_some() => {
            state.close_requested_at.map(|requested_at| Rejection::ClosePending { requested_at })
        }
        Phase::Closing { .. } => Some(Rejection::CloseInFlight),
        Phase::Open => above_deposit(state, amount),
    };
    let refused = refused.or_else(|| (amount < state.accepted).then_some(Rejection::AmountNotIncreasing));
    let refused = refused.or_else(limited);
    // Last, since hardly any voucher is refused, and looking for an earlier try costs more than all of the above.
    refused.filter(|_| !is_known(state, then))
}

/// Why a cooperative close with a voucher for `amount` cannot begin, as far as a stranger may know.
pub(super) fn close(state: &State, amount: Amount) -> Option<Rejection> {
    match state.phase {
        Phase::Closed(_) => Some(Rejection::ChannelFinalized),
        Phase::Closing { .. } => Some(Rejection::CloseInFlight),
        Phase::Open => above_deposit(state, amount),
    }
}

/// The deposit is public: it is on chain.
fn above_deposit(state: &State, amount: Amount) -> Option<Rejection> {
    let deposit = state.deposit;
    (amount > deposit).then_some(Rejection::AmountExceedsDeposit { amount, deposit })
}

/// Whether the paid request is running or finished.
fn is_known(state: &State, then: &Spend) -> bool {
    then.key().is_some_and(|key| state.outcomes.get(key).is_some() || state.reservation(key).is_some())
}
