//! What the admin API is given.

use std::io;
use std::sync::Arc;

use farebox_engine::Engine;
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::ledger::Snapshots;
use tokio::sync::watch;

use super::ServeError;
use crate::admin::{Admin, AdminKey, Board, Facts, Probe};
use crate::config::{Config, Ledger};
use crate::denials::Denials;
use crate::keys::{self, KeyError, Secret};
use crate::measure::Measures;
use crate::webhook::Webhook;

/// Its parts beside the engine.
pub(super) struct Panel {
    metrics: Measures,
    snapshots: Option<Snapshots>,
    key: Option<Arc<AdminKey>>,
    webhook: Option<Webhook>,
    denials: Option<Denials>,
}

/// The keys that it and the webhook need, each if the configuration names one.
pub(super) struct Keys {
    admin: Option<Arc<AdminKey>>,
    webhook: Option<Secret>,
}

impl Keys {
    /// Reads them.
    pub(super) fn read(config: &Config) -> Result<Self, KeyError> {
        let admin = config.server.admin_key_file.as_deref().map(keys::admin_key).transpose()?;
        let webhook = config.webhook.as_ref().map(|webhook| keys::webhook_key(&webhook.key_file));
        Ok(Self { admin: admin.map(Arc::new), webhook: webhook.transpose()? })
    }
}

impl Panel {
    /// Prepares it. Comes before everything that changes the books, so that the webhook misses nothing.
    pub(super) async fn new(
        config: &Config,
        engine: &Engine,
        metrics: Measures,
        snapshots: Option<Snapshots>,
        keys: Keys,
    ) -> Result<Self, ServeError> {
        let webhook = match (&config.webhook, keys.webhook, &config.ledger) {
            (Some(settings), Some(key), Ledger::RocksDb(store)) => {
                let begun = Webhook::begin(settings, key, engine.clone(), store.clone()).await;
                Some(begun.map_err(|cause| ServeError::System { what: "begin with the webhook", cause })?)
            }
            _ => None,
        };
        Ok(Self { metrics, snapshots, key: keys.admin, webhook, denials: None })
    }

    /// Lets the operator shut somebody out; who was before stays out.
    pub(super) async fn with_denials(mut self, config: &Config, engine: &Engine) -> Result<Self, ServeError> {
        let begun = Denials::begin(engine, config.risk.clone(), SystemClock.now()).await;
        let failed =
            |cause| ServeError::System { what: "read who is shut out", cause: io::Error::other(cause) };
        self.denials = Some(begun.map_err(failed)?);
        Ok(self)
    }

    /// The same list, for who reads the configuration again.
    pub(super) fn denials(&self) -> Option<Denials> {
        self.denials.clone()
    }

    /// The API of these books; from now on the webhook sends.
    pub(super) fn admin(
        self,
        config: &Config,
        engine: &Engine,
        probe: Arc<dyn Probe>,
        stopped: &watch::Receiver<bool>,
    ) -> Admin {
        let store = match &config.ledger {
            Ledger::RocksDb(path) => Some(path.clone()),
            Ledger::Memory => None,
        };
        let webhook = self.webhook.map(|webhook| {
            let replay = webhook.replay();
            tokio::spawn(webhook.run(stopped.clone()));
            replay
        });
        let facts = Facts {
            realm: config.server.realm.as_ref().map_or_else(|| "settlement".into(), ToString::to_string),
            chain_id: config.chain.id.0,
            token: format!("{:#x}", config.payee.token),
            explorer: config.chain.explorer.clone(),
            started_at: SystemClock.now(),
            backend: engine.verifier().backend().name(),
            settle_age_s: config.settlement.age_s_max,
        };
        Admin {
            engine: engine.clone(),
            probe,
            metrics: self.metrics,
            snapshots: self.snapshots,
            store,
            key: self.key,
            webhook,
            denials: self.denials,
            board: Board::new(facts),
        }
    }
}
