//! The intent of a rename, the value of an entry of the catalogue.
//!
//! ```text
//! bucket                   u32
//! version of the object    u64
//! version of the record    u64   of the new key
//! hash of the attributes   u64   XXH3-64
//! former key, new key      each u32 length, bytes
//! ```

use super::Malformed;
use super::codec::{Reader, Write};
use crate::types::{BucketId, Version};

/// A rename that is to happen whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub bucket: BucketId,
    pub from: Vec<u8>,
    /// The version that goes.
    pub version: Version,
    pub to: Vec<u8>,
    /// The version that the record of the new key has, and no other record of its shard.
    pub reserved: Version,
    /// Of the attributes that the object had: whoever changes them after a failed rename is not ignored.
    pub attributes_hash: u64,
}

impl Intent {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(self.bucket.0);
        bytes.put_u64(self.version.0);
        bytes.put_u64(self.reserved.0);
        bytes.put_u64(self.attributes_hash);
        bytes.put_string(&self.from);
        bytes.put_string(&self.to);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let bucket = BucketId(reader.u32()?);
        let (version, reserved) = (Version(reader.u64()?), Version(reader.u64()?));
        let attributes_hash = reader.u64()?;
        let (from, to) = (reader.string()?.to_vec(), reader.string()?.to_vec());
        if !reader.is_empty() {
            return Err(Malformed("an intent is too long"));
        }
        Ok(Self { bucket, from, version, to, reserved, attributes_hash })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_itself_and_nothing_shorter_or_longer_does() {
        let intent = Intent {
            bucket: BucketId(3),
            from: b"a/former key".to_vec(),
            version: Version(7),
            to: b"a new key".to_vec(),
            reserved: Version(u64::MAX),
            attributes_hash: 42,
        };
        let mut bytes = intent.encode();
        assert_eq!(Intent::decode(&bytes), Ok(intent));
        for length in 0..bytes.len() {
            assert!(Intent::decode(&bytes[..length]).is_err(), "{length}");
        }
        bytes.push(0);
        assert!(Intent::decode(&bytes).is_err());
    }
}
