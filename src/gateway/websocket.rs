//! WebSockets through the gateway (RFC 6455, over HTTP/1.1).
//!
//! A route with `transport = "websocket"` takes them. By the request: the upgrade is one paid request, and what follows
//! crosses untouched. By the message (`meter = "websocket_message"`): the gateway ends the socket of the client and the one
//! of the upstream, and `engine::http::websocket` charges each message in between; the upstream is asked only once
//! somebody pays. Both count as connections for as long as they are open, and end when nothing is said on them for
//! `upstream.idle_timeout_s`.
//!
//! Only a 101 that proves that it read the client's key opens a tunnel: an upstream that answers otherwise has not
//! switched, and would read what the client sends next as requests that nobody paid.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farebox_engine::http::websocket::{self, Away, Message, Reason, Sale, Socket};
use farebox_engine::http::{Asked, BoxError, Decision, Offer, Paid};
use futures_util::future::ready;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tracing::Instrument as _;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::body::{Body, full};
use super::headers::{self, ClientSide};
use super::idle::{Activity, Watched};
use super::problem::Problem;
use super::server::Switch;
use super::upstream::Upstream;
use super::{Gateway, NO_CHARGE};
use crate::traces;

/// The version of the protocol.
const VERSION: &str = "13";
/// The longest message of an upstream: as long as an event may be.
const SERVICE_MESSAGE_BYTES_MAX: usize = farebox_engine::http::sse::EVENT_BYTES_MAX;
/// The least that a client's message may be long: a credential must fit.
const CLIENT_MESSAGE_BYTES_MIN: usize = 64 * 1024;

type Connection = Watched<TokioIo<Upgraded>>;

/// What a client wants that asks for a WebSocket.
#[derive(Debug)]
pub struct Wanted {
    key: HeaderValue,
    switch: Switch,
}

/// Whether a request asks for a WebSocket; an error when it asks for one that cannot be.
pub fn wanted<B>(request: &Request<B>) -> Result<Option<Wanted>, Problem> {
    let headers = request.headers();
    let asks = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers.get_all(CONNECTION), "upgrade")
        && has_token(headers.get_all(UPGRADE), "websocket");
    let Some(switch) = request.extensions().get::<Switch>().filter(|_| asks) else { return Ok(None) };
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(Problem::WebSocketVersion);
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(Some(Wanted { key: key.clone(), switch: switch.clone() })),
        _ => Err(Problem::WebSocketKey),
    }
}

fn has_token(values: http::header::GetAll<'_, HeaderValue>, token: &str) -> bool {
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

impl Gateway {
    /// A socket whose upgrade is one request, paid or free.
    pub(super) async fn pass_socket(
        &self,
        peer: SocketAddr,
        mut request: Request<Body>,
        wanted: Wanted,
        paid: Option<Paid>,
    ) -> Result<Response<Body>, Problem> {
        let client = hyper::upgrade::on(&mut request);
        let answer = self.switched(peer, request, &wanted).await;
        let mut answer = match (answer, paid) {
            (Ok(answer), None) => answer.map(BodyExt::boxed_unsync),
            (Ok(answer), Some(paid)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let (parts, _) = answer.into_parts();
                // The door knows answers that are delivered or not: this one is.
                let delivered = Response::new(Full::new(Bytes::new()));
                let receipt = paid.deliver(Ok::<_, std::io::Error>(delivered)).await;
                if !receipt.status().is_success() {
                    return Ok(receipt);
                }
                let mut answer = Response::from_parts(parts, full(Bytes::new()));
                answer.headers_mut().extend(receipt.headers().clone());
                answer
            }
            (Ok(answer), Some(paid)) => return Ok(paid.deliver(Ok::<_, std::io::Error>(answer)).await),
            (Err(problem), paid) => {
                if let Some(paid) = paid {
                    paid.release().await;
                }
                return Err(problem);
            }
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upstream = hyper::upgrade::on(&mut answer);
            wanted.switch.then(tunnel(client, upstream, self.upstream.idle_timeout()));
        }
        Ok(answer)
    }

    /// Asks the upstream for a socket: an answer that is no switch, or one that is proven.
    async fn switched(
        &self,
        peer: SocketAddr,
        request: Request<Body>,
        wanted: &Wanted,
    ) -> Result<Response<super::body::IdleTimeout<Incoming>>, Problem> {
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        headers::to_upstream(&mut parts.headers, self.client_side(peer.ip(), host.as_deref()), false);
        ask_for_switch(&mut parts.headers);
        let mut answer = self.upstream.send(Request::from_parts(parts, body)).await?;
        let is_switch = is_proven(&answer, &wanted.key)?;
        headers::to_client(answer.headers_mut());
        *answer.version_mut() = Version::default();
        if is_switch {
            ask_for_switch(answer.headers_mut());
        }
        Ok(answer)
    }

    /// A socket that is paid message by message.
    pub(super) async fn metered_socket(
        &self,
        peer: SocketAddr,
        mut request: Request<Body>,
        wanted: Wanted,
        offer: &Offer,
    ) -> Response<Body> {
        let address = self.client(&request, peer);
        let mut beginning = None;
        if request.headers().contains_key(http::header::AUTHORIZATION) {
            let asked = Asked {
                method: request.method(),
                headers: request.headers(),
                body_is_empty: true,
                body_digest: None,
                target: None,
                address,
            };
            let decision = self.door.decide_offer(asked, offer).instrument(traces::door());
            match self.latency.door.time(decision).await {
                Decision::Answer(answer) => return answer,
                Decision::Paid(paid) => beginning = Some(paid),
                Decision::Charged(_) => unreachable!("{NO_CHARGE}"),
            }
        }
        let protocol = first_protocol(request.headers());
        let mut answer = Response::new(full(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        ask_for_switch(answer.headers_mut());
        let accept = derive_accept_key(wanted.key.as_bytes());
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = &protocol {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        let client = hyper::upgrade::on(&mut request);
        let session = Session {
            sale: Sale { door: self.door.clone(), offer: offer.clone(), address },
            upstream: Arc::clone(&self.upstream),
            request: self.upstream_request(peer.ip(), request, protocol),
            client_bytes_max: usize::try_from(self.body_bytes_max)
                .unwrap_or(usize::MAX)
                .max(CLIENT_MESSAGE_BYTES_MIN),
        };
        let stop = wanted.switch.stopped();
        wanted.switch.then(session.run(client, beginning, stop));
        answer
    }

    /// The request by which the upstream is asked for its side, with a key of our own.
    fn upstream_request(
        &self,
        peer: IpAddr,
        request: Request<Body>,
        protocol: Option<HeaderValue>,
    ) -> Request<Body> {
        let (mut parts, _) = request.into_parts();
        let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        headers::to_upstream(&mut parts.headers, self.client_side(peer, host.as_deref()), false);
        ask_for_switch(&mut parts.headers);
        for name in [SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL] {
            parts.headers.remove(name);
        }
        if let Some(protocol) = protocol {
            parts.headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        if let Ok(key) = HeaderValue::from_str(&generate_key()) {
            parts.headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        let mut request = Request::new(full(Bytes::new()));
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        request
    }

    fn client_side<'a>(&self, address: IpAddr, host: Option<&'a str>) -> ClientSide<'a> {
        ClientSide { address, host, trusted: self.trusts_client_side, is_tls: self.is_tls }
    }
}

/// `Connection` and `Upgrade` belong to one connection: each side of the gateway sets its own.
fn ask_for_switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether an answer is a switch to WebSocket for this key; a switch to anything else is an error.
fn is_proven<B>(answer: &Response<B>, key: &HeaderValue) -> Result<bool, Problem> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(false);
    }
    let accept = answer.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    let is_ours = accept == Some(derive_accept_key(key.as_bytes()).as_bytes())
        && has_token(answer.headers().get_all(UPGRADE), "websocket");
    if is_ours {
        return Ok(true);
    }
    Err(Problem::UpstreamAnswer("the service behind this gateway switched to something that is no WebSocket"))
}

/// The protocol that the client likes best. What the upstream speaks is not known before somebody pays.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let first = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?.split(',').next()?.trim();
    HeaderValue::from_str(first).ok().filter(|first| !first.is_empty())
}

/// Carries bytes both ways until one side ends, or nobody says anything.
async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, idle: Duration) {
    let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
    let activity = Activity::new();
    let mut client = Watched::new(TokioIo::new(client), &activity);
    let mut upstream = Watched::new(TokioIo::new(upstream), &activity);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
        () = activity.idle(idle) => tracing::debug!("a WebSocket was quiet for too long"),
    }
}

/// A metered socket, and what its upstream side needs.
struct Session {
    sale: Sale,
    upstream: Arc<Upstream>,
    request: Request<Body>,
    client_bytes_max: usize,
}

impl Session {
    async fn run(self, client: OnUpgrade, beginning: Option<Paid>, stop: impl Future<Output = ()>) {
        let Ok(client) = client.await else { return };
        let Self { sale, upstream, request, client_bytes_max } = self;
        let activity = Activity::new();
        let idle = upstream.idle_timeout();
        let client = Watched::new(TokioIo::new(client), &activity);
        let client = open(client, Role::Server, client_bytes_max).await;
        let watched = activity.clone();
        let dial = || async move { dial(&upstream, request, &watched).await };
        tokio::select! {
            () = websocket::serve(sale, client, beginning, dial, stop) => {}
            () = activity.idle(idle) => tracing::debug!("a WebSocket was quiet for too long"),
        }
    }
}

/// Opens the upstream's side.
async fn dial(upstream: &Upstream, request: Request<Body>, activity: &Activity) -> Result<AnySocket, Away> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let key = key.unwrap_or(HeaderValue::from_static(""));
    let away = |problem: &Problem| Away { status: problem.status().as_u16(), detail: problem.detail() };
    let mut answer = upstream.send(request).await.map_err(|problem| away(&problem))?;
    if !is_proven(&answer, &key).map_err(|problem| away(&problem))? {
        let status = answer.status();
        tracing::warn!(%status, "the upstream did not open a WebSocket");
        return Err(away(&Problem::UpstreamAnswer("the service behind this gateway opened no WebSocket")));
    }
    let switched = hyper::upgrade::on(&mut answer).await.map_err(|error| {
        tracing::warn!(%error, "the upstream broke off a WebSocket");
        away(&Problem::UpstreamAway)
    })?;
    let connection = Watched::new(TokioIo::new(switched), activity);
    Ok(open(connection, Role::Client, SERVICE_MESSAGE_BYTES_MAX).await)
}

type AnySocket = Socket<
    std::pin::Pin<Box<dyn Stream<Item = Result<Message, BoxError>> + Send>>,
    std::pin::Pin<Box<dyn Sink<Message, Error = BoxError> + Send>>,
>;

/// Reads and writes messages on a connection that has switched.
async fn open(connection: Connection, role: Role, message_bytes_max: usize) -> AnySocket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let socket = WebSocketStream::from_raw_socket(connection, role, Some(config)).await;
    let (outgoing, incoming) = socket.split();
    let incoming = incoming.filter_map(|next| ready(read(next)));
    let outgoing = outgoing
        .with(|message| ready(Ok::<_, tungstenite::Error>(written(message))))
        .sink_map_err(|error: tungstenite::Error| BoxError::from(error));
    Socket { incoming: Box::pin(incoming), outgoing: Box::pin(outgoing) }
}

/// A message of the peer; its pings are answered below, and say nothing.
fn read(next: Result<tungstenite::Message, tungstenite::Error>) -> Option<Result<Message, BoxError>> {
    Some(Ok(match next {
        Ok(tungstenite::Message::Text(text)) => Message::Text(text.as_str().to_owned()),
        Ok(tungstenite::Message::Binary(bytes)) => Message::Binary(bytes),
        Ok(tungstenite::Message::Close(frame)) => Message::Close(match frame {
            Some(frame) => Reason::new(frame.code.into(), frame.reason.as_str()),
            None => Reason::new(Reason::NONE, ""),
        }),
        Ok(_) => return None,
        Err(error) => return Some(Err(error.into())),
    }))
}

fn written(message: Message) -> tungstenite::Message {
    match message {
        Message::Text(text) => tungstenite::Message::Text(text.into()),
        Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        // "No code" is what the absence of a code is called: it is never sent.
        Message::Close(reason) if reason.code == Reason::NONE => tungstenite::Message::Close(None),
        Message::Close(reason) => tungstenite::Message::Close(Some(CloseFrame {
            code: reason.code.into(),
            reason: reason.text.into(),
        })),
    }
}
