//! The local API as the server runs it: its places opened first, then served, then drained.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use farebox_engine::Engine;
use farebox_engine::chain::Chain;
use farebox_engine::core::units::Address;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::sockets::{LOCAL, Sockets};
use super::{ServeError, local_address};
use crate::config::Config;
use crate::keys;
use crate::local::{Bounds, Door, Listener, Local, Terms, run};

/// Places that are open; nobody is served yet.
pub(super) struct Doors {
    doors: Vec<Door>,
    socket: Option<PathBuf>,
    address: Option<SocketAddr>,
}

/// The API, running.
pub(super) struct Running(Vec<JoinHandle<usize>>);

impl Doors {
    /// Opens what `[local]` asks for.
    pub(super) async fn open(config: &Config, sockets: &mut Sockets) -> Result<Self, ServeError> {
        let wanted = &config.local;
        let mut doors = Self { doors: Vec::new(), socket: None, address: None };
        if let Some(path) = &wanted.socket {
            doors.doors.push(Door { listener: sockets.unix(path)?, key: None });
            doors.socket = Some(path.clone());
        }
        if let Some(address) = wanted.listen {
            let key = Some(Arc::new(keys::local_key(&wanted.key_file)?));
            let listener = sockets.tcp(LOCAL, address).await?;
            doors.address = Some(local_address(&listener)?);
            doors.doors.push(Door { listener: Listener::Tcp(listener), key });
        }
        Ok(doors)
    }

    /// Says where they are.
    pub(super) fn tell(&self, line: &mut Value) {
        if let Some(socket) = &self.socket {
            line["localSocket"] = socket.display().to_string().into();
        }
        if let Some(address) = self.address {
            line["localListen"] = address.to_string().into();
        }
    }

    /// Serves until `stop` turns true.
    pub(super) fn serve(
        self,
        config: &Config,
        engine: &Engine,
        chain: Arc<dyn Chain>,
        stop: &watch::Receiver<bool>,
    ) -> Running {
        let terms = Terms {
            chain_id: config.chain.id,
            payee: config.payee.address,
            token: config.payee.token,
            operator: config.payee.operator.unwrap_or(Address::ZERO),
            escrow_v2: config.escrow.v2,
            escrow_v1: config.escrow.v1,
        };
        let bounds = Bounds { connections_max: config.local.connections_max, drain: config.server.drain };
        let router = Local::new(engine.clone(), chain, terms).router();
        let serve = |door| tokio::spawn(run(door, router.clone(), bounds, stop.clone()));
        Running(self.doors.into_iter().map(serve).collect())
    }
}

impl Running {
    /// Waits until running requests have ended, or were cut.
    pub(super) async fn ended(self) {
        for task in self.0 {
            match task.await {
                Ok(0) => {}
                Ok(cut) => tracing::warn!(cut, "connections to the local API were cut"),
                Err(error) => tracing::error!(%error, "the local API ended early"),
            }
        }
    }
}
