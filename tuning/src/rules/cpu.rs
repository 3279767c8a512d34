//! Rules about CPUs, their nodes, and the clock.

use super::{Family, Finding, Setting, Severity};
use crate::facts::{CLOCK_SOURCE, Facts, Host, as_list};
use crate::limits::IDLE_EXIT_US_MAX;

pub(super) fn advise(facts: &Facts, host: &Host) -> Vec<Finding> {
    [governor(host), idle_states(host), nodes(facts, host), clock_source(host), clock_sync(host)]
        .into_iter()
        .flatten()
        .collect()
}

fn governor(host: &Host) -> Option<Finding> {
    let can_be_set = |available: &[String]| available.iter().any(|name| name == "performance");
    let slow: Vec<_> = host
        .cpus
        .governors
        .iter()
        .filter(|governor| governor.name != "performance" && can_be_set(&governor.available))
        .collect();
    let first = slow.first()?;
    let driver = host.cpus.scaling_driver.as_deref().unwrap_or("the kernel");
    let mut finding = Family::Cpu.finding(
        Severity::Warn,
        "governor",
        format!("{driver} scales the clock of {} CPUs with {}", slow.len(), first.name),
        "a core that waits for I/O looks idle and is slowed down: latencies grow, and measurements \
         vary.",
        "cpupower frequency-set -g performance",
    );
    for governor in slow {
        let setting = Setting::new(governor.path(), &governor.name, "performance");
        finding = finding.setting(setting);
    }
    Some(finding)
}

fn idle_states(host: &Host) -> Option<Finding> {
    let exit = host.cpus.idle_exit_us.filter(|exit| *exit > IDLE_EXIT_US_MAX)?;
    Some(
        Family::Cpu.finding(
            Severity::Info,
            "idle_states",
            format!("a CPU may sleep so deeply that it takes {exit} us to wake"),
            "on a quiet server that is added to each request, and is more than a flush of a good drive \
             takes.",
            format!(
                "cpupower idle-set -D {IDLE_EXIT_US_MAX}, at the price of power: worth it where latency \
                 under little load counts."
            ),
        )
        .undo("cpupower idle-set -E"),
    )
}

fn nodes(facts: &Facts, host: &Host) -> Option<Finding> {
    let with_cpus: Vec<_> = host.cpus.nodes.iter().filter(|(_, cpus)| !cpus.is_empty()).collect();
    if with_cpus.len() < 2 {
        return None;
    }
    let disks = facts.data_dirs.iter().filter_map(|dir| dir.device.as_ref());
    let mut places: Vec<(usize, &str)> = disks
        .flat_map(|device| &device.disks)
        .filter_map(|disk| Some((disk.node?, disk.name.as_str())))
        .collect();
    let interfaces = &host.network.interfaces;
    places.extend(interfaces.iter().filter_map(|i| Some((i.node?, i.name.as_str()))));
    places.sort_unstable();
    places.dedup();
    let home = places.first()?.0;
    let told: Vec<String> =
        places.iter().map(|(node, name)| format!("{name} at node {node}")).collect();
    let (_, cpus) = with_cpus.iter().find(|(node, _)| *node == home)?;
    let together = places.iter().all(|(node, _)| *node == home);
    let remedy = match together {
        true => format!("start with --cores {}, the CPUs of node {home}.", as_list(cpus)),
        false => {
            "put drives and network card into slots of one node, and give --cores its CPUs; or \
                  run one server for each node."
                .to_owned()
        }
    };
    Some(Family::Cpu.finding(
        Severity::Info,
        "numa",
        format!("the host has {} nodes of memory, with {}", with_cpus.len(), told.join(", ")),
        "bytes that cross between nodes cost bandwidth, and latency on each access.",
        remedy,
    ))
}

fn clock_source(host: &Host) -> Option<Finding> {
    let source = host.clock.source.as_deref()?;
    if !["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&source) {
        return None;
    }
    let mut finding = Family::Cpu.finding(
        Severity::Warn,
        "clock_source",
        format!("time is read from {source}"),
        "each look at the clock is a microsecond on the bus, several times for each request.",
        "mend what made the kernel distrust the TSC (its log says why), often the firmware.",
    );
    if host.clock.available.iter().any(|name| name == "tsc") {
        finding = finding.setting(Setting::new(CLOCK_SOURCE, source, "tsc"));
    }
    Some(finding)
}

fn clock_sync(host: &Host) -> Option<Finding> {
    if host.clock.synchronised != Some(false) {
        return None;
    }
    Some(Family::Cpu.finding(
        Severity::Info,
        "clock_sync",
        "nothing tells the kernel that its clock is right",
        "a clock that is off by 15 minutes refuses every signed request; retention and life cycles go \
         by it too.",
        "run chronyd or systemd-timesyncd, unless the hypervisor keeps the clock.",
    ))
}
