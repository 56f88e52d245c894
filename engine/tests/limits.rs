//! The operator's limits on the real engine: typed refusals, sums over shards, restarts, and nothing lost.

mod support;

use std::sync::Arc;

use farebox_core::channel::{
    Answer, Limits, Phase, Rate, Rejection, Spend, Subject, SubjectKind, UnsettledBasis,
};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::clock::ManualClock;
use farebox_engine::ledger::MemoryStore;
use farebox_engine::{Config, Engine, MemoryLedger, Refusal, Step, Verdict};
use proptest::prelude::*;
use support::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

struct Limited {
    engine: Engine,
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Limited {
    fn start(limits: Limits) -> Self {
        Self::on(MemoryStore::new(), limits)
    }

    fn on(store: MemoryStore, limits: Limits) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let config = Config { limits, ..config() };
        let engine = Engine::start(config, MemoryLedger::open(&store), Arc::clone(&clock)).unwrap();
        Self { engine, clock, store }
    }

    async fn restart(self, limits: Limits) -> Self {
        self.engine.shutdown().await.unwrap();
        Self::on(self.store, limits)
    }

    async fn pay(&self, payer: &Payer, amount: u128, then: Spend) -> Result<Answer, Rejection> {
        answer(self.engine.submit(payer.channel, payer.sign(amount), then).await.unwrap())
    }

    async fn step(&self, payer: &Payer, step: Step) -> Result<Answer, Rejection> {
        answer(self.engine.apply(payer.channel, step).await.unwrap())
    }
}

fn answer(verdict: Verdict) -> Result<Answer, Rejection> {
    match verdict {
        Verdict::Accepted(reply) => Ok(reply.answer),
        Verdict::Rejected(Refusal::Channel(rejection)) => Err(rejection),
        Verdict::Rejected(refusal) => panic!("{refusal}"),
    }
}

fn sums(payer: Option<u128>, total: Option<u128>) -> Limits {
    Limits {
        unsettled_payer_max: payer.map(Amount::new),
        unsettled_total_max: total.map(Amount::new),
        ..Limits::default()
    }
}

fn settled(amount: u128) -> Step {
    Step::Settled { settled: Amount::new(amount), position: position(2) }
}

#[tokio::test]
async fn a_small_deposit_does_not_enter_the_books() {
    let limited = Limited::start(Limits { deposit_min: Amount::new(1_000_001), ..Limits::default() });
    let payer = Payer::v2(1);
    let opened =
        limited.engine.open(payer.identity.clone(), DEPOSIT, Amount::ZERO, position(1)).await.unwrap();
    let small = Rejection::DepositTooSmall { deposit: DEPOSIT, minimum: Amount::new(1_000_001) };
    assert_eq!(refused(opened), small.into());
    assert_eq!(limited.engine.read(payer.channel).await.unwrap(), None);
    // A channel that is in the books stays there when the minimum rises.
    let limited = Limited::start(Limits::default());
    payer.open(&limited.engine).await;
    let limited = limited.restart(Limits { deposit_min: Amount::MAX, ..Limits::default() }).await;
    payer.open(&limited.engine).await;
    assert_eq!(limited.pay(&payer, 10, charge(1, 10)).await, Ok(Answer::Done));
}

#[tokio::test]
async fn a_channel_pays_at_its_rate_and_a_refused_voucher_is_good_later() {
    let limited = Limited::start(Limits { rate: Rate::new(10, 2), ..Limits::default() });
    let payer = Payer::v2(1);
    payer.open(&limited.engine).await;
    assert_eq!(limited.pay(&payer, 10, charge(1, 10)).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&payer, 20, charge(2, 10)).await, Ok(Answer::Done));
    let before = payer.snapshot(&limited.engine).await;
    let wait = Err(Rejection::RateLimited { retry_after_ms: 100 });
    assert_eq!(limited.pay(&payer, 30, charge(3, 10)).await, wait);
    assert_eq!(payer.snapshot(&limited.engine).await, before, "a refused voucher changes nothing");
    // The same voucher, a retry and a spend are no new vouchers.
    assert!(matches!(limited.pay(&payer, 20, charge(2, 10)).await, Ok(Answer::Replayed(_))));
    assert_eq!(limited.pay(&payer, 20, Spend::Nothing).await, Ok(Answer::Done));
    // A forged voucher costs the channel nothing.
    limited.clock.advance_millis(100);
    let forged = Payer::v2(2).sign_for(payer.channel, 30);
    let verdict = limited.engine.submit(payer.channel, forged, charge(3, 10)).await.unwrap();
    assert!(matches!(refused(verdict), Refusal::Voucher(_)));
    assert_eq!(limited.pay(&payer, 30, charge(3, 10)).await, Ok(Answer::Done));
    // A close needs no place.
    let close = limited.engine.begin_close(payer.channel, payer.sign(40)).await.unwrap();
    assert!(matches!(accepted(close).answer, Answer::Close(_)));
}

#[tokio::test]
async fn another_channel_has_its_own_rate_and_one_batch_is_counted_voucher_by_voucher() {
    let limited = Limited::start(Limits { rate: Rate::new(1, 3), ..Limits::default() });
    let payers = [Payer::v2(1), Payer::v2(2)];
    let mut batch = limited.engine.batch();
    for payer in &payers {
        payer.open(&limited.engine).await;
        for number in 1..=5 {
            batch.push(payer.sign(number * 10), Spend::Nothing).unwrap();
        }
    }
    let verdicts = batch.submit().await.unwrap();
    let taken: Vec<bool> = verdicts
        .iter()
        .map(|verdict| answer(verdict.clone().unwrap()).map_err(|refused| refused.limit().unwrap()).is_ok())
        .collect();
    assert_eq!(taken, [true, true, true, false, false, true, true, true, false, false]);
    for payer in &payers {
        assert_eq!(payer.snapshot(&limited.engine).await.accepted, Amount::new(30));
    }
}

#[tokio::test]
async fn a_payers_unsettled_value_is_bounded_over_his_channels() {
    // These channels are of one payer, and of different shards.
    let limited = Limited::start(sums(Some(100), None));
    let [first, second] = [Payer::v2(1), Payer::v2(2)];
    assert_eq!(first.identity.payer(), second.identity.payer());
    first.open(&limited.engine).await;
    second.open(&limited.engine).await;
    assert_eq!(limited.pay(&first, 500, charge(1, 60)).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&second, 500, reserve(2, 40)).await, Ok(Answer::Done));
    let before = [first.snapshot(&limited.engine).await, second.snapshot(&limited.engine).await];
    assert_eq!(limited.pay(&first, 600, charge(3, 1)).await, Err(Rejection::UnsettledPayer));
    let spend = Step::Spend(charge(3, 1));
    assert_eq!(limited.step(&second, spend).await, Err(Rejection::UnsettledPayer));
    assert_eq!([first.snapshot(&limited.engine).await, second.snapshot(&limited.engine).await], before);
    // A voucher that buys nothing is welcome, and what is set aside is captured.
    assert_eq!(limited.pay(&first, 600, Spend::Nothing).await, Ok(Answer::Done));
    let capture = Step::Capture { key: key(2), amount: Amount::new(30), units: 1, finish: true };
    assert_eq!(limited.step(&second, capture).await, Ok(Answer::Done));
    // Ten were given back, sixty are settled.
    assert_eq!(limited.step(&second, Step::Spend(charge(4, 10))).await, Ok(Answer::Done));
    assert_eq!(limited.step(&second, spend).await, Err(Rejection::UnsettledPayer));
    assert_eq!(limited.step(&first, settled(60)).await, Ok(Answer::Done));
    assert_eq!(limited.step(&second, Step::Spend(charge(5, 60))).await, Ok(Answer::Done));
    assert_eq!(limited.step(&second, spend).await, Err(Rejection::UnsettledPayer));
    // A forced close goes on, and the end of the channel frees what it owed.
    assert!(matches!(limited.step(&second, Step::BeginCloseForced).await, Ok(Answer::Close(_))));
    let closed =
        Step::Closed { captured: Amount::new(100), refunded: Amount::new(999_900), position: position(3) };
    assert_eq!(limited.step(&second, closed).await, Ok(Answer::Done));
    assert!(matches!(second.snapshot(&limited.engine).await.phase, Phase::Closed(_)));
    assert_eq!(limited.step(&first, Step::Spend(charge(6, 100))).await, Ok(Answer::Done));
}

#[tokio::test]
async fn the_total_is_bounded_also_by_what_was_accepted_and_after_a_restart() {
    let limits = Limits { basis: UnsettledBasis::Accepted, ..sums(None, Some(1_000)) };
    let limited = Limited::start(limits.clone());
    let [first, second] = [Payer::new(1, ProtocolVersion::V1), Payer::v2(2)];
    first.open(&limited.engine).await;
    second.open(&limited.engine).await;
    assert_eq!(limited.pay(&first, 600, charge(1, 1)).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&second, 401, charge(2, 1)).await, Err(Rejection::UnsettledTotal));
    assert_eq!(limited.pay(&second, 400, charge(2, 1)).await, Ok(Answer::Done));
    let limited = limited.restart(limits).await;
    assert_eq!(limited.pay(&second, 401, Spend::Nothing).await, Err(Rejection::UnsettledTotal));
    // The voucher of a close is taken, whatever it promises.
    let close = limited.engine.begin_close(second.channel, second.sign(900)).await.unwrap();
    assert!(matches!(accepted(close).answer, Answer::Close(_)));
    assert_eq!(limited.pay(&first, 601, Spend::Nothing).await, Err(Rejection::UnsettledTotal));
    let closed = Step::Closed { captured: Amount::new(1), refunded: Amount::new(9), position: position(3) };
    assert_eq!(limited.step(&second, closed).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&first, 1_000, Spend::Nothing).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&first, 1_001, Spend::Nothing).await, Err(Rejection::UnsettledTotal));
}

#[tokio::test]
async fn requests_that_a_restart_ended_are_not_counted() {
    let limits = sums(Some(100), None);
    let limited = Limited::start(limits.clone());
    let payer = Payer::v2(1);
    payer.open(&limited.engine).await;
    assert_eq!(limited.pay(&payer, 500, reserve(1, 70)).await, Ok(Answer::Done));
    assert_eq!(limited.step(&payer, Step::Spend(charge(2, 30))).await, Ok(Answer::Done));
    let limited = limited.restart(limits).await;
    assert_eq!(limited.step(&payer, Step::Spend(charge(3, 71))).await, Err(Rejection::UnsettledPayer));
    assert_eq!(limited.step(&payer, Step::Spend(charge(3, 70))).await, Ok(Answer::Done));
}

#[tokio::test]
async fn old_value_stops_service_until_it_is_settled_also_after_a_restart() {
    let limits = Limits { unsettled_age_s_max: Some(60), ..Limits::default() };
    let limited = Limited::start(limits.clone());
    let payer = Payer::v2(1);
    payer.open(&limited.engine).await;
    assert_eq!(limited.pay(&payer, 500, charge(1, 10)).await, Ok(Answer::Done));
    let limited = limited.restart(limits).await;
    limited.clock.advance_millis(60_999);
    assert_eq!(limited.pay(&payer, 510, charge(2, 10)).await, Ok(Answer::Done));
    limited.clock.advance_millis(1);
    let old = Err(Rejection::UnsettledTooOld { age_s_max: 60 });
    assert_eq!(limited.pay(&payer, 520, charge(3, 10)).await, old);
    assert_eq!(limited.pay(&payer, 510, Spend::Nothing).await, Ok(Answer::Done), "no new voucher");
    assert_eq!(limited.step(&payer, settled(20)).await, Ok(Answer::Done));
    assert_eq!(limited.pay(&payer, 520, charge(3, 10)).await, Ok(Answer::Done));
}

#[tokio::test]
async fn a_listed_signer_is_refused_until_the_entry_ends_and_may_always_close() {
    let payer = Payer::v2(1);
    let mut limits = Limits::default();
    let signer = payer.identity.expected_signer();
    limits.access.deny.insert(Subject::Signer(signer), Some(UnixSeconds(NOW.0 + 10)));
    let limited = Limited::start(limits);
    payer.open(&limited.engine).await;
    let denied = Err(Rejection::Denied { who: SubjectKind::Signer, ends_in_s: Some(10) });
    assert_eq!(limited.pay(&payer, 10, charge(1, 10)).await, denied);
    limited.clock.advance_millis(10_000);
    assert_eq!(limited.pay(&payer, 10, charge(1, 10)).await, Ok(Answer::Done));

    let mut limits = Limits::default();
    limits.access.allow = Some([(Subject::Channel(Payer::v2(2).channel), None)].into());
    let limited = limited.restart(limits).await;
    assert_eq!(limited.pay(&payer, 20, charge(2, 10)).await, Err(Rejection::NotAllowed));
    assert!(matches!(limited.pay(&payer, 10, charge(1, 10)).await, Ok(Answer::Replayed(_))));
    let close = limited.engine.begin_close(payer.channel, payer.sign(20)).await.unwrap();
    assert!(matches!(accepted(close).answer, Answer::Close(_)));
}

/// What random clients do, each on a channel of its own.
#[derive(Clone, Debug)]
enum Do {
    Voucher { rise: u128, then: Spend },
    Spend(Spend),
    Capture { key: u64, amount: u128, finish: bool },
    Release(u64),
    SettleAll,
}

fn doing() -> impl Strategy<Value = Do> {
    let spending = || {
        prop_oneof![
            Just(Spend::Nothing),
            (0..6_u64, 0..40_u128).prop_map(|(key, amount)| charge(key, amount)),
            (0..6_u64, 0..40_u128).prop_map(|(key, amount)| reserve(key, amount)),
        ]
    };
    prop_oneof![
        6 => (0..60_u128, spending()).prop_map(|(rise, then)| Do::Voucher { rise, then }),
        3 => spending().prop_map(Do::Spend),
        4 => (0..6_u64, 0..50_u128, any::<bool>())
            .prop_map(|(key, amount, finish)| Do::Capture { key, amount, finish }),
        2 => (0..6_u64).prop_map(Do::Release),
        1 => Just(Do::SettleAll),
    ]
}

/// One client after the other on its channel, all clients at once.
async fn run(limited: &Limited, clients: Vec<Vec<Do>>, version: ProtocolVersion) -> Vec<Payer> {
    let mut payers = Vec::new();
    let mut tasks = Vec::new();
    for (number, script) in (1..).zip(clients) {
        let payer = Payer::new(number, version);
        payer.open(&limited.engine).await;
        payers.push(payer.clone());
        let engine = limited.engine.clone();
        tasks.push(tokio::spawn(async move {
            for what in script {
                let snapshot = payer.snapshot(&engine).await;
                let verdict = match what {
                    Do::Voucher { rise, then } => {
                        engine.submit(payer.channel, payer.sign(snapshot.accepted.get() + rise), then).await
                    }
                    Do::Spend(spend) => engine.apply(payer.channel, Step::Spend(spend)).await,
                    Do::Capture { key: number, amount, finish } => {
                        let amount = Amount::new(amount);
                        let step = Step::Capture { key: key(number), amount, units: 1, finish };
                        engine.apply(payer.channel, step).await
                    }
                    Do::Release(number) => {
                        engine.apply(payer.channel, Step::Release { key: key(number) }).await
                    }
                    Do::SettleAll => engine.apply(payer.channel, settled(snapshot.spent.get())).await,
                };
                let after = payer.snapshot(&engine).await;
                match verdict.unwrap() {
                    Verdict::Accepted(_) => {}
                    Verdict::Rejected(_) => assert_eq!(after, snapshot, "a refusal changes nothing"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    payers
}

async fn unsettled(limited: &Limited) -> u128 {
    let channels = limited.engine.channels().await.unwrap();
    let value = |channel: &farebox_engine::Channel| {
        let now = channel.snapshot;
        (now.spent.get() + now.reserved.get()).saturating_sub(now.settled.get())
    };
    channels.iter().map(value).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Clients of one payer on two shards, all at once: whoever looks at the books finds the limit kept, and it is kept
    /// exactly: in the end, what is free can be bought and one more cannot.
    #[test]
    fn no_interleaving_of_clients_exceeds_the_limit(
        clients in proptest::collection::vec(proptest::collection::vec(doing(), 10..30), 4..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        runtime.block_on(async {
            let limited = Limited::start(sums(Some(100), Some(100)));
            let payers = run(&limited, clients, ProtocolVersion::V2).await;
            let owed = unsettled(&limited).await;
            assert!(owed <= 100, "{owed}");
            let buyer = &payers[0];
            let top = buyer.snapshot(&limited.engine).await.accepted.get() + 1_000;
            let over = limited.pay(buyer, top, charge(100, 101 - owed)).await;
            assert!(matches!(over, Err(Rejection::UnsettledPayer | Rejection::UnsettledTotal)), "{over:?}");
            assert_eq!(limited.pay(buyer, top, charge(100, 100 - owed)).await, Ok(Answer::Done));
        });
    }

    /// Limits that are never reached change no answer: the books of both engines are the same.
    #[test]
    fn limits_that_are_not_reached_change_nothing(
        script in proptest::collection::vec(doing(), 10..40),
        is_v1: bool,
    ) {
        let version = if is_v1 { ProtocolVersion::V1 } else { ProtocolVersion::V2 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut wide = sums(Some(u128::MAX), Some(u128::MAX));
            wide.rate = Rate::new(1_000_000, 1_000_000);
            wide.unsettled_age_s_max = Some(u64::MAX);
            wide.access.deny.insert(Subject::Payer(farebox_core::units::Address::ZERO), None);
            let mut books = Vec::new();
            for limits in [Limits::default(), wide] {
                let limited = Limited::start(limits);
                run(&limited, vec![script.clone()], version).await;
                books.push(limited.engine.channels().await.unwrap());
            }
            assert_eq!(books[0], books[1]);
        });
    }
}
