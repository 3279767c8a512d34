//! Reading the checkpoints of a shard: the newest that verifies whole.
//!
//! Invariants: nothing of a checkpoint is used unless all of it verified; nothing is written.
//!
//! Budget: reads of 1 MiB, a few in flight; each leaf is copied once, into its own allocation.

use crate::catalog::Catalog;
use crate::checkpoint::{Retained, slot_path};
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::checkpoint::{
    CheckpointHeader, DisplacedRow, FRAME_BYTES_MAX, Frame, FrameId, FrameKind, SLOTS, SegmentRow,
    peek_frame_bytes,
};
use crate::format::codec::Reader;
use crate::index::{Index, Loader};
use crate::limits::{CHECKPOINT_READS_IN_FLIGHT, SEGMENTS_MAX};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::wait::join_all;
use std::rc::Rc;

/// What of a segment the index points to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Live {
    pub(crate) bytes: u64,
    pub(crate) records: u32,
}

/// A checkpoint that verified.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) header: CheckpointHeader,
    pub(crate) index: Index,
    pub(crate) rows: Vec<SegmentRow>,
    pub(crate) catalog: Catalog,
    pub(crate) displaced: Vec<DisplacedRow>,
    /// By segment.
    pub(crate) live: Vec<Live>,
}

/// What the slots of a shard hold.
#[derive(Debug, Default)]
pub(crate) struct FoundCheckpoints {
    pub(crate) loaded: Option<Loaded>,
    pub(crate) retained: Vec<Retained>,
    pub(crate) next_sequence: u64,
    /// Checkpoints that are not what was written; why.
    pub(crate) damaged: Vec<String>,
    /// Why the first one that could not be read could not.
    pub(crate) failure: Option<Error>,
}

impl FoundCheckpoints {
    /// A bad sector in one is no reason not to use another.
    fn note_unreadable(&mut self, slot: u64, error: Error) {
        self.damaged.push(format!("checkpoint {slot}: {error}"));
        self.failure.get_or_insert(error);
    }
}

/// Reads the headers of all slots and loads the newest checkpoint that verifies.
pub(crate) async fn load_newest<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
) -> Result<FoundCheckpoints> {
    let mut found = FoundCheckpoints { next_sequence: 1, ..FoundCheckpoints::default() };
    let mut slots = Vec::new();
    for slot in 0..SLOTS {
        match read_slot_header(context, shard, slot).await {
            Ok(Ok(Some(header))) => slots.push((slot, header)),
            Ok(Ok(None)) => {}
            Ok(Err(malformed)) => found.damaged.push(format!("checkpoint {slot}: {malformed}")),
            Err(error) => found.note_unreadable(slot, error),
        }
    }
    slots.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
    found.next_sequence = slots.first().map_or(1, |(_, header)| header.sequence + 1);
    for (slot, header) in slots {
        if found.loaded.is_some() {
            if found.retained.len() < 2 {
                found.retained.push(Retained { slot, header });
            }
            continue;
        }
        match load(context, shard, slot, header).await {
            Ok(Ok(loaded)) => {
                found.loaded = Some(loaded);
                found.retained.push(Retained { slot, header });
            }
            Ok(Err(malformed)) => found.damaged.push(format!("checkpoint {slot}: {malformed}")),
            Err(error) => found.note_unreadable(slot, error),
        }
    }
    Ok(found)
}

/// The header of a slot; none if it was not written to its end.
pub(crate) async fn read_slot_header<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    slot: u64,
) -> Result<std::result::Result<Option<CheckpointHeader>, Malformed>> {
    let Some(file) = open_slot(context, shard, slot).await? else { return Ok(Ok(None)) };
    let path = slot_path(&context.layout.shard_dir(shard), slot);
    let failed = |source| Error::io(format!("read {}", path.display()), source);
    if file.len().await.map_err(failed)? < BLOCK_BYTES as u64 {
        return Ok(Ok(None));
    }
    let block = file.read_at(0, BLOCK_BYTES).await.map_err(failed)?;
    Ok(CheckpointHeader::decode(&block).and_then(|header| {
        let foreign = header.as_ref().is_some_and(|header| {
            header.shard != shard || header.store_uuid != context.layout.store_uuid
        });
        if foreign { Err(Malformed("it belongs to another shard")) } else { Ok(header) }
    }))
}

async fn open_slot<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    slot: u64,
) -> Result<Option<P::File>> {
    let path = slot_path(&context.layout.shard_dir(shard), slot);
    match context.platform.open(&path, OpenMode::READ).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(format!("open {}", path.display()), source)),
    }
}

/// Loads a checkpoint whole. The outer error: the file cannot be read.
pub(crate) async fn load<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    slot: u64,
    header: CheckpointHeader,
) -> Result<std::result::Result<Loaded, Malformed>> {
    let Some(file) = open_slot(context, shard, slot).await? else {
        return Ok(Err(Malformed("its file is gone")));
    };
    let path = slot_path(&context.layout.shard_dir(shard), slot);
    match read_frames(context, &file, header).await {
        Ok(loaded) => Ok(loaded),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(Err(Malformed("its file is too short")))
        }
        Err(source) => Err(Error::io(format!("read {}", path.display()), source)),
    }
}

/// Collects what frames hold.
struct Collector {
    header: CheckpointHeader,
    loader: Loader,
    rows: Vec<SegmentRow>,
    catalog: Catalog,
    displaced: Vec<DisplacedRow>,
    live: Vec<Live>,
    entries: u64,
    frames: u32,
}

impl Collector {
    fn take(&mut self, salt: crate::format::Salt, bytes: &[u8]) -> Result<(), Malformed> {
        let CheckpointHeader { shard, sequence, .. } = self.header;
        let id = FrameId { shard, sequence, index: self.frames };
        let frame = Frame::decode(salt, id, bytes)?;
        self.frames += 1;
        let mut reader = Reader::new(frame.content);
        match frame.kind {
            FrameKind::Leaves => self.take_leaves(frame.content)?,
            FrameKind::Catalog => self.catalog.decode(&mut reader)?,
            FrameKind::Segments => {
                while !reader.is_empty() {
                    self.rows.push(SegmentRow::decode(&mut reader)?);
                }
            }
            FrameKind::Displaced => {
                while !reader.is_empty() {
                    self.displaced.push(DisplacedRow::decode(&mut reader)?);
                }
            }
        }
        Ok(())
    }

    fn take_leaves(&mut self, content: &[u8]) -> Result<(), Malformed> {
        let (live, mut in_range) = (&mut self.live, true);
        self.entries += self.loader.push(content, |_, entry| {
            let segment = entry.segment as usize;
            if segment >= live.len() {
                in_range &= entry.segment < SEGMENTS_MAX;
                if !in_range {
                    return;
                }
                live.resize(segment + 1, Live::default());
            }
            let live = &mut live[segment];
            live.bytes += u64::from(entry.span_bytes);
            live.records += 1;
        })?;
        if in_range { Ok(()) } else { Err(Malformed("an entry names an impossible segment")) }
    }

    fn finish(self) -> Result<Loaded, Malformed> {
        let Self { header, loader, rows, catalog, displaced, live, entries, frames } = self;
        if (entries, frames) != (header.entries, header.frames) {
            return Err(Malformed("it does not hold as much as its header says"));
        }
        Ok(Loaded { header, index: loader.finish()?, rows, catalog, displaced, live })
    }
}

async fn read_frames<P: Platform>(
    context: &Rc<CoreContext<P>>,
    file: &P::File,
    header: CheckpointHeader,
) -> std::io::Result<std::result::Result<Loaded, Malformed>> {
    let body = BLOCK_BYTES as u64;
    let (leaf_end, end) = (body + header.leaf_bytes, body + header.body_bytes);
    let mut collector = Collector {
        header,
        loader: Loader::new(),
        rows: Vec::new(),
        catalog: Catalog::default(),
        displaced: Vec::new(),
        live: Vec::new(),
        entries: 0,
        frames: 0,
    };
    let mut offset = body;
    while offset < leaf_end {
        let starts = (0..CHECKPOINT_READS_IN_FLIGHT as u64)
            .map(|step| offset + step * FRAME_BYTES_MAX as u64)
            .filter(|start| *start < leaf_end);
        let reads = starts.map(|start| {
            file.read_at(start, (leaf_end - start).min(FRAME_BYTES_MAX as u64) as usize)
        });
        for frame in join_all(reads).await {
            if let Err(malformed) = collector.take(context.salt, &frame?) {
                return Ok(Err(malformed));
            }
            offset += FRAME_BYTES_MAX as u64;
        }
    }
    offset = leaf_end;
    while offset < end {
        let block = file.read_at(offset, BLOCK_BYTES).await?;
        let bytes = match peek_frame_bytes(&block) {
            Ok(bytes) if offset + bytes as u64 <= end => bytes,
            _ => return Ok(Err(Malformed("a frame has an impossible length"))),
        };
        let frame = file.read_at(offset, bytes).await?;
        if let Err(malformed) = collector.take(context.salt, &frame) {
            return Ok(Err(malformed));
        }
        offset += bytes as u64;
    }
    Ok(collector.finish())
}
