//! Makes an index of the leaves that a walk gave.
//!
//! Leaves come in any order of keys. Each is verified and becomes a leaf of the new index as it is;
//! at the end they are put in order by their first pairs, neighbours are compared, and branches are
//! built above them from the bottom up, each filled to three quarters.
//!
//! Invariant: an index that comes out of here keeps all invariants of `tree`, whatever the bytes
//! were: what does not is malformed.
//!
//! Not here: checksums, and whether all leaves came that were given. The caller counts entries.

use super::branch::{Branch, Separator};
use super::leaf::Leaf;
use super::tree::{Index, append};
use super::{Entry, common_prefix_bytes, order};
use crate::format::Malformed;
use crate::format::codec::Reader;
use std::mem;

/// Takes the slices of one walk and makes the index that was walked.
#[derive(Debug, Default)]
pub struct Loader {
    leaves: Vec<Leaf>,
    leaf_bytes: usize,
    count: usize,
}

/// A leaf's place among the others: by its first key's `word`, then by the whole key.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The bytes behind what all first keys share, as a number in their order.
    word: u64,
    leaf: u32,
}

/// Branches being built from left to right.
#[derive(Debug, Default)]
struct Builder {
    /// Those that are complete.
    branches: Vec<Branch>,
    branch_bytes: usize,
    /// The last branch of every level, from the bottom up, with the separator before it.
    edge: Vec<(Separator, Branch)>,
}

impl Loader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a slice, or several as one. `each` gets the version and entry of all that is in it.
    /// Gives how many these are. After an error the loader is of no more use.
    pub fn push(
        &mut self,
        images: &[u8],
        mut each: impl FnMut(u64, &Entry),
    ) -> Result<u64, Malformed> {
        let count_before = self.count;
        let mut reader = Reader::new(images);
        while !reader.is_empty() {
            let bytes = reader.u16()?;
            let leaf = Leaf::of_image(reader.take(bytes.into())?, &mut each)?;
            self.count += leaf.count();
            self.leaf_bytes += leaf.allocated_bytes();
            append(&mut self.leaves, leaf);
        }
        Ok((self.count - count_before) as u64)
    }

    /// The index, once all slices were pushed. Without any it is empty.
    pub fn finish(self) -> Result<Index, Malformed> {
        let places = self.places();
        let Some(first) = places.first() else { return Ok(Index::new()) };
        let mut builder = Builder::default();
        let least = Separator { bytes: Vec::new(), version: u64::MAX };
        builder.add(0, least, first.leaf);
        let (mut left_key, mut right_key) = (Vec::new(), Vec::new());
        for [left, right] in places.array_windows() {
            let (left, right_leaf) = (self.leaf(left), self.leaf(right));
            let left_version = left.pair(left.count() - 1, &mut left_key);
            let right_version = right_leaf.pair(0, &mut right_key);
            if order((&left_key, left_version), (&right_key, right_version)).is_ge() {
                return Err(Malformed("two leaves overlap"));
            }
            let separator = Separator::between(&[], &left_key, &right_key, right_version);
            builder.add(0, separator, right.leaf);
        }
        let (root, height) = match places.len() {
            1 => (first.leaf, 0),
            _ => builder.finish(),
        };
        Ok(Index {
            leaves: self.leaves,
            leaves_free: Vec::new(),
            branches: builder.branches,
            branches_free: Vec::new(),
            root,
            height,
            count: self.count,
            leaf_bytes: self.leaf_bytes,
            branch_bytes: builder.branch_bytes,
            walk: None,
        })
    }

    /// The order of the leaves. First keys share much (a bucket, a date): comparing words behind
    /// that decides nearly always.
    fn places(&self) -> Vec<Place> {
        let Some(first) = self.leaves.first() else { return Vec::new() };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        first.pair(0, &mut left);
        let shared = self.leaves.iter().fold(left.len(), |shared, leaf| {
            leaf.pair(0, &mut right);
            common_prefix_bytes(&left[..shared], &right)
        });
        let place = |(id, leaf): (usize, &Leaf)| {
            leaf.pair(0, &mut right);
            Place { word: word_of(&right[shared..]), leaf: id as u32 }
        };
        let mut places: Vec<Place> = self.leaves.iter().enumerate().map(place).collect();
        places.sort_by(|one, other| {
            one.word.cmp(&other.word).then_with(|| {
                let one_version = self.leaf(one).pair(0, &mut left);
                let other_version = self.leaf(other).pair(0, &mut right);
                order((&left, one_version), (&right, other_version))
            })
        });
        places
    }

    fn leaf(&self, place: &Place) -> &Leaf {
        &self.leaves[place.leaf as usize]
    }
}

impl Builder {
    /// Puts a node behind all others of its level; `separator` stands before it.
    fn add(&mut self, level: usize, separator: Separator, id: u32) {
        let Some((least, branch)) = self.edge.get_mut(level) else {
            self.edge.push((separator, Branch::of_one(id)));
            return;
        };
        if !branch.is_filled() {
            branch.insert(branch.count() - 1, &separator, id);
            return;
        }
        let least = mem::replace(least, separator);
        let branch = mem::replace(branch, Branch::of_one(id));
        let id = self.complete(branch);
        self.add(level + 1, least, id);
    }

    /// Completes the last branch of every level; gives the root and its height. A level above has
    /// two nodes or more: it was begun when the one below had a second branch.
    fn finish(&mut self) -> (u32, usize) {
        let mut level = 0;
        loop {
            let (least, branch) = mem::take(&mut self.edge[level]);
            let id = self.complete(branch);
            level += 1;
            if level == self.edge.len() {
                return (id, level);
            }
            self.add(level, least, id);
        }
    }

    fn complete(&mut self, branch: Branch) -> u32 {
        self.branch_bytes += branch.allocated_bytes();
        append(&mut self.branches, branch)
    }
}

/// The first eight bytes as a number in their order, filled up with zeros.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let count = bytes.len().min(word.len());
    word[..count].copy_from_slice(&bytes[..count]);
    u64::from_be_bytes(word)
}
