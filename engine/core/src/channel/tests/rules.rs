//! One property a money rule, searched for a counterexample over random command sequences.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::channel::*;
use crate::journal::{Record, encode_record};
use crate::units::{Address, Amount};
use crate::voucher::{ProtocolVersion, Verified, Voucher};

proptest! {
    /// What is not in the events did not happen: a charge or a voucher is durable as soon as they are,
    /// and the books can be rebuilt from them alone, through the bytes of the journal.
    #[test]
    fn rule_1_books_are_the_events_and_nothing_else(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            if seen.events().is_empty() {
                prop_assert_eq!(seen.before, seen.after);
            }
            Ok(())
        })?;
        let mut builder = crate::journal::FrameBuilder::new();
        for (event, sequence) in run.history.iter().zip(1..) {
            let mut bytes = Vec::new();
            let record = Record { channel: run.state.channel_id, sequence, event: event.clone() };
            encode_record(&mut bytes, &record);
            builder.append(&bytes).unwrap();
        }
        let frame = builder.finish(1, 1, crate::journal::Link::GENESIS, None);
        let records = crate::journal::decode(frame).unwrap().records;
        let mut rebuilt = State::from_opened(&records[0].event).unwrap();
        for record in &records[1..] {
            rebuilt.evolve(&record.event);
            prop_assert_eq!(rebuilt.sequence, record.sequence);
        }
        prop_assert_eq!(rebuilt, run.state);
    }

    /// Every claim captures what is owed, with a voucher that really was signed and covers it.
    #[test]
    fn rule_2_claims_are_covered_and_never_more_than_owed(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            let Ok(transition) = seen.result else { return Ok(()) };
            let state = seen.after;
            prop_assert!(state.spent.max(Amount::ZERO) <= state.accepted && state.accepted <= state.deposit);
            prop_assert!(state.settled <= state.deposit);
            let raised = state.settled > seen.before.settled;
            prop_assert_eq!(transition.alarm_settled_above_spent, raised && state.settled > state.spent);
            match &transition.answer {
                Answer::Close(claim) => {
                    check_claim(state, claim)?;
                    let owed = state.spent.max(state.settled);
                    prop_assert!(claim.capture <= owed);
                    let cooperative = matches!(seen.command, Command::BeginClose(CloseReason::Cooperative(_)));
                    if cooperative || state.protocol == ProtocolVersion::V2 {
                        prop_assert_eq!(claim.capture, owed);
                    }
                }
                Answer::Settle(claim) => {
                    check_claim(state, claim)?;
                    prop_assert!(claim.capture > state.settled && claim.capture <= state.spent);
                    prop_assert_eq!(claim.capture, claim.cumulative);
                }
                _ => {}
            }
            Ok(())
        })?;
    }

    /// Amounts only grow, a lower voucher is refused, an equal one changes no voucher state.
    #[test]
    fn rule_3_cumulative_amounts_only_grow(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            let (before, after) = (seen.before, seen.after);
            prop_assert!(after.accepted >= before.accepted);
            prop_assert!(after.spent >= before.spent);
            prop_assert!(after.settled >= before.settled);
            prop_assert!(after.deposit >= before.deposit);
            prop_assert!(after.units >= before.units);
            let Command::Accept { voucher, .. } = seen.command else { return Ok(()) };
            let amount = voucher.cumulative_amount();
            let is_replay = matches!(seen.result, Ok(Transition { answer: Answer::Replayed(_), .. }));
            if amount < before.accepted && !is_replay {
                prop_assert!(seen.result.is_err());
            }
            if amount <= before.accepted || seen.result.is_err() || is_replay {
                prop_assert_eq!(after.accepted, before.accepted);
                prop_assert_eq!(highest(after), highest(before));
            } else {
                prop_assert_eq!(after.accepted, amount);
                prop_assert_eq!(highest(after), Some((amount, signature(amount))));
            }
            Ok(())
        })?;
    }

    /// A voucher that a settlement has shown to everybody changes nothing, and closes only a channel
    /// that has nothing left to take.
    #[test]
    fn rule_4_public_vouchers_buy_nothing(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            let before = seen.before;
            match seen.command {
                Command::Accept { voucher, .. } if before.is_public(voucher.cumulative_amount()) => {
                    prop_assert_eq!(before, seen.after);
                }
                Command::BeginClose(CloseReason::Cooperative(voucher))
                    if before.is_public(voucher.cumulative_amount()) && seen.result.is_ok() =>
                {
                    prop_assert_eq!(voucher.cumulative_amount(), before.accepted);
                    prop_assert_eq!(before.settled, before.accepted);
                    prop_assert!(before.reservations.is_empty());
                }
                Command::Spend(_) if before.is_public(before.accepted) => {
                    prop_assert_eq!(before, seen.after);
                }
                _ => {}
            }
            Ok(())
        })?;
    }

    /// Two requests with one voucher: one acceptance, and never more charged than it authorizes, in
    /// whatever order they come.
    #[test]
    fn rule_5_one_voucher_twice_is_one_acceptance(
        mut run in channel(),
        intents in intents(),
        near in near(),
        first in spending(),
        second in spending(),
    ) {
        watch(&mut run, intents, |_| Ok(()))?;
        let voucher = voucher(&run.state, near.in_state(&run.state).get());
        let before = run.state.clone();
        let one = run.step(Command::Accept { voucher: voucher.clone(), then: first });
        let two = run.step(Command::Accept { voucher, then: second });
        let both = [one, two];
        let events = || both.iter().flatten().flat_map(|transition| &transition.events);
        let accepted = events().filter(|event| matches!(event, Event::Accepted { .. })).count();
        prop_assert!(accepted <= 1);
        let charged: u128 = events()
            .map(|event| match event {
                Event::Charged { amount, .. } | Event::Reserved { amount, .. } => amount.get(),
                _ => 0,
            })
            .sum();
        let owed_before = before.spent.get() + before.reserved().get();
        prop_assert!(owed_before + charged <= run.state.accepted.get());
        if first == second {
            let charges = events().filter(|event| !matches!(event, Event::Accepted { .. })).count();
            prop_assert!(charges <= 1);
        }
    }

    /// A closed channel stays as it is, whatever is asked of it or said about it.
    #[test]
    fn rule_6_a_closed_channel_is_a_tombstone(mut run in channel(), intents in intents(), late in intents()) {
        watch(&mut run, intents, |_| Ok(()))?;
        let closing = Command::Closed { captured: run.state.settled, refunded: amount(0), position: at(99) };
        run.step(closing).unwrap();
        let tombstone = run.state.clone();
        watch(&mut run, late, |seen| {
            prop_assert_eq!(seen.before, seen.after);
            if let (Command::Accept { .. } | Command::BeginClose(_), Ok(transition)) = (seen.command, seen.result) {
                prop_assert!(matches!(transition.answer, Answer::Replayed(_)));
            }
            Ok(())
        })?;
        let mut reopened = tombstone.clone();
        reopened.evolve(&run.history[0]);
        prop_assert_eq!(reopened, State { sequence: tombstone.sequence + 1, ..tombstone });
    }

    /// While the payer's close request stands, or a claim is in flight, nothing new is taken; what was
    /// reserved before may still be captured, until the claim is fixed.
    #[test]
    fn rule_7_a_close_request_stops_service_at_once(mut run in channel(), intents in intents()) {
        let mut newest = run.state.close_position;
        watch(&mut run, intents, |seen| {
            let before = seen.before;
            let is_closing = matches!(before.phase, Phase::Closing { .. });
            let is_close = matches!(seen.command, Command::BeginClose(_));
            for event in seen.events() {
                match event {
                    Event::Accepted { .. } | Event::VoucherKept { .. } => {
                        prop_assert!(is_close || before.close_requested_at.is_none());
                        prop_assert!(!is_closing);
                    }
                    Event::Charged { .. } | Event::Reserved { .. } => {
                        prop_assert!(before.close_requested_at.is_none() && !is_closing);
                    }
                    Event::Captured { key, amount, .. } => {
                        prop_assert!(!is_closing);
                        let promised = before.reservation(key).unwrap().amount;
                        prop_assert!(before.close_requested_at.is_none() || *amount <= promised);
                    }
                    Event::CloseRequested { position, .. } | Event::CloseRequestCancelled { position } => {
                        prop_assert!(*position > newest, "an older word was believed");
                        newest = *position;
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
    }

    /// A paid request is charged once: a retry gets its outcome and moves no money, as long as it is
    /// remembered, also after a restart.
    #[test]
    fn rule_8_a_paid_request_is_charged_once(mut run in channel(), intents in intents()) {
        let mut finished: BTreeMap<RequestKey, Outcome> = BTreeMap::new();
        let policy = run.policy;
        watch(&mut run, intents, |seen| {
            if let Command::Accept { then: spend, .. } | Command::Spend(spend) = seen.command
                && let Some(key) = spend.key()
            {
                let now = seen.now;
                if let Some(outcome) = finished.get(key).filter(|outcome| policy.remembers(outcome, now)) {
                    let transition = seen.result.as_ref().expect("a retry is answered");
                    prop_assert_eq!(&transition.answer, &Answer::Replayed(*outcome));
                    prop_assert_eq!(seen.before, seen.after);
                } else if seen.before.reservation(key).is_some() {
                    prop_assert_eq!(seen.result, &Err(Rejection::RequestInFlight));
                }
            }
            // The books survive a restart byte by byte, so what they remember is what a restart knows.
            let mut bytes = Vec::new();
            crate::journal::encode_state(&mut bytes, seen.after);
            prop_assert_eq!(&crate::journal::decode_state(&bytes).unwrap(), seen.after);
            finished = seen.after.outcomes.iter().map(|outcome| (outcome.key, *outcome)).collect();
            // Fewer keys than outcomes are remembered, so none is ever forgotten here but for its age.
            for outcome in seen.before.outcomes.iter().filter(|outcome| policy.remembers(outcome, seen.now)) {
                prop_assert_eq!(finished.get(&outcome.key), Some(outcome));
            }
            Ok(())
        })?;
        let charged: u128 = run.history.iter().map(|event| match event {
            Event::Charged { key: Some(_), amount, .. } | Event::Captured { amount, .. } => amount.get(),
            _ => 0,
        }).sum();
        let outcomes: u128 = run.state.outcomes.iter().map(|outcome| outcome.charged.get()).sum();
        let running: u128 = run.state.reservations.iter().map(|running| running.captured.get()).sum();
        let forgotten = charged - (outcomes + running);
        prop_assert!(forgotten == 0 || policy.outcome_age_s_max < OUTCOME_AGE_S_MAX_DEFAULT);
    }

    /// Only the signer of the terms counts, and only for its own channel.
    #[test]
    fn rule_9_the_signer_comes_from_the_terms(
        mut run in channel(),
        intents in intents(),
        near in near(),
        then in spending(),
        stranger in any::<[u8; 20]>(),
        elsewhere in any::<[u8; 32]>(),
    ) {
        watch(&mut run, intents, |_| Ok(()))?;
        prop_assert_eq!(run.state.signer, identity(run.state.protocol).expected_signer());
        let cumulative_amount = near.in_state(&run.state);
        let forged = |channel_id, signer| {
            let voucher = Voucher { channel_id, cumulative_amount };
            Verified::assumed(voucher, signature(cumulative_amount), signer)
        };
        let channel_id = run.state.channel_id;
        let foreign = crate::units::ChannelId(elsewhere.into());
        for voucher in [forged(channel_id, Address::new(stranger)), forged(foreign, run.state.signer)] {
            let before = run.state.clone();
            let accept = Command::Accept { voucher: voucher.clone(), then };
            prop_assert!(run.step(accept).is_err());
            let close = Command::BeginClose(CloseReason::Cooperative(voucher));
            prop_assert!(run.step(close).is_err());
            prop_assert_eq!(&run.state, &before);
        }
    }

    /// A claim whose fate is unknown holds the channel until the chain has spoken, and can be asked for
    /// again at any time: it stays the same until somebody settles more.
    #[test]
    fn rule_10_an_unknown_close_never_frees_the_channel(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            if let Phase::Closing { capture } = seen.before.phase {
                let decided = matches!(seen.command, Command::AbortClose | Command::Closed { .. });
                let held = seen.after.phase == Phase::Closing { capture };
                prop_assert!(held || decided && seen.result.is_ok());
            }
            if matches!(seen.after.phase, Phase::Closing { .. }) {
                let again = || apply(
                    seen.after,
                    Command::BeginClose(CloseReason::Forced),
                    &Policy::default(),
                    NOW,
                ).unwrap();
                let (first, second) = (again(), again());
                prop_assert_eq!(&first, &second);
                prop_assert!(first.events.is_empty());
                if let Ok(Transition { answer: Answer::Close(claim), .. }) = seen.result {
                    prop_assert_eq!(&first.answer, &Answer::Close(claim.clone()));
                }
            }
            Ok(())
        })?;
    }

    /// A v2 channel counts only with the advertised operator, or none when none was advertised.
    #[test]
    fn rule_11_the_operator_is_the_advertised_one(named in address(), advertised in address()) {
        let mut terms = identity(ProtocolVersion::V2);
        let Terms::V2(descriptor) = &mut terms.terms else { unreachable!("it is v2") };
        descriptor.operator = named;
        let expected = if named == advertised {
            Ok(())
        } else {
            Err(Rejection::TermMismatch { term: "operator", found: named, expected: advertised })
        };
        prop_assert_eq!(terms.check_operator(advertised), expected);
        prop_assert_eq!(identity(ProtocolVersion::V1).check_operator(advertised), Ok(()));
    }

    /// Deciding in place and replaying give the state that `apply` showed.
    #[test]
    fn replay_is_the_live_state(mut run in channel(), intents in intents()) {
        watch(&mut run, intents, |seen| {
            let mut replayed = seen.before.clone();
            for event in seen.events() {
                replayed.evolve(event);
            }
            prop_assert_eq!(&replayed, seen.after);
            Ok(())
        })?;
        let mut rebuilt = State::from_opened(&run.history[0]).unwrap();
        run.history[1..].iter().for_each(|event| rebuilt.evolve(event));
        prop_assert_eq!(rebuilt, run.state);
    }
}

/// Few addresses, so that they meet.
fn address() -> impl Strategy<Value = Address> {
    prop_oneof![Just(Address::ZERO), Just(PAYEE), (1..4u8).prop_map(Address::repeat_byte)]
}

fn highest(state: &State) -> Option<(Amount, crate::voucher::Signature)> {
    state.kept.highest().map(|kept| (kept.amount, kept.signature.clone()))
}

/// What the escrow itself would check, and that the signature is the voucher's.
fn check_claim(state: &State, claim: &Claim) -> Result<(), TestCaseError> {
    prop_assert!(claim.capture >= state.settled);
    prop_assert!(claim.capture <= claim.cumulative);
    prop_assert!(claim.cumulative <= state.deposit);
    match &claim.signature {
        Some(found) => prop_assert_eq!(found, &signature(claim.cumulative)),
        None => prop_assert_eq!(claim.capture, state.settled),
    }
    if state.protocol == ProtocolVersion::V1 {
        prop_assert_eq!(claim.capture, claim.cumulative);
    }
    Ok(())
}
