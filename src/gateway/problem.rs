//! The gateway's own refusals, as RFC 9457 problems. What a payment is refused for is the door's to say.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use http::{Method, Response, StatusCode};
use metrics::counter;

use super::body::{Body, full};

/// After how long a client may try again when the upstream is away, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// Why the gateway itself does not serve a request. Nothing was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The path could be read in two ways.
    AmbiguousPath,
    /// No route has the path.
    NoRoute,
    /// The path has routes for other methods only.
    Method(Vec<Method>),
    /// The request's body is longer than it may be.
    BodyTooLarge {
        /// `limits.request_body_bytes_max`.
        bytes_max: u64,
    },
    /// The request's body paused for too long.
    BodySlow,
    /// The request's body broke off.
    BodyBroken,
    /// `Content-Digest` does not match the body.
    BodyDigest,
    /// A WebSocket of another version than 13.
    WebSocketVersion,
    /// A WebSocket without its key, or with several.
    WebSocketKey,
    /// No connection to the upstream, or it broke before an answer.
    UpstreamAway,
    /// No answer in time.
    UpstreamSlow,
    /// An answer that cannot be metered or passed on.
    UpstreamAnswer(&'static str),
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::AmbiguousPath | Self::BodyBroken | Self::BodyDigest | Self::WebSocketKey => {
                StatusCode::BAD_REQUEST
            }
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UpstreamAway | Self::UpstreamAnswer(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::AmbiguousPath => "the path has empty or dot segments, encoded slashes or percent signs, \
                                    backslashes, control characters or a broken encoding"
                .into(),
            Self::NoRoute => "no route takes this path".into(),
            Self::Method(_) => "no route of this path takes this method".into(),
            Self::BodyTooLarge { bytes_max } => format!("the body is longer than {bytes_max} bytes"),
            Self::BodySlow => "the request's body paused for too long; nothing was charged".into(),
            Self::BodyBroken => "the request's body broke off; nothing was charged".into(),
            Self::BodyDigest => {
                "Content-Digest has a sha-256 that is not the one of the body; nothing was charged".into()
            }
            Self::WebSocketVersion => "this gateway speaks version 13 of WebSocket".into(),
            Self::WebSocketKey => "a WebSocket needs one Sec-WebSocket-Key".into(),
            Self::UpstreamAway => {
                "the service behind this gateway cannot be reached; nothing was charged".into()
            }
            Self::UpstreamSlow => {
                "the service behind this gateway did not answer in time; nothing was charged".into()
            }
            Self::UpstreamAnswer(what) => format!("{what}; nothing was charged"),
        }
    }

    /// The limit of the operator that this is about.
    const fn limit(&self) -> Option<&'static str> {
        match self {
            Self::BodyTooLarge { .. } => Some("request_body_bytes"),
            Self::BodySlow => Some("request_body_timeout"),
            _ => None,
        }
    }

    /// The answer. Its problem type is `about:blank`: the status says it all.
    pub fn response(&self) -> Response<Body> {
        let status = self.status();
        if let Some(limit) = self.limit() {
            counter!("farebox_gateway_limited_total", "limit" => limit).increment(1);
        }
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        let mut response = Response::new(full(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Method(methods) => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
                    headers.insert(ALLOW, names);
                }
            }
            Self::WebSocketVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::UpstreamAway => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_with_its_status() {
        let response = Problem::Method(vec![Method::GET, Method::POST]).response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET, POST");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(Problem::UpstreamAway.response().headers()[RETRY_AFTER], "1");
    }
}
