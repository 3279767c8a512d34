//! Timers: a heap of moments, each with the task that waits for it.
//!
//! **Invariant:** no timer fires early. One whose task waits no longer wakes it in vain, once.

use super::with_current;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Timers {
    heap: RefCell<BinaryHeap<Timer>>,
    /// Of those with the same moment the one that was set first fires first.
    count: Cell<u64>,
}

struct Timer {
    at: Instant,
    number: u64,
    waker: Waker,
}

impl Timers {
    fn set(&self, at: Instant, waker: Waker) {
        let number = self.count.replace(self.count.get() + 1);
        self.heap.borrow_mut().push(Timer { at, number, waker });
    }

    /// Wakes the tasks whose time has come; how long it is to the next one, if there is one.
    pub(super) fn fire(&self) -> Option<Duration> {
        let mut heap = self.heap.borrow_mut();
        heap.peek()?;
        let now = Instant::now();
        loop {
            let next = heap.peek()?.at;
            if next > now {
                return Some(next - now);
            }
            heap.pop()?.waker.wake();
        }
    }
}

/// Waits until the time has come.
pub(crate) async fn sleep_until(time: Instant) {
    let mut is_set = false;
    poll_fn(|context| {
        if Instant::now() >= time {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut is_set, true) {
            with_current(|runtime| runtime.timers.set(time, context.waker().clone()));
        }
        Poll::Pending
    })
    .await;
}

pub(crate) async fn sleep(duration: Duration) {
    sleep_until(Instant::now() + duration).await;
}

// The greatest of a heap is its first: the earliest timer is the greatest.
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}
