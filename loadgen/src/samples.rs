//! What a run did in each interval of its window: for plots, and for confidence intervals when runs
//! are compared.
//!
//! **Invariant:** at most `limits::SAMPLES_KEPT_MAX` are kept, however long the run: when they are too
//! many, neighbours become one.

use crate::histogram::Latencies;
use crate::limits;
use crate::process::Usage;
use crate::stats::Stats;
use serde::{Deserialize, Serialize};

const MIB: f64 = (1 << 20) as f64;

/// One interval. Rates are of what was completed in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it ended, counted from the window's start.
    pub at_seconds: f64,
    pub seconds: f64,
    pub requests: u64,
    pub errors: u64,
    pub requests_per_second: f64,
    pub mib_per_second: f64,
    /// Of all operations together, in microseconds; 0 where nothing was completed.
    pub latency_us_mean: f64,
    pub latency_us_p50: f64,
    pub latency_us_p99: f64,
    pub latency_us_max: f64,
    pub first_byte_us_p99: f64,
    /// Open loop: the most arrivals that waited.
    pub backlog_max: u64,
    pub client_cpus: f64,
    pub server: Option<ServerSample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerSample {
    pub cpus: f64,
    pub cpu_us_per_request: f64,
    pub resident_bytes: u64,
    pub device_read_mib_per_second: f64,
    pub device_written_mib_per_second: f64,
}

/// CPU time and more of both sides at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Usages {
    pub client: Usage,
    pub server: Option<Usage>,
}

impl Sample {
    pub fn new(stats: &Stats, [from, to]: [f64; 2], before: &Usages, after: &Usages) -> Self {
        let seconds = (to - from).max(1e-9);
        let mut first_byte = Latencies::default();
        stats.operations().for_each(|(_, stats)| first_byte.merge(&stats.first_byte));
        let requests = stats.window_requests();
        let latency = stats.latency().summary();
        let server = before.server.zip(after.server);
        Self {
            at_seconds: to,
            seconds,
            requests,
            errors: stats.errors.total() + stats.mismatches.total(),
            requests_per_second: requests as f64 / seconds,
            mib_per_second: stats.window_bytes() as f64 / MIB / seconds,
            latency_us_mean: latency.mean,
            latency_us_p50: latency.p50,
            latency_us_p99: latency.p99,
            latency_us_max: latency.max,
            first_byte_us_p99: first_byte.quantile_us(0.99),
            backlog_max: stats.open_loop.backlog_max,
            client_cpus: after.client.cpu_seconds_since(&before.client) / seconds,
            server: server
                .map(|(before, after)| ServerSample::new(requests, seconds, &before, &after)),
        }
    }

    /// The two as one interval. Percentiles cannot be joined: the larger ones stand for both.
    fn join(&self, next: &Self) -> Self {
        let seconds = self.seconds + next.seconds;
        let requests = self.requests + next.requests;
        let by_time = |a: f64, b: f64| (a * self.seconds + b * next.seconds) / seconds;
        let by_requests = |a: f64, b: f64| {
            (a * self.requests as f64 + b * next.requests as f64) / (requests.max(1)) as f64
        };
        Self {
            at_seconds: next.at_seconds,
            seconds,
            requests,
            errors: self.errors + next.errors,
            requests_per_second: requests as f64 / seconds,
            mib_per_second: by_time(self.mib_per_second, next.mib_per_second),
            latency_us_mean: by_requests(self.latency_us_mean, next.latency_us_mean),
            latency_us_p50: self.latency_us_p50.max(next.latency_us_p50),
            latency_us_p99: self.latency_us_p99.max(next.latency_us_p99),
            latency_us_max: self.latency_us_max.max(next.latency_us_max),
            first_byte_us_p99: self.first_byte_us_p99.max(next.first_byte_us_p99),
            backlog_max: self.backlog_max.max(next.backlog_max),
            client_cpus: by_time(self.client_cpus, next.client_cpus),
            server: self.server.zip(next.server).map(|(a, b)| ServerSample {
                cpus: by_time(a.cpus, b.cpus),
                cpu_us_per_request: by_requests(a.cpu_us_per_request, b.cpu_us_per_request),
                resident_bytes: b.resident_bytes,
                device_read_mib_per_second: by_time(
                    a.device_read_mib_per_second,
                    b.device_read_mib_per_second,
                ),
                device_written_mib_per_second: by_time(
                    a.device_written_mib_per_second,
                    b.device_written_mib_per_second,
                ),
            }),
        }
    }
}

impl ServerSample {
    fn new(requests: u64, seconds: f64, before: &Usage, after: &Usage) -> Self {
        let cpu_seconds = after.cpu_seconds_since(before);
        let device = before.device.zip(after.device);
        let rate = |bytes: Option<u64>| bytes.unwrap_or(0) as f64 / MIB / seconds;
        Self {
            cpus: cpu_seconds / seconds,
            cpu_us_per_request: cpu_seconds * 1e6 / requests.max(1) as f64,
            resident_bytes: after.resident_bytes,
            device_read_mib_per_second: rate(
                device.map(|(before, after)| after.read.saturating_sub(before.read)),
            ),
            device_written_mib_per_second: rate(
                device.map(|(before, after)| after.written.saturating_sub(before.written)),
            ),
        }
    }
}

/// The samples of a run so far.
#[derive(Debug, Default)]
pub struct Samples {
    kept: Vec<Sample>,
    /// How many intervals make one sample now, as a power of two.
    doublings: u32,
    partial: Option<(Sample, u32)>,
}

impl Samples {
    pub fn add(&mut self, sample: Sample) {
        let (joined, count) = match self.partial.take() {
            Some((partial, count)) => (partial.join(&sample), count + 1),
            None => (sample, 1),
        };
        if count < 1 << self.doublings {
            self.partial = Some((joined, count));
            return;
        }
        self.kept.push(joined);
        if self.kept.len() >= limits::SAMPLES_KEPT_MAX {
            self.kept = self.kept.chunks(2).map(|two| two[0].join(&two[two.len() - 1])).collect();
            self.doublings += 1;
        }
    }

    /// All but an interval that is not yet whole.
    pub fn into_kept(self) -> Vec<Sample> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_few_samples_and_loses_no_request() {
        let usages = Usages { client: Usage::default(), server: None };
        let empty = Sample::new(&Stats::default(), [0.0, 1.0], &usages, &usages);
        let mut samples = Samples::default();
        let count = 8 * limits::SAMPLES_KEPT_MAX as u64;
        for second in 1..=count {
            let at_seconds = second as f64;
            samples.add(Sample { at_seconds, requests: 1, latency_us_mean: 5.0, ..empty });
        }
        let kept = samples.into_kept();
        assert!(kept.len() < limits::SAMPLES_KEPT_MAX, "{}", kept.len());
        assert_eq!(kept.iter().map(|sample| sample.requests).sum::<u64>(), count);
        assert!(kept.iter().all(|sample| (sample.latency_us_mean - 5.0).abs() < 1e-9));
        assert!(kept.windows(2).all(|two| two[0].at_seconds < two[1].at_seconds));
    }
}
