//! CPU time and memory of a process, from `/proc`.

use crate::error::{Error, Result};
use serde::Serialize;

/// Clock ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every Linux architecture that the
/// runtime supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// User and system time of all threads, those that have ended among them.
    pub cpu_seconds: f64,
    /// Resident memory now and its highest level.
    pub resident_bytes: u64,
    pub resident_bytes_max: u64,
}

/// `pid`: `None` for this process.
pub fn usage(pid: Option<u32>) -> Result<Usage> {
    let directory = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let read = |name: &str| {
        let path = format!("{directory}/{name}");
        std::fs::read_to_string(&path).map_err(|source| Error::io(path, source))
    };
    let cpu_seconds = cpu_seconds(&read("stat")?).ok_or_else(|| {
        Error::Runtime(format!("{directory}/stat does not have the form of proc(5)"))
    })?;
    let status = read("status")?;
    Ok(Usage {
        cpu_seconds,
        resident_bytes: status_bytes(&status, "VmRSS:"),
        resident_bytes_max: status_bytes(&status, "VmHWM:"),
    })
}

/// Fields 14 (utime) and 15 (stime). The second field, the name, may hold spaces and parentheses, so
/// counting starts behind its last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn status_bytes(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn own_usage_is_readable() {
        let usage = usage(None).unwrap();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes_max >= usage.resident_bytes);
    }
}
