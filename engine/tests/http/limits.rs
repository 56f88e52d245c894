//! What each of the operator's limits looks like from outside: status, problem type, when to come back.

use std::sync::atomic::Ordering;

use farebox_core::channel::{Limits, Rate, Subject};
use farebox_core::units::{Address, Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Clock, Config};
use http::Method;

use crate::support::*;

fn limited(limits: Limits) -> World {
    World::with(config(Address::ZERO), Config { limits, ..Config::default() })
}

async fn opened_with(limits: Limits) -> (World, Client, farebox_core::challenge::Challenge) {
    opened_in(limited(limits), ProtocolVersion::V2, 10_000).await
}

#[tokio::test]
async fn a_small_deposit_is_refused_before_it_is_locked_or_at_least_not_entered() {
    for protocol in [ProtocolVersion::V1, ProtocolVersion::V2] {
        let world = limited(Limits { deposit_min: Amount::new(1_000), ..Limits::default() });
        let client = Client::new(&world, protocol, 1);
        let challenge = world.challenge(protocol).await;
        let seen = world.get(&client.open(&challenge, 999, 100)).await;
        let problem = seen.is(402, "payment-insufficient");
        assert_eq!(
            problem["detail"],
            "the deposit 999 is below the minimum of 1000; open a channel with more"
        );
        assert_eq!(seen.header("retry-after"), None);
        assert!(world.books().await.is_empty());
        assert_eq!(world.get(&client.open(&challenge, 1_000, 100)).await.status, 200);
    }
}

#[tokio::test]
async fn too_many_vouchers_are_429_with_a_time_and_the_refused_one_is_good_then() {
    let (world, client, challenge) = opened_with(Limits { rate: Rate::new(1, 2), ..Limits::default() }).await;
    for amount in [100, 200] {
        assert_eq!(world.get(&client.voucher(&challenge, amount)).await.status, 200);
    }
    let books = world.books().await;
    let third = client.voucher(&challenge, 300);
    let seen = world.get(&third).await;
    seen.is(429, "about:blank");
    assert_eq!(seen.problem()["title"], "Too Many Requests");
    assert_eq!(seen.header("retry-after"), Some("1"));
    assert_eq!(world.books().await, books);
    // A retry of what was paid is answered.
    assert_eq!(world.get(&client.voucher(&challenge, 200)).await.status, 204);
    world.clock.advance_millis(1_000);
    assert_eq!(world.get(&third).await.status, 200);
    // A close is no voucher in this sense.
    let closed = world.answer(Method::GET, authorization(&client.close(&challenge, 300))).await;
    assert_eq!(closed.status, 204);
}

#[tokio::test]
async fn a_small_rise_shows_the_minimum_and_nothing_of_the_books() {
    let mut engine = Config::default();
    engine.policy.voucher_delta_min = Amount::new(50);
    let world = World::with(config(Address::ZERO), engine);
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 10_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    let seen = world.get(&client.voucher(&challenge, 149)).await;
    let problem = seen.is(402, "session/delta-too-small");
    assert_eq!(problem["detail"], "the voucher raises the accepted amount by less than the minimum of 50");
}

#[tokio::test]
async fn a_payer_at_his_limit_hears_429_and_everybody_at_theirs_503() {
    let payer = Limits { unsettled_payer_max: Some(Amount::new(150)), ..Limits::default() };
    let total = Limits { unsettled_total_max: Some(Amount::new(150)), ..Limits::default() };
    for (limits, status) in [(payer, 429), (total, 503)] {
        let (world, client, challenge) = opened_with(limits).await;
        assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
        let books = world.books().await;
        let seen = world.get(&client.voucher(&challenge, 200)).await;
        seen.is(status, "about:blank");
        assert_eq!(seen.header("retry-after"), Some("30"));
        assert_eq!(world.books().await, books);
        let settled = farebox_engine::Step::Settled {
            settled: Amount::new(100),
            position: farebox_core::channel::ChainPosition { block: 9, log_index: 0 },
        };
        world.engine.apply(client.channel, settled).await.unwrap();
        assert_eq!(world.get(&client.voucher(&challenge, 200)).await.status, 200);
    }
}

#[tokio::test]
async fn old_unsettled_value_is_503_and_does_not_keep_a_channel_open() {
    let (world, client, challenge) =
        opened_with(Limits { unsettled_age_s_max: Some(60), ..Limits::default() }).await;
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
    world.clock.advance_millis(61_000);
    let seen = world.get(&client.voucher(&challenge, 200)).await;
    seen.is(503, "about:blank");
    assert_eq!(seen.header("retry-after"), Some("30"));
    let closed = world.answer(Method::GET, authorization(&client.close(&challenge, 100))).await;
    assert_eq!(closed.status, 204);
    assert_eq!(world.chain.claims.lock()[0].capture, Amount::new(100));
}

#[tokio::test]
async fn who_is_denied_is_403_before_anything_is_locked_and_may_close_what_is_open() {
    let payer = |world: &World| Client::new(world, ProtocolVersion::V2, 1).identity.payer();
    let world = World::new();
    let (who, until) = (payer(&world), UnixSeconds(world.clock.now().0 + 7));
    let mut limits = Limits::default();
    limits.access.deny.insert(Subject::Payer(who), Some(until));
    let world = limited(limits);
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let open = client.open(&challenge, 1_000, 100);
    let seen = world.get(&open).await;
    let problem = seen.is(403, "about:blank");
    assert_eq!(
        (&problem["title"], &problem["detail"]),
        (&"Forbidden".into(), &"this payer may not pay here".into())
    );
    assert_eq!(seen.header("retry-after"), Some("7"));
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0, "nothing was broadcast");
    world.clock.advance_millis(7_000);
    assert_eq!(world.get(&open).await.status, 200);
}

/// The payer of a v1 channel is known only when its transaction is read: the channel enters the books, and can be closed.
#[tokio::test]
async fn a_denied_v1_payer_buys_nothing_and_closes_at_once() {
    let world = World::new();
    let who = Client::new(&world, ProtocolVersion::V1, 1).identity.payer();
    let mut limits = Limits::default();
    limits.access.deny.insert(Subject::Payer(who), None);
    let world = limited(limits);
    let client = Client::new(&world, ProtocolVersion::V1, 1);
    let challenge = world.challenge(ProtocolVersion::V1).await;
    let seen = world.get(&client.open(&challenge, 1_000, 100)).await;
    seen.is(403, "about:blank");
    assert_eq!(seen.header("retry-after"), None);
    let seen = world.answer(Method::GET, authorization(&client.top_up(&challenge, 10))).await;
    seen.is(403, "about:blank");
    assert_eq!(world.chain.top_ups.load(Ordering::SeqCst), 0);
    let closed = world.answer(Method::GET, authorization(&client.close(&challenge, 0))).await;
    assert_eq!(closed.status, 204, "{closed:?}");
    assert_eq!(world.chain.claims.lock()[0].capture, Amount::ZERO);
}

#[tokio::test]
async fn who_is_not_allowed_is_403_without_a_time() {
    let mut limits = Limits::default();
    limits.access.allow = Some([(Subject::Signer(Address::repeat_byte(9)), None)].into());
    let world = limited(limits);
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    let seen = world.get(&client.open(&challenge, 1_000, 100)).await;
    seen.is(403, "about:blank");
    assert_eq!(seen.header("retry-after"), None);
    assert_eq!(world.chain.opens.load(Ordering::SeqCst), 0);
}

/// Asks from an address; the status of the answer, 200 when it would be served.
async fn from(world: &World, address: &str, header: &str) -> (u16, Option<u64>) {
    let headers = authorization(header);
    let address = Some(address.parse().unwrap());
    let asked = farebox_engine::http::Asked {
        method: &Method::GET,
        headers: &headers,
        body_is_empty: true,
        body_digest: None,
        target: None,
        address,
    };
    match world.door.decide(asked, &world.route).await {
        farebox_engine::http::Decision::Paid(paid) => {
            paid.release().await;
            (200, None)
        }
        farebox_engine::http::Decision::Charged(charged) => panic!("charged: {charged:?}"),
        farebox_engine::http::Decision::Answer(answer) => {
            let seen = seen(answer).await;
            let wait = seen.header("retry-after").map(|text| text.parse().unwrap());
            (seen.status, wait)
        }
    }
}

#[tokio::test]
async fn an_address_that_fails_too_often_is_turned_away_and_no_other() {
    let mut config = config(Address::ZERO);
    config.failures = farebox_engine::http::FailureRate::new(60, 3);
    let world = World::with(config, Config::default());
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 1_000).await;
    let good = client.voucher(&challenge, 100);
    for _ in 0..3 {
        assert_eq!(from(&world, "192.0.2.1", "Payment nonsense!").await.0, 402);
    }
    assert_eq!(from(&world, "192.0.2.1", &good).await, (429, Some(1)), "even a good one is not looked at");
    assert_eq!(from(&world, "192.0.2.2", &good).await.0, 200);
    world.clock.advance_millis(1_000);
    assert_eq!(from(&world, "192.0.2.1", &good).await.0, 200, "it is forgiven");
}

/// A stranger's failures must not lock a payer out of his own channel.
#[tokio::test]
async fn failures_of_strangers_do_not_count_against_a_channel() {
    let mut config = config(Address::ZERO);
    config.failures = farebox_engine::http::FailureRate::new(60, 3);
    let world = World::with(config, Config::default());
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 1_000).await;
    let thief = Client { key: k256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap(), ..client.clone() };
    for index in 0..10 {
        let address = format!("192.0.2.{}", index + 10);
        assert_eq!(from(&world, &address, &thief.voucher(&challenge, 500)).await.0, 402);
        assert_eq!(
            from(&world, &address, &client.voucher(&challenge, 5_000)).await.0,
            402,
            "over the deposit"
        );
    }
    for index in 0..3 {
        let address = format!("192.0.2.{}", index + 30);
        assert_eq!(
            from(&world, &address, &client.voucher(&challenge, 10 + index)).await.0,
            402,
            "too little"
        );
    }
    let (status, wait) = from(&world, "192.0.2.1", &client.voucher(&challenge, 300)).await;
    assert_eq!((status, wait), (429, Some(1)), "its own payer asks too often for what it does not pay");
}

#[tokio::test]
async fn who_asks_too_often_waits_and_nobody_else() {
    let mut config = config(Address::ZERO);
    config.requests = farebox_engine::http::RequestRate::new(60, 3);
    let world = World::with(config, Config::default());
    let (world, client, challenge) = opened_in(world, ProtocolVersion::V2, 1_000).await;
    for _ in 0..3 {
        assert_eq!(from(&world, "192.0.2.1", "Bearer other").await.0, 402, "an unpaid request counts too");
    }
    assert_eq!(from(&world, "192.0.2.1", &client.voucher(&challenge, 100)).await, (429, Some(1)));
    assert!(world.door.admit(Some("192.0.2.1".parse().unwrap())).is_err(), "not for what is free either");
    assert!(world.door.admit(Some("192.0.2.2".parse().unwrap())).is_ok());
    // A channel that pays from everywhere: its opening was one, so two are left.
    for (index, address) in ["198.51.100.1", "198.51.100.2"].into_iter().enumerate() {
        let voucher = client.voucher(&challenge, 100 + 100 * index as u128);
        assert_eq!(from(&world, address, &voucher).await.0, 200);
    }
    let next = client.voucher(&challenge, 300);
    assert_eq!(from(&world, "198.51.100.3", &next).await, (429, Some(1)));
    // A stranger's credentials do not count against it.
    let thief = Client { key: k256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap(), ..client.clone() };
    world.clock.advance_millis(1_000);
    for index in 0..10 {
        let address = format!("203.0.113.{index}");
        assert_eq!(from(&world, &address, &thief.voucher(&challenge, 500)).await.0, 402);
    }
    assert_eq!(from(&world, "198.51.100.4", &next).await.0, 200);
    assert_eq!(
        world.answer(Method::POST, empty(authorization(&client.close(&challenge, 300)))).await.status,
        204
    );
}
