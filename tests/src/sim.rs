//! A simulated machine with a store on it: starting on any number of virtual cores, stopping in order,
//! and the small tools that every simulated test needs.
//!
//! One seed gives one history. Not here: what is done with the store, and what is judged.

use engine::limits::SPACE_WAIT_MAX;
use engine::platform::Platform;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, OpenStore, open_or_format};
use engine::{Engine, EngineMetrics, Error, Shared};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long all work of a shard takes to end once nobody asks for more: writes that wait for space,
/// witness groups and freed space included.
const QUIET: Duration = SPACE_WAIT_MAX.saturating_add(Duration::from_millis(500));

/// A pseudo-random sequence (SplitMix64) for what a test chooses; the simulator has its own.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5eed))
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// A one-to-one scrambling of 64 bits.
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A disk, and how the store on it is laid out and run.
#[derive(Debug)]
pub struct Machine {
    pub sim: Sim,
    pub dirs: Vec<PathBuf>,
    pub format: FormatOptions,
    pub options: EngineOptions,
}

/// A store that is served by some cores. Dropping it frees the lock.
#[derive(Debug)]
pub struct Running {
    pub engines: Vec<Engine<SimPlatform>>,
    _store: OpenStore<SimPlatform>,
}

impl Machine {
    pub fn new(seed: u64, format: FormatOptions) -> Self {
        Self {
            sim: Sim::new(seed, SimOptions { polls_max: 5_000_000, ..SimOptions::default() }),
            dirs: vec![PathBuf::from("/data")],
            format,
            options: EngineOptions {
                fill_ahead_bytes: 64 << 10,
                // Small enough that every life writes some.
                checkpoint_log_bytes: 128 << 10,
                checkpoint_records: 30,
                ..EngineOptions::default()
            },
        }
    }

    /// Opens (or formats) the store and recovers it on `cores` cores.
    pub async fn start(&self, cores: usize) -> Result<Running, Error> {
        let platform = self.sim.platform();
        let store = open_or_format(&platform, &self.dirs, || self.format).await?;
        let shared = Shared::new(cores);
        let starts = (0..cores).map(|core| {
            let layout = store.layout.clone();
            Engine::start(platform.clone(), layout, self.options.clone(), shared.clone(), core)
        });
        let mut engines = Vec::new();
        let mut failure = None;
        for started in join_all(starts).await {
            match started {
                Ok(engine) => engines.push(engine),
                // The core that failed tells more than those that stop because of it.
                Err(Error::Stopping) if failure.is_some() => {}
                Err(error) if matches!(failure, None | Some(Error::Stopping)) => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        match failure {
            None => Ok(Running { engines, _store: store }),
            Some(error) => Err(error),
        }
    }
}

impl Running {
    /// The engine handle that a client uses.
    pub fn engine(&self, client: usize) -> &Engine<SimPlatform> {
        &self.engines[client % self.engines.len()]
    }

    pub fn platform(&self) -> &SimPlatform {
        self.engines[0].platform()
    }

    /// Waits until nothing goes on any more; the figures of all cores together.
    pub async fn quiet(&self) -> EngineMetrics {
        self.platform().sleep(QUIET).await;
        let mut sum = EngineMetrics::default();
        self.engines.iter().for_each(|engine| sum.add(&engine.metrics()));
        sum
    }

    /// Stops in order.
    pub async fn close(self) {
        join_all(self.engines.iter().map(Engine::close)).await;
    }
}

/// Runs futures at once and gives their outputs in order.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waiting = false;
        for (slot, output) in running.iter_mut().zip(&mut outputs) {
            if let Some(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => {
                        *output = Some(value);
                        *slot = None;
                    }
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Runs two futures at once.
pub async fn join_two<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|context| {
        if a.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(context)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(context)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (left, right) => {
                (a, b) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

/// The future's output, or `None` if it takes longer; it is dropped then.
pub async fn within<T>(
    platform: &SimPlatform,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut late = pin!(platform.sleep(limit));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        late.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// How many seeds a campaign takes: `RINGFORT_SIM_SEEDS`, or so many if it is not set.
pub fn seeds(default: u64) -> std::ops::Range<u64> {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = read("RINGFORT_SIM_FIRST_SEED").unwrap_or(0);
    first..first + read("RINGFORT_SIM_SEEDS").unwrap_or(default)
}
