//! How long a group that could be written waits for more to join it.
//!
//! When a group has landed, its writers are answered and most of them write again within a fraction
//! of the time that the device needs for the next group. Written at once, that next group would hold
//! only those who came during the last one, and the two halves would take turns for ever, each paying
//! a flush. So it waits, for at most an eighth of what a group's write takes, until as many have
//! gathered as were under way. With one writer nothing ever waits, and where a write takes
//! microseconds, so does the wait.
//!
//! Pure arithmetic: times come from the caller.

use std::time::Duration;

/// The wait is at most this, however slow the device.
const HOLD_NS_MAX: u64 = 2_000_000;
/// Share of a write's time that may be waited, as a divisor.
const HOLD_DIVISOR: u64 = 8;
/// Weight of the newest write in the running mean of write times, as a divisor.
const MEAN_DIVISOR: u64 = 8;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Running mean of what a group's write takes.
    write_ns: u64,
    /// Records that were under way when the last group landed.
    expected: usize,
    hold_until_ns: u64,
}

impl Pace {
    /// A group of `landed` records was written in `took_ns`; `gathered` wait for the next.
    pub(crate) fn landed(&mut self, landed: usize, gathered: usize, took_ns: u64, now_ns: u64) {
        let mean = if self.write_ns == 0 { took_ns } else { self.write_ns };
        self.write_ns = mean - mean / MEAN_DIVISOR + took_ns / MEAN_DIVISOR;
        self.expected = landed + gathered;
        self.hold_until_ns = now_ns + (self.write_ns / HOLD_DIVISOR).min(HOLD_NS_MAX);
    }

    /// What a group's write takes, on average.
    pub(crate) fn write_ns(&self) -> u64 {
        self.write_ns
    }

    /// How much longer a group of `gathered` records should wait, if at all.
    pub(crate) fn hold(&self, gathered: usize, now_ns: u64) -> Option<Duration> {
        let left = self.hold_until_ns.saturating_sub(now_ns);
        (self.is_short(gathered) && left > 0).then(|| Duration::from_nanos(left))
    }

    /// Whether more are expected.
    pub(crate) fn is_short(&self, gathered: usize) -> bool {
        gathered < self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_never_waits_and_many_wait_for_each_other() {
        let mut pace = Pace::default();
        assert_eq!(pace.hold(1, 0), None);
        pace.landed(1, 0, 4_000_000, 10_000_000);
        assert_eq!(pace.hold(1, 10_000_001), None);
        pace.landed(32, 32, 4_000_000, 20_000_000);
        assert_eq!(pace.hold(32, 20_000_000), Some(Duration::from_micros(500)));
        assert_eq!(pace.hold(63, 20_400_000), Some(Duration::from_micros(100)));
        assert_eq!(pace.hold(64, 20_400_000), None);
        assert_eq!(pace.hold(32, 20_500_000), None);
    }

    #[test]
    fn the_wait_follows_the_device() {
        let mut pace = Pace::default();
        for at in 0..100 {
            pace.landed(8, 8, 80_000, at);
        }
        let wait = pace.hold(1, 99).unwrap_or_default();
        assert!((9_000..=10_000).contains(&wait.as_nanos()), "{wait:?}");
        pace.landed(8, 8, u64::from(u32::MAX), 1000);
        assert!(pace.hold(1, 1000).unwrap_or_default() <= Duration::from_nanos(HOLD_NS_MAX));
    }
}
