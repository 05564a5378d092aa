//! Reads the time of a message in whatever way a gateway writes it.
//!
//! A time that cannot be read is no reason to lose a text: the answer is `None`, and the time of arrival stands in. It
//! must not read a clock, and what it returns always fits a Postgres `timestamptz`.

use chrono::{DateTime, Datelike as _, NaiveDateTime, Utc};

/// Characters of a time; the longest form read has 35.
const MAX_CHARS: usize = 48;

/// Forms with an offset that RFC 3339 does not know: `+0000`, `+00`.
const WITH_OFFSET: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"];
/// Forms without an offset: UTC.
const WITHOUT_OFFSET: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];

/// Reads ISO 8601 with any offset, `YYYY-MM-DD HH:MM:SS` as UTC, or a Unix time, to the microsecond.
pub(super) fn read(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if text.len() > MAX_CHARS {
        return None;
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let at = if is_number { from_unix(text)? } else { from_iso(text)? };
    storable(at)
}

fn from_iso(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| {
            WITH_OFFSET
                .iter()
                .find_map(|form| DateTime::parse_from_str(text, form).ok())
        })
        .map(|at| at.to_utc())
        .or_else(|| {
            WITHOUT_OFFSET
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()?.and_utc().into())
        })
}

/// The unit follows from the number of digits, which leaves no doubt between the years 1973 and 2286. Fewer digits are no
/// time (0 is what an unset field is sent as), and nothing is guessed in between.
fn from_unix(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number: i64 = whole.parse().ok()?;
    let micros = match whole.len() {
        9 | 10 => number.checked_mul(1_000_000)?.checked_add(micros_of(fraction)?)?,
        12 | 13 => number.checked_mul(1_000)?,
        15 | 16 => number,
        18 | 19 => number / 1_000,
        _ => return None,
    };
    DateTime::from_timestamp_micros(micros)
}

/// The first six digits behind the point, as microseconds.
fn micros_of(fraction: &str) -> Option<i64> {
    fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .try_fold(0, |micros, digit| {
            char::from(digit)
                .to_digit(10)
                .map(|digit| micros * 10 + i64::from(digit))
        })
}

/// To the microsecond, as Postgres keeps it, so that a message read back has the same fingerprint; a leap second becomes
/// the second after it. Years that four digits cannot write are refused: they are well inside what Postgres can store.
fn storable(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let at = DateTime::from_timestamp_micros(at.timestamp_micros())?;
    (1..=9999).contains(&at.year()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_way_to_write_a_time_is_the_same_time() {
        for text in [
            "2026-06-12T14:32:00.000Z",
            "2026-06-12T14:32:00Z",
            "2026-06-12t14:32:00z",
            "2026-06-12T20:02:00+05:30",
            "2026-06-12T22:32:00.000+08:00",
            "2026-06-12T14:32:00.000+0000",
            "2026-06-12T09:32:00-0500",
            "2026-06-12T16:32:00+02",
            "2026-06-12T14:32:00.000000000Z",
            "2026-06-12 14:32:00",
            "2026-06-12 14:32:00.000",
            "2026-06-12T14:32:00",
            "2026-06-12 14:32:00+00:00",
            "2026-06-12 14:32:00 +0000",
            " 2026-06-12T14:32:00Z\n",
            "1781274720",
            "1781274720.000",
            "1781274720000",
            "1781274720000000",
            "1781274720000000000",
        ] {
            let at = read(text).map(|at| at.to_rfc3339());
            assert_eq!(at.as_deref(), Some("2026-06-12T14:32:00+00:00"), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        let long = "9".repeat(100_000);
        for text in [
            "",
            " ",
            "0",
            "-1",
            "12345",
            "yesterday",
            "2026-13-40T99:99:99Z",
            "2026-06-12",
            "12/06/2026 14:32",
            "20260612143200",
            "99999999999999999999",
            "1.2.3",
            "1781274720.x",
            ".",
            "+262142-12-31T23:59:59Z",
            "-5000-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59-23:59",
            "NaN",
            "١٧٨١٢٧٤٧٢٠",
            &long,
        ] {
            assert_eq!(read(text), None, "{text:.40}");
        }
    }

    #[test]
    fn fractions_are_kept_to_the_microsecond_and_a_leap_second_is_storable() {
        let micros = |text: &str| read(text).map(|at| (at.timestamp_subsec_micros(), at.timestamp_subsec_nanos()));
        assert_eq!(micros("1781274720.1234567"), Some((123_456, 123_456_000)));
        assert_eq!(micros("2026-06-12T14:32:00.123456789Z"), Some((123_456, 123_456_000)));
        assert_eq!(
            read("2016-12-31T23:59:60Z").map(|at| at.to_rfc3339()).as_deref(),
            Some("2017-01-01T00:00:00+00:00")
        );
    }
}
