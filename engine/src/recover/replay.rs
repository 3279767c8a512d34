//! Replay: the walk along a shard's log from its first group to its end, which makes the index anew.
//!
//! Invariant: it reads and judges, and writes nothing; what has to be written is noted for later.

use super::headers::FoundSegment;
use super::window::Window;
use super::{Found, damaged};
use crate::append::LogEnd;
use crate::bucket_ops::is_catalog;
use crate::catalog::Catalog;
use crate::clock::HybridClock;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::manifest::Extent;
use crate::format::record::{Location, Records};
use crate::format::segment::{Header, SegmentHeader, SegmentKind};
use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::platform::{BLOCK_BYTES, Platform};
use crate::segments::{SegmentTable, Use};
use crate::slab::SlabMap;
use crate::state::{Change, State};
use std::collections::HashMap;
use std::rc::Rc;

pub(super) struct Replay<'a, P: Platform> {
    pub(super) context: &'a Rc<CoreContext<P>>,
    pub(super) shard: u16,
    pub(super) state: State,
    pub(super) clock: HybridClock,
    pub(super) catalog: Catalog,
    pub(super) found: Found,
    /// Highest epoch seen anywhere.
    pub(super) epoch: u64,
    /// Extents of every record that the index points to and that has any.
    pub(super) extents: HashMap<Location, Vec<Extent>>,
    /// The last groups, of which no later one says that they were durable: those that were in flight
    /// at once, or none but the last.
    pub(super) untold: Vec<Untold>,
    /// The header to be written where the log goes on in a segment that was never opened.
    pub(super) to_open: Option<SegmentHeader>,
}

/// A group that can be read and may not be durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Untold {
    pub(super) lsn: u64,
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) bytes: usize,
    /// Of its header.
    pub(super) checksum: u64,
}

/// Where replay stands.
#[derive(Debug, Clone, Copy)]
struct Position {
    segment: u32,
    offset: u64,
    /// Of the last group; the next one's is not lower.
    epoch: u64,
    next_lsn: u64,
    chain: u64,
}

impl<'a, P: Platform> Replay<'a, P> {
    pub(super) fn new(
        context: &'a Rc<CoreContext<P>>,
        shard: u16,
        segments: &[FoundSegment],
    ) -> Self {
        let limit = context.layout.segments_max(shard);
        let mut table = SegmentTable::new(context.layout.segment_bytes, limit);
        let mut epoch = 0;
        for segment in segments {
            match &segment.header {
                Header::Valid(header) => {
                    epoch = epoch.max(header.epoch);
                    let used = match header.kind {
                        SegmentKind::Log => Use::Log,
                        SegmentKind::Slab => Use::Slab(SlabMap::new(table.segment_bytes)),
                    };
                    table.push(used, header.kind == SegmentKind::Log);
                }
                Header::Blank | Header::Damaged(_) => {
                    table.push(Use::Free, false);
                }
            }
        }
        Self {
            context,
            shard,
            state: State::new(table),
            clock: HybridClock::default(),
            catalog: Catalog::default(),
            found: Found::default(),
            epoch,
            extents: HashMap::new(),
            untold: Vec::new(),
            to_open: None,
        }
    }

    /// Replays the log from its first segment on. Returns where it goes on.
    pub(super) async fn run(&mut self, segments: &[FoundSegment]) -> Result<LogEnd> {
        let first = match &segments[0].header {
            Header::Valid(header) if header.kind == SegmentKind::Log && header.first_lsn == 1 => {
                header
            }
            Header::Valid(_) => {
                return Err(self.damaged(0, "the log does not begin in its first segment"));
            }
            Header::Blank => return Err(self.damaged(0, "the segment's header is blank")),
            Header::Damaged(reason) => {
                return Err(self.damaged(0, format!("the segment's header is damaged: {reason}")));
            }
        };
        let mut position = Position {
            segment: 0,
            offset: BLOCK_BYTES as u64,
            epoch: first.epoch,
            next_lsn: 1,
            chain: first.chain_before,
        };
        let mut used = vec![0];
        loop {
            let sealed = self.segment(&mut position).await?;
            let Some(next) = sealed else {
                break;
            };
            position = self.enter(next, &position, segments).await?;
            if position.offset == 0 {
                // The seal is there and the next segment was never opened.
                return Ok(self.reopen(next, position));
            }
            used.push(next);
        }
        if position.offset == BLOCK_BYTES as u64 && used.len() > 1 {
            // Its header may be as little durable as the seal before it.
            return Ok(self.reopen(position.segment, position));
        }
        self.require_nothing_beyond(&position, segments)?;
        self.drop_unreached_logs(&used);
        self.state.segments.set_use(position.segment, Use::Log);
        Ok(LogEnd {
            segment: position.segment,
            head: position.offset,
            filled: false,
            epoch: position.epoch,
            next_lsn: position.next_lsn,
            chain: position.chain,
        })
    }

    /// A segment is opened for the log only once the seal before it is durable: one that begins behind
    /// the end that was found says that something is missing in between.
    fn require_nothing_beyond(&self, position: &Position, segments: &[FoundSegment]) -> Result<()> {
        for (found, number) in segments.iter().zip(0..) {
            if let Header::Valid(header) = &found.header
                && header.kind == SegmentKind::Log
                && header.first_lsn > position.next_lsn
            {
                return Err(self.damaged(
                    position.segment,
                    format!(
                        "acknowledged data is damaged: group {} at offset {} does not verify, and \
                         the log goes on in segment {number} with group {}",
                        position.next_lsn, position.offset, header.first_lsn
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Log segments that the chain does not reach hold nothing: they were headed for, and the crash
    /// came before.
    fn drop_unreached_logs(&mut self, used: &[u32]) {
        let unreached: Vec<u32> = self
            .state
            .segments
            .iter()
            .filter(|(number, row)| matches!(row.used(), Use::Log) && !used.contains(number))
            .map(|(number, _)| number)
            .collect();
        for segment in unreached {
            self.state.segments.set_use(segment, Use::Free);
        }
    }

    fn damaged(&self, segment: u32, reason: impl Into<String>) -> Error {
        damaged(self.context, self.shard, segment, reason)
    }

    /// Steps over a seal into the next segment. Offset zero: it was never opened for this.
    async fn enter(
        &mut self,
        next: u32,
        position: &Position,
        segments: &[FoundSegment],
    ) -> Result<Position> {
        let Some(segment) = segments.get(next as usize) else {
            return Err(self.damaged(next, "the log goes on in this segment and it is missing"));
        };
        if let Header::Valid(header) = &segment.header
            && header.kind == SegmentKind::Log
            && header.first_lsn == position.next_lsn
            && header.chain_before == position.chain
        {
            let offset = BLOCK_BYTES as u64;
            return Ok(Position { segment: next, offset, epoch: header.epoch, ..*position });
        }
        // Its header was not written or was torn. Then nothing was acknowledged in it: a group that
        // continues the chain, or one that tells of it, would say otherwise.
        let beginning = Position { segment: next, offset: BLOCK_BYTES as u64, ..*position };
        let mut window = Window::open(self.context, self.shard, next).await?;
        if self.continues(&mut window, &beginning).await? {
            return Err(
                self.damaged(next, "the log goes on in this segment; its header is damaged")
            );
        }
        self.judge_tail(&mut window, &beginning, "the segment's header is damaged").await?;
        Ok(Position { segment: next, offset: 0, ..*position })
    }

    /// Whether a whole group stands at a position and continues the chain.
    async fn continues(&self, window: &mut Window<P>, position: &Position) -> Result<bool> {
        let bytes = window.at(position.offset, GROUP_HEADER_BYTES).await?;
        let Ok((group, _)) = GroupHeader::decode(self.context.salt, bytes) else {
            return Ok(false);
        };
        let end = position.offset + u64::from(group.group_bytes);
        if (group.lsn, group.chain_before) != (position.next_lsn, position.chain)
            || end > self.context.layout.segment_bytes
        {
            return Ok(false);
        }
        let bytes = window.at(position.offset, group.group_bytes as usize).await?;
        Ok(group.content(self.context.salt, bytes).is_ok())
    }

    /// The log goes on in the segment that a seal names and that the crash kept from being opened.
    fn reopen(&mut self, next: u32, position: Position) -> LogEnd {
        self.epoch += 1;
        self.to_open = Some(SegmentHeader {
            kind: SegmentKind::Log,
            store_uuid: self.context.layout.store_uuid,
            shard: self.shard,
            segment: next,
            epoch: self.epoch,
            segment_bytes: self.context.layout.segment_bytes,
            first_lsn: position.next_lsn,
            chain_before: position.chain,
            opened_ns: self.context.platform.wall_clock_ns(),
        });
        self.state.segments.set_use(next, Use::Log);
        LogEnd {
            segment: next,
            head: BLOCK_BYTES as u64,
            filled: false,
            epoch: self.epoch,
            next_lsn: position.next_lsn,
            chain: position.chain,
        }
    }

    /// Replays one segment up to its end or its seal; returns the segment that the seal names.
    async fn segment(&mut self, position: &mut Position) -> Result<Option<u32>> {
        let mut window = Window::open(self.context, self.shard, position.segment).await?;
        loop {
            match self.group(&mut window, position).await? {
                Step::Next => {}
                Step::Sealed(next) => return Ok(Some(next)),
                Step::End(reason) => {
                    self.judge_tail(&mut window, position, reason).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn group(&mut self, window: &mut Window<P>, position: &mut Position) -> Result<Step> {
        let salt = self.context.salt;
        let offset = position.offset;
        if offset + BLOCK_BYTES as u64 > self.context.layout.segment_bytes {
            return Ok(Step::End("the segment ends without a seal"));
        }
        let bytes = window.at(offset, GROUP_HEADER_BYTES).await?;
        let (group, checksum) = match GroupHeader::decode(salt, bytes) {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Step::End(malformed.0)),
        };
        let here = (self.shard, position.segment, position.next_lsn, position.chain);
        if (group.shard, group.segment, group.lsn, group.chain_before) != here
            || group.epoch < position.epoch
            || offset + u64::from(group.group_bytes) > self.context.layout.segment_bytes
        {
            return Ok(Step::End("the group does not continue the log"));
        }
        let bytes = window.at(offset, group.group_bytes as usize).await?;
        if let Err(malformed) = group.content(salt, bytes) {
            return Ok(Step::End(malformed.0));
        }
        let end = GROUP_HEADER_BYTES + group.content_bytes as usize;
        for item in Records::new(salt, bytes, GROUP_HEADER_BYTES, end, group.record_count) {
            let applied = item.and_then(|(at, head)| {
                if head.epoch != group.epoch {
                    return Err(crate::format::Malformed("a record is of another epoch"));
                }
                let location = Location {
                    segment: position.segment,
                    offset_units: ((offset + at as u64) / 8) as u32,
                    span_bytes: head.span_bytes() as u32,
                };
                apply(&mut self.state, &mut self.catalog, &mut self.extents, &head, location)?;
                self.clock.observe(head.version);
                Ok(())
            });
            // The checksum of the whole group has matched: this was written so.
            applied.map_err(|malformed| {
                self.damaged(
                    position.segment,
                    format!("a record at {offset} cannot be read: {malformed}"),
                )
            })?;
            self.found.records += 1;
        }
        self.found.groups += 1;
        self.found.log_bytes += u64::from(group.group_bytes);
        self.epoch = self.epoch.max(group.epoch);
        self.untold.retain(|untold| untold.lsn > group.durable_lsn);
        let bytes = group.group_bytes as usize;
        let segment = position.segment;
        self.untold.push(Untold { lsn: group.lsn, segment, offset, bytes, checksum });
        position.epoch = group.epoch;
        position.offset += u64::from(group.group_bytes);
        position.next_lsn += 1;
        position.chain = checksum;
        Ok(group.next_segment.map_or(Step::Next, Step::Sealed))
    }

    /// The tail rule: nothing behind the end of the log may say that what is missing was durable.
    async fn judge_tail(
        &mut self,
        window: &mut Window<P>,
        position: &Position,
        reason: &str,
    ) -> Result<()> {
        let segment_bytes = self.context.layout.segment_bytes;
        let mut torn = false;
        let mut offset = position.offset;
        while offset + BLOCK_BYTES as u64 <= segment_bytes {
            let bytes = window.at(offset, GROUP_HEADER_BYTES).await?;
            offset += BLOCK_BYTES as u64;
            let Ok((group, _)) = GroupHeader::decode(self.context.salt, bytes) else {
                continue;
            };
            let ours = (group.shard, group.segment) == (self.shard, position.segment);
            if !ours || group.epoch < position.epoch {
                continue;
            }
            if group.lsn >= position.next_lsn {
                torn = true;
                self.epoch = self.epoch.max(group.epoch);
            }
            // Either it says so, or it could only be written once the missing ones were durable.
            let limit = position.next_lsn + GROUPS_IN_FLIGHT_MAX as u64;
            if group.durable_lsn >= position.next_lsn || group.lsn >= limit {
                return Err(self.damaged(
                    position.segment,
                    format!(
                        "acknowledged data is damaged: group {} at offset {} does not verify \
                         ({reason}), and group {} behind it says that it was durable",
                        position.next_lsn, position.offset, group.lsn
                    ),
                ));
            }
        }
        if torn {
            self.found.torn_tails += 1;
            tracing::info!(
                shard = self.shard,
                segment = position.segment,
                offset = position.offset,
                "a write that was never acknowledged is discarded"
            );
        }
        Ok(())
    }
}

enum Step {
    Next,
    Sealed(u32),
    /// No valid group continues the log here, and why.
    End(&'static str),
}

fn apply(
    state: &mut State,
    catalog: &mut Catalog,
    extents: &mut HashMap<Location, Vec<Extent>>,
    head: &crate::format::record::Head<'_>,
    location: Location,
) -> std::result::Result<(), crate::format::Malformed> {
    if is_catalog(head.kind) {
        return catalog.apply_head(head);
    }
    let sections = head.sections()?;
    let has_extents = sections.manifest.is_some();
    let change = Change::of_head(head, sections.part_number.unwrap_or(0), has_extents);
    for gone in state.publish(&change, location) {
        extents.remove(&gone.location);
    }
    if let Some(manifest) = sections.manifest {
        let all = manifest.parts.into_iter().flat_map(|part| part.extents).collect();
        extents.insert(location, all);
    }
    Ok(())
}
