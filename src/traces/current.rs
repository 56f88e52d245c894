//! Which trace the work at hand belongs to, for figures that name one (exemplars of metrics).
//!
//! With a collector it is the trace that the collector is sent. Without one a request may still belong to somebody's trace:
//! its client says so (`traceparent`, W3C Trace Context). Only traces that are recorded count: others can be looked up
//! nowhere.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU128;

use http::HeaderMap;
use tracing::Span;

use super::recorded;

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// Its flag for: the caller records this.
const SAMPLED: u8 = 1;
/// The version that there never is.
const NO_VERSION: u8 = 0xff;
/// How long its first version is; others may be longer.
const LENGTH: usize = 55;

/// The id of a trace. As text it is 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// `None` for zero, which is the id of none.
    pub fn new(id: u128) -> Option<Self> {
        NonZeroU128::new(id).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

tokio::task_local! {
    /// The trace of the request that this task works for.
    static TRACE: Option<TraceId>;
}

/// Works for a request whose trace is this, or which has none.
pub fn within<F: Future>(trace: Option<TraceId>, work: F) -> impl Future<Output = F::Output> {
    TRACE.scope(trace, work)
}

/// The same without waiting.
#[cfg(test)]
pub fn within_sync<T>(trace: Option<TraceId>, work: impl FnOnce() -> T) -> T {
    TRACE.sync_scope(trace, work)
}

/// The trace at hand: of the request, or of the span (claims), if there is one. Cheap, above all when there is none.
pub fn current() -> Option<TraceId> {
    TRACE.try_with(|trace| *trace).unwrap_or_else(|_| recorded(&Span::current()).flatten())
}

/// The trace of a request: that of its span, or with no collector the one that its client began.
pub fn of_request(span: &Span, headers: &HeaderMap) -> Option<TraceId> {
    recorded(span).unwrap_or_else(|| of_headers(headers))
}

fn of_headers(headers: &HeaderMap) -> Option<TraceId> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => read(one.as_bytes()),
        _ => None,
    }
}

/// Reads `00-<trace>-<parent>-<flags>`. `None` also for a trace that the client does not record.
fn read(text: &[u8]) -> Option<TraceId> {
    let (first, more) = text.split_at_checked(LENGTH)?;
    let [version, trace, parent, flags] = [&first[..2], &first[3..35], &first[36..52], &first[53..]].map(hex);
    let (version, trace, flags) = (version?, trace?, flags?);
    let dashes = [first[2], first[35], first[52]] == *b"---";
    // Later versions add behind a dash.
    let ends = if version == 0 { more.is_empty() } else { more.first().is_none_or(|next| *next == b'-') };
    let is_good = dashes && ends && version != u128::from(NO_VERSION) && parent? != 0;
    TraceId::new(trace).filter(|_| is_good && flags & u128::from(SAMPLED) != 0)
}

/// Lower case only, says the standard.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn told(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        of_headers(&headers).map(|trace| trace.to_string())
    }

    #[test]
    fn the_clients_trace_is_read() {
        for good in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-03"),
            format!("01-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-more"),
        ] {
            assert_eq!(told(&[&good]).as_deref(), Some(TRACE), "{good}");
        }
    }

    #[test]
    fn what_is_no_recorded_trace_is_none() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{PARENT}-00"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("01-{TRACE}-{PARENT}-01more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00_{TRACE}-{PARENT}-01"),
            format!("00-\"}} 1\\n{}-{PARENT}-01", &TRACE[..27]),
        ] {
            assert_eq!(told(&[&bad]), None, "{bad}");
        }
        let good = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(told(&[&good, &good]), None, "two of them are none");
        assert_eq!(told(&[]), None);
    }

    #[tokio::test]
    async fn a_request_takes_its_trace_along() {
        let trace = TraceId::new(7);
        let ours = within(trace, async {
            tokio::task::yield_now().await;
            current()
        });
        let others = within(None, async { current() });
        assert_eq!(tokio::join!(ours, others), (trace, None));
        assert_eq!(current(), None);
    }
}
