//! Timers of one core.
//!
//! They stand here, in order, and the runtime has one timer, for the earliest. Its own (glommio-ng 0.12) wake up to a
//! millisecond early once more than 256 are set at a time, which looks like any other wake-up to whoever sleeps; it
//! registers one anew at each poll; and it looks at each of them in every turn.
//!
//! Invariants: whoever sleeps is woken at its deadline or a little later, however many do; a sleep that is dropped
//! leaves nothing behind; the runtime's timer is never later than the earliest deadline.
//!
//! Cost of a sleep: two steps in an ordered map; if it is the earliest, a wake-up of the task that keeps the time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ::glommio::timer::Timer;

/// A century.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

/// When, and which of those at that time.
type Place = (Instant, u64);

#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<Place, Waker>>,
    next: Cell<u64>,
    /// Until when the keeper sleeps.
    kept_until: Cell<Option<Instant>>,
    keeper: RefCell<Option<Waker>>,
}

impl Timers {
    /// Ends after that time. What lies beyond the clock's end is never.
    pub(super) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let now = Instant::now();
        let deadline = now.checked_add(duration).unwrap_or(now + FOREVER);
        Sleep { timers: Rc::clone(self), deadline, registered: None }
    }

    fn insert(&self, deadline: Instant, waker: Waker) -> Place {
        let number = self.next.get();
        self.next.set(number + 1);
        let place = (deadline, number);
        self.waiting.borrow_mut().insert(place, waker);
        if self.kept_until.get().is_none_or(|until| deadline < until)
            && let Some(keeper) = self.keeper.take()
        {
            keeper.wake();
        }
        place
    }

    /// Wakes whoever is due; when the next one is.
    fn wake_due(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let first = waiting.first_entry()?;
            let (deadline, _) = *first.key();
            if deadline > now {
                return Some(deadline);
            }
            let waker = first.remove();
            drop(waiting);
            waker.wake();
        }
    }

    /// Keeps the time, for ever. Whatever woke it, the runtime's timer is set anew: it may have been early.
    pub(super) async fn keep(self: Rc<Self>) {
        let mut timer = None;
        poll_fn(|context| {
            loop {
                let now = Instant::now();
                let next = self.wake_due(now);
                self.kept_until.set(next);
                *self.keeper.borrow_mut() = Some(context.waker().clone());
                let set = next.map(|next| Timer::new(next - now));
                let has_passed = timer
                    .insert(set)
                    .as_mut()
                    .is_some_and(|timer| Pin::new(timer).poll(context).is_ready());
                if !has_passed {
                    return Poll::<()>::Pending;
                }
            }
        })
        .await;
    }
}

/// A timer that may be polled often.
#[derive(Debug)]
pub(super) struct Sleep {
    timers: Rc<Timers>,
    deadline: Instant,
    registered: Option<(Place, Waker)>,
}

impl Sleep {
    fn deregister(&mut self) {
        if let Some((place, _)) = self.registered.take() {
            let waker = self.timers.waiting.borrow_mut().remove(&place);
            // Not while the map is borrowed: a task may end with its last waker, and sleep elsewhere.
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            self.deregister();
            return Poll::Ready(());
        }
        if let Some((place, waker)) = &self.registered
            && waker.will_wake(context.waker())
            && self.timers.waiting.borrow().contains_key(place)
        {
            return Poll::Pending;
        }
        self.deregister();
        let place = self.timers.insert(self.deadline, context.waker().clone());
        self.registered = Some((place, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.deregister();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::platform::Platform;
    use crate::platform::glommio::{GlommioPlatform, Reactor};
    use ::glommio::{LocalExecutorBuilder, Placement};
    use futures_lite::FutureExt;

    fn on_a_core<F: Future<Output = ()>>(test: impl FnOnce(GlommioPlatform) -> F + Send + 'static) {
        let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20);
        let core = builder.spawn(|| async move {
            let reactor = Reactor::new(0, 0, Duration::ZERO).unwrap();
            test(GlommioPlatform::new(&reactor).unwrap()).await;
            reactor.close().await;
        });
        core.unwrap().join().unwrap();
    }

    /// Hundreds at a time, which end, are given up, and are set anew: none is forgotten.
    #[test]
    fn however_many_sleep_all_are_woken() {
        on_a_core(async |platform| {
            let left = Rc::new(Cell::new(0));
            for number in 0..600u64 {
                left.set(left.get() + 1);
                let (platform, left) = (platform.clone(), Rc::clone(&left));
                platform.clone().spawn(async move {
                    for round in 0..20 {
                        let pause =
                            Duration::from_micros((number * 7907 + round * 104_729) % 60_000);
                        match number % 3 {
                            // One of both is given up.
                            0 => platform.sleep(pause).or(platform.sleep(pause * 100)).await,
                            _ => platform.sleep(pause).await,
                        }
                    }
                    left.set(left.get() - 1);
                });
            }
            let begun = Instant::now();
            while left.get() > 0 {
                assert!(begun.elapsed() < Duration::from_secs(20), "{} still sleep", left.get());
                ::glommio::timer::sleep(Duration::from_millis(20)).await;
            }
            assert!(platform.reactor().timers().waiting.borrow().is_empty());
        });
    }

    #[test]
    fn an_earlier_sleep_is_not_late_for_a_later_one() {
        on_a_core(async |platform| {
            let begun = Instant::now();
            let late = platform.sleep(Duration::from_secs(3600));
            let soon = async {
                platform.sleep(Duration::from_millis(5)).await;
                platform.sleep(Duration::from_millis(5)).await;
            };
            late.or(soon).await;
            let took = begun.elapsed();
            assert!(
                took >= Duration::from_millis(10) && took < Duration::from_secs(10),
                "{took:?}"
            );
        });
    }
}
