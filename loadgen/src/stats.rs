//! What a run counts: per operation rates and latencies, errors by kind with samples, verification.
//!
//! Rates count what was completed within the measured window. Latencies are those of every request
//! that was started within it, also when it was completed later, so that a slow tail is not cut off.

use crate::histogram::Latencies;
use crate::limits;
use crate::workload::Operation;
use std::collections::BTreeMap;
use std::time::Duration;

/// The counts of one kind of operation.
#[derive(Debug, Default)]
pub struct OperationStats {
    /// From the start of sending, in an open loop from the intended start, to the last byte.
    pub latency: Latencies,
    /// From the start of sending to the answer's first byte.
    pub first_byte: Latencies,
    pub window_requests: u64,
    pub window_bytes: u64,
}

#[derive(Debug, Default)]
pub struct Stats {
    /// Boxed because histograms are large; in the order of `Operation::ALL`, absent when unused.
    operations: [Option<Box<OperationStats>>; Operation::ALL.len()],
    pub errors: Tally,
    /// From the start of sending to the first byte of an answer that was 503. They count as errors too.
    pub refusals: Latencies,
    /// Bodies and listings that were not as they must be.
    pub mismatches: Tally,
    pub verified_bytes: u64,
    /// Reads that rightly found nothing.
    pub absent: u64,
    /// Conditional reads that were rightly answered 304.
    pub not_modified: u64,
    /// Slices of objects that this run has not written: nothing says what they must be.
    pub unverified: u64,
    /// Writes that found no key free to be written, and were skipped.
    pub skipped: u64,
    pub open_loop: OpenLoop,
}

#[derive(Debug, Default)]
pub struct OpenLoop {
    /// Arrivals dropped because the backlog was full.
    pub dropped: u64,
    /// Arrivals still waiting at the end.
    pub unserved: u64,
    pub backlog_max: u64,
    /// From the intended start to the real one.
    pub start_delay: Latencies,
    /// The part of that delay which is not the server's: how late a start was for which a connection
    /// was free.
    pub lag: Latencies,
}

/// Completed successfully; to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    pub operation: Operation,
    pub latency: Duration,
    pub first_byte: Duration,
    pub bytes: u64,
    pub started_in_window: bool,
    pub ended_in_window: bool,
}

impl Stats {
    pub fn record(&mut self, completion: &Completion) {
        let stats = self.operations[completion.operation as usize].get_or_insert_default();
        if completion.started_in_window {
            stats.latency.record(completion.latency);
            stats.first_byte.record(completion.first_byte);
        }
        if completion.ended_in_window {
            stats.window_requests += 1;
            stats.window_bytes += completion.bytes;
        }
    }

    /// The operations that occurred.
    pub fn operations(&self) -> impl Iterator<Item = (Operation, &OperationStats)> {
        let pairs = Operation::ALL.into_iter().zip(&self.operations);
        pairs.filter_map(|(operation, stats)| Some((operation, stats.as_deref()?)))
    }

    pub fn window_requests(&self) -> u64 {
        self.operations().map(|(_, stats)| stats.window_requests).sum()
    }

    pub fn window_bytes(&self) -> u64 {
        self.operations().map(|(_, stats)| stats.window_bytes).sum()
    }

    /// Of all operations together.
    pub fn latency(&self) -> Latencies {
        let mut latency = Latencies::default();
        self.operations().for_each(|(_, stats)| latency.merge(&stats.latency));
        latency
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, other) in self.operations.iter_mut().zip(&other.operations) {
            if let Some(other) = other {
                let mine = mine.get_or_insert_default();
                mine.latency.merge(&other.latency);
                mine.first_byte.merge(&other.first_byte);
                mine.window_requests += other.window_requests;
                mine.window_bytes += other.window_bytes;
            }
        }
        self.errors.merge(&other.errors);
        self.refusals.merge(&other.refusals);
        self.mismatches.merge(&other.mismatches);
        self.verified_bytes += other.verified_bytes;
        self.absent += other.absent;
        self.not_modified += other.not_modified;
        self.unverified += other.unverified;
        self.skipped += other.skipped;
        self.open_loop.dropped += other.open_loop.dropped;
        self.open_loop.unserved += other.open_loop.unserved;
        self.open_loop.backlog_max = self.open_loop.backlog_max.max(other.open_loop.backlog_max);
        self.open_loop.start_delay.merge(&other.open_loop.start_delay);
        self.open_loop.lag.merge(&other.open_loop.lag);
    }
}

/// Counts by kind, with the first few in full.
#[derive(Debug, Default)]
pub struct Tally {
    pub counts: BTreeMap<String, u64>,
    pub samples: Vec<String>,
}

impl Tally {
    /// `sample` is made only if there is room for it.
    pub fn add(&mut self, kind: &str, sample: impl FnOnce() -> String) {
        self.count(kind, 1);
        if self.samples.len() < limits::SAMPLES_MAX {
            self.samples.push(shorten(sample()));
        }
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn count(&mut self, kind: &str, more: u64) {
        let full = self.counts.len() >= limits::ERROR_KINDS_MAX;
        let kind = if full && !self.counts.contains_key(kind) { "other" } else { kind };
        *self.counts.entry(kind.to_owned()).or_default() += more;
    }

    fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(kind, &count)| self.count(kind, count));
        let room = limits::SAMPLES_MAX.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.iter().take(room).cloned());
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > limits::SAMPLE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limits::SAMPLE_BYTES_MAX));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_samples_are_bounded_and_no_error_is_lost() {
        let mut tally = Tally::default();
        (0..1000).for_each(|kind| tally.add(&kind.to_string(), || "x".repeat(10_000)));
        assert!(tally.counts.len() <= limits::ERROR_KINDS_MAX + 1);
        assert_eq!(tally.total(), 1000);
        assert_eq!(tally.samples.len(), limits::SAMPLES_MAX);
        assert!(tally.samples.iter().all(|sample| sample.len() < 500));
    }
}
