//! Rules about the network: queues of connections, buffers of sockets, interfaces.

use super::{Family, Finding, Needs, Setting, Severity, size, sysctl};
use crate::facts::{Facts, Host, Interface, Interrupt, Network};
use crate::limits::{
    FAST_MBIT, INTERRUPTS_COUNTED_MIN, JUMBO_MTU, PORTS_MIN, RECEIVE_QUEUES_USEFUL,
    SOCKET_BUFFER_BYTES,
};

pub(super) fn advise(facts: &Facts, host: &Host, needs: &Needs) -> Vec<Finding> {
    let network = &host.network;
    let mut findings: Vec<Finding> =
        [syn_backlog(network, needs), slow_start(network), pacing(network), ports(network)]
            .into_iter()
            .flatten()
            .collect();
    findings.extend(buffers(network));
    for interface in &network.interfaces {
        findings.extend(mtu(interface));
        findings.extend(queues(facts, interface));
        findings.extend(interrupts(host, interface));
    }
    findings
}

fn syn_backlog(network: &Network, needs: &Needs) -> Option<Finding> {
    let now = network.syn_backlog.filter(|now| *now < needs.backlog)?;
    let finding = Family::Network.finding(
        Severity::Info,
        "syn_backlog",
        format!("the kernel remembers {now} connections that are half open"),
        "in a burst it falls back to SYN cookies, or drops who knocks.",
        format!("sysctl -w net.ipv4.tcp_max_syn_backlog={}", needs.backlog),
    );
    Some(finding.setting(sysctl("net.ipv4.tcp_max_syn_backlog", now, needs.backlog)))
}

fn slow_start(network: &Network) -> Option<Finding> {
    if network.slow_start_after_idle != Some(true) {
        return None;
    }
    let finding = Family::Network.finding(
        Severity::Info,
        "slow_start_after_idle",
        "a connection that was idle begins slowly again",
        "the first large answer on a kept connection takes several round trips more.",
        "sysctl -w net.ipv4.tcp_slow_start_after_idle=0",
    );
    Some(finding.setting(sysctl("net.ipv4.tcp_slow_start_after_idle", 1, 0)))
}

/// Not set by `--apply`: it is the better choice for clients behind long ways that lose packets.
fn pacing(network: &Network) -> Option<Finding> {
    let now = network.congestion_control.as_deref().filter(|name| name.starts_with("bbr"))?;
    let finding = Family::Network.finding(
        Severity::Info,
        "pacing",
        format!("TCP's congestion control is {now}, which sends by timers"),
        "where clients or a CDN are near, the timers cost CPU (up to a tenth of large uploads over \
         loopback) and bring nothing.",
        "sysctl -w net.ipv4.tcp_congestion_control=cubic, unless clients come over long ways.",
    );
    Some(finding.undo(format!("sysctl -w net.ipv4.tcp_congestion_control={now}")))
}

fn ports(network: &Network) -> Option<Finding> {
    let (first, last) = network.ports?;
    let count = last.checked_sub(first)?.saturating_add(1);
    if count >= PORTS_MIN {
        return None;
    }
    let wanted = "16384\t65000";
    let finding = Family::Network.finding(
        Severity::Info,
        "ports",
        format!("{count} ports are there for connections that go out"),
        "Ringfort itself needs few, but a proxy on this host has one for each connection to it.",
        "sysctl -w net.ipv4.ip_local_port_range=\"16384 65000\"",
    );
    let now = format!("{first}\t{last}");
    Some(finding.setting(sysctl("net.ipv4.ip_local_port_range", now, wanted)))
}

/// Ringfort asks for no size of buffers: the kernel lets them grow, up to the third number.
fn buffers(network: &Network) -> Vec<Finding> {
    let is_slow = |interface: &Interface| interface.speed_mbit.is_some_and(|mbit| mbit < FAST_MBIT);
    if !network.interfaces.is_empty() && network.interfaces.iter().all(is_slow) {
        return Vec::new();
    }
    let one = |name: &str, rule, direction: &str, now: Option<[u64; 3]>| {
        let [least, first, most] = now.filter(|now| now[2] < SOCKET_BUFFER_BYTES)?;
        let wanted = format!("{least}\t{first}\t{SOCKET_BUFFER_BYTES}");
        let finding = Family::Network.finding(
            Severity::Info,
            rule,
            format!("the {direction} buffer of a connection grows to {}", size(most)),
            "that is the most that can be under way: one connection gives no more in a second than that, \
             divided by its round trip.",
            format!("sysctl -w net.ipv4.{name}=\"{least} {first} {SOCKET_BUFFER_BYTES}\""),
        );
        let now = format!("{least}\t{first}\t{most}");
        Some(finding.setting(sysctl(&format!("net.ipv4.{name}"), now, wanted)))
    };
    let asked = |name: &str, rule, now: Option<u64>| {
        let now = now.filter(|now| *now < SOCKET_BUFFER_BYTES)?;
        let finding = Family::Network.finding(
            Severity::Info,
            rule,
            format!("net.core.{name} is {}", size(now)),
            "Ringfort asks for no size; a proxy or a client on this host that does gets no more.",
            format!("sysctl -w net.core.{name}={SOCKET_BUFFER_BYTES}"),
        );
        Some(finding.setting(sysctl(&format!("net.core.{name}"), now, SOCKET_BUFFER_BYTES)))
    };
    [
        one("tcp_rmem", "receive_buffer", "receive", network.receive_buffer),
        one("tcp_wmem", "send_buffer", "send", network.send_buffer),
        asked("rmem_max", "receive_buffer_max", network.receive_buffer_max),
        asked("wmem_max", "send_buffer_max", network.send_buffer_max),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn mtu(interface: &Interface) -> Option<Finding> {
    let now = interface.mtu.filter(|mtu| *mtu < JUMBO_MTU)?;
    let speed = interface.speed_mbit.filter(|mbit| *mbit >= FAST_MBIT)?;
    let name = &interface.name;
    Some(
        Family::Network.finding(
            Severity::Info,
            "mtu",
            format!("{name} has {} Gbit/s and an MTU of {now}", speed / 1000),
            "large bodies come in many more packets than they need; the card joins most of them, not all.",
            format!(
                "ip link set {name} mtu {JUMBO_MTU}, if every switch and host of the segment has it: \
                 otherwise connections hang."
            ),
        )
        // Not applied: it can cut the host off.
        .undo(format!("ip link set {name} mtu {now}")),
    )
}

fn queues(facts: &Facts, interface: &Interface) -> Option<Finding> {
    let wanted = facts.cpus.len().min(RECEIVE_QUEUES_USEFUL);
    let now = interface.receive_queues;
    if now == 0 || now >= wanted {
        return None;
    }
    let name = &interface.name;
    Some(
        Family::Network.finding(
            Severity::Info,
            "receive_queues",
            format!("receive queues of {name}: {now}, for {} CPUs", facts.cpus.len()),
            "packets are taken in by few CPUs, and each core's connections by others than its own.",
            format!("ethtool -L {name} combined {wanted}, if ethtool -l {name} says that it can."),
        )
        .undo(format!("ethtool -L {name} combined {now}")),
    )
}

fn interrupts(host: &Host, interface: &Interface) -> Option<Finding> {
    let cpu = crowded(&interface.interrupts)?;
    let name = &interface.name;
    let count = interface.interrupts.len();
    let finding = Family::Network.finding(
        Severity::Warn,
        "network_interrupts",
        format!("CPU {cpu} answers all {count} interrupts of {name}"),
        "the network is as fast as that one CPU, and the executor on it gets less of it.",
        "spread them: echo a CPU each into /proc/irq/N/smp_affinity_list, with irqbalance stopped or \
         told to leave them.",
    );
    if host.cpus.irqbalance {
        return Some(finding);
    }
    // The CPUs next to the card, or all.
    let node = interface.node.and_then(|node| host.cpus.nodes.iter().find(|(n, _)| *n == node));
    let cpus = node.map_or(&host.cpus.online, |(_, cpus)| cpus);
    let settings = interface
        .interrupts
        .iter()
        .zip(cpus.iter().cycle())
        .map(|(interrupt, cpu)| Setting::new(interrupt.path(), &interrupt.allowed_list, cpu));
    let settings = settings.filter(|setting| setting.now != setting.wanted);
    Some(settings.fold(finding, Finding::setting))
}

/// The CPU that answers all interrupts of a device with several that have been at work, if there is one.
pub(super) fn crowded(interrupts: &[Interrupt]) -> Option<usize> {
    let mut busy = interrupts.iter().filter(|one| one.count >= INTERRUPTS_COUNTED_MIN);
    let first = busy.next()?;
    let [cpu] = first.effective[..] else { return None };
    let (mut others, mut alone) = (0, true);
    for interrupt in busy {
        others += 1;
        alone &= interrupt.effective == [cpu];
    }
    (others > 0 && alone).then_some(cpu)
}
