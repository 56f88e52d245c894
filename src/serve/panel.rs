//! What the admin API is given.

use std::sync::Arc;

use farebox_engine::Engine;
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::ledger::Snapshots;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::ServeError;
use crate::admin::{Admin, AdminKey, Board, Facts, Probe};
use crate::config::{Config, Ledger};
use crate::keys::{self, KeyError, Secret};
use crate::webhook::Webhook;

/// Its parts beside the engine.
pub(super) struct Panel {
    pub(super) metrics: PrometheusHandle,
    pub(super) snapshots: Option<Snapshots>,
    pub(super) keys: Keys,
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
    /// The API of these books; from now on the webhook is told what happens to them.
    pub(super) fn admin(
        self,
        config: &Config,
        engine: &Engine,
        probe: Arc<dyn Probe>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Admin, ServeError> {
        let store = match &config.ledger {
            Ledger::RocksDb(path) => Some(path.clone()),
            Ledger::Memory => None,
        };
        let webhook = match (&config.webhook, self.keys.webhook, &store) {
            (Some(settings), Some(key), Some(store)) => {
                let made = Webhook::new(settings, key, engine.clone(), store.clone());
                let what = "read the system's root certificates";
                let webhook = made.map_err(|cause| ServeError::System { what, cause })?;
                let replay = webhook.replay();
                tokio::spawn(webhook.run(stopped.clone()));
                Some(replay)
            }
            _ => None,
        };
        let facts = Facts {
            realm: config.server.realm.as_ref().map_or_else(|| "settlement".into(), ToString::to_string),
            chain_id: config.chain.id.0,
            token: format!("{:#x}", config.payee.token),
            started_at: SystemClock.now(),
            backend: engine.verifier().backend().name(),
            settle_age_s: config.settlement.age_s_max,
        };
        Ok(Admin {
            engine: engine.clone(),
            probe,
            metrics: self.metrics,
            snapshots: self.snapshots,
            store,
            key: self.keys.admin,
            webhook,
            board: Board::new(facts),
        })
    }
}
