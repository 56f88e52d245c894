//! A server with books in memory, a chain that is a script, and clients that sign.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use farebox_core::challenge::credential::{Open, TopUp, VoucherFields};
use farebox_core::challenge::{
    Challenge, ChallengeKey, ChallengeKeys, Credential, Echo, Payload, Realm, Receipt,
};
use farebox_core::channel::{ChainPosition, Claim, Identity, Snapshot, Terms};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::{AnyDomain, ProtocolVersion, Voucher, v1, v2};
use farebox_engine::chain::{
    BoxFuture, Chain, ChainRefusal, ChargeOrder, ClaimedTerms, CloseFailure, ClosedOnChain, OpenRequest,
    OpenedOnChain, TopUpRequest, ToppedUpOnChain,
};
use farebox_engine::clock::ManualClock;
use farebox_engine::http::{Asked, Decision, Door, DoorBody, DoorConfig, Escrow, Paid, Route};
use farebox_engine::ledger::Ledger;
use farebox_engine::{Channel, Config, Engine, MemoryLedger};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use k256::ecdsa::SigningKey;
use parking_lot::Mutex;

pub const CHAIN: ChainId = ChainId(31337);
pub const PAYEE: Address = Address::repeat_byte(0x70);
pub const TOKEN: Address = Address::repeat_byte(0x20);
pub const ESCROW_V1: Address = Address::repeat_byte(0xE7);
pub const PRICE: Amount = Amount::new(100);
/// Who pays the double's charges.
pub const CHARGED: Address = Address::repeat_byte(0xC4);
pub const REALM: &str = "test.local";
pub const SECRET: [u8; 32] = [7; 32];
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// A chain that does what it is told, and counts.
#[derive(Default)]
pub struct ChainDouble {
    pub opens: AtomicUsize,
    pub top_ups: AtomicUsize,
    pub charges: Mutex<Vec<ChargeOrder>>,
    pub fail_charge: Mutex<Option<ChainRefusal>>,
    /// Whether the last open or top-up was promised a sponsor.
    pub was_sponsored: Mutex<Option<bool>>,
    pub claims: Mutex<Vec<Claim>>,
    /// The next answers of each kind, if not success.
    pub fail_open: Mutex<Option<ChainRefusal>>,
    pub fail_top_up: Mutex<Option<ChainRefusal>>,
    pub fail_close: Mutex<Option<CloseFailure>>,
    /// How long everything takes.
    pub takes: Mutex<Duration>,
    /// Terms that a v1 transaction would carry.
    pub v1_terms: Mutex<HashMap<ChannelId, v1::Terms>>,
    deposits: Mutex<HashMap<ChannelId, Amount>>,
}

/// A transaction of the double: it says how much it deposits.
pub fn transaction(deposit: u128) -> Vec<u8> {
    format!("deposit {deposit}").into_bytes()
}

fn deposit_of(transaction: &[u8]) -> Result<Amount, ChainRefusal> {
    let text = std::str::from_utf8(transaction).ok().and_then(|text| text.strip_prefix("deposit "));
    let amount = text.and_then(|text| text.parse().ok());
    amount.ok_or_else(|| ChainRefusal::BadTransaction { what: "it is no transaction of the double".into() })
}

impl ChainDouble {
    async fn time_passes(&self) {
        let takes = *self.takes.lock();
        tokio::time::sleep(takes).await;
    }
}

impl Chain for ChainDouble {
    fn open(&self, request: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>> {
        Box::pin(async move {
            if let ClaimedTerms::V1 { authorized_signer: Some(signer) } = request.terms {
                // What the chain's side sees in the transaction, before it broadcasts.
                if self.v1_terms.lock()[&request.channel].expected_signer() != signer {
                    return Err(ChainRefusal::BadTransaction { what: "another signer".into() });
                }
            }
            self.opens.fetch_add(1, Ordering::SeqCst);
            *self.was_sponsored.lock() = Some(request.is_sponsored);
            self.time_passes().await;
            if let Some(refusal) = self.fail_open.lock().take() {
                return Err(refusal);
            }
            let deposit = deposit_of(&request.transaction)?;
            if deposit < request.deposit_min {
                return Err(ChainRefusal::DepositTooSmall { deposit, minimum: request.deposit_min });
            }
            let terms = match &request.terms {
                ClaimedTerms::V2(descriptor) => Terms::V2(*descriptor),
                ClaimedTerms::V1 { .. } => Terms::V1(self.v1_terms.lock()[&request.channel]),
            };
            let identity = Identity { chain_id: CHAIN, escrow: request.escrow, terms };
            self.deposits.lock().insert(request.channel, deposit);
            let position = ChainPosition { block: 1, log_index: 0 };
            Ok(OpenedOnChain {
                identity,
                deposit,
                settled: Amount::ZERO,
                position,
                tx_hash: B256::repeat_byte(0x0A),
            })
        })
    }

    fn top_up(&self, request: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>> {
        Box::pin(async move {
            self.top_ups.fetch_add(1, Ordering::SeqCst);
            *self.was_sponsored.lock() = Some(request.is_sponsored);
            self.time_passes().await;
            if let Some(refusal) = self.fail_top_up.lock().take() {
                return Err(refusal);
            }
            let mut deposits = self.deposits.lock();
            let deposit = deposits[&request.channel].checked_add(request.additional_deposit).unwrap();
            deposits.insert(request.channel, deposit);
            let position = ChainPosition { block: 2, log_index: 0 };
            Ok(ToppedUpOnChain { deposit, cancels_close: true, position, tx_hash: B256::repeat_byte(0x0B) })
        })
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Result<B256, ChainRefusal>> {
        Box::pin(async move {
            self.time_passes().await;
            if !(order.may_pay)(CHARGED) {
                return Err(ChainRefusal::BadTransaction { what: "its account may not pay here".into() });
            }
            self.charges.lock().push(order);
            self.fail_charge.lock().take().map_or(Ok(B256::repeat_byte(0x0C)), Err)
        })
    }

    fn close(
        &self,
        channel: ChannelId,
        _: Arc<Identity>,
        claim: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>> {
        Box::pin(async move {
            self.claims.lock().push(claim.clone());
            self.time_passes().await;
            if let Some(failure) = self.fail_close.lock().take() {
                return Err(failure);
            }
            let refunded = self.deposits.lock()[&channel].checked_sub(claim.capture).unwrap();
            let position = ChainPosition { block: 3, log_index: 0 };
            Ok(ClosedOnChain {
                captured: claim.capture,
                refunded,
                position,
                tx_hash: B256::repeat_byte(0x0C),
            })
        })
    }
}

/// A whole server.
pub struct World {
    pub engine: Engine,
    pub chain: Arc<ChainDouble>,
    pub clock: Arc<ManualClock>,
    pub door: Door,
    pub route: Route,
}

/// What a client saw of an answer.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

pub fn keys() -> ChallengeKeys {
    ChallengeKeys::new(ChallengeKey::new(&SECRET).unwrap())
}

pub fn config(operator: Address) -> DoorConfig {
    let mut config = DoorConfig::new(Realm::new(REALM).unwrap(), keys(), PAYEE, TOKEN)
        .escrow(Escrow {
            protocol: ProtocolVersion::V2,
            chain_id: CHAIN,
            address: v2::CHANNEL_RESERVE,
            operator,
        })
        .escrow(Escrow {
            protocol: ProtocolVersion::V1,
            chain_id: CHAIN,
            address: ESCROW_V1,
            operator: Address::ZERO,
        });
    config.need_voucher_wait_ms_max = 400;
    config.close_wait_ms_max = 400;
    config
}

impl World {
    pub fn new() -> Self {
        Self::with(config(Address::ZERO), Config::default())
    }

    pub fn with(config: DoorConfig, engine: Config) -> Self {
        Self::on(MemoryLedger::default(), config, engine)
    }

    /// Books on this ledger.
    pub fn on(ledger: impl Ledger, config: DoorConfig, engine: Config) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let engine = Engine::start(engine, ledger, Arc::clone(&clock)).unwrap();
        let chain = Arc::new(ChainDouble::default());
        let door = Door::new(engine.clone(), Arc::clone(&chain) as _, config, Arc::clone(&clock) as _);
        Self { engine, chain, clock, door, route: Route::per_request(PRICE) }
    }

    /// All that the books hold, to see that nothing changed.
    pub async fn books(&self) -> Vec<Channel> {
        self.engine.channels().await.unwrap()
    }

    pub async fn snapshot(&self, channel: ChannelId) -> Snapshot {
        self.engine.read(channel).await.unwrap().unwrap().snapshot
    }

    pub async fn decide(&self, method: Method, headers: &HeaderMap, route: &Route) -> Decision {
        let body_is_empty = method == Method::GET || method == Method::HEAD;
        self.door
            .decide(
                Asked {
                    method: &method,
                    headers,
                    body_is_empty,
                    body_digest: None,
                    target: Some("/v1/quote?n=1"),
                    address: None,
                },
                route,
            )
            .await
    }

    /// A request that must be answered by the door.
    pub async fn answer(&self, method: Method, headers: HeaderMap) -> Seen {
        match self.decide(method, &headers, &self.route).await {
            Decision::Answer(answer) => seen(answer).await,
            Decision::Paid(paid) => panic!("served: {paid:?}"),
            Decision::Charged(charged) => panic!("served: {charged:?}"),
        }
    }

    /// A request that must be paid.
    pub async fn paid(&self, header: &str) -> Paid {
        match self.decide(Method::GET, &authorization(header), &self.route).await {
            Decision::Paid(paid) => paid,
            Decision::Charged(charged) => panic!("charged: {charged:?}"),
            Decision::Answer(answer) => panic!("{:?}", seen(answer).await),
        }
    }

    /// A GET from the client's side: the service answers `hello`.
    pub async fn get(&self, header: &str) -> Seen {
        self.serve(Method::GET, authorization(header)).await
    }

    pub async fn serve(&self, method: Method, headers: HeaderMap) -> Seen {
        match self.decide(method, &headers, &self.route).await {
            Decision::Answer(answer) => seen(answer).await,
            Decision::Paid(paid) => seen(paid.deliver(hello()).await).await,
            Decision::Charged(charged) => seen(charged.deliver(hello()).await).await,
        }
    }

    /// Fresh challenges for the world's route.
    pub async fn challenges(&self) -> Vec<Challenge> {
        self.answer(Method::GET, HeaderMap::new()).await.challenges()
    }

    pub async fn challenge(&self, protocol: ProtocolVersion) -> Challenge {
        let challenges = self.challenges().await;
        let speaks = |challenge: &Challenge| challenge.decode_request().unwrap().details.protocol == protocol;
        challenges.into_iter().find(speaks).unwrap()
    }
}

pub fn hello() -> Result<Response<http_body_util::Full<Bytes>>, std::convert::Infallible> {
    Ok(Response::new(http_body_util::Full::new(Bytes::from_static(b"hello"))))
}

pub fn authorization(header: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
    headers
}

pub fn with(mut headers: HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    headers
}

/// The headers of a request without a body.
pub fn empty(headers: HeaderMap) -> HeaderMap {
    with(headers, CONTENT_LENGTH.as_str().to_owned().leak(), "0")
}

pub async fn seen(answer: Response<DoorBody>) -> Seen {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Seen { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn challenges(&self) -> Vec<Challenge> {
        let values = self.headers.get_all(WWW_AUTHENTICATE).iter();
        values.flat_map(|value| Challenge::parse_header(value.to_str().unwrap()).unwrap()).collect()
    }

    pub fn receipt(&self) -> Receipt {
        assert!((200..300).contains(&self.status), "{self:?}");
        Receipt::parse_header(self.header("payment-receipt").unwrap()).unwrap()
    }

    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("payment-receipt"), None);
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem
    }

    /// Checks status and problem type; a 402 or 410 must offer a fresh challenge.
    #[track_caller]
    pub fn is(&self, status: u16, kind: &str) -> serde_json::Value {
        let problem = self.problem();
        let uri = problem["type"].as_str().unwrap();
        assert_eq!((self.status, uri.rsplit("problems/").next().unwrap()), (status, kind), "{problem}");
        let challenges = self.challenges();
        assert_eq!(!challenges.is_empty(), matches!(status, 402 | 410));
        if let Some(first) = challenges.first() {
            assert_eq!(problem["challengeId"], first.id);
        }
        assert!(StatusCode::from_u16(self.status).unwrap() != StatusCode::INTERNAL_SERVER_ERROR);
        problem
    }
}

/// A payer with one channel.
#[derive(Clone)]
pub struct Client {
    pub key: SigningKey,
    pub identity: Identity,
    pub channel: ChannelId,
}

pub fn address(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_sec1_point(false);
    Address::from_slice(&farebox_crypto::keccak256(&point.as_bytes()[1..])[12..])
}

impl Client {
    pub fn new(world: &World, protocol: ProtocolVersion, seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let payer = address(&key);
        let salt = B256::repeat_byte(seed);
        let (escrow, terms) = match protocol {
            ProtocolVersion::V1 => (
                ESCROW_V1,
                Terms::V1(v1::Terms { payer, payee: PAYEE, token: TOKEN, salt, authorized_signer: payer }),
            ),
            ProtocolVersion::V2 => (
                v2::CHANNEL_RESERVE,
                Terms::V2(v2::Descriptor {
                    payer,
                    payee: PAYEE,
                    operator: Address::ZERO,
                    token: TOKEN,
                    salt,
                    authorized_signer: Address::ZERO,
                    expiring_nonce_hash: B256::repeat_byte(0xEE),
                }),
            ),
        };
        let client = Self::of(key, Identity { chain_id: CHAIN, escrow, terms });
        if let Terms::V1(terms) = client.identity.terms {
            world.chain.v1_terms.lock().insert(client.channel, terms);
        }
        client
    }

    pub fn of(key: SigningKey, identity: Identity) -> Self {
        let channel = identity.channel_id();
        Self { key, identity, channel }
    }

    pub fn protocol(&self) -> ProtocolVersion {
        self.identity.protocol()
    }

    fn descriptor(&self) -> Option<v2::Descriptor> {
        match self.identity.terms {
            Terms::V1(_) => None,
            Terms::V2(descriptor) => Some(descriptor),
        }
    }

    pub fn fields(&self, amount: u128) -> VoucherFields {
        let cumulative = Amount::new(amount);
        let domain = AnyDomain::new(self.protocol(), CHAIN, self.identity.escrow);
        let digest =
            domain.digest(&Voucher { channel_id: self.channel, cumulative_amount: cumulative }).unwrap();
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_slice());
        let mut signature = signature.to_bytes().to_vec();
        signature.push(27 + u8::from(recovery.is_y_odd()));
        VoucherFields { channel: self.channel, cumulative, signature, descriptor: self.descriptor() }
    }

    pub fn open_payload(&self, deposit: u128, amount: u128) -> Open {
        let authorized_signer = match self.identity.terms {
            Terms::V1(terms) => Some(terms.authorized_signer),
            Terms::V2(_) => None,
        };
        Open { voucher: self.fields(amount), transaction: transaction(deposit), authorized_signer }
    }

    pub fn open(&self, challenge: &Challenge, deposit: u128, amount: u128) -> String {
        self.header(challenge, Payload::Open(self.open_payload(deposit, amount)))
    }

    pub fn voucher(&self, challenge: &Challenge, amount: u128) -> String {
        self.header(challenge, Payload::Voucher(self.fields(amount)))
    }

    pub fn close(&self, challenge: &Challenge, amount: u128) -> String {
        self.header(challenge, Payload::Close(self.fields(amount)))
    }

    pub fn top_up(&self, challenge: &Challenge, additional: u128) -> String {
        let payload = Payload::TopUp(TopUp {
            channel: self.channel,
            transaction: transaction(additional),
            additional_deposit: Amount::new(additional),
            descriptor: self.descriptor(),
        });
        self.header(challenge, payload)
    }

    pub fn header(&self, challenge: &Challenge, payload: Payload) -> String {
        Credential { challenge: Echo::of(challenge), payload, source: None }.to_header()
    }
}

/// A world with a client whose channel is open; the voucher for nothing was handed in.
pub async fn opened(protocol: ProtocolVersion, deposit: u128) -> (World, Client, Challenge) {
    opened_in(World::new(), protocol, deposit).await
}

pub async fn opened_in(world: World, protocol: ProtocolVersion, deposit: u128) -> (World, Client, Challenge) {
    let client = Client::new(&world, protocol, 1);
    let challenge = world.challenge(protocol).await;
    let headers = authorization(&client.open(&challenge, deposit, 0));
    let seen = world.answer(Method::HEAD, headers).await;
    assert_eq!(seen.status, 204, "{seen:?}");
    (world, client, challenge)
}
