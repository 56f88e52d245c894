//! A local Tempo chain with both escrows, for development and tests.
//!
//! [`Devnet::start`] runs foundry's anvil in Tempo mode, places the v2 channel reserve at its canonical
//! address, deploys the v1 escrow, and serves JSON-RPC over HTTP on a local port. Requests pass through a small
//! proxy, because the published anvil is behind the real chain in three ways:
//!
//! - the reserve is a contract here, not a precompile, so somebody must tell it the hash of the transaction
//!   that opens a channel ([`reserve`]);
//! - a contract cannot move tokens without an approval, so the proxy gives it ([`reserve`]);
//! - anvil ignores the list of calls of a Tempo transaction in simulations ([`simulate`]).
//!
//! Everything else is forwarded unchanged. `farebox devnet`, the demo and the end-to-end tests call this; the
//! product never does. It listens on 127.0.0.1 only, its keys are public, and nothing remains when it stops.
//! It goes away when a published anvil has hardfork T5.

#![forbid(unsafe_code)]

mod accounts;
mod anvil;
mod error;
mod genesis;
mod plain;
mod proxy;
mod reserve;
mod rpc;
mod simulate;
#[cfg(test)]
mod tests;

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use alloy_primitives::Address;
use farebox_contracts::{tip20::PATH_USD, v2::RESERVE};
use serde::Serialize;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub use accounts::Account;
pub use error::Error;
pub use plain::PlainChain;

use crate::{anvil::Anvil, proxy::Proxy, rpc::Upstream};

/// How long [`Devnet::stop`] waits for requests under way.
const STOP_S_MAX: u64 = 2;

/// The chain's id when nobody wants another.
pub(crate) const DEFAULT_CHAIN_ID: u64 = 31_337;

/// What a chain should be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on 127.0.0.1 to serve on; 0 takes any free one.
    pub port: u16,
    /// The chain's id.
    pub chain_id: u64,
    /// Path of the anvil binary. Without it `FAREBOX_ANVIL` counts, then `node_modules` in the working
    /// directory and above.
    pub anvil: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, chain_id: DEFAULT_CHAIN_ID, anvil: None }
    }
}

/// Where everything is on the running chain.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// JSON-RPC over HTTP.
    pub rpc_url: String,
    /// The chain's id.
    pub chain_id: u64,
    /// The channel reserve of session protocol v2.
    pub escrow_v2: Address,
    /// The escrow contract of session protocol v1.
    pub escrow_v1: Address,
    /// The TIP-20 token that every account holds, pathUSD.
    pub token: Address,
    /// Funded accounts. Their keys are known to everybody.
    pub accounts: Vec<Account>,
}

/// A running local chain. Dropping it kills the chain.
#[derive(Debug)]
pub struct Devnet {
    info: Info,
    anvil: Anvil,
    server: JoinHandle<()>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Devnet {
    /// Starts a chain and returns when it answers.
    pub async fn start(options: Options) -> Result<Self, Error> {
        // The public port first: if it is taken, say so before anything runs.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .map_err(|source| Error::Listen { port: options.port, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { port: options.port, source })?;

        let binary = anvil::find(options.anvil.as_deref())?;
        let anvil = Anvil::start(&binary, options.chain_id).await?;
        let upstream = Upstream::new(anvil.port());
        let escrow_v1 = genesis::prepare(&upstream).await?;

        let (shutdown, stopped) = oneshot::channel();
        let router = Proxy::new(upstream).into_router();
        let server = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            // axum retries failed accepts itself and never returns an error.
            let _ = serving.await;
        });
        let info = Info {
            rpc_url: format!("http://{address}"),
            chain_id: options.chain_id,
            escrow_v2: RESERVE,
            escrow_v1,
            token: PATH_USD,
            accounts: accounts::all(),
        };
        Ok(Self { info, anvil, server, shutdown: Some(shutdown) })
    }

    /// Where everything is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Address of anvil itself, behind the proxy: for what must not be altered on the way.
    #[must_use]
    pub fn anvil_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.anvil.port())
    }

    /// Waits until the chain has ended by itself, which it should never do, and says how.
    pub async fn ended(&mut self) -> Error {
        self.anvil.ended().await
    }

    /// Finishes requests under way (for two seconds at most) and ends the chain.
    pub async fn stop(mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
        // A client may keep its connection open for ever; dropping `self` ends what is left.
        let _ = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), &mut self.server).await;
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.server.abort();
    }
}
