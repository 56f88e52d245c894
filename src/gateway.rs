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

use std::net::SocketAddr;

use farebox_engine::http::{Asked, Decision, Door, Route};
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use metrics::counter;

use crate::config::{self, Config, Fare, Found, Routes, SERVES, read_path};

mod body;
mod headers;
mod problem;
mod server;
mod upstream;

pub use server::{Bounds, run};

use body::Body;
use headers::ClientSide;
use problem::Problem;
use server::Handler;
use upstream::Upstream;

/// The gateway. It holds no state of its own.
pub struct Gateway {
    door: Door,
    routes: Routes,
    /// For each route what the door asks for it; `None` when it is free.
    fares: Vec<Option<Route>>,
    upstream: Upstream,
    body_bytes_max: u64,
    trusts_client_side: bool,
}

impl Gateway {
    /// A gateway in front of the configured upstream. An error: the system's root certificates cannot be read.
    pub fn new(config: &Config, door: Door) -> std::io::Result<Self> {
        let body_bytes_max = config.limits.request_body_bytes_max;
        Ok(Self {
            door,
            routes: config.routes.clone(),
            fares: config.routes.as_slice().iter().map(|route| fare(&route.fare)).collect(),
            upstream: Upstream::new(config.upstream.as_ref().expect(SERVES), body_bytes_max)?,
            body_bytes_max,
            trusts_client_side: config.server.trust_forwarded_headers,
        })
    }

    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let path = read_path(request.uri().path()).ok_or(Problem::AmbiguousPath)?;
        let place = match self.routes.find(request.method(), &path) {
            Found::Route(place, _) => place,
            Found::OtherMethods(methods) => return Err(Problem::Method(methods)),
            Found::Nothing => return Err(Problem::NoRoute),
        };
        self.check_size(&request)?;
        let Some(route) = &self.fares[place] else {
            let answer = self.send(peer, request, false).await?;
            return Ok(answer.map(BodyExt::boxed_unsync));
        };
        let asked = Asked {
            method: request.method(),
            headers: request.headers(),
            body_is_empty: request.body().is_end_stream(),
        };
        let paid = match self.door.decide(asked, route).await {
            Decision::Answer(answer) => return Ok(answer),
            Decision::Paid(paid) => paid,
        };
        match self.send(peer, request, paid.is_metered()).await {
            Ok(answer) => Ok(paid.deliver(Ok::<_, std::io::Error>(answer)).await),
            Err(problem) => {
                paid.release().await;
                Err(problem)
            }
        }
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
        request: Request<Incoming>,
        plain_body: bool,
    ) -> Result<Response<body::IdleTimeout<Incoming>>, Problem> {
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let client =
            ClientSide { address: peer.ip(), host: host.as_deref(), trusted: self.trusts_client_side };
        headers::to_upstream(&mut parts.headers, client, plain_body);
        let bytes_max = usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX);
        let body = Limited::new(body, bytes_max).boxed_unsync();
        let mut answer = self.upstream.send(Request::from_parts(parts, body)).await?;
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
        let answer = self.answer(peer, request).await.unwrap_or_else(|problem| problem.response());
        let class = match answer.status().as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        counter!("farebox_requests_total", "class" => class).increment(1);
        answer
    }
}

/// What the door asks for a route.
fn fare(fare: &Fare) -> Option<Route> {
    let Fare::Paid(price) = fare else { return None };
    let route = match price.meter {
        config::Meter::Request => Route::per_request(price.amount),
        config::Meter::SseEvent => Route::per_event(price.amount),
    };
    Some(Route {
        unit: price.unit.clone(),
        suggested_deposit: price.suggested_deposit,
        description: price.description.clone(),
        pays_for_empty_post: price.paid_empty_post,
        ..route
    })
}

#[cfg(test)]
mod tests;
