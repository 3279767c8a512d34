//! An engine on glommio executors, set up as the server's cores are: filled on one, reopened on several.
//!
//! Not here: what is measured, and when.

use crate::error::{Error, Result};
use crate::keys::{KeyShape, digest, mixed};
use crate::memory::resident_bytes;
use engine::platform::glommio::{GlommioPlatform, Reactor, direct_io_active};
use engine::store::{EngineOptions, FormatOptions, Layout, OpenStore, open_or_format};
use engine::{BucketId, Commit, Engine, EngineMetrics, Etag, Recovered, Shared, Which};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement, spawn_local};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the server gives each core, unless it is told otherwise.
const IO_MEMORY_BYTES: usize = 64 << 20;
/// Registered memory of the runtime's own, which nothing goes through.
const RUNTIME_IO_MEMORY_BYTES: usize = 1 << 20;
const RING_DEPTH: usize = 1024;
/// An executor that parked although a task could run is woken by this.
const TICK: Duration = Duration::from_millis(50);
/// The store comes to rest: its last witness group is written, its tasks have ended.
pub const REST: Duration = Duration::from_millis(500);

/// The one bucket of every store.
pub const BUCKET: &str = "bench";

/// Runs `work` on an executor of its own thread.
pub fn on_executor<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .name("bench")
        .io_memory(RUNTIME_IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(2))
        .spawn(move || async move {
            let ticker = spawn_local(async {
                loop {
                    sleep(TICK).await;
                }
            });
            let result = work().await;
            ticker.cancel().await;
            result
        });
    let join = executor.map_err(|error| Error::Executor(error.to_string()))?.join();
    join.map_err(|error| Error::Executor(error.to_string()))?
}

/// A store that is open on this executor, with one bucket.
#[derive(Debug)]
pub struct Store {
    pub engine: Engine<GlommioPlatform>,
    pub bucket: BucketId,
    /// How long formatting or looking at the directory took, and then the engine's start.
    pub open: Duration,
    pub start: Duration,
    pub direct_io: bool,
    /// Keeps the directory's lock.
    _open: OpenStore<GlommioPlatform>,
}

/// Opens the store in `directory`, or formats one there that holds `keys` small objects.
pub async fn open(directory: &Path, keys: u64, body_bytes: usize) -> Result<Store> {
    open_with(directory, format_options(keys, body_bytes), engine_options(keys)).await
}

/// Opens the store in `directory`, or formats one there.
pub async fn open_with(
    directory: &Path,
    format: FormatOptions,
    options: EngineOptions,
) -> Result<Store> {
    let platform = platform()?;
    let begin = Instant::now();
    let store = open_or_format(&platform, &[directory.to_owned()], || format).await?;
    let open = begin.elapsed();
    let begin = Instant::now();
    let engine = start_core(&store.layout, options, &Shared::new(1), 0).await?;
    let start = begin.elapsed();
    let known = engine.catalog().bucket(BUCKET).map(|bucket| bucket.id);
    let bucket = match known {
        Some(id) => id,
        None => engine.create_bucket(BUCKET, BTreeMap::new()).await?.id,
    };
    let direct_io =
        direct_io_active(directory).await.map_err(|source| Error::io("direct I/O", source))?;
    Ok(Store { engine, bucket, open, start, direct_io, _open: store })
}

async fn start_core(
    layout: &Layout,
    options: EngineOptions,
    shared: &Arc<Shared>,
    core: usize,
) -> Result<Engine<GlommioPlatform>> {
    let platform = platform()?;
    Ok(Engine::start(platform, layout.clone(), options, Arc::clone(shared), core).await?)
}

/// What one core says of its start.
#[derive(Debug)]
pub struct Started {
    pub recovered: Recovered,
    pub metrics: EngineMetrics,
}

/// The platform of the executor that this is called on.
fn platform() -> Result<GlommioPlatform> {
    Reactor::new(IO_MEMORY_BYTES, 0, Duration::ZERO)
        .and_then(|reactor| GlommioPlatform::new(&reactor))
        .map_err(|source| Error::io("the platform", source))
}

/// What a whole store says of its start.
#[derive(Debug)]
pub struct Reopened {
    /// How long looking at the directory took, and then the start of all cores.
    pub open: Duration,
    pub start: Duration,
    pub cores: Vec<Started>,
    /// Resident bytes of the process once it was at rest again.
    pub resident_bytes: u64,
    /// Of the keys asked for, those that are there.
    pub present: u64,
}

/// Opens a store on several cores, each an executor of its own thread, as the server does; looks up the
/// keys of some numbers.
pub async fn reopen(
    directory: &Path,
    keys: u64,
    cores: usize,
    (shape, checked): (KeyShape, Vec<u64>),
) -> Result<Reopened> {
    let platform = platform()?;
    let begin = Instant::now();
    let format = || format_options(keys, 0);
    let store = open_or_format(&platform, &[directory.to_owned()], format).await?;
    let open = begin.elapsed();
    let shared = Shared::new(cores);
    let (begin, is_over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let others: Vec<_> = (1..cores)
        .map(|core| {
            let (layout, shared) = (store.layout.clone(), Arc::clone(&shared));
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                on_executor(async move || {
                    let engine = start_core(&layout, engine_options(keys), &shared, core).await?;
                    while !is_over.load(Ordering::Acquire) {
                        sleep(TICK).await;
                    }
                    Ok(close(engine).await)
                })
            })
        })
        .collect();
    let engine = start_core(&store.layout, engine_options(keys), &shared, 0).await?;
    // It waits for the others.
    let start = begin.elapsed();
    sleep(REST).await;
    let resident_bytes = resident_bytes()?;
    let bucket = engine.catalog().bucket(BUCKET).map(|bucket| bucket.id);
    let mut present = 0;
    for number in checked {
        let key = shape.key(number);
        let bucket = bucket.ok_or_else(|| Error::Options("there is no bucket".into()))?;
        present += u64::from(engine.lookup(bucket, key.as_bytes(), Which::Latest).await?.is_some());
    }
    is_over.store(true, Ordering::Release);
    let mut started = vec![close(engine).await];
    for other in others {
        let ended = other.join().map_err(|_| Error::Executor("a core panicked".into()))?;
        started.push(ended?);
    }
    Ok(Reopened { open, start, cores: started, resident_bytes, present })
}

async fn close(engine: Engine<GlommioPlatform>) -> Started {
    let started = Started { recovered: engine.recovered(), metrics: engine.metrics() };
    engine.close().await;
    started
}

/// Room for each object's head, and for the padding of groups.
fn format_options(keys: u64, body_bytes: usize) -> FormatOptions {
    let capacity_bytes = (4 << 30) + keys * (body_bytes as u64 + 1024);
    FormatOptions::for_capacity(capacity_bytes, 1, 1)
}

/// The index may grow to twice what it is promised to take.
fn engine_options(keys: u64) -> EngineOptions {
    let index_budget_bytes = (1 << 30) + 200 * keys as usize;
    EngineOptions { index_budget_bytes, ..EngineOptions::default() }
}

/// What is put, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    pub shape: KeyShape,
    pub body_bytes: usize,
    /// Bodies of one byte up to `body_bytes`, instead of all of one length.
    pub varied: bool,
    /// Puts in flight.
    pub concurrency: usize,
}

impl Fill {
    fn body_bytes_of(&self, number: u64) -> usize {
        if self.varied && self.body_bytes > 0 {
            1 + mixed(number ^ 0x517e) as usize % self.body_bytes
        } else {
            self.body_bytes
        }
    }
}

impl Store {
    /// Puts the objects of these numbers; all are durable when it returns.
    pub async fn fill(&self, fill: Fill, numbers: Range<u64>) -> Result<()> {
        let next = Rc::new(Cell::new(numbers.start));
        let putters: Vec<_> = (0..fill.concurrency)
            .map(|_| {
                let (engine, bucket) = (self.engine.clone(), self.bucket);
                let (next, end) = (Rc::clone(&next), numbers.end);
                spawn_local(async move {
                    while next.get() < end {
                        let number = next.replace(next.get() + 1);
                        if let Err(error) = put(&engine, bucket, fill, number).await {
                            // One failure ends the others too.
                            next.set(end);
                            return Err(error);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let mut result = Ok(());
        for putter in putters {
            result = result.and(putter.await);
        }
        result
    }
}

/// Puts the object of a number.
pub async fn put(
    engine: &Engine<GlommioPlatform>,
    bucket: BucketId,
    fill: Fill,
    number: u64,
) -> Result<()> {
    let key = fill.shape.key(number);
    let mut left = fill.body_bytes_of(number);
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(left as u64)).await?;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(number as u8);
        writer.advance(count).await?;
        left -= count;
    }
    // Every object's ETag differs, as it does in earnest: equal ones would pack better.
    let etag = Etag { md5: digest(number), parts: 0 };
    writer.finish(Commit { etag, ..Commit::default() }).await?;
    Ok(())
}

/// A directory for one store, removed when dropped.
pub fn temporary_directory(parent: &Path) -> Result<tempfile::TempDir> {
    let context = || format!("a directory below {}", parent.display());
    tempfile::Builder::new()
        .prefix("ringfort-bench-")
        .tempdir_in(parent)
        .map_err(|source| Error::io(context(), source))
}

/// Where the store lies in a temporary directory.
pub fn store_path(directory: &Path) -> PathBuf {
    directory.join("store")
}
