//! The last quarter of an hour in seconds, the last day in minutes: what the plots show. In memory, bounded, gone with the
//! process; Prometheus keeps what has to last.

use std::collections::VecDeque;

/// Points of one second: a quarter of an hour.
pub const SECONDS_MAX: usize = 900;
/// Points of one minute: a day.
pub const MINUTES_MAX: usize = 1_440;
/// Seconds of a minute.
const MINUTE_S: u64 = 60;

/// What a point tells, in this order.
pub const COLUMNS: [&str; 16] = [
    "at",
    "vouchersPerSecond",
    "refusedPerSecond",
    "requestsPerSecond",
    "accepted",
    "spent",
    "settled",
    "refunded",
    "exposure",
    "oldestUnsettledSeconds",
    "batchVouchers",
    "commitMicrosP50",
    "commitMicrosP99",
    "verifyMicros",
    "openChannels",
    "framesPerSecond",
];

/// One moment: Unix seconds first, then the figures of [`COLUMNS`]. They are drawn, so they need not be exact.
pub type Point = [f64; COLUMNS.len()];

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A quarter of an hour.
    Recent,
    /// A day.
    Day,
}

/// Both rings.
#[derive(Clone, Debug, Default)]
pub struct History {
    seconds: VecDeque<Point>,
    minutes: VecDeque<Point>,
}

impl History {
    /// Adds a point; they come in order.
    pub fn push(&mut self, point: Point) {
        // A point stands for the minute that it begins.
        let minute = |point: &Point| point[0] as u64 / MINUTE_S;
        if self.minutes.back().is_none_or(|last| minute(last) < minute(&point)) {
            keep(&mut self.minutes, point, MINUTES_MAX);
        }
        keep(&mut self.seconds, point, SECONDS_MAX);
    }

    /// The points behind a moment.
    pub fn after(&self, span: Span, at: f64) -> impl Iterator<Item = &Point> {
        let ring = match span {
            Span::Recent => &self.seconds,
            Span::Day => &self.minutes,
        };
        let begin = ring.partition_point(|point| point[0] <= at);
        ring.range(begin..)
    }
}

fn keep(ring: &mut VecDeque<Point>, point: Point, max: usize) {
    if ring.len() >= max {
        ring.pop_front();
    }
    ring.push_back(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Point {
        let mut point = Point::default();
        point[0] = seconds as f64;
        point
    }

    #[test]
    fn both_rings_are_bounded_and_give_what_is_new() {
        let mut history = History::default();
        for second in 0..200_000 {
            history.push(at(second));
        }
        assert_eq!(history.after(Span::Recent, -1.0).count(), SECONDS_MAX);
        assert_eq!(history.after(Span::Day, -1.0).count(), MINUTES_MAX);
        let new: Vec<f64> = history.after(Span::Recent, 199_997.0).map(|point| point[0]).collect();
        assert_eq!(new, [199_998.0, 199_999.0]);
        assert!(history.after(Span::Day, 0.0).all(|point| (point[0] as u64).is_multiple_of(MINUTE_S)));
        assert_eq!(history.after(Span::Recent, 1e12).count(), 0);
    }
}
