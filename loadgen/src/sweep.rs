//! A sweep: the same workload at one load after the other, and the knee of the curve.
//!
//! The knee is the last load before one of these, whichever comes first:
//!
//! - **throughput stops growing**: no later load brings more than a tenth of its own growth, both as
//!   logarithms, so that a doubling of the load brings less than 7 %; in an open loop: less than 95 % of
//!   what was asked for is done;
//! - **latency explodes**: p99 is more than ten times the lowest of the loads before.
//!
//! **Invariant:** objects are written once, and each step knows what the steps before it have written.

use crate::error::{Error, Result};
use crate::observe::say;
use crate::options::{RunOptions, SweepOptions, Workload};
use crate::report::Report;
use crate::runner::Session;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

const ELASTICITY_MIN: f64 = 0.1;
const DONE_SHARE_MIN: f64 = 0.95;
const LATENCY_FACTOR_MAX: f64 = 10.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// `connections` or `requests/s`: what was swept over.
    pub over: String,
    pub steps: Vec<Step>,
    pub knee: Option<Knee>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub load: f64,
    /// Microseconds; of the operation that takes longest, where there are several.
    pub latency_us_p50: f64,
    pub latency_us_p99: f64,
    pub report: Report,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// Its place among the steps.
    pub index: usize,
    pub load: f64,
    /// What came after it.
    pub reason: String,
}

impl SweepOptions {
    /// The loads in ascending order, each with the options of its run.
    fn steps(&self) -> Result<Vec<(f64, RunOptions)>> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if self.run.workload == Workload::Delete {
            return usage("after one run of deletes there is nothing left to sweep over");
        }
        if self.run.count.is_some() {
            return usage("steps are bounded by --duration: --count is not for sweeps");
        }
        let (mut concurrencies, mut rates) = (self.concurrencies.clone(), self.rates.clone());
        concurrencies.retain(|&concurrency| concurrency >= self.run.executor_count());
        concurrencies.sort_unstable();
        rates.sort_unstable_by(f64::total_cmp);
        let mut run = self.run.clone();
        run.duration = run.duration.or(Some(SWEEP_STEP));
        let steps: Vec<(f64, RunOptions)> = if rates.is_empty() {
            let at = |concurrency| RunOptions { concurrency, rate: None, ..run.clone() };
            concurrencies.iter().map(|&count| (count as f64, at(count))).collect()
        } else {
            let at = |rate| RunOptions { rate: Some(rate), ..run.clone() };
            rates.iter().map(|&rate| (rate, at(rate))).collect()
        };
        steps.iter().try_for_each(|(_, options)| options.check())?;
        Ok(steps)
    }
}

/// How long a step is measured unless something else is asked for.
const SWEEP_STEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs all steps. Failed requests are in the reports; an `Err` says that there was no sweep.
pub fn run(options: &SweepOptions) -> Result<Sweep> {
    let steps = options.steps()?;
    let Some((_, first)) = steps.first() else {
        return Err(Error::Usage("a sweep over nothing".to_owned()));
    };
    let over = if first.rate.is_some() { "requests/s" } else { "connections" };
    let mut session = Session::open(first.clone())?;
    let mut done = Vec::with_capacity(steps.len());
    for (load, options) in steps {
        say(&options, &format!("{load} {over}"));
        let report = session.measure(&Arc::new(options))?;
        let stopped = report.stopped_early;
        done.push(Step::new(load, report));
        if stopped {
            break;
        }
    }
    let knee = find_knee(&done, options.rates.is_empty());
    Ok(Sweep { over: over.to_owned(), steps: done, knee })
}

impl Step {
    fn new(load: f64, report: Report) -> Self {
        let longest = |of: fn(&crate::report::OperationReport) -> f64| {
            report.operations.values().map(of).fold(0.0, f64::max)
        };
        let latency_us_p50 = longest(|operation| operation.latency_us.p50);
        let latency_us_p99 = longest(|operation| operation.latency_us.p99);
        Self { load, latency_us_p50, latency_us_p99, report }
    }
}

fn find_knee(steps: &[Step], closed_loop: bool) -> Option<Knee> {
    let mut lowest = f64::INFINITY;
    for (index, pair) in steps.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        lowest = lowest.min(before.latency_us_p99);
        // A dip from which a later step recovers is no knee.
        let later = steps[index + 1..].iter().map(|step| elasticity(before, step));
        let growth = later.fold(f64::NEG_INFINITY, f64::max);
        let done = after.report.requests_per_second;
        let reason = if closed_loop && growth < ELASTICITY_MIN {
            let rate = |step: &Step| step.report.requests_per_second;
            let best = steps[index + 1..].iter().map(rate).fold(0.0, f64::max);
            let share = (best / rate(before) - 1.0) * 100.0;
            format!("throughput stops growing: {share:+.1} % at most, whatever the load")
        } else if !closed_loop && done < after.load * DONE_SHARE_MIN {
            format!("of {:.0} requests/s only {done:.0} are done", after.load)
        } else if after.latency_us_p99 > lowest * LATENCY_FACTOR_MAX {
            let p99 = after.latency_us_p99;
            format!("p99 explodes: {p99:.0} us, {:.0} times the lowest", p99 / lowest)
        } else {
            continue;
        };
        return Some(Knee { index, load: before.load, reason });
    }
    None
}

/// By which power of the load throughput grows from one step to another.
fn elasticity(from: &Step, to: &Step) -> f64 {
    let [from_rate, to_rate] = [from, to].map(|step| step.report.requests_per_second.max(1e-9));
    (to_rate / from_rate).ln() / (to.load / from.load).ln().max(1e-9)
}

impl Display for Sweep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12}", self.over)?;
        for name in ["requests/s", "MiB/s", "p50 us", "p99 us", "server CPUs", "ops/core-s"] {
            write!(f, "{name:>13}")?;
        }
        writeln!(f)?;
        for (index, step) in self.steps.iter().enumerate() {
            let report = &step.report;
            write!(f, "{:>12}{:>13.0}", step.load, report.requests_per_second)?;
            write!(f, "{:>13.1}{:>13.1}", report.mib_per_second, step.latency_us_p50)?;
            write!(f, "{:>13.1}", step.latency_us_p99)?;
            match &report.server {
                Some(server) => {
                    write!(f, "{:>13.2}{:>13.0}", server.cpus, server.requests_per_core_second)?;
                }
                None => write!(f, "{:>13}{:>13}", "-", "-")?,
            }
            let knee = self.knee.as_ref().is_some_and(|knee| knee.index == index);
            let bad = report.errors.total + report.mismatches.total;
            let marks = [
                (knee, "  <- knee".to_owned()),
                (!report.invalid.is_empty(), "  INVALID".to_owned()),
                (bad > 0, format!("  {bad} failed")),
            ];
            for (_, mark) in marks.iter().filter(|(holds, _)| *holds) {
                f.write_str(mark)?;
            }
            writeln!(f)?;
        }
        match &self.knee {
            Some(knee) => writeln!(f, "knee at {} {}: then {}", knee.load, self.over, knee.reason)?,
            None => writeln!(f, "no knee: it lies beyond the loads that were tried")?,
        }
        let invalid = self.steps.iter().find_map(|step| Some((step, step.report.invalid.first()?)));
        if let Some((step, reason)) = invalid {
            writeln!(f, "INVALID from {} {} on: {reason}", step.load, self.over)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Steps of (load, requests per second, p99).
    pub(crate) fn steps(figures: &[(f64, f64, f64)]) -> Vec<Step> {
        let step = |&(load, rate, p99): &(f64, f64, f64)| Step {
            load,
            latency_us_p50: p99 / 3.0,
            latency_us_p99: p99,
            report: Report { requests_per_second: rate, ..Report::default() },
        };
        figures.iter().map(step).collect()
    }

    fn check(figures: &[(f64, f64, f64)], closed_loop: bool, expected: Option<(f64, &str)>) {
        let knee = find_knee(&steps(figures), closed_loop);
        assert_eq!(knee.as_ref().map(|knee| knee.load), expected.map(|(load, _)| load));
        if let (Some(knee), Some((_, reason))) = (knee, expected) {
            assert!(knee.reason.starts_with(reason), "{}", knee.reason);
        }
    }

    #[test]
    fn the_knee_is_where_throughput_stops_growing() {
        let flat = [(1.0, 100.0, 9.0), (2.0, 190.0, 10.0), (4.0, 300.0, 13.0), (8.0, 310.0, 26.0)];
        check(&flat, true, Some((4.0, "throughput stops")));
        check(&flat[..3], true, None);
        let dip = [(1.0, 100.0, 9.0), (2.0, 90.0, 10.0), (4.0, 300.0, 13.0)];
        check(&dip, true, None);
    }

    #[test]
    fn the_knee_is_where_latency_explodes() {
        let steep = [(1.0, 100.0, 9.0), (2.0, 190.0, 10.0), (4.0, 300.0, 200.0)];
        check(&steep, true, Some((2.0, "p99 explodes")));
    }

    #[test]
    fn the_knee_is_where_a_rate_is_not_reached() {
        let short = [(100.0, 100.0, 9.0), (200.0, 199.0, 10.0), (400.0, 300.0, 20.0)];
        check(&short, false, Some((200.0, "of 400 requests/s")));
    }
}
