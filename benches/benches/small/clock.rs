//! Processor time of the thread, so that a busy machine changes the figures less than a clock on the wall would.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// It writes nanoseconds, whosever they are.
static WALL: WallTime = WallTime;

/// Nanoseconds that this thread was computing.
pub struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        now_ns()
    }

    fn end(&self, began_ns: u64) -> u64 {
        now_ns() - began_ns
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, ns: &u64) -> f64 {
        *ns as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WALL.formatter()
    }
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, ns] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).expect("it began at zero"));
    seconds * 1_000_000_000 + ns
}
