//! The only reader of time in this crate.
//!
//! The shards ask it once a batch and hand the answer to `channel::apply` as a value. Nothing else here
//! looks at a clock, so a test that holds a [`ManualClock`] holds time itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use farebox_core::units::UnixSeconds;

/// Milliseconds in a second.
const MILLIS_PER_SECOND: u64 = 1_000;

/// Tells the time of day. It may jump: what measures with it (rates, ages, the ends of lists) says what a jump costs.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn unix_millis(&self) -> u64;

    /// Seconds since the Unix epoch.
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.unix_millis() / MILLIS_PER_SECOND)
    }
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        // A clock set before 1970 reads as the epoch itself: wrong by no more than it already is.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is told otherwise, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    pub const fn new(now: UnixSeconds) -> Self {
        Self(AtomicU64::new(now.0.saturating_mul(MILLIS_PER_SECOND)))
    }

    /// Moves the clock forward.
    pub fn advance_millis(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A shared clock is a clock: the test keeps one handle and the engine another.
impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn unix_millis(&self) -> u64 {
        (**self).unix_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(UnixSeconds(1_000));
        assert_eq!(clock.now(), UnixSeconds(1_000));
        clock.advance_millis(999);
        assert_eq!(clock.now(), UnixSeconds(1_000));
        clock.advance_millis(1);
        assert_eq!(clock.now(), UnixSeconds(1_001));
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(SystemClock.now() > UnixSeconds(1_577_836_800));
    }
}
