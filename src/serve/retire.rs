//! Channels that closed long ago are retired: some images are looked at, then there is a pause.

use std::time::Duration;

use farebox_engine::clock::Clock;
use farebox_engine::core::units::{ChannelId, UnixSeconds};
use farebox_engine::{Engine, EngineError, RetireStep, SystemClock};
use tokio::sync::watch;

/// The pause between two looks: some hundred images a second cost little, and all of ten million are seen in a day.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after all images were seen.
const PASS_EVERY: Duration = Duration::from_secs(600);

/// Retires what closed more than `retention` ago, until `stopped` says true.
pub(super) async fn run(engine: Engine, retention: Duration, mut stopped: watch::Receiver<bool>) {
    let mut after = None;
    loop {
        let pause = match look(engine.clone(), after, retention).await {
            Ok(RetireStep { next, retired, buried }) => {
                if buried > 0 {
                    metrics::counter!("farebox_channels_retired_total").increment(buried as u64);
                }
                if retired + buried > 0 {
                    tracing::debug!(retired, buried, "channels that are over were retired");
                }
                after = next;
                if next.is_some() { LOOK_EVERY } else { PASS_EVERY }
            }
            Err(EngineError::Busy { retry_after_ms }) => Duration::from_millis(retry_after_ms),
            Err(error) => {
                tracing::warn!(%error, "channels that are over cannot be retired");
                PASS_EVERY
            }
        };
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One look, in a thread that may block.
async fn look(
    engine: Engine,
    after: Option<ChannelId>,
    retention: Duration,
) -> Result<RetireStep, EngineError> {
    let look = tokio::task::spawn_blocking(move || {
        let before = UnixSeconds(SystemClock.now().0.saturating_sub(retention.as_secs()));
        engine.retire_closed(after, before)
    });
    look.await.unwrap_or(Err(EngineError::Stopped))
}
