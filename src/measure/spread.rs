//! A histogram: how often a value fell below which bound.

use std::sync::atomic::Ordering;

use metrics::HistogramFn;
use metrics::atomics::AtomicU64;

use super::exemplar::{Exemplar, Slot};

/// Counts values by bucket.
#[derive(Debug)]
pub(super) struct Spread {
    /// The upper bounds; a value equal to one is below it.
    bounds: &'static [f64],
    /// One more than bounds: the last has none.
    buckets: Box<[Bucket]>,
    /// The sum of all values, as the bits of a float.
    sum: AtomicU64,
}

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    exemplar: Slot,
}

/// What a page shows of one bucket.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    pub(super) bound: f64,
    /// Values below the bound, those of the buckets before among them.
    pub(super) cumulative: u64,
    /// Of a value in this very bucket.
    pub(super) exemplar: Option<Exemplar>,
}

impl Spread {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Bucket::default()).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// All buckets, and the sum. Values that come in meanwhile may be in the sum and in no bucket yet.
    pub(super) fn read(&self) -> (Vec<Read>, f64) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0;
        let read = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            let exemplar = bucket.exemplar.read();
            cumulative += bucket.count.load(Ordering::Acquire);
            Read { bound, cumulative, exemplar }
        });
        (read.collect(), f64::from_bits(self.sum.load(Ordering::Acquire)))
    }
}

impl HistogramFn for Spread {
    fn record(&self, value: f64) {
        // One would spoil the sum for good.
        if value.is_nan() {
            return;
        }
        let place = self.bounds.partition_point(|bound| *bound < value);
        let bucket = &self.buckets[place];
        metrics::GaugeFn::increment(&self.sum, value);
        metrics::CounterFn::increment(&bucket.count, 1);
        bucket.exemplar.note(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::{TraceId, within_sync};

    #[test]
    fn values_are_in_the_bucket_whose_bound_they_do_not_exceed() {
        let spread = Spread::new(&[1.0, 2.0]);
        [0.0, 1.0, 1.5, 2.0, 2.5, f64::NAN].iter().for_each(|value| spread.record(*value));
        let (buckets, sum) = spread.read();
        let told: Vec<_> = buckets.iter().map(|bucket| (bucket.bound, bucket.cumulative)).collect();
        assert_eq!(told, [(1.0, 2), (2.0, 4), (f64::INFINITY, 5)]);
        assert_eq!(sum, 7.0);
    }

    #[test]
    fn an_exemplar_is_of_its_own_bucket() {
        let spread = Spread::new(&[1.0, 2.0]);
        within_sync(TraceId::new(1), || spread.record(1.5));
        within_sync(TraceId::new(2), || spread.record(9.0));
        within_sync(TraceId::new(3), || spread.record(1.25));
        let kept =
            spread.read().0.into_iter().map(|bucket| bucket.exemplar.map(|one| (one.trace, one.value)));
        let trace = |id| TraceId::new(id).unwrap();
        assert_eq!(kept.collect::<Vec<_>>(), [None, Some((trace(3), 1.25)), Some((trace(2), 9.0))]);
    }
}
