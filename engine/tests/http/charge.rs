//! A charge beside the session, the proof of an account, and what a client says that it can pay with.

use std::time::Duration;

use farebox_core::challenge::{
    Challenge, ChargeCredential, ChargePayload, ChargeRequest, Echo, charge, proof,
};
use farebox_core::units::{Amount, B256};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::chain::ChainRefusal;
use farebox_engine::http::{Decision, Route};
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use http_body_util::Full;

use crate::support::*;

const CHARGE: Amount = Amount::new(700);

fn world() -> World {
    let mut world = World::new();
    world.route = Route::per_request(PRICE).or_charge(CHARGE);
    world
}

async fn charge_challenge(world: &World) -> Challenge {
    let challenges = world.challenges().await;
    challenges.into_iter().find(|challenge| challenge.intent == charge::INTENT).unwrap()
}

fn header(challenge: &Challenge, payload: ChargePayload) -> String {
    ChargeCredential { challenge: Echo::of(challenge), payload, source: None }.to_header()
}

fn transfer(challenge: &Challenge) -> String {
    header(challenge, ChargePayload::Transaction(vec![0x76, 1, 2, 3]))
}

fn receipt(seen: &Seen) -> serde_json::Value {
    use base64::Engine as _;
    let text = seen.header("payment-receipt").unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn a_charge_is_offered_behind_the_session_and_pays_for_one_request() {
    let world = world();
    let challenges = world.challenges().await;
    let intents: Vec<&str> = challenges.iter().map(|challenge| challenge.intent.as_str()).collect();
    assert_eq!(intents, ["session", "session", "charge"]);
    let challenge = &challenges[2];
    let request = ChargeRequest::decode(&challenge.request).unwrap();
    assert_eq!((request.amount, request.currency, request.recipient), (CHARGE, TOKEN, PAYEE));
    assert_eq!((request.chain_id, request.fee_payer), (CHAIN, false));
    let again = ChargeRequest::decode(&charge_challenge(&world).await.request).unwrap();
    assert!(request.memo.is_some() && again.memo != request.memo, "no two challenges have one memo");

    let seen = world.get(&transfer(challenge)).await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, &b"hello"[..]));
    assert!(seen.header("cache-control").unwrap().contains("private"));
    let told = receipt(&seen);
    assert_eq!((&told["intent"], &told["status"]), (&"charge".into(), &"success".into()));
    assert_eq!(told["reference"], format!("{:#x}", B256::repeat_byte(0x0C)));
    let orders = world.chain.charges.lock().clone();
    let [order] = orders.as_slice() else { panic!("{orders:?}") };
    assert_eq!((order.amount, order.token, order.payee), (CHARGE, TOKEN, PAYEE));
    assert_eq!(Some(order.memo), request.memo, "the transfer is bound to its challenge");
    assert!(!order.is_sponsored);
    assert!(world.books().await.is_empty(), "the session's books know nothing of it");
}

#[tokio::test]
async fn a_charge_is_delivered_once_however_often_it_is_sent() {
    let world = world();
    *world.chain.takes.lock() = Duration::from_millis(20);
    let header = transfer(&charge_challenge(&world).await);
    let answers = join_all((0..36).map(|_| world.get(&header))).await;
    let served = answers.iter().filter(|seen| seen.status == 200).count();
    assert_eq!(served, 1);
    assert!(answers.iter().all(|seen| matches!(seen.status, 200 | 402 | 409)), "{answers:?}");
    world.get(&header).await.is(402, "invalid-challenge");
    assert_eq!(world.chain.charges.lock().len(), 1, "the chain is not asked again");
}

#[tokio::test]
async fn a_service_that_fails_leaves_the_charge_good() {
    let world = world();
    let header = transfer(&charge_challenge(&world).await);
    let decide = async || match world.decide(Method::GET, &authorization(&header), &world.route).await {
        Decision::Charged(charged) => charged,
        other => panic!("{other:?}"),
    };
    let failed = http::Response::builder().status(500).body(Full::new(bytes::Bytes::new())).unwrap();
    let answer = decide().await.deliver(Ok::<_, std::convert::Infallible>(failed)).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("payment-receipt")), (500, None));
    let nothing: Result<http::Response<Full<bytes::Bytes>>, _> = Err(std::io::Error::other("away"));
    assert_eq!(decide().await.deliver(nothing).await.status().as_u16(), 502);
    drop(decide().await);
    assert_eq!(world.get(&header).await.status, 200);
    world.get(&header).await.is(402, "invalid-challenge");
}

#[tokio::test]
async fn a_charge_that_did_not_arrive_buys_nothing() {
    let world = world();
    let challenge = charge_challenge(&world).await;
    let tx_hash = B256::repeat_byte(3);
    for (refusal, status) in [
        (ChainRefusal::BadTransaction { what: "another amount".into() }, 402),
        (ChainRefusal::Reverted { tx_hash }, 402),
        (ChainRefusal::Unavailable { what: "away".into() }, 503),
        (ChainRefusal::Unknown { tx_hash }, 503),
    ] {
        *world.chain.fail_charge.lock() = Some(refusal);
        let seen = world.get(&transfer(&challenge)).await;
        assert_eq!(seen.status, status, "{seen:?}");
        assert_eq!(seen.problem().get("channelId"), None, "it is about no channel");
    }
    assert_eq!(world.get(&transfer(&challenge)).await.status, 200, "the same credential may come again");
}

#[tokio::test]
async fn what_was_not_asked_for_is_no_charge() {
    let mut world = world();
    let challenge = charge_challenge(&world).await;
    let session = world.challenge(ProtocolVersion::V2).await;
    world.get(&transfer(&session)).await.is(402, "malformed-credential");
    let mut posing = session.clone();
    posing.intent = charge::INTENT.into();
    world.get(&transfer(&posing)).await.is(402, "invalid-challenge");
    let mut cheaper = challenge.clone();
    let request = ChargeRequest::decode(&challenge.request).unwrap();
    cheaper.request = ChargeRequest { amount: Amount::new(1), ..request }.encode();
    world.get(&transfer(&cheaper)).await.is(402, "invalid-challenge");
    let hash = ChargePayload::Hash(B256::repeat_byte(1));
    world.get(&header(&challenge, hash)).await.is(402, "verification-failed");
    let proof = ChargePayload::Proof(vec![1; 65]);
    world.get(&header(&challenge, proof)).await.is(402, "verification-failed");
    let head = world.answer(Method::HEAD, authorization(&transfer(&challenge))).await;
    assert_eq!(head.status, 402, "HEAD never buys");
    world.route.charge = Some(Amount::new(701));
    world.get(&transfer(&challenge)).await.is(402, "invalid-challenge");
    world.route.charge = None;
    world.get(&transfer(&challenge)).await.is(402, "invalid-challenge");
    assert_eq!(world.challenges().await.len(), 2);
    assert!(world.chain.charges.lock().is_empty());
    world.route.charge = Some(CHARGE);
    world.clock.advance_millis(311_000);
    world.get(&transfer(&challenge)).await.is(402, "invalid-challenge");
}

#[tokio::test]
async fn delivered_charges_are_forgotten_when_nobody_can_use_them_any_more() {
    let world = world();
    for _ in 0..3 {
        assert_eq!(world.get(&transfer(&charge_challenge(&world).await)).await.status, 200);
    }
    assert_eq!(world.engine.notes(b"charge/").await.unwrap().len(), 3);
    world.clock.advance_millis(311_000);
    assert_eq!(world.get(&transfer(&charge_challenge(&world).await)).await.status, 200);
    assert_eq!(world.engine.notes(b"charge/").await.unwrap().len(), 1);
}

/// What a request with this `Accept-Payment` is offered.
async fn offered(world: &World, method: Method, accept: &str) -> Vec<String> {
    let headers = with(HeaderMap::new(), "accept-payment", accept);
    let challenges = world.answer(method, headers).await.challenges();
    challenges.iter().map(|challenge| format!("{}/{}", challenge.method, challenge.intent)).collect()
}

#[tokio::test]
async fn a_client_says_what_it_can_pay_with() {
    let world = world();
    let (session, charge) = ("tempo/session", "tempo/charge");
    for (accept, expected) in [
        ("tempo/session", vec![session, session]),
        ("tempo/charge", vec![charge]),
        ("tempo/charge, tempo/session;q=0.5", vec![charge, session, session]),
        ("stripe/charge", vec![session, session, charge]),
        ("tempo/*;q=0.3, tempo/session;q=0", vec![charge]),
        ("nonsense", vec![session, session, charge]),
    ] {
        assert_eq!(offered(&world, Method::GET, accept).await, expected, "{accept}");
    }
}

/// Asks with `HEAD` who one is, as clients do that lost their channel.
async fn bootstrap(world: &World) -> Challenge {
    let headers = with(HeaderMap::new(), "accept-payment", "tempo/charge");
    let challenges = world.answer(Method::HEAD, headers).await.challenges();
    let [challenge] = challenges.as_slice() else { panic!("{challenges:?}") };
    assert_eq!(ChargeRequest::decode(&challenge.request).unwrap().amount, Amount::ZERO);
    challenge.clone()
}

fn proven(client: &Client, challenge: &Challenge, signed: &str) -> String {
    let account = address(&client.key);
    let digest = proof::digest(account, CHAIN, signed, REALM);
    let (signature, parity) = client.key.sign_prehash_recoverable(digest.as_slice());
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + parity.to_byte());
    let source = Some(format!("did:pkh:eip155:{}:{account}", CHAIN.0));
    let payload = ChargePayload::Proof(bytes);
    ChargeCredential { challenge: Echo::of(challenge), payload, source }.to_header()
}

#[tokio::test]
async fn who_proves_an_account_learns_of_its_channel_and_nobody_else() {
    let (world, client, session) = opened(ProtocolVersion::V2, 1_000).await;
    assert_eq!(world.get(&client.voucher(&session, 300)).await.status, 200);
    let challenge = bootstrap(&world).await;
    let header = proven(&client, &challenge, &challenge.id);
    let seen = world.answer(Method::HEAD, authorization(&header)).await;
    assert_eq!(seen.status, 204);
    assert_eq!(seen.header("payment-session"), Some(client.channel.to_string().as_str()));
    let snapshot = snapshot(&seen);
    assert_eq!((&snapshot["acceptedCumulative"], &snapshot["deposit"]), (&"300".into(), &"1000".into()));
    assert_eq!(receipt(&seen)["reference"], challenge.id);

    let stranger = Client::new(&world, ProtocolVersion::V2, 9);
    let seen = world.answer(Method::HEAD, authorization(&proven(&stranger, &challenge, &challenge.id))).await;
    assert_eq!((seen.status, seen.header("payment-session-snapshot")), (204, None));
    let replayed = world.answer(Method::HEAD, authorization(&proven(&client, &challenge, "another"))).await;
    replayed.is(402, "verification-failed");
    world.get(&header).await.is(402, "invalid-challenge");
    assert!(world.chain.charges.lock().is_empty());

    let closed = world.answer(Method::POST, authorization(&client.close(&session, 300))).await;
    assert_eq!(closed.status, 204);
    let seen = world.answer(Method::HEAD, authorization(&header)).await;
    assert_eq!((seen.status, seen.header("payment-session")), (204, None), "a closed channel is of no use");
}

fn snapshot(seen: &Seen) -> serde_json::Value {
    use base64::Engine as _;
    let text = seen.header("payment-session-snapshot").unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn a_head_without_a_wish_gets_the_sessions_challenges() {
    let world = world();
    assert_eq!(world.answer(Method::HEAD, HeaderMap::new()).await.challenges().len(), 3);
    assert_eq!(offered(&world, Method::HEAD, "tempo/session").await.len(), 2);
}
