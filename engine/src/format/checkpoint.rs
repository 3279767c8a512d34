//! The checkpoint of a shard: what its logs up to a position amount to.
//!
//! ```text
//! files checkpoint-0.ckp, -1.ckp and -2.ckp of a shard, written in turn
//! block 0
//!    0  magic "RFCHECKP"          8
//!    8  format version            u32
//!   12  shard, reserved           u16 u16
//!   16  store uuid                16
//!   32  sequence                  u64   counts checkpoints of the shard, from 1
//!   40  created                   u64   nanoseconds since the Unix epoch
//!   48  body bytes                u64   the frames, padding included
//!   56  leaf frames, frames       u32 u32
//!   64  entries                   u64   of the index
//!   72  highest epoch             u64
//!   80  highest version           u64
//!   88  bytes of leaf frames      u64
//!   96  positions                 2 x 40   foreground, relocation; segment u32, reserved u32, offset
//!                                          u64, epoch u64, next LSN u64, chain u64; next LSN 0: none
//!  176  reserved
//!  504  CRC-64/NVME of bytes 0..504
//!  512  zeroes
//! from block 1 on: frames, each at a multiple of 4096 bytes and padded to one; frames of leaves come
//! first, and all but the last of them are padded to 1 MiB
//!    0  magic "RFCF"              u32
//!    4  kind, shard               u16 u16   1 leaves, 2 segments, 3 catalogue, 4 displaced records
//!    8  index, items              u32 u32   of the frame within the file; in the frame
//!   16  content bytes             u32, reserved u32
//!   24  sequence                  u64
//!   32  reserved                  8
//!   40  checksum                  u64   CRC-64/NVME of bytes 0..40 and of the content, salted with the
//!                                       sequence and the store's uuid
//!   48  content
//! ```
//!
//! A slot is blank while its frames are written: a header says that all behind it is durable.
//!
//! Leaves are the index's own images, each behind its length (u16), in no order. The other contents
//! are encoded here and in `catalog`.

use super::codec::{Reader, Write, set};
use super::segment::Stream;
use super::{Malformed, Salt, sector};
use crate::checksum::salted;
use crate::format::record::Location;
use crate::limits::{FORMAT_VERSION, RECORD_HEAD_BYTES_MAX};
use crate::platform::BLOCK_BYTES;

const MAGIC: &[u8; 8] = b"RFCHECKP";
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"RFCF");
const POSITIONS_AT: usize = 96;
const POSITION_BYTES: usize = 40;

/// Slots are written in turn; the two newest are kept.
pub const SLOTS: u64 = 3;
/// Longest frame of leaves, header and padding included.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
pub const FRAME_HEADER_BYTES: usize = 48;
pub const FRAME_CONTENT_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
/// One item of the others may be longer: a bucket's settings come from one record.
const ITEM_BYTES_MAX: usize = 2 * RECORD_HEAD_BYTES_MAX;
const FRAME_CHECKSUM_AT: usize = 40;

/// Where a log goes on behind everything up to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPosition {
    pub segment: u32,
    pub offset: u64,
    /// Of the last group; the next one's is not lower.
    pub epoch: u64,
    pub next_lsn: u64,
    /// Header checksum of the last group.
    pub chain: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointHeader {
    pub shard: u16,
    pub store_uuid: [u8; 16],
    pub sequence: u64,
    pub created_ns: u64,
    pub body_bytes: u64,
    pub leaf_frames: u32,
    pub frames: u32,
    pub entries: u64,
    pub epoch: u64,
    pub version: u64,
    pub leaf_bytes: u64,
    pub foreground: LogPosition,
    pub relocation: Option<LogPosition>,
}

impl CheckpointHeader {
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_BYTES);
        block.fill(0);
        set(block, 0, *MAGIC);
        set(block, 8, FORMAT_VERSION.to_le_bytes());
        set(block, 12, self.shard.to_le_bytes());
        set(block, 16, self.store_uuid);
        set(block, 32, self.sequence.to_le_bytes());
        set(block, 40, self.created_ns.to_le_bytes());
        set(block, 48, self.body_bytes.to_le_bytes());
        set(block, 56, self.leaf_frames.to_le_bytes());
        set(block, 60, self.frames.to_le_bytes());
        set(block, 64, self.entries.to_le_bytes());
        set(block, 72, self.epoch.to_le_bytes());
        set(block, 80, self.version.to_le_bytes());
        set(block, 88, self.leaf_bytes.to_le_bytes());
        let positions = [self.foreground, self.relocation.unwrap_or_default()];
        for (place, position) in
            block[POSITIONS_AT..].chunks_exact_mut(POSITION_BYTES).zip(positions)
        {
            set(place, 0, position.segment.to_le_bytes());
            set(place, 8, position.offset.to_le_bytes());
            set(place, 16, position.epoch.to_le_bytes());
            set(place, 24, position.next_lsn.to_le_bytes());
            set(place, 32, position.chain.to_le_bytes());
        }
        sector::seal(block);
    }

    /// Where the next frame belongs, which is counted.
    pub fn next_frame(&mut self) -> FrameId {
        let index = self.frames;
        self.frames += 1;
        FrameId { shard: self.shard, sequence: self.sequence, index }
    }

    /// `Ok(None)`: the block is blank, the slot was not written to its end.
    pub fn decode(block: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(fields) = sector::open(block, MAGIC)? else { return Ok(None) };
        let mut reader = Reader::new(fields);
        if reader.u32()? != FORMAT_VERSION {
            return Err(Malformed("it is of another format version"));
        }
        let shard = reader.u16()?;
        reader.u16()?;
        let header = Self {
            shard,
            store_uuid: reader.array()?,
            sequence: reader.counter()?,
            created_ns: reader.u64()?,
            body_bytes: reader.counter()?,
            leaf_frames: reader.u32()?,
            frames: reader.u32()?,
            entries: reader.counter()?,
            epoch: reader.counter()?,
            version: reader.counter()?,
            leaf_bytes: reader.counter()?,
            foreground: position(&mut reader)?.ok_or(Malformed("it has no position"))?,
            relocation: position(&mut reader)?,
        };
        if header.leaf_frames > header.frames || header.leaf_bytes > header.body_bytes {
            return Err(Malformed("its frames contradict each other"));
        }
        Ok(Some(header))
    }
}

fn position(reader: &mut Reader<'_>) -> Result<Option<LogPosition>, Malformed> {
    let segment = reader.u32()?;
    reader.u32()?;
    let position = LogPosition {
        segment,
        offset: reader.counter()?,
        epoch: reader.counter()?,
        next_lsn: reader.counter()?,
        chain: reader.u64()?,
    };
    Ok((position.next_lsn > 0).then_some(position))
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Leaves,
    Segments,
    Catalog,
    Displaced,
}

impl FrameKind {
    fn number(self) -> u16 {
        match self {
            Self::Leaves => 1,
            Self::Segments => 2,
            Self::Catalog => 3,
            Self::Displaced => 4,
        }
    }

    fn of(number: u16) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::Leaves),
            2 => Ok(Self::Segments),
            3 => Ok(Self::Catalog),
            4 => Ok(Self::Displaced),
            _ => Err(Malformed("a frame of the checkpoint is of an unknown kind")),
        }
    }
}

/// Where a frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameId {
    pub shard: u16,
    /// Of its checkpoint.
    pub sequence: u64,
    /// Within the checkpoint.
    pub index: u32,
}

/// Completes a frame whose content stands in `frame` behind the header: `content_bytes` of it.
pub fn seal_frame(
    salt: Salt,
    id: FrameId,
    kind: FrameKind,
    items: u32,
    content_bytes: usize,
    frame: &mut [u8],
) {
    let end = FRAME_HEADER_BYTES + content_bytes;
    frame[end..].fill(0);
    frame[..FRAME_HEADER_BYTES].fill(0);
    set(frame, 0, FRAME_MAGIC.to_le_bytes());
    set(frame, 4, kind.number().to_le_bytes());
    set(frame, 6, id.shard.to_le_bytes());
    set(frame, 8, id.index.to_le_bytes());
    set(frame, 12, items.to_le_bytes());
    set(frame, 16, (content_bytes as u32).to_le_bytes());
    set(frame, 24, id.sequence.to_le_bytes());
    let pieces = [&frame[..FRAME_CHECKSUM_AT], &frame[FRAME_HEADER_BYTES..end]];
    let checksum = salted(salt.with(id.sequence), &pieces);
    set(frame, FRAME_CHECKSUM_AT, checksum.to_le_bytes());
}

/// A frame that was read.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub items: u32,
    pub content: &'a [u8],
}

/// The length on disk of a frame with so much content.
pub fn frame_bytes(content_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + content_bytes).next_multiple_of(BLOCK_BYTES)
}

/// The length on disk of the frame that begins here.
pub fn peek_frame_bytes(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader::new(bytes.get(16..).ok_or(Malformed("too short"))?);
    let content_bytes = reader.u32()? as usize;
    if content_bytes > ITEM_BYTES_MAX {
        return Err(Malformed("a frame of the checkpoint has an impossible length"));
    }
    Ok(frame_bytes(content_bytes))
}

impl<'a> Frame<'a> {
    /// Reads and verifies the frame at the start of `bytes`.
    pub fn decode(salt: Salt, id: FrameId, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let length = peek_frame_bytes(bytes)?;
        let header = bytes.get(..FRAME_HEADER_BYTES).ok_or(Malformed("too short"))?;
        let mut reader = Reader::new(header);
        let magic = reader.u32()?;
        let (kind, shard) = (reader.u16()?, reader.u16()?);
        let (index, items) = (reader.u32()?, reader.u32()?);
        let content_bytes = reader.u32()? as usize;
        reader.u32()?;
        let found = FrameId { shard, sequence: reader.u64()?, index };
        if magic != FRAME_MAGIC || bytes.len() < length {
            return Err(Malformed("no frame of the checkpoint begins here"));
        }
        let content = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + content_bytes];
        let checksum = salted(salt.with(id.sequence), &[&header[..FRAME_CHECKSUM_AT], content]);
        if checksum.to_le_bytes() != header[FRAME_CHECKSUM_AT..] || found != id {
            return Err(Malformed("a frame of the checkpoint does not verify"));
        }
        Ok(Self { kind: FrameKind::of(kind)?, items, content })
    }
}

/// A segment as a checkpoint knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    pub epoch: u64,
    /// The version at which its present use began.
    pub opened: u64,
    pub filled: bool,
    pub content_stamp: u64,
    /// Log: of all records, alive or not, and the same with the gaps between them.
    pub record_bytes: u64,
    pub placed_bytes: u64,
    pub used: RowUse,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowUse {
    /// Free, or about to be something else.
    Free,
    Log {
        stream: Stream,
        end_lsn: Option<u64>,
    },
    /// One bit for each unit that a published record names.
    Slab(Vec<u64>),
}

impl SegmentRow {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, stream) = match &self.used {
            RowUse::Free => (3, 0),
            RowUse::Log { stream, .. } => (1, stream.number()),
            RowUse::Slab(_) => (2, 0),
        };
        out.put_u8(kind);
        out.put_u8(stream);
        out.put_u8(u8::from(self.filled));
        out.put_u8(0);
        out.put_u64(self.epoch);
        out.put_u64(self.opened);
        out.put_u64(self.content_stamp);
        out.put_u64(self.record_bytes);
        out.put_u64(self.placed_bytes);
        match &self.used {
            RowUse::Free => {}
            RowUse::Log { end_lsn, .. } => out.put_u64(end_lsn.unwrap_or(0)),
            RowUse::Slab(words) => {
                out.put_u32(words.len() as u32);
                words.iter().for_each(|word| out.put_u64(*word));
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (kind, stream) = (reader.u8()?, reader.u8()?);
        let filled = reader.u8()? != 0;
        reader.u8()?;
        let (epoch, opened) = (reader.counter()?, reader.counter()?);
        let (content_stamp, record_bytes) = (reader.counter()?, reader.counter()?);
        let placed_bytes = reader.counter()?;
        let used = match kind {
            1 => RowUse::Log {
                stream: Stream::of(stream)?,
                end_lsn: Some(reader.counter()?).filter(|lsn| *lsn > 0),
            },
            2 => {
                let count = reader.u32()?;
                let words = (0..count).map(|_| reader.u64()).collect::<Result<_, _>>()?;
                RowUse::Slab(words)
            }
            3 => RowUse::Free,
            _ => return Err(Malformed("a segment of the checkpoint is of an unknown kind")),
        };
        Ok(Self { epoch, opened, filled, content_stamp, record_bytes, placed_bytes, used })
    }
}

/// A record that the index no longer points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Displaced {
    pub location: Location,
    pub version: u64,
}

/// Records that the index no longer points to and whose extents are still to be freed, but for those
/// of the parts with these tags: another record took them over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisplacedRow {
    pub kept: Vec<u64>,
    pub gone: Vec<Displaced>,
}

impl DisplacedRow {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.kept.len() as u32);
        self.kept.iter().for_each(|tag| out.put_u64(*tag));
        out.put_u32(self.gone.len() as u32);
        for Displaced { location, version } in &self.gone {
            out.put_u32(location.segment);
            out.put_u32(location.offset_units);
            out.put_u32(location.span_bytes);
            out.put_u64(*version);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kept = reader.u32()?;
        let kept = (0..kept).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        let gone = reader.u32()?;
        let displaced = |_| {
            let location = Location {
                segment: reader.u32()?,
                offset_units: reader.u32()?,
                span_bytes: reader.u32()?,
            };
            Ok(Displaced { location, version: reader.counter()? })
        };
        Ok(Self { kept, gone: (0..gone).map(displaced).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header() -> CheckpointHeader {
        let position =
            LogPosition { segment: 3, offset: 8192, epoch: 4, next_lsn: 9, chain: 0xABCD };
        CheckpointHeader {
            shard: 2,
            store_uuid: [7; 16],
            sequence: 5,
            created_ns: 6,
            body_bytes: 1 << 20,
            leaf_frames: 1,
            frames: 3,
            entries: 77,
            epoch: 8,
            version: 99,
            leaf_bytes: 4096,
            foreground: position,
            relocation: None,
        }
    }

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit_does() {
        let mut block = vec![1; BLOCK_BYTES];
        for relocation in [None, Some(header().foreground)] {
            let header = CheckpointHeader { relocation, ..header() };
            header.encode(&mut block);
            assert_eq!(CheckpointHeader::decode(&block), Ok(Some(header)));
        }
        for bit in 0..BLOCK_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(CheckpointHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(CheckpointHeader::decode(&[0; BLOCK_BYTES]), Ok(None));
    }

    #[test]
    fn numbers_that_overflow_when_one_is_added_are_refused() {
        let change: [fn(&mut CheckpointHeader); 5] = [
            |header| header.sequence = u64::MAX,
            |header| (header.body_bytes, header.leaf_bytes) = (u64::MAX, u64::MAX),
            |header| header.epoch = u64::MAX,
            |header| header.foreground.offset = u64::MAX,
            |header| header.foreground.next_lsn = u64::MAX,
        ];
        for change in change {
            let (mut header, mut block) = (header(), vec![0; BLOCK_BYTES]);
            change(&mut header);
            header.encode(&mut block);
            let found = CheckpointHeader::decode(&block);
            assert_eq!(found, Err(Malformed("a number is out of range")), "{header:?}");
        }
    }

    #[test]
    fn a_frame_survives_the_round_trip_and_no_flipped_bit_does() {
        let salt = Salt::of_store(&[1; 16]);
        let mut frame = vec![0x5A; BLOCK_BYTES];
        let id = FrameId { shard: 1, sequence: 5, index: 2 };
        seal_frame(salt, id, FrameKind::Segments, 10, 300, &mut frame);
        let decoded = Frame::decode(salt, id, &frame).unwrap();
        assert_eq!((decoded.kind, decoded.items), (FrameKind::Segments, 10));
        assert_eq!(decoded.content, [0x5A; 300]);
        for other in
            [FrameId { shard: 2, ..id }, FrameId { sequence: 6, ..id }, FrameId { index: 3, ..id }]
        {
            assert!(Frame::decode(salt, other, &frame).is_err(), "{other:?}");
        }
        for bit in 0..(FRAME_HEADER_BYTES + 300) * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(salt, id, &frame).is_err(), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn rows_survive_the_round_trip() {
        let uses = [
            RowUse::Free,
            RowUse::Log { stream: Stream::Relocation, end_lsn: Some(12) },
            RowUse::Log { stream: Stream::Foreground, end_lsn: None },
            RowUse::Slab(vec![1, 2, u64::MAX]),
        ];
        for used in uses {
            let row = SegmentRow {
                epoch: 3,
                opened: 6,
                filled: true,
                content_stamp: 4,
                record_bytes: 5,
                placed_bytes: 6,
                used,
            };
            let mut bytes = Vec::new();
            row.encode(&mut bytes);
            assert_eq!(SegmentRow::decode(&mut Reader::new(&bytes)), Ok(row));
        }
        let row = DisplacedRow {
            kept: vec![1, 2],
            gone: vec![Displaced {
                location: Location { segment: 1, offset_units: 2, span_bytes: 3 },
                version: 4,
            }],
        };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        assert_eq!(DisplacedRow::decode(&mut Reader::new(&bytes)), Ok(row));
        assert!(DisplacedRow::decode(&mut Reader::new(&bytes[..bytes.len() - 1])).is_err());
    }
}
