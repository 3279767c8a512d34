//! The structure of the tree: finding the leaf, growing by cuts, shrinking by joins.
//!
//! Leaves and branches live in two arenas and are named by their place in it. A node does not know
//! its parent: every operation comes down from the root and keeps the path.
//!
//! Invariants: all leaves stand `height` branches below the root; a root that is a branch has two
//! children or more; no leaf is empty, unless it is the root; `leaf_bytes` and `branch_bytes`
//! are what the nodes have allocated.

use super::branch::{Branch, Separator};
use super::contents::Contents;
use super::cursor::Cursor;
use super::leaf::{LEAF_BYTES_MAX, Leaf};
use super::row::Row;
use super::walk::Walk;
use super::{Entry, KEY_BYTES_MAX};

/// The tree never gets higher: a branch splits when it has 256 children or 16 KiB of separators of
/// at most 1.3 KiB each, so at a dozen or more, and a dozen to the power of 16 leaves fit no memory.
const HEIGHT_MAX: usize = 16;

/// A leaf with fewer bytes is joined with a neighbour, if the result has room to grow.
const JOIN_BELOW_BYTES: usize = LEAF_BYTES_MAX / 4;
const JOINED_BYTES_MAX: usize = LEAF_BYTES_MAX * 3 / 4;

/// The index of one shard.
#[derive(Debug)]
pub struct Index {
    pub(super) leaves: Vec<Leaf>,
    pub(super) leaves_free: Vec<u32>,
    pub(super) branches: Vec<Branch>,
    pub(super) branches_free: Vec<u32>,
    /// A leaf if `height` is zero.
    pub(super) root: u32,
    pub(super) height: usize,
    pub(super) count: usize,
    pub(super) leaf_bytes: usize,
    pub(super) branch_bytes: usize,
    /// The walk under way.
    pub(super) walk: Option<Box<Walk>>,
}

/// The way from the root to a leaf.
#[derive(Debug, Clone)]
pub(super) struct Path {
    /// From the root down; as many as the tree is high.
    steps: [Step; HEIGHT_MAX],
    pub(super) height: usize,
    leaf: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    branch: u32,
    /// The index of the child that was taken.
    child: u32,
}

impl Index {
    pub fn new() -> Self {
        let mut index = Self {
            leaves: Vec::new(),
            leaves_free: Vec::new(),
            branches: Vec::new(),
            branches_free: Vec::new(),
            root: 0,
            height: 0,
            count: 0,
            leaf_bytes: 0,
            branch_bytes: 0,
            walk: None,
        };
        index.root = index.add_leaf(Leaf::empty());
        index
    }

    /// Entries, all versions counted.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All that is allocated for the index, in constant time.
    pub fn memory_bytes(&self) -> usize {
        self.leaf_bytes
            + self.branch_bytes
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.branches.capacity() * size_of::<Branch>()
            + (self.leaves_free.capacity() + self.branches_free.capacity()) * size_of::<u32>()
            + self.walk.as_ref().map_or(0, |walk| walk.memory_bytes())
    }

    pub fn get(&self, key: &[u8], version: u64) -> Option<Entry> {
        let leaf = self.leaf(self.find(key, version));
        let position = leaf.search(key, version).ok()?;
        Some(leaf.row(&leaf.frame(), position).entry)
    }

    /// The newest version of `key`.
    pub fn latest(&self, key: &[u8]) -> Option<(u64, Entry)> {
        self.newest_from(key, u64::MAX)
    }

    /// The newest version of `key` that is older than this one.
    pub fn newest_before(&self, key: &[u8], version: u64) -> Option<(u64, Entry)> {
        self.newest_from(key, version.checked_sub(1)?)
    }

    fn newest_from(&self, key: &[u8], version: u64) -> Option<(u64, Entry)> {
        let leaf = self.leaf(self.find(key, version));
        let position = match leaf.search(key, version) {
            Ok(position) | Err(position) => position,
        };
        if position == leaf.count() {
            // It may begin the next leaf.
            return self.newest_by_cursor(key, version);
        }
        if !leaf.key_equals(position, key) {
            return None;
        }
        let row = leaf.row(&leaf.frame(), position);
        Some((row.version, row.entry))
    }

    /// Sets the entry of a key and version; gives the one that it replaces.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`].
    pub fn insert(&mut self, key: &[u8], version: u64, entry: Entry) -> Option<Entry> {
        assert!(key.len() <= KEY_BYTES_MAX, "the shard admits no longer keys");
        let row = Row { version, entry };
        let path = self.path(key, version);
        let leaf = self.leaf(path.leaf);
        match leaf.search(key, version) {
            Ok(position) => {
                let replaced = leaf.row(&leaf.frame(), position).entry;
                if !self.change_leaf(path.leaf, |leaf| leaf.replace(position, &row)) {
                    let contents = Contents::with_replaced(self.leaf(path.leaf), position, &row);
                    self.cut(&path, &contents, None);
                }
                Some(replaced)
            }
            Err(position) => {
                self.count += 1;
                if !self.change_leaf(path.leaf, |leaf| leaf.insert(position, key, &row)) {
                    let leaf = self.leaf(path.leaf);
                    let run_position = leaf.is_in_run(position).then_some(position);
                    let contents = Contents::with_inserted(leaf, position, key, &row);
                    self.cut(&path, &contents, run_position);
                }
                None
            }
        }
    }

    pub fn remove(&mut self, key: &[u8], version: u64) -> Option<Entry> {
        let path = self.path(key, version);
        let leaf = self.leaf(path.leaf);
        let position = leaf.search(key, version).ok()?;
        let removed = leaf.row(&leaf.frame(), position).entry;
        self.count -= 1;
        self.change_leaf(path.leaf, |leaf| leaf.remove(position));
        let leaf = self.leaf(path.leaf);
        if leaf.count() == 0 && self.height > 0 {
            self.drop_leaf(path.leaf);
            self.unlink(&path, self.height - 1);
        } else if leaf.used_bytes() < JOIN_BELOW_BYTES {
            self.join_leaf(&path);
        }
        Some(removed)
    }

    /// A cursor at the first entry of all.
    pub fn cursor(&self) -> Cursor<'_> {
        self.seek(&[], u64::MAX)
    }

    /// A cursor at the first entry not before the pair. With `u64::MAX` that is the newest version
    /// of `key`, if there is one.
    pub fn seek(&self, key: &[u8], version: u64) -> Cursor<'_> {
        Cursor::new(self, key, version)
    }

    /// Gives all entries from the first that is not before `key` on, in order, each with the first
    /// `head_bytes` of its key, or with all of it if that is shorter; until `each` says that it is enough.
    pub fn each_from(
        &self,
        key: &[u8],
        head_bytes: usize,
        mut each: impl FnMut(&[u8], &Entry) -> bool,
    ) {
        let mut path = self.path(key, u64::MAX);
        let mut start = match self.leaf(path.leaf()).search(key, u64::MAX) {
            Ok(position) | Err(position) => position,
        };
        let mut whole = Vec::new();
        loop {
            let leaf = self.leaf(path.leaf());
            let frame = leaf.frame();
            let shared = leaf.prefix().get(..head_bytes);
            for position in start..leaf.count() {
                let entry = leaf.row(&frame, position).entry;
                let goes_on = match shared {
                    Some(head) => each(head, &entry),
                    None => {
                        leaf.pair(position, &mut whole);
                        each(&whole[..head_bytes.min(whole.len())], &entry)
                    }
                };
                if !goes_on {
                    return;
                }
            }
            if !self.advance(&mut path) {
                return;
            }
            start = 0;
        }
    }

    pub(super) fn leaf(&self, id: u32) -> &Leaf {
        &self.leaves[id as usize]
    }

    pub(super) fn path(&self, key: &[u8], version: u64) -> Path {
        let mut path =
            Path { steps: [Step::default(); HEIGHT_MAX], height: self.height, leaf: self.root };
        for step in &mut path.steps[..self.height] {
            let branch = self.branch(path.leaf);
            let child = branch.find(key, version);
            *step = Step { branch: path.leaf, child: child as u32 };
            path.leaf = branch.child(child);
        }
        path
    }

    /// Moves a path to the next leaf. False, and the path stays, behind the last one.
    pub(super) fn advance(&self, path: &mut Path) -> bool {
        let has_next = |step: &Step| step.child as usize + 1 < self.branch(step.branch).count();
        let Some(turn) = path.steps[..path.height].iter().rposition(has_next) else { return false };
        path.steps[turn].child += 1;
        let mut node = self.taken(&path.steps[turn]);
        for step in &mut path.steps[turn + 1..path.height] {
            *step = Step { branch: node, child: 0 };
            node = self.taken(step);
        }
        path.leaf = node;
        true
    }

    /// The leaf for the pair, without the path.
    fn find(&self, key: &[u8], version: u64) -> u32 {
        (0..self.height).fold(self.root, |node, _| {
            let branch = self.branch(node);
            branch.child(branch.find(key, version))
        })
    }

    fn newest_by_cursor(&self, key: &[u8], version: u64) -> Option<(u64, Entry)> {
        let mut cursor = self.seek(key, version);
        let (found, version, entry) = cursor.next()?;
        (found == key).then_some((version, entry))
    }

    pub(super) fn branch(&self, id: u32) -> &Branch {
        &self.branches[id as usize]
    }

    fn taken(&self, step: &Step) -> u32 {
        self.branch(step.branch).child(step.child as usize)
    }

    /// Every change of a leaf's contents passes here, so that a walk sees none of it (`walk`).
    fn change_leaf<R>(&mut self, id: u32, change: impl FnOnce(&mut Leaf) -> R) -> R {
        if self.walk.is_some() {
            self.keep_for_walk(id);
        }
        let leaf = &mut self.leaves[id as usize];
        self.leaf_bytes -= leaf.allocated_bytes();
        let result = change(leaf);
        self.leaf_bytes += leaf.allocated_bytes();
        result
    }

    fn change_branch<R>(&mut self, id: u32, change: impl FnOnce(&mut Branch) -> R) -> R {
        let branch = &mut self.branches[id as usize];
        self.branch_bytes -= branch.allocated_bytes();
        let result = change(branch);
        self.branch_bytes += branch.allocated_bytes();
        result
    }

    fn add_leaf(&mut self, leaf: Leaf) -> u32 {
        let id = place(&mut self.leaves, &mut self.leaves_free);
        self.change_leaf(id, |place| *place = leaf);
        id
    }

    fn drop_leaf(&mut self, id: u32) {
        self.change_leaf(id, |place| *place = Leaf::default());
        self.leaves_free.push(id);
    }

    fn add_branch(&mut self, branch: Branch) -> u32 {
        let id = place(&mut self.branches, &mut self.branches_free);
        self.change_branch(id, |place| *place = branch);
        id
    }

    fn drop_branch(&mut self, id: u32) {
        self.change_branch(id, |place| *place = Branch::default());
        self.branches_free.push(id);
    }

    /// Replaces the leaf at the end of the path by as many as its new contents need.
    fn cut(&mut self, path: &Path, contents: &Contents, run_position: Option<usize>) {
        for (start, leaf) in contents.build_pieces(run_position) {
            if start == 0 {
                self.change_leaf(path.leaf, |place| *place = leaf);
                continue;
            }
            let separator = contents.separator(start);
            // The piece before this one is in the tree by now: its range ends with the cut leaf's.
            let path = self.path(&separator.bytes, separator.version);
            let id = self.add_leaf(leaf);
            self.link(&path, separator, id);
        }
    }

    /// Puts a node behind the leaf of the path, splitting branches upwards as they overflow.
    fn link(&mut self, path: &Path, separator: Separator, id: u32) {
        let (mut separator, mut id) = (separator, id);
        for step in path.steps[..path.height].iter().rev() {
            let index = step.child as usize;
            let at_edge = index + 1 == self.branch(step.branch).count();
            let split = self.change_branch(step.branch, |branch| {
                branch.insert(index, &separator, id);
                branch.is_too_large().then(|| branch.split(at_edge))
            });
            let Some((next_separator, right)) = split else { return };
            separator = next_separator;
            id = self.add_branch(right);
        }
        assert!(self.height < HEIGHT_MAX, "more leaves than memory can hold");
        self.root = self.add_branch(Branch::new(self.root, &separator, id));
        self.height += 1;
    }

    /// Takes the child of the step at `depth` out of its branch. The child itself is dropped by now.
    fn unlink(&mut self, path: &Path, depth: usize) {
        let step = path.steps[depth];
        self.change_branch(step.branch, |branch| branch.remove(step.child as usize));
        if depth == 0 {
            self.lower_root();
        } else if self.branch(step.branch).count() == 0 {
            self.drop_branch(step.branch);
            self.unlink(path, depth - 1);
        } else if self.branch(step.branch).is_small() {
            self.join_branch(path, depth);
        }
    }

    /// A root with one child gives way to it.
    fn lower_root(&mut self) {
        while self.height > 0 && self.branch(self.root).count() == 1 {
            let child = self.branch(self.root).child(0);
            self.drop_branch(self.root);
            self.root = child;
            self.height -= 1;
        }
    }

    /// Joins the leaf of the path with a neighbour under the same branch, if the result has room.
    fn join_leaf(&mut self, path: &Path) {
        let Some(depth) = path.height.checked_sub(1) else { return };
        for left_path in self.neighbour_pairs(path, depth) {
            let [left, right] = self.pair(&left_path, depth);
            let bytes = self.leaf(left).used_bytes() + self.leaf(right).used_bytes();
            if bytes > JOINED_BYTES_MAX {
                continue;
            }
            let contents = Contents::of_both(self.leaf(left), self.leaf(right));
            let Some(joined) = contents.build_whole() else { continue };
            self.change_leaf(left, |place| *place = joined);
            self.drop_leaf(right);
            self.unlink_right(left_path, depth);
            return;
        }
    }

    /// The same for the branch of the step at `depth`.
    fn join_branch(&mut self, path: &Path, depth: usize) {
        let parent_depth = depth - 1;
        for left_path in self.neighbour_pairs(path, parent_depth) {
            let [left, right] = self.pair(&left_path, parent_depth);
            let step = left_path.steps[parent_depth];
            let separator = self.branch(step.branch).separator(step.child as usize);
            let joined = self.branch(left).joined(separator, self.branch(right));
            let Some(joined) = joined else { continue };
            self.change_branch(left, |place| *place = joined);
            self.drop_branch(right);
            self.unlink_right(left_path, parent_depth);
            return;
        }
    }

    /// Paths to the left one of a pair of neighbours under one branch: the child of the step at
    /// `depth` with the next one, then with the one before.
    fn neighbour_pairs(&self, path: &Path, depth: usize) -> impl Iterator<Item = Path> + use<> {
        let Step { branch, child } = path.steps[depth];
        let count = self.branch(branch).count() as u32;
        let lefts = [Some(child), child.checked_sub(1)];
        let path = path.clone();
        lefts.into_iter().flatten().filter(move |left| left + 1 < count).map(move |left| {
            let mut left_path = path.clone();
            left_path.steps[depth].child = left;
            left_path
        })
    }

    fn pair(&self, left_path: &Path, depth: usize) -> [u32; 2] {
        let Step { branch, child } = left_path.steps[depth];
        let branch = self.branch(branch);
        [branch.child(child as usize), branch.child(child as usize + 1)]
    }

    /// Unlinks the right one of a pair: the separator between them goes with it.
    fn unlink_right(&mut self, mut left_path: Path, depth: usize) {
        left_path.steps[depth].child += 1;
        self.unlink(&left_path, depth);
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Path {
    pub(super) fn leaf(&self) -> u32 {
        self.leaf
    }
}

/// A free place in an arena.
fn place<T: Default>(arena: &mut Vec<T>, free: &mut Vec<u32>) -> u32 {
    free.pop().unwrap_or_else(|| append(arena, T::default()))
}

/// Puts a node at the end of an arena. Arenas grow by an eighth: doubling would show in the cost per
/// key.
pub(super) fn append<T>(arena: &mut Vec<T>, node: T) -> u32 {
    if arena.len() == arena.capacity() {
        arena.reserve_exact((arena.len() / 8).max(16));
    }
    arena.push(node);
    u32::try_from(arena.len() - 1).expect("four billion leaves need more memory than there is")
}
