//! The service under measurement: one small answer and one stream of events, bare or behind the payment layer. Each
//! server runs until its standard input ends.
//!
//! | path | what it is |
//! |---|---|
//! | `/` | `hello` |
//! | `/stream` | an event, and then, when `/go/SECONDS` was asked for, [`BURST`] more in each second |
//! | `/go/SECONDS` | lets the streams speak |
//! | `/books` | what the books hold: a line for each channel |

use std::convert::Infallible;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use farebox_core::channel::{ChainPosition, Claim, Identity};
use farebox_core::units::{Amount, ChannelId};
use farebox_engine::chain::{
    BoxFuture, Chain, ChainRefusal, CloseFailure, ClosedOnChain, OpenRequest, OpenedOnChain, TopUpRequest,
    ToppedUpOnChain,
};
use farebox_engine::http::{Door, PaymentLayer, Route};
use farebox_engine::{Config, Engine, RocksLedger, SystemClock};
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::payers::{DEPOSIT, PRICE, Payer, door_config};
use crate::target;

/// The price of an event.
pub const EVENT: Amount = Amount::new(10);
/// Events that a stream gives at once.
pub const BURST: u64 = 10;
/// How often it does.
pub const SPEAKS_MS: u64 = 1_000;

/// Serves on a free port of loopback, which it prints.
pub fn run(kind: &str, channels: &str) -> Result<(), String> {
    let channels: usize = channels.parse().map_err(|_| format!("found {channels:?}, expected a number"))?;
    let folder = tempfile::tempdir_in(target()).map_err(|error| format!("cannot make a folder: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(serve(kind == "layer", channels, folder.path()))
}

async fn serve(is_paid: bool, channels: usize, folder: &Path) -> Result<(), String> {
    let (go, begins) = watch::channel(None);
    let speak = move || std::future::ready(speech(begins.clone()));
    let mut router = Router::new().route("/", get(|| async { "hello" })).route("/stream", get(speak));
    let mut engine = None;
    if is_paid {
        let started = start(channels, folder).await?;
        let door = Door::new(started.clone(), Arc::new(NoChain), door_config(), Arc::new(SystemClock));
        let (request, event) = (door.offer(Route::per_request(PRICE)), door.offer(Route::per_event(EVENT)));
        router = router.layer(PaymentLayer::offering(door, move |parts| {
            Some(if parts.uri.path() == "/stream" { event.clone() } else { request.clone() })
        }));
        engine = Some(started);
    }
    let start = get(move |extract::Path(seconds): extract::Path<u64>| async move {
        go.send_replace(Some(seconds));
        "they speak"
    });
    let read = engine.clone();
    let books = get(move || async move { books(read).await });
    let router = router.merge(Router::new().route("/go/{seconds}", start).route("/books", books));
    listen(router).await?;
    if let Some(engine) = engine {
        engine.shutdown().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Serves on a free port of loopback, which it prints, until the standard input ends.
pub async fn listen(router: Router) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| format!("cannot listen: {error}"))?;
    println!("{}", listener.local_addr().map_err(|error| format!("cannot read the address: {error}"))?);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served.map_err(|error| error.to_string()),
        _ = parent => Ok(()),
    }
}

/// The events of one stream: one at once, the others when they may begin.
fn speech(begins: watch::Receiver<Option<u64>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events(begins)))
}

fn events(begins: watch::Receiver<Option<u64>>) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    /// Streams that began: they do not all speak at the same moment.
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    let offset = Duration::from_millis(BEGUN.fetch_add(1, Ordering::Relaxed) * 7 % SPEAKS_MS);
    stream::unfold((begins, 0, None), move |(mut begins, said, began)| async move {
        if said == 0 {
            return Some((Ok(Bytes::from_static(b"data: 0\n\n")), (begins, 1, None)));
        }
        let seconds = (*begins.wait_for(Option::is_some).await.ok()?)?;
        let began = began.unwrap_or_else(|| Instant::now() + offset);
        if said > seconds * BURST {
            return None;
        }
        tokio::time::sleep_until(began + Duration::from_millis(SPEAKS_MS) * (said / BURST) as u32).await;
        let text: String = (said..said + BURST).map(|index| format!("data: {index}\n\n")).collect();
        Some((Ok(Bytes::from(text)), (begins, said + BURST, Some(began))))
    })
}

/// A line for each channel: its id, what it spent, what is accepted, what is set aside.
async fn books(engine: Option<Engine>) -> String {
    let Some(engine) = engine else { return String::new() };
    let Ok(channels) = engine.channels().await else { return String::new() };
    let line = |one: farebox_engine::Channel| {
        let books = one.snapshot;
        format!("{} {} {} {}\n", one.id, books.spent, books.accepted, books.reserved)
    };
    channels.into_iter().map(line).collect()
}

/// An engine on a disk, with everybody's channel open.
async fn start(channels: usize, folder: &Path) -> Result<Engine, String> {
    let ledger = RocksLedger::open(folder).map_err(|error| error.to_string())?;
    let engine =
        Engine::start(Config::behind_door(), ledger, SystemClock).map_err(|error| error.to_string())?;
    let opening = (0..channels).map(|index| {
        let identity = Payer::new(index).identity();
        engine.open(identity, DEPOSIT, Amount::ZERO, ChainPosition::default())
    });
    for opened in futures_util::future::join_all(opening).await {
        let verdict = opened.map_err(|error| error.to_string())?;
        verdict.accepted().map_err(|refusal| refusal.to_string())?;
    }
    Ok(engine)
}

/// No request here needs a chain.
struct NoChain;

impl Chain for NoChain {
    fn open(&self, _: OpenRequest) -> BoxFuture<'_, Result<OpenedOnChain, ChainRefusal>> {
        Box::pin(async { Err(ChainRefusal::Unavailable { what: "there is none".into() }) })
    }

    fn top_up(&self, _: TopUpRequest) -> BoxFuture<'_, Result<ToppedUpOnChain, ChainRefusal>> {
        Box::pin(async { Err(ChainRefusal::Unavailable { what: "there is none".into() }) })
    }

    fn close(
        &self,
        _: ChannelId,
        _: Arc<Identity>,
        _: Claim,
    ) -> BoxFuture<'_, Result<ClosedOnChain, CloseFailure>> {
        Box::pin(async { Err(CloseFailure::NotSent { what: "there is none".into() }) })
    }
}
