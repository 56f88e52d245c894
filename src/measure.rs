//! What the program counts and times, and the page that a scraper reads.
//!
//! The code counts through the `metrics` facade. [`Measures`] is where that ends: counters, gauges and histograms with fixed
//! bounds ([`bounds`]), each an atomic number. Unlike quantiles, buckets can be added over servers, and a bucket has a place
//! for an *exemplar*: one value that fell into it, with the trace of its request. Counters have one as well.
//!
//! An exemplar is kept when the trace is known ([`traces::current`](crate::traces::current)) and nobody else writes there
//! at this moment; the newest stays. Nobody waits for it. Only the format of OpenMetrics has words for exemplars, so they
//! are shown to who asks for it ([`Format`]); the plain text is for everybody else.

mod bounds;
mod exemplar;
mod family;
mod format;
mod page;
mod spread;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use metrics::atomics::AtomicU64;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SetRecorderError, SharedString, Unit,
};

use self::exemplar::Count;
use self::family::Families;
use self::page::Page;
use self::spread::Spread;

pub use self::format::Format;

/// All that is counted. Clones are the same measures.
#[derive(Clone, Default)]
pub struct Measures(Arc<All>);

#[derive(Default)]
struct All {
    counters: Families<Count>,
    gauges: Families<AtomicU64>,
    histograms: Families<Spread>,
}

impl Measures {
    /// Counts everything in this process from now on.
    pub fn install(&self) -> Result<(), SetRecorderError<Self>> {
        metrics::set_global_recorder(self.clone())
    }

    /// How things stand, as a page.
    pub fn render(&self, format: Format) -> String {
        let All { counters, gauges, histograms } = &*self.0;
        let mut page = Page::new(format);
        counters.each(|key, count| page.counter(key, count));
        gauges.each(|key, gauge| page.gauge(key, gauge));
        histograms.each(|key, spread| page.histogram(key, spread));
        page.end()
    }
}

impl Recorder for Measures {
    // What each one means is told by docs/metrics.md.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.counters.get(key, Count::default).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.gauges.get(key, AtomicU64::default).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let spread = || Spread::new(bounds::of(key.name()));
        self.0.histograms.get(key, spread).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}
