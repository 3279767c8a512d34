//! Mounts, as `/proc/self/mountinfo` tells them (proc_pid_mountinfo(5)).

use std::path::{Path, PathBuf};

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    /// `ext4`, `xfs`, ...
    pub kind: String,
    /// What was mounted, such as `/dev/nvme0n1p1`.
    pub source: String,
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Of the mount and of its filesystem, each once.
    pub options: Vec<String>,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }

    /// The mount on which an absolute path without links lies: the deepest, and of two at one place
    /// the later, which hides the other.
    pub(crate) fn of(path: &Path, mountinfo: &str) -> Option<Self> {
        let mounts = mountinfo.lines().filter_map(Self::parse);
        mounts
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - KIND SOURCE SUPER-OPTIONS`
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let point = unescaped(fields.nth(1)?);
        let options = fields.next()?;
        let mut fields = filesystem.split(' ');
        let kind = fields.next()?.to_owned();
        let source = unescaped(fields.next()?);
        let mut all: Vec<String> = Vec::new();
        for option in options.split(',').chain(fields.next().unwrap_or_default().split(',')) {
            if !option.is_empty() && !all.iter().any(|known| known == option) {
                all.push(option.to_owned());
            }
        }
        Some(Self { point: point.into(), kind, source, device, options: all })
    }
}

/// White space and backslashes are written as three octal digits.
fn unescaped(field: &str) -> String {
    let mut pieces = field.split('\\');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, piece.get(3..)) {
            (Some(code), Some(rest)) => {
                text.push(char::from(code));
                text.push_str(rest);
            }
            _ => {
                text.push('\\');
                text.push_str(piece);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,data=ordered
40 27 259:1 / /nvme0 rw,noatime shared:7 - xfs /dev/nvme0n1p1 rw,inode64
41 27 259:2 / /with\\040space rw - ext4 /dev/nvme1n1 rw,nobarrier
42 27 259:3 / /nvme0 rw,noatime - ext4 /dev/nvme2n1 rw
nonsense
";

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let of = |path: &str| Mount::of(Path::new(path), MOUNTINFO).unwrap();
        assert_eq!(of("/nvme0/data").source, "/dev/nvme2n1");
        assert_eq!(of("/nvme01/data").source, "/dev/vda");
        let spaced = of("/with space/data");
        assert_eq!((spaced.device, spaced.has("nobarrier")), ((259, 2), true));
        let root = of("/var/lib");
        assert_eq!((root.kind.as_str(), root.device), ("ext4", (254, 0)));
        assert_eq!(root.options, ["rw", "relatime", "discard", "data=ordered"]);
        assert_eq!(Mount::of(Path::new("/"), ""), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescaped("a\\040b\\134c\\9\\"), "a b\\c\\9\\");
    }
}
