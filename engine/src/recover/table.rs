//! The table of segments at a start: what their headers say, and what the checkpoint knows of them.
//!
//! A header of the epoch that the checkpoint knows is the use that it knows. A newer one is a later
//! use. Where a header has rotted, what the checkpoint knows is kept, so that nothing that may be alive is
//! written over.

use super::damaged;
use super::headers::FoundSegment;
use super::load::{Live, Loaded};
use crate::core::CoreContext;
use crate::error::Result;
use crate::format::checkpoint::{RowUse, SegmentRow};
use crate::format::segment::{Header, SegmentHeader, SegmentKind, Stream};
use crate::platform::Platform;
use crate::segments::{LogUse, SegmentTable, Use};
use crate::slab::SlabMap;

/// Makes the table; segments with logs newer than the checkpoint are in it as logs whose end is not
/// known.
pub(super) fn make_table<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    headers: &[FoundSegment],
    loaded: Option<&Loaded>,
) -> Result<SegmentTable> {
    let limit = context.layout.segments_max(shard);
    let mut table = SegmentTable::new(context.layout.segment_bytes, limit);
    let rows = loaded.map_or(&[][..], |loaded| &loaded.rows);
    if headers.len() < rows.len() {
        let missing = headers.len() as u32;
        return Err(damaged(context, shard, missing, "the segment is missing"));
    }
    for (found, number) in headers.iter().zip(0..) {
        let row = rows.get(number as usize);
        let (used, epoch, opened) = match (&found.header, row) {
            // A header that a killed process left was seen and not durable: a later start found nothing
            // behind it, and then the power took it.
            (Header::Valid(header), Some(row))
                if header.epoch < row.epoch && row.used == RowUse::Free =>
            {
                (Use::Free, row.epoch, row.opened)
            }
            (Header::Valid(header), Some(row)) if header.epoch < row.epoch => {
                return Err(damaged(
                    context,
                    shard,
                    number,
                    "the segment's header is older than a checkpoint: a write was lost",
                ));
            }
            (Header::Valid(header), Some(row)) if header.epoch == row.epoch => {
                (known_use(context, shard, number, row)?, row.epoch, row.opened)
            }
            (Header::Valid(header), _) => {
                (new_use(header, table.segment_bytes), header.epoch, header.opened_ns)
            }
            (_, Some(row)) => (known_use(context, shard, number, row)?, row.epoch, row.opened),
            (_, None) => (Use::Free, 0, 0),
        };
        let was_log = |header: &SegmentHeader| header.kind != SegmentKind::Slab;
        let filled = row.is_some_and(|row| row.filled)
            || matches!(&found.header, Header::Valid(header) if was_log(header));
        let segment = table.push(used, filled);
        table.set_opened(segment, epoch, opened);
        if let Some(row) = row {
            table.restore_stamp(segment, row.content_stamp);
            if row.epoch == epoch {
                table.add_written(segment, row.record_bytes, row.placed_bytes);
            }
        }
    }
    for (live, segment) in loaded.iter().flat_map(|loaded| &loaded.live).zip(0..) {
        let Live { bytes, records } = *live;
        table.restore_records(segment, bytes, records);
    }
    if let Some(loaded) = loaded {
        table.next_checkpoint = loaded.header.sequence + 1;
        table.stamp_displaced(loaded.header.sequence + 1);
    }
    Ok(table)
}

fn known_use<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    segment: u32,
    row: &SegmentRow,
) -> Result<Use> {
    Ok(match &row.used {
        RowUse::Free => Use::Free,
        RowUse::Log { stream, end_lsn } => {
            Use::Log(LogUse { end_lsn: *end_lsn, ..LogUse::new(*stream) })
        }
        RowUse::Slab(words) => {
            let map = SlabMap::restore(context.layout.segment_bytes, words);
            Use::Slab(map.ok_or_else(|| {
                damaged(context, shard, segment, "the checkpoint's map of it is impossible")
            })?)
        }
    })
}

fn new_use(header: &SegmentHeader, segment_bytes: u64) -> Use {
    match header.kind {
        SegmentKind::Log => Use::Log(LogUse::new(header.stream)),
        SegmentKind::Slab => Use::Slab(SlabMap::new(segment_bytes)),
        SegmentKind::Free => Use::Free,
    }
}

/// Whether a log segment with this header was opened for the present log of its stream only after the
/// checkpoint.
pub(super) fn is_newer_log(header: &Header, stream: Stream, row: Option<&SegmentRow>) -> bool {
    matches!(header, Header::Valid(header)
        if header.kind == SegmentKind::Log
            && header.stream == stream
            && row.is_none_or(|row| row.epoch < header.epoch))
}
