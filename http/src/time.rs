//! The clock that connections see, and the `Date` line made from it.
//!
//! Invariant: the text of a date is formatted at most once per second and core.
//! It does not wait: deadlines are checked by a sweeper, see `control.rs`.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// The source of time, supplied by the server.
pub trait Clock {
    /// Milliseconds since any fixed moment; never steps back.
    fn monotonic_ms(&self) -> u64;
    /// Seconds since 1970-01-01 UTC.
    fn unix_seconds(&self) -> u64;
}

/// Length of an IMF-fixdate (RFC 9110, section 5.6.7).
pub(crate) const DATE_BYTES: usize = 29;

/// One core's clock with its cached `Date`; shared by all connections of the core.
pub struct Time {
    clock: Box<dyn Clock>,
    /// The second that `date` tells, absent before the first use.
    second: Cell<Option<u64>>,
    date: Cell<[u8; DATE_BYTES]>,
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").field("second", &self.second.get()).finish_non_exhaustive()
    }
}

impl Time {
    pub fn new(clock: impl Clock + 'static) -> Rc<Self> {
        Rc::new(Self {
            clock: Box::new(clock),
            second: Cell::new(None),
            date: Cell::new([b' '; DATE_BYTES]),
        })
    }

    pub fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    /// The present as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        let second = self.clock.unix_seconds();
        if self.second.get() != Some(second) {
            self.date.set(format_date(second));
            self.second.set(Some(second));
        }
        self.date.get()
    }
}

/// A moment that the calendar cannot express is told as the epoch: the line must stand.
fn format_date(unix_seconds: u64) -> [u8; DATE_BYTES] {
    let timestamp = i64::try_from(unix_seconds)
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&timestamp)
        .ok()
        .and_then(|text| text.as_bytes().try_into().ok())
        .unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_an_imf_fixdate() {
        assert_eq!(&format_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format_date(u64::MAX), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
