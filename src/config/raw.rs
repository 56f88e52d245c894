//! The configuration as it is written: text, before anything is believed.
//!
//! [`super::source`] fills these from the file and the environment; the modules beside it turn them
//! into the typed [`super::Config`]. Every key of the file is named here, with its default; a key that
//! is not named here is refused.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    pub server: Server,
    /// Only a server has one.
    pub upstream: Option<Upstream>,
    pub chain: Chain,
    pub payee: Payee,
    #[serde(default)]
    pub escrow: Escrow,
    #[serde(default)]
    pub voucher: Voucher,
    #[serde(default)]
    pub route: Vec<Route>,
    pub ledger: Ledger,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub risk: Risk,
    #[serde(default)]
    pub settlement: Settlement,
    #[serde(default)]
    pub sponsor: Sponsor,
    #[serde(default)]
    pub books: Books,
    #[serde(default)]
    pub local: Local,
    pub webhook: Option<Webhook>,
    pub stripe: Option<Stripe>,
    pub x402: Option<X402>,
    pub discovery: Option<Discovery>,
}

/// `[server]`: where Farebox listens, and what it calls itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// Paid traffic. Port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Health, readiness, metrics and the read-only view of the books. Never expose it.
    #[serde(default = "default_admin_listen")]
    pub admin_listen: String,
    /// The protection space that challenges name; usually the public host name.
    pub realm: Option<String>,
    /// The key that binds challenges to this server; made when absent.
    #[serde(default = "default_challenge_key_file")]
    pub challenge_key_file: String,
    /// Keys from before a rotation, the newest first: their challenges are good until they expire.
    #[serde(default)]
    pub previous_challenge_key_files: Vec<String>,
    /// The certificate chain (PEM) for TLS; absent: plain HTTP.
    pub tls_cert_file: Option<String>,
    /// Its key (PEM).
    pub tls_key_file: Option<String>,
    /// Whether paid traffic may come without TLS on an address that is not loopback.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// The key that permits actions of the admin API; absent: there are none.
    pub admin_key_file: Option<String>,
    /// How long a challenge is good. Longer than the longest stream: vouchers in mid-stream reuse it.
    #[serde(default = "default_challenge_lifetime_s")]
    pub challenge_lifetime_s: u64,
    /// How long running requests may take to end after a signal to stop.
    #[serde(default = "default_drain_s")]
    pub drain_s: u64,
    /// A Unix socket (mode 0600) at which `serve --take-over` gets this server's listening sockets; absent: none.
    pub handover_socket: Option<String>,
    /// How long a server that took over waits for the one before it to close the books.
    #[serde(default = "default_takeover_wait_s")]
    pub takeover_wait_s: u64,
    /// Whether `X-Forwarded-*` of the client side is believed (a proxy of yours stands in front).
    #[serde(default)]
    pub trust_forwarded_headers: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: default_listen(),
            admin_listen: default_admin_listen(),
            realm: None,
            challenge_key_file: default_challenge_key_file(),
            previous_challenge_key_files: Vec::new(),
            tls_cert_file: None,
            tls_key_file: None,
            allow_plain_http: false,
            admin_key_file: None,
            challenge_lifetime_s: default_challenge_lifetime_s(),
            drain_s: default_drain_s(),
            handover_socket: None,
            takeover_wait_s: default_takeover_wait_s(),
            trust_forwarded_headers: false,
        }
    }
}

/// `[upstream]`: the service that is paid for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    /// Its base URL; a path in it is put before the request's path.
    pub url: String,
    /// How long a connection may take to come up.
    #[serde(default = "default_connect_timeout_s")]
    pub connect_timeout_s: u64,
    /// How long the upstream may take until its response headers.
    #[serde(default = "default_response_timeout_s")]
    pub response_timeout_s: u64,
    /// How long a response body may pause.
    #[serde(default = "default_idle_timeout_s")]
    pub idle_timeout_s: u64,
}

/// `[chain]`: which chain, and who tells about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    /// RPC endpoints, tried in order.
    pub rpc: Vec<String>,
    /// How many of them must say the same where money is decided.
    #[serde(default = "default_rpc_quorum")]
    pub rpc_quorum: u64,
    /// A WebSocket of a node that tells of new blocks, so that nobody waits for the next look. Absent: the nodes are asked twice a second.
    pub heads: Option<String>,
    /// How many blocks must follow one before its events count. Tempo's blocks are final.
    #[serde(default)]
    pub confirm_blocks: u64,
    /// The chain id that they must report.
    pub id: u64,
    /// A block explorer, for links on the dashboard: its pages are `address/`, `block/` and `tx/` below this.
    pub explorer_url: Option<String>,
}

/// `[payee]`: who is paid, in what, and with which key the claims are signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payee {
    pub address: String,
    pub token: String,
    /// The key that signs settle and close; the environment variable `FAREBOX_PAYEE_KEY` wins over it.
    pub key_file: Option<String>,
    /// The key in a key management service that does so instead (a build with the feature `kms-aws` or `kms-gcp`).
    pub kms: Option<String>,
    /// Advertised, and demanded in descriptors (rule 11).
    pub operator: Option<String>,
}

/// `[escrow]`: the contracts that hold deposits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Escrow {
    #[serde(default = "default_reserve")]
    pub v2: String,
    /// Absent: v1 is off.
    pub v1: Option<String>,
}

impl Default for Escrow {
    fn default() -> Self {
        Self { v2: default_reserve(), v1: None }
    }
}

/// `[voucher]`: what is asked of vouchers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Voucher {
    /// The least by which a new voucher must raise the accepted amount.
    #[serde(default = "default_delta_min")]
    pub delta_min: String,
    /// How long a stream that ran out of money waits for a voucher.
    #[serde(default = "default_need_voucher_wait_s")]
    pub need_voucher_wait_s: u64,
}

impl Default for Voucher {
    fn default() -> Self {
        Self { delta_min: default_delta_min(), need_voucher_wait_s: default_need_voucher_wait_s() }
    }
}

/// `[[route]]`: which paths cost what. The first that matches decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub path: String,
    /// Absent: every method.
    pub methods: Option<Vec<String>>,
    /// True: passed through without payment.
    #[serde(default)]
    pub free: bool,
    /// The price of one unit, in base units.
    pub amount: Option<String>,
    /// What one unit is called.
    pub unit: Option<String>,
    /// How requests come: `http` (absent), `websocket` or `mcp`.
    pub transport: Option<String>,
    /// `request`, `sse_event`, `bytes`, `openai_usage`, `header` or `websocket_message`.
    pub meter: Option<String>,
    /// `bytes`: how many are one unit.
    pub bytes_per_unit: Option<u64>,
    /// `openai_usage`: how much a token of the prompt weighs.
    pub input_weight: Option<u64>,
    /// `openai_usage`: how much a token of the answer weighs.
    pub output_weight: Option<u64>,
    /// `openai_usage`: the weight of one unit.
    pub tokens_per_unit: Option<u64>,
    /// `header`: the response header that says how many units an answer is.
    pub units_header: Option<String>,
    /// How many units are set aside before the upstream is asked.
    pub reserve_units: Option<u64>,
    /// Other tokens that are taken, each with its price.
    pub tokens: Option<Vec<TokenPrice>>,
    /// Whether a challenge holds for one request body alone.
    #[serde(default)]
    pub bind_body: bool,
    /// Words of the server that clients repeat.
    pub opaque: Option<BTreeMap<String, String>>,
    /// What a client is advised to deposit, in base units.
    pub suggested_deposit: Option<String>,
    /// What one request costs who pays it by a transfer on chain, in base units; absent: sessions alone.
    pub charge: Option<String>,
    /// What one request costs who pays it with Stripe, in the smallest unit of `stripe.currency`; absent: not by Stripe.
    pub stripe: Option<String>,
    /// What one request costs who pays it by x402, in base units of `x402.token`; absent: not by x402.
    pub x402: Option<String>,
    /// Words for people, shown with the price.
    pub description: Option<String>,
    /// Whether the sponsor pays the fees of `open` and `topUp` here.
    #[serde(default = "default_sponsored")]
    pub sponsored: bool,
    /// Whether an empty `POST` is a paid request here, and not the delivery of a voucher.
    #[serde(default)]
    pub paid_empty_post: bool,
}

/// An entry of `route[].tokens`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenPrice {
    /// The TIP-20 token.
    pub token: String,
    /// The price of one unit in it, in base units.
    pub amount: String,
    /// What a client is advised to deposit in it.
    pub suggested_deposit: Option<String>,
}

/// `[ledger]`: where the books are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// `rocksdb`, or `memory` (tests only).
    pub kind: String,
    /// The directory of the books.
    pub path: Option<String>,
    /// Says that losing the books at every restart is wanted; `memory` demands it.
    #[serde(default)]
    pub allow_volatile: bool,
}

/// `[limits]`: the named bounds of the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Open client connections.
    pub connections_max: u64,
    /// Bytes of a request's head: line and headers.
    pub request_head_bytes_max: u64,
    /// How long a request's head may take to arrive.
    pub request_head_timeout_s: u64,
    /// Bytes of a request's body.
    pub request_body_bytes_max: u64,
    /// How long a request's body may pause.
    pub request_body_timeout_s: u64,
    /// Open connections of one client address; 0 is no limit. Loopback has none.
    pub connections_per_address_max: u64,
    /// Failed credentials of one client address that are forgiven each minute; 0 is no limit.
    pub failures_per_minute_max: u64,
    /// How many of them may come at once.
    pub failure_burst_max: u64,
    /// Requests of one client address, and paid ones of one channel, that may come in a minute; 0 is no limit.
    pub requests_per_minute_max: u64,
    /// How many of them may come at once.
    pub request_burst_max: u64,
    /// Threads that verify and keep the books; 0 takes half of the cores.
    pub shards: u64,
    /// Vouchers that may wait for one shard; beyond it clients hear 503.
    pub intake_max: u64,
    /// Vouchers that are verified in one batch.
    pub batch_vouchers_max: u64,
    /// Memory for channels: about 350 bytes each, and 2 KB for those that come often.
    pub resident_bytes_max: u64,
    /// Memory for tables of signers' keys: 41 KB a signer, 136 KB for one that comes often.
    pub signer_tables_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            request_head_bytes_max: 64 * 1024,
            request_head_timeout_s: 15,
            request_body_bytes_max: 10 * 1024 * 1024,
            request_body_timeout_s: 30,
            connections_per_address_max: 1_000,
            failures_per_minute_max: 120,
            failure_burst_max: 60,
            requests_per_minute_max: 0,
            request_burst_max: 600,
            shards: 0,
            intake_max: 8_192,
            batch_vouchers_max: 1_024,
            resident_bytes_max: 1 << 30,
            signer_tables_bytes_max: 256 << 20,
        }
    }
}

/// `[books]`: how long the books keep what is over.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Books {
    /// How long a retry of a finished paid request gets its first answer.
    pub outcome_age_s_max: u64,
    /// Days after which no more than a tombstone is kept of a channel that closed; 0 keeps all of it for ever.
    pub retention_days: u64,
    /// Days of the journal that stay behind a checkpoint; 0 asks for none.
    pub journal_keep_days: u64,
    /// Frames of the journal that stay behind a checkpoint; 0 asks for none.
    pub journal_keep_frames: u64,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            outcome_age_s_max: farebox_core::channel::OUTCOME_AGE_S_MAX_DEFAULT,
            retention_days: 30,
            journal_keep_days: 0,
            journal_keep_frames: 0,
        }
    }
}

/// `[risk]`: what the operator risks at most. Amounts are in base units; zero turns a limit off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Risk {
    /// The least deposit of a new channel.
    pub deposit_min: String,
    /// How often a channel may hand in a higher voucher.
    pub vouchers_per_second_max: u64,
    /// How many of them may come at once.
    pub voucher_burst_max: u64,
    /// What counts as unsettled: what was `spent`, or what was `accepted`.
    pub unsettled_basis: String,
    /// The most unsettled value of one payer.
    pub unsettled_payer_max: String,
    /// The most unsettled value of all payers.
    pub unsettled_total_max: String,
    /// How long spent value may wait for its settlement.
    pub unsettled_age_s_max: u64,
    /// Who may not pay.
    pub deny: Vec<AccessEntry>,
    /// Who alone may pay; empty lets everybody.
    pub allow: Vec<AccessEntry>,
}

impl Default for Risk {
    fn default() -> Self {
        Self {
            deposit_min: "0".into(),
            vouchers_per_second_max: 10,
            voucher_burst_max: 20,
            unsettled_basis: "spent".into(),
            unsettled_payer_max: "0".into(),
            unsettled_total_max: "0".into(),
            unsettled_age_s_max: 0,
            deny: Vec::new(),
            allow: Vec::new(),
        }
    }
}

/// `[settlement]`: when value is claimed on chain. Amounts are in base units; zero turns a reason off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settlement {
    /// Settle a channel when this much waits.
    pub amount_min: String,
    /// Settle a channel when something waits for this long.
    pub age_s_max: u64,
    /// Settle a channel when this many delivered units wait.
    pub units_max: u64,
    /// Settle the largest when more than this waits in all channels.
    pub unsettled_max: String,
    /// Close a channel that nobody used for this long.
    pub idle_close_s: u64,
    /// What a claim that nobody demands must bring, in percent of its fee.
    pub profit_percent_min: u64,
    /// In which token fees are paid; absent: the channel's own.
    pub fee_token: Option<String>,
    /// The most that a unit of gas may cost, in 10^-18 dollars.
    pub gas_price_max: u64,
    /// What the block's proposer is offered for it when nothing presses.
    pub priority_fee: u64,
    /// Claims in one transaction.
    pub batch_claims_max: u64,
    /// Gas of one transaction.
    pub batch_gas_max: u64,
    /// Transactions that are under way at the same time.
    pub batches_in_flight_max: u64,
}

impl Default for Settlement {
    fn default() -> Self {
        Self {
            amount_min: "0".into(),
            age_s_max: 86_400,
            units_max: 0,
            unsettled_max: "0".into(),
            idle_close_s: 30 * 86_400,
            profit_percent_min: 1_000,
            fee_token: None,
            gas_price_max: 1_000_000_000_000,
            priority_fee: 1_000_000_000,
            batch_claims_max: 32,
            batch_gas_max: 30_000_000,
            batches_in_flight_max: 8,
        }
    }
}

/// `[sponsor]`: who pays the fees of clients' opens and top-ups; without a key file nobody does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sponsor {
    /// The key of the account that pays; absent: clients pay.
    pub key_file: Option<String>,
    /// In which token it pays; absent: the payee's.
    pub fee_token: Option<String>,
    /// The most gas of one transaction.
    pub gas_max: u64,
    /// The most that a unit of gas may cost, in 10^-18 dollars.
    pub gas_price_max: u64,
    /// The most that one transaction may cost, in base units of the fee token.
    pub fee_max: String,
    /// How far ahead a transaction may be valid.
    pub valid_for_s_max: u64,
    /// The most that is paid for one payer within an hour, in base units of the fee token.
    pub budget_per_payer_per_hour: String,
    /// The most that is paid within an hour.
    pub budget_per_hour: String,
}

impl Default for Sponsor {
    fn default() -> Self {
        Self {
            key_file: None,
            fee_token: None,
            gas_max: 4_000_000,
            gas_price_max: 100_000_000_000,
            fee_max: "100000".into(),
            valid_for_s_max: 300,
            budget_per_payer_per_hour: "500000".into(),
            budget_per_hour: "10000000".into(),
        }
    }
}

/// `[local]`: the engine's API for services beside Farebox.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Local {
    /// A Unix socket (mode 0600); absent: none.
    pub socket: Option<String>,
    /// A TCP address, for which a key is needed; absent: none.
    pub listen: Option<String>,
    /// The key that TCP clients show; made when absent.
    pub key_file: String,
    /// Says that an address beyond the loopback interface is wanted.
    pub allow_remote: bool,
    /// Open connections.
    pub connections_max: u64,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            socket: None,
            listen: None,
            key_file: "local.key".into(),
            allow_remote: false,
            connections_max: 256,
        }
    }
}

/// `[discovery]`: what `/openapi.json` says to who looks for a service to pay; absent: there is no such document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Discovery {
    /// The name of the service; absent: the realm.
    pub title: Option<String>,
    /// The version of its interface.
    #[serde(default = "default_discovery_version")]
    pub version: String,
    /// What kind of service it is.
    #[serde(default)]
    pub categories: Vec<String>,
    /// Where people read about it.
    pub homepage: Option<String>,
    /// Where its interface is described.
    pub api_reference: Option<String>,
    /// Where it is described for language models.
    pub llms: Option<String>,
    /// The path of the upstream's own OpenAPI document: its operations that are routed are shown, with their prices.
    pub upstream_document: Option<String>,
}

fn default_discovery_version() -> String {
    "1.0.0".into()
}

/// `[webhook]`: who is told about money; absent: nobody.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    /// Where events are sent.
    pub url: String,
    /// The key that signs them.
    pub key_file: String,
    /// Whether vouchers and charges are told as well.
    #[serde(default)]
    pub vouchers: bool,
}

/// `[stripe]`: charges by Stripe, for clients without a session; absent: none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stripe {
    /// The secret key of the account. The environment variable FAREBOX_STRIPE_SECRET_KEY wins over it.
    pub secret_key_file: String,
    /// The profile in Stripe's business network that clients make their tokens for.
    pub network_id: String,
    /// What may be paid with. Kinds that pay at once only: one that pays later is not served.
    #[serde(default = "default_payment_method_types")]
    pub payment_method_types: Vec<String>,
    /// The currency of `stripe` of all routes.
    #[serde(default = "default_stripe_currency")]
    pub currency: String,
    /// Another address than Stripe's own, which gets the secret key.
    pub api_url: Option<String>,
}

fn default_payment_method_types() -> Vec<String> {
    vec!["card".into(), "link".into()]
}

fn default_stripe_currency() -> String {
    "usd".into()
}

/// `[x402]`: authorizations for a token on another chain (EIP-3009), which clients of x402 can pay with; absent: none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct X402 {
    /// Who sends authorizations to their chain, and says whether the money moved: it is trusted with that.
    pub facilitator_url: String,
    /// Where clients see this server. A payment names the URL that it is for.
    pub origin: String,
    /// The token's chain (8453 is Base, 84532 its testnet).
    pub chain_id: u64,
    /// The token: one that takes such authorizations, as USDC does.
    pub token: String,
    /// The name in the token's EIP-712 domain.
    pub token_name: String,
    /// The version in the token's EIP-712 domain.
    pub token_version: String,
    /// The token's digits behind the point, for clients that show amounts.
    #[serde(default = "default_decimals")]
    pub decimals: u64,
    /// Who is paid there; absent: `payee.address`.
    pub payee: Option<String>,
}

const fn default_decimals() -> u64 {
    6
}

/// An entry of `risk.deny` or `risk.allow`: one of payer, signer and channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessEntry {
    pub payer: Option<String>,
    pub signer: Option<String>,
    pub channel: Option<String>,
    /// When it ends; absent: never.
    pub until: Option<String>,
}

const fn default_sponsored() -> bool {
    true
}

const fn default_rpc_quorum() -> u64 {
    1
}

fn default_listen() -> String {
    "127.0.0.1:8402".into()
}

fn default_admin_listen() -> String {
    "127.0.0.1:8403".into()
}

fn default_challenge_key_file() -> String {
    "challenge.key".into()
}

const fn default_challenge_lifetime_s() -> u64 {
    24 * 60 * 60
}

const fn default_drain_s() -> u64 {
    30
}

const fn default_takeover_wait_s() -> u64 {
    120
}

const fn default_connect_timeout_s() -> u64 {
    5
}

const fn default_response_timeout_s() -> u64 {
    120
}

const fn default_idle_timeout_s() -> u64 {
    120
}

const fn default_need_voucher_wait_s() -> u64 {
    60
}

fn default_reserve() -> String {
    "0x4d50500000000000000000000000000000000000".into()
}

fn default_delta_min() -> String {
    "0".into()
}
