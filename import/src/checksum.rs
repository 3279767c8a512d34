//! The checksums that S3 knows beside the ETag, and all digests of one body at once.
//!
//! Invariant: a digest is of the bytes that passed here, never of what an endpoint said about them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// As `x-amz-checksum-algorithm` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] =
        [Self::Crc64Nvme, Self::Crc32c, Self::Crc32, Self::Sha256, Self::Sha1];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
    }

    /// The header that carries it.
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element of `CompleteMultipartUpload` that carries it.
    pub fn element(self) -> String {
        format!("Checksum{}", self.name())
    }

    /// Of an object that is sent in parts: of all its bytes, or of the checksums of its parts.
    pub fn is_composite(self) -> bool {
        matches!(self, Self::Sha1 | Self::Sha256)
    }

    /// Length of its base64 form, by which what a server makes up is told from a checksum.
    fn text_length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 8,
            Self::Crc64Nvme => 12,
            Self::Sha1 => 28,
            Self::Sha256 => 44,
        }
    }
}

/// What an endpoint says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// Base64.
    pub value: String,
    /// It is of the checksums of the parts.
    pub is_composite: bool,
}

impl Checksum {
    /// By a header's value, which ends in `-N` if it is composite.
    pub fn parse(algorithm: Algorithm, text: &str, of_type: Option<&str>) -> Option<Self> {
        let (value, parts) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
        let is_composite = parts.is_some() || of_type == Some("COMPOSITE");
        let fits = value.len() == algorithm.text_length();
        fits.then(|| Self { algorithm, value: value.to_owned(), is_composite })
    }
}

#[derive(Debug, Clone)]
enum State {
    Crc32(crc32fast::Hasher),
    Crc(Box<crc_fast::Digest>),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

/// One checksum as bytes pass.
#[derive(Debug, Clone)]
pub struct Running {
    algorithm: Algorithm,
    state: State,
}

impl Running {
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
            Algorithm::Crc32c => {
                State::Crc(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)))
            }
            Algorithm::Crc64Nvme => {
                State::Crc(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)))
            }
            Algorithm::Sha1 => State::Sha1(Box::default()),
            Algorithm::Sha256 => State::Sha256(Box::default()),
        };
        Self { algorithm, state }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc32(state) => state.update(bytes),
            State::Crc(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
        }
    }

    fn raw(&self) -> Vec<u8> {
        match &self.state {
            State::Crc32(state) => state.clone().finalize().to_be_bytes().to_vec(),
            State::Crc(state) => {
                let all = state.finalize().to_be_bytes();
                let width = if self.algorithm == Algorithm::Crc32c { 4 } else { 8 };
                all[8 - width..].to_vec()
            }
            State::Sha1(state) => state.clone().finalize().to_vec(),
            State::Sha256(state) => state.clone().finalize().to_vec(),
        }
    }

    /// Base64, as headers have it.
    pub fn value(&self) -> String {
        STANDARD.encode(self.raw())
    }
}

/// MD5 and, if one is wanted, a checksum.
#[derive(Debug, Clone)]
pub struct Digests {
    /// None: nobody asks for it.
    md5: Option<Md5>,
    pub checksum: Option<Running>,
}

impl Digests {
    pub fn new(algorithm: Option<Algorithm>) -> Self {
        Self { md5: Some(Md5::new()), checksum: algorithm.map(Running::new) }
    }

    /// Without the MD5, which costs most.
    pub fn without_md5(algorithm: Option<Algorithm>) -> Self {
        Self { md5: None, checksum: algorithm.map(Running::new) }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    pub fn md5(&self) -> [u8; 16] {
        self.md5.clone().unwrap_or_default().finalize().into()
    }

    pub fn md5_hex(&self) -> String {
        hex::encode(self.md5())
    }
}

/// ETag of an object in parts, from the MD5s of its parts.
#[derive(Debug, Default)]
pub struct OfParts {
    md5s: Vec<u8>,
    count: usize,
}

impl OfParts {
    pub fn add(&mut self, part: &Digests) {
        self.md5s.extend(part.md5());
        self.count += 1;
    }

    pub fn etag(&self) -> String {
        format!("{}-{}", hex::encode(Md5::digest(&self.md5s)), self.count)
    }
}

/// Whether an ETag can be the MD5 of the bytes.
pub fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Of how many parts an object was put together, if its ETag says so.
pub fn parts_of(etag: &str) -> Option<u64> {
    let (hash, count) = etag.split_once('-')?;
    let count = count.parse().ok()?;
    (is_md5(hash) && (1..=crate::limits::PARTS_MAX).contains(&count)).then_some(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn checksums_of_known_bytes() {
        // The check values of the CRC catalogue, in base64; FIPS 180-4 for the hashes.
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ] {
            let mut running = Running::new(algorithm);
            running.update(b"1234");
            running.update(b"56789");
            assert_eq!(running.value(), expected, "{algorithm:?}");
            assert_eq!(running.value().len(), algorithm.text_length());
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        }
    }

    #[test]
    fn etags_tell_how_an_object_was_written() {
        let mut parts = OfParts::default();
        for bytes in [&b"a"[..], b"b"] {
            let mut digests = Digests::new(None);
            digests.update(bytes);
            parts.add(&digests);
        }
        assert_eq!(parts.etag(), "96e024ba2074fe77e8e965ba43a704be-2");
        assert_eq!(parts_of(&parts.etag()), Some(2));
        for etag in
            ["d41d8cd98f00b204e9800998ecf8427e", "x-2", "", "d41d8cd98f00b204e9800998ecf8427e-0"]
        {
            assert_eq!(parts_of(etag), None, "{etag}");
        }
        assert!(is_md5("d41d8cd98f00b204e9800998ecf8427e") && !is_md5("opaque"));
    }

    #[test]
    fn composite_checksums_are_told_from_whole_ones() {
        let whole = Checksum::parse(Algorithm::Crc32, "y/Q5Jg==", None).unwrap();
        assert!(!whole.is_composite);
        assert!(Checksum::parse(Algorithm::Crc32, "y/Q5Jg==-3", None).unwrap().is_composite);
        assert!(
            Checksum::parse(Algorithm::Crc32, "y/Q5Jg==", Some("COMPOSITE")).unwrap().is_composite
        );
        assert_eq!(Checksum::parse(Algorithm::Sha256, "y/Q5Jg==", None), None);
    }
}
