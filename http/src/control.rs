//! Deadlines of one connection without a timer per operation.
//!
//! The connection says what it waits for (`enter`) and what it got (`progress`); the server's
//! sweeper asks each connection from time to time (`expired`) and shuts its socket down.
//! Invariants: a phase that waits for the peer has a deadline; in `Body` and `Write` it moves
//! only when a window's quota of bytes has passed, and time spent in `Work` does not count.
//! It does not touch the socket and wakes nobody.

use std::cell::Cell;
use std::net::Shutdown;
use std::rc::Rc;

use crate::{Limits, Time};

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of its head.
    Head,
    /// More of its body.
    Body,
    /// The service; the server's own time, without a deadline.
    Work,
    /// The peer to take the answer.
    Write,
    /// The peer to close after the last answer.
    Linger,
}

/// What is left of a rate window: of a body, or of an answer.
#[derive(Debug, Clone, Copy)]
struct Window {
    length_ms: u64,
    quota_bytes: u64,
    left_ms: u64,
    passed_bytes: u64,
}

impl Window {
    fn new(length_ms: u64, rate_bytes_per_second: u64) -> Self {
        let quota_bytes = (length_ms.saturating_mul(rate_bytes_per_second) / 1000).max(1);
        Self { length_ms, quota_bytes, left_ms: length_ms, passed_bytes: 0 }
    }

    fn restart(&mut self) {
        self.left_ms = self.length_ms;
        self.passed_bytes = 0;
    }
}

/// Shared by a connection's task and the sweeper of the same core.
#[derive(Debug)]
pub struct Control {
    time: Rc<Time>,
    idle_timeout_ms: u64,
    head_timeout_ms: u64,
    linger_timeout_ms: u64,
    phase: Cell<Phase>,
    /// Monotonic milliseconds; `u64::MAX` for none.
    deadline_ms: Cell<u64>,
    body: Cell<Window>,
    write: Cell<Window>,
    /// The sweeper found the present phase's deadline passed.
    timed_out: Cell<bool>,
    /// The receiving side was shut down while nothing was under way.
    cut_idle: Cell<bool>,
    draining: Cell<bool>,
}

impl Control {
    pub fn new(time: Rc<Time>, limits: &Limits) -> Rc<Self> {
        let rate = limits.rate_bytes_per_second_min;
        let control = Self {
            time,
            idle_timeout_ms: limits.idle_timeout_ms,
            head_timeout_ms: limits.head_timeout_ms,
            linger_timeout_ms: limits.linger_timeout_ms,
            phase: Cell::new(Phase::Idle),
            deadline_ms: Cell::new(u64::MAX),
            body: Cell::new(Window::new(limits.body_window_ms, rate)),
            write: Cell::new(Window::new(limits.write_window_ms, rate)),
            timed_out: Cell::new(false),
            cut_idle: Cell::new(false),
            draining: Cell::new(false),
        };
        control.enter(Phase::Idle);
        Rc::new(control)
    }

    /// For the sweeper: which directions of the socket to shut down now, if any. While a request
    /// is read it is the receiving one alone, so that the client can still be told.
    pub fn expired(&self, now_ms: u64) -> Option<Shutdown> {
        let unwanted = self.draining.get() && self.phase.get() == Phase::Idle;
        if !unwanted && now_ms < self.deadline_ms.get() {
            return None;
        }
        self.timed_out.set(true);
        self.cut_idle.set(self.cut_idle.get() || self.phase.get() == Phase::Idle);
        match self.phase.get() {
            Phase::Idle | Phase::Head | Phase::Body => Some(Shutdown::Read),
            Phase::Work => None,
            Phase::Write | Phase::Linger => Some(Shutdown::Both),
        }
    }

    /// Since when nothing of a request is there yet, or not the whole of its head; none once one is.
    pub fn waits_for_request_since_ms(&self) -> Option<u64> {
        let timeout_ms = match self.phase.get() {
            Phase::Idle => self.idle_timeout_ms,
            Phase::Head => self.head_timeout_ms,
            _ => return None,
        };
        Some(self.deadline_ms.get().saturating_sub(timeout_ms))
    }

    /// The next call of `expired` ends the present phase, whatever its deadline was.
    pub fn expire(&self) {
        self.deadline_ms.set(0);
    }

    /// Lets the present request be answered, with `Connection: close`, and no other.
    /// The next call of `expired` ends an idle connection.
    pub fn drain(&self) {
        self.draining.set(true);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn time(&self) -> &Time {
        &self.time
    }

    /// Whether the sweeper ended the present phase.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out.get()
    }

    /// Whether the receiving side was shut down before the present request began to arrive: what was
    /// not received yet may never be.
    pub(crate) fn cut_idle(&self) -> bool {
        self.cut_idle.get()
    }

    /// Starts to wait for something else. `Body` and `Write` go on with their windows where they
    /// left them in this request; `Idle` and `Head` begin a new request.
    pub(crate) fn enter(&self, phase: Phase) {
        let now_ms = self.time.monotonic_ms();
        self.leave(now_ms);
        let wait_ms = match phase {
            Phase::Idle | Phase::Head => {
                restart(&self.body);
                restart(&self.write);
                if phase == Phase::Idle { self.idle_timeout_ms } else { self.head_timeout_ms }
            }
            Phase::Body => self.body.get().left_ms,
            Phase::Write => self.write.get().left_ms,
            Phase::Linger => self.linger_timeout_ms,
            Phase::Work => u64::MAX,
        };
        self.phase.set(phase);
        self.deadline_ms.set(now_ms.saturating_add(wait_ms));
        self.timed_out.set(false);
    }

    /// Counts bytes that the peer sent (`Body`) or took (`Write`). A filled quota opens a new
    /// window; the clock is read only then.
    pub(crate) fn progress(&self, bytes: usize) {
        let cell = match self.phase.get() {
            Phase::Body => &self.body,
            Phase::Write => &self.write,
            _ => return,
        };
        let mut window = cell.get();
        window.passed_bytes = window.passed_bytes.saturating_add(bytes as u64);
        if window.passed_bytes >= window.quota_bytes {
            window.restart();
            let now_ms = self.time.monotonic_ms();
            self.deadline_ms.set(now_ms.saturating_add(window.length_ms));
        }
        cell.set(window);
    }

    /// Saves what is left of the window of the phase that ends.
    fn leave(&self, now_ms: u64) {
        let cell = match self.phase.get() {
            Phase::Body => &self.body,
            Phase::Write => &self.write,
            _ => return,
        };
        let mut window = cell.get();
        window.left_ms = self.deadline_ms.get().saturating_sub(now_ms);
        cell.set(window);
    }
}

fn restart(cell: &Cell<Window>) {
    let mut window = cell.get();
    window.restart();
    cell.set(window);
}
