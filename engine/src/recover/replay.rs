//! Replay: the walk along one of a shard's logs, from a position to its end, which brings the index up
//! to date.
//!
//! Invariant: it reads and judges, and writes nothing; what has to be written is noted for later.

use super::headers::FoundSegment;
use super::table::is_newer_log;
use super::{Found, damaged};
use crate::append::LogEnd;
use crate::bucket_ops::is_catalog;
use crate::catalog::Catalog;
use crate::clock::HybridClock;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::checkpoint::{Displaced, LogPosition, RowUse, SegmentRow};
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::manifest::{Extent, Manifest};
use crate::format::record::{Killed, Location, Records};
use crate::format::segment::{Header, SegmentHeader, SegmentKind, Stream};
use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::platform::{BLOCK_BYTES, Platform};
use crate::segments::{LogUse, Use};
use crate::state::{Change, State};
use crate::window::Window;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

pub(super) struct Replay<'a, P: Platform> {
    pub(super) context: &'a Rc<CoreContext<P>>,
    pub(super) shard: u16,
    pub(super) headers: &'a [FoundSegment],
    /// What the checkpoint knows of the segments.
    pub(super) rows: &'a [SegmentRow],
    pub(super) state: State,
    pub(super) clock: HybridClock,
    pub(super) catalog: Catalog,
    pub(super) found: Found,
    /// Highest epoch seen anywhere.
    pub(super) epoch: u64,
    /// Extents of every replayed record that the index points to and that has any. By version too: a
    /// place may have been used twice since the checkpoint.
    pub(super) extents: HashMap<Displaced, Vec<Extent>>,
    /// Records of before the replay that it displaced, and that have extents; with the tags of the parts
    /// that live on in the record that displaced each.
    pub(super) displaced: BTreeMap<Displaced, Rc<HashSet<u64>>>,
    /// The manifests of those that were moved before they were displaced, with their versions: nothing
    /// may be left of them at the place where the checkpoint knew them.
    pub(super) moved: Vec<(Manifest, u64)>,
}

/// Where one log ends, and what is to be written before it goes on.
#[derive(Debug)]
pub(super) struct StreamEnd {
    pub(super) end: LogEnd,
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

/// One log as it is walked.
struct Walk {
    stream: Stream,
    at: LogPosition,
    untold: Vec<Untold>,
    used: Vec<u32>,
    records: u64,
    bytes: u64,
}

impl<P: Platform> Replay<'_, P> {
    /// Replays a log from a position on.
    pub(super) async fn run(&mut self, stream: Stream, from: LogPosition) -> Result<StreamEnd> {
        let mut walk = Walk {
            stream,
            at: from,
            untold: Vec::new(),
            used: vec![from.segment],
            records: 0,
            bytes: 0,
        };
        let begins_unopened = self.is_unopened(from.segment);
        if begins_unopened {
            let entered = self.enter(from.segment, &walk).await?;
            if entered.offset == 0 {
                return self.reopen(walk, from.segment);
            }
            walk.at = entered;
            self.state.segments.set_use(from.segment, Use::Log(LogUse::new(stream)));
        } else {
            self.require_segment(&walk)?;
        }
        loop {
            let Some(next) = self.segment(&mut walk).await? else { break };
            self.state.segments.seal(walk.at.segment, walk.at.next_lsn);
            let entered = self.enter(next, &walk).await?;
            walk.used.push(next);
            if entered.offset == 0 {
                // The seal is there and the next segment was never opened.
                return self.reopen(walk, next);
            }
            walk.at = entered;
            self.state.segments.set_use(next, Use::Log(LogUse::new(stream)));
        }
        let is_new = || {
            let segment = walk.at.segment as usize;
            let header = self.headers.get(segment).map(|found| &found.header);
            header.is_some_and(|it| is_newer_log(it, stream, self.rows.get(segment)))
        };
        let begins_here = walk.used.len() > 1 || begins_unopened || is_new();
        if walk.at.offset == BLOCK_BYTES as u64 && begins_here {
            // Its header may not be durable, nor the seal before it.
            let segment = walk.at.segment;
            return self.reopen(walk, segment);
        }
        self.require_nothing_beyond(&walk)?;
        self.drop_unreached(&walk);
        Ok(self.ended(walk, None))
    }

    /// A checkpoint that a rebuild made (`verify`) lets the logs go on in segments that it still calls
    /// free: the first start opens them.
    fn is_unopened(&self, segment: u32) -> bool {
        self.rows.get(segment as usize).is_some_and(|row| row.used == RowUse::Free)
    }

    /// The segment in which the walk begins must be what the position says.
    fn require_segment(&self, walk: &Walk) -> Result<()> {
        let header = self.headers.get(walk.at.segment as usize).map(|found| &found.header);
        let reason = match header {
            Some(Header::Valid(header))
                if header.kind == SegmentKind::Log
                    && header.stream == walk.stream
                    && header.epoch <= walk.at.epoch
                    && header.first_lsn <= walk.at.next_lsn =>
            {
                return Ok(());
            }
            Some(Header::Valid(_)) => "the log should go on here, and the segment is another's",
            Some(Header::Blank) => "the segment's header is blank",
            Some(Header::Damaged(_)) => "the segment's header is damaged",
            None => "the segment is missing",
        };
        Err(self.damaged(walk.at.segment, reason))
    }

    fn ended(&self, walk: Walk, to_open: Option<SegmentHeader>) -> StreamEnd {
        let Walk { at, untold, records, bytes, .. } = walk;
        let end = LogEnd { at, filled: false, read_bytes: bytes, read_records: records };
        StreamEnd { end, untold, to_open }
    }

    /// A segment is opened for a log only once the seal before it is durable: one that begins behind
    /// the end that was found says that something is missing in between.
    fn require_nothing_beyond(&self, walk: &Walk) -> Result<()> {
        let LogPosition { segment, offset, next_lsn, .. } = walk.at;
        for (found, number) in self.headers.iter().zip(0..) {
            if let Header::Valid(header) = &found.header
                && header.kind == SegmentKind::Log
                && header.stream == walk.stream
                && header.first_lsn > next_lsn
            {
                return Err(self.damaged(
                    segment,
                    format!(
                        "acknowledged data is damaged: group {next_lsn} at offset {offset} does not \
                         verify, and the log goes on in segment {number} with group {}",
                        header.first_lsn
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Log segments newer than the checkpoint that the chain does not reach hold nothing: they were
    /// headed for, and the crash came before.
    fn drop_unreached(&mut self, walk: &Walk) {
        for (found, number) in self.headers.iter().zip(0..) {
            let row = self.rows.get(number as usize);
            let is_newer = is_newer_log(&found.header, walk.stream, row);
            if is_newer && !walk.used.contains(&number) {
                self.state.segments.set_use(number, Use::Free);
            }
        }
    }

    fn damaged(&self, segment: u32, reason: impl Into<String>) -> Error {
        damaged(self.context, self.shard, segment, reason)
    }

    /// Steps over a seal into the next segment. Offset zero: it was never opened for this.
    async fn enter(&mut self, next: u32, walk: &Walk) -> Result<LogPosition> {
        let position = &walk.at;
        let Some(segment) = self.headers.get(next as usize) else {
            return Err(self.damaged(next, "the log goes on in this segment and it is missing"));
        };
        if let Header::Valid(header) = &segment.header
            && header.kind == SegmentKind::Log
            && header.stream == walk.stream
            && header.first_lsn == position.next_lsn
            && header.chain_before == position.chain
        {
            let offset = BLOCK_BYTES as u64;
            return Ok(LogPosition { segment: next, offset, epoch: header.epoch, ..*position });
        }
        // Its header was not written, or is damaged. Then nothing was acknowledged in it: a group that
        // continues the chain, or one that tells of it, would say otherwise.
        let beginning = LogPosition { segment: next, offset: BLOCK_BYTES as u64, ..*position };
        let mut window = Window::open(self.context, self.shard, next).await?;
        if self.continues(&mut window, &beginning).await? {
            return Err(
                self.damaged(next, "the log goes on in this segment; its header is damaged")
            );
        }
        let stream = walk.stream;
        let reason = "the segment's header is damaged";
        self.judge_tail(&mut window, stream, &beginning, reason).await?;
        Ok(LogPosition { segment: next, offset: 0, ..*position })
    }

    /// Whether a whole group stands at a position and continues the chain.
    async fn continues(&self, window: &mut Window<P>, position: &LogPosition) -> Result<bool> {
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
    fn reopen(&mut self, mut walk: Walk, next: u32) -> Result<StreamEnd> {
        self.require_nothing_beyond(&walk)?;
        self.drop_unreached(&walk);
        self.epoch += 1;
        let header = SegmentHeader {
            kind: SegmentKind::Log,
            stream: walk.stream,
            store_uuid: self.context.layout.store_uuid,
            shard: self.shard,
            segment: next,
            epoch: self.epoch,
            segment_bytes: self.context.layout.segment_bytes,
            first_lsn: walk.at.next_lsn,
            chain_before: walk.at.chain,
            opened_ns: self.clock.next(&self.context.platform).0,
        };
        self.state.segments.set_use(next, Use::Log(LogUse::new(walk.stream)));
        self.state.segments.set_opened(next, self.epoch, header.opened_ns);
        let (segment, offset, epoch) = (next, BLOCK_BYTES as u64, self.epoch);
        walk.at = LogPosition { segment, offset, epoch, ..walk.at };
        Ok(self.ended(walk, Some(header)))
    }

    /// Replays one segment up to its end or its seal; returns the segment that the seal names.
    async fn segment(&mut self, walk: &mut Walk) -> Result<Option<u32>> {
        let mut window = Window::open(self.context, self.shard, walk.at.segment).await?;
        loop {
            match self.group(&mut window, walk).await? {
                Step::Next => {}
                Step::Sealed(next) => return Ok(Some(next)),
                Step::End(reason) => {
                    let (stream, at) = (walk.stream, walk.at);
                    self.judge_tail(&mut window, stream, &at, reason).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn group(&mut self, window: &mut Window<P>, walk: &mut Walk) -> Result<Step> {
        let salt = self.context.salt;
        let position = &mut walk.at;
        let offset = position.offset;
        if offset + BLOCK_BYTES as u64 > self.context.layout.segment_bytes {
            return Ok(Step::End("the segment ends without a seal"));
        }
        let bytes = window.at(offset, GROUP_HEADER_BYTES).await?;
        let (group, checksum) = match GroupHeader::decode(salt, bytes) {
            Ok(decoded) => decoded,
            Err(malformed) => return Ok(Step::End(malformed.0)),
        };
        let here = (self.shard, walk.stream, position.segment);
        let next = (position.next_lsn, position.chain);
        if (group.shard, group.stream, group.segment) != here
            || (group.lsn, group.chain_before) != next
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
        let mut record_bytes = 0;
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
                self.clock.observe(head.version);
                record_bytes += head.span_bytes() as u64;
                apply(self, &head, location)
            });
            // The checksum of the whole group has matched: this was written so.
            applied.map_err(|malformed| {
                self.damaged(
                    position.segment,
                    format!("a record at {offset} cannot be read: {malformed}"),
                )
            })?;
            walk.records += 1;
        }
        let placed_bytes = u64::from(group.content_bytes);
        self.state.segments.add_written(position.segment, record_bytes, placed_bytes);
        self.found.groups += 1;
        self.found.records += u64::from(group.record_count);
        self.found.log_bytes += u64::from(group.group_bytes);
        walk.bytes += u64::from(group.group_bytes);
        self.epoch = self.epoch.max(group.epoch);
        walk.untold.retain(|untold| untold.lsn > group.durable_lsn);
        let bytes = group.group_bytes as usize;
        let segment = position.segment;
        walk.untold.push(Untold { lsn: group.lsn, segment, offset, bytes, checksum });
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
        stream: Stream,
        position: &LogPosition,
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
            let here = (self.shard, stream, position.segment);
            let ours = (group.shard, group.stream, group.segment) == here;
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

fn apply<P: Platform>(
    replay: &mut Replay<'_, P>,
    head: &crate::format::record::Head<'_>,
    location: Location,
) -> std::result::Result<(), crate::format::Malformed> {
    let Replay { state, catalog, extents, displaced, moved, .. } = replay;
    if is_catalog(head.kind) && !head.flags.relocated {
        catalog.apply_head(head)?;
    }
    let sections = head.sections()?;
    let has_extents = sections.manifest.is_some();
    let change = Change::of_head(head, sections.part_number.unwrap_or(0), has_extents);
    let parts = sections.manifest.iter().flat_map(|manifest| &manifest.parts);
    let kept = Rc::new(parts.map(|part| part.tag).collect::<HashSet<_>>());
    for gone in state.apply(&change, location) {
        if extents.remove(&gone).is_none() {
            displaced.insert(gone, kept.clone());
        }
    }
    match sections.manifest {
        Some(manifest) if head.flags.relocated => {
            // Of what it names, its former places are those of its own version.
            let mut former = sections.killed.iter().filter(|killed| killed.version == head.version);
            let was_displaced = former.any(|killed| {
                let Killed { location, version, .. } = *killed;
                displaced.remove(&Displaced { location, version }).is_some()
            });
            moved.extend(was_displaced.then_some((manifest, head.version)));
        }
        Some(manifest) => {
            let all = manifest.parts.into_iter().flat_map(|part| part.extents).collect();
            extents.insert(Displaced { location, version: head.version }, all);
        }
        None => {}
    }
    Ok(())
}
