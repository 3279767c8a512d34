//! Recovery of a shard: segment headers, then the log from its beginning to its end.
//!
//! **The tail rule.** At the first place where no valid group continues the chain: if any later group
//! of the same epoch says that the missing one was durable, acknowledged data is damaged, and the
//! store is not opened. Otherwise what follows was never acknowledged; it is discarded, and the log
//! goes on at that place in a new epoch.
//!
//! **What can be read need not be durable.** The process before may have been killed, or told of an
//! I/O error, while it wrote what is found here; a power loss could still take it back. Recovery makes
//! durable what it builds on: the directory and the file created last are synced, and the groups that
//! no later one says are durable are written once more, the same bytes to the same place. All else
//! was durable before anything that tells of it was written.
//!
//! Invariants: nothing is written before every shard of the store has been understood; a segment that
//! the log or a manifest names and that is missing, short or foreign stops the start; an epoch in
//! which anything was acknowledged is never used again (recovery ends with a durable group of the new
//! one).
//!
//! Not here yet: checkpoints. Replay reads the whole log.

mod headers;
mod replay;
mod window;

use self::headers::read_headers;
use self::replay::{Replay, Untold};
use self::window::Window;
use crate::append::{Log, LogEnd};
use crate::clock::HybridClock;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::group::GroupHeader;
use crate::format::manifest::Extent;
use crate::format::record::Location;
use crate::format::segment::SegmentHeader;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::segments::{Use, extent_bytes};
use crate::shard::Shard;
use crate::state::State;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What was found in one shard.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
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
    end: LogEnd,
    /// Groups to be written once more before anything builds on them.
    untold: Vec<Untold>,
    /// The header of the segment in which the log goes on, if the crash kept it from being opened.
    to_open: Option<SegmentHeader>,
    found: Found,
}

/// Reads a shard: segment headers, then the log.
pub(crate) async fn understand_shard<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
) -> Result<Understood> {
    let headers = read_headers(context, shard).await?;
    let mut replay = Replay::new(context, shard, &headers);
    let end = replay.run(&headers).await?;
    let Replay { mut state, clock, found, mut epoch, extents, catalog, untold, to_open, .. } =
        replay;
    take_extents(context, shard, &mut state, extents)?;
    if shard == 0 {
        context.catalog.store(Arc::new(catalog));
    }
    epoch += 1;
    let end = LogEnd { epoch, ..end };
    Ok(Understood { shard, state, clock, epoch, end, untold, to_open, found })
}

/// Begins the new epoch of a shard and hands it to its core, ready for requests. To be called when
/// every shard of the store has been understood: one that is damaged stops the start, and then no
/// other is to be changed.
pub(crate) async fn open_shard<P: Platform>(
    context: &Rc<CoreContext<P>>,
    understood: Understood,
) -> Result<Found> {
    let Understood { shard, state, clock, epoch, end, untold, to_open, found } = understood;
    rewrite_tail(context, shard, &untold).await?;
    if let Some(header) = to_open {
        write_header(context, &header).await?;
    }
    let path = context.layout.segment_path(shard, end.segment);
    let file = context
        .platform
        .open(&path, context.log_mode())
        .await
        .map_err(|source| Error::io(format!("open {}", path.display()), source))?;
    let log = Log::new(end, Rc::new(file), context.layout.segment_bytes);
    let shard = Shard::new(shard, context.clone(), state, log, epoch, clock);
    context.add_shard(shard.clone());
    match shard.write_witness().await {
        // Nothing can be written then, so nothing is acknowledged in the new epoch either.
        Err(Error::OutOfSpace) => {
            tracing::warn!(shard = shard.id, "the log is full: only reads are served");
        }
        other => other?,
    }
    Ok(found)
}

fn damaged<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    segment: u32,
    reason: impl Into<String>,
) -> Error {
    Error::Unusable { path: context.layout.segment_path(shard, segment), reason: reason.into() }
}

/// Marks the space of everything alive as taken.
fn take_extents<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    state: &mut State,
    extents: HashMap<Location, Vec<Extent>>,
) -> Result<()> {
    for extent in extents.into_values().flatten() {
        if !state.segments.mark_units(&extent) {
            return Err(damaged(
                context,
                shard,
                extent.segment,
                format!(
                    "an object's bytes should lie in this segment (units {} to {}), but it is \
                     missing, not used for that, or they are another object's",
                    extent.unit,
                    extent.unit + extent.units
                ),
            ));
        }
        state.segments.add_live(extent.segment, extent_bytes(&extent));
    }
    let vacant: Vec<u32> = state
        .segments
        .iter()
        .filter(|(_, row)| matches!(row.used(), Use::Slab(map) if map.is_vacant()))
        .map(|(segment, _)| segment)
        .collect();
    vacant.into_iter().for_each(|segment| state.segments.set_use(segment, Use::Free));
    Ok(())
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
