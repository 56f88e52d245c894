//! The checker by hand.

use farebox_core::channel::{RequestKey, Spend};
use farebox_core::units::Amount;

use super::*;
use crate::account::Op;
use crate::said::{Balance, Stage, Word};

const MEMBER: MemberIndex = 1;

fn balance(accepted: u128, spent: u128) -> Balance {
    Balance {
        stage: Stage::Open,
        deposit: 100,
        settled: 0,
        accepted,
        spent,
        reserved: 0,
        settleable: if accepted == spent { spent } else { 0 },
        units: u64::from(spent > 0),
        asked_at: None,
    }
}

fn done(accepted: u128, spent: u128) -> Answer {
    Answer::Said(Said::Done(Word::Done, balance(accepted, spent)))
}

fn pay(name: u8) -> Op {
    let then = Spend::Charge { key: Some(RequestKey([name; 16])), amount: Amount::new(20), units: 1 };
    Op::Submit { amount: 40, genuine: true, then }
}

fn opened() -> Vec<Line> {
    let open = Op::Open { deposit: 100, settled: 0, position: (1, 0) };
    vec![Line::Began(0, MEMBER, open), Line::Ended(0, done(0, 0))]
}

fn read(caller: Caller, accepted: u128, spent: u128) -> [Line; 2] {
    let said = Said::Read(Some(balance(accepted, spent)));
    [Line::Began(caller, MEMBER, Op::Read), Line::Ended(caller, Answer::Said(said))]
}

#[test]
fn calls_at_the_same_time_may_be_taken_in_any_order() {
    for seen in [(0, 0), (40, 20)] {
        let mut lines = opened();
        lines.push(Line::Began(1, MEMBER, pay(1)));
        lines.extend(read(2, seen.0, seen.1));
        lines.push(Line::Ended(1, done(40, 20)));
        assert!(explain(&lines).is_ok());
    }
}

#[test]
fn what_was_answered_is_seen_by_whoever_asks_later() {
    let mut lines = opened();
    lines.extend([Line::Began(1, MEMBER, pay(1)), Line::Ended(1, done(40, 20))]);
    lines.extend(read(2, 0, 0));
    assert!(explain(&lines).is_err());
}

#[test]
fn one_request_is_not_paid_twice() {
    let mut lines = opened();
    lines.extend([Line::Began(1, MEMBER, pay(1)), Line::Began(2, MEMBER, pay(1))]);
    lines.push(Line::Ended(1, done(40, 20)));
    let twice = Balance { units: 2, ..balance(40, 40) };
    lines.push(Line::Ended(2, Answer::Said(Said::Done(Word::Done, twice))));
    assert!(explain(&lines).is_err());
}

#[test]
fn a_call_that_a_crash_left_unanswered_happened_before_it_or_never() {
    for seen in [(0, 0), (40, 20)] {
        let mut lines = opened();
        lines.extend([Line::Began(1, MEMBER, pay(1)), Line::Restarted]);
        lines.extend(read(2, seen.0, seen.1));
        assert!(explain(&lines).is_ok());
    }
    let mut lines = opened();
    lines.extend([Line::Began(1, MEMBER, pay(1)), Line::Restarted]);
    lines.extend(read(2, 0, 0));
    lines.extend(read(2, 40, 20));
    assert!(explain(&lines).is_err(), "it must not happen after the crash");
}

#[test]
fn what_was_answered_survives_a_crash() {
    let mut lines = opened();
    lines.extend([Line::Began(1, MEMBER, pay(1)), Line::Ended(1, done(40, 20)), Line::Restarted]);
    lines.extend(read(2, 0, 0));
    assert!(explain(&lines).is_err());
}
