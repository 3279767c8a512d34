//! The connections of one port on one core: who they are, and who of them has run out of time.
//!
//! Invariant: a connection is listed for exactly as long as its descriptor is open, so that the
//! sweeper never touches a number that was given out again.
//!
//! Not here: what the deadlines are (`http::Control`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::Shutdown;
use std::rc::Rc;

use http::{Control, Phase};

use crate::sys::Waker;

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Open>>,
    next: Cell<u64>,
    is_draining: Cell<bool>,
}

#[derive(Debug)]
struct Open {
    control: Rc<Control>,
    waker: Waker,
}

/// Takes its connection off the list when dropped, which must be before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Listed {
    connections: Rc<Connections>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
    }
}

impl Connections {
    /// Lists a connection. One that comes while the port drains is told so.
    pub(super) fn list(self: &Rc<Self>, control: Rc<Control>, waker: Waker) -> Listed {
        if self.is_draining.get() {
            control.drain();
        }
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, Open { control, waker });
        Listed { connections: Rc::clone(self), number }
    }

    /// No new connection is wanted here.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    pub(super) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Shuts down what has waited for its peer for too long.
    pub(super) fn sweep(&self, now_ms: u64) {
        for open in self.open.borrow().values() {
            if let Some(how) = open.control.expired(now_ms) {
                open.waker.shut_down(how);
            }
        }
    }

    /// Ends the connection whose next request has been waited for the longest; false if each of this core has
    /// one under way. Whoever only holds on must not keep out who has something to ask.
    pub(super) fn make_room(&self) -> bool {
        let open = self.open.borrow();
        let waiting = open.values().filter_map(|open| {
            let since_ms = open.control.waits_for_request_since_ms()?;
            (since_ms > 0).then_some((since_ms, open))
        });
        let Some((_, longest)) = waiting.min_by_key(|(since_ms, _)| *since_ms) else {
            return false;
        };
        let has_begun = longest.control.phase() == Phase::Head;
        longest.control.expire();
        if let Some(how) = longest.control.expired(0) {
            // With half a head it is not told why: it would linger over the answer, in its place.
            longest.waker.shut_down(if has_begun { Shutdown::Both } else { how });
        }
        true
    }

    /// Lets requests under way be answered and ends everything else.
    pub(super) fn drain(&self, now_ms: u64) {
        self.is_draining.set(true);
        self.open.borrow().values().for_each(|open| open.control.drain());
        self.sweep(now_ms);
    }

    /// Ends all connections, whatever they do.
    pub(super) fn cut(&self) {
        self.open.borrow().values().for_each(|open| open.waker.shut_down(Shutdown::Both));
    }
}
