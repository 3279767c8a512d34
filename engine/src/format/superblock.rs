//! The superblock: what a data directory is, fixed when it was formatted.
//!
//! ```text
//! file `superblock`: four copies of 4096 bytes
//!    0  magic "RINGFORT"          8
//!    8  format version            u32
//!   12  reserved                  u32
//!   16  sequence                  u64   the highest valid copy counts
//!   24  store uuid                16
//!   40  drive index, drive count  u16 u16
//!   44  shard count               u16
//!   46  reserved                  u16
//!   48  segment bytes             u64
//!   56  capacity bytes            u64   what this directory may use
//!   64  created                   u64   nanoseconds since the Unix epoch
//!   72  history                   u64   random, another one after each restore
//!   80  reserved
//! 4088  CRC-64/NVME of bytes 0..4088
//! ```

use super::codec::{Reader, set};
use crate::checksum::block_checksum;
use crate::limits::{DRIVES_MAX, FORMAT_VERSION, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX};
use crate::platform::BLOCK_BYTES;

pub const COPIES: usize = 4;
const MAGIC: &[u8; 8] = b"RINGFORT";
const CHECKSUM_AT: usize = BLOCK_BYTES - 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    pub sequence: u64,
    pub store_uuid: [u8; 16],
    pub drive_index: u16,
    pub drive_count: u16,
    pub shard_count: u16,
    pub segment_bytes: u64,
    pub capacity_bytes: u64,
    pub created_ns: u64,
    /// Random; another one after each restore. What two histories of a store call by the same name is
    /// not the same.
    pub history: u64,
}

/// What one copy turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copy {
    Valid(Superblock),
    /// Ours, but of a version that this build does not know.
    OtherVersion(u32),
    /// Ours by its magic, but its checksum or a field is wrong.
    Damaged(&'static str),
    /// Not a superblock at all.
    Foreign,
}

impl Superblock {
    /// Fills one block with a copy.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_BYTES);
        block.fill(0);
        set(block, 0, *MAGIC);
        set(block, 8, FORMAT_VERSION.to_le_bytes());
        set(block, 16, self.sequence.to_le_bytes());
        set(block, 24, self.store_uuid);
        set(block, 40, self.drive_index.to_le_bytes());
        set(block, 42, self.drive_count.to_le_bytes());
        set(block, 44, self.shard_count.to_le_bytes());
        set(block, 48, self.segment_bytes.to_le_bytes());
        set(block, 56, self.capacity_bytes.to_le_bytes());
        set(block, 64, self.created_ns.to_le_bytes());
        set(block, 72, self.history.to_le_bytes());
        let checksum = block_checksum(&block[..CHECKSUM_AT]);
        set(block, CHECKSUM_AT, checksum.to_le_bytes());
    }

    /// Judges one copy. The version is looked at before the checksum, because a later version may
    /// well place its checksum elsewhere.
    pub fn decode(block: &[u8]) -> Copy {
        let Some((body, checksum)) = block.split_at_checked(CHECKSUM_AT) else {
            return Copy::Foreign;
        };
        if !body.starts_with(MAGIC) {
            return Copy::Foreign;
        }
        let mut reader = Reader::new(&body[8..]);
        match reader.u32() {
            Ok(FORMAT_VERSION) => {}
            Ok(other) => return Copy::OtherVersion(other),
            Err(_) => return Copy::Foreign,
        }
        if block_checksum(body).to_le_bytes() != *checksum {
            return Copy::Damaged("its checksum does not match");
        }
        match Self::fields(reader) {
            Ok(superblock) => Copy::Valid(superblock),
            Err(reason) => Copy::Damaged(reason),
        }
    }

    fn fields(mut reader: Reader<'_>) -> Result<Self, &'static str> {
        let mut read = || -> Result<Self, super::Malformed> {
            reader.u32()?;
            let sequence = reader.counter()?;
            let store_uuid = reader.array()?;
            let (drive_index, drive_count) = (reader.u16()?, reader.u16()?);
            let shard_count = reader.u16()?;
            reader.u16()?;
            Ok(Self {
                sequence,
                store_uuid,
                drive_index,
                drive_count,
                shard_count,
                segment_bytes: reader.u64()?,
                capacity_bytes: reader.counter()?,
                created_ns: reader.u64()?,
                history: reader.u64()?,
            })
        };
        let this = read().map_err(|malformed| malformed.0)?;
        this.check()?;
        Ok(this)
    }

    /// The rules that every superblock keeps.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.drive_count == 0 || self.drive_count > DRIVES_MAX {
            return Err("the number of drives is out of range");
        }
        if self.drive_index >= self.drive_count {
            return Err("the drive's index is out of range");
        }
        if self.shard_count == 0
            || self.shard_count > SHARDS_MAX
            || !self.shard_count.is_multiple_of(self.drive_count)
        {
            return Err("the number of shards is out of range or no multiple of the drives");
        }
        if !self.segment_bytes.is_power_of_two()
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
        {
            return Err("the segment size is no power of two within its bounds");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        Superblock {
            sequence: 3,
            store_uuid: *b"0123456789abcdef",
            drive_index: 1,
            drive_count: 2,
            shard_count: 8,
            segment_bytes: 64 << 20,
            capacity_bytes: 1 << 40,
            created_ns: 1_763_640_000_000_000_000,
            history: 0x0123_4567_89ab_cdef,
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut block = vec![0xAA; BLOCK_BYTES];
        sample().encode(&mut block);
        assert_eq!(Superblock::decode(&block), Copy::Valid(sample()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut block = vec![0; BLOCK_BYTES];
        sample().encode(&mut block);
        for bit in 0..BLOCK_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Superblock::decode(&block), Copy::Valid(_)), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_later_version_is_told_apart_from_damage() {
        let mut block = vec![0; BLOCK_BYTES];
        sample().encode(&mut block);
        block[8] = 9;
        assert_eq!(Superblock::decode(&block), Copy::OtherVersion(9));
    }

    #[test]
    fn foreign_and_short_bytes_are_foreign() {
        assert_eq!(Superblock::decode(&[0; BLOCK_BYTES]), Copy::Foreign);
        assert_eq!(Superblock::decode(b"RINGFORT"), Copy::Foreign);
    }
}
