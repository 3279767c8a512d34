//! One life of a simulated machine: the store is started and audited, clients work on it, and it is
//! stopped somehow.
//!
//! Not here: what comes before and after, and the choice of faults.

use crate::sim::{Machine, Running, join_all, join_two, within};
use crate::sim_client::Client;
use crate::sim_damage::{Damage, segments};
use crate::sim_shape::Form;
use crate::sim_versions;
use crate::sim_world::{BUCKETS, World};
use engine::format::segment::SegmentKind;
use engine::limits::{RESERVED_SEGMENTS, UNIT_BYTES};
use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::{EngineMetrics, Error};
use std::collections::BTreeMap;
use std::time::Duration;

/// No life takes so long; one that does hangs. Each write of a full store may wait a while for space.
const LIFE_MAX: Duration = Duration::from_secs(20_000);

/// By how much the wall clock may be set, forward or back: a millisecond to ten years.
const CLOCK_STEPS_NS: [i64; 5] =
    [1_000_000, 1_000_000_000, 3_600_000_000_000, 86_400_000_000_000, 315_360_000_000_000_000];

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
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

impl Ending {
    pub(crate) fn any(world: &World) -> Self {
        let time = Duration::from_micros(world.below(60_000));
        match world.below(10) {
            0..2 => Self::Close,
            2 => Self::PowerWhenDone,
            3..5 => Self::PowerAfter(time),
            5..7 => Self::KillAfter(time),
            7 => Self::PowerBeforeIo(world.below(600)),
            _ => Self::PowerAfterIo(world.below(600)),
        }
    }
}

/// One life of the machine.
pub(crate) struct Life<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) world: &'a World,
    pub(crate) ending: Ending,
    /// The first one writes every key, if there are many.
    pub(crate) first: bool,
    /// The last one ends with an empty store.
    pub(crate) last: bool,
    /// Strikes once the store has started.
    pub(crate) damage: Option<&'a Damage>,
}

impl Life<'_> {
    /// Returns what is left for new data if the store was closed in order.
    pub(crate) async fn live(self, available: Option<u64>) -> Result<Option<u64>, Error> {
        let platform = self.machine.sim.platform();
        let life = within(&platform, LIFE_MAX, self.live_on(available)).await;
        life.unwrap_or_else(|| {
            let (phase, doing) = (self.world.phase.get(), self.world.doing.borrow());
            self.world.fail(format!("something hangs: {phase} ({:?}), {doing:?}", self.ending));
            Ok(None)
        })
    }

    async fn live_on(&self, available: Option<u64>) -> Result<Option<u64>, Error> {
        let cores = 1 + self.world.below(4) as usize;
        self.world.phase.set("the start");
        if self.world.one_in(3) {
            self.step_clock();
        }
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
        self.end_in_time(running.platform(), self.work(&running)).await;
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
        if self.world.shape.form == Form::Tight && self.world.one_in(3) {
            self.world.phase.set("the full store");
            auditor.fill_and_relieve().await;
            if !auditor.is_sound().await {
                running.close().await;
                return Ok(None);
            }
            auditor.audit().await;
        }
        if self.last {
            let is_empty = auditor.clear().await;
            let left = running.quiet().await.available_bytes;
            // Until something is freed nobody asks a filesystem again that was full.
            let may_lack = self.world.shape.overcommitted || self.world.reads_failed.get();
            if is_empty && !may_lack {
                self.check_empty(left);
            }
        }
        let left = running.quiet().await;
        self.count(&left);
        self.world.phase.set("the close");
        running.close().await;
        Ok((left.shards_read_only == 0).then_some(left.available_bytes))
    }

    /// All that clients do in this life.
    async fn work(&self, running: &Running) {
        let (world, shape) = (self.world, &self.world.shape);
        let clients = 1 + world.below(shape.clients_max);
        let client = |number: u64| Client { world, running, number: number as usize };
        if self.first && shape.is_filled() {
            let share = shape.keys.div_ceil(clients as usize);
            let fill = |number: u64| {
                let start = number as usize * share;
                client(number).fill(start..(start + share).min(shape.keys))
            };
            join_all((0..clients).map(fill)).await;
        }
        let count = 4 + world.below(if self.last { 8 } else { shape.actions_max });
        let clock = async {
            if world.one_in(6) {
                let pause = Duration::from_micros(world.below(30_000));
                running.platform().sleep(pause).await;
                self.step_clock();
            }
        };
        join_two(join_all((0..clients).map(|number| client(number).run(count))), clock).await;
    }

    fn count(&self, figures: &EngineMetrics) {
        let mut sum = self.world.figures.get();
        sum.add(figures);
        self.world.figures.set(sum);
    }

    /// The wall clock is set, as an operator or a time service does it.
    fn step_clock(&self) {
        let most = CLOCK_STEPS_NS[self.world.below(CLOCK_STEPS_NS.len() as u64) as usize];
        let step_ns = self.world.below(most as u64) as i64;
        let back = self.world.one_in(2);
        self.machine.sim.step_wall_clock(if back { -step_ns } else { step_ns });
    }

    /// Runs the clients until they are done or the life ends.
    async fn end_in_time(&self, platform: &SimPlatform, work: impl Future<Output = ()>) {
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
        let with_versions = self.world.with_versions.get();
        let versioned = with_versions.then_some(sim_versions::BUCKET);
        for name in BUCKETS.into_iter().chain(versioned) {
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
        let metrics = running.quiet().await;
        let segment_bytes = self.machine.format.segment_bytes;
        // What background work has gained meanwhile had not leaked before.
        let gained = metrics.segments_recycled_total * segment_bytes;
        let now = metrics.available_bytes;
        // Recovery ends with a group of its own in each log, for which it may have to go on elsewhere.
        let rolled = u64::from(self.machine.format.shard_count) * 2 * segment_bytes;
        // A slab that was opened and not used yet is free after a restart, its first unit too.
        let slack = self.segments(SegmentKind::Slab) * UNIT_BYTES as u64;
        let shrunk = now + rolled < before && !self.world.shape.scarce;
        if now > before + gained + slack || shrunk {
            self.world.fail(format!("available before the restart {before}, after it {now}"));
        }
    }

    /// With no object left, all space but the logs' is available.
    fn check_empty(&self, available: u64) {
        let format = &self.machine.format;
        let (logs, slabs) = (self.segments(SegmentKind::Log), self.segments(SegmentKind::Slab));
        let (logs, slack) = (logs * format.segment_bytes, slabs * UNIT_BYTES as u64);
        let shards = u64::from(format.shard_count);
        let reserve = shards * RESERVED_SEGMENTS as u64 * format.segment_bytes;
        let all = format.capacity_bytes * self.machine.dirs.len() as u64;
        if available + logs + reserve + slack < all {
            self.world.fail(format!(
                "of {all} bytes only {available} are available in an empty store whose logs take \
                 {logs}, its slabs {slack}"
            ));
        }
    }

    /// How many segments have been used so, by their headers.
    fn segments(&self, kind: SegmentKind) -> u64 {
        segments(self.machine, kind).len() as u64
    }
}
