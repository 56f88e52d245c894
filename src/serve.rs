//! `farebox serve`: puts the parts together, in order, and takes them apart again, in order.
//!
//! Start: configuration, key files, ledger, engine, chain, settlement, door, gateway, admin API. Whatever is not
//! as configured is refused before the first address is opened. Stop (SIGTERM or SIGINT): take nothing new, let
//! running requests end within `server.drain_s`, stop settlement, then sync, checkpoint and close the books. A
//! process that takes over (`sockets.rs`, `handover.rs`) has the same done, and gets the books then. A second signal ends the process at once; the journal makes that safe.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_engine::clock::SystemClock;
use farebox_engine::core::channel::Policy;
use farebox_engine::ledger::Snapshots;
use farebox_engine::{
    BackendVariableError, Engine, EngineError, Health, LedgerError, MemoryLedger, RocksLedger,
    backend_from_environment,
};
use farebox_settlement::{LocalKey, PayeeSigner};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::{End, load_config_for};
use crate::config::{Config, ConfigError, Ledger, Purpose, SERVES};
use crate::gateway::{self, Bounds, Gateway, Tls, TlsError};
use crate::keys::{self, KeyError};
use crate::local::ListenError;
use crate::measure::Measures;
use crate::notify::{self, State};
use crate::signals::{Hangups, Signals};

mod descriptors;
mod door;
mod handover;
mod local;
mod methods;
mod panel;
mod reload;
mod retire;
pub mod settlement;
mod sockets;
pub mod standalone;
pub mod watchtower;

use handover::{Former, Handover, Successor};
use panel::Panel;
use settlement::{Settlement, SettlementError};
use sockets::Sockets;

/// How the exit of a process looks that a second signal ended (128 + SIGINT).
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Backend(#[from] BackendVariableError),
    #[error("ledger.path: {0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Local(#[from] ListenError),
    #[error("{key}: cannot listen on {address}: {cause}")]
    Listen { key: &'static str, address: SocketAddr, cause: io::Error },
    #[error(
        "the service manager gave a socket that listens on {place}, expected one of server.listen, \
         server.admin_listen, local.listen and local.socket as the configuration has them"
    )]
    Given { place: String },
    #[error(
        "--take-over: server.handover_socket: found nothing, expected the path of the running server's socket"
    )]
    NoHandover,
    #[error("server.takeover_wait_s: process {process} still keeps the books after {waited_s} s")]
    StillKept { process: u64, waited_s: u64 },
    #[error("cannot {what}: {cause}")]
    System { what: &'static str, cause: io::Error },
    #[error("cannot start the engine: {0}")]
    Engine(EngineError),
    #[error("--watch: {}: found the books of this configuration, expected those of another process", path.display())]
    OwnBooks { path: std::path::PathBuf },
    #[error("the watchtower failed: {0}")]
    Watchtower(farebox_settlement::WatchtowerError),
    #[error("the server failed: {0}")]
    Failed(EngineError),
}

impl ServeError {
    fn end(&self) -> End {
        match self {
            Self::Config(_) | Self::Key(_) | Self::Tls(_) | Self::Backend(_) | Self::OwnBooks { .. } => {
                End::Refused
            }
            Self::Given { .. } | Self::NoHandover => End::Refused,
            Self::Settlement(error) if error.is_refusal() => End::Refused,
            Self::Failed(_) | Self::Watchtower(_) => End::Failed,
            _ => End::CannotStart,
        }
    }
}

/// `--check-config`: the configuration, the key files and the backend; no chain, no ledger, no address. Makes nothing.
pub fn check(path: &Path) -> End {
    let checked = load_config_for(path, Purpose::Serve).map_err(ServeError::from).and_then(|config| {
        backend_from_environment()?;
        keys::check_challenge_key(&config.server.challenge_key_file)?;
        keys::previous_challenge_keys(&config.server.previous_challenge_key_files)?;
        config.server.tls.as_ref().map(Tls::load).transpose()?;
        keys::sponsor_key(&config)?;
        keys::stripe_key(&config)?;
        Ok(keys::payee_key(&config)?)
    });
    match checked {
        Ok(key) => {
            println!("{}: ok; claims are signed by {:#x}", path.display(), key.address());
            End::Done
        }
        Err(error) => fail(&error),
    }
}

/// Serves until a signal, or until another process took over. With `take_over`, that is what this one does first.
pub fn run(path: &Path, take_over: bool) -> End {
    let config = match load_config_for(path, Purpose::Serve) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    let served = given(&config)
        .and_then(|sockets| Ok((sockets, runtime()?)))
        .and_then(|(sockets, runtime)| runtime.block_on(serve(path, config, sockets, take_over)));
    match served {
        Ok(()) => End::Done,
        Err(error) => fail(&error),
    }
}

/// What the service manager gave, before there is a second thread.
fn given(config: &Config) -> Result<Sockets, ServeError> {
    let sockets = Sockets::from_environment()
        .map_err(|cause| ServeError::System { what: "use the service manager's sockets", cause })?;
    sockets.check(config)?;
    Ok(sockets)
}

fn runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    let made = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    made.map_err(|cause| ServeError::System { what: "start the runtime", cause })
}

/// Where metrics are counted from now on.
fn recorder() -> Result<Measures, ServeError> {
    let measures = Measures::default();
    let failed = |_| ServeError::System { what: "start metrics", cause: io::ErrorKind::AlreadyExists.into() };
    measures.install().map_err(failed)?;
    Ok(measures)
}

fn hangups() -> Result<Hangups, ServeError> {
    Hangups::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })
}

/// Why a server ends.
enum Reason {
    Signal,
    Failure(EngineError),
    TakenOver(Successor),
}

impl Reason {
    /// Says it in the log.
    fn log(&self) {
        match self {
            Self::Signal => tracing::info!("stopping: no new requests are taken"),
            Self::Failure(error) => tracing::error!(%error, "stopping"),
            Self::TakenOver(_) => {
                tracing::info!("stopping: another process took over, and waits for the books");
            }
        }
    }

    /// What is left to do and to say once the books are closed, or could not be.
    fn end(self, closed: Result<(), EngineError>) -> Result<(), ServeError> {
        match self {
            Self::Failure(error) => return Err(ServeError::Failed(error)),
            Self::TakenOver(successor) => {
                closed.map_err(ServeError::Failed)?;
                successor.tell_closed();
            }
            Self::Signal => closed.map_err(ServeError::Failed)?,
        }
        tracing::info!("stopped; the books are closed");
        Ok(())
    }
}

/// Waits for a signal to end, for the engine to fail, or for a process that takes over; meanwhile each SIGHUP has something
/// read again.
async fn until_the_end(
    signals: &mut Signals,
    hangups: &mut Hangups,
    engine: &Engine,
    handover: Option<Handover>,
    reload: impl Fn(),
) -> Reason {
    let failure = poisoned(engine);
    let taken = async {
        match handover {
            Some(handover) => handover.taken().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(failure, taken);
    loop {
        tokio::select! {
            () = signals.next() => return Reason::Signal,
            failure = &mut failure => return Reason::Failure(failure),
            successor = &mut taken => return Reason::TakenOver(successor),
            () = hangups.next() => reload(),
        }
    }
}

/// A second signal ends the process at once.
fn wait_for_second_signal(mut signals: Signals) {
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("a second signal: ending at once");
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
}

fn fail(error: &ServeError) -> End {
    eprintln!("farebox: {error}");
    error.end()
}

async fn serve(path: &Path, config: Config, mut sockets: Sockets, take_over: bool) -> Result<(), ServeError> {
    descriptors::raise();
    // The engine asks again; here nothing was opened yet.
    backend_from_environment()?;
    let mut signals =
        Signals::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })?;
    let mut hangups = hangups()?;
    let payee_key = keys::payee_key(&config)?;
    keys::check_payee_key(&config, &payee_key).await?;
    let sponsor_key = keys::sponsor_key(&config)?;
    let challenge_key = keys::challenge_key(&config.server.challenge_key_file)?;
    let previous_keys = keys::previous_challenge_keys(&config.server.previous_challenge_key_files)?;
    let mut door_config = door::config(&config, &challenge_key, &previous_keys);
    methods::add(&mut door_config, &config)?;
    let tls = config.server.tls.as_ref().map(Tls::load).transpose()?;
    let metrics = recorder()?;
    let panel_keys = panel::Keys::read(&config)?;

    // The last moment at which nothing has changed yet: whatever is wrong with this process was found before.
    if take_over {
        sockets.take_over(&config).await?;
    }
    let (engine, snapshots) = start_engine(&config, sockets.former()).await?;
    let (backend, tables_bytes_max) =
        (engine.verifier().backend().name(), config.limits.signer_tables_bytes_max);
    tracing::info!(backend, tables_bytes_max, "vouchers are verified");
    let panel = match Panel::new(&config, &engine, metrics, snapshots, panel_keys).await {
        Ok(panel) => panel.with_denials(&config, &engine).await,
        Err(error) => Err(error),
    };
    let denials = panel.as_ref().ok().and_then(Panel::denials);
    let started = match panel {
        Ok(panel) => {
            start(&config, &engine, (payee_key, sponsor_key), (door_config, tls), panel, sockets).await
        }
        Err(error) => Err(error),
    };
    let Started { settlement, gateway, tariff, admin, local, handover, stop } = match started {
        Ok(started) => started,
        Err(error) => {
            // The ledger is open: close it in order, whatever stopped us.
            if let Err(error) = engine.shutdown().await {
                tracing::error!(%error, "the books could not be closed");
            }
            return Err(error);
        }
    };

    notify::tell(State::Ready);
    let reason = until_the_end(&mut signals, &mut hangups, &engine, handover, || {
        reload::reload(path, &config, denials.as_ref(), Some(&tariff));
    })
    .await;
    notify::tell(State::Stopping);
    reason.log();
    wait_for_second_signal(signals);
    stop.send_replace(true);
    match gateway.await {
        Ok(0) => {}
        Ok(cut) => tracing::warn!(cut, "connections were cut: they did not end within server.drain_s"),
        Err(error) => tracing::error!(%error, "the gateway ended early"),
    }
    local.ended().await;
    settlement.stop().await;
    let closed = engine.shutdown().await;
    admin.ended().await;
    reason.end(closed)
}

/// Opens the ledger, once whoever had it is done with it, and starts the engine on it. All of it blocks: recovery reads the
/// journal.
async fn start_engine(
    config: &Config,
    former: Option<Former>,
) -> Result<(Engine, Option<Snapshots>), ServeError> {
    let ledger = config.ledger.clone();
    let settings = engine_config(config);
    let wait = config.server.takeover_wait;
    let started = tokio::task::spawn_blocking(move || match ledger {
        Ledger::RocksDb(path) => {
            let ledger = match former {
                Some(former) => open_after(former, &path, wait)?,
                None => RocksLedger::open(&path)?,
            };
            let snapshots = ledger.snapshots();
            let engine = Engine::start(settings, ledger, SystemClock).map_err(ServeError::Engine)?;
            Ok((engine, Some(snapshots)))
        }
        Ledger::Memory => {
            tracing::warn!("ledger.kind is memory: the books, and money with them, are lost at the end");
            let engine =
                Engine::start(settings, MemoryLedger::new(), SystemClock).map_err(ServeError::Engine)?;
            Ok((engine, None))
        }
    });
    let panicked = |error| ServeError::System { what: "open the ledger", cause: io::Error::other(error) };
    started.await.map_err(panicked)?
}

/// Opens the books of a process that gave its sockets away.
fn open_after(former: Former, path: &Path, wait: Duration) -> Result<RocksLedger, ServeError> {
    /// The pause between two looks at a lock: a process that died without a word may still be on its way out.
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let end = Instant::now() + wait;
    let process = former.process;
    let still_kept = || ServeError::StillKept { process, waited_s: wait.as_secs() };
    tracing::info!(process, "took over its sockets; waiting for its books");
    let failed = |cause| ServeError::System { what: "wait for the books", cause };
    if !former.closed_by(end).map_err(failed)? {
        return Err(still_kept());
    }
    loop {
        match RocksLedger::open(path) {
            Err(LedgerError::Locked { .. }) if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
            Err(LedgerError::Locked { .. }) => return Err(still_kept()),
            opened => return Ok(opened?),
        }
    }
}

/// The engine's part of the configuration.
pub fn engine_config(config: &Config) -> farebox_engine::Config {
    let default = farebox_engine::Config::behind_door();
    farebox_engine::Config {
        policy: Policy {
            voucher_delta_min: config.voucher.delta_min,
            outcome_age_s_max: config.books.outcome_age_s_max,
        },
        journal_keep_s: config.books.journal_keep_s,
        journal_keep_frames: config.books.journal_keep_frames,
        limits: config.risk.clone(),
        shards: config.limits.shards.unwrap_or(default.shards),
        intake_max: config.limits.intake_max,
        batch_vouchers_max: config.limits.batch_vouchers_max,
        resident_bytes_max: config.limits.resident_bytes_max,
        signer_tables_bytes_max: config.limits.signer_tables_bytes_max,
        ..default
    }
}

/// Everything that runs beside the engine.
struct Started {
    settlement: Settlement,
    gateway: tokio::task::JoinHandle<usize>,
    /// The same gateway, for those who change its prices.
    tariff: Arc<Gateway>,
    admin: crate::admin::Running,
    local: local::Running,
    handover: Option<Handover>,
    stop: watch::Sender<bool>,
}

async fn start(
    config: &Config,
    engine: &Engine,
    (payee_key, sponsor_key): (PayeeSigner, Option<LocalKey>),
    (door_config, tls): (farebox_engine::http::DoorConfig, Option<Arc<Tls>>),
    panel: Panel,
    mut sockets: Sockets,
) -> Result<Started, ServeError> {
    // The addresses first: a port that is taken is the most common mistake, and nothing has begun yet.
    let listener = sockets.tcp(sockets::LISTEN, config.server.listen).await?;
    let admin_listener = sockets.tcp(sockets::ADMIN, config.server.admin_listen).await?;
    let address = local_address(&listener)?;
    let admin_address = local_address(&admin_listener)?;
    let doors = local::Doors::open(config, &mut sockets).await?;
    let handover = sockets.offer(config.server.handover_socket.as_ref())?;

    let settlement = Settlement::start(config, engine, payee_key, sponsor_key).await?;
    let door = farebox_engine::http::Door::new(
        engine.clone(),
        settlement.chain(),
        door_config,
        Arc::new(SystemClock),
    );
    let gateway = Gateway::new(config, door)
        .map_err(|cause| ServeError::System { what: "read the system's root certificates", cause })?;

    let (stop, stopped) = watch::channel(false);
    let stopped_too = stopped.clone();
    if let Some(retention) = config.books.retention {
        tokio::spawn(retire::run(engine.clone(), retention, stopped.clone()));
    }
    let admin = panel.admin(config, engine, settlement.probe(), &stopped);
    let admin = admin.serve(admin_listener, stopped.clone());
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).follow(stopped.clone()));
    }
    let tariff = Arc::new(gateway);
    let gateway = tokio::spawn(gateway::run(listener, Arc::clone(&tariff), bounds(config), tls, stopped));
    announce(address, admin_address, &doors);
    let local = doors.serve(config, engine, settlement.chain(), &stopped_too);
    let upstream = &config.upstream.as_ref().expect(SERVES).url;
    tracing::info!(listen = %address, admin = %admin_address, %upstream, "serving");
    Ok(Started { settlement, gateway, tariff, admin, local, handover, stop })
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        connections_max: config.limits.connections_max,
        per_address_max: config.limits.connections_per_address_max,
        head_bytes_max: config.limits.request_head_bytes_max,
        head_timeout: config.limits.request_head_timeout,
        drain: config.server.drain,
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { key, address, cause })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|cause| ServeError::System { what: "read the address", cause })
}

/// Tells who started us where we listen: the ports may have been 0.
fn announce(listen: SocketAddr, admin_listen: SocketAddr, doors: &local::Doors) {
    let mut line = serde_json::json!({ "listen": listen, "adminListen": admin_listen });
    doors.tell(&mut line);
    print(&line);
}

/// Says one line to who started us.
fn print(line: &serde_json::Value) {
    let mut stdout = io::stdout().lock();
    // Nobody has to listen.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Ready when the engine acknowledges nothing any more.
async fn poisoned(engine: &Engine) -> EngineError {
    /// How often the engine is asked. Requests fail at once; this only ends the process.
    const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(250);
    loop {
        match engine.health() {
            Health::Poisoned { cause } => return EngineError::Poisoned { cause },
            Health::Stopped => return EngineError::Stopped,
            Health::Running | Health::Stopping => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
