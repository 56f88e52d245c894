//! The facilitator of x402 that the configuration names, over HTTP.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use farebox_engine::chain::BoxFuture;
use farebox_engine::http::{Facilitator, FacilitatorError, FacilitatorStep};
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};

use crate::config::UpstreamUrl;
use crate::web_client::WebClient;

/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long it may take to look at an authorization.
const VERIFY_WAIT: Duration = Duration::from_secs(15);
/// How long it may take to send one, and to wait for its chain.
const SETTLE_WAIT: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Posts orders to a base URL.
#[derive(Debug)]
pub struct HttpFacilitator {
    client: WebClient,
    url: UpstreamUrl,
}

impl HttpFacilitator {
    /// An error: the system's root certificates cannot be read.
    pub fn new(url: UpstreamUrl) -> io::Result<Self> {
        Ok(Self { client: WebClient::new(&url.scheme, CONNECT_WAIT)?, url })
    }

    async fn post(&self, step: FacilitatorStep, order: String) -> Result<Bytes, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let uri = Uri::builder()
            .scheme(self.url.scheme.clone())
            .authority(self.url.authority.clone())
            .path_and_query(format!("{}{}", self.url.path_prefix, step.path()))
            .build()
            .map_err(|error| text(&error))?;
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(order)))
            .map_err(|error| text(&error))?;
        let answer = self.client.send(request).await.map_err(|error| text(&error))?;
        if answer.status().is_server_error() {
            return Err(format!("it answered {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }
}

impl Facilitator for HttpFacilitator {
    fn ask(&self, step: FacilitatorStep, order: String) -> BoxFuture<'_, Result<Bytes, FacilitatorError>> {
        let wait = match step {
            FacilitatorStep::Verify => VERIFY_WAIT,
            FacilitatorStep::Settle => SETTLE_WAIT,
        };
        Box::pin(async move {
            let answer = tokio::time::timeout(wait, self.post(step, order)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("nothing came within {} s", wait.as_secs())));
            answer.map_err(|what| FacilitatorError { what })
        })
    }
}
