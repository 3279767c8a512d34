//! A run from beginning to end: the bucket, the objects to read, the measured phase, the report.
//!
//! The main thread only watches: executors send it their statistics each second, and it samples CPU
//! time at the two ends of the measured window.
//!
//! **Invariant:** executors share nothing but the options, the pattern and a flag to stop: each has
//! its own part of the keys, its own connections and its own statistics.

use crate::client::{Connection, Watch};
use crate::content::Pattern;
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, Partition};
use crate::ledger::LedgerWriter;
use crate::limits;
use crate::options::{Order, RunOptions, Target, Workload};
use crate::pace::{OpenLoop, Pace, Schedule};
use crate::process::{self, Usage};
use crate::report::{Report, progress_line};
use crate::request::RequestWriter;
use crate::setup::{TICK, ensure_bucket, ticks_in};
use crate::stats::Stats;
use crate::worker::{Shared, Worker};
use crate::workload::{Mix, Operation, Random};
use glommio::timer::sleep;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver as Inbox, RecvTimeoutError, SyncSender, TrySendError, sync_channel,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const TICKS_PER_REPORT: u32 = 20;
/// Time for the executors to start before the first request is due.
const START_DELAY: Duration = Duration::from_millis(20);

/// What is the same on every executor and in every phase.
#[derive(Debug, Clone)]
struct Context {
    options: Arc<RunOptions>,
    target: Target,
    pattern: Arc<Pattern>,
    base_version: u64,
    stopped: Arc<AtomicBool>,
}

/// One pass over the endpoint: writing the objects first, or the run itself.
#[derive(Debug, Clone)]
struct Phase {
    mix: Mix,
    order: Order,
    /// Every key has been written.
    prepared: bool,
    schedule: Schedule,
    /// Over all executors.
    count: Option<u64>,
    rate: Option<f64>,
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
    /// The run was ended because the server could not be reached, or the ledger not written.
    pub stopped_early: bool,
}

/// Runs the workload to its end. Failed requests are in the report; an `Err` says that there was no
/// run.
pub fn run(options: RunOptions) -> Result<Report> {
    options.check()?;
    let target = options.endpoint.target()?;
    server_usage(&options)?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let context = Context {
        options: Arc::new(options),
        target,
        pattern: Arc::new(Pattern::new()),
        base_version: since_epoch.as_micros() as u64,
        stopped: Arc::default(),
    };
    if let Some(path) = &context.options.ledger {
        LedgerWriter::open(path, &context.options.bucket)?;
    }
    ensure_bucket(&context.options.endpoint, &context.target, &context.options.bucket)?;
    if context.options.prepares() {
        prepare_objects(&context)?;
    }
    let outcome = run_phase(&context, &Phase::measured(&context.options))?;
    Ok(Report::new(&context.options, &outcome))
}

impl Phase {
    fn measured(options: &RunOptions) -> Self {
        let begin = Instant::now() + START_DELAY;
        let measure_from = begin + options.warmup_duration();
        let until = options.measured_duration().map(|duration| measure_from + duration);
        Self {
            mix: options.operations(),
            order: options.key_order(),
            prepared: options.prepares(),
            schedule: Schedule { begin, measure_from, until },
            count: options.count,
            rate: options.rate,
        }
    }

    /// Every key once.
    fn prepare(options: &RunOptions) -> Self {
        let begin = Instant::now() + START_DELAY;
        Self {
            mix: Mix::only(Operation::Put),
            order: Order::Sequential,
            prepared: false,
            schedule: Schedule { begin, measure_from: begin, until: None },
            count: Some(options.objects),
            rate: None,
        }
    }
}

fn prepare_objects(context: &Context) -> Result<()> {
    say(context, &format!("writing {} objects first", context.options.objects));
    let outcome = run_phase(context, &Phase::prepare(&context.options))?;
    let written = outcome.stats.window_requests();
    if written == context.options.objects && outcome.stats.errors.total() == 0 {
        return Ok(());
    }
    let sample = outcome.stats.errors.samples.first().map_or("", String::as_str);
    let objects = context.options.objects;
    Err(Error::Prepare(format!("{written} of {objects} objects were written; {sample}")))
}

fn run_phase(context: &Context, phase: &Phase) -> Result<Outcome> {
    let executors = context.options.executor_count();
    let (sender, inbox) = sync_channel(limits::STATS_QUEUE);
    let mut handles = Vec::with_capacity(executors);
    for executor in 0..executors {
        handles.push(start_executor(context, phase, executor, sender.clone())?);
    }
    drop(sender);
    let outcome = watch(context, phase, inbox);
    for handle in handles {
        handle.join().map_err(|error| Error::Runtime(error.to_string()))??;
    }
    outcome
}

fn start_executor(
    context: &Context,
    phase: &Phase,
    executor: usize,
    sender: SyncSender<Message>,
) -> Result<ExecutorJoinHandle<Result<()>>> {
    let placement = match context.options.cores.get(executor) {
        Some(&cpu) => Placement::Fixed(cpu),
        None => Placement::Unbound,
    };
    let (context, phase) = (context.clone(), phase.clone());
    builder(placement)
        .spawn(move || async move { drive(&context, &phase, executor, &sender).await })
        .map_err(|error| Error::Runtime(error.to_string()))
}

/// Files are not read here, so little registered memory is needed.
fn builder(placement: Placement) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(placement).name("loadgen").io_memory(1 << 20).ring_depth(512)
}

/// Statistics under way to the main thread.
struct Message {
    executor: usize,
    stats: Stats,
}

/// One executor's part of a phase.
async fn drive(
    context: &Context,
    phase: &Phase,
    executor: usize,
    sender: &SyncSender<Message>,
) -> Result<()> {
    let options = &context.options;
    let shared = Rc::new(share(context, phase, executor)?);
    let target = Rc::new(context.target.clone());
    let watches: Rc<Vec<Rc<Watch>>> = Rc::new(
        (0..part(options.concurrency as u64, executor, options)).map(|_| Rc::default()).collect(),
    );
    let largest = if phase.mix.has(Operation::List) {
        limits::RECEIVE_BYTES_MAX as u64
    } else if phase.mix.has(Operation::Get) {
        options.size.largest()
    } else {
        0
    };
    let ticker = {
        let (shared, watches, sender) = (Rc::clone(&shared), Rc::clone(&watches), sender.clone());
        let timeout = options.endpoint.timeout;
        glommio::spawn_local(
            async move { tick(&shared, &watches, timeout, executor, &sender).await },
        )
    };
    sleep(phase.schedule.begin.saturating_duration_since(Instant::now())).await;
    let workers: Vec<_> = watches
        .iter()
        .map(|watch| {
            let (target, watch) = (Rc::clone(&target), Rc::clone(watch));
            let connection = Connection::new(target, watch, largest, options.endpoint.timeout);
            glommio::spawn_local(Worker::new(Rc::clone(&shared), connection).run())
        })
        .collect();
    for worker in workers {
        worker.await;
    }
    ticker.cancel().await;
    let message = Message { executor, stats: shared.stats.take() };
    // It fails only when the main thread is gone, and then nobody wants it.
    _ = sender.send(message);
    Ok(())
}

fn share(context: &Context, phase: &Phase, executor: usize) -> Result<Shared> {
    let options = &context.options;
    let executors = options.executor_count() as u64;
    let partition = Partition { first: executor as u64, step: executors, objects: options.objects };
    let seed = options.seed.wrapping_mul(limits::EXECUTORS_MAX as u64) + executor as u64;
    let open_loop = phase.rate.map(|rate| {
        let rate = rate / executors as f64;
        let backlog = options.backlog.div_ceil(executors);
        OpenLoop::new(phase.schedule.begin, rate, backlog, options.arrivals, Random::new(!seed))
    });
    let ledger = options.ledger.as_ref().map(|path| LedgerWriter::open(path, &options.bucket));
    let pace = Pace {
        schedule: phase.schedule,
        remaining: Cell::new(phase.count.map(|count| part(count, executor, options))),
        open_loop,
        deletes_once: options.workload == Workload::Delete,
        stopped: Arc::clone(&context.stopped),
        finished: Cell::new(false),
    };
    Ok(Shared {
        options: Arc::clone(options),
        pattern: Arc::clone(&context.pattern),
        mix: phase.mix.clone(),
        listings_known: phase.prepared && !phase.mix.has(Operation::Delete),
        keyspace: RefCell::new(Keyspace::new(
            partition,
            context.base_version,
            phase.prepared,
            phase.order,
        )),
        stats: RefCell::default(),
        random: RefCell::new(Random::new(seed)),
        requests: RefCell::new(RequestWriter::new(&options.endpoint, &context.target.host)),
        ledger: ledger.transpose()?.map(RefCell::new),
        pace,
    })
}

/// An executor's share of a whole; the shares add up.
fn part(whole: u64, executor: usize, options: &RunOptions) -> u64 {
    let executors = options.executor_count() as u64;
    Partition { first: executor as u64, step: executors, objects: whole }.len()
}

/// Until cancelled: finds requests that stand still, and reports each second.
async fn tick(
    shared: &Shared,
    watches: &[Rc<Watch>],
    timeout: Duration,
    executor: usize,
    sender: &SyncSender<Message>,
) {
    let ticks_max = ticks_in(timeout);
    for ticks in 1u32.. {
        sleep(TICK).await;
        watches.iter().for_each(|watch| watch.tick(ticks_max));
        if ticks.is_multiple_of(TICKS_PER_REPORT) {
            let stats = shared.stats.take();
            if let Err(TrySendError::Full(message)) = sender.try_send(Message { executor, stats }) {
                shared.stats.borrow_mut().merge(&message.stats);
            }
        }
    }
}

/// Gathers what the executors send until the last one is done.
fn watch(context: &Context, phase: &Phase, inbox: Inbox<Message>) -> Result<Outcome> {
    // A server that has died meanwhile has no CPU time to report.
    let sample = || Ok((process::usage(None)?, server_usage(&context.options).ok().flatten()));
    let Schedule { measure_from, until, .. } = phase.schedule;
    let (mut before, mut after) = (None, None);
    let (mut total, mut interval) = (Stats::default(), Stats::default());
    let mut progress_from = phase.schedule.begin;
    loop {
        let next_sample = if before.is_none() { Some(measure_from) } else { until };
        let wait = match (next_sample, &after) {
            (Some(time), None) => time.saturating_duration_since(Instant::now()),
            _ => Duration::from_secs(1),
        };
        let message = inbox.recv_timeout(wait);
        let now = Instant::now();
        if before.is_none() && now >= measure_from {
            before = Some(sample()?);
        }
        if after.is_none() && until.is_some_and(|until| now >= until) {
            after = Some((now, sample()?));
        }
        match message {
            Ok(message) => {
                interval.merge(&message.stats);
                total.merge(&message.stats);
                if message.executor == 0 {
                    say(context, &progress_line(&interval, &total, now - progress_from));
                    (interval, progress_from) = (Stats::default(), now);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let before = before.map_or_else(sample, Ok)?;
    let (end, after) = after.map_or_else(|| Ok((Instant::now(), sample()?)), Ok)?;
    let end = until.map_or(end, |until| end.min(until));
    Ok(Outcome {
        stats: total,
        window: end.saturating_duration_since(measure_from),
        client: [before.0, after.0],
        server: before.1.zip(after.1).map(|(before, after)| [before, after]),
        stopped_early: context.stopped.load(Ordering::Relaxed),
    })
}

/// `None` if no process was named.
fn server_usage(options: &RunOptions) -> Result<Option<Usage>> {
    options.server_pid.map(|pid| process::usage(Some(pid))).transpose()
}

fn say(context: &Context, text: &str) {
    if !context.options.quiet {
        // Progress that nobody can read is no reason to end the run.
        _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
