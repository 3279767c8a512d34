//! Rules about data directories, their filesystems and their disks.

use super::{Family, Finding, Setting, Severity, size};
use crate::facts::{DataDir, DirectIo, Disk, Facts, Filesystem, Mount, WriteCache};
use crate::limits::{
    BLOCK_BYTES, FREE_BYTES_MIN, NVME_BLOCK_BYTES, QUEUE_REQUESTS_MIN, TRANSFER_KIB_MIN,
};

/// What a start must know of a directory.
pub(super) fn check(dir: &DataDir) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        [filesystem(dir), direct_io(dir), free_space(dir), barriers(dir), read_only(dir)]
            .into_iter()
            .flatten()
            .collect();
    for disk in disks(dir) {
        findings.extend([rotational(dir, disk), block_size(dir, disk)].into_iter().flatten());
    }
    findings
}

/// What beside that makes it slow. A disk or a filesystem under several directories is spoken of once.
pub(super) fn advise(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut mounts, mut known): (Vec<&Mount>, Vec<&str>) = Default::default();
    for dir in &facts.data_dirs {
        if let Some(mount) = &dir.mount
            && !mounts.contains(&mount)
        {
            mounts.push(mount);
            findings.extend(options(mount));
        }
        findings.extend(stacked(dir));
        for disk in disks(dir) {
            if !known.contains(&disk.name.as_str()) {
                known.push(&disk.name);
                findings.extend(queue(disk));
                findings.extend(cache(disk));
                findings.extend(lba_format(disk));
                findings.extend(interrupts(disk));
            }
        }
    }
    findings
}

fn disks(dir: &DataDir) -> &[Disk] {
    dir.device.as_ref().map_or(&[], |device| &device.disks)
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
    Some(Family::Storage.finding(
        Severity::Warn,
        "filesystem",
        what,
        cost,
        "use a directory on XFS or ext4.",
    ))
}

fn direct_io(dir: &DataDir) -> Option<Finding> {
    let DirectIo::Refused(reason) = &dir.direct_io else { return None };
    Some(Family::Storage.finding(
        Severity::Warn,
        "direct_io",
        format!("{} refuses direct I/O ({reason})", dir.path.display()),
        "every byte goes through the page cache: more CPU, and memory beyond the budget.",
        "use a directory on XFS or ext4.",
    ))
}

fn free_space(dir: &DataDir) -> Option<Finding> {
    if dir.available_bytes >= FREE_BYTES_MIN {
        return None;
    }
    Some(Family::Storage.finding(
        Severity::Warn,
        "free_space",
        format!("{} has {} free", dir.path.display(), size(dir.available_bytes)),
        "a new store may not fit, and an existing one may refuse writes soon.",
        "free space there, or choose another --data-dir.",
    ))
}

/// A flush that reaches nothing is worse than a slow one, yet the server works: so it is a warning that
/// a start survives.
fn barriers(dir: &DataDir) -> Option<Finding> {
    let mount = dir.mount.as_ref()?;
    let option = ["nobarrier", "barrier=0"].into_iter().find(|option| mount.has(option))?;
    let point = mount.point.display();
    Some(
        Family::Storage.finding(
            Severity::Warn,
            "barriers",
            format!("{point} is mounted with {option}"),
            "a flush does not reach the device: acknowledged writes are lost with the power, unless \
             every cache on the way survives it.",
            format!("mount -o remount,barrier {point}, and take {option} out of /etc/fstab."),
        )
        .undo(format!("mount -o remount,{option} {point}")),
    )
}

fn read_only(dir: &DataDir) -> Option<Finding> {
    let mount = dir.mount.as_ref().filter(|mount| mount.has("ro"))?;
    let point = mount.point.display();
    Some(Family::Storage.finding(
        Severity::Error,
        "read_only",
        format!("{point} is mounted read-only"),
        "nothing can be written there; a filesystem that met an error does this by itself.",
        format!("look into the kernel's log for why, then mount -o remount,rw {point}."),
    ))
}

fn rotational(dir: &DataDir, disk: &Disk) -> Option<Finding> {
    if disk.rotational != Some(true) {
        return None;
    }
    // A hypervisor's disk often says so without knowing.
    Some(Family::Storage.finding(
        if disk.is_virtual() { Severity::Info } else { Severity::Warn },
        "rotational",
        format!("{} is on {}, which says that it rotates", dir.path.display(), disk.name),
        "if it does, each durable write waits for a turn of the platter.",
        "use an NVMe drive.",
    ))
}

fn block_size(dir: &DataDir, disk: &Disk) -> Option<Finding> {
    let bytes = disk.logical_block_bytes.filter(|bytes| *bytes > BLOCK_BYTES)?;
    Some(Family::Storage.finding(
        Severity::Error,
        "block_size",
        format!("{} is on {}, with blocks of {bytes} bytes", dir.path.display(), disk.name),
        format!("all I/O is in blocks of {BLOCK_BYTES} bytes, which that device refuses."),
        "format the namespace with blocks of 4096 or 512 bytes.",
    ))
}

fn options(mount: &Mount) -> Vec<Finding> {
    let point = mount.point.display();
    let mut findings = Vec::new();
    if mount.has("data=journal") {
        findings.push(Family::Storage.finding(
            Severity::Warn,
            "journalled_data",
            format!("{point} is mounted with data=journal"),
            "every byte is written twice, and direct I/O is off.",
            "take data=journal out of /etc/fstab and mount it anew: the default, data=ordered, is \
             as safe for files that are synced.",
        ));
    }
    if mount.has("sync") {
        findings.push(
            Family::Storage
                .finding(
                    Severity::Warn,
                    "synchronous_mount",
                    format!("{point} is mounted with sync"),
                    "every write waits for the device, also those that nobody waits for.",
                    format!("mount -o remount,async {point}; Ringfort syncs what must be durable."),
                )
                .undo(format!("mount -o remount,sync {point}")),
        );
    }
    if mount.has("discard") {
        findings.push(
            Family::Storage
                .finding(
                    Severity::Info,
                    "online_discard",
                    format!("{point} is mounted with discard"),
                    "files that are removed are discarded at once, and on many drives reads and \
                 flushes wait for that. Segments are used again and seldom removed, so it is rare.",
                    format!("mount -o remount,nodiscard {point}, and enable fstrim.timer."),
                )
                .undo(format!("mount -o remount,discard {point}")),
        );
    }
    if mount.has("strictatime") {
        findings.push(
            Family::Storage
                .finding(
                    Severity::Info,
                    "access_times",
                    format!("{point} is mounted with strictatime"),
                    "each read of a file makes a change of its metadata that must be written.",
                    format!("mount -o remount,noatime {point}."),
                )
                .undo(format!("mount -o remount,strictatime {point}")),
        );
    }
    if mount.point.as_os_str() == "/" {
        findings.push(Family::Storage.finding(
            Severity::Info,
            "shared_filesystem",
            "the data is on the filesystem of the system itself",
            "logs and packages take space and flushes from the store, and it from them.",
            "give each --data-dir a drive of its own.",
        ));
    }
    findings
}

fn stacked(dir: &DataDir) -> Option<Finding> {
    let device = dir.device.as_ref().filter(|device| !device.layers.is_empty())?;
    let disks: Vec<&str> = device.disks.iter().map(|disk| disk.name.as_str()).collect();
    Some(Family::Storage.finding(
        Severity::Info,
        "stacked_devices",
        format!(
            "{} is on {}, over {}",
            dir.path.display(),
            device.layers.join(" over "),
            disks.join(", ")
        ),
        "each layer costs CPU for every request, and one filesystem over several disks is lost as a \
         whole; a RAID that keeps parity multiplies small writes.",
        "give each disk a filesystem of its own and name each with --data-dir, unless you want the \
         layer for its redundancy or its encryption.",
    ))
}

fn queue(disk: &Disk) -> Vec<Finding> {
    let rotates = disk.rotational == Some(true);
    let mut findings = Vec::new();
    if rotates && !disk.is_virtual() {
        return findings;
    }
    if let Some(scheduler) = &disk.scheduler
        && scheduler.name != "none"
        && scheduler.available.iter().any(|name| name == "none")
    {
        let mut setting = Setting::new(disk.queue("scheduler"), &scheduler.name, "none");
        // Another scheduler comes with its own number of requests.
        setting.disturbed = disk
            .requests
            .map(|count| (disk.queue("nr_requests"), count.to_string()))
            .into_iter()
            .collect();
        let finding = Family::Storage.finding(
            if rotates { Severity::Info } else { Severity::Warn },
            "scheduler",
            format!("{} sorts its requests with {}", disk.name, scheduler.name),
            "a fast device gains nothing by it: each request costs more CPU, and all cores share one \
             lock.",
            format!("echo none > {}", disk.queue("scheduler")),
        );
        findings.push(finding.setting(setting));
    }
    if let Some(requests) = disk.requests.filter(|count| *count < QUEUE_REQUESTS_MIN) {
        let finding = Family::Storage.finding(
            Severity::Info,
            "queue_requests",
            format!("a queue of {} takes {requests} requests", disk.name),
            "cores wait for a free request while the device could take more.",
            format!("echo {QUEUE_REQUESTS_MIN} > {}", disk.queue("nr_requests")),
        );
        let setting = Setting::new(disk.queue("nr_requests"), requests, QUEUE_REQUESTS_MIN);
        findings.push(finding.setting(setting));
    }
    if let Some(latency) = disk.writeback_throttle_us.filter(|latency| *latency > 0) {
        let finding = Family::Storage.finding(
            Severity::Info,
            "writeback_throttle",
            format!(
                "{} holds back writes of the page cache when reads take more than {latency} us",
                disk.name
            ),
            "direct I/O is not held back, but each of its requests is timed for it. Leave it if other \
             programs write to this disk.",
            format!("echo 0 > {}", disk.queue("wbt_lat_usec")),
        );
        findings.push(finding.setting(Setting::new(disk.queue("wbt_lat_usec"), latency, 0)));
    }
    if let Some((now, most)) = disk.transfer_kib.zip(disk.transfer_hardware_kib)
        && now < most.min(TRANSFER_KIB_MIN)
    {
        let wanted = most.min(TRANSFER_KIB_MIN);
        let finding = Family::Storage.finding(
            Severity::Info,
            "transfer_size",
            format!("{} is sent at most {now} KiB at once and takes {most}", disk.name),
            "reads and writes of large objects are cut into more requests than they need.",
            format!("echo {wanted} > {}", disk.queue("max_sectors_kb")),
        );
        findings.push(finding.setting(Setting::new(disk.queue("max_sectors_kb"), now, wanted)));
    }
    findings
}

fn cache(disk: &Disk) -> Option<Finding> {
    if disk.write_cache != Some(WriteCache::Back) || disk.fua != Some(false) {
        return None;
    }
    Some(Family::Storage.finding(
        Severity::Info,
        "volatile_cache",
        format!("{} has a write cache that loses data with the power, and no FUA", disk.name),
        "each durable write is a write and a flush of the whole cache: see the measured flush.",
        "use drives with power-loss protection, which answer a flush in some ten microseconds. Do not \
         write \"write through\" into its queue: that leaves the flushes out and the cache on.",
    ))
}

fn lba_format(disk: &Disk) -> Option<Finding> {
    let logical = disk.logical_block_bytes.filter(|_| disk.is_nvme())?;
    let physical = disk.physical_block_bytes?;
    if logical >= NVME_BLOCK_BYTES || physical < NVME_BLOCK_BYTES {
        return None;
    }
    Some(Family::Storage.finding(
        Severity::Info,
        "lba_format",
        format!("{} counts in blocks of {logical} bytes and works in {physical}", disk.name),
        "all I/O of Ringfort is in 4096 bytes, but a filesystem's own may not be, and the drive then \
         reads before it writes; its tables have eight times the entries.",
        format!(
            "on an EMPTY drive: nvme id-ns -H /dev/{0} lists its formats, nvme format /dev/{0} \
             --lbaf=N takes the one of 4096 bytes. It erases everything.",
            disk.name
        ),
    ))
}

fn interrupts(disk: &Disk) -> Option<Finding> {
    super::network::crowded(&disk.interrupts).map(|cpu| {
        Family::Storage.finding(
            Severity::Warn,
            "disk_interrupts",
            format!("CPU {cpu} answers all interrupts of {}, of {} queues", disk.name, disk.interrupts.len()),
            "that CPU is busy for all cores, and every completion crosses to another one.",
            "start the kernel without settings that gather them (irqaffinity=, isolcpus=managed_irq); \
             the kernel spreads those of an NVMe drive by itself.",
        )
    })
}
