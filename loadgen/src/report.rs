//! The result of a run, as JSON and as text.
//!
//! **Invariant:** both forms come from one structure, so they cannot disagree.

use crate::histogram::Summary;
use crate::observe::{Outcome, saturation};
use crate::options::{Arrivals, RunOptions};
use crate::process::Usage;
use crate::samples::Sample;
use crate::stats::{OperationStats, Stats, Tally};
use crate::verify::Verification;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub setup: Setup,
    /// How long was measured.
    pub window_seconds: f64,
    /// All operations together.
    pub requests: u64,
    pub requests_per_second: f64,
    pub mib_per_second: f64,
    pub operations: BTreeMap<String, OperationReport>,
    pub errors: Counts,
    /// Of the errors, answers of 503: microseconds from the start of sending to their first byte.
    #[serde(default)]
    pub refusals_us: Option<Summary>,
    pub mismatches: Counts,
    pub verified_bytes: u64,
    /// Reads that rightly found nothing.
    pub absent: u64,
    /// Conditional reads that were rightly answered 304.
    pub not_modified: u64,
    /// Slices that nothing was known of to hold them against.
    pub unverified: u64,
    /// Writes for which no key was free.
    pub skipped: u64,
    pub open_loop: Option<OpenLoopReport>,
    pub client: ProcessReport,
    pub server: Option<ProcessReport>,
    /// Ended because the server could not be reached, or the ledger not be written.
    pub stopped_early: bool,
    /// Why the figures tell of the generator rather than of the server; empty if they are good.
    pub invalid: Vec<String>,
    pub samples: Vec<Sample>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub workload: String,
    pub endpoint: String,
    pub size: String,
    pub objects: u64,
    pub concurrency: usize,
    pub executors: usize,
    pub signing: String,
    pub payload: String,
    pub checksum: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationReport {
    pub requests: u64,
    pub requests_per_second: f64,
    pub mib_per_second: f64,
    /// Microseconds to the answer's last byte.
    pub latency_us: Summary,
    /// Microseconds to the answer's first byte.
    pub first_byte_us: Summary,
    /// Shares of all requests, and the microseconds within which they were answered.
    pub distribution: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub total: u64,
    pub by_kind: BTreeMap<String, u64>,
    pub samples: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenLoopReport {
    pub rate: f64,
    pub poisson: bool,
    pub dropped: u64,
    pub unserved: u64,
    pub backlog_max: u64,
    /// How late requests were started, in microseconds: part of their latency.
    pub start_delay_us: Summary,
    /// Of that, what was the generator's own doing.
    pub lag_us: Summary,
}

/// CPU time within the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    pub cpu_seconds: f64,
    /// CPUs kept busy.
    pub cpus: f64,
    pub cpu_us_per_request: f64,
    /// Requests for each second of CPU time.
    pub requests_per_core_second: f64,
    /// Ready to run, and waiting for a CPU.
    pub cpu_wait_seconds: f64,
    /// `None` when no bodies were moved.
    pub cpu_seconds_per_gib: Option<f64>,
    pub resident_bytes: u64,
    pub resident_bytes_max: u64,
    /// What storage devices have read and written for it; `None` where the system does not say.
    pub device_read_bytes: Option<u64>,
    pub device_written_bytes: Option<u64>,
}

impl Report {
    pub fn new(options: &RunOptions, outcome: &Outcome) -> Self {
        let Outcome { stats, window, .. } = outcome;
        let process = |usage: &[Usage; 2]| ProcessReport::new(usage, stats, *window);
        let operations = stats.operations().map(|(operation, stats)| {
            (operation.name().to_owned(), OperationReport::new(stats, *window))
        });
        let poisson = options.arrivals == Arrivals::Poisson;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            setup: Setup::new(options),
            window_seconds: window.as_secs_f64(),
            requests: stats.window_requests(),
            requests_per_second: per(stats.window_requests() as f64, window.as_secs_f64()),
            mib_per_second: per(stats.window_bytes() as f64 / MIB, window.as_secs_f64()),
            operations: operations.collect(),
            errors: Counts::new(&stats.errors),
            refusals_us: (stats.refusals.count() > 0).then(|| stats.refusals.summary()),
            mismatches: Counts::new(&stats.mismatches),
            verified_bytes: stats.verified_bytes,
            absent: stats.absent,
            not_modified: stats.not_modified,
            unverified: stats.unverified,
            skipped: stats.skipped,
            open_loop: options.rate.map(|rate| OpenLoopReport::new(rate, poisson, stats)),
            client: process(&outcome.client),
            server: outcome.server.as_ref().map(process),
            stopped_early: outcome.stopped_early,
            invalid: saturation(outcome, options.executor_count()),
            samples: outcome.samples.clone(),
        }
    }

    /// Whether all went as it must.
    pub fn is_clean(&self) -> bool {
        self.errors.total == 0 && self.mismatches.total == 0 && !self.stopped_early
    }
}

impl Setup {
    fn new(options: &RunOptions) -> Self {
        Self {
            workload: name_of(options.workload),
            endpoint: options.endpoint.endpoint.join(","),
            size: options.size.text().to_owned(),
            objects: options.objects,
            concurrency: options.concurrency,
            executors: options.executor_count(),
            signing: name_of(options.signing),
            payload: name_of(options.payload),
            checksum: options.checksum.map(name_of),
        }
    }
}

/// As it stands on the command line.
fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl OperationReport {
    fn new(stats: &OperationStats, window: Duration) -> Self {
        let seconds = window.as_secs_f64();
        Self {
            requests: stats.window_requests,
            requests_per_second: per(stats.window_requests as f64, seconds),
            mib_per_second: per(stats.window_bytes as f64 / MIB, seconds),
            latency_us: stats.latency.summary(),
            first_byte_us: stats.first_byte.summary(),
            distribution: stats.latency.distribution(),
        }
    }
}

impl Counts {
    fn new(tally: &Tally) -> Self {
        let (by_kind, samples) = (tally.counts.clone(), tally.samples.clone());
        Self { total: tally.total(), by_kind, samples }
    }
}

impl OpenLoopReport {
    fn new(rate: f64, poisson: bool, stats: &Stats) -> Self {
        let counts = &stats.open_loop;
        Self {
            rate,
            poisson,
            dropped: counts.dropped,
            unserved: counts.unserved,
            backlog_max: counts.backlog_max,
            start_delay_us: counts.start_delay.summary(),
            lag_us: counts.lag.summary(),
        }
    }
}

impl ProcessReport {
    fn new([before, after]: &[Usage; 2], stats: &Stats, window: Duration) -> Self {
        let cpu_seconds = after.cpu_seconds_since(before);
        let (bytes, requests) = (stats.window_bytes(), stats.window_requests() as f64);
        let device = before.device.zip(after.device);
        Self {
            cpu_seconds,
            cpus: per(cpu_seconds, window.as_secs_f64()),
            cpu_us_per_request: per(cpu_seconds * 1e6, requests),
            requests_per_core_second: per(requests, cpu_seconds),
            cpu_wait_seconds: after.wait_seconds_since(before),
            cpu_seconds_per_gib: (bytes > 0).then(|| per(cpu_seconds, bytes as f64 / GIB)),
            resident_bytes: after.resident_bytes,
            resident_bytes_max: after.resident_bytes_max,
            device_read_bytes: device.map(|(from, to)| to.read.saturating_sub(from.read)),
            device_written_bytes: device.map(|(from, to)| to.written.saturating_sub(from.written)),
        }
    }
}

/// A rate; 0 where there was nothing to divide by.
pub(crate) fn per(amount: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { amount / divisor } else { 0.0 }
}

/// One line on the last interval.
pub fn progress_line(phase: &str, interval: &Stats, total: &Stats, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let latency = interval.latency();
    let bad = format!("{} errors {} mismatches", total.errors.total(), total.mismatches.total());
    if latency.count() == 0 {
        return format!("{phase:>12}  nothing measured yet  {bad}");
    }
    format!(
        "{phase:>12} {:>9.0} requests/s {:>9.1} MiB/s  p99 {:>9.1} us  {bad}",
        per(interval.window_requests() as f64, seconds),
        per(interval.window_bytes() as f64 / MIB, seconds),
        latency.quantile_us(0.99),
    )
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Setup { workload, size, objects, concurrency, .. } = &self.setup;
        writeln!(f, "{workload}, {size}, {objects} objects, {concurrency} connections")?;
        writeln!(
            f,
            "{:.0} requests/s, {:.1} MiB/s over {:.2} s",
            self.requests_per_second, self.mib_per_second, self.window_seconds
        )?;
        write!(f, "\n{:<18}{:>10}{:>10}", "microseconds", "count", "mean")?;
        for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for (name, operation) in &self.operations {
            row(f, name, &operation.latency_us)?;
            row(f, &format!("{name} first byte"), &operation.first_byte_us)?;
        }
        if let Some(open_loop) = &self.open_loop {
            row(f, "start delay", &open_loop.start_delay_us)?;
            row(f, "generator's lag", &open_loop.lag_us)?;
            let OpenLoopReport { rate, dropped, unserved, backlog_max, .. } = open_loop;
            writeln!(
                f,
                "\nopen loop at {rate}/s: backlog at most {backlog_max}, {dropped} dropped, {unserved} unserved at the end"
            )?;
        }
        writeln!(f)?;
        process_line(f, "server", self.server.as_ref())?;
        process_line(f, "client", Some(&self.client))?;
        writeln!(f, "verified {:.1} MiB", self.verified_bytes as f64 / MIB)?;
        for (what, count) in [
            ("answered 304", self.not_modified),
            ("reads of absent keys", self.absent),
            ("slices not verified", self.unverified),
            ("writes skipped", self.skipped),
        ] {
            if count > 0 {
                writeln!(f, "{what}: {count}")?;
            }
        }
        if let Some(Summary { count, p50, p99, .. }) = &self.refusals_us {
            writeln!(f, "answered 503: {count}, after {p50:.0} us (p50), {p99:.0} us (p99)")?;
        }
        counts(f, "errors", &self.errors)?;
        counts(f, "mismatches", &self.mismatches)?;
        for reason in &self.invalid {
            writeln!(f, "INVALID: {reason}")?;
        }
        if self.stopped_early {
            writeln!(
                f,
                "STOPPED EARLY: the server could not be reached, or the ledger not written"
            )?;
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, name: &str, summary: &Summary) -> fmt::Result {
    let Summary { count, mean, p50, p90, p99, p99_9, p99_99, max } = summary;
    write!(f, "{name:<18}{count:>10}{mean:>10.1}")?;
    for value in [p50, p90, p99, p99_9, p99_99, max] {
        write!(f, "{value:>11.1}")?;
    }
    writeln!(f)
}

fn process_line(f: &mut Formatter<'_>, name: &str, process: Option<&ProcessReport>) -> fmt::Result {
    let Some(process) = process else { return Ok(()) };
    write!(
        f,
        "{name} CPU: {:.2} s ({:.2} CPUs), {:.2} us/request, {:.0} requests per core-second",
        process.cpu_seconds,
        process.cpus,
        process.cpu_us_per_request,
        process.requests_per_core_second
    )?;
    if let Some(per_gib) = process.cpu_seconds_per_gib {
        write!(f, ", {per_gib:.3} s/GiB")?;
    }
    let mib = |bytes: u64| bytes as f64 / MIB;
    let (now, max) = (mib(process.resident_bytes), mib(process.resident_bytes_max));
    write!(f, "; resident {now:.0} MiB, at most {max:.0} MiB")?;
    if let (Some(read), Some(written)) = (process.device_read_bytes, process.device_written_bytes) {
        write!(f, "; device {:.1} MiB read, {:.1} MiB written", mib(read), mib(written))?;
    }
    writeln!(f)
}

fn counts(f: &mut Formatter<'_>, name: &str, counts: &Counts) -> fmt::Result {
    writeln!(f, "{name}: {}", counts.total)?;
    for (kind, count) in &counts.by_kind {
        writeln!(f, "  {count:>8}  {kind}")?;
    }
    counts.samples.iter().try_for_each(|sample| writeln!(f, "  - {sample}"))
}

impl Display for Verification {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { keys, intact, maybe_applied, lost, wrong_version, corrupt, unreadable, .. } =
            self;
        writeln!(
            f,
            "{keys} keys: {intact} intact, {maybe_applied} with an unacknowledged write applied"
        )?;
        writeln!(
            f,
            "{lost} lost, {wrong_version} of a wrong version, {corrupt} corrupt, {unreadable} unreadable"
        )?;
        let Self { not_listed, wrongly_listed, .. } = self;
        writeln!(f, "{not_listed} not listed, {wrongly_listed} wrongly listed")?;
        self.samples.iter().try_for_each(|sample| writeln!(f, "  - {sample}"))
    }
}
