//! CPU time, memory and device I/O of a process, from `/proc`.

use crate::error::{Error, Result};
use std::path::Path;

/// Clock ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every Linux architecture that the
/// runtime supports.
const TICKS_PER_SECOND: f64 = 100.0;
const NANOSECOND: f64 = 1e-9;

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time of all threads, those that have ended among them, to a clock tick.
    cpu_ticks_seconds: f64,
    /// To a nanosecond, but only of threads that are still there.
    cpu_running_seconds: f64,
    /// How long threads that are still there were ready to run and had to wait for a CPU.
    pub wait_seconds: f64,
    /// Resident memory now and its highest level.
    pub resident_bytes: u64,
    pub resident_bytes_max: u64,
    /// What storage devices have read and will write for it; `None` where that may not be read.
    pub device: Option<DeviceBytes>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceBytes {
    pub read: u64,
    pub written: u64,
}

impl Usage {
    /// CPU time used since an earlier moment.
    pub fn cpu_seconds_since(&self, before: &Self) -> f64 {
        let ticks = self.cpu_ticks_seconds - before.cpu_ticks_seconds;
        let running = self.cpu_running_seconds - before.cpu_running_seconds;
        // Where they disagree by more than rounding does, threads have ended and taken theirs along.
        if running >= ticks - 2.0 / TICKS_PER_SECOND { running } else { ticks }.max(0.0)
    }

    /// Of the threads that were there at both moments.
    pub fn wait_seconds_since(&self, before: &Self) -> f64 {
        (self.wait_seconds - before.wait_seconds).max(0.0)
    }
}

/// `pid`: `None` for this process.
pub fn usage(pid: Option<u32>) -> Result<Usage> {
    let directory = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let read = |name: &str| {
        let path = format!("{directory}/{name}");
        std::fs::read_to_string(&path).map_err(|source| Error::io(path, source))
    };
    let ticks = cpu_seconds(&read("stat")?).ok_or_else(|| {
        Error::Runtime(format!("{directory}/stat does not have the form of proc(5)"))
    })?;
    let status = read("status")?;
    let [running, waiting] = thread_seconds(Path::new(&directory));
    Ok(Usage {
        cpu_ticks_seconds: ticks,
        cpu_running_seconds: running,
        wait_seconds: waiting,
        resident_bytes: status_bytes(&status, "VmRSS:"),
        resident_bytes_max: status_bytes(&status, "VmHWM:"),
        device: read("io").ok().and_then(|text| device_bytes(&text)),
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

/// Running and waiting time of all threads that are there; 0 where the kernel does not keep them.
fn thread_seconds(directory: &Path) -> [f64; 2] {
    let Ok(threads) = std::fs::read_dir(directory.join("task")) else { return [0.0; 2] };
    let read = |path: &Path| std::fs::read_to_string(path.join("schedstat")).ok();
    let texts = threads.flatten().filter_map(|thread| read(&thread.path()));
    texts.fold([0.0; 2], |[running, waiting], text| {
        let mut fields = text.split_ascii_whitespace();
        let mut next = || fields.next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        [running + next() * NANOSECOND, waiting + next() * NANOSECOND]
    })
}

fn device_bytes(io: &str) -> Option<DeviceBytes> {
    let value = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
    Some(DeviceBytes { read: value("read_bytes: ")?, written: value("write_bytes: ")? })
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
        assert!(usage.device.is_some());
    }

    #[test]
    fn time_of_threads_that_have_ended_is_not_lost() {
        let usage = |ticks, running| Usage {
            cpu_ticks_seconds: ticks,
            cpu_running_seconds: running,
            ..Usage::default()
        };
        let since = |after: Usage, before| after.cpu_seconds_since(&before);
        assert_eq!(since(usage(1.01, 0.5035), usage(1.0, 0.5)), 0.5035 - 0.5);
        assert_eq!(since(usage(2.5, 0.2), usage(1.0, 0.5)), 1.5);
    }

    #[test]
    fn device_bytes_are_found_by_name() {
        let text =
            "rchar: 9\nwchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        let device = device_bytes(text).unwrap();
        assert_eq!((device.read, device.written), (4096, 8192));
    }
}
