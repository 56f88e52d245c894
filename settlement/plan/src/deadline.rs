//! Until when a payer's close request must be answered.
//!
//! From the request on, a grace period runs; after it the payer may withdraw everything that was not
//! claimed. The claim goes out at once. The deadlines here say when that has become a matter for a human.

use farebox_core::units::UnixSeconds;

/// How long the payee has after a close request, by both escrows (`CLOSE_GRACE_PERIOD`) and the session
/// draft ("Forced Close": a 15-minute grace period).
pub const CLOSE_GRACE_PERIOD_SECONDS: u64 = 900;

/// A claim should be confirmed within the first third of the grace period. The other two thirds are for
/// what may go wrong: an outage of the RPC nodes, a full chain, an empty fee account, a restart. After
/// the first third the operator is alarmed while there is still time to act by hand.
pub const FIRST_THIRD_SECONDS: u64 = CLOSE_GRACE_PERIOD_SECONDS / 3;

/// The times that follow from one close request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseDeadlines {
    /// When the payer asked, by the chain's clock.
    pub requested_at: UnixSeconds,
    /// Until when the claim should be confirmed.
    pub confirm_by: UnixSeconds,
    /// From when on the payer may withdraw: `now >= grace_end` by the chain's clock.
    pub grace_end: UnixSeconds,
}

/// How pressing a close request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Within the first third.
    OnTime,
    /// The first third is over: alarm.
    Late,
    /// The grace period is over: whoever comes first gets it.
    Overdue,
}

impl CloseDeadlines {
    /// The deadlines of a close request.
    pub const fn of(requested_at: UnixSeconds) -> Self {
        Self {
            requested_at,
            confirm_by: requested_at.saturating_add(FIRST_THIRD_SECONDS),
            grace_end: requested_at.saturating_add(CLOSE_GRACE_PERIOD_SECONDS),
        }
    }

    /// How pressing it is at `now`.
    pub fn urgency(&self, now: UnixSeconds) -> Urgency {
        if now >= self.grace_end {
            Urgency::Overdue
        } else if now >= self.confirm_by {
            Urgency::Late
        } else {
            Urgency::OnTime
        }
    }

    /// Milliseconds until the payer may withdraw.
    pub const fn remaining_ms(&self, now: UnixSeconds) -> u64 {
        self.grace_end.0.saturating_sub(now.0).saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_are_exact() {
        let deadlines = CloseDeadlines::of(UnixSeconds(1_000));
        let urgencies = [999, 1_000, 1_299, 1_300, 1_899, 1_900].map(|at| deadlines.urgency(UnixSeconds(at)));
        use Urgency::{Late, OnTime, Overdue};
        assert_eq!(urgencies, [OnTime, OnTime, OnTime, Late, Late, Overdue]);
        assert_eq!(deadlines.remaining_ms(UnixSeconds(1_899)), 1_000);
        assert_eq!(deadlines.remaining_ms(UnixSeconds(5_000)), 0);
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        let deadlines = CloseDeadlines::of(UnixSeconds(u64::MAX - 1));
        assert_eq!(deadlines.grace_end, UnixSeconds(u64::MAX));
        assert_eq!(deadlines.urgency(UnixSeconds(0)), Urgency::OnTime);
    }
}
