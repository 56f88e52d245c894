//! The gateway: a reverse proxy that asks for the fare.
//!
//! Every request goes the same way: path, route, size, then the door of `engine::http` (unless the route is
//! free), then the upstream, and the answer back through [`farebox_engine::http::Paid::deliver`], which charges
//! before a byte leaves. No rule about money lives here.
//!
//! - The first route that takes the path and the method decides. No route: 404 (405 for another method). What is
//!   not routed is not served: a new page of the upstream does not become free by accident.
//! - Only an answer with a 2xx status is charged. Anything else is passed on, and costs nothing; neither does an
//!   upstream that is away (502), slow (504) or gets a body that is too long (413).
//! - A stream that is metered by events is charged event by event; see `engine::http::sse`.
//! - A route may take WebSockets: paid by the upgrade, or message by message. A route may sell tools (MCP), paid by the call.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use farebox_engine::http::{Asked, Decision, Door, Meter, Offer, Route};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::config::{Config, Fare, Found, Price, Routes, SERVES, Transport, read_path};
use crate::traces;

mod body;
mod digest;
mod headers;
mod idle;
mod latency;
mod mcp;
mod openapi;
mod problem;
mod server;
mod tls;
mod upstream;
mod websocket;

pub use server::{Bounds, run};
pub use tls::{Tls, TlsError};

use body::{Body, IdleTimeout, Sender};
use headers::ClientSide;
use latency::Latency;
use problem::Problem;
use server::Handler;
use upstream::Upstream;

/// Why a charge cannot come where messages are sold: it pays for one whole answer, so only plain routes offer it.
const NO_CHARGE: &str =
    "a route with messages offers no charge, and the door takes none that it did not offer";

/// What costs how much.
struct Tariff {
    routes: Routes,
    /// For each route what the door offers; `None` when it is free.
    offers: Vec<Option<Offer>>,
}

impl Tariff {
    fn new(routes: &Routes, door: &Door) -> Arc<Self> {
        let offer = |priced: &crate::config::Route| match &priced.fare {
            Fare::Free => None,
            Fare::Paid(price) => {
                // The configuration refuses others; see NO_CHARGE.
                let is_plain = priced.transport == Transport::Http;
                let charge = price.charge.filter(|_| is_plain);
                let other_charges = if is_plain { price.other_charges.clone() } else { BTreeMap::new() };
                Some(door.offer(Route { charge, other_charges, ..route(price) }))
            }
        };
        let offers = routes.as_slice().iter().map(offer).collect();
        Arc::new(Self { routes: routes.clone(), offers })
    }
}

/// The gateway. It holds no state of its own but its tariff, which may be exchanged.
pub struct Gateway {
    door: Door,
    tariff: RwLock<Arc<Tariff>>,
    upstream: Arc<Upstream>,
    body_bytes_max: u64,
    body_timeout: Duration,
    trusts_client_side: bool,
    is_tls: bool,
    /// What `/openapi.json` says, if it is there.
    facts: Option<openapi::Facts>,
    latency: Latency,
}

impl Gateway {
    /// A gateway in front of the configured upstream. An error: the system's root certificates cannot be read.
    pub fn new(config: &Config, door: Door) -> std::io::Result<Self> {
        let body_bytes_max = config.limits.request_body_bytes_max;
        Ok(Self {
            tariff: RwLock::new(Tariff::new(&config.routes, &door)),
            door,
            upstream: Arc::new(Upstream::new(config.upstream.as_ref().expect(SERVES), body_bytes_max)?),
            body_bytes_max,
            body_timeout: config.limits.request_body_timeout,
            trusts_client_side: config.server.trust_forwarded_headers,
            is_tls: config.server.tls.is_some(),
            facts: config.discovery.clone().map(|discovery| openapi::Facts::new(discovery, config)),
            latency: Latency::new(),
        })
    }

    /// Exchanges the tariff; requests that are under way keep theirs.
    pub fn set_routes(&self, routes: &Routes) {
        let tariff = Tariff::new(routes, &self.door);
        *self.tariff.write().unwrap_or_else(PoisonError::into_inner) = tariff;
    }

    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let path = read_path(request.uri().path()).ok_or(Problem::AmbiguousPath)?;
        let tariff = Arc::clone(&self.tariff.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(facts) = self.facts.as_ref().filter(|_| path == openapi::PATH)
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            if let Err(answer) = self.door.admit(self.client(&request, peer)) {
                return Ok(*answer);
            }
            return self.show(peer, facts, &tariff.routes).await;
        }
        let (place, route) = match tariff.routes.find(request.method(), &path) {
            Found::Route(place, route) => (place, route),
            Found::OtherMethods(methods) => return Err(Problem::Method(methods)),
            Found::Nothing => return Err(Problem::NoRoute),
        };
        traces::note_route(&route.pattern);
        self.check_size(&request)?;
        let body_is_empty = request.body().is_end_stream();
        let mut request = request.map(|body| self.bounded(body));
        let wanted = match route.transport {
            Transport::WebSocket => websocket::wanted(&request)?,
            Transport::Http | Transport::Mcp => None,
        };
        let Some(offer) = &tariff.offers[place] else {
            if let Err(answer) = self.door.admit(self.client(&request, peer)) {
                return Ok(*answer);
            }
            if let Some(wanted) = wanted {
                return self.pass_socket(peer, request, wanted, None).await;
            }
            let answer = self.send(peer, request, false).await?;
            return Ok(answer.map(BodyExt::boxed_unsync));
        };
        let wanted = match wanted {
            Some(wanted) if offer.route().meter == Meter::WebSocketMessage => {
                return Ok(self.metered_socket(peer, request, wanted, offer).await);
            }
            wanted => wanted,
        };
        if route.transport == Transport::Mcp {
            if mcp::brings_messages(&request, body_is_empty) {
                return self.mcp_message(peer, request, offer).await;
            }
            if matches!(*request.method(), Method::GET | Method::DELETE) {
                return self.mcp_transport(peer, request).await;
            }
        }
        let mut body_digest = None;
        if offer.route().binds_body && !body_is_empty {
            (request, body_digest) = digest::read(request, self.body_bytes_max).await?;
        }
        let asked = Asked {
            method: request.method(),
            headers: request.headers(),
            body_is_empty,
            body_digest: body_digest.as_deref(),
            target: request.uri().path_and_query().map(http::uri::PathAndQuery::as_str),
            address: self.client(&request, peer),
        };
        let decision = self.door.decide_offer(asked, offer).instrument(traces::door());
        let paid = match self.latency.door.time(decision).await {
            Decision::Answer(answer) => return Ok(answer),
            Decision::Paid(paid) => paid,
            Decision::Charged(charged) => {
                let answer = self.send(peer, request, false).await?;
                let delivered = charged.deliver(Ok::<_, std::io::Error>(answer)).instrument(traces::books());
                return Ok(self.latency.books.time(delivered).await);
            }
        };
        if let Some(wanted) = wanted {
            return self.pass_socket(peer, request, wanted, Some(paid)).await;
        }
        match self.send(peer, request, paid.reads_body()).await {
            Ok(answer) => {
                let delivered = paid.deliver(Ok::<_, std::io::Error>(answer)).instrument(traces::books());
                Ok(self.latency.books.time(delivered).await)
            }
            Err(problem) => {
                paid.release().await;
                Err(problem)
            }
        }
    }

    /// What there is to pay for.
    async fn show(
        &self,
        peer: SocketAddr,
        facts: &openapi::Facts,
        routes: &Routes,
    ) -> Result<Response<Body>, Problem> {
        let upstream = match facts.upstream_document() {
            None => None,
            Some(path) => {
                let mut request = Request::new(body::full(Bytes::new()));
                *request.uri_mut() = path.parse().map_err(|_| Problem::AmbiguousPath)?;
                let answer = self.send(peer, request, true).await?;
                let is_good = answer.status().is_success();
                let body = Limited::new(answer.into_body(), openapi::UPSTREAM_BYTES_MAX).boxed_unsync();
                let bytes =
                    body.collect().await.ok().filter(|_| is_good).map(http_body_util::Collected::to_bytes);
                let document = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                let Some(document) = document else {
                    tracing::warn!(path, "the upstream gave no OpenAPI document");
                    return Err(Problem::UpstreamAnswer("the service gave no OpenAPI document"));
                };
                Some(document)
            }
        };
        let document = facts.document(routes, upstream);
        let mut answer = Response::new(body::full(Bytes::from(document.to_string())));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(openapi::CACHE_CONTROL));
        Ok(answer)
    }

    /// Whose failures are counted. Loopback is us, or a proxy that brings everybody and does not say whom.
    fn client<B>(&self, request: &Request<B>, peer: SocketAddr) -> Option<IpAddr> {
        let address = headers::client_address(request.headers(), peer.ip(), self.trusts_client_side);
        (!address.to_canonical().is_loopback()).then_some(address)
    }

    /// A request's body with its bounds: size, and pauses.
    fn bounded(&self, body: Incoming) -> Body {
        let bytes_max = usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX);
        let body = IdleTimeout::new(body, Sender::Client, self.body_timeout);
        Limited::new(body, bytes_max).boxed_unsync()
    }

    /// Refuses a body that says that it is too long, before anything is set aside for it.
    fn check_size(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let said =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let known = request.body().size_hint().lower().max(said.unwrap_or(0));
        if known > self.body_bytes_max {
            return Err(Problem::BodyTooLarge { bytes_max: self.body_bytes_max });
        }
        Ok(())
    }

    /// Sends a request on, with the headers that may cross.
    async fn send(
        &self,
        peer: SocketAddr,
        request: Request<Body>,
        plain_body: bool,
    ) -> Result<Response<body::IdleTimeout<Incoming>>, Problem> {
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let client = ClientSide {
            address: peer.ip(),
            host: host.as_deref(),
            trusted: self.trusts_client_side,
            is_tls: self.is_tls,
        };
        headers::to_upstream(&mut parts.headers, client, plain_body);
        let span = traces::upstream(&mut parts.headers);
        let sent = self.upstream.send(Request::from_parts(parts, body)).instrument(span);
        let mut answer = self.latency.upstream.time(sent).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Problem::UpstreamAnswer(
                "the service behind this gateway switched protocols unasked",
            ));
        }
        headers::to_client(answer.headers_mut());
        // The version is a matter of each connection.
        *answer.version_mut() = Version::default();
        Ok(answer)
    }
}

impl Handler for Gateway {
    async fn handle(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        let begun = Instant::now();
        let span = traces::request(request.method(), request.headers());
        let trace = traces::of_request(&span, request.headers());
        let answered = async {
            let answered = self.answer(peer, request).instrument(span.clone()).await;
            let answer = answered.unwrap_or_else(|problem| problem.response());
            traces::note_status(&span, answer.status().as_u16());
            self.latency.answered(answer.status(), begun.elapsed());
            answer
        };
        traces::within(trace, answered).await
    }
}

/// What the door asks for a price.
fn route(price: &Price) -> Route {
    Route {
        reserve_units: price.reserve_units,
        suggested_deposit: price.suggested_deposit,
        other_tokens: price.tokens.clone(),
        description: price.description.clone(),
        opaque: price.opaque.clone(),
        binds_body: price.bind_body,
        is_sponsored: price.sponsored,
        pays_for_empty_post: price.paid_empty_post,
        ..Route::metered(price.amount, price.unit.clone(), price.meter.clone())
    }
}

#[cfg(test)]
mod tests;
