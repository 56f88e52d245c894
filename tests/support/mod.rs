//! One small world for each end-to-end test: a local chain, an upstream that streams tokens, and the real
//! program in front of it.
//!
//! The test programs `e2e_*.rs` start a [`World`], pay with [`client::Client`] (the published client, which
//! decides itself) or [`hand::Hand`] (the same client's parts, moved by the test), and compare what the client
//! saw with the books ([`World::channel`]) and the chain ([`chain::Chain`]). A world ends everything that it
//! started when it is dropped, also after a failed test, and then shows the program's log.

// Every test program takes the part that it needs.
#![allow(dead_code)]

use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use farebox_devnet::Account;
use mpp::protocol::methods::tempo::session::TempoSessionExt;
use mpp::{PaymentChallenge, SessionRequest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

pub mod balancer;
pub mod chain;
pub mod client;
pub mod config;
pub mod gate;
pub mod hand;
pub mod loads;
pub mod program;
pub mod upstream;

use chain::Chain;
use gate::Gate;
use program::Program;
use upstream::Upstream;

/// Price of one request, in base units.
pub const REQUEST_PRICE: u128 = 1_000;
/// Price of one event of a stream, in base units.
pub const TOKEN_PRICE: u128 = 25;
/// What clients are advised to deposit, in base units. Small, so that streams have to top up.
pub const SUGGESTED_DEPOSIT: u128 = 10_000;

/// Worlds at once in one test program: each runs a chain and a server, and tests shall not wait for processors.
const WORLDS_MAX: usize = 2;
/// How long [`until`] waits.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks of [`until`].
const LOOK_EVERY: Duration = Duration::from_millis(25);

static WORLDS: Semaphore = Semaphore::const_new(WORLDS_MAX);

/// Which session protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The legacy escrow.
    V1,
    /// The channel reserve.
    V2,
}

impl Protocol {
    /// Whether a challenge asks for a payment in this protocol.
    pub fn is_asked_by(self, challenge: &PaymentChallenge) -> bool {
        let request: SessionRequest = good("a session request", challenge.request.decode());
        // No word about the protocol means the legacy one.
        let asked = if request.session_protocol().as_deref() == Some("v2") { Self::V2 } else { Self::V1 };
        asked == self
    }
}

/// What a test wants to be different.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The server advertises and demands an operator.
    pub operator: bool,
    /// The upstream is an address where nobody listens.
    pub upstream_is_away: bool,
}

/// Everything that a test needs. Fields are dropped in order: the server before what it talks to.
pub struct World {
    server: Option<Program>,
    /// What stands between the server and the chain.
    pub gate: Gate,
    /// The chain.
    pub chain: Chain,
    /// The service that is paid for.
    pub upstream: Upstream,
    /// The program's configuration.
    pub config: PathBuf,
    /// Who pays.
    pub payer: Account,
    /// Who is paid.
    pub payee: Account,
    /// A third funded account.
    pub stranger: Account,
    /// The operator, when there is one.
    pub operator: Account,
    http: reqwest::Client,
    _folder: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl World {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts everything, with differences.
    pub async fn start_with(options: Options) -> Self {
        let turn = WORLDS.acquire().await.expect("the semaphore is never closed");
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let chain = Chain::start().await;
        let gate = Gate::start(chain.info().rpc_url.clone()).await;
        let upstream = Upstream::start().await;
        let accounts = &chain.info().accounts;
        let (payer, payee, stranger, operator) = (accounts[1], accounts[2], accounts[3], accounts[4]);
        let config = config::write(
            folder.path(),
            &config::Facts {
                net: chain.info(),
                rpc_url: gate.url(),
                upstream_url: if options.upstream_is_away { nobody_listens() } else { upstream.url() },
                payee,
                operator: options.operator.then_some(operator.address),
            },
        );
        let mut world = Self {
            server: None,
            gate,
            chain,
            upstream,
            config,
            payer,
            payee,
            stranger,
            operator,
            http: reqwest::Client::new(),
            _folder: folder,
            _turn: turn,
        };
        world.start_server();
        world
    }

    /// Starts the program (again) on the same books.
    pub fn start_server(&mut self) {
        self.start_server_with(&[]);
    }

    /// The same, with variables.
    pub fn start_server_with(&mut self, variables: &[(&str, &str)]) {
        assert!(self.server.is_none(), "the server runs already");
        self.server = Some(Program::serve(&self.config, variables));
    }

    /// Has another process take over from the running program, which must end well.
    pub async fn replace_server(&mut self) {
        let mut former = self.server.take().expect("a running server");
        let config = self.config.clone();
        let started =
            tokio::task::spawn_blocking(move || Program::serve_with(&config, &["--take-over"], &[]));
        let next = started.await.expect("it starts");
        assert_eq!(next.listen, former.listen, "the same socket");
        let status = former.ended().await;
        assert!(status.success(), "the server ended with {status}\n{}", former.log());
        self.server = Some(next);
    }

    /// Waits until the program killed itself.
    pub async fn killed(&mut self) {
        use std::os::unix::process::ExitStatusExt;
        /// The number of SIGKILL.
        const KILLED: i32 = 9;
        let mut server = self.server.take().expect("a running server");
        let status = server.ended().await;
        assert_eq!(status.signal(), Some(KILLED), "{}", server.log());
    }

    /// Asks the program to end, and waits until it did; it must end well.
    pub async fn stop_server(&mut self) {
        let mut server = self.server.take().expect("a running server");
        let status = server.stop().await;
        assert!(status.success(), "the server ended with {status}\n{}", server.log());
    }

    /// Ends the program without a warning (SIGKILL), as a crash would.
    pub fn kill_server(&mut self) {
        drop(self.server.take().expect("a running server"));
    }

    /// Goes on with a program that the test started.
    pub fn set_server(&mut self, server: Program) {
        assert!(self.server.is_none(), "the server runs already");
        self.server = Some(server);
    }

    /// The running program.
    pub fn server(&self) -> &Program {
        self.server.as_ref().expect("a running server")
    }

    /// A URL of the paid side.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().listen)
    }

    /// One channel of the books, as the admin API shows it.
    pub async fn channel(&self, id: impl ToString) -> Option<Value> {
        let answer = self.admin(&format!("/v1/channels/{}", id.to_string())).await;
        match answer.status().as_u16() {
            200 => Some(answer.json().await.expect("JSON")),
            404 => None,
            other => panic!("the admin API answers {other}"),
        }
    }

    /// All channels of the books.
    pub async fn channels(&self) -> Vec<Value> {
        let page: Value = self.admin("/v1/channels").await.json().await.expect("JSON");
        assert!(page["next"].is_null(), "more channels than a page holds");
        page["channels"].as_array().expect("a list of channels").clone()
    }

    /// What a scraper that asks for OpenMetrics is told.
    pub async fn open_metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.server().admin_listen);
        let asked = self.http.get(url).header("accept", "application/openmetrics-text");
        let answer = asked.send().await.expect("the admin API answers");
        answer.text().await.expect("text")
    }

    async fn admin(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.server().admin_listen);
        self.http.get(url).send().await.expect("the admin API answers")
    }

    /// What payer, payee and both escrows hold, the chain's own fees left out.
    pub async fn balances(&self) -> Balances {
        let info = self.chain.info();
        Balances {
            payer: self.chain.holdings(self.payer.address).await,
            payee: self.chain.holdings(self.payee.address).await,
            escrow: self.chain.holdings(info.escrow_v2).await + self.chain.holdings(info.escrow_v1).await,
        }
    }
}

/// Holdings of the token in base units, the chain's own fees left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    /// The payer's.
    pub payer: u128,
    /// The payee's.
    pub payee: u128,
    /// What both escrows hold.
    pub escrow: u128,
}

impl Balances {
    /// What must hold when channels are closed and `spent` was spent: the payee got it, the payer lost it, and
    /// the escrow kept nothing.
    #[track_caller]
    pub fn assert_paid(&self, before: &Self, spent: u128) {
        assert_eq!(self.payee, before.payee + spent, "the payee got exactly what was spent");
        assert_eq!(self.payer, before.payer - spent, "the payer lost exactly what was spent");
        assert_eq!(self.escrow, before.escrow, "nothing is left in the escrow");
    }
}

/// An amount of the books: a decimal string.
#[track_caller]
pub fn amount(channel: &Value, field: &str) -> u128 {
    let text = channel[field].as_str().unwrap_or_else(|| panic!("no {field} in {channel}"));
    text.parse().unwrap_or_else(|_| panic!("{field} is no amount in {channel}"))
}

/// What must hold for a closed channel in the books.
#[track_caller]
pub fn assert_closed(channel: &Value, spent: u128) {
    assert_eq!(channel["phase"], "closed", "{channel}");
    assert_eq!(amount(channel, "spent"), spent, "{channel}");
    assert_eq!(amount(channel, "captured"), spent, "{channel}");
    assert_eq!(amount(channel, "refunded"), amount(channel, "deposit") - spent, "{channel}");
    assert_eq!(amount(channel, "lost"), 0, "{channel}");
    assert_eq!(amount(channel, "reserved"), 0, "{channel}");
}

/// Waits until `look` finds something.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {WAIT_MAX:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The text of a finished command's output, for comparisons and messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A URL where nobody listens: its port was free a moment ago, and nothing else of this test takes it.
fn nobody_listens() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("its address"))
}

/// The program under test.
pub fn farebox() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_farebox"))
}

/// The program that a server is upgraded from: of the version that `FAREBOX_OLD_BIN` names, or this one.
pub fn old_farebox() -> PathBuf {
    std::env::var_os("FAREBOX_OLD_BIN").map_or_else(|| farebox().to_owned(), PathBuf::from)
}

/// The value of a result that must be good in a test.
#[track_caller]
pub fn good<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}
