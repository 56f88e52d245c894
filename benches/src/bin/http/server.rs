//! The servers under measurement: one small answer, bare or behind the payment layer. Each runs until its standard
//! input ends.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
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
use rustix::time::ClockId;

use crate::payers::{DEPOSIT, PRICE, Payer, door_config};
use crate::{cpu_us, target};

/// Serves on a free port of loopback, which it prints.
pub fn run(kind: &str, channels: &str) -> Result<(), String> {
    let channels: usize = channels.parse().map_err(|_| format!("found {channels:?}, expected a number"))?;
    let folder = tempfile::tempdir_in(target()).map_err(|error| format!("cannot make a folder: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(serve(kind == "layer", channels, folder.path()))
}

async fn serve(is_paid: bool, channels: usize, folder: &std::path::Path) -> Result<(), String> {
    let mut router = Router::new().route("/", get(|| async { "hello" }));
    let mut engine = None;
    if is_paid {
        let started = start(channels, folder).await?;
        let door = Door::new(started.clone(), Arc::new(NoChain), door_config(), Arc::new(SystemClock));
        router = router.layer(PaymentLayer::flat(door, Route::per_request(PRICE)));
        engine = Some(started);
    }
    let cpu = get(|| async { cpu_us(ClockId::ProcessCPUTime).to_string() });
    let router = router.merge(Router::new().route("/cpu", cpu));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| format!("cannot listen: {error}"))?;
    println!("{}", listener.local_addr().map_err(|error| format!("cannot read the address: {error}"))?);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served.map_err(|error| error.to_string())?,
        _ = parent => {}
    }
    if let Some(engine) = engine {
        engine.shutdown().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// An engine on a disk, with everybody's channel open.
async fn start(channels: usize, folder: &std::path::Path) -> Result<Engine, String> {
    let ledger = RocksLedger::open(folder).map_err(|error| error.to_string())?;
    let engine = Engine::start(Config::default(), ledger, SystemClock).map_err(|error| error.to_string())?;
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
