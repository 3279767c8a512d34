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

use crate::append::{Log, LogEnd};
use crate::bucket_ops::is_catalog;
use crate::catalog::Catalog;
use crate::clock::HybridClock;
use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::manifest::Extent;
use crate::format::record::{Location, Records};
use crate::format::segment::{Header, SegmentHeader, SegmentKind};
use crate::limits::{GROUPS_IN_FLIGHT_MAX, SEGMENTS_MAX};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::replay_window::Window;
use crate::segments::{SegmentTable, Use, extent_bytes};
use crate::shard::Shard;
use crate::slab::SlabMap;
use crate::state::{Change, State};
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

/// A segment as its file was found.
#[derive(Debug)]
struct FoundSegment {
    header: Header,
}

fn damaged<P: Platform>(
    context: &CoreContext<P>,
    shard: u16,
    segment: u32,
    reason: impl Into<String>,
) -> Error {
    Error::Unusable { path: context.layout.segment_path(shard, segment), reason: reason.into() }
}

/// Reads the header of every segment; checks that none is missing, short or another store's.
async fn read_headers<P: Platform>(
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
async fn sync_segment<P: Platform>(
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

struct Replay<'a, P: Platform> {
    context: &'a Rc<CoreContext<P>>,
    shard: u16,
    state: State,
    clock: HybridClock,
    catalog: Catalog,
    found: Found,
    /// Highest epoch seen anywhere.
    epoch: u64,
    /// Extents of every record that the index points to and that has any.
    extents: HashMap<Location, Vec<Extent>>,
    /// The last groups, of which no later one says that they were durable: those that were in flight
    /// at once, or none but the last.
    untold: Vec<Untold>,
    /// The header to be written where the log goes on in a segment that was never opened.
    to_open: Option<SegmentHeader>,
}

/// A group that can be read and may not be durable.
#[derive(Debug, Clone, Copy)]
struct Untold {
    lsn: u64,
    segment: u32,
    offset: u64,
    bytes: usize,
    /// Of its header.
    checksum: u64,
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
    fn new(context: &'a Rc<CoreContext<P>>, shard: u16, segments: &[FoundSegment]) -> Self {
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
    async fn run(&mut self, segments: &[FoundSegment]) -> Result<LogEnd> {
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
