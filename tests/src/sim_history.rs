//! A seeded history: lives of a machine, each ended by an orderly stop, a kill or a power loss, with
//! clients that keep the store busy and an audit at each start.
//!
//! The seed chooses everything. A history either runs to its end or gives the list of what was
//! wrong, with the seed.

use crate::sim::{Machine, Running, join_all, within};
use crate::sim_client::Client;
use crate::sim_damage::{Damage, Target, segments};
use crate::sim_world::{BUCKETS, Tolerance, World};
use engine::Error;
use engine::format::segment::SegmentKind;
use engine::limits::UNIT_BYTES;
use engine::platform::Platform;
use engine::platform::sim::{Crashed, Fault};
use engine::store::{FormatOptions, Mutation};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// No life takes so long; one that does hangs.
const LIFE_MAX: Duration = Duration::from_secs(600);

/// Starts that may fail in a row because of planned faults.
const FAILED_STARTS_MAX: usize = 12;

/// What kind of history a seed is to make.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// I/O errors are planned.
    pub faults: bool,
    /// A rule of the engine is broken.
    pub mutation: Option<Mutation>,
}

/// What a history did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub lives: u64,
    pub answered: u64,
    pub crashes: u64,
    pub refused_starts: u64,
    /// Of every I/O with its time.
    pub digest: u64,
}

impl Summary {
    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.answered += other.answered;
        self.crashes += other.crashes;
        self.refused_starts += other.refused_starts;
        self.digest ^= other.digest;
    }
}

/// How a life ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// After one look at everything; nothing is written.
    Look,
    /// All clients finish, then the store is closed in order.
    Close,
    /// All clients finish, then the power fails at once.
    PowerWhenDone,
    PowerAfter(Duration),
    KillAfter(Duration),
    /// Power fails around the I/O that is so many ahead.
    PowerBeforeIo(u64),
    PowerAfterIo(u64),
}

struct History {
    machine: Machine,
    world: World,
    kind: Kind,
    summary: Summary,
    /// What was left for new data when the store was last closed in order.
    available: Option<u64>,
}

/// Runs the history of a seed.
///
/// # Errors
/// Everything that broke a rule.
pub fn run(seed: u64, kind: Kind) -> Result<Summary, Vec<String>> {
    let mut history = History::new(seed, kind);
    history.run();
    history.summary.answered = history.world.answered.get();
    history.summary.digest = history.machine.sim.history_digest();
    let violations = history.world.violations();
    if violations.is_empty() { Ok(history.summary) } else { Err(violations) }
}

/// What became of a store whose medium was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Struck {
    /// The start was refused, and went well after a repair.
    Refused,
    /// The store was served; what was asked for was given right or with an error.
    Served,
    /// There was nothing of that kind to damage.
    Missed,
}

/// Fills a store, damages its medium at rest or while it runs, and judges what it says then.
///
/// # Errors
/// Everything that broke a rule.
pub fn run_damaged(seed: u64, target: Target) -> Result<Struck, Vec<String>> {
    let mut history = History::new(seed, Kind::default());
    let struck = history.run_damaged(target);
    let violations = history.world.violations();
    if violations.is_empty() { Ok(struck) } else { Err(violations) }
}

/// Runs the histories of many seeds; panics at the first that breaks a rule, saying how to rerun it.
pub fn campaign(test: &str, seeds: std::ops::Range<u64>, kind: Kind) -> Summary {
    let mut total = Summary::default();
    for seed in seeds {
        let _names_the_seed = OnPanic(format!(
            "to rerun: RINGFORT_SIM_FIRST_SEED={seed} RINGFORT_SIM_SEEDS=1 cargo test -p \
             ringfort-tests {test}"
        ));
        match run(seed, kind) {
            Ok(summary) => total.add(summary),
            Err(violations) => panic!("seed {seed}:\n{}", violations.join("\n")),
        }
    }
    total
}

/// Prints a line if the test panics while this is alive.
struct OnPanic(String);

impl Drop for OnPanic {
    #[expect(clippy::print_stderr, reason = "a test tells how to rerun it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

impl History {
    fn new(seed: u64, kind: Kind) -> Self {
        let world = World::new(seed, Tolerance::default());
        let scarce = world.one_in(8);
        world.tolerance.set(Tolerance { scarce, faults: kind.faults, damage: false });
        let shard_count = 1 + world.below(4) as u16;
        let drives = if shard_count.is_multiple_of(2) && world.one_in(3) { 2 } else { 1 };
        let per_shard = if scarce { 5 + world.below(10) } else { 160 };
        let shards_per_drive = u64::from(shard_count) / drives;
        let format = FormatOptions {
            shard_count,
            segment_bytes: 1 << 20,
            capacity_bytes: (per_shard * shards_per_drive) << 20,
        };
        let mut machine = Machine::new(seed, format);
        machine.dirs = (0..drives).map(|drive| PathBuf::from(format!("/data-{drive}"))).collect();
        machine.options.mutation = kind.mutation;
        machine.options.open_files_max = 1 + world.below(8) as usize;
        machine.options.fill_ahead_bytes = [0, 64 << 10, 1 << 20][world.below(3) as usize];
        if world.one_in(3) {
            machine.options.body_budget_bytes = 4 << 20;
        }
        Self { machine, world, kind, summary: Summary::default(), available: None }
    }

    fn run(&mut self) {
        let lives = 2 + self.world.below(5);
        for _ in 0..lives {
            self.one_life(false);
            if !self.world.violations().is_empty() {
                return;
            }
        }
        self.world.tolerance.set(Tolerance { faults: false, ..self.world.tolerance.get() });
        self.one_life(true);
    }

    fn run_damaged(&mut self, target: Target) -> Struck {
        let ending = if self.world.one_in(2) { Ending::Close } else { Ending::PowerWhenDone };
        for ending in [Ending::Close, ending] {
            let _ = self.life(ending, None);
            self.world.stop();
            self.machine.sim.crash();
        }
        let Some(damage) = Damage::choose(&self.machine, &self.world, target) else {
            return Struck::Missed;
        };
        let hot = matches!(target, Target::Slab | Target::GroupContent) && self.world.one_in(3);
        if !hot {
            damage.strike(&self.machine);
        }
        let tolerance = self.world.tolerance.get();
        self.world.tolerance.set(Tolerance { damage: true, ..tolerance });
        let outcome = self.life(Ending::Look, hot.then_some(&damage));
        self.machine.sim.crash();
        if let Ok(Ok(_)) = outcome {
            return Struck::Served;
        }
        damage.repair(&self.machine);
        self.world.tolerance.set(tolerance);
        if let Ok(Err(error)) = self.life(Ending::Look, None) {
            self.world.fail(format!("{damage:?} was repaired; refused all the same: {error}"));
        }
        Struck::Refused
    }

    fn life(
        &self,
        ending: Ending,
        damage: Option<&Damage>,
    ) -> Result<Result<Option<u64>, Error>, Crashed> {
        let (machine, world) = (&self.machine, &self.world);
        let life = Life { machine, world, ending, last: false, damage };
        machine.sim.run_until(life.live(None))
    }

    /// Starts the store, audits it, works with it, and stops it somehow.
    fn one_life(&mut self, last: bool) {
        if !last && self.world.one_in(3) {
            // Somewhere in formatting or recovery, or soon after.
            let io = self.machine.sim.counters().ios + self.world.below(80);
            self.machine.sim.crash_before_io(io);
        }
        let mut failed_starts = 0;
        loop {
            if self.kind.faults && !last {
                self.plan_faults();
            }
            self.summary.lives += 1;
            let ending = if last { Ending::Close } else { self.any_ending() };
            let (machine, world) = (&self.machine, &self.world);
            let life = Life { machine, world, ending, last, damage: None };
            let outcome = self.machine.sim.run_until(life.live(self.available));
            self.world.stop();
            self.machine.sim.forget_faults();
            match outcome {
                Ok(Ok(available)) => {
                    // After a refusal to make a segment no other is made until the next start.
                    self.available = available.filter(|_| !self.kind.faults);
                    // A close that was not asked for is no reason to lose anything either.
                    if available.is_none() || self.world.one_in(2) {
                        self.machine.sim.crash();
                    } else {
                        self.machine.sim.kill();
                    }
                    return;
                }
                Ok(Err(error)) => {
                    self.summary.refused_starts += 1;
                    failed_starts += 1;
                    self.available = None;
                    self.machine.sim.crash();
                    if !self.kind.faults || last || failed_starts > FAILED_STARTS_MAX {
                        self.world.fail(format!("the start was refused: {error}"));
                        return;
                    }
                }
                Err(_crashed) => {
                    self.summary.crashes += 1;
                    self.available = None;
                    if !last {
                        return;
                    }
                }
            }
        }
    }

    fn any_ending(&self) -> Ending {
        let time = Duration::from_micros(self.world.below(60_000));
        match self.world.below(10) {
            0..2 => Ending::Close,
            2 => Ending::PowerWhenDone,
            3..5 => Ending::PowerAfter(time),
            5..7 => Ending::KillAfter(time),
            7 => Ending::PowerBeforeIo(self.world.below(600)),
            _ => Ending::PowerAfterIo(self.world.below(600)),
        }
    }

    fn plan_faults(&self) {
        let counters = self.machine.sim.counters();
        let sim = &self.machine.sim;
        for _ in 0..1 + self.world.below(2) {
            match self.world.below(4) {
                0 => sim.inject(Fault::ReadError { nth: counters.reads + self.world.below(120) }),
                1 => sim.inject(Fault::WriteError { nth: counters.writes + self.world.below(120) }),
                2 => sim.inject(Fault::SyncError { nth: counters.syncs + self.world.below(30) }),
                _ => sim
                    .inject(Fault::NoSpace { nth: counters.preallocations + self.world.below(8) }),
            }
        }
    }
}

/// One life of the machine.
struct Life<'a> {
    machine: &'a Machine,
    world: &'a World,
    ending: Ending,
    last: bool,
    /// Strikes once the store has started.
    damage: Option<&'a Damage>,
}

impl Life<'_> {
    /// Returns what is left for new data if the store was closed in order.
    async fn live(self, available: Option<u64>) -> Result<Option<u64>, Error> {
        let platform = self.machine.sim.platform();
        let life = within(&platform, LIFE_MAX, self.live_on(available)).await;
        life.unwrap_or_else(|| {
            let phase = self.world.phase.get();
            self.world.fail(format!("something hangs: {phase} ({:?})", self.ending));
            Ok(None)
        })
    }

    async fn live_on(&self, available: Option<u64>) -> Result<Option<u64>, Error> {
        let cores = 1 + self.world.below(3) as usize;
        self.world.phase.set("the start");
        let running = self.machine.start(cores).await?;
        self.world.phase.set("the audit of the start");
        if !self.make_buckets(&running).await {
            return Ok(None);
        }
        if let Some(damage) = self.damage {
            damage.strike(self.machine);
        }
        let auditor = Client { world: self.world, running: &running, number: 0 };
        auditor.audit().await;
        if matches!(self.ending, Ending::Look) {
            return Ok(None);
        }
        self.compare_space(&running, available).await;
        if !self.world.violations().is_empty() {
            return Ok(None);
        }
        self.world.phase.set("the clients");
        let clients = 1 + self.world.below(5) as usize;
        let count = 4 + self.world.below(if self.last { 8 } else { 40 });
        let work = join_all(
            (0..clients)
                .map(|number| Client { world: self.world, running: &running, number }.run(count)),
        );
        self.end_in_time(running.platform(), work).await;
        if matches!(self.ending, Ending::PowerWhenDone) {
            return Ok(None);
        }
        let figures = running.quiet().await;
        self.world.phase.set("the last audit");
        if figures.shards_read_only > 0 || figures.drives_offline > 0 {
            // What became of a write that failed is only known after the next start.
            running.close().await;
            return Ok(None);
        }
        self.world.stop();
        auditor.audit().await;
        if figures.pins_held > 0 || figures.body_bytes > 0 {
            self.world.fail(format!("readers or writers left something behind: {figures:?}"));
        }
        if self.last {
            auditor.clear().await;
            let left = running.quiet().await.available_bytes;
            self.check_empty(left);
        }
        let left = running.quiet().await;
        self.world.phase.set("the close");
        running.close().await;
        Ok((left.shards_read_only == 0).then_some(left.available_bytes))
    }

    /// Runs the clients until they are done or the life ends.
    async fn end_in_time(
        &self,
        platform: &engine::platform::sim::SimPlatform,
        work: impl Future<Output = Vec<()>>,
    ) {
        let sim = &self.machine.sim;
        let time = match self.ending {
            Ending::Look | Ending::Close | Ending::PowerWhenDone => {
                work.await;
                return;
            }
            Ending::PowerBeforeIo(ahead) => {
                sim.crash_before_io(sim.counters().ios + ahead);
                work.await;
                return;
            }
            Ending::PowerAfterIo(ahead) => {
                sim.crash_after_io(sim.counters().ios + ahead);
                work.await;
                return;
            }
            Ending::PowerAfter(time) | Ending::KillAfter(time) => time,
        };
        if within(platform, time, work).await.is_some() {
            return;
        }
        match self.ending {
            Ending::KillAfter(_) => sim.kill(),
            _ => sim.crash(),
        }
        // The machine stops when this waits.
        platform.sleep(Duration::from_secs(1)).await;
    }

    /// The buckets in which clients work are there from the first start that lets them be made.
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

    /// A restart finds as much space as there was before it: more means that space had leaked.
    async fn compare_space(&self, running: &Running, before: Option<u64>) {
        let Some(before) = before else {
            return;
        };
        let now = running.quiet().await.available_bytes;
        // Recovery ends with a group of its own, for which a log may have to go on elsewhere.
        let rolled = u64::from(self.machine.format.shard_count) * self.machine.format.segment_bytes;
        // A slab that was opened and not used yet is free after a restart, its first unit too.
        let slack = self.segments(SegmentKind::Slab) * UNIT_BYTES as u64;
        if now > before + slack || now + rolled < before {
            self.world.fail(format!("available before the restart {before}, after it {now}"));
        }
    }

    /// With no object left, all space but the logs' is available.
    fn check_empty(&self, available: u64) {
        let format = &self.machine.format;
        let (logs, slabs) = (self.segments(SegmentKind::Log), self.segments(SegmentKind::Slab));
        let (logs, slack) = (logs * format.segment_bytes, slabs * UNIT_BYTES as u64);
        let shards = u64::from(format.shard_count);
        let reserve = shards * format.segment_bytes;
        let all = format.capacity_bytes * self.machine.dirs.len() as u64;
        if available + logs + reserve + slack < all {
            self.world.fail(format!(
                "of {all} bytes only {available} are available in an empty store whose logs take \
                 {logs}"
            ));
        }
    }

    /// How many segments have been used so, by their headers.
    fn segments(&self, kind: SegmentKind) -> u64 {
        segments(self.machine, kind).len() as u64
    }
}
