//! Tools that are sold by the call.

use farebox_core::challenge::{Challenge, Receipt};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use farebox_engine::MemoryLedger;
use farebox_engine::ledger::Ledger;
use serde_json::{Value, json};

use super::faulty::{Fault, FaultyLedger, Switch};
use super::*;

const PATH: &str = "/mcp";
/// How long a test looks whether something comes that must not come.
const LOOK: Duration = Duration::from_millis(100);

/// A gateway with room for credentials in bodies.
async fn tools() -> (upstream::Upstream, World) {
    tools_on(MemoryLedger::new()).await
}

async fn tools_on(ledger: impl Ledger + 'static) -> (upstream::Upstream, World) {
    let upstream = upstream::Upstream::start().await;
    let change = |config: &mut Config| config.limits.request_body_bytes_max = 100_000;
    let world = World::start_on(ledger, &upstream.url, BOUNDS, None, change).await;
    (upstream, world)
}

async fn say(world: &World, message: &Value) -> Value {
    let request = world.request(Method::POST, PATH).header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let seen = world.send(request.body(full(Bytes::from(message.to_string()))).unwrap()).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let text = match seen.headers["content-type"].to_str().unwrap() {
        // The last event is the answer.
        "text/event-stream" => seen.body.trim_end().rsplit("data: ").next().unwrap().to_owned(),
        _ => seen.body,
    };
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

fn call(tool: &str, id: u64, credential: Option<Value>) -> Value {
    let mut message =
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool } });
    if let Some(credential) = credential {
        message["params"]["_meta"] = json!({ "org.paymentauth/credential": credential });
    }
    message
}

/// What a client makes of a header: the same in JSON, with the request as an object.
fn credential(header: &str, challenge: &Value) -> Value {
    use farebox_engine::core::challenge::Credential;
    let token = header.strip_prefix("Payment ").unwrap();
    Credential::parse(token).unwrap();
    let mut value: Value = serde_json::from_slice(&decode(token)).unwrap();
    value["challenge"]["request"] = challenge["request"].clone();
    value
}

fn decode(text: &str) -> Vec<u8> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        bits = (bits << 6) | u32::from(sextet(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(((bits >> count) & 0xFF) as u8);
        }
    }
    bytes
}

/// The challenge of the route, as HTTP has it, and as the error has it.
async fn asked(world: &World) -> (Challenge, Value) {
    let refused = say(world, &call("add", 1, None)).await;
    let error = &refused["error"];
    assert_eq!((&refused["id"], &error["code"]), (&json!(1), &json!(-32042)), "{refused}");
    assert_eq!(error["data"]["httpStatus"], 402);
    let shown = error["data"]["challenges"][0].clone();
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    let request = shown["request"].as_object().unwrap();
    assert_eq!(request["amount"], "10");
    let seen = {
        let request = world.request(Method::HEAD, PATH);
        world.send(request.body(full(Bytes::new())).unwrap()).await
    };
    // The same challenge as text: only its own id and expiry differ between two challenges of one route.
    let challenge = Challenge { id: text("id"), expires: Some(text("expires")), ..seen.challenge() };
    (challenge, shown)
}

#[tokio::test]
async fn a_call_is_paid_and_the_rest_is_free() {
    let (upstream, world) = tools().await;
    let payer = world.payer().await;
    let begun =
        say(&world, &json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {} })).await;
    let payment = &begun["result"]["capabilities"]["experimental"]["payment"];
    assert_eq!(payment["methods"]["tempo"]["intents"], json!(["session"]));
    let before = upstream.count();
    let (challenge, shown) = asked(&world).await;
    assert_eq!(upstream.count(), before, "unpaid calls do not reach the upstream");
    let mut amount = 0;
    for (tool, id) in [("add", 2), ("stream", 3)] {
        amount += 10;
        let paid = credential(&payer.voucher(&challenge, amount), &shown);
        let answer = say(&world, &call(tool, id, Some(paid.clone()))).await;
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(id), &json!(tool)));
        assert_eq!(answer["result"]["saw"], json!(null), "the credential stays at the gateway: {answer}");
        let receipt = &answer["result"]["_meta"]["org.paymentauth/receipt"];
        let receipt = Receipt::parse_json(receipt.to_string().as_bytes()).unwrap();
        assert_eq!((receipt.spent, receipt.units), (Amount::new(amount), Some(1)));
        // The same credential again: told what it bought, and not delivered again.
        let again = say(&world, &call(tool, id, Some(paid))).await;
        assert_eq!(again["result"]["content"], json!([]), "{again}");
    }
    let snapshot = world.snapshot(&payer).await;
    assert_eq!((snapshot.spent, snapshot.reserved), (Amount::new(20), Amount::ZERO));
    assert_eq!(world.stop().await, 0);
}

#[tokio::test]
async fn a_tool_that_fails_is_free() {
    let (_upstream, world) = tools().await;
    let payer = world.payer().await;
    let (challenge, shown) = asked(&world).await;
    for (tool, id) in [("error", 2), ("fails", 3), ("nonsense", 4), ("hangs-up", 5)] {
        let paid = credential(&payer.voucher(&challenge, u128::from(id) * 10), &shown);
        let request = world.request(Method::POST, PATH).header("content-type", "application/json");
        let body = full(Bytes::from(call(tool, id, Some(paid)).to_string()));
        let seen = world.send(request.body(body).unwrap()).await;
        assert!(matches!(seen.status, 200 | 502), "{tool}: {seen:?}");
        assert!(!seen.body.contains("org.paymentauth/receipt"), "{tool}: {seen:?}");
        let snapshot = world.snapshot(&payer).await;
        assert_eq!((snapshot.spent, snapshot.reserved), (Amount::ZERO, Amount::ZERO), "{tool}");
    }
}

#[tokio::test]
async fn a_refused_credential_is_told_in_the_words_of_the_transport() {
    let (upstream, world) = tools().await;
    let payer = world.payer().await;
    let (challenge, shown) = asked(&world).await;
    let before = upstream.count();
    let mut forged = credential(&payer.voucher(&challenge, 10), &shown);
    forged["payload"]["cumulativeAmount"] = json!("20");
    let refused = say(&world, &call("add", 2, Some(forged))).await;
    assert_eq!(refused["error"]["code"], -32043, "{refused}");
    assert!(refused["error"]["data"]["challenges"][0]["id"].is_string(), "a fresh challenge");
    let refused = say(&world, &call("add", 2, Some(json!(7)))).await;
    assert_eq!(refused["error"]["code"], -32602);
    let batch = say(&world, &json!([call("add", 2, None)])).await;
    assert_eq!(batch["error"]["code"], -32600);
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"add"}}"#;
    let request = world.request(Method::POST, PATH).body(full(Bytes::from(twice))).unwrap();
    assert!(world.send(request).await.body.contains("-32042"), "the last name counts, for everybody");
    assert_eq!(upstream.count(), before);
    assert_eq!(world.snapshot(&payer).await.accepted, Amount::ZERO);
}

#[tokio::test]
async fn the_events_of_a_tool_wait_for_the_disk() {
    for fault in [None, Some(Fault::BeforeWrite)] {
        let switch = Switch::healthy();
        let ledger = FaultyLedger { inner: MemoryLedger::new(), switch: Arc::clone(&switch) };
        let (upstream, world) = tools_on(ledger).await;
        let payer = world.payer().await;
        let (challenge, shown) = asked(&world).await;
        let before = upstream.count();
        switch.close();
        let paid = credential(&payer.voucher(&challenge, 10), &shown);
        let request = world.request(Method::POST, PATH).header("content-type", "application/json");
        let request = request.body(full(Bytes::from(call("stream", 2, Some(paid)).to_string()))).unwrap();
        let mut answer = pin!(world.send(request));
        assert!(timeout(LOOK, &mut answer).await.is_err(), "the voucher is not on the disk");
        assert_eq!(upstream.count(), before + 1, "the tool works meanwhile");
        if let Some(fault) = fault {
            switch.fail_next(fault);
        }
        switch.open();
        let seen = timeout(SOON, answer).await.unwrap();
        let is_sold = fault.is_none();
        assert_eq!(seen.status, if is_sold { 200 } else { 502 }, "{seen:?}");
        assert_eq!(seen.body.contains("notifications/progress"), is_sold, "{seen:?}");
        assert_eq!(seen.body.contains("org.paymentauth/receipt"), is_sold, "{seen:?}");
    }
}
