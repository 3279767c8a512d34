//! Recovery of a shard: segment headers, the newest checkpoint, then both logs from there to their ends.
//!
//! **The tail rule.** At the first place where no valid group continues the chain: if any later group
//! of the same epoch says that the missing one was durable, acknowledged data is damaged, and the
//! store is not opened. Otherwise what follows was never acknowledged; it is discarded, and the log
//! goes on at that place in a new epoch.
//!
//! **What can be read need not be durable.** The process before may have been killed, or told of an
//! I/O error, while it wrote what is found here; a power loss could still take it back. Recovery makes
//! durable what it builds on: the directory and the file created last are synced, and the groups that
//! no later one says are durable are written once more, the same bytes to the same place; so is the
//! header of the checkpoint. All else was durable before anything that tells of it was written.
//!
//! **Two logs.** The foreground log is replayed first. A record of the relocation log only says where
//! a key and version lie now; if that version is gone by then, it says nothing.
//!
//! Invariants: nothing is written before every shard of the store has been understood; a segment that
//! a log or a manifest names and that is missing, short or foreign stops the start; an epoch in
//! which anything was acknowledged is never used again (recovery ends with a durable group of the new
//! one).

pub(crate) mod headers;
pub(crate) mod load;
mod replay;
mod space;
mod table;

use self::headers::{FoundSegment, read_headers};
use self::load::{FoundCheckpoints, load_newest};
use self::replay::{Replay, StreamEnd, Untold};
use self::space::settle_space;
use self::table::make_table;
use crate::append::Log;
use crate::catalog::Catalog;
use crate::checkpoint::{Checkpoints, Retained, slot_path};
use crate::clock::HybridClock;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::Salt;
use crate::format::checkpoint::LogPosition;
use crate::format::group::GroupHeader;
use crate::format::segment::{Header, SegmentHeader, SegmentKind, Stream};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::relocation::RelocationLog;
use crate::segments::Need;
use crate::shard::{Parts, Shard};
use crate::state::State;
use crate::store::Mutation;
use crate::window::Window;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What was found in one shard.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    /// Entries that came from a checkpoint.
    pub(crate) entries: u64,
    pub(crate) checkpoints_damaged: u64,
    pub(crate) groups: u64,
    pub(crate) records: u64,
    pub(crate) log_bytes: u64,
    pub(crate) torn_tails: u64,
}

/// A shard that was read and understood. Nothing was written for that.
pub(crate) struct Understood {
    shard: u16,
    state: State,
    clock: HybridClock,
    epoch: u64,
    foreground: StreamEnd,
    relocation: Option<StreamEnd>,
    retained: Vec<Retained>,
    catalog: Catalog,
    found: Found,
}

impl Understood {
    /// The bucket catalogue, or the copy of it, that the shard holds.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The state, the catalogue, and where both logs end: for who only looks.
    pub(crate) fn into_view(self) -> (State, Catalog, (LogPosition, Option<LogPosition>)) {
        let relocation = self.relocation.map(|stream_end| stream_end.end.at);
        (self.state, self.catalog, (self.foreground.end.at, relocation))
    }
}

/// Reads a shard: segment headers, the newest checkpoint, the logs behind it.
pub(crate) async fn understand_shard<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
) -> Result<Understood> {
    let headers = read_headers(context, shard).await?;
    let FoundCheckpoints { mut loaded, retained, next_sequence, damaged: bad, failure } =
        load_newest(context, shard).await?;
    for reason in &bad {
        tracing::error!(shard, reason, "a checkpoint is damaged");
    }
    let mut table = make_table(context, shard, &headers, loaded.as_ref())?;
    table.next_checkpoint = table.next_checkpoint.max(next_sequence);
    let (foreground, relocation) = match &loaded {
        Some(loaded) => (Some(loaded.header.foreground), loaded.header.relocation),
        None => (None, None),
    };
    let beginning = |stream| beginning_of(&headers, stream);
    let Some(foreground) = foreground.or_else(|| beginning(Stream::Foreground)) else {
        let reason = if bad.is_empty() {
            "the beginning of the log is missing"
        } else {
            "no checkpoint can be read, and the log is not there from its beginning"
        };
        return Err(failure.unwrap_or_else(|| damaged(context, shard, 0, reason)));
    };
    let relocation = relocation.or_else(|| beginning(Stream::Relocation));
    if relocation.is_none() {
        require_no_relocation_log(context, shard, &headers).await?;
    }
    let mut replay = Replay {
        context,
        shard,
        headers: &headers,
        rows: &[],
        state: State::new(table),
        clock: HybridClock::default(),
        catalog: Default::default(),
        found: Found { checkpoints_damaged: bad.len() as u64, ..Found::default() },
        epoch: highest_epoch(&headers),
        extents: HashMap::new(),
        displaced: BTreeMap::new(),
        moved: Vec::new(),
    };
    let rows = loaded.as_mut().map(|loaded| std::mem::take(&mut loaded.rows)).unwrap_or_default();
    replay.rows = &rows;
    let mut displaced = Vec::new();
    if let Some(loaded) = loaded {
        replay.found.entries = loaded.header.entries;
        replay.epoch = replay.epoch.max(loaded.header.epoch);
        replay.clock.observe(loaded.header.version);
        replay.state.set_index(loaded.index);
        replay.catalog = loaded.catalog;
        displaced = loaded.displaced;
    }
    for found in &headers {
        if let Header::Valid(header) = &found.header {
            replay.clock.observe(header.opened_ns);
        }
    }
    let foreground = replay.run(Stream::Foreground, foreground).await?;
    let relocation = match relocation {
        Some(from) => Some(replay.run(Stream::Relocation, from).await?),
        None => None,
    };
    settle_space(&mut replay, displaced).await?;
    let Replay { state, clock, epoch, found, catalog, .. } = replay;
    let keeps_epoch = context.mutation() == Some(Mutation::SkipEpochSalt);
    Ok(Understood {
        shard,
        state,
        clock,
        epoch: if keeps_epoch { epoch } else { epoch + 1 },
        foreground,
        relocation,
        retained,
        catalog,
        found,
    })
}

/// Where a log began, if its first segment is still there.
fn beginning_of(headers: &[FoundSegment], stream: Stream) -> Option<LogPosition> {
    headers.iter().zip(0..).find_map(|(found, segment)| match &found.header {
        Header::Valid(header)
            if header.kind == SegmentKind::Log
                && header.stream == stream
                && header.first_lsn == 1 =>
        {
            let (offset, epoch) = (BLOCK_BYTES as u64, header.epoch);
            Some(LogPosition { segment, offset, epoch, next_lsn: 1, chain: header.chain_before })
        }
        _ => None,
    })
}

/// No checkpoint and no header knows of a relocation log. If it begins in a segment all the same, that
/// header is damaged, and what was amended there was acknowledged.
async fn require_no_relocation_log<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    headers: &[FoundSegment],
) -> Result<()> {
    for (found, segment) in headers.iter().zip(0..) {
        if matches!(found.header, Header::Valid(_)) {
            continue;
        }
        let mut window = Window::open(context, shard, segment).await?.gently();
        let block = window.at(BLOCK_BYTES as u64, BLOCK_BYTES).await?;
        if begins_relocation_log(context.salt, shard, segment, block) {
            let reason = "the relocation log begins in this segment; its header is damaged";
            return Err(damaged(context, shard, segment, reason));
        }
    }
    Ok(())
}

/// Whether the block behind a segment's header is that of the relocation log's first group.
pub(crate) fn begins_relocation_log(salt: Salt, shard: u16, segment: u32, block: &[u8]) -> bool {
    GroupHeader::decode(salt, block).is_ok_and(|(group, _)| {
        (group.shard, group.stream, group.segment, group.lsn)
            == (shard, Stream::Relocation, segment, 1)
    })
}

fn highest_epoch(headers: &[FoundSegment]) -> u64 {
    let epoch = |found: &FoundSegment| match &found.header {
        Header::Valid(header) => header.epoch,
        _ => 0,
    };
    headers.iter().map(epoch).max().unwrap_or(0)
}

/// Begins the new epoch of a shard and hands it to its core, ready for requests. To be called when
/// every shard of the store has been understood: one that is damaged stops the start, and then no
/// other is to be changed.
pub(crate) async fn open_shard<P: Platform>(
    context: &Rc<CoreContext<P>>,
    understood: Understood,
) -> Result<Found> {
    let Understood { shard, state, clock, epoch, foreground, relocation, retained, catalog, found } =
        understood;
    rewrite_slot_header(context, shard, &retained).await?;
    let (mut end, file) = go_on(context, shard, foreground).await?;
    end.at.epoch = epoch;
    let relocation = match relocation {
        Some(stream_end) => {
            let (end, file) = go_on(context, shard, stream_end).await?;
            let at = LogPosition { epoch, ..end.at };
            Some(RelocationLog { file: Rc::new(file), at, is_told: false })
        }
        None => None,
    };
    let log = Log::new(end, Rc::new(file), context.layout.segment_bytes);
    let checkpoints = Checkpoints::new(retained, found.checkpoints_damaged > 0);
    let context = context.clone();
    let parts = Parts { state, log, relocation, checkpoints, epoch, clock, catalog };
    let shard = Shard::new(shard, context.clone(), parts);
    context.add_shard(shard.clone());
    for witness in [shard.write_witness().await, shard.witness_relocation(Need::Compaction).await] {
        match witness {
            // Nothing can be written then, so nothing is acknowledged in the new epoch either.
            Err(Error::OutOfSpace) => {
                tracing::warn!(shard = shard.id, "the log is full: only reads are served");
            }
            other => other?,
        }
    }
    shard.start_maintenance();
    Ok(found)
}

/// Makes durable what a log's end rests on, and opens the file in which it goes on.
async fn go_on<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    stream_end: StreamEnd,
) -> Result<(crate::append::LogEnd, P::File)> {
    let StreamEnd { end, untold, to_open } = stream_end;
    rewrite_tail(context, shard, &untold).await?;
    if let Some(header) = to_open {
        write_header(context, &header).await?;
    }
    let path = context.layout.segment_path(shard, end.at.segment);
    let file = context
        .platform
        .open(&path, context.log_mode())
        .await
        .map_err(|source| Error::io(format!("open {}", path.display()), source))?;
    Ok((end, file))
}

fn damaged<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    segment: u32,
    reason: impl Into<String>,
) -> Error {
    Error::Unusable { path: context.layout.segment_path(shard, segment), reason: reason.into() }
}

/// Writes the groups of which nobody says that they are durable once more, durably. A sync would
/// not do: a write that failed may be seen, and no later sync promises anything for it.
async fn rewrite_tail<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    untold: &[Untold],
) -> Result<()> {
    for group in untold {
        let path = context.layout.segment_path(shard, group.segment);
        let mut window = Window::open(context, shard, group.segment).await?;
        let bytes = window.at(group.offset, group.bytes).await?;
        let same = GroupHeader::decode(context.salt, bytes).is_ok_and(|(header, sum)| {
            sum == group.checksum && header.content(context.salt, bytes).is_ok()
        });
        if !same {
            return Err(damaged(
                context,
                shard,
                group.segment,
                "the end of the log reads differently now",
            ));
        }
        let mut copy = context.platform.allocate(group.bytes);
        copy.copy_from_slice(bytes);
        let failed = |source| Error::io(format!("write {}", path.display()), source);
        let mode = context.log_mode();
        let file = context.platform.open(&path, mode).await.map_err(failed)?;
        file.write_at(copy, group.offset).await.map_err(failed)?;
        file.close().await.map_err(failed)?;
    }
    Ok(())
}

/// Writes the header of the checkpoint that was loaded once more, durably: segments are recycled on its
/// account.
async fn rewrite_slot_header<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    retained: &[Retained],
) -> Result<()> {
    let Some(loaded) = retained.first() else { return Ok(()) };
    let path = slot_path(&context.layout.shard_dir(shard), loaded.slot);
    let failed = |source| Error::io(format!("write {}", path.display()), source);
    let file = context.platform.open(&path, OpenMode::WRITE_DURABLE).await.map_err(failed)?;
    let mut block = context.platform.allocate(BLOCK_BYTES);
    loaded.header.encode(&mut block);
    file.write_at(block, 0).await.map_err(failed)?;
    file.close().await.map_err(failed)
}

/// Writes a segment's header, durably.
pub(crate) async fn write_header<P: Platform>(
    context: &CoreContext<P>,
    header: &SegmentHeader,
) -> Result<()> {
    let path = context.layout.segment_path(header.shard, header.segment);
    let failed = |source| Error::io(format!("write {}", path.display()), source);
    let file = context.platform.open(&path, OpenMode::WRITE_DURABLE).await.map_err(failed)?;
    let mut block = context.platform.allocate(BLOCK_BYTES);
    header.encode(&mut block);
    file.write_at(block, 0).await.map_err(failed)?;
    file.close().await.map_err(failed)
}
