//! Taking a voucher and, in the same step, paying with it (rules 3, 4, 5 and 8).

use alloc::vec;
use core::cmp::Ordering;

use super::apply::check_serving;
use super::command::{Policy, Spend};
use super::event::Event;
use super::outcome::{Answer, Decision};
use super::rejection::Rejection;
use super::spend::{pay, replayed};
use super::state::State;
use crate::units::{Amount, UnixSeconds};
use crate::voucher::{Verified, Voucher};

/// Takes a voucher and spends. A retry is answered before everything else, also on a closed channel:
/// it was paid, and asks for nothing new.
pub(super) fn accept(
    state: &State,
    voucher: Verified<Voucher>,
    then: Spend,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Decision, Rejection> {
    check_voucher(state, &voucher)?;
    if let Some(answer) = replayed(state, &then, policy, now)? {
        return Ok(answer);
    }
    check_serving(state)?;
    let amount = voucher.cumulative_amount();
    check_covered(state, amount)?;
    match amount.cmp(&state.accepted) {
        Ordering::Less => Err(Rejection::AmountNotIncreasing),
        Ordering::Equal => again(state, then, policy, now),
        Ordering::Greater => raise(state, voucher, then, policy, now),
    }
}

/// Refuses a voucher that is for another channel or signed by somebody else. The caller verified it
/// against the terms in the books; that the two agree is checked where the money is.
pub(super) fn check_voucher(state: &State, voucher: &Verified<Voucher>) -> Result<(), Rejection> {
    let (found, expected) = (voucher.channel_id(), state.channel_id);
    if found != expected {
        return Err(Rejection::WrongChannel { found, expected });
    }
    let (found, expected) = (voucher.signer(), state.signer);
    if found != expected {
        return Err(Rejection::WrongSigner { found, expected });
    }
    Ok(())
}

/// Refuses an amount that the escrow cannot hold or does not hold.
pub(super) fn check_covered(state: &State, amount: Amount) -> Result<(), Rejection> {
    if amount > state.amount_max() {
        return Err(Rejection::AmountTooLarge);
    }
    if amount > state.deposit {
        return Err(Rejection::AmountExceedsDeposit { amount, deposit: state.deposit });
    }
    Ok(())
}

/// The highest voucher once more: the voucher state stays, a paid request pays from what is available.
fn again(state: &State, then: Spend, policy: &Policy, now: UnixSeconds) -> Result<Decision, Rejection> {
    if then != Spend::Nothing && state.is_public(state.accepted) {
        return Err(Rejection::VoucherPublic);
    }
    let charged = pay(state, state.accepted, then, policy, now)?;
    Ok(Decision::done(charged.into_iter().collect()))
}

/// A higher voucher. It is kept even when it does not pay for the request: the payer signed it.
fn raise(
    state: &State,
    voucher: Verified<Voucher>,
    then: Spend,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<Decision, Rejection> {
    let amount = voucher.cumulative_amount();
    if state.is_public(amount) {
        return Err(Rejection::VoucherPublic);
    }
    let (delta, minimum) = (amount.saturating_sub(state.accepted), policy.voucher_delta_min);
    if delta < minimum {
        return Err(Rejection::DeltaTooSmall { delta, minimum });
    }
    let (_, signature) = voucher.into_parts();
    let accepted = Event::Accepted { amount, signature, at: now };
    Ok(match pay(state, amount, then, policy, now) {
        Ok(None) => Decision::done(vec![accepted]),
        Ok(Some(charged)) => Decision::done(vec![accepted, charged]),
        Err(refused) => Decision { events: vec![accepted], answer: Answer::AcceptedOnly(refused) },
    })
}
