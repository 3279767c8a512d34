//! Which sockets of a core can be read or written, by one edge-triggered epoll for all of them.
//!
//! The runtime's own way polls each socket through its ring. Every packet then queues work on the
//! executor's thread and interrupts its CPU, which costs whoever sent the packet several microseconds
//! (`engine/decisions/2026-11-29-sockets.md`). An epoll only marks the socket, and its marks are
//! collected in one call for all requests that arrived meanwhile. The epoll itself is watched through the
//! runtime's ring, but only while nothing else is to be done.
//!
//! Budget: a socket is registered once; a request that arrives costs a share of one `epoll_wait`.
//!
//! Invariants:
//! - A mark is cleared only by the kernel's word: a call that would have blocked, or that took or gave
//!   less than it was asked to. A mark too many costs a call, one too few would be a hang.
//! - Woken tasks run before the next collection, and the runtime's ring has its turn after
//!   [`TURN`] at the latest.
//!
//! It moves no bytes, and knows no deadlines: shutting a socket down marks it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use glommio::io::PollableFd;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// How long sockets may go before the runtime's ring (timers, other cores, the disk) has its turn. A turn
/// costs several microseconds.
const TURN: Duration = Duration::from_micros(100);
/// Marks collected in one call.
const EVENTS_PER_CALL: usize = 256;
/// Calls that a socket may make without waiting before other tasks run.
const CALLS_IN_A_ROW_MAX: u32 = 32;
/// Between attempts to watch the sockets, should the runtime refuse.
const WATCH_PAUSE: Duration = Duration::from_millis(10);

/// The sockets of one core.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: PollableFd<OwnedFd>,
    /// Always readable: a poll of it completes at once, but only through the ring.
    ready: PollableFd<File>,
    sockets: RefCell<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    /// By the number that the kernel has for each. One that was given out again may get its
    /// predecessor's last mark, which costs a call.
    registered: Vec<Option<Rc<Marks>>>,
    free: Vec<usize>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
struct Marks {
    read: Side,
    write: Side,
    /// Nothing more will come but the end or an error, which no edge will tell a second time.
    has_ended: Cell<bool>,
}

/// One direction: whether it is worth a call, and who waits for that.
#[derive(Debug, Default)]
struct Side {
    is_ready: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Side {
    fn mark(&self) {
        self.is_ready.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_ready.get() {
            return Poll::Ready(());
        }
        match &mut *self.waiting.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            nobody => *nobody = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Poller {
    /// The poller of the executor that this is called on; [`drive`](Self::drive) must run there too.
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Rc::new(Self {
            epoll: PollableFd::new(epoll)?,
            ready: PollableFd::new(File::open("/dev/null")?)?,
            sockets: RefCell::default(),
        }))
    }

    /// Watches a socket, which must not block, until the result is dropped.
    pub(crate) fn register<S: AsFd>(self: &Rc<Self>, socket: S) -> io::Result<Watched<S>> {
        let marks = Rc::new(Marks::default());
        let number = self.sockets.borrow_mut().insert(Rc::clone(&marks));
        let watched =
            Watched { socket, marks, number, poller: Rc::clone(self), calls: Cell::new(0) };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(self.epoll.get_ref(), &watched.socket, data, flags)?;
        Ok(watched)
    }

    /// Collects marks and wakes who waits for them, until it is dropped.
    pub(crate) async fn drive(self: Rc<Self>) {
        let mut events = Vec::with_capacity(EVENTS_PER_CALL);
        let mut turn = Instant::now();
        loop {
            let has_more = self.collect(&mut events);
            if has_more && turn.elapsed() < TURN {
                yield_now().await;
                continue;
            }
            let watched =
                if has_more { self.ready.readable().await } else { self.epoll.readable().await };
            if let Err(error) = watched {
                tracing::error!(%error, "the runtime cannot watch the sockets of a core");
                glommio::timer::sleep(WATCH_PAUSE).await;
            }
            turn = Instant::now();
        }
    }

    /// Whether there were any marks.
    fn collect(&self, events: &mut Vec<epoll::Event>) -> bool {
        events.clear();
        match epoll::wait(self.epoll.get_ref(), spare_capacity(events), Some(&Timespec::default()))
        {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "the sockets of a core cannot be polled"),
        }
        let sockets = self.sockets.borrow();
        for event in events.iter() {
            let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(Some(marks)) = sockets.registered.get(number) {
                marks.set(event.flags);
            }
        }
        !events.is_empty()
    }
}

impl Sockets {
    fn insert(&mut self, marks: Rc<Marks>) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.registered.push(None);
            self.registered.len() - 1
        });
        self.registered[number] = Some(marks);
        number
    }

    fn remove(&mut self, number: usize) {
        self.registered[number] = None;
        self.free.push(number);
    }
}

impl Marks {
    fn set(&self, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        if flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR) {
            self.has_ended.set(true);
        }
        if flags.intersects(Flags::IN | Flags::RDHUP | Flags::HUP | Flags::ERR) {
            self.read.mark();
        }
        if flags.intersects(Flags::OUT | Flags::HUP | Flags::ERR) {
            self.write.mark();
        }
    }
}

/// A socket of this core's. Closing its descriptor, which dropping this does, ends the watch.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    socket: S,
    marks: Rc<Marks>,
    number: usize,
    poller: Rc<Poller>,
    /// Calls since this socket last let others run.
    calls: Cell<u32>,
}

impl<S> Watched<S> {
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Makes a call that reads as soon as it does not block.
    pub(crate) async fn read<T>(&self, call: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.perform(&self.marks.read, call).await
    }

    /// Makes a call that writes as soon as it does not block.
    pub(crate) async fn write<T>(&self, call: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.perform(&self.marks.write, call).await
    }

    /// The last read gave less than there was room for: there is no more at present. What comes later
    /// has an edge of its own; the end may have come already.
    pub(crate) fn has_no_more(&self) {
        self.marks.read.is_ready.set(self.marks.has_ended.get());
    }

    /// The last write took less than it was given: there is no more room at present.
    pub(crate) fn has_no_room(&self) {
        self.marks.write.is_ready.set(false);
    }

    async fn perform<T>(
        &self,
        side: &Side,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        // A peer that is always ready must not keep the others from their turn.
        if self.calls.replace(self.calls.get() + 1) >= CALLS_IN_A_ROW_MAX {
            self.calls.set(0);
            yield_now().await;
        }
        loop {
            if !side.is_ready.get() {
                self.calls.set(0);
                poll_fn(|context| side.poll(context)).await;
            }
            match call(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => side.is_ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.poller.sockets.borrow_mut().remove(self.number);
    }
}

#[cfg(test)]
mod tests;
