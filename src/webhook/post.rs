//! One signed request. The receiver proves with the key that an event is ours and of now:
//!
//! `farebox-signature: t=SECONDS,v1=HEX`, where HEX is HMAC-SHA256 with the key of `webhook.key_file` over SECONDS, a dot, and
//! the body's bytes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use farebox_engine::core::units::UnixSeconds;
use hmac::{Hmac, KeyInit, Mac};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use sha2::Sha256;

use super::events::Event;
use crate::config::UpstreamUrl;
use crate::keys::Secret;
use crate::web_client::WebClient;

/// How long a connection may take, and how long an answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the receiver cannot be reached: {0}")]
    Away(String),
    #[error("the receiver did not answer within {} s", ANSWER_WAIT.as_secs())]
    Slow,
    #[error("the receiver answered {0}, expected a 2xx status")]
    Refused(StatusCode),
}

/// Where events go.
pub(super) struct Post {
    client: WebClient,
    url: UpstreamUrl,
    key: Secret,
}

impl Post {
    pub(super) fn new(url: UpstreamUrl, key: Secret) -> io::Result<Self> {
        let client = WebClient::new(&url.scheme, CONNECT_WAIT)?;
        Ok(Self { client, url, key })
    }

    /// Sends an event once.
    pub(super) async fn send(&self, event: &Event, now: UnixSeconds) -> Result<(), PostError> {
        let away = |error: &dyn std::error::Error| PostError::Away(error.to_string());
        let path = if self.url.path_prefix.is_empty() { "/" } else { &self.url.path_prefix };
        let uri = Uri::builder()
            .scheme(self.url.scheme.clone())
            .authority(self.url.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| away(&error))?;
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header("farebox-event", event.id())
            .header("farebox-signature", signature(&self.key[..], now, &event.body))
            .body(Full::new(Bytes::from(event.body.clone())))
            .map_err(|error| away(&error))?;
        let answer = self.client.send(request);
        match tokio::time::timeout(ANSWER_WAIT, answer).await {
            Err(_) => Err(PostError::Slow),
            Ok(Err(error)) => Err(away(&error)),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(PostError::Refused(answer.status())),
        }
    }
}

/// What proves that a body is ours and when it was sent.
fn signature(key: &[u8], now: UnixSeconds, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    let seconds = now.0.to_string();
    for part in [&seconds, ".", body] {
        mac.update(part.as_bytes());
    }
    let mut text = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b… ` over `1700000000.{}`.
    #[test]
    fn the_signature_is_hmac_sha256_over_time_and_body() {
        let text = signature(&[0x0b; 32], UnixSeconds(1_700_000_000), "{}");
        assert_eq!(text, SIGNATURE);
    }

    const SIGNATURE: &str =
        "t=1700000000,v1=943eb17e669b75864224700e3b506ef93d10a0596eef3b7626af941cf1734edc";
}
