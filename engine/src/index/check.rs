//! The structural invariants of the tree, for tests.

use super::leaf::{LEAF_BYTES_MAX, Leaf};
use super::order;
use super::tree::Index;

/// A bound on what stands in a subtree, as key bytes and version.
type Bound = (Vec<u8>, u64);

/// What a walk over all nodes has seen.
#[derive(Default)]
struct Seen {
    leaves: usize,
    branches: usize,
    entries: usize,
    leaf_bytes: usize,
    branch_bytes: usize,
}

impl Index {
    /// Panics if the tree is not as it must be.
    pub(super) fn check(&self) {
        let mut seen = Seen::default();
        self.check_node(self.root, self.height, None, None, &mut seen);
        assert_eq!(seen.entries, self.count);
        assert_eq!(seen.leaf_bytes, self.leaf_bytes);
        assert_eq!(seen.branch_bytes, self.branch_bytes);
        assert_eq!(seen.leaves + self.leaves_free.len(), self.leaves.len());
        assert_eq!(seen.branches + self.branches_free.len(), self.branches.len());
        if self.height > 0 {
            assert!(self.branch(self.root).count() > 1, "the root has one child");
        }
    }

    pub(super) fn leaf_fill_percent(&self) -> usize {
        let (mut used, mut leaves) = (0, 0);
        for leaf in self.leaves.iter().filter(|leaf| leaf.allocated_bytes() > 0) {
            used += leaf.used_bytes();
            leaves += 1;
        }
        used * 100 / (leaves * LEAF_BYTES_MAX)
    }

    pub(super) fn leaf_bytes_greatest(&self) -> usize {
        self.leaves.iter().map(Leaf::allocated_bytes).max().unwrap_or(0)
    }

    fn check_node(
        &self,
        id: u32,
        height: usize,
        least: Option<&Bound>,
        behind: Option<&Bound>,
        seen: &mut Seen,
    ) {
        if height == 0 {
            return self.check_leaf(id, least, behind, seen);
        }
        let branch = self.branch(id);
        seen.branches += 1;
        seen.branch_bytes += branch.allocated_bytes();
        let separators: Vec<Bound> = (0..branch.count() - 1)
            .map(|index| branch.separator(index))
            .map(|(bytes, version)| (bytes.to_vec(), version))
            .collect();
        for index in 0..branch.count() {
            let left = index.checked_sub(1).map(|left| &separators[left]).or(least);
            let right = separators.get(index).or(behind);
            self.check_node(branch.child(index), height - 1, left, right, seen);
        }
    }

    fn check_leaf(&self, id: u32, least: Option<&Bound>, behind: Option<&Bound>, seen: &mut Seen) {
        let leaf = self.leaf(id);
        let used = leaf.used_bytes();
        assert!(used <= leaf.allocated_bytes() && used <= LEAF_BYTES_MAX);
        assert!(leaf.count() > 0 || self.height == 0, "an empty leaf");
        let frame = leaf.frame();
        let mut before: Option<Bound> = None;
        for position in 0..leaf.count() {
            let [head, tail] = leaf.suffix(position);
            let key = [leaf.prefix(), head, tail].concat();
            let version = leaf.row(&frame, position).version;
            let pair = (key.as_slice(), version);
            assert_eq!(leaf.search(&key, version), Ok(position));
            if let Some(least) = least {
                assert!(order((&least.0, least.1), pair).is_le(), "below its range");
            }
            if let Some(behind) = behind {
                assert!(order(pair, (&behind.0, behind.1)).is_lt(), "behind its range");
            }
            if let Some(before) = &before {
                assert!(order((&before.0, before.1), pair).is_lt(), "out of order");
            }
            before = Some((key, version));
        }
        seen.leaves += 1;
        seen.entries += leaf.count();
        seen.leaf_bytes += leaf.allocated_bytes();
    }
}
