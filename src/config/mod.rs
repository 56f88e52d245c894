//! The configuration: a TOML file, overridden by the environment, turned into types.
//!
//! [`Config::load`] is the only way in. It refuses what it does not understand, and says for everything that
//! is wrong the key's path, what was found and what is expected. It opens no key file and asks no chain: that
//! is [`crate::keys`] and [`crate::serve`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farebox_core::challenge::Realm;
use farebox_core::challenge::key::PREVIOUS_KEYS_MAX;
use farebox_core::units::{Address, Amount, ChainId};
use farebox_settlement::KmsKeyName;

mod books;
mod discovery;
mod expected;
mod limits;
mod local;
mod parse;
mod problem;
mod raw;
#[cfg(test)]
mod reference;
mod risk;
mod route;
mod settlement;
mod source;
mod sponsor;
mod stripe;
mod webhook;
mod x402;

pub use books::Books;
pub use discovery::Discovery;
pub use limits::Limits;
pub use local::Local;
pub use parse::{RpcUrl, UpstreamUrl};
pub use problem::ConfigError;
pub use route::{Fare, Found, Price, Route, Routes, Transport, read_path};
pub use settlement::Settlement;
pub use sponsor::Sponsor;
pub use stripe::Stripe;
pub use webhook::Webhook;
pub use x402::X402;

use expected::expected;
use problem::{Problems, quoted};
use raw::Raw;

/// The most bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most RPC endpoints.
pub const RPC_MAX: usize = 8;

/// Why a server's configuration has all of its parts.
pub const SERVES: &str = "a configuration that is read to serve has a realm and an upstream";

/// Everything the program is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[upstream]`; a server has one.
    pub upstream: Option<Upstream>,
    /// `[chain]`
    pub chain: Chain,
    /// `[payee]`
    pub payee: Payee,
    /// `[escrow]`
    pub escrow: Escrow,
    /// `[voucher]`
    pub voucher: Voucher,
    /// `[[route]]`
    pub routes: Routes,
    /// `[ledger]`
    pub ledger: Ledger,
    /// `[limits]`
    pub limits: Limits,
    /// `[books]`
    pub books: Books,
    /// `[risk]`
    pub risk: farebox_core::channel::Limits,
    /// `[settlement]`
    pub settlement: Settlement,
    /// `[sponsor]`; `None` when clients pay their fees.
    pub sponsor: Option<Sponsor>,
    /// `[local]`
    pub local: Local,
    /// `[discovery]`
    pub discovery: Option<Discovery>,
    /// `[webhook]`
    pub webhook: Option<Webhook>,
    /// `[stripe]`
    pub stripe: Option<Stripe>,
    /// `[x402]`
    pub x402: Option<X402>,
}

/// For what a configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `farebox serve`: needs a realm, an upstream and routes.
    Serve,
    /// Everything else: they may be there.
    Books,
}

/// Where Farebox listens, and what it calls itself.
#[derive(Clone, Debug)]
pub struct Server {
    /// Paid traffic.
    pub listen: SocketAddr,
    /// Health, readiness, metrics, the read-only view of the books.
    pub admin_listen: SocketAddr,
    /// The protection space that challenges name; a server has one.
    pub realm: Option<Realm>,
    /// The key that binds challenges.
    pub challenge_key_file: PathBuf,
    /// Keys from before a rotation, the newest first.
    pub previous_challenge_key_files: Vec<PathBuf>,
    /// Certificate and key for TLS; `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The key that permits actions of the admin API.
    pub admin_key_file: Option<PathBuf>,
    /// How long a challenge is good.
    pub challenge_lifetime: Duration,
    /// How long running requests may take to end.
    pub drain: Duration,
    /// Where the next process gets the listening sockets.
    pub handover_socket: Option<PathBuf>,
    /// How long this process waits for the books of the one before it.
    pub takeover_wait: Duration,
    /// Whether `X-Forwarded-*` of the client side is believed.
    pub trust_forwarded_headers: bool,
}

/// Where certificate and key for TLS are, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The service that is paid for.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its base URL.
    pub url: UpstreamUrl,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// How long it may take until its response headers.
    pub response_timeout: Duration,
    /// How long a response body may pause.
    pub idle_timeout: Duration,
}

/// Which chain, and who tells about it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// RPC endpoints, at least one.
    pub rpc: Vec<RpcUrl>,
    /// How many of them must agree where money is decided.
    pub rpc_quorum: usize,
    /// Where new blocks are told of over a WebSocket.
    pub heads: Option<RpcUrl>,
    /// How many blocks must follow one before its events count.
    pub confirm_blocks: u64,
    /// The chain id that they must report.
    pub id: ChainId,
    /// Where people look at it: a base URL.
    pub explorer: Option<String>,
}

/// Who is paid.
#[derive(Clone, Debug)]
pub struct Payee {
    /// The payee.
    pub address: Address,
    /// The TIP-20 token.
    pub token: Address,
    /// Where the key is that signs settle and close.
    pub key: PayeeKey,
    /// The operator that is advertised and demanded.
    pub operator: Option<Address>,
}

/// Where the key is that signs settle and close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayeeKey {
    /// In a file.
    File(PathBuf),
    /// In a key management service.
    Kms(KmsKeyName),
}

/// The contracts that hold deposits.
#[derive(Clone, Copy, Debug)]
pub struct Escrow {
    /// The channel reserve.
    pub v2: Address,
    /// The legacy escrow; `None` turns v1 off.
    pub v1: Option<Address>,
}

/// What is asked of vouchers.
#[derive(Clone, Copy, Debug)]
pub struct Voucher {
    /// The least raise.
    pub delta_min: Amount,
    /// How long a stream waits for one.
    pub need_voucher_wait: Duration,
}

/// Where the books are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// On disk, in this directory.
    RocksDb(PathBuf),
    /// In memory, lost at every restart: for tests.
    Memory,
}

impl Config {
    /// Reads the file, puts the variables over it, and checks everything that can be checked without a key
    /// file, a chain or a network. Relative paths are taken from the file's directory.
    pub fn load(
        path: &Path,
        purpose: Purpose,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let unreadable = |cause| ConfigError::Unreadable { path: path.into(), cause };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > CONFIG_BYTES_MAX {
            let what = format!("{bytes} bytes, at most {CONFIG_BYTES_MAX} are read");
            return Err(unreadable(std::io::Error::other(what)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse_for(path, purpose, &text, environment)
    }

    /// [`Config::load`] of a text that was read from `path`, for a server.
    #[cfg(test)]
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::parse_for(path, Purpose::Serve, text, environment)
    }

    /// [`Config::load`] of a text that was read from `path`.
    pub fn parse_for(
        path: &Path,
        purpose: Purpose,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let source::Loaded { raw, mut problems } = source::merge(path, text, environment)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let config = Self::check(&raw, purpose, directory, &mut problems);
        match (config, problems.into_vec()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError::Invalid { path: path.into(), problems }),
        }
    }

    fn check(raw: &Raw, purpose: Purpose, directory: &Path, problems: &mut Problems) -> Option<Self> {
        let serves = purpose == Purpose::Serve;
        let server = server(&raw.server, serves, directory, problems);
        let upstream = match &raw.upstream {
            Some(raw) => upstream(raw, problems).map(Some),
            None if serves => {
                problems.add("upstream", "nothing", expected("upstream"));
                None
            }
            None => Some(None),
        };
        let chain = chain(&raw.chain, problems);
        let payee = payee(&raw.payee, directory, problems);
        let escrow = escrow(&raw.escrow, problems);
        let voucher = voucher(&raw.voucher, problems);
        let routes = match raw.route.is_empty() && !serves {
            true => Some(Routes::default()),
            false => route::routes(&raw.route, problems),
        };
        let ledger = ledger(&raw.ledger, directory, problems);
        let limits = limits::limits(&raw.limits, problems);
        let books = books::books(&raw.books, problems);
        let risk = risk::risk(&raw.risk, problems);
        let settlement = settlement::settlement(&raw.settlement, problems);
        let token = payee.as_ref().map(|payee| payee.token);
        let sponsor = sponsor::sponsor(&raw.sponsor, token, directory, problems);
        let local = local::local(&raw.local, directory, problems);
        let discovery = discovery::discovery(raw.discovery.as_ref(), problems);
        let webhook = webhook::webhook(raw.webhook.as_ref(), directory, problems);
        let stripe = stripe::stripe(raw.stripe.as_ref(), directory, problems);
        let x402 = x402::x402(raw.x402.as_ref(), payee.as_ref().map(|payee| payee.address), problems);
        let tables = [("stripe", raw.stripe.is_some()), ("x402", raw.x402.is_some())];
        route::check_methods(&raw.route, &tables, problems);
        Some(Self {
            server: server?,
            upstream: upstream?,
            chain: chain?,
            payee: payee?,
            escrow: escrow?,
            voucher: voucher?,
            routes: routes?,
            ledger: ledger?,
            limits: limits?,
            books: books?,
            risk: risk?,
            settlement: settlement?,
            sponsor: sponsor?,
            local: local?,
            discovery: discovery?,
            webhook: webhook?,
            stripe: stripe?,
            x402: x402?,
        })
    }
}

fn server(raw: &raw::Server, serves: bool, directory: &Path, problems: &mut Problems) -> Option<Server> {
    let mut listen =
        |key: &str, value: &str| problems.check(key, value, expected(key), |text| text.parse().ok());
    let public = listen("server.listen", &raw.listen);
    let admin = listen("server.admin_listen", &raw.admin_listen);
    if let (Some(public), Some(admin)) = (public, admin)
        && same_place(public, admin)
    {
        let found = quoted(&raw.admin_listen);
        problems.add("server.admin_listen", found, "another address than server.listen");
    }
    let realm = match &raw.realm {
        Some(realm) => {
            problems.check("server.realm", realm, expected("server.realm"), parse::realm).map(Some)
        }
        None if serves => {
            problems.add("server.realm", "nothing", expected("server.realm"));
            None
        }
        None => Some(None),
    };
    let key_file = file("server.challenge_key_file", &raw.challenge_key_file, directory, problems);
    let previous = previous_keys(&raw.previous_challenge_key_files, directory, problems);
    let tls = tls(raw, directory, problems);
    if let (Some(public), Some(None)) = (public, &tls)
        && serves
        && !public.ip().is_loopback()
        && !raw.allow_plain_http
    {
        let expected = "a loopback address, or TLS by server.tls_cert_file and server.tls_key_file: credentials are \
                        money to who reads them; behind a proxy that does TLS, set server.allow_plain_http = true";
        problems.add("server.listen", quoted(&raw.listen), expected);
    }
    let admin_key_file = match &raw.admin_key_file {
        Some(path) => file("server.admin_key_file", path, directory, problems).map(Some),
        None => Some(None),
    };
    let lifetime =
        duration("server.challenge_lifetime_s", raw.challenge_lifetime_s, 60, 31_536_000, problems);
    let drain = duration("server.drain_s", raw.drain_s, 0, 3_600, problems);
    let handover = raw.handover_socket.as_deref();
    let handover = local::socket("server.handover_socket", handover, directory, problems);
    let takeover_wait = duration("server.takeover_wait_s", raw.takeover_wait_s, 1, 7_200, problems);
    Some(Server {
        listen: public?,
        admin_listen: admin?,
        realm: realm?,
        challenge_key_file: key_file?,
        previous_challenge_key_files: previous?,
        tls: tls?,
        admin_key_file: admin_key_file?,
        challenge_lifetime: lifetime?,
        drain: drain?,
        handover_socket: handover?,
        takeover_wait: takeover_wait?,
        trust_forwarded_headers: raw.trust_forwarded_headers,
    })
}

fn previous_keys(raw: &[String], directory: &Path, problems: &mut Problems) -> Option<Vec<PathBuf>> {
    const KEY: &str = "server.previous_challenge_key_files";
    if raw.len() > PREVIOUS_KEYS_MAX {
        problems.add(KEY, format!("{} paths", raw.len()), expected(KEY));
        return None;
    }
    let path = |(index, path): (usize, &String)| file(&format!("{KEY}[{index}]"), path, directory, problems);
    raw.iter().enumerate().map(path).collect()
}

fn tls(raw: &raw::Server, directory: &Path, problems: &mut Problems) -> Option<Option<TlsFiles>> {
    let (cert_key, key_key) = ("server.tls_cert_file", "server.tls_key_file");
    match (&raw.tls_cert_file, &raw.tls_key_file) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => {
            let cert = file(cert_key, cert, directory, problems);
            let key = file(key_key, key, directory, problems);
            Some(Some(TlsFiles { cert: cert?, key: key? }))
        }
        (Some(_), None) => {
            problems.add(key_key, "nothing", expected(key_key));
            None
        }
        (None, Some(_)) => {
            problems.add(cert_key, "nothing", expected(cert_key));
            None
        }
    }
}

fn same_place(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && one == other
}

fn upstream(raw: &raw::Upstream, problems: &mut Problems) -> Option<Upstream> {
    let url = problems
        .check("upstream.url", shown_url(&raw.url), expected("upstream.url"), |_| parse::upstream(&raw.url));
    let mut timeout = |key: &str, value| duration(key, value, 1, 86_400, problems);
    let connect = timeout("upstream.connect_timeout_s", raw.connect_timeout_s);
    let response = timeout("upstream.response_timeout_s", raw.response_timeout_s);
    let idle = timeout("upstream.idle_timeout_s", raw.idle_timeout_s);
    Some(Upstream { url: url?, connect_timeout: connect?, response_timeout: response?, idle_timeout: idle? })
}

/// More blocks than any chain takes back: later, close requests would be answered late.
const CONFIRM_BLOCKS_MAX: u64 = 64;

fn chain(raw: &raw::Chain, problems: &mut Problems) -> Option<Chain> {
    let mut rpc = Vec::with_capacity(raw.rpc.len());
    for (index, url) in raw.rpc.iter().enumerate() {
        let key = format!("chain.rpc[{index}]");
        rpc.extend(problems.check(&key, shown_url(url), expected(&key), |_| parse::rpc(url)));
    }
    if raw.rpc.is_empty() || raw.rpc.len() > RPC_MAX {
        problems.add("chain.rpc", format!("{} URLs", raw.rpc.len()), expected("chain.rpc"));
    }
    if raw.id == 0 {
        problems.add("chain.id", "0", expected("chain.id"));
    }
    let quorum = usize::try_from(raw.rpc_quorum).ok().filter(|count| (1..=raw.rpc.len()).contains(count));
    // Without nodes that is what is wrong.
    if quorum.is_none() && !raw.rpc.is_empty() {
        let (key, found) = ("chain.rpc_quorum", raw.rpc_quorum.to_string());
        problems.add(key, found, expected(key));
    }
    let confirm_blocks = raw.confirm_blocks;
    if confirm_blocks > CONFIRM_BLOCKS_MAX {
        problems.add("chain.confirm_blocks", confirm_blocks.to_string(), expected("chain.confirm_blocks"));
    }
    let heads = match &raw.heads {
        Some(url) => {
            let key = "chain.heads";
            problems.check(key, shown_url(url), expected(key), |_| parse::heads(url)).map(Some)
        }
        None => Some(None),
    };
    let key = "chain.explorer_url";
    let explorer = match &raw.explorer_url {
        Some(url) => problems
            .check(key, shown_url(url), expected(key), |_| parse::upstream(url))
            .map(|url| Some(url.to_string())),
        None => Some(None),
    };
    Some(Chain {
        rpc,
        rpc_quorum: quorum?,
        heads: heads?,
        confirm_blocks,
        id: ChainId(raw.id),
        explorer: explorer?,
    })
}

/// A URL as an error may show it: a bad one may hold an access key all the same.
fn shown_url(url: &str) -> &str {
    if url.contains('@') {
        return "(a URL with credentials, not shown)";
    }
    let scheme_end = url.find("://").map_or(0, |at| at + 3);
    let host_end = url[scheme_end..].find(['/', '?', '#']).map_or(url.len(), |at| scheme_end + at);
    &url[..host_end]
}

fn payee(raw: &raw::Payee, directory: &Path, problems: &mut Problems) -> Option<Payee> {
    let mut address = |key: &str, value: &str| problems.check(key, value, expected(key), parse::address);
    let payee = address("payee.address", &raw.address);
    let token = address("payee.token", &raw.token);
    let operator = match &raw.operator {
        Some(operator) => address("payee.operator", operator).map(Some),
        None => Some(None),
    };
    let key = payee_key(raw, directory, problems);
    Some(Payee { address: payee?, token: token?, key: key?, operator: operator? })
}

/// One key signs, and it is in one place.
fn payee_key(raw: &raw::Payee, directory: &Path, problems: &mut Problems) -> Option<PayeeKey> {
    let (file_key, kms_key) = ("payee.key_file", "payee.kms");
    match (&raw.key_file, &raw.kms) {
        (Some(path), None) => file(file_key, path, directory, problems).map(PayeeKey::File),
        (None, Some(name)) => {
            let read = |name: &str| name.parse().ok();
            problems.check(kms_key, name, expected(kms_key), read).map(PayeeKey::Kms)
        }
        (None, None) => {
            problems.add(file_key, "nothing", expected(file_key));
            None
        }
        (Some(_), Some(name)) => {
            problems.add(kms_key, quoted(name), "nothing beside payee.key_file: one key signs");
            None
        }
    }
}

fn escrow(raw: &raw::Escrow, problems: &mut Problems) -> Option<Escrow> {
    let mut address = |key: &str, value: &str| problems.check(key, value, expected(key), parse::address);
    let v2 = address("escrow.v2", &raw.v2);
    let v1 = match &raw.v1 {
        Some(v1) => address("escrow.v1", v1).map(Some),
        None => Some(None),
    };
    if v2.is_some() && v1 == Some(v2) {
        problems.add("escrow.v1", quoted(&raw.v2), "another address than escrow.v2");
    }
    Some(Escrow { v2: v2?, v1: v1? })
}

fn voucher(raw: &raw::Voucher, problems: &mut Problems) -> Option<Voucher> {
    let key = "voucher.delta_min";
    let delta_min = problems.check(key, &raw.delta_min, expected(key), parse::amount);
    let wait = duration("voucher.need_voucher_wait_s", raw.need_voucher_wait_s, 1, 3_600, problems);
    Some(Voucher { delta_min: delta_min?, need_voucher_wait: wait? })
}

fn ledger(raw: &raw::Ledger, directory: &Path, problems: &mut Problems) -> Option<Ledger> {
    match raw.kind.as_str() {
        "rocksdb" => match &raw.path {
            Some(path) => file("ledger.path", path, directory, problems).map(Ledger::RocksDb),
            None => {
                problems.add("ledger.path", "nothing", expected("ledger.path"));
                None
            }
        },
        "memory" if raw.allow_volatile => Some(Ledger::Memory),
        "memory" => {
            let expected = "\"rocksdb\"; books in memory are lost at every restart, and with them money: tests may \
                            set ledger.allow_volatile = true";
            problems.add("ledger.kind", "\"memory\"", expected);
            None
        }
        other => {
            problems.add("ledger.kind", quoted(other), expected("ledger.kind"));
            None
        }
    }
}

fn file(key: &str, value: &str, directory: &Path, problems: &mut Problems) -> Option<PathBuf> {
    problems.check(key, value, expected(key), |text| (!text.is_empty()).then(|| directory.join(text)))
}

fn duration(key: &str, value: u64, least: u64, most: u64, problems: &mut Problems) -> Option<Duration> {
    let duration = parse::seconds(value, least, most);
    if duration.is_none() {
        problems.add(key, value.to_string(), expected(key));
    }
    duration
}

#[cfg(test)]
mod tests;
