//! RFC 3339 times in UTC, as challenges and receipts write them.
//!
//! Written by hand: two fixed forms do not need a calendar library in a crate without `std`.

use alloc::string::String;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// The last millisecond of the year 9999, the end of what RFC 3339 can write.
pub const UNIX_MILLIS_MAX: UnixMillis = UnixMillis(253_402_300_799_999);

/// The length of `2025-01-06T12:05:00.000Z`.
const MILLIS_CHARS: usize = 24;
const DAY_SECONDS: u64 = 86_400;
/// Days of 400 years: the calendar repeats after them.
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

impl UnixMillis {
    /// This time plus `millis`, at most the end of the year 9999.
    pub const fn saturating_add(self, millis: u64) -> Self {
        let sum = self.0.saturating_add(millis);
        if sum > UNIX_MILLIS_MAX.0 { UNIX_MILLIS_MAX } else { Self(sum) }
    }
}

/// Writes `time` with milliseconds, as `2025-01-06T12:05:00.000Z`. Later than the year 9999 is written as
/// its last millisecond.
pub fn format_millis(time: UnixMillis) -> String {
    let mut text = String::with_capacity(MILLIS_CHARS);
    push_millis(&mut text, time);
    text
}

/// Appends what [`format_millis`] writes.
pub(super) fn push_millis(text: &mut String, time: UnixMillis) {
    let time = time.0.min(UNIX_MILLIS_MAX.0);
    let (seconds, millis) = (time / 1000, time % 1000);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil_from_days(days);
    let mut push = |number: u64, digits: u32, separator: char| {
        for place in (0..digits).rev() {
            text.push(char::from(b'0' + (number / 10_u64.pow(place) % 10) as u8));
        }
        text.push(separator);
    };
    push(year, 4, '-');
    push(month, 2, '-');
    push(day, 2, 'T');
    push(second / 3600, 2, ':');
    push(second / 60 % 60, 2, ':');
    push(second % 60, 2, '.');
    push(millis, 3, 'Z');
}

/// Reads a time of the years 1970 to 9999: `YYYY-MM-DDTHH:MM:SS`, an optional fraction (what is finer than
/// a millisecond is dropped), `Z` or an offset. `None` for anything else.
pub fn parse(text: &str) -> Option<UnixMillis> {
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| date_time[at] != separator) {
        return None;
    }
    if !matches!(date_time[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second is the second after it, as Unix time counts.
    if year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_from_civil(year, month, day)? * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    let (millis, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let millis = i64::try_from(seconds * 1000 + millis).ok()?.checked_sub(offset_minutes * 60_000)?;
    let time = UnixMillis(u64::try_from(millis).ok()?);
    (time <= UNIX_MILLIS_MAX).then_some(time)
}

/// A number of ASCII digits.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// The milliseconds of `.123…`, and what follows.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (fraction, rest) = text.split_at(length);
    let digit = |index: usize| u64::from(fraction.get(index).map_or(0, |byte| byte - b'0'));
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// The minutes by which the local time is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let total = i64::try_from(hours * 60 + minutes).ok()?;
            Some(if *sign == b'+' { total } else { -total })
        }
        _ => None,
    }
}

/// The proleptic Gregorian date of a day since the epoch. Years begin in March, so that the leap day is
/// the last day of a year and months follow one line (30.6 days a month, rounded).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The day since the epoch of a date from 1970 on, or `None` when there is no such date.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let march_year = year - u64::from(month <= 2);
    let march_month = (month + 9) % 12;
    let (era, year_of_era) = (march_year / 400, march_year % 400);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * ERA_DAYS + day_of_era).checked_sub(EPOCH_DAYS)?;
    // The 31st of a short month lands in the next one: no such date.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_736_165_100_000, "2025-01-06T12:05:00.000Z"),
            (1_795_244_285_874, "2026-11-21T06:58:05.874Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (UNIX_MILLIS_MAX.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format_millis(UnixMillis(millis)), text);
            assert_eq!(parse(text), Some(UnixMillis(millis)), "{text}");
        }
        assert_eq!(format_millis(UnixMillis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn other_forms_of_one_time() {
        let time = Some(UnixMillis(1_736_165_100_000));
        for text in [
            "2025-01-06T12:05:00Z",
            "2025-01-06t12:05:00z",
            "2025-01-06T12:05:00.000999Z",
            "2025-01-06T14:05:00+02:00",
            "2025-01-06T10:35:00-01:30",
        ] {
            assert_eq!(parse(text), time, "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2025-01-06",
            "2025-01-06T12:05:00",
            "2025-01-06T12:05Z",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-06T24:00:00Z",
            "2025-01-06T12:05:00.Z",
            "2025-01-06T12:05:00+2:00",
            "2025-01-06T12:05:00Zx",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "+025-01-06T12:05:00Z",
            "٢٠٢٥-01-06T12:05:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn format_then_parse_is_identity(millis in 0..=UNIX_MILLIS_MAX.0) {
            let time = UnixMillis(millis);
            prop_assert_eq!(parse(&format_millis(time)), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn no_date_panics(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?[Z+-][0-9:]{0,5}") {
            let _ = parse(&text);
        }
    }
}
