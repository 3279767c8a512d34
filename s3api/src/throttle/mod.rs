//! Limits of traffic: how often, how many at the same time and how fast requests of one user or for one bucket are
//! served.
//!
//! Limits stand where their owner does: a user's in its entry (`users`), a bucket's among its settings. What they are
//! judged by (when the next request is due, how many are under way) is one [`Limiter`] a user or bucket, shared by all
//! cores; limits are handed to it with each request, so that a change counts on every core with the next one.
//!
//! A request is judged by its user's limits once it is known whose it is, and by its bucket's once it is decided that it
//! may be let in: who may do nothing in a bucket uses nothing up of it, and learns nothing of its limits. (Where an
//! object's own ACL decides, that is decided later: who is denied then gives back what was taken of the bucket's.) Both come before a byte of the body is read. What is refused hears
//! `SlowDown`, and uses up nothing of the other limit. Bytes beyond a limit of bandwidth wait (`pace`); a request whose
//! bytes would wait for longer than [`BANDWIDTH_WAIT_MAX`] is refused.
//!
//! Invariants: without limits a request costs a look at its user and one into its bucket's settings, without
//! allocation and without atomics; a slot is held until the answer was sent or its connection is gone; root, the
//! management API and the server's own work are never limited.
//!
//! Not here: who sets limits (`admin::limits`), bounds of the server as a whole (`limits`).

mod admission;
mod gcra;
mod limiter;
mod pace;
mod registry;
mod setting;

pub use admission::{Admission, admit_caller, admit_to_bucket};
pub use limiter::Limiter;
pub use pace::{Pace, PacedBody};
pub use registry::{Key, Registry};
pub use setting::TrafficLimits;

use crate::error::{Code, S3Error};
#[cfg(doc)]
use crate::limits::BANDWIDTH_WAIT_MAX;
use crate::limits::LIMITERS_KEPT_MAX;
use crate::metrics::Sample;
use limiter::{Bound, Direction, Pass, Refused};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

const NANOSECONDS: u64 = 1_000_000_000;

/// One core's way to the limiters of all.
#[derive(Debug, Default)]
pub struct Throttle {
    registry: Arc<Registry>,
    /// Those that this core has seen.
    kept: RefCell<HashMap<Key, Arc<Limiter>>>,
    refused: Refusals,
}

/// Requests that were refused, by what refused them.
#[derive(Debug, Default)]
struct Refusals {
    user_rate: Cell<u64>,
    user_concurrency: Cell<u64>,
    user_bandwidth: Cell<u64>,
    bucket_rate: Cell<u64>,
    bucket_concurrency: Cell<u64>,
    bucket_bandwidth: Cell<u64>,
}

impl Throttle {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, ..Self::default() }
    }

    /// Lets a request in whose bytes go one way, if it has any, or says `SlowDown`.
    fn enter(
        &self,
        key: Key,
        limits: &TrafficLimits,
        direction: Option<Direction>,
        now_ns: u64,
    ) -> Result<Pass, S3Error> {
        let limiter = self.limiter(key, now_ns);
        let entered = Limiter::enter(&limiter, limits, now_ns).and_then(|pass| match direction {
            Some(direction) => pass.in_time(direction, now_ns),
            None => Ok(pass),
        });
        entered.map_err(|refused| self.refuse(key, refused))
    }

    fn limiter(&self, key: Key, now_ns: u64) -> Arc<Limiter> {
        let mut kept = self.kept.borrow_mut();
        if let Some(limiter) = kept.get(&key) {
            return Arc::clone(limiter);
        }
        if kept.len() >= LIMITERS_KEPT_MAX {
            kept.clear();
        }
        let limiter = self.registry.limiter(key, now_ns);
        kept.insert(key, Arc::clone(&limiter));
        limiter
    }

    fn refuse(&self, key: Key, refused: Refused) -> S3Error {
        let Refusals {
            user_rate,
            user_concurrency,
            user_bandwidth,
            bucket_rate,
            bucket_concurrency,
            bucket_bandwidth,
        } = &self.refused;
        let (counter, message) = match (key, refused.bound) {
            (Key::User(_), Bound::Rate) => (
                user_rate,
                "Please reduce your request rate: the user's limit of requests per second is reached.",
            ),
            (Key::User(_), Bound::Concurrency) => (
                user_concurrency,
                "Please reduce your request rate: the user's limit of concurrent requests is reached.",
            ),
            (Key::User(_), Bound::Bandwidth) => (
                user_bandwidth,
                "Please reduce your request rate: the user's limit of bytes per second is reached.",
            ),
            (Key::Bucket(_), Bound::Bandwidth) => (
                bucket_bandwidth,
                "Please reduce your request rate: the bucket's limit of bytes per second is reached.",
            ),
            (Key::Bucket(_), Bound::Rate) => (
                bucket_rate,
                "Please reduce your request rate: the bucket's limit of requests per second is reached.",
            ),
            (Key::Bucket(_), Bound::Concurrency) => (
                bucket_concurrency,
                "Please reduce your request rate: the bucket's limit of concurrent requests is reached.",
            ),
        };
        counter.set(counter.get() + 1);
        let seconds = refused.wait_ns.div_ceil(NANOSECONDS).max(1);
        S3Error::new(Code::SlowDown, message).header("Retry-After", seconds.to_string())
    }

    /// The counters as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        let sample = |limit: &str, counter: &Cell<u64>| Sample {
            name: "limited_requests_total",
            help: "Requests refused with SlowDown by a limit of their user or bucket",
            labels: vec![("limit", limit.to_owned())],
            #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
            value: counter.get() as f64,
        };
        let refused = &self.refused;
        vec![
            sample("user_rate", &refused.user_rate),
            sample("user_concurrency", &refused.user_concurrency),
            sample("user_bandwidth", &refused.user_bandwidth),
            sample("bucket_rate", &refused.bucket_rate),
            sample("bucket_concurrency", &refused.bucket_concurrency),
            sample("bucket_bandwidth", &refused.bucket_bandwidth),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::limits::BANDWIDTH_WAIT_MAX;
    use engine::BucketId;

    const ONE_A_SECOND: TrafficLimits = TrafficLimits {
        requests_per_second: Some(1),
        burst_requests: Some(3),
        concurrent_requests: None,
        bytes_in_per_second: None,
        bytes_out_per_second: None,
    };

    #[test]
    fn cores_share_what_they_judge_by() {
        let registry = Arc::new(Registry::default());
        let cores = [Throttle::new(Arc::clone(&registry)), Throttle::new(registry)];
        for core in [0, 1, 0] {
            cores[core].enter(Key::User(1), &ONE_A_SECOND, None, 5).unwrap();
        }
        let refused = cores[1].enter(Key::User(1), &ONE_A_SECOND, None, 5).unwrap_err();
        assert_eq!((refused.code, refused.code.status()), (Code::SlowDown, 503));
        assert!(refused.message.contains("user's limit of requests per second"));
        assert_eq!(refused.headers, [("Retry-After", "1".to_owned())]);
        // Another user, and a bucket of the same number.
        cores[1].enter(Key::User(2), &ONE_A_SECOND, None, 5).unwrap();
        cores[1].enter(Key::Bucket(BucketId(1)), &ONE_A_SECOND, None, 5).unwrap();
        let counts: Vec<f64> = cores[1].samples().iter().map(|sample| sample.value).collect();
        assert_eq!(counts, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_request_whose_bytes_would_wait_for_too_long_is_refused() {
        let core = Throttle::default();
        let limits = TrafficLimits { bytes_out_per_second: Some(1 << 20), ..ONE_A_SECOND };
        let limits = TrafficLimits { requests_per_second: None, burst_requests: None, ..limits };
        let enter = |direction, now_ns| {
            core.enter(Key::User(1), &limits, direction, now_ns).map(|pass| {
                // A second's worth.
                pass.reserve(Direction::Out, 1 << 20, now_ns);
            })
        };
        let mut let_in = 0;
        while enter(Some(Direction::Out), 0).is_ok() {
            let_in += 1;
        }
        assert_eq!(let_in, BANDWIDTH_WAIT_MAX.as_secs() + 1);
        let refused = enter(Some(Direction::Out), 0).unwrap_err();
        assert_eq!((refused.code, refused.headers[0].1.as_str()), (Code::SlowDown, "1"));
        assert!(refused.message.contains("bytes per second"), "{}", refused.message);
        // What sends nothing that way is let in, and what was refused has made nobody wait.
        core.enter(Key::User(1), &limits, Some(Direction::In), 0).unwrap();
        core.enter(Key::User(1), &limits, None, 0).unwrap();
        enter(Some(Direction::Out), NANOSECONDS + 1).unwrap();
        // However much is owed, it is forgotten after that time: a limit that was raised counts.
        let pass = core.enter(Key::User(1), &limits, None, 0).unwrap();
        for _ in 0..1000 {
            pass.reserve(Direction::Out, 1 << 20, 2 * NANOSECONDS);
        }
        let later = 4 * NANOSECONDS + 2 * u64::try_from(BANDWIDTH_WAIT_MAX.as_nanos()).unwrap();
        assert!(pass.reserve(Direction::Out, 1, later) <= later);
    }

    #[test]
    fn what_a_core_keeps_is_bounded() {
        let core = Throttle::default();
        for number in 0..=LIMITERS_KEPT_MAX as u64 {
            core.enter(Key::User(number), &ONE_A_SECOND, None, 0).unwrap();
        }
        assert_eq!(core.kept.borrow().len(), 1);
        // What was forgotten here is judged as before.
        for _ in 0..2 {
            core.enter(Key::User(0), &ONE_A_SECOND, None, 0).unwrap();
        }
        assert!(core.enter(Key::User(0), &ONE_A_SECOND, None, 0).is_err());
    }
}
