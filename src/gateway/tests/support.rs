//! A gateway with books in memory before an upstream of our own, and a payer that signs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::credential::{Open, VoucherFields};
use farebox_core::challenge::{Challenge, ChallengeKey, ChallengeKeys, Credential, Echo, Payload, Receipt};
use farebox_core::channel::{ChainPosition, Claim, Identity, Snapshot, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, ProtocolVersion, Voucher, v2};
use farebox_engine::chain::{
    BoxFuture, Chain, ChainRefusal, CloseFailure, ClosedOnChain, OpenRequest, OpenedOnChain, TopUpRequest,
    ToppedUpOnChain,
};
use farebox_engine::http::{DoorConfig, Escrow};
use farebox_engine::ledger::Ledger;
use farebox_engine::{Engine, MemoryLedger, SystemClock};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k256::ecdsa::SigningKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::*;
use crate::gateway::body::full;

const PAYEE: &str = "0x7070707070707070707070707070707070707070";
const TOKEN: &str = "0x2020202020202020202020202020202020202020";
const CHAIN: ChainId = ChainId(31337);

/// A chain on which every open of a payer succeeds with the same deposit.
struct Opens {
    deposit: Amount,
}

impl Chain for Opens {
    fn open(&self, request: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>> {
        let farebox_engine::chain::ClaimedTerms::V2(descriptor) = request.terms else { panic!("v2 only") };
        let identity = Identity { chain_id: CHAIN, escrow: request.escrow, terms: Terms::V2(descriptor) };
        let opened = OpenedOnChain {
            identity,
            deposit: self.deposit,
            settled: Amount::ZERO,
            position: ChainPosition { block: 1, log_index: 0 },
            tx_hash: B256::repeat_byte(0x0A),
        };
        Box::pin(async move { Ok(opened) })
    }

    fn top_up(&self, _: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>> {
        Box::pin(async { Err(ChainRefusal::Unavailable { what: "not in these tests".into() }) })
    }

    fn close(
        &self,
        _: ChannelId,
        _: Arc<Identity>,
        _: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>> {
        Box::pin(async { Err(CloseFailure::NotSent { what: "not in these tests".into() }) })
    }
}

/// A running gateway.
pub struct World {
    pub engine: Engine,
    pub url: String,
    pub client: Client<HttpConnector, Body>,
    stop: watch::Sender<bool>,
    served: JoinHandle<usize>,
}

/// What a client saw.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub const BOUNDS: Bounds = Bounds {
    connections_max: 100,
    per_address_max: None,
    head_bytes_max: 64 * 1024,
    head_timeout: Duration::from_secs(5),
    drain: Duration::from_secs(5),
};

impl World {
    /// A gateway before `upstream`, with room for changes.
    pub async fn start(upstream: &str, bounds: Bounds, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(upstream, bounds, None, change).await
    }

    /// The same, perhaps with TLS.
    pub async fn start_with(
        upstream: &str,
        bounds: Bounds,
        tls: Option<Arc<Tls>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start_on(MemoryLedger::new(), upstream, bounds, tls, change).await
    }

    /// The same, with books on a disk of the test's.
    pub async fn start_on(
        ledger: impl Ledger + 'static,
        upstream: &str,
        bounds: Bounds,
        tls: Option<Arc<Tls>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let text = format!(
            "[server]\nrealm = \"test\"\n[upstream]\nurl = \"{upstream}\"\n[chain]\nrpc = [\"http://c\"]\nid = 31337\n\
             [payee]\naddress = \"{PAYEE}\"\ntoken = \"{TOKEN}\"\nkey_file = \"k\"\n\
             [[route]]\npath = \"/v1/chat\"\namount = \"10\"\nunit = \"token\"\nmeter = \"sse_event\"\n\
             [[route]]\npath = \"/v1/tokens/*\"\namount = \"10\"\nunit = \"token\"\nmeter = \"openai_usage\"\n\
             [[route]]\npath = \"/v1/size/*\"\namount = \"10\"\nunit = \"kilobyte\"\nmeter = \"bytes\"\n\
             [[route]]\npath = \"/v1/named/*\"\namount = \"10\"\nunit = \"row\"\nmeter = \"header\"\n\
             units_header = \"x-units\"\n\
             [[route]]\npath = \"/v1/bound/*\"\namount = \"10\"\nunit = \"request\"\nmeter = \"request\"\n\
             bind_body = true\n\
             [[route]]\npath = \"/mcp\"\namount = \"10\"\nunit = \"call\"\nmeter = \"request\"\n\
             transport = \"mcp\"\n\
             [[route]]\npath = \"/v1/live\"\namount = \"10\"\nunit = \"message\"\n\
             meter = \"websocket_message\"\ntransport = \"websocket\"\n\
             [[route]]\npath = \"/v1/pass\"\namount = \"10\"\nunit = \"request\"\nmeter = \"request\"\n\
             transport = \"websocket\"\n\
             [[route]]\npath = \"/v1/*\"\nmethods = [\"GET\", \"POST\", \"HEAD\"]\namount = \"100\"\nunit = \"request\"\n\
             meter = \"request\"\n[[route]]\npath = \"/free/*\"\nfree = true\n\
             [ledger]\nkind = \"memory\"\nallow_volatile = true\n[limits]\nrequest_body_bytes_max = 1000\n"
        );
        let mut config = Config::parse(std::path::Path::new("t.toml"), &text, []).unwrap();
        change(&mut config);
        let engine = Engine::start(farebox_engine::Config::default(), ledger, SystemClock).unwrap();
        let keys = ChallengeKeys::new(ChallengeKey::new(&[7; 32]).unwrap());
        let mut door_config = DoorConfig::new(
            config.server.realm.clone().unwrap(),
            keys,
            config.payee.address,
            config.payee.token,
        )
        .escrow(Escrow {
            protocol: ProtocolVersion::V2,
            chain_id: CHAIN,
            address: config.escrow.v2,
            operator: Address::ZERO,
        });
        door_config.need_voucher_wait_ms_max = 2_000;
        door_config.failures = config.limits.failures;
        door_config.requests = config.limits.requests;
        let chain = Arc::new(Opens { deposit: Amount::new(1_000) });
        let door = Door::new(engine.clone(), chain, door_config, Arc::new(SystemClock));
        let gateway = Arc::new(Gateway::new(&config, door).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(run(listener, gateway, bounds, tls, stopped));
        Self { engine, url, client: Client::builder(TokioExecutor::new()).build_http(), stop, served }
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Ends the gateway; how many connections were cut.
    pub async fn stop(self) -> usize {
        self.stop.send_replace(true);
        self.served.await.unwrap()
    }

    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    pub async fn open_answer(&self, request: Request<Body>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Seen {
        let (parts, body) = self.open_answer(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str, authorization: Option<&str>) -> Seen {
        let mut request = self.request(Method::GET, path);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        self.send(request.body(full(Bytes::new())).unwrap()).await
    }

    pub async fn challenge(&self, path: &str) -> Challenge {
        self.get(path, None).await.challenge()
    }

    pub async fn snapshot(&self, payer: &Payer) -> Snapshot {
        self.engine.read(payer.channel).await.unwrap().expect("the channel is in the books").snapshot
    }

    /// A payer whose channel is open; nothing was paid yet.
    pub async fn payer(&self) -> Payer {
        let payer = Payer::new();
        let challenge = self.challenge("/v1/x").await;
        let header = payer.open(&challenge);
        let request = self.request(Method::HEAD, "/v1/x").header(AUTHORIZATION, header);
        let seen = self.send(request.body(full(Bytes::new())).unwrap()).await;
        assert_eq!(seen.status, 204, "{seen:?}");
        payer
    }
}

impl Seen {
    pub fn challenge(&self) -> Challenge {
        assert_eq!(self.status, 402, "{self:?}");
        let header = self.headers[WWW_AUTHENTICATE].to_str().unwrap();
        Challenge::parse_header(header).unwrap().remove(0)
    }

    pub fn receipt(&self) -> Receipt {
        Receipt::parse_header(self.headers["payment-receipt"].to_str().unwrap()).unwrap()
    }
}

/// A payer with one channel.
pub struct Payer {
    key: SigningKey,
    descriptor: v2::Descriptor,
    pub channel: ChannelId,
}

impl Payer {
    fn new() -> Self {
        let key = SigningKey::from_slice(&[1; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let descriptor = v2::Descriptor {
            payer: Address::from_raw_public_key(&point.as_bytes()[1..]),
            payee: PAYEE.parse().unwrap(),
            operator: Address::ZERO,
            token: TOKEN.parse().unwrap(),
            salt: B256::repeat_byte(1),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(2),
        };
        Self { channel: descriptor.channel_id(CHAIN, v2::CHANNEL_RESERVE), key, descriptor }
    }

    fn fields(&self, amount: u128) -> VoucherFields {
        let cumulative = Amount::new(amount);
        let domain = AnyDomain::new(ProtocolVersion::V2, CHAIN, v2::CHANNEL_RESERVE);
        let digest =
            domain.digest(&Voucher { channel_id: self.channel, cumulative_amount: cumulative }).unwrap();
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut signature = signature.to_bytes().to_vec();
        signature.push(27 + u8::from(recovery.is_y_odd()));
        VoucherFields { channel: self.channel, cumulative, signature, descriptor: Some(self.descriptor) }
    }

    fn open(&self, challenge: &Challenge) -> String {
        let open = Open { voucher: self.fields(0), transaction: vec![1], authorized_signer: None };
        header(challenge, Payload::Open(open))
    }

    pub fn voucher(&self, challenge: &Challenge, amount: u128) -> String {
        header(challenge, Payload::Voucher(self.fields(amount)))
    }
}

fn header(challenge: &Challenge, payload: Payload) -> String {
    Credential { challenge: Echo::of(challenge), payload, source: None }.to_header()
}
