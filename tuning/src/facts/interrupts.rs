//! Interrupts of one device: which CPUs answer them, and how often they have.

use std::path::Path;

use super::Root;
use super::cpu::cpu_list;
use crate::limits::INTERRUPTS_BYTES_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    pub number: u32,
    /// What the driver calls it, such as `nvme0q1`.
    pub name: String,
    /// The CPUs on which it may be answered, and as the kernel writes them.
    pub allowed: Vec<usize>,
    pub allowed_list: String,
    /// The CPUs on which it is answered.
    pub effective: Vec<usize>,
    /// Since the start of the host, all CPUs together.
    pub count: u64,
}

impl Interrupt {
    /// The file that says where it may be answered.
    pub fn path(&self) -> String {
        format!("/proc/irq/{}/smp_affinity_list", self.number)
    }
}

/// Counts and names of all interrupts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupts(Vec<(u32, u64, String)>);

impl Interrupts {
    pub(crate) fn read(root: &Root) -> Self {
        let text = root.text_within("/proc/interrupts", INTERRUPTS_BYTES_MAX);
        Self::parse(&text.unwrap_or_default())
    }

    /// A line of CPUs, then for each interrupt `NUMBER: COUNT... CHIP HARDWARE NAME`.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let cpus = lines.next().unwrap_or_default().split_whitespace().count();
        let interrupt = |line: &str| {
            let (number, rest) = line.split_once(':')?;
            let number = number.trim().parse().ok()?;
            let mut fields = rest.split_whitespace();
            let counts = fields.by_ref().take(cpus).filter_map(|count| count.parse::<u64>().ok());
            let count = counts.fold(0, u64::saturating_add);
            Some((number, count, fields.next_back().unwrap_or_default().to_owned()))
        };
        Self(lines.filter_map(interrupt).collect())
    }

    /// Those of the device whose directory, or the directory of something above it, lists them.
    pub(crate) fn of_device(&self, root: &Root, device: &Path) -> Vec<Interrupt> {
        let listing = device.ancestors().map(|dir| dir.join("msi_irqs"));
        let Some(listing) = listing.into_iter().find(|dir| root.is_dir(dir)) else {
            return Vec::new();
        };
        let numbers = root.names(listing).into_iter().filter_map(|name| name.parse().ok());
        numbers.filter_map(|number| self.one(root, number)).collect()
    }

    fn one(&self, root: &Root, number: u32) -> Option<Interrupt> {
        let (_, count, name) = self.0.iter().find(|(known, ..)| *known == number)?;
        let allowed_list = root.text(format!("/proc/irq/{number}/smp_affinity_list"))?;
        let allowed = cpu_list(&allowed_list);
        let effective = root.text(format!("/proc/irq/{number}/effective_affinity_list"));
        let effective = effective.map_or_else(|| allowed.clone(), |list| cpu_list(&list));
        Some(Interrupt {
            number,
            name: name.clone(),
            allowed,
            allowed_list,
            effective,
            count: *count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::Tree;

    const INTERRUPTS: &str = "           CPU0       CPU1
 24:          1          0  IO-APIC   5-edge      ACPI:Ged
 36:          3    5287180 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 37:          0          7 PCI-MSIX-0000:00:02.0   2-edge      virtio1-req.1
NMI:          0          0   Non-maskable interrupts
ERR:          0
";

    #[test]
    fn interrupts_of_a_device_are_found_by_its_directory() {
        let tree = Tree::new(&[
            ("/proc/interrupts", INTERRUPTS),
            ("/proc/irq/36/smp_affinity_list", "0-1\n"),
            ("/proc/irq/36/effective_affinity_list", "1\n"),
            ("/proc/irq/37/smp_affinity_list", "1\n"),
            ("/sys/devices/pci0/02.0/msi_irqs/36", "msix"),
            ("/sys/devices/pci0/02.0/msi_irqs/37", "msix"),
            ("/sys/devices/pci0/02.0/msi_irqs/99", "msix"),
            ("/sys/devices/pci0/02.0/virtio1/block/vda/size", "1"),
        ]);
        let root = tree.root();
        let all = Interrupts::read(&root);
        let device = Path::new("/sys/devices/pci0/02.0/virtio1/block/vda");
        let found = all.of_device(&root, device);
        assert_eq!(found.len(), 2, "number 99 counts nothing");
        let first = &found[0];
        assert_eq!((first.number, first.count), (36, 5_287_183));
        assert_eq!(first.name, "virtio1-req.0");
        assert_eq!((first.allowed.as_slice(), first.effective.as_slice()), (&[0, 1][..], &[1][..]));
        assert_eq!(found[1].effective, [1], "where it may be answered, if nothing else is told");
        assert_eq!(all.of_device(&root, Path::new("/sys/devices/virtual")), []);
    }
}
