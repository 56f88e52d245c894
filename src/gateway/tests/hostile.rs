//! What a hostile client sends: requests that two servers could read differently, heads and bodies that never end.

use super::*;

/// What the gateway answers to these bytes until it hangs up or is quiet.
async fn said(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    // It may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The upstream was asked for free pages at most.
fn only_free(upstream: &upstream::Upstream) {
    let paths = upstream.paths.lock().unwrap();
    assert!(paths.iter().all(|path| path.starts_with("/free/")), "{paths:?}");
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()).collect()
}

#[tokio::test]
async fn a_request_that_is_smuggled_behind_a_free_one_is_not_served() {
    let (upstream, world) = world().await;
    let hidden = "GET /v1/secret HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = hidden.len();
    let behind = length + 5;
    // The heads after the request line and the host, and what stands between head and hidden request.
    let attacks = [
        // Both lengths: one server reads the chunks, another the count.
        (format!("content-length: {behind}\r\ntransfer-encoding: chunked"), "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 5".into(), "0\r\n\r\n"),
        // Two counts.
        (format!("content-length: 0\r\ncontent-length: {length}"), ""),
        (format!("content-length: 0, {length}"), ""),
        (format!("content-length: +{length}"), ""),
        // Encodings that only some know.
        ("transfer-encoding: xchunked".into(), ""),
        ("transfer-encoding : chunked".into(), "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity".into(), "0\r\n\r\n"),
        ("transfer-encoding:\x0bchunked".into(), "0\r\n\r\n"),
        // A line that goes on, and a bare carriage return.
        (format!("x: a\r\n content-length: {length}"), ""),
        (format!("x: a\rcontent-length: {length}"), ""),
        // A chunk whose size says more than it holds.
        ("transfer-encoding: chunked".into(), "ffffffffffffffffff\r\n"),
        // A switch of protocols with a request behind it.
        ("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk".into(), ""),
    ];
    for (head, between) in &attacks {
        let attack = format!("POST /free/echo HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{between}{hidden}");
        let answer = said(&world, attack.as_bytes()).await;
        let statuses = statuses(&answer);
        assert!(!statuses.is_empty() || answer.is_empty(), "{attack}: {answer}");
        assert!(!statuses.contains(&"101"), "{attack}: {answer}");
        only_free(&upstream);
    }
    assert_eq!(raw_status(&world, "/free/x").await, 200, "the gateway is alive");
}

#[tokio::test]
async fn headers_cannot_be_injected_by_a_path_or_a_value() {
    let (upstream, world) = world().await;
    for path in ["/free/%0d%0ax-admin:%201", "/free/a%00b", "/free/a%0ab", "/free/\\..\\v1"] {
        assert!(matches!(raw_status(&world, path).await, 400 | 404), "{path}");
    }
    for head in ["x-a: b\x00c", "x a: b", ": b", "x-a: b\rx-admin: 1"] {
        let request = format!("GET /free/x HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
        let answer = said(&world, request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_credential_in_a_trailer_is_none() {
    let (upstream, world) = world().await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/x").await;
    let header = payer.voucher(&challenge, 100);
    let request = format!(
        "POST /v1/x HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: authorization\r\n\
         transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nauthorization: {header}\r\n\r\n"
    );
    let answer = said(&world, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 402"), "{answer}");
    assert_eq!(world.snapshot(&payer).await.accepted, Amount::ZERO);
    only_free(&upstream);
}

#[tokio::test]
async fn a_body_that_pauses_is_refused_and_costs_nothing() {
    let upstream = upstream::Upstream::start().await;
    let world = World::start(&upstream.url, BOUNDS, |config| {
        config.limits.request_body_timeout = Duration::from_millis(200);
    })
    .await;
    let payer = world.payer().await;
    for path in ["/v1/swallow", "/v1/bound/swallow"] {
        let challenge = world.challenge("/v1/x").await;
        let header = payer.voucher(&challenge, 100);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {header}\r\ncontent-length: 10\r\n\r\nabc"
        );
        let answer = said(&world, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
    }
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let (upstream, world) = world().await;
    let many: String = (0..2_000).map(|index| format!("x-{index}: y\r\n")).collect();
    let answer = said(&world, format!("GET /free/x HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn another_authority_or_form_of_the_target_does_not_change_the_price() {
    let (upstream, world) = world().await;
    for target in
        ["http://evil.example/v1/x", "https://localhost/v1/x", "//v1/x", "/v1/x#/free", "/v1/x?/free/x"]
    {
        let answer = said(&world, format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        let statuses = statuses(&answer);
        assert!(statuses.iter().all(|status| matches!(*status, "402" | "400" | "404")), "{target}: {answer}");
    }
    let answer = said(&world, b"CONNECT v1:443 HTTP/1.1\r\nhost: v1:443\r\n\r\n").await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    only_free(&upstream);
}

#[tokio::test]
async fn a_client_whose_credentials_fail_again_and_again_is_turned_away() {
    let upstream = upstream::Upstream::start().await;
    let world = World::start(&upstream.url, BOUNDS, |config| {
        config.limits.failures = farebox_engine::http::FailureRate::new(1, 5);
        config.server.trust_forwarded_headers = true;
    })
    .await;
    let from = |address: &'static str, header: &'static str| {
        let request = world.request(Method::GET, "/v1/x").header("x-forwarded-for", address);
        world.send(request.header(AUTHORIZATION, header).body(full(Bytes::new())).unwrap())
    };
    const BROKEN: &str = "Payment bm90IGpzb24";
    for _ in 0..5 {
        assert_eq!(from("192.0.2.1", BROKEN).await.status, 402);
    }
    let seen = from("192.0.2.1", BROKEN).await;
    assert_eq!(seen.status, 429, "{seen:?}");
    assert_eq!(seen.headers["content-type"], "application/problem+json");
    assert!(seen.headers.contains_key("retry-after"));
    assert_eq!(from("192.0.2.1", "Bearer x").await.status, 402, "who brings none may look at the price");
    assert_eq!(from("192.0.2.2", BROKEN).await.status, 402, "another client");
    for _ in 0..9 {
        assert_eq!(world.get("/v1/x", Some(BROKEN)).await.status, 402, "a proxy that names nobody");
    }
}
