//! The facts about this host on which the rules are based.
//!
//! Reading never fails as a whole: what cannot be read is `None`, empty or `Unknown`, and no rule
//! speaks about it. The only thing ever written is a probe file of one block in a data directory,
//! which has no name. No judgement is made here.

mod clock;
mod cpu;
mod data_dir;
mod device;
#[cfg(test)]
pub(crate) mod fixture;
mod interrupts;
mod memory;
mod mounts;
mod network;
mod process;
mod root;

use std::path::PathBuf;

pub use clock::Clock;
pub use cpu::{Cpus, Governor};
pub use data_dir::{DataDir, DirectIo, Filesystem};
pub use device::{Device, Disk, Scheduler, WriteCache};
pub use interrupts::Interrupt;
pub use memory::Memory;
pub use mounts::Mount;
pub use network::{Interface, Network};
pub use process::Kernel;
pub use root::Root;

pub(crate) use clock::CLOCK_SOURCE;
pub(crate) use cpu::as_list;
pub(crate) use memory::TRANSPARENT_HUGE_PAGES;
pub(crate) use root::chosen;

use crate::sys::{self, Resource};

/// What a start depends on.
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

/// What beside that decides how fast a host serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    pub cpus: Cpus,
    pub memory: Memory,
    pub network: Network,
    pub clock: Clock,
}

impl Facts {
    /// Looks at the host and at each data directory.
    pub fn read(root: &Root, data_dirs: &[PathBuf]) -> Self {
        let status = root.text("/proc/self/status").unwrap_or_default();
        Self {
            kernel: root.text("/proc/sys/kernel/osrelease").and_then(|text| Kernel::parse(&text)),
            io_uring: sys::probe_io_uring().map_err(|e| e.to_string()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpus: process::allowed_cpus(&status),
            memory_bytes: process::memory_bytes(root),
            memlock_bytes: sys::get_rlimit(Resource::LockedMemory).ok().map(|l| l.soft),
            memlock_exempt: process::has_ipc_lock(&status),
            open_files: sys::get_rlimit(Resource::OpenFiles).ok().map(|l| l.soft),
            somaxconn: root.number("/proc/sys/net/core/somaxconn"),
            data_dirs: data_dirs.iter().filter_map(|p| DataDir::read(root, p)).collect(),
        }
    }
}

impl Host {
    pub fn read(root: &Root) -> Self {
        Self {
            cpus: Cpus::read(root),
            memory: Memory::read(root),
            network: Network::read(root),
            clock: Clock::read(root),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn this_host_can_be_read_and_the_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("not/yet");
        let facts = Facts::read(&Root::host(), &[dir.path().to_path_buf(), missing]);
        assert!(facts.kernel.is_some());
        assert!(facts.cores > 0);
        assert!(!facts.cpus.is_empty());
        assert_eq!(facts.data_dirs.len(), 2);
        assert!(facts.data_dirs[0].total_bytes > 0);
        assert!(facts.data_dirs[0].mount.is_some());
        assert_ne!(facts.data_dirs[0].direct_io, DirectIo::Unknown);
        assert_eq!(facts.data_dirs[1].direct_io, DirectIo::Unknown);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!Host::read(&Root::host()).cpus.online.is_empty());
    }

    #[test]
    fn a_data_directory_is_told_by_the_mounts_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let tree = fixture::Tree::new(&[
            ("/proc/self/mountinfo", "27 1 259:0 / / rw,nobarrier - ext4 /dev/nvme0n1 rw\n"),
            ("/sys/devices/pci0/nvme0n1/queue/rotational", "0\n"),
        ]);
        tree.link("/sys/dev/block/259:0", "../../devices/pci0/nvme0n1");
        let facts = Facts::read(&tree.root(), &[dir.path().to_path_buf()]);
        let [data_dir] = &facts.data_dirs[..] else { panic!("{facts:?}") };
        assert!(data_dir.mount.as_ref().unwrap().has("nobarrier"));
        assert_eq!(data_dir.device.as_ref().unwrap().disks[0].rotational, Some(false));
    }
}
