//! A bound on how many of something are under way at once on one core, first come first served.
//!
//! Who waits is woken alone, when it has its slot: with a thousand waiting, each end of a read would
//! otherwise wake a thousand. Whoever stops waiting leaves its place, or passes its slot on.

use crate::wait::Event;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Slots {
    /// Nobody waits while one is free.
    free: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
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
        Rc::new(Self { free: Cell::new(count.max(1)), waiting: RefCell::default() })
    }

    pub(crate) async fn take(self: &Rc<Self>) -> Slot {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Slot { slots: self.clone() };
        }
        let place = Rc::new(Place::default());
        self.waiting.borrow_mut().push_back(place.clone());
        let waiter = Waiter { slots: self, place: &place };
        place.event.wait_until(|| place.granted.take().then_some(())).await;
        // It has left the queue already.
        std::mem::forget(waiter);
        Slot { slots: self.clone() }
    }

    /// Gives a slot to who waits longest.
    fn give(&self) {
        match self.waiting.borrow_mut().pop_front() {
            Some(place) => {
                place.granted.set(true);
                place.event.notify();
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
    place: &'a Rc<Place>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.place.granted.take() {
            self.slots.give();
        } else {
            self.slots.waiting.borrow_mut().retain(|place| !Rc::ptr_eq(place, self.place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn slots_are_given_in_order_and_nobody_passes() {
        block_on(async {
            let slots = Slots::new(1);
            let first = slots.take().await;
            let (mut second, mut third) = (pin!(slots.take()), pin!(slots.take()));
            assert!(poll_once(&mut second).await.is_none());
            assert!(poll_once(&mut third).await.is_none());
            drop(first);
            assert!(poll_once(&mut third).await.is_none(), "the second was there before");
            let fourth = poll_once(pin!(slots.take())).await;
            assert!(fourth.is_none(), "a slot that was given is not free");
            let held = poll_once(&mut second).await;
            assert!(held.is_some());
            drop(held);
            assert!(poll_once(&mut third).await.is_some());
        });
    }

    #[test]
    fn who_stops_waiting_takes_nothing_along() {
        block_on(async {
            let slots = Slots::new(1);
            let first = slots.take().await;
            let mut third = pin!(slots.take());
            {
                let mut second = pin!(slots.take());
                assert!(poll_once(&mut second).await.is_none());
                assert!(poll_once(&mut third).await.is_none());
                drop(first);
                // Dropped with the slot that it was given and never took.
            }
            let third = poll_once(&mut third).await;
            assert!(third.is_some());
            assert!(poll_once(pin!(slots.take())).await.is_none());
            drop(third);
            assert!(poll_once(pin!(slots.take())).await.is_some());
            assert!(slots.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        block_on(async {
            let slots = Slots::new(usize::MAX);
            let mut held = Vec::new();
            for _ in 0..1000 {
                held.extend(poll_once(pin!(slots.take())).await);
            }
            assert_eq!(held.len(), 1000);
            drop(held);
            assert_eq!(slots.free.get(), usize::MAX);
            assert!(poll_once(pin!(Slots::new(0).take())).await.is_some());
        });
    }
}
