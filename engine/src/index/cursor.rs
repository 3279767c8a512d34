//! A walk through the index in order.
//!
//! The cursor borrows the index, so nothing changes under it; whoever must let others in between
//! two slices of a listing keeps the last key and seeks again.
//!
//! Invariant: `key` begins with the leaf's prefix.

use super::Entry;
use super::leaf::Leaf;
use super::row::Frame;
use super::tree::{Index, Path};

/// Stands before an entry, or behind the last.
#[derive(Debug)]
pub struct Cursor<'a> {
    index: &'a Index,
    path: Path,
    leaf: &'a Leaf,
    frame: Frame,
    /// At most `leaf.count()`; at it, the next entry is the next leaf's first.
    position: usize,
    /// Where keys are put together.
    key: Vec<u8>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(index: &'a Index, key: &[u8], version: u64) -> Self {
        let path = index.path(key, version);
        let leaf = index.leaf(path.leaf());
        let position = position_of(leaf, key, version);
        Self { index, path, leaf, frame: leaf.frame(), position, key: leaf.prefix().to_vec() }
    }

    /// The entry at which the cursor stands; it moves behind it.
    #[expect(clippy::should_implement_trait, reason = "what it gives is lent by the cursor")]
    pub fn next(&mut self) -> Option<(&[u8], u64, Entry)> {
        while self.position == self.leaf.count() {
            if !self.index.advance(&mut self.path) {
                return None;
            }
            self.enter_leaf();
        }
        self.key.truncate(self.leaf.prefix().len());
        for piece in self.leaf.suffix(self.position) {
            self.key.extend_from_slice(piece);
        }
        let row = self.leaf.row(&self.frame, self.position);
        self.position += 1;
        Some((&self.key, row.version, row.entry))
    }

    /// Moves to the first entry not before the pair, forward or back; within the same leaf
    /// without another descent.
    pub fn seek(&mut self, key: &[u8], version: u64) {
        let position = position_of(self.leaf, key, version);
        // With entries on both sides of it, the place cannot be in another leaf.
        if position > 0 && position < self.leaf.count() {
            self.position = position;
            return;
        }
        self.path = self.index.path(key, version);
        self.enter_leaf();
        self.position = position_of(self.leaf, key, version);
    }

    /// Stands before the first entry of the path's leaf.
    fn enter_leaf(&mut self) {
        self.leaf = self.index.leaf(self.path.leaf());
        self.frame = self.leaf.frame();
        self.position = 0;
        self.key.clear();
        self.key.extend_from_slice(self.leaf.prefix());
    }
}

fn position_of(leaf: &Leaf, key: &[u8], version: u64) -> usize {
    match leaf.search(key, version) {
        Ok(position) | Err(position) => position,
    }
}
