//! Traces: what of a request and of a claim an OpenTelemetry collector is shown.
//!
//! The spans are in every build, below a level that logs ask for: they cost a look at a flag. A build with the feature
//! `otel` sends them to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names (OTLP over HTTP), takes the trace that
//! the client began (`traceparent`), and hands it on to the upstream.
//!
//! | span | what it takes |
//! |---|---|
//! | `request` | a request at the gateway, until the head of its answer |
//! | `door` | its payment: credential, voucher, books |
//! | `upstream` | the service behind, until the head of its answer |
//! | `books` | the charge, before the answer goes out |
//! | `claim` | one transaction of claims; `sign` is the key's part of it |
//!
//! Whose trace a figure belongs to is told by [`current`]; with no collector, by the request's `traceparent` ([`within`]).
//!
//! No span has a path, a query, a header, an amount, a credential or an address: what a request asked for is told by the
//! route of the configuration. Log lines do not go along.

use http::{HeaderMap, Method};
use tracing::Span;
use tracing::field::Empty;

/// The target of all spans. Settlement's have the same.
pub const TARGET: &str = "farebox::trace";

/// A request at the gateway, in the trace that its client began.
pub fn request(method: &Method, headers: &HeaderMap) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        http.request.method = known(method),
        http.route = Empty,
        http.response.status_code = Empty,
    );
    follow(&span, headers);
    span
}

/// Its payment.
pub fn door() -> Span {
    tracing::trace_span!(target: TARGET, "door")
}

/// Its charge.
pub fn books() -> Span {
    tracing::trace_span!(target: TARGET, "books")
}

/// The service behind, which is told of the trace.
pub fn upstream(headers: &mut HeaderMap) -> Span {
    let span = tracing::trace_span!(target: TARGET, "upstream", otel.kind = "client");
    hand_on(&span, headers);
    span
}

/// Notes in the request's span which route took it.
pub fn note_route(route: &impl std::fmt::Display) {
    Span::current().record("http.route", tracing::field::display(route));
}

/// Notes in the request's span what it was answered.
pub fn note_status(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
}

/// A method as it may be shown: clients can invent others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

#[cfg(not(feature = "otel"))]
fn follow(_: &Span, _: &HeaderMap) {}

#[cfg(not(feature = "otel"))]
fn hand_on(_: &Span, _: &mut HeaderMap) {}

#[cfg(not(feature = "otel"))]
fn recorded(_: &Span) -> Option<Option<TraceId>> {
    None
}

#[cfg(feature = "otel")]
pub use self::collector::{Collector, CollectorError};
#[cfg(feature = "otel")]
use self::collector::{follow, hand_on, recorded};
#[cfg(test)]
pub use self::current::within_sync;
pub use self::current::{TraceId, current, of_request, within};

#[cfg(feature = "otel")]
mod collector;
mod current;
