//! The small parts of a paid request, each alone: `make bench-small` runs them, and `make bench-small-record` keeps the
//! figures in `benches/history/criterion.jsonl`.
//!
//! The large benchmarks (`verify`, `books`, `http`) say how Farebox does beside its peers. These say which part became
//! slower between two commits. Their names are those of the history: a case that comes to mean something else gets a new name.
#![forbid(unsafe_code)]

mod clock;
mod fixture;
mod journal;
mod planning;
mod signatures;
mod words;

use std::time::Duration;

use criterion::Criterion;

use crate::clock::ThreadTime;

/// The whole run is to take two or three minutes.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASUREMENT: Duration = Duration::from_secs(3);
/// Samples that are drawn again to find how sure a median is.
const RESAMPLES: usize = 10_000;

/// What all cases are handed.
type Bench = Criterion<ThreadTime>;

fn main() {
    let mut bench = Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .nresamples(RESAMPLES)
        .configure_from_args();
    words::run(&mut bench);
    signatures::run(&mut bench);
    journal::run(&mut bench);
    planning::run(&mut bench);
    bench.final_summary();
}
