//! The operator's limits while the engine runs: exchanged by the service, noticed by each shard before its next batch.
//!
//! What sums over channels was counted at the start, under one definition, so it stays as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox_core::channel::Limits;
use parking_lot::Mutex;

/// Why new limits are refused; the old ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} counts over all channels since the start: restart to change it")]
pub struct LimitsFixed {
    /// Which one differs.
    pub what: &'static str,
}

/// The limits in force.
#[derive(Debug)]
pub(super) struct LiveLimits {
    current: Mutex<Arc<Limits>>,
    version: AtomicU64,
}

impl LiveLimits {
    pub(super) fn new(limits: Limits) -> Self {
        Self { current: Mutex::new(Arc::new(limits)), version: AtomicU64::new(0) }
    }

    pub(super) fn get(&self) -> Arc<Limits> {
        Arc::clone(&self.current.lock())
    }

    /// Grows with every exchange.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Exchanges them.
    pub(super) fn set(&self, limits: Limits) -> Result<(), LimitsFixed> {
        let mut current = self.current.lock();
        let differs = [
            ("unsettled_basis", current.basis != limits.basis),
            ("unsettled_payer_max", current.unsettled_payer_max != limits.unsettled_payer_max),
            ("unsettled_total_max", current.unsettled_total_max != limits.unsettled_total_max),
        ];
        if let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(LimitsFixed { what });
        }
        *current = Arc::new(limits);
        // After the limits: who sees the new number finds them.
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use farebox_core::units::Amount;

    use super::*;

    #[test]
    fn what_sums_over_channels_stays_and_the_rest_changes() {
        let live = LiveLimits::new(Limits::default());
        let total = Limits { unsettled_total_max: Some(Amount::new(5)), ..Limits::default() };
        assert_eq!(live.set(total), Err(LimitsFixed { what: "unsettled_total_max" }));
        assert_eq!((live.version(), &*live.get()), (0, &Limits::default()));
        let age = Limits { unsettled_age_s_max: Some(60), ..Limits::default() };
        live.set(age.clone()).unwrap();
        assert_eq!((live.version(), &*live.get()), (1, &age));
    }
}
