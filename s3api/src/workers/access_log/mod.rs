//! Access logs of buckets, delivered as objects in another bucket.
//!
//! Each core gathers the lines of the requests that it answered, by bucket, and delivers them itself
//! (`delivery`): an object holds lines of one bucket from one core.
//!
//! Invariants: what waits is bounded in bytes and in age; when there is too much, the oldest lines are
//! dropped and counted. A delivery is no request, so that it is never logged itself: a bucket that logs
//! into itself does not grow by its own log.
//!
//! Not here: the operations that turn it on (`ops`), what a line looks like (`line`).

pub mod delivery;
pub mod document;
pub mod line;
pub mod operation;
pub mod record;

pub use document::Logging;
pub use record::Pending;

use crate::limits::{ACCESS_LOG_OBJECT_BYTES, ACCESS_LOG_WAITING_BYTES_MAX};
use crate::metrics::Sample;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Lines that go into one object: of one bucket, and where the bucket wants that, of one day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub bucket: String,
    /// Midnight of the day of the requests, in seconds since the Unix epoch.
    pub day: i64,
}

#[derive(Debug)]
struct Lines {
    /// Where they go, by the newest of them.
    logging: Rc<Logging>,
    lines: VecDeque<String>,
    bytes: usize,
    /// When the first of them came, by the monotonic clock.
    since_ns: u64,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: RefCell<BTreeMap<Key, Lines>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    written: Cell<u64>,
    dropped: Cell<u64>,
    delivered: Cell<u64>,
    objects: Cell<u64>,
    failures: Cell<u64>,
}

impl Lines {
    fn new(logging: &Rc<Logging>, since_ns: u64) -> Self {
        Self { logging: Rc::clone(logging), lines: VecDeque::new(), bytes: 0, since_ns }
    }
}

/// Lines on their way into an object.
#[derive(Debug)]
struct Batch {
    key: Key,
    logging: Rc<Logging>,
    lines: Vec<String>,
}

/// The lines of one core that wait to be delivered.
#[derive(Debug, Clone)]
pub struct AccessLog(Rc<Inner>);

impl Default for AccessLog {
    fn default() -> Self {
        Self::bounded(ACCESS_LOG_WAITING_BYTES_MAX)
    }
}

fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get() + count as u64);
}

impl AccessLog {
    fn bounded(bytes_max: usize) -> Self {
        Self(Rc::new(Inner { bytes_max, ..Inner::default() }))
    }

    /// Takes a line in.
    pub fn add(&self, key: Key, logging: Rc<Logging>, line: String, now_ns: u64) {
        add(&self.0.written, 1);
        let mut waiting = self.0.waiting.borrow_mut();
        self.0.bytes.set(self.0.bytes.get() + line.len());
        let lines = waiting.entry(key).or_insert_with(|| Lines::new(&logging, now_ns));
        lines.logging = logging;
        lines.bytes += line.len();
        lines.lines.push_back(line);
        self.drop_oldest(&mut waiting);
    }

    fn drop_oldest(&self, waiting: &mut BTreeMap<Key, Lines>) {
        while self.0.bytes.get() > self.0.bytes_max {
            let oldest = waiting.iter_mut().min_by_key(|(_, lines)| lines.since_ns);
            let Some((key, lines)) = oldest else { return };
            let dropped = lines.lines.pop_front().map_or(0, |line| line.len());
            lines.bytes -= dropped;
            self.0.bytes.set(self.0.bytes.get() - dropped);
            add(&self.0.dropped, 1);
            if lines.lines.is_empty() {
                let key = key.clone();
                waiting.remove(&key);
            }
        }
    }

    /// Takes out what has waited for so long, or is enough for an object.
    fn take_due(&self, now_ns: u64, age: Duration) -> Vec<Batch> {
        let mut waiting = self.0.waiting.borrow_mut();
        let is_due = |lines: &Lines| {
            let waited = Duration::from_nanos(now_ns.saturating_sub(lines.since_ns));
            waited >= age || lines.bytes >= ACCESS_LOG_OBJECT_BYTES
        };
        let due: Vec<Key> =
            waiting.iter().filter(|(_, lines)| is_due(lines)).map(|(key, _)| key.clone()).collect();
        let take = |key: Key| {
            let lines = waiting.remove(&key)?;
            self.0.bytes.set(self.0.bytes.get() - lines.bytes);
            Some(Batch { key, logging: lines.logging, lines: lines.lines.into() })
        };
        due.into_iter().filter_map(take).collect()
    }

    /// Puts lines back that could not be delivered, before those that came meanwhile.
    fn put_back(&self, batch: Batch, now_ns: u64) {
        let Batch { key, logging, lines } = batch;
        add(&self.0.failures, 1);
        let mut waiting = self.0.waiting.borrow_mut();
        let bytes: usize = lines.iter().map(String::len).sum();
        self.0.bytes.set(self.0.bytes.get() + bytes);
        let entry = waiting.entry(key).or_insert_with(|| Lines::new(&logging, now_ns));
        entry.bytes += bytes;
        // They wait as long again before the next attempt.
        entry.since_ns = now_ns;
        for line in lines.into_iter().rev() {
            entry.lines.push_front(line);
        }
        self.drop_oldest(&mut waiting);
    }

    fn count_delivered(&self, lines: usize) {
        add(&self.0.delivered, lines);
        add(&self.0.objects, 1);
    }

    fn count_dropped(&self, lines: usize) {
        add(&self.0.dropped, lines);
    }

    /// The counters as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        let Inner { written, dropped, delivered, objects, failures, bytes, .. } = &*self.0;
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        let sample =
            |name, help, value: u64| Sample { name, help, labels: Vec::new(), value: value as f64 };
        vec![
            sample("access_log_lines_total", "Lines written to access logs", written.get()),
            sample(
                "access_log_delivered_total",
                "Lines of access logs that were delivered",
                delivered.get(),
            ),
            sample(
                "access_log_dropped_total",
                "Lines of access logs that were dropped: too many waited, or their target is gone",
                dropped.get(),
            ),
            sample("access_log_objects_total", "Objects of access logs written", objects.get()),
            sample(
                "access_log_failures_total",
                "Deliveries of access logs that failed and are tried again",
                failures.get(),
            ),
            sample(
                "access_log_waiting_bytes",
                "Bytes of access logs that wait to be delivered",
                bytes.get() as u64,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(bucket: &str) -> Key {
        Key { bucket: bucket.to_owned(), day: 0 }
    }

    fn add(log: &AccessLog, bucket: &str, line: &str, now_ns: u64) {
        let logging = Logging {
            target_bucket: "logs".to_owned(),
            target_prefix: String::new(),
            key_format: None,
        };
        log.add(key(bucket), Rc::new(logging), line.to_owned(), now_ns);
    }

    fn due(log: &AccessLog, now: u64) -> Vec<(String, String)> {
        let age = Duration::from_secs(10);
        log.take_due(now * SECOND, age)
            .into_iter()
            .map(|batch| (batch.key.bucket, batch.lines.concat()))
            .collect()
    }

    fn pair(bucket: &str, lines: &str) -> (String, String) {
        (bucket.to_owned(), lines.to_owned())
    }

    #[test]
    fn lines_wait_for_their_age() {
        let log = AccessLog::bounded(1000);
        add(&log, "a", "1", SECOND);
        add(&log, "b", "2", 5 * SECOND);
        add(&log, "a", "3", 9 * SECOND);
        assert_eq!(due(&log, 10), []);
        assert_eq!(due(&log, 11), [pair("a", "13")]);
        assert_eq!(due(&log, 100), [pair("b", "2")]);
        assert_eq!(log.0.bytes.get(), 0);
    }

    #[test]
    fn a_full_object_does_not_wait() {
        let log = AccessLog::bounded(usize::MAX);
        let line = "x".repeat(ACCESS_LOG_OBJECT_BYTES);
        add(&log, "a", &line, SECOND);
        assert_eq!(due(&log, 1), [pair("a", &line)]);
    }

    #[test]
    fn too_many_lines_drop_the_oldest_and_are_counted() {
        let log = AccessLog::bounded(3);
        for (number, bucket) in ["a", "a", "b", "b"].into_iter().enumerate() {
            add(&log, bucket, &number.to_string(), number as u64 * SECOND);
        }
        assert_eq!(log.0.dropped.get(), 1);
        add(&log, "b", "45", 9 * SECOND);
        assert_eq!((log.0.dropped.get(), log.0.bytes.get()), (3, 3));
        assert_eq!(due(&log, 100), [pair("b", "345")]);
    }

    #[test]
    fn what_was_not_delivered_comes_before_what_came_meanwhile() {
        let log = AccessLog::bounded(1000);
        add(&log, "a", "1", SECOND);
        add(&log, "a", "2", SECOND);
        let taken = log.take_due(20 * SECOND, Duration::ZERO);
        add(&log, "a", "3", 20 * SECOND);
        for batch in taken {
            log.put_back(batch, 21 * SECOND);
        }
        assert_eq!(due(&log, 30), []);
        assert_eq!(due(&log, 31), [pair("a", "123")]);
        assert_eq!(log.0.failures.get(), 1);
    }
}
