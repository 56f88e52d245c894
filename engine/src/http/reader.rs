//! What is known of the client that an answer goes to.

use farebox_core::challenge::{METHOD, charge};
use farebox_core::voucher::ProtocolVersion;
use http::Method;

use super::Asked;
use super::accept::Accept;

/// What chooses the challenges of an answer.
#[derive(Debug, Default)]
pub(super) struct Reader<'a> {
    /// The session protocol that the client spoke.
    pub(super) spoken: Option<ProtocolVersion>,
    /// The digest of the request's body.
    pub(super) body_digest: Option<&'a str>,
    /// What the client says that it can pay with.
    pub(super) accept: Option<Accept>,
    pub(super) is_head: bool,
    /// The method and the place that were asked for.
    pub(super) method: Option<&'a Method>,
    pub(super) target: Option<&'a str>,
}

impl<'a> Reader<'a> {
    /// Who asked.
    pub(super) fn of(asked: &Asked<'a>, spoken: Option<ProtocolVersion>) -> Self {
        let (accept, is_head) = (Accept::read(asked.headers), *asked.method == Method::HEAD);
        let (body_digest, method, target) = (asked.body_digest, Some(asked.method), asked.target);
        Self { spoken, body_digest, accept, is_head, method, target }
    }

    /// Whether the client wants to say who it is, to learn of its channel: it asks with `HEAD`, which buys nothing, and
    /// for a charge alone.
    pub(super) fn wants_to_prove(&self) -> bool {
        let wants = |accept: &Accept| {
            accept.weight(METHOD, charge::INTENT) > 0
                && accept.weight(METHOD, farebox_core::challenge::INTENT) == 0
        };
        self.is_head && self.accept.as_ref().is_some_and(wants)
    }
}
