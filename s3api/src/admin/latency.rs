//! `/api/v1/latency`: how long each operation of S3 takes, from its head until its answer is there to
//! be sent.
//!
//! The quantiles are those of the histograms that `/metrics` has: since the start, all cores together,
//! as published a second ago at most. Not here: other spans of time; who wants those asks Prometheus.

use serde_json::{Value, json};

use super::api::ApiAnswer;
use super::metrics_text::sum_operations;
use crate::metrics::{Metrics, OperationCounts};

pub(super) fn show(metrics: &Metrics) -> ApiAnswer {
    let operations: Vec<Value> = sum_operations(&metrics.snapshot()).iter().map(describe).collect();
    ApiAnswer::json(200, json!({ "operations": operations }))
}

fn describe(counts: &OperationCounts) -> Value {
    let latency = &counts.latency_us;
    let quantile = |quantile: f64| latency.value_at_quantile(quantile);
    let of_class = |class: u16| -> u64 {
        let statuses = counts.statuses.iter();
        statuses.filter(|(status, _)| status / 100 == class).map(|(_, count)| count).sum()
    };
    json!({
        "operation": counts.operation,
        "requests": latency.len(),
        "client_errors": of_class(4),
        "server_errors": of_class(5),
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "latency_us_p50": quantile(0.5),
        "latency_us_p90": quantile(0.9),
        "latency_us_p99": quantile(0.99),
        "latency_us_p999": quantile(0.999),
        "latency_us_max": latency.max(),
    })
}
