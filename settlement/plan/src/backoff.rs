//! When to try again: doubling pauses between two named bounds.

/// A schedule of pauses: the first, doubled with every failure, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first_ms: u64,
    /// The longest pause.
    pub max_ms: u64,
}

/// A deadline is approached in at least this many tries, however long the pauses have become.
const TRIES_BEFORE_DEADLINE: u64 = 4;

impl Backoff {
    /// The pause after `failures` failures in a row; none before the first.
    pub const fn delay_ms(&self, failures: u32) -> u64 {
        if failures == 0 {
            return 0;
        }
        let doublings = failures - 1;
        if doublings >= u64::BITS {
            return self.max_ms;
        }
        let delay = self.first_ms.saturating_mul(1 << doublings);
        if delay < self.max_ms { delay } else { self.max_ms }
    }

    /// The same, but short enough that several tries fit into what remains until a deadline. Once it has
    /// passed, the plain schedule holds: late is better than never, and not worth hammering a node.
    pub const fn delay_before_deadline_ms(&self, failures: u32, remaining_ms: u64) -> u64 {
        let delay = self.delay_ms(failures);
        if remaining_ms == 0 || failures == 0 {
            return delay;
        }
        let share = remaining_ms / TRIES_BEFORE_DEADLINE;
        let bound = if share > self.first_ms { share } else { self.first_ms };
        if delay < bound { delay } else { bound }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCHEDULE: Backoff = Backoff { first_ms: 500, max_ms: 60_000 };

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let pauses: [u64; 9] = core::array::from_fn(|failures| SCHEDULE.delay_ms(failures as u32));
        assert_eq!(pauses, [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
        assert_eq!(SCHEDULE.delay_ms(u32::MAX), 60_000);
    }

    #[test]
    fn pauses_shrink_before_a_deadline() {
        assert_eq!(SCHEDULE.delay_before_deadline_ms(20, 900_000), 60_000);
        assert_eq!(SCHEDULE.delay_before_deadline_ms(20, 40_000), 10_000);
        assert_eq!(SCHEDULE.delay_before_deadline_ms(20, 100), 500);
        assert_eq!(SCHEDULE.delay_before_deadline_ms(20, 0), 60_000);
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_with_failures_and_never_pass_the_maximum(
            first_ms in 1..10_000_u64, more in 0..100_000_u64, failures in 1..200_u32, remaining_ms: u64,
        ) {
            let schedule = Backoff { first_ms, max_ms: first_ms + more };
            prop_assert!(schedule.delay_ms(failures) <= schedule.delay_ms(failures + 1));
            prop_assert!(schedule.delay_ms(failures) >= first_ms);
            prop_assert!(schedule.delay_ms(failures) <= schedule.max_ms);
            let pressed = schedule.delay_before_deadline_ms(failures, remaining_ms);
            prop_assert!(pressed >= first_ms && pressed <= schedule.delay_ms(failures));
        }
    }
}
