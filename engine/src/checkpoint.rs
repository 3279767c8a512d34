//! Writing a shard's checkpoints while it serves.
//!
//! All that a checkpoint holds is taken at one instant: the walk over the index begins, and segments,
//! catalogue and queues are encoded, in one step without an await, and while nobody writes to the
//! relocation log. Then frames are written, with the index's leaves given in slices; what changes meanwhile is
//! copied before its first change.
//!
//! Invariants: a slot is made blank before its frames are written, and gets its header when all of them are
//! durable; of the three slots, the two newest checkpoints are never written to. The space of all slots is taken before that of segments: where a
//! filesystem is full no space could be gained without a checkpoint.
//!
//! Not here: when one is due (`maintenance`), reading them (`recover`).

use crate::append::Log;
use crate::error::{Error, Result};
use crate::format::checkpoint::{
    CheckpointHeader, FRAME_BYTES_MAX, FRAME_CONTENT_MAX, FRAME_HEADER_BYTES, FrameId, FrameKind,
    RowUse, SLOTS, SegmentRow, frame_bytes, seal_frame,
};
use crate::format::segment::Stream;
use crate::limits::{BACKGROUND_IO_BYTES, UNIT_BYTES};
use crate::maintenance::is_retired;
use crate::metrics::count;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::segments::{Segment, Use};
use crate::shard::Shard;
use crate::state::State;
use crate::store::Mutation;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Leaves are collected in slices of so many bytes; others run in between.
const SLICE_BYTES: usize = 64 << 10;

/// A segment's row in a checkpoint, without the map of a slab, generously.
const SEGMENT_ROW_BYTES: usize = 64;

/// A checkpoint that a start may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retained {
    pub(crate) slot: u64,
    pub(crate) header: CheckpointHeader,
}

/// How far something has come since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) displaced: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Newest first, at most two.
    pub(crate) retained: Vec<Retained>,
    /// Where progress stood when the newest one began.
    covered: Progress,
    /// Space that every slot has.
    slot_bytes: u64,
    /// One was found damaged: another is to take its place soon.
    pub(crate) is_overdue: bool,
}

impl Checkpoints {
    pub(crate) fn new(retained: Vec<Retained>, is_overdue: bool) -> Self {
        Self { retained, is_overdue, ..Self::default() }
    }

    /// What the newest one does not cover.
    pub(crate) fn since<P: Platform>(&self, log: &Log<P>, state: &State) -> Progress {
        let now = progress(log, state);
        Progress {
            bytes: now.bytes - self.covered.bytes,
            records: now.records - self.covered.records,
            displaced: now.displaced - self.covered.displaced,
        }
    }

    /// The one that a start falls back to. `None`: the whole log.
    pub(crate) fn oldest(&self) -> Option<&CheckpointHeader> {
        self.retained.get(1).map(|kept| &kept.header)
    }

    fn free_slot(&self) -> u64 {
        let is_retained = |slot: &u64| self.retained.iter().any(|kept| kept.slot == *slot);
        (0..SLOTS).find(|slot| !is_retained(slot)).unwrap_or(0)
    }
}

fn progress<P: Platform>(log: &Log<P>, state: &State) -> Progress {
    Progress {
        bytes: log.appended_bytes,
        records: log.appended_records,
        displaced: state.displaced.queued_total,
    }
}

/// The path of a slot of a shard's checkpoints.
pub(crate) fn slot_path(shard_dir: &std::path::Path, slot: u64) -> PathBuf {
    shard_dir.join(format!("checkpoint-{slot}.ckp"))
}

/// What a slot must hold at most.
fn slot_bytes_max(leaf_bytes: usize, others_bytes: usize) -> u64 {
    // Every frame of leaves may end a leaf short.
    let frames = leaf_bytes / (FRAME_CONTENT_MAX - BLOCK_BYTES) + 2;
    (others_bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES + frames * FRAME_BYTES_MAX) as u64
}

/// What was taken at the instant of the checkpoint, beside the leaves.
#[derive(Debug)]
pub(crate) struct Instant {
    pub(crate) header: CheckpointHeader,
    progress: Progress,
    /// Frames behind the leaves: kind, items, content.
    others: Vec<(FrameKind, u32, Vec<u8>)>,
    /// What the file will need at most, for its preallocation.
    bytes_max: u64,
}

/// Packs encoded items into as few frames as hold them.
#[derive(Default)]
struct Packer {
    frames: Vec<(FrameKind, u32, Vec<u8>)>,
}

impl Packer {
    fn push(&mut self, kind: FrameKind, item: &[u8]) {
        match self.frames.last_mut() {
            Some((last, items, content))
                if *last == kind && content.len() + item.len() <= FRAME_CONTENT_MAX =>
            {
                content.extend_from_slice(item);
                *items += 1;
            }
            _ => self.frames.push((kind, 1, item.to_vec())),
        }
    }
}

impl<P: Platform> Shard<P> {
    /// Writes a checkpoint of the shard as it is now. The walk was taken for it.
    pub(crate) async fn write_checkpoint(self: &Rc<Self>) -> Result<()> {
        let gate = self.relocation_gate.enter().await;
        let mut instant = self.begin_checkpoint(|_, row| encode_row(row));
        drop(gate);
        let slot = self.maintenance.checkpoints.borrow().free_slot();
        let written = self.write_slot(slot, &mut instant).await;
        self.end_walk();
        if let Err(error) = written {
            if self.is_given_up(&error) {
                return Err(Error::Stopping);
            }
            count(&self.context.counters.checkpoint_failures_total, 1);
            return Err(error);
        }
        let Instant { header, progress, .. } = instant;
        let mut checkpoints = self.maintenance.checkpoints.borrow_mut();
        checkpoints.covered = progress;
        checkpoints.is_overdue = false;
        checkpoints.retained.truncate(1);
        checkpoints.retained.insert(0, Retained { slot, header });
        count(&self.context.counters.checkpoints_total, 1);
        Ok(())
    }

    /// Everything in one step, without an await; the relocation gate is held. `row_of`: what is said of each segment.
    pub(crate) fn begin_checkpoint(&self, row_of: impl Fn(u32, &Segment) -> SegmentRow) -> Instant {
        let mut state = self.state.borrow_mut();
        let log = self.log.borrow();
        let layout = &self.context.layout;
        let sequence = state.segments.next_checkpoint;
        state.segments.next_checkpoint += 1;
        state.index.begin_walk();
        let mut packer = Packer::default();
        let mut item = Vec::new();
        for (segment, row) in state.segments.iter() {
            item.clear();
            row_of(segment, row).encode(&mut item);
            packer.push(FrameKind::Segments, &item);
        }
        if layout.catalog_homes().contains(&self.id) {
            for item in self.catalog.borrow().encode() {
                packer.push(FrameKind::Catalog, &item);
            }
        }
        for row in state.displaced.rows() {
            item.clear();
            row.encode(&mut item);
            packer.push(FrameKind::Displaced, &item);
        }
        let others_bytes: usize =
            packer.frames.iter().map(|(.., content)| frame_bytes(content.len())).sum();
        let bytes_max = slot_bytes_max(state.index.memory_bytes(), others_bytes);
        Instant {
            header: CheckpointHeader {
                shard: self.id,
                store_uuid: layout.store_uuid,
                sequence,
                created_ns: self.platform.wall_clock_ns(),
                body_bytes: 0,
                leaf_frames: 0,
                frames: 0,
                entries: state.index.len() as u64,
                epoch: self.epoch(),
                version: self.clock.last(),
                leaf_bytes: 0,
                foreground: log.settled,
                relocation: self.relocation.borrow().as_ref().map(|log| log.at),
            },
            progress: progress(&log, &state),
            others: packer.frames,
            bytes_max,
        }
    }

    /// Sees to it that every slot has space for a checkpoint of the index as it is now, and of what the
    /// segments that are there may still add to it: a fourth, and a little where there is nothing yet.
    /// (Objects of a few bytes add more; then a full filesystem must be given space to go on.)
    ///
    /// # Errors
    /// [`Error::OutOfSpace`]: new data must not take what is left.
    pub(crate) async fn reserve_slots(&self) -> Result<()> {
        let layout = &self.context.layout;
        let (leaf_bytes, segments) = {
            let state = self.state.borrow();
            (state.index.memory_bytes(), state.segments.len() + 1)
        };
        let map_bytes = layout.segment_bytes as usize / UNIT_BYTES / 8;
        let others_bytes = segments * (SEGMENT_ROW_BYTES + map_bytes) + FRAME_BYTES_MAX;
        let least = layout.segment_bytes as usize / 16;
        let bytes = |leaf_bytes| slot_bytes_max(leaf_bytes + least, others_bytes);
        if bytes(leaf_bytes + leaf_bytes / 4) <= self.maintenance.checkpoints.borrow().slot_bytes {
            return Ok(());
        }
        // More than that, so that it is not due again at every segment.
        let ahead = bytes(leaf_bytes * 2);
        for slot in 0..SLOTS {
            let path = slot_path(&layout.shard_dir(self.id), slot);
            let file = self.open_slot(&path, ahead).await?;
            let failed = |source| slot_error(&path, source);
            file.sync().await.map_err(failed)?;
            file.close().await.map_err(failed)?;
        }
        self.maintenance.checkpoints.borrow_mut().slot_bytes = ahead;
        Ok(())
    }

    /// Whether an orderly stop kept a checkpoint from being finished. Who rebuilds an index offline is told
    /// what is wrong.
    fn is_given_up(&self, error: &Error) -> bool {
        let is_cut_short = matches!(error, Error::Io { source, .. }
            if source.kind() == std::io::ErrorKind::Interrupted);
        is_cut_short && self.context.stopping.get() && self.maintenance.is_writing_checkpoint()
    }

    async fn write_slot(&self, slot: u64, instant: &mut Instant) -> Result<()> {
        let path = slot_path(&self.context.layout.shard_dir(self.id), slot);
        let file = self.open_slot(&path, instant.bytes_max).await?;
        let failed = |source| slot_error(&path, source);
        let bytes = self.write_instant(&file, instant).await.map_err(failed)?;
        count(&self.context.counters.checkpoint_bytes_total, bytes);
        file.close().await.map_err(failed)
    }

    /// Writes a checkpoint into a file, durably; gives its length.
    pub(crate) async fn write_instant(
        &self,
        file: &P::File,
        instant: &mut Instant,
    ) -> std::io::Result<u64> {
        self.write_header_block(file, None).await?;
        let mut offset = BLOCK_BYTES as u64;
        instant.header.leaf_bytes = self.write_leaves(file, &mut instant.header).await?;
        offset += instant.header.leaf_bytes;
        for (kind, items, content) in std::mem::take(&mut instant.others) {
            let bytes = frame_bytes(content.len());
            let id = instant.header.next_frame();
            offset += self.write_frame(file, offset, id, (kind, items), &content, bytes).await?;
        }
        instant.header.body_bytes = offset - BLOCK_BYTES as u64;
        self.sync_slot(file).await?;
        self.write_header_block(file, Some(&instant.header)).await?;
        Ok(offset)
    }

    /// Writes the first block of a slot, durably: without a header it says that the slot is unfinished.
    async fn write_header_block(
        &self,
        file: &P::File,
        header: Option<&CheckpointHeader>,
    ) -> std::io::Result<()> {
        let mut block = self.platform.allocate(BLOCK_BYTES);
        match header {
            Some(header) => header.encode(&mut block),
            None => block.fill(0),
        }
        file.write_at(block, 0).await?;
        self.sync_slot(file).await
    }

    async fn sync_slot(&self, file: &P::File) -> std::io::Result<()> {
        if self.context.mutation() == Some(Mutation::SkipCheckpointSync) {
            return Ok(());
        }
        count(&self.context.counters.flushes_total, 1);
        file.sync().await
    }

    /// The slot's file with space for so many bytes.
    async fn open_slot(&self, path: &std::path::Path, bytes: u64) -> Result<P::File> {
        let failed = |source| slot_error(path, source);
        let file = match self.platform.open(path, OpenMode::WRITE).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = self.platform.open(path, OpenMode::CREATE).await.map_err(failed)?;
                let dir = self.context.layout.shard_dir(self.id);
                self.platform.sync_dir(&dir).await.map_err(failed)?;
                file
            }
            other => other.map_err(failed)?,
        };
        let _guard = self.maintenance.slot_gate.enter().await;
        if file.len().await.map_err(failed)? < bytes {
            file.preallocate(bytes).await.map_err(failed)?;
        }
        Ok(file)
    }

    /// Writes the frames of leaves; gives their bytes.
    async fn write_leaves(
        &self,
        file: &P::File,
        header: &mut CheckpointHeader,
    ) -> std::io::Result<u64> {
        let mut content: Vec<u8> = Vec::with_capacity(FRAME_BYTES_MAX);
        let (mut offset, mut done) = (0, false);
        while !done {
            let mut items = 0;
            // A slice may end a leaf beyond what was asked for.
            while !done && content.len() + SLICE_BYTES + BLOCK_BYTES <= FRAME_CONTENT_MAX {
                let walked = self.state.borrow_mut().index.walk(&mut content, SLICE_BYTES);
                items += walked.leaves;
                done = walked.done;
                self.platform.yield_now().await;
            }
            if content.is_empty() {
                break;
            }
            let bytes = if done { frame_bytes(content.len()) } else { FRAME_BYTES_MAX };
            let (id, kind) = (header.next_frame(), FrameKind::Leaves);
            header.leaf_frames += 1;
            let at = BLOCK_BYTES as u64 + offset;
            offset += self.write_frame(file, at, id, (kind, items), &content, bytes).await?;
            content.clear();
        }
        Ok(offset)
    }

    /// Writes one frame, piece by piece; gives its length.
    async fn write_frame(
        &self,
        file: &P::File,
        offset: u64,
        id: FrameId,
        (kind, items): (FrameKind, u32),
        content: &[u8],
        bytes: usize,
    ) -> std::io::Result<u64> {
        let mut frame = vec![0; bytes];
        frame[FRAME_HEADER_BYTES..][..content.len()].copy_from_slice(content);
        seal_frame(self.context.salt, id, kind, items, content.len(), &mut frame);
        for (piece, number) in frame.chunks(BACKGROUND_IO_BYTES).zip(0..) {
            // A stop does not wait for the rest: the slot stays unfinished.
            if self.context.stopping.get() && self.maintenance.is_writing_checkpoint() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let started_ns = self.platform.monotonic_ns();
            let mut buffer = self.platform.allocate(piece.len());
            buffer.copy_from_slice(piece);
            file.write_at(buffer, offset + number * BACKGROUND_IO_BYTES as u64).await?;
            self.pause_after(started_ns).await;
        }
        Ok(bytes as u64)
    }

    /// Background work leaves the device to others for as long as it took it, unless somebody waits
    /// for what it does.
    pub(crate) async fn pause_after(&self, started_ns: u64) {
        if self.maintenance.waiting.get() == 0 && !self.context.stopping.get() {
            let took = self.platform.monotonic_ns().saturating_sub(started_ns);
            self.platform.sleep(Duration::from_nanos(took)).await;
        }
    }

    // --- Recycling -----------------------------------------------------------------------------

    /// A log segment that nobody needs any more: neither readers nor a start from any checkpoint that
    /// is retained.
    pub(crate) fn recyclable(&self) -> Option<u32> {
        let state = self.state.borrow();
        let checkpoints = self.maintenance.checkpoints.borrow();
        let too_soon = self.context.mutation() == Some(Mutation::RecycleTooSoon);
        let covered = |row: &Segment| {
            let Some(log) = row.log() else { return false };
            let Some(oldest) = checkpoints.oldest() else { return too_soon };
            let position = match log.stream {
                Stream::Foreground => Some(oldest.foreground),
                Stream::Relocation => oldest.relocation,
            };
            let behind =
                position.is_some_and(|at| log.end_lsn.is_some_and(|end| end <= at.next_lsn));
            let read = row.displaced_stamp > oldest.sequence;
            // A start that does not know of a relocation log could not miss it.
            let knows_all = oldest.relocation.is_some() || self.relocation.borrow().is_none();
            too_soon || (behind && !read && knows_all)
        };
        state
            .segments
            .iter()
            .find(|(_, row)| is_retired(row) && covered(row))
            .map(|(number, _)| number)
    }

    /// Says on disk that a segment is free, and makes it so.
    pub(crate) async fn recycle(self: &Rc<Self>, segment: u32) -> Result<()> {
        let header = self.blank_header(segment, self.next_epoch());
        let file = self.open_segment(&header).await?;
        {
            let mut state = self.state.borrow_mut();
            state.segments.set_opened(segment, header.epoch, header.opened_ns);
            state.segments.set_recycled(segment);
        }
        count(&self.context.counters.segments_recycled_total, 1);
        file.close().await.map_err(|source| Error::io(format!("close segment {segment}"), source))
    }
}

pub(crate) fn encode_row(row: &Segment) -> SegmentRow {
    let used = match row.used() {
        Use::Free | Use::Opening => RowUse::Free,
        Use::Log(log) => RowUse::Log { stream: log.stream, end_lsn: log.end_lsn },
        Use::Slab(map) => RowUse::Slab(map.published().to_vec()),
    };
    let Segment { epoch, opened, filled, content_stamp, record_bytes, placed_bytes, .. } = *row;
    SegmentRow { epoch, opened, filled, content_stamp, record_bytes, placed_bytes, used }
}

fn slot_error(path: &std::path::Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::StorageFull {
        tracing::warn!(path = %path.display(), "the filesystem has no space for a checkpoint");
        return Error::OutOfSpace;
    }
    Error::io(format!("write {}", path.display()), source)
}
