//! The memory budget of one core: bodies under way take their share before they take memory.
//!
//! Who finds the budget used up waits in order of arrival, for a bounded time, and is then told that
//! the store is busy; at once, where the queue is so long that it would have to wait for longer than
//! is good for anybody. A share larger than the whole budget is granted when nothing else is held, so
//! that a tiny budget slows down and does not deadlock.
//!
//! Invariant: whoever waits is woken alone, when it has its share: with thousands waiting, each share that
//! comes back would otherwise wake thousands.

use crate::error::{Error, Result};
use crate::limits::{
    BUDGET_WAIT_EXPECTED_MAX, BUDGET_WAIT_MAX, CHUNK_BYTES_MAX, CHUNK_WRITES_IN_FLIGHT,
    INLINE_BYTES_MAX,
};
use crate::platform::Platform;
use crate::wait::Event;
use futures_lite::FutureExt;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// What an upload takes without asking whether it can be spared.
const SHARE_BYTES_MAX: usize = (CHUNK_WRITES_IN_FLIGHT + 1) * CHUNK_BYTES_MAX;
/// What a body that lies in its record takes, with what describes it.
const SMALL_SHARE_BYTES_MAX: usize = 2 * INLINE_BYTES_MAX;
/// The reserve for these is one part of so many.
const SMALL_SHARES: usize = 8;

/// A budget, an eighth of which is for small shares alone: whoever fills it with large bodies and is slow to
/// send or take them does not keep small objects from anybody. Small shares that wait get what comes back first,
/// of the reserve or of the rest; of the rest, behind those that wait for large ones.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    any: Rc<Budget>,
    small: Rc<Budget>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        let reserve = limit / SMALL_SHARES;
        let small = Budget::new(reserve);
        let any = Budget { guests: Some(small.clone()), ..Budget::of(limit - reserve) };
        Self { any: Rc::new(any), small }
    }

    pub(crate) fn used(&self) -> usize {
        self.any.used() + self.small.used()
    }

    /// As [`Budget::spare`]: such shares are never of the reserve.
    pub(crate) fn spare(&self, bytes: usize) -> Option<Permit> {
        self.any.spare(bytes)
    }

    /// As [`Budget::is_too_long`], for who would ask for so much.
    pub(crate) fn refuses(&self, bytes: usize) -> bool {
        bytes > SMALL_SHARE_BYTES_MAX && self.any.is_too_long()
    }

    /// As [`Budget::take`].
    pub(crate) async fn take<P: Platform>(&self, platform: &P, bytes: usize) -> Result<Permit> {
        if bytes > SMALL_SHARE_BYTES_MAX {
            return self.any.take(platform, bytes).await;
        }
        match self.any.take_now(bytes) {
            Some(permit) => Ok(permit),
            None => self.small.take(platform, bytes).await,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Cell<usize>,
    /// What each place in the queue has taken of late.
    place_ns: Cell<u64>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
    /// Another budget: those who wait for it get what nobody waits for here.
    guests: Option<Rc<Budget>>,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    bytes: usize,
    /// Whose share it was given.
    granted: OnceCell<Rc<Budget>>,
    event: Event,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Rc<Budget>,
    bytes: usize,
}

/// Somebody's turn at what only so many do at once.
#[derive(Debug)]
pub struct Turn {
    pub(crate) _permit: Permit,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self::of(limit))
    }

    fn of(limit: usize) -> Self {
        Self {
            limit,
            used: Cell::new(0),
            place_ns: Cell::new(0),
            waiting: RefCell::default(),
            guests: None,
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// A share for what can be done without: only while nobody waits, and half of the budget stays free,
    /// and the largest share that anybody has a right to. Who holds such shares never keeps those with a
    /// right to theirs from going on.
    pub(crate) fn spare(self: &Rc<Self>, bytes: usize) -> Option<Permit> {
        let used = self.used.get() + bytes;
        let free = self.limit.saturating_sub(used);
        if free < (self.limit / 2).max(SHARE_BYTES_MAX) || !self.waiting.borrow().is_empty() {
            return None;
        }
        self.used.set(used);
        Some(Permit { budget: self.clone(), bytes })
    }

    pub(crate) async fn take<P: Platform>(
        self: &Rc<Self>,
        platform: &P,
        bytes: usize,
    ) -> Result<Permit> {
        if let Some(permit) = self.take_now(bytes) {
            return Ok(permit);
        }
        if self.is_too_long() {
            return Err(Error::Busy);
        }
        let ahead = self.waiting.borrow().len() as u64;
        let begun_ns = platform.monotonic_ns();
        let place = Rc::new(Place { bytes, granted: OnceCell::new(), event: Event::default() });
        self.waiting.borrow_mut().push_back(place.clone());
        let waiter = Waiter { budget: self, place: &place };
        let granted = place.event.wait_until(|| place.granted.get().cloned().map(Some));
        let late = async {
            platform.sleep(BUDGET_WAIT_MAX).await;
            None
        };
        let granted = granted.or(late).await;
        let waited_ns = platform.monotonic_ns().saturating_sub(begun_ns) / (ahead + 1);
        self.place_ns.set((self.place_ns.get() * 7 + waited_ns) / 8);
        let budget = granted.ok_or(Error::Busy)?;
        // It has left the queue already.
        std::mem::forget(waiter);
        Ok(Permit { budget, bytes })
    }

    /// Whether one more would have to wait for too long, as the queue has moved of late.
    pub(crate) fn is_too_long(&self) -> bool {
        let waiting = self.waiting.borrow().len() as u64;
        let expected_ns = self.place_ns.get() * (waiting + 1);
        waiting > 0 && expected_ns > BUDGET_WAIT_EXPECTED_MAX.as_nanos() as u64
    }

    /// A share that is there, for which nobody waits.
    fn take_now(self: &Rc<Self>, bytes: usize) -> Option<Permit> {
        let is_there = self.waiting.borrow().is_empty() && self.try_take(bytes);
        is_there.then(|| {
            // Nobody waits: what was learned when many did is forgotten bit by bit.
            self.place_ns.set(self.place_ns.get() / 2);
            Permit { budget: self.clone(), bytes }
        })
    }

    /// Gives out what there is, to those who wait longest.
    fn give(self: &Rc<Self>) {
        self.give_to(self);
        if let Some(guests) = &self.guests
            && self.waiting.borrow().is_empty()
        {
            self.give_to(guests);
        }
    }

    /// Gives out what there is to those who wait in a queue.
    fn give_to(self: &Rc<Self>, queue: &Self) {
        loop {
            let Some(first) = queue.waiting.borrow().front().cloned() else { return };
            if !self.try_take(first.bytes) {
                return;
            }
            queue.waiting.borrow_mut().pop_front();
            // A place is in a queue only until it has its share.
            let _ = first.granted.set(self.clone());
            first.event.notify();
        }
    }

    fn try_take(&self, bytes: usize) -> bool {
        let used = self.used.get();
        let fits = used == 0 || used + bytes <= self.limit;
        if fits {
            self.used.set(used + bytes);
        }
        fits
    }
}

/// One who waits. Dropped before it has its share it leaves the queue; a share that it was given already goes
/// back.
struct Waiter<'a> {
    budget: &'a Rc<Budget>,
    place: &'a Rc<Place>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Self { budget, place } = self;
        if let Some(giver) = place.granted.get() {
            drop(Permit { budget: giver.clone(), bytes: place.bytes });
        } else {
            budget.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
            // It may have been the first, and too large for what there is.
            budget.give();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        self.budget.give();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::platform::sim::{Sim, SimOptions, SimPlatform};
    use futures_lite::future::poll_once;
    use std::pin::pin;
    use std::time::Duration;

    fn run(test: impl AsyncFnOnce(SimPlatform, Rc<Budget>)) {
        let sim = Sim::new(1, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(test(platform, Budget::new(100))).unwrap();
    }

    #[test]
    fn shares_are_given_in_order_to_whom_they_fit() {
        run(async |platform, budget| {
            let first = budget.take(&platform, 60).await.unwrap();
            let (mut large, mut small) =
                (pin!(budget.take(&platform, 80)), pin!(budget.take(&platform, 10)));
            assert!(poll_once(&mut large).await.is_none());
            assert!(poll_once(&mut small).await.is_none(), "nobody passes who was there before");
            assert!(budget.spare(1).is_none());
            drop(first);
            let large = poll_once(&mut large).await.unwrap().unwrap();
            let small = poll_once(&mut small).await.unwrap().unwrap();
            assert_eq!(budget.used(), 90);
            drop((large, small));
            assert_eq!(budget.used(), 0);
        });
    }

    #[test]
    fn large_shares_leave_room_for_small_ones() {
        let sim = Sim::new(1, SimOptions::default());
        let platform = sim.platform();
        let test = async {
            let budget = MemoryBudget::new(8 << 20);
            let large = budget.take(&platform, 7 << 20).await.unwrap();
            assert!(poll_once(pin!(budget.take(&platform, 1 << 20))).await.is_none());
            let small = budget.take(&platform, 100_000).await.unwrap();
            assert_eq!(budget.used(), (7 << 20) + 100_000);
            drop((large, small));
            assert_eq!(budget.used(), 0);
        };
        sim.run_until(test).unwrap();
    }

    #[test]
    fn who_stops_waiting_leaves_nothing_behind() {
        run(async |platform, budget| {
            let first = budget.take(&platform, 100).await.unwrap();
            let mut third = pin!(budget.take(&platform, 10));
            {
                let mut second = pin!(budget.take(&platform, 100));
                assert!(poll_once(&mut second).await.is_none());
                assert!(poll_once(&mut third).await.is_none());
                drop(first);
                // Dropped with the share that it was given and never took.
            }
            drop(poll_once(&mut third).await.unwrap());
            let held = budget.take(&platform, 100).await.unwrap();
            {
                let mut late = pin!(budget.take(&platform, 100));
                assert!(poll_once(&mut late).await.is_none());
            }
            drop(held);
            assert_eq!((budget.used(), budget.waiting.borrow().len()), (0, 0));
        });
    }

    #[test]
    fn a_share_larger_than_all_is_given_when_nothing_else_is() {
        run(async |platform, budget| {
            let all = budget.take(&platform, 1000).await.unwrap();
            assert!(poll_once(pin!(budget.take(&platform, 1))).await.is_none());
            drop(all);
            drop(budget.take(&platform, 1).await.unwrap());
        });
    }

    #[test]
    fn small_shares_that_wait_get_what_comes_back_first() {
        let sim = Sim::new(1, SimOptions::default());
        let platform = sim.platform();
        let test = async {
            let budget = MemoryBudget::new(8 << 20);
            let small = 200 << 10;
            let large = budget.take(&platform, 6 << 20).await.unwrap();
            let mut reserve = Vec::new();
            // The rest of what is for any, and the reserve.
            for _ in 0..10 {
                reserve
                    .push(poll_once(pin!(budget.take(&platform, small))).await.unwrap().unwrap());
            }
            let mut larger = pin!(budget.take(&platform, 7 << 20));
            let (mut first, mut second) =
                (pin!(budget.take(&platform, small)), pin!(budget.take(&platform, small)));
            assert!(poll_once(&mut larger).await.is_none());
            assert!(poll_once(&mut first).await.is_none());
            assert!(poll_once(&mut second).await.is_none());
            // Of the reserve.
            drop(reserve.pop());
            let first = poll_once(&mut first).await.unwrap().unwrap();
            // Of the rest, once the large one has stopped waiting for it.
            drop(large);
            assert!(poll_once(&mut larger).await.is_none());
            assert!(poll_once(&mut second).await.is_none());
            larger.set(budget.take(&platform, 1 << 20));
            let second = poll_once(&mut second).await.unwrap().unwrap();
            assert!(Rc::ptr_eq(&second.budget, &budget.any));
            drop((first, second, reserve));
            assert_eq!(budget.used(), 0);
        };
        sim.run_until(test).unwrap();
    }

    /// Where nothing moves the first waits to the end; those behind it are told at once, until something moves.
    #[test]
    fn a_queue_that_would_take_too_long_is_not_joined() {
        run(async |platform, budget| {
            let held = budget.take(&platform, 100).await.unwrap();
            for _ in 0..2 {
                let begun_ns = platform.monotonic_ns();
                assert!(matches!(budget.take(&platform, 10).await, Err(Error::Busy)));
                let waited = Duration::from_nanos(platform.monotonic_ns() - begun_ns);
                assert!(waited >= BUDGET_WAIT_MAX, "{waited:?}");
            }
            // One may always wait: how else would it be known that things move again?
            let mut first = pin!(budget.take(&platform, 10));
            assert!(poll_once(&mut first).await.is_none());
            let second = poll_once(pin!(budget.take(&platform, 10))).await;
            assert!(matches!(second, Some(Err(Error::Busy))));
            drop(held);
            drop(poll_once(&mut first).await.unwrap().unwrap());
            for _ in 0..20 {
                let held = budget.take(&platform, 100).await.unwrap();
                let mut first = pin!(budget.take(&platform, 10));
                assert!(poll_once(&mut first).await.is_none());
                drop(held);
                drop(poll_once(&mut first).await.unwrap().unwrap());
            }
            let held = budget.take(&platform, 100).await.unwrap();
            let mut first = pin!(budget.take(&platform, 10));
            let mut second = pin!(budget.take(&platform, 10));
            assert!(
                poll_once(&mut first).await.is_none() && poll_once(&mut second).await.is_none()
            );
            drop(held);
            for waiting in [first, second] {
                drop(waiting.await.unwrap());
            }
            assert_eq!(budget.used(), 0);
        });
    }
}
