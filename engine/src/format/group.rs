//! A group: the unit in which the log is written, made durable and replayed.
//!
//! ```text
//! at a multiple of 4096 bytes in a log segment
//!    0  magic "RFGR"              u32
//!    4  version, flags            u16 u16   flags: 1 seal (the log goes on in `next segment`)
//!    8  group bytes               u32       whole, a multiple of 4096
//!   12  content bytes             u32       records behind this header, padding between them included
//!   16  record count              u32
//!   20  segment number            u32
//!   24  epoch                     u64
//!   32  LSN                       u64       counts groups, without a gap within a stream
//!   40  durable LSN               u64       all groups up to it were durable when this was written
//!   48  chain before              u64       header checksum of the group before
//!   56  content checksum          u64       salted CRC-64/NVME of the content
//!   64  shard, stream             u16 u16
//!   68  next segment              u32       seal only
//!   72  written                   u64       nanoseconds since the Unix epoch
//!   80  reserved
//!  120  header checksum           u64       salted CRC-64/NVME of bytes 0..120
//!  128  records
//! ```
//!
//! The salt of both checksums is made of the store's uuid and the epoch, so that what an earlier
//! use of the segment, or another store, left behind never verifies.

use super::codec::{Reader, counter, set};
use super::segment::Stream;
use super::{Malformed, Salt};
use crate::checksum::salted;
use crate::limits::GROUP_BYTES_MAX;
use crate::platform::BLOCK_BYTES;

pub const GROUP_HEADER_BYTES: usize = 128;
const MAGIC: u32 = u32::from_le_bytes(*b"RFGR");
const VERSION: u16 = 1;
const FLAG_SEAL: u16 = 1;
const CHECKSUM_AT: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHeader {
    pub group_bytes: u32,
    pub content_bytes: u32,
    pub record_count: u32,
    pub segment: u32,
    pub epoch: u64,
    pub lsn: u64,
    pub durable_lsn: u64,
    pub chain_before: u64,
    pub content_checksum: u64,
    pub shard: u16,
    pub stream: Stream,
    /// The log goes on in this segment and no group follows in the present one.
    pub next_segment: Option<u32>,
    pub written_ns: u64,
}

/// Length on disk of a group with so much content.
pub fn group_bytes(content_bytes: usize) -> usize {
    (GROUP_HEADER_BYTES + content_bytes).next_multiple_of(BLOCK_BYTES)
}

impl GroupHeader {
    /// Completes a group whose content stands in `group` behind the header: checksums it, writes the
    /// header and zeroes the padding. Returns the header's checksum, the next group's `chain_before`.
    pub fn seal_group(&mut self, salt: Salt, group: &mut [u8]) -> u64 {
        assert_eq!(group.len(), self.group_bytes as usize);
        let end = GROUP_HEADER_BYTES + self.content_bytes as usize;
        group[end..].fill(0);
        let epoch_salt = salt.with(self.epoch);
        self.content_checksum = salted(epoch_salt, &[&group[GROUP_HEADER_BYTES..end]]);
        let header = &mut group[..GROUP_HEADER_BYTES];
        header.fill(0);
        set(header, 0, MAGIC.to_le_bytes());
        set(header, 4, VERSION.to_le_bytes());
        let flags = if self.next_segment.is_some() { FLAG_SEAL } else { 0 };
        set(header, 6, flags.to_le_bytes());
        set(header, 8, self.group_bytes.to_le_bytes());
        set(header, 12, self.content_bytes.to_le_bytes());
        set(header, 16, self.record_count.to_le_bytes());
        set(header, 20, self.segment.to_le_bytes());
        set(header, 24, self.epoch.to_le_bytes());
        set(header, 32, self.lsn.to_le_bytes());
        set(header, 40, self.durable_lsn.to_le_bytes());
        set(header, 48, self.chain_before.to_le_bytes());
        set(header, 56, self.content_checksum.to_le_bytes());
        set(header, 64, self.shard.to_le_bytes());
        set(header, 66, u16::from(self.stream.number()).to_le_bytes());
        set(header, 68, self.next_segment.unwrap_or(0).to_le_bytes());
        set(header, 72, self.written_ns.to_le_bytes());
        let checksum = salted(epoch_salt, &[&header[..CHECKSUM_AT]]);
        set(header, CHECKSUM_AT, checksum.to_le_bytes());
        checksum
    }

    /// Reads and verifies a header. Returns it with its checksum.
    pub fn decode(salt: Salt, bytes: &[u8]) -> Result<(Self, u64), Malformed> {
        let header = bytes.get(..GROUP_HEADER_BYTES).ok_or(Malformed("too short"))?;
        let mut reader = Reader::new(header);
        if reader.u32()? != MAGIC {
            return Err(Malformed("no group begins here"));
        }
        let (version, flags) = (reader.u16()?, reader.u16()?);
        let (group_bytes, content_bytes, record_count) =
            (reader.u32()?, reader.u32()?, reader.u32()?);
        let segment = reader.u32()?;
        let epoch = reader.u64()?;
        let (lsn, durable_lsn) = (reader.u64()?, reader.u64()?);
        let (chain_before, content_checksum) = (reader.u64()?, reader.u64()?);
        let (shard, stream) = (reader.u16()?, reader.u16()?);
        let next_segment = reader.u32()?;
        let written_ns = reader.u64()?;
        let checksum = salted(salt.with(epoch), &[&header[..CHECKSUM_AT]]);
        if checksum.to_le_bytes() != header[CHECKSUM_AT..] {
            return Err(Malformed("the group header's checksum does not match"));
        }
        if version != VERSION {
            return Err(Malformed("the group is of an unknown version"));
        }
        let this = Self {
            group_bytes,
            content_bytes,
            record_count,
            segment,
            epoch,
            lsn,
            durable_lsn,
            chain_before,
            content_checksum,
            shard,
            stream: Stream::of(u8::try_from(stream).unwrap_or(u8::MAX))?,
            next_segment: (flags & FLAG_SEAL != 0).then_some(next_segment),
            written_ns,
        };
        this.check()?;
        Ok((this, checksum))
    }

    fn check(&self) -> Result<(), Malformed> {
        counter(self.epoch)?;
        counter(self.lsn)?;
        let content = self.content_bytes as usize;
        if content > GROUP_BYTES_MAX || self.group_bytes as usize != group_bytes(content) {
            return Err(Malformed("the group's length is wrong"));
        }
        if self.durable_lsn >= self.lsn {
            return Err(Malformed("the group's durable LSN is not behind its own"));
        }
        Ok(())
    }

    /// Whether the content in `group` (header included) is what was written.
    pub fn content<'a>(&self, salt: Salt, group: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let content = group
            .get(GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + self.content_bytes as usize)
            .ok_or(Malformed("too short"))?;
        if salted(salt.with(self.epoch), &[content]) != self.content_checksum {
            return Err(Malformed("the group's content checksum does not match"));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COUNTER_END;

    fn sample(content: usize) -> (GroupHeader, Vec<u8>) {
        let header = GroupHeader {
            group_bytes: group_bytes(content) as u32,
            content_bytes: content as u32,
            record_count: 1,
            segment: 3,
            epoch: 4,
            lsn: 10,
            durable_lsn: 8,
            chain_before: 99,
            content_checksum: 0,
            shard: 1,
            stream: Stream::Relocation,
            next_segment: Some(9),
            written_ns: 5,
        };
        (header, vec![0x5A; group_bytes(content)])
    }

    #[test]
    fn a_group_survives_the_round_trip() {
        let salt = Salt::of_store(&[1; 16]);
        for content in [0, 1, 3968, 3969, 100_000] {
            let (mut header, mut bytes) = sample(content);
            let checksum = header.seal_group(salt, &mut bytes);
            assert_eq!(GroupHeader::decode(salt, &bytes), Ok((header.clone(), checksum)));
            assert_eq!(header.content(salt, &bytes).map(<[u8]>::len), Ok(content));
        }
    }

    #[test]
    fn flipped_bits_in_header_and_content_are_noticed() {
        let salt = Salt::of_store(&[1; 16]);
        let (mut header, mut bytes) = sample(500);
        header.seal_group(salt, &mut bytes);
        for bit in 0..(GROUP_HEADER_BYTES + 500) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verdict = GroupHeader::decode(salt, &bytes)
                .and_then(|(header, _)| header.content(salt, &bytes).map(drop));
            assert!(verdict.is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Found by fuzzing (target `store`): under a checksum that fits, the offline check added one to the
    /// greatest number there is.
    #[test]
    fn numbers_that_overflow_when_one_is_added_are_refused() {
        let salt = Salt::of_store(&[1; 16]);
        for (lsn, epoch) in [(u64::MAX, 4), (10, u64::MAX), (COUNTER_END, 4)] {
            let (mut header, mut bytes) = sample(500);
            (header.lsn, header.epoch) = (lsn, epoch);
            header.seal_group(salt, &mut bytes);
            let found = GroupHeader::decode(salt, &bytes);
            assert_eq!(found, Err(Malformed("a number is out of range")), "{lsn} {epoch}");
        }
    }

    #[test]
    fn another_store_s_group_does_not_verify() {
        let (mut header, mut bytes) = sample(10);
        header.seal_group(Salt::of_store(&[1; 16]), &mut bytes);
        assert!(GroupHeader::decode(Salt::of_store(&[2; 16]), &bytes).is_err());
    }
}
