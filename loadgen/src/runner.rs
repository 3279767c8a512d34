//! A run from beginning to end: the bucket, the objects to read, the measured phase, the report.
//!
//! **Invariant:** executors share nothing but the options, the pattern and a flag to stop: each has
//! its own part of the keys, its own connections and its own statistics.

use crate::client::Connection;
use crate::content::Pattern;
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, Partition};
use crate::ledger::LedgerWriter;
use crate::limits;
use crate::observe::{Message, Observer, Outcome, say, server_usage};
use crate::options::{Order, RunOptions, Signing, Target, Workload};
use crate::pace::{OpenLoop, Pace, Schedule};
use crate::report::Report;
use crate::request::RequestWriter;
use crate::runtime::{Watch, run as run_tasks, sleep, sleep_until, spawn};
use crate::setup::{TICK, ensure_bucket, ticks_in};
use crate::stream::ReceiveBuffer;
use crate::worker::{Shared, Worker};
use crate::workload::{Mix, Operation, Random};
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time for the executors to start before the first request is due.
const START_DELAY: Duration = Duration::from_millis(20);

/// What is the same on every executor and in every phase.
#[derive(Debug, Clone)]
struct Context {
    options: Arc<RunOptions>,
    targets: Vec<Target>,
    pattern: Arc<Pattern>,
    base_version: u64,
    stopped: Arc<AtomicBool>,
}

/// One pass over the endpoint: writing the objects first, or the run itself.
#[derive(Debug, Clone)]
struct Phase {
    mix: Mix,
    order: Order,
    signing: Signing,
    /// Every key has been written.
    prepared: bool,
    schedule: Schedule,
    /// Over all executors.
    count: Option<u64>,
    rate: Option<f64>,
}

/// Runs the workload to its end. Failed requests are in the report; an `Err` says that there was no
/// run.
pub fn run(options: RunOptions) -> Result<Report> {
    let mut session = Session::open(options)?;
    let options = Arc::clone(&session.context.options);
    session.measure(&options)
}

/// An endpoint on which objects stand ready, and what is known of them: several runs may follow each
/// other on it.
#[derive(Debug)]
pub struct Session {
    context: Context,
    keyspaces: Vec<Keyspace>,
}

impl Session {
    /// Makes the bucket and writes the objects.
    pub fn open(options: RunOptions) -> Result<Self> {
        options.check()?;
        let targets = options.endpoint.targets()?;
        server_usage(&options)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let context = Context {
            options: Arc::new(options),
            targets,
            pattern: Arc::new(Pattern::new()),
            base_version: since_epoch.as_micros() as u64,
            stopped: Arc::default(),
        };
        if let Some(path) = &context.options.ledger {
            LedgerWriter::open(path, &context.options.bucket)?;
        }
        ensure_bucket(&context.options, &context.targets[0], &context.pattern)?;
        let mut keyspaces = context.keyspaces();
        if context.options.prepares() {
            prepare_objects(&context, &mut keyspaces)?;
        }
        Ok(Self { context, keyspaces })
    }

    /// One run. Its options may differ from those of the session in load, not in keys or executors.
    pub fn measure(&mut self, options: &Arc<RunOptions>) -> Result<Report> {
        let context = Context { options: Arc::clone(options), ..self.context.clone() };
        let outcome = run_phase(&context, &Phase::measured(options), &mut self.keyspaces)?;
        Ok(Report::new(options, &outcome))
    }
}

impl Context {
    /// Each executor's part of the keys, of which nothing is known yet.
    fn keyspaces(&self) -> Vec<Keyspace> {
        let (objects, step) = (self.options.objects, self.options.executor_count() as u64);
        let partitions = (0..step).map(|first| Partition { first, step, objects });
        partitions.map(|partition| Keyspace::new(partition, self.base_version)).collect()
    }
}

impl Phase {
    fn measured(options: &RunOptions) -> Self {
        let begin = Instant::now() + START_DELAY;
        let ramped = begin + options.ramp;
        let measure_from = ramped + options.warmup_duration();
        let until = options.measured_duration().map(|duration| measure_from + duration);
        Self {
            mix: options.operations(),
            order: options.key_order(),
            signing: options.signing,
            prepared: options.prepares(),
            schedule: Schedule { begin, ramped, measure_from, until },
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
            signing: options.setup_signing(),
            prepared: false,
            schedule: Schedule { begin, ramped: begin, measure_from: begin, until: None },
            count: Some(options.objects),
            rate: None,
        }
    }
}

fn prepare_objects(context: &Context, keyspaces: &mut Vec<Keyspace>) -> Result<()> {
    say(&context.options, &format!("writing {} objects first", context.options.objects));
    let outcome = run_phase(context, &Phase::prepare(&context.options), keyspaces)?;
    let written = outcome.stats.window_requests();
    if written == context.options.objects && outcome.stats.errors.total() == 0 {
        return Ok(());
    }
    let sample = outcome.stats.errors.samples.first().map_or("", String::as_str);
    let objects = context.options.objects;
    Err(Error::Prepare(format!("{written} of {objects} objects were written; {sample}")))
}

/// Takes the keyspaces, one for each executor, and gives them back with what is known now.
fn run_phase(context: &Context, phase: &Phase, keyspaces: &mut Vec<Keyspace>) -> Result<Outcome> {
    let (sender, inbox) = sync_channel(limits::STATS_QUEUE);
    let mut handles = Vec::with_capacity(keyspaces.len());
    for (executor, keyspace) in std::mem::take(keyspaces).into_iter().enumerate() {
        handles.push(start_executor(context, phase, executor, keyspace, sender.clone())?);
    }
    drop(sender);
    let observer = Observer::new(&context.options, phase.schedule, handles.len());
    let outcome = observer.run(&inbox);
    for handle in handles {
        let panicked = |_| Error::Runtime("an executor panicked".to_owned());
        keyspaces.push(handle.join().map_err(panicked)??);
    }
    let stopped_early = context.stopped.load(Ordering::Relaxed);
    Ok(Outcome { stopped_early, ..outcome? })
}

fn start_executor(
    context: &Context,
    phase: &Phase,
    executor: usize,
    keyspace: Keyspace,
    sender: SyncSender<Message>,
) -> Result<JoinHandle<Result<Keyspace>>> {
    let cpu = context.options.cores.get(executor).copied();
    let (context, phase) = (context.clone(), phase.clone());
    let drive = move || {
        let failed = |error: io::Error| Error::Runtime(error.to_string());
        place_thread(cpu).map_err(failed)?;
        run_tasks(drive(&context, &phase, executor, keyspace, &sender)).map_err(failed)?
    };
    let thread = std::thread::Builder::new().name("loadgen".to_owned());
    thread.spawn(drive).map_err(|error| Error::Runtime(error.to_string()))
}

/// Pins this thread if it is to be pinned, and lets its timers fire when they are due: by default the
/// kernel takes 50 us more to gather them.
fn place_thread(cpu: Option<usize>) -> io::Result<()> {
    set_current_timer_slack(NonZeroU64::new(1))?;
    let Some(cpu) = cpu else { return Ok(()) };
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::other(format!("there is no CPU {cpu}")));
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    let pinned = sched_setaffinity(None, &cpus);
    pinned.map_err(|error| io::Error::other(format!("cannot run on CPU {cpu}: {error}")))
}

/// One executor's part of a phase.
async fn drive(
    context: &Context,
    phase: &Phase,
    executor: usize,
    keyspace: Keyspace,
    sender: &SyncSender<Message>,
) -> Result<Keyspace> {
    let options = &context.options;
    let shared = Rc::new(share(context, phase, executor, keyspace)?);
    let connectors = Connectors::new(context, phase);
    let workers: Vec<_> = (0..part(options.concurrency as u64, executor, options))
        .map(|index| connectors.worker(&shared, executor as u64 + index * executors(options)))
        .collect();
    let watches = connectors.watches.into_inner();
    let ticker = {
        let (shared, sender) = (Rc::clone(&shared), sender.clone());
        spawn(async move { tick(&shared, &watches, &sender).await })
    };
    let Schedule { begin, ramped, .. } = phase.schedule;
    sleep_until(begin).await;
    // In an open loop the rate is what grows.
    let ramp = if phase.rate.is_some() { Duration::ZERO } else { ramped - begin };
    let step = ramp / u32::try_from(workers.len().max(1)).unwrap_or(u32::MAX);
    let start = |(index, worker): (u32, Worker)| {
        spawn(async move {
            if !ramp.is_zero() {
                sleep(step * index).await;
            }
            worker.run().await;
        })
    };
    let workers: Vec<_> = (0..).zip(workers).map(start).collect();
    for worker in workers {
        worker.await;
    }
    ticker.cancel();
    let at = Instant::now();
    let interval = Intervals::new(options, phase.schedule).current;
    let message = Message { stats: shared.stats.take(), interval, at };
    // It fails only when the main thread is gone, and then nobody wants it.
    _ = sender.send(message);
    let shared = Rc::into_inner(shared).expect("workers and ticker are gone");
    Ok(shared.keyspace.into_inner())
}

/// Makes the connections of one executor's workers.
struct Connectors {
    targets: Vec<Rc<Target>>,
    buffer: ReceiveBuffer,
    part_parallel: usize,
    watches: RefCell<Vec<Rc<Watch>>>,
}

impl Connectors {
    fn new(context: &Context, phase: &Phase) -> Self {
        let options = &context.options;
        let reads = [
            (Operation::List, limits::RECEIVE_BYTES_MAX as u64),
            (Operation::Get, options.size.largest()),
            (Operation::Conditional, options.size.largest()),
            (Operation::Range, options.range_size.largest()),
        ];
        let reads = reads.into_iter().filter(|(operation, _)| phase.mix.has(*operation));
        let multipart = phase.mix.has(Operation::Multipart);
        Self {
            targets: context.targets.iter().cloned().map(Rc::new).collect(),
            buffer: ReceiveBuffer::for_bodies(reads.map(|(_, bytes)| bytes).max().unwrap_or(0)),
            part_parallel: if multipart { options.part_parallel } else { 0 },
            watches: RefCell::default(),
        }
    }

    /// `number`: of the worker, over all executors. Endpoints take turns.
    fn worker(&self, shared: &Rc<Shared>, number: u64) -> Worker {
        let target = &self.targets[(number % self.targets.len() as u64) as usize];
        let parts = (0..self.part_parallel).map(|_| self.connection(target)).collect();
        let connection = self.connection(target);
        Worker::new(Rc::clone(shared), Rc::clone(target), connection, parts)
    }

    fn connection(&self, target: &Rc<Target>) -> Connection {
        let watch = Rc::<Watch>::default();
        self.watches.borrow_mut().push(Rc::clone(&watch));
        Connection::new(Rc::clone(target), watch, &self.buffer)
    }
}

fn share(
    context: &Context,
    phase: &Phase,
    executor: usize,
    mut keyspace: Keyspace,
) -> Result<Shared> {
    let options = &context.options;
    let seed = options.seed.wrapping_mul(limits::EXECUTORS_MAX as u64) + executor as u64;
    let open_loop = phase.rate.map(|rate| {
        let rate = rate / executors(options) as f64;
        let backlog = options.backlog.div_ceil(executors(options));
        OpenLoop::new(phase.schedule, rate, backlog, options.arrivals, Random::new(!seed))
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
    keyspace.begin_phase(phase.order, options.zipf_exponent);
    if options.operations().has(Operation::Conditional) {
        keyspace.remember_etags();
    }
    Ok(Shared {
        options: Arc::clone(options),
        pattern: Arc::clone(&context.pattern),
        mix: phase.mix.clone(),
        listings_known: phase.prepared && !phase.mix.has(Operation::Delete),
        keyspace: RefCell::new(keyspace),
        stats: RefCell::default(),
        random: RefCell::new(Random::new(seed)),
        requests: RefCell::new(RequestWriter::new(&options.endpoint, phase.signing)),
        ledger: ledger.transpose()?.map(RefCell::new),
        pace,
    })
}

fn executors(options: &RunOptions) -> u64 {
    options.executor_count() as u64
}

/// An executor's share of a whole; the shares add up.
fn part(whole: u64, executor: usize, options: &RunOptions) -> u64 {
    Partition { first: executor as u64, step: executors(options), objects: whole }.len()
}

/// Until cancelled: finds requests that stand still, and reports at the end of each interval.
async fn tick(shared: &Shared, watches: &[Rc<Watch>], sender: &SyncSender<Message>) {
    let ticks_max = ticks_in(shared.options.endpoint.timeout);
    let mut intervals = Intervals::new(&shared.options, shared.pace.schedule);
    let mut next_tick = Instant::now() + TICK;
    loop {
        let next = next_tick.min(intervals.end());
        sleep_until(next).await;
        let now = Instant::now();
        if now >= next_tick {
            watches.iter().for_each(|watch| watch.tick(ticks_max));
            next_tick = now + TICK;
        }
        if now >= intervals.end() {
            let interval = intervals.pass(now);
            let message = Message { stats: shared.stats.take(), interval, at: now };
            if let Err(TrySendError::Full(message)) = sender.try_send(message) {
                shared.stats.borrow_mut().merge(&message.stats);
            }
        }
    }
}

/// The intervals of a run: seconds before its window, samples within. The same on every executor.
#[derive(Debug, Clone, Copy)]
struct Intervals {
    measure_from: Instant,
    length: Duration,
    /// Of the interval that runs; `None` before the window.
    current: Option<u64>,
    end: Instant,
}

impl Intervals {
    fn new(options: &RunOptions, schedule: Schedule) -> Self {
        let (measure_from, length) = (schedule.measure_from, options.sample_duration());
        let mut intervals = Self { measure_from, length, current: None, end: schedule.begin };
        intervals.pass(Instant::now());
        intervals
    }

    fn end(&self) -> Instant {
        self.end
    }

    /// Goes on to the interval in which `now` lies, and returns the one before.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let passed = self.current;
        if now < self.measure_from {
            self.end = self.measure_from.min(now + Duration::from_secs(1));
        } else {
            let since = now - self.measure_from;
            let number = since.as_nanos() / self.length.as_nanos();
            let number = u32::try_from(number).unwrap_or(u32::MAX - 1);
            self.current = Some(u64::from(number));
            self.end = self.measure_from + self.length * (number + 1);
        }
        passed
    }
}
