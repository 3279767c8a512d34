//! A seeded history: lives of a machine, each ended by an orderly stop, a kill or a power loss, with
//! clients that keep the store busy and an audit at each start.
//!
//! The seed chooses everything. A history either runs to its end or gives the list of what was
//! wrong, with the seed.

use crate::sim::Machine;
use crate::sim_damage::{Damage, Target};
use crate::sim_life::{Ending, Life};
use crate::sim_offline::{Spoilt, rebuild_all, spoil_checkpoints, verify};
use crate::sim_shape::{Form, Shape};
use crate::sim_stray::is_provable;
use crate::sim_world::{Tolerance, World};
use engine::Error;
use engine::platform::sim::{Crashed, Fault};
use engine::store::Mutation;

/// Starts that may fail in a row because of planned faults.
const FAILED_STARTS_MAX: usize = 12;

/// What kind of history a seed is to make.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// I/O errors are planned.
    pub faults: bool,
    /// All histories have this form.
    pub form: Option<Form>,
    /// A rule of the engine is broken.
    pub mutation: Option<Mutation>,
    /// Clients work on keys with versions too.
    pub versions: bool,
}

/// What a history did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub lives: u64,
    pub answered: u64,
    pub crashes: u64,
    pub refused_starts: u64,
    /// What was counted in lives that were looked at to their end.
    pub checkpoints: u64,
    pub recycled: u64,
    pub relocated: u64,
    pub flushes: u64,
    /// Of every I/O with its time.
    pub digest: u64,
}

impl Summary {
    #[expect(clippy::print_stderr, reason = "what a campaign did is part of its proof")]
    fn print(&self, test: &str) {
        eprintln!("{test}: {self:?}");
    }

    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.answered += other.answered;
        self.crashes += other.crashes;
        self.refused_starts += other.refused_starts;
        self.checkpoints += other.checkpoints;
        self.recycled += other.recycled;
        self.relocated += other.relocated;
        self.flushes += other.flushes;
        self.digest ^= other.digest;
    }
}

struct History {
    machine: Machine,
    world: World,
    kind: Kind,
    summary: Summary,
    spoilt: Spoilt,
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
    let figures = history.world.figures.get();
    history.summary.checkpoints = figures.checkpoints_total;
    history.summary.recycled = figures.segments_recycled_total;
    history.summary.relocated = figures.relocated_records_total;
    history.summary.flushes = figures.flushes_total;
    history.summary.digest = history.machine.sim.history_digest();
    let violations = history.world.violations();
    if violations.is_empty() { Ok(history.summary) } else { Err(violations) }
}

/// Lets one write of a store be lost or go astray, and judges what the store says in that life and
/// in the next ones.
///
/// # Errors
/// Everything that broke a rule.
pub fn run_strayed(seed: u64, versions: bool) -> Result<Struck, Vec<String>> {
    let mut history = History::new(seed, Kind { versions, ..Kind::default() });
    let struck = history.run_strayed();
    let violations = history.world.violations();
    if violations.is_empty() { Ok(struck) } else { Err(violations) }
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
    /// Nothing that is left tells of what was lost: see [`crate::sim_stray`].
    Unprovable,
}

/// Fills a store, damages its medium at rest or while it runs, and judges what it says then.
///
/// # Errors
/// Everything that broke a rule.
pub fn run_damaged(seed: u64, target: Target, versions: bool) -> Result<Struck, Vec<String>> {
    let kind = Kind { form: target.form(seed), versions, ..Kind::default() };
    let mut history = History::new(seed, kind);
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
    total.print(test);
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
        let shape = Shape::choose(seed, kind.form);
        let mut machine = shape.machine(seed);
        machine.options.mutation = kind.mutation;
        let world = World::new(seed, shape);
        world.with_versions.set(kind.versions);
        world.tolerance.set(Tolerance { faults: kind.faults, ..world.tolerance.get() });
        Self {
            machine,
            world,
            kind,
            summary: Summary::default(),
            spoilt: Spoilt::new(),
            available: None,
        }
    }

    fn run(&mut self) {
        for _ in 0..self.world.shape.lives {
            self.one_life(false);
            if !self.kind.faults {
                self.work_offline();
            }
            if !self.world.violations().is_empty() {
                return;
            }
        }
        self.world.tolerance.set(Tolerance { faults: false, ..self.world.tolerance.get() });
        self.one_life(true);
    }

    /// Between two lives, without anybody being served.
    fn work_offline(&mut self) {
        let (machine, world) = (&self.machine, &self.world);
        let often = if world.shape.form == Form::Tight { 2 } else { 3 };
        if world.answered.get() > 0 && world.one_in(often) {
            match world.below(4) {
                0 if self.spoilt.is_empty() => verify(machine, world),
                1 if !world.shape.overcommitted => {
                    rebuild_all(machine, world);
                    self.available = None;
                }
                _ => {
                    spoil_checkpoints(machine, world, &mut self.spoilt);
                    self.available = None;
                }
            }
        }
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
        let hot = target.may_be_hot() && self.world.one_in(3);
        if !hot {
            damage.strike(&self.machine);
        }
        let tolerance = self.world.tolerance.get();
        self.world.tolerance.set(Tolerance { damage: true, ..tolerance });
        let outcome = self.life(Ending::Look, hot.then_some(&damage));
        self.machine.sim.crash();
        let refused = match outcome {
            Ok(Ok(_)) => self.go_on(&damage, hot),
            _ => true,
        };
        if !refused {
            return Struck::Served;
        }
        damage.repair(&self.machine);
        self.world.tolerance.set(tolerance);
        if let Ok(Err(error)) = self.life(Ending::Look, None) {
            self.world.fail(format!("{damage:?} was repaired; refused all the same: {error}"));
        }
        Struck::Refused
    }

    /// Clients work on after damage was served: what is right stays right. Whether a later start was
    /// refused, which only damage may be the reason for that no start has seen yet.
    fn go_on(&mut self, damage: &Damage, hot: bool) -> bool {
        for ending in [Ending::any(&self.world), Ending::Look] {
            let outcome = self.life(ending, None);
            self.world.stop();
            self.machine.sim.crash();
            if let Ok(Err(error)) = outcome {
                if !hot {
                    self.world.fail(format!("{damage:?} was served, then not: {error}"));
                }
                return true;
            }
        }
        false
    }

    fn run_strayed(&mut self) -> Struck {
        let _ = self.life(Ending::Close, None);
        self.world.stop();
        self.machine.sim.crash();
        let tolerance = self.world.tolerance.get();
        self.world.tolerance.set(Tolerance { damage: true, ..tolerance });
        let most = [10, 40, 150][self.world.below(3) as usize];
        let nth = self.machine.sim.counters().writes + self.world.below(most);
        let lost = self.world.one_in(2);
        let fault = if lost { Fault::LostWrite { nth } } else { Fault::MisdirectedWrite { nth } };
        self.machine.sim.inject(fault);
        for life in 0..2 + self.world.below(2) {
            let ending = if life == 0 { Ending::any(&self.world) } else { Ending::Look };
            let outcome = self.life(ending, None);
            self.world.stop();
            let calm = matches!(outcome, Ok(Ok(_))) && self.world.one_in(3);
            if calm {
                self.machine.sim.kill()
            } else {
                self.machine.sim.crash()
            };
            let strays = self.machine.sim.take_strays();
            if life == 0 && strays.is_empty() {
                return Struck::Missed;
            }
            if strays.iter().any(|stray| !is_provable(&self.machine, stray)) {
                return Struck::Unprovable;
            }
            if let Ok(Err(error)) = outcome {
                if !matches!(error, Error::Unusable { .. } | Error::Corrupt(_)) {
                    self.world.fail(format!("the start was refused for no good reason: {error}"));
                }
                return Struck::Refused;
            }
        }
        Struck::Served
    }

    fn life(
        &self,
        ending: Ending,
        damage: Option<&Damage>,
    ) -> Result<Result<Option<u64>, Error>, Crashed> {
        let (machine, world) = (&self.machine, &self.world);
        let first = ending == Ending::Close;
        let life = Life { machine, world, ending, first, last: false, damage };
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
            let ending = if last { Ending::Close } else { Ending::any(&self.world) };
            let first = self.summary.lives == 1;
            let (machine, world) = (&self.machine, &self.world);
            let life = Life { machine, world, ending, first, last, damage: None };
            let outcome = self.machine.sim.run_until(life.live(self.available));
            self.world.stop();
            self.machine.sim.forget_faults();
            match outcome {
                Ok(Ok(available)) => {
                    // After a refusal to make a segment no other is made until the next start.
                    let refused = self.kind.faults || self.world.shape.overcommitted;
                    self.available = available.filter(|_| !refused);
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

    fn plan_faults(&self) {
        let counters = self.machine.sim.counters();
        let sim = &self.machine.sim;
        for _ in 0..1 + self.world.below(2) {
            match self.world.below(4) {
                0 => {
                    self.world.reads_failed.set(true);
                    sim.inject(Fault::ReadError { nth: counters.reads + self.world.below(120) });
                }
                1 => sim.inject(Fault::WriteError { nth: counters.writes + self.world.below(120) }),
                2 => sim.inject(Fault::SyncError { nth: counters.syncs + self.world.below(30) }),
                _ => sim
                    .inject(Fault::NoSpace { nth: counters.preallocations + self.world.below(8) }),
            }
        }
    }
}
