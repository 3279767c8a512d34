//! A walk over the groups of one log segment as they lie there, without the log before or behind it.
//!
//! Whoever follows the log uses its chain; this is for those who want what a segment holds:
//! compaction, scrub, verification, rebuilding.
//!
//! Invariants: only groups of the segment's present use are given, by epoch; what a recovery discarded
//! is not (its epoch is lower than that of what was written in its place); behind a seal nothing is
//! looked for. A place that does not verify is stepped over block by block and reported.

use crate::core::CoreContext;
use crate::error::Result;
use crate::format::Malformed;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::record::{Head, Location, Records};
use crate::format::segment::{Header, SegmentHeader, Stream};
use crate::platform::{BLOCK_BYTES, Platform};
use crate::window::Window;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Scan<P: Platform> {
    context: Rc<CoreContext<P>>,
    window: Window<P>,
    shard: u16,
    segment: u32,
    stream: Stream,
    /// At least.
    epoch: u64,
    offset: u64,
    /// Where to end: known for what is sealed, and for a log's end.
    end: u64,
    /// Behind the group found last.
    behind: u64,
    /// LSN of the segment's first group by its header; zero if that cannot be read.
    first_lsn: u64,
    /// LSN of the group found last.
    lsn: Option<u64>,
    /// Behind the segment's last group, once the log has gone on elsewhere.
    end_lsn: Option<u64>,
}

/// A group as it was found.
#[derive(Debug)]
pub(crate) struct Scanned<'a> {
    pub(crate) offset: u64,
    pub(crate) header: GroupHeader,
    /// The whole group.
    pub(crate) bytes: &'a [u8],
    /// What is wrong with its content.
    pub(crate) content: std::result::Result<(), Malformed>,
    /// Bytes before it in which no group could be read, and groups that are missing.
    pub(crate) gap_bytes: u64,
}

impl<P: Platform> Scan<P> {
    /// A walk over a segment that was opened for `stream` in `epoch`. `end_lsn`: where its part of the
    /// log ends, if that is known.
    pub(crate) async fn open(
        context: &Rc<CoreContext<P>>,
        shard: u16,
        segment: u32,
        stream: Stream,
        epoch: u64,
        end_lsn: Option<u64>,
    ) -> Result<Self> {
        let mut window = Window::open(context, shard, segment).await?.gently();
        let first_lsn = match window.at(0, BLOCK_BYTES).await.map(SegmentHeader::decode) {
            Ok(Header::Valid(header)) if header.epoch == epoch => header.first_lsn,
            _ => 0,
        };
        Ok(Self {
            window,
            first_lsn,
            context: context.clone(),
            shard,
            segment,
            stream,
            epoch,
            offset: BLOCK_BYTES as u64,
            end: context.layout.segment_bytes,
            behind: BLOCK_BYTES as u64,
            lsn: None,
            end_lsn,
        })
    }

    /// Ends the walk at this offset.
    pub(crate) fn until(self, end: u64) -> Self {
        Self { end: end.min(self.end), ..self }
    }

    /// Where groups are missing once the walk has come to its end, if the end of the log there is known.
    pub(crate) fn missing_from(&self) -> Option<u64> {
        // A segment that was opened and never written to ends where it begins.
        let next = self.lsn.map_or(self.first_lsn, |lsn| lsn + 1);
        let is_missing = match self.end_lsn {
            Some(end_lsn) => next < end_lsn,
            None => self.lsn.is_none(),
        };
        (is_missing && self.end > self.behind).then_some(self.behind)
    }

    /// Bytes of the segment, as far as the walk goes.
    pub(crate) async fn bytes_at(&mut self, offset: u64, count: u64) -> Result<&[u8]> {
        let count = count.min(self.context.layout.segment_bytes - offset);
        self.window.at(offset, count as usize).await
    }

    /// The next group; `None` behind the last one.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Scanned<'_>>> {
        let from = self.offset;
        while self.offset + BLOCK_BYTES as u64 <= self.end {
            let Some(header) = self.header_here().await? else {
                self.offset += BLOCK_BYTES as u64;
                continue;
            };
            let offset = self.offset;
            let length = header.group_bytes;
            self.epoch = header.epoch;
            self.lsn = Some(header.lsn);
            self.offset += u64::from(length);
            self.behind = self.offset;
            if header.next_segment.is_some() {
                self.end = self.offset;
            }
            let bytes = self.window.at(offset, length as usize).await?;
            let content = header.content(self.context.salt, bytes).map(drop);
            let gap_bytes = offset - from;
            return Ok(Some(Scanned { offset, header, bytes, content, gap_bytes }));
        }
        Ok(None)
    }

    async fn header_here(&mut self) -> Result<Option<GroupHeader>> {
        let bytes = self.window.at(self.offset, GROUP_HEADER_BYTES).await?;
        let Ok((header, _)) = GroupHeader::decode(self.context.salt, bytes) else {
            return Ok(None);
        };
        let here = (self.shard, self.stream, self.segment);
        let is_ours = (header.shard, header.stream, header.segment) == here
            && header.epoch >= self.epoch
            && self.lsn.is_none_or(|lsn| header.lsn > lsn)
            && self.end_lsn.is_none_or(|end_lsn| header.lsn < end_lsn)
            && self.offset + u64::from(header.group_bytes) <= self.end;
        Ok(is_ours.then_some(header))
    }
}

impl Scanned<'_> {
    /// The records that can be read, each with its place.
    pub(crate) fn records(
        &self,
        salt: crate::format::Salt,
    ) -> impl Iterator<Item = std::result::Result<(Location, usize, Head<'_>), Malformed>> {
        let end = GROUP_HEADER_BYTES + self.header.content_bytes as usize;
        let records =
            Records::new(salt, self.bytes, GROUP_HEADER_BYTES, end, self.header.record_count);
        records.map(|item| {
            let (at, head) = item?;
            let location = Location {
                segment: self.header.segment,
                offset_units: ((self.offset + at as u64) / 8) as u32,
                span_bytes: head.span_bytes() as u32,
            };
            Ok((location, at, head))
        })
    }
}
