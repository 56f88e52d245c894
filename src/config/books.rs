//! `[books]`: how long the books keep what is over.

use super::expected::expected;
use super::problem::Problems;
use super::raw;

/// The longest time that makes sense, in days: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// How long a retry of a finished paid request gets its first answer, in seconds.
    pub outcome_age_s_max: u64,
}

/// The times of the file.
pub(super) fn books(raw: &raw::Books, problems: &mut Problems) -> Option<Books> {
    let mut within = |key: &str, value: u64, least: u64, most: u64| {
        let inside = (least..=most).contains(&value);
        if !inside {
            problems.add(key, value.to_string(), expected(key));
        }
        inside.then_some(value)
    };
    let outcome_age = within("books.outcome_age_s_max", raw.outcome_age_s_max, 60, DAYS_MAX * DAY_S);
    Some(Books { outcome_age_s_max: outcome_age? })
}
