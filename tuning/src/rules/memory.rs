//! Rules about memory: swap, huge pages, dirty pages.

use super::{Family, Finding, Setting, Severity, size, sysctl};
use crate::facts::{Host, Memory, TRANSPARENT_HUGE_PAGES};
use crate::limits::{DIRTY_BACKGROUND_PERCENT, DIRTY_BYTES_MAX, DIRTY_PERCENT, SWAPPINESS_MAX};

pub(super) fn advise(host: &Host) -> Vec<Finding> {
    let memory = &host.memory;
    [swap(memory), huge_pages(memory), reserved_pages(memory), dirty(memory), reclaim(memory)]
        .into_iter()
        .flatten()
        .collect()
}

fn swap(memory: &Memory) -> Option<Finding> {
    let swap = memory.swap_bytes.filter(|bytes| *bytes > 0)?;
    let now = memory.swappiness.filter(|now| *now > SWAPPINESS_MAX)?;
    let finding = Family::Memory.finding(
        Severity::Warn,
        "swap",
        format!("the host has {} of swap and vm.swappiness is {now}", size(swap)),
        "pages of the index that were not needed for a while go to the disk, and whoever needs them \
         holds up a whole core.",
        format!("sysctl -w vm.swappiness={SWAPPINESS_MAX}, or swapoff -a on a dedicated host."),
    );
    Some(finding.setting(sysctl("vm.swappiness", now, SWAPPINESS_MAX)))
}

/// Ringfort asks for huge pages where it wants them, for its I/O buffers.
fn huge_pages(memory: &Memory) -> Option<Finding> {
    let now = memory.transparent_huge_pages.as_deref()?;
    let (severity, what, cost) = match now {
        "always" => (
            Severity::Info,
            "every program gets huge pages unasked",
            "memory that is touched here and there is backed by 2 MiB each, beyond the budget, and \
             finding free ones can hold up a core.",
        ),
        "never" => (
            Severity::Warn,
            "no program gets huge pages, not even who asks for them",
            "I/O buffers lie in small pages: large bodies cost a third more CPU, and a drive gets \
             64 pieces for one.",
        ),
        _ => return None,
    };
    let remedy = format!("echo madvise > {TRANSPARENT_HUGE_PAGES}");
    let finding = Family::Memory.finding(severity, "transparent_huge_pages", what, cost, remedy);
    Some(finding.setting(Setting::new(TRANSPARENT_HUGE_PAGES, now, "madvise")))
}

fn reserved_pages(memory: &Memory) -> Option<Finding> {
    let bytes = memory.reserved_huge_bytes.filter(|bytes| *bytes > 0)?;
    let pages = memory.reserved_huge_pages?;
    let finding = Family::Memory.finding(
        Severity::Info,
        "reserved_huge_pages",
        format!("{} are set aside in {pages} huge pages", size(bytes)),
        "Ringfort uses none of them: that memory is lost to it.",
        "sysctl -w vm.nr_hugepages=0, unless another program needs them.",
    );
    // Left to the operator: another program may need them.
    Some(finding.undo(format!("sysctl -w vm.nr_hugepages={pages}")))
}

fn dirty(memory: &Memory) -> Option<Finding> {
    let total = memory.total_bytes?;
    let now = memory.dirty_ratio.filter(|percent| *percent > DIRTY_PERCENT)?;
    let background = memory.dirty_background_ratio?;
    let dirty = (total / 100).saturating_mul(now);
    if dirty <= DIRTY_BYTES_MAX {
        return None;
    }
    let mut finding = Family::Memory.finding(
        Severity::Info,
        "dirty_pages",
        format!(
            "up to {} may be written and not on a disk yet (vm.dirty_ratio is {now})",
            size(dirty)
        ),
        "Ringfort writes past the page cache, but what other programs wrote comes to the disks in one \
         flood, and flushes wait behind it.",
        format!(
            "sysctl -w vm.dirty_background_ratio={DIRTY_BACKGROUND_PERCENT} \
             vm.dirty_ratio={DIRTY_PERCENT}"
        ),
    );
    // The kernel never takes a background share above the other.
    if background > DIRTY_BACKGROUND_PERCENT {
        let setting = sysctl("vm.dirty_background_ratio", background, DIRTY_BACKGROUND_PERCENT);
        finding = finding.setting(setting);
    }
    Some(finding.setting(sysctl("vm.dirty_ratio", now, DIRTY_PERCENT)))
}

fn reclaim(memory: &Memory) -> Option<Finding> {
    let now = memory.zone_reclaim_mode.filter(|mode| *mode > 0)?;
    let finding = Family::Memory.finding(
        Severity::Warn,
        "zone_reclaim",
        format!("vm.zone_reclaim_mode is {now}"),
        "the kernel frees pages of one node although another has room, while who asked waits.",
        "sysctl -w vm.zone_reclaim_mode=0",
    );
    Some(finding.setting(sysctl("vm.zone_reclaim_mode", now, 0)))
}
