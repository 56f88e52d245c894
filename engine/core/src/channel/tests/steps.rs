//! Single steps whose answer a reader wants to see in numbers.

use super::support::*;
use crate::channel::*;
use crate::units::{Amount, UnixSeconds};
use crate::voucher::ProtocolVersion;

#[test]
fn a_voucher_pays_in_the_step_that_takes_it() {
    let mut run = Run::v2(1_000);
    let transition = run.accept(100, charge(1, 60)).unwrap();
    assert_eq!(transition.answer, Answer::Done);
    assert_eq!(transition.events.len(), 2);
    assert_eq!((run.state.accepted, run.state.spent), (amount(100), amount(60)));
    assert_eq!(run.state.available(), amount(40));
    // The rest is paid without a new voucher, or with the same one.
    run.spend(charge(2, 30)).unwrap();
    run.accept(100, charge(3, 10)).unwrap();
    assert_eq!(run.state.available(), Amount::ZERO);
    assert_eq!((run.state.units, run.state.active_at), (3, run.now));
}

#[test]
fn a_voucher_that_does_not_pay_is_kept_all_the_same() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 80)).unwrap();
    let refused = Rejection::InsufficientBalance {
        cost: amount(50),
        available: amount(30),
        required_cumulative: amount(130),
    };
    let transition = run.accept(110, charge(2, 50)).unwrap();
    assert_eq!(transition.answer, Answer::AcceptedOnly(refused));
    assert_eq!((run.state.accepted, run.state.spent), (amount(110), Amount::ZERO));
    // An equal one leaves nothing to keep: a plain refusal.
    assert_eq!(run.accept(110, charge(2, 50)), Err(refused));
    // What was asked for is what is enough.
    assert_eq!(run.accept(130, charge(2, 50)).unwrap().answer, Answer::Done);
    assert_eq!(run.state.available(), Amount::ZERO);
}

#[test]
fn a_refusal_asks_for_a_voucher_that_would_be_taken() {
    let required = |run: &mut Run, spend| match run.spend(spend) {
        Err(Rejection::InsufficientBalance { required_cumulative, .. }) => required_cumulative,
        other => panic!("expected an insufficient balance, found {other:?}"),
    };
    let mut run = Run::v2(1_000);
    run.policy.voucher_delta_min = amount(10);
    run.accept(100, charge(1, 100)).unwrap();
    assert_eq!(required(&mut run, charge(2, 3)), amount(110), "the least rise counts");
    assert_eq!(required(&mut run, charge(2, 30)), amount(130));
    run.settled(200);
    assert_eq!(required(&mut run, charge(2, 30)), amount(201), "a public voucher would be refused");
    let top = Spend::Charge { key: Some(key(2)), amount: Amount::MAX, units: 1 };
    assert_eq!(required(&mut run, top), Amount::MAX_V2, "never beyond the protocol");
}

#[test]
fn each_refusal_has_its_reason() {
    let mut run = Run::v2(1_000);
    run.policy.voucher_delta_min = amount(10);
    run.accept(100, Spend::Nothing).unwrap();
    let exceeds = Rejection::AmountExceedsDeposit { amount: amount(1_001), deposit: amount(1_000) };
    assert_eq!(run.accept(1_001, Spend::Nothing), Err(exceeds));
    assert_eq!(run.accept(1 << 96, Spend::Nothing), Err(Rejection::AmountTooLarge));
    assert_eq!(run.accept(99, Spend::Nothing), Err(Rejection::AmountNotIncreasing));
    let small = Rejection::DeltaTooSmall { delta: amount(9), minimum: amount(10) };
    assert_eq!(run.accept(109, Spend::Nothing), Err(small));
    run.accept(110, reserve(1, 5)).unwrap();
    assert_eq!(run.spend(reserve(1, 5)), Err(Rejection::RequestInFlight));
    assert_eq!(run.step(capture(2, 1, false)), Err(Rejection::ReservationNotFound));
    assert_eq!(run.step(Command::Release { key: key(2) }), Err(Rejection::ReservationNotFound));
    assert_eq!(run.step(Command::AbortClose), Err(Rejection::NotClosing));
    run.close_requested(5);
    assert_eq!(run.accept(200, Spend::Nothing), Err(Rejection::ClosePending { requested_at: NOW }));
    run.close_forced().unwrap();
    assert_eq!(run.spend(charge(3, 1)), Err(Rejection::ClosePending { requested_at: NOW }));
    assert_eq!(run.close_with(200), Err(Rejection::CloseInFlight));
    run.closed(0, 1_000);
    for refused in [run.accept(200, Spend::Nothing), run.step(Command::AbortClose), run.spend(charge(3, 1))] {
        assert_eq!(refused, Err(Rejection::ChannelFinalized));
    }
    assert_eq!(run.close_forced(), Err(Rejection::ChannelFinalized));
}

#[test]
fn a_stream_captures_from_its_reservation_first_and_pays_on() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 30)).unwrap();
    run.spend(reserve(2, 50)).unwrap();
    run.step(capture(1, 20, false)).unwrap();
    assert_eq!((run.state.spent, run.state.reserved()), (amount(20), amount(60)));
    // 10 are its own, 20 are free: 31 are too many, and nothing changes.
    let before = run.state.clone();
    let refused = Rejection::InsufficientBalance {
        cost: amount(31),
        available: amount(30),
        required_cumulative: amount(101),
    };
    assert_eq!(run.step(capture(1, 31, false)), Err(refused));
    assert_eq!(run.state, before);
    run.step(capture(1, 30, false)).unwrap();
    assert_eq!((run.state.spent, run.state.available()), (amount(50), Amount::ZERO));
    run.step(capture(1, 0, true)).unwrap();
    let (outcome, at) = (*run.state.outcomes.get(&key(1)).unwrap(), run.now);
    assert_eq!(
        outcome,
        Outcome { key: key(1), charged: amount(50), units: 3, accepted: amount(100), spent: amount(50), at }
    );
}

#[test]
fn finishing_gives_the_rest_of_a_reservation_back() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 80)).unwrap();
    run.step(capture(1, 30, true)).unwrap();
    assert_eq!((run.state.spent, run.state.available()), (amount(30), amount(70)));
}

#[test]
fn a_request_that_delivered_nothing_may_be_tried_again() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 40)).unwrap();
    run.step(Command::Release { key: key(1) }).unwrap();
    assert_eq!(run.state.available(), amount(100));
    assert_eq!(run.spend(reserve(1, 40)).unwrap().answer, Answer::Done);
    run.step(capture(1, 5, false)).unwrap();
    run.step(Command::ReleaseAll).unwrap();
    let outcome = *run.state.outcomes.get(&key(1)).unwrap();
    assert_eq!(outcome.charged, amount(5));
    assert_eq!(run.spend(reserve(1, 40)).unwrap().answer, Answer::Replayed(outcome));
}

#[test]
fn reservations_and_outcomes_are_bounded() {
    let mut run = Run::v2(1_000);
    run.accept(1, Spend::Nothing).unwrap();
    for name in 0..64 {
        run.spend(reserve(name, 0)).unwrap();
    }
    let full = Rejection::TooManyReservations { maximum: RESERVATIONS_MAX };
    assert_eq!(run.spend(reserve(64, 0)), Err(full));
    // A voucher that comes with one request too many is kept.
    assert_eq!(run.accept(2, reserve(64, 0)).unwrap().answer, Answer::AcceptedOnly(full));
    for name in 0..64 {
        run.step(capture(name, 0, true)).unwrap();
    }
    assert_eq!(run.state.outcomes.iter().len(), OUTCOMES_MAX);
    assert_eq!(run.state.outcomes.get(&key(31)), None);
    assert!(run.state.outcomes.get(&key(32)).is_some());
}

#[test]
fn what_the_chain_says_is_a_total() {
    let mut run = Run::v2(100);
    let top_up =
        |deposit| Command::ToppedUp { deposit: amount(deposit), position: at(2), cancels_close: false };
    run.step(top_up(150)).unwrap();
    assert!(run.step(top_up(150)).unwrap().events.is_empty());
    assert!(run.step(top_up(120)).unwrap().events.is_empty());
    assert_eq!(run.state.deposit, amount(150));
    assert_eq!(run.step(top_up(1 << 96)), Err(Rejection::AmountTooLarge));
    // A payout that exceeds the known deposit proves a top-up that was not heard of yet.
    run.settled(170);
    assert_eq!((run.state.deposit, run.state.settled), (amount(170), amount(170)));
    run.closed(170, 30);
    assert_eq!(run.state.deposit, amount(200));
}

#[test]
fn an_older_close_request_does_not_undo_a_newer_cancel() {
    let mut run = Run::v2(100);
    run.step(Command::ToppedUp { deposit: amount(100), position: at(7), cancels_close: true }).unwrap();
    run.close_requested(6);
    assert_eq!(run.state.close_requested_at, None);
    run.close_requested(8);
    run.step(Command::CloseRequestCancelled { position: at(8) }).unwrap();
    assert_eq!(run.state.close_requested_at, Some(NOW), "an equal place is not newer");
    run.step(Command::CloseRequestCancelled { position: at(9) }).unwrap();
    assert_eq!(run.accept(10, charge(1, 10)).unwrap().answer, Answer::Done);
}

#[test]
fn a_channel_that_comes_with_something_settled_does_not_give_it_twice() {
    let mut run = Run::adopt(ProtocolVersion::V2, 1_000, 300);
    assert_eq!((run.state.spent, run.state.accepted), (amount(300), amount(300)));
    assert_eq!(run.accept(300, charge(1, 1)), Err(Rejection::VoucherPublic));
    run.accept(310, charge(1, 10)).unwrap();
    assert_eq!(run.state.available(), Amount::ZERO);
    assert_eq!(run.close_forced().unwrap().capture, amount(310));
}

#[test]
fn an_impossible_open_is_refused() {
    let at_open = |deposit, settled| {
        open(identity(ProtocolVersion::V2), deposit, settled, at(1), NOW).map(|opened| opened.next.deposit)
    };
    assert_eq!(at_open(amount(1 << 96), Amount::ZERO), Err(Rejection::AmountTooLarge));
    assert!(matches!(at_open(amount(10), amount(11)), Err(Rejection::OpenMismatch { .. })));
    assert_eq!(at_open(Amount::MAX_V2, Amount::ZERO), Ok(Amount::MAX_V2));
    let opened = open(identity(ProtocolVersion::V1), Amount::MAX, amount(1), at(1), NOW).unwrap();
    assert!(opened.alarm_settled_above_spent);
}

#[test]
fn the_first_voucher_of_zero_opens_a_stream() {
    // Nothing is settled yet, so nothing is public: a client that opens with zero may begin a stream
    // that asks for its first voucher.
    let mut run = Run::v2(1_000);
    run.accept(0, reserve(1, 0)).unwrap();
    run.accept(25, Spend::Nothing).unwrap();
    run.step(capture(1, 25, true)).unwrap();
    assert_eq!(run.state.spent, amount(25));
}

#[test]
fn the_edge_of_the_numbers_is_held() {
    let mut run = Run::v1(u128::MAX);
    run.accept(u128::MAX, charge(1, u128::MAX - 1)).unwrap();
    let units = |units| Spend::Charge { key: Some(key(2)), amount: Amount::ZERO, units };
    assert_eq!(run.spend(units(u64::MAX)), Err(Rejection::AmountTooLarge));
    run.spend(units(u64::MAX - 1)).unwrap();
    run.spend(reserve(3, 1)).unwrap();
    let refused = Rejection::InsufficientBalance {
        cost: Amount::MAX,
        available: amount(0),
        required_cumulative: Amount::MAX,
    };
    assert_eq!(run.spend(charge(4, u128::MAX)), Err(refused));
    let closed = Command::Closed { captured: Amount::MAX, refunded: amount(1), position: at(2) };
    assert_eq!(run.step(closed), Err(Rejection::AmountTooLarge));
}

#[test]
fn terms_are_compared_with_what_was_advertised() {
    let advertised = Advertised {
        chain_id: crate::units::ChainId(42431),
        escrow: ESCROW,
        payee: PAYEE,
        token: TOKEN,
        operator: crate::units::Address::ZERO,
    };
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        assert_eq!(identity(protocol).check(&advertised), Ok(()));
        let mut elsewhere = identity(protocol);
        elsewhere.chain_id.0 += 1;
        assert!(matches!(elsewhere.check(&advertised), Err(Rejection::OpenMismatch { .. })));
        for (term, expected) in [
            ("escrow", Advertised { escrow: PAYER, ..advertised }),
            ("payee", Advertised { payee: PAYER, ..advertised }),
            ("token", Advertised { token: PAYER, ..advertised }),
        ] {
            let refused = identity(protocol).check(&expected);
            assert!(matches!(refused, Err(Rejection::TermMismatch { term: found, .. }) if found == term));
        }
    }
}

#[test]
fn broken_books_are_noticed() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 50)).unwrap();
    run.spend(reserve(2, 10)).unwrap();
    let broken = |change: fn(&mut State)| {
        let mut state = run.state.clone();
        change(&mut state);
        state.check().unwrap_err()
    };
    assert_eq!(broken(|state| state.sequence = 0), Violation::NoSequence);
    assert!(matches!(
        broken(|state| state.deposit = Amount::MAX),
        Violation::DepositAboveBound { bound: Amount::MAX_V2, .. }
    ));
    assert!(matches!(broken(|state| state.deposit = amount(99)), Violation::AcceptedAboveDeposit { .. }));
    assert!(matches!(broken(|state| state.settled = amount(1_001)), Violation::SettledAboveDeposit { .. }));
    let overspent = Violation::SpentAndReservedAboveAccepted {
        spent: amount(91),
        reserved: amount(10),
        accepted: amount(100),
    };
    assert_eq!(broken(|state| state.spent = amount(91)), overspent);
    assert!(matches!(
        broken(|state| state.reservations[0].captured = amount(51)),
        Violation::CapturedAboveSpent { .. }
    ));
    assert_eq!(
        broken(|state| state.reservations[0].key = key(1)),
        Violation::DuplicateRequest { key: key(1) }
    );
    assert!(matches!(broken(|state| state.accepted = amount(101)), Violation::HighestNotKept { .. }));
    assert!(matches!(
        broken(|state| state.phase = Phase::Closing { capture: amount(50) }),
        Violation::ReservationsAfterEnd { count: 1 }
    ));
    let closing = |capture| {
        let mut state = run.state.clone();
        state.reservations.clear();
        state.phase = Phase::Closing { capture };
        state.check().unwrap_err()
    };
    assert!(matches!(closing(amount(51)), Violation::CaptureAboveOwed { .. }));
    assert!(matches!(closing(amount(49)), Violation::CaptureBelowSpent { .. }));
}

#[test]
fn chatter_after_a_restart_is_not_activity() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 10)).unwrap();
    let active_at = run.state.active_at;
    run.now = UnixSeconds(NOW.0 + 1_000);
    run.step(Command::ReleaseAll).unwrap();
    assert_eq!(run.state.active_at, active_at);
}

#[test]
fn a_charge_without_a_name_is_charged_each_time_and_leaves_no_outcome() {
    let nameless = Spend::Charge { key: None, amount: amount(10), units: 1 };
    let mut run = Run::v2(1_000);
    run.accept(25, nameless).unwrap();
    assert_eq!(run.spend(nameless).unwrap().answer, Answer::Done);
    assert_eq!((run.state.spent, run.state.units), (amount(20), 2));
    assert_eq!(run.state.outcomes.iter().len(), 0);
    assert!(matches!(run.spend(nameless), Err(Rejection::InsufficientBalance { .. })));
    run.accept(30, nameless).unwrap();
    assert_eq!(run.state.spent, amount(30));
}

#[test]
fn an_outcome_is_answered_for_its_time_and_then_its_name_is_new() {
    let mut run = Run::v2(1_000);
    run.policy.outcome_age_s_max = 100;
    let first = run.accept(50, charge(1, 10)).unwrap();
    assert_eq!(first.answer, Answer::Done);
    let ended = run.now;
    run.now = UnixSeconds(ended.0 + 99);
    assert!(
        matches!(run.spend(charge(1, 10)).unwrap().answer, Answer::Replayed(outcome) if outcome.at == ended)
    );
    // The clock went back, before the request even: nothing is forgotten.
    run.now = UnixSeconds(ended.0 - 50);
    assert!(matches!(run.spend(charge(1, 10)).unwrap().answer, Answer::Replayed(_)));
    run.now = UnixSeconds(ended.0 + 100);
    assert_eq!(run.spend(charge(1, 10)).unwrap().answer, Answer::Done);
    assert_eq!(
        (run.state.spent, run.state.outcomes.iter().len()),
        (amount(20), 1),
        "charged as a new request"
    );
    assert!(matches!(run.spend(charge(1, 10)).unwrap().answer, Answer::Replayed(_)));
    // A request that runs takes the place of the old outcome.
    run.now = UnixSeconds(run.now.0 + 200);
    assert_eq!(run.spend(reserve(1, 10)).unwrap().answer, Answer::Done);
    assert_eq!(run.state.outcomes.iter().len(), 0);
    assert_eq!(run.spend(charge(1, 10)), Err(Rejection::RequestInFlight));
    let transition = run.step(capture(1, 10, true)).unwrap();
    assert_eq!(transition.next.outcomes.get(&key(1)).map(|outcome| outcome.at), Some(run.now));
}

#[test]
fn an_outcome_that_a_clock_dated_into_the_past_is_not_forgotten_early() {
    let mut run = Run::v2(1_000);
    run.policy.outcome_age_s_max = 100;
    run.accept(50, charge(1, 10)).unwrap();
    let right = run.now;
    run.now = UnixSeconds(right.0 - 500);
    run.spend(charge(2, 10)).unwrap();
    run.now = right;
    assert!(
        matches!(run.spend(charge(2, 10)).unwrap().answer, Answer::Replayed(outcome) if outcome.at == right)
    );
    assert_eq!(run.state.spent, amount(20));
}
