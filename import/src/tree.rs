//! A directory tree as the objects of one bucket: keys are paths from its root, with `/`.
//!
//! Invariants: keys come in the order of their bytes, as from an endpoint; nothing outside of the tree is
//! read: links are not followed, and told; files are opened below the root's descriptor, with no link on the
//! way, so that a directory that becomes a link leads nowhere. What cannot be taken for an object is a
//! problem, unless it is a link or a special file. A file that changes while it is read is no object. One
//! directory's names for each level are in memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use walkdir::{DirEntry, WalkDir};

use crate::client::listing::{Item, Items, Scope, Version};
use crate::error::Failure;
use crate::limits::{KEY_BYTES_MAX, PROBLEMS_MAX};
use crate::meta::Head;

/// User metadata: seconds since 1970, with nanoseconds behind a point, as rclone has it.
const MODIFIED: &str = "x-amz-meta-mtime";

#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// The root, below which files are opened.
    descriptor: File,
    skipped: Mutex<Skipped>,
}

/// What was not taken, and why; told once though the tree is walked more than once.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Links and special files.
    pub paths: BTreeMap<String, &'static str>,
    /// Beyond those that are named.
    pub more: u64,
    /// What should have been an object, or holds some.
    pub problems: BTreeMap<String, String>,
    pub more_problems: u64,
}

/// What a file was when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Snapshot {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

impl Tree {
    /// # Errors
    /// It cannot be opened.
    pub fn new(root: &Path) -> io::Result<Self> {
        let descriptor = File::open(root)?;
        Ok(Self { root: root.to_owned(), descriptor, skipped: Mutex::default() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn take_skipped(&self) -> Skipped {
        std::mem::take(&mut self.skipped.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn list(&self, scope: &Scope) -> Items<'_> {
        let (prefix, after) = (scope.prefix.clone(), scope.after.clone());
        let walk = WalkDir::new(&self.root).follow_links(false).min_depth(1).sort_by(order);
        let within = prefix.clone();
        let entries = walk.into_iter();
        let entries = entries.filter_map(move |entry| self.item(entry, &within).transpose());
        Box::new(entries.filter(move |item| {
            item.as_ref().map_or(true, |item| {
                item.key.starts_with(&prefix)
                    && after.as_ref().is_none_or(|after| item.key > *after)
            })
        }))
    }

    pub fn find(&self, key: &str) -> Result<Option<Item>, Failure> {
        let found = match self.open(key) {
            Ok(file) => file.metadata().map_err(|error| unreadable(key, &error))?,
            Err(Failure::Changed(_)) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        Ok(found.is_file().then(|| item(key.to_owned(), &found)))
    }

    /// What a file's object is: its type by its name, and when it was modified.
    pub fn head(&self, key: &str) -> Result<(Head, Snapshot), Failure> {
        let file = self.open(key)?;
        let metadata = file.metadata().map_err(|error| unreadable(key, &error))?;
        if !metadata.is_file() {
            return Err(Failure::Changed(format!("{key:?} is no file any more")));
        }
        let mut headers = BTreeMap::new();
        let guess = mime_guess::from_path(key).first_raw();
        headers.insert("content-type".into(), guess.unwrap_or("application/octet-stream").into());
        let modified = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        headers.insert(MODIFIED.into(), modified);
        let head = Head {
            size: metadata.size(),
            etag: String::new(),
            version: None,
            headers,
            tag_count: None,
            checksum: None,
            is_opaque: false,
            part_count: None,
        };
        Ok((head, Snapshot::of(&metadata)))
    }

    pub fn read(&self, key: &str, snapshot: &Snapshot, from: u64, length: u64) -> Box<dyn Read> {
        let opened = self.open(key).and_then(|mut file| {
            file.seek(SeekFrom::Start(from)).map_err(|error| unreadable(key, &error))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Box::new(Piece {
                file,
                key: key.to_owned(),
                snapshot: *snapshot,
                left: length,
                is_checked: false,
            }),
            Err(failure) => Box::new(Broken(failure)),
        }
    }

    /// A key comes from a walk or from a journal; neither may lead out of the tree.
    fn open(&self, key: &str) -> Result<File, Failure> {
        let leads_out = key.split('/').any(|name| matches!(name, "" | "." | ".."));
        if leads_out {
            return Err(Failure::Local(format!("{key:?} is no path of the tree")));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(&self.descriptor, key, flags, Mode::empty(), resolve);
        opened.map(File::from).map_err(|error| unreadable(key, &error.into()))
    }

    fn item(
        &self,
        entry: walkdir::Result<DirEntry>,
        prefix: &str,
    ) -> Result<Option<Item>, Failure> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.unlisted(&error, prefix).map(|()| None),
        };
        let kind = entry.file_type();
        if kind.is_dir() {
            return Ok(None);
        }
        if kind.is_symlink() || !kind.is_file() {
            let reason =
                if kind.is_symlink() { "it is a symbolic link" } else { "it is no regular file" };
            self.skip(self.shown(entry.path()), reason);
            return Ok(None);
        }
        let key = entry.path().strip_prefix(&self.root).ok().and_then(Path::to_str);
        let reason = match (key, entry.metadata()) {
            (Some(key), Ok(metadata)) if key.len() <= KEY_BYTES_MAX => {
                return Ok(Some(item(key.to_owned(), &metadata)));
            }
            (Some(_), Ok(_)) => "its path is longer than a key may be".to_owned(),
            (None, _) => "its name is not UTF-8".to_owned(),
            (_, Err(error)) => return self.unlisted(&error, prefix).map(|()| None),
        };
        self.problem(entry.path(), prefix, reason);
        Ok(None)
    }

    /// A place that cannot be looked into. Without the root there is no listing; what is gone is nothing.
    fn unlisted(&self, error: &walkdir::Error, prefix: &str) -> Result<(), Failure> {
        let reason = error.io_error().map_or_else(|| error.to_string(), io::Error::to_string);
        let Some(path) = error.path().filter(|path| error.depth() > 0 && *path != self.root) else {
            let root = self.root.display();
            return Err(Failure::Local(format!("{root} cannot be read: {reason}")));
        };
        let is_gone = error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound);
        if !is_gone {
            self.problem(path, prefix, format!("it cannot be read: {reason}"));
        }
        Ok(())
    }

    fn problem(&self, path: &Path, prefix: &str, reason: String) {
        let place = path.strip_prefix(&self.root).unwrap_or(path).as_os_str().as_bytes();
        let holds_some = prefix.as_bytes().strip_prefix(place).is_some_and(|r| r.starts_with(b"/"));
        if !holds_some && !place.starts_with(prefix.as_bytes()) {
            return;
        }
        let shown = self.shown(path);
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.problems.len() < PROBLEMS_MAX {
            skipped.problems.insert(shown, reason);
        } else if !skipped.problems.contains_key(&shown) {
            skipped.more_problems += 1;
        }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn skip(&self, path: String, reason: &'static str) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.paths.len() < PROBLEMS_MAX {
            skipped.paths.insert(path, reason);
        } else if !skipped.paths.contains_key(&path) {
            skipped.more += 1;
        }
    }
}

fn item(key: String, metadata: &Metadata) -> Item {
    let version = Version {
        id: None,
        is_marker: false,
        is_latest: true,
        size: metadata.size(),
        etag: String::new(),
        modified: String::new(),
    };
    Item { key, versions: vec![version], is_ambiguous: false }
}

/// The order of keys: a directory stands where its name with a `/` would.
fn order(a: &DirEntry, b: &DirEntry) -> Ordering {
    fn name(entry: &DirEntry) -> impl Iterator<Item = u8> + '_ {
        let slash = entry.file_type().is_dir().then_some(b'/');
        entry.file_name().as_bytes().iter().copied().chain(slash)
    }
    name(a).cmp(name(b))
}

fn unreadable(key: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Changed(format!("{key:?} is not there any more")),
        _ => Failure::Local(format!("{key:?} cannot be read: {error}")),
    }
}

/// A piece of a file that must be at its end what it was at first.
struct Piece {
    file: File,
    key: String,
    snapshot: Snapshot,
    left: u64,
    is_checked: bool,
}

impl Piece {
    fn check(&mut self) -> io::Result<()> {
        self.is_checked = true;
        if Snapshot::of(&self.file.metadata()?) == self.snapshot {
            return Ok(());
        }
        let reason = format!("{:?} was written while it was read", self.key);
        Err(io::Error::other(Failure::Changed(reason)))
    }
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            if !self.is_checked {
                self.check()?;
            }
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..most])?;
        self.left -= count as u64;
        if count == 0 && most > 0 {
            let reason = format!("{:?} became shorter while it was read", self.key);
            return Err(io::Error::other(Failure::Changed(reason)));
        }
        // Before the last byte is given out: what it goes into would be whole with it.
        if self.left == 0 {
            self.check()?;
        }
        Ok(count)
    }
}

struct Broken(Failure);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Write;

    fn scope(after: Option<&str>) -> Scope {
        let after = after.map(str::to_owned);
        Scope { bucket: String::new(), prefix: String::new(), after, versions: false }
    }

    fn keys(tree: &Tree, after: Option<&str>) -> Vec<String> {
        tree.list(&scope(after)).map(|item| item.unwrap().key).collect()
    }

    #[test]
    fn keys_come_in_the_order_of_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/b", "a/ü", "a/b.c/d", "a-b", "a.b", "a0", "a b", "b/c/d"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let tree = Tree::new(dir.path()).unwrap();
        let found = keys(&tree, None);
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!((found.len(), &found), (8, &sorted));
        let later: Vec<String> = sorted.into_iter().filter(|key| key.as_str() > "a/b").collect();
        assert_eq!((later.len(), keys(&tree, Some("a/b"))), (4, later));
    }

    #[test]
    fn links_and_odd_names_are_told_and_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"odd\xff")), "x").unwrap();
        fs::write(dir.path().join("fine"), "x").unwrap();
        let tree = Tree::new(dir.path()).unwrap();
        assert_eq!(keys(&tree, None), ["fine"]);
        let Skipped { paths, problems, .. } = tree.take_skipped();
        assert_eq!((paths.len(), problems.len()), (1, 1), "{paths:?} {problems:?}");
        assert!(paths["link"].contains("link"));
        assert!(problems.values().all(|reason| reason.contains("UTF-8")));
        // Of other keys nothing is asked.
        let scope = Scope { prefix: "fine".into(), ..scope(None) };
        assert_eq!(tree.list(&scope).count(), 1);
        assert!(tree.take_skipped().problems.is_empty());
    }

    #[test]
    fn a_directory_that_becomes_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("f"), "secret").unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "x").unwrap();
        let tree = Tree::new(dir.path()).unwrap();
        let (_, snapshot) = tree.head("d/f").unwrap();
        fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("d")).unwrap();
        let mut text = String::new();
        assert!(tree.head("d/f").is_err() && tree.find("d/f").is_err());
        assert!(tree.read("d/f", &snapshot, 0, 6).read_to_string(&mut text).is_err());
        assert_eq!((text.as_str(), tree.head("e/f").unwrap().0.size), ("", 1));
    }

    #[test]
    fn a_root_that_is_gone_fails_the_listing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let tree = Tree::new(&root).unwrap();
        fs::remove_dir(&root).unwrap();
        assert!(tree.list(&scope(None)).next().unwrap().is_err());
    }

    #[test]
    fn no_key_leads_out_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path()).unwrap();
        for key in ["../x", "a/../../x", "/etc/passwd", "a//b", "."] {
            assert!(tree.head(key).is_err(), "{key}");
            assert!(tree.find(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.css");
        fs::write(&path, "hello").unwrap();
        let tree = Tree::new(dir.path()).unwrap();
        let (head, snapshot) = tree.head("f.css").unwrap();
        assert_eq!((head.size, head.headers["content-type"].as_str()), (5, "text/css"));
        let mut text = String::new();
        tree.read("f.css", &snapshot, 1, 3).read_to_string(&mut text).unwrap();
        assert_eq!(text, "ell");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        let error = tree.read("f.css", &snapshot, 0, 5).read_to_string(&mut text).unwrap_err();
        assert!(error.to_string().contains("while it was read"), "{error}");
        fs::write(&path, "").unwrap();
        let error = tree.read("f.css", &snapshot, 0, 5).read_to_string(&mut text).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}
