//! Every I/O of one small history is struck in turn: by a crash before it and after it, by a crash of the
//! recovery that follows, by an error.
//!
//! `RINGFORT_SWEEP_STRIDE` says how many I/Os are passed over from one run to the next; 1 is all of them.
#![allow(clippy::print_stderr)]

use ringfort_tests::harness::setting;
use ringfort_tests::sim_sweep::{Done, Plan, Strike, run};

/// Failures that are told in full; all are counted.
const TOLD_MAX: usize = 5;

/// Runs of one history, and what was wrong in them.
struct Sweep {
    /// Which history: any will do that does everything once.
    seed: u64,
    stride: usize,
    runs: u64,
    failures: Vec<String>,
}

impl Sweep {
    fn new() -> Self {
        let stride = setting("RINGFORT_SWEEP_STRIDE", 3).max(1) as usize;
        Self { seed: setting("RINGFORT_SWEEP_SEED", 1), stride, runs: 0, failures: Vec::new() }
    }

    /// The history as it is when nothing strikes.
    fn undisturbed(&mut self) -> Done {
        let done = self.run([None, None]).expect("nothing went wrong");
        let figures = done.figures;
        assert!(figures.checkpoints_total >= 3, "{figures:?}");
        assert!(figures.relocated_records_total > 0, "{figures:?}");
        assert!(figures.segments_recycled_total > 0, "{figures:?}");
        done
    }

    fn run(&mut self, plan: Plan) -> Option<Done> {
        self.runs += 1;
        match run(self.seed, plan) {
            Ok(done) => Some(done),
            Err(violations) => {
                self.failures.push(format!("{plan:?}: {}", violations.join("\n  ")));
                None
            }
        }
    }

    /// Strikes one life, and nothing in the other one.
    fn strike(&mut self, life: usize, strike: Strike, nth: u64) -> Option<Done> {
        let mut plan = [None, None];
        plan[life] = Some((strike, nth));
        self.run(plan)
    }

    fn finish(self) {
        eprintln!("{} runs, {} failures", self.runs, self.failures.len());
        let told = self.failures.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("\n");
        let (failed, seed) = (self.failures.len(), self.seed);
        assert!(failed == 0, "{failed} runs of history {seed} failed, the first:\n{told}");
    }
}

#[test]
fn a_crash_around_any_io_loses_nothing() {
    let mut sweep = Sweep::new();
    let ios = sweep.undisturbed().ios;
    for (life, counters) in ios.iter().enumerate() {
        for io in (0..counters.ios).step_by(sweep.stride) {
            for strike in [Strike::CrashBefore, Strike::CrashAfter] {
                if let Some(done) = sweep.strike(life, strike, io) {
                    assert!(done.crashed[life], "{strike:?} {io} did not strike life {life}");
                }
            }
        }
    }
    sweep.finish();
}

#[test]
fn a_second_crash_during_recovery_loses_nothing() {
    let mut sweep = Sweep::new();
    let ios = sweep.undisturbed().ios;
    for (nth, first) in (0..ios[0].ios).step_by(3 * sweep.stride).enumerate() {
        let strike = if nth % 2 == 0 { Strike::CrashBefore } else { Strike::CrashAfter };
        // Not the same I/Os of each recovery.
        let from = nth as u64 * 7 % sweep.stride as u64;
        for second in (from..3 * ios[1].ios).step_by(sweep.stride) {
            let plan = [Some((Strike::CrashBefore, first)), Some((strike, second))];
            // The recovery, and what was done after it, had fewer.
            if sweep.run(plan).is_some_and(|done| !done.crashed[1]) {
                break;
            }
        }
    }
    sweep.finish();
}

#[test]
fn an_error_of_any_io_loses_nothing() {
    let mut sweep = Sweep::new();
    let ios = sweep.undisturbed().ios;
    for strike in [Strike::ReadError, Strike::WriteError, Strike::SyncError, Strike::NoSpace] {
        for (life, counters) in ios.iter().enumerate() {
            for nth in (0..strike.count(counters)).step_by(sweep.stride) {
                sweep.strike(life, strike, nth);
            }
        }
    }
    sweep.finish();
}
