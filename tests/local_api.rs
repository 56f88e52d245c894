//! `farebox settle`: a service beside Farebox takes a payer through the local API, on a real chain, with a kill between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpp::protocol::methods::tempo::session::SessionCredentialPayload;
use serde_json::{Value, json};

mod program;
mod support;

use program::Running;
use support::hand::{Hand, Opened};
use support::{Protocol, REQUEST_PRICE, SUGGESTED_DEPOSIT, World, amount, assert_closed, good, until};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon on the world's books.
struct Daemon {
    running: Running,
    socket: PathBuf,
}

impl Daemon {
    fn start(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = program::command(&["settle", "-c", config.to_str().expect("a path")]);
        command.envs(variables.iter().copied());
        let running = Running::start(command, config.parent().expect("a folder"));
        let running = running.unwrap_or_else(|ended| panic!("the daemon ended: {ended:?}"));
        let socket = running.text("localSocket").into();
        Self { running, socket }
    }

    /// A request over the Unix socket.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        talk(UnixStream::connect(&self.socket).expect("it listens"), &[], method, path, kind, body)
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask("POST", path, "application/json", &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON: {text}")))
    }

    fn channel(&self, opened: &Opened) -> Value {
        let (status, text) = self.ask("GET", &format!("/v1/channels/{}", opened.channel), "", "");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// One request, one answer.
fn talk(
    mut stream: impl Read + Write,
    headers: &[String],
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
) -> (u16, String) {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: farebox\r\nconnection: close\r\n{headers}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    stream.write_all(body.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

/// The world's configuration without what only a gateway needs, and with a local API.
fn without_gateway(world: &World) -> PathBuf {
    let text = std::fs::read_to_string(&world.config).expect("the configuration");
    let tables = text
        .split("\n[")
        .filter(|table| !["server]", "upstream]", "[route]"].iter().any(|name| table.starts_with(name)));
    let kept: Vec<&str> = tables.collect();
    let file = world.config.with_file_name("settle.toml");
    let local =
        "[server]\nadmin_listen = \"127.0.0.1:0\"\n[local]\nsocket = \"s\"\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(&file, format!("{}\n{local}", kept.join("\n["))).expect("writes");
    file
}

/// A voucher as the API takes it.
async fn voucher(payer: &Hand, opened: &Opened, cumulative: u128) -> Value {
    let made = good("JSON", serde_json::to_value(payer.voucher(opened, cumulative).await));
    let mut line = json!({ "protocol": if opened.protocol() == Protocol::V1 { "v1" } else { "v2" } });
    for field in ["channelId", "cumulativeAmount", "signature"] {
        line[field] = made[field].clone();
    }
    line
}

async fn paying(payer: &Hand, opened: &Opened, cumulative: u128, charge: u128, name: &str) -> Value {
    let mut line = voucher(payer, opened, cumulative).await;
    line["charge"] = json!({ "amount": charge.to_string(), "idempotencyKey": name });
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_a_payer_from_open_to_close() {
    for protocol in [Protocol::V2, Protocol::V1] {
        from_open_to_close(protocol).await;
    }
}

async fn from_open_to_close(protocol: Protocol) {
    let mut world = World::start().await;
    let before = world.balances().await;
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.prepare_open(&world, protocol, Default::default()).await;
    world.stop_server().await;
    let config = without_gateway(&world);
    let daemon = Daemon::start(&config, &[]);

    let open = good("JSON", serde_json::to_value(&opened.payload));
    let (status, answer) = daemon.post("/v1/channels", &open);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(amount(&answer["channel"], "deposit"), SUGGESTED_DEPOSIT);
    let (status, again) = daemon.post("/v1/channels", &open);
    assert_eq!((status, &again["transactionHash"]), (200, &Value::Null), "nothing is sent twice: {again}");

    let first = paying(&payer, &opened, 2 * REQUEST_PRICE, REQUEST_PRICE, "first").await;
    let (status, answer) = daemon.post("/v1/vouchers", &first);
    assert_eq!((status, &answer["outcome"]), (200, &json!("done")), "{answer}");
    let second = paying(&payer, &opened, 3 * REQUEST_PRICE, REQUEST_PRICE, "second").await;
    let lower = voucher(&payer, &opened, REQUEST_PRICE).await;
    let lines = format!("{second}\n{{\n{lower}\n");
    let (status, text) = daemon.ask("POST", "/v1/vouchers", "application/x-ndjson", &lines);
    assert_eq!(status, 200, "{text}");
    let outcomes: Vec<Value> = text
        .lines()
        .map(|line| good("JSON", serde_json::from_str::<Value>(line))["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["done", "refused", "refused"]);

    // Killed, it comes back with everything that it answered.
    let known = daemon.channel(&opened);
    assert_eq!(amount(&known, "spent"), 2 * REQUEST_PRICE, "{known}");
    daemon.running.signal("KILL");
    drop(daemon);
    let settles =
        [("FAREBOX__SETTLEMENT__AMOUNT_MIN", "1"), ("FAREBOX__SETTLEMENT__PROFIT_PERCENT_MIN", "0")];
    let daemon = Daemon::start(&config, &settles);
    let (_, answer) = daemon.post("/v1/vouchers", &second);
    assert_eq!(
        (&answer["outcome"], &answer["charged"]),
        (&json!("replayed"), &json!(REQUEST_PRICE.to_string()))
    );

    // The worker settles the highest voucher that is spent.
    let settled = until("what was spent is settled", || async {
        let books = daemon.channel(&opened);
        (amount(&books, "settled") == 2 * REQUEST_PRICE).then_some(books)
    });
    assert_eq!(amount(&settled.await, "accepted"), 3 * REQUEST_PRICE);

    let charge = json!({
        "channelId": opened.channel, "amount": REQUEST_PRICE.to_string(), "idempotencyKey": "third",
    });
    let (status, answer) = daemon.post("/v1/charges", &charge);
    assert_eq!((status, amount(&answer["channel"], "spent")), (200, 3 * REQUEST_PRICE), "{answer}");
    let SessionCredentialPayload::Voucher { descriptor, cumulative_amount, signature, .. } =
        payer.voucher(&opened, 3 * REQUEST_PRICE).await
    else {
        unreachable!("a voucher was made")
    };
    let close = json!({
        "action": "close", "channelId": opened.channel, "cumulativeAmount": cumulative_amount,
        "signature": signature, "descriptor": descriptor,
    });
    let close = match protocol {
        Protocol::V2 => close,
        Protocol::V1 => {
            let mut close = close;
            close.as_object_mut().expect("an object").remove("descriptor");
            close
        }
    };
    let (status, answer) = daemon.post(&format!("/v1/channels/{}/close", opened.channel), &close);
    assert_eq!(status, 200, "{answer}");
    assert_closed(&answer["channel"], 3 * REQUEST_PRICE);
    world.balances().await.assert_paid(&before, 3 * REQUEST_PRICE);
    let socket = daemon.socket.clone();
    let ended = daemon.running.end("TERM");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!socket.exists(), "the socket goes with the daemon");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_asks_for_the_key_and_the_socket_for_its_owner() {
    let mut world = World::start().await;
    world.stop_server().await;
    let config = without_gateway(&world);
    let daemon = Daemon::start(&config, &[]);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&daemon.socket).expect("the socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let address = daemon.running.text("localListen").to_owned();
    let ask = |headers: &[String]| {
        let stream = TcpStream::connect(&address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        talk(stream, headers, "GET", "/v1/channels", "", "")
    };
    assert_eq!(ask(&[]).0, 401);
    assert_eq!(ask(&[format!("authorization: Bearer {}", "0".repeat(64))]).0, 401);
    let key_file = config.with_file_name("local.key");
    let key = std::fs::read_to_string(&key_file).expect("the key was made");
    let (status, text) = ask(&[format!("authorization: Bearer {}", key.trim())]);
    assert_eq!(status, 200, "{text}");
    assert!(!daemon.running.log().contains(key.trim()), "the key is in no log");
    // Two daemons on one socket would answer for two books.
    let other = config.with_file_name("other.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    std::fs::write(&other, text.replace("farebox-data", "other-data")).expect("writes");
    let refused = program::farebox(&["settle", "-c", other.to_str().expect("a path")]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("found a socket that another process answers"), "{refused:?}");
}
