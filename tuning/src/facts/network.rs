//! The network: what the kernel allows its sockets, and the interfaces that are up.

use super::Root;
use super::device::node_of;
use super::interrupts::{Interrupt, Interrupts};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub syn_backlog: Option<u32>,
    /// What a socket may ask for.
    pub receive_buffer_max: Option<u64>,
    pub send_buffer_max: Option<u64>,
    /// Least, first and largest buffer of a connection that asks for none.
    pub receive_buffer: Option<[u64; 3]>,
    pub send_buffer: Option<[u64; 3]>,
    pub slow_start_after_idle: Option<bool>,
    pub congestion_control: Option<String>,
    pub queueing_discipline: Option<String>,
    /// First and last port of connections that go out.
    pub ports: Option<(u32, u32)>,
    pub interfaces: Vec<Interface>,
}

/// An interface that is up and has a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mtu: Option<u32>,
    /// Megabits in a second, where the device tells.
    pub speed_mbit: Option<u64>,
    pub receive_queues: usize,
    pub node: Option<usize>,
    pub interrupts: Vec<Interrupt>,
}

impl Network {
    pub(super) fn read(root: &Root) -> Self {
        let ipv4 = |name: &str| root.text(format!("/proc/sys/net/ipv4/{name}"));
        let interrupts = Interrupts::read(root);
        let interfaces = root.names("/sys/class/net");
        Self {
            syn_backlog: ipv4("tcp_max_syn_backlog").and_then(|text| text.parse().ok()),
            receive_buffer_max: root.number("/proc/sys/net/core/rmem_max"),
            send_buffer_max: root.number("/proc/sys/net/core/wmem_max"),
            receive_buffer: ipv4("tcp_rmem").and_then(|text| three(&text)),
            send_buffer: ipv4("tcp_wmem").and_then(|text| three(&text)),
            slow_start_after_idle: root.switch("/proc/sys/net/ipv4/tcp_slow_start_after_idle"),
            congestion_control: ipv4("tcp_congestion_control"),
            queueing_discipline: root.text("/proc/sys/net/core/default_qdisc"),
            ports: ipv4("ip_local_port_range").and_then(|text| {
                let (first, last) = text.split_once(char::is_whitespace)?;
                Some((first.parse().ok()?, last.trim().parse().ok()?))
            }),
            interfaces: interfaces
                .into_iter()
                .filter_map(|name| Interface::read(root, &interrupts, name))
                .collect(),
        }
    }
}

impl Interface {
    fn read(root: &Root, interrupts: &Interrupts, name: String) -> Option<Self> {
        let dir = format!("/sys/class/net/{name}");
        let device = root.resolve(format!("{dir}/device"))?;
        if root.text(format!("{dir}/operstate")).as_deref() != Some("up") {
            return None;
        }
        let queues = root.names(format!("{dir}/queues"));
        Some(Self {
            mtu: root.number(format!("{dir}/mtu")),
            // Virtual ones say -1.
            speed_mbit: root
                .number::<i64>(format!("{dir}/speed"))
                .and_then(|speed| u64::try_from(speed).ok()),
            receive_queues: queues.iter().filter(|queue| queue.starts_with("rx-")).count(),
            node: node_of(root, &device),
            interrupts: interrupts.of_device(root, &device),
            name,
        })
    }
}

fn three(text: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::Tree;

    #[test]
    fn the_network_is_read() {
        let tree = Tree::new(&[
            ("/proc/sys/net/core/rmem_max", "212992\n"),
            ("/proc/sys/net/core/default_qdisc", "fq_codel\n"),
            ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("/proc/sys/net/ipv4/tcp_wmem", "4096 x 6291456\n"),
            ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
            ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1\n"),
            ("/proc/sys/net/ipv4/tcp_congestion_control", "cubic\n"),
            ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("/proc/interrupts", "  CPU0 CPU1\n 50: 5 6 PCI-MSIX 1-edge eth0-TxRx-0\n"),
            ("/proc/irq/50/smp_affinity_list", "0\n"),
            ("/sys/devices/pci0/05.0/msi_irqs/50", "msix\n"),
            ("/sys/devices/pci0/05.0/numa_node", "1\n"),
            ("/sys/devices/pci0/05.0/net/eth0/mtu", "1500\n"),
            ("/sys/devices/pci0/05.0/net/eth0/speed", "25000\n"),
            ("/sys/devices/pci0/05.0/net/eth0/operstate", "up\n"),
            ("/sys/devices/pci0/05.0/net/eth0/queues/rx-0/rps_cpus", "0\n"),
            ("/sys/devices/pci0/05.0/net/eth0/queues/tx-0/xps_cpus", "0\n"),
            ("/sys/devices/pci0/05.0/net/eth1/operstate", "down\n"),
            ("/sys/class/net/lo/operstate", "unknown\n"),
        ]);
        for name in ["eth0", "eth1"] {
            let device = format!("/sys/devices/pci0/05.0/net/{name}");
            tree.link(&format!("{device}/device"), "../../../05.0");
            tree.link(&format!("/sys/class/net/{name}"), &format!("../..{}", &device[4..]));
        }
        let network = Network::read(&tree.root());
        assert_eq!(network.receive_buffer_max, Some(212_992));
        assert_eq!(network.receive_buffer, Some([4096, 131_072, 6_291_456]));
        assert_eq!(network.send_buffer, None);
        assert_eq!((network.syn_backlog, network.ports), (Some(2048), Some((32_768, 60_999))));
        assert_eq!(network.slow_start_after_idle, Some(true));
        assert_eq!(network.congestion_control.as_deref(), Some("cubic"));
        let [interface] = &network.interfaces[..] else { panic!("{network:?}") };
        assert_eq!(interface.name, "eth0");
        assert_eq!((interface.mtu, interface.speed_mbit), (Some(1500), Some(25_000)));
        assert_eq!((interface.receive_queues, interface.node), (1, Some(1)));
        assert_eq!(interface.interrupts.len(), 1);
        assert_eq!(Network::read(&Tree::new(&[]).root()), Network::default());
    }
}
