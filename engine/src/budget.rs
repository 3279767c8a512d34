//! The memory budget of one core: bodies under way take their share before they take memory.
//!
//! Who finds the budget used up waits in order of arrival, for a bounded time, and is then told that
//! the store is busy. A share larger than the whole budget is granted when nothing else is held, so
//! that a tiny budget slows down and does not deadlock.

use crate::error::{Error, Result};
use crate::limits::{BUDGET_WAIT_MAX, CHUNK_BYTES_MAX, CHUNK_WRITES_IN_FLIGHT};
use crate::platform::Platform;
use crate::wait::Event;
use futures_lite::FutureExt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// What an upload takes without asking whether it can be spared.
const SHARE_BYTES_MAX: usize = (CHUNK_WRITES_IN_FLIGHT + 1) * CHUNK_BYTES_MAX;

#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Cell<usize>,
    queue: RefCell<VecDeque<u64>>,
    next: Cell<u64>,
    event: Event,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            used: Cell::new(0),
            queue: RefCell::default(),
            next: Cell::new(0),
            event: Event::default(),
        })
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
        if free < (self.limit / 2).max(SHARE_BYTES_MAX) || !self.queue.borrow().is_empty() {
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
        if self.queue.borrow().is_empty() && self.try_take(bytes) {
            return Ok(Permit { budget: self.clone(), bytes });
        }
        let number = self.next.replace(self.next.get() + 1);
        self.queue.borrow_mut().push_back(number);
        let place = Place { budget: self, number };
        let granted = self.event.wait_until(|| {
            let first = self.queue.borrow().front() == Some(&number);
            (first && self.try_take(bytes)).then_some(true)
        });
        let late = async {
            platform.sleep(BUDGET_WAIT_MAX).await;
            false
        };
        let granted = granted.or(late).await;
        drop(place);
        if granted { Ok(Permit { budget: self.clone(), bytes }) } else { Err(Error::Busy) }
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

/// A place in the queue; leaving it lets the next one look.
struct Place<'a> {
    budget: &'a Budget,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.queue.borrow_mut().retain(|number| *number != self.number);
        self.budget.event.notify();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        self.budget.event.notify();
    }
}
