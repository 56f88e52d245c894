//! What the admin API is given.

use std::sync::Arc;

use farebox_engine::Engine;
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::ledger::Snapshots;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::admin::{Admin, AdminKey, Board, Facts, Probe};
use crate::config::{Config, Ledger};
use crate::keys::{self, KeyError};

/// Its parts beside the engine.
pub(super) struct Panel {
    pub(super) metrics: PrometheusHandle,
    pub(super) snapshots: Option<Snapshots>,
    pub(super) key: Option<Arc<AdminKey>>,
}

/// The key that permits actions, if the configuration names one.
pub(super) fn admin_key(config: &Config) -> Result<Option<Arc<AdminKey>>, KeyError> {
    let path = config.server.admin_key_file.as_deref();
    Ok(path.map(keys::admin_key).transpose()?.map(Arc::new))
}

impl Panel {
    /// The API of these books.
    pub(super) fn admin(self, config: &Config, engine: &Engine, probe: Arc<dyn Probe>) -> Admin {
        let facts = Facts {
            realm: config.server.realm.as_ref().map_or_else(|| "settlement".into(), ToString::to_string),
            chain_id: config.chain.id.0,
            token: format!("{:#x}", config.payee.token),
            started_at: SystemClock.now(),
            backend: engine.verifier().backend().name(),
            settle_age_s: config.settlement.age_s_max,
        };
        Admin {
            engine: engine.clone(),
            probe,
            metrics: self.metrics,
            snapshots: self.snapshots,
            store: match &config.ledger {
                Ledger::RocksDb(path) => Some(path.clone()),
                Ledger::Memory => None,
            },
            key: self.key,
            board: Board::new(facts),
        }
    }
}
