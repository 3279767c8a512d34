//! What one user or bucket has used up of its limits, shared by all cores.
//!
//! Invariants: as many requests are let in at the same time as the limit allows, and no more, whatever cores they come
//! to; what a request took is given back by dropping its [`Pass`], wherever that happens; what is refused by one limit
//! uses up nothing of the other.
//!
//! Not here: which limits there are. They come with each request.

use super::NANOSECONDS;
use super::gcra::{Gcra, Rate};
use super::setting::TrafficLimits;
use crate::limits::{BANDWIDTH_BURST, BANDWIDTH_WAIT_MAX};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

const SAVED_NS: u64 = BANDWIDTH_BURST.as_millis() as u64 * 1_000_000;

const WAIT_MAX_NS: u64 = BANDWIDTH_WAIT_MAX.as_millis() as u64 * 1_000_000;

#[derive(Debug, Default)]
pub struct Limiter {
    requests: Gcra,
    /// Requests under way that hold a slot.
    running: AtomicU32,
    bytes_in: Gcra,
    bytes_out: Gcra,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A limit that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Rate,
    Concurrency,
    Bandwidth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) bound: Bound,
    /// How long it is until there will be room; 0: nobody knows.
    pub(super) wait_ns: u64,
}

/// What one request has of a limiter. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Pass {
    limiter: Arc<Limiter>,
    has_slot: bool,
    /// What it took of the rate; 0: nothing.
    taken_ns: u64,
    bytes_in_per_second: Option<u64>,
    bytes_out_per_second: Option<u64>,
}

impl Limiter {
    /// Lets a request in, if none of the limits is reached.
    pub(super) fn enter(
        limiter: &Arc<Self>,
        limits: &TrafficLimits,
        now_ns: u64,
    ) -> Result<Pass, Refused> {
        let has_slot = match limits.concurrent_requests {
            Some(most) if !limiter.take_slot(most) => {
                return Err(Refused { bound: Bound::Concurrency, wait_ns: 0 });
            }
            most => most.is_some(),
        };
        let mut pass = Pass {
            limiter: Arc::clone(limiter),
            has_slot,
            taken_ns: 0,
            bytes_in_per_second: limits.bytes_in_per_second,
            bytes_out_per_second: limits.bytes_out_per_second,
        };
        if let Some(per_second) = limits.requests_per_second {
            let rate = Rate::new(per_second, limits.burst_requests.unwrap_or(per_second));
            // Refused, the pass is dropped and its slot is free again.
            let take = limiter.requests.take(rate, now_ns);
            take.map_err(|wait_ns| Refused { bound: Bound::Rate, wait_ns })?;
            pass.taken_ns = rate.interval_ns;
        }
        Ok(pass)
    }

    fn take_slot(&self, most: u32) -> bool {
        let one_more = |running: u32| (running < most).then_some(running + 1);
        self.running.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Whether it says as little as a new one.
    pub(super) fn is_idle(&self, now_ns: u64) -> bool {
        let idle = |counted: &Gcra| counted.is_idle(now_ns);
        self.running.load(Relaxed) == 0
            && [&self.requests, &self.bytes_in, &self.bytes_out].into_iter().all(idle)
    }
}

impl Pass {
    /// Whether something is held for as long as the request lasts.
    pub(super) fn has_slot(&self) -> bool {
        self.has_slot
    }

    /// The limit of bandwidth, if there is one.
    pub(super) fn bytes_per_second(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::In => self.bytes_in_per_second,
            Direction::Out => self.bytes_out_per_second,
        }
    }

    /// The pass, unless bytes that go this way would have to wait for too long.
    pub(super) fn in_time(self, direction: Direction, now_ns: u64) -> Result<Self, Refused> {
        if self.bytes_per_second(direction).is_none() {
            return Ok(self);
        }
        let owed_ns = self.counted(direction).ahead_ns(now_ns);
        if owed_ns <= WAIT_MAX_NS {
            return Ok(self);
        }
        self.give_back();
        Err(Refused { bound: Bound::Bandwidth, wait_ns: owed_ns - WAIT_MAX_NS })
    }

    fn counted(&self, direction: Direction) -> &Gcra {
        match direction {
            Direction::In => &self.limiter.bytes_in,
            Direction::Out => &self.limiter.bytes_out,
        }
    }

    /// Counts bytes; when they are due.
    pub(super) fn reserve(&self, direction: Direction, bytes: u64, now_ns: u64) -> u64 {
        let Some(per_second) = self.bytes_per_second(direction) else { return now_ns };
        let cost_ns = bytes.saturating_mul(NANOSECONDS).div_ceil(per_second.max(1));
        self.counted(direction).reserve(cost_ns, SAVED_NS, now_ns)
    }

    /// The request is not served after all, and counts for nothing.
    pub(super) fn give_back(self) {
        if self.taken_ns > 0 {
            self.limiter.requests.give_back(self.taken_ns);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.has_slot {
            self.limiter.running.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    fn limits(rate: Option<u32>, concurrent: Option<u32>) -> TrafficLimits {
        TrafficLimits {
            requests_per_second: rate,
            concurrent_requests: concurrent,
            ..TrafficLimits::default()
        }
    }

    #[test]
    fn a_slot_comes_back_when_its_pass_is_dropped() {
        let limiter = Arc::new(Limiter::default());
        let two = limits(None, Some(2));
        let enter = || Limiter::enter(&limiter, &two, 0);
        let (first, second) = (enter().unwrap(), enter().unwrap());
        let refused = enter().unwrap_err();
        assert_eq!(refused, Refused { bound: Bound::Concurrency, wait_ns: 0 });
        drop(first);
        let third = enter().unwrap();
        assert!(enter().is_err());
        // The limit is lowered, and then taken away.
        assert!(Limiter::enter(&limiter, &limits(None, Some(1)), 0).is_err());
        drop(second);
        assert!(Limiter::enter(&limiter, &limits(None, Some(1)), 0).is_err());
        assert!(!Limiter::enter(&limiter, &limits(Some(1), None), 0).unwrap().has_slot());
        drop(third);
        assert!(limiter.is_idle(2_000_000_000));
    }

    #[test]
    fn what_one_limit_refuses_uses_up_nothing_of_the_other() {
        let limiter = Arc::new(Limiter::default());
        let both = limits(Some(2), Some(1));
        let pass = Limiter::enter(&limiter, &both, 0).unwrap();
        for _ in 0..10 {
            assert_eq!(Limiter::enter(&limiter, &both, 0).unwrap_err().bound, Bound::Concurrency);
        }
        drop(pass);
        let pass = Limiter::enter(&limiter, &both, 0).unwrap();
        drop(pass);
        let refused = Limiter::enter(&limiter, &both, 0).unwrap_err();
        assert_eq!(refused, Refused { bound: Bound::Rate, wait_ns: 500_000_000 });
        assert_eq!(limiter.running.load(SeqCst), 0);
        // One that another limit refuses counts for nothing here.
        Limiter::enter(&limiter, &both, 500_000_000).unwrap().give_back();
        Limiter::enter(&limiter, &both, 500_000_000).unwrap().give_back();
        assert_eq!(limiter.running.load(SeqCst), 0);
        assert!(Limiter::enter(&limiter, &both, 500_000_000).is_ok());
    }

    #[test]
    fn threads_together_never_hold_more_slots() {
        let limiter = Arc::new(Limiter::default());
        let three = limits(None, Some(3));
        let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Ok(pass) = Limiter::enter(&limiter, &three, 0) {
                            most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                            std::hint::spin_loop();
                            held.fetch_sub(1, SeqCst);
                            drop(pass);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(limiter.running.load(SeqCst), 0);
    }
}
