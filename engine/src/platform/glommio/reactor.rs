//! What a core waits for beside its runtime: its disk's ring and its sockets.
//!
//! One task collects from both. It runs behind all tasks that it woke, so that one call submits what all of them
//! queued. While there is nothing to collect the runtime's ring watches the epoll, in which the disk's
//! ring has its eventfd, and the bell that other cores ring (`bell.rs`) another.
//!
//! Invariants: whatever was queued is submitted before the core rests; what completes or arrives after the last
//! look is told to the epoll; the runtime's own ring (timers, other threads) has its turn after [`TURN`] at the
//! latest. A core with neighbours goes on looking for a while after something last arrived, since to wake one
//! that rests costs the neighbour a system call, and takes ten times as long.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ::glommio::Task;
use ::glommio::io::{PollState, PollableFd};
use futures_lite::future::yield_now;
use io_uring::squeue;
use rustix::event::{EventfdFlags, eventfd};

use super::bell::Bell;
use super::buffers::{Buffer, Buffers};
use super::ring::{Held, Pending, Ring};
use super::sockets::{Events, Sockets, Watched};
use super::timers::Timers;
use super::turn::Turn;

/// How long the runtime's ring may be kept waiting. A turn costs several microseconds.
const TURN: Duration = Duration::from_micros(100);
/// Between attempts to watch the epoll, should the runtime refuse.
const WATCH_PAUSE: Duration = Duration::from_millis(10);

/// The disk and the sockets of one core; clones are the same.
#[derive(Debug, Clone)]
pub struct Reactor {
    core: Rc<Core>,
    tasks: Rc<RefCell<Vec<Task<()>>>>,
}

/// Gets a core to look around that should have and did not.
#[derive(Debug)]
pub struct Rouser(Arc<Bell>);

impl Rouser {
    pub fn rouse(&self) {
        self.0.insist();
    }
}

#[derive(Debug)]
struct Core {
    ring: Rc<Ring>,
    sockets: Rc<Sockets>,
    buffers: Rc<Buffers>,
    /// What the ring tells of completions. Closed, it would leave the epoll.
    _eventfd: OwnedFd,
    watched: PollableFd<Descriptor>,
    turn: Rc<Turn>,
    timers: Rc<Timers>,
    bell: Arc<Bell>,
    /// Who is to hear the bell.
    listener: RefCell<Option<Waker>>,
    /// How long it goes on looking when nothing arrives.
    spin: Duration,
    /// The driver, while it has nothing to do.
    resting: RefCell<Option<Waker>>,
}

/// The epoll, which is the sockets'.
#[derive(Debug)]
struct Descriptor(Rc<Sockets>);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Reactor {
    /// The reactor of the executor that this is called on, which keeps so many bytes of freed buffers, takes
    /// `rated_bytes` more for those in use before it asks the allocator, and looks out for
    /// other cores for so long before it rests. An executor has one.
    pub fn new(kept_bytes_max: usize, rated_bytes: usize, spin: Duration) -> io::Result<Self> {
        let turn = Rc::new(Turn::new()?);
        let sockets = Rc::new(Sockets::new(Rc::clone(&turn))?);
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        sockets.watch_eventfd(&eventfd)?;
        let bell = Bell::new()?;
        sockets.watch_eventfd(&*bell)?;
        let ring = Rc::new(Ring::new(&eventfd)?);
        let core = Rc::new(Core {
            ring,
            buffers: Buffers::new(kept_bytes_max, kept_bytes_max.saturating_add(rated_bytes)),
            _eventfd: eventfd,
            watched: PollableFd::new(Descriptor(Rc::clone(&sockets)))?,
            turn,
            timers: Rc::default(),
            sockets,
            bell,
            listener: RefCell::default(),
            spin,
            resting: RefCell::new(None),
        });
        let tasks = vec![
            ::glommio::spawn_local(Rc::clone(&core).drive()),
            ::glommio::spawn_local(Rc::clone(&core.timers).keep()),
        ];
        Ok(Self { core, tasks: Rc::new(RefCell::new(tasks)) })
    }

    /// Ends it; nothing of it may be awaited any more. An executor that ends before leaks it.
    pub async fn close(&self) {
        let tasks = self.tasks.take();
        // Whoever listens may have been told by the last ring that it is time to end.
        self.core.hear();
        yield_now().await;
        self.core.listener.take();
        for task in tasks {
            task.cancel().await;
        }
    }

    /// Has it look once more, whatever it was told or not. Nothing is known to need this but processors on which
    /// the kernel may look whether to tell before others see that there is work.
    pub fn nudge(&self) {
        if let Some(driver) = self.core.resting.take() {
            driver.wake();
        }
    }

    /// Watches a socket, which must not block, until the result is dropped.
    pub fn register<S: AsFd>(&self, socket: S) -> io::Result<Watched<S>> {
        self.core.sockets.register(socket)
    }

    /// As [`Self::register`], for a socket that accepts connections, where what is done with each costs little.
    pub fn register_port<S: AsFd>(&self, port: S) -> io::Result<Watched<S>> {
        self.core.sockets.register_port(port)
    }

    /// Ends after that time, or a little later.
    pub async fn sleep(&self, duration: Duration) {
        self.core.timers.sleep(duration).await;
    }

    #[cfg(test)]
    pub(super) fn timers(&self) -> &Timers {
        &self.core.timers
    }

    /// Lets other tasks run and I/O complete.
    pub async fn yield_now(&self) {
        self.core.turn.give().await;
    }

    /// What gets the core to look around, from any thread.
    pub fn rouser(&self) -> Rouser {
        Rouser(Arc::clone(&self.core.bell))
    }

    /// Wakes this task, the only one that listens, when any core wakes the result.
    pub(super) fn listen(&self, task: &Waker) -> Waker {
        match &mut *self.core.listener.borrow_mut() {
            Some(listener) => listener.clone_from(task),
            nobody => *nobody = Some(task.clone()),
        }
        Waker::from(Arc::clone(&self.core.bell))
    }

    pub(super) fn buffer(&self, bytes: usize) -> Buffer {
        self.core.buffers.take(bytes)
    }

    /// Queues an operation of the disk.
    ///
    /// # Safety
    /// As of [`Ring::start`].
    pub(super) unsafe fn start(&self, entry: squeue::Entry, held: Held) -> Pending {
        self.nudge();
        // SAFETY: the caller vouches for it.
        unsafe { self.core.ring.start(entry, held) }
    }
}

impl Core {
    /// Collects for ever.
    async fn drive(self: Rc<Self>) {
        let (mut events, mut watch) = (Events::new(), PollState::new());
        let mut turn = Instant::now();
        let (mut last_arrival, mut last_look) = (turn, turn);
        loop {
            let now = Instant::now();
            events.worked(now.duration_since(last_look));
            last_look = now;
            let has_more = self.ring.collect() | self.sockets.collect(&mut events) | self.hear();
            if has_more {
                last_arrival = now;
            }
            if has_more || now.duration_since(last_arrival) < self.spin {
                if now.duration_since(turn) < TURN {
                    yield_now().await;
                    continue;
                }
                self.turn.give().await;
            } else {
                if let Err(error) = self.rest(&mut watch).await {
                    tracing::error!(%error, "the runtime cannot watch the disk and sockets of a core");
                    ::glommio::timer::sleep(WATCH_PAUSE).await;
                }
                last_look = Instant::now();
            }
            turn = Instant::now();
        }
    }

    /// Passes the bell's ring on; whether there was one.
    fn hear(&self) -> bool {
        let was_rung = self.bell.was_rung();
        if was_rung && let Some(listener) = self.listener.take() {
            listener.wake();
        }
        was_rung
    }

    /// Waits until something may be there to be submitted or collected.
    async fn rest(&self, watch: &mut PollState) -> ::glommio::Result<(), ()> {
        self.ring.tell(true);
        let outcome = self.wait(watch).await;
        self.ring.tell(false);
        self.bell.rise();
        outcome
    }

    async fn wait(&self, watch: &mut PollState) -> ::glommio::Result<(), ()> {
        if self.bell.rest() || self.ring.is_due() {
            // It was rung, or completed, before the epoll would have been told; or the kernel takes no requests
            // at present.
            self.turn.give().await;
            return Ok(());
        }
        let outcome = poll_fn(|context| {
            if self.ring.is_due() {
                return Poll::Ready(Ok(()));
            }
            *self.resting.borrow_mut() = Some(context.waker().clone());
            // Once armed it stays so, over several rests, until the epoll has something.
            self.watched.poll_readable(context, watch)
        })
        .await;
        self.resting.take();
        outcome
    }
}

#[cfg(test)]
mod tests;
