//! Rules: from the facts and what this server is asked to do, what is wrong and what to set.
//!
//! Pure. An [`Severity::Error`] is something with which the server could not start or would fail
//! soon after; everything that only costs speed or safety is a warning.

use std::fmt;

use crate::facts::{DataDir, DirectIo, Facts, Filesystem, Kernel};
use crate::limits::{
    BLOCK_BYTES, FREE_BYTES_MIN, KERNEL_MIN, KERNEL_TESTED, MEMLOCK_BYTES_MIN, MEMLOCK_RING_BYTES,
    MEMORY_PERCENT_MAX, OPEN_FILES_MIN,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warn,
    Error,
}

/// One thing about the host that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A stable name, for documentation and tests.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// What it costs to leave it so.
    pub cost: String,
    /// What to set.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} To mend it: {}", self.what, self.cost, self.remedy)
    }
}

/// What the configuration asks of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Executors.
    pub cores: usize,
    /// The CPUs that were asked for by number, if any were.
    pub cpus: Vec<usize>,
    /// Each executor has a CPU of its own.
    pub pinned: bool,
    /// The memory budget of the whole process.
    pub memory_bytes: u64,
    /// Registered I/O buffers of one core.
    pub io_memory_bytes: u64,
    /// Connections and files, all cores together.
    pub open_files: u64,
    /// The backlog that listeners ask for.
    pub backlog: u32,
}

/// All findings, the gravest first.
pub fn check(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let mut findings: Vec<Finding> = [
        kernel(facts),
        io_uring(facts),
        cores(facts, needs),
        memory(facts, needs),
        locked_memory(facts, needs),
        open_files(facts, needs),
        backlog(facts, needs),
    ]
    .into_iter()
    .flatten()
    .collect();
    for dir in &facts.data_dirs {
        findings.extend([filesystem(dir), direct_io(dir), free_space(dir)].into_iter().flatten());
        findings.extend([rotational(dir), block_size(dir)].into_iter().flatten());
    }
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    findings
}

fn finding(
    severity: Severity,
    rule: &'static str,
    what: impl Into<String>,
    cost: impl Into<String>,
    remedy: impl Into<String>,
) -> Option<Finding> {
    Some(Finding { severity, rule, what: what.into(), cost: cost.into(), remedy: remedy.into() })
}

fn kernel(facts: &Facts) -> Option<Finding> {
    let Kernel { major, minor } = facts.kernel?;
    let what = format!("the kernel is Linux {major}.{minor}");
    if (major, minor) < KERNEL_MIN {
        let cost = "io_uring lacks operations that the server needs; it cannot start.";
        return finding(Severity::Error, "kernel", what, cost, "run Linux 6.1 or newer.");
    }
    if (major, minor) < KERNEL_TESTED {
        let cost = "older than what is tested, without later fixes of io_uring.";
        return finding(Severity::Warn, "kernel", what, cost, "run Linux 6.1 or newer.");
    }
    None
}

fn io_uring(facts: &Facts) -> Option<Finding> {
    let reason = facts.io_uring.as_ref().err()?;
    finding(
        Severity::Error,
        "io_uring",
        format!("the kernel refuses io_uring ({reason})"),
        "all I/O goes through it; the server cannot start.",
        "set the sysctl kernel.io_uring_disabled to 0; in a container, allow io_uring_setup, \
         io_uring_enter and io_uring_register in its seccomp profile.",
    )
}

fn cores(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let there = facts.cpus.len();
    if let Some(missing) = needs.cpus.iter().find(|cpu| there > 0 && !facts.cpus.contains(cpu)) {
        return finding(
            Severity::Error,
            "cores",
            format!("CPU {missing} is asked for, and the process may not run on it"),
            "an executor cannot be placed there.",
            format!("start with --cores naming only CPUs of {:?}.", facts.cpus),
        );
    }
    let what = |count| format!("{} cores are asked for and {count} are there", needs.cores);
    if needs.pinned && there > 0 && needs.cores > there {
        let cost = "an executor would be without a CPU of its own.";
        let remedy = format!("start with --cores {there} or fewer.");
        return finding(Severity::Error, "cores", what(there), cost, remedy);
    }
    if needs.cores > facts.cores {
        let cost = "executors that share a CPU wait for each other.";
        let remedy = format!("start with --cores {} or fewer.", facts.cores);
        return finding(Severity::Warn, "cores", what(facts.cores), cost, remedy);
    }
    None
}

fn memory(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let there = facts.memory_bytes?;
    let what = format!(
        "a budget of {} of memory is asked for and the host has {}",
        size(needs.memory_bytes),
        size(there)
    );
    let remedy = format!("start with --memory {} or less.", size(there / 2));
    if needs.memory_bytes > there {
        let cost = "the process would be killed before it reaches its budget.";
        return finding(Severity::Error, "memory", what, cost, remedy);
    }
    if needs.memory_bytes > there / 100 * MEMORY_PERCENT_MAX {
        let cost = "little is left for the kernel; the process may be killed under load.";
        return finding(Severity::Warn, "memory", what, cost, remedy);
    }
    None
}

fn locked_memory(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let limit = facts.memlock_bytes?;
    if facts.memlock_exempt {
        return None;
    }
    let per_core = needs.io_memory_bytes.saturating_add(MEMLOCK_RING_BYTES);
    let wanted = per_core.saturating_mul(needs.cores as u64);
    let what = format!("{} of memory may be locked (RLIMIT_MEMLOCK)", size(limit));
    let remedy = "set LimitMEMLOCK=infinity in the systemd unit, or memlock unlimited in \
                  /etc/security/limits.conf, or grant CAP_IPC_LOCK.";
    if limit < MEMLOCK_BYTES_MIN {
        let cost = "the rings of io_uring do not fit; the server cannot start.";
        return finding(Severity::Error, "locked_memory", what, cost, remedy);
    }
    if limit < wanted {
        let cost = format!(
            "{} would be needed to register all I/O buffers; without that each read and write \
             costs more CPU.",
            size(wanted)
        );
        return finding(Severity::Warn, "locked_memory", what, cost, remedy);
    }
    None
}

fn open_files(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let limit = facts.open_files?;
    if limit >= needs.open_files {
        return None;
    }
    let severity = if limit < OPEN_FILES_MIN { Severity::Error } else { Severity::Warn };
    finding(
        severity,
        "open_files",
        format!("{limit} files may be open (RLIMIT_NOFILE)"),
        format!(
            "{} may be needed; connections beyond the limit will be refused.",
            needs.open_files
        ),
        format!(
            "set LimitNOFILE={} in the systemd unit (or raise `ulimit -Hn`), or lower \
             --max-connections.",
            needs.open_files
        ),
    )
}

fn backlog(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let somaxconn = facts.somaxconn?;
    if somaxconn >= needs.backlog {
        return None;
    }
    finding(
        Severity::Info,
        "backlog",
        format!("the kernel queues at most {somaxconn} new connections per listener"),
        "bursts of new connections wait a second or more for their retry.",
        format!("set the sysctl net.core.somaxconn to {} or more.", needs.backlog),
    )
}

fn filesystem(dir: &DataDir) -> Option<Finding> {
    let path = dir.path.display();
    let (name, cost) = match dir.filesystem {
        Filesystem::Ext4 | Filesystem::Xfs => return None,
        Filesystem::Tmpfs => ("tmpfs", "everything is lost at the next restart of the host."),
        Filesystem::Overlay => (
            "an overlay of a container",
            "the data goes with the container, and I/O takes a detour.",
        ),
        Filesystem::Network => {
            ("a network filesystem", "a flush depends on the far side's promises and is slow.")
        }
        Filesystem::Fuse => ("a FUSE filesystem", "what a flush means depends on its author."),
        Filesystem::Btrfs => {
            ("btrfs", "copy on write turns each overwritten segment into fragments.")
        }
        Filesystem::Zfs => {
            ("ZFS", "copy on write and its own cache double the work of each write.")
        }
        Filesystem::Other(_) => {
            ("of a kind that is not tested", "durability is not verified there.")
        }
    };
    let what = format!("{path} is on {name}");
    finding(Severity::Warn, "filesystem", what, cost, "use a directory on XFS or ext4.")
}

fn direct_io(dir: &DataDir) -> Option<Finding> {
    let DirectIo::Refused(reason) = &dir.direct_io else { return None };
    finding(
        Severity::Warn,
        "direct_io",
        format!("{} refuses direct I/O ({reason})", dir.path.display()),
        "every byte goes through the page cache: more CPU, and memory beyond the budget.",
        "use a directory on XFS or ext4.",
    )
}

fn free_space(dir: &DataDir) -> Option<Finding> {
    if dir.available_bytes >= FREE_BYTES_MIN {
        return None;
    }
    finding(
        Severity::Warn,
        "free_space",
        format!("{} has {} free", dir.path.display(), size(dir.available_bytes)),
        "a new store may not fit, and an existing one may refuse writes soon.",
        "free space there, or choose another --data-dir.",
    )
}

fn rotational(dir: &DataDir) -> Option<Finding> {
    let device = dir.device.as_ref().filter(|d| d.rotational == Some(true))?;
    // A hypervisor's disk often says so without knowing.
    let is_virtual = ["vd", "xvd"].iter().any(|prefix| device.name.starts_with(prefix));
    finding(
        if is_virtual { Severity::Info } else { Severity::Warn },
        "rotational",
        format!("{} is on {}, which says that it rotates", dir.path.display(), device.name),
        "if it does, each durable write waits for a turn of the platter.",
        "use an NVMe drive.",
    )
}

fn block_size(dir: &DataDir) -> Option<Finding> {
    let device = dir.device.as_ref()?;
    let bytes = device.logical_block_bytes.filter(|bytes| *bytes > BLOCK_BYTES)?;
    finding(
        Severity::Error,
        "block_size",
        format!("{} is on {}, with blocks of {bytes} bytes", dir.path.display(), device.name),
        format!("all I/O is in blocks of {BLOCK_BYTES} bytes, which that device refuses."),
        "format the namespace with blocks of 4096 or 512 bytes.",
    )
}

/// A size as an operator writes it: the largest unit that leaves no odd fraction of it.
fn size(bytes: u64) -> String {
    if bytes == u64::MAX {
        return "unlimited".to_string();
    }
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        // Two units' worth at least, so that the rounding stays small.
        if bytes >> shift >= 2 || (bytes >> shift == 1 && bytes.trailing_zeros() >= shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Device;

    fn good_dir() -> DataDir {
        DataDir {
            path: "/data".into(),
            filesystem: Filesystem::Xfs,
            total_bytes: 1 << 40,
            available_bytes: 1 << 39,
            direct_io: DirectIo::Works,
            device: Some(Device {
                name: "nvme0n1".to_string(),
                rotational: Some(false),
                logical_block_bytes: Some(512),
            }),
        }
    }

    fn good_facts() -> Facts {
        Facts {
            kernel: Some(Kernel { major: 6, minor: 18 }),
            io_uring: Ok(()),
            cores: 8,
            cpus: (0..8).collect(),
            memory_bytes: Some(32 << 30),
            memlock_bytes: Some(u64::MAX),
            memlock_exempt: false,
            open_files: Some(1 << 20),
            somaxconn: Some(4096),
            data_dirs: vec![good_dir()],
        }
    }

    fn needs() -> Needs {
        Needs {
            cores: 8,
            cpus: Vec::new(),
            pinned: true,
            memory_bytes: 16 << 30,
            io_memory_bytes: 64 << 20,
            open_files: 70_000,
            backlog: 4096,
        }
    }

    fn check_one(expected: Option<(Severity, &str)>, change: impl FnOnce(&mut Facts, &mut Needs)) {
        let (mut facts, mut needs) = (good_facts(), needs());
        change(&mut facts, &mut needs);
        let found = check(&facts, &needs);
        let found: Vec<_> = found.iter().map(|f| (f.severity, f.rule)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{facts:?}");
    }

    #[test]
    fn a_good_host_gives_no_findings() {
        check_one(None, |_, _| {});
    }

    #[test]
    fn what_cannot_be_read_gives_no_findings() {
        check_one(None, |facts, _| {
            facts.kernel = None;
            facts.memory_bytes = None;
            facts.memlock_bytes = None;
            facts.open_files = None;
            facts.somaxconn = None;
            facts.data_dirs[0].direct_io = DirectIo::Unknown;
            facts.data_dirs[0].device = None;
        });
    }

    #[test]
    fn kernel_versions() {
        for (major, minor, expected) in [
            (4, 19, Some(Severity::Error)),
            (5, 7, Some(Severity::Error)),
            (5, 8, Some(Severity::Warn)),
            (6, 0, Some(Severity::Warn)),
            (6, 1, None),
            (7, 0, None),
        ] {
            check_one(expected.map(|s| (s, "kernel")), |facts, _| {
                facts.kernel = Some(Kernel { major, minor });
            });
        }
        check_one(Some((Severity::Error, "io_uring")), |facts, _| {
            facts.io_uring = Err("EPERM".to_string());
        });
    }

    #[test]
    fn limits_of_the_process() {
        let memlock = |bytes, exempt, expected: Option<Severity>| {
            check_one(expected.map(|s| (s, "locked_memory")), |facts, _| {
                facts.memlock_bytes = Some(bytes);
                facts.memlock_exempt = exempt;
            });
        };
        memlock(64 << 10, false, Some(Severity::Error));
        memlock(8 << 20, false, Some(Severity::Warn));
        memlock(64 << 10, true, None);
        memlock(8 * ((64 << 20) + (512 << 10)), false, None);

        for (limit, expected) in
            [(100, Some(Severity::Error)), (1024, Some(Severity::Warn)), (70_000, None)]
        {
            check_one(expected.map(|s| (s, "open_files")), |facts, _| {
                facts.open_files = Some(limit);
            });
        }
        check_one(Some((Severity::Info, "backlog")), |facts, _| facts.somaxconn = Some(128));
    }

    #[test]
    fn cores_and_memory() {
        check_one(Some((Severity::Error, "cores")), |_, needs| needs.cores = 9);
        check_one(Some((Severity::Warn, "cores")), |_, needs| {
            needs.cores = 9;
            needs.pinned = false;
        });
        // A quota of time below the CPUs that there are.
        check_one(Some((Severity::Warn, "cores")), |facts, _| facts.cores = 2);
        check_one(Some((Severity::Error, "cores")), |_, needs| needs.cpus = vec![7, 8]);
        check_one(None, |facts, needs| {
            facts.cpus.clear();
            needs.cpus = vec![7, 8];
        });
        check_one(Some((Severity::Error, "memory")), |_, needs| needs.memory_bytes = 33 << 30);
        check_one(Some((Severity::Warn, "memory")), |_, needs| needs.memory_bytes = 31 << 30);
    }

    #[test]
    fn data_directories() {
        for filesystem in [
            Filesystem::Tmpfs,
            Filesystem::Overlay,
            Filesystem::Network,
            Filesystem::Fuse,
            Filesystem::Btrfs,
            Filesystem::Zfs,
            Filesystem::Other(1),
        ] {
            check_one(Some((Severity::Warn, "filesystem")), |facts, _| {
                facts.data_dirs[0].filesystem = filesystem;
            });
        }
        check_one(None, |facts, _| facts.data_dirs[0].filesystem = Filesystem::Ext4);
        check_one(Some((Severity::Warn, "direct_io")), |facts, _| {
            facts.data_dirs[0].direct_io = DirectIo::Refused("EINVAL".to_string());
        });
        check_one(Some((Severity::Warn, "free_space")), |facts, _| {
            facts.data_dirs[0].available_bytes = 1 << 20;
        });
        for (name, severity) in [("sda", Severity::Warn), ("vda", Severity::Info)] {
            check_one(Some((severity, "rotational")), |facts, _| {
                let device = facts.data_dirs[0].device.as_mut().expect("set above");
                device.rotational = Some(true);
                device.name = name.to_string();
            });
        }
        check_one(Some((Severity::Error, "block_size")), |facts, _| {
            let device = facts.data_dirs[0].device.as_mut().expect("set above");
            device.logical_block_bytes = Some(16384);
        });
    }

    #[test]
    fn the_gravest_finding_comes_first() {
        let mut facts = good_facts();
        facts.somaxconn = Some(128);
        facts.open_files = Some(1024);
        facts.kernel = Some(Kernel { major: 4, minor: 4 });
        let severities: Vec<_> = check(&facts, &needs()).iter().map(|f| f.severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Warn, Severity::Info]);
    }

    #[test]
    fn sizes_are_readable() {
        for (bytes, expected) in [
            (0, "0B"),
            (100, "100B"),
            (1 << 20, "1MiB"),
            (3 << 19, "1536KiB"),
            (16 << 30, "16GiB"),
            (u64::MAX, "unlimited"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
