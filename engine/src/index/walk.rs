//! The walk of a checkpoint: all leaves as they were when it began, in slices, while writes go on.
//!
//! A slice is a concatenation of images, each its used bytes behind their count:
//! ```text
//! byte  0  u16  bytes of the image
//!       2       the image (`leaf`)
//! ```
//! Leaves are taken in the order of the arena, up to its length at the beginning. Before a leaf that
//! is still to be taken changes for the first time, a copy of it is put aside (`tree::change_leaf`);
//! copies are given before any other leaf, so that few wait. Leaves come in no order of keys, and
//! those without entries are left out.
//!
//! Invariants: every leaf that had entries at the beginning is given exactly once, as it was then;
//! of a place in the arena at most one copy is made. So all copies together are never more than the
//! index was at the beginning, and a change makes at most a few.
//!
//! Not here: frames, checksums, files, and what else a checkpoint holds.

use super::leaf::Leaf;
use super::tree::Index;
use std::collections::VecDeque;

/// What a slice of a walk gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    pub leaves: u32,
    pub entries: u64,
    /// Nothing is left: the walk has ended.
    pub done: bool,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    /// The place in the arena that is taken next.
    next: usize,
    /// The arena's length at the beginning.
    end: usize,
    /// A bit for each place: what stands there now is not what stood there at the beginning.
    changed: Box<[u64]>,
    /// Copies of leaves, cut to the bytes used, that are not given yet.
    copies: VecDeque<Leaf>,
    copies_bytes: usize,
}

impl Index {
    /// Begins a walk at this instant, and abandons the one under way. Costs one bit a leaf.
    pub fn begin_walk(&mut self) {
        self.walk = Some(Box::new(Walk::new(self.leaves.len())));
    }

    /// Appends the images of further leaves to `out`, until about `bytes` are appended: at most a
    /// leaf more. What is passed over counts too, so that a slice is short even where the arena is
    /// full of free places. Without a walk under way there is nothing to give.
    pub fn walk(&mut self, out: &mut Vec<u8>, bytes: usize) -> Walked {
        let mut walked = Walked::default();
        let Some(walk) = &mut self.walk else { return Walked { done: true, ..walked } };
        let mut spent = 0;
        while spent < bytes && !walked.done {
            spent += size_of::<Leaf>();
            if let Some(copy) = walk.take_copy() {
                spent += walked.give(&copy, out);
            } else if walk.next < walk.end {
                if let Some(place) = walk.take_place() {
                    spent += walked.give(&self.leaves[place], out);
                }
            } else {
                walked.done = true;
            }
        }
        if walked.done {
            self.end_walk();
        }
        walked
    }

    /// Abandons the walk, if one is under way.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Must be called before the leaf changes. Apart from `change_leaf`, as it is seldom needed.
    #[cold]
    pub(super) fn keep_for_walk(&mut self, id: u32) {
        if let Some(walk) = &mut self.walk {
            walk.keep(id as usize, &self.leaves[id as usize]);
        }
    }
}

impl Walk {
    fn new(places: usize) -> Self {
        Self {
            next: 0,
            end: places,
            changed: vec![0; places.div_ceil(64)].into_boxed_slice(),
            copies: VecDeque::new(),
            copies_bytes: 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.changed)
            + self.copies.capacity() * size_of::<Leaf>()
            + self.copies_bytes
    }

    /// Puts a copy of `leaf` aside, unless this was done before or it is not, or no longer, to be
    /// taken from its place.
    fn keep(&mut self, place: usize, leaf: &Leaf) {
        if place < self.next || place >= self.end || self.is_changed(place) {
            return;
        }
        self.changed[place / 64] |= 1 << (place % 64);
        if let Some(copy) = leaf.copy() {
            self.copies_bytes += copy.allocated_bytes();
            self.copies.push_back(copy);
        }
    }

    fn take_copy(&mut self) -> Option<Leaf> {
        let copy = self.copies.pop_front()?;
        self.copies_bytes -= copy.allocated_bytes();
        Some(copy)
    }

    /// The next place, unless its leaf has changed.
    fn take_place(&mut self) -> Option<usize> {
        let place = self.next;
        self.next += 1;
        (!self.is_changed(place)).then_some(place)
    }

    fn is_changed(&self, place: usize) -> bool {
        self.changed[place / 64] & 1 << (place % 64) != 0
    }
}

impl Walked {
    /// Appends the image of `leaf`; gives the bytes that it took.
    fn give(&mut self, leaf: &Leaf, out: &mut Vec<u8>) -> usize {
        let Some(image) = leaf.used_image() else { return 0 };
        // No image is longer than `LEAF_BYTES_MAX`.
        out.extend_from_slice(&(image.len() as u16).to_le_bytes());
        out.extend_from_slice(image);
        self.leaves += 1;
        self.entries += leaf.count() as u64;
        size_of::<u16>() + image.len()
    }
}
