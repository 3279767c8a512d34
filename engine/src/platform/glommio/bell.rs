//! What other cores ring when they have put something where a task of this core will find it.
//!
//! The runtime's own way of waking a task from another thread goes through its ring, which a core that has work
//! looks at only once in a while, and each wake costs both sides system calls. The bell is a flag that the core's
//! driver looks at between tasks (`reactor.rs`). Only a core that rests is told by an eventfd, in its epoll.
//!
//! Budget: a ring costs the ringer two atomic exchanges; one system call if the core rests, and one for all
//! that ring meanwhile.
//!
//! Invariant: what was put down before a ring is found by a look after [`Bell::was_rung`] said so, and no ring is
//! lost between [`Bell::rest`] and the rest: either the ringer sees that the core rests, or the core sees the ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// The bell of one core; as a waker it is rung by any.
#[derive(Debug)]
pub(super) struct Bell {
    is_rung: AtomicBool,
    is_resting: AtomicBool,
    eventfd: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (is_rung, is_resting) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Arc::new(Self { is_rung, is_resting, eventfd }))
    }

    /// Whether it was rung since this was last asked.
    pub(super) fn was_rung(&self) -> bool {
        // A load first: nearly always it was not, and a load leaves the line where it is.
        self.is_rung.load(Ordering::Relaxed) && self.is_rung.swap(false, Ordering::SeqCst)
    }

    /// Asks to be told by the eventfd; whether it was rung meanwhile, so that there is no need to rest.
    pub(super) fn rest(&self) -> bool {
        self.is_resting.store(true, Ordering::SeqCst);
        self.is_rung.load(Ordering::SeqCst)
    }

    /// Rings, and tells by the eventfd whether the core seems to rest or not.
    pub(super) fn insist(&self) {
        self.is_rung.store(true, Ordering::SeqCst);
        self.tell();
    }

    fn tell(&self) {
        // It fails at 2^64 only.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// Asks no longer.
    pub(super) fn rise(&self) {
        self.is_resting.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_rung = self.is_rung.swap(true, Ordering::SeqCst);
        if !was_rung && self.is_resting.swap(false, Ordering::SeqCst) {
            self.tell();
        }
    }
}
