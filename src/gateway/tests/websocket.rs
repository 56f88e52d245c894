//! WebSockets: paid by the message or by the upgrade, and never opened by who does not pay.

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Asked, Response as Answered};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::*;

type Client = WebSocketStream<TcpStream>;

/// An upstream of sockets: the test speaks for it.
struct Sockets {
    url: String,
    accepted: mpsc::UnboundedReceiver<(WebSocketStream<TcpStream>, String)>,
}

impl Sockets {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut heads = String::new();
                #[allow(clippy::result_large_err, reason = "the library wants it like this")]
                let note = |asked: &Asked, answered: Answered| {
                    heads = format!("{} {:?}", asked.uri(), asked.headers());
                    Ok(answered)
                };
                if let Ok(socket) = accept_hdr_async(stream, note).await {
                    let _ = tell.send((socket, heads));
                }
            }
        });
        Self { url, accepted }
    }

    async fn next(&mut self) -> (WebSocketStream<TcpStream>, String) {
        timeout(SOON, self.accepted.recv()).await.expect("the gateway asks").unwrap()
    }
}

async fn connect(
    world: &World,
    path: &str,
    authorization: Option<String>,
) -> Result<(Client, HeaderMap), Error> {
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let mut request = format!("ws://{}{path}", world.address()).into_client_request().unwrap();
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
    }
    let (client, answer) = client_async(request, stream).await?;
    Ok((client, answer.headers().clone()))
}

async fn pay(client: &mut Client, credential: String) {
    let word = json!({ "mpp": "authorization", "authorization": credential }).to_string();
    client.send(Message::text(word)).await.unwrap();
}

/// The next word of the gateway; text of the service comes as one too.
async fn word(client: &mut Client) -> (String, Value) {
    match timeout(SOON, client.next()).await.expect("a word in time") {
        Some(Ok(Message::Text(text))) => {
            let said: Value = serde_json::from_str(&text).unwrap();
            (said["mpp"].as_str().unwrap().to_owned(), said["data"].clone())
        }
        other => panic!("{other:?}"),
    }
}

async fn close_code(client: &mut Client) -> u16 {
    match timeout(SOON, client.next()).await.expect("an end in time") {
        Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
        other => panic!("{other:?}"),
    }
}

async fn sockets(bounds: Bounds, change: impl FnOnce(&mut Config)) -> (Sockets, World) {
    let sockets = Sockets::start().await;
    let world = World::start(&sockets.url, bounds, change).await;
    (sockets, world)
}

#[tokio::test]
async fn messages_are_paid_one_by_one_on_the_socket() {
    let (mut sockets, world) = sockets(BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/live").await;
    let (mut client, _) = connect(&world, "/v1/live?topic=a", None).await.unwrap();
    assert!(sockets.accepted.try_recv().is_err(), "nobody has paid yet");
    pay(&mut client, payer.voucher(&challenge, 20)).await;
    assert_eq!(word(&mut client).await.0, "payment-receipt");
    let (mut service, heads) = sockets.next().await;
    assert!(heads.starts_with("/v1/live?topic=a "), "{heads}");
    assert!(!heads.contains("authorization") && !heads.contains("deflate"), "{heads}");
    client.send(Message::text("question")).await.unwrap();
    assert_eq!(service.next().await.unwrap().unwrap(), Message::text("question"));
    for text in ["one", "two", "three"] {
        service.send(Message::text(text)).await.unwrap();
    }
    assert_eq!(word(&mut client).await, ("message".into(), "one".into()));
    assert_eq!(word(&mut client).await, ("message".into(), "two".into()));
    let (needed, data) = word(&mut client).await;
    assert_eq!((needed.as_str(), &data["requiredCumulative"]), ("payment-need-voucher", &json!("30")));
    assert_eq!(world.snapshot(&payer).await.spent, Amount::new(20));
    pay(&mut client, payer.voucher(&challenge, 30)).await;
    assert_eq!(word(&mut client).await.0, "payment-receipt");
    assert_eq!(word(&mut client).await, ("message".into(), "three".into()));
    service.close(None).await.unwrap();
    let (ready, data) = word(&mut client).await;
    assert_eq!(
        (ready.as_str(), &data["spent"], &data["units"]),
        ("payment-close-ready", &json!("30"), &json!(3))
    );
    client.close(None).await.unwrap();
    drop(client);
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::new(30), Amount::ZERO));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn who_does_not_pay_gets_no_socket_of_the_upstream() {
    let (mut sockets, world) = sockets(BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let (mut client, _) = connect(&world, "/v1/live", None).await.unwrap();
    client.send(Message::text("free?")).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1008);
    let (mut client, _) = connect(&world, "/v1/live", None).await.unwrap();
    let other = world.challenge("/v1/x").await;
    pay(&mut client, payer.voucher(&other, 100)).await;
    assert_eq!(word(&mut client).await.0, "payment-error", "the challenge of another route");
    assert_eq!(close_code(&mut client).await, 1008);
    match connect(&world, "/v1/pass", None).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 402),
        other => panic!("{other:?}"),
    }
    assert!(sockets.accepted.try_recv().is_err());
    assert_eq!(world.snapshot(&payer).await.spent, Amount::ZERO);
}

#[tokio::test]
async fn a_credential_in_the_upgrade_pays_too() {
    let (mut sockets, world) = sockets(BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/live").await;
    let (mut client, _) = connect(&world, "/v1/live", Some(payer.voucher(&challenge, 10))).await.unwrap();
    assert_eq!(word(&mut client).await.0, "payment-receipt");
    let (mut service, _) = sockets.next().await;
    service.send(Message::text("one")).await.unwrap();
    assert_eq!(word(&mut client).await, ("message".into(), "one".into()));
    // The client breaks off: what it got is charged, the rest is given back.
    drop(client);
    assert!(
        timeout(SOON, service.next()).await.unwrap().is_none_or(|end| end.is_err()),
        "the upstream is told"
    );
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::new(10), Amount::ZERO));
}

#[tokio::test]
async fn a_socket_that_is_one_request_is_charged_once_and_crosses_untouched() {
    let (mut sockets, world) = sockets(BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/pass").await;
    let (mut client, headers) =
        connect(&world, "/v1/pass", Some(payer.voucher(&challenge, 10))).await.unwrap();
    assert!(headers.contains_key("payment-receipt"), "{headers:?}");
    assert_eq!(world.snapshot(&payer).await.spent, Amount::new(10));
    let (mut service, heads) = sockets.next().await;
    assert!(!heads.contains("authorization"), "{heads}");
    for message in [Message::text("{\"mpp\":\"own\"}"), Message::binary(vec![1, 2, 3])] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(service.next().await.unwrap().unwrap(), message);
        service.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = service.next().await {}
    drop((client, service));
    assert_eq!(world.snapshot(&payer).await.spent, Amount::new(10));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_switch_that_is_not_proven_opens_no_tunnel() {
    // It says 101 to everybody, without having read a key: then it would take the next bytes as requests.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4_096];
            let _ = stream.read(&mut head).await;
            let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                          sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            // Nobody may say anything more.
            let more = timeout(Duration::from_millis(200), stream.read(&mut head)).await;
            assert!(matches!(more, Err(_) | Ok(Ok(0) | Err(_))), "{more:?}");
        }
    });
    let world = World::start(&url, BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/pass").await;
    match connect(&world, "/v1/pass", Some(payer.voucher(&challenge, 10))).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 502),
        other => panic!("{other:?}"),
    }
    let challenge = world.challenge("/v1/live").await;
    let (mut client, _) = connect(&world, "/v1/live", None).await.unwrap();
    pay(&mut client, payer.voucher(&challenge, 10)).await;
    assert_eq!(word(&mut client).await.0, "payment-error");
    assert_eq!(close_code(&mut client).await, 1011);
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO));
    assert!(!upstream.is_finished(), "the upstream saw nothing but the two requests");
    upstream.abort();
}

#[tokio::test]
async fn only_a_route_for_sockets_switches_and_only_in_version_13() {
    let (upstream, world) = world().await;
    let ask = |path: &str, version: &str, key: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-version: {version}\r\n{key}\r\n"
        )
    };
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, version, key, expected) in [
        ("/free/x", "13", key, "HTTP/1.1 200"),
        ("/v1/live", "7", key, "HTTP/1.1 426"),
        ("/v1/live", "13", "", "HTTP/1.1 400"),
        ("/v1/live", "13", "sec-websocket-key: a\r\nsec-websocket-key: b\r\n", "HTTP/1.1 400"),
        ("/v1/x", "13", key, "HTTP/1.1 402"),
    ] {
        let answer = exchange(&world, ask(path, version, key).as_bytes()).await;
        assert!(answer.starts_with(expected), "{path} {version}: {answer}");
        assert!(!answer.contains("upgrade: websocket"), "{path}: {answer}");
    }
    assert_eq!(upstream.count(), 1, "the free page alone");
}

#[tokio::test]
async fn an_open_socket_keeps_its_place_and_a_quiet_one_ends() {
    let bounds = Bounds { connections_max: 2, ..BOUNDS };
    let (mut sockets, world) = sockets(bounds, |config| {
        config.upstream.as_mut().unwrap().idle_timeout = Duration::from_millis(600);
    })
    .await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/live").await;
    // The pooled connection of the test's own client has one place, the socket the other.
    let (mut client, _) = connect(&world, "/v1/live", Some(payer.voucher(&challenge, 10))).await.unwrap();
    word(&mut client).await;
    let _service = sockets.next().await;
    let mut waiting = TcpStream::connect(world.address()).await.unwrap();
    waiting.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let early = timeout(Duration::from_millis(200), waiting.read_exact(&mut answer)).await;
    assert!(early.is_err(), "there is no third place");
    // Nothing is said on the socket, so its place becomes free.
    timeout(SOON, waiting.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    let end = timeout(SOON, client.next()).await.unwrap();
    assert!(end.is_none_or(|end| end.is_err()));
    let released = async {
        while !world.snapshot(&payer).await.reserved.is_zero() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, released).await.expect("what was set aside is given back");
}

#[tokio::test]
async fn a_stop_ends_sockets_with_what_they_were_charged() {
    let (mut sockets, world) = sockets(BOUNDS, |_| {}).await;
    let payer = world.payer().await;
    let challenge = world.challenge("/v1/live").await;
    let (mut client, _) = connect(&world, "/v1/live", Some(payer.voucher(&challenge, 10))).await.unwrap();
    word(&mut client).await;
    let (mut service, _) = sockets.next().await;
    service.send(Message::text("one")).await.unwrap();
    word(&mut client).await;
    world.begin_stop();
    let (ready, data) = word(&mut client).await;
    assert_eq!((ready.as_str(), &data["spent"]), ("payment-close-ready", &json!("10")));
    assert_eq!(close_code(&mut client).await, 1001);
    let _ = client.close(None).await;
    drop(client);
    assert_eq!(timeout(SOON, world.stop()).await.unwrap(), 0);
}
