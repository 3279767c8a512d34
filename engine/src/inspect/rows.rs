//! What an inspection reports: plain rows, each of which prints as one line.
//!
//! A row carries what was read and what is wrong with it; nothing here judges.

use crate::format::group::GroupHeader;
use crate::format::record::{Flags, Head, Killed, RecordKind, Sections};
use crate::format::segment::{SegmentHeader, SegmentKind, Stream};
use crate::format::superblock::{Copy, Superblock};
use crate::types::{BucketId, Etag};
use std::fmt;
use std::path::PathBuf;

/// One copy of one directory's superblock, or why there is none to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuperblockRow {
    pub data_dir: PathBuf,
    pub copy: usize,
    /// The inner error: the file cannot be read, and with it none of its copies.
    pub state: Result<Copy, String>,
}

/// One segment file, as its name, its length and its first block tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    pub shard: u16,
    pub segment: u32,
    /// Of the file; `None` if it is missing or cannot be opened.
    pub file_bytes: Option<u64>,
    /// `None`: free, or see `problem`.
    pub header: Option<SegmentHeader>,
    pub problem: Option<String>,
}

/// What a group that verifies by its header is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the log, and its content verifies.
    Good,
    /// It continues the log; its content does not verify.
    Damaged(&'static str),
    /// It verifies, and the group before it is missing.
    Detached {
        /// The LSN that was to be expected.
        missing_lsn: u64,
        /// The tail rule: this group shows that the missing one was durable, so that data which was
        /// acknowledged is lost. Otherwise the next start discards this one.
        was_durable: bool,
    },
}

/// One group of a log segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    pub header: GroupHeader,
    /// In its segment.
    pub offset: u64,
    pub verdict: Verdict,
}

/// A stretch of a log segment in which no group of the log lies: its unused end, or damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    pub shard: u16,
    pub segment: u32,
    pub offset: u64,
    pub bytes: u64,
    /// All of it is zero: never written but by filling.
    pub blank: bool,
    /// Groups in it that an earlier use of the segment left, or that a recovery discarded.
    pub stale_groups: u32,
    /// Why no group of the log begins at `offset`.
    pub reason: String,
}

/// What stands at one place of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRow {
    Group(GroupRow),
    Gap(GapRow),
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    pub shard: u16,
    pub segment: u32,
    /// In its segment.
    pub offset: u64,
    pub lsn: u64,
    /// Of the group that it stands in.
    pub group: Verdict,
    pub kind: RecordKind,
    pub flags: Flags,
    pub bucket: BucketId,
    pub key: Vec<u8>,
    pub version: u64,
    /// Of a bucket: when it was made, in nanoseconds since the Unix epoch.
    pub size: u64,
    pub etag: Etag,
    pub label: u8,
    /// Zero where no multipart upload is concerned.
    pub upload: u64,
    pub head_bytes: usize,
    pub data_bytes: usize,
    pub sections: Sections,
    /// What is wrong with its sections or its inline data.
    pub problem: Option<&'static str>,
}

/// What a walk over records meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordItem {
    Record(Box<RecordRow>),
    /// The records of a group from here on cannot be read.
    Unreadable {
        shard: u16,
        segment: u32,
        offset: u64,
        lsn: u64,
        reason: &'static str,
    },
    /// No group of the log lies here; see [`GapRow`].
    Gap(GapRow),
}

/// What the log says of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReport {
    pub bucket: BucketId,
    /// The shard that owns the key.
    pub shard: u16,
    /// Records of the key in the log, this one included.
    pub records: u64,
    /// The newest; a tombstone if the object was deleted. `None`: the log does not know the key.
    pub last: Option<RecordRow>,
    /// Places of the shard's log that do not verify or are detached: what stood there may concern
    /// the key.
    pub damaged_places: u64,
}

/// One chunk of a large object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRow {
    /// Zero for an object that was not made of parts.
    pub part: u16,
    /// Within the part.
    pub index: u32,
    pub segment: u32,
    pub offset: u64,
    /// As the manifest has it.
    pub payload_bytes: u64,
    pub problem: Option<String>,
}

impl RecordRow {
    pub(super) fn new(
        group: &GroupRow,
        at: usize,
        head: &Head<'_>,
        data: Option<&[u8]>,
    ) -> Box<Self> {
        let (sections, mut problem) = match head.sections() {
            Ok(sections) => (sections, None),
            Err(malformed) => (Sections::default(), Some(malformed.0)),
        };
        if let Err(malformed) = head.verify_data(data.unwrap_or_default()) {
            problem = Some(malformed.0);
        }
        if head.epoch != group.header.epoch {
            problem = Some("it is of another epoch than its group");
        }
        Box::new(Self {
            shard: group.header.shard,
            segment: group.header.segment,
            offset: group.offset + at as u64,
            lsn: group.header.lsn,
            group: group.verdict,
            kind: head.kind,
            flags: head.flags,
            bucket: BucketId(head.bucket),
            key: head.key.to_vec(),
            version: head.version,
            size: head.size,
            etag: head.etag,
            label: head.label,
            upload: head.upload,
            head_bytes: head.head_bytes,
            data_bytes: head.data_bytes,
            sections,
            problem,
        })
    }

    /// Extents that the manifest names, over all its parts.
    pub fn extent_count(&self) -> usize {
        let parts = self.sections.manifest.iter().flat_map(|manifest| &manifest.parts);
        parts.map(|part| part.extents.len()).sum()
    }
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        *self == Self::Good
    }
}

impl fmt::Display for SuperblockRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copy {}: ", self.data_dir.display(), self.copy)?;
        match &self.state {
            Ok(Copy::Valid(superblock)) => write_superblock(f, superblock),
            Ok(Copy::OtherVersion(version)) => write!(f, "format version {version}, not ours"),
            Ok(Copy::Damaged(reason)) => write!(f, "DAMAGED: {reason}"),
            Ok(Copy::Foreign) => f.write_str("DAMAGED: this is no superblock"),
            Err(reason) => write!(f, "UNREADABLE: {reason}"),
        }
    }
}

fn write_superblock(f: &mut fmt::Formatter<'_>, superblock: &Superblock) -> fmt::Result {
    write!(
        f,
        "sequence {}, store {}, drive {} of {}, {} shards, segments of {} bytes, capacity {} bytes, \
         created at {} ns",
        superblock.sequence,
        Hex(&superblock.store_uuid),
        superblock.drive_index,
        superblock.drive_count,
        superblock.shard_count,
        superblock.segment_bytes,
        superblock.capacity_bytes,
        superblock.created_ns
    )
}

impl fmt::Display for SegmentRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} segment {}: ", self.shard, self.segment)?;
        match &self.header {
            Some(header) => {
                let kind = match header.kind {
                    SegmentKind::Log if header.stream == Stream::Relocation => "relocation log",
                    SegmentKind::Log => "log",
                    SegmentKind::Slab => "slab",
                    SegmentKind::Free => "free",
                };
                write!(f, "{kind}, epoch {}", header.epoch)?;
                if header.kind == SegmentKind::Log {
                    write!(f, ", first LSN {}", header.first_lsn)?;
                }
                write!(f, ", opened at {} ns", header.opened_ns)?;
            }
            None if self.problem.is_none() => f.write_str("never used")?,
            None => f.write_str("no header")?,
        }
        write_problem(f, self.problem.as_deref())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Damaged(reason) => write!(f, "DAMAGED: {reason}"),
            Self::Detached { missing_lsn, was_durable: true } => {
                write!(f, "DETACHED: group {missing_lsn} before it is lost and was durable")
            }
            Self::Detached { missing_lsn, was_durable: false } => {
                write!(f, "detached: group {missing_lsn} before it is missing and was not durable")
            }
        }
    }
}

impl fmt::Display for LogRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(row) => row.fmt(f),
            Self::Gap(row) => row.fmt(f),
        }
    }
}

impl fmt::Display for GroupRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        write!(
            f,
            "shard {} segment {} offset {}: LSN {}, epoch {}, durable LSN {}, {} records, {} bytes",
            header.shard,
            header.segment,
            self.offset,
            header.lsn,
            header.epoch,
            header.durable_lsn,
            header.record_count,
            header.group_bytes
        )?;
        if let Some(next) = header.next_segment {
            write!(f, ", seal: goes on in segment {next}")?;
        }
        write!(f, ", {}", self.verdict)
    }
}

impl fmt::Display for GapRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, segment, offset, bytes, stale_groups, .. } = self;
        write!(f, "shard {shard} segment {segment} offset {offset}: {bytes} bytes ")?;
        if self.blank {
            return f.write_str("unused");
        }
        write!(f, "without a group: {}", self.reason)?;
        if *stale_groups > 0 {
            write!(f, "; {stale_groups} stale groups")?;
        }
        Ok(())
    }
}

impl fmt::Display for RecordItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(row) => row.fmt(f),
            Self::Unreadable { shard, segment, offset, lsn, reason } => write!(
                f,
                "shard {shard} segment {segment} offset {offset}: LSN {lsn}, UNREADABLE: {reason}"
            ),
            Self::Gap(row) => row.fmt(f),
        }
    }
}

impl fmt::Display for RecordRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shard {} segment {} offset {}: LSN {}, {:?}, bucket {}, key \"{}\", version {}",
            self.shard,
            self.segment,
            self.offset,
            self.lsn,
            self.kind,
            self.bucket.0,
            self.key.escape_ascii(),
            self.version
        )?;
        if matches!(self.kind, RecordKind::Object | RecordKind::Part) {
            write!(f, ", {} bytes, etag {}", self.size, Hex(&self.etag.md5))?;
            if self.etag.parts > 0 {
                write!(f, "-{}", self.etag.parts)?;
            }
        }
        if self.upload > 0 {
            let what = if self.kind == RecordKind::Tombstone { "of version" } else { "upload" };
            write!(f, ", {what} {}", self.upload)?;
        }
        if self.flags.versioned {
            f.write_str(", beside other versions")?;
        }
        write!(f, ", head {}, inline {}", self.head_bytes, self.data_bytes)?;
        write_sections(f, self)?;
        if !self.group.is_good() {
            write!(f, ", in a group that is {}", self.group)?;
        }
        write_problem(f, self.problem)
    }
}

fn write_sections(f: &mut fmt::Formatter<'_>, row: &RecordRow) -> fmt::Result {
    let sections = &row.sections;
    if !sections.attributes.is_empty() {
        write!(f, ", attributes {} bytes", sections.attributes.len())?;
    }
    if let Some(number) = sections.part_number {
        write!(f, ", part {number}")?;
    }
    if let Some(manifest) = &sections.manifest {
        write!(f, ", {} parts in {} extents", manifest.parts.len(), row.extent_count())?;
    }
    for Killed { location, version, .. } in &sections.killed {
        let (segment, offset) = (location.segment, location.offset());
        write!(f, ", kills version {version} in segment {segment} at {offset}")?;
    }
    if let Some(settings) = &sections.settings {
        write!(f, ", {} settings", settings.len())?;
    }
    Ok(())
}

impl fmt::Display for ObjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, shard, records, damaged_places, .. } = self;
        write!(f, "bucket {}, shard {shard}: ", bucket.0)?;
        match &self.last {
            None => f.write_str("the log does not know the key")?,
            Some(row) if row.kind == RecordKind::Tombstone && row.upload > 0 => {
                write!(f, "version {} was deleted last; ", row.upload)?;
                write!(f, "{records} records of the key")?;
            }
            Some(row) if matches!(row.kind, RecordKind::Tombstone | RecordKind::DeleteMarker) => {
                write!(f, "deleted; {records} records of the key")?;
            }
            Some(_) => write!(f, "present; {records} records of the key")?,
        }
        if *damaged_places > 0 {
            write!(f, "; {damaged_places} places of the shard's log are DAMAGED")?;
        }
        Ok(())
    }
}

impl fmt::Display for ChunkRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, index, segment, offset, payload_bytes, problem } = self;
        write!(f, "part {part} chunk {index}: segment {segment} offset {offset}, ")?;
        write!(f, "{payload_bytes} bytes")?;
        match problem {
            None => f.write_str(", good"),
            Some(_) => write_problem(f, problem.as_deref()),
        }
    }
}

fn write_problem(f: &mut fmt::Formatter<'_>, problem: Option<&str>) -> fmt::Result {
    problem.map_or(Ok(()), |problem| write!(f, ", DAMAGED: {problem}"))
}

/// Bytes in lower-case hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
