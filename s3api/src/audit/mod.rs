//! The audit log: one JSON object a line for each request, who made it, from where, and what came of it.
//!
//! Requests hand their lines to one thread (`writer`), which writes them to a file or to standard output. What
//! waits for it is bounded in lines and bytes.
//!
//! Invariants: an executor never waits for the log. A line that there is no room for is counted, and the log itself
//! tells how many are missing where they are missing; where the operator requires the log, requests are refused
//! while half of the room is taken. No line holds a secret, a signature, a query or the value of a header that may hold one.
//! A line is in the file when its request's answer has been sent, or soon after; it is synced within a second.
//!
//! Not here: access logs of buckets (`workers::access_log`), which their owners ask for by S3's own means.

mod entry;
pub mod record;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::Method;

use crate::limits::{AUDIT_STOP_PATIENCE, AUDIT_WAITING_BYTES_MAX, AUDIT_WAITING_LINES_MAX};
use crate::metrics::Sample;
use crate::start_error::StartError;
use writer::{Message, Writer};

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    File(PathBuf),
    Stdout,
}

/// Which requests have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditedRequests {
    All,
    /// Those that may change something, and those that were refused for who made them.
    Changes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub target: AuditTarget,
    pub requests: AuditedRequests,
    /// Without a log there are no requests.
    pub is_required: bool,
}

/// The way into the log.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: AuditedRequests,
    is_required: bool,
    sender: SyncSender<Message>,
    state: Arc<State>,
}

/// What requests and the writer tell each other beside the lines.
#[derive(Debug, Default)]
struct State {
    waiting_lines: AtomicUsize,
    waiting_bytes: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Of those that were dropped, how many no line tells of yet.
    untold: AtomicU64,
    failures: AtomicU64,
    /// The last write failed.
    is_failing: AtomicBool,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    /// No more lines come.
    is_ending: AtomicBool,
}

/// The thread that writes, for whoever ends it.
#[derive(Debug)]
pub struct AuditThread {
    audit: Audit,
    thread: JoinHandle<()>,
}

impl Audit {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn start(config: &AuditConfig) -> Result<AuditThread, StartError> {
        let state = Arc::new(State::default());
        let writer = Writer::open(config.target.clone(), Arc::clone(&state))
            .map_err(|e| StartError::io("--audit-log: opening it", e))?;
        let (sender, receiver) = mpsc::sync_channel(AUDIT_WAITING_LINES_MAX);
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|e| StartError::io("starting the thread of the audit log", e))?;
        let AuditConfig { requests, is_required, .. } = *config;
        let audit = Self(Arc::new(Inner { requests, is_required, sender, state }));
        Ok(AuditThread { audit, thread })
    }

    /// Whether a request is to be refused because nothing could be said about it.
    pub fn refuses(&self) -> bool {
        let Inner { is_required, state, .. } = &*self.0;
        // The other half is for those that were let in before.
        *is_required
            && (state.is_failing.load(Ordering::Relaxed)
                || state.waiting_lines.load(Ordering::Relaxed) > AUDIT_WAITING_LINES_MAX / 2
                || state.waiting_bytes.load(Ordering::Relaxed) > AUDIT_WAITING_BYTES_MAX / 2)
    }

    /// The same, for a request that is then refused without a line: the log tells how many there were.
    pub fn refuses_now(&self) -> bool {
        let refuses = self.refuses();
        if refuses {
            self.0.state.dropped.fetch_add(1, Ordering::Relaxed);
            self.0.state.untold.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    /// Whether a request that was answered with this status has a line.
    fn wants(&self, method: Method, status: u16) -> bool {
        let reads = matches!(method, Method::Get | Method::Head | Method::Options);
        match self.0.requests {
            AuditedRequests::All => true,
            AuditedRequests::Changes => !reads || matches!(status, 401 | 403 | 429),
        }
    }

    /// Takes a line, which ends with its line feed.
    fn add(&self, mut line: String) {
        let Inner { is_required, sender, state, .. } = &*self.0;
        let bytes = line.len();
        let before = state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.waiting_lines.fetch_add(1, Ordering::Relaxed);
        let give_up = |bytes: usize, lost: u64| {
            state.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            state.waiting_lines.fetch_sub(1, Ordering::Relaxed);
            state.dropped.fetch_add(1, Ordering::Relaxed);
            state.untold.fetch_add(lost + 1, Ordering::Relaxed);
        };
        // Requests were refused before it came to that; those that are under way get twice as much.
        let most = AUDIT_WAITING_BYTES_MAX << u32::from(*is_required);
        if before + bytes > most {
            return give_up(bytes, 0);
        }
        // The first line behind those that are missing tells of them.
        let lost = match state.untold.load(Ordering::Relaxed) {
            0 => 0,
            _ => state.untold.swap(0, Ordering::Relaxed),
        };
        if lost > 0 {
            line.insert_str(0, &entry::lost(lost));
            state.waiting_bytes.fetch_add(line.len() - bytes, Ordering::Relaxed);
        }
        let bytes = line.len();
        if let Err(error) = sender.try_send(Message::Line(line)) {
            give_up(bytes, lost);
            if matches!(error, TrySendError::Disconnected(_)) {
                state.is_failing.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Has the file opened anew: what was its name may be another file's by now.
    pub fn reopen(&self) {
        self.0.state.reopen.store(true, Ordering::Relaxed);
    }

    /// The counters as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        let state = &*self.0.state;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        let sample =
            |name, help, value: u64| Sample { name, help, labels: Vec::new(), value: value as f64 };
        vec![
            sample(
                "audit_log_lines_total",
                "Lines of the audit log written",
                count(&state.written),
            ),
            sample(
                "audit_log_dropped_total",
                "Lines that the audit log lacks: too many waited, or their requests were refused for want of it",
                count(&state.dropped),
            ),
            sample(
                "audit_log_failures_total",
                "Writes of the audit log that failed and are tried again",
                count(&state.failures),
            ),
            sample(
                "audit_log_waiting_bytes",
                "Bytes of the audit log that wait to be written",
                state.waiting_bytes.load(Ordering::Relaxed) as u64,
            ),
        ]
    }
}

impl AuditThread {
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// Writes what waits and ends, when no requests come any more.
    pub fn finish(self) {
        let began = Instant::now();
        let is_late = || began.elapsed() > AUDIT_STOP_PATIENCE;
        self.audit.0.state.is_ending.store(true, Ordering::Relaxed);
        while self.audit.0.sender.try_send(Message::End).is_err() && !is_late() {
            thread::sleep(Duration::from_millis(10));
        }
        while !self.thread.is_finished() && !is_late() {
            thread::sleep(Duration::from_millis(2));
        }
        if !self.thread.is_finished() {
            let lines = self.audit.0.state.waiting_lines.load(Ordering::Relaxed);
            tracing::error!(lines, "the audit log could not be written to its end");
        }
    }
}

#[cfg(test)]
mod tests;
