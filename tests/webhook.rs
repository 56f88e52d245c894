//! Money events reach another server: signed, in order, again after a refusal, once more after a kill, and from the beginning
//! when it is asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

mod support;

use support::hand::Hand;
use support::{Protocol, World, until};

const KEY: &str = "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3";

#[derive(Default)]
struct Received {
    taken: Vec<Value>,
    refused: u32,
    refuse_next: u32,
}

type Shared = Arc<Mutex<Received>>;

/// The signature, made by the rules of the manual.
fn signature(seconds: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&[0xc3; 32]).unwrap();
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed = header("farebox-signature");
    let seconds = signed.strip_prefix("t=").unwrap().split(',').next().unwrap();
    assert_eq!(signed, signature(seconds, &body));
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["id"], header("farebox-event"));
    let mut received = shared.lock().unwrap();
    if received.refuse_next > 0 {
        received.refuse_next -= 1;
        received.refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    received.taken.push(event);
    StatusCode::NO_CONTENT
}

fn names(received: &Shared, channel: &str) -> Vec<String> {
    let received = received.lock().unwrap();
    let of_channel = received.taken.iter().filter(|event| event["channelId"] == channel);
    of_channel.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn money_events_are_signed_in_order_and_not_lost() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Shared::default();
    let router = Router::new().route("/money", post(receive)).with_state(received.clone());
    let receiver = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut world = World::start().await;
    world.stop_server().await;
    for (name, digits) in [("webhook.key", KEY), ("admin.key", KEY)] {
        let path = world.config.parent().unwrap().join(name);
        fs::write(&path, digits).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let config = fs::read_to_string(&world.config).unwrap();
    let config = config.replacen("[server]\n", "[server]\nadmin_key_file = \"admin.key\"\n", 1);
    let webhook = format!("[webhook]\nurl = \"http://{address}/money\"\nkey_file = \"webhook.key\"\n");
    fs::write(&world.config, format!("{config}\n{webhook}")).unwrap();
    world.start_server();

    // What is refused comes again, before anything behind it.
    received.lock().unwrap().refuse_next = 1;
    let payer = Hand::new(&world, &world.payer);
    let first = payer.open(&world, Protocol::V2).await.channel.to_string();
    until("the open is told", || async { (names(&received, &first) == ["opened"]).then_some(()) }).await;
    assert_eq!(received.lock().unwrap().refused, 1);

    // Killed while the receiver refuses: the next process goes on.
    received.lock().unwrap().refuse_next = u32::MAX;
    let second = payer.open(&world, Protocol::V1).await.channel.to_string();
    until("it is tried", || async { (received.lock().unwrap().refused > 1).then_some(()) }).await;
    world.kill_server();
    received.lock().unwrap().refuse_next = 0;
    world.start_server();
    until("the second open is told", || async { (names(&received, &second) == ["opened"]).then_some(()) })
        .await;

    let admin = format!("http://{}", world.server().admin_listen);
    let http = reqwest::Client::new();
    let act = async |path: &str| {
        let answer =
            http.post(format!("{admin}{path}")).header("authorization", format!("Bearer {KEY}")).send();
        answer.await.unwrap().status().as_u16()
    };
    assert_eq!(act(&format!("/v1/channels/{first}/close")).await, 202);
    let whole = ["opened", "close started", "closed"];
    until("the close is told", || async { (names(&received, &first) == whole).then_some(()) }).await;
    let closed = world.channel(&first).await.unwrap();
    {
        let received = received.lock().unwrap();
        let last = received.taken.last().unwrap();
        assert_eq!((&last["captured"], &last["refunded"]), (&closed["captured"], &closed["refunded"]));
        let mut places: Vec<(u64, u64)> = Vec::new();
        for event in &received.taken {
            let (frame, index) = event["id"].as_str().unwrap().split_once('-').unwrap();
            places.push((frame.parse().unwrap(), index.parse().unwrap()));
        }
        assert!(places.is_sorted(), "{places:?}");
    }

    let before = received.lock().unwrap().taken.clone();
    received.lock().unwrap().taken.clear();
    assert_eq!(act("/v1/webhook/replay?frame=1").await, 202);
    until("all is told again", || async {
        (received.lock().unwrap().taken.len() >= before.len()).then_some(())
    })
    .await;
    assert_eq!(received.lock().unwrap().taken, before);
    world.stop_server().await;
    receiver.abort();
}
