//! The arithmetic of days: midnights in UTC, as S3 rounds to them.
//!
//! A day lasts 86,400 seconds, or less where a test says so: then midnights are the multiples of
//! that length since the Unix epoch, as real midnights are of theirs.

/// How long a day lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    seconds: i64,
}

impl Day {
    pub const REAL: Self = Self { seconds: 86_400 };

    /// A day of at least one second.
    pub fn of(length: std::time::Duration) -> Self {
        Self { seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1) }
    }

    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The midnight at or before a moment.
    pub fn midnight_before(self, moment: i64) -> i64 {
        moment - moment.rem_euclid(self.seconds)
    }

    /// The first midnight behind the moment that lies so many days after another: when what was made
    /// then is due. Times are seconds since the Unix epoch.
    pub fn midnight_after(self, moment: i64, days: u32) -> i64 {
        let later = self.seconds.saturating_mul(i64::from(days).saturating_add(1));
        self.midnight_before(moment).saturating_add(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dates::parse_time;
    use std::time::Duration;

    fn check(created: &str, days: u32, due: &str) {
        let (created, due) = (parse_time(created).unwrap_or(-1), parse_time(due).unwrap_or(-1));
        assert_eq!(Day::REAL.midnight_after(created, days), due, "{created} + {days}");
    }

    /// The first is the example of AWS's guide.
    #[test]
    fn what_is_made_on_a_day_is_due_at_a_midnight() {
        check("2014-01-15T10:30:00Z", 3, "2014-01-19T00:00:00Z");
        check("2014-01-15T23:59:59Z", 1, "2014-01-17T00:00:00Z");
        check("2014-01-15T00:00:00Z", 1, "2014-01-17T00:00:00Z");
        check("2014-02-28T12:00:00Z", 0, "2014-03-01T00:00:00Z");
        check("1969-12-31T12:00:00Z", 1, "1970-01-02T00:00:00Z");
    }

    #[test]
    fn a_short_day_is_the_same_in_small() {
        let day = Day::of(Duration::from_secs(2));
        assert_eq!(day.midnight_before(1001), 1000);
        assert_eq!(day.midnight_after(1001, 1), 1004);
        assert_eq!(Day::of(Duration::from_millis(1)).seconds(), 1);
        assert_eq!(Day::of(Duration::from_secs(1)).midnight_after(7, u32::MAX), 7 + (1 << 32));
    }
}
