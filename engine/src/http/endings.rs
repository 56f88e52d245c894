//! Ends streams when their channel stops to serve: the payer asked on chain to close, or the channel is over.
//!
//! Without this a stream would notice only when its next event cannot be charged, and one whose service is quiet would
//! stay open for as long as the service is. What was delivered is charged, as at the end of every stream.

use std::sync::{Arc, Weak};

use farebox_core::channel::{Phase, Snapshot};
use farebox_core::units::ChannelId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::door::Inner;

/// Follows the books' endings for as long as the door is there. Without a runtime there are no streams either.
pub(super) fn follow(inner: &Arc<Inner>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let endings = inner.engine.subscribe_endings();
    runtime.spawn(run(Arc::downgrade(inner), endings));
}

async fn run(door: Weak<Inner>, mut endings: Receiver<ChannelId>) {
    loop {
        let ended = endings.recv().await;
        let Some(inner) = door.upgrade() else { return };
        match ended {
            Ok(channel) => inner.streams.ask_to_end(channel),
            Err(RecvError::Lagged(_)) => inner.end_streams_without_service().await,
            Err(RecvError::Closed) => return,
        }
    }
}

impl Inner {
    /// Looks through all channels with streams, after endings were missed.
    async fn end_streams_without_service(&self) {
        for channel in self.streams.running() {
            // A machine that cannot answer ends the streams by itself, at their next charge.
            let Ok(Some(found)) = self.engine.read(channel).await else { continue };
            if !serves(&found.snapshot) {
                self.streams.ask_to_end(channel);
            }
        }
    }
}

fn serves(snapshot: &Snapshot) -> bool {
    snapshot.phase == Phase::Open && snapshot.close_requested_at.is_none()
}
