//! Whether clocks agree: this machine's, the database's, and that of whatever answered over HTTP.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use http::header::DATE;

use super::report::Check;

/// Clocks that differ by more are wrong: signed timestamps are taken for minutes at most.
const TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// A clock that was read between two looks at ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    asked: DateTime<Utc>,
    answered: DateTime<Utc>,
    theirs: DateTime<Utc>,
}

impl Reading {
    /// `theirs` came in an answer that took from `asked` until `answered`.
    pub(super) const fn new(asked: DateTime<Utc>, answered: DateTime<Utc>, theirs: DateTime<Utc>) -> Self {
        Self {
            asked,
            answered,
            theirs,
        }
    }

    /// The `Date` of an answer (RFC 9110, 6.6.1), which is to the second.
    pub(super) fn of_answer(asked: DateTime<Utc>, answered: DateTime<Utc>, headers: &HeaderMap) -> Option<Self> {
        let date = headers.get(DATE)?.to_str().ok()?;
        let theirs = DateTime::parse_from_rfc2822(date).ok()?.with_timezone(&Utc);
        Some(Self::new(asked, answered, theirs))
    }

    /// By how much their clock is ahead of ours at least: any moment of the exchange may be the one it was read at.
    pub(super) fn ahead(self) -> TimeDelta {
        if self.theirs > self.answered {
            self.theirs - self.answered
        } else if self.theirs < self.asked {
            self.theirs - self.asked
        } else {
            TimeDelta::zero()
        }
    }

    /// What it means. `whose` clock it is, such as `the database`.
    pub(super) fn check(self, whose: &str) -> Check {
        let ahead = self.ahead();
        let apart = ahead.abs().to_std().unwrap_or(Duration::MAX);
        if ahead.abs() <= TOLERANCE {
            let detail = format!("this machine and {whose} agree to {} s", apart.as_secs_f64().ceil());
            return Check::ok("clock", detail);
        }
        let direction = if ahead > TimeDelta::zero() {
            "ahead of"
        } else {
            "behind"
        };
        Check::failed(
            "clock",
            format!("{whose} is {} s {direction} this machine", apart.as_secs()),
            "set both clocks by NTP (`timedatectl` shows whether it is on): with a wrong one, signed timestamps are refused, \
             `Retry-After` dates are misread and an opt-in may count as older than the opt-out it lifts",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn half_a_minute_apart_is_fine_and_more_is_not() {
        let (asked, answered) = (at("2026-01-31T12:00:00Z"), at("2026-01-31T12:00:02Z"));
        let check = |theirs: &str| Reading::new(asked, answered, at(theirs)).check("the database");
        assert_eq!(check("2026-01-31T12:00:32Z").status, Status::Ok);
        assert_eq!(check("2026-01-31T11:59:30Z").status, Status::Ok);
        assert_eq!(
            check("2026-01-31T12:05:02Z").detail,
            "the database is 300 s ahead of this machine"
        );
        assert_eq!(
            check("2026-01-31T11:59:00Z").detail,
            "the database is 60 s behind this machine"
        );
    }

    #[test]
    fn the_date_of_an_answer_is_read_and_nonsense_is_not() {
        let now = at("2026-01-31T12:00:00Z");
        let read = |date: &str| Reading::of_answer(now, now, &HeaderMap::from_iter([(DATE, date.parse().unwrap())]));
        let reading = read("Sat, 31 Jan 2026 12:01:00 GMT").unwrap();
        assert_eq!(reading.ahead(), TimeDelta::minutes(1));
        assert_eq!(read("yesterday"), None);
    }
}
