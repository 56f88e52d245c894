//! `[books]`: how long the books keep what is over.

use std::time::Duration;

use super::expected::expected;
use super::problem::Problems;
use super::raw;

/// The longest time that makes sense, in days: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// More frames than any journal has.
const FRAMES_MAX: u64 = 1 << 53;

/// What is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// How long a retry of a finished paid request gets its first answer, in seconds.
    pub outcome_age_s_max: u64,
    /// How long a channel that closed is kept whole; for ever when there is none.
    pub retention: Option<Duration>,
    /// How long the journal is kept behind a checkpoint, in seconds. Without it and the next one, all of it is.
    pub journal_keep_s: Option<u64>,
    /// How many of its frames are.
    pub journal_keep_frames: Option<u64>,
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
    let retention = within("books.retention_days", raw.retention_days, 0, DAYS_MAX);
    let keep_days = within("books.journal_keep_days", raw.journal_keep_days, 0, DAYS_MAX);
    let keep_frames = within("books.journal_keep_frames", raw.journal_keep_frames, 0, FRAMES_MAX);
    Some(Books {
        outcome_age_s_max: outcome_age?,
        retention: retention.map(|days| asked(days * DAY_S).map(Duration::from_secs))?,
        journal_keep_s: keep_days.map(|days| asked(days * DAY_S))?,
        journal_keep_frames: keep_frames.map(asked)?,
    })
}

/// Zero asks for nothing.
fn asked(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}
