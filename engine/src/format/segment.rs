//! The header of a segment: whose it is, and what it is used for in its present epoch.
//!
//! ```text
//! block 0 of a segment file (4096 bytes)
//!    0  magic "RFSEGMNT"          8
//!    8  format version            u32
//!   12  kind                      u8    1 log, 2 slab, 3 free
//!   13  stream                    u8    log: 0 foreground, 1 relocation; else 0
//!   14  reserved                  2
//!   16  store uuid                16
//!   32  shard                     u16, reserved 6
//!   40  segment number            u32, reserved 4
//!   48  epoch                     u64   of this use; never used before in this shard
//!   56  segment bytes             u64
//!   64  first LSN                 u64   log: of the first group; slab: 0
//!   72  chain before              u64   log: checksum of the group before the first; slab: 0
//!   80  opened                    u64   the version at which this use began: what names it is newer
//!   88  reserved
//!  504  CRC-64/NVME of bytes 0..504
//!  512  zeroes
//! ```

use super::codec::{Reader, set};
use super::sector;
use crate::limits::FORMAT_VERSION;
use crate::platform::BLOCK_BYTES;

const MAGIC: &[u8; 8] = b"RFSEGMNT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    Log,
    Slab,
    /// What it held as a log is gone for good.
    Free,
}

/// Which of a shard's two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stream {
    /// What requests write.
    #[default]
    Foreground,
    /// What compaction moves.
    Relocation,
}

impl Stream {
    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn of(number: u8) -> Result<Self, super::Malformed> {
        match number {
            0 => Ok(Self::Foreground),
            1 => Ok(Self::Relocation),
            _ => Err(super::Malformed("its stream is unknown")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    pub kind: SegmentKind,
    pub stream: Stream,
    pub store_uuid: [u8; 16],
    pub shard: u16,
    pub segment: u32,
    pub epoch: u64,
    pub segment_bytes: u64,
    pub first_lsn: u64,
    pub chain_before: u64,
    /// Nanoseconds since the Unix epoch by the shard's hybrid clock.
    pub opened_ns: u64,
}

/// What the first block of a segment file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    Valid(SegmentHeader),
    /// All zeroes: preallocated, never used.
    Blank,
    /// Damaged, or of another kind of file.
    Damaged(&'static str),
}

impl SegmentHeader {
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_BYTES);
        block.fill(0);
        set(block, 0, *MAGIC);
        set(block, 8, FORMAT_VERSION.to_le_bytes());
        block[12] = match self.kind {
            SegmentKind::Log => 1,
            SegmentKind::Slab => 2,
            SegmentKind::Free => 3,
        };
        block[13] = self.stream.number();
        set(block, 16, self.store_uuid);
        set(block, 32, self.shard.to_le_bytes());
        set(block, 40, self.segment.to_le_bytes());
        set(block, 48, self.epoch.to_le_bytes());
        set(block, 56, self.segment_bytes.to_le_bytes());
        set(block, 64, self.first_lsn.to_le_bytes());
        set(block, 72, self.chain_before.to_le_bytes());
        set(block, 80, self.opened_ns.to_le_bytes());
        sector::seal(block);
    }

    pub fn decode(block: &[u8]) -> Header {
        let fields = match sector::open(block, MAGIC) {
            Ok(None) => return Header::Blank,
            Ok(Some(fields)) => Self::fields(Reader::new(fields)),
            Err(malformed) => Err(malformed),
        };
        match fields {
            Ok(header) => Header::Valid(header),
            Err(malformed) => Header::Damaged(malformed.0),
        }
    }

    fn fields(mut reader: Reader<'_>) -> Result<Self, super::Malformed> {
        if reader.u32()? != FORMAT_VERSION {
            return Err(super::Malformed("it is of another format version"));
        }
        let kind = match reader.u8()? {
            1 => SegmentKind::Log,
            2 => SegmentKind::Slab,
            3 => SegmentKind::Free,
            _ => return Err(super::Malformed("its kind is unknown")),
        };
        let stream = Stream::of(reader.u8()?)?;
        reader.take(2)?;
        let store_uuid = reader.array()?;
        let shard = reader.u16()?;
        reader.take(6)?;
        let segment = reader.u32()?;
        reader.take(4)?;
        Ok(Self {
            kind,
            stream,
            store_uuid,
            shard,
            segment,
            epoch: reader.counter()?,
            segment_bytes: reader.counter()?,
            first_lsn: reader.counter()?,
            chain_before: reader.u64()?,
            opened_ns: reader.counter()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit_does() {
        let header = SegmentHeader {
            kind: SegmentKind::Slab,
            stream: Stream::Relocation,
            store_uuid: [7; 16],
            shard: 5,
            segment: 77,
            epoch: 12,
            segment_bytes: 8 << 20,
            first_lsn: 0,
            chain_before: 0,
            opened_ns: 1,
        };
        let mut block = vec![1; BLOCK_BYTES];
        header.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Header::Valid(header));
        for bit in 0..BLOCK_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&block), Header::Damaged(_)), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn zeroes_are_blank() {
        assert_eq!(SegmentHeader::decode(&[0; BLOCK_BYTES]), Header::Blank);
    }
}
