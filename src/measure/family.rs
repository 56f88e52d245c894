//! The series of one kind, by name and labels.

use std::collections::HashMap;
use std::sync::{Arc, Once, PoisonError, RwLock};

use metrics::Key;

/// The most series of one kind. Names and labels are the program's own words, so there are far fewer.
const SERIES_MAX: usize = 10_000;

/// Series, each made when it is first asked for.
pub(super) struct Families<T> {
    series: RwLock<HashMap<Key, Arc<T>>>,
    is_full: Once,
}

impl<T> Default for Families<T> {
    fn default() -> Self {
        Self { series: RwLock::default(), is_full: Once::new() }
    }
}

impl<T> Families<T> {
    /// The series of a key; `None` when there are too many for a new one.
    pub(super) fn get(&self, key: &Key, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        // Writers are there for an instant, and only while series are new.
        if let Some(found) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Some(Arc::clone(found));
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= SERIES_MAX && !series.contains_key(key) {
            drop(series);
            self.is_full.call_once(|| tracing::warn!(SERIES_MAX, "new series of metrics are not kept"));
            return None;
        }
        Some(Arc::clone(series.entry(key.clone()).or_insert_with(|| Arc::new(make()))))
    }

    /// Shows all, in the order of names and labels.
    pub(super) fn each(&self, mut show: impl FnMut(&Key, &T)) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<(Key, Arc<T>)> =
            series.iter().map(|(key, one)| (key.clone(), Arc::clone(one))).collect();
        drop(series);
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted.iter().for_each(|(key, one)| show(key, one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_made_once_and_no_more_than_so_many_are() {
        let families = Families::default();
        for number in 0..SERIES_MAX {
            assert!(families.get(&Key::from_name(format!("n{number}")), || number).is_some());
        }
        assert_eq!(families.get(&Key::from_name("one more"), || 0), None);
        assert_eq!(families.get(&Key::from_name("n7"), || 0).as_deref(), Some(&7));
    }
}
