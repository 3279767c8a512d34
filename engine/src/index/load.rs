//! Makes an index of the leaves that a walk gave.
//!
//! Leaves come in any order of keys. Each is verified and becomes a leaf of the new index as it is;
//! at the end they are put in order by their first keys, neighbours are compared, and branches are
//! built above them from the bottom up, each filled to three quarters.
//!
//! To touch a leaf again, long after it was pushed, costs several cache misses. So a few bytes of its
//! first and last key are kept beside it (`Place`): keys share much (a bucket, a date), and the
//! bytes behind that decide nearly always.
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
    /// Where each leaf belongs.
    places: Vec<Place>,
    /// What all keys pushed so far begin with.
    shared: Vec<u8>,
    leaf_bytes: usize,
    count: usize,
    /// Where keys are put together.
    keys: [Vec<u8>; 2],
}

/// Where a leaf belongs among the others.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The words of its first and last key.
    first: Word,
    last: Word,
    leaf: u32,
}

/// What follows in a key behind the shared bytes, filled up with zeros, as a number in the order of
/// keys. If two words differ, so do the keys, and in the same way; equal ones say nothing.
type Word = u128;

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
            self.add(leaf);
        }
        Ok((self.count - count_before) as u64)
    }

    /// The index, once all slices were pushed. Without any it is empty.
    pub fn finish(mut self) -> Result<Index, Malformed> {
        let places = self.sorted_places();
        let Some(first) = places.first() else { return Ok(Index::new()) };
        let mut builder = Builder::default();
        builder.add(0, Separator { bytes: Vec::new(), version: u64::MAX }, first.leaf);
        for [left, right] in places.array_windows() {
            let separator = self.separator(left, right)?;
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

    fn add(&mut self, leaf: Leaf) {
        let [first, last] = &mut self.keys;
        leaf.pair(0, first);
        leaf.pair(leaf.count() - 1, last);
        if self.leaves.is_empty() {
            self.shared.clone_from(first);
        }
        let shared = common_prefix_bytes(&self.shared, first);
        let shared = common_prefix_bytes(&self.shared[..shared], last);
        if shared < self.shared.len() {
            // Seldom: with every byte that is no longer shared, all words begin earlier.
            let dropped = self.shared.split_off(shared);
            for place in &mut self.places {
                place.first = prepended(&dropped, place.first);
                place.last = prepended(&dropped, place.last);
            }
        }
        let (first, last) = (word_of(&first[shared..]), word_of(&last[shared..]));
        self.count += leaf.count();
        self.leaf_bytes += leaf.allocated_bytes();
        let leaf = append(&mut self.leaves, leaf);
        self.places.push(Place { first, last, leaf });
    }

    fn sorted_places(&mut self) -> Vec<Place> {
        let mut places = mem::take(&mut self.places);
        let [mut left, mut right] = mem::take(&mut self.keys);
        places.sort_by(|one, other| {
            one.first.cmp(&other.first).then_with(|| {
                let one_version = self.leaf(one).pair(0, &mut left);
                let other_version = self.leaf(other).pair(0, &mut right);
                order((&left, one_version), (&right, other_version))
            })
        });
        places
    }

    /// What separates two neighbours. An error if they overlap.
    fn separator(&self, left: &Place, right: &Place) -> Result<Separator, Malformed> {
        if left.last < right.first {
            // Where they differ first, the right one is no filling.
            let (left, right) = (left.last.to_be_bytes(), right.first.to_be_bytes());
            return Ok(Separator::between(&self.shared, &left, &right, u64::MAX));
        }
        let (left, right) = (self.leaf(left), self.leaf(right));
        let (mut left_key, mut right_key) = (Vec::new(), Vec::new());
        let left_version = left.pair(left.count() - 1, &mut left_key);
        let right_version = right.pair(0, &mut right_key);
        if order((&left_key, left_version), (&right_key, right_version)).is_ge() {
            return Err(Malformed("two leaves overlap"));
        }
        Ok(Separator::between(&[], &left_key, &right_key, right_version))
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

fn word_of(bytes: &[u8]) -> Word {
    let mut word = [0; size_of::<Word>()];
    let count = bytes.len().min(word.len());
    word[..count].copy_from_slice(&bytes[..count]);
    Word::from_be_bytes(word)
}

/// The word of the same key, beginning with `bytes` that stood before it.
fn prepended(bytes: &[u8], word: Word) -> Word {
    let shift = 8 * bytes.len().min(size_of::<Word>()) as u32;
    word_of(bytes) | word.checked_shr(shift).unwrap_or(0)
}
