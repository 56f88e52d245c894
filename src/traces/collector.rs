//! The way to the collector: which spans go there, and the headers that tie traces together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

use super::{TARGET, TraceId};

/// The variables that name a collector; the first is for traces alone.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The variable that turns it off all the same.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// The variable that names this service.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// How long the end of the program waits for the last spans.
const FLUSH_WAIT: Duration = Duration::from_secs(3);

/// Whether there is a collector in this process: who has none need not ask for a span's trace.
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// The collector cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: no traces can be sent there: {cause}")]
pub struct CollectorError {
    variable: &'static str,
    cause: opentelemetry_otlp::ExporterBuildError,
}

/// Sends spans until it is dropped; then the last ones.
pub struct Collector(SdkTracerProvider);

impl Drop for Collector {
    fn drop(&mut self) {
        // Who waits for a collector that is away would wait for nothing.
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_WAIT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

impl Collector {
    /// The collector that the environment names, if it does. Its variables are those of the OpenTelemetry specification:
    /// endpoint, headers, sampler, sizes and times of batches.
    pub fn of_environment() -> Result<Option<Self>, CollectorError> {
        let is_set = |variable: &&str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        let Some(variable) = ENDPOINTS.into_iter().find(|variable| is_set(&variable)) else {
            return Ok(None);
        };
        if std::env::var(DISABLED).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build();
        let exporter = exporter.map_err(|cause| CollectorError { variable, cause })?;
        let mut resource = Resource::builder();
        if !is_set(&SERVICE_NAME) {
            resource = resource.with_service_name("farebox");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Some(Self(provider.with_resource(resource.build()).build())))
    }

    /// Takes the spans of [`TARGET`], and nothing else.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        IS_THERE.store(true, Ordering::Relaxed);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("farebox"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE)).boxed()
    }
}

/// Puts a span into the trace that the headers name, if they do.
pub(super) fn follow(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&Received(headers));
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        tracing::debug!("a span could not be put into its client's trace");
    }
}

/// Names the span in the headers, instead of the one that the client named.
pub(super) fn hand_on(span: &Span, headers: &mut HeaderMap) {
    if span.is_disabled() {
        return;
    }
    TraceContextPropagator::new().inject_context(&span.context(), &mut Sent(headers));
}

/// The trace of a span, if the collector is sent it: what it is not sent nobody can look up. `None` without a collector.
pub(super) fn recorded(span: &Span) -> Option<Option<TraceId>> {
    if !IS_THERE.load(Ordering::Relaxed) {
        return None;
    }
    if span.is_disabled() {
        return Some(None);
    }
    let context = span.context();
    let span = context.span();
    let told = span.span_context();
    Some(told.is_sampled().then(|| TraceId::new(u128::from_be_bytes(told.trace_id().to_bytes()))).flatten())
}

struct Received<'a>(&'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Sent<'a>(&'a mut HeaderMap);

impl Injector for Sent<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use opentelemetry_sdk::trace::Sampler;
    use tracing_subscriber::prelude::*;

    use super::super::{current, of_request, request, upstream};
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    /// What the upstream is told when the client says this.
    fn told(said: &str) -> String {
        let collector = Collector(SdkTracerProvider::builder().build());
        let subscriber = tracing_subscriber::registry().with(collector.layer());
        tracing::subscriber::with_default(subscriber, || {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", said.parse().unwrap());
            let span = request(&Method::GET, &headers);
            drop(span.in_scope(|| upstream(&mut headers)));
            assert_eq!(headers.get_all("traceparent").iter().count(), 1);
            headers["traceparent"].to_str().unwrap().to_owned()
        })
    }

    #[test]
    fn the_upstream_is_told_of_the_trace_that_the_client_began() {
        let told = told(&format!("00-{TRACE}-{PARENT}-01"));
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01"), "{told}");
        assert!(!told.contains(PARENT), "it is told of our span: {told}");
    }

    #[test]
    fn what_is_no_trace_is_not_handed_on() {
        for said in ["", "00-0-0-01", "secret", &format!("00-{}-{PARENT}-01", "0".repeat(32))] {
            let told = told(said);
            assert!(told.starts_with("00-") && told.len() == 55 && told != said, "{said}: {told}");
        }
    }

    #[test]
    fn a_figure_belongs_to_the_trace_that_the_collector_is_sent() {
        let is_sent = |sampler| {
            let collector = Collector(SdkTracerProvider::builder().with_sampler(sampler).build());
            let subscriber = tracing_subscriber::registry().with(collector.layer());
            tracing::subscriber::with_default(subscriber, || {
                let mut headers = HeaderMap::new();
                headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
                let span = request(&Method::GET, &headers);
                let trace = of_request(&span, &headers);
                assert_eq!(span.in_scope(current), trace, "who is in the span is in its trace");
                assert_eq!(current(), None);
                trace.map(|trace| trace.to_string())
            })
        };
        assert_eq!(is_sent(Sampler::AlwaysOn).as_deref(), Some(TRACE));
        assert_eq!(is_sent(Sampler::AlwaysOff), None);
    }
}
