//! What each core counts, and the one place where the cores' counts meet.
//!
//! Invariants: recording takes no lock and, once an operation was seen, allocates nothing; a core
//! writes only its own counters and publishes a copy of them from time to time; numbers of
//! operations and statuses are bounded.
//!
//! Not here: the text that is served (`admin::metrics_text`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;

use engine::Health;
use hdrhistogram::Histogram;

use crate::error::Code;
use crate::limits::{METRIC_LATENCY_US_MAX, METRIC_OPERATIONS_MAX, METRIC_STATUSES_MAX};

/// One core's counters, in the hands of that core alone.
#[derive(Debug, Default)]
pub struct Recorder {
    counts: RefCell<Counts>,
}

/// A copy of one core's counters at some moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// In the order in which they were first seen.
    pub operations: Vec<OperationCounts>,
    pub connections_accepted: u64,
    /// Connections turned away at the limit.
    pub connections_refused: u64,
    pub connections_open: u64,
    /// Requests whose signature was refused, by the code of the answer.
    pub signatures_refused: HashMap<Code, u64>,
    /// What other parts of the core (the engine) had to say when this was published.
    pub samples: Vec<Sample>,
    /// What does not work of what the core owns.
    pub health: Health,
}

#[derive(Debug, Clone)]
pub struct OperationCounts {
    pub operation: &'static str,
    /// Requests by status, in the order in which the statuses were first seen.
    pub statuses: Vec<(u16, u64)>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub latency_us: Histogram<u64>,
}

/// A number that its owner counts itself, and that is served as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Served with `ringfort_` before it; it ends in `_total` if it only ever grows.
    pub name: &'static str,
    pub help: &'static str,
    /// Label names and values beside the core's.
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

impl Recorder {
    /// Counts one request that was answered.
    pub fn record(
        &self,
        operation: &'static str,
        status: u16,
        latency_ns: u64,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        let mut counts = self.counts.borrow_mut();
        let Some(counts) = counts.operation(operation) else { return };
        counts.count_status(status);
        counts.bytes_in += bytes_in;
        counts.bytes_out += bytes_out;
        counts.latency_us.saturating_record(latency_ns.div_ceil(1000));
    }

    /// Counts a request whose signature was refused, of whatever operation.
    pub fn signature_refused(&self, code: Code) {
        *self.counts.borrow_mut().signatures_refused.entry(code).or_default() += 1;
    }

    pub fn connection_opened(&self) {
        let mut counts = self.counts.borrow_mut();
        counts.connections_accepted += 1;
        counts.connections_open += 1;
    }

    pub fn connection_closed(&self) {
        let mut counts = self.counts.borrow_mut();
        counts.connections_open = counts.connections_open.saturating_sub(1);
    }

    pub fn connection_refused(&self) {
        self.counts.borrow_mut().connections_refused += 1;
    }
}

impl Counts {
    /// The counters of an operation. Past the bound the last one stands for all others, which cannot
    /// happen while the program has fewer operations than that.
    fn operation(&mut self, operation: &'static str) -> Option<&mut OperationCounts> {
        let found = self.operations.iter().position(|o| o.operation == operation);
        if found.is_none() && self.operations.len() < METRIC_OPERATIONS_MAX {
            self.operations.push(OperationCounts::new(operation)?);
        }
        match found {
            Some(at) => self.operations.get_mut(at),
            None => self.operations.last_mut(),
        }
    }
}

impl OperationCounts {
    fn new(operation: &'static str) -> Option<Self> {
        // Two digits: 26 KiB per operation and core. The bounds are constants that it accepts.
        let latency_us = Histogram::new_with_bounds(1, METRIC_LATENCY_US_MAX, 2).ok()?;
        let statuses = Vec::with_capacity(METRIC_STATUSES_MAX);
        Some(Self { operation, statuses, bytes_in: 0, bytes_out: 0, latency_us })
    }

    fn count_status(&mut self, status: u16) {
        if let Some((_, count)) = self.statuses.iter_mut().find(|(seen, _)| *seen == status) {
            *count += 1;
        } else if self.statuses.len() < METRIC_STATUSES_MAX {
            self.statuses.push((status, 1));
        }
    }

    /// Adds another core's counters of the same operation.
    pub fn merge(&mut self, other: &Self) {
        for &(status, count) in &other.statuses {
            match self.statuses.iter_mut().find(|(seen, _)| *seen == status) {
                Some((_, mine)) => *mine += count,
                None => self.statuses.push((status, count)),
            }
        }
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        // Histograms of equal bounds always add.
        let _ = self.latency_us.add(&other.latency_us);
    }
}

/// What all cores published last.
#[derive(Debug)]
pub struct Metrics {
    cores: Vec<Mutex<Counts>>,
}

impl Metrics {
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| Mutex::default()).collect() }
    }

    /// Replaces what a core published before. The lock is held for a swap of pointers, here and
    /// while it is read for one copy.
    pub fn publish(&self, core: usize, recorder: &Recorder, samples: Vec<Sample>, health: Health) {
        let mut counts = recorder.counts.borrow().clone();
        counts.samples = samples;
        counts.health = health;
        if let Some(slot) = self.cores.get(core) {
            *lock(slot) = counts;
        }
    }

    /// What does not work, all cores together.
    pub fn health(&self) -> Health {
        let mut health = Health::default();
        self.cores.iter().for_each(|slot| health.add(lock(slot).health.clone()));
        health
    }

    /// A copy of what each core published last.
    pub fn snapshot(&self) -> Vec<Counts> {
        self.cores.iter().map(|slot| lock(slot).clone()).collect()
    }
}

/// A panic while the lock was held cannot leave the counts half written.
fn lock(slot: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_and_status() {
        let recorder = Recorder::default();
        recorder.record("GetObject", 200, 1_500, 0, 1024);
        recorder.record("GetObject", 404, 2_000_000, 0, 100);
        recorder.record("PutObject", 200, u64::MAX, 2048, 0);
        recorder.record("GetObject", 200, 0, 0, 1024);
        recorder.connection_opened();
        recorder.connection_opened();
        recorder.connection_closed();

        let metrics = Metrics::new(2);
        metrics.publish(1, &recorder, Vec::new(), Health::default());
        let snapshot = metrics.snapshot();
        assert!(snapshot[0].operations.is_empty());
        let [get, put] = &snapshot[1].operations[..] else { panic!("two operations") };
        assert_eq!((get.operation, put.operation), ("GetObject", "PutObject"));
        assert_eq!(get.statuses, [(200, 2), (404, 1)]);
        assert_eq!(get.bytes_out, 2148);
        assert_eq!(get.latency_us.len(), 3);
        assert_eq!(put.latency_us.len(), 1);
        assert_eq!((snapshot[1].connections_accepted, snapshot[1].connections_open), (2, 1));
    }

    #[test]
    fn statuses_are_bounded() {
        let recorder = Recorder::default();
        for status in 200..400 {
            recorder.record("GetObject", status, 1, 0, 0);
        }
        assert_eq!(recorder.counts.borrow().operations[0].statuses.len(), METRIC_STATUSES_MAX);
        assert_eq!(recorder.counts.borrow().operations[0].latency_us.len(), 200);
    }

    #[test]
    fn cores_add_up() {
        let (one, two) = (Recorder::default(), Recorder::default());
        one.record("GetObject", 200, 1000, 1, 2);
        two.record("GetObject", 200, 9000, 3, 4);
        two.record("GetObject", 500, 9000, 0, 0);
        let mut sum = one.counts.borrow().operations[0].clone();
        sum.merge(&two.counts.borrow().operations[0]);
        assert_eq!(sum.statuses, [(200, 2), (500, 1)]);
        assert_eq!((sum.bytes_in, sum.bytes_out, sum.latency_us.len()), (4, 6, 3));
    }
}
