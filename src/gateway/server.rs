//! The server side of the gateway: connections in, requests to the handler, an end in order.
//!
//! HTTP/1.1 and HTTP/2: chosen in the TLS handshake, or without TLS by what the client says first. Everything that a stranger could hold open is bounded: the number
//! of connections, the size of a request's head, and the time that it may take.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::Body;
use super::tls::Tls;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 100;
/// How often a quiet HTTP/2 connection is asked whether it still lives.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
/// The pause after a failed accept (too many open files, most often).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long an open connection may still bring a request after `stop`: one may be on its way, and who keeps a connection
/// learns from the answer that it ends.
const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);
/// The pause between two looks at a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

/// The bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open connections.
    pub connections_max: usize,
    /// Open connections of one address that is not loopback; `None` is no limit.
    pub per_address_max: Option<usize>,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// How long a head may take to arrive; an idle connection ends after the same time.
    pub head_timeout: Duration,
    /// How long running requests may take to end after `stop`.
    pub drain: Duration,
}

/// What goes on with a connection after it switched protocols.
type Switched = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request of HTTP/1.1 carries this in its extensions: whoever answers it with 101 says here what happens then. The
/// connection keeps its place until that is over.
#[derive(Clone)]
pub struct Switch {
    then: Arc<Mutex<Option<Switched>>>,
    stop: watch::Receiver<bool>,
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Switch(..)")
    }
}

impl Switch {
    fn new(stop: watch::Receiver<bool>) -> Self {
        Self { then: Arc::default(), stop }
    }

    /// What happens after the answer.
    pub fn then(&self, switched: impl Future<Output = ()> + Send + 'static) {
        *self.then.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(switched));
    }

    /// Ready when the server stops.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        async move {
            // A sender that is gone means the same as `true`.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    fn take(&self) -> Option<Switched> {
        self.then.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Answers requests. The address is the peer's.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn handle(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` turns true; then takes nothing new, lets running requests end within the bound, and cuts
/// what is left. Returns how many connections were cut.
pub async fn run<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    bounds: Bounds,
    tls: Option<Arc<Tls>>,
    mut stop: watch::Receiver<bool>,
) -> usize {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let addresses = PerAddress::new(bounds.per_address_max);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // A sender that is gone means the same as `true`.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let Some(share) = addresses.enter(peer.ip()) else {
                    counter!("farebox_gateway_limited_total", "limit" => "connections_per_address")
                        .increment(1);
                    continue;
                };
                let acceptor = tls.as_ref().map(|tls| tls.acceptor());
                let connection =
                    Connection { handler: handler.clone(), bounds, peer, acceptor, stop: stop.clone() };
                let watcher = graceful.watcher();
                connections.spawn(async move {
                    connection.serve(stream, watcher).await;
                    drop((place, share));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = timeout(bounds.drain, async {
        let ends = async { while connections.join_next().await.is_some() {} };
        // Connections that are left after it are idle, or busy with a request.
        let _ = timeout(last_request_wait(bounds.drain), ends).await;
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

/// Never so long that nothing of the drain is left for who is busy.
fn last_request_wait(drain: Duration) -> Duration {
    LAST_REQUEST_WAIT.min(drain / 2)
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is room for one; until then it waits in the system's queue.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

struct Connection<H> {
    handler: Arc<H>,
    bounds: Bounds,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
}

impl<H: Handler> Connection<H> {
    async fn serve(mut self, stream: TcpStream, watcher: Watcher) {
        // A token is small and wanted at once.
        let _ = stream.set_nodelay(true);
        let (bounds, mut stop) = (self.bounds, self.stop.clone());
        // Who says nothing is owed nothing.
        let silent = async {
            // A sender that is gone means the same as `true`.
            let _ = stop.wait_for(|stop| *stop).await;
            sleep(last_request_wait(bounds.drain)).await;
        };
        match self.acceptor.take() {
            Some(acceptor) => {
                let shaken = tokio::select! {
                    () = silent => return,
                    shaken = timeout(bounds.head_timeout, acceptor.accept(stream)) => shaken,
                };
                match shaken {
                    Ok(Ok(stream)) => {
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        self.speak(TokioIo::new(stream), is_http2, watcher).await;
                    }
                    Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
                    Err(_) => slow(),
                }
            }
            None => {
                let preface = tokio::select! {
                    () = silent => return,
                    preface = timeout(bounds.head_timeout, speaks_http2(&stream)) => preface,
                };
                match preface {
                    Ok(Ok(is_http2)) => self.speak(TokioIo::new(stream), is_http2, watcher).await,
                    Ok(Err(_)) => {}
                    Err(_) => slow(),
                }
            }
        }
    }

    async fn speak<I>(self, io: I, is_http2: bool, watcher: Watcher)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let Self { handler, bounds, peer, stop, .. } = self;
        let switch = Switch::new(stop.clone());
        let stopped = switch.stopped();
        let switch = (!is_http2).then_some(switch);
        let switched = switch.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (handler, stop) = (handler.clone(), stop.clone());
            if let Some(switch) = &switch {
                request.extensions_mut().insert(switch.clone());
            }
            async move {
                let mut response = handler.handle(peer, request).await;
                if *stop.borrow() && !is_http2 {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().entry(CONNECTION).or_insert(close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let outcome = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(HTTP2_STREAMS_MAX)
                .max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX))
                .keep_alive_interval(HTTP2_PING_EVERY)
                .serve_connection(io, service);
            watcher.watch(connection).await
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.head_timeout)
                .max_buf_size(bounds.head_bytes_max)
                .serve_connection(io, service)
                .with_upgrades();
            // The watcher knows no connections that may switch; whoever waits for the end waits for this task too.
            drop(watcher);
            let quiet = async {
                stopped.await;
                sleep(last_request_wait(bounds.drain)).await;
            };
            tokio::pin!(connection);
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = quiet => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(error) = outcome {
            if error.is_timeout() {
                slow();
            }
            if error.is_parse_too_large() {
                counter!("farebox_gateway_limited_total", "limit" => "request_head_bytes").increment(1);
            }
            tracing::debug!(%peer, %error, "a connection ended early");
            return;
        }
        if let Some(switched) = switched.and_then(|switch| switch.take()) {
            switched.await;
        }
    }
}

/// Counts a client that took too long to say what it wants.
fn slow() {
    counter!("farebox_gateway_limited_total", "limit" => "head_timeout").increment(1);
}

/// How many connections each address has open.
struct PerAddress {
    maximum: Option<usize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PerAddress {
    fn new(maximum: Option<usize>) -> Arc<Self> {
        Arc::new(Self { maximum, open: Mutex::default() })
    }

    /// A place for one more connection; `None` when the address has too many. Loopback is us, or a proxy of ours.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let Some(maximum) = self.maximum.filter(|_| !address.is_loopback()) else {
            return Some(Share { of: None, address });
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= maximum {
            return None;
        }
        *count += 1;
        Some(Share { of: Some(Arc::clone(self)), address })
    }
}

/// One connection's place.
struct Share {
    of: Option<Arc<PerAddress>>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(addresses) = &self.of else { return };
        let mut open = addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 || seen[..count] != HTTP2_PREFACE[..count] {
            return Ok(false);
        }
        if count == HTTP2_PREFACE.len() {
            return Ok(true);
        }
        sleep(PREFACE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = PerAddress::new(Some(2));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = addresses.enter(one).unwrap();
        let _second = addresses.enter(one).unwrap();
        assert!(addresses.enter(one).is_none());
        assert!(addresses.enter(other).is_some());
        drop(first);
        assert!(addresses.enter(one).is_some());
        let local = IpAddr::from([127, 0, 0, 1]);
        let places: Vec<_> = (0..9).map(|_| addresses.enter(local)).collect();
        assert!(places.iter().all(Option::is_some), "a proxy on this machine brings everybody");
        drop((places, _second));
        assert!(addresses.open.lock().unwrap().is_empty());
    }
}
