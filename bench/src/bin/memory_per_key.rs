//! What a key costs: fills a real engine on a real disk with tiny objects, and divides what the
//! whole process grew by. With `--restart`, how long the store takes to open after a kill -9.
//!
//! The filling is done by a child process, whose memory holds nothing else and which is killed
//! without a warning once it has told its figures; recovery then runs in the parent. Prints one line
//! of JSON.
//!
//! Invariant: growth is counted between two moments of rest at the same concurrency, so that I/O
//! buffers and tasks, which are touched once and kept, do not pass for the cost of keys.
//! Not here: bodies or attributes of any size (they are not resident), filling by several cores (an
//! index belongs to one).

use clap::Parser;
use ringfort_bench::keys::{KEY_BYTES, KeyShape, mixed};
use ringfort_bench::limits::{
    BODY_BYTES_MAX, CONCURRENCY_MAX, CORES_MAX, KEYS_CHECKED_MAX, KEYS_MAX,
};
use ringfort_bench::memory::resident_bytes;
use ringfort_bench::report::{exit_code, print};
use ringfort_bench::store::{
    Fill, REST, Reopened, Started, on_executor, open, reopen, store_path, temporary_directory,
};
use ringfort_bench::{Error, Result};
use serde::Serialize;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

#[derive(Debug, Clone, Parser)]
#[command(about = "Memory per key of a real engine, and its restart time after a kill -9")]
struct Options {
    /// A directory on the disk to be measured, not tmpfs; a temporary one is made in it.
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    #[arg(long, value_enum, default_value_t = KeyShape::Hashed)]
    key_shape: KeyShape,
    #[arg(long, default_value_t = 16)]
    body_bytes: usize,
    /// Bodies of one byte up to --body-bytes: the index packs equal lengths better.
    #[arg(long)]
    varied: bool,
    /// Puts in flight.
    #[arg(long, default_value_t = 512)]
    concurrency: usize,
    /// Also measure how long the store takes to open after a kill -9.
    #[arg(long)]
    restart: bool,
    /// Cores that share the opening, each with a thread of its own.
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// The child's part: fill the store in --data-dir, tell the figures, wait for the end.
    #[arg(long, hide = true)]
    fill: bool,
}

/// What filling found; all bytes are resident in the whole process unless said otherwise.
#[derive(Debug, Serialize)]
struct Filled {
    keys: u64,
    key_shape: KeyShape,
    key_bytes: usize,
    body_bytes: usize,
    varied: bool,
    concurrency: usize,
    direct_io: bool,
    /// With the engine started and no key in it.
    bytes_empty: u64,
    /// After the first keys had touched every buffer.
    bytes_before: u64,
    bytes_after: u64,
    keys_between: u64,
    /// Growth between the two, by the keys that came between.
    bytes_per_key: f64,
    /// The whole process by all keys, its fixed costs included.
    bytes_per_key_all_told: f64,
    /// By the index's own accounts.
    index_bytes_per_key: f64,
    index_entries: u64,
    puts_per_second: f64,
    flushes: u64,
    log_bytes: u64,
}

/// What opening the same directory again took.
#[derive(Debug, Serialize)]
struct Restarted {
    cores: usize,
    /// Superblocks, lock, directories.
    open_seconds: f64,
    /// The engine's start: recovery of all shards.
    start_seconds: f64,
    /// Keys that came from checkpoints.
    checkpoint_entries: u64,
    log_groups: u64,
    log_records: u64,
    log_bytes: u64,
    index_entries: u64,
    keys_checked: u64,
    /// Resident bytes that recovery added, by key.
    bytes_per_key: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    fill: serde_json::Value,
    restart: Option<Restarted>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = check(&options)
        .and_then(|()| if options.fill { fill_until_killed(options) } else { measure(options) });
    exit_code("memory_per_key", result)
}

fn check(options: &Options) -> Result<()> {
    let bounds = [
        (options.body_bytes <= BODY_BYTES_MAX, "--body-bytes"),
        ((1..=CONCURRENCY_MAX).contains(&options.concurrency), "--concurrency"),
        ((1..=CORES_MAX).contains(&options.cores), "--cores"),
    ];
    match bounds.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(Error::Options(format!("out of bounds: {what}"))),
        None => Ok(()),
    }
}

fn measure(options: Options) -> Result<()> {
    let directory = temporary_directory(&options.data_dir)?;
    let path = store_path(directory.path());
    let fill = fill_in_child(&options, &path)?;
    let restart = options.restart.then(|| {
        let options = options.clone();
        on_executor(async move || restart(&options, &path).await)
    });
    print(&Report { fill, restart: restart.transpose()? })
}

/// The child ends with a kill -9, whatever comes of it.
fn fill_in_child(options: &Options, path: &Path) -> Result<serde_json::Value> {
    let failed = |what: String| Error::Child(what);
    let program = std::env::current_exe().map_err(|source| Error::io("this program", source))?;
    let mut child = Command::new(program)
        .arg("--fill")
        .arg(format!("--data-dir={}", path.display()))
        .arg(format!("--keys={}", options.keys))
        .arg(format!("--key-shape={}", options.key_shape.name()))
        .arg(format!("--body-bytes={}", options.body_bytes))
        .arg(format!("--concurrency={}", options.concurrency))
        .args(options.varied.then_some("--varied"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| Error::io("starting the filling process", source))?;
    let line = first_line(&mut child);
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|source| Error::io("killing the filling process", source))?;
    serde_json::from_str(&line?).map_err(|error| failed(format!("it told no figures: {error}")))
}

fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().ok_or_else(|| Error::Child("it has no output".into()))?;
    let mut line = String::new();
    let read = BufReader::new(output).read_line(&mut line);
    read.map_err(|source| Error::io("reading from the filling process", source))?;
    Ok(line)
}

fn fill_until_killed(options: Options) -> Result<()> {
    on_executor(async move || {
        let filled = fill(&options).await?;
        print(&filled)?;
        // The end of the input means that the parent is gone: then this process goes too.
        let _ = std::io::stdin().read(&mut [0]);
        Ok(())
    })
}

async fn fill(options: &Options) -> Result<Filled> {
    let Options { keys, concurrency, body_bytes, varied, .. } = *options;
    let store = open(&options.data_dir, keys, body_bytes).await?;
    let what = Fill { shape: options.key_shape, body_bytes, varied, concurrency };
    let bytes_empty = resident_at_rest().await?;

    let first = (16 * concurrency as u64).min(keys / 2);
    store.fill(what, 0..first).await?;
    let bytes_before = resident_at_rest().await?;
    let begin = Instant::now();
    store.fill(what, first..keys).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes_after = resident_at_rest().await?;

    let metrics = store.engine.metrics();
    let keys_between = keys - first;
    let per_key = |bytes: u64, keys: u64| bytes as f64 / keys as f64;
    Ok(Filled {
        keys,
        key_shape: options.key_shape,
        key_bytes: KEY_BYTES,
        body_bytes,
        varied,
        concurrency,
        direct_io: store.direct_io,
        bytes_empty,
        bytes_before,
        bytes_after,
        keys_between,
        bytes_per_key: per_key(bytes_after.saturating_sub(bytes_before), keys_between),
        bytes_per_key_all_told: per_key(bytes_after, keys),
        index_bytes_per_key: per_key(metrics.index_bytes, metrics.index_entries.max(1)),
        index_entries: metrics.index_entries,
        puts_per_second: keys_between as f64 / seconds,
        flushes: metrics.flushes_total,
        log_bytes: metrics.log_bytes_total,
    })
}

async fn resident_at_rest() -> Result<u64> {
    glommio::timer::sleep(REST).await;
    resident_bytes()
}

async fn restart(options: &Options, path: &Path) -> Result<Restarted> {
    let before = resident_at_rest().await?;
    let Options { keys, cores, key_shape, .. } = *options;
    let keys_checked = keys.min(KEYS_CHECKED_MAX);
    let numbers = (0..keys_checked).map(|number| mixed(number) % keys).collect();
    let reopened = reopen(path, keys, cores, (key_shape, numbers)).await?;
    let Reopened { open, start, resident_bytes, present, .. } = reopened;
    let sum = |of: fn(&Started) -> u64| reopened.cores.iter().map(of).sum::<u64>();
    let index_entries = sum(|core| core.metrics.index_entries);
    // The bucket has an entry too.
    let (expected, entries) = (keys, index_entries - 1);
    if entries != expected || present != keys_checked {
        return Err(Error::KeysLost { expected, entries, checked: keys_checked, present });
    }
    Ok(Restarted {
        cores,
        open_seconds: open.as_secs_f64(),
        start_seconds: start.as_secs_f64(),
        checkpoint_entries: sum(|core| core.recovered.checkpoint_entries),
        log_groups: sum(|core| core.recovered.groups),
        log_records: sum(|core| core.recovered.records),
        log_bytes: sum(|core| core.recovered.log_bytes),
        index_entries,
        keys_checked,
        bytes_per_key: resident_bytes.saturating_sub(before) as f64 / keys as f64,
    })
}
