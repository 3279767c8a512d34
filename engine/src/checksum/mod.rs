//! Checksums and digests: one streaming interface over every algorithm that S3 speaks, and the
//! CRC-64 that guards what is on disk.
//!
//! Invariants: a digest does not depend on how its input was cut into updates; the bytes of a CRC
//! are big-endian, as S3 sends them.
//!
//! Not here: base64 and header names (`s3api`), where on disk a checksum stands (`format`).

mod combine;
mod crc64;
mod md5;

pub use combine::combine;
pub use crc64::{Crc64, block_checksum, salted};
pub use md5::{Md5, Piece, lanes, update_many};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use std::fmt;

/// The additional checksums that S3 offers for an object
/// (AWS: "Checking object integrity in Amazon S3").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32/ISO-HDLC, the one of zip and Ethernet.
    Crc32,
    /// CRC-32/ISCSI.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The longest digest, of SHA-256.
const DIGEST_BYTES_MAX: usize = 32;

/// The result of a [`Hasher`]: as many bytes as [`Algorithm::digest_bytes`] says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Zero behind the first `count`, so that the derived equality is that of the digests.
    bytes: [u8; DIGEST_BYTES_MAX],
    /// At most `DIGEST_BYTES_MAX`.
    count: u8,
}

impl Digest {
    fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; DIGEST_BYTES_MAX];
        bytes[..digest.len()].copy_from_slice(digest);
        Self { bytes, count: digest.len() as u8 }
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.count)]
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Computes one checksum over bytes that arrive piece by piece.
#[derive(Clone)]
pub struct Hasher {
    state: State,
}

#[derive(Clone)]
enum State {
    Crc32(crc32fast::Hasher),
    Crc32c(crc_fast::Digest),
    Crc64Nvme(Crc64),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
            Algorithm::Crc32c => {
                State::Crc32c(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
            }
            Algorithm::Crc64Nvme => State::Crc64Nvme(Crc64::new()),
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
        };
        Self { state }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Crc32(_) => Algorithm::Crc32,
            State::Crc32c(_) => Algorithm::Crc32c,
            State::Crc64Nvme(_) => Algorithm::Crc64Nvme,
            State::Sha1(_) => Algorithm::Sha1,
            State::Sha256(_) => Algorithm::Sha256,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc32(hasher) => hasher.update(bytes),
            State::Crc32c(crc) => crc.update(bytes),
            State::Crc64Nvme(crc) => crc.update(bytes),
            State::Sha1(hasher) => hasher.update(bytes),
            State::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        match self.state {
            State::Crc32(hasher) => Digest::new(&hasher.finalize().to_be_bytes()),
            State::Crc32c(crc) => Digest::new(&(crc.finalize() as u32).to_be_bytes()),
            State::Crc64Nvme(crc) => Digest::new(&crc.finish().to_be_bytes()),
            State::Sha1(hasher) => Digest::new(&hasher.finalize()),
            State::Sha256(hasher) => Digest::new(&hasher.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ALGORITHMS: [Algorithm; 5] = [
        Algorithm::Crc32,
        Algorithm::Crc32c,
        Algorithm::Crc64Nvme,
        Algorithm::Sha1,
        Algorithm::Sha256,
    ];

    pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    fn check(algorithm: Algorithm, input: &str, expected: &str) {
        let found = digest(algorithm, input.as_bytes());
        assert_eq!(format!("{found:?}"), expected, "{algorithm:?} of {input:?}");
        assert_eq!(found.as_ref().len(), algorithm.digest_bytes());
    }

    /// The CRCs' check values from the catalogue of parametrised CRC algorithms (reveng), the
    /// others from FIPS 180-4's examples and common knowledge of the empty string.
    #[test]
    fn published_vectors() {
        check(Algorithm::Crc32, "123456789", "cbf43926");
        check(Algorithm::Crc32c, "123456789", "e3069283");
        check(Algorithm::Crc64Nvme, "123456789", "ae8b14860a799888");
        check(Algorithm::Crc32, "", "00000000");
        check(Algorithm::Crc32c, "", "00000000");
        check(Algorithm::Crc64Nvme, "", "0000000000000000");
        check(Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
        check(Algorithm::Sha1, "123456789", "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        check(
            Algorithm::Sha256,
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        check(
            Algorithm::Sha256,
            "123456789",
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        );
    }

    #[test]
    fn a_digest_does_not_depend_on_how_the_input_is_cut() {
        let input: Vec<u8> = (0..10_000u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in ALGORITHMS {
            let whole = digest(algorithm, &input);
            for piece_bytes in [1, 7, 64, 4096, 9_999] {
                let mut hasher = Hasher::new(algorithm);
                input.chunks(piece_bytes).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.algorithm(), algorithm);
                assert_eq!(hasher.finish(), whole, "{algorithm:?} by {piece_bytes}");
            }
        }
    }
}
