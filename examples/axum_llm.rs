//! A paid token stream in one file: an axum service behind the payment layer, on a local chain.
//!
//! ```text
//! cargo run --example axum_llm               # books in memory, gone with the process
//! cargo run --example axum_llm -- channels/  # durable books in a folder
//! ```
//!
//! It prints where it listens and the chain that it started; any client of the protocol can pay it. Each token is charged
//! before it leaves. A service for real money names its own chain, its own keys, and a folder.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use farebox::core::challenge::{ChallengeKey, ChallengeKeys, Realm};
use farebox::core::units::{Address, Amount, ChainId};
use farebox::core::voucher::ProtocolVersion;
use farebox::http::{Door, DoorConfig, Escrow, PaymentLayer, Route};
use farebox::{Config, Engine, MemoryLedger, RocksLedger, SystemClock};
use farebox_devnet::{Devnet, Info, Options};
use farebox_settlement::{Client, ClientConfig, PayeeSigner, Settlement};
use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let folder = std::env::args().nth(1);
    let net = Devnet::start(Options::default()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("pay for http://{}/chat on {}", listener.local_addr()?, net.info().rpc_url);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    serve(net.info(), folder.as_deref(), listener, stop).await?;
    net.stop().await;
    Ok(())
}

/// Serves until `stop`: the books, what takes them to the chain, and the service behind the door.
pub(crate) async fn serve(
    net: &Info,
    folder: Option<&str>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AnyError> {
    let engine = match folder {
        Some(folder) => Engine::start(Config::behind_door(), RocksLedger::open(folder)?, SystemClock)?,
        None => Engine::start(Config::behind_door(), MemoryLedger::new(), SystemClock)?,
    };
    let (chain_id, payee) = (ChainId(net.chain_id), net.accounts[2]);
    let (protocol, address, operator) = (ProtocolVersion::V2, net.escrow_v2, Address::ZERO);

    let escrows = vec![farebox_settlement::Escrow { protocol, address }];
    let claims = farebox_settlement::Config::new(chain_id, payee.address, escrows);
    let node = Client::new(chain_id, ClientConfig::new(vec![net.rpc_url.clone()]))?;
    let signer = PayeeSigner::from_signer(payee.private_key.to_string().parse()?);
    let settlement = Settlement::start(claims, engine.clone(), node, signer).await?;

    // Known to everybody, like the payee's key here. Keep yours secret, and over restarts.
    let keys = ChallengeKeys::new(ChallengeKey::new(&[7; 32])?);
    let terms = DoorConfig::new(Realm::new("llm.local")?, keys, payee.address, net.token).escrow(Escrow {
        protocol,
        chain_id,
        address,
        operator,
    });
    let door = Door::new(engine.clone(), settlement.chain(), terms, Arc::new(SystemClock));

    let price = Route::per_event(Amount::new(25)).suggest_deposit(Amount::new(100_000));
    let app = Router::new().route("/chat", get(chat)).layer(PaymentLayer::flat(door, price));
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;

    settlement.stop().await;
    engine.shutdown().await?;
    Ok(())
}

/// The service. It knows nothing of payments.
async fn chat() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let words = ["Fares", "are", "checked", "at", "the", "door", "."];
    Sse::new(stream::iter(words).then(|word| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Event::default().data(word))
    }))
}
