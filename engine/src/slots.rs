//! A bound on how many of something are under way at once on one core, by rank.
//!
//! A rank is good for as many slots as its holder likes: what belongs together, such as the reads of one
//! chunk, does not stand at the end of the queue again for each of them, but goes before what came later
//! whenever both wait. Who waits is woken alone, when it has its slot: with a thousand waiting, each end
//! of a read would otherwise wake a thousand. Whoever stops waiting leaves its place, or passes its slot on.

use crate::wait::Event;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Slots {
    /// Nobody waits while one is free.
    free: Cell<usize>,
    /// Ranks and places so far.
    numbers: Cell<u64>,
    waiting: RefCell<BTreeMap<Place, Rc<Waiting>>>,
}

/// Since when its holder is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u64);

/// Where somebody stands: by rank, and those with the same one in the order in which they came.
type Place = (Rank, u64);

#[derive(Debug, Default)]
struct Waiting {
    granted: Cell<bool>,
    event: Event,
}

/// A slot, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Rc<Slots>,
}

impl Slots {
    /// At least one, or nothing would ever be under way.
    pub(crate) fn new(count: usize) -> Rc<Self> {
        let (free, numbers) = (Cell::new(count.max(1)), Cell::new(0));
        Rc::new(Self { free, numbers, waiting: RefCell::default() })
    }

    /// Behind everybody who has one.
    pub(crate) fn rank(&self) -> Rank {
        Rank(self.next_number())
    }

    pub(crate) async fn take(self: &Rc<Self>, rank: Rank) -> Slot {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Slot { slots: self.clone() };
        }
        let place = (rank, self.next_number());
        let waiting = Rc::new(Waiting::default());
        self.waiting.borrow_mut().insert(place, waiting.clone());
        let waiter = Waiter { slots: self, place, waiting: &waiting };
        waiting.event.wait_until(|| waiting.granted.take().then_some(())).await;
        // It has left the queue already.
        std::mem::forget(waiter);
        Slot { slots: self.clone() }
    }

    fn next_number(&self) -> u64 {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        number
    }

    /// Gives a slot to the oldest rank.
    fn give(&self) {
        match self.waiting.borrow_mut().pop_first() {
            Some((_, waiting)) => {
                waiting.granted.set(true);
                waiting.event.notify();
            }
            None => self.free.set(self.free.get() + 1),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give();
    }
}

/// One that waits: its place is left when it stops, and a slot that it was just given goes on.
struct Waiter<'a> {
    slots: &'a Slots,
    place: Place,
    waiting: &'a Waiting,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.waiting.granted.take() {
            self.slots.give();
        } else {
            self.slots.waiting.borrow_mut().remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    /// With a rank of its own.
    async fn take(slots: &Rc<Slots>) -> Slot {
        slots.take(slots.rank()).await
    }

    #[test]
    fn slots_are_given_in_order_and_nobody_passes() {
        block_on(async {
            let slots = Slots::new(1);
            let first = take(&slots).await;
            let (mut second, mut third) = (pin!(take(&slots)), pin!(take(&slots)));
            assert!(poll_once(&mut second).await.is_none());
            assert!(poll_once(&mut third).await.is_none());
            drop(first);
            assert!(poll_once(&mut third).await.is_none(), "the second was there before");
            let fourth = poll_once(pin!(take(&slots))).await;
            assert!(fourth.is_none(), "a slot that was given is not free");
            let held = poll_once(&mut second).await;
            assert!(held.is_some());
            drop(held);
            assert!(poll_once(&mut third).await.is_some());
        });
    }

    #[test]
    fn an_older_rank_goes_first_as_often_as_it_likes() {
        block_on(async {
            let slots = Slots::new(1);
            let (old, new) = (slots.rank(), slots.rank());
            let held = slots.take(old).await;
            let mut newer = pin!(slots.take(new));
            assert!(poll_once(&mut newer).await.is_none());
            let mut older = pin!(slots.take(old));
            let mut older_still_second = pin!(slots.take(old));
            assert!(poll_once(&mut older).await.is_none());
            assert!(poll_once(&mut older_still_second).await.is_none());
            drop(held);
            assert!(poll_once(&mut newer).await.is_none());
            assert!(poll_once(&mut older_still_second).await.is_none(), "in order of coming");
            drop(poll_once(&mut older).await.expect("the oldest rank, first in line"));
            assert!(poll_once(&mut newer).await.is_none());
            drop(poll_once(&mut older_still_second).await.expect("the oldest rank"));
            assert!(poll_once(&mut newer).await.is_some());
        });
    }

    #[test]
    fn who_stops_waiting_takes_nothing_along() {
        block_on(async {
            let slots = Slots::new(1);
            let first = take(&slots).await;
            let mut third = pin!(take(&slots));
            {
                let mut second = pin!(take(&slots));
                assert!(poll_once(&mut second).await.is_none());
                assert!(poll_once(&mut third).await.is_none());
                drop(first);
                // Dropped with the slot that it was given and never took.
            }
            let third = poll_once(&mut third).await;
            assert!(third.is_some());
            assert!(poll_once(pin!(take(&slots))).await.is_none());
            drop(third);
            assert!(poll_once(pin!(take(&slots))).await.is_some());
            assert!(slots.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        block_on(async {
            let slots = Slots::new(usize::MAX);
            let mut held = Vec::new();
            for _ in 0..1000 {
                held.extend(poll_once(pin!(take(&slots))).await);
            }
            assert_eq!(held.len(), 1000);
            drop(held);
            assert_eq!(slots.free.get(), usize::MAX);
            assert!(poll_once(pin!(take(&Slots::new(0)))).await.is_some());
        });
    }
}
