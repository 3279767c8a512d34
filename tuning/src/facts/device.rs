//! Block devices: from the device of a filesystem down to the disks beneath it.
//!
//! A filesystem lies on a disk, on a partition of one, or on devices stacked over others (LVM, LUKS,
//! MD). Queues, caches and interrupts that matter are those of the disks.

use std::path::{Path, PathBuf};

use super::Root;
use super::interrupts::{Interrupt, Interrupts};
use super::root::{choices, chosen};
use crate::limits::{DISKS_MAX, STACKED_DEVICES_MAX};

/// What a filesystem lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// Stacked devices, from the filesystem's down; empty where it lies on a disk.
    pub layers: Vec<String>,
    pub disks: Vec<Disk>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    pub model: Option<String>,
    pub size_bytes: Option<u64>,
    pub rotational: Option<bool>,
    pub logical_block_bytes: Option<u64>,
    pub physical_block_bytes: Option<u64>,
    pub scheduler: Option<Scheduler>,
    /// Requests that one queue takes before whoever comes next waits.
    pub requests: Option<u64>,
    /// Queues between the kernel and the device.
    pub queues: Option<usize>,
    pub write_cache: Option<WriteCache>,
    /// One write can be made durable without a flush of the whole cache.
    pub fua: Option<bool>,
    /// The largest transfer that the kernel makes, and that the device takes.
    pub transfer_kib: Option<u64>,
    pub transfer_hardware_kib: Option<u64>,
    /// The latency at which writes of the page cache are held back; 0: never.
    pub writeback_throttle_us: Option<u64>,
    pub node: Option<usize>,
    pub interrupts: Vec<Interrupt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler {
    pub name: String,
    pub available: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteCache {
    /// What was written is lost with the power unless it was flushed.
    Back,
    /// What was written is safe, or the device says so.
    Through,
}

impl Disk {
    /// A file of its queue.
    pub fn queue(&self, name: &str) -> String {
        format!("/sys/block/{}/queue/{name}", self.name)
    }

    pub fn is_nvme(&self) -> bool {
        self.name.starts_with("nvme")
    }

    /// A hypervisor's disk, which knows little of what is beneath it.
    pub fn is_virtual(&self) -> bool {
        ["vd", "xvd"].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

impl Device {
    /// By the device's numbers, or by the name that was mounted where those are anonymous (btrfs).
    pub(crate) fn read(root: &Root, numbers: (u32, u32), source: Option<&str>) -> Option<Self> {
        let by_numbers = format!("/sys/dev/block/{}:{}", numbers.0, numbers.1);
        let by_name = || {
            let name = Path::new(source?.strip_prefix("/dev/")?).file_name()?.to_str()?;
            root.resolve(format!("/sys/class/block/{name}"))
        };
        let node = root.resolve(by_numbers).or_else(by_name)?;
        let interrupts = Interrupts::read(root);
        let mut device = Self { name: name_of(&node)?, layers: Vec::new(), disks: Vec::new() };
        device.descend(root, &interrupts, &node, 0);
        (!device.disks.is_empty()).then_some(device)
    }

    fn descend(&mut self, root: &Root, interrupts: &Interrupts, node: &Path, depth: usize) {
        // A partition has no queue of its own: its parent has.
        let is_partition = root.path(node.join("partition")).exists();
        let node = node.parent().filter(|_| is_partition).unwrap_or(node);
        let Some(name) = name_of(node) else { return };
        let below = root.names(node.join("slaves"));
        if below.is_empty() {
            let is_known = self.disks.iter().any(|disk| disk.name == name);
            if !is_known && self.disks.len() < DISKS_MAX && root.is_dir(node.join("queue")) {
                self.disks.push(Disk::read(root, interrupts, node, name));
            }
            return;
        }
        if depth == STACKED_DEVICES_MAX || self.layers.contains(&name) {
            return;
        }
        self.layers.push(name);
        for slave in below {
            if let Some(node) = root.resolve(node.join("slaves").join(slave)) {
                self.descend(root, interrupts, &node, depth + 1);
            }
        }
    }
}

impl Disk {
    fn read(root: &Root, interrupts: &Interrupts, node: &Path, name: String) -> Self {
        let queue = |name: &str| root.text(node.join("queue").join(name));
        let number = |name: &str| queue(name).and_then(|text| text.parse::<u64>().ok());
        let hardware = hardware(root, node);
        Self {
            model: root
                .text(node.join("device/model"))
                .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
            size_bytes: root
                .number::<u64>(node.join("size"))
                .map(|sectors| sectors.saturating_mul(SECTOR_BYTES)),
            rotational: root.switch(node.join("queue/rotational")),
            logical_block_bytes: number("logical_block_size"),
            physical_block_bytes: number("physical_block_size"),
            scheduler: queue("scheduler").map(|text| Scheduler {
                name: chosen(&text).to_owned(),
                available: choices(&text),
            }),
            requests: number("nr_requests"),
            queues: queues(root, node),
            write_cache: queue("write_cache").and_then(|text| match text.as_str() {
                "write back" => Some(WriteCache::Back),
                "write through" => Some(WriteCache::Through),
                _ => None,
            }),
            fua: root.switch(node.join("queue/fua")),
            transfer_kib: number("max_sectors_kb"),
            transfer_hardware_kib: number("max_hw_sectors_kb"),
            writeback_throttle_us: number("wbt_lat_usec"),
            node: hardware.as_deref().and_then(|dir| node_of(root, dir)),
            interrupts: hardware
                .as_deref()
                .map(|dir| interrupts.of_device(root, dir))
                .unwrap_or_default(),
            name,
        }
    }
}

/// Sizes under `/sys/block` count in these, whatever the device's blocks are.
const SECTOR_BYTES: u64 = 512;

fn name_of(node: &Path) -> Option<String> {
    Some(node.file_name()?.to_str()?.to_owned())
}

/// The directory under whose ancestors the device on the bus stands. That of an NVMe namespace with
/// several paths is virtual: its subsystem links to the controllers.
fn hardware(root: &Root, node: &Path) -> Option<PathBuf> {
    if !node.starts_with("/sys/devices/virtual") {
        return Some(node.to_owned());
    }
    let subsystem = node.parent()?;
    let is_controller = |name: &String| {
        let number = name.strip_prefix("nvme");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let controller = root.names(subsystem).into_iter().find(is_controller)?;
    root.resolve(subsystem.join(controller))
}

/// Hardware queues, of the first path where a namespace has several.
fn queues(root: &Root, node: &Path) -> Option<usize> {
    let own = root.names(node.join("mq")).len();
    if own > 0 {
        return Some(own);
    }
    // Path 0 of `nvme0n1` is `nvme0c0n1`.
    let name = name_of(node)?;
    let (controller, namespace) = name.rsplit_once('n')?;
    let hidden = format!("{controller}c0n{namespace}");
    let path = hardware(root, node)?.join(hidden).join("mq");
    Some(root.names(path).len()).filter(|count| *count > 0)
}

/// The node of memory next to a device on the bus; -1 is none.
pub(crate) fn node_of(root: &Root, device: &Path) -> Option<usize> {
    let told = |dir: &Path| root.number::<i64>(dir.join("numa_node"));
    device.ancestors().find_map(told).and_then(|node| usize::try_from(node).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::facts::fixture::Tree;

    const PCI: &str = "/sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0";

    /// An NVMe drive with a partition.
    fn nvme(tree: &Tree, pci: &str, name: &str) {
        let disk = format!("{pci}/nvme/nvme0/{name}");
        for (file, text) in [
            ("queue/scheduler", "none [mq-deadline] kyber\n"),
            ("queue/rotational", "0\n"),
            ("queue/logical_block_size", "512\n"),
            ("queue/physical_block_size", "4096\n"),
            ("queue/nr_requests", "1023\n"),
            ("queue/write_cache", "write back\n"),
            ("queue/fua", "1\n"),
            ("queue/max_sectors_kb", "128\n"),
            ("queue/max_hw_sectors_kb", "1024\n"),
            ("queue/wbt_lat_usec", "2000\n"),
            ("device/model", "Fast  Drive 960 \n"),
            ("size", "1875385008\n"),
            ("mq/0/nr_tags", "1023\n"),
            ("mq/1/nr_tags", "1023\n"),
        ] {
            tree.write(&format!("{disk}/{file}"), text);
        }
        tree.write(&format!("{disk}/{name}p1/partition"), "1\n");
        tree.write(&format!("{pci}/numa_node"), "1\n");
        tree.write(&format!("{pci}/msi_irqs/40"), "msix\n");
    }

    fn interrupts(tree: &Tree) {
        tree.write("/proc/interrupts", "  CPU0 CPU1\n 40: 5 6 PCI-MSIX 1-edge nvme0q1\n");
        tree.write("/proc/irq/40/smp_affinity_list", "0-1\n");
    }

    #[test]
    fn a_partition_leads_to_its_disk() {
        let tree = Tree::new(&[]);
        nvme(&tree, PCI, "nvme0n1");
        interrupts(&tree);
        let link = format!("../..{}/nvme/nvme0/nvme0n1/nvme0n1p1", &PCI[4..]);
        tree.link("/sys/dev/block/259:1", &link);
        let device = Device::read(&tree.root(), (259, 1), None).unwrap();
        assert_eq!((device.name.as_str(), device.layers.len()), ("nvme0n1p1", 0));
        let [disk] = &device.disks[..] else { panic!("{device:?}") };
        assert_eq!(disk.name, "nvme0n1");
        assert_eq!(disk.model.as_deref(), Some("Fast Drive 960"));
        assert_eq!(disk.size_bytes, Some(1_875_385_008 * 512));
        assert_eq!((disk.rotational, disk.fua), (Some(false), Some(true)));
        assert_eq!((disk.logical_block_bytes, disk.physical_block_bytes), (Some(512), Some(4096)));
        assert_eq!(disk.scheduler.as_ref().unwrap().name, "mq-deadline");
        assert_eq!(disk.scheduler.as_ref().unwrap().available, ["none", "mq-deadline", "kyber"]);
        assert_eq!((disk.requests, disk.queues), (Some(1023), Some(2)));
        assert_eq!(disk.write_cache, Some(WriteCache::Back));
        assert_eq!((disk.transfer_kib, disk.transfer_hardware_kib), (Some(128), Some(1024)));
        assert_eq!((disk.writeback_throttle_us, disk.node), (Some(2000), Some(1)));
        assert_eq!(disk.interrupts.len(), 1);
        assert_eq!(disk.queue("scheduler"), "/sys/block/nvme0n1/queue/scheduler");
    }

    #[test]
    fn stacked_devices_lead_to_all_their_disks() {
        let tree = Tree::new(&[]);
        let (one, two) = (format!("{PCI}-a"), format!("{PCI}-b"));
        nvme(&tree, &one, "nvme0n1");
        nvme(&tree, &two, "nvme1n1");
        // LVM over MD over a partition of each.
        for (name, pci) in [("nvme0n1", &one), ("nvme1n1", &two)] {
            let to = format!("../../../../..{}/nvme/nvme0/{name}/{name}p1", &pci[4..]);
            tree.link(&format!("/sys/devices/virtual/block/md127/slaves/{name}p1"), &to);
        }
        tree.link("/sys/devices/virtual/block/dm-0/slaves/md127", "../../md127");
        tree.link("/sys/dev/block/253:0", "../../devices/virtual/block/dm-0");
        let device = Device::read(&tree.root(), (253, 0), None).unwrap();
        assert_eq!(device.layers, ["dm-0", "md127"]);
        let names: Vec<_> = device.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "nvme1n1"]);
    }

    #[test]
    fn a_namespace_with_several_paths_has_the_hardware_of_its_controller() {
        let tree = Tree::new(&[]);
        interrupts(&tree);
        let subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0";
        tree.write(&format!("{subsystem}/nvme0n1/queue/rotational"), "0\n");
        tree.write(&format!("{PCI}/nvme/nvme0/nvme0c0n1/mq/0/nr_tags"), "1\n");
        tree.write(&format!("{PCI}/numa_node"), "0\n");
        tree.write(&format!("{PCI}/msi_irqs/40"), "msix\n");
        tree.link(&format!("{subsystem}/nvme0"), &format!("../../..{}/nvme/nvme0", &PCI[12..]));
        tree.link("/sys/class/block/nvme0n1", &format!("../..{}/nvme0n1", &subsystem[4..]));
        // btrfs has no device number of its own.
        let device = Device::read(&tree.root(), (0, 40), Some("/dev/nvme0n1")).unwrap();
        let disk = &device.disks[0];
        assert_eq!((disk.node, disk.queues, disk.interrupts.len()), (Some(0), Some(1), 1));
    }

    #[test]
    fn what_is_no_device_is_none() {
        let tree = Tree::new(&[]);
        assert_eq!(Device::read(&tree.root(), (0, 40), Some("overlay")), None);
        tree.link("/sys/devices/virtual/block/dm-0/slaves/dm-0", "../../dm-0");
        tree.link("/sys/dev/block/253:0", "../../devices/virtual/block/dm-0");
        assert_eq!(Device::read(&tree.root(), (253, 0), None), None, "a circle ends");
    }
}
