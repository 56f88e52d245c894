//! A value with the trace of the request that it comes from.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::CounterFn;
use metrics::atomics::AtomicU64;

use crate::traces::{self, TraceId};

/// One value, whose it was, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) value: f64,
    pub(super) at_unix_ms: u64,
}

/// Room for one: that is the bound of how many are kept for a bucket, and for a counter.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Exemplar>>);

impl Slot {
    /// Keeps a value, if its trace is known and nobody is here at this moment.
    pub(super) fn note(&self, value: f64) {
        let Some(trace) = traces::current() else { return };
        let mut kept = match self.0.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        *kept = Some(Exemplar { trace, value, at_unix_ms });
    }

    /// The newest.
    pub(super) fn read(&self) -> Option<Exemplar> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A counter, with the last that was counted in a trace.
#[derive(Debug, Default)]
pub(super) struct Count {
    value: AtomicU64,
    exemplar: Slot,
}

impl Count {
    pub(super) fn read(&self) -> (u64, Option<Exemplar>) {
        // First the exemplar: it may be missing, it must not be of what is not counted yet.
        let exemplar = self.exemplar.read();
        (self.value.load(Ordering::Acquire), exemplar)
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        CounterFn::increment(&self.value, value);
        self.exemplar.note(value as f64);
    }

    fn absolute(&self, value: u64) {
        CounterFn::absolute(&self.value, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::within_sync;

    fn trace(id: u128) -> Option<TraceId> {
        TraceId::new(id)
    }

    #[test]
    fn the_newest_wins_and_who_has_no_trace_changes_nothing() {
        let slot = Slot::default();
        slot.note(1.0);
        assert_eq!(slot.read(), None);
        within_sync(trace(7), || slot.note(2.0));
        within_sync(trace(8), || slot.note(3.0));
        slot.note(4.0);
        within_sync(None, || slot.note(5.0));
        let kept = slot.read().unwrap();
        assert_eq!((Some(kept.trace), kept.value), (trace(8), 3.0));
        assert!(kept.at_unix_ms > 1_600_000_000_000, "{kept:?}");
    }

    #[test]
    fn nobody_waits_for_who_is_there() {
        let slot = Slot::default();
        let busy = slot.0.lock().unwrap();
        within_sync(trace(7), || slot.note(2.0));
        drop(busy);
        assert_eq!(slot.read(), None);
    }
}
