//! The relocation log: where compaction writes what it moves, and where amended records go.
//!
//! A log of its own, so that what has lived long does not lie among what was just written. One group
//! at a time, durable before the next: for moved records nobody waits, and of amended ones there are few.
//!
//! Invariants: a record is published at its new place only when its group is durable; whoever writes here
//! holds the gate until then, and so does who takes the log's position, for a checkpoint or a backup.

use crate::error::{Error, Result};
use crate::format::checkpoint::LogPosition;
use crate::format::record::{Encoded, Location, RecordKind};
use crate::format::segment::{Header, SegmentHeader, Stream};
use crate::limits::{RELOCATION_GROUP_MAX, RELOCATION_GROUP_MIN};
use crate::log_group::{GroupFacts, GroupLayout, encode};
use crate::metrics::count;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::segments::Need;
use crate::shard::Shard;
use std::rc::Rc;

/// What the transfer of a byte takes on a slow device: 250 MB/s.
const NS_PER_BYTE: u64 = 4;

/// The end of the relocation log.
#[derive(Debug)]
pub(crate) struct RelocationLog<P: Platform> {
    pub(crate) file: Rc<P::File>,
    pub(crate) at: LogPosition,
    /// A group without records says that all before is durable.
    pub(crate) is_told: bool,
}

impl<P: Platform> Shard<P> {
    /// Writes one group, durably; gives where its records lie. The gate is held by the caller.
    pub(crate) async fn write_relocated(
        self: &Rc<Self>,
        records: &[Encoded],
        need: Need,
    ) -> Result<Vec<Location>> {
        let layout = GroupLayout::of(records.iter());
        let mut at = self.relocation_room(layout.bytes as u64, need).await?;
        let locations = layout.locations(&at, records.iter()).collect();
        self.write_group(&mut at, &layout, records, None).await?;
        let is_husk = |record: &&Encoded| {
            record.record.flags.void || record.record.kind == RecordKind::Tombstone
        };
        let husk_bytes = GroupLayout::record_bytes(records.iter().filter(is_husk));
        let segments = &mut self.state.borrow_mut().segments;
        segments.add_written(
            at.segment,
            GroupLayout::record_bytes(records.iter()),
            layout.content_bytes as u64,
        );
        segments.add_husks(at.segment, husk_bytes);
        let counters = &self.context.counters;
        let bytes_total = match need {
            Need::Compaction => &counters.relocated_bytes_total,
            _ => &counters.amended_bytes_total,
        };
        count(bytes_total, layout.bytes as u64);
        Ok(locations)
    }

    /// How large the next group should be: it fills the segment up, unless little is left of that.
    ///
    /// Writes of requests wait behind this one. So its bytes are to take no longer than the flush that
    /// each of them waits for anyway: small where flushes are quick, large where they are slow and
    /// cost the most; and large where somebody waits for space.
    pub(crate) fn relocation_target(&self) -> usize {
        let segment_bytes = self.context.layout.segment_bytes;
        let is_urgent = self.maintenance.waiting.get() > 0;
        let write_ns = self.log.borrow().pace.write_ns();
        let bytes = if is_urgent { u64::MAX } else { write_ns / NS_PER_BYTE };
        let most = RELOCATION_GROUP_MAX.min(segment_bytes as usize / 8);
        let target = most.min(RELOCATION_GROUP_MIN.max(usize::try_from(bytes).unwrap_or(most)));
        let at = self.relocation.borrow().as_ref().map_or(0, |log| log.at.offset);
        let left = segment_bytes.saturating_sub(at + 3 * BLOCK_BYTES as u64) as usize;
        if left < target / 8 { target } else { target.min(left) }
    }

    /// Bytes left in the segment that is written to.
    pub(crate) fn relocation_left(&self) -> u64 {
        let log = self.relocation.borrow();
        log.as_ref().map_or(0, |log| self.context.layout.segment_bytes - log.at.offset)
    }

    /// The position of the next group of so many bytes; opens a segment for it if need be. While there are
    /// no segments but the reserve, what is left of the present one is compaction's alone.
    async fn relocation_room(self: &Rc<Self>, bytes: u64, need: Need) -> Result<LogPosition> {
        if !self.may_relocate(need) {
            return Err(Error::OutOfSpace);
        }
        let at = self.relocation.borrow().as_ref().map(|log| log.at);
        let segment_bytes = self.context.layout.segment_bytes;
        if let Some(at) = at
            && at.offset + bytes + BLOCK_BYTES as u64 <= segment_bytes
        {
            return Ok(at);
        }
        let next = self.take_segment(need).await?;
        if need == Need::Compaction {
            let mut round = self.maintenance.round.get();
            round.note_taken();
            self.maintenance.round.set(round);
        }
        let mut at = at.unwrap_or(LogPosition { next_lsn: 1, ..LogPosition::default() });
        if at.offset > 0 {
            self.write_group(&mut at, &GroupLayout::empty(), &[], Some(next)).await?;
            self.state.borrow_mut().segments.seal(at.segment, at.next_lsn);
            self.state.borrow_mut().segments.set_filled(at.segment);
        }
        let epoch = self.next_epoch();
        let file = Rc::new(self.open_log(next, Stream::Relocation, epoch, at).await?);
        if at.offset == 0 {
            self.check_first_header(next, epoch).await?;
        }
        let at = LogPosition { segment: next, offset: BLOCK_BYTES as u64, epoch, ..at };
        *self.relocation.borrow_mut() = Some(RelocationLog { file, at, is_told: true });
        self.note_freed();
        Ok(at)
    }

    /// No group of another segment names the log's first one. Had its header not come to the medium,
    /// nothing would tell the next start that there is such a log; so it is read once more.
    async fn check_first_header(&self, segment: u32, epoch: u64) -> Result<()> {
        let path = self.context.layout.segment_path(self.id, segment);
        let failed = |source| Error::io("read the header of the relocation log", source);
        let file = self.platform.open(&path, OpenMode::READ).await.map_err(failed)?;
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(failed)?;
        match SegmentHeader::decode(&block) {
            Header::Valid(header) if (header.segment, header.epoch) == (segment, epoch) => Ok(()),
            _ => Err(failed(std::io::Error::other("it is not what was written"))),
        }
    }

    /// Whether there is room for what somebody waits for, or compaction's need.
    pub(crate) fn may_relocate(&self, need: Need) -> bool {
        need == Need::Compaction || self.state.borrow().segments.may_take(need)
    }

    async fn write_group(
        &self,
        at: &mut LogPosition,
        layout: &GroupLayout,
        records: &[Encoded],
        next_segment: Option<u32>,
    ) -> Result<()> {
        let file = self.relocation.borrow().as_ref().map(|log| log.file.clone());
        let Some(file) = file else {
            return Err(Error::Corrupt("the relocation log is not open".into()));
        };
        let offset = at.offset;
        let facts = GroupFacts {
            shard: self.id,
            stream: Stream::Relocation,
            durable_lsn: at.next_lsn - 1,
            next_segment,
        };
        let salt = self.context.salt;
        let buffer = encode(&self.platform, salt, at, facts, layout, records.iter());
        count(&self.context.counters.flushes_total, 1);
        let written = file.write_at(buffer, offset).await;
        written.map_err(|source| Error::io("write the relocation log", source))?;
        if next_segment.is_none()
            && let Some(log) = self.relocation.borrow_mut().as_mut()
        {
            log.at = *at;
            log.is_told = records.is_empty();
        }
        Ok(())
    }

    /// Says on disk that all before is durable, so that damage can be told from a torn end.
    pub(crate) async fn witness_relocation(self: &Rc<Self>, need: Need) -> Result<()> {
        if self.relocation.borrow().is_none() {
            return Ok(());
        }
        let layout = GroupLayout::empty();
        let mut at = self.relocation_room(layout.bytes as u64, need).await?;
        self.write_group(&mut at, &layout, &[], None).await
    }
}
