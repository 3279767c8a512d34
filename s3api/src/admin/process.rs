//! What the kernel says of this process, read when metrics are asked for.
//!
//! A number that cannot be read is absent; nothing here fails. A few small reads under `/proc` that
//! do not touch a disk, so they may run on an executor.

use std::fs;
use std::os::unix::fs::MetadataExt;

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
}

/// The unit of times under `/proc`, fixed at 100 on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: resident_bytes(&status),
            // Since Linux 6.2 the size of this directory is the number of descriptors; before, it
            // is 0, and counting ten thousand names would hold the core up.
            open_files: fs::metadata("/proc/self/fd").ok().map(|m| m.size()).filter(|n| *n > 0),
        }
    }
}

/// The 14th and 15th fields; counting begins after the name, which may hold anything but ends with
/// the last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "exact for 2^53 ticks")]
    Some(user.checked_add(system)? as f64 / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_absence_is_none() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 2 0 0 0 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(cpu_seconds("1 (x) S 1"), None);
        assert_eq!(resident_bytes("VmRSS:\t  12 kB\n"), Some(12 << 10));
        assert_eq!(resident_bytes("VmSize: 1 kB"), None);
        assert!(Process::read().resident_bytes.is_some());
    }
}
