//! Looks into the files of a store without changing anything: for developers and operators.
//!
//! Invariants: nothing is written and no lock is taken; damage is reported as a row, and the walk
//! goes on behind it; memory is bounded by one group, one chunk and the table of segments. Nothing of
//! the index or of recovery is used, so that what stops those can be looked at.
//!
//! On a store that is being served the answers are those of a moment: writes under way look torn.
//!
//! Not here: a judgement over the whole store. Recovery gives one at each start.

pub(crate) mod bytes;
mod rows;
mod walk;

pub use rows::{
    ChunkRow, GapRow, GroupRow, LogRow, ObjectReport, RecordItem, RecordRow, SegmentRow,
    SuperblockRow, Verdict,
};

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::format::Salt;
use crate::format::chunk::ChunkHeader;
use crate::format::group::GROUP_HEADER_BYTES;
use crate::format::manifest::{ChunkPlace, ManifestPart};
use crate::format::record::{RecordKind, Records};
use crate::format::segment::{Header, SegmentHeader};
use crate::format::superblock::COPIES;
use crate::limits::CHUNK_HEADER_BYTES;
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
                let concerns = matches!(
                    record.kind,
                    RecordKind::Object | RecordKind::Tombstone | RecordKind::DeleteMarker
                );
                if concerns && record.bucket == bucket && record.key == key {
                    report.records += 1;
                    let is_newest =
                        report.last.as_ref().is_none_or(|last| last.version <= record.version);
                    if is_newest {
                        report.last = Some(*record);
                    }
                }
                Flow::Continue(())
            })
        })
        .await?;
        Ok(Some(report))
    }

    async fn bucket(&self, name: &str) -> Result<Option<BucketId>> {
        let mut catalog = Catalog::default();
        // Any drive's copy will do.
        let is_there = |home: &u16| self.layout.offline_cause(*home).is_none();
        let home = self.layout.catalog_homes().find(is_there).unwrap_or(0);
        self.records(home, None, |item| {
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
