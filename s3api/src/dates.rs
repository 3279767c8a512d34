//! Points in time as S3 writes and reads them: HTTP dates and XML timestamps.
//!
//! Invariant: a date that cannot be read is `None`; conditional headers with such a date are then
//! ignored, as RFC 9110 wants it.
//!
//! Not here: the basic form of SigV4 (`auth::timestamp`).

use engine::Version;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::{StdFmtWrite, rfc2822, strtime};
use jiff::tz::TimeZone;
use std::fmt::{self, Display, Formatter};

const NANOSECONDS: u64 = 1_000_000_000;

/// A version's time in whole seconds since the Unix epoch: what HTTP headers carry and compare.
pub fn seconds(version: Version) -> i64 {
    i64::try_from(version.0 / NANOSECONDS).unwrap_or(i64::MAX)
}

/// Seconds since the Unix epoch, as `Sun, 06 Nov 1994 08:49:37 GMT`; empty before the year 0 and
/// beyond 9999.
#[derive(Debug, Clone, Copy)]
pub struct HttpDate(pub i64);

impl Display for HttpDate {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Ok(time) = Timestamp::from_second(self.0) else { return Ok(()) };
        // Of a year before the first. An error here would be a panic in `format!`.
        let _ = rfc2822::DateTimePrinter::new().print_timestamp_rfc9110(&time, StdFmtWrite(out));
        Ok(())
    }
}

/// `2009-10-12T17:50:30.123Z`, as XML documents carry it.
pub fn xml_time(version: Version) -> String {
    let milliseconds = i64::try_from(version.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// `2013-05-24T00:00:00Z`, as error answers give times.
pub fn iso_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Reads an HTTP date in any of the three forms of RFC 9110 section 5.6.7, as seconds since the
/// Unix epoch.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(time.as_second());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| strtime::parse(format, text).ok()?.to_datetime().ok())
        .and_then(utc_seconds)
}

/// Reads an ISO 8601 time (`2009-10-12T17:50:30Z`) or, as some parameters allow it, an HTTP date.
pub fn parse_time(text: &str) -> Option<i64> {
    match text.trim().parse::<Timestamp>() {
        Ok(time) => Some(time.as_second()),
        Err(_) => parse_http_date(text),
    }
}

fn utc_seconds(time: DateTime) -> Option<i64> {
    TimeZone::UTC.to_timestamp(time).ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: i64 = 784_111_777;

    #[test]
    fn times_are_written_as_s3_writes_them() {
        assert_eq!(HttpDate(MOMENT).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(HttpDate(0).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        for beyond in [-99_999_999_999, i64::MIN, i64::MAX] {
            assert_eq!(HttpDate(beyond).to_string(), "");
        }
        assert_eq!(xml_time(Version(784_111_777_120_456_789)), "1994-11-06T08:49:37.120Z");
        assert_eq!(xml_time(Version(784_111_777_000_000_000)), "1994-11-06T08:49:37.000Z");
        assert_eq!(seconds(Version(784_111_777_999_999_999)), MOMENT);
        assert_eq!(iso_time(MOMENT), "1994-11-06T08:49:37Z");
    }

    #[test]
    fn dates_that_can_be_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49:37 +0000",
        ] {
            assert_eq!(parse_http_date(text), Some(MOMENT), "{text}");
        }
        assert_eq!(parse_time("1994-11-06T08:49:37Z"), Some(MOMENT));
        assert_eq!(parse_time("1994-11-06T08:49:37.5Z"), Some(MOMENT));
        assert_eq!(parse_time("Sun, 06 Nov 1994 08:49:37 GMT"), Some(MOMENT));
    }

    #[test]
    fn dates_that_cannot() {
        for text in ["", "yesterday", "1994-11-06", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }
}
