//! `farebox settle --watch`: the program around [`farebox_settlement::Watchtower`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use farebox_engine::ledger::LedgerRead;
use farebox_engine::{RocksLedger, backend_from_environment};
use farebox_settlement::{OpenBooks, Watchtower, WatchtowerConfig, WatchtowerError};
use tokio::sync::watch;

use super::panel::Panel;
use super::settlement::{check_chain, client, settings};
use super::{
    End, ServeError, Signals, fail, keys, listen, local_address, panel, print, recorder, runtime,
    start_engine, wait_for_second_signal,
};
use crate::admin::Probe;
use crate::cli::load_config;
use crate::config::{Config, Ledger};

/// Runs until a signal.
pub fn run(path: &Path, books: &Path, watch: WatchtowerConfig) -> End {
    let config = match load_config(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    if config.ledger == Ledger::RocksDb(books.into()) {
        return fail(&ServeError::OwnBooks { path: books.into() });
    }
    let ended = runtime().and_then(|runtime| runtime.block_on(stand(copying(config), books.into(), watch)));
    match ended {
        Ok(()) => End::Done,
        Err(error) => fail(&error),
    }
}

/// What the followed books took is copied as it is: limits are for those who sell.
fn copying(mut config: Config) -> Config {
    config.risk = farebox_engine::core::channel::Limits::default();
    config.voucher.delta_min = farebox_engine::core::units::Amount::ZERO;
    config
}

async fn stand(config: Config, books: PathBuf, watch: WatchtowerConfig) -> Result<(), ServeError> {
    backend_from_environment()?;
    let mut signals =
        Signals::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })?;
    let signer = keys::payee_key(&config)?;
    keys::check_payee_key(&config, &signer).await?;
    let panel_keys = panel::Keys::read(&config)?;
    let metrics = recorder()?;
    let admin_listener = listen("server.admin_listen", config.server.admin_listen).await?;
    let admin_address = local_address(&admin_listener)?;
    let client = client(&config)?;
    check_chain(&config, &client).await?;
    // Books that cannot be read now may never be: said before anybody counts on the watchtower.
    drop(RocksLedger::open_read_only(&books)?);
    let (engine, snapshots) = start_engine(&config, None).await?;
    let (stop, stopped) = watch::channel(false);
    let panel = Panel::new(&config, &engine, metrics, snapshots, panel_keys).await?;
    let admin = panel.admin(&config, &engine, Arc::new(Nothing), &stopped);
    let admin = admin.serve(admin_listener, stopped.clone());
    let followed = books.clone();
    let books: Arc<OpenBooks> =
        Arc::new(move || Ok(Box::new(RocksLedger::open_read_only(&followed)?) as Box<dyn LedgerRead>));
    let tower =
        Watchtower { config: settings(&config), watch, engine: engine.clone(), client, signer, books };
    let mut tower = tokio::spawn(tower.run(stopped));
    print(&serde_json::json!({ "adminListen": admin_address }));
    tracing::info!(admin = %admin_address, after_s = watch.after_s, "watching");

    let failure = tokio::select! {
        () = signals.next() => None,
        ended = &mut tower => Some(failed(ended)),
    };
    wait_for_second_signal(signals);
    stop.send_replace(true);
    let ended = match failure {
        Some(failure) => failure,
        None => failed(tower.await),
    };
    let closed = engine.shutdown().await;
    admin.ended().await;
    ended?;
    closed.map_err(ServeError::Failed)
}

fn failed(ended: Result<Result<(), WatchtowerError>, tokio::task::JoinError>) -> Result<(), ServeError> {
    let panicked = |error| ServeError::System { what: "watch", cause: std::io::Error::other(error) };
    ended.map_err(panicked)?.map_err(ServeError::Watchtower)
}

/// What the admin API asks: alarms of a watchtower are in its metrics.
struct Nothing;

impl Probe for Nothing {
    fn probe(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
