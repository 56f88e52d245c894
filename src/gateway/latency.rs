//! How long requests take, whole and in parts: the same parts as the spans of `traces`. One that has a trace may be kept as
//! the exemplar of its bucket.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

/// The classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where durations go. Looked up once, not by every request.
pub(super) struct Latency {
    /// The payment: credential, voucher, books.
    pub(super) door: Part,
    /// The service behind, until the head of its answer.
    pub(super) upstream: Part,
    /// The charge, before the answer goes out.
    pub(super) books: Part,
    /// Whole requests by the class of their answer. A class appears with its first one.
    classes: [OnceLock<(Counter, Histogram)>; CLASSES.len()],
}

/// A part of a request.
pub(super) struct Part(Histogram);

impl Part {
    /// Waits for it, and takes its time.
    pub(super) async fn time<F: Future>(&self, part: F) -> F::Output {
        let begun = Instant::now();
        let done = part.await;
        self.0.record(begun.elapsed());
        done
    }
}

impl Latency {
    pub(super) fn new() -> Self {
        Self {
            door: Part(histogram!("farebox_door_seconds")),
            upstream: Part(histogram!("farebox_upstream_seconds")),
            books: Part(histogram!("farebox_books_seconds")),
            classes: Default::default(),
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: StatusCode, took: Duration) {
        let place = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let (requests, durations) = self.classes[place].get_or_init(|| {
            let class = CLASSES[place];
            let requests = counter!("farebox_requests_total", "class" => class);
            (requests, histogram!("farebox_request_seconds", "class" => class))
        });
        requests.increment(1);
        durations.record(took);
    }
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::*;
    use crate::measure::{Format, Measures};
    use crate::traces::{TraceId, within_sync};

    #[test]
    fn a_class_appears_with_its_first_answer_and_has_the_trace_of_a_request() {
        let measures = Measures::default();
        with_local_recorder(&measures, || {
            let latency = Latency::new();
            let answered = |status| latency.answered(status, Duration::from_millis(3));
            within_sync(TraceId::new(7), || answered(StatusCode::BAD_GATEWAY));
            answered(StatusCode::OK);
        });
        let page = measures.render(Format::OpenMetrics);
        let exemplar = format!(" # {{trace_id=\"{:032x}\"}} ", 7);
        let of_class = |line: &str| page.lines().find(|found| found.starts_with(line)).map(str::to_owned);
        assert!(!of_class("farebox_requests_total{class=\"2xx\"}").unwrap().contains(&exemplar));
        assert!(of_class("farebox_requests_total{class=\"5xx\"}").unwrap().contains(&exemplar));
        let bucket = of_class("farebox_request_seconds_bucket{class=\"5xx\",le=\"0.005\"}").unwrap();
        assert!(bucket.contains(&format!("}} 1{exemplar}0.003 ")), "{bucket}");
        assert_eq!(of_class("farebox_requests_total{class=\"4xx\"}"), None);
    }
}
