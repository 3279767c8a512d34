//! Data directories: their filesystem, its mount, its free space, its device.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Root;
use super::device::Device;
use super::mounts::Mount;
use crate::limits::MOUNTINFO_BYTES_MAX;
use crate::sys;

/// What lies under one data directory, or under its nearest existing parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    pub path: PathBuf,
    pub filesystem: Filesystem,
    pub mount: Option<Mount>,
    pub total_bytes: u64,
    pub available_bytes: u64,
    pub direct_io: DirectIo,
    pub device: Option<Device>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    Ext4,
    Xfs,
    Btrfs,
    Zfs,
    Overlay,
    Tmpfs,
    Network,
    Fuse,
    /// The magic number that `statfs` gave.
    Other(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectIo {
    /// A block was written with `O_DIRECT`.
    Works,
    /// Why the open or the write was refused.
    Refused(String),
    /// The directory does not exist or cannot be written.
    Unknown,
}

impl DataDir {
    pub(super) fn read(root: &Root, path: &Path) -> Option<Self> {
        let existing = path.ancestors().find(|p| p.exists()).or_else(|| {
            // A relative path of a directory that is yet to be made ends in the empty path.
            path.is_relative().then_some(Path::new("."))
        })?;
        let space = sys::statfs(existing).ok()?;
        let is_there = existing == path;
        let mountinfo = root.text_within("/proc/self/mountinfo", MOUNTINFO_BYTES_MAX);
        let mount = fs::canonicalize(existing)
            .ok()
            .zip(mountinfo)
            .and_then(|(path, mountinfo)| Mount::of(&path, &mountinfo));
        Some(Self {
            path: path.to_path_buf(),
            filesystem: Filesystem::from_magic(space.magic),
            total_bytes: space.total_bytes,
            available_bytes: space.available_bytes,
            direct_io: if is_there { probe_direct_io(path) } else { DirectIo::Unknown },
            device: device(root, existing, mount.as_ref()),
            mount,
        })
    }
}

fn device(root: &Root, existing: &Path, mount: Option<&Mount>) -> Option<Device> {
    let Some(mount) = mount else {
        let device = fs::metadata(existing).ok()?.dev();
        return Device::read(root, (libc::major(device), libc::minor(device)), None);
    };
    Device::read(root, mount.device, Some(&mount.source))
}

impl Filesystem {
    /// The numbers of `statfs(2)`.
    fn from_magic(magic: u32) -> Self {
        match magic {
            0xEF53 => Self::Ext4,
            0x5846_5342 => Self::Xfs,
            0x9123_683E => Self::Btrfs,
            0x2FC1_2FC1 => Self::Zfs,
            0x794C_7630 => Self::Overlay,
            0x0102_1994 => Self::Tmpfs,
            // NFS, SMB 1, SMB 2 and later, Ceph, 9P.
            0x6969 | 0xFF53_4D42 | 0xFE53_4D42 | 0x00C3_6400 | 0x0102_1997 => Self::Network,
            0x6573_5546 => Self::Fuse,
            other => Self::Other(other),
        }
    }
}

/// One block on the boundary that direct I/O asks for.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// Writes a block to a file that never has a name, so that nothing can stay behind.
fn probe_direct_io(dir: &Path) -> DirectIo {
    let open =
        |flags| OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE | flags).open(dir);
    // Without O_DIRECT first: if that fails, the directory is at fault, and not direct I/O.
    if open(0).is_err() {
        return DirectIo::Unknown;
    }
    match open(libc::O_DIRECT).and_then(|file| write_block(&file)) {
        Ok(()) => DirectIo::Works,
        Err(e) if e.kind() == io::ErrorKind::StorageFull => DirectIo::Unknown,
        Err(e) => DirectIo::Refused(e.to_string()),
    }
}

fn write_block(file: &File) -> io::Result<()> {
    let block = Box::new(Block([0; 4096]));
    file.write_all_at(&block.0, 0)
}
