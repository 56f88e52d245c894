//! What a challenge offers and binds: several tokens, the body, the server's own words, keys that change.

use farebox_core::challenge::{Challenge, ChallengeKey, ChallengeKeys, Payload, Receipt};
use farebox_core::channel::Terms;
use farebox_core::units::{Address, Amount};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::Config;
use farebox_engine::http::{Asked, Decision, DoorConfig, Route, TokenPrice};
use http::Method;
use http::header::HeaderMap;

use crate::support::*;

const OTHER: Address = Address::repeat_byte(0x21);

#[tokio::test]
async fn a_route_takes_several_tokens_each_at_its_price() {
    let mut world = World::new();
    let other = TokenPrice { token: OTHER, price: Amount::new(7), suggested_deposit: Some(Amount::new(70)) };
    world.route = Route::per_request(PRICE).or_token(other);
    let requests: Vec<_> =
        world.challenges().await.iter().map(|challenge| challenge.decode_request().unwrap()).collect();
    let offered: Vec<_> = requests
        .iter()
        .map(|request| (request.details.protocol, request.currency, request.amount.get()))
        .collect();
    let (v1, v2) = (ProtocolVersion::V1, ProtocolVersion::V2);
    assert_eq!(offered, [(v2, TOKEN, 100), (v1, TOKEN, 100), (v2, OTHER, 7), (v1, OTHER, 7)]);

    let Client { key, mut identity, .. } = Client::new(&world, v2, 1);
    let Terms::V2(descriptor) = &mut identity.terms else { panic!("v2") };
    descriptor.token = OTHER;
    let client = Client::of(key, identity);
    let challenges = world.challenges().await;
    let wrong = world.get(&client.open(&challenges[0], 1_000, 100)).await;
    wrong.is(402, "verification-failed");
    let served = world.get(&client.open(&challenges[2], 1_000, 7)).await;
    assert_eq!((served.status, served.receipt().spent), (200, Amount::new(7)));
    let cheat = world.get(&client.voucher(&challenges[0], 107)).await;
    cheat.is(402, "verification-failed");
    let closed = world.answer(Method::POST, authorization(&client.close(&challenges[2], 7))).await;
    assert_eq!(closed.status, 204);
}

#[tokio::test]
async fn a_challenge_of_another_route_closes_and_does_not_pay() {
    let (mut world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    world.route = Route::per_request(Amount::new(5));
    world.get(&client.voucher(&challenge, 100)).await.is(402, "invalid-challenge");
    let header = client.voucher(&challenge, 100);
    assert_eq!(world.answer(Method::HEAD, authorization(&header)).await.status, 204);
    let closed = world.answer(Method::POST, authorization(&client.close(&challenge, 100))).await;
    assert_eq!(closed.status, 204);
}

const DIGEST: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";

async fn ask(world: &World, method: Method, header: Option<&str>, digest: Option<&str>) -> Result<(), Seen> {
    let headers = header.map(authorization).unwrap_or_default();
    let asked = Asked {
        method: &method,
        headers: &headers,
        body_is_empty: false,
        body_digest: digest,
        target: None,
        address: None,
    };
    match world.door.decide(asked, &world.route).await {
        Decision::Paid(paid) => {
            paid.release().await;
            Ok(())
        }
        Decision::Charged(_) => Ok(()),
        Decision::Answer(answer) => Err(seen(answer).await),
    }
}

#[tokio::test]
async fn a_challenge_for_one_body_pays_for_no_other() {
    let (mut world, client, unbound) = opened(ProtocolVersion::V2, 1_000).await;
    world.route.binds_body = true;
    let asked = ask(&world, Method::POST, None, Some(DIGEST)).await.unwrap_err();
    let challenge = asked.challenges().remove(0);
    assert_eq!(challenge.digest.as_deref(), Some(DIGEST));
    let header = client.voucher(&challenge, 100);
    for digest in [Some("sha-256=:AAAA:"), None] {
        ask(&world, Method::POST, Some(&header), digest).await.unwrap_err().is(402, "invalid-challenge");
    }
    let stripped = Challenge { digest: None, ..challenge.clone() };
    let forged = client.voucher(&stripped, 100);
    ask(&world, Method::POST, Some(&forged), None).await.unwrap_err().is(402, "invalid-challenge");
    let header_unbound = client.voucher(&unbound, 100);
    ask(&world, Method::POST, Some(&header_unbound), Some(DIGEST))
        .await
        .unwrap_err()
        .is(402, "invalid-challenge");
    ask(&world, Method::POST, Some(&header), Some(DIGEST)).await.unwrap();
    // What buys nothing has no body to bind.
    let voucher = client.voucher(&challenge, 200);
    assert_eq!(world.answer(Method::HEAD, authorization(&voucher)).await.status, 204);
}

#[tokio::test]
async fn own_words_come_back_unchanged_or_not_at_all() {
    let mut world = World::new();
    world.route.opaque.insert("plan".into(), "gold".into());
    world.route.opaque.insert("customer".into(), "7".into());
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 1_000).await;
    // {"customer":"7","plan":"gold"}
    assert_eq!(challenge.opaque.as_deref(), Some("eyJjdXN0b21lciI6IjciLCJwbGFuIjoiZ29sZCJ9"));
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    let changed = Challenge { opaque: Some("eyJwbGFuIjoiZnJlZSJ9".into()), ..challenge.clone() };
    world.get(&client.voucher(&changed, 200)).await.is(402, "invalid-challenge");
    let dropped = Challenge { opaque: None, ..challenge };
    world.get(&client.voucher(&dropped, 200)).await.is(402, "invalid-challenge");
}

#[tokio::test]
async fn challenges_of_earlier_keys_hold_until_they_expire() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let key = |byte: u8| ChallengeKey::new(&[byte; 32]).unwrap();
    let mut config = config(Address::ZERO);
    config.keys = ChallengeKeys::new(key(9)).with_previous(key(8)).with_previous(key(SECRET[0]));
    let lifetime_ms = config.challenge_lifetime_ms;
    let rotated = farebox_engine::http::Door::new(
        world.engine.clone(),
        std::sync::Arc::clone(&world.chain) as _,
        config,
        std::sync::Arc::clone(&world.clock) as _,
    );
    let world = World { door: rotated, ..world };
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    world.clock.advance_millis(lifetime_ms + 20_000);
    world.get(&client.voucher(&challenge, 200)).await.is(402, "invalid-challenge");
}

#[tokio::test]
async fn an_offer_is_prepared_once_and_serves_many() {
    let world = World::with(config(Address::ZERO), Config::default());
    let offer = world.door.offer(Route::per_request(PRICE));
    let headers = HeaderMap::new();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let asked = Asked {
            method: &Method::GET,
            headers: &headers,
            body_is_empty: true,
            body_digest: None,
            target: None,
            address: None,
        };
        let Decision::Answer(answer) = world.door.decide_offer(asked, &offer).await else { panic!("free") };
        ids.extend(seen(answer).await.challenges().into_iter().map(|challenge| challenge.id));
    }
    assert_eq!(ids.len(), 200, "no two challenges are the same");
}

/// A top-up that is sent again answers with what the channel holds, as the first time.
#[tokio::test]
async fn a_repeated_top_up_has_the_same_balance() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let header = client.top_up(&challenge, 500);
    let mut receipts: Vec<Receipt> = Vec::new();
    for _ in 0..2 {
        let seen = world.answer(Method::POST, authorization(&header)).await;
        assert_eq!(seen.status, 204);
        receipts.push(seen.receipt());
    }
    let balance = |receipt: &Receipt| (receipt.accepted.get(), receipt.spent.get(), receipt.channel);
    assert_eq!(balance(&receipts[0]), (300, 100, client.channel));
    assert_eq!(balance(&receipts[1]), balance(&receipts[0]));
    let payload = Payload::Voucher(client.fields(400));
    assert_eq!(world.get(&client.header(&challenge, payload)).await.status, 200);
}

/// What `fee_payer` the challenges of a world say, by escrow.
async fn promises(world: &World) -> Vec<bool> {
    let challenges = world.challenges().await;
    challenges.iter().map(|challenge| challenge.decode_request().unwrap().details.fee_payer).collect()
}

#[tokio::test]
async fn fees_are_paid_where_the_challenge_promised_it() {
    for (server, route, promised) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut world =
            World::with(DoorConfig { fee_payer: server, ..config(Address::ZERO) }, Config::default());
        world.route.is_sponsored = route;
        assert_eq!(promises(&world).await, [promised, promised]);
        let client = Client::new(&world, ProtocolVersion::V2, 1);
        let challenge = world.challenge(ProtocolVersion::V2).await;
        assert_eq!(world.get(&client.open(&challenge, 1_000, 100)).await.status, 200);
        assert_eq!(world.chain.was_sponsored.lock().take(), Some(promised));
        let top_up = empty(authorization(&client.top_up(&challenge, 500)));
        assert_eq!(world.answer(Method::POST, top_up).await.status, 204);
        assert_eq!(world.chain.was_sponsored.lock().take(), Some(promised));
    }
}

#[tokio::test]
async fn a_route_that_stopped_to_pay_fees_keeps_no_old_promise() {
    let mut world = World::with(DoorConfig { fee_payer: true, ..config(Address::ZERO) }, Config::default());
    let challenge = world.challenge(ProtocolVersion::V2).await;
    world.route.is_sponsored = false;
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    assert_eq!(world.get(&client.open(&challenge, 1_000, 100)).await.status, 200);
    assert_eq!(world.chain.was_sponsored.lock().take(), Some(false));
}
