//! The time of a request: `x-amz-date`, `X-Amz-Date` and `Date`, to the second.
//!
//! Invariant: the text of a [`Timestamp`] is always 16 ASCII characters, `YYYYMMDDTHHMMSSZ`.

use crate::dates;
use jiff::{Timestamp as Instant, civil, tz::TimeZone};

/// A time as SigV4 writes it, and as seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    pub seconds: i64,
    text: [u8; 16],
}

impl Timestamp {
    /// Reads ISO 8601's basic form, `20130524T000000Z`, and no other.
    pub fn from_basic(text: &[u8]) -> Option<Self> {
        let text: [u8; 16] = text.try_into().ok()?;
        if text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        let field = |from: usize, to: usize| {
            text[from..to].iter().try_fold(0i16, |value, byte| {
                byte.is_ascii_digit().then(|| value * 10 + i16::from(byte - b'0'))
            })
        };
        let small = |from: usize| field(from, from + 2).and_then(|value| i8::try_from(value).ok());
        let time = civil::DateTime::new(
            field(0, 4)?,
            small(4)?,
            small(6)?,
            small(9)?,
            small(11)?,
            small(13)?,
            0,
        )
        .ok()?;
        let seconds = TimeZone::UTC.to_timestamp(time).ok()?.as_second();
        Some(Self { seconds, text })
    }

    /// Reads the form of the `Date` header, `Fri, 24 May 2013 00:00:00 GMT`.
    pub fn from_http_date(text: &[u8]) -> Option<Self> {
        Self::from_seconds(dates::parse_http_date(std::str::from_utf8(text).ok()?)?)
    }

    /// None where the year does not have four digits.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let time = TimeZone::UTC.to_datetime(Instant::from_second(seconds).ok()?);
        let text = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        Some(Self { seconds, text: text.as_bytes().try_into().ok()? })
    }

    /// `YYYYMMDDTHHMMSSZ`
    pub fn text(&self) -> &[u8; 16] {
        &self.text
    }

    /// `YYYYMMDD`
    pub fn date(&self) -> &[u8] {
        &self.text[..8]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_forms_of_one_time_are_equal() {
        let basic = Timestamp::from_basic(b"20130524T000000Z").unwrap();
        assert_eq!(basic.seconds, 1_369_353_600);
        assert_eq!(Timestamp::from_http_date(b"Fri, 24 May 2013 00:00:00 GMT").unwrap(), basic);
        assert_eq!(Timestamp::from_seconds(1_369_353_600).unwrap(), basic);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "20130524T000000", "20131324T000000Z", "2013052xT000000Z", "20130524t000000Z"]
        {
            assert_eq!(Timestamp::from_basic(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Timestamp::from_http_date(b"\xff"), None);
        assert_eq!(Timestamp::from_http_date(b"yesterday"), None);
    }
}
