//! The headers of a shard's segments, as a start finds them.
//!
//! Invariant: a segment that is missing in the row, short, or another store's stops the start. What the
//! headers mean for the log is not judged here.

use super::damaged;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::segment::{Header, SegmentHeader};
use crate::limits::SEGMENTS_MAX;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use std::rc::Rc;

/// A segment as its file was found.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) header: Header,
}

/// Reads the header of every segment; checks that none is missing, short or another store's.
pub(super) async fn read_headers<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
) -> Result<Vec<FoundSegment>> {
    let dir = context.layout.shard_dir(shard);
    let paths = context
        .platform
        .list_dir(&dir)
        .await
        .map_err(|source| Error::io(format!("list {}", dir.display()), source))?;
    let mut numbers: Vec<u32> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    if numbers.len() > SEGMENTS_MAX as usize {
        return Err(damaged(context, shard, SEGMENTS_MAX, "there are too many segments"));
    }
    let mut found = Vec::with_capacity(numbers.len());
    for (number, expected) in numbers.iter().zip(0..) {
        if *number != expected {
            return Err(damaged(context, shard, expected, "the segment is missing"));
        }
        let is_last = expected as usize + 1 == numbers.len();
        match read_header(context, shard, expected).await? {
            Some(segment) => found.push(segment),
            // A creation that was cut short; it will be made again.
            None if is_last && expected > 0 => {}
            None => return Err(damaged(context, shard, expected, "the segment is cut short")),
        }
    }
    let Some(last) = found.len().checked_sub(1) else {
        return Err(damaged(context, shard, 0, "the segment is missing"));
    };
    sync_segment(context, shard, last as u32).await?;
    context
        .platform
        .sync_dir(&dir)
        .await
        .map_err(|source| Error::io(format!("sync {}", dir.display()), source))?;
    Ok(found)
}

/// `None`: the file is shorter than a segment and was never used.
async fn read_header<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    segment: u32,
) -> Result<Option<FoundSegment>> {
    let path = context.layout.segment_path(shard, segment);
    let failed = |source| Error::io(format!("read {}", path.display()), source);
    let file = context.platform.open(&path, OpenMode::READ).await.map_err(failed)?;
    let length = file.len().await.map_err(failed)?;
    let header = if length >= BLOCK_BYTES as u64 {
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(failed)?;
        SegmentHeader::decode(&block)
    } else {
        Header::Blank
    };
    file.close().await.map_err(failed)?;
    if length != context.layout.segment_bytes {
        if header == Header::Blank && length < context.layout.segment_bytes {
            return Ok(None);
        }
        return Err(damaged(context, shard, segment, "the segment has a wrong length"));
    }
    if let Header::Valid(valid) = &header {
        let layout = &context.layout;
        if valid.store_uuid != layout.store_uuid {
            return Err(damaged(context, shard, segment, "the segment belongs to another store"));
        }
        let here = (shard, segment, layout.segment_bytes);
        if (valid.shard, valid.segment, valid.segment_bytes) != here {
            return Err(damaged(context, shard, segment, "the segment's header names another"));
        }
    }
    Ok(Some(FoundSegment { header }))
}

/// Makes durable what a segment's file holds and how long it is.
pub(crate) async fn sync_segment<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    segment: u32,
) -> Result<()> {
    let path = context.layout.segment_path(shard, segment);
    let failed = |source| Error::io(format!("sync {}", path.display()), source);
    let file = context.platform.open(&path, OpenMode::WRITE).await.map_err(failed)?;
    file.sync().await.map_err(failed)?;
    file.close().await.map_err(failed)
}
