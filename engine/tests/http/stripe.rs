//! Charges by Stripe, against a double of Stripe's API on this machine that keeps to its rules about idempotency keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap as Headers, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use farebox_core::challenge::Challenge;
use farebox_core::units::{Address, Amount};
use farebox_engine::clock::ManualClock;
use farebox_engine::http::{Door, DoorConfig, PaymentMethod, Route, STRIPE, StripeCharge, StripeConfig};
use farebox_engine::ledger::{MemoryLedger, MemoryStore};
use farebox_engine::{Config, Engine};
use parking_lot::Mutex;

use crate::support::*;

const CENTS: Amount = Amount::new(50);
const SECRET_KEY: &str = "sk_test_hunter2";

/// Stripe, as far as a charge sees it. The token says what happens.
#[derive(Default)]
struct Stripe {
    /// What was answered to each idempotency key.
    answers: Mutex<HashMap<String, (StatusCode, String)>>,
    /// Tokens that paid.
    used: Mutex<Vec<String>>,
    forms: Mutex<Vec<String>>,
    loses_answers: AtomicBool,
}

async fn payment_intents(State(stripe): State<Arc<Stripe>>, headers: Headers, form: String) -> Response {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{SECRET_KEY}:"));
    assert_eq!(headers["authorization"], format!("Basic {basic}"));
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    assert!(key.len() <= 255);
    stripe.forms.lock().push(form.clone());
    let field = |name: &str| {
        let fields = form.split('&').filter_map(|pair| pair.split_once('='));
        fields.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).next()
    };
    let token = field("shared_payment_granted_token").unwrap();
    if token == "spt_down" {
        return (StatusCode::SERVICE_UNAVAILABLE, "{}").into_response();
    }
    let before = stripe.answers.lock().get(&key).cloned();
    let (is_replayed, (status, body)) = match before {
        Some(answer) => (true, answer),
        None => {
            let answer = decide(&stripe, &token);
            stripe.answers.lock().insert(key, answer.clone());
            (false, answer)
        }
    };
    if stripe.loses_answers.swap(false, Ordering::SeqCst) {
        return (StatusCode::BAD_GATEWAY, "").into_response();
    }
    (status, [("idempotent-replayed", is_replayed.to_string())], body).into_response()
}

fn decide(stripe: &Stripe, token: &str) -> (StatusCode, String) {
    let error = |message: &str| format!("{{\"error\":{{\"message\":\"{message}\"}}}}");
    let intent = |status: &str, number: usize| format!("{{\"id\":\"pi_{number}\",\"status\":\"{status}\"}}");
    let mut used = stripe.used.lock();
    match token {
        "spt_action" => (StatusCode::OK, intent("requires_action", 0)),
        "spt_slow" => (StatusCode::OK, intent("processing", 0)),
        "spt_declined" => (StatusCode::PAYMENT_REQUIRED, error("Your card was declined: spt_declined")),
        _ if used.iter().any(|known| known == token) => {
            (StatusCode::BAD_REQUEST, error("This token has already been used."))
        }
        _ => {
            used.push(token.into());
            (StatusCode::OK, intent("succeeded", used.len()))
        }
    }
}

struct Shop {
    stripe: Arc<Stripe>,
    url: String,
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl Shop {
    async fn open() -> (Self, World) {
        let stripe = Arc::new(Stripe::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/v1/payment_intents", post(payment_intents));
        let server = axum::serve(listener, routes.with_state(Arc::clone(&stripe)));
        // It ends with the test's runtime.
        tokio::spawn(async move { server.await });
        let shop = Self { stripe, url, store: MemoryStore::new(), clock: Arc::new(ManualClock::new(NOW)) };
        let world = shop.world(&shop.store);
        (shop, world)
    }

    fn world(&self, store: &MemoryStore) -> World {
        let clock = &self.clock;
        let engine = Engine::start(Config::default(), MemoryLedger::open(store), Arc::clone(clock)).unwrap();
        let chain = Arc::new(ChainDouble::default());
        let method = StripeCharge::new(StripeConfig {
            secret_key: SECRET_KEY.into(),
            network_id: "profile_1".into(),
            payment_method_types: vec!["card".into(), "link".into()],
            currency: "usd".into(),
            api_url: Some(self.url.clone()),
        });
        let methods = vec![Arc::new(method) as Arc<dyn PaymentMethod>];
        let config = DoorConfig { methods, ..config(Address::ZERO) };
        let door = Door::new(engine.clone(), Arc::clone(&chain) as _, config, Arc::clone(clock) as _);
        let route = Route::per_request(PRICE).or_charge_by(STRIPE, CENTS);
        World { engine, chain, clock: Arc::clone(clock), door, route }
    }
}

fn base64(text: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn unbase64(text: &str) -> serde_json::Value {
    use base64::Engine as _;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

async fn challenge(world: &World) -> Challenge {
    world.challenges().await.into_iter().find(|challenge| challenge.method == STRIPE).unwrap()
}

fn pay(challenge: &Challenge, token: &str) -> String {
    let Challenge { id, realm, method, intent, request, expires, .. } = challenge;
    let echo = serde_json::json!({
        "id": id, "realm": realm, "method": method, "intent": intent, "request": request, "expires": expires,
    });
    let credential = serde_json::json!({ "challenge": echo, "payload": { "spt": token } });
    format!("Payment {}", base64(credential.to_string()))
}

#[tokio::test]
async fn a_token_pays_for_one_request() {
    let (shop, world) = Shop::open().await;
    let challenge = challenge(&world).await;
    assert_eq!((challenge.method.as_str(), challenge.intent.as_str()), ("stripe", "charge"));
    let request = unbase64(&challenge.request);
    let details = serde_json::json!({ "networkId": "profile_1", "paymentMethodTypes": ["card", "link"] });
    let expected = serde_json::json!({ "amount": "50", "currency": "usd", "methodDetails": details });
    assert_eq!(request, expected);

    let header = pay(&challenge, "spt_one");
    let seen = world.get(&header).await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]), "{seen:?}");
    assert!(seen.header("cache-control").unwrap().contains("private"));
    let receipt = unbase64(seen.header("payment-receipt").unwrap());
    assert_eq!((&receipt["method"], &receipt["reference"]), (&"stripe".into(), &"pi_1".into()));
    assert_eq!((&receipt["status"], &receipt["intent"]), (&"success".into(), &"charge".into()));
    {
        let forms = shop.stripe.forms.lock();
        let [form] = forms.as_slice() else { panic!("{forms:?}") };
        for part in ["amount=50", "currency=usd", "confirm=true", "shared_payment_granted_token=spt_one"] {
            assert!(form.split('&').any(|field| field == part), "{part}: {form}");
        }
        assert!(form.contains(&challenge.id), "Stripe's own books name the challenge");
    }
    world.get(&header).await.is(402, "invalid-challenge");
    world.get(&pay(&challenge, "spt_two")).await.is(402, "invalid-challenge");
    assert_eq!(shop.stripe.forms.lock().len(), 1, "a delivered challenge asks for no money");
    assert!(world.books().await.is_empty());
}

#[tokio::test]
async fn what_stripe_refuses_buys_nothing_and_may_be_tried_with_another_token() {
    let (shop, world) = Shop::open().await;
    let first = challenge(&world).await;
    for token in ["spt_action", "spt_declined"] {
        let problem = world.get(&pay(&first, token)).await.is(402, "verification-failed");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("nothing was charged") && !detail.contains("spt_"), "{detail}");
    }
    assert_eq!(world.get(&pay(&first, "spt_one")).await.status, 200);
    // A token that paid for another challenge pays for nothing more.
    world.get(&pay(&challenge(&world).await, "spt_one")).await.is(402, "verification-failed");
    assert_eq!(world.engine.notes(b"paying/").await.unwrap().len(), 0);
    assert_eq!(shop.stripe.used.lock().len(), 1);
}

#[tokio::test]
async fn what_is_no_token_never_gets_to_stripe() {
    let (shop, mut world) = Shop::open().await;
    let challenge = challenge(&world).await;
    for token in ["", "pm_card_visa", "spt_a b", "spt_\\u0000"] {
        world.get(&pay(&challenge, token)).await.is(402, "verification-failed");
    }
    world.route = Route::per_request(PRICE).or_charge_by(STRIPE, Amount::new(51));
    world.get(&pay(&challenge, "spt_one")).await.is(402, "invalid-challenge");
    assert!(shop.stripe.forms.lock().is_empty());
}

#[tokio::test]
async fn without_an_answer_nothing_is_delivered_and_nobody_pays_again() {
    let (_shop, world) = Shop::open().await;
    let challenge = challenge(&world).await;
    let down = pay(&challenge, "spt_down");
    for _ in 0..2 {
        let seen = world.get(&down).await;
        assert_eq!((seen.status, seen.header("retry-after")), (503, Some("5")));
        assert!(seen.challenges().is_empty(), "a fresh challenge would be a wish for more money");
    }
    world.get(&pay(&challenge, "spt_one")).await.is(409, "about:blank");
    assert_eq!(world.get(&pay(&challenge, "spt_slow")).await.status, 409);
}

#[tokio::test]
async fn a_payment_that_stripe_still_processes_is_not_served() {
    let (_shop, world) = Shop::open().await;
    let header = pay(&challenge(&world).await, "spt_slow");
    assert_eq!(world.get(&header).await.status, 503);
    assert_eq!(world.engine.notes(b"paying/").await.unwrap().len(), 1, "it is not forgotten");
}

#[tokio::test]
async fn a_payment_whose_answer_was_lost_is_delivered_once() {
    let (shop, world) = Shop::open().await;
    let challenge = challenge(&world).await;
    let header = pay(&challenge, "spt_one");
    shop.stripe.loses_answers.store(true, Ordering::SeqCst);
    assert_eq!(world.get(&header).await.status, 503);
    // The power fails before the client comes again.
    let after = shop.world(&shop.store.after_crash(false));
    let seen = after.get(&header).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let receipt = unbase64(seen.header("payment-receipt").unwrap());
    assert_eq!(receipt["reference"], challenge.id, "by it the payment is found at Stripe");
    after.get(&header).await.is(402, "invalid-challenge");
    assert_eq!(shop.stripe.used.lock().len(), 1);
}

#[tokio::test]
async fn a_payment_that_another_server_asked_for_is_not_ours() {
    let (shop, world) = Shop::open().await;
    let header = pay(&challenge(&world).await, "spt_one");
    assert_eq!(world.get(&header).await.status, 200);
    // The same keys, and other books: they know of no request to Stripe.
    let stranger = shop.world(&MemoryStore::new());
    stranger.get(&header).await.is(402, "invalid-challenge");
}
