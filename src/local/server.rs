//! The server side of the API: connections in, requests to the router, an end in order. HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::Failure;
use super::key;
use super::listen::{Listener, Stream};
use crate::keys::Secret;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a head may take to arrive, and how long a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_secs(60);
/// How long an open connection may still bring a request after `stop`: one may be on its way, and who keeps a connection
/// learns from the answer that it ends.
const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);
/// The pause after a failed accept (too many open files, most often).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open connections.
    pub connections_max: usize,
    /// How long running requests may take to end after `stop`.
    pub drain: Duration,
}

/// A place to listen, and who may come in there.
pub struct Door {
    /// Where.
    pub listener: Listener,
    /// What requests must show; `None` on a Unix socket, whose file is guarded.
    pub key: Option<Arc<Secret>>,
}

/// Serves until `stop` turns true; then takes nothing new, lets running requests end within the bound, and cuts what
/// is left. Returns how many connections were cut.
pub async fn run(door: Door, router: Router, bounds: Bounds, mut stop: watch::Receiver<bool>) -> usize {
    let Door { listener, key } = door;
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // A sender that is gone means the same as `true`.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, key, watcher) = (router.clone(), key.clone(), graceful.watcher());
                let stop = stop.clone();
                connections.spawn(async move {
                    serve(stream, router, key, watcher, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local API cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = timeout(bounds.drain, async {
        let ends = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(LAST_REQUEST_WAIT.min(bounds.drain / 2), ends).await;
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_ok() {
        return 0;
    }
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

type Accepted = (Box<dyn Stream>, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is room for one; until then it waits in the system's queue.
async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?, place))
}

async fn serve(
    stream: Box<dyn Stream>,
    router: Router,
    key: Option<Arc<Secret>>,
    watcher: Watcher,
    stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let is_known = key.as_ref().is_none_or(|key| key::is_shown(request.headers(), key));
        let answer = is_known.then(|| router.call(request));
        let stop = stop.clone();
        async move {
            let mut response = match answer {
                Some(answer) => answer.await?,
                None => unknown(),
            };
            if *stop.borrow() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection to the local API ended early");
    }
}

/// The answer to who shows no key, or another one.
fn unknown() -> Response {
    let detail = "expected Authorization: Bearer with the key of local.key_file";
    let mut response = Failure::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
