use axum::http::Method;
use farebox_engine::chain::{
    BoxFuture, ChainRefusal, CloseFailure, ClosedOnChain, OpenRequest, OpenedOnChain, TopUpRequest,
    ToppedUpOnChain,
};
use farebox_engine::core::channel::{ChainPosition, Claim, Identity, Terms as ChannelTerms};
use farebox_engine::core::units::{Amount, B256, ChannelId};
use farebox_engine::core::voucher::{AnyDomain, ProtocolVersion, Voucher, v2};
use farebox_engine::{Config, MemoryLedger, SystemClock};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// A chain that takes what it is given to close, and opens nothing.
struct Closes;

impl Chain for Closes {
    fn open(&self, _: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>> {
        Box::pin(async { Err(ChainRefusal::Unavailable { what: "secret-host: refused".into() }) })
    }

    fn top_up(&self, request: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>> {
        let deposit = Amount::new(1_000).checked_add(request.additional_deposit).unwrap();
        let raised = ToppedUpOnChain {
            deposit,
            cancels_close: false,
            position: ChainPosition { block: 2, log_index: 0 },
            tx_hash: B256::repeat_byte(2),
        };
        Box::pin(async move { Ok(raised) })
    }

    fn close(
        &self,
        _: ChannelId,
        _: Arc<Identity>,
        claim: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>> {
        let closed = ClosedOnChain {
            captured: claim.capture,
            refunded: Amount::new(1_000).checked_sub(claim.capture).unwrap(),
            position: ChainPosition { block: 3, log_index: 0 },
            tx_hash: B256::repeat_byte(3),
        };
        Box::pin(async move { Ok(closed) })
    }
}

/// The API, and one channel with a deposit of 1,000.
struct World {
    router: Router,
    key: SigningKey,
    identity: Identity,
    channel: ChannelId,
}

impl World {
    async fn new() -> Self {
        let key = SigningKey::from_slice(&[1; 32]).unwrap();
        let public = key.verifying_key().to_sec1_point(false);
        let payer = Address::from_slice(&farebox_crypto::keccak256(&public.as_bytes()[1..])[12..]);
        let [payee, token, escrow_v2] = [2, 3, 5].map(Address::repeat_byte);
        let descriptor = v2::Descriptor {
            payer,
            payee,
            operator: Address::ZERO,
            token,
            salt: B256::ZERO,
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        let chain_id = ChainId(7);
        let identity = Identity { chain_id, escrow: escrow_v2, terms: ChannelTerms::V2(descriptor) };
        let channel = identity.channel_id();
        let engine = Engine::start(Config::default(), MemoryLedger::new(), SystemClock).unwrap();
        let opened =
            engine.open(identity.clone(), Amount::new(1_000), Amount::ZERO, ChainPosition::default()).await;
        opened.unwrap().accepted().unwrap();
        let terms = Terms { chain_id, payee, token, operator: Address::ZERO, escrow_v2, escrow_v1: None };
        let router = Local::new(engine, Arc::new(Closes), terms).router();
        Self { router, key, identity, channel }
    }

    fn signature(&self, cumulative: u128) -> String {
        let domain = AnyDomain::new(ProtocolVersion::V2, self.identity.chain_id, self.identity.escrow);
        let voucher = Voucher { channel_id: self.channel, cumulative_amount: Amount::new(cumulative) };
        let digest = domain.digest(&voucher).unwrap();
        let (signature, parity) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + parity.to_byte());
        alloy::hex::encode_prefixed(bytes)
    }

    fn voucher(&self, cumulative: u128) -> Value {
        json!({
            "channelId": self.channel.to_string(),
            "cumulativeAmount": cumulative.to_string(),
            "signature": self.signature(cumulative),
        })
    }

    fn paying(&self, cumulative: u128, charge: u128, key: Option<&str>) -> Value {
        let mut voucher = self.voucher(cumulative);
        voucher["charge"] = json!({ "amount": charge.to_string() });
        if let Some(key) = key {
            voucher["charge"]["idempotencyKey"] = key.into();
        }
        voucher
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: String) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.send(Method::POST, path, "application/json", body.to_string()).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn lines(&self, lines: &[String]) -> Vec<Value> {
        let (status, body) =
            self.send(Method::POST, "/v1/vouchers", "application/x-ndjson", lines.join("\n")).await;
        assert_eq!(status, 200, "{body}");
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn spent(&self) -> Value {
        let (status, body) =
            self.send(Method::GET, &format!("/v1/channels/{}", self.channel), "", String::new()).await;
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&body).unwrap()["spent"].clone()
    }
}

#[tokio::test]
async fn a_voucher_pays_once_however_often_it_comes() {
    let world = World::new().await;
    // Without a name of its own the voucher is the name.
    for outcome in ["done", "replayed"] {
        let (status, answer) = world.post("/v1/vouchers", &world.paying(100, 60, None)).await;
        assert_eq!((status, &answer["outcome"], &answer["paid"]), (200, &json!(outcome), &json!(true)));
        assert_eq!(answer["channel"]["spent"], "60");
    }
    for (name, spent) in [("one", "70"), ("one", "70"), ("two", "80")] {
        let charge =
            json!({ "channelId": world.channel.to_string(), "amount": "10", "idempotencyKey": name });
        let (status, answer) = world.post("/v1/charges", &charge).await;
        assert_eq!((status, &answer["channel"]["spent"]), (200, &json!(spent)), "{answer}");
    }
    let nameless = json!({ "channelId": world.channel.to_string(), "amount": "10" });
    assert_eq!(world.post("/v1/charges", &nameless).await.0, 400);
    assert_eq!(world.spent().await, "80");
}

#[tokio::test]
async fn what_is_not_paid_is_a_problem() {
    let world = World::new().await;
    let (status, answer) = world.post("/v1/vouchers", &world.paying(100, 150, None)).await;
    assert_eq!(status, 402, "{answer}");
    assert_eq!(answer["outcome"], "underpaid", "the voucher is kept");
    assert_eq!((&answer["requiredTopUp"], &answer["channel"]["accepted"]), (&json!("50"), &json!("100")));
    let mut forged = world.voucher(300);
    forged["signature"] = world.signature(301).into();
    let (status, answer) = world.post("/v1/vouchers", &forged).await;
    assert_eq!((status, answer["title"].as_str()), (402, Some("Signer Mismatch")), "{answer}");
    let stranger =
        json!({ "channelId": format!("0x{}", "9".repeat(64)), "amount": "1", "idempotencyKey": "x" });
    assert_eq!(world.post("/v1/charges", &stranger).await.0, 410);
    assert_eq!(world.spent().await, "0");
}

#[tokio::test]
async fn a_field_that_nobody_knows_charges_nothing() {
    let world = World::new().await;
    let mut mistyped = world.voucher(100);
    mistyped["chagre"] = json!({ "amount": "60" });
    let mut both = world.paying(100, 60, None);
    both["reserve"] = json!({ "amount": "60" });
    let mut number = world.voucher(100);
    number["cumulativeAmount"] = 100.into();
    let mut short = world.voucher(100);
    short["signature"] = "0x12".into();
    for (wrong, what) in
        [(mistyped, "chagre"), (both, "reserve"), (number, "expected a string"), (short, "signature")]
    {
        let (status, answer) = world.post("/v1/vouchers", &wrong).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(what), "{answer}");
    }
    let (status, books) = world.send(Method::GET, "/v1/channels", "", String::new()).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&books).unwrap()["channels"][0]["accepted"], "0");
}

#[tokio::test]
async fn a_batch_answers_line_by_line_in_order() {
    let world = World::new().await;
    let mut lines: Vec<String> =
        (1..=500).map(|number| world.paying(number, 1, Some(&number.to_string())).to_string()).collect();
    lines.insert(2, "{".into());
    lines.push(world.voucher(5).to_string());
    let answers = world.lines(&lines).await;
    assert_eq!(answers.len(), 502);
    assert_eq!((&answers[2]["outcome"], &answers[2]["problem"]["status"]), (&json!("refused"), &json!(400)));
    for (place, number) in (0..501).filter(|place| *place != 2).zip(1..) {
        assert_eq!(answers[place]["channel"]["accepted"], json!(number.to_string()));
        assert_eq!(answers[place]["channel"]["spent"], json!(number.to_string()));
    }
    assert_eq!(answers[501]["outcome"], "refused", "a lower voucher");
    assert_eq!(world.spent().await, "500");
    // The whole batch again charges nothing of what is remembered.
    let again = world.lines(&lines[470..471]).await;
    assert_eq!((&again[0]["outcome"], &again[0]["paid"]), (&json!("replayed"), &json!(true)));
    let many = "{}\n".repeat(8_193);
    let (status, _) = world.send(Method::POST, "/v1/vouchers", "application/x-ndjson", many).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_reservation_is_captured_or_released() {
    let world = World::new().await;
    let channel = world.channel.to_string();
    world.post("/v1/vouchers", &world.voucher(100)).await;
    let reserve = |name: &str| json!({ "channelId": channel, "amount": "40", "idempotencyKey": name });
    let (_, one) = world.post("/v1/reservations", &reserve("one")).await;
    assert_eq!((&one["channel"]["reserved"], &one["channel"]["available"]), (&json!("40"), &json!("60")));
    let (status, running) = world.post("/v1/reservations", &reserve("one")).await;
    assert_eq!(status, 409, "{running}");
    let path = |answer: &Value, what: &str| {
        format!("/v1/reservations/{channel}/{}/{what}", answer["reservation"].as_str().unwrap())
    };
    let part = json!({ "amount": "10", "finish": false });
    assert_eq!(world.post(&path(&one, "capture"), &part).await.1["channel"]["spent"], "10");
    let (_, done) = world.post(&path(&one, "capture"), &json!({ "amount": "5", "units": 3 })).await;
    assert_eq!((&done["channel"]["spent"], &done["channel"]["reserved"]), (&json!("15"), &json!("0")));
    // Its retry learns what it was charged.
    let (status, replayed) = world.post("/v1/reservations", &reserve("one")).await;
    assert_eq!((status, &replayed["charged"]), (200, &json!("15")), "{replayed}");
    let (_, two) = world.post("/v1/reservations", &reserve("two")).await;
    let (status, released) = world.post(&path(&two, "release"), &json!({})).await;
    assert_eq!((status, &released["channel"]["available"]), (200, &json!("85")), "{released}");
    assert_eq!(world.post(&path(&two, "release"), &json!({})).await.0, 402);
}

#[tokio::test]
async fn a_channel_is_topped_up_and_closed_for_what_was_spent() {
    let world = World::new().await;
    let path = |what: &str| format!("/v1/channels/{}/{what}", world.channel);
    let top_up = json!({
        "action": "topUp", "type": "transaction", "transaction": "0x76", "additionalDeposit": "0",
        "channelId": world.channel.to_string(),
    });
    let (status, raised) = world.post(&path("top-up"), &top_up).await;
    assert_eq!((status, &raised["channel"]["deposit"]), (200, &json!("1000")), "{raised}");
    world.post("/v1/vouchers", &world.paying(100, 60, None)).await;
    let mut wrong = world.voucher(100);
    wrong["action"] = "voucher".into();
    assert_eq!(world.post(&path("close"), &wrong).await.0, 400, "another action");
    let (status, closed) = world.post(&path("close"), &json!(null)).await;
    assert_eq!(status, 400, "null is no payload: {closed}");
    let (status, body) = world.send(Method::POST, &path("close"), "", String::new()).await;
    let closed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &closed["channel"]["captured"]), (200, &json!("60")), "{closed}");
    assert_eq!(closed["channel"]["refunded"], "940");
    assert_eq!(world.post("/v1/vouchers", &world.voucher(200)).await.0, 410);
}

#[tokio::test]
async fn an_open_is_verified_before_the_chain_and_tells_no_hosts() {
    let world = World::new().await;
    let ChannelTerms::V2(descriptor) = &world.identity.terms else { unreachable!() };
    let other = v2::Descriptor { salt: B256::repeat_byte(9), ..*descriptor };
    let identity = Identity { terms: ChannelTerms::V2(other), ..world.identity.clone() };
    let mut open = world.voucher(100);
    open["action"] = "open".into();
    open["type"] = "transaction".into();
    open["transaction"] = "0x76".into();
    open["channelId"] = identity.channel_id().to_string().into();
    open["descriptor"] = json!({
        "payer": other.payer, "payee": other.payee, "operator": other.operator, "token": other.token,
        "salt": other.salt, "authorizedSigner": other.authorized_signer, "expiringNonceHash": other.expiring_nonce_hash,
    });
    // The signature is for another channel: the chain is not asked.
    assert_eq!(world.post("/v1/channels", &open).await.0, 402);
    let domain = AnyDomain::new(ProtocolVersion::V2, identity.chain_id, identity.escrow);
    let voucher = Voucher { channel_id: identity.channel_id(), cumulative_amount: Amount::new(100) };
    let digest = domain.digest(&voucher).unwrap();
    let (signature, parity) = world.key.sign_prehash_recoverable(digest.as_slice());
    let bytes = [signature.to_bytes().as_slice(), &[27 + parity.to_byte()]].concat();
    open["signature"] = alloy::hex::encode_prefixed(bytes).into();
    let (status, answer) = world.post("/v1/channels", &open).await;
    assert_eq!(status, 503, "{answer}");
    assert!(!answer.to_string().contains("secret-host"), "{answer}");
    open.as_object_mut().unwrap().remove("descriptor");
    assert_eq!(world.post("/v1/channels", &open).await.0, 400, "v1 is off");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let world = World::new().await;
    for (method, path, expected) in [
        (Method::GET, "/v1/nothing", 404),
        (Method::DELETE, "/v1/vouchers", 405),
        (Method::GET, "/v1/channels/x", 400),
    ] {
        let (status, body) = world.send(method, path, "", String::new()).await;
        assert_eq!(status, expected, "{body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["status"], expected);
    }
    let (status, _) =
        world.send(Method::POST, "/v1/vouchers", "application/json", " ".repeat(BODY_BYTES_MAX + 1)).await;
    assert_eq!(status, 413);
}
