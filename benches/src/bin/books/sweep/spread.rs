//! What is noise, and what is not.

/// What one measurement tells, by name.
pub const HOT: [&str; 5] = [
    "hot_vouchers_per_s",
    "hot_cpu_us_per_voucher",
    "hot_latency_us_p99",
    "hot_bytes_written_per_voucher",
    "hot_rocksdb_bytes_per_voucher",
];

/// The same with many channels, and what the store is like afterwards.
pub const MIXED: [&str; 5] = [
    "mixed_vouchers_per_s",
    "mixed_cpu_us_per_voucher",
    "mixed_latency_us_p99",
    "mixed_bytes_written_per_voucher",
    "mixed_rocksdb_bytes_per_voucher",
];

/// Of the store after a kill.
pub const REOPENED: [&str; 5] =
    ["cold_read_us_p50", "unknown_read_us_mean", "store_open_s", "requests_taken_s", "store_mib"];

/// How many figures a row has.
pub const FIGURES: usize = HOT.len() + MIXED.len() + REOPENED.len();

/// The fewest runs of the base that show how much it varies by itself.
const BASE_RUNS_MIN: usize = 3;

/// The fewest runs of a row that show a difference.
const ROW_RUNS_MIN: usize = 2;

/// What a row is measured again for: vouchers a second and processor time, of both works.
const DECIDING: [usize; 4] = [0, 1, HOT.len(), HOT.len() + 1];

/// Their names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    HOT.into_iter().chain(MIXED).chain(REOPENED)
}

/// Runs of one row.
#[derive(Clone, Debug, Default)]
pub struct Runs(pub Vec<[f64; FIGURES]>);

impl Runs {
    /// A figure in every run, sorted.
    fn sorted(&self, figure: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.0.iter().map(|run| run[figure]).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The one in the middle; of two the mean.
    pub fn median(&self, figure: usize) -> f64 {
        let values = self.sorted(figure);
        match values.len() {
            0 => 0.0,
            count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
        }
    }

    /// The smallest and the largest.
    pub fn spread(&self, figure: usize) -> (f64, f64) {
        let values = self.sorted(figure);
        (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0))
    }

    /// Whether every run lies on the same side of all runs of the base.
    fn is_outside(&self, base: &Self, figure: usize) -> bool {
        let ((least, most), (base_least, base_most)) = (self.spread(figure), base.spread(figure));
        least > base_most || most < base_least
    }

    /// Whether what was measured so far is worth another run.
    pub fn may_differ(&self, base: &Self) -> bool {
        DECIDING.iter().any(|figure| self.is_outside(base, *figure))
    }

    /// How many percent this differs from the base, if that is no noise.
    pub fn real_percent(&self, base: &Self, figure: usize) -> Option<f64> {
        let has_runs = base.0.len() >= BASE_RUNS_MIN && self.0.len() >= ROW_RUNS_MIN;
        let median = base.median(figure);
        let is_real = has_runs && median > 0.0 && self.is_outside(base, figure);
        is_real.then(|| (self.median(figure) / median - 1.0) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Runs {
        Runs(values.iter().map(|value| [*value; FIGURES]).collect())
    }

    #[test]
    fn a_difference_is_real_when_every_run_lies_outside_of_the_base() {
        let base = runs(&[100.0, 90.0, 110.0]);
        assert_eq!(base.median(0), 100.0);
        assert_eq!(runs(&[1.0, 4.0]).median(3), 2.5);
        assert_eq!(runs(&[120.0, 130.0]).real_percent(&base, 0), Some(25.0));
        assert_eq!(runs(&[50.0, 80.0]).real_percent(&base, 1), Some(-35.0));
        for no_difference in [&[120.0, 110.0][..], &[120.0, 80.0], &[100.0, 100.0], &[120.0], &[]] {
            assert_eq!(runs(no_difference).real_percent(&base, 0), None, "{no_difference:?}");
        }
        assert_eq!(
            runs(&[120.0, 120.0]).real_percent(&runs(&[1.0, 2.0]), 0),
            None,
            "two runs show no spread"
        );
        assert!(runs(&[120.0]).may_differ(&base) && !runs(&[110.0]).may_differ(&base));
    }
}
