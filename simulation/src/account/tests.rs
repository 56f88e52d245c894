//! The model by hand, so that a mistake in it is not taken for one in the books.

use farebox_core::channel::{ChainPosition, RequestKey};
use farebox_core::units::{Amount, UnixSeconds};

use super::*;

fn opened(version: ProtocolVersion, deposit: u128) -> Account {
    let mut account = Account::new(version);
    account.ask(&Op::Open { deposit, settled: 0, position: (1, 0) });
    account
}

fn submit(amount: u128, then: Spend) -> Op {
    Op::Submit { amount, genuine: true, then }
}

fn charge(name: u8, amount: u128) -> Spend {
    Spend::Charge { key: Some(RequestKey([name; 16])), amount: Amount::new(amount), units: 1 }
}

fn word(said: Said) -> Word {
    match said {
        Said::Done(word, _) => word,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_paid_once() {
    let mut account = opened(ProtocolVersion::V2, 100);
    assert_eq!(word(account.ask(&submit(60, charge(1, 25)))), Word::Done);
    let again = account.ask(&submit(60, charge(1, 25)));
    let receipt = Receipt { key: [1; 16], charged: 25, units: 1, accepted: 60, spent: 25, at: 0 };
    assert_eq!(word(again), Word::Replayed(receipt));
    assert_eq!(account.spent, 25);
    assert_eq!(word(account.ask(&submit(70, charge(2, 50)))), Word::KeptOnly(No::Short { available: 45 }));
    assert_eq!((account.accepted, account.spent), (70, 25));
}

#[test]
fn a_v2_close_captures_what_was_spent_and_a_v1_close_a_whole_voucher() {
    for (version, expected) in [
        (ProtocolVersion::V2, Word::Close { cumulative: 60, capture: 45, signed: true }),
        (ProtocolVersion::V1, Word::Close { cumulative: 30, capture: 30, signed: true }),
    ] {
        let mut account = opened(version, 100);
        account.ask(&submit(30, charge(1, 25)));
        account.ask(&submit(60, charge(2, 20)));
        assert_eq!(word(account.ask(&Op::Step(Step::BeginCloseForced))), expected);
        let closed = Step::Closed {
            captured: Amount::new(30),
            refunded: Amount::new(70),
            position: ChainPosition { block: 9, log_index: 0 },
        };
        account.ask(&Op::Step(closed));
        assert_eq!(account.stage, Stage::Over { captured: 30, refunded: 70, lost: 15 });
    }
}

#[test]
fn a_close_request_ends_service_until_it_is_taken_back() {
    let mut account = opened(ProtocolVersion::V2, 100);
    let position = |block| ChainPosition { block, log_index: 0 };
    account.ask(&Op::Step(Step::CloseRequested { at: UnixSeconds(5), position: position(4) }));
    assert_eq!(account.ask(&submit(10, Spend::Nothing)), Said::Refused(No::CloseAsked));
    account.ask(&Op::Step(Step::CloseRequestCancelled { position: position(3) }));
    assert_eq!(account.ask(&submit(10, Spend::Nothing)), Said::Refused(No::CloseAsked));
    account.ask(&Op::Step(Step::CloseRequestCancelled { position: position(5) }));
    assert_eq!(word(account.ask(&submit(10, Spend::Nothing))), Word::Done);
}

#[test]
fn what_was_settled_is_public() {
    let mut account = opened(ProtocolVersion::V1, 100);
    account.ask(&submit(40, charge(1, 40)));
    let settled = Step::Settled { settled: Amount::new(40), position: ChainPosition::default() };
    account.ask(&Op::Step(settled));
    assert_eq!(word(account.ask(&submit(40, Spend::Nothing))), Word::Done);
    assert_eq!(account.ask(&submit(40, charge(2, 0))), Said::Refused(No::Public));
    assert_eq!(account.ask(&Op::Step(Step::Spend(charge(3, 0)))), Said::Refused(No::Public));
}

#[test]
fn what_ran_at_a_restart_ends() {
    let mut account = opened(ProtocolVersion::V2, 100);
    let reserve = |name| Spend::Reserve { key: RequestKey([name; 16]), amount: Amount::new(20) };
    account.ask(&submit(60, reserve(1)));
    account.ask(&submit(60, reserve(2)));
    let (key, amount) = (RequestKey([1; 16]), Amount::new(5));
    account.ask(&Op::Step(Step::Capture { key, amount, units: 1, finish: false }));
    account.ask(&Op::Restart);
    assert!(account.running.is_empty());
    assert_eq!(account.ended.len(), 1, "only what got something has a receipt");
    assert_eq!(word(account.ask(&submit(60, reserve(2)))), Word::Done);
}
