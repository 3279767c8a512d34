//! Two runs side by side: by how much they differ, and whether that is more than chance.
//!
//! Confidence intervals come from the runs' samples by the moving-block bootstrap: H. R. Künsch, "The
//! Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics 17(3), 1989.
//! Blocks of neighbouring samples are drawn with replacement, because neighbours are alike: drawing them
//! singly would make intervals too narrow. Blocks are as long as the cube root of the number of samples.
//! The ends are the 2.5th and the 97.5th percentile of the ratio of means over the draws (B. Efron,
//! "Bootstrap Methods", Annals of Statistics 7(1), 1979).
//!
//! What this cannot see is what differs between runs rather than within them, such as a neighbour on the
//! same host: repeat runs in turns, and believe what comes again.

use crate::error::{Error, Result};
use crate::report::{Report, Setup};
use crate::samples::Sample;
use crate::workload::Random;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

const DRAWS: usize = 10_000;
/// Of fewer samples an interval would be made up.
const SAMPLES_MIN: usize = 5;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub before: Report,
    pub after: Report,
    pub rows: Vec<Row>,
}

/// One quantity of both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub more_is_better: bool,
    /// Means over the samples.
    pub before: f64,
    pub after: f64,
    /// `after` by `before`, and the ends of its interval of 95 % confidence.
    pub ratio: f64,
    pub ratio_low: f64,
    pub ratio_high: f64,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Better,
    Worse,
    /// The interval holds 1.
    Unclear,
}

struct Quantity {
    name: &'static str,
    unit: &'static str,
    more_is_better: bool,
    of: fn(&Sample) -> Option<f64>,
}

const QUANTITIES: [Quantity; 6] = [
    Quantity {
        name: "throughput",
        unit: "requests/s",
        more_is_better: true,
        of: |sample| Some(sample.requests_per_second),
    },
    Quantity {
        name: "latency, mean",
        unit: "us",
        more_is_better: false,
        of: |sample| (sample.requests > 0).then_some(sample.latency_us_mean),
    },
    Quantity {
        name: "latency, p50 of samples",
        unit: "us",
        more_is_better: false,
        of: |sample| (sample.requests > 0).then_some(sample.latency_us_p50),
    },
    Quantity {
        name: "latency, p99 of samples",
        unit: "us",
        more_is_better: false,
        of: |sample| (sample.requests > 0).then_some(sample.latency_us_p99),
    },
    Quantity {
        name: "first byte, p99 of samples",
        unit: "us",
        more_is_better: false,
        of: |sample| (sample.requests > 0).then_some(sample.first_byte_us_p99),
    },
    Quantity {
        name: "server CPU per request",
        unit: "us",
        more_is_better: false,
        of: |sample| {
            let server = sample.server.filter(|_| sample.requests > 0);
            server.map(|server| server.cpu_us_per_request)
        },
    },
];

/// Quantities that one of the runs does not have are left out.
pub fn compare(before: Report, after: Report) -> Result<Comparison> {
    let fewest = before.samples.len().min(after.samples.len());
    if fewest < SAMPLES_MIN {
        return Err(Error::Usage(format!(
            "one of the runs has {fewest} samples, and {SAMPLES_MIN} are needed: run longer"
        )));
    }
    let rows = QUANTITIES.iter().filter_map(|quantity| quantity.row(&before, &after)).collect();
    Ok(Comparison { before, after, rows })
}

impl Quantity {
    fn row(&self, before: &Report, after: &Report) -> Option<Row> {
        let values =
            |report: &Report| -> Vec<f64> { report.samples.iter().filter_map(self.of).collect() };
        let (old, new) = (values(before), values(after));
        if old.len().min(new.len()) < SAMPLES_MIN || mean(&old) <= 0.0 {
            return None;
        }
        let [ratio_low, ratio_high] = ratio_interval(&old, &new);
        let verdict = match (ratio_low > 1.0, ratio_high < 1.0) {
            (false, false) => Verdict::Unclear,
            (greater, _) if greater == self.more_is_better => Verdict::Better,
            _ => Verdict::Worse,
        };
        Some(Row {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            more_is_better: self.more_is_better,
            before: mean(&old),
            after: mean(&new),
            ratio: mean(&new) / mean(&old),
            ratio_low,
            ratio_high,
            verdict,
        })
    }
}

/// Of the ratio of means, 95 %. The draws are seeded: the same runs give the same interval.
fn ratio_interval(before: &[f64], after: &[f64]) -> [f64; 2] {
    let mut random = Random::new(1);
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let old = drawn_mean(before, &mut random);
            drawn_mean(after, &mut random) / old.max(f64::MIN_POSITIVE)
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let last = (DRAWS - 1) as f64;
    [0.025, 0.975].map(|share| ratios[(share * last).round() as usize])
}

/// The mean of blocks drawn with replacement, as many values as there are.
fn drawn_mean(values: &[f64], random: &mut Random) -> f64 {
    let block = (values.len() as f64).cbrt().ceil() as usize;
    let (mut sum, mut left) = (0.0, values.len());
    while left > 0 {
        let from = random.below((values.len() - block + 1) as u64) as usize;
        let length = block.min(left);
        sum += values[from..from + length].iter().sum::<f64>();
        left -= length;
    }
    sum / values.len() as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Comparison {
    /// What to beware of when reading it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let endpoint = self.before.setup.endpoint.clone();
        if self.before.setup != (Setup { endpoint, ..self.after.setup.clone() }) {
            warnings.push("the runs asked for different things".to_owned());
        }
        for (name, report) in [("first", &self.before), ("second", &self.after)] {
            if !report.invalid.is_empty() {
                warnings.push(format!("the {name} run is invalid: {}", report.invalid.join("; ")));
            }
            if !report.is_clean() {
                warnings.push(format!("of the {name} run requests failed"));
            }
        }
        warnings
    }
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Unclear => "unclear",
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28}{:>14}{:>14}{:>10}", "", "first", "second", "ratio")?;
        writeln!(f, "{:>19}", "95 % confidence")?;
        for row in &self.rows {
            let name = format!("{} ({})", row.name, row.unit);
            write!(f, "{name:<34}{:>11.1}{:>11.1}{:>10.3}", row.before, row.after, row.ratio)?;
            let interval = format!("{:.3} to {:.3}", row.ratio_low, row.ratio_high);
            writeln!(f, "{interval:>19}  {}", row.verdict.name())?;
        }
        self.warnings().iter().try_for_each(|warning| writeln!(f, "BEWARE: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(rate: f64, spread: f64, seed: u64) -> Report {
        let mut random = Random::new(seed);
        let sample = |_| Sample {
            requests: 10,
            requests_per_second: rate + spread * (random.unit() - 0.5),
            latency_us_mean: 1e6 / rate,
            ..Sample::default()
        };
        Report { samples: (0..40).map(sample).collect(), ..Report::default() }
    }

    fn verdict(before: Report, after: Report) -> Verdict {
        compare(before, after).unwrap().rows[0].verdict
    }

    #[test]
    fn a_difference_beyond_the_spread_is_seen_and_one_within_is_not() {
        assert_eq!(verdict(report(1000.0, 200.0, 1), report(1100.0, 200.0, 2)), Verdict::Better);
        assert_eq!(verdict(report(1000.0, 200.0, 1), report(900.0, 200.0, 2)), Verdict::Worse);
        assert_eq!(verdict(report(1000.0, 600.0, 1), report(1005.0, 600.0, 2)), Verdict::Unclear);
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let holds = |seed: u64| {
            let row =
                &compare(report(1000.0, 300.0, 2 * seed), report(1000.0, 300.0, 2 * seed + 1))
                    .unwrap()
                    .rows[0];
            row.ratio_low <= 1.0 && row.ratio_high >= 1.0
        };
        let held = (0..100).filter(|&seed| holds(seed)).count();
        assert!((85..=100).contains(&held), "{held}");
    }

    #[test]
    fn too_few_samples_are_refused() {
        let short = Report { samples: vec![Sample::default(); 4], ..Report::default() };
        assert!(compare(short.clone(), short).is_err());
    }
}
