//! Latencies in HDR histograms: recorded in nanoseconds with three significant digits, reported in
//! microseconds.

use crate::limits;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Below this, values share a bucket: finer is noise.
const RESOLUTION_NS: u64 = 128;

const DISTRIBUTION: [f64; 17] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999,
    0.99995, 0.99999, 1.0,
];

#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let highest = limits::LATENCY_MAX.as_nanos() as u64;
        let histogram = Histogram::new_with_bounds(RESOLUTION_NS, highest, 3)
            .expect("the bounds are constants that the histogram accepts");
        Self { histogram }
    }
}

impl Latencies {
    /// Latencies above the limit are recorded as the limit.
    pub fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(latency.as_nanos() as u64);
    }

    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub fn quantile_us(&self, quantile: f64) -> f64 {
        microseconds(self.histogram.value_at_quantile(quantile))
    }

    /// Points of the distribution for a plot: shares of all, and the microseconds within which they lie.
    pub fn distribution(&self) -> Vec<(f64, f64)> {
        let steps = if self.count() > 0 { DISTRIBUTION.as_slice() } else { &[] };
        steps.iter().map(|&quantile| (quantile, self.quantile_us(quantile))).collect()
    }

    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count(),
            mean: (self.histogram.mean() / 100.0).round() / 10.0,
            p50: self.quantile_us(0.5),
            p90: self.quantile_us(0.9),
            p99: self.quantile_us(0.99),
            p99_9: self.quantile_us(0.999),
            p99_99: self.quantile_us(0.9999),
            max: microseconds(self.histogram.max()),
        }
    }
}

/// Microseconds, except the count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

/// To a tenth: more digits than the histogram keeps would be made up.
fn microseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latencies = Latencies::default();
        (1..=100_000u64).for_each(|us| latencies.record(Duration::from_micros(us)));
        for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999] {
            let expected = 100_000.0 * quantile;
            let found = latencies.quantile_us(quantile);
            assert!((found - expected).abs() / expected < 0.002, "{quantile}: {found}");
        }
    }

    #[test]
    fn a_latency_beyond_the_limit_is_kept_as_the_limit() {
        let mut latencies = Latencies::default();
        latencies.record(limits::LATENCY_MAX * 10);
        assert_eq!(latencies.count(), 1);
        assert!(latencies.summary().max >= limits::LATENCY_MAX.as_micros() as f64);
    }
}
