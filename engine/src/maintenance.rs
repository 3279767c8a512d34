//! The background work of one shard: spare segments, checkpoints, compaction, recycling.
//!
//! One task per shard does one thing at a time, the most urgent first; so whatever it does, the
//! relocation log and the checkpoints stand still meanwhile. It sleeps until somebody tells of
//! progress.
//!
//! Invariants: it ends when the shard is latched or closing; what fails for want of space is tried
//! again later, and any other failure latches the shard.

use crate::checkpoint::Checkpoints;
use crate::error::{Error, Result};
use crate::limits::{
    DISPLACED_BETWEEN_CHECKPOINTS, MAINTENANCE_RETRY, RESERVED_SEGMENTS, SPACE_WAIT_MAX,
};
use crate::platform::Platform;
use crate::segments::{Need, Stage, Use};
use crate::shard::Shard;
use crate::wait::Event;
use futures_lite::FutureExt;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Watermarks count segments in shares of the shard: one in so many is kept free by compaction.
const FREE_SHARE: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// Something happened that may call for work, or that made room.
    pub(crate) event: Event,
    /// Notified when space was gained.
    pub(crate) space_event: Event,
    pub(crate) checkpoints: RefCell<Checkpoints>,
    running: Cell<bool>,
    /// Something is being done right now.
    busy: Cell<bool>,
    /// Nothing that failed for want of space is tried before.
    not_before_ns: Cell<u64>,
    /// Writers that wait for space.
    pub(crate) waiting: Cell<usize>,
}

impl Maintenance {
    pub(crate) fn new(checkpoints: Checkpoints) -> Self {
        Self { checkpoints: RefCell::new(checkpoints), ..Self::default() }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Stop,
    Spare,
    Recycle(u32),
    Checkpoint,
    Compact(u32),
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
            self.maintenance.busy.set(true);
            let done = match work {
                Work::Stop => return,
                Work::Spare => self.make_spare().await,
                Work::Recycle(segment) => self.recycle(segment).await,
                Work::Checkpoint => self.write_checkpoint().await,
                Work::Compact(segment) => self.compact(segment).await,
            };
            match done {
                Ok(()) => {}
                Err(Error::OutOfSpace) => self.retry_later(),
                Err(Error::Stopping) => return,
                Err(error) => self.latch(format!("background work failed: {error}")),
            }
            self.maintenance.busy.set(false);
            self.maintenance.space_event.notify();
            self.platform.yield_now().await;
        }
    }

    fn retry_later(self: &Rc<Self>) {
        let retry_ns = MAINTENANCE_RETRY.as_nanos() as u64;
        self.maintenance.not_before_ns.set(self.platform.monotonic_ns() + retry_ns);
        let shard = self.clone();
        self.platform.spawn(async move {
            shard.platform.sleep(MAINTENANCE_RETRY).await;
            shard.maintenance.event.notify();
        });
    }

    /// Displaced records were dealt with, or space was given back.
    pub(crate) fn note_freed(&self) {
        self.maintenance.event.notify();
        self.maintenance.space_event.notify();
    }

    fn next_work(&self) -> Option<Work> {
        if self.is_latched() || self.context.stopping.get() {
            return Some(Work::Stop);
        }
        if let Some(segment) = self.recyclable() {
            return Some(Work::Recycle(segment));
        }
        if self.platform.monotonic_ns() < self.maintenance.not_before_ns.get() {
            return None;
        }
        let state = self.state.borrow();
        if !state.segments.has_spares() && state.segments.may_create() {
            return Some(Work::Spare);
        }
        drop(state);
        if self.checkpoint_is_due() {
            return Some(Work::Checkpoint);
        }
        self.victim().map(Work::Compact)
    }

    /// Creates a free segment, so that neither the log nor a deletion need wait for one.
    async fn make_spare(&self) -> Result<()> {
        let _guard = self.space_gate.enter().await;
        if self.state.borrow().segments.has_spares() {
            return Ok(());
        }
        self.create_segment(Use::Free).await.map(drop)
    }

    // --- When ----------------------------------------------------------------------------------

    fn checkpoint_is_due(&self) -> bool {
        let options = &self.context.options;
        let layout = &self.context.layout;
        let (state, log) = (self.state.borrow(), self.log.borrow());
        let checkpoints = self.maintenance.checkpoints.borrow();
        let since = checkpoints.since(&log, &state);
        // A share of the shard, so that a small one need not keep all its log for two checkpoints.
        let share = layout.segments_max(self.id) as u64 * layout.segment_bytes / 16;
        let bytes = options.checkpoint_log_bytes.min(share).max(state.index.memory_bytes() as u64);
        let records = options.checkpoint_records.max(state.index.len() as u64 / 4);
        since.bytes >= bytes
            || since.records >= records
            || since.displaced >= DISPLACED_BETWEEN_CHECKPOINTS
            || (since.bytes > 0 && self.is_short(&state.segments) && self.checkpoint_would_free())
    }

    /// Whether segments could be had if checkpoints were newer.
    fn checkpoint_would_free(&self) -> bool {
        let state = self.state.borrow();
        state.segments.iter().any(|(_, row)| {
            row.log().is_some_and(|log| log.stage == Stage::Retired) && row.holds == 0
        })
    }

    /// Whether compaction should look for a segment to empty.
    fn is_short(&self, segments: &crate::segments::SegmentTable) -> bool {
        segments.obtainable() < RESERVED_SEGMENTS + (segments.len() / FREE_SHARE).max(2)
    }

    /// The segment from which most is to be had for the least work, if space is short: free space
    /// times the age of what is alive, over the cost of reading all and writing what is alive.
    fn victim(&self) -> Option<u32> {
        if !self.context.options.compaction {
            return None;
        }
        let state = self.state.borrow();
        let segments = &state.segments;
        let on_the_way = segments.log_at(|stage| matches!(stage, Stage::Emptied | Stage::Retired));
        let coming = segments.obtainable() + on_the_way.len();
        if coming >= RESERVED_SEGMENTS + (segments.len() / FREE_SHARE).max(2) {
            return None;
        }
        let now = self.platform.wall_clock_ns() / crate::segments::AGE_UNIT_NS;
        let whole = segments.segment_bytes as f64;
        let score = |row: &crate::segments::Segment| {
            let alive = row.live_bytes as f64 / whole;
            let age = now.saturating_sub(row.mean_version()).max(1) as f64;
            let age = if row.live_records == 0 { f64::MAX / 4.0 } else { age };
            (1.0 - alive) * age / (1.0 + alive)
        };
        let is_victim = |row: &crate::segments::Segment| {
            row.log().is_some_and(|log| log.stage == Stage::Kept && log.end_lsn.is_some())
                && row.live_bytes * 20 < segments.segment_bytes * 19
        };
        let victims = segments.iter().filter(|(_, row)| is_victim(row));
        victims
            .max_by(|(_, left), (_, right)| score(left).total_cmp(&score(right)))
            .map(|(segment, _)| segment)
    }

    // --- Back-pressure -------------------------------------------------------------------------

    /// Waits while the log has no room for a write and background work is about to make some.
    pub(crate) async fn await_space(&self, need: Need) {
        if !self.log_is_tight(need) {
            return;
        }
        let maintenance = &self.maintenance;
        maintenance.waiting.set(maintenance.waiting.get() + 1);
        let room = maintenance.space_event.wait_until(|| {
            let hopeless =
                self.next_work().is_none_or(|work| work == Work::Stop) && !maintenance.busy.get();
            (!self.log_is_tight(need) || hopeless).then_some(())
        });
        maintenance.event.notify();
        room.or(self.platform.sleep(SPACE_WAIT_MAX)).await;
        maintenance.waiting.set(maintenance.waiting.get() - 1);
    }

    /// The log cannot go on in another segment, and the present one is nearly full.
    pub(crate) fn log_is_tight(&self, need: Need) -> bool {
        let segment_bytes = self.context.layout.segment_bytes;
        let log = self.log.borrow();
        let taken = log.at.offset + log.gathered_bytes as u64;
        let left = segment_bytes.saturating_sub(taken);
        let low = match need {
            Need::Data => segment_bytes / 4,
            _ => segment_bytes / 16,
        };
        left < low && !self.state.borrow().segments.may_take(need)
    }

    /// Whether the log holds as much that is alive as it may.
    pub(crate) fn log_is_full(&self) -> bool {
        let state = self.state.borrow();
        let (log_segments, alive) = state.segments.log_use();
        let usable = (log_segments + state.segments.obtainable()).saturating_sub(RESERVED_SEGMENTS);
        let percent = u64::from(self.context.options.log_utilisation_max_percent);
        alive >= usable as u64 * self.context.layout.segment_bytes / 100 * percent
    }
}
