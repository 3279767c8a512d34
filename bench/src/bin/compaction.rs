//! What compaction and checkpoints cost: a real engine on a real disk, filled to a share of its space
//! and then overwritten for long.
//!
//! Prints one line of JSON: write amplification (bytes that compaction wrote to the log for each byte
//! that requests wrote, plus one), and the latencies of GET and PUT by what the engine did in the
//! background meanwhile. All of that is of one run: as long as free space lasts nothing is compacted.
//!
//! Invariant: write amplification is counted only after as much was overwritten as the space holds.
//! Not here: several cores, bodies in slabs (their space is used again without being moved).

use clap::Parser;
use engine::store::{EngineOptions, FormatOptions};
use engine::{EngineMetrics, Which};
use glommio::spawn_local;
use hdrhistogram::Histogram;
use ringfort_bench::keys::{KeyShape, mixed};
use ringfort_bench::limits::{BODY_BYTES_MAX, CONCURRENCY_MAX};
use ringfort_bench::report::{exit_code, print};
use ringfort_bench::store::{
    Fill, Store, on_executor, open_with, put, store_path, temporary_directory,
};
use ringfort_bench::{Error, Result};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Parser)]
#[command(about = "Write amplification and latencies of an engine that compacts")]
struct Options {
    /// A directory on the disk to be measured, not tmpfs; a temporary one is made in it.
    #[arg(long)]
    data_dir: PathBuf,
    /// The store's space, in MiB.
    #[arg(long, default_value_t = 512)]
    capacity_mib: u64,
    #[arg(long, default_value_t = 4)]
    segment_mib: u64,
    /// Share of what the log may fill that is alive, in percent.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(10..=95))]
    utilisation: u64,
    #[arg(long, default_value_t = 4096)]
    body_bytes: usize,
    /// Ninety of a hundred writes go to a tenth of the keys.
    #[arg(long)]
    skewed: bool,
    /// How often the space is written over before it counts, and then while it counts.
    #[arg(long, default_value_t = 2)]
    warm_up_rounds: u64,
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// Writers, and as many readers.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Requests of each kind in a second, so that latencies are those of a load that the disk bears;
    /// zero for as many as there can be.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// A checkpoint after so much log, in MiB.
    #[arg(long, default_value_t = 64)]
    checkpoint_mib: u64,
}

/// What the engine did in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Background {
    Nothing,
    Checkpoint,
    Compaction,
}

#[derive(Debug, Serialize)]
struct Latencies {
    count: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

#[derive(Debug, Serialize)]
struct Phase {
    get: Latencies,
    put: Latencies,
}

#[derive(Debug, Serialize)]
struct Report {
    utilisation_percent: u64,
    skewed: bool,
    keys: u64,
    body_bytes: usize,
    capacity_bytes: u64,
    segment_bytes: u64,
    direct_io: bool,
    live_log_bytes: u64,
    log_capacity_bytes: u64,
    /// While it counted.
    requests_log_bytes: u64,
    relocated_bytes: u64,
    checkpoint_bytes: u64,
    segments_compacted: u64,
    checkpoints: u64,
    write_amplification: f64,
    /// With the bytes of checkpoints.
    write_amplification_all: f64,
    puts_per_second: f64,
    refused: u64,
    nothing: Phase,
    checkpoint: Phase,
    compaction: Phase,
}

fn main() -> ExitCode {
    exit_code("compaction", measure(Options::parse()))
}

fn measure(options: Options) -> Result<()> {
    let body = 1..=BODY_BYTES_MAX;
    if !body.contains(&options.body_bytes) || !(1..=CONCURRENCY_MAX).contains(&options.concurrency)
    {
        return Err(Error::Options("bodies or concurrency are out of range".into()));
    }
    let directory = temporary_directory(&options.data_dir)?;
    let path = store_path(directory.path());
    let report = on_executor(async move || {
        let format = FormatOptions {
            shard_count: 1,
            segment_bytes: options.segment_mib << 20,
            capacity_bytes: options.capacity_mib << 20,
        };
        let engine_options = EngineOptions {
            log_utilisation_max_percent: 97,
            checkpoint_log_bytes: options.checkpoint_mib << 20,
            ..EngineOptions::default()
        };
        let store = Rc::new(open_with(&path, format, engine_options).await?);
        let report = run(&options, &store).await;
        store.engine.close().await;
        report
    })?;
    print(&report)
}

/// Latencies of one kind of request, in microseconds, by background.
struct Recorder([RefCell<Histogram<u64>>; 3]);

impl Recorder {
    fn new() -> Result<Self> {
        let histogram = || {
            Histogram::new_with_max(60_000_000, 3)
                .map(RefCell::new)
                .map_err(|_| Error::Options("the histogram's bounds".into()))
        };
        Ok(Self([histogram()?, histogram()?, histogram()?]))
    }

    fn record(&self, background: Background, begun: Instant) {
        let micros = begun.elapsed().as_micros() as u64;
        self.0[background as usize].borrow_mut().saturating_record(micros);
    }

    fn latencies(&self, background: Background) -> Latencies {
        let histogram = self.0[background as usize].borrow();
        Latencies {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// What the tasks of one run share.
struct Run {
    store: Rc<Store>,
    fill: Fill,
    keys: u64,
    skewed: bool,
    gets: Recorder,
    puts: Recorder,
    left: Cell<u64>,
    done: Cell<u64>,
    first: Cell<u64>,
    refused: Cell<u64>,
    started: Cell<Instant>,
    rate: u64,
}

impl Run {
    fn background(&self) -> Background {
        let metrics = self.store.engine.metrics();
        if metrics.shards_in_compaction > 0 {
            Background::Compaction
        } else if metrics.shards_in_checkpoint > 0 {
            Background::Checkpoint
        } else {
            Background::Nothing
        }
    }

    fn any_key(&self, chance: u64) -> u64 {
        let number = mixed(chance);
        let hot = (self.keys / 10).max(1);
        if self.skewed && number % 10 < 9 { mixed(number) % hot } else { mixed(number) % self.keys }
    }

    /// Waits until the request with this number is due.
    async fn pace(&self, number: u64) {
        let passed_ns = (number - self.first.get()) * 1_000_000_000;
        let due = Duration::from_nanos(passed_ns.checked_div(self.rate).unwrap_or(0));
        if let Some(wait) = due.checked_sub(self.started.get().elapsed()) {
            glommio::timer::sleep(wait).await;
        }
    }

    /// A request that met background work at its beginning or at its end is counted there.
    fn met(&self, before: Background) -> Background {
        if before == Background::Nothing { self.background() } else { before }
    }

    async fn write(&self, number: u64) -> Result<()> {
        self.pace(number).await;
        let (key, before, begun) = (self.any_key(number), self.background(), Instant::now());
        let engine = &self.store.engine;
        match put(engine, self.store.bucket, self.fill, key).await {
            Ok(()) => self.puts.record(self.met(before), begun),
            Err(Error::Engine(engine::Error::OutOfSpace)) => {
                self.refused.set(self.refused.get() + 1);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn read(&self, number: u64) -> Result<()> {
        self.pace(number).await;
        let key = self.fill.shape.key(self.any_key(number ^ 0x5eed));
        let (before, begun) = (self.background(), Instant::now());
        let reader =
            self.store.engine.open(self.store.bucket, key.as_bytes(), Which::Latest).await?;
        if let Some(mut reader) = reader {
            while reader.next().await?.is_some() {}
        }
        self.gets.record(self.met(before), begun);
        Ok(())
    }

    fn phase(&self, background: Background) -> Phase {
        Phase { get: self.gets.latencies(background), put: self.puts.latencies(background) }
    }
}

async fn run(options: &Options, store: &Rc<Store>) -> Result<Report> {
    let fill = Fill {
        shape: KeyShape::Hashed,
        body_bytes: options.body_bytes,
        varied: false,
        concurrency: options.concurrency.max(64),
    };
    // What an object takes is measured, not reckoned.
    const SAMPLE: u64 = 1000;
    store.fill(fill, 0..SAMPLE).await?;
    let capacity_bytes = options.capacity_mib << 20;
    let per_key = store.engine.metrics().log_live_bytes / SAMPLE;
    let mut keys = SAMPLE;
    // What the log may fill shrinks as the index grows.
    loop {
        let wanted = store.engine.metrics().log_capacity_bytes * options.utilisation / 100;
        let enough = wanted / per_key.max(1);
        if keys >= enough {
            break;
        }
        let next = enough.min(keys + (enough / 16).max(SAMPLE));
        store.fill(fill, keys..next).await?;
        keys = next;
    }
    let run = Rc::new(Run {
        store: store.clone(),
        fill,
        keys,
        skewed: options.skewed,
        gets: Recorder::new()?,
        puts: Recorder::new()?,
        left: Cell::new(0),
        done: Cell::new(0),
        first: Cell::new(0),
        refused: Cell::new(0),
        started: Cell::new(Instant::now()),
        rate: options.rate,
    });
    let round = capacity_bytes / per_key.max(1);
    overwrite(&run, round * options.warm_up_rounds, options.concurrency).await?;
    let (before, begun) = (store.engine.metrics(), Instant::now());
    overwrite(&run, round * options.rounds, options.concurrency).await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(report(options, &run, &before, round as f64 * options.rounds as f64 / seconds))
}

/// So many writes, and as many reads.
async fn overwrite(run: &Rc<Run>, count: u64, concurrency: usize) -> Result<()> {
    // Every round goes on with other keys.
    let first = run.done.get();
    run.first.set(first);
    run.left.set(first + count);
    run.started.set(Instant::now());
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let run = run.clone();
            spawn_local(async move {
                while run.done.get() < run.left.get() {
                    let number = run.done.replace(run.done.get() + 1);
                    run.write(number).await?;
                    run.read(number).await?;
                }
                Ok(())
            })
        })
        .collect();
    let mut result = Ok(());
    for task in tasks {
        result = result.and(task.await);
    }
    result
}

fn report(options: &Options, run: &Run, before: &EngineMetrics, puts_per_second: f64) -> Report {
    let after = run.store.engine.metrics();
    let requests_log_bytes = after.log_bytes_total - before.log_bytes_total;
    let relocated_bytes = after.relocated_bytes_total - before.relocated_bytes_total;
    let checkpoint_bytes = after.checkpoint_bytes_total - before.checkpoint_bytes_total;
    let share = |bytes: u64| 1.0 + bytes as f64 / requests_log_bytes.max(1) as f64;
    Report {
        utilisation_percent: options.utilisation,
        skewed: options.skewed,
        keys: run.keys,
        body_bytes: options.body_bytes,
        capacity_bytes: options.capacity_mib << 20,
        segment_bytes: options.segment_mib << 20,
        direct_io: run.store.direct_io,
        live_log_bytes: after.log_live_bytes,
        log_capacity_bytes: after.log_capacity_bytes,
        requests_log_bytes,
        relocated_bytes,
        checkpoint_bytes,
        segments_compacted: after.segments_compacted_total - before.segments_compacted_total,
        checkpoints: after.checkpoints_total - before.checkpoints_total,
        write_amplification: share(relocated_bytes),
        write_amplification_all: share(relocated_bytes + checkpoint_bytes),
        puts_per_second,
        refused: run.refused.get(),
        nothing: run.phase(Background::Nothing),
        checkpoint: run.phase(Background::Checkpoint),
        compaction: run.phase(Background::Compaction),
    }
}
