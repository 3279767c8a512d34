//! The simulator: a platform with virtual time and a disk that loses and tears what was not made
//! durable. One seed gives one history, to the byte.
//!
//! [`Sim`] is the controller that a test holds; [`SimPlatform`] is what the engine gets. A test runs a
//! future with [`Sim::run_until`], injects [`Fault`]s, crashes, and builds a new engine on
//! [`Sim::platform`] over the same disk.
//!
//! Invariants:
//! - Single-threaded: nothing advances but inside `run_until`, and virtual time passes only when no
//!   task is ready (and by a little at each look at the clock).
//! - I/O takes a random time and completes in any order; an I/O whose future is dropped still
//!   happens, as it does with io_uring.
//! - A crash drops every task and every handle: what an earlier life left over does nothing.
//! - Misuse by the engine (unaligned I/O, overlapping concurrent writes, a deadlock) panics.
//!
//! Not here: CPU time, bandwidth, queue depths, several threads.

mod disk;
mod executor;
mod faults;
mod inode;
mod namespace;
mod platform;
mod random;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub use self::disk::{DiskView, Landing, StrayWrite};
pub use self::faults::{Counters, Fault, FaultRates};
pub use self::platform::{SimFile, SimLock, SimPlatform, SimReadBuffer, SimWriteBuffer};

use self::disk::Disk;
use self::executor::{Executor, Sleep};
use self::faults::{Faults, IoKind, Verdict};
use self::random::Random;

/// The wall clock at the start of a simulation: 2026-01-01T00:00:00Z.
const WALL_CLOCK_START_NS: u64 = 1_767_225_600_000_000_000;

/// A look at a clock costs this much, so that a loop bounded by time ends.
const CLOCK_READ_NS: u64 = 50;

/// One I/O in this many is slow by [`SLOW_IO_FACTOR`], which reorders completions.
const SLOW_IO_ONE_IN: u64 = 32;
const SLOW_IO_FACTOR: u64 = 20;

/// What a simulation is like.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Capacity of the disk.
    pub disk_bytes: u64,
    /// Latency of reads and writes.
    pub latency_ns: RangeInclusive<u64>,
    /// Latency of syncs and of everything that concerns names.
    pub sync_latency_ns: RangeInclusive<u64>,
    /// Runs ready tasks in random order instead of first come, first served.
    pub shuffle_tasks: bool,
    /// Faults that strike at random.
    pub fault_rates: FaultRates,
    /// A `run_until` that polls tasks more often than this panics: something spins.
    pub polls_max: u64,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            disk_bytes: 4 << 30,
            latency_ns: 10_000..=200_000,
            sync_latency_ns: 100_000..=4_000_000,
            shuffle_tasks: true,
            fault_rates: FaultRates::default(),
            polls_max: 50_000_000,
        }
    }
}

/// The simulated machine lost its power (or its process, by [`Sim::kill`]) before the future ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crashed;

/// The controller of one simulation.
#[derive(Debug)]
pub struct Sim {
    world: Rc<World>,
}

impl Sim {
    /// An empty disk with a root directory, `/`.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        let mut random = Random::new(seed);
        let world = World {
            executor: Executor::new(options.shuffle_tasks, random.fork()),
            disk: RefCell::new(Disk::new(options.disk_bytes, random.fork())),
            faults: RefCell::new(Faults::new(options.fault_rates, random.fork())),
            broken: RefCell::default(),
            latency_random: RefCell::new(random.fork()),
            caller_random: RefCell::new(random.fork()),
            options,
            life: Cell::new(0),
            end: Cell::new(None),
            running: Cell::new(false),
            wall_clock_step_ns: Cell::new(0),
        };
        Self { world: Rc::new(world) }
    }

    /// Another machine, whose disk holds durably what a read of this one's sees now. Costs little: bytes are
    /// shared until they change.
    pub fn with_same_disk(&self, seed: u64, options: SimOptions) -> Self {
        let other = Self::new(seed, options);
        other.world.disk.borrow_mut().names = self.world.disk.borrow().names.settled();
        other
    }

    /// The platform of the machine's present life. Clones share everything; one per virtual core.
    pub fn platform(&self) -> SimPlatform {
        SimPlatform::new(Rc::clone(&self.world))
    }

    /// Runs a future and all spawned tasks until the future ends or the machine crashes. Tasks still
    /// pending at the end stay, and run on in the next call. Panics on a deadlock.
    pub fn run_until<T>(&self, future: impl Future<Output = T>) -> Result<T, Crashed> {
        let world = &self.world;
        assert!(!world.running.replace(true), "run_until within run_until");
        let stopped = || world.end.get().is_some();
        let output = world.executor.run(future, &stopped, world.options.polls_max);
        world.running.set(false);
        if let Some(end) = world.end.take() {
            world.end_life(end);
            return Err(Crashed);
        }
        Ok(output.expect("an executor that was not stopped ends with the future's output"))
    }

    /// Power loss: drops every task, and keeps of what was not durable whatever chance keeps. Within
    /// `run_until` it happens when the calling task next waits.
    pub fn crash(&self) {
        self.end(LifeEnd::PowerLoss);
    }

    /// The end of the process only (`kill -9`): drops every task; what the kernel was given remains.
    pub fn kill(&self) {
        self.end(LifeEnd::Kill);
    }

    /// Power loss (once more does no harm), and the platform of the next life. Not within `run_until`.
    pub fn reboot(&self) -> SimPlatform {
        assert!(!self.world.running.get(), "a reboot is for the controller, not for a task");
        self.crash();
        self.platform()
    }

    /// Plans a fault.
    pub fn inject(&self, fault: Fault) {
        self.world.faults.borrow_mut().plan(fault);
    }

    /// The writes that were lost or misdirected since this was last asked.
    pub fn take_strays(&self) -> Vec<StrayWrite> {
        std::mem::take(&mut self.world.disk.borrow_mut().strays)
    }

    /// Plans no fault any more; random ones go on.
    pub fn forget_faults(&self) {
        self.world.faults.borrow_mut().forget_planned();
    }

    /// From now on every I/O on this path and below it fails with EIO: a drive that is dead.
    pub fn break_below(&self, path: impl Into<PathBuf>) {
        self.world.broken.borrow_mut().push(path.into());
    }

    /// Nothing is broken any more.
    pub fn mend(&self) {
        self.world.broken.borrow_mut().clear();
    }

    /// Power loss just before I/O number `io` ([`Counters::ios`] counts) takes effect.
    pub fn crash_before_io(&self, io: u64) {
        self.inject(Fault::CrashBefore { io });
    }

    /// Power loss just after I/O number `io` took effect, before anyone learns of it.
    pub fn crash_after_io(&self, io: u64) {
        self.inject(Fault::CrashAfter { io });
    }

    /// How many I/Os have taken effect since the simulation began, crashes notwithstanding.
    pub fn counters(&self) -> Counters {
        self.world.faults.borrow().counters()
    }

    /// Steps the wall clock; the monotonic one does not notice.
    pub fn step_wall_clock(&self, step_ns: i64) {
        let step = &self.world.wall_clock_step_ns;
        step.set(step.get().saturating_add(step_ns));
    }

    /// Virtual nanoseconds since the simulation began.
    pub fn now_ns(&self) -> u64 {
        self.world.executor.now_ns()
    }

    /// A digest of every I/O so far, with its time: equal for equal histories.
    pub fn history_digest(&self) -> u64 {
        self.world.faults.borrow().history_digest()
    }

    /// The disk, to inspect and to corrupt behind the engine's back.
    pub fn disk(&self) -> DiskView<'_> {
        DiskView::new(&self.world.disk)
    }

    fn end(&self, end: LifeEnd) {
        if self.world.running.get() {
            self.world.end.set(Some(end));
        } else {
            self.world.end_life(end);
        }
    }
}

impl Drop for Sim {
    /// Tasks hold the world that holds them. What an engine leaves that was never closed holds it for
    /// good: without the disk's bytes that is little.
    fn drop(&mut self) {
        self.world.life.set(self.world.life.get() + 1);
        self.world.executor.drop_tasks();
        self.world.disk.borrow_mut().wipe();
    }
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LifeEnd {
    PowerLoss,
    Kill,
}

/// Everything that the controller and the platforms share.
#[derive(Debug)]
struct World {
    options: SimOptions,
    executor: Executor,
    disk: RefCell<Disk>,
    faults: RefCell<Faults>,
    /// Below these paths every I/O fails.
    broken: RefCell<Vec<PathBuf>>,
    latency_random: RefCell<Random>,
    caller_random: RefCell<Random>,
    /// Platforms, files and locks of an earlier life are dead.
    life: Cell<u64>,
    /// Asked for by a task or a fault; the executor stops at it.
    end: Cell<Option<LifeEnd>>,
    running: Cell<bool>,
    wall_clock_step_ns: Cell<i64>,
}

impl World {
    fn end_life(&self, end: LifeEnd) {
        // First the number: what runs in the tasks' destructors must find itself dead.
        self.life.set(self.life.get() + 1);
        self.executor.drop_tasks();
        match end {
            LifeEnd::PowerLoss => self.disk.borrow_mut().lose_power(),
            LifeEnd::Kill => self.disk.borrow_mut().lose_process(),
        }
    }

    fn sleep_ns(&self, duration_ns: u64) -> Sleep<'_> {
        self.executor.sleep_until(self.executor.now_ns().saturating_add(duration_ns))
    }

    fn latency_ns(&self, kind: IoKind) -> u64 {
        let range = match kind {
            IoKind::Read | IoKind::Write => &self.options.latency_ns,
            IoKind::Sync | IoKind::Preallocate | IoKind::Name => &self.options.sync_latency_ns,
        };
        let mut random = self.latency_random.borrow_mut();
        let latency_ns = random.within(range.clone());
        let slow = random.one_in(SLOW_IO_ONE_IN);
        if slow { latency_ns.saturating_mul(SLOW_IO_FACTOR) } else { latency_ns }
    }

    /// Numbers an I/O that is about to take effect and says what becomes of it.
    fn begin_io(&self, kind: IoKind) -> Verdict {
        self.faults.borrow_mut().begin(kind, self.executor.now_ns())
    }

    fn is_broken(&self, path: &Path) -> bool {
        self.broken.borrow().iter().any(|broken| path.starts_with(broken))
    }

    fn lose_power_soon(&self) {
        self.end.set(Some(LifeEnd::PowerLoss));
    }

    fn monotonic_ns(&self) -> u64 {
        self.executor.advance_ns(CLOCK_READ_NS)
    }

    fn wall_clock_ns(&self) -> u64 {
        (WALL_CLOCK_START_NS + self.monotonic_ns())
            .saturating_add_signed(self.wall_clock_step_ns.get())
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        self.sleep_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}
