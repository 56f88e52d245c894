//! `farebox settle`: the books and their settlement behind the local API, and no gateway. The parts, their order at
//! the start and their order at the end are those of the server.

use std::path::Path;

use farebox_engine::backend_from_environment;
use tokio::sync::watch;

use super::local::Doors;
use super::panel::Panel;
use super::{
    End, ServeError, Settlement, Signals, descriptors, fail, hangups, keys, listen, local, local_address,
    panel, print, recorder, reload, retire, runtime, start_engine, until_the_end, wait_for_second_signal,
};
use crate::cli::load_config;
use crate::config::Config;
use crate::notify::{self, State};

/// Runs until a signal.
pub fn run(path: &Path) -> End {
    let config = match load_config(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime().and_then(|runtime| runtime.block_on(settle(path, config)));
    match ended {
        Ok(()) => End::Done,
        Err(error) => fail(&error),
    }
}

async fn settle(path: &Path, config: Config) -> Result<(), ServeError> {
    descriptors::raise();
    backend_from_environment()?;
    let mut signals =
        Signals::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })?;
    let mut hangups = hangups()?;
    let key = keys::payee_key(&config)?;
    let panel_keys = panel::Keys::read(&config)?;
    let metrics = recorder()?;
    // The places first: one that is taken is the most common mistake, and nothing has begun yet.
    let doors = Doors::open(&config).await?;
    let admin_listener = listen("server.admin_listen", config.server.admin_listen).await?;
    let admin_address = local_address(&admin_listener)?;
    let (engine, snapshots) = start_engine(&config).await?;
    let begun = match Panel::new(&config, &engine, metrics, snapshots, panel_keys).await {
        Ok(panel) => match Settlement::start(&config, &engine, key, None).await {
            Ok(settlement) => Ok((panel, settlement)),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error),
    };
    let (panel, settlement) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            if let Err(error) = engine.shutdown().await {
                tracing::error!(%error, "the books could not be closed");
            }
            return Err(error);
        }
    };
    let (stop, stopped) = watch::channel(false);
    if let Some(retention) = config.books.retention {
        tokio::spawn(retire::run(engine.clone(), retention, stopped.clone()));
    }
    let admin = panel.admin(&config, &engine, settlement.probe(), &stopped);
    let admin = admin.serve(admin_listener, stopped.clone());
    let mut line = serde_json::json!({ "adminListen": admin_address });
    doors.tell(&mut line);
    let api: local::Running = doors.serve(&config, &engine, settlement.chain(), &stopped);
    print(&line);
    tracing::info!(admin = %admin_address, "settling");

    notify::tell(State::Ready);
    let failure = until_the_end(&mut signals, &mut hangups, &engine, || {
        reload::reload(path, &config, &engine, None);
    })
    .await;
    notify::tell(State::Stopping);
    if let Some(error) = &failure {
        tracing::error!(%error, "stopping");
    }
    wait_for_second_signal(signals);
    stop.send_replace(true);
    api.ended().await;
    settlement.stop().await;
    let closed = engine.shutdown().await;
    admin.ended().await;
    if let Some(error) = failure {
        return Err(ServeError::Failed(error));
    }
    closed.map_err(ServeError::Failed)?;
    tracing::info!("stopped; the books are closed");
    Ok(())
}
