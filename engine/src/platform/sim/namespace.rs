//! The names of the simulated disk: what is seen, what is on stable storage, and the changes between.
//!
//! Invariants:
//! - A change becomes durable by a sync of the directory of its (new) name that was submitted after
//!   it.
//! - At power loss every other change is kept or lost by itself, save that a change to a name is lost
//!   with any earlier one to the same name. A rename is kept or lost whole.
//!
//! Directories are never renamed nor removed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::inode::Inode;
use super::random::Random;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Directory,
    File(Rc<RefCell<Inode>>),
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Debug)]
pub(super) struct Namespace {
    current: Names,
    durable: Names,
    /// In the order in which they were made.
    changes: Vec<(u64, Change)>,
    changes_made: u64,
}

#[derive(Debug, Clone)]
enum Change {
    Create { path: PathBuf, node: Node },
    Rename { from: PathBuf, to: PathBuf, node: Node },
    Remove { path: PathBuf },
}

impl Namespace {
    pub(super) fn new() -> Self {
        let root: Names = [(PathBuf::from("/"), Node::Directory)].into();
        Self { current: root.clone(), durable: root, changes: Vec::new(), changes_made: 0 }
    }

    /// The same names and bytes, in files of their own, all of it durable.
    pub(super) fn settled(&self) -> Self {
        let settled = |node: &Node| match node {
            Node::Directory => Node::Directory,
            Node::File(inode) => Node::File(Rc::new(RefCell::new(inode.borrow().settled()))),
        };
        let nodes = self.current.iter().map(|(path, node)| (path.clone(), settled(node)));
        let current: Names = nodes.collect();
        Self { durable: current.clone(), current, changes: Vec::new(), changes_made: 0 }
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<()> {
        self.require_directory(parent(path))?;
        if self.current.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(Change::Create { path: path.to_owned(), node });
        Ok(())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Rc<RefCell<Inode>>> {
        match self.current.get(path) {
            Some(Node::File(inode)) => Ok(Rc::clone(inode)),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.require_directory(directory)?;
        let children = self.current.keys().filter(|path| path.parent() == Some(directory));
        Ok(children.cloned().collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.require_directory(parent(to))?;
        let node = Node::File(self.file(from)?);
        if matches!(self.current.get(to), Some(Node::Directory)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove { path: path.to_owned() });
        Ok(())
    }

    /// The number of the next change: what a sync that is submitted now does not cover.
    pub(super) fn begin_sync(&self) -> u64 {
        self.changes_made
    }

    pub(super) fn complete_sync(&mut self, directory: &Path, before: u64) -> io::Result<()> {
        self.require_directory(directory)?;
        // Backwards, so that an earlier change is taken along with a later one of the same name.
        let mut needed = BTreeSet::new();
        let mut covered = BTreeSet::new();
        for (number, change) in self.changes.iter().rev() {
            let [name, other] = change.names();
            let concerned = parent(name) == directory || needed.contains(name);
            if *number < before && (concerned || needed.contains(other)) {
                needed.extend([name.to_owned(), other.to_owned()]);
                covered.insert(*number);
            }
        }
        for (_, change) in self.changes.extract_if(.., |(number, _)| covered.contains(number)) {
            change.apply(&mut self.durable);
        }
        Ok(())
    }

    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let mut lost = BTreeSet::new();
        for (_, change) in std::mem::take(&mut self.changes) {
            let names = change.names().map(Path::to_owned);
            if random.coin() || names.iter().any(|name| lost.contains(name)) {
                lost.extend(names);
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.drop_orphans();
        self.current = self.durable.clone();
    }

    /// All files that have a name, with it, in the names' order.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &Rc<RefCell<Inode>>)> {
        self.current.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.as_path(), inode)),
            Node::Directory => None,
        })
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.current);
        self.changes.push((self.changes_made, change));
        self.changes_made += 1;
    }

    /// Entries of a directory whose own name was lost cannot be reached.
    fn drop_orphans(&mut self) {
        // A directory sorts before what is in it.
        let mut kept = Names::new();
        for (path, node) in std::mem::take(&mut self.durable) {
            let reachable = path.parent().is_none_or(|parent| kept.contains_key(parent));
            if reachable {
                kept.insert(path, node);
            }
        }
        self.durable = kept;
    }

    fn require_directory(&self, path: &Path) -> io::Result<()> {
        match self.current.get(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Change {
    /// The name that the change is about, and the other one (the same unless it is a rename).
    fn names(&self) -> [&Path; 2] {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => [path, path],
            Self::Rename { from, to, .. } => [to, from],
        }
    }

    fn apply(self, names: &mut Names) {
        match self {
            Self::Create { path, node } => {
                names.insert(path, node);
            }
            Self::Rename { from, to, node } => {
                names.remove(&from);
                names.insert(to, node);
            }
            Self::Remove { path } => {
                names.remove(&path);
            }
        }
    }
}

/// The directory of a name. Panics on a relative path: the simulator has no working directory.
fn parent(path: &Path) -> &Path {
    assert!(path.is_absolute(), "simulated paths are absolute, not {}", path.display());
    path.parent().unwrap_or(path)
}
