//! A rate, as the generic cell rate algorithm has it: one number says when the next request is due.
//!
//! That is the theoretical arrival time. Each request that is let in moves it on by one interval, from now if it has
//! passed; a request is let in if it is not further ahead of now than a burst allows. So the count of a window is never
//! kept, nothing has to run beside the requests, and one atomic number is all that cores share.
//!
//! Invariant: in any time T at most `burst + T / interval` requests are let in, whoever asks at the same moment.
//!
//! Source: ITU-T I.371, "Traffic control and congestion control in B-ISDN", annex A.

use super::NANOSECONDS;
use crate::limits::BANDWIDTH_WAIT_MAX;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How far clocks of cores may seem apart: one reads the time, and judges by it a moment later.
const APART_NS: u64 = 10_000_000;

/// How far ahead of now a place may be: what is let in shortly before it is refused (`limiter`) finds room.
const OWED_NS_MAX: u64 = 2 * BANDWIDTH_WAIT_MAX.as_millis() as u64 * 1_000_000;

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) interval_ns: u64,
    /// How far ahead of now a request may be due.
    tolerance_ns: u64,
}

impl Rate {
    /// `burst` may happen at once behind a pause. Both are 1 or more.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        // Rounded so that never more are let in.
        let interval_ns = NANOSECONDS.div_ceil(u64::from(per_second.max(1)));
        let tolerance_ns = interval_ns * u64::from(burst.saturating_sub(1));
        Self { interval_ns, tolerance_ns }
    }
}

/// When the next request is due, in nanoseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Gcra(AtomicU64);

impl Gcra {
    /// Takes one, or says how long it is until one can be taken.
    pub(super) fn take(&self, rate: Rate, now_ns: u64) -> Result<(), u64> {
        let mut found = self.0.load(Relaxed);
        loop {
            let due = found.max(now_ns);
            let latest = now_ns + rate.tolerance_ns;
            if due > latest {
                return Err(self.wait(found, rate, now_ns));
            }
            match self.0.compare_exchange_weak(found, due + rate.interval_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => found = other,
            }
        }
    }

    /// How long it is until one can be taken. What was taken under a slower rate may be due later than the present
    /// one could make it: then it is due as late as that makes it, so that a change counts at once.
    fn wait(&self, found: u64, rate: Rate, now_ns: u64) -> u64 {
        let latest = now_ns + rate.tolerance_ns;
        let due = found.min(latest + rate.interval_ns);
        if found > due + APART_NS {
            // If another was faster, it has done the same.
            let _ = self.0.compare_exchange(found, due, Relaxed, Relaxed);
        }
        due - latest
    }

    /// Gives back what was taken a moment ago. It was moved on by as much, or time has passed it.
    pub(super) fn give_back(&self, interval_ns: u64) {
        let back = |due: u64| Some(due.saturating_sub(interval_ns));
        // It always changes.
        let _ = self.0.fetch_update(Relaxed, Relaxed, back);
    }

    /// Gives a place behind all that was counted before: when that is. A little of what was not used is saved up, and
    /// what is owed has a bound, so that what was counted under a slower rate or for clients that have gone ends.
    pub(super) fn reserve(&self, cost_ns: u64, saved_ns: u64, now_ns: u64) -> u64 {
        let earliest = now_ns.saturating_sub(saved_ns);
        let place = |due: u64| due.clamp(earliest, now_ns.saturating_add(OWED_NS_MAX));
        let behind = |due: u64| Some(place(due).saturating_add(cost_ns));
        // It always changes, and says what was there before.
        let (Ok(found) | Err(found)) = self.0.fetch_update(Relaxed, Relaxed, behind);
        place(found)
    }

    /// How far ahead of now the next one is due.
    pub(super) fn ahead_ns(&self, now_ns: u64) -> u64 {
        self.0.load(Relaxed).saturating_sub(now_ns)
    }

    /// Whether it says as little as one that was never used.
    pub(super) fn is_idle(&self, now_ns: u64) -> bool {
        self.0.load(Relaxed) <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    const MS: u64 = 1_000_000;

    /// How many of `tries` are let in at that time.
    fn taken(gcra: &Gcra, rate: Rate, now_ns: u64, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(gcra.take(rate, now_ns).is_ok())).sum()
    }

    #[test]
    fn a_rate_is_exact_at_its_edge() {
        let (gcra, rate) = (Gcra::default(), Rate::new(10, 3));
        let start = 77 * MS;
        assert_eq!(taken(&gcra, rate, start, 5), 3);
        // The next is due one interval later, and not a nanosecond earlier.
        assert_eq!(gcra.take(rate, start), Err(100 * MS));
        assert_eq!(gcra.take(rate, start + 100 * MS - 1), Err(1));
        assert_eq!(taken(&gcra, rate, start + 100 * MS, 5), 1);
        assert_eq!(taken(&gcra, rate, start + 350 * MS, 5), 2);
        // A pause saves up a burst and no more.
        assert_eq!(taken(&gcra, rate, start + 3_600_000 * MS, 9), 3);
    }

    #[test]
    fn over_a_long_time_it_is_the_rate_whatever_the_steps() {
        for (per_second, step_ns) in [(7, MS), (1000, 333_333), (1_000_000, 700), (3, 250 * MS)] {
            let (gcra, rate) = (Gcra::default(), Rate::new(per_second, 1));
            let seconds = if per_second > 10_000 { 1 } else { 10 };
            let steps = seconds * NANOSECONDS / step_ns;
            let count: u32 = (0..=steps).map(|step| taken(&gcra, rate, step * step_ns, 2)).sum();
            let most = per_second * u32::try_from(seconds).unwrap_or(0) + 1;
            assert!(count <= most, "{count} of {most}");
            // Steps that are not multiples of the interval come late by up to one of them.
            let slowest = NANOSECONDS / (rate.interval_ns + step_ns) * seconds;
            assert!(u64::from(count) >= slowest, "{count} of {slowest}");
        }
    }

    #[test]
    fn threads_together_never_take_more() {
        let (gcra, rate) = (Gcra::default(), Rate::new(1000, 50));
        let count = AtomicU32::new(0);
        // Each round is a millisecond in which all ask; none is a round behind, however long it is held up.
        let rounds = 2000;
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..rounds {
                        barrier.wait();
                        count.fetch_add(taken(&gcra, rate, round * MS, 3), Relaxed);
                    }
                });
            }
        });
        // The burst, and one for each millisecond behind the first.
        assert_eq!(count.into_inner(), 50 + 1999);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_not_more() {
        let (gcra, rate) = (Gcra::default(), Rate::new(10, 2));
        assert_eq!(taken(&gcra, rate, 5 * MS, 3), 2);
        gcra.give_back(rate.interval_ns);
        assert_eq!(taken(&gcra, rate, 5 * MS, 3), 1);
    }

    #[test]
    fn places_follow_each_other_and_a_pause_saves_a_little() {
        let gcra = Gcra::default();
        let reserve = |now_ms| gcra.reserve(100 * MS, 250 * MS, now_ms * MS) / MS;
        assert_eq!([0, 0, 0].map(reserve), [0, 100, 200]);
        assert_eq!([350, 350, 10_000].map(reserve), [300, 400, 9750]);
        assert_eq!([10_000; 4].map(reserve), [9850, 9950, 10_050, 10_150]);
    }

    #[test]
    fn a_faster_rate_counts_at_once() {
        let (gcra, slow, fast) = (Gcra::default(), Rate::new(1, 60), Rate::new(1000, 1));
        assert_eq!(taken(&gcra, slow, 0, 100), 60);
        assert_eq!(gcra.take(fast, 5 * MS), Err(MS));
        assert_eq!(taken(&gcra, fast, 6 * MS, 5), 1);
        assert!(!gcra.is_idle(6 * MS) && gcra.is_idle(7 * MS));
    }
}
