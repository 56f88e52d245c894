//! New blocks, told by a node over a WebSocket (`eth_subscribe`, `newHeads`).
//!
//! A word of it only wakes the watcher, which then asks the nodes as always: what decides money never comes over this
//! way. So it needs no quorum, and nothing is lost when it falls silent: while the subscription does not live, the
//! watcher polls as often as without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farebox_settlement_plan::Backoff;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

/// The question. The answer names the subscription, and every new block is a message.
const SUBSCRIBE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
/// The longest message that is read, in bytes: a head is less than two thousand.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How long a connection may take.
const CONNECT_S_MAX: u64 = 10;
/// A subscription that says nothing for so long is asked whether it lives.
const SILENCE_S_MAX: u64 = 15;
/// The pauses before another connection.
const PAUSES: Backoff = Backoff { first_ms: 500, max_ms: 60_000 };

/// What the watcher sees of it.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    told: Notify,
    is_live: AtomicBool,
}

impl Heads {
    /// True while new blocks are told.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    /// Waits until a new block was told.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    fn set_live(&self, is_live: bool) {
        self.is_live.store(is_live, Ordering::Relaxed);
        metrics::gauge!("farebox_heads_live").set(f64::from(u8::from(is_live)));
        // What happened in between is looked for at once.
        self.told.notify_one();
    }
}

/// Why a subscription ended. The address may hold a key, so no text of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Ended {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("the connection broke")]
    Broken,
    #[error("the node closed it")]
    Closed,
    #[error("the node refuses the subscription")]
    Refused,
    #[error("it fell silent")]
    Silent,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed,
            _ => Self::Broken,
        }
    }
}

/// Subscribes at `url`, again and again, until told to stop.
pub(crate) async fn follow(url: String, heads: Arc<Heads>, mut stop: watch::Receiver<bool>) {
    let mut failures = 0_u32;
    loop {
        let ended = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            ended = subscribe(&url, &heads) => ended,
        };
        failures = if heads.is_live() { 1 } else { failures.saturating_add(1) };
        heads.set_live(false);
        tracing::warn!(failures, %ended, "no new blocks over the WebSocket; the watcher polls");
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(Duration::from_millis(PAUSES.delay_ms(failures))) => {}
        }
    }
}

/// One subscription, until it ends.
async fn subscribe(url: &str, heads: &Heads) -> Ended {
    match listen(url, heads).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn listen(url: &str, heads: &Heads) -> Result<std::convert::Infallible, Ended> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connecting = connect_async_tls_with_config(url, Some(config), true, connector(url));
    let connected = tokio::time::timeout(Duration::from_secs(CONNECT_S_MAX), connecting).await;
    let (mut socket, _) = connected.map_err(|_| Ended::Unreachable)?.map_err(|_| Ended::Unreachable)?;
    socket.send(Message::text(SUBSCRIBE)).await?;
    let mut is_asked = false;
    loop {
        let next = tokio::time::timeout(Duration::from_secs(SILENCE_S_MAX), socket.next()).await;
        match next {
            Err(_) if is_asked => return Err(Ended::Silent),
            Err(_) => {
                is_asked = true;
                socket.send(Message::Ping(Bytes::new())).await?;
                continue;
            }
            Ok(None) | Ok(Some(Ok(Message::Close(_)))) => return Err(Ended::Closed),
            Ok(Some(Ok(Message::Text(text)))) => {
                if text.contains("\"error\"") {
                    return Err(Ended::Refused);
                }
                if heads.is_live() {
                    heads.told.notify_one();
                } else {
                    tracing::info!("new blocks are told over the WebSocket");
                    heads.set_live(true);
                }
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(error.into()),
        }
        is_asked = false;
    }
}

/// With TLS: trust in what the system trusts.
fn connector(url: &str) -> Option<Connector> {
    if !url.starts_with("wss:") {
        return Some(Connector::Plain);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(Connector::Rustls(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
