//! An HTTP client for the few servers that the operator names: the receiver of money events, the facilitator of payments.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;

/// Plain or TLS. Two types, so that a plain server needs no root certificates on the machine.
#[derive(Clone, Debug)]
pub enum WebClient {
    /// For `http`.
    Plain(Client<HttpConnector, Full<Bytes>>),
    /// For `https`.
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl WebClient {
    /// A client for one scheme. An error: the system's root certificates cannot be read.
    pub fn new(scheme: &Scheme, connect_wait: Duration) -> io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_wait));
        connector.enforce_http(false);
        let builder = Client::builder(TokioExecutor::new());
        if *scheme != Scheme::HTTPS {
            return Ok(Self::Plain(builder.build(connector)));
        }
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())?
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::Tls(builder.build(tls)))
    }

    /// Sends a request. How long it may take is the caller's matter.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        }
    }
}
