//! One small history that is run again and again, each time with something going wrong at another I/O:
//! the power fails around it, or it gives an error.
//!
//! The history formats a store, fills its few segments until they are compacted, written to checkpoints
//! and used again, and is followed by a recovery with a little work, and by a last look. The seed makes it
//! the same each time up to the moment at which it is struck.
//!
//! Not here: which I/Os are struck.

use crate::model::Guard;
use crate::sim::{Machine, Running, join_all, within};
use crate::sim_client::Client;
use crate::sim_offline::verify;
use crate::sim_shape::Shape;
use crate::sim_world::{BUCKETS, Tolerance, World};
use engine::platform::sim::{Counters, Fault};
use engine::{EngineMetrics, Error};
use std::collections::BTreeMap;
use std::time::Duration;

/// Times that the first life overwrites its keys.
const ROUNDS: u64 = 5;
/// What fills the log: bodies that lie in records.
const BODY_BYTES: u64 = 90_000;
/// A life that takes longer hangs.
const LIFE_MAX: Duration = Duration::from_secs(2000);

/// Lives that may be struck: the first one, and the recovery from what it left.
pub const LIVES: usize = 2;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    CrashBefore,
    CrashAfter,
    ReadError,
    WriteError,
    SyncError,
    NoSpace,
}

impl Strike {
    fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }

    /// I/Os that this may happen to.
    pub fn count(self, counters: &Counters) -> u64 {
        match self {
            Self::CrashBefore | Self::CrashAfter => counters.ios,
            Self::ReadError => counters.reads,
            Self::WriteError => counters.writes,
            Self::SyncError => counters.syncs,
            Self::NoSpace => counters.preallocations,
        }
    }

    fn fault(self, nth: u64) -> Fault {
        match self {
            Self::CrashBefore => Fault::CrashBefore { io: nth },
            Self::CrashAfter => Fault::CrashAfter { io: nth },
            Self::ReadError => Fault::ReadError { nth },
            Self::WriteError => Fault::WriteError { nth },
            Self::SyncError => Fault::SyncError { nth },
            Self::NoSpace => Fault::NoSpace { nth },
        }
    }
}

/// What is struck in one life: the kind of thing, and at which I/O of its kind, counted from the life's
/// beginning.
pub type Plan = [Option<(Strike, u64)>; LIVES];

/// What a run did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    /// I/Os of each life.
    pub ios: [Counters; LIVES],
    pub crashed: [bool; LIVES],
    /// Of the first life, if it came to its end.
    pub figures: EngineMetrics,
}

struct History {
    machine: Machine,
    world: World,
}

/// Runs the history of a seed.
///
/// # Errors
/// Everything that broke a rule.
pub fn run(seed: u64, plan: Plan) -> Result<Done, Vec<String>> {
    let shape = Shape::smallest();
    let history = History { machine: shape.machine(seed), world: World::new(seed, shape) };
    let mut done = Done::default();
    for (life, planned) in plan.into_iter().enumerate() {
        history.struck_life(life, planned, &mut done);
    }
    history.last_life();
    let violations = history.world.violations();
    if violations.is_empty() { Ok(done) } else { Err(violations) }
}

impl History {
    fn struck_life(&self, life: usize, planned: Option<(Strike, u64)>, done: &mut Done) {
        let Self { machine: Machine { sim, .. }, world } = self;
        let before = sim.counters();
        let faults = planned.is_some_and(|(strike, _)| !strike.is_crash());
        world.tolerance.set(Tolerance { faults, ..world.tolerance.get() });
        if let Some((strike, nth)) = planned {
            sim.inject(strike.fault(strike.count(&before) + nth));
        }
        let outcome = sim.run_until(self.live(life));
        sim.forget_faults();
        world.stop();
        sim.crash();
        done.ios[life] = since(&before, &sim.counters());
        match outcome {
            Ok(Ok(figures)) if life == 0 => done.figures = figures,
            Ok(Ok(_)) => {}
            Ok(Err(error)) if faults => {
                let is_explained = !matches!(error, Error::Offline { .. });
                if !is_explained {
                    world.fail(format!("a start was refused for no good reason: {error}"));
                }
            }
            Ok(Err(error)) => world.fail(format!("start {life} was refused: {error}")),
            Err(_crashed) => done.crashed[life] = true,
        }
    }

    /// All is well again: what was acknowledged is there, the store works, and its files pass their check.
    fn last_life(&self) {
        let world = &self.world;
        world.tolerance.set(Tolerance { faults: false, ..world.tolerance.get() });
        match self.machine.sim.run_until(self.live(LIVES)) {
            Ok(Ok(_)) => {}
            other => world.fail(format!("the last start failed: {other:?}")),
        }
        if world.violations().is_empty() {
            verify(&self.machine, world);
        }
    }

    async fn live(&self, life: usize) -> Result<EngineMetrics, Error> {
        let platform = self.machine.sim.platform();
        within(&platform, LIFE_MAX, self.live_on(life)).await.unwrap_or_else(|| {
            self.world.fail(format!("life {life} hangs: {:?}", self.world.doing.borrow()));
            Ok(EngineMetrics::default())
        })
    }

    async fn live_on(&self, life: usize) -> Result<EngineMetrics, Error> {
        let running = self.machine.start(1).await?;
        let client = Client { world: &self.world, running: &running, number: 0 };
        if self.make_buckets(&running).await {
            client.audit().await;
            if life == 0 {
                fill(client).await;
            }
            client.run(6).await;
        }
        let figures = running.quiet().await;
        if figures.shards_read_only == 0 && figures.drives_offline == 0 {
            self.world.stop();
            client.audit().await;
        }
        running.close().await;
        Ok(figures)
    }

    async fn make_buckets(&self, running: &Running) -> bool {
        for name in BUCKETS {
            let engine = running.engine(0);
            if engine.catalog().bucket(name).is_some() {
                continue;
            }
            if let Err(error) = engine.create_bucket(name, BTreeMap::new()).await {
                self.world.judge_error(&error, name);
                return false;
            }
        }
        true
    }
}

/// Overwrites all keys again and again, and does a few things of every kind in between.
async fn fill(client: Client<'_>) {
    let keys = client.world.keys().len();
    for _ in 0..ROUNDS {
        for bucket in 0..BUCKETS.len() {
            let puts = (0..keys).map(|key| {
                let guard = Guard::Always;
                async move { client.put_sized((bucket, key), guard, BODY_BYTES).await }
            });
            join_all(puts).await;
        }
        client.run(4).await;
    }
}

fn since(before: &Counters, now: &Counters) -> Counters {
    Counters {
        ios: now.ios - before.ios,
        reads: now.reads - before.reads,
        writes: now.writes - before.writes,
        syncs: now.syncs - before.syncs,
        preallocations: now.preallocations - before.preallocations,
        names: now.names - before.names,
    }
}
