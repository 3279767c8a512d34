//! The walk over a shard's logs: every group, and the gaps between them, in the order of each log,
//! the foreground one first.
//!
//! Invariants: a place that does not verify is stepped over block by block; what continues the log
//! behind it is found; a group of an earlier use, or one that a recovery discarded, is never taken
//! for one of the log.

use super::rows::{GapRow, GroupRow, LogRow, Verdict};
use super::{BLOCK, Flow, Inspector, SegmentBytes};
use crate::error::Result;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::segment::{SegmentHeader, SegmentKind, Stream};
use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::platform::{BLOCK_BYTES, Platform};

/// A segment that holds groups of the log.
#[derive(Debug)]
struct LogSegment {
    segment: u32,
    /// `None`: damaged, and groups lie behind it all the same.
    header: Option<SegmentHeader>,
    stream: Stream,
    first_lsn: u64,
}

/// What the next group of the log must say.
#[derive(Debug, Clone, Copy)]
struct Chain {
    next_lsn: u64,
    before: u64,
    /// At least.
    epoch: u64,
}

/// What stands at one place of a segment.
enum Found {
    /// A group of the log, and the chain behind it.
    Group(GroupRow, Chain),
    /// A group that is not of the present log.
    Stale,
    Nothing {
        blank: bool,
        reason: String,
    },
}

/// Gets each row, with the bytes of its group.
pub(super) type VisitLog<'v> = &'v mut dyn FnMut(LogRow, &[u8]) -> Flow;

impl<P: Platform> Inspector<P> {
    pub(super) async fn walk(
        &self,
        shard: u16,
        only: Option<u32>,
        visit: VisitLog<'_>,
    ) -> Result<()> {
        let (mut chain, mut stream) = (None, Stream::Foreground);
        for log in self.log_segments(shard).await? {
            if std::mem::replace(&mut stream, log.stream) != log.stream {
                chain = None;
            }
            if only.is_some_and(|only| only != log.segment) {
                continue;
            }
            if self.walk_segment(shard, &log, &mut chain, visit).await.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The segments that hold the log, in its order.
    async fn log_segments(&self, shard: u16) -> Result<Vec<LogSegment>> {
        let mut logs = Vec::new();
        for row in self.segments(shard).await? {
            let segment = row.segment;
            match row.header.filter(|header| self.contradiction(shard, segment, header).is_none()) {
                Some(header) if header.kind != SegmentKind::Log => {}
                Some(header) => {
                    let SegmentHeader { stream, first_lsn, .. } = header;
                    logs.push(LogSegment { segment, header: Some(header), stream, first_lsn });
                }
                None if row.problem.is_none() => {}
                None => {
                    if let Some((stream, first_lsn)) = self.first_group(shard, segment).await {
                        logs.push(LogSegment { segment, header: None, stream, first_lsn });
                    }
                }
            }
        }
        logs.sort_by_key(|log| (log.stream, log.first_lsn));
        Ok(logs)
    }

    /// Stream and LSN of the group at the beginning of a segment whose header is damaged.
    async fn first_group(&self, shard: u16, segment: u32) -> Option<(Stream, u64)> {
        let mut bytes = self.bytes(shard, segment).await.ok()?;
        let header = bytes.at(BLOCK, GROUP_HEADER_BYTES).await.ok()?;
        let (group, _) = GroupHeader::decode(self.salt, header).ok()?;
        let is_ours = (group.shard, group.segment) == (shard, segment);
        is_ours.then_some((group.stream, group.lsn))
    }

    async fn walk_segment(
        &self,
        shard: u16,
        log: &LogSegment,
        chain: &mut Option<Chain>,
        visit: VisitLog<'_>,
    ) -> Flow {
        let segment = log.segment;
        let mut gap = None;
        let mut bytes = match self.bytes(shard, segment).await {
            Ok(bytes) => bytes,
            Err(reason) => {
                let bytes = self.layout.segment_bytes;
                let (blank, stale_groups, offset) = (false, 0, 0);
                let gap = GapRow { shard, segment, offset, bytes, blank, stale_groups, reason };
                return visit(LogRow::Gap(gap), &[]);
            }
        };
        let opened = log.header.as_ref().map(|header| Chain {
            next_lsn: header.first_lsn,
            before: header.chain_before,
            epoch: header.epoch,
        });
        // The chain from the segment before is the stronger witness, unless segments between were
        // recycled; the epoch is the header's.
        *chain = match (*chain, opened) {
            (Some(from), Some(opened)) if from.next_lsn == opened.next_lsn => {
                Some(Chain { epoch: opened.epoch, ..from })
            }
            (from, opened) => opened.or(from),
        };
        let mut offset = BLOCK;
        while offset + BLOCK <= bytes.end() {
            let step = match self.find((shard, segment), &mut bytes, offset, *chain).await {
                Found::Group(row, behind) => {
                    *chain = Some(behind);
                    if let Some(gap) = gap.take() {
                        visit(LogRow::Gap(gap), &[])?;
                    }
                    let length = row.header.group_bytes as usize;
                    let content = bytes.at(offset, length).await.unwrap_or_default();
                    visit(LogRow::Group(row), content)?;
                    length as u64
                }
                nothing => {
                    widen(&mut gap, (shard, segment), offset, nothing);
                    BLOCK
                }
            };
            offset += step;
        }
        gap.map_or(Flow::Continue(()), |gap| visit(LogRow::Gap(gap), &[]))
    }

    async fn find(
        &self,
        here: (u16, u32),
        bytes: &mut SegmentBytes<P>,
        offset: u64,
        chain: Option<Chain>,
    ) -> Found {
        let nothing = |reason: &str| Found::Nothing { blank: false, reason: reason.to_owned() };
        let block = match bytes.at(offset, BLOCK_BYTES).await {
            Ok(block) => block,
            Err(reason) => return Found::Nothing { blank: false, reason },
        };
        let (header, checksum) = match GroupHeader::decode(self.salt, block) {
            Ok(decoded) => decoded,
            Err(malformed) => {
                let blank = block.iter().all(|&byte| byte == 0);
                return Found::Nothing { blank, reason: malformed.0.into() };
            }
        };
        if (header.shard, header.segment) != here {
            return nothing("a group that belongs elsewhere lies here");
        }
        if chain.is_some_and(|c| header.epoch < c.epoch || header.lsn < c.next_lsn) {
            return Found::Stale;
        }
        if offset + u64::from(header.group_bytes) > bytes.end() {
            return nothing("the group reaches beyond its segment");
        }
        let verdict = match bytes.at(offset, header.group_bytes as usize).await {
            _ if chain
                .is_some_and(|c| (header.lsn, header.chain_before) != (c.next_lsn, c.before)) =>
            {
                detached(&header, chain)
            }
            Ok(group) => header
                .content(self.salt, group)
                .map_or_else(|malformed| Verdict::Damaged(malformed.0), |_| Verdict::Good),
            Err(_) => Verdict::Damaged("the group cannot be read whole"),
        };
        let behind =
            Chain { next_lsn: header.lsn.saturating_add(1), before: checksum, epoch: header.epoch };
        Found::Group(GroupRow { header, offset, verdict }, behind)
    }
}

/// The tail rule, for one group that does not continue the chain.
fn detached(header: &GroupHeader, chain: Option<Chain>) -> Verdict {
    let missing_lsn = chain.map_or(header.lsn, |chain| chain.next_lsn);
    let limit = missing_lsn.saturating_add(GROUPS_IN_FLIGHT_MAX as u64);
    let was_durable = header.durable_lsn >= missing_lsn || header.lsn >= limit;
    Verdict::Detached { missing_lsn, was_durable }
}

/// Adds one block to a gap, or begins one.
fn widen(gap: &mut Option<GapRow>, (shard, segment): (u16, u32), offset: u64, found: Found) {
    let (blank, stale_groups, reason) = match found {
        Found::Nothing { blank, reason } => (blank, 0, reason),
        _ => (false, 1, "only stale groups begin here".to_owned()),
    };
    match gap {
        Some(gap) => {
            gap.bytes += BLOCK;
            if gap.blank && !blank {
                gap.reason = reason;
            }
            gap.blank &= blank;
            gap.stale_groups += stale_groups;
        }
        None => {
            let bytes = BLOCK;
            *gap = Some(GapRow { shard, segment, offset, bytes, blank, stale_groups, reason });
        }
    }
}
