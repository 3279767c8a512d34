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

    pub(crate) fn is_ready(&self, interest: Interest) -> bool {
        self.flag(interest).get()
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

    /// Waits until the socket is ready.
    pub(crate) async fn ready(&self, interest: Interest) -> Result<(), Expired> {
        self.idle_ticks.set(0);
        // The last wait may have ended in the moment in which its time was up.
        self.expired.set(false);
        poll_fn(|context| {
            let result = if self.is_ready(interest) {
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
