//! What the kernel is, and what it lets this process do.

use super::Root;
use super::cpu::cpu_list;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
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

/// The effective capabilities are a mask in hexadecimal; `CAP_IPC_LOCK` is bit 14.
pub(super) fn has_ipc_lock(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << 14) != 0)
}

pub(super) fn allowed_cpus(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cpu_list(list.unwrap_or_default())
}

pub(super) fn memory_bytes(root: &Root) -> Option<u64> {
    let meminfo = root.text("/proc/meminfo");
    let host = meminfo.and_then(|text| meminfo_bytes(&text, "MemTotal"));
    let group = root.number("/sys/fs/cgroup/memory.max");
    match (host, group) {
        (Some(host), Some(group)) => Some(host.min(group)),
        (host, group) => host.or(group),
    }
}

/// A line of `/proc/meminfo` that counts in kibibytes.
pub(super) fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let kibibytes = meminfo_field(meminfo, name)?.strip_suffix("kB")?.trim();
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

pub(super) fn meminfo_field<'a>(meminfo: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    meminfo.lines().find_map(value).map(str::trim)
}

#[cfg(test)]
mod tests {
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
        let total = |text| meminfo_bytes(text, "MemTotal");
        assert_eq!(total("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(total("MemTotal: many\n"), None);
        assert_eq!(total("MemTotalish: 1 kB\n"), None);
        assert_eq!(total(""), None);
    }
}
