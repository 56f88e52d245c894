//! The RPC client: what settlement asks of the chain's nodes, and how far it believes them.
//!
//! Several endpoints are tried in the order of the configuration. Four rules hold everywhere:
//!
//! - **No answer is not a "no"** (rule 10). A request that timed out, was cut off or met a broken node is
//!   told apart from a node's refusal, and a broadcast that nobody answered may have happened.
//! - **A node that is behind is not believed.** State is read at a named block, at or after the newest that
//!   was ever seen: a node that does not have it yet says so, and is asked again within a bound.
//! - **A node that lies is outvoted** where [`ClientConfig::quorum`] is above one: see `quorum`.
//! - **A node of another chain is not used.** `eth_chainId` is asked before an endpoint's first use.
//!
//! Endpoints appear in logs and errors by host name alone: their addresses may hold keys.

mod broadcast;
mod config;
mod endpoint;
mod error;
mod logs;
mod quorum;
mod reads;
mod receipt;

use std::sync::Arc;
use std::time::Duration;

use alloy::rpc::json_rpc::{RpcRecv, RpcSend};
use farebox_core::units::ChainId;

pub use broadcast::Broadcast;
pub use config::ClientConfig;
pub use error::ClientError;
pub use logs::LogFilter;
pub use reads::{ChannelOnChain, Head};
pub use receipt::{Fate, Receipt};

use endpoint::{Endpoint, Failure};

/// Speaks with the nodes of one chain. Clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    chain_id: ChainId,
    endpoints: Vec<Arc<Endpoint>>,
    config: ClientConfig,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.inner.endpoints.iter().map(|endpoint| endpoint.name()).collect();
        f.debug_struct("Client").field("chain_id", &self.inner.chain_id).field("endpoints", &names).finish()
    }
}

impl Client {
    /// Prepares the endpoints; asks nothing yet.
    pub fn new(chain_id: ChainId, config: ClientConfig) -> Result<Self, ClientError> {
        let endpoints = config
            .endpoints
            .iter()
            .map(|address| Endpoint::new(address, chain_id, &config).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        Ok(Self { inner: Arc::new(Inner { chain_id, endpoints, config }) })
    }

    /// The chain that the endpoints must serve.
    pub fn chain_id(&self) -> ChainId {
        self.inner.chain_id
    }

    /// The waits and bounds.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Asks every endpoint for its chain. An endpoint that does not answer is left for later; one of
    /// another chain is a mistake in the configuration.
    pub async fn check(&self) -> Result<(), ClientError> {
        let mut last = None;
        let mut answered = false;
        for endpoint in self.endpoints() {
            match endpoint.ensure_chain().await {
                Ok(()) => answered = true,
                Err(failure @ Failure::WrongChain { .. }) => return Err(failure.into_error(endpoint.name())),
                Err(failure) => last = Some(failure.into_error(endpoint.name())),
            }
        }
        match last {
            Some(error) if !answered => Err(error),
            _ => Ok(()),
        }
    }

    /// The newest block that a quorum of endpoints reported so far. A single one that reports more than there is
    /// must not make all others look as if they were behind.
    pub fn newest_block(&self) -> u64 {
        let mut seen: Vec<u64> =
            self.inner.endpoints.iter().map(|endpoint| endpoint.newest_block()).collect();
        seen.sort_unstable_by(|one, other| other.cmp(one));
        seen.get(self.quorum() - 1).copied().unwrap_or_default()
    }

    /// The endpoints: those that lately failed come last, those that are set aside not at all.
    fn endpoints(&self) -> impl Iterator<Item = Arc<Endpoint>> {
        let standing = || self.inner.endpoints.iter().filter(|endpoint| !endpoint.is_aside());
        let rested = standing().filter(|endpoint| !endpoint.is_cooling());
        let cooling = standing().filter(|endpoint| endpoint.is_cooling());
        // Collected, so that an endpoint that begins to cool in between is not asked twice.
        rested.chain(cooling).cloned().collect::<Vec<_>>().into_iter()
    }

    /// Asks the endpoints in order until one answers. A revert is an answer; every other error of a node
    /// (busy, behind, limited) sends the question to the next.
    async fn call<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, ClientError> {
        let mut last = ClientError::NoEndpoint;
        for endpoint in self.endpoints() {
            match endpoint.request(method, params.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let is_revert = failure.is_revert();
                    last = failure.into_error(endpoint.name());
                    if is_revert {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// A pause between two tries of a bounded loop.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.inner.config.retry_pause_ms)).await;
    }
}
