//! Durations and sizes: always text with a unit, so that nobody has to guess whether `10` is seconds.

use std::time::Duration;

/// `"250ms"`, `"1.5s"`, `"10m"`, `"24h"`, `"7d"`; above zero and at most a year.
pub(super) fn duration(text: &str) -> Option<Duration> {
    duration_or_none(text).filter(|duration| !duration.is_zero())
}

/// The same, or zero.
pub(super) fn duration_or_none(text: &str) -> Option<Duration> {
    span(text).filter(|duration| *duration <= Duration::from_hours(24 * 366))
}

/// As [`duration`], up to a hundred years: how long something is kept.
pub(super) fn age(text: &str) -> Option<Duration> {
    span(text).filter(|age| !age.is_zero() && *age <= Duration::from_hours(24 * 36_525))
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// `"512B"`, `"256KiB"`, `"1MiB"`, in whole bytes; at least 1 B and at most 64 MiB.
pub(super) fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: usize = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number
        .parse::<usize>()
        .ok()?
        .checked_mul(factor)
        .filter(|bytes| (1..=64 << 20).contains(bytes))
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250 ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("24h"), Some(Duration::from_hours(24)));
        for wrong in ["", "10", "s", "0s", "-1s", "1w", "1.2.3s", "9999d", "1e3s", "٣s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(duration_or_none("0s"), Some(Duration::ZERO));
        assert_eq!(duration_or_none("0"), None);
    }

    #[test]
    fn an_age_may_be_longer_than_a_year_and_is_above_zero() {
        assert_eq!(age("1825d"), Some(Duration::from_hours(24 * 1825)));
        for wrong in ["0d", "90", "99999d", "5y"] {
            assert_eq!(age(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_have_a_unit_and_a_ceiling() {
        assert_eq!(size("1MiB"), Some(1 << 20));
        assert_eq!(size("256 KiB"), Some(256 << 10));
        assert_eq!(size("7B"), Some(7));
        for wrong in ["", "1", "1MB", "0B", "65MiB", "-1B", "99999999999999999999B"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
