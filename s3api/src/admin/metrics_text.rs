//! The metrics page in Prometheus' text format, version 0.0.4.
//!
//! Pure: counts in, text out. Requests are summed over the cores (64 cores times each operation and
//! status would be thousands of series); what shows imbalance between cores carries their number.
//! Durations are in seconds, as Prometheus has it.

use std::fmt::{Display, Write};

use hdrhistogram::Histogram;

use super::attempts::Refused;
use super::process::Process;
use crate::error::Code;
use crate::log;
use crate::metrics::{Counts, OperationCounts, Sample};

/// Upper bounds of the latency buckets, in microseconds and as they are written.
const BUCKETS: [(u64, &str); 18] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
];

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// Everything that is served, for the counts of all cores in their order.
pub(super) fn page(
    cores: &[Counts],
    process: &Process,
    is_ready: bool,
    refused: Refused,
) -> String {
    let mut page = Page::default();
    server(&mut page, process, is_ready);
    connections(&mut page, cores);
    refusals(&mut page, cores, refused);
    requests(&mut page, &sum_operations(cores));
    samples(&mut page, cores);
    page.0
}

/// Text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    /// The two lines before a metric's first value; the kind follows from the name, unless given.
    fn describe(&mut self, name: &str, help: &str, kind: Option<&str>) {
        let by_name = if name.ends_with("_total") { "counter" } else { "gauge" };
        let kind = kind.unwrap_or(by_name);
        let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(self.0, "{label}=\"{}\"", text.replace('\n', "\\n"));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// A metric with one value, left out when that is unknown.
    fn single(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.describe(name, help, None);
            self.value(name, &[], value);
        }
    }
}

fn server(page: &mut Page, process: &Process, is_ready: bool) {
    page.describe("ringfort_build_info", "Always 1; the version is a label.", None);
    page.value("ringfort_build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);
    let help = "1 when every core has recovered and takes requests.";
    page.single("ringfort_ready", help, Some(u8::from(is_ready)));
    let help = "Lines of the log held back by its rate limit.";
    page.single("ringfort_log_lines_suppressed_total", help, Some(log::suppressed_lines()));
    let help = "CPU time used, in user and system mode.";
    page.single("process_cpu_seconds_total", help, process.cpu_seconds);
    page.single("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    page.single("process_open_fds", "Open descriptors.", process.open_files);
}

fn connections(page: &mut Page, cores: &[Counts]) {
    let mut per_core = |name: &str, help: &str, value: fn(&Counts) -> u64| {
        page.describe(name, help, None);
        for (core, counts) in cores.iter().enumerate() {
            page.value(name, &[("core", &core)], value(counts));
        }
    };
    per_core("ringfort_connections", "Open connections to the S3 port.", |c| c.connections_open);
    per_core("ringfort_connections_accepted_total", "Connections that were served.", |c| {
        c.connections_accepted
    });
    per_core("ringfort_connections_refused_total", "Connections turned away at the limit.", |c| {
        c.connections_refused
    });
    per_core("ringfort_core_requests_total", "Requests answered by each core.", |c| {
        c.operations.iter().map(|o| o.latency_us.len()).sum()
    });
}

/// Who did not get in, at either port.
fn refusals(page: &mut Page, cores: &[Counts], refused: Refused) {
    let name = "ringfort_admin_refused_total";
    let help =
        "Wrong API keys and failed sign-ins at the management port, and who had to wait for them.";
    page.describe(name, help, None);
    for (reason, count) in [
        ("wrong_key", refused.wrong_keys),
        ("failed_sign_in", refused.failed_sign_ins),
        ("waiting", refused.waiting),
    ] {
        page.value(name, &[("reason", &reason)], count);
    }
    let name = "ringfort_signatures_refused_total";
    page.describe(name, "Requests to the S3 port whose signature was refused, by S3's code.", None);
    for code in Code::ALL.iter().filter(|code| code.is_of_a_signature()) {
        let count = |core: &Counts| core.signatures_refused.get(code).copied().unwrap_or_default();
        page.value(name, &[("code", &code.name())], cores.iter().map(count).sum::<u64>());
    }
}

fn requests(page: &mut Page, operations: &[OperationCounts]) {
    let name = "ringfort_requests_total";
    page.describe(name, "Requests answered, by operation and HTTP status.", None);
    for counts in operations {
        for (status, count) in &counts.statuses {
            page.value(name, &[("operation", &counts.operation), ("status", status)], count);
        }
    }
    let mut per_operation = |name: &str, help: &str, value: fn(&OperationCounts) -> u64| {
        page.describe(name, help, None);
        for counts in operations {
            page.value(name, &[("operation", &counts.operation)], value(counts));
        }
    };
    let help = "Bytes of request bodies received.";
    per_operation("ringfort_request_body_bytes_total", help, |o| o.bytes_in);
    let help = "Bytes of response bodies sent.";
    per_operation("ringfort_response_body_bytes_total", help, |o| o.bytes_out);

    let name = "ringfort_request_duration_seconds";
    let help = "From a request's head until its answer is there to be sent.";
    page.describe(name, help, Some("histogram"));
    for counts in operations {
        histogram(page, name, counts.operation, &counts.latency_us);
    }
    let name = "ringfort_request_duration_quantile_seconds";
    page.describe(name, "Quantiles of the same since the start; 1 is the longest.", None);
    for counts in operations {
        for quantile in QUANTILES {
            let labels: [(&str, &dyn Display); 2] =
                [("operation", &counts.operation), ("quantile", &quantile)];
            page.value(name, &labels, seconds(counts.latency_us.value_at_quantile(quantile)));
        }
    }
}

/// Cumulative buckets in one pass over the recorded values; the sum is as exact as they are (1 %).
fn histogram(page: &mut Page, name: &str, operation: &str, latency_us: &Histogram<u64>) {
    let mut counts = [0u64; BUCKETS.len()];
    let mut sum_us = 0u64;
    for step in latency_us.iter_recorded() {
        let (value, count) = (step.value_iterated_to(), step.count_since_last_iteration());
        sum_us = sum_us.saturating_add(value.saturating_mul(count));
        if let Some(at) = BUCKETS.iter().position(|(bound, _)| value <= *bound) {
            counts[at] += count;
        }
    }
    let bucket = format!("{name}_bucket");
    let mut below = 0;
    for (count, (_, bound)) in counts.iter().zip(&BUCKETS) {
        below += count;
        page.value(&bucket, &[("operation", &operation), ("le", bound)], below);
    }
    page.value(&bucket, &[("operation", &operation), ("le", &"+Inf")], latency_us.len());
    page.value(&format!("{name}_sum"), &[("operation", &operation)], seconds(sum_us));
    page.value(&format!("{name}_count"), &[("operation", &operation)], latency_us.len());
}

#[expect(clippy::cast_precision_loss, reason = "a duration needs no more than 53 bits")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The samples of one name stand together, as the format asks.
fn samples(page: &mut Page, cores: &[Counts]) {
    let mut rows: Vec<(&Sample, usize)> = cores
        .iter()
        .enumerate()
        .flat_map(|(core, counts)| counts.samples.iter().map(move |sample| (sample, core)))
        .collect();
    rows.sort_by_key(|(sample, _)| sample.name);
    for group in rows.chunk_by(|(one, _), (other, _)| one.name == other.name) {
        let Some((first, _)) = group.first() else { continue };
        let name = format!("ringfort_{}", first.name);
        page.describe(&name, first.help, None);
        for (sample, core) in group {
            let mut labels: Vec<(&str, &dyn Display)> = vec![("core", core)];
            labels.extend(sample.labels.iter().map(|(label, text)| (*label, text as &dyn Display)));
            page.value(&name, &labels, sample.value);
        }
    }
}

pub(super) fn sum_operations(cores: &[Counts]) -> Vec<OperationCounts> {
    let mut sums: Vec<OperationCounts> = Vec::new();
    for counts in cores.iter().flat_map(|core| &core.operations) {
        match sums.iter_mut().find(|sum| sum.operation == counts.operation) {
            Some(sum) => sum.merge(counts),
            None => sums.push(counts.clone()),
        }
    }
    sums.sort_by_key(|sum| sum.operation);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Recorder};

    fn sample(name: &'static str, value: f64) -> Sample {
        Sample { name, help: "Some help.", labels: vec![("disk", "a\"b\\c".to_string())], value }
    }

    #[test]
    fn the_page_adds_cores_and_escapes_labels() {
        let metrics = Metrics::new(2);
        let (one, two) = (Recorder::default(), Recorder::default());
        one.record("GetObject", 200, 90_000, 0, 10);
        two.record("GetObject", 200, 3_000_000, 0, 10);
        two.record("GetObject", 404, 70_000_000_000, 0, 5);
        metrics.publish(
            0,
            &one,
            vec![sample("reads_total", 1.0), sample("depth", 0.5)],
            engine::Health::default(),
        );
        metrics.publish(1, &two, vec![sample("reads_total", 2.0)], engine::Health::default());
        let page = page(&metrics.snapshot(), &Process::default(), true, Refused::default());
        for line in [
            "# TYPE ringfort_requests_total counter",
            "ringfort_requests_total{operation=\"GetObject\",status=\"200\"} 2",
            "ringfort_requests_total{operation=\"GetObject\",status=\"404\"} 1",
            "ringfort_response_body_bytes_total{operation=\"GetObject\"} 25",
            "ringfort_core_requests_total{core=\"1\"} 2",
            "# TYPE ringfort_request_duration_seconds histogram",
            "ringfort_request_duration_seconds_bucket{operation=\"GetObject\",le=\"0.0001\"} 1",
            "ringfort_request_duration_seconds_bucket{operation=\"GetObject\",le=\"0.005\"} 2",
            "ringfort_request_duration_seconds_bucket{operation=\"GetObject\",le=\"60\"} 2",
            "ringfort_request_duration_seconds_bucket{operation=\"GetObject\",le=\"+Inf\"} 3",
            "ringfort_request_duration_seconds_count{operation=\"GetObject\"} 3",
            "# TYPE ringfort_depth gauge",
            "ringfort_reads_total{core=\"1\",disk=\"a\\\"b\\\\c\"} 2",
            "ringfort_ready 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert_eq!(page.matches("# TYPE ringfort_reads_total").count(), 1);
        assert!(!page.contains("process_open_fds"));
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let metrics = Metrics::new(1);
        metrics.publish(
            0,
            &Recorder::default(),
            vec![sample("depth", 3.0)],
            engine::Health::default(),
        );
        for line in page(&metrics.snapshot(), &Process::read(), false, Refused::default()).lines() {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(line.starts_with("# ") || value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
