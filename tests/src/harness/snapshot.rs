//! A directory as it is, byte for byte, to prove later that nothing in it was changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file's content and every directory, by path.
#[derive(PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Option<Vec<u8>>>);

// The content is megabytes that nobody wants to read.
impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Snapshot {
    pub fn of(directory: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut open = vec![directory.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let is_directory = path.is_dir();
                found.insert(path.clone(), (!is_directory).then(|| fs::read(&path).unwrap()));
                if is_directory {
                    open.push(path);
                }
            }
        }
        Self(found)
    }

    /// Files and their content, in order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.0.iter().filter_map(|(path, content)| Some((path.as_path(), content.as_deref()?)))
    }

    /// What is no longer as it was: made, removed or changed.
    pub fn changes(&self, now: &Self) -> Vec<PathBuf> {
        let paths = self.0.keys().chain(now.0.keys());
        let mut changed: Vec<PathBuf> =
            paths.filter(|path| self.0.get(*path) != now.0.get(*path)).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }
}
