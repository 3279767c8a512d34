//! The checksums that S3 takes with an upload, in a header or a trailer.
//!
//! Source: "Checking object integrity for data uploads in Amazon S3", Amazon S3 User Guide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use crc_fast::CrcAlgorithm;
use sha1::Sha1;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Checksum {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

impl Checksum {
    /// Of the request that carries it.
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Of the algorithm, in a request that begins an upload and, behind `Checksum`, in the document that
    /// ends it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Length of its text, base64.
    pub fn text_bytes(self) -> u64 {
        match self {
            Self::Crc32 | Self::Crc32c => 8,
            Self::Crc64nvme => 12,
            Self::Sha1 => 28,
            Self::Sha256 => 44,
        }
    }

    pub fn start(self) -> Running {
        match self {
            Self::Crc32 => Running::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Self::Crc32c => Running::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Self::Crc64nvme => Running::Crc64(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Self::Sha1 => Running::Sha1(Sha1::new()),
            Self::Sha256 => Running::Sha256(Sha256::new()),
        }
    }
}

/// A checksum under way.
#[derive(Debug, Clone)]
pub enum Running {
    Crc32(crc_fast::Digest),
    Crc64(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(digest) | Self::Crc64(digest) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The text of what was seen so far, as S3 takes it.
    pub fn text(self) -> String {
        match self {
            Self::Crc32(digest) => STANDARD.encode((digest.finalize() as u32).to_be_bytes()),
            Self::Crc64(digest) => STANDARD.encode(digest.finalize().to_be_bytes()),
            Self::Sha1(digest) => STANDARD.encode(digest.finalize()),
            Self::Sha256(digest) => STANDARD.encode(digest.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_s_check_values_come_out() {
        // CRCs: the "check" values of the CRC RevEng catalogue; digests: sha1sum and sha256sum.
        for (checksum, expected) in [
            (Checksum::Crc32, "cbf43926"),
            (Checksum::Crc32c, "e3069283"),
            (Checksum::Crc64nvme, "ae8b14860a799888"),
            (Checksum::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Checksum::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            let mut running = checksum.start();
            running.update(b"12345");
            running.update(b"6789");
            let text = running.text();
            assert_eq!(STANDARD.decode(&text).map(hex::encode).as_deref(), Ok(expected));
            assert_eq!(text.len() as u64, checksum.text_bytes());
        }
    }
}
