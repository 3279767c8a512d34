//! The table of a shard's segments: what each is used for and how much of it is alive.
//!
//! Invariants: segment numbers are dense; `live_bytes` changes only when a write is published; a
//! slab segment's map says exactly which units are given out, durable or not.
//!
//! Pure bookkeeping; creating and opening files is the shard's work.

use crate::format::manifest::Extent;
use crate::limits::{RESERVED_SEGMENTS, UNIT_BYTES};
use crate::slab::SlabMap;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) enum Use {
    /// May be taken for anything.
    Free,
    /// Being created or opened.
    Opening,
    Log,
    Slab(SlabMap),
}

#[derive(Debug)]
pub(crate) struct Segment {
    used: Use,
    /// Log: bytes of the records that the index points to. Slab: bytes of the units that published
    /// manifests name.
    pub(crate) live_bytes: u64,
    /// Every byte was written once: appends need no change of the file's metadata.
    pub(crate) filled: bool,
}

impl Segment {
    pub(crate) fn used(&self) -> &Use {
        &self.used
    }
}

/// How urgent a need for space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// New data: stops short of the reserve.
    Data,
    /// Deletions and what keeps the log going: may use the reserve.
    Reserve,
}

#[derive(Debug)]
pub(crate) struct SegmentTable {
    segments: Vec<Segment>,
    pub(crate) segment_bytes: u64,
    /// Most segments that the shard may have.
    limit: usize,
    /// The filesystem refused to give more space; forgotten when something is freed.
    exhausted: bool,
    free: BTreeSet<u32>,
    /// Slab segments with units to give.
    open_slabs: BTreeSet<u32>,
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
        self.segments.push(Segment { used: Use::Opening, live_bytes: 0, filled });
        self.set_use(segment, used);
        segment
    }

    pub(crate) fn set_use(&mut self, segment: u32, used: Use) {
        let Some(row) = self.segments.get_mut(segment as usize) else {
            return;
        };
        self.free.remove(&segment);
        self.open_slabs.remove(&segment);
        match &used {
            Use::Free => {
                self.free.insert(segment);
            }
            Use::Slab(map) if map.free_units() > 0 => {
                self.open_slabs.insert(segment);
            }
            _ => {}
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
        let reserve = if need == Need::Data { RESERVED_SEGMENTS } else { 0 };
        self.free.len() + self.creatable() > reserve
    }

    /// A free segment, now `Opening`. New data leaves the reserve alone as long as it may hope for a
    /// new segment: whether the filesystem has space for that one is known only when it is made.
    pub(crate) fn take_free(&mut self, need: Need) -> Option<u32> {
        if need == Need::Data && self.free.len() <= RESERVED_SEGMENTS && self.may_create() {
            return None;
        }
        let segment = self.free.first().copied()?;
        self.set_use(segment, Use::Opening);
        Some(segment)
    }

    pub(crate) fn may_create(&self) -> bool {
        self.creatable() > 0
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
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

    /// Takes the units that a manifest names, when the store is opened; false if that cannot be.
    pub(crate) fn mark_units(&mut self, extent: &Extent) -> bool {
        let Some(row) = self.segments.get_mut(extent.segment as usize) else {
            return false;
        };
        let Use::Slab(map) = &mut row.used else {
            return false;
        };
        let marked = map.mark(extent);
        if map.free_units() == 0 {
            self.open_slabs.remove(&extent.segment);
        }
        marked
    }

    /// Gives units back. A slab segment without any becomes free.
    pub(crate) fn free_units(&mut self, extent: &Extent) {
        self.exhausted = false;
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

    pub(crate) fn add_live(&mut self, segment: u32, bytes: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.live_bytes += bytes;
        }
    }

    pub(crate) fn sub_live(&mut self, segment: u32, bytes: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.live_bytes = row.live_bytes.saturating_sub(bytes);
        }
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

/// Bytes of an extent.
pub(crate) fn extent_bytes(extent: &Extent) -> u64 {
    u64::from(extent.units) * UNIT_BYTES as u64
}
