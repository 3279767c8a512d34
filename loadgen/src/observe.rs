//! The main thread's part of a phase: it gathers what executors send, samples CPU time at the ends of
//! intervals, and tells how it goes.
//!
//! **Invariant:** what it holds does not grow with the run: one interval of statistics, their sum, and a
//! bounded number of samples.

use crate::error::Result;
use crate::limits;
use crate::options::RunOptions;
use crate::pace::Schedule;
use crate::process::{self, Usage};
use crate::report::progress_line;
use crate::samples::{Sample, Samples, Usages};
use crate::stats::Stats;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Statistics under way to the main thread.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) stats: Stats,
    /// The interval of the window that they are of; `None` before it.
    pub(crate) interval: Option<u64>,
    pub(crate) at: Instant,
}

/// What a phase gave.
#[derive(Debug)]
pub struct Outcome {
    pub stats: Stats,
    /// How long the measured window lasted.
    pub window: Duration,
    /// CPU and memory at the window's two ends.
    pub client: [Usage; 2],
    pub server: Option<[Usage; 2]>,
    pub samples: Vec<Sample>,
    /// The run was ended because the server could not be reached, or the ledger not written.
    pub stopped_early: bool,
}

/// An interval of which not all executors have told yet.
#[derive(Debug)]
struct Open {
    stats: Stats,
    messages: usize,
    at: Instant,
    usages: Usages,
}

#[derive(Debug)]
pub(crate) struct Observer<'a> {
    options: &'a RunOptions,
    schedule: Schedule,
    executors: usize,
    total: Stats,
    open: BTreeMap<u64, Open>,
    samples: Samples,
    /// Where the last interval ended.
    last: Option<(Instant, Usages)>,
    progress: Stats,
    progress_from: Instant,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(options: &'a RunOptions, schedule: Schedule, executors: usize) -> Self {
        Self {
            options,
            schedule,
            executors,
            total: Stats::default(),
            open: BTreeMap::new(),
            samples: Samples::default(),
            last: None,
            progress: Stats::default(),
            progress_from: schedule.begin,
        }
    }

    /// Gathers until the last executor is done.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) -> Result<Outcome> {
        let Schedule { measure_from, until, .. } = self.schedule;
        let (mut before, mut after) = (None, None);
        loop {
            let next_sample = if before.is_none() { Some(measure_from) } else { until };
            let wait = match (next_sample, &after) {
                (Some(time), None) => time.saturating_duration_since(Instant::now()),
                _ => Duration::from_secs(1),
            };
            let message = inbox.recv_timeout(wait);
            let now = Instant::now();
            if before.is_none() && now >= measure_from {
                let usages = self.usages()?;
                before = Some(usages);
                self.last = Some((measure_from, usages));
            }
            if after.is_none() && until.is_some_and(|until| now >= until) {
                after = Some((now, self.usages()?));
            }
            match message {
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while let Some((_, open)) = self.open.pop_first() {
            self.close(open);
        }
        let (end, after) = after.map_or_else(|| Ok((Instant::now(), self.usages()?)), Ok)?;
        let before = before.unwrap_or(after);
        let end = until.map_or(end, |until| end.min(until));
        Ok(Outcome {
            stats: self.total,
            window: end.saturating_duration_since(measure_from),
            client: [before.client, after.client],
            server: before.server.zip(after.server).map(|(before, after)| [before, after]),
            samples: self.samples.into_kept(),
            stopped_early: false,
        })
    }

    fn take(&mut self, message: Message) -> Result<()> {
        let Message { stats, interval, at } = message;
        self.total.merge(&stats);
        self.progress.merge(&stats);
        if let Some(interval) = interval {
            self.gather(interval, &stats, at)?;
        }
        let elapsed = at.saturating_duration_since(self.progress_from);
        if elapsed >= PROGRESS {
            let phase = self.phase(at);
            say(self.options, &progress_line(&phase, &self.progress, &self.total, elapsed));
            (self.progress, self.progress_from) = (Stats::default(), at);
        }
        Ok(())
    }

    fn gather(&mut self, interval: u64, stats: &Stats, at: Instant) -> Result<()> {
        if !self.open.contains_key(&interval) {
            let (stats, usages) = (Stats::default(), self.usages()?);
            self.open.insert(interval, Open { stats, messages: 0, at, usages });
        }
        let Some(open) = self.open.get_mut(&interval) else { return Ok(()) };
        open.stats.merge(stats);
        open.messages += 1;
        if open.messages >= self.executors
            && let Some(open) = self.open.remove(&interval)
        {
            self.close(open);
        }
        // Executors that have done their part of a count tell no more.
        while self.open.len() > limits::INTERVALS_OPEN_MAX {
            if let Some((_, open)) = self.open.pop_first() {
                self.close(open);
            }
        }
        Ok(())
    }

    /// Makes a sample of an interval, unless the run's end has left too little of it.
    fn close(&mut self, open: Open) {
        let Some((from, before)) = self.last else { return };
        let to = self.schedule.until.map_or(open.at, |until| open.at.min(until));
        if to.saturating_duration_since(from) < self.options.sample_duration() / 2 {
            return;
        }
        let since_start = |time: Instant| {
            time.saturating_duration_since(self.schedule.measure_from).as_secs_f64()
        };
        let ends = [from, to].map(since_start);
        self.samples.add(Sample::new(&open.stats, ends, &before, &open.usages));
        self.last = Some((to, open.usages));
    }

    /// Of which part of the run a line of progress tells.
    fn phase(&self, at: Instant) -> String {
        let Schedule { begin, ramped, measure_from, until } = self.schedule;
        let since = |time: Instant| at.saturating_duration_since(time).as_secs_f64();
        match until {
            _ if at < ramped => format!("ramp {:.0}s", since(begin)),
            _ if at < measure_from => format!("warm-up {:.0}s", since(ramped)),
            Some(until) => {
                let whole = (until - measure_from).as_secs_f64();
                format!("{:.0}s of {whole:.0}s", since(measure_from).min(whole))
            }
            None => format!("{:.0}s", since(measure_from)),
        }
    }

    /// A server that has died meanwhile has no CPU time to report.
    fn usages(&self) -> Result<Usages> {
        let client = process::usage(None)?;
        Ok(Usages { client, server: server_usage(self.options).ok().flatten() })
    }
}

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(990);

/// `None` if no process was named.
pub(crate) fn server_usage(options: &RunOptions) -> Result<Option<Usage>> {
    options.server_pid.map(|pid| process::usage(Some(pid))).transpose()
}

pub(crate) fn say(options: &RunOptions, text: &str) {
    if !options.quiet {
        // Progress that nobody can read is no reason to end the run.
        _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Why the figures of a run are the generator's own rather than the server's; empty if they are not.
pub fn saturation(outcome: &Outcome, executors: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    let [before, after] = &outcome.client;
    let running = after.cpu_seconds_since(before);
    let waiting = after.wait_seconds_since(before);
    let share = (running + waiting) / (outcome.window.as_secs_f64().max(1e-9) * executors as f64);
    // A window of a few clock ticks tells nothing.
    if share >= limits::CLIENT_BUSY_MAX && outcome.window >= Duration::from_millis(500) {
        let [running, waiting] = [running, waiting].map(|time| time / (running + waiting) * share);
        reasons.push(format!(
            "the generator had no time to spare: of its {executors} executors' time it was running {:.0} % and waiting for a CPU {:.0} %; give it more CPUs and --executors",
            running * 100.0,
            waiting * 100.0
        ));
    }
    let lag = outcome.stats.open_loop.lag.quantile_us(0.99);
    let latency = outcome.stats.latency().quantile_us(0.99);
    if lag > limits::START_LAG_US_MAX && lag > latency / 10.0 {
        reasons.push(format!(
            "the generator started requests late though connections were free: 1 % by more than {lag:.0} us, against a p99 latency of {latency:.0} us"
        ));
    }
    reasons
}
