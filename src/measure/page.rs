//! The page: the text format of Prometheus (0.0.4), or OpenMetrics 1.0.0, which is stricter and has exemplars.
//!
//! | | text | OpenMetrics |
//! |---|---|---|
//! | a counter's `# TYPE` | with `_total` | without, its samples with |
//! | `# UNIT` | | when a unit ends the name |
//! | exemplars | | behind buckets and counters: ` # {trace_id="…"} 0.0021 1766400000.123` |
//! | the end | | `# EOF` |

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use metrics::Key;
use metrics::atomics::AtomicU64;

use super::exemplar::{Count, Exemplar};
use super::spread::Spread;
use super::{Format, bounds};

/// The suffix of counters.
const TOTAL: &str = "_total";

/// A page that is being written. Series come sorted by name.
pub(super) struct Page {
    format: Format,
    text: String,
    /// The family whose head stands on the page.
    family: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new(), family: String::new() }
    }

    pub(super) fn counter(&mut self, key: &Key, count: &Count) {
        let name = key.name();
        let family = match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix(TOTAL).unwrap_or(name),
        };
        self.head(family, "counter");
        let (value, exemplar) = count.read();
        // OpenMetrics knows no counter without it.
        let suffix = if self.format == Format::OpenMetrics && !name.ends_with(TOTAL) { TOTAL } else { "" };
        self.sample(key, suffix, None, &value.to_string(), exemplar);
    }

    pub(super) fn gauge(&mut self, key: &Key, gauge: &AtomicU64) {
        self.head(key.name(), "gauge");
        self.sample(key, "", None, &number(f64::from_bits(gauge.load(Ordering::Acquire))), None);
    }

    pub(super) fn histogram(&mut self, key: &Key, spread: &Spread) {
        self.head(key.name(), "histogram");
        let (buckets, sum) = spread.read();
        let count = buckets.last().map_or(0, |last| last.cumulative);
        for bucket in buckets {
            let bound = bounds::label(bucket.bound);
            self.sample(key, "_bucket", Some(&bound), &bucket.cumulative.to_string(), bucket.exemplar);
        }
        self.sample(key, "_sum", None, &number(sum), None);
        self.sample(key, "_count", None, &count.to_string(), None);
    }

    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Begins a family, once.
    fn head(&mut self, family: &str, kind: &str) {
        if self.family == family {
            return;
        }
        family.clone_into(&mut self.family);
        let _ = writeln!(self.text, "# TYPE {family} {kind}");
        if let Some(unit) = bounds::unit(family).filter(|_| self.format == Format::OpenMetrics) {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    fn sample(
        &mut self,
        key: &Key,
        suffix: &str,
        bound: Option<&str>,
        value: &str,
        exemplar: Option<Exemplar>,
    ) {
        let text = &mut self.text;
        text.push_str(key.name());
        text.push_str(suffix);
        let labels = key.labels().map(|label| (label.key(), label.value()));
        let mut before = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(text, "{before}{name}=\"");
            escape(text, value);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = write!(text, " {value}");
        if let Some(Exemplar { trace, value, at_unix_ms }) =
            exemplar.filter(|_| self.format == Format::OpenMetrics)
        {
            let (seconds, millis) = (at_unix_ms / 1_000, at_unix_ms % 1_000);
            let _ = write!(text, " # {{trace_id=\"{trace}\"}} {} {seconds}.{millis:03}", number(value));
        }
        text.push('\n');
    }
}

/// A label's value, as it may stand between quotation marks.
fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A number as both formats spell it.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}
