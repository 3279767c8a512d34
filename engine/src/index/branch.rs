//! A branch: children and the separators between them.
//!
//! A separator is the least pair that may stand in the child behind it, cut as short as the
//! neighbours allow; its version is `u64::MAX` unless one key's versions are spread over both.
//! All of a branch's separators share one byte array, as key bytes and an eight-byte version.
//!
//! Invariants: there is one separator fewer than children; separators are in order.
//!
//! Whether a child is a branch or a leaf is not known here: the tree knows it by the depth.

use super::{common_prefix_bytes, order};
use std::ops::Range;

/// A branch with more children is split.
pub(super) const CHILDREN_MAX: usize = 256;

/// A branch with more bytes of separators is split. Long keys make for fewer children.
pub(super) const SEPARATORS_BYTES_MAX: usize = 16 << 10;

const VERSION_BYTES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Separator {
    pub(super) bytes: Vec<u8>,
    pub(super) version: u64,
}

impl Separator {
    /// The shortest one between two neighbours, whose keys are `prefix` and `left` or `right`;
    /// `version` is that of the right one.
    pub(super) fn between(prefix: &[u8], left: &[u8], right: &[u8], version: u64) -> Self {
        if left == right {
            return Self { bytes: [prefix, right].concat(), version };
        }
        let distinct = &right[..common_prefix_bytes(left, right) + 1];
        Self { bytes: [prefix, distinct].concat(), version: u64::MAX }
    }
}

#[derive(Debug, Default)]
pub(super) struct Branch {
    children: Vec<u32>,
    /// Where in `separators` each ends. It fits: no branch is left with more than
    /// `SEPARATORS_BYTES_MAX` and one separator.
    ends: Vec<u16>,
    separators: Vec<u8>,
}

impl Branch {
    pub(super) fn new(left: u32, separator: &Separator, right: u32) -> Self {
        let mut branch = Self::of_one(left);
        branch.insert(0, separator, right);
        branch
    }

    pub(super) fn of_one(child: u32) -> Self {
        Self { children: vec![child], ..Self::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.children.len()
    }

    pub(super) fn child(&self, index: usize) -> u32 {
        self.children[index]
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.children.capacity() * size_of::<u32>()
            + self.ends.capacity() * size_of::<u16>()
            + self.separators.capacity()
    }

    /// The index of the child in whose range the pair falls.
    pub(super) fn find(&self, key: &[u8], version: u64) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = (low + high) / 2;
            match order(self.separator(middle), (key, version)).is_le() {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The separator behind the child at `index`.
    pub(super) fn separator(&self, index: usize) -> (&[u8], u64) {
        let Range { start, end } = self.separator_range(index);
        let version_at = end - VERSION_BYTES;
        let mut version = [0; VERSION_BYTES];
        version.copy_from_slice(&self.separators[version_at..end]);
        (&self.separators[start..version_at], u64::from_le_bytes(version))
    }

    /// Puts a child behind the one at `index`.
    pub(super) fn insert(&mut self, index: usize, separator: &Separator, child: u32) {
        let start = self.separator_start(index);
        let bytes = separator.bytes.len() + VERSION_BYTES;
        let encoded = separator.bytes.iter().copied().chain(separator.version.to_le_bytes());
        self.separators.splice(start..start, encoded);
        self.ends[index..].iter_mut().for_each(|end| *end += bytes as u16);
        self.ends.insert(index, (start + bytes) as u16);
        self.children.insert(index + 1, child);
    }

    /// Takes a child out; a neighbour's range grows by its.
    pub(super) fn remove(&mut self, index: usize) {
        self.children.remove(index);
        if !self.ends.is_empty() {
            let removed = self.separator_range(index.saturating_sub(1));
            let bytes = removed.len() as u16;
            self.ends.remove(index.saturating_sub(1));
            self.ends[index.saturating_sub(1)..].iter_mut().for_each(|end| *end -= bytes);
            self.separators.drain(removed);
        }
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.children.len() > CHILDREN_MAX || self.separators.len() > SEPARATORS_BYTES_MAX
    }

    /// Has room for some more children, but was given enough by who builds it at once.
    pub(super) fn is_filled(&self) -> bool {
        self.children.len() >= CHILDREN_MAX * 3 / 4
            || self.separators.len() >= SEPARATORS_BYTES_MAX * 3 / 4
    }

    /// Worth joining with a neighbour.
    pub(super) fn is_small(&self) -> bool {
        self.children.len() < CHILDREN_MAX / 4 && self.separators.len() < SEPARATORS_BYTES_MAX / 4
    }

    /// Cuts off the right side, and gives it with the separator before it. Behind an insert at the
    /// right edge (`at_edge`) most stays on the left, as more will follow on the right.
    pub(super) fn split(&mut self, at_edge: bool) -> (Separator, Self) {
        let share = self.separators.len() / if at_edge { 8 } else { 2 };
        let target = self.separators.len() - share;
        let middle = self.ends.partition_point(|end| usize::from(*end) < target);
        // Both sides keep at least one child.
        let middle = middle.clamp(0, self.ends.len() - 1);
        let (bytes, version) = self.separator(middle);
        let separator = Separator { bytes: bytes.to_vec(), version };
        let Range { start, end } = self.separator_range(middle);
        let right = Self {
            children: self.children[middle + 1..].to_vec(),
            ends: self.ends[middle + 1..].iter().map(|later| later - end as u16).collect(),
            separators: self.separators[end..].to_vec(),
        };
        self.children.truncate(middle + 1);
        self.ends.truncate(middle);
        self.separators.truncate(start);
        (separator, right)
    }

    /// Both and the separator between them, if the result has room to grow.
    pub(super) fn joined(&self, separator: (&[u8], u64), right: &Self) -> Option<Self> {
        let between = separator.0.len() + VERSION_BYTES;
        let separators_bytes = self.separators.len() + between + right.separators.len();
        let children = self.children.len() + right.children.len();
        if children > CHILDREN_MAX * 3 / 4 || separators_bytes > SEPARATORS_BYTES_MAX * 3 / 4 {
            return None;
        }
        let version = separator.1.to_le_bytes();
        let shift = (self.separators.len() + between) as u16;
        let right_ends = right.ends.iter().map(|end| end + shift);
        Some(Self {
            children: [&self.children[..], &right.children].concat(),
            ends: self.ends.iter().copied().chain([shift]).chain(right_ends).collect(),
            separators: [&self.separators, separator.0, &version, &right.separators].concat(),
        })
    }

    fn separator_start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1].into() }
    }

    fn separator_range(&self, index: usize) -> Range<usize> {
        self.separator_start(index)..self.ends[index].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Children 0 to `children`, each separator `bytes` long with a number in front.
    fn branch(children: u32, bytes: usize) -> Branch {
        let mut branch = Branch::new(0, &separator(1, bytes), 1);
        (2..children).for_each(|child| {
            branch.insert(child as usize - 1, &separator(child, bytes), child);
        });
        branch
    }

    fn separator(child: u32, bytes: usize) -> Separator {
        let mut text = format!("{child:06}").into_bytes();
        text.resize(bytes, b'.');
        Separator { bytes: text, version: u64::from(child) }
    }

    fn check(branch: &Branch, children: Range<u32>, bytes: usize) {
        assert_eq!(branch.children, children.clone().collect::<Vec<_>>());
        for (index, child) in children.clone().skip(1).enumerate() {
            let expected = separator(child, bytes);
            assert_eq!(branch.separator(index), (&expected.bytes[..], expected.version));
            assert_eq!(branch.find(&expected.bytes, expected.version), index + 1);
            // A newer version of the same key stands before the separator.
            assert_eq!(branch.find(&expected.bytes, expected.version + 1), index);
        }
        assert_eq!(branch.find(b"", 0), 0);
    }

    #[test]
    fn a_split_branch_joined_again_is_the_same() {
        for (children, bytes) in [(2, 6), (3, 6), (100, 20), (12, 900)] {
            for at_edge in [false, true] {
                let mut left = branch(children, bytes);
                check(&left, 0..children, bytes);
                let (between, right) = left.split(at_edge);
                let cut = left.count() as u32;
                assert_eq!(between, separator(cut, bytes));
                check(&left, 0..cut, bytes);
                check(&right, cut..children, bytes);
                let joined = left.joined((&between.bytes, between.version), &right);
                check(&joined.expect("there is room"), 0..children, bytes);
            }
        }
    }

    #[test]
    fn a_removed_child_takes_one_separator_along() {
        let mut last = branch(5, 9);
        last.remove(4);
        check(&last, 0..4, 9);
        let mut first = branch(5, 9);
        first.remove(0);
        check(&first, 1..5, 9);
        let mut only = Branch { children: vec![7], ..Branch::default() };
        only.remove(0);
        assert_eq!(only.count(), 0);
    }
}
