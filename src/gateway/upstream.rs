//! The client side of the gateway: pooled connections to the one upstream, with every wait bounded.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::{Body, IdleTimeout, Paused, Sender};
use super::problem::Problem;
use crate::config;

/// Idle connections that are kept for the next request.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an idle connection is kept: shorter than what common servers allow, so that it is rarely taken
/// while the other side closes it.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(4);

/// The upstream.
pub struct Upstream {
    client: AnyClient,
    url: config::UpstreamUrl,
    response_timeout: Duration,
    idle_timeout: Duration,
    body_bytes_max: u64,
}

/// Plain or TLS. Two types, so that a plain upstream needs no root certificates on the machine.
enum AnyClient {
    Plain(Client<HttpConnector, Body>),
    Tls(Client<HttpsConnector<HttpConnector>, Body>),
}

impl Upstream {
    /// A client for the configured upstream. Connects to nobody yet. An error: the system's root certificates
    /// cannot be read.
    pub fn new(config: &config::Upstream, body_bytes_max: u64) -> io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.connect_timeout));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        let client = if config.url.scheme == Scheme::HTTPS {
            let tls = HttpsConnectorBuilder::new()
                .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())?
                .https_only()
                .enable_http1()
                .wrap_connector(connector);
            AnyClient::Tls(builder.build(tls))
        } else {
            AnyClient::Plain(builder.build(connector))
        };
        Ok(Self {
            client,
            url: config.url.clone(),
            response_timeout: config.response_timeout,
            idle_timeout: config.idle_timeout,
            body_bytes_max,
        })
    }

    /// How long it may say nothing.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Sends a request on (its headers are the caller's matter), and waits for the head of the answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<IdleTimeout<Incoming>>, Problem> {
        *request.uri_mut() = self.target(request.uri()).ok_or(Problem::AmbiguousPath)?;
        *request.version_mut() = Version::HTTP_11;
        let answer = async {
            match &self.client {
                AnyClient::Plain(client) => client.request(request).await,
                AnyClient::Tls(client) => client.request(request).await,
            }
        };
        match tokio::time::timeout(self.response_timeout, answer).await {
            Ok(Ok(response)) => {
                Ok(response.map(|body| IdleTimeout::new(body, Sender::Upstream, self.idle_timeout)))
            }
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => {
                tracing::warn!(upstream = %self.url, "the upstream did not answer in time");
                Err(Problem::UpstreamSlow)
            }
        }
    }

    /// The request's path and query below the upstream's URL, as the client wrote them.
    fn target(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.url.scheme.clone());
        parts.authority = Some(self.url.authority.clone());
        parts.path_and_query = Some(format!("{}{path}", self.url.path_prefix).parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    fn explain(&self, error: &hyper_util::client::legacy::Error) -> Problem {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if inner.is::<LengthLimitError>() {
                return Problem::BodyTooLarge { bytes_max: self.body_bytes_max };
            }
            // Only the request's body is read here; the answer's is the client's to wait for.
            if inner.is::<Paused>() {
                return Problem::BodySlow;
            }
            cause = inner.source();
        }
        tracing::warn!(upstream = %self.url, error = %chain(error), "the upstream cannot be reached");
        Problem::UpstreamAway
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
