//! How often a channel may raise its amount: a token bucket, as one number.
//!
//! The bucket is the time at which it will be full again: what is missing now is the distance to it. Time is an
//! argument. It may jump: forward fills the bucket, back costs no more than one empty bucket's wait.

use core::num::NonZeroU32;

/// The most vouchers a second, and the most in one burst, that a [`Rate`] may allow.
pub const RATE_MAX: u32 = 1_000_000;

const MICROS_PER_SECOND: u64 = 1_000_000;
const MICROS_PER_MILLI: u64 = 1_000;

/// A moment, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// From milliseconds; the end of time is not passed.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(MICROS_PER_MILLI))
    }
}

/// So many on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Rate {
    /// `None` when either is zero or above [`RATE_MAX`].
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let within = |number| NonZeroU32::new(number).filter(|number| number.get() <= RATE_MAX);
        Some(Self { per_second: within(per_second)?, burst: within(burst)? })
    }

    /// How long one place takes to come back, rounded up to milliseconds: who keeps this distance is never refused.
    pub fn interval_ms(self) -> u64 {
        self.interval_us().div_ceil(MICROS_PER_MILLI)
    }

    /// How long one place takes to come back, rounded up: the average is never exceeded.
    fn interval_us(self) -> u64 {
        MICROS_PER_SECOND.div_ceil(u64::from(self.per_second.get()))
    }

    /// How long an empty bucket takes to fill.
    fn capacity_us(self) -> u64 {
        self.interval_us() * u64::from(self.burst.get())
    }
}

/// What a channel has left of its rate. The default is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: UnixMicros,
}

impl Bucket {
    /// Whether nothing is missing, so that forgetting it gives nothing away.
    pub fn is_full(self, now: UnixMicros) -> bool {
        self.full_at <= now
    }

    /// The bucket with one place taken.
    ///
    /// # Errors
    ///
    /// The milliseconds after which there is a place, at least one.
    pub fn take(self, rate: Rate, now: UnixMicros) -> Result<Self, u64> {
        let (interval_us, capacity_us) = (rate.interval_us(), rate.capacity_us());
        // More than everything is missing only when the clock went back.
        let missing_us = self.full_at.0.saturating_sub(now.0).min(capacity_us);
        let wanted_us = missing_us + interval_us;
        if wanted_us > capacity_us {
            return Err((wanted_us - capacity_us).div_ceil(MICROS_PER_MILLI));
        }
        Ok(Self { full_at: UnixMicros(now.0.saturating_add(wanted_us)) })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const START: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn after_ms(millis: u64) -> UnixMicros {
        UnixMicros(START.0 + millis * 1_000)
    }

    #[test]
    fn a_burst_then_one_every_interval() {
        let rate = Rate::new(10, 3).unwrap();
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket = bucket.take(rate, START).unwrap();
        }
        assert_eq!(rate.interval_ms(), 100);
        assert_eq!(bucket.take(rate, START), Err(100));
        assert_eq!(bucket.take(rate, after_ms(99)), Err(1));
        bucket = bucket.take(rate, after_ms(100)).unwrap();
        assert_eq!(bucket.take(rate, after_ms(100)), Err(100));
        assert!(!bucket.is_full(after_ms(399)) && bucket.is_full(after_ms(400)));
    }

    #[test]
    fn a_clock_that_goes_back_blocks_for_one_interval_at_most() {
        let rate = Rate::new(1, 1).unwrap();
        let bucket = Bucket::default().take(rate, after_ms(1 << 40)).unwrap();
        assert_eq!(bucket.take(rate, START), Err(1_000));
        let early = Bucket::default().take(rate, START).unwrap();
        assert_eq!(early.take(rate, UnixMicros(u64::MAX)).map(|_| ()), Ok(()), "the end of time");
    }

    #[test]
    fn a_rate_has_bounds() {
        for (per_second, burst) in [(0, 1), (1, 0), (RATE_MAX + 1, 1), (1, RATE_MAX + 1)] {
            assert_eq!(Rate::new(per_second, burst), None);
        }
        let fastest = Rate::new(RATE_MAX, RATE_MAX).unwrap();
        assert!(Bucket::default().take(fastest, START).is_ok());
    }

    proptest! {
        /// In every window, no more than the burst and what the window's length allows; and whoever waits as long as
        /// it is told is let in.
        #[test]
        fn no_window_holds_more_than_the_rate(
            per_second in 1_u32..50,
            burst in 1_u32..20,
            pauses in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let rate = Rate::new(per_second, burst).unwrap();
            let (mut bucket, mut millis, mut taken) = (Bucket::default(), 0, Vec::new());
            for pause in pauses {
                millis += pause;
                match bucket.take(rate, after_ms(millis)) {
                    Ok(next) => {
                        bucket = next;
                        taken.push(millis);
                    }
                    Err(wait_ms) => {
                        prop_assert!(wait_ms > 0);
                        prop_assert!(bucket.take(rate, after_ms(millis + wait_ms)).is_ok());
                        prop_assert!(bucket.take(rate, after_ms(millis + wait_ms - 1)).is_err());
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let allowed = u64::from(burst) + (to - from) * u64::from(per_second) / 1_000;
                    prop_assert!((last - first + 1) as u64 <= allowed);
                }
            }
        }
    }
}
