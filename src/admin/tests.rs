use axum::body::{Body, to_bytes};
use axum::http::Request;
use farebox_engine::core::channel::{ChainPosition, Identity, Terms};
use farebox_engine::core::units::{Address, Amount, ChainId};
use farebox_engine::core::voucher::v2::Descriptor;
use farebox_engine::{Config, MemoryLedger, SystemClock};
use tower::ServiceExt;

use super::*;

struct Says(Vec<(&'static str, String)>);

impl Probe for Says {
    fn probe(&self) -> Vec<(&'static str, String)> {
        self.0.clone()
    }
}

fn admin(wrong: Vec<(&'static str, String)>) -> Admin {
    let engine = Engine::start(Config::default(), MemoryLedger::new(), SystemClock).unwrap();
    let metrics = Measures::default();
    let facts = Facts {
        realm: "test".into(),
        chain_id: 7,
        token: "0x03".into(),
        explorer: Some("https://explorer.example".into()),
        started_at: farebox_engine::core::units::UnixSeconds(0),
        backend: "portable",
        settle_age_s: 0,
    };
    let board = Board::new(facts);
    Admin {
        engine,
        probe: Arc::new(Says(wrong)),
        metrics,
        snapshots: None,
        store: None,
        key: None,
        webhook: None,
        denials: None,
        board,
    }
}

fn identity(salt: u8) -> Identity {
    let terms = Descriptor {
        payer: Address::repeat_byte(1),
        payee: Address::repeat_byte(2),
        operator: Address::ZERO,
        token: Address::repeat_byte(3),
        salt: B256::repeat_byte(salt),
        authorized_signer: Address::ZERO,
        expiring_nonce_hash: B256::repeat_byte(4),
    };
    Identity { chain_id: ChainId(7), escrow: Address::repeat_byte(5), terms: Terms::V2(terms) }
}

async fn get(admin: &Admin, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = admin.clone().router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get_json(admin: &Admin, path: &str) -> (StatusCode, Value) {
    let (status, body) = get(admin, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn ready_only_when_everything_is() {
    let well = admin(Vec::new());
    assert_eq!(get_json(&well, "/readyz").await, (StatusCode::OK, json!({ "ready": true })));
    assert_eq!(get(&well, "/healthz").await, (StatusCode::OK, "ok\n".into()));
    let away = admin(vec![("chain", "no endpoint answers".into())]);
    let expected = json!({ "ready": false, "chain": "no endpoint answers" });
    assert_eq!(get_json(&away, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, expected));
    well.engine.shutdown().await.unwrap();
    let expected = json!({ "ready": false, "ledger": "stopped" });
    assert_eq!(get_json(&well, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, expected));
    assert_eq!(get(&well, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn channels_are_shown_a_page_at_a_time() {
    let admin = admin(Vec::new());
    let mut ids = Vec::new();
    for salt in 1..=3 {
        let identity = identity(salt);
        ids.push(identity.channel_id().to_string());
        let opened = admin.engine.open(identity, Amount::new(1_000), Amount::ZERO, ChainPosition::default());
        opened.await.unwrap().accepted().unwrap();
    }
    ids.sort();
    let shown = |page: &Value| -> Vec<String> {
        let channels = page["channels"].as_array().unwrap();
        channels.iter().map(|channel| channel["channelId"].as_str().unwrap().to_owned()).collect()
    };
    let (status, first) = get_json(&admin, "/v1/channels?limit=2").await;
    assert_eq!((status, shown(&first)), (StatusCode::OK, ids[..2].to_vec()));
    let next = first["next"].as_str().unwrap();
    assert_eq!(next, ids[1]);
    let (_, second) = get_json(&admin, &format!("/v1/channels?limit=2&after={next}")).await;
    assert_eq!((shown(&second), &second["next"]), (ids[2..].to_vec(), &Value::Null));

    let (status, channel) =
        get_json(&admin, &format!("/v1/channels/{}", ids[0].to_uppercase().replace("0X", "0x"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(channel, first["channels"][0]);
    for (key, value) in [("phase", "open"), ("protocol", "v2"), ("deposit", "1000"), ("spent", "0")] {
        assert_eq!(channel[key], value, "{key}");
    }
    assert_eq!(channel["payer"], "0x0101010101010101010101010101010101010101");
    assert_eq!(channel["signer"], channel["payer"]);
}

#[tokio::test]
async fn a_channel_that_is_not_there_and_an_id_that_is_none() {
    let admin = admin(Vec::new());
    let unknown = format!("/v1/channels/0x{}", "12".repeat(32));
    assert_eq!(get(&admin, &unknown).await.0, StatusCode::NOT_FOUND);
    for path in ["/v1/channels/0x12", "/v1/channels/x", "/v1/channels?after=5"] {
        let (status, body) = get_json(&admin, path).await;
        assert_eq!((status, body["status"].as_u64()), (StatusCode::BAD_REQUEST, Some(400)), "{path}");
    }
    assert_eq!(get(&admin, "/v1/channels?limit=x").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&admin, "/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_snapshot_is_taken_of_a_store_and_only_when_asked_for_in_earnest() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = farebox_engine::RocksLedger::open(folder.path()).unwrap();
    let in_memory = admin(Vec::new());
    let on_disk = Admin { snapshots: Some(ledger.snapshots()), ..in_memory.clone() };
    let ask = async |admin: &Admin, content_type: &str| {
        let request = Request::post("/v1/snapshot").header("content-type", content_type);
        let response = admin.clone().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    assert_eq!(ask(&in_memory, "application/json").await.0, StatusCode::CONFLICT);
    assert_eq!(ask(&on_disk, "text/plain").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, said) = ask(&on_disk, "application/json").await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let view = farebox_engine::RocksLedger::open_read_only(said["snapshot"].as_str().unwrap()).unwrap();
    drop((view, ledger));
    assert_eq!(ask(&on_disk, "application/json").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
