//! What gets nothing: no credential, a bad one, a wrong challenge. Never a 500, never a changed book.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farebox_core::challenge::rfc3339::{self, UnixMillis};
use farebox_core::challenge::{Challenge, ChallengeKey, ChallengeKeys, Payload, Realm};
use farebox_core::units::{Address, Amount};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::http::{Decision, Route};
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::support::*;

#[tokio::test]
async fn no_credential_is_a_challenge_for_each_protocol() {
    let world = World::new();
    for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
        let seen = world.answer(method, HeaderMap::new()).await;
        let problem = seen.is(402, "payment-required");
        assert_eq!(problem["title"], "Payment Required");
        let challenges = seen.challenges();
        let protocols: Vec<_> =
            challenges.iter().map(|challenge| challenge.decode_request().unwrap().details.protocol).collect();
        assert_eq!(protocols, [ProtocolVersion::V2, ProtocolVersion::V1]);
        assert_eq!(seen.headers.get_all("www-authenticate").iter().count(), 2, "one header line each");
        for challenge in challenges {
            let request = challenge.decode_request().unwrap();
            assert_eq!((request.amount, request.currency, request.recipient), (PRICE, TOKEN, PAYEE));
            assert_eq!((challenge.realm.as_str(), challenge.method.as_str()), (REALM, "tempo"));
            assert_eq!(challenge.intent, "session");
            let expires = rfc3339::parse(challenge.expires.as_deref().unwrap()).unwrap();
            assert!(expires > UnixMillis(1_800_000_000_000));
        }
    }
    assert!(world.books().await.is_empty());
}

#[tokio::test]
async fn other_schemes_are_no_credential_and_no_two_challenges_are_the_same() {
    let world = World::new();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let seen = world.answer(Method::GET, authorization("Bearer abc")).await;
        seen.is(402, "payment-required");
        assert!(seen.challenges().into_iter().all(|challenge| ids.insert(challenge.id)));
    }
}

#[tokio::test]
async fn several_credentials_are_a_bad_request() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let before = world.books().await;
    let header = client.voucher(&challenge, 100);
    let two = with(authorization(&header), "authorization", &header);
    let seen = world.answer(Method::GET, two).await;
    assert_eq!(seen.status, 400);
    let seen = world.answer(Method::GET, authorization(&format!("{header}, {header}"))).await;
    assert_eq!(seen.status, 400);
    assert_eq!(world.books().await, before);
}

/// Credentials spoiled in every way that a header can be.
fn malformed(good: &str) -> Vec<String> {
    let json = URL_SAFE_NO_PAD.decode(good.strip_prefix("Payment ").unwrap()).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let encode = |value: &serde_json::Value| format!("Payment {}", URL_SAFE_NO_PAD.encode(value.to_string()));
    let mut all = vec![
        "Payment".into(),
        "Payment ".into(),
        "Payment !!!not base64url!!!".into(),
        "Payment e30".into(),
        "Payment bm8ganNvbg".into(),
        "Payment W10".into(),
        "Payment bnVsbA".into(),
        good[..good.len() / 2].into(),
        format!("Payment {}", "A".repeat(1 << 20)),
        format!("Payment {}", URL_SAFE_NO_PAD.encode("[".repeat(30_000))),
        encode(&serde_json::json!({"challenge": whole["challenge"]})),
        encode(&serde_json::json!({"payload": whole["payload"]})),
    ];
    let members = |part: &str| -> Vec<String> { whole[part].as_object().unwrap().keys().cloned().collect() };
    for part in ["challenge", "payload"] {
        for member in members(part) {
            // An echo without its expiry is well-formed, and unknown.
            if member == "expires" {
                continue;
            }
            for wrong in
                [None, Some(serde_json::json!(7)), Some(serde_json::json!({})), Some(serde_json::json!([]))]
            {
                let mut value = whole.clone();
                let object = value[part].as_object_mut().unwrap();
                match wrong {
                    None => drop(object.remove(&member)),
                    Some(wrong) => drop(object.insert(member.clone(), wrong)),
                }
                all.push(encode(&value));
            }
        }
    }
    for (member, wrong) in [
        ("cumulativeAmount", "-5"),
        ("cumulativeAmount", "1.5"),
        ("cumulativeAmount", "79228162514264337593543950336"),
        ("channelId", "0x12"),
        ("signature", "0xabc"),
        ("action", "steal"),
    ] {
        let mut value = whole.clone();
        value["payload"][member] = wrong.into();
        all.push(encode(&value));
    }
    all
}

#[tokio::test]
async fn malformed_credentials_get_a_fresh_challenge_and_change_nothing() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let before = world.books().await;
    let good = client.voucher(&challenge, 100);
    let all = malformed(&good);
    assert!(all.len() > 50);
    for header in all {
        for method in [Method::GET, Method::POST, Method::HEAD] {
            let seen = world.answer(method, authorization(&header)).await;
            let problem = seen.is(402, "malformed-credential");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.len() < 300 && !detail.is_empty(), "{detail}");
            assert!(!String::from_utf8_lossy(&seen.body).contains(&good[100..140]), "nothing is repeated");
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Payment \xff\xfe").unwrap());
    world.answer(Method::GET, headers).await.is(402, "malformed-credential");
    assert_eq!(world.books().await, before);
    // The same credential, unspoiled, pays.
    assert_eq!(world.get(&good).await.status, 200);
}

#[tokio::test]
async fn large_credentials_are_taken() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let token = client.voucher(&challenge, 100);
    let json = URL_SAFE_NO_PAD.decode(token.strip_prefix("Payment ").unwrap()).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    value["future"] = "x".repeat(6_000).into();
    let header = format!("Payment {}", URL_SAFE_NO_PAD.encode(value.to_string()));
    assert!(header.len() > 8_000);
    assert_eq!(world.get(&header).await.status, 200);
}

#[tokio::test]
async fn challenges_that_are_not_ours_or_not_for_this_are_refused() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let before = world.books().await;
    let request = challenge.decode_request().unwrap();
    let soon = UnixMillis(1_800_000_060_000);
    let realm = Realm::new(REALM).unwrap();
    let issue = |change: fn(&mut farebox_core::challenge::Request)| {
        let mut request = request.clone();
        change(&mut request);
        Challenge::issue(&keys(), &realm, &request, soon)
    };
    let other_key = ChallengeKeys::new(ChallengeKey::new(&[8; 32]).unwrap());
    let mut cheaper = challenge.clone();
    cheaper.request = issue(|request| request.amount = Amount::new(1)).request;
    let mut longer = challenge.clone();
    longer.expires = Some("2999-01-01T00:00:00Z".into());
    let mut invented = challenge.clone();
    invented.id = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into();
    let wrong = [
        ("invented", invented),
        ("cheaper", cheaper),
        ("longer", longer),
        ("another key", Challenge::issue(&other_key, &realm, &request, soon)),
        ("another realm", Challenge::issue(&keys(), &Realm::new("other").unwrap(), &request, soon)),
        ("expired", Challenge::issue(&keys(), &realm, &request, UnixMillis(1_799_999_999_999))),
        ("another route's price", issue(|request| request.amount = Amount::new(99))),
        ("another route's unit", issue(|request| request.unit_type = Some("event".into()))),
        ("another payee", issue(|request| request.recipient = Address::ZERO)),
        ("another token", issue(|request| request.currency = Address::ZERO)),
        ("another escrow", issue(|request| request.details.escrow = Address::ZERO)),
        ("another chain", issue(|request| request.details.chain_id.0 = 1)),
        ("another operator", issue(|request| request.details.operator = PAYEE)),
        ("another protocol", issue(|request| request.details.protocol = ProtocolVersion::V1)),
    ];
    for (name, challenge) in &wrong {
        let seen = world.answer(Method::GET, authorization(&client.voucher(challenge, 100))).await;
        println!("{name}: {}", seen.problem()["detail"]);
        seen.is(402, "invalid-challenge");
        let is_price = name.contains("price") || name.contains("unit");
        if !is_price {
            let headers = empty(authorization(&client.top_up(challenge, 100)));
            // A top-up may name any token that a challenge of ours named; this channel has another.
            let kind =
                if *name == "another token" { "verification-failed" } else { "session/challenge-not-found" };
            world.answer(Method::POST, headers).await.is(402, kind);
            let kind = if *name == "another token" { "verification-failed" } else { "invalid-challenge" };
            world.answer(Method::POST, authorization(&client.close(challenge, 100))).await.is(402, kind);
        }
    }
    assert_eq!(world.books().await, before);
    assert_eq!(world.chain.top_ups.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_challenge_holds_for_its_lifetime_and_no_longer() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let day_ms = 24 * 3_600_000;
    world.clock.advance_millis(day_ms - 1);
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200, "a long stream reuses it");
    // The expiries of different challenges are spread over ten seconds.
    world.clock.advance_millis(10_001);
    let seen = world.answer(Method::GET, authorization(&client.voucher(&challenge, 200))).await;
    seen.is(402, "invalid-challenge");
    let fresh = seen.challenges().remove(0);
    assert_eq!(world.get(&client.voucher(&fresh, 200)).await.status, 200);
}

#[tokio::test]
async fn hints_may_change_while_a_challenge_lives() {
    let (mut world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    world.route = world.route.suggest_deposit(Amount::new(7));
    assert_eq!(world.get(&client.voucher(&challenge, 100)).await.status, 200);
}

#[tokio::test]
async fn the_protocol_that_the_client_spoke_is_offered_first_again() {
    let (world, client, challenge) = opened(ProtocolVersion::V1, 1_000).await;
    let seen = world.answer(Method::GET, authorization(&client.voucher(&challenge, 50))).await;
    seen.is(402, "session/insufficient-balance");
    assert_eq!(seen.challenges()[0].decode_request().unwrap().details.protocol, ProtocolVersion::V1);
}

#[tokio::test]
async fn a_descriptor_must_be_the_channel_and_pay_us() {
    let world = World::new();
    let client = Client::new(&world, ProtocolVersion::V2, 1);
    let challenge = world.challenge(ProtocolVersion::V2).await;
    type Change = fn(&mut farebox_core::voucher::v2::Descriptor);
    let changes: [(&str, Change); 4] = [
        ("channel id", |descriptor| descriptor.salt.0[0] ^= 1),
        ("payee", |descriptor| descriptor.payee = Address::ZERO),
        ("token", |descriptor| descriptor.token = Address::ZERO),
        ("operator", |descriptor| descriptor.operator = PAYEE),
    ];
    for (name, change) in changes {
        for is_open in [true, false] {
            let mut open = client.open_payload(1_000, 100);
            change(open.voucher.descriptor.as_mut().unwrap());
            let payload = if is_open { Payload::Open(open) } else { Payload::Voucher(open.voucher) };
            let seen = world.answer(Method::GET, authorization(&client.header(&challenge, payload))).await;
            let problem = seen.is(402, "verification-failed");
            assert!(problem["detail"].as_str().unwrap().contains(name), "{name}: {problem}");
        }
    }
    assert_eq!(world.chain.opens.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn unknown_and_closed_channels_are_gone() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let stranger = Client::new(&world, ProtocolVersion::V2, 2);
    for header in
        [stranger.voucher(&challenge, 100), stranger.close(&challenge, 100), stranger.top_up(&challenge, 5)]
    {
        world.answer(Method::GET, authorization(&header)).await.is(410, "session/channel-not-found");
    }
    let closed = world.answer(Method::POST, empty(authorization(&client.close(&challenge, 0)))).await;
    assert_eq!(closed.status, 204, "{closed:?}");
    let fresh = world.challenge(ProtocolVersion::V2).await;
    for header in [client.voucher(&fresh, 100), client.close(&fresh, 100), client.top_up(&fresh, 5)] {
        world.answer(Method::GET, authorization(&header)).await.is(410, "session/channel-finalized");
    }
    // A replayed open revives nothing.
    let seen = world.answer(Method::GET, authorization(&client.open(&fresh, 1_000, 100))).await;
    seen.is(410, "session/channel-finalized");
    assert_eq!(world.chain.opens.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refusals_before_the_signature_is_checked_tell_no_amounts() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 100_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 77_700)).await.status, 200);
    let fresh = world.challenge(ProtocolVersion::V2).await;
    let stranger = Client { key: Client::new(&world, ProtocolVersion::V2, 9).key, ..client.clone() };
    for (amount, status) in [(77_699, 402), (77_700, 402), (77_701, 402), (100_001, 402), (99_999, 402)] {
        let seen = world.answer(Method::GET, authorization(&stranger.voucher(&fresh, amount))).await;
        assert_eq!(seen.status, status);
        let body = String::from_utf8(seen.body).unwrap();
        assert!(!body.contains("777") && !body.contains("\"100\""), "{body}");
    }
    // Free service on somebody's channel with a stale amount: no.
    world
        .answer(Method::GET, authorization(&stranger.voucher(&fresh, 77_700)))
        .await
        .is(402, "session/signer-mismatch");
}

#[tokio::test]
async fn a_bad_signature_is_invalid() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    let before = world.books().await;
    for signature in [vec![0; 65], vec![1; 10], vec![0xff; 65], [vec![3], vec![1; 90]].concat()] {
        let mut fields = client.fields(100);
        fields.signature = signature;
        let header = client.header(&challenge, Payload::Voucher(fields));
        world.answer(Method::GET, authorization(&header)).await.is(402, "session/invalid-signature");
    }
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn a_dead_engine_is_unavailable_and_never_an_error() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    world.engine.shutdown().await.unwrap();
    for header in
        [client.voucher(&challenge, 100), client.close(&challenge, 100), client.top_up(&challenge, 5)]
    {
        let seen = world.answer(Method::GET, authorization(&header)).await;
        assert_eq!(seen.status, 503);
        assert!(seen.header("retry-after").is_some());
    }
    world.answer(Method::GET, HeaderMap::new()).await.is(402, "payment-required");
}

#[tokio::test]
async fn a_price_of_another_route_does_not_matter_for_a_voucher_that_buys_nothing() {
    let (world, client, _) = opened(ProtocolVersion::V2, 1_000).await;
    let dear = Route::per_request(Amount::new(900));
    let Decision::Answer(answer) = world.decide(Method::GET, &HeaderMap::new(), &dear).await else {
        panic!()
    };
    let challenge = seen(answer).await.challenges().remove(0);
    let headers = empty(authorization(&client.voucher(&challenge, 100)));
    assert_eq!(world.answer(Method::POST, headers).await.status, 204);
}

/// A client that lost its state asks with `HEAD`, and a voucher that it can always make again.
#[tokio::test]
async fn a_head_with_a_voucher_tells_what_the_books_hold() {
    let (world, client, challenge) = opened(ProtocolVersion::V2, 1_000).await;
    assert_eq!(world.get(&client.voucher(&challenge, 300)).await.status, 200);
    let header = client.voucher(&challenge, 300);
    let seen = world.answer(Method::HEAD, authorization(&header)).await;
    assert_eq!(seen.header("payment-session"), Some(client.channel.to_string().as_str()));
    use base64::Engine as _;
    let text = seen.header("payment-session-snapshot").unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    for (name, value) in [
        ("acceptedCumulative", "300"),
        ("deposit", "1000"),
        ("requiredCumulative", "100"),
        ("settled", "0"),
        ("spent", "100"),
        ("channelId", &client.channel.to_string()),
        ("escrow", "0x4d50500000000000000000000000000000000000"),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    assert_eq!((&json["chainId"], &json["units"]), (&31_337.into(), &1.into()));
    assert!(json["descriptor"]["payer"].is_string() && json.get("closeRequestedAt").is_none());
    // Nobody else is told, and no other answer carries it.
    let thief = Client { key: k256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap(), ..client.clone() };
    let refused = world.answer(Method::HEAD, authorization(&thief.voucher(&challenge, 400))).await;
    assert_eq!((refused.status, refused.header("payment-session-snapshot")), (402, None));
    let posted = world.answer(Method::POST, empty(authorization(&header))).await;
    assert_eq!((posted.status, posted.header("payment-session-snapshot")), (204, None));
}
