//! The quantiles of a histogram over the last minute, as `histogram_quantile` of Prometheus makes them.

use std::collections::VecDeque;

use super::figures::{Figures, label};

/// Readings of a minute: there is one a second.
const READINGS_MAX: usize = 60;

/// The buckets of one histogram, as they were read.
pub struct Window {
    series: String,
    readings: VecDeque<Buckets>,
}

/// Upper bounds, rising, with how many values are not above each.
type Buckets = Vec<(f64, f64)>;

impl Window {
    /// Of a histogram without labels.
    pub fn of(name: &str) -> Self {
        Self { series: format!("{name}_bucket"), readings: VecDeque::new() }
    }

    /// Takes a reading, and forgets what is too old.
    pub fn push(&mut self, figures: &Figures) {
        let mut buckets: Buckets = figures
            .series(&self.series)
            .filter_map(|(labels, count)| Some((label(labels, "le")?.parse().ok()?, count)))
            .collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        if self.readings.len() > READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(buckets);
    }

    /// The value below which this part of the values is, as far as buckets tell; zero when there was none.
    pub fn quantile(&self, part: f64) -> f64 {
        let (Some(last), Some(first)) = (self.readings.back(), self.readings.front()) else { return 0.0 };
        let is_alone = self.readings.len() == 1 || first.len() != last.len();
        let before = |place: usize| if is_alone { 0.0 } else { first[place].1 };
        let counts = last.iter().enumerate().map(|(place, (bound, count))| (*bound, count - before(place)));
        let rank = counts.clone().next_back().map_or(0.0, |(_, all)| all) * part;
        if rank <= 0.0 {
            return 0.0;
        }
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            if count >= rank {
                // Nobody knows how far above the last bound.
                let is_open = bound == f64::INFINITY;
                return if is_open { low } else { low + (bound - low) * (rank - below) / (count - below) };
            }
            (low, below) = (bound, count);
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(below_one: u32, below_two: u32, all: u32) -> Figures {
        Figures::parse(&format!(
            "x_bucket{{le=\"1.0\"}} {below_one}\nx_bucket{{le=\"2.0\"}} {below_two}\nx_bucket{{le=\"+Inf\"}} {all}\n"
        ))
    }

    #[test]
    fn quantiles_are_those_of_the_last_minute() {
        let mut window = Window::of("x");
        assert_eq!(window.quantile(0.5), 0.0);
        window.push(&Figures::default());
        assert_eq!(window.quantile(0.5), 0.0);
        window.push(&reading(10, 10, 10));
        assert_eq!(window.quantile(0.5), 0.5, "what came since the series appeared counts");
        for _ in 0..READINGS_MAX {
            window.push(&reading(10, 10, 10));
        }
        assert_eq!(window.quantile(0.5), 0.0, "a minute ago");
        window.push(&reading(10, 20, 20));
        assert_eq!((window.quantile(0.5), window.quantile(0.99)), (1.5, 1.99));
        window.push(&reading(10, 20, 40));
        assert_eq!(window.quantile(0.99), 2.0, "above the last bound");
        assert_eq!(window.readings.len(), READINGS_MAX + 1);
    }
}
