//! Charges of the method `evm`, in its own words and in those of x402, with a facilitator that is a script.

use std::sync::Arc;

use bytes::Bytes;
use farebox_core::challenge::evm::{Authorization, EvmTerms, challenge_nonce};
use farebox_core::challenge::{Challenge, x402};
use farebox_core::units::{Address, Amount, B256, ChainId, UnixSeconds};
use farebox_engine::chain::BoxFuture;
use farebox_engine::clock::ManualClock;
use farebox_engine::http::{
    Door, DoorConfig, EvmCharge, Facilitator, FacilitatorError, FacilitatorStep, Route,
};
use farebox_engine::ledger::{MemoryLedger, MemoryStore};
use farebox_engine::{Config, Engine};
use http::{HeaderMap, Method};
use k256::ecdsa::SigningKey;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::*;

const COST: Amount = Amount::new(1_000);
const URL: &str = "https://api.example.com/v1/quote?n=1";

fn terms() -> EvmTerms {
    EvmTerms {
        chain_id: ChainId(84_532),
        token: Address::repeat_byte(0x03),
        token_name: "USDC".into(),
        token_version: "2".into(),
        payee: Address::repeat_byte(0x70),
        decimals: 6,
    }
}

/// Sends nothing anywhere, and knows which nonces were used.
#[derive(Debug, Default)]
struct Double {
    used: Mutex<Vec<String>>,
    /// The next answers to `/settle`; `None` is a lost answer of a settlement that was made.
    script: Mutex<Vec<Option<Value>>>,
    is_away: Mutex<bool>,
    orders: Mutex<Vec<(FacilitatorStep, Value)>>,
}

impl Facilitator for Double {
    fn ask(&self, step: FacilitatorStep, order: String) -> BoxFuture<'_, Result<Bytes, FacilitatorError>> {
        Box::pin(async move {
            let order: Value = serde_json::from_str(&order).unwrap();
            self.orders.lock().push((step, order.clone()));
            if *self.is_away.lock() {
                return Err(FacilitatorError { what: "connection refused".into() });
            }
            assert_eq!(order["paymentPayload"]["accepted"], order["paymentRequirements"]);
            let nonce = order["paymentPayload"]["payload"]["authorization"]["nonce"].to_string();
            let is_used = self.used.lock().contains(&nonce);
            let answer = match step {
                FacilitatorStep::Verify if is_used => {
                    json!({ "isValid": false, "invalidReason": "invalid_transaction_state" })
                }
                FacilitatorStep::Verify => json!({ "isValid": true }),
                FacilitatorStep::Settle => match self.script.lock().pop() {
                    Some(Some(answer)) => answer,
                    Some(None) => {
                        self.used.lock().push(nonce);
                        return Err(FacilitatorError { what: "the connection broke".into() });
                    }
                    None => {
                        self.used.lock().push(nonce);
                        let transaction = format!("0x{}", "AB".repeat(32));
                        json!({ "success": true, "transaction": transaction, "network": "eip155:84532" })
                    }
                },
            };
            Ok(Bytes::from(answer.to_string()))
        })
    }
}

impl Double {
    fn settles(&self) -> usize {
        self.orders.lock().iter().filter(|(step, _)| *step == FacilitatorStep::Settle).count()
    }
}

fn world() -> (Arc<Double>, World) {
    let double = Arc::new(Double::default());
    let clock = Arc::new(ManualClock::new(NOW));
    let ledger = MemoryLedger::open(&MemoryStore::new());
    let engine = Engine::start(Config::default(), ledger, Arc::clone(&clock)).unwrap();
    let chain = Arc::new(ChainDouble::default());
    let facilitator = Arc::clone(&double) as Arc<dyn Facilitator>;
    let evm = Some(Arc::new(EvmCharge::new(terms(), facilitator, "https://api.example.com/")));
    let config = DoorConfig { evm, ..config(Address::ZERO) };
    let door = Door::new(engine.clone(), Arc::clone(&chain) as _, config, Arc::clone(&clock) as _);
    let route = Route::per_request(PRICE).or_charge_by("evm", COST);
    (double, World { engine, chain, clock, door, route })
}

fn signed(nonce: B256, change: impl FnOnce(&mut Authorization)) -> Authorization {
    let key = SigningKey::from_slice(&[5; 32]).unwrap();
    let mut authorization = Authorization {
        from: address(&key),
        to: terms().payee,
        value: COST,
        valid_after: UnixSeconds(0),
        valid_before: UnixSeconds(NOW.0 + 300),
        nonce,
        signature: Vec::new(),
    };
    change(&mut authorization);
    let (signature, parity) = key.sign_prehash_recoverable(terms().digest(&authorization).as_slice());
    authorization.signature = signature.to_bytes().to_vec();
    authorization.signature.push(27 + parity.to_byte());
    authorization
}

async fn challenge(world: &World) -> Challenge {
    world.challenges().await.into_iter().find(|challenge| challenge.method == "evm").unwrap()
}

/// A credential of the Payment scheme.
fn native(challenge: &Challenge, authorization: &Authorization) -> String {
    use base64::Engine as _;
    let Challenge { id, realm, method, intent, request, expires, .. } = challenge;
    let echo = json!({
        "id": id, "realm": realm, "method": method, "intent": intent, "request": request, "expires": expires,
    });
    let credential = json!({ "challenge": echo, "payload": authorization.to_payload() });
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(credential.to_string());
    format!("Payment {text}")
}

/// The headers of a payment of x402, as a client of another SDK makes it.
fn exact(authorization: &Authorization, resource: &str) -> HeaderMap {
    let payment = json!({
        "accepted": x402::requirements(&terms(), COST, 300),
        "payload": { "authorization": authorization.to_value(), "signature": authorization.signature_text() },
        "resource": { "url": resource },
        "x402Version": 2,
    });
    with(HeaderMap::new(), "payment-signature", &base64(&payment))
}

fn base64(value: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

fn unbase64(text: &str) -> Value {
    use base64::Engine as _;
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

fn receipt(seen: &Seen) -> Value {
    use base64::Engine as _;
    let text = seen.header("payment-receipt").unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

#[tokio::test]
async fn an_authorization_answers_a_challenge() {
    let (double, world) = world();
    let challenge = challenge(&world).await;
    let own = signed(challenge_nonce(&challenge.id, REALM), |_| ());
    let header = native(&challenge, &own);
    let seen = world.get(&header).await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]), "{seen:?}");
    let told = receipt(&seen);
    assert_eq!((&told["method"], &told["chainId"]), (&"evm".into(), &84_532.into()));
    assert_eq!(told["reference"], format!("0x{}", "ab".repeat(32)));
    assert_eq!(seen.header("payment-response"), None, "nobody spoke x402");
    world.get(&header).await.is(402, "invalid-challenge");
    assert_eq!(double.settles(), 1);
}

#[tokio::test]
async fn a_client_of_x402_is_asked_and_answered_in_its_own_words() {
    let (double, world) = world();
    let asked = world.answer(Method::GET, HeaderMap::new()).await;
    let required = unbase64(asked.header("payment-required").unwrap());
    assert_eq!((&required["x402Version"], &required["resource"]["url"]), (&2.into(), &URL.into()));
    assert_eq!(required["accepts"], json!([x402::requirements(&terms(), COST, 300)]));
    assert_eq!(required["extensions"]["mppx"]["info"], json!({ "method": "GET" }));

    let own = signed(B256::repeat_byte(9), |_| ());
    let headers = exact(&own, URL);
    let seen = world.serve(Method::GET, headers.clone()).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let response = unbase64(seen.header("payment-response").unwrap());
    let expected = json!({
        "network": "eip155:84532",
        "payer": own.from.to_string(),
        "success": true,
        "transaction": format!("0x{}", "ab".repeat(32)),
    });
    assert_eq!(response, expected);
    assert_eq!(receipt(&seen)["method"], "evm");
    world.serve(Method::GET, headers).await.is(402, "invalid-challenge");
    assert_eq!(double.settles(), 1, "one nonce, one delivery");
}

/// A facilitator may say of an authorization that it sent before that it was sent.
#[tokio::test]
async fn an_authorization_buys_once_in_whatever_words_it_comes() {
    let (double, world) = world();
    let challenge = challenge(&world).await;
    let own = signed(challenge_nonce(&challenge.id, REALM), |own| own.valid_before.0 += 500);
    assert_eq!(world.get(&native(&challenge, &own)).await.status, 200);
    double.used.lock().clear();
    world.serve(Method::GET, exact(&own, URL)).await.is(402, "invalid-challenge");
    // Its challenge is over, and others have been paid since; it would still be good on its chain.
    world.clock.advance_millis(400_000);
    for byte in 1..5 {
        let other = signed(B256::repeat_byte(byte), |own| own.valid_before.0 += 500);
        assert_eq!(world.serve(Method::GET, exact(&other, URL)).await.status, 200);
    }
    world.serve(Method::GET, exact(&own, URL)).await.is(402, "invalid-challenge");
    assert_eq!(double.settles(), 5);
}

#[tokio::test]
async fn what_is_no_payment_never_gets_to_the_facilitator() {
    let (double, mut world) = world();
    let nonce = B256::repeat_byte(9);
    let good = signed(nonce, |_| ());
    let payee = Address::repeat_byte(0x71);
    for bad in [
        signed(nonce, |own| own.to = payee),
        signed(nonce, |own| own.value = Amount::new(999)),
        signed(nonce, |own| own.valid_before = NOW),
        signed(nonce, |own| own.valid_before = UnixSeconds(u64::MAX)),
        Authorization { from: payee, ..good.clone() },
    ] {
        world.serve(Method::GET, exact(&bad, URL)).await.is(402, "verification-failed");
    }
    let elsewhere = exact(&good, "https://api.example.com/v1/other");
    world.serve(Method::GET, elsewhere).await.is(402, "verification-failed");
    let nonsense = with(HeaderMap::new(), "payment-signature", "!!");
    world.serve(Method::GET, nonsense).await.is(402, "malformed-credential");
    let twice = with(exact(&good, URL), "payment-signature", "x");
    assert_eq!(world.serve(Method::GET, twice).await.status, 400);
    assert_eq!(world.answer(Method::HEAD, exact(&good, URL)).await.status, 402, "HEAD never buys");
    let challenge = challenge(&world).await;
    world.get(&native(&challenge, &good)).await.is(402, "verification-failed");
    world.route = Route::per_request(PRICE).or_charge_by("evm", Amount::new(1_001));
    world.serve(Method::GET, exact(&good, URL)).await.is(402, "verification-failed");
    world.route = Route::per_request(PRICE);
    let seen = world.serve(Method::GET, exact(&good, URL)).await;
    seen.is(402, "payment-required");
    assert_eq!(seen.header("payment-required"), None, "a route that takes none asks for none");
    assert!(double.orders.lock().is_empty());
}

#[tokio::test]
async fn a_refusal_takes_nothing_and_an_absent_facilitator_may_be_asked_again() {
    let (double, world) = world();
    let own = signed(B256::repeat_byte(9), |_| ());
    *double.is_away.lock() = true;
    assert_eq!(world.serve(Method::GET, exact(&own, URL)).await.status, 503);
    *double.is_away.lock() = false;
    double
        .script
        .lock()
        .push(Some(json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "" })));
    let problem = world.serve(Method::GET, exact(&own, URL)).await.is(402, "verification-failed");
    assert!(problem["detail"].as_str().unwrap().contains("insufficient_funds"));
    assert_eq!(world.engine.notes(b"paying/").await.unwrap().len(), 0);
    assert_eq!(world.serve(Method::GET, exact(&own, URL)).await.status, 200);
    assert_eq!(double.settles(), 2);
}

#[tokio::test]
async fn nobody_is_served_and_nobody_pays_again_while_the_facilitator_does_not_say_what_it_did() {
    let lost = |answer: Option<Value>| answer;
    for answer in [
        lost(None),
        Some(json!({ "success": false, "errorReason": "unexpected_settle_error" })),
        Some(json!({ "success": false, "errorReason": "reverted", "transaction": "0x12" })),
        Some(json!({ "success": true, "transaction": "" })),
        Some(json!("nonsense")),
    ] {
        let (double, world) = world();
        let own = signed(B256::repeat_byte(9), |_| ());
        double.used.lock().clear();
        double.script.lock().push(answer.clone());
        let seen = world.serve(Method::GET, exact(&own, URL)).await;
        assert_eq!(seen.status, 503, "{answer:?}");
        assert!(seen.challenges().is_empty() && seen.header("payment-required").is_none());
        assert_eq!(world.engine.notes(b"paying/").await.unwrap().len(), 1);
        if answer.is_none() {
            // The nonce is used now, and the facilitator says so: that is no refusal.
            assert_eq!(world.serve(Method::GET, exact(&own, URL)).await.status, 503);
        } else {
            assert_eq!(world.serve(Method::GET, exact(&own, URL)).await.status, 200, "{answer:?}");
        }
    }
}
