//! Every structure on disk: pure encoding and decoding, one structure a file.
//!
//! Drawn in `engine/FORMAT.md`. Integers are little-endian. Decoding never panics and never trusts a
//! length that it has not checked. Nothing here does I/O.

pub mod checkpoint;
pub mod chunk;
pub mod codec;
pub mod group;
pub mod intent;
pub mod manifest;
pub mod packed;
pub mod record;
mod sector;
pub mod segment;
pub mod superblock;

use std::fmt;

/// Bytes that are not what they should be; says what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Salts the checksums of one store's structures, so that bytes of another store never verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(u64);

impl Salt {
    /// The salt of a store.
    pub fn of_store(uuid: &[u8; 16]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(uuid))
    }

    /// The salt of what is written in one epoch of the store.
    pub fn with(self, epoch: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&epoch.to_le_bytes(), self.0)
    }
}
