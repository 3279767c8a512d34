//! The facts about this host on which the rules are based.
//!
//! Reading never fails as a whole: what cannot be read is `None` or `Unknown`, and no rule speaks
//! about it. The only thing ever written is a probe file of one block in a data directory, removed
//! at once. No judgement is made here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::limits::{CPUS_PER_RANGE_MAX, PSEUDO_FILE_BYTES_MAX};
use crate::sys::{self, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kernel: Option<Kernel>,
    /// `Err` holds the reason of the refusal.
    pub io_uring: std::result::Result<(), String>,
    /// How many CPUs' worth of time the process may use.
    pub cores: usize,
    /// The CPUs that it may run on; empty if that cannot be read.
    pub cpus: Vec<usize>,
    /// Memory of the host, or of the control group if that is less.
    pub memory_bytes: Option<u64>,
    /// The soft limit of locked memory; `u64::MAX` is none.
    pub memlock_bytes: Option<u64>,
    /// The process holds `CAP_IPC_LOCK`, so the limit of locked memory does not bind it.
    pub memlock_exempt: bool,
    /// The soft limit of open descriptors.
    pub open_files: Option<u64>,
    pub somaxconn: Option<u32>,
    pub data_dirs: Vec<DataDir>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
}

/// What lies under one data directory, or under its nearest existing parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    pub path: PathBuf,
    pub filesystem: Filesystem,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub rotational: Option<bool>,
    pub logical_block_bytes: Option<u64>,
}

impl Facts {
    /// Looks at the host and at each data directory.
    pub fn read(data_dirs: &[PathBuf]) -> Self {
        let status = pseudo_file("/proc/self/status").unwrap_or_default();
        Self {
            kernel: pseudo_file("/proc/sys/kernel/osrelease").and_then(|t| Kernel::parse(&t)),
            io_uring: sys::probe_io_uring().map_err(|e| e.to_string()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpus: allowed_cpus(&status),
            memory_bytes: memory_bytes(),
            memlock_bytes: sys::get_rlimit(Resource::LockedMemory).ok().map(|l| l.soft),
            memlock_exempt: has_ipc_lock(&status),
            open_files: sys::get_rlimit(Resource::OpenFiles).ok().map(|l| l.soft),
            somaxconn: pseudo_file("/proc/sys/net/core/somaxconn")
                .and_then(|t| t.trim().parse().ok()),
            data_dirs: data_dirs.iter().filter_map(|p| DataDir::read(p)).collect(),
        }
    }
}

impl Kernel {
    /// Takes a release such as `6.18.44-generic`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl DataDir {
    fn read(path: &Path) -> Option<Self> {
        let existing = path.ancestors().find(|p| p.exists()).or_else(|| {
            // A relative path of a directory that is yet to be made ends in the empty path.
            path.is_relative().then_some(Path::new("."))
        })?;
        let space = sys::statfs(existing).ok()?;
        let is_there = existing == path;
        Some(Self {
            path: path.to_path_buf(),
            filesystem: Filesystem::from_magic(space.magic),
            total_bytes: space.total_bytes,
            available_bytes: space.available_bytes,
            direct_io: if is_there { probe_direct_io(path) } else { DirectIo::Unknown },
            device: fs::metadata(existing).ok().and_then(|m| Device::read(m.dev())),
        })
    }
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

impl Device {
    /// Follows a device number to its queue under `/sys`; anonymous devices (btrfs, overlay) have
    /// none.
    fn read(device: u64) -> Option<Self> {
        let numbers = format!("{}:{}", libc::major(device), libc::minor(device));
        let node = fs::canonicalize(Path::new("/sys/dev/block").join(numbers)).ok()?;
        // A partition has no queue of its own: its parent has.
        let disk = [Some(node.as_path()), node.parent()]
            .into_iter()
            .flatten()
            .find(|p| p.join("queue").is_dir())?;
        let attribute = |name: &str| pseudo_file(disk.join("queue").join(name));
        Some(Self {
            name: disk.file_name()?.to_string_lossy().into_owned(),
            rotational: attribute("rotational").map(|t| t.trim() == "1"),
            logical_block_bytes: attribute("logical_block_size")
                .and_then(|t| t.trim().parse().ok()),
        })
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

/// The effective capabilities are a mask in hexadecimal; `CAP_IPC_LOCK` is bit 14.
fn has_ipc_lock(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << 14) != 0)
}

/// The list reads as `0-3,8`.
fn allowed_cpus(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or_default().trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first = first.parse::<usize>().ok()?;
        Some(first..=last.parse::<usize>().ok()?.min(first + CPUS_PER_RANGE_MAX))
    });
    ranges.flatten().collect()
}

fn memory_bytes() -> Option<u64> {
    let host = pseudo_file("/proc/meminfo").and_then(|t| meminfo_total(&t));
    let group = pseudo_file("/sys/fs/cgroup/memory.max").and_then(|t| t.trim().parse::<u64>().ok());
    match (host, group) {
        (Some(host), Some(group)) => Some(host.min(group)),
        (host, group) => host.or(group),
    }
}

fn meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn pseudo_file(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(PSEUDO_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        for (release, expected) in [
            ("6.18.44-generic\n", Some((6, 18))),
            ("5.15.0", Some((5, 15))),
            ("6.1-rc3", Some((6, 1))),
            ("6", None),
            ("linux", None),
            ("", None),
        ] {
            let kernel = Kernel::parse(release).map(|k| (k.major, k.minor));
            assert_eq!(kernel, expected, "{release:?}");
        }
    }

    #[test]
    fn capability_mask_is_read() {
        assert!(has_ipc_lock("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(has_ipc_lock("CapEff:\t0000000000004000\n"));
        assert!(!has_ipc_lock("CapEff:\t0000000000000000\n"));
        assert!(!has_ipc_lock("CapEff:\tnonsense\n"));
        assert!(!has_ipc_lock(""));
    }

    #[test]
    fn allowed_cpus_are_read() {
        for (status, expected) in [
            ("Cpus_allowed_list:\t0-3,8\n", &[0, 1, 2, 3, 8][..]),
            ("Cpus_allowed_list:\t5\n", &[5]),
            ("Cpus_allowed_list:\tx-y,2-\n", &[]),
            ("", &[]),
        ] {
            assert_eq!(allowed_cpus(status), expected, "{status:?}");
        }
    }

    #[test]
    fn total_memory_is_read() {
        assert_eq!(meminfo_total("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(meminfo_total("MemTotal: many\n"), None);
        assert_eq!(meminfo_total(""), None);
    }

    #[test]
    fn this_host_can_be_read_and_the_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("not/yet");
        let facts = Facts::read(&[dir.path().to_path_buf(), missing]);
        assert!(facts.kernel.is_some());
        assert!(facts.cores > 0);
        assert!(!facts.cpus.is_empty());
        assert_eq!(facts.data_dirs.len(), 2);
        assert!(facts.data_dirs[0].total_bytes > 0);
        assert_ne!(facts.data_dirs[0].direct_io, DirectIo::Unknown);
        assert_eq!(facts.data_dirs[1].direct_io, DirectIo::Unknown);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
