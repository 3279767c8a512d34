//! Looks into the files of a store without changing anything: for developers and operators.
//!
//! Invariants: nothing is written and no lock is taken; damage is reported as a row, and the walk
//! goes on behind it; memory is bounded by one group, one chunk and the table of segments. Nothing of
//! the index or of recovery is used, so that what stops those can be looked at.
//!
//! On a store that is being served the answers are those of a moment: writes under way look torn.
//!
//! Not here: a judgement over the whole store. Recovery gives one at each start.

mod bytes;
mod rows;

pub use rows::{
    ChunkRow, GapRow, GroupRow, LogRow, ObjectReport, RecordItem, RecordRow, SegmentRow,
    SuperblockRow, Verdict,
};

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::format::Salt;
use crate::format::chunk::ChunkHeader;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::manifest::{ChunkPlace, ManifestPart};
use crate::format::record::{RecordKind, Records};
use crate::format::segment::{Header, SegmentHeader, SegmentKind};
use crate::format::superblock::COPIES;
use crate::limits::{CHUNK_HEADER_BYTES, GROUPS_IN_FLIGHT_MAX};
use crate::platform::{BLOCK_BYTES, Platform};
use crate::store::{Layout, read_layout, read_superblock_copies};
use crate::types::BucketId;
use bytes::SegmentBytes;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Whether to go on with the next row.
pub type Flow = ControlFlow<()>;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// The copies of the superblock of each directory. Never fails: what cannot be read is a row.
pub async fn superblocks<P: Platform>(platform: &P, data_dirs: &[PathBuf]) -> Vec<SuperblockRow> {
    let mut rows = Vec::new();
    for dir in data_dirs {
        let states = match read_superblock_copies(platform, dir).await {
            Ok(copies) => copies.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error.to_string()); COPIES],
        };
        let row = |(copy, state)| SuperblockRow { data_dir: dir.clone(), copy, state };
        rows.extend((0..).zip(states).map(row));
    }
    rows
}

/// A store whose layout could be read.
#[derive(Debug)]
pub struct Inspector<P: Platform> {
    platform: P,
    layout: Layout,
    salt: Salt,
}

/// A segment that holds groups of the log.
#[derive(Debug)]
struct LogSegment {
    segment: u32,
    /// `None`: damaged, and groups lie behind it all the same.
    header: Option<SegmentHeader>,
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

type VisitLog<'v> = &'v mut dyn FnMut(LogRow, &[u8]) -> Flow;

impl<P: Platform> Inspector<P> {
    /// Reads the superblocks.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there is no store here, or not all of it.
    pub async fn open(platform: P, data_dirs: &[PathBuf]) -> Result<Self> {
        let layout = read_layout(&platform, data_dirs).await?;
        Ok(Self { platform, salt: layout.salt(), layout })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The segment files of a shard, in order of number; numbers that are missing are rows too.
    ///
    /// # Errors
    /// [`Error::Io`] if the shard's directory cannot be listed.
    pub async fn segments(&self, shard: u16) -> Result<Vec<SegmentRow>> {
        let dir = self.layout.shard_dir(shard);
        let paths = self.platform.list_dir(&dir).await;
        let paths = paths.map_err(|source| Error::io(format!("list {}", dir.display()), source))?;
        let mut numbers: Vec<u32> = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut rows = Vec::with_capacity(numbers.len());
        let mut expected = 0;
        for segment in numbers {
            if segment > expected {
                rows.push(missing(shard, expected, segment - 1));
            }
            rows.push(self.segment(shard, segment).await);
            expected = segment.saturating_add(1);
        }
        if rows.is_empty() {
            rows.push(missing(shard, 0, 0));
        }
        Ok(rows)
    }

    async fn segment(&self, shard: u16, segment: u32) -> SegmentRow {
        let mut row = SegmentRow { shard, segment, file_bytes: None, header: None, problem: None };
        let mut bytes = match self.bytes(shard, segment).await {
            Ok(bytes) => bytes,
            Err(reason) => return SegmentRow { problem: Some(reason), ..row },
        };
        let file_bytes = bytes.file_bytes();
        row.file_bytes = Some(file_bytes);
        let header = match bytes.at(0, BLOCK_BYTES).await {
            Ok(block) => SegmentHeader::decode(block),
            Err(_) if file_bytes < BLOCK => Header::Blank,
            Err(reason) => return SegmentRow { problem: Some(reason), ..row },
        };
        match header {
            Header::Blank => {}
            Header::Damaged(reason) => row.problem = Some(reason.into()),
            Header::Valid(header) => {
                row.problem = self.contradiction(shard, segment, &header).map(str::to_owned);
                row.header = Some(header);
            }
        }
        if file_bytes != self.layout.segment_bytes {
            row.problem = Some(format!("the file is {file_bytes} bytes long"));
        }
        row
    }

    fn contradiction(
        &self,
        shard: u16,
        segment: u32,
        header: &SegmentHeader,
    ) -> Option<&'static str> {
        let named = (header.shard, header.segment, header.segment_bytes);
        if header.store_uuid != self.layout.store_uuid {
            Some("it belongs to another store")
        } else if named != (shard, segment, self.layout.segment_bytes) {
            Some("its header names another segment")
        } else {
            None
        }
    }

    async fn bytes(&self, shard: u16, segment: u32) -> Result<SegmentBytes<P>, String> {
        let path = self.layout.segment_path(shard, segment);
        SegmentBytes::open(&self.platform, &path, self.layout.segment_bytes).await
    }

    /// The groups of a shard's log in the order of the log, or those of one segment.
    ///
    /// # Errors
    /// [`Error::Io`] if the shard's directory cannot be listed.
    pub async fn groups(
        &self,
        shard: u16,
        segment: Option<u32>,
        mut visit: impl FnMut(LogRow) -> Flow,
    ) -> Result<()> {
        self.walk(shard, segment, &mut |row, _| visit(row)).await
    }

    /// The records of a shard's log in the order of the log, or those of one segment.
    ///
    /// # Errors
    /// [`Error::Io`] if the shard's directory cannot be listed.
    pub async fn records(
        &self,
        shard: u16,
        segment: Option<u32>,
        mut visit: impl FnMut(RecordItem) -> Flow,
    ) -> Result<()> {
        let salt = self.salt;
        self.walk(shard, segment, &mut |row, bytes| match row {
            LogRow::Gap(gap) => visit(RecordItem::Gap(gap)),
            LogRow::Group(group) => visit_records(salt, &group, bytes, &mut visit),
        })
        .await
    }

    /// What the log says of an object; `None` if it knows no bucket of that name.
    ///
    /// # Errors
    /// [`Error::Io`] if a shard's directory cannot be listed.
    pub async fn object(&self, bucket: &str, key: &[u8]) -> Result<Option<ObjectReport>> {
        let Some(bucket) = self.bucket(bucket).await? else {
            return Ok(None);
        };
        let shard = self.layout.shard_of(bucket, key);
        let mut report = ObjectReport { bucket, shard, records: 0, last: None, damaged_places: 0 };
        let salt = self.salt;
        self.walk(shard, None, &mut |row, bytes| {
            let LogRow::Group(group) = row else {
                return Flow::Continue(());
            };
            report.damaged_places += u64::from(is_damage(group.verdict));
            visit_records(salt, &group, bytes, &mut |item| {
                let RecordItem::Record(record) = item else {
                    return Flow::Continue(());
                };
                let concerns = matches!(record.kind, RecordKind::Object | RecordKind::Tombstone);
                if concerns && record.bucket == bucket && record.key == key {
                    report.records += 1;
                    report.last = Some(*record);
                }
                Flow::Continue(())
            })
        })
        .await?;
        Ok(Some(report))
    }

    async fn bucket(&self, name: &str) -> Result<Option<BucketId>> {
        let mut catalog = Catalog::default();
        self.records(0, None, |item| {
            if let RecordItem::Record(record) = item
                && matches!(record.kind, RecordKind::Bucket | RecordKind::BucketDelete)
            {
                let settings = record.sections.settings.unwrap_or_default();
                catalog.apply(record.kind, record.bucket, &record.key, record.size, &settings);
            }
            Flow::Continue(())
        })
        .await?;
        Ok(catalog.bucket(name).map(|bucket| bucket.id))
    }

    /// Reads and verifies the chunks of a large object; visits none for a record without a manifest.
    pub async fn chunks(&self, record: &RecordRow, mut visit: impl FnMut(ChunkRow) -> Flow) {
        for part in record.sections.manifest.iter().flat_map(|manifest| &manifest.parts) {
            let mut left = part.size;
            for place in part.chunks().take_while(|_| part.size > 0) {
                let payload_bytes = left.min(place.payload_max() as u64);
                left -= payload_bytes;
                let verdict = self.chunk(record.shard, part, &place, payload_bytes as usize).await;
                let row = ChunkRow {
                    part: part.number,
                    index: place.index,
                    segment: place.segment,
                    offset: place.offset,
                    payload_bytes,
                    problem: verdict.err(),
                };
                if visit(row).is_break() {
                    return;
                }
            }
        }
    }

    async fn chunk(
        &self,
        shard: u16,
        part: &ManifestPart,
        place: &ChunkPlace,
        payload_bytes: usize,
    ) -> Result<(), String> {
        let mut bytes = self.bytes(shard, place.segment).await?;
        let chunk = bytes.at(place.offset, CHUNK_HEADER_BYTES + payload_bytes).await?;
        let header = ChunkHeader::decode(self.salt, part.tag, place, chunk)
            .map_err(|malformed| malformed.0)?;
        if header.payload_bytes != payload_bytes {
            return Err("it is not as long as its manifest says".into());
        }
        header.verify(0, &chunk[CHUNK_HEADER_BYTES..]).map_err(|malformed| malformed.0.into())
    }

    // --- The walk over the log -----------------------------------------------------------------

    async fn walk(&self, shard: u16, only: Option<u32>, visit: VisitLog<'_>) -> Result<()> {
        let mut chain = None;
        for log in self.log_segments(shard).await? {
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
                Some(header) if header.kind == SegmentKind::Slab => {}
                Some(header) => {
                    let first_lsn = header.first_lsn;
                    logs.push(LogSegment { segment, header: Some(header), first_lsn });
                }
                None if row.problem.is_none() => {}
                None => {
                    if let Some(first_lsn) = self.first_lsn(shard, segment).await {
                        logs.push(LogSegment { segment, header: None, first_lsn });
                    }
                }
            }
        }
        logs.sort_by_key(|log| log.first_lsn);
        Ok(logs)
    }

    /// The LSN of the group at the beginning of a segment whose header is damaged.
    async fn first_lsn(&self, shard: u16, segment: u32) -> Option<u64> {
        let mut bytes = self.bytes(shard, segment).await.ok()?;
        let header = bytes.at(BLOCK, GROUP_HEADER_BYTES).await.ok()?;
        let (group, _) = GroupHeader::decode(self.salt, header).ok()?;
        ((group.shard, group.segment) == (shard, segment)).then_some(group.lsn)
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
        // The chain from the segment before is the stronger witness; the epoch is the header's.
        *chain = match (*chain, opened) {
            (Some(from), Some(opened)) => Some(Chain { epoch: opened.epoch, ..from }),
            (from, opened) => from.or(opened),
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

/// Whether a verdict means that acknowledged data is, or may be, lost.
fn is_damage(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Good | Verdict::Detached { was_durable: false, .. })
}

fn missing(shard: u16, first: u32, last: u32) -> SegmentRow {
    let problem = if first == last {
        "the file is missing".to_owned()
    } else {
        format!("the files up to segment {last} are missing")
    };
    SegmentRow { shard, segment: first, file_bytes: None, header: None, problem: Some(problem) }
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

fn visit_records(
    salt: Salt,
    group: &GroupRow,
    bytes: &[u8],
    visit: &mut dyn FnMut(RecordItem) -> Flow,
) -> Flow {
    let header = &group.header;
    let end = GROUP_HEADER_BYTES + header.content_bytes as usize;
    let mut behind = GROUP_HEADER_BYTES;
    for item in Records::new(salt, bytes, GROUP_HEADER_BYTES, end, header.record_count) {
        let item = match item {
            Ok((at, head)) => {
                behind = at + head.span_bytes();
                let data = bytes.get(at + head.head_bytes..behind);
                RecordItem::Record(RecordRow::new(group, at, &head, data))
            }
            Err(malformed) => RecordItem::Unreadable {
                shard: header.shard,
                segment: header.segment,
                offset: group.offset + behind as u64,
                lsn: header.lsn,
                reason: malformed.0,
            },
        };
        visit(item)?;
    }
    Flow::Continue(())
}
