//! The CRC-64/NVME that guards every block and structure on disk.
//!
//! A salt is fed before the bytes: a recycled segment's old records carry another segment's salt
//! and so cannot pass for new ones. The polynomial finds every burst up to 64 bits and lets
//! through one random corruption in 2^64; it does not protect against a forger.

use crc_fast::CrcAlgorithm;
use std::fmt;

/// The checksum of one disk block. Stateless, for the path on which every 4 KiB block read and
/// written passes.
#[inline]
pub fn block_checksum(block: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, block)
}

/// The checksum of `pieces` as if they stood one behind the other, behind the salt's eight
/// little-endian bytes.
pub fn salted(salt: u64, pieces: &[&[u8]]) -> u64 {
    let mut crc = Crc64::salted(salt);
    pieces.iter().for_each(|piece| crc.update(piece));
    crc.finish()
}

/// The same, streaming.
#[derive(Clone)]
pub struct Crc64(crc_fast::Digest);

impl Crc64 {
    #[inline]
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    pub fn salted(salt: u64) -> Self {
        let mut crc = Self::new();
        crc.update(&salt.to_le_bytes());
        crc
    }

    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[inline]
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64({:016x})", self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_checksum_is_crc_64_nvme() {
        assert_eq!(block_checksum(b"123456789"), 0xae8b_1486_0a79_9888);
        // 4 KiB of zeros, from the NVM Command Set specification's table of CRC-64 examples.
        assert_eq!(block_checksum(&[0; 4096]), 0x6482_d367_eb22_b64e);
        // 4 KiB of ones, from the same table.
        assert_eq!(block_checksum(&[0xff; 4096]), 0xc0dd_ba73_02ec_a3ac);
    }

    #[test]
    fn an_independent_implementation_agrees_at_every_length() {
        let bytes: Vec<u8> =
            (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in (0..1100).chain([2048, 4095, 4096, 4097, 5000]) {
            let mut witness = crc64fast_nvme::Digest::new();
            witness.write(&bytes[..length]);
            assert_eq!(block_checksum(&bytes[..length]), witness.sum64(), "{length} bytes");
            let mut streamed = Crc64::new();
            let (head, tail) = bytes[..length].split_at(length / 3);
            streamed.update(head);
            streamed.update(tail);
            assert_eq!(streamed.finish(), witness.sum64(), "{length} bytes in two pieces");
        }
    }

    #[test]
    fn a_salt_changes_the_checksum_and_cuts_do_not() {
        let (head, tail) = (b"head".as_slice(), b"tail".as_slice());
        assert_eq!(salted(7, &[head, tail]), salted(7, &[b"headtail"]));
        assert_ne!(salted(7, &[head, tail]), salted(8, &[head, tail]));
        assert_ne!(salted(0, &[head]), block_checksum(head));
        let mut streamed = Crc64::salted(7);
        streamed.update(head);
        streamed.update(tail);
        assert_eq!(streamed.finish(), salted(7, &[head, tail]));
    }

    #[test]
    fn every_single_bit_flip_of_a_block_is_noticed() {
        let mut block: Vec<u8> = (0..4096u32).map(|i| (i % 253) as u8).collect();
        let sound = block_checksum(&block);
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(block_checksum(&block), sound, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
