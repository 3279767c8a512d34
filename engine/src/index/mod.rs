//! The index of one shard: which keys and versions exist, and where on disk their records lie.
//!
//! A B+tree in memory whose leaves are compact byte images. `tree` owns the structure, `leaf` the
//! image, `row` the packing of entries, `contents` the rebuilding and cutting of leaves, `branch`
//! the separators, `cursor` the reading in order. For checkpoints, `walk` gives all leaves as they
//! were at one instant, whatever changes meanwhile, and `load` makes an index of them again.
//!
//! Order: key bytes ascending, then version descending, so that a key's newest version comes first.
//!
//! Invariants: a pair of key and version is held at most once; no leaf but an only one is empty;
//! all leaves stand at the same depth; `memory_bytes` counts every byte that is allocated.
//!
//! A leaf's image is position-independent and describes itself: checkpoints hold images as they are
//! in memory. One that comes from disk is verified byte by byte before it becomes a leaf
//! (`leaf::verify`); everything else here trusts its leaves.
//!
//! Not here: durability, locks (one core owns a shard), what flags and labels mean.

mod branch;
#[cfg(test)]
mod check;
mod contents;
mod cursor;
mod leaf;
mod load;
mod row;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use cursor::Cursor;
pub use load::Loader;
pub use tree::Index;
pub use walk::Walked;

use std::cmp::Ordering;

/// The longest key that the index takes: S3's 1024 bytes and what the shard puts around them.
pub const KEY_BYTES_MAX: usize = 1280;

/// What is resident of one version of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    pub segment: u32,
    /// Where in the segment the record begins, in units of 8 bytes.
    pub offset_units: u32,
    /// The record's length on disk.
    pub span_bytes: u32,
    /// The object's size in bytes.
    pub size: u64,
    /// All zeros cost nothing in a leaf in which no other entry has an ETag.
    pub etag: [u8; 16],
    pub parts: u16,
    pub flags: u8,
    pub label: u8,
}

/// The tree's order of two pairs of key and version.
fn order(left: (&[u8], u64), right: (&[u8], u64)) -> Ordering {
    left.0.cmp(right.0).then(right.1.cmp(&left.1))
}

/// With how many bytes both begin.
fn common_prefix_bytes(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
