//! Waiting within one core: an event that many wait for, and a ticket that one waits for.
//!
//! Nothing here crosses cores; that is the mailbox's work.

use crate::platform::Platform;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Wakes all who wait; each then looks again whether its own condition holds.
#[derive(Debug, Default)]
pub(crate) struct Event {
    wakers: RefCell<Vec<Waker>>,
}

impl Event {
    pub(crate) fn notify(&self) {
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// Returns what `condition` gives once it gives something.
    pub(crate) async fn wait_until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| match condition() {
            Some(value) => Poll::Ready(value),
            None => {
                self.wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// One outcome, given once, awaited by any clone.
#[derive(Debug)]
pub(crate) struct Ticket<T> {
    inner: Rc<TicketInner<T>>,
}

struct TicketInner<T> {
    outcome: Cell<Option<T>>,
    event: Event,
}

impl<T> std::fmt::Debug for TicketInner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl<T> Clone for Ticket<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Copy> Ticket<T> {
    pub(crate) fn new() -> Self {
        Self { inner: Rc::new(TicketInner { outcome: Cell::new(None), event: Event::default() }) }
    }

    /// The first outcome counts.
    pub(crate) fn resolve(&self, outcome: T) {
        if self.inner.outcome.get().is_none() {
            self.inner.outcome.set(Some(outcome));
        }
        self.inner.event.notify();
    }

    pub(crate) async fn wait(&self) -> T {
        self.inner.event.wait_until(|| self.inner.outcome.get()).await
    }
}

/// Mutual exclusion across awaits.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    taken: Cell<bool>,
    event: Event,
}

/// Holds the gate until dropped.
#[derive(Debug)]
pub(crate) struct GateGuard<'a>(&'a Gate);

impl Gate {
    pub(crate) async fn enter(&self) -> GateGuard<'_> {
        self.event.wait_until(|| (!self.taken.replace(true)).then_some(())).await;
        GateGuard(self)
    }
}

impl Drop for GateGuard<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.event.notify();
    }
}

/// Runs a future in a task of its own and waits for it: it goes on when who waits has gone.
pub(crate) async fn to_the_end<P: Platform, T: 'static>(
    platform: &P,
    future: impl Future<Output = T> + 'static,
) -> T {
    let done = Rc::new((RefCell::new(None), Event::default()));
    let (output, event) = &*done.clone();
    platform.spawn(async move {
        let value = future.await;
        *done.0.borrow_mut() = Some(value);
        done.1.notify();
    });
    event.wait_until(|| output.borrow_mut().take()).await
}

/// Runs futures at once and gives their outputs in order.
pub(crate) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waiting = false;
        for (slot, output) in running.iter_mut().zip(&mut outputs) {
            if let Some(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => {
                        *output = Some(value);
                        *slot = None;
                    }
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
