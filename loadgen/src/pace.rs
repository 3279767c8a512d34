//! When requests start, and when the run is over, for one executor.
//!
//! Closed loop: as soon as a connection is free. Open loop: at times fixed in advance. An arrival for
//! which no connection is free waits, and its latency counts from the time that was fixed, so a stall
//! of the server is seen in every request that it delayed (no coordinated omission).
//!
//! **Invariant:** the backlog costs no memory: it is the time by which the next arrival is overdue.
//! Beyond its bound arrivals are dropped and counted.

use crate::options::Arrivals;
use crate::runtime::{Turnstile, sleep_until};
use crate::stats::Stats;
use crate::workload::Random;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The phase's times. The same on every executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    /// The load grows evenly from `begin` until then.
    pub(crate) ramped: Instant,
    pub(crate) measure_from: Instant,
    /// `None`: until the count is reached.
    pub(crate) until: Option<Instant>,
}

/// The start of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) intended: Instant,
    pub(crate) real: Instant,
    pub(crate) in_window: bool,
}

/// Arrivals at a given rate. One worker at a time waits for the next one, so that there is one timer.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    turn: Turnstile,
    /// Connections that wait for an arrival.
    free: Cell<u32>,
    next: Cell<Instant>,
    schedule: Schedule,
    rate: f64,
    backlog: u64,
    arrivals: Arrivals,
    random: RefCell<Random>,
}

impl OpenLoop {
    /// `rate`: per second, of this executor.
    pub(crate) fn new(
        schedule: Schedule,
        rate: f64,
        backlog: u64,
        arrivals: Arrivals,
        random: Random,
    ) -> Self {
        Self {
            turn: Turnstile::default(),
            free: Cell::new(0),
            next: Cell::new(schedule.begin),
            schedule,
            rate,
            backlog,
            arrivals,
            random: RefCell::new(random),
        }
    }

    /// Takes the next arrival's time and fixes the one after it.
    fn advance(&self) -> Instant {
        let gap = match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => -self.random.borrow_mut().unit().ln(),
        };
        let next = self.next.get();
        self.next.replace(next + Duration::from_secs_f64(gap / self.rate_at(next)))
    }

    /// Per second; never so low that the first arrivals would not come.
    fn rate_at(&self, time: Instant) -> f64 {
        let Schedule { begin, ramped, .. } = self.schedule;
        let ramp = ramped.saturating_duration_since(begin).as_secs_f64();
        let passed = time.saturating_duration_since(begin).as_secs_f64();
        self.rate * if passed < ramp { (passed / ramp).max(RAMP_SHARE_MIN) } else { 1.0 }
    }

    /// How many arrivals lie between the next one and `time`.
    fn overdue(&self, time: Instant) -> u64 {
        (time.saturating_duration_since(self.next.get()).as_secs_f64() * self.rate) as u64
    }
}

/// With which share of the rate a ramp begins.
const RAMP_SHARE_MIN: f64 = 0.02;

#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) schedule: Schedule,
    /// Measured requests that may still start; `None`: as many as fit in the time.
    pub(crate) remaining: Cell<Option<u64>>,
    pub(crate) open_loop: Option<OpenLoop>,
    /// The run is over when every key has been deleted once.
    pub(crate) deletes_once: bool,
    /// Ends the whole run.
    pub(crate) stopped: Arc<AtomicBool>,
    /// Ends this executor's part.
    pub(crate) finished: Cell<bool>,
}

impl Pace {
    /// Waits for the next start; `None` when there is none.
    pub(crate) async fn next(&self, stats: &RefCell<Stats>) -> Option<Start> {
        let intended = match &self.open_loop {
            Some(open_loop) => {
                open_loop.free.set(open_loop.free.get() + 1);
                let arrival = self.next_arrival(open_loop, stats).await;
                open_loop.free.set(open_loop.free.get() - 1);
                Some(arrival?)
            }
            None => None,
        };
        let real = Instant::now();
        if self.is_over(real) {
            return None;
        }
        let intended = intended.unwrap_or(real);
        let in_window = intended >= self.schedule.measure_from;
        if let (true, Some(remaining)) = (in_window, self.remaining.get()) {
            self.remaining.set(Some(remaining.checked_sub(1)?));
        }
        if in_window && self.open_loop.is_some() {
            stats.borrow_mut().open_loop.start_delay.record(real - intended);
        }
        Some(Start { intended, real, in_window })
    }

    async fn next_arrival(&self, open_loop: &OpenLoop, stats: &RefCell<Stats>) -> Option<Instant> {
        let _turn = open_loop.turn.enter().await;
        let mut now = Instant::now();
        let next = open_loop.next.get();
        let end = self.schedule.until.map_or(next, |until| next.min(until));
        // A free connection was there before the arrival, so what delays it now is this side's doing.
        let was_free = end > now || open_loop.free.get() > 1;
        if end > now {
            sleep_until(end).await;
            now = Instant::now();
        }
        if self.is_over(now) {
            if let (Some(until), false) = (self.schedule.until, self.finished.replace(true)) {
                stats.borrow_mut().open_loop.unserved += open_loop.overdue(until);
            }
            return None;
        }
        let overdue = open_loop.overdue(now);
        let excess = overdue.saturating_sub(open_loop.backlog);
        (0..excess).for_each(|_| _ = open_loop.advance());
        let counts = &mut stats.borrow_mut().open_loop;
        counts.dropped += excess;
        counts.backlog_max = counts.backlog_max.max(overdue - excess);
        let arrival = open_loop.advance();
        if was_free && arrival >= self.schedule.measure_from {
            counts.lag.record(now.saturating_duration_since(arrival));
        }
        Some(arrival)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.finished.get()
            || self.schedule.until.is_some_and(|until| now >= until)
            || self.stopped.load(Ordering::Relaxed)
    }

    /// Whether what was completed at `time` counts for the rates.
    pub(crate) fn in_window(&self, time: Instant) -> bool {
        time >= self.schedule.measure_from && self.schedule.until.is_none_or(|until| time <= until)
    }

    /// Ends this executor's part of the run.
    pub(crate) fn finish(&self) {
        self.finished.set(true);
    }

    /// Ends the whole run.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
