//! Which format a scraper gets: what its `Accept` likes best.
//!
//! OpenMetrics has to be asked for by name. `*/*`, which every tool sends, gets the text that people can read.

use http::HeaderMap;
use http::header::ACCEPT;

/// A format of the page of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus.
    Text,
    /// OpenMetrics, with exemplars.
    OpenMetrics,
}

/// The version of OpenMetrics that is spoken, and that of the text.
const OPENMETRICS_VERSION: &str = "1.0.0";
const TEXT_VERSION: &str = "0.0.4";
/// The most of an `Accept` that is read; Prometheus sends five.
const RANGES_MAX: usize = 32;

/// One of the things that a scraper takes.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// How well it is liked, 0 (not at all) to 1.
    quality: f64,
}

impl Format {
    /// The one that these headers like best.
    pub fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<Range<'_>> =
            values.flat_map(|value| value.split(',')).take(RANGES_MAX).filter_map(Range::read).collect();
        let open_metrics = best(&ranges, "application/openmetrics-text", OPENMETRICS_VERSION).unwrap_or(0.0);
        // The most particular word about the text counts.
        let text = best(&ranges, "text/plain", TEXT_VERSION)
            .or_else(|| best(&ranges, "text/*", TEXT_VERSION))
            .or_else(|| best(&ranges, "*/*", TEXT_VERSION));
        if open_metrics > 0.0 && open_metrics >= text.unwrap_or(0.0) { Self::OpenMetrics } else { Self::Text }
    }

    /// What an answer calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl<'a> Range<'a> {
    /// `None`: nobody can say what that means.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { kind: parts.next()?, version: None, quality: 1.0 };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => {
                    let quality = value.parse().ok();
                    range.quality = quality.filter(|quality| (0.0..=1.0).contains(quality))?;
                }
                _ => {}
            }
        }
        Some(range)
    }
}

/// How well a kind is liked, in this version.
fn best(ranges: &[Range<'_>], kind: &str, version: &str) -> Option<f64> {
    let about = ranges.iter().filter(|range| {
        range.kind.eq_ignore_ascii_case(kind) && range.version.is_none_or(|asked| asked == version)
    });
    about.map(|range| range.quality).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accepts: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for accept in accepts {
            headers.append(ACCEPT, accept.parse().unwrap());
        }
        Format::of(&headers)
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        for accept in [
            // Prometheus 2 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"",
            "text/plain, application/openmetrics-text; version=1.0.0",
            "*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.2",
        ] {
            assert_eq!(asked(&[accept]), Format::OpenMetrics, "{accept}");
        }
        assert_eq!(asked(&["text/plain;q=0.5", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn everybody_else_gets_text() {
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=0.4, text/*;q=0.5",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=NaN",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ] {
            assert_eq!(asked(&[accept]), Format::Text, "{accept}");
        }
        assert_eq!(asked(&[]), Format::Text);
    }

    #[test]
    fn the_types_name_the_versions() {
        assert!(Format::Text.content_type().contains(TEXT_VERSION));
        assert!(Format::OpenMetrics.content_type().contains(OPENMETRICS_VERSION));
    }
}
