//! The background work of one shard: spare segments, checkpoints, compaction, recycling.
//!
//! One task per shard does one thing at a time, the most urgent first; so whatever it does, the
//! checkpoints stand still meanwhile. It sleeps until somebody tells of
//! progress. Writers that wait for what it gains are in `pressure`.
//!
//! Invariants: it ends when the shard is latched or closing; what fails for want of space is tried
//! again later, and any other failure latches the shard.

use crate::checkpoint::Checkpoints;
use crate::error::{Error, Result};
use crate::garbage::Round;
use crate::limits::{
    COMPACTION_SEGMENTS, DISPLACED_BETWEEN_CHECKPOINTS, MAINTENANCE_RETRY, RESERVED_SEGMENTS,
};
use crate::platform::Platform;
use crate::segments::{Segment, Stage, Use};
use crate::shard::Shard;
use crate::state::State;
use crate::wait::{Event, Gate};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// One in so many of a shard's segments is kept free by compaction, and at least a few.
const FREE_SHARE: usize = 64;
const SPARE_SEGMENTS: usize = 2;
/// At most one in so many is emptied ahead of the checkpoints that it waits for.
const WAITING_SHARE: usize = 12;
/// A checkpoint is written at the latest when so large a share of the shard was logged, as a divisor.
const CHECKPOINT_SHARE: u64 = 64;
/// When space is short, so many segments are emptied before a checkpoint is written for their sake.
const LEAVING_AT_ONCE: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// Something happened that may call for work, or that made room.
    pub(crate) event: Event,
    /// Notified when space was gained.
    pub(crate) space_event: Event,
    pub(crate) checkpoints: RefCell<Checkpoints>,
    running: Cell<bool>,
    /// The index is walked, for a checkpoint or for a backup: one walk at a time.
    walking: Cell<bool>,
    /// A checkpoint is being written, which an orderly stop does not wait for.
    is_writing: Cell<bool>,
    /// Held by whoever gives a slot more space: one that fails gives back what it took.
    pub(crate) slot_gate: Gate,
    /// What is being done right now.
    work: Cell<Option<Work>>,
    /// What failed for want of space is not tried before, by kind of work.
    not_before_ns: Cell<[u64; 3]>,
    /// How often a kind of work has failed so in a row.
    failures: Cell<[u32; 3]>,
    /// What compaction gained of late.
    pub(crate) round: Cell<Round>,
    /// Writers that wait for space.
    pub(crate) waiting: Cell<usize>,
}

impl Maintenance {
    pub(crate) fn new(checkpoints: Checkpoints) -> Self {
        Self { checkpoints: RefCell::new(checkpoints), ..Self::default() }
    }

    pub(crate) fn work(&self) -> Option<Work> {
        self.work.get()
    }

    pub(crate) fn is_writing_checkpoint(&self) -> bool {
        self.is_writing.get()
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Stop,
    Spare,
    Recycle(u32),
    Checkpoint,
    Compact(u32),
}

impl Work {
    /// Where its kind stands in `not_before_ns`, if it may fail for want of space.
    fn kind(self) -> Option<usize> {
        match self {
            Self::Spare => Some(0),
            Self::Checkpoint => Some(1),
            Self::Compact(_) => Some(2),
            Self::Stop | Self::Recycle(_) => None,
        }
    }

    pub(crate) fn gains_space(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Compact(_) | Self::Recycle(_))
    }
}

/// How a shard stands with its segments.
#[derive(Debug, Clone, Copy)]
struct Space {
    /// Free, or yet to be made.
    obtainable: usize,
    /// Emptied; they wait for readers or checkpoints.
    leaving: usize,
    /// Of these, those that wait for checkpoints only.
    retired: usize,
    /// As many as both together should be.
    wanted: usize,
}

/// Whether only checkpoints keep a segment from being free.
pub(crate) fn is_retired(row: &Segment) -> bool {
    row.log().is_some_and(|log| log.stage == Stage::Retired) && row.holds == 0
}

impl Space {
    /// New data gets no more segments, and checkpoints would change that. Each costs the writing of
    /// the whole index, so as long as compaction can go on, some are emptied before.
    fn checkpoint_would_help(&self, can_compact: bool) -> bool {
        let enough = self.retired >= LEAVING_AT_ONCE
            || self.obtainable <= COMPACTION_SEGMENTS + 1
            || !can_compact;
        self.obtainable <= RESERVED_SEGMENTS && self.retired > 0 && enough
    }
}

impl<P: Platform> Shard<P> {
    pub(crate) fn start_maintenance(self: &Rc<Self>) {
        self.maintenance.running.set(true);
        let shard = self.clone();
        self.platform.spawn(async move {
            shard.maintain().await;
            shard.maintenance.running.set(false);
            shard.maintenance.event.notify();
            shard.maintenance.space_event.notify();
        });
    }

    /// Waits until the task has ended, which the caller has made it do.
    pub(crate) async fn maintenance_ended(&self) {
        let maintenance = &self.maintenance;
        maintenance.event.notify();
        maintenance.event.wait_until(|| (!maintenance.running.get()).then_some(())).await;
    }

    async fn maintain(self: &Rc<Self>) {
        loop {
            let work = self.maintenance.event.wait_until(|| self.next_work()).await;
            self.maintenance.work.set(Some(work));
            let done = match work {
                Work::Stop => return,
                Work::Spare => self.make_spare().await,
                Work::Recycle(segment) => self.recycle(segment).await,
                Work::Checkpoint => {
                    self.take_walk().await;
                    self.maintenance.is_writing.set(true);
                    let written = self.write_checkpoint().await;
                    self.maintenance.is_writing.set(false);
                    written
                }
                Work::Compact(segment) => self.compact_and_measure(segment).await,
            };
            match done {
                // What failed before may succeed now.
                Ok(()) if work.gains_space() => {
                    self.maintenance.not_before_ns.set([0; 3]);
                    self.maintenance.failures.set([0; 3]);
                }
                Ok(()) => {}
                Err(Error::OutOfSpace) => self.retry_later(work),
                Err(Error::Stopping) => {
                    self.maintenance.work.set(None);
                    return;
                }
                Err(error) => self.latch(format!("background work failed: {error}")),
            }
            self.maintenance.work.set(None);
            self.maintenance.space_event.notify();
            self.platform.yield_now().await;
        }
    }

    /// Waits until nobody walks the index; whoever has taken the walk ends it.
    pub(crate) async fn take_walk(&self) {
        let walking = &self.maintenance.walking;
        self.maintenance.event.wait_until(|| (!walking.replace(true)).then_some(())).await;
    }

    pub(crate) fn end_walk(&self) {
        self.state.borrow_mut().index.end_walk();
        self.maintenance.walking.set(false);
        self.note_freed();
    }

    fn retry_later(self: &Rc<Self>, work: Work) {
        let Some(kind) = work.kind() else { return };
        let mut not_before_ns = self.maintenance.not_before_ns.get();
        not_before_ns[kind] = self.platform.monotonic_ns() + MAINTENANCE_RETRY.as_nanos() as u64;
        self.maintenance.not_before_ns.set(not_before_ns);
        let mut failures = self.maintenance.failures.get();
        failures[kind] += 1;
        self.maintenance.failures.set(failures);
        let shard = self.clone();
        self.platform.spawn(async move {
            shard.platform.sleep(MAINTENANCE_RETRY).await;
            shard.maintenance.event.notify();
        });
    }

    fn may_try(&self, work: Work) -> bool {
        let not_before_ns = self.maintenance.not_before_ns.get();
        work.kind().is_none_or(|kind| self.platform.monotonic_ns() >= not_before_ns[kind])
    }

    /// Whether something that would gain space is to be tried soon.
    pub(crate) fn work_is_held_off(&self) -> bool {
        // What has failed twice in a row gives no hope.
        let failures = self.maintenance.failures.get();
        let is_held_off = |work: &Work| {
            let has_hope = work.kind().is_some_and(|kind| failures[kind] < 2);
            has_hope && !self.may_try(*work)
        };
        [Work::Checkpoint, Work::Compact(0)].iter().any(is_held_off)
            || self.maintenance.walking.get()
    }

    /// Displaced records were dealt with, space was given back, or a segment was opened.
    pub(crate) fn note_freed(&self) {
        self.maintenance.event.notify();
        self.maintenance.space_event.notify();
    }

    pub(crate) fn next_work(&self) -> Option<Work> {
        if self.is_latched() || self.context.stopping.get() {
            return Some(Work::Stop);
        }
        if let Some(segment) = self.recyclable() {
            return Some(Work::Recycle(segment));
        }
        let spare_is_due = {
            let state = self.state.borrow();
            !state.segments.has_spares() && state.segments.may_create()
        };
        if spare_is_due && self.may_try(Work::Spare) {
            return Some(Work::Spare);
        }
        let space = self.space();
        let victim = self.victim(&space).filter(|victim| self.may_try(Work::Compact(*victim)));
        let checkpoint_is_due =
            self.checkpoint_is_due() || space.checkpoint_would_help(victim.is_some());
        let may_walk = !self.maintenance.walking.get();
        if checkpoint_is_due && may_walk && self.may_try(Work::Checkpoint) {
            return Some(Work::Checkpoint);
        }
        victim.map(Work::Compact)
    }

    /// Creates a free segment, so that neither the log nor a deletion need wait for one.
    async fn make_spare(self: &Rc<Self>) -> Result<()> {
        let _guard = self.space_gate.enter().await;
        if self.state.borrow().segments.has_spares() {
            return Ok(());
        }
        self.create_segment(Use::Free).await.map(drop)
    }

    // --- When ----------------------------------------------------------------------------------

    fn checkpoint_is_due(&self) -> bool {
        let (state, log) = (self.state.borrow(), self.log.borrow());
        let checkpoints = self.maintenance.checkpoints.borrow();
        let since = checkpoints.since(&log, &state);
        let records = self.context.options.checkpoint_records.max(state.index.len() as u64 / 8);
        checkpoints.is_overdue
            || since.bytes >= self.checkpoint_interval(&state)
            || since.records >= records
            || since.displaced >= DISPLACED_BETWEEN_CHECKPOINTS
    }

    /// So much log is written between two checkpoints.
    fn checkpoint_interval(&self, state: &State) -> u64 {
        let whole =
            self.context.layout.segments_max(self.id) as u64 * self.context.layout.segment_bytes;
        // Segments wait for two checkpoints before they can be used again: in a small shard not for
        // much of it, and in none for less than what a checkpoint writes.
        let share = whole / CHECKPOINT_SHARE;
        let wanted = self.context.options.checkpoint_log_bytes.min(share);
        wanted.max(state.index.memory_bytes() as u64)
    }

    fn space(&self) -> Space {
        let state = self.state.borrow();
        let segments = &state.segments;
        let leaving = |stage| matches!(stage, Stage::Emptied | Stage::Retired);
        Space {
            obtainable: segments.obtainable(),
            leaving: segments.log_at(leaving).len(),
            retired: segments.iter().filter(|(_, row)| is_retired(row)).count(),
            wanted: self.wanted_segments(&state),
        }
    }

    /// Segments that should be free or about to be: the reserve, some to go on with, and those that
    /// wait for checkpoints.
    fn wanted_segments(&self, state: &State) -> usize {
        let segments = &state.segments;
        let waiting = 2 * self.checkpoint_interval(state) / segments.segment_bytes;
        let most = segments.len() / WAITING_SHARE;
        RESERVED_SEGMENTS
            + (segments.len() / FREE_SHARE).max(SPARE_SEGMENTS)
            + (waiting as usize).min(most)
    }

    /// Bytes of the segments that the log has or may get, without those that should be free.
    pub(crate) fn log_capacity_bytes(&self) -> u64 {
        let state = self.state.borrow();
        // Those on their way from one to the other count too, or capacity would flicker.
        let on_their_way = state.segments.opening;
        let all = state.segments.log_use().0 + state.segments.obtainable() + on_their_way;
        let usable = all.saturating_sub(self.wanted_segments(&state)).max(1);
        usable as u64 * state.segments.segment_bytes
    }

    /// The segment that compaction should empty next, if space is short and more can be had.
    fn victim(&self, space: &Space) -> Option<u32> {
        let is_short = space.obtainable + space.leaving < space.wanted;
        if !self.context.options.compaction || !is_short {
            return None;
        }
        if space.obtainable == 0 {
            // A start finds what was emptied before it as it was, and may have taken the last segment.
            let [.., failures] = self.maintenance.failures.get();
            return self.state.borrow().segments.least_victim(self.relocation_left(), failures);
        }
        let is_resting = self.maintenance.round.get().is_resting(self.changed_bytes());
        let now = self.clock.last().max(self.platform.wall_clock_ns());
        self.state.borrow().segments.best_victim(now, self.relocation_left(), is_resting)
    }

    /// Compacts a segment, and notes what came of it.
    async fn compact_and_measure(self: &Rc<Self>, segment: u32) -> Result<()> {
        self.compact(segment).await?;
        let emptied = self.state.borrow().segments.get(segment).is_some_and(|row| {
            row.log().is_some_and(|log| matches!(log.stage, Stage::Emptied | Stage::Retired))
        });
        let mut round = self.maintenance.round.get();
        round.note_victim(emptied, self.changed_bytes(), self.context.layout.segment_bytes);
        self.maintenance.round.set(round);
        Ok(())
    }

    /// Bytes that were written or died since the start.
    fn changed_bytes(&self) -> u64 {
        self.log.borrow().appended_bytes + self.state.borrow().segments.died_bytes
    }
}
