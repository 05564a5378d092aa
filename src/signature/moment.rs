//! The time at which a gateway says it signed, and whether that is near enough to the time of receipt.
//!
//! Digits only, and a whole Unix time: in some schemes nothing separates it from the body, and a digit that slides from the
//! one to the other would make another message of the same signature. It must not read a clock.

use std::time::Duration;

use serde::Deserialize;

use super::Refusal;

/// The unit of a timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub(super) enum Unit {
    /// 10 digits are seconds, 13 are milliseconds.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Seconds: 10 digits.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds: 13 digits.
    #[serde(rename = "ms")]
    Milliseconds,
}

impl Unit {
    /// The time in milliseconds; these lengths cover the years 2001 to 2286.
    pub(super) fn read(self, text: &[u8]) -> Result<i64, Refusal> {
        let factor = match (self, text.len()) {
            (Self::Auto | Self::Seconds, 10) => 1000,
            (Self::Auto | Self::Milliseconds, 13) => 1,
            _ => return Err(Refusal::TimestampMalformed),
        };
        if !text.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::TimestampMalformed);
        }
        let digits = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        digits.map(|time| time * factor).ok_or(Refusal::TimestampMalformed)
    }

    /// The time as a gateway writes it.
    pub(super) fn write(self, milliseconds: i64) -> String {
        match self {
            Self::Auto | Self::Seconds => milliseconds.div_euclid(1000).to_string(),
            Self::Milliseconds => milliseconds.to_string(),
        }
    }
}

/// Whether two times, in milliseconds, are no further apart than `tolerance`; without one they always are not.
pub(super) fn is_near(one: i64, other: i64, tolerance: Option<Duration>) -> bool {
    tolerance.is_none_or(|tolerance| u128::from(one.abs_diff(other)) <= tolerance.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_unix_time_is_a_time() {
        assert_eq!(Unit::Auto.read(b"1781274720"), Ok(1_781_274_720_000));
        assert_eq!(Unit::Auto.read(b"1781274720123"), Ok(1_781_274_720_123));
        assert_eq!(Unit::Seconds.read(b"1781274720"), Ok(1_781_274_720_000));
        for (unit, text) in [
            (Unit::Auto, "178127472"),
            (Unit::Auto, "17812747200"),
            (Unit::Auto, "+781274720"),
            (Unit::Auto, "1781274720.0"),
            (Unit::Auto, ""),
            (Unit::Seconds, "1781274720123"),
            (Unit::Milliseconds, "1781274720"),
        ] {
            assert_eq!(unit.read(text.as_bytes()), Err(Refusal::TimestampMalformed), "{text}");
        }
    }

    #[test]
    fn the_tolerance_goes_both_ways_and_includes_its_end() {
        let tolerance = Some(Duration::from_mins(5));
        for (apart, near) in [(300_000, true), (-300_000, true), (300_001, false), (-300_001, false)] {
            assert_eq!(is_near(1_781_274_720_000 + apart, 1_781_274_720_000, tolerance), near);
        }
        assert!(is_near(0, i64::MAX, None) && !is_near(i64::MIN, i64::MAX, tolerance));
    }
}
