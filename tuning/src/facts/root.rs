//! Where `/proc` and `/sys` are found: at the top of the host's own tree, or of a copy.
//!
//! Every file there is small text. What is missing, too long, or not UTF-8 reads as `None`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::limits::{DIRECTORY_ENTRIES_MAX, PSEUDO_FILE_BYTES_MAX};

/// The directory under which `proc` and `sys` stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// This host.
    pub fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A copy of some host's files.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        // Links in `/sys` are resolved, and what they lead to is compared with this.
        Self(fs::canonicalize(&directory).unwrap_or(directory))
    }

    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The file that the host calls `path`, which begins with `/`.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text without the white space around it.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        self.text_within(path, PSEUDO_FILE_BYTES_MAX)
    }

    pub(crate) fn text_within(&self, path: impl AsRef<Path>, bytes_max: u64) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.path(path)).ok()?;
        file.take(bytes_max).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn number<T: FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A switch that reads as `0` or `1`.
    pub(crate) fn switch(&self, path: impl AsRef<Path>) -> Option<bool> {
        match self.text(path)?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    /// The names in a directory, in order, numbers by their value; none if it cannot be listed.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(DIRECTORY_ENTRIES_MAX)
            .collect();
        names.sort_by_key(|name| {
            let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
            (name[..digits].to_owned(), name[digits..].parse::<u64>().ok(), name.clone())
        });
        names
    }

    /// Where a link leads, as the host calls it.
    pub(crate) fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let found = fs::canonicalize(self.path(path)).ok()?;
        Some(Path::new("/").join(found.strip_prefix(&self.0).ok()?))
    }

    pub(crate) fn is_dir(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).is_dir()
    }
}

/// The choice that stands in brackets, as in `none [mq-deadline] kyber`; a text without brackets is
/// itself the choice.
pub(crate) fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text, |(choice, _)| choice)
}

/// Everything that can be chosen.
pub(crate) fn choices(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::facts::fixture::Tree;

    #[test]
    fn choices_stand_in_brackets() {
        for (text, choice, all) in [
            ("none [mq-deadline] kyber", "mq-deadline", &["none", "mq-deadline", "kyber"][..]),
            ("[none]", "none", &["none"]),
            ("tsc", "tsc", &["tsc"]),
            ("", "", &[]),
        ] {
            assert_eq!(chosen(text), choice);
            assert_eq!(choices(text), all);
        }
    }

    #[test]
    fn files_are_read_below_the_root_and_links_stay_there() {
        let tree = Tree::new(&[
            ("/proc/number", "12\n"),
            ("/proc/switch", "1\n"),
            ("/proc/irq/9/x", ""),
            ("/proc/irq/10/x", ""),
        ]);
        tree.link("/sys/inside", "../proc");
        tree.link("/sys/outside", "/etc");
        let root = tree.root();
        assert_eq!(root.number("/proc/number"), Some(12));
        assert_eq!(root.switch("/proc/switch"), Some(true));
        assert_eq!(root.switch("/proc/number"), None);
        assert_eq!(root.text("/proc/absent"), None);
        assert_eq!(root.names("/proc/irq"), ["9", "10"]);
        assert_eq!(root.resolve("/sys/inside"), Some("/proc".into()));
        assert_eq!(root.resolve("/sys/outside"), None);
        assert!(Root::host().is_host() && !root.is_host());
    }
}
