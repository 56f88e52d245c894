//! What is claimed, protocol by protocol (rule 2).

use super::support::*;
use crate::channel::*;
use crate::units::{Amount, UnixSeconds};

fn whole(cumulative: u128) -> Claim {
    let cumulative = amount(cumulative);
    Claim { cumulative, capture: cumulative, signature: Some(signature(cumulative)) }
}

fn nothing_above(settled: u128) -> Claim {
    Claim { cumulative: amount(settled), capture: amount(settled), signature: None }
}

#[test]
fn a_v2_close_uses_the_voucher_that_is_worth_least() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 90)).unwrap();
    run.accept(400, Spend::Nothing).unwrap();
    let claim = run.close_forced().unwrap();
    assert_eq!(
        claim,
        Claim { cumulative: amount(100), capture: amount(90), signature: Some(signature(amount(100))) }
    );
}

#[test]
fn a_v2_close_may_bring_its_voucher() {
    let mut run = Run::v2(1_000);
    run.accept(400, charge(1, 90)).unwrap();
    assert_eq!(run.close_with(89), Err(Rejection::CloseBelowOwed { amount: amount(89), owed: amount(90) }));
    assert_eq!(
        run.close_with(90),
        Ok(whole(90)),
        "a lower voucher that covers what is owed is kept and used"
    );
    assert_eq!(run.state.accepted, amount(400));
    // After a restart the same claim can be made: the voucher of the close is in the books.
    assert_eq!(run.close_forced(), Ok(whole(90)));
}

#[test]
fn a_close_with_a_higher_voucher_accepts_it_first() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 100)).unwrap();
    run.close_with(500).unwrap();
    assert_eq!(run.state.accepted, amount(500));
    assert_eq!(run.state.phase, Phase::Closing { capture: amount(100) });
}

#[test]
fn an_idle_channel_is_refunded_without_a_signature() {
    for mut run in [Run::v1(1_000), Run::v2(1_000)] {
        assert_eq!(run.close_forced(), Ok(nothing_above(0)));
        run.step(Command::AbortClose).unwrap();
        run.accept(100, charge(1, 100)).unwrap();
        run.settled(100);
        assert_eq!(run.close_with(100), Ok(nothing_above(100)), "all is settled, the rest goes back");
        run.closed(100, 900);
        assert_eq!(ended(&run), (amount(100), amount(900), Amount::ZERO));
    }
}

#[test]
fn a_close_waits_for_running_requests() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 50)).unwrap();
    assert_eq!(run.close_with(100), Err(Rejection::ReservationsActive { count: 1 }));
    run.step(capture(1, 40, true)).unwrap();
    assert_eq!(run.close_with(100).unwrap().capture, amount(40));
}

#[test]
fn a_forced_close_ends_running_requests() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 50)).unwrap();
    run.spend(reserve(2, 10)).unwrap();
    run.step(capture(1, 20, false)).unwrap();
    assert_eq!(run.close_forced().unwrap().capture, amount(20));
    assert!(run.state.reservations.is_empty());
    assert_eq!(run.state.outcomes.get(&key(1)).unwrap().charged, amount(20));
    assert_eq!(run.state.outcomes.get(&key(2)), None);
    assert_eq!(run.step(capture(1, 1, false)), Err(Rejection::CloseInFlight));
}

#[test]
fn a_v1_close_needs_a_voucher_of_exactly_what_was_spent() {
    let mut run = Run::v1(1_000);
    run.accept(100, charge(1, 100)).unwrap();
    run.accept(200, charge(2, 50)).unwrap();
    // A v1 close pays the whole voucher: 200 is too much, 100 too little.
    assert_eq!(run.close_with(200), Err(Rejection::CloseNotExact { spent: amount(150) }));
    assert_eq!(run.close_with(500), Err(Rejection::CloseNotExact { spent: amount(150) }));
    assert_eq!(run.state.accepted, amount(200), "a refused close takes nothing");
    assert_eq!(run.close_with(150), Ok(whole(150)));
    assert_eq!(run.close_forced(), Ok(whole(150)), "it is in the books");
}

#[test]
fn a_v1_close_with_a_higher_voucher_uses_the_kept_exact_one() {
    let mut run = Run::v1(1_000);
    run.accept(100, charge(1, 100)).unwrap();
    run.accept(200, Spend::Nothing).unwrap();
    assert_eq!(run.close_with(200), Ok(whole(100)));
}

#[test]
fn a_forced_v1_close_claims_the_highest_covered_voucher_and_books_the_rest_as_lost() {
    let mut run = Run::v1(1_000);
    run.accept(100, charge(1, 100)).unwrap();
    run.accept(200, charge(2, 50)).unwrap();
    assert_eq!(run.close_forced(), Ok(whole(100)), "never more than was spent");
    run.closed(100, 900);
    assert_eq!(ended(&run), (amount(100), amount(900), amount(50)));
}

#[test]
fn a_v1_close_of_more_settled_than_spent_asks_for_nothing() {
    let mut run = Run::v1(1_000);
    run.accept(100, charge(1, 50)).unwrap();
    run.accept(400, Spend::Nothing).unwrap();
    assert!(run.settled(100).alarm_settled_above_spent);
    assert_eq!(run.close_with(400), Ok(nothing_above(100)));
}

#[test]
fn settle_pays_only_what_was_spent() {
    for mut run in [Run::v1(1_000), Run::v2(1_000)] {
        assert_eq!(run.step(Command::PlanSettle), Err(Rejection::NothingToSettle));
        run.accept(100, charge(1, 100)).unwrap();
        run.accept(300, charge(2, 100)).unwrap();
        assert_eq!(claim_of(run.step(Command::PlanSettle).unwrap()), whole(100));
        assert_eq!(Snapshot::from(&run.state).settleable, amount(100));
        assert!(!run.settled(100).alarm_settled_above_spent);
        assert_eq!(run.step(Command::PlanSettle), Err(Rejection::NothingToSettle));
        run.spend(charge(3, 100)).unwrap();
        assert_eq!(claim_of(run.step(Command::PlanSettle).unwrap()), whole(300));
        run.close_forced().unwrap();
        assert_eq!(run.step(Command::PlanSettle), Err(Rejection::CloseInFlight));
    }
}

#[test]
fn a_claim_follows_what_others_settle_while_it_is_in_flight() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 60)).unwrap();
    assert_eq!(run.close_forced().unwrap().capture, amount(60));
    run.settled(100);
    // The first claim fails on chain now; the next one asks for the refund alone.
    assert_eq!(run.close_forced(), Ok(nothing_above(100)));
}

/// What the payee got, what the payer got back, and what was lost.
fn ended(run: &Run) -> (Amount, Amount, Amount) {
    match run.state.phase {
        Phase::Closed(Closure { captured, refunded, lost, .. }) => (captured, refunded, lost),
        phase => panic!("the channel is {phase:?}"),
    }
}

#[test]
fn a_channel_that_is_over_for_long_enough_becomes_a_tombstone() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 60)).unwrap();
    let retire = |before: u64| Command::Retire { closed_before: UnixSeconds(before) };
    assert_eq!(run.step(retire(u64::MAX)).unwrap().events, [], "it is open");
    run.close_forced().unwrap();
    assert_eq!(run.step(retire(u64::MAX)).unwrap().events, [], "its claim is on its way");
    run.closed(60, 940);
    let Phase::Closed(closure) = run.state.phase else { panic!("it is over") };
    assert_eq!((closure.at, closure.position), (run.now, at(9)));
    assert_eq!(run.step(retire(closure.at.0)).unwrap().events, [], "not long enough");
    let retired = run.step(retire(closure.at.0 + 1)).unwrap();
    assert_eq!(retired.events, [Event::Retired { at: run.now }]);
    assert_eq!(run.step(retire(u64::MAX)).unwrap().events, [], "once");
    // What it was is known, what it needed is gone, and nothing revives it.
    assert_eq!((run.state.phase, run.state.spent), (Phase::Closed(closure), amount(60)));
    assert_eq!((run.state.kept.iter().len(), run.state.outcomes.iter().len()), (0, 0));
    let closed = Err(Rejection::ChannelFinalized);
    assert_eq!(run.accept(200, charge(1, 10)), closed);
    assert_eq!(run.spend(charge(1, 60)), closed, "its outcome is forgotten with it");
    assert_eq!(run.step(capture(1, 1, true)), closed);
    assert_eq!(run.close_forced().err(), Some(Rejection::ChannelFinalized));
    assert_eq!(run.settled(900).events, []);
    let mut bytes = alloc::vec::Vec::new();
    crate::journal::encode_state(&mut bytes, &run.state);
    assert_eq!(crate::journal::decode_state(&bytes).unwrap(), run.state);
}
