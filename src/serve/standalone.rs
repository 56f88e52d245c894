//! `farebox settle`: the books and their settlement behind the local API, and no gateway. The parts, their order at
//! the start and their order at the end are those of the server.

use std::path::Path;

use farebox_engine::backend_from_environment;
use tokio::sync::watch;

use super::local::Doors;
use super::panel::Panel;
use super::sockets::{ADMIN, Sockets};
use super::{
    End, ServeError, Settlement, Signals, descriptors, fail, given, hangups, keys, local, local_address,
    panel, print, recorder, reload, retire, runtime, start_engine, until_the_end, wait_for_second_signal,
};
use crate::cli::load_config;
use crate::config::Config;
use crate::notify::{self, State};

/// Runs until a signal.
pub fn run(path: &Path, take_over: bool) -> End {
    let config = match load_config(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    let ended = given(&config)
        .and_then(|sockets| Ok((sockets, runtime()?)))
        .and_then(|(sockets, runtime)| runtime.block_on(settle(path, config, sockets, take_over)));
    match ended {
        Ok(()) => End::Done,
        Err(error) => fail(&error),
    }
}

async fn settle(
    path: &Path,
    config: Config,
    mut sockets: Sockets,
    take_over: bool,
) -> Result<(), ServeError> {
    descriptors::raise();
    backend_from_environment()?;
    let mut signals =
        Signals::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })?;
    let mut hangups = hangups()?;
    let key = keys::payee_key(&config)?;
    keys::check_payee_key(&config, &key).await?;
    let panel_keys = panel::Keys::read(&config)?;
    let metrics = recorder()?;
    // Nothing has changed yet: whatever is wrong with this process was found before.
    if take_over {
        sockets.take_over(&config).await?;
    }
    // The places first: one that is taken is the most common mistake, and nothing has begun yet.
    let doors = Doors::open(&config, &mut sockets).await?;
    let admin_listener = sockets.tcp(ADMIN, config.server.admin_listen).await?;
    let admin_address = local_address(&admin_listener)?;
    let (engine, snapshots) = start_engine(&config, sockets.former()).await?;
    let panel = match Panel::new(&config, &engine, metrics, snapshots, panel_keys).await {
        Ok(panel) => panel.with_denials(&config, &engine).await,
        Err(error) => Err(error),
    };
    let denials = panel.as_ref().ok().and_then(Panel::denials);
    let begun = match panel {
        Ok(panel) => match Settlement::start(&config, &engine, key, None).await {
            Ok(settlement) => sockets
                .offer(config.server.handover_socket.as_ref())
                .map(|handover| (panel, settlement, handover)),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error),
    };
    let (panel, settlement, handover) = match begun {
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
    let reason = until_the_end(&mut signals, &mut hangups, &engine, handover, || {
        reload::reload(path, &config, denials.as_ref(), None);
    })
    .await;
    notify::tell(State::Stopping);
    reason.log();
    wait_for_second_signal(signals);
    stop.send_replace(true);
    api.ended().await;
    settlement.stop().await;
    let closed = engine.shutdown().await;
    admin.ended().await;
    reason.end(closed)
}
