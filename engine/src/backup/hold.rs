//! A shard's side of the snapshot: its turn, the hold, and what is taken at the instant.
//!
//! Every shard of the store is held before any takes its snapshot: it begins no group, and those under
//! way are durable and published. So whoever was told of one write before it sent another finds the
//! first in the snapshot if the second is in it, whichever shards they are of. A shard goes on as soon
//! as it has taken its own.
//!
//! What is snapshot is not copied: a pin keeps the space of everything that the index pointed to from
//! being used again, and log segments out of which everything was moved already are left out.
//!
//! Invariants: a hold ends by itself after [`BACKUP_HOLD_MAX`], and a snapshot is taken only while it
//! lasts; the walk, the pin and the holds are given back when the turn ends.
//!
//! Not here: who asks all shards (`backup`), copying (`copy`).

use crate::checkpoint::{Instant, encode_row};
use crate::error::{Error, Result};
use crate::format::checkpoint::{LogPosition, RowUse, SegmentRow};
use crate::format::segment::Stream;
use crate::limits::{BACKUP_HOLD_MAX, UNIT_BYTES};
use crate::pins::Pin;
use crate::platform::{BLOCK_BYTES, Platform};
use crate::segments::{Segment, SegmentTable, Stage, Use};
use crate::shard::Shard;
use crate::wait::Ticket;
use futures_lite::FutureExt;
use std::rc::Rc;

/// What the backup under way has of a shard.
#[derive(Debug)]
pub(crate) struct Turn {
    id: u64,
    has_walk: bool,
    /// Nothing of the shard changes now.
    is_held: bool,
    pin: Option<Pin>,
    /// Log segments that only this keeps from being recycled.
    segments_held: Vec<u32>,
    pub(super) snapshot: Option<Snapshot>,
}

/// What is to be copied of a shard.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) instant: Instant,
    /// Segments of the shard, used or not.
    pub(super) segments: u32,
    pub(super) logs: Vec<LogSource>,
    pub(super) slabs: Vec<SlabSource>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSource {
    pub(super) segment: u32,
    pub(super) stream: Stream,
    pub(super) epoch: u64,
    pub(super) end: LogEnd,
}

/// How far a log segment is to be copied.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogEnd {
    /// To its seal, behind which this LSN follows.
    Seal(u64),
    At(LogPosition),
}

#[derive(Debug, Clone)]
pub(crate) struct SlabSource {
    pub(super) segment: u32,
    pub(super) epoch: u64,
    pub(super) opened: u64,
    pub(super) stamp: u64,
    pub(super) published: Vec<u64>,
}

/// What the logs of a shard look like at the instant.
#[derive(Debug, Clone, Copy)]
struct Heads {
    foreground: LogPosition,
    relocation: Option<LogPosition>,
}

impl Heads {
    fn at(&self, segment: u32) -> Option<LogPosition> {
        let heads = [Some(self.foreground), self.relocation];
        heads.into_iter().flatten().find(|at| at.segment == segment)
    }

    /// What the snapshot says of a segment. Nothing of a log segment counts any more out of which
    /// everything was moved: it may be recycled before it could be copied.
    fn row_of(&self, segment: u32, row: &Segment) -> SegmentRow {
        let used = match row.used() {
            Use::Log(log) => match self.at(segment) {
                Some(_) => RowUse::Log { stream: log.stream, end_lsn: None },
                None if log.end_lsn.is_some() && is_needed(row) => {
                    RowUse::Log { stream: log.stream, end_lsn: log.end_lsn }
                }
                None => RowUse::Free,
            },
            Use::Slab(map) if map.published_units() > 0 => encode_row(row).used,
            _ => RowUse::Free,
        };
        // A restored file is written up to its content's end only.
        SegmentRow { filled: false, used, ..encode_row(row) }
    }
}

/// Whether a log segment holds what the index points to, or what displaced records are to be freed by.
fn is_needed(row: &Segment) -> bool {
    let stage = row.log().map(|log| log.stage);
    matches!(stage, Some(Stage::Kept | Stage::Damaged)) || row.holds > 0
}

fn not_ours() -> Error {
    Error::Backup("the shard's part of the backup has ended".into())
}

impl<P: Platform> Shard<P> {
    /// Takes the shard's turn and its index's walk, for which a checkpoint under way is waited for.
    pub(crate) async fn begin_backup(&self, id: u64) -> Result<()> {
        if self.backup.borrow().is_some() {
            return Err(Error::Backup("another one is under way".into()));
        }
        *self.backup.borrow_mut() = Some(Turn {
            id,
            has_walk: false,
            is_held: false,
            pin: None,
            segments_held: Vec::new(),
            snapshot: None,
        });
        self.take_walk().await;
        if self.with_turn(id, |turn| turn.has_walk = true).is_err() {
            self.end_walk();
            return Err(not_ours());
        }
        Ok(())
    }

    pub(super) fn with_turn<T>(&self, id: u64, use_it: impl FnOnce(&mut Turn) -> T) -> Result<T> {
        let mut turn = self.backup.borrow_mut();
        turn.as_mut().filter(|turn| turn.id == id).map(use_it).ok_or_else(not_ours)
    }

    /// Returns when nothing of the shard changes any more. That lasts until the snapshot is taken.
    pub(crate) async fn hold_for_backup(self: &Rc<Self>, id: u64) -> Result<()> {
        self.with_turn(id, |_| ())?;
        let held = Ticket::new();
        self.platform.spawn(self.clone().keep_held(id, held.clone()));
        if held.wait().await {
            return Ok(());
        }
        Err(Error::Backup(format!("writes of shard {} did not end in time", self.id)))
    }

    async fn keep_held(self: Rc<Self>, id: u64, held: Ticket<bool>) {
        let hold = async {
            let _guard = self.relocation_gate.enter().await;
            self.hold_log().await;
            if self.with_turn(id, |turn| turn.is_held = true).is_ok() {
                held.resolve(true);
            }
            self.log_event.wait_until(|| (!self.is_held(id)).then_some(())).await;
        };
        hold.or(self.platform.sleep(BACKUP_HOLD_MAX)).await;
        // It may have ended meanwhile.
        let _ = self.with_turn(id, |turn| turn.is_held = false);
        self.release_log();
        held.resolve(false);
    }

    fn is_held(&self, id: u64) -> bool {
        self.with_turn(id, |turn| turn.is_held).unwrap_or(false)
    }

    /// Takes the snapshot, in one step, and lets the shard go on. Gives about how many bytes it has.
    pub(crate) fn take_snapshot(&self, id: u64) -> Result<u64> {
        if !self.is_held(id) {
            return Err(Error::Backup(format!("the hold of shard {} is over", self.id)));
        }
        let heads = Heads {
            foreground: self.log.borrow().settled,
            relocation: self.relocation.borrow().as_ref().map(|log| log.at),
        };
        let instant = self.begin_checkpoint(|segment, row| heads.row_of(segment, row));
        let mut state = self.state.borrow_mut();
        let pin = state.pins.pin();
        let (logs, slabs) = sources(&state.segments, &heads);
        let is_kept = |segment: &u32| {
            let log = state.segments.get(*segment).and_then(Segment::log);
            log.is_some_and(|log| matches!(log.stage, Stage::Kept | Stage::Damaged))
        };
        let unpinned = logs.iter().map(|log| log.segment);
        let segments_held: Vec<u32> = unpinned.filter(|segment| !is_kept(segment)).collect();
        segments_held.iter().for_each(|segment| state.segments.hold(*segment));
        let segments = state.segments.len() as u32;
        let whole = state.segments.segment_bytes;
        drop(state);
        let snapshot = Snapshot { instant, segments, logs, slabs };
        let bytes = snapshot.bytes(whole);
        self.with_turn(id, |turn| {
            turn.pin = Some(pin);
            turn.segments_held = segments_held;
            turn.snapshot = Some(snapshot);
            turn.is_held = false;
        })?;
        self.log_event.notify();
        Ok(bytes)
    }

    /// Gives back the snapshot, or the hold; the turn goes on.
    pub(crate) fn retry_backup(&self, id: u64) -> Result<()> {
        let (pin, segments) = self.with_turn(id, |turn| {
            turn.is_held = false;
            turn.snapshot = None;
            (turn.pin.take(), std::mem::take(&mut turn.segments_held))
        })?;
        self.let_go_of(pin, &segments);
        Ok(())
    }

    fn let_go_of(&self, pin: Option<Pin>, segments_held: &[u32]) {
        if let Some(pin) = pin {
            self.unpin(pin);
        }
        let mut state = self.state.borrow_mut();
        segments_held.iter().for_each(|segment| state.segments.release_hold(*segment));
        drop(state);
        self.log_event.notify();
        self.note_freed();
    }

    /// The leaves are copied.
    pub(super) fn end_backup_walk(&self, id: u64) {
        if self.with_turn(id, |turn| std::mem::take(&mut turn.has_walk)).unwrap_or(false) {
            self.end_walk();
        }
    }

    /// Ends the shard's turn, wherever it stands, and gives back all that it has.
    pub(crate) fn end_backup(&self, id: u64) {
        self.end_backup_walk(id);
        if self.with_turn(id, |_| ()).is_err() {
            return;
        }
        let Some(turn) = self.backup.borrow_mut().take() else { return };
        self.let_go_of(turn.pin, &turn.segments_held);
    }
}

impl Snapshot {
    /// About how many bytes it has: the ends of sealed log segments are found by reading them.
    fn bytes(&self, segment_bytes: u64) -> u64 {
        let logs: u64 = self.logs.iter().map(|log| log.bytes_max(segment_bytes)).sum();
        let slabs: u64 = self.slabs.iter().map(SlabSource::bytes).sum();
        logs + slabs
    }
}

impl LogSource {
    pub(super) fn bytes_max(&self, segment_bytes: u64) -> u64 {
        match self.end {
            LogEnd::Seal(_) => segment_bytes,
            LogEnd::At(at) => at.offset,
        }
    }
}

impl SlabSource {
    /// Of its copy.
    pub(super) fn bytes(&self) -> u64 {
        let units: u32 = self.published.iter().map(|word| word.count_ones()).sum();
        BLOCK_BYTES as u64 + u64::from(units) * UNIT_BYTES as u64
    }
}

fn sources(segments: &SegmentTable, heads: &Heads) -> (Vec<LogSource>, Vec<SlabSource>) {
    let (mut logs, mut slabs) = (Vec::new(), Vec::new());
    for (segment, row) in segments.iter() {
        let SegmentRow { epoch, opened, content_stamp: stamp, used, .. } =
            heads.row_of(segment, row);
        match used {
            RowUse::Free => {}
            RowUse::Log { stream, end_lsn } => {
                let end = match (heads.at(segment), end_lsn) {
                    (Some(at), _) => LogEnd::At(at),
                    (None, lsn) => LogEnd::Seal(lsn.unwrap_or(0)),
                };
                logs.push(LogSource { segment, stream, epoch, end });
            }
            RowUse::Slab(published) => {
                slabs.push(SlabSource { segment, epoch, opened, stamp, published });
            }
        }
    }
    (logs, slabs)
}
