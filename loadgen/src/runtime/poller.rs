//! Readiness of sockets: one epoll instance per thread, edge-triggered.
//!
//! A socket is registered once, for reading and writing. An edge sets a flag of its [`Watch`]; the
//! flag stays set until an operation has found nothing more to do there, so no edge is lost between
//! two operations, and an operation that can go on asks the kernel nothing first.
//!
//! **Invariant:** a flag is cleared only after the kernel has said that there is nothing (`EAGAIN`, or
//! fewer bytes moved than were asked for). What comes after that is a new edge.
//! **Invariant:** once the peer has closed its side the readable flag is never cleared again: the end
//! of the stream is no edge of its own if it came together with the last bytes.
//!
//! Deliberately absent: more than one task that waits for a socket.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;

/// A connection on which bytes move faster than they are dealt with gives way after so many operations.
const OPERATIONS_IN_A_ROW: u32 = 16;

/// What an operation may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// Too many ticks passed.
#[derive(Debug)]
pub(crate) struct Expired;

/// What is known of a connection's socket, and who waits for it. It outlives the socket: a connection
/// that is made anew keeps it.
///
/// It finds operations in which no byte moves, without a timer per operation: a ticker calls `tick`.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The peer has closed its side, or the socket has failed.
    ended: Cell<bool>,
    waiting: Cell<bool>,
    /// Of the task that waited last: it is nearly always the one that waits next.
    waker: RefCell<Option<Waker>>,
    /// Operations since the task last gave way to others.
    in_a_row: Cell<u32>,
    idle_ticks: Cell<u32>,
    expired: Cell<bool>,
}

impl Watch {
    /// Called at a steady pace; after `ticks_max` calls during one wait the wait ends.
    pub(crate) fn tick(&self, ticks_max: u32) {
        if self.waiting.get() {
            self.idle_ticks.set(self.idle_ticks.get() + 1);
            if self.idle_ticks.get() > ticks_max {
                self.expired.set(true);
                self.wake();
            }
        }
    }

    /// The kernel has nothing more.
    pub(crate) fn drained(&self, interest: Interest) {
        if !self.ended.get() {
            self.flag(interest).set(false);
        }
    }

    /// The kernel has said `EAGAIN`, which holds whatever was said before.
    pub(crate) fn blocked(&self, interest: Interest) {
        self.flag(interest).set(false);
    }

    /// To be called before each operation: waits until the socket is ready. Where it always is, others
    /// have their turn now and then.
    pub(crate) async fn ready(&self, interest: Interest) -> Result<(), Expired> {
        self.idle_ticks.set(0);
        // The last wait may have ended in the moment in which its time was up.
        self.expired.set(false);
        poll_fn(|context| {
            let result = if self.flag(interest).get() {
                let in_a_row = self.in_a_row.get();
                self.in_a_row.set((in_a_row + 1) % OPERATIONS_IN_A_ROW);
                if in_a_row + 1 == OPERATIONS_IN_A_ROW {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(())
            } else if self.expired.get() {
                Err(Expired)
            } else {
                let mut waker = self.waker.borrow_mut();
                match &*waker {
                    Some(waker) if waker.will_wake(context.waker()) => {}
                    _ => *waker = Some(context.waker().clone()),
                }
                self.waiting.set(true);
                self.in_a_row.set(0);
                return Poll::Pending;
            };
            self.waiting.set(false);
            Poll::Ready(result)
        })
        .await
    }

    /// A new socket, of which nothing is known.
    fn reset(&self) {
        self.readable.set(false);
        self.writable.set(false);
        self.ended.set(false);
    }

    fn flag(&self, interest: Interest) -> &Cell<bool> {
        match interest {
            Interest::Read => &self.readable,
            Interest::Write => &self.writable,
        }
    }

    fn take_event(&self, flags: EventFlags) {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if failed || flags.contains(EventFlags::RDHUP) {
            self.ended.set(true);
        }
        if failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            self.readable.set(true);
        }
        if failed || flags.contains(EventFlags::OUT) {
            self.writable.set(true);
        }
        self.wake();
    }

    fn wake(&self) {
        if self.waiting.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
    events: RefCell<Vec<epoll::Event>>,
    places: Rc<RefCell<Places>>,
}

/// Who hears of which socket.
#[derive(Debug, Default)]
struct Places {
    /// By the number that the kernel gives back with an event.
    watches: Vec<Option<Rc<Watch>>>,
    free: Vec<usize>,
}

/// A socket's place in the poller. To be dropped with the socket.
#[derive(Debug)]
pub(crate) struct Registration {
    place: usize,
    places: Weak<RefCell<Places>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(places) = self.places.upgrade() {
            let mut places = places.borrow_mut();
            places.watches[self.place] = None;
            places.free.push(self.place);
        }
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let events = RefCell::new(Vec::with_capacity(EVENTS_MAX));
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events, places: Rc::default() })
    }

    /// The kernel forgets the socket when it is closed. An event that was under way then may reach
    /// the next socket of the same place, where it costs a call that says `EAGAIN`.
    pub(super) fn register(
        &self,
        socket: &impl AsFd,
        watch: &Rc<Watch>,
    ) -> io::Result<Registration> {
        watch.reset();
        let mut places = self.places.borrow_mut();
        let place = places.free.pop().unwrap_or_else(|| {
            places.watches.push(None);
            places.watches.len() - 1
        });
        places.watches[place] = Some(Rc::clone(watch));
        // From here on the place is given back when it is not needed.
        let registration = Registration { place, places: Rc::downgrade(&self.places) };
        drop(places);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(place as u64), flags)?;
        Ok(registration)
    }

    /// Takes what the kernel has and wakes who waits for it; if there is nothing, waits for it as long
    /// as is said, without end for `None`.
    pub(super) fn poll(&self, wait: Option<Duration>) -> io::Result<()> {
        let wait = wait.map(|wait| Timespec::try_from(wait).unwrap_or(LONG));
        let mut events = self.events.borrow_mut();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let places = self.places.borrow();
        for event in events.drain(..) {
            if let Some(Some(watch)) = places.watches.get(event.data.u64() as usize) {
                watch.take_event(event.flags);
            }
        }
        Ok(())
    }
}

const LONG: Timespec = Timespec { tv_sec: 86_400, tv_nsec: 0 };

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::{run, sleep, spawn};

    #[test]
    fn a_connection_that_is_always_ready_does_not_keep_others_from_running() {
        let count = run(async {
            let (watch, count) = (Rc::<Watch>::default(), Rc::new(Cell::new(0u64)));
            watch.take_event(EventFlags::IN);
            let busy = {
                let count = Rc::clone(&count);
                spawn(async move {
                    loop {
                        watch.ready(Interest::Read).await.unwrap();
                        count.set(count.get() + 1);
                    }
                })
            };
            sleep(Duration::from_millis(2)).await;
            busy.cancel();
            count.get()
        });
        assert!(count.unwrap() > u64::from(OPERATIONS_IN_A_ROW));
    }

    #[test]
    fn each_event_makes_ready_what_it_says_and_an_end_makes_the_rest_ready_for_good() {
        use EventFlags as E;
        for (flags, readable, writable, ended) in [
            (E::IN, true, false, false),
            (E::OUT, false, true, false),
            (E::IN | E::OUT, true, true, false),
            (E::IN | E::RDHUP, true, false, true),
            (E::HUP, true, true, true),
            (E::ERR, true, true, true),
        ] {
            let watch = Watch::default();
            watch.take_event(flags);
            let ready = |interest| watch.flag(interest).get();
            assert_eq!((ready(Interest::Read), ready(Interest::Write)), (readable, writable));
            watch.drained(Interest::Read);
            assert_eq!(ready(Interest::Read), ended, "{flags:?}");
            watch.blocked(Interest::Read);
            assert!(!ready(Interest::Read));
            watch.reset();
            assert!(!ready(Interest::Write) && !watch.ended.get());
        }
    }
}
