//! The engine against the rules alone: whatever is asked, it answers as `channel::apply` would.
//!
//! The model verifies every voucher first and asks the rules one step after the other. The engine refuses
//! some vouchers before it verifies them and works on batches; neither may show.
#![cfg(feature = "pipeline")]

mod support;

use std::collections::HashMap;

use farebox_core::channel::{Answer, CloseReason, Command, Policy, Snapshot, State, apply, open};
use farebox_core::units::{Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, Verified, Verifier, Voucher};
use farebox_engine::clock::ManualClock;
use farebox_engine::ledger::MemoryStore;
use farebox_engine::{Config, Engine, MemoryLedger, Refusal, Reply, Verdict};
use proptest::prelude::*;
use support::faulty::{FaultyLedger, Switch};
use support::script::{Ask, DEPOSIT_SMALL, PAYERS, ask, payer};
use support::*;

const NOW: UnixSeconds = UnixSeconds(1_000);

/// The books without an engine.
#[derive(Default)]
struct Model(HashMap<ChannelId, State>);

impl Model {
    fn ask(&mut self, payer: &Payer, ask: &Ask) -> Verdict {
        let command = match ask {
            Ask::Open => return self.open(payer),
            Ask::Submit { amount, then } => {
                verify(payer, &payer.sign(*amount)).map(|voucher| Command::Accept { voucher, then: *then })
            }
            Ask::Close { amount } => verify(payer, &payer.sign(*amount))
                .map(|voucher| Command::BeginClose(CloseReason::Cooperative(voucher))),
            Ask::Step(step) => Ok((*step).into()),
        };
        let Some(state) = self.0.get_mut(&payer.channel) else {
            return Verdict::Rejected(farebox_core::channel::Rejection::ChannelNotFound.into());
        };
        let decided = command.and_then(|command| Ok(apply(state, command, &Policy::default(), NOW)?));
        match decided {
            Ok(transition) => {
                *state = transition.next;
                Verdict::Accepted(Reply { answer: transition.answer, snapshot: Snapshot::from(&*state) })
            }
            Err(refusal) => Verdict::Rejected(refusal),
        }
    }

    fn open(&mut self, payer: &Payer) -> Verdict {
        let state = self.0.entry(payer.channel).or_insert_with(|| {
            open(payer.identity.clone(), DEPOSIT_SMALL, Amount::ZERO, position(1), NOW).unwrap().next
        });
        Verdict::Accepted(Reply { answer: Answer::Done, snapshot: Snapshot::from(&*state) })
    }
}

fn verify(payer: &Payer, voucher: &AnySignedVoucher) -> Result<Verified<Voucher>, Refusal> {
    let identity = &payer.identity;
    let domain = AnyDomain::new(identity.protocol(), identity.chain_id, identity.escrow);
    Ok(Verifier::new().verify_one(&domain, voucher, identity.expected_signer())?)
}

fn start(switch: &std::sync::Arc<Switch>) -> Engine {
    let ledger = FaultyLedger { inner: MemoryLedger::open(&MemoryStore::new()), switch: switch.clone() };
    let small = Config { shards: 2, checkpoint_frames: 2, resident_channels_max: 2, ..Config::default() };
    Engine::start(small, ledger, ManualClock::new(NOW)).unwrap()
}

async fn one_by_one(asks: &[(u32, Ask)]) {
    let (engine, mut model) = (start(&Switch::healthy()), Model::default());
    for (number, ask) in asks {
        let payer = payer(*number);
        let found = ask.of(&engine, &payer).await.unwrap();
        assert_eq!(found, model.ask(&payer, ask), "channel {number}: {ask:?}");
    }
    engine.shutdown().await.unwrap();
}

/// All at once, so that the shards see large batches.
async fn in_batches(asks: &[(u32, Ask)]) {
    let switch = Switch::healthy();
    let (engine, mut model) = (start(&switch), Model::default());
    let payers: Vec<_> = asks.iter().map(|(number, _)| payer(*number)).collect();
    switch.close();
    let mut asked: Vec<_> =
        asks.iter().zip(&payers).map(|((_, ask), payer)| Box::pin(ask.of(&engine, payer))).collect();
    let mut early = Vec::new();
    for one in &mut asked {
        // A voucher for an unknown channel changes no books, so its answer waits for no write.
        early.push(match poll(one) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        });
    }
    switch.open();
    for (((number, ask), payer), (one, early)) in asks.iter().zip(&payers).zip(asked.into_iter().zip(early)) {
        let found = match early {
            Some(answer) => answer,
            None => one.await,
        };
        match (found.unwrap(), model.ask(payer, ask)) {
            // Refused for a reason that was true when the batch began.
            (Verdict::Rejected(_), Verdict::Rejected(_)) => {}
            // A retry by an older voucher, in one batch with the request that it repeats: it is not known
            // yet. Nothing was due, and nothing was charged.
            (Verdict::Rejected(_), Verdict::Accepted(Reply { answer: Answer::Replayed(_), .. })) => {}
            (found, expected) => assert_eq!(found, expected, "channel {number}: {ask:?}"),
        }
    }
    for (channel, state) in &model.0 {
        let found = engine.read(*channel).await.unwrap().unwrap();
        assert_eq!(found.snapshot, Snapshot::from(state));
    }
    engine.shutdown().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_rules_do(asks in prop::collection::vec((0..PAYERS, ask()), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(one_by_one(&asks));
    }

    #[test]
    fn batches_do_not_show(asks in prop::collection::vec((0..PAYERS, ask()), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(in_batches(&asks));
    }
}
