//! SIGHUP: prices and limits are read again, while requests go on.
//!
//! Routes and `[risk]` come into force with the next request. A configuration that is refused changes nothing, and the log says
//! why. What else differs from the running server is named, and waits for a restart.

use std::path::Path;

use farebox_engine::LimitsFixed;

use crate::cli::load_config_for;
use crate::config::{Config, ConfigError, Purpose};
use crate::denials::Denials;
use crate::gateway::Gateway;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("risk: {0}")]
    Limits(#[from] LimitsFixed),
}

/// Reads the file again, and says in the log what came of it.
pub(super) fn reload(path: &Path, running: &Config, denials: Option<&Denials>, gateway: Option<&Gateway>) {
    match try_reload(path, running, denials, gateway) {
        Ok(waiting) => {
            metrics::counter!("farebox_reloads_total", "result" => "done").increment(1);
            tracing::info!("prices and limits were read again");
            if !waiting.is_empty() {
                tracing::warn!(sections = waiting.join(", "), "what else was changed comes with a restart");
            }
        }
        Err(error) => {
            metrics::counter!("farebox_reloads_total", "result" => "refused").increment(1);
            tracing::error!(%error, "the configuration is refused; prices and limits stay as they are");
        }
    }
}

/// Gives the sections that differ and wait for a restart.
fn try_reload(
    path: &Path,
    running: &Config,
    denials: Option<&Denials>,
    gateway: Option<&Gateway>,
) -> Result<Vec<&'static str>, ReloadError> {
    let purpose = if gateway.is_some() { Purpose::Serve } else { Purpose::Books };
    let wanted = load_config_for(path, purpose)?;
    // The only part that can be refused comes first.
    if let Some(denials) = denials {
        denials.set_configured(wanted.risk.clone())?;
    }
    if let Some(gateway) = gateway {
        gateway.set_routes(&wanted.routes);
    }
    let sections = [
        ("server", differ(&running.server, &wanted.server)),
        ("upstream", differ(&running.upstream, &wanted.upstream)),
        ("chain", differ(&running.chain, &wanted.chain)),
        ("payee", differ(&running.payee, &wanted.payee)),
        ("escrow", differ(&running.escrow, &wanted.escrow)),
        ("voucher", differ(&running.voucher, &wanted.voucher)),
        ("ledger", differ(&running.ledger, &wanted.ledger)),
        ("limits", differ(&running.limits, &wanted.limits)),
        ("books", differ(&running.books, &wanted.books)),
        ("settlement", differ(&running.settlement, &wanted.settlement)),
        ("discovery", differ(&running.discovery, &wanted.discovery)),
        ("sponsor", differ(&running.sponsor, &wanted.sponsor)),
        ("webhook", differ(&running.webhook, &wanted.webhook)),
        ("stripe", differ(&running.stripe, &wanted.stripe)),
        ("x402", differ(&running.x402, &wanted.x402)),
        ("local", differ(&running.local, &wanted.local)),
    ];
    Ok(sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect())
}

/// Some parts have no equality, all have a text.
fn differ(one: &impl std::fmt::Debug, other: &impl std::fmt::Debug) -> bool {
    format!("{one:?}") != format!("{other:?}")
}
