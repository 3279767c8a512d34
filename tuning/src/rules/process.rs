//! Rules about what the kernel lets the server do.

use super::{Family, Finding, Needs, Severity, size, sysctl};
use crate::facts::{Facts, Kernel};
use crate::limits::{
    KERNEL_MIN, KERNEL_TESTED, MEMLOCK_BYTES_MIN, MEMLOCK_RING_BYTES, MEMORY_PERCENT_MAX,
    OPEN_FILES_MIN,
};

pub(super) fn check(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    [
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
    .collect()
}

fn finding(
    severity: Severity,
    rule: &'static str,
    what: impl Into<String>,
    cost: impl Into<String>,
    remedy: impl Into<String>,
) -> Option<Finding> {
    Some(Family::Process.finding(severity, rule, what, cost, remedy))
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
    let finding = finding(
        Severity::Info,
        "backlog",
        format!("the kernel queues at most {somaxconn} new connections per listener"),
        "bursts of new connections wait a second or more for their retry.",
        format!("set the sysctl net.core.somaxconn to {} or more.", needs.backlog),
    )?;
    Some(finding.setting(sysctl("net.core.somaxconn", somaxconn, needs.backlog)))
}
