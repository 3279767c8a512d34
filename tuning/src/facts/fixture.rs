//! Trees of files that stand for a host, in tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use super::Root;

/// A directory that is removed with the test.
#[derive(Debug)]
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// Files by the names that the host would give them, and their text.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.parent_made(path);
        fs::write(path, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, to: &str) {
        std::os::unix::fs::symlink(to, self.parent_made(path)).unwrap();
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(self.0.path())
    }

    fn parent_made(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}
