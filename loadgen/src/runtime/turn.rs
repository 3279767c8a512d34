//! A turnstile: lets one task in at a time, in the order in which they came.
//!
//! **Invariant:** whoever has come stays until it was let in; a task that gave up while it waited would
//! hold up those behind it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    /// The number of who is in, or may go in; behind it those who wait, one after the other.
    serving: Cell<u64>,
    waiting: RefCell<VecDeque<Option<Waker>>>,
}

/// To be dropped when leaving.
pub(crate) struct Turn<'a>(&'a Turnstile);

impl Turnstile {
    pub(crate) async fn enter(&self) -> Turn<'_> {
        let number = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(None);
            self.serving.get() + waiting.len() as u64 - 1
        };
        poll_fn(|context| {
            let ahead = number - self.serving.get();
            if ahead == 0 {
                return Poll::Ready(());
            }
            let waker = Some(context.waker().clone());
            self.waiting.borrow_mut()[ahead as usize] = waker;
            Poll::Pending
        })
        .await;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.borrow_mut();
        waiting.pop_front();
        self.0.serving.set(self.0.serving.get() + 1);
        if let Some(Some(waker)) = waiting.front() {
            waker.wake_by_ref();
        }
    }
}
