//! What the door looks at of a request.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

use super::Route;
use super::problem::{self, Refused};

/// What the door looks at of a request. It never reads a body.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether the body is known to be empty, as `http_body::Body::is_end_stream` says it.
    pub body_is_empty: bool,
    /// The digest of the body (RFC 9530: `sha-256=:...:`), if the caller has read it. Without one no challenge is bound
    /// to a body.
    pub body_digest: Option<&'a str>,
    /// The path and the query, as the client sent them. Without them clients of x402 are not asked for anything.
    pub target: Option<&'a str>,
    /// Who asks, as far as it is known: failures are counted by address.
    pub address: Option<IpAddr>,
}

impl<'a> Asked<'a> {
    /// What a request's head says, without a digest of its body and without an address.
    pub fn of(parts: &'a http::request::Parts, body_is_empty: bool) -> Self {
        let (method, headers) = (&parts.method, &parts.headers);
        let target = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        Self { method, headers, body_is_empty, body_digest: None, target, address: None }
    }
}

impl Asked<'_> {
    /// Whether a voucher that comes with this request is handed in without buying anything.
    pub(super) fn is_management(&self, route: &Route) -> bool {
        match *self.method {
            Method::HEAD => true,
            Method::POST => !route.pays_for_empty_post && self.has_no_body(),
            _ => false,
        }
    }

    fn has_no_body(&self) -> bool {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return false;
        }
        match self.headers.get(CONTENT_LENGTH) {
            Some(length) => length.as_bytes() == b"0",
            None => self.body_is_empty,
        }
    }
}

/// Checks that a paid request brings the body that its challenge was issued for.
pub(super) fn check_body(asked: Asked<'_>, route: &Route, bound: Option<&str>) -> Result<(), Refused> {
    let wanted = asked.body_digest.filter(|_| route.binds_body);
    match (bound, wanted) {
        (None, None) => Ok(()),
        (Some(bound), _) if Some(bound) == asked.body_digest => Ok(()),
        _ => Err(problem::other_body()),
    }
}
