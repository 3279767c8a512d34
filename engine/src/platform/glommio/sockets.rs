//! Which sockets of a core can be read or written, by one edge-triggered epoll for all of them.
//!
//! The runtime's own way polls each socket through its ring. Every packet then queues work on the
//! executor's thread and interrupts its CPU, which costs whoever sent the packet several microseconds
//! (`engine/decisions/2026-11-29-sockets-and-disk.md`). An epoll only marks the socket, and its marks are
//! collected in one call for all requests that arrived meanwhile (`reactor.rs` says when).
//!
//! Budget: a socket is registered once; a request that arrives costs a share of one `epoll_wait`.
//!
//! Invariant: a mark is cleared only by the kernel's word: a call that would have blocked, or that took or
//! gave less than it was asked to. A mark too many costs a call, one too few would be a hang.
//!
//! It moves no bytes, and knows no deadlines: shutting a socket down marks it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::numbered::Numbered;
use super::turn::Turn;

/// Marks collected in a look, where what they bring is all that the core works at. Few, so that what a request touches
/// is still in the caches when it comes back from disk or commit: with 256 a PUT of 4 KiB of thousands of connections
/// takes 40 % more.
const MARKS_PER_LOOK_MIN: usize = 32;
/// Marks collected in a look, where the core has more to do between two of them: nobody knows of who waits in the
/// kernel, or refuses them.
const MARKS_PER_LOOK_MAX: usize = 256;
/// A look is for a mark for each so much work since the last one. Small requests take less, so that looks which are
/// filled by them alone become smaller again.
const WORK_PER_MARK: Duration = Duration::from_micros(60);
/// Calls that a connection may make without waiting before other tasks run.
const CALLS_IN_A_ROW_MAX: u32 = 32;
/// As many of a port, which accept: some milliseconds. Where the others' turn is long, fewer would leave new clients
/// waiting in the kernel for seconds, whom nobody refuses there.
const ACCEPTS_IN_A_ROW_MAX: u32 = 256;
/// What no socket is numbered.
const EVENTFD: u64 = u64::MAX;

/// The sockets of one core.
#[derive(Debug)]
pub(super) struct Sockets {
    epoll: OwnedFd,
    /// By the number that the kernel has for each. One that was given out again may get its
    /// predecessor's last mark, which costs a call.
    marks: RefCell<Numbered<Rc<Marks>>>,
    turn: Rc<Turn>,
}

/// The marks of one look.
pub(super) struct Events {
    marks: Box<[epoll::Event; MARKS_PER_LOOK_MAX]>,
    /// Of the last look.
    count: usize,
    /// For the next.
    room: usize,
}

impl Events {
    pub(super) fn new() -> Self {
        let none = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(EVENTFD),
        };
        Self { marks: Box::new([none; MARKS_PER_LOOK_MAX]), count: 0, room: MARKS_PER_LOOK_MIN }
    }

    /// Tells how long the core has worked since the last look.
    pub(super) fn worked(&mut self, time: Duration) {
        let marks = time.as_nanos() / WORK_PER_MARK.as_nanos();
        let marks = usize::try_from(marks).unwrap_or(usize::MAX);
        self.room = marks.clamp(MARKS_PER_LOOK_MIN, MARKS_PER_LOOK_MAX);
    }
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

impl Sockets {
    pub(super) fn new(turn: Rc<Turn>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, marks: RefCell::default(), turn })
    }

    /// Wakes nobody by it; what it is told makes the epoll readable.
    pub(super) fn watch_eventfd(&self, eventfd: impl AsFd) -> io::Result<()> {
        let (data, flags) =
            (epoll::EventData::new_u64(EVENTFD), epoll::EventFlags::IN | epoll::EventFlags::ET);
        Ok(epoll::add(&self.epoll, eventfd, data, flags)?)
    }

    pub(super) fn register<S: AsFd>(self: &Rc<Self>, socket: S) -> io::Result<Watched<S>> {
        self.watch(socket, CALLS_IN_A_ROW_MAX)
    }

    pub(super) fn register_port<S: AsFd>(self: &Rc<Self>, port: S) -> io::Result<Watched<S>> {
        self.watch(port, ACCEPTS_IN_A_ROW_MAX)
    }

    fn watch<S: AsFd>(self: &Rc<Self>, socket: S, calls_max: u32) -> io::Result<Watched<S>> {
        let marks = Rc::new(Marks::default());
        let number = self.marks.borrow_mut().insert(Rc::clone(&marks));
        let home = Rc::clone(self);
        let watched = Watched { socket, marks, number, home, calls: Cell::new(0), calls_max };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &watched.socket, data, flags)?;
        Ok(watched)
    }

    /// Collects marks and wakes who waits for them; whether there were any.
    pub(super) fn collect(&self, events: &mut Events) -> bool {
        let now = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });
        let room = &mut events.marks[..events.room];
        events.count = epoll::wait(&self.epoll, room, now).unwrap_or_else(|error| {
            if error != Errno::INTR {
                tracing::error!(%error, "the sockets of a core cannot be polled");
            }
            0
        });
        let mut all_marks = self.marks.borrow_mut();
        for event in &events.marks[..events.count] {
            let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(marks) = all_marks.get_mut(number) {
                marks.set(event.flags);
            }
        }
        events.count > 0
    }
}

impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
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
pub struct Watched<S> {
    socket: S,
    marks: Rc<Marks>,
    number: usize,
    home: Rc<Sockets>,
    /// Calls since this socket last let others run.
    calls: Cell<u32>,
    calls_max: u32,
}

impl<S> Watched<S> {
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Waits until a read is worth its call. `probe` looks, without taking anything, whether it is now: a mark may be
    /// left from what was read to its end.
    pub async fn readable<T>(&self, probe: impl FnOnce(&S) -> io::Result<T>) {
        let side = &self.marks.read;
        if side.is_ready.get() {
            match probe(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => side.is_ready.set(false),
                _ => return,
            }
        }
        self.wait(side).await;
    }

    /// Makes a call that reads as soon as it does not block.
    pub async fn read<T>(&self, call: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.perform(&self.marks.read, call).await
    }

    /// Makes a call that writes as soon as it does not block.
    pub async fn write<T>(&self, call: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.perform(&self.marks.write, call).await
    }

    /// The last read gave less than there was room for: there is no more at present. What comes later
    /// has an edge of its own; the end may have come already.
    pub fn has_no_more(&self) {
        self.marks.read.is_ready.set(self.marks.has_ended.get());
    }

    /// The last write took less than it was given: there is no more room at present.
    pub fn has_no_room(&self) {
        self.marks.write.is_ready.set(false);
    }

    async fn wait(&self, side: &Side) {
        if !side.is_ready.get() {
            self.calls.set(0);
            poll_fn(|context| side.poll(context)).await;
        }
    }

    async fn perform<T>(
        &self,
        side: &Side,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        // A peer that is always ready must not keep the others from their turn, nor the runtime's ring.
        if self.calls.replace(self.calls.get() + 1) >= self.calls_max {
            self.calls.set(0);
            self.home.turn.give().await;
        }
        loop {
            self.wait(side).await;
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
        self.home.marks.borrow_mut().remove(self.number);
    }
}

#[cfg(test)]
mod tests;
