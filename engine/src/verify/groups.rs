//! The groups of one log segment as they lie there, and the gaps between them.
//!
//! Unlike `scan` it goes on where a block cannot be read, and gives the chain's checksums.
//!
//! Invariants: only groups of the segment's present use are given, by epoch and LSN; behind a seal
//! nothing is looked for; every block up to the end belongs to a group or a gap that was given.

use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::segment::Stream;
use crate::format::{Malformed, Salt};
use crate::inspect::bytes::SegmentBytes;
use crate::platform::{BLOCK_BYTES, Platform};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Which groups to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSegment {
    pub(super) shard: u16,
    pub(super) segment: u32,
    pub(super) stream: Stream,
    /// Of the segment's present use.
    pub(super) epoch: u64,
    /// Where to stop.
    pub(super) end: u64,
}

#[derive(Debug)]
pub(super) struct Groups<P: Platform> {
    pub(super) bytes: SegmentBytes<P>,
    salt: Salt,
    of: LogSegment,
    offset: u64,
    lsn: Option<u64>,
    /// A header that was found behind a gap.
    found: Option<(GroupHeader, u64)>,
}

pub(super) enum Piece<'a> {
    Group(FoundGroup<'a>),
    /// No group can be read here.
    Gap(Gap),
}

pub(super) struct FoundGroup<'a> {
    pub(super) offset: u64,
    pub(super) header: GroupHeader,
    /// Of the header.
    pub(super) checksum: u64,
    /// The whole group.
    pub(super) bytes: &'a [u8],
    pub(super) content: Result<(), Malformed>,
}

#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    /// What is wrong with its first block.
    pub(super) reason: String,
    /// No group follows.
    pub(super) is_last: bool,
}

impl<P: Platform> Groups<P> {
    pub(super) fn new(bytes: SegmentBytes<P>, salt: Salt, of: LogSegment) -> Self {
        let of = LogSegment { end: of.end.min(bytes.end()), ..of };
        Self { bytes, salt, of, offset: BLOCK, lsn: None, found: None }
    }

    /// The next group or gap; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Piece<'_>> {
        let (from, mut reason) = (self.offset, None);
        let mut found = self.found.take();
        while found.is_none() && self.offset + BLOCK <= self.of.end {
            match self.header_here().await {
                Ok(header) => found = Some(header),
                Err(malformed) => {
                    reason.get_or_insert(malformed);
                    self.offset += BLOCK;
                }
            }
        }
        if let Some(reason) = reason {
            let is_last = found.is_none();
            self.found = found;
            return Some(Piece::Gap(Gap { from, to: self.offset, reason, is_last }));
        }
        let (header, checksum) = found?;
        let offset = self.offset;
        self.offset += u64::from(header.group_bytes);
        self.of.epoch = header.epoch;
        self.lsn = Some(header.lsn);
        if header.next_segment.is_some() {
            self.of.end = self.offset;
        }
        match self.bytes.at(offset, header.group_bytes as usize).await {
            Ok(bytes) => {
                let content = header.content(self.salt, bytes).map(drop);
                Some(Piece::Group(FoundGroup { offset, header, checksum, bytes, content }))
            }
            Err(reason) => {
                Some(Piece::Gap(Gap { from: offset, to: self.offset, reason, is_last: false }))
            }
        }
    }

    async fn header_here(&mut self) -> Result<(GroupHeader, u64), String> {
        let bytes = self.bytes.at(self.offset, GROUP_HEADER_BYTES).await?;
        let decoded = GroupHeader::decode(self.salt, bytes);
        let (header, checksum) = decoded.map_err(|malformed| malformed.0.to_owned())?;
        let here = (self.of.shard, self.of.stream, self.of.segment);
        let is_ours = (header.shard, header.stream, header.segment) == here
            && header.epoch >= self.of.epoch
            && self.lsn.is_none_or(|lsn| header.lsn > lsn)
            && self.offset + u64::from(header.group_bytes) <= self.of.end;
        if is_ours { Ok((header, checksum)) } else { Err("the group is another's".into()) }
    }
}
