//! Where other servers got hurt, as far as the rules decide it. Each name is the sentence.

use super::support::*;
use crate::channel::*;
use crate::units::{Address, Amount};
use crate::voucher::{ProtocolVersion, Verified, Voucher};

#[test]
fn a_stale_amount_never_skips_the_signature_check() {
    // No amount reaches the books without a `Verified<Voucher>`: that is the type of the command. A
    // voucher that was verified for somebody else does not pass either, however stale its amount is,
    // and with a true one a stale amount still buys nothing.
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 10)).unwrap();
    let before = run.state.clone();
    for stale in [0, 50, 100] {
        let voucher = Voucher { channel_id: run.state.channel_id, cumulative_amount: amount(stale) };
        let stranger = Verified::assumed(voucher, signature(amount(stale)), PAYEE);
        let refused = run.step(Command::Accept { voucher: stranger, then: charge(2, 5) });
        assert_eq!(refused, Err(Rejection::WrongSigner { found: PAYEE, expected: SIGNER }));
    }
    assert_eq!(run.accept(50, charge(2, 5)), Err(Rejection::AmountNotIncreasing));
    assert_eq!(run.state, before);
}

#[test]
fn voucher_published_by_settle_cannot_spend_the_balance() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 40)).unwrap();
    // Somebody settled the whole voucher: 60 are still unspent, and everybody can read the signature.
    run.settled(100);
    for then in [charge(2, 10), reserve(3, 0), reserve(3, 10)] {
        assert_eq!(run.accept(100, then), Err(Rejection::VoucherPublic));
    }
    // An equal retry without a purchase gets its receipt, and a retry of the old purchase its outcome.
    assert_eq!(run.accept(100, Spend::Nothing).unwrap().answer, Answer::Done);
    assert!(matches!(run.accept(100, charge(1, 40)).unwrap().answer, Answer::Replayed(_)));
    assert_eq!(run.state.spent, amount(40));
    // The payer, who can sign a higher one, goes on.
    run.accept(101, charge(2, 10)).unwrap();
}

#[test]
fn voucher_published_by_settle_cannot_force_a_close() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 100)).unwrap();
    run.settled(100);
    run.accept(150, reserve(2, 50)).unwrap();
    assert_eq!(run.close_with(100), Err(Rejection::ReservationsActive { count: 1 }));
    run.step(Command::Release { key: key(2) }).unwrap();
    assert_eq!(run.close_with(100), Err(Rejection::VoucherPublic));
    assert_eq!(run.state.phase, Phase::Open);
}

#[test]
fn a_close_request_stops_service_before_the_next_voucher() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 30)).unwrap();
    run.close_requested(5);
    let pending = Err(Rejection::ClosePending { requested_at: NOW });
    assert_eq!(run.accept(200, charge(2, 10)), pending);
    assert_eq!(run.spend(charge(2, 10)), pending);
    assert_eq!(run.step(capture(1, 31, false)), pending, "beyond what was promised");
    run.step(capture(1, 30, true)).unwrap();
    // The claim starts, and a cancelled request does not free the channel while it is in flight.
    run.close_forced().unwrap();
    run.step(Command::ToppedUp { deposit: amount(2_000), position: at(6), cancels_close: true }).unwrap();
    assert_eq!(run.accept(200, charge(2, 10)), Err(Rejection::CloseInFlight));
    run.step(Command::AbortClose).unwrap();
    assert_eq!(run.accept(200, charge(2, 10)).unwrap().answer, Answer::Done);
}

#[test]
fn an_aborted_close_does_not_forget_the_close_request() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 10)).unwrap();
    run.close_requested(5);
    run.close_forced().unwrap();
    run.step(Command::AbortClose).unwrap();
    assert_eq!(run.spend(charge(2, 1)), Err(Rejection::ClosePending { requested_at: NOW }));
    assert_eq!(run.close_with(100).unwrap().capture, amount(10), "a cooperative close is still taken");
}

#[test]
fn a_payers_own_operator_is_refused() {
    let mut terms = identity(ProtocolVersion::V2);
    let Terms::V2(descriptor) = &mut terms.terms else { unreachable!("it is v2") };
    descriptor.operator = PAYER;
    let refused = |expected| Err(Rejection::TermMismatch { term: "operator", found: PAYER, expected });
    assert_eq!(terms.check_operator(Address::ZERO), refused(Address::ZERO));
    assert_eq!(terms.check_operator(PAYEE), refused(PAYEE));
}

#[test]
fn two_requests_with_one_voucher_give_one_acceptance() {
    let mut run = Run::v2(1_000);
    assert_eq!(run.accept(100, charge(1, 60)).unwrap().events.len(), 2);
    let second = run.accept(100, charge(2, 60));
    assert!(matches!(second, Err(Rejection::InsufficientBalance { .. })));
    assert_eq!((run.state.accepted, run.state.spent), (amount(100), amount(60)));
}

#[test]
fn thirty_six_retries_make_one_debit() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 10)).unwrap();
    let outcome = *run.state.outcomes.get(&key(1)).unwrap();
    for _ in 0..36 {
        let retry = run.accept(100, charge(1, 10)).unwrap();
        assert_eq!((retry.answer, retry.events.len()), (Answer::Replayed(outcome), 0));
    }
    assert_eq!(run.state.spent, amount(10));
    // The same for a request that runs, and for retries with an older or a newer voucher.
    run.accept(200, reserve(2, 50)).unwrap();
    for cumulative in [100, 200, 300] {
        assert_eq!(run.accept(cumulative, reserve(2, 50)), Err(Rejection::RequestInFlight));
        assert_eq!(run.accept(cumulative, charge(1, 10)).unwrap().answer, Answer::Replayed(outcome));
    }
    assert_eq!(run.state.accepted, amount(200), "a retry takes no voucher");
    // And after the channel is over.
    run.closed(10, 990);
    assert_eq!(run.accept(100, charge(1, 10)).unwrap().answer, Answer::Replayed(outcome));
}

#[test]
fn close_captures_spent_not_the_voucher() {
    let mut run = Run::v2(1_000);
    run.accept(900, charge(1, 10)).unwrap();
    assert_eq!(run.close_with(900).unwrap().capture, amount(10));
    let mut run = Run::v1(1_000);
    run.accept(900, charge(1, 10)).unwrap();
    assert_eq!(run.close_with(900), Err(Rejection::CloseNotExact { spent: amount(10) }));
    assert_eq!(run.close_forced().unwrap().capture, Amount::ZERO);
}

#[test]
fn a_crash_between_closing_and_the_broadcast_is_not_for_ever() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 70)).unwrap();
    let claim = run.close_with(100).unwrap();
    // All that is left after the crash are the events.
    let mut restarted = State::from_opened(&run.history[0]).unwrap();
    run.history[1..].iter().for_each(|event| restarted.evolve(event));
    run.state = restarted;
    assert_eq!(run.close_forced(), Ok(claim));
}

#[test]
fn a_reverted_close_is_not_booked_as_paid() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 70)).unwrap();
    run.close_with(100).unwrap();
    assert_eq!(run.state.settled, Amount::ZERO, "only the chain's word pays");
    run.step(Command::AbortClose).unwrap();
    assert_eq!((run.state.phase, run.state.settled), (Phase::Open, Amount::ZERO));
    assert_eq!(run.close_forced().unwrap().capture, amount(70), "and the claim is not lost");
}

#[test]
fn lagging_replica_books_no_delta_twice() {
    let mut run = Run::v2(100);
    run.accept(100, charge(1, 90)).unwrap();
    let top_up =
        |deposit| Command::ToppedUp { deposit: amount(deposit), position: at(3), cancels_close: false };
    run.step(top_up(150)).unwrap();
    run.settled(90);
    let before = run.state.clone();
    // An old answer, the same answer, the same again: nothing is added to anything.
    for (deposit, settled) in [(100, 0), (150, 90), (150, 90), (120, 50)] {
        run.step(top_up(deposit)).unwrap();
        assert!(!run.settled(settled).alarm_settled_above_spent);
        assert_eq!(run.state, before);
    }
}

#[test]
fn a_replayed_open_resets_nothing() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 70)).unwrap();
    run.closed(70, 930);
    let before = run.state.clone();
    run.state.evolve(&run.history[0].clone());
    assert_eq!(run.state.spent, amount(70));
    assert_eq!(run.state.phase, before.phase);
}

#[test]
fn somebody_elses_settle_raises_the_alarm() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 70)).unwrap();
    assert!(!run.settled(70).alarm_settled_above_spent);
    assert!(run.settled(71).alarm_settled_above_spent);
    assert!(run.closed(72, 928).alarm_settled_above_spent);
}
