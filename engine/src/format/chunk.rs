//! A chunk: a piece of a large body in a slab segment, led by the checksums of its blocks.
//!
//! ```text
//! at a multiple of 65536 bytes in a slab segment
//!    0  magic "RFCH"              u32
//!    4  version                   u16, reserved 2
//!    8  payload bytes             u32
//!   12  index within the part     u32
//!   16  tag of the part           u64
//!   24  reserved                  8
//!   32  block checksums           u64 each: CRC-64/NVME of each 4096 bytes of payload, the last
//!                                 block as long as the payload
//! 4088  header checksum           u64, salted with the tag, of bytes 0..4088
//! 4096  payload, padded with zeroes to 4096
//! ```

use super::codec::{Reader, set};
use super::manifest::ChunkPlace;
use super::{Malformed, Salt};
use crate::checksum::{block_checksum, salted};
use crate::limits::{CHUNK_HEADER_BYTES, CHUNK_PAYLOAD_MAX};
use crate::platform::BLOCK_BYTES;

const MAGIC: u32 = u32::from_le_bytes(*b"RFCH");
const VERSION: u16 = 1;
const CHECKSUMS_AT: usize = 32;
const CHECKSUM_AT: usize = CHUNK_HEADER_BYTES - 8;

/// A verified chunk header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHeader {
    pub payload_bytes: usize,
    checksums: Vec<u64>,
}

/// Bytes on disk of a chunk with so much payload.
pub fn chunk_bytes(payload_bytes: usize) -> usize {
    CHUNK_HEADER_BYTES + payload_bytes.next_multiple_of(BLOCK_BYTES)
}

/// Writes the header of a chunk whose payload stands behind it, and zeroes the padding. The slice is
/// as long as [`chunk_bytes`] says.
pub fn seal_chunk(salt: Salt, tag: u64, index: u32, payload_bytes: usize, chunk: &mut [u8]) {
    assert_eq!(chunk.len(), chunk_bytes(payload_bytes));
    assert!(payload_bytes <= CHUNK_PAYLOAD_MAX);
    let (header, payload) = chunk.split_at_mut(CHUNK_HEADER_BYTES);
    payload[payload_bytes..].fill(0);
    header.fill(0);
    set(header, 0, MAGIC.to_le_bytes());
    set(header, 4, VERSION.to_le_bytes());
    set(header, 8, (payload_bytes as u32).to_le_bytes());
    set(header, 12, index.to_le_bytes());
    set(header, 16, tag.to_le_bytes());
    for (block, at) in payload[..payload_bytes].chunks(BLOCK_BYTES).zip((CHECKSUMS_AT..).step_by(8))
    {
        set(header, at, block_checksum(block).to_le_bytes());
    }
    let checksum = salted(salt.with(tag), &[&header[..CHECKSUM_AT]]);
    set(header, CHECKSUM_AT, checksum.to_le_bytes());
}

impl ChunkHeader {
    /// Verifies a header by what it says of itself, and all of the payload behind it. Whose chunk it is
    /// only a manifest tells. Gives the chunk's length on disk.
    pub fn verify_alone(salt: Salt, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.take(8)?;
        let payload_bytes = reader.u32()? as usize;
        let index = reader.u32()?;
        let tag = reader.u64()?;
        if payload_bytes > CHUNK_PAYLOAD_MAX {
            return Err(Malformed("no chunk begins here"));
        }
        let bytes_max = chunk_bytes(payload_bytes);
        let place = ChunkPlace { segment: 0, offset: 0, bytes: bytes_max, index };
        let header = Self::decode(salt, tag, &place, bytes)?;
        let payload = bytes
            .get(CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + header.payload_bytes)
            .ok_or(Malformed("the chunk is cut short"))?;
        header.verify(0, payload)?;
        Ok(bytes_max)
    }

    /// Verifies a header against what the manifest says of the chunk at `place`.
    pub fn decode(
        salt: Salt,
        tag: u64,
        place: &ChunkPlace,
        bytes: &[u8],
    ) -> Result<Self, Malformed> {
        let header = bytes.get(..CHUNK_HEADER_BYTES).ok_or(Malformed("too short"))?;
        let checksum = salted(salt.with(tag), &[&header[..CHECKSUM_AT]]);
        if checksum.to_le_bytes() != header[CHECKSUM_AT..] {
            return Err(Malformed("the chunk header's checksum does not match"));
        }
        let mut reader = Reader::new(header);
        if reader.u32()? != MAGIC || reader.u16()? != VERSION {
            return Err(Malformed("no chunk begins here"));
        }
        reader.u16()?;
        let payload_bytes = reader.u32()? as usize;
        let index = reader.u32()?;
        if reader.u64()? != tag || index != place.index || payload_bytes > place.payload_max() {
            return Err(Malformed("the chunk is another one"));
        }
        reader.u64()?;
        let checksums = (0..payload_bytes.div_ceil(BLOCK_BYTES))
            .map(|_| reader.u64())
            .collect::<Result<_, _>>()?;
        Ok(Self { payload_bytes, checksums })
    }

    /// Verifies the payload's blocks from `first_block` on; `blocks` begins at that block and ends at
    /// the end of a block or of the payload.
    pub fn verify(&self, first_block: usize, blocks: &[u8]) -> Result<(), Malformed> {
        for (block, index) in blocks.chunks(BLOCK_BYTES).zip(first_block..) {
            match self.checksums.get(index) {
                Some(&checksum) if block_checksum(block) == checksum => {}
                _ => return Err(Malformed("a data block's checksum does not match")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::limits::CHUNK_BYTES_MAX;

    const PLACE: ChunkPlace =
        ChunkPlace { segment: 1, offset: 0, bytes: CHUNK_BYTES_MAX, index: 3 };

    fn sample(payload: usize) -> Vec<u8> {
        let mut chunk = vec![7; chunk_bytes(payload)];
        for (at, byte) in chunk.iter_mut().enumerate() {
            *byte = (at * 31) as u8;
        }
        seal_chunk(Salt::of_store(&[1; 16]), 9, 3, payload, &mut chunk);
        chunk
    }

    #[test]
    fn chunks_of_every_kind_of_length_verify() {
        for payload in [1, 4095, 4096, 4097, CHUNK_PAYLOAD_MAX] {
            let chunk = sample(payload);
            let header = ChunkHeader::decode(Salt::of_store(&[1; 16]), 9, &PLACE, &chunk).unwrap();
            let body = &chunk[CHUNK_HEADER_BYTES..][..payload];
            assert_eq!(header.verify(0, body), Ok(()));
            if payload > BLOCK_BYTES {
                assert_eq!(header.verify(1, &body[BLOCK_BYTES..]), Ok(()));
            }
        }
    }

    #[test]
    fn a_flipped_bit_or_another_identity_is_noticed() {
        let salt = Salt::of_store(&[1; 16]);
        let mut chunk = sample(5000);
        for bit in (0..(CHUNK_HEADER_BYTES + 5000) * 8).step_by(7) {
            chunk[bit / 8] ^= 1 << (bit % 8);
            let verdict = ChunkHeader::decode(salt, 9, &PLACE, &chunk)
                .and_then(|h| h.verify(0, &chunk[CHUNK_HEADER_BYTES..][..5000]));
            assert!(verdict.is_err(), "bit {bit}");
            chunk[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(ChunkHeader::decode(salt, 8, &PLACE, &chunk).is_err());
        assert_eq!(ChunkHeader::verify_alone(salt, &chunk), Ok(chunk.len()));
        chunk[CHUNK_HEADER_BYTES + 4999] ^= 1;
        assert!(ChunkHeader::verify_alone(salt, &chunk).is_err());
        chunk[CHUNK_HEADER_BYTES + 4999] ^= 1;
        let elsewhere = ChunkPlace { index: 2, ..PLACE };
        assert!(ChunkHeader::decode(salt, 9, &elsewhere, &chunk).is_err());
    }
}
