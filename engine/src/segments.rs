//! The table of a shard's segments: what each is used for and how much of it is alive.
//!
//! Invariants: segment numbers are dense; liveness changes only when a record is published; a slab
//! segment's map says exactly which units are given out, durable or not; a log segment becomes free
//! only by way of [`Stage::Retired`].
//!
//! Pure bookkeeping; creating and opening files is the shard's work, and `garbage` says what compaction
//! would gain.

use crate::format::manifest::Extent;
use crate::format::record::Location;
use crate::format::segment::Stream;
use crate::limits::{COMPACTION_SEGMENTS, LOG_SEGMENTS_KEPT, RESERVED_SEGMENTS, UNIT_BYTES};
use crate::slab::SlabMap;
use crate::state::Space;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) enum Use {
    /// May be taken for anything.
    Free,
    /// Being created, opened or freed.
    Opening,
    Log(LogUse),
    Slab(SlabMap),
}

/// A segment that holds groups of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogUse {
    pub(crate) stream: Stream,
    /// LSN behind its last group, once the log has gone on elsewhere.
    pub(crate) end_lsn: Option<u64>,
    pub(crate) stage: Stage,
}

/// How far a log segment is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its records count.
    Kept,
    /// Something live in it cannot be read: it stays as it is.
    Damaged,
    /// Compaction has moved out what was alive, and what dead records still killed.
    Emptied,
    /// Nobody reads it any more; it becomes free when no retained checkpoint needs it.
    Retired,
}

impl LogUse {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, end_lsn: None, stage: Stage::Kept }
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    used: Use,
    /// Of the present use, from its header; zero if it was never used.
    pub(crate) epoch: u64,
    /// The version at which the present use began.
    pub(crate) opened: u64,
    /// Log: bytes of the records that the index points to. Slab: bytes of the units that published
    /// manifests name.
    pub(crate) live_bytes: u64,
    /// Log: what these records will grow by when they are moved.
    pub(crate) growth_bytes: u64,
    /// Log: records that the index points to.
    pub(crate) live_records: u32,
    /// Log: bytes of all records, alive or not, and the same with the gaps that their placement left.
    pub(crate) record_bytes: u64,
    pub(crate) placed_bytes: u64,
    /// Log: bytes of husks, and how many segments had been recycled when the last was written.
    pub(crate) husk_bytes: u64,
    pub(crate) husk_mark: u64,
    /// Displaced records whose manifests are still to be read.
    pub(crate) holds: u32,
    /// Log: a start from a checkpoint before this one reads manifests of displaced records here.
    pub(crate) displaced_stamp: u64,
    /// Every byte was written once: appends need no change of the file's metadata.
    pub(crate) filled: bool,
    /// Slab: changes whenever bytes in it were published, so that a backup knows what it has.
    pub(crate) content_stamp: u64,
}

/// By so much a record grows when it is moved for the first time: a section that names its former place.
const MOVED_BYTES: u64 = 36;

impl Segment {
    /// What a record here grows by when it is moved.
    fn growth(&self) -> u64 {
        let is_moved = self.log().is_none_or(|log| log.stream == Stream::Relocation);
        if is_moved { 0 } else { MOVED_BYTES }
    }

    pub(crate) fn used(&self) -> &Use {
        &self.used
    }

    pub(crate) fn log(&self) -> Option<&LogUse> {
        match &self.used {
            Use::Log(log) => Some(log),
            _ => None,
        }
    }
}

/// How urgent a need for space is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Large bodies: leave the logs what they need to turn over as well.
    Slab,
    /// New data: stops short of the reserve.
    Data,
    /// Deletions and what keeps the log going: may use the reserve, but for what compaction needs.
    Reserve,
    /// Compaction, which gives back more than it takes.
    Compaction,
}

#[derive(Debug)]
pub(crate) struct SegmentTable {
    pub(crate) segments: Vec<Segment>,
    pub(crate) segment_bytes: u64,
    /// Most segments that the shard may have.
    limit: usize,
    /// The filesystem refused to give more space; forgotten once it gives some.
    exhausted: bool,
    free: BTreeSet<u32>,
    /// Slab segments with units to give.
    open_slabs: BTreeSet<u32>,
    /// Segments that hold a log, and the live bytes in them, as large as they will be once moved.
    pub(crate) log_segments: usize,
    /// Segments that are being created, opened or freed.
    pub(crate) opening: usize,
    log_live_bytes: u64,
    /// Bytes of records that the index no longer points to, since the start.
    pub(crate) died_bytes: u64,
    /// Log segments recycled since the start.
    pub(crate) recycled: u64,
    /// Sequence of the next checkpoint to begin.
    pub(crate) next_checkpoint: u64,
}

impl SegmentTable {
    pub(crate) fn new(segment_bytes: u64, limit: usize) -> Self {
        Self {
            segments: Vec::new(),
            segment_bytes,
            limit,
            exhausted: false,
            free: BTreeSet::new(),
            open_slabs: BTreeSet::new(),
            log_segments: 0,
            opening: 0,
            log_live_bytes: 0,
            died_bytes: 0,
            recycled: 0,
            next_checkpoint: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn get(&self, segment: u32) -> Option<&Segment> {
        self.segments.get(segment as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        (0..).zip(&self.segments)
    }

    pub(crate) fn push(&mut self, used: Use, filled: bool) -> u32 {
        let segment = self.segments.len() as u32;
        self.segments.push(Segment {
            used: Use::Opening,
            epoch: 0,
            opened: 0,
            live_bytes: 0,
            growth_bytes: 0,
            live_records: 0,
            record_bytes: 0,
            placed_bytes: 0,
            husk_bytes: 0,
            husk_mark: 0,
            holds: 0,
            displaced_stamp: 0,
            filled,
            content_stamp: 0,
        });
        self.opening += 1;
        self.set_use(segment, used);
        segment
    }

    /// A use of a segment began.
    pub(crate) fn set_opened(&mut self, segment: u32, epoch: u64, opened: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.epoch = epoch;
            row.opened = opened;
        }
    }

    pub(crate) fn restore_stamp(&mut self, segment: u32, stamp: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.content_stamp = stamp;
        }
    }

    /// A log segment is free again.
    pub(crate) fn set_recycled(&mut self, segment: u32) {
        self.recycled += 1;
        self.set_use(segment, Use::Free);
    }

    /// What a checkpoint's index points to in a segment.
    pub(crate) fn restore_records(&mut self, segment: u32, bytes: u64, records: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            let growth_bytes = row.growth() * u64::from(records);
            row.live_bytes += bytes;
            row.growth_bytes += growth_bytes;
            row.live_records += records;
            self.log_live_bytes += bytes + growth_bytes;
        }
    }

    /// A start from a checkpoint before this one may read manifests of displaced records anywhere.
    pub(crate) fn stamp_displaced(&mut self, sequence: u64) {
        self.segments.iter_mut().for_each(|row| row.displaced_stamp = sequence);
    }

    /// The log has gone on elsewhere.
    pub(crate) fn seal(&mut self, segment: u32, end_lsn: u64) {
        if let Some(Segment { used: Use::Log(log), .. }) = self.segments.get_mut(segment as usize) {
            log.end_lsn = Some(end_lsn);
        }
    }

    pub(crate) fn set_stage(&mut self, segment: u32, stage: Stage) {
        if let Some(Segment { used: Use::Log(log), .. }) = self.segments.get_mut(segment as usize) {
            log.stage = stage;
        }
    }

    pub(crate) fn set_use(&mut self, segment: u32, used: Use) {
        let Some(row) = self.segments.get_mut(segment as usize) else {
            return;
        };
        self.free.remove(&segment);
        self.open_slabs.remove(&segment);
        self.log_segments -= usize::from(matches!(row.used, Use::Log(_)));
        self.opening -= usize::from(matches!(row.used, Use::Opening));
        if matches!(row.used, Use::Slab(_)) {
            // A start may put a slab to another use that its checkpoint still knows with units.
            row.live_bytes = 0;
        }
        match &used {
            Use::Free => {
                self.free.insert(segment);
            }
            Use::Log(_) => {
                self.log_segments += 1;
                (row.record_bytes, row.placed_bytes) = (0, 0);
                (row.husk_bytes, row.husk_mark) = (0, 0);
            }
            Use::Slab(map) => {
                row.live_bytes = u64::from(map.published_units()) * UNIT_BYTES as u64;
                if map.free_units() > 0 {
                    self.open_slabs.insert(segment);
                }
            }
            Use::Opening => self.opening += 1,
        }
        row.used = used;
    }

    pub(crate) fn set_filled(&mut self, segment: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.filled = true;
        }
    }

    fn creatable(&self) -> usize {
        if self.exhausted { 0 } else { self.limit.saturating_sub(self.segments.len()) }
    }

    /// Whether another segment may be taken for this need.
    pub(crate) fn may_take(&self, need: Need) -> bool {
        self.obtainable() > self.spares(need)
    }

    /// Segments that a need leaves alone.
    fn spares(&self, need: Need) -> usize {
        match need {
            Need::Slab => RESERVED_SEGMENTS + LOG_SEGMENTS_KEPT.saturating_sub(self.log_segments),
            Need::Data => RESERVED_SEGMENTS,
            Need::Reserve => COMPACTION_SEGMENTS,
            Need::Compaction => 0,
        }
    }

    /// Whether there are units to give, or another segment may be taken for some.
    pub(crate) fn may_give_units(&self) -> bool {
        !self.open_slabs.is_empty() || self.may_take(Need::Slab)
    }

    /// Segments that are free or may be made.
    pub(crate) fn obtainable(&self) -> usize {
        self.free.len() + self.creatable()
    }

    /// A free segment, now `Opening`. The reserve is left alone as long as there is hope for a new
    /// segment: whether the filesystem has space for that one is known only when it is made.
    pub(crate) fn take_free(&mut self, need: Need) -> Option<u32> {
        if self.free.len() <= self.spares(need) && self.may_create() {
            return None;
        }
        let segment = self.free.first().copied()?;
        self.set_use(segment, Use::Opening);
        Some(segment)
    }

    /// Whether what this need leaves alone is not there yet, and may be made.
    pub(crate) fn lacks_spares(&self, need: Need) -> bool {
        self.free.len() < self.spares(need) && self.may_create()
    }

    /// Whether the shard may have more segments, should the filesystem have space for them.
    pub(crate) fn is_below_limit(&self) -> bool {
        self.segments.len() < self.limit
    }

    pub(crate) fn may_create(&self) -> bool {
        self.creatable() > 0
    }

    /// Whether the reserve is there, and a segment to go on with.
    pub(crate) fn has_spares(&self) -> bool {
        self.free.len() > RESERVED_SEGMENTS
    }

    pub(crate) fn set_exhausted(&mut self, exhausted: bool) {
        self.exhausted = exhausted;
    }

    /// Units for a body from the slab segments that are open: a run of `wanted`, or with `any` what
    /// there is, at most `wanted`.
    pub(crate) fn take_units(&mut self, wanted: u16, any: bool) -> Option<Extent> {
        let most = (self.segment_bytes / UNIT_BYTES as u64) as u16 - 1;
        let wanted = wanted.min(most);
        for &segment in &self.open_slabs {
            let Some(Segment { used: Use::Slab(map), .. }) =
                self.segments.get_mut(segment as usize)
            else {
                continue;
            };
            if let Some((unit, units)) = map.take(wanted, any) {
                if map.free_units() == 0 {
                    self.open_slabs.remove(&segment);
                }
                return Some(Extent { segment, unit, units });
            }
        }
        None
    }

    /// Takes the units that a manifest names, when the store is opened; false if that cannot be. With
    /// `shared` some may be taken already.
    pub(crate) fn mark_units(&mut self, extent: &Extent, shared: bool) -> bool {
        let Some(row) = self.segments.get_mut(extent.segment as usize) else {
            return false;
        };
        let Use::Slab(map) = &mut row.used else {
            return false;
        };
        let marked = if shared { map.mark_rest(extent) } else { map.mark(extent) };
        if map.free_units() == 0 {
            self.open_slabs.remove(&extent.segment);
        }
        marked
    }

    /// Gives units back at a start: a segment without any keeps its use until all is settled.
    pub(crate) fn give_back(&mut self, extent: &Extent) {
        if let Some(Segment { used: Use::Slab(map), .. }) =
            self.segments.get_mut(extent.segment as usize)
        {
            map.free(extent);
            self.open_slabs.insert(extent.segment);
        }
    }

    /// Gives units back. A slab segment without any becomes free.
    pub(crate) fn free_units(&mut self, extent: &Extent) {
        let Some(Segment { used: Use::Slab(map), .. }) =
            self.segments.get_mut(extent.segment as usize)
        else {
            return;
        };
        map.free(extent);
        if map.is_vacant() {
            self.set_use(extent.segment, Use::Free);
        } else {
            self.open_slabs.insert(extent.segment);
        }
    }

    /// Slab segments without any unit given out are free.
    pub(crate) fn free_vacant(&mut self) {
        let is_vacant = |used: &Use| matches!(used, Use::Slab(map) if map.is_vacant());
        let vacant = self.iter().filter(|(_, row)| is_vacant(row.used()));
        let vacant: Vec<u32> = vacant.map(|(segment, _)| segment).collect();
        vacant.into_iter().for_each(|segment| self.set_use(segment, Use::Free));
    }

    /// The index points to one more record here.
    pub(crate) fn add_record(&mut self, segment: u32, bytes: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            let growth_bytes = row.growth();
            row.live_bytes += u64::from(bytes);
            row.growth_bytes += growth_bytes;
            row.live_records += 1;
            self.log_live_bytes += u64::from(bytes) + growth_bytes;
        }
    }

    pub(crate) fn remove_record(&mut self, segment: u32, bytes: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            let growth_bytes = row.growth_bytes.min(MOVED_BYTES);
            row.live_bytes = row.live_bytes.saturating_sub(u64::from(bytes));
            row.growth_bytes -= growth_bytes;
            row.live_records = row.live_records.saturating_sub(1);
            let bytes_moved = u64::from(bytes) + growth_bytes;
            self.log_live_bytes = self.log_live_bytes.saturating_sub(bytes_moved);
            self.died_bytes += u64::from(bytes);
        }
    }

    /// The index points to a record's copy elsewhere.
    pub(crate) fn move_record(&mut self, segment: u32, bytes: u32, to: Location) {
        let died_bytes = self.died_bytes;
        self.remove_record(segment, bytes);
        self.add_record(to.segment, to.span_bytes);
        self.died_bytes = died_bytes;
    }

    /// A published manifest names these units.
    pub(crate) fn publish_units(&mut self, extent: &Extent, stamp: u64) {
        if let Some(row) = self.segments.get_mut(extent.segment as usize) {
            row.content_stamp = stamp;
            if let Use::Slab(map) = &mut row.used {
                row.live_bytes += u64::from(map.publish(extent)) * UNIT_BYTES as u64;
            }
        }
    }

    /// No published manifest names these units any more.
    pub(crate) fn withdraw_units(&mut self, extent: &Extent) {
        if let Some(row) = self.segments.get_mut(extent.segment as usize)
            && let Use::Slab(map) = &mut row.used
        {
            row.live_bytes -= u64::from(map.withdraw(extent)) * UNIT_BYTES as u64;
        }
    }

    /// Nobody reads this any more: units may be given out again, a log segment waits for checkpoints.
    pub(crate) fn free(&mut self, space: Space) {
        match space {
            Space::Units(extent) => self.free_units(&extent),
            Space::Log(segment) => {
                self.set_stage(segment, Stage::Retired);
            }
        }
    }

    /// A record here was displaced, and its manifest is still to be read.
    pub(crate) fn hold(&mut self, segment: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.holds += 1;
        }
    }

    /// The manifest was read. A start from a checkpoint that has begun before will read it again.
    pub(crate) fn release_hold(&mut self, segment: u32) {
        let stamp = self.next_checkpoint;
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.holds = row.holds.saturating_sub(1);
            row.displaced_stamp = stamp;
        }
    }

    /// Segments that hold a log, and the live bytes in them, as large as they will be once moved.
    pub(crate) fn log_use(&self) -> (usize, u64) {
        (self.log_segments, self.log_live_bytes)
    }

    /// Segments that hold a log at this stage.
    pub(crate) fn log_at(&self, wanted: impl Fn(Stage) -> bool) -> Vec<u32> {
        let at = |row: &Segment| row.log().is_some_and(|log| wanted(log.stage));
        self.iter().filter(|(_, row)| at(row)).map(|(segment, _)| segment).collect()
    }

    /// Bytes that new data may still take, roughly: what is free and what may be created.
    pub(crate) fn available_bytes(&self) -> u64 {
        let segments = (self.free.len() + self.creatable()).saturating_sub(RESERVED_SEGMENTS);
        let units: u64 = self
            .open_slabs
            .iter()
            .filter_map(|&segment| match self.get(segment)?.used() {
                Use::Slab(map) => Some(u64::from(map.free_units())),
                _ => None,
            })
            .sum();
        segments as u64 * self.segment_bytes + units * UNIT_BYTES as u64
    }
}
