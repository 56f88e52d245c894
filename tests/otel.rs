//! Traces: a payment and a claim as a collector on this machine hears of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

mod support;

use support::hand::Hand;
use support::{Options, Protocol, REQUEST_PRICE, World, until};

/// The trace that the client began, and the span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span as it was sent.
#[derive(Clone, Debug, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: BTreeMap<String, String>,
}

/// What a collector was sent: the spans, and all bytes.
#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    bytes: Vec<u8>,
}

/// Takes OTLP over HTTP, with a thread for each connection. It ends with the test program.
fn collector() -> (String, Arc<Mutex<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let heard = Arc::new(Mutex::new(Heard::default()));
    let told = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = Arc::clone(&told);
            std::thread::spawn(move || take(stream, &told));
        }
    });
    (url, heard)
}

fn take(mut stream: std::net::TcpStream, told: &Mutex<Heard>) {
    let mut received = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        let Some(head_end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => received.extend_from_slice(&buffer[..length]),
            }
            continue;
        };
        let head = String::from_utf8_lossy(&received[..head_end]).to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.expect("a length").trim().parse().expect("a number");
        let body = head_end + 4;
        while received.len() < body + length {
            let more = stream.read(&mut buffer).expect("the body");
            assert!(more > 0, "the body is cut");
            received.extend_from_slice(&buffer[..more]);
        }
        {
            let mut told = told.lock().expect("no panic");
            told.spans.extend(spans(&received[body..body + length]));
            told.bytes.extend_from_slice(&received[..body + length]);
        }
        received.drain(..body + length);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("an answer");
    }
}

/// The fields of a protobuf message: number and bytes; numbers as their bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first().expect("a varint");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a varint of more than 64 bits")
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                found.push((tag >> 3, varint(&mut message).to_be_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        let (value, rest) = message.split_at(length);
        found.push((tag >> 3, value.to_vec()));
        message = rest;
    }
    found
}

fn of(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(found, _)| *found == number).map(|(_, value)| value).collect()
}

/// `ExportTraceServiceRequest.resource_spans[].scope_spans[].spans[]`.
fn spans(request: &[u8]) -> Vec<Span> {
    let scopes = of(request, 1).into_iter().flat_map(|resource| of(&resource, 2));
    let all = scopes.flat_map(|scope| of(&scope, 2));
    all.map(|span| {
        let hex = |number| of(&span, number).first().map(alloy_primitives::hex::encode).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let attributes = of(&span, 9).into_iter().map(|pair| {
            let (number, value) = fields(&of(&pair, 2)[0]).remove(0);
            let shown = match number {
                1 => text(&value),
                _ => u64::from_be_bytes(value.try_into().expect("a number")).to_string(),
            };
            (text(&of(&pair, 1)[0]), shown)
        });
        let (name, attributes) = (text(&of(&span, 5)[0]), attributes.collect());
        Span { trace: hex(1), id: hex(2), parent: hex(4), name, attributes }
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_and_its_claim_are_told_in_the_trace_of_the_client_and_without_a_secret() {
    let (url, heard) = collector();
    let mut world = World::start_with(Options::default()).await;
    world.stop_server().await;
    world.start_server_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let payer = Hand::new(&world, &world.payer);
    let opened = payer.open(&world, Protocol::V2).await;
    assert_eq!(payer.pay(&opened, 2 * REQUEST_PRICE).await.status, 200);
    let unpaid = reqwest::Client::new().get(world.url("/v1/models?api_key=hidden-in-the-query"));
    let unpaid =
        unpaid.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).send().await.expect("an answer");
    assert_eq!(unpaid.status(), 402);
    assert_eq!(payer.close(&opened, 2 * REQUEST_PRICE).await.status, 204);

    let named = |name: &'static str| {
        let heard = Arc::clone(&heard);
        move || {
            let heard = Arc::clone(&heard);
            async move {
                let heard = heard.lock().expect("no panic");
                heard.spans.iter().find(|span| span.name == name).cloned()
            }
        }
    };
    let claim = until("the claim is told", named("claim")).await;
    assert!(claim.attributes["tx_hash"].starts_with("0x") && claim.attributes["calls"] == "1", "{claim:?}");
    let sign = until("the signature is told", named("sign")).await;
    assert_eq!((sign.trace.as_str(), sign.parent.as_str()), (claim.trace.as_str(), claim.id.as_str()));
    let followed = until("the client's trace is followed", || {
        let heard = Arc::clone(&heard);
        async move {
            let heard = heard.lock().expect("no panic");
            heard.spans.iter().find(|span| span.trace == TRACE && span.name == "request").cloned()
        }
    })
    .await;
    assert_eq!(followed.parent, PARENT);
    assert_eq!(followed.attributes["http.response.status_code"], "402");
    assert_eq!(followed.attributes["http.route"], "/v1/*");
    assert_eq!(followed.attributes["http.request.method"], "GET");
    let charge = until("the charge is told", named("books")).await;
    // What the collector was told of is what the figures name.
    let page = world.open_metrics().await;
    for (part, trace) in [("claim", &claim.trace), ("sign", &sign.trace), ("books", &charge.trace)] {
        let exemplar = format!(" # {{trace_id=\"{trace}\"}} ");
        let mut buckets =
            page.lines().filter(|line| line.starts_with(&format!("farebox_{part}_seconds_bucket")));
        assert!(buckets.any(|bucket| bucket.contains(&exemplar)), "{part}, {trace}: {page}");
    }
    assert!(page.contains(&format!("# {{trace_id=\"{TRACE}\"}}")), "the client's trace: {page}");
    let heard = heard.lock().expect("no panic");
    let of_charge = |name: &str| {
        heard
            .spans
            .iter()
            .find(|span| span.trace == charge.trace && span.name == name)
            .unwrap_or_else(|| panic!("no span {name} beside the charge: {:?}", heard.spans))
    };
    let request = of_charge("request");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    for name in ["door", "upstream", "books"] {
        assert_eq!(of_charge(name).parent, request.id, "{name}");
    }
    let all = String::from_utf8_lossy(&heard.bytes).to_lowercase();
    let secret = |what: &str| assert!(!all.contains(&what.to_lowercase()), "{what} is told");
    for what in ["hidden-in-the-query", "api_key", "authorization", "Payment ", "models"] {
        secret(what);
    }
    for key in [world.payer.private_key.to_string(), world.payee.private_key.to_string()] {
        secret(key.trim_start_matches("0x"));
    }
}
