//! A slab segment as a backup keeps it: the units that count, without the space between them.
//!
//! ```text
//! block 0
//!    0  magic "RFPACKED"          8
//!    8  format version            u32
//!   12  shard, reserved           u16 u16
//!   16  store uuid                16
//!   32  segment number            u32
//!   36  units                     u32   that follow
//!   40  epoch                     u64   of the segment's use
//!   48  opened                    u64   nanoseconds since the Unix epoch
//!   56  segment bytes             u64
//!   64  map                       2048  a bit for each unit of the segment, the lowest first
//! 2112  reserved
//! 4088  CRC-64/NVME of bytes 0..4088
//! from block 1 on: the units of 64 KiB each, in the order of their numbers; behind the end of a chunk
//! zeroes
//! ```

use super::Malformed;
use super::codec::{Reader, set};
use crate::checksum::block_checksum;
use crate::limits::{FORMAT_VERSION, SEGMENT_BYTES_MAX, UNIT_BYTES};
use crate::platform::BLOCK_BYTES;

const MAGIC: &[u8; 8] = b"RFPACKED";
const MAP_AT: usize = 64;
const MAP_BYTES: usize = (SEGMENT_BYTES_MAX / UNIT_BYTES as u64 / 8) as usize;
const CHECKSUM_AT: usize = BLOCK_BYTES - 8;

const _: () = assert!(MAP_AT + MAP_BYTES <= CHECKSUM_AT);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedHeader {
    pub store_uuid: [u8; 16],
    pub shard: u16,
    pub segment: u32,
    pub epoch: u64,
    pub opened_ns: u64,
    pub segment_bytes: u64,
    /// The words of the map; those behind the last one are zero.
    pub map: Vec<u64>,
}

impl PackedHeader {
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_BYTES);
        assert!(self.map.len() * 8 <= MAP_BYTES);
        block.fill(0);
        set(block, 0, *MAGIC);
        set(block, 8, FORMAT_VERSION.to_le_bytes());
        set(block, 12, self.shard.to_le_bytes());
        set(block, 16, self.store_uuid);
        set(block, 32, self.segment.to_le_bytes());
        set(block, 36, self.units().to_le_bytes());
        set(block, 40, self.epoch.to_le_bytes());
        set(block, 48, self.opened_ns.to_le_bytes());
        set(block, 56, self.segment_bytes.to_le_bytes());
        for (word, at) in self.map.iter().zip((MAP_AT..).step_by(8)) {
            set(block, at, word.to_le_bytes());
        }
        let checksum = block_checksum(&block[..CHECKSUM_AT]);
        set(block, CHECKSUM_AT, checksum.to_le_bytes());
    }

    pub fn decode(block: &[u8]) -> Result<Self, Malformed> {
        let (body, checksum) = block.split_at_checked(CHECKSUM_AT).ok_or(Malformed("too short"))?;
        if !body.starts_with(MAGIC) {
            return Err(Malformed("it is no packed segment"));
        }
        if block_checksum(body).to_le_bytes() != checksum[..8.min(checksum.len())] {
            return Err(Malformed("its header's checksum does not match"));
        }
        let mut reader = Reader::new(&body[8..]);
        if reader.u32()? != FORMAT_VERSION {
            return Err(Malformed("it is of another format version"));
        }
        let shard = reader.u16()?;
        reader.u16()?;
        let store_uuid = reader.array()?;
        let (segment, units) = (reader.u32()?, reader.u32()?);
        let (epoch, opened_ns) = (reader.counter()?, reader.counter()?);
        let segment_bytes = reader.counter()?;
        let map =
            (0..MAP_BYTES / 8).map(|_| reader.u64()).collect::<Result<Vec<_>, Malformed>>()?;
        let header = Self { store_uuid, shard, segment, epoch, opened_ns, segment_bytes, map };
        let end = segment_bytes / UNIT_BYTES as u64;
        if header.units() != units || header.runs().any(|(first, run)| u64::from(first + run) > end)
        {
            return Err(Malformed("its map is impossible"));
        }
        Ok(header)
    }

    /// How many units follow.
    pub fn units(&self) -> u32 {
        self.map.iter().map(|word| word.count_ones()).sum()
    }

    /// Units that stand next to each other in the segment: the first, and how many.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        runs(&self.map)
    }
}

/// The runs of ones in a map: the first, and how many.
pub fn runs(map: &[u64]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let end = map.len() as u32 * 64;
    let is_set = |unit: u32| map[unit as usize / 64] >> (unit % 64) & 1 == 1;
    let mut unit = 0;
    std::iter::from_fn(move || {
        let first = (unit..end).find(|unit| is_set(*unit))?;
        unit = (first..end).find(|unit| !is_set(*unit)).unwrap_or(end);
        Some((first, unit - first))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sample() -> PackedHeader {
        PackedHeader {
            store_uuid: [7; 16],
            shard: 2,
            segment: 9,
            epoch: 3,
            opened_ns: 4,
            segment_bytes: SEGMENT_BYTES_MAX,
            map: vec![0b1110, u64::MAX, 1],
        }
    }

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit_does() {
        let mut block = vec![1; BLOCK_BYTES];
        sample().encode(&mut block);
        let decoded = PackedHeader::decode(&block).unwrap();
        assert_eq!(decoded.map[..3], sample().map);
        assert_eq!(decoded.runs().collect::<Vec<_>>(), [(1, 3), (64, 65)]);
        for bit in 0..BLOCK_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(PackedHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_map_beyond_the_segment_is_refused() {
        let mut block = vec![0; BLOCK_BYTES];
        PackedHeader { segment_bytes: 1 << 20, ..sample() }.encode(&mut block);
        assert!(PackedHeader::decode(&block).is_err());
    }
}
