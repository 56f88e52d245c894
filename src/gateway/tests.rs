use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::units::Amount;
use farebox_engine::http::BoxError;
use http::Method;
use http::header::AUTHORIZATION;
use http_body_util::channel::Channel;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::body::full;
use super::*;

#[path = "../../engine/tests/support/faulty.rs"]
#[expect(dead_code, reason = "the engine's tests need more of it")]
mod faulty;
mod hostile;
mod mcp;
mod openapi;
mod support;
mod tls;
mod upstream;
mod websocket;

use support::{BOUNDS, World};

const SOON: Duration = Duration::from_secs(5);

async fn world() -> (upstream::Upstream, World) {
    let upstream = upstream::Upstream::start().await;
    let world = World::start(&upstream.url, BOUNDS, |_| {}).await;
    (upstream, world)
}

#[tokio::test]
async fn without_payment_the_upstream_is_not_asked() {
    let (upstream, world) = world().await;
    let seen = world.get("/v1/x", None).await;
    assert_eq!(seen.status, 402);
    assert!(seen.headers["www-authenticate"].to_str().unwrap().starts_with("Payment "), "{seen:?}");
    assert_eq!(upstream.count(), 0);
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_paid_request_is_passed_on_without_its_payment() {
    let (_upstream, world) = world().await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let request = world
        .request(Method::GET, "/v1/x/%63?q=%2F&r")
        .header(AUTHORIZATION, payer.voucher(&challenge, 100))
        .header(AUTHORIZATION, "Bearer kept")
        .header("payment-session", "0x1")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("x-forwarded-for", "10.0.0.1")
        .body(full(Bytes::new()))
        .unwrap();
    let seen = world.send(request).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.receipt().spent, Amount::new(100));
    assert_eq!(seen.headers["x-own"], "kept");
    assert_eq!(seen.headers.get_all("payment-receipt").iter().count(), 1);
    assert!(seen.headers["cache-control"].to_str().unwrap().contains("private"));
    let lines: Vec<&str> = seen.body.lines().collect();
    assert!(lines.contains(&"/v1/x/%63?q=%2F&r"), "as the client wrote it: {lines:?}");
    assert!(lines.contains(&"authorization: Bearer kept"), "{lines:?}");
    assert!(lines.contains(&"x-forwarded-for: 127.0.0.1"), "{lines:?}");
    assert!(lines.contains(&format!("x-forwarded-host: {}", world.address()).as_str()), "{lines:?}");
    let unwanted =
        |line: &&str| line.contains("Payment") || line.contains("payment-") || line.contains("x-hop");
    assert!(!lines.iter().any(unwanted), "{lines:?}");
    assert_eq!(world.snapshot(&payer).await.spent, Amount::new(100));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn an_upstream_that_is_away_costs_nothing() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let world = World::start(&url, BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let seen = world.get("/v1/x", Some(&payer.voucher(&challenge, 100))).await;
    assert_eq!(seen.status, 502, "{seen:?}");
    assert_eq!(seen.headers["content-type"], "application/problem+json");
    assert!(seen.headers.get("payment-receipt").is_none());
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.accepted, snapshot.spent), (Amount::new(100), Amount::ZERO));
    assert_eq!(snapshot.reserved, Amount::ZERO);
    assert_eq!(world.get("/free/x", None).await.status, 502);
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn an_upstream_without_the_tls_that_is_configured_costs_nothing() {
    let upstream = upstream::Upstream::start().await;
    let world = World::start(&upstream.url.replace("http:", "https:"), BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let seen = world.get("/v1/x", Some(&payer.voucher(&challenge, 100))).await;
    assert_eq!((seen.status, upstream.count()), (502, 0), "{seen:?}");
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn only_a_success_is_charged_and_everything_else_is_passed_on() {
    let (_upstream, world) = world().await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    for status in [301_u16, 400, 402, 404, 429, 500, 503] {
        let header = payer.voucher(&challenge, 100);
        let seen = world.get(&format!("/v1/status/{status}"), Some(&header)).await;
        assert_eq!((seen.status, seen.body.as_str()), (status, "from upstream"));
        assert!(seen.headers.get("payment-receipt").is_none(), "{status}");
        assert_eq!(world.snapshot(&payer).await.spent, Amount::ZERO, "{status}");
        assert_eq!(world.snapshot(&payer).await.reserved, Amount::ZERO, "{status}");
    }
    let seen = world.get("/v1/status/201", Some(&payer.voucher(&challenge, 100))).await;
    assert_eq!((seen.status, seen.receipt().spent), (201, Amount::new(100)));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_slow_upstream_costs_nothing() {
    let upstream = upstream::Upstream::start().await;
    let quick =
        |config: &mut Config| config.upstream.as_mut().unwrap().response_timeout = Duration::from_millis(50);
    let world = World::start(&upstream.url, BOUNDS, quick).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let seen = world.get("/v1/slow", Some(&payer.voucher(&challenge, 100))).await;
    assert_eq!(seen.status, 504, "{seen:?}");
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_body_that_is_too_long_costs_nothing() {
    let (upstream, world) = world().await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let post = |body| {
        let request = world.request(Method::POST, "/v1/swallow");
        request.header(AUTHORIZATION, payer.voucher(&challenge, 100)).body(body).unwrap()
    };
    let seen = world.send(post(full(Bytes::from(vec![b'a'; 1_001])))).await;
    assert_eq!(seen.status, 413, "{seen:?}");
    assert_eq!(upstream.count(), 0, "a length that is said is refused before anything else");

    let (mut sender, body) = Channel::<Bytes, BoxError>::new(4);
    let request = tokio::spawn(world.client.request(post(body.boxed_unsync())));
    for _ in 0..3 {
        // The gateway may hang up before the last piece.
        let _ = sender.send_data(Bytes::from(vec![b'a'; 500])).await;
    }
    drop(sender);
    let answer = timeout(SOON, request).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 413);
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));

    let seen = world.send(post(full(Bytes::from(vec![b'a'; 1_000])))).await;
    assert_eq!((seen.status, seen.receipt().spent), (200, Amount::new(100)));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (_upstream, world) = world().await;
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let request = world.request(Method::POST, "/free/echo").body(body.boxed_unsync()).unwrap();
    let answer = tokio::spawn(world.client.request(request));
    sender.send_data(Bytes::from_static(b"one")).await.unwrap();
    let mut answer = timeout(SOON, answer).await.unwrap().unwrap().unwrap();
    for (piece, next) in [("one", Some("two")), ("two", Some("three")), ("three", None)] {
        // The piece is here although the request's body has not ended.
        let frame = timeout(SOON, answer.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        if let Some(next) = next {
            sender.send_data(Bytes::from(next)).await.unwrap();
        }
    }
    drop(sender);
    assert!(timeout(SOON, answer.frame()).await.unwrap().is_none());
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn what_is_not_routed_is_not_served() {
    let (upstream, world) = world().await;
    assert_eq!(world.get("/", None).await.status, 404);
    assert_eq!(world.get("/v2/x", None).await.status, 404);
    assert_eq!(world.get("/freedom", None).await.status, 404);
    let delete = world.request(Method::DELETE, "/v1/x").body(full(Bytes::new())).unwrap();
    let seen = world.send(delete).await;
    assert_eq!((seen.status, seen.headers["allow"].to_str().unwrap()), (405, "GET, POST, HEAD"));
    for path in ["/free/../v1/x", "/free/%2e%2e/v1/x", "/free//x", "/free/%2f", "/free/%5c", "/free/%zz"] {
        assert_eq!(raw_status(&world, path).await, 400, "{path}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(world.get("/free/x", None).await.status, 200);
    assert_eq!(world.stop().await, 0);
}

/// The status of a GET whose path goes out exactly as it is.
async fn raw_status(world: &World, path: &str) -> u16 {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = exchange(world, head.as_bytes()).await;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn events_are_metered_and_vouchers_come_in_between() {
    let (_upstream, world) = world().await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/chat").await;
    let request =
        world.request(Method::GET, "/v1/chat?events=5").header(AUTHORIZATION, payer.voucher(&challenge, 30));
    let mut answer = world.open_answer(request.body(full(Bytes::new())).unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("payment-receipt"));
    let mut text = String::new();
    while let Some(frame) = timeout(SOON, answer.frame()).await.unwrap() {
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        if text.contains("payment-need-voucher") && !text.contains("token 3") {
            assert_eq!(text.matches("data: token").count(), 3, "{text}");
            assert_eq!(world.snapshot(&payer).await.spent, Amount::new(30));
            let voucher = world.request(Method::POST, "/v1/chat").header("content-length", "0");
            let voucher = voucher.header(AUTHORIZATION, payer.voucher(&challenge, 50));
            assert_eq!(world.send(voucher.body(full(Bytes::new())).unwrap()).await.status, 204);
        }
    }
    assert_eq!(text.matches("data: token").count(), 5, "{text}");
    assert!(text.contains("event: payment-receipt"), "{text}");
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.units), (Amount::new(50), 5));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn http2_clients_are_served_too() {
    let (_upstream, world) = world().await;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::get(format!("{}/free/x", world.url)).body(full(Bytes::new())).unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let body = answer.collect().await.unwrap().to_bytes();
    let host = format!("x-forwarded-host: {}", world.address());
    assert!(String::from_utf8_lossy(&body).contains(&host), "{body:?}");
    drop(client);
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_stop_lets_running_requests_end() {
    let (_upstream, world) = world().await;
    let request = world.request(Method::GET, "/free/late").body(full(Bytes::new())).unwrap();
    let late = tokio::spawn(world.client.request(request));
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.begin_stop();
    let answer = timeout(SOON, late).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    answer.collect().await.unwrap();
    assert!(TcpStream::connect(world.address()).await.is_err(), "nothing new is taken");
    assert_eq!(timeout(SOON, world.stop()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_end() {
    let upstream = upstream::Upstream::start().await;
    let bounds = Bounds { drain: Duration::from_millis(100), ..BOUNDS };
    let world = World::start(&upstream.url, bounds, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let header = payer.voucher(&challenge, 100);
    let request = world.request(Method::GET, "/v1/slow").header(AUTHORIZATION, header);
    let slow = tokio::spawn(world.client.request(request.body(full(Bytes::new())).unwrap()));
    while upstream.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Says nothing, and must not hold up the end.
    let _silent = TcpStream::connect(world.address()).await.unwrap();
    let engine = world.engine.clone();
    assert_eq!(timeout(SOON, world.stop()).await.unwrap(), 1);
    assert!(slow.await.unwrap().is_err(), "the connection was cut");
    let reserved = || async { engine.read(payer.channel).await.unwrap().unwrap().snapshot.reserved };
    timeout(SOON, async {
        while !reserved().await.is_zero() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("what was set aside for a cut request is given back");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let upstream = upstream::Upstream::start().await;
    let bounds = Bounds { head_timeout: Duration::from_millis(100), connections_max: 2, ..BOUNDS };
    let world = World::start(&upstream.url, bounds, |_| {}).await;
    let mut held = Vec::new();
    for beginning in ["", "PRI", "GET /free/x HT"] {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // Two places and three that hold them: this is served because each of them is sent away.
    assert_eq!(raw_status(&world, "/free/x").await, 200);
    for mut stream in held {
        let mut rest = Vec::new();
        let ended = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is sent away");
        assert!(ended.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let upstream = upstream::Upstream::start().await;
    let bounds = Bounds { head_bytes_max: 8_192, ..BOUNDS };
    let world = World::start(&upstream.url, bounds, |_| {}).await;
    let head =
        format!("GET /v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Payment {}\r\n\r\n", "A".repeat(20_000));
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    // The gateway may hang up before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 64];
    let count = timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(count == 0 || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(raw_status(&world, "/v1/x").await, 402, "the gateway is alive");
}

#[tokio::test]
async fn every_meter_charges_what_the_upstream_delivers() {
    let (_upstream, world) = world().await;
    let payer = world.payer().await;
    let mut amount = 0;
    for (path, units) in [("/v1/tokens/usage", 5), ("/v1/size/bytes", 3), ("/v1/named/units", 3)] {
        amount += units * 10;
        let challenge = world.challenge(path).await;
        let seen = world.get(path, Some(&payer.voucher(&challenge, amount))).await;
        assert_eq!(seen.status, 200, "{path}: {seen:?}");
        assert_eq!(world.snapshot(&payer).await.spent, Amount::new(amount), "{path}");
    }
    let challenge = world.challenge("/v1/tokens/usage").await;
    let seen = world.get("/v1/tokens/usage", Some(&payer.voucher(&challenge, amount + 10))).await;
    assert_eq!(seen.status, 402, "{seen:?}");
    assert!(seen.headers.contains_key("www-authenticate"), "{seen:?}");
    assert_eq!(world.snapshot(&payer).await.spent, Amount::new(amount), "not delivered, not charged");
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_challenge_for_one_body_is_bound_to_it() {
    let (upstream, world) = world().await;
    let payer = world.payer().await;
    let post = |body: &'static str, header: Option<&str>, digest: Option<&str>| {
        let mut request = world.request(Method::POST, "/v1/bound/echo");
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(digest) = digest {
            request = request.header("content-digest", digest);
        }
        world.send(request.body(full(Bytes::from_static(body.as_bytes()))).unwrap())
    };
    let asked = post(r#"{"hello": "world"}"#, None, None).await;
    let challenge = asked.challenge();
    let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    assert_eq!(challenge.digest.as_deref(), Some(digest));
    let header = payer.voucher(&challenge, 10);
    assert_eq!(post("another", Some(&header), None).await.status, 402);
    let before = upstream.count();
    let lied = post("another", Some(&header), Some(digest)).await;
    assert_eq!((lied.status, upstream.count()), (400, before), "{lied:?}");
    let seen = post(r#"{"hello": "world"}"#, Some(&header), Some(digest)).await;
    assert_eq!((seen.status, seen.body.as_str()), (200, r#"{"hello": "world"}"#), "{seen:?}");
    assert_eq!(world.stop().await, 0);
}
