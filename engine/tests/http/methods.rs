//! Ways to pay at once beside the session: what every one of them can rely on, shown with a till that is a script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use farebox_core::challenge::{Challenge, Problem, ProblemType};
use farebox_core::units::{Address, Amount, B256};
use farebox_engine::chain::BoxFuture;
use farebox_engine::clock::ManualClock;
use farebox_engine::http::{Decision, Door, DoorConfig, Handed, PaymentMethod, Route, Settled, Unsettled};
use farebox_engine::ledger::{MemoryLedger, MemoryStore};
use farebox_engine::{Config, Engine};
use http::{HeaderMap, Method};
use http_body_util::Full;
use parking_lot::Mutex;

use crate::support::*;

const COST: Amount = Amount::new(199);

/// What the till says next; when it has no script it takes the money.
#[derive(Clone, Copy, Debug)]
enum Says {
    Paid,
    Refused,
    Unknown,
}

/// A way to pay that does what it is told, and counts.
#[derive(Default)]
struct Till {
    script: Mutex<VecDeque<Says>>,
    /// For each time that it was asked: the coin, and whether it may have been asked before.
    asked: Mutex<Vec<(String, bool)>>,
    takes: Mutex<Duration>,
    books: Mutex<Option<Engine>>,
}

impl std::fmt::Debug for Till {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Till")
    }
}

fn problem(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(ProblemType::VerificationFailed, detail))
}

fn coin(handed: &Handed) -> Option<&str> {
    handed.credential.payload.get("coin")?.as_str()
}

impl PaymentMethod for Till {
    fn name(&self) -> &str {
        "till"
    }

    fn request(&self, price: Amount, _: &Route, _: B256) -> Option<String> {
        Some(base64(format!("{{\"amount\":\"{price}\"}}")))
    }

    fn check(&self, handed: &Handed) -> Result<(), Box<Problem>> {
        let asked = base64(format!("{{\"amount\":\"{}\"}}", handed.price));
        if handed.credential.challenge.request() != asked {
            return Err(problem("another price"));
        }
        coin(handed).map(|_| ()).ok_or_else(|| problem("no coin"))
    }

    fn verify(self: Arc<Self>, handed: Handed) -> BoxFuture<'static, Result<Settled, Unsettled>> {
        Box::pin(async move {
            let engine = self.books.lock().clone().unwrap();
            let notes = engine.notes(b"paying/").await.unwrap();
            assert!(
                notes.iter().any(|note| note.bytes.windows(14).any(|bytes| bytes == b"\"settled\":null")),
                "it is written down before the money is asked for"
            );
            self.asked.lock().push((coin(&handed).unwrap().into(), handed.asked_before));
            let (says, takes) = (self.script.lock().pop_front().unwrap_or(Says::Paid), *self.takes.lock());
            tokio::time::sleep(takes).await;
            match says {
                Says::Paid => {
                    let reference = format!("till-{}", self.asked.lock().len());
                    Ok(Settled { reference, chain_id: None })
                }
                Says::Refused => Err(Unsettled::Refused(problem("a bad coin"))),
                Says::Unknown => Err(Unsettled::Unknown(Box::new(Problem::new(
                    ProblemType::Unavailable,
                    "the till does not answer",
                )))),
            }
        })
    }
}

fn base64(text: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// A server over these books. A second one over the same books is the first after a restart.
fn world(till: &Arc<Till>, store: &MemoryStore, clock: &Arc<ManualClock>) -> World {
    let engine = Engine::start(Config::default(), MemoryLedger::open(store), Arc::clone(clock)).unwrap();
    *till.books.lock() = Some(engine.clone());
    let chain = Arc::new(ChainDouble::default());
    let methods = vec![Arc::clone(till) as Arc<dyn PaymentMethod>];
    let config = DoorConfig { methods, ..config(Address::ZERO) };
    let door = Door::new(engine.clone(), Arc::clone(&chain) as _, config, Arc::clone(clock) as _);
    let route = Route::per_request(PRICE).or_charge(Amount::new(700)).or_charge_by("till", COST);
    World { engine, chain, clock: Arc::clone(clock), door, route }
}

fn fresh() -> (Arc<Till>, World) {
    let till = Arc::new(Till::default());
    let clock = Arc::new(ManualClock::new(NOW));
    let world = world(&till, &MemoryStore::new(), &clock);
    (till, world)
}

async fn challenge(world: &World) -> Challenge {
    world.challenges().await.into_iter().find(|challenge| challenge.method == "till").unwrap()
}

fn pay(challenge: &Challenge, coin: &str) -> String {
    let Challenge { id, realm, method, intent, request, expires, .. } = challenge;
    let expires = expires.as_ref().unwrap();
    let text = format!(
        "{{\"challenge\":{{\"id\":\"{id}\",\"realm\":\"{realm}\",\"method\":\"{method}\",\"intent\":\"{intent}\",\
         \"request\":\"{request}\",\"expires\":\"{expires}\"}},\"payload\":{{\"coin\":\"{coin}\"}}}}"
    );
    format!("Payment {}", base64(text))
}

async fn notes(world: &World) -> (usize, usize) {
    let count = async |prefix: &[u8]| world.engine.notes(prefix).await.unwrap().len();
    (count(b"paying/").await, count(b"charge/").await)
}

#[tokio::test]
async fn another_method_is_offered_last_and_pays_for_one_request() {
    let (till, world) = fresh();
    let challenges = world.challenges().await;
    let names: Vec<&str> = challenges.iter().map(|challenge| challenge.method.as_str()).collect();
    assert_eq!(names, ["tempo", "tempo", "tempo", "till"]);
    let headers = with(HeaderMap::new(), "accept-payment", "till/charge");
    let wanted = world.answer(Method::GET, headers).await.challenges();
    assert_eq!((wanted.len(), wanted[0].method.as_str()), (1, "till"));

    let header = pay(&wanted[0], "gold");
    let seen = world.get(&header).await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]));
    let receipt: serde_json::Value = {
        use base64::Engine as _;
        let text = seen.header("payment-receipt").unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap())
            .unwrap()
    };
    assert_eq!((&receipt["method"], &receipt["reference"]), (&"till".into(), &"till-1".into()));
    assert_eq!(
        (&receipt["intent"], &receipt["challengeId"]),
        (&"charge".into(), &wanted[0].id.as_str().into())
    );
    assert_eq!(*till.asked.lock(), [("gold".to_owned(), false)]);
    assert_eq!(notes(&world).await, (0, 1), "delivered, and nothing is due any more");
    world.get(&header).await.is(402, "invalid-challenge");
    world.get(&pay(&wanted[0], "silver")).await.is(402, "invalid-challenge");
    assert_eq!(till.asked.lock().len(), 1);
    assert!(world.books().await.is_empty() && world.chain.charges.lock().is_empty());
}

#[tokio::test]
async fn what_a_method_does_not_take_is_refused_before_it_is_asked() {
    let (till, mut world) = fresh();
    let good = challenge(&world).await;
    let mut posing = good.clone();
    posing.method = "tempo".into();
    world.get(&pay(&posing, "gold")).await.is(402, "invalid-challenge");
    let mut cheaper = good.clone();
    cheaper.request = base64("{\"amount\":\"1\"}");
    world.get(&pay(&cheaper, "gold")).await.is(402, "invalid-challenge");
    world.get(&pay(&good, "gold").replace("Payment ", "Payment x")).await.is(402, "malformed-credential");
    let head = world.answer(Method::HEAD, authorization(&pay(&good, "gold"))).await;
    assert_eq!(head.status, 402, "HEAD never buys");
    world.route = Route::per_request(PRICE).or_charge_by("till", Amount::new(200));
    world.get(&pay(&good, "gold")).await.is(402, "verification-failed");
    world.route = Route::per_request(PRICE);
    world.get(&pay(&good, "gold")).await.is(402, "invalid-challenge");
    world.route = Route::per_request(PRICE).or_charge_by("till", COST);
    world.clock.advance_millis(311_000);
    world.get(&pay(&good, "gold")).await.is(402, "invalid-challenge");
    assert_eq!(till.asked.lock().len(), 0);
    assert_eq!(notes(&world).await, (0, 0));
}

#[tokio::test]
async fn money_that_was_taken_is_owed_until_it_is_delivered() {
    let till = Arc::new(Till::default());
    let (store, clock) = (MemoryStore::new(), Arc::new(ManualClock::new(NOW)));
    let first = world(&till, &store, &clock);
    let challenge = challenge(&first).await;
    let header = pay(&challenge, "gold");
    let decide =
        async |world: &World| match world.decide(Method::GET, &authorization(&header), &world.route).await {
            Decision::Charged(charged) => charged,
            other => panic!("{other:?}"),
        };
    let failed = http::Response::builder().status(500).body(Full::new(bytes::Bytes::new())).unwrap();
    let answer = decide(&first).await.deliver(Ok::<_, std::convert::Infallible>(failed)).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("payment-receipt")), (500, None));
    drop(decide(&first).await);
    assert_eq!(notes(&first).await, (1, 0));
    first.get(&pay(&challenge, "silver")).await.is(409, "about:blank");

    // The power fails.
    let second = world(&till, &store.after_crash(false), &clock);
    let seen = second.get(&header).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(*till.asked.lock(), [("gold".to_owned(), false)], "nobody pays twice");
    second.get(&header).await.is(402, "invalid-challenge");
    assert_eq!(notes(&second).await, (0, 1));
}

#[tokio::test]
async fn nobody_pays_again_while_a_payment_is_undecided() {
    let (till, world) = fresh();
    let challenge = challenge(&world).await;
    let header = pay(&challenge, "gold");
    till.script.lock().extend([Says::Unknown, Says::Refused, Says::Unknown, Says::Paid]);
    assert_eq!(world.get(&header).await.status, 503);
    world.get(&pay(&challenge, "silver")).await.is(409, "about:blank");
    // It may refuse now because it took the money then.
    assert_eq!(world.get(&header).await.status, 503);
    assert_eq!(world.get(&header).await.status, 503);
    assert_eq!(notes(&world).await, (1, 0));
    assert_eq!(world.get(&header).await.status, 200);
    world.get(&header).await.is(402, "invalid-challenge");
    let asked: Vec<bool> = till.asked.lock().iter().map(|(_, before)| *before).collect();
    assert_eq!(asked, [false, true, true, true]);
}

#[tokio::test]
async fn a_refused_credential_leaves_nothing_behind() {
    let (till, world) = fresh();
    let challenge = challenge(&world).await;
    till.script.lock().push_back(Says::Refused);
    world.get(&pay(&challenge, "lead")).await.is(402, "verification-failed");
    assert_eq!(notes(&world).await, (0, 0));
    assert_eq!(world.get(&pay(&challenge, "gold")).await.status, 200, "another coin may answer it");
    assert_eq!(*till.asked.lock(), [("lead".to_owned(), false), ("gold".to_owned(), false)]);
}

#[tokio::test]
async fn one_payment_is_delivered_once_however_often_it_is_sent() {
    let (till, world) = fresh();
    *till.takes.lock() = Duration::from_millis(20);
    let header = pay(&challenge(&world).await, "gold");
    let answers = futures_util::future::join_all((0..36).map(|_| world.get(&header))).await;
    assert_eq!(answers.iter().filter(|seen| seen.status == 200).count(), 1);
    assert!(answers.iter().all(|seen| matches!(seen.status, 200 | 402 | 409)), "{answers:?}");
    assert_eq!(till.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_payment_again() {
    let (till, world) = fresh();
    *till.takes.lock() = Duration::from_millis(50);
    let header = pay(&challenge(&world).await, "gold");
    let left = tokio::time::timeout(Duration::from_millis(20), world.get(&header)).await;
    assert!(left.is_err(), "it left while the till was at work");
    let mut seen = world.get(&header).await;
    while seen.status == 409 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = world.get(&header).await;
    }
    assert_eq!((seen.status, till.asked.lock().len()), (200, 1));
}

#[tokio::test]
async fn what_expired_undelivered_is_told_and_forgotten() {
    let (till, world) = fresh();
    till.script.lock().extend([Says::Unknown]);
    let undecided = pay(&challenge(&world).await, "gold");
    assert_eq!(world.get(&undecided).await.status, 503);
    let paid = pay(&challenge(&world).await, "silver");
    drop(world.decide(Method::GET, &authorization(&paid), &world.route).await);
    assert_eq!(notes(&world).await, (2, 0));
    world.clock.advance_millis(311_000);
    assert_eq!(world.get(&pay(&challenge(&world).await, "copper")).await.status, 200);
    assert_eq!(notes(&world).await, (0, 1));
    world.get(&paid).await.is(402, "invalid-challenge");
}
