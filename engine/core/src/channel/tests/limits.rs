//! Limits refuse in time, and nothing else than what buys something.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::channel::*;
use crate::units::{Amount, UnixSeconds};

fn party(state: &State) -> Party {
    Party { payer: Some(PAYER), signer: SIGNER, channel: state.channel_id }
}

fn micros(now: UnixSeconds) -> UnixMicros {
    UnixMicros::from_millis(now.0 * 1_000)
}

/// Decides as the caller does: the rules first, then the limits.
fn ask(
    run: &Run,
    limits: &Limits,
    bucket: Bucket,
    command: Command,
) -> Result<(Vec<Event>, Bucket), Rejection> {
    let may_buy = command.may_buy();
    let Decision { events, .. } = decide(&run.state, command, &run.policy, run.now)?;
    if !may_buy {
        return Ok((events, bucket));
    }
    let taken = limits.check(&run.state, party(&run.state), &events, bucket, micros(run.now))?;
    Ok((events, taken))
}

fn accept(run: &Run, cumulative: u128, then: Spend) -> Command {
    Command::Accept { voucher: voucher(&run.state, cumulative), then }
}

fn rated(per_second: u32, burst: u32) -> Limits {
    Limits { rate: Rate::new(per_second, burst), ..Limits::default() }
}

#[test]
fn the_same_voucher_again_takes_no_place_in_the_rate_and_a_higher_one_does() {
    let (mut run, limits) = (Run::v2(1_000), rated(1, 1));
    let first = accept(&run, 100, charge(1, 10));
    let (_, bucket) = ask(&run, &limits, Bucket::default(), first).unwrap();
    run.accept(100, charge(1, 10)).unwrap();
    run.now = NOW;
    for then in [Spend::Nothing, charge(1, 10), charge(2, 10), reserve(3, 10)] {
        let again = accept(&run, 100, then);
        assert_eq!(ask(&run, &limits, bucket, again).map(|(_, bucket)| bucket), Ok(bucket));
    }
    let spending = Command::Spend(charge(4, 10));
    assert!(ask(&run, &limits, bucket, spending).is_ok(), "no voucher, no place");
    let higher = accept(&run, 101, Spend::Nothing);
    assert!(matches!(ask(&run, &limits, bucket, higher.clone()), Err(Rejection::RateLimited { .. })));
    run.now = NOW.saturating_add(3);
    assert!(ask(&run, &limits, bucket, higher).is_ok());
}

#[test]
fn old_unsettled_value_stops_what_buys_until_it_is_settled() {
    let mut run = Run::v2(1_000);
    let limits = Limits { unsettled_age_s_max: Some(60), ..Limits::default() };
    run.accept(100, charge(1, 30)).unwrap();
    run.accept(200, reserve(2, 40)).unwrap();
    let since = run.state.unsettled_since.unwrap();
    run.now = since.saturating_add(60);
    let buys = |run: &Run| {
        let commands =
            [accept(run, 300, Spend::Nothing), Command::Spend(charge(3, 1)), capture(2, 41, false)];
        commands.map(|command| ask(run, &limits, Bucket::default(), command).map(|_| ()))
    };
    assert_eq!(buys(&run), [Ok(()); 3]);
    run.now = since.saturating_add(61);
    assert_eq!(buys(&run), [Err(Rejection::UnsettledTooOld { age_s_max: 60 }); 3]);
    // What was promised, asked before, or ends things goes on.
    let close = Command::BeginClose(CloseReason::Cooperative(voucher(&run.state, 300)));
    let ends = [
        accept(&run, 200, charge(1, 30)),
        accept(&run, 200, Spend::Nothing),
        capture(2, 40, true),
        Command::Release { key: key(2) },
        Command::BeginClose(CloseReason::Forced),
    ];
    for command in ends {
        assert!(ask(&run, &limits, Bucket::default(), command.clone()).is_ok(), "{command:?}");
    }
    run.step(Command::Release { key: key(2) }).unwrap();
    assert!(ask(&run, &limits, Bucket::default(), close).is_ok());
    run.settled(30);
    assert_eq!(run.state.unsettled_since, None);
    assert!(ask(&run, &limits, Bucket::default(), accept(&run, 300, charge(4, 1))).is_ok());
}

#[test]
fn a_settlement_that_leaves_something_begins_the_age_anew_at_the_last_activity() {
    let mut run = Run::v2(1_000);
    run.accept(100, charge(1, 60)).unwrap();
    let first = run.now;
    assert_eq!(run.state.unsettled_since, Some(first));
    run.now = first.saturating_add(1_000);
    run.spend(charge(2, 40)).unwrap();
    let last = run.now;
    assert_eq!(run.state.unsettled_since, Some(first));
    run.settled(60);
    assert_eq!(run.state.unsettled_since, Some(last));
    run.settled(50);
    assert_eq!(run.state.unsettled_since, Some(last), "a late word changes nothing");
    run.close_forced().unwrap();
    run.closed(100, 900);
    assert_eq!(run.state.unsettled_since, None);
}

#[test]
fn a_listed_payer_buys_nothing_and_ends_what_runs() {
    let mut run = Run::v2(1_000);
    run.accept(100, reserve(1, 40)).unwrap();
    let mut limits = Limits::default();
    limits.access.deny.insert(Subject::Payer(PAYER), None);
    let denied = Err(Rejection::Denied { who: SubjectKind::Payer, ends_in_s: None });
    let ask = |run: &Run, command| ask(run, &limits, Bucket::default(), command).map(|_| ());
    assert_eq!(ask(&run, accept(&run, 200, Spend::Nothing)), denied);
    assert_eq!(ask(&run, accept(&run, 100, charge(2, 1))), denied);
    assert_eq!(ask(&run, Command::Spend(reserve(2, 0))), denied);
    assert_eq!(ask(&run, capture(1, 41, false)), denied);
    assert_eq!(ask(&run, capture(1, 40, true)), Ok(()));
    assert_eq!(ask(&run, accept(&run, 100, Spend::Nothing)), Ok(()));
    assert_eq!(ask(&run, Command::BeginClose(CloseReason::Forced)), Ok(()));
    let mut finished = run.clone();
    finished.step(capture(1, 40, true)).unwrap();
    assert_eq!(ask(&finished, accept(&finished, 100, reserve(1, 40))), Ok(()), "a retry is answered");
}

#[test]
fn a_new_channel_needs_its_deposit() {
    let limits = Limits { deposit_min: amount(100), ..Limits::default() };
    assert_eq!(limits.check_deposit(amount(100)), Ok(()));
    assert_eq!(Limits::default().check_deposit(Amount::ZERO), Ok(()));
    let small = Rejection::DepositTooSmall { deposit: amount(99), minimum: amount(100) };
    assert_eq!(limits.check_deposit(amount(99)), Err(small));
}

#[test]
fn every_limit_has_its_own_name_and_place() {
    let names: alloc::collections::BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
    assert_eq!(names.len(), Limit::ALL.len());
    for (index, limit) in Limit::ALL.iter().enumerate() {
        assert_eq!(limit.index(), index);
    }
}

fn basis() -> impl Strategy<Value = UnsettledBasis> {
    prop_oneof![Just(UnsettledBasis::Spent), Just(UnsettledBasis::Accepted)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// What is foreseen of a decision is what its events make true.
    #[test]
    fn exposure_is_foreseen(mut run in channel(), intents in intents(), basis in basis()) {
        let limits = Limits { basis, ..Limits::default() };
        watch(&mut run, intents, |seen| {
            let exposure = limits.foresee(seen.before, seen.events());
            prop_assert_eq!(exposure.before, limits.exposure(seen.before));
            prop_assert_eq!(exposure.after, limits.exposure(seen.after), "{:?}", seen.command);
            // Only what is asked about raises it, but for the voucher of a close.
            if !seen.command.may_buy() && basis == UnsettledBasis::Spent {
                prop_assert!(exposure.after <= exposure.before, "{:?}", seen.command);
            }
            Ok(())
        })?;
    }

    /// Without limits nothing is ever refused, and what may not buy is not refused by any.
    #[test]
    fn no_limits_refuse_nothing(mut run in channel(), intents in intents()) {
        let off = Limits::default();
        prop_assert!(off.is_off());
        watch(&mut run, intents, |seen| {
            let asked = off.check(seen.before, party(seen.before), seen.events(), Bucket::default(), micros(NOW));
            prop_assert_eq!(asked, Ok(Bucket::default()));
            let accepted = seen.before.accepted;
            let told = off.foretell(party(seen.before), accepted, Amount::MAX, Bucket::default(), micros(NOW));
            prop_assert_eq!(told, None);
            Ok(())
        })?;
    }

    /// A voucher that is refused before its signature is looked at is one that is refused in any case.
    #[test]
    fn what_is_foretold_comes_true(mut run in channel(), intents in intents(), per_second in 1_u32..3) {
        let mut limits = rated(per_second, 2);
        limits.access.deny.insert(Subject::Signer(SIGNER), Some(UnixSeconds(NOW.0 + 12)));
        let mut bucket = Bucket::default();
        for intent in intents {
            run.now = run.now.saturating_add(u64::from(per_second) % 2);
            let command = intent.in_state(&run.state);
            let told = match &command {
                Command::Accept { voucher, then } => {
                    let is_known = then.key().is_some_and(|key| {
                        run.state.outcomes.get(key).is_some() || run.state.reservation(key).is_some()
                    });
                    let (accepted, amount) = (run.state.accepted, voucher.cumulative_amount());
                    let told = limits.foretell(party(&run.state), accepted, amount, bucket, micros(run.now));
                    told.filter(|_| !is_known)
                }
                _ => None,
            };
            match ask(&run, &limits, bucket, command.clone()) {
                Ok((events, taken)) => {
                    prop_assert_eq!(told, None, "{:?} was granted", command);
                    bucket = taken;
                    events.iter().for_each(|event| run.state.evolve(event));
                    prop_assert_eq!(run.state.check(), Ok(()));
                }
                Err(refused) if refused.limit().is_some() => {
                    prop_assert!(command.may_buy(), "{:?} was refused: {}", command, refused);
                }
                Err(_) => {}
            }
        }
    }
}
