//! How the kernel deals with memory: huge pages, swap, dirty pages.

use super::Root;
use super::process::{meminfo_bytes, meminfo_field};
use super::root::chosen;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// When memory is backed by huge pages unasked: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// Memory set aside in huge pages, which is of use to nothing but who asks for them.
    pub reserved_huge_bytes: Option<u64>,
    pub reserved_huge_pages: Option<u64>,
    pub swap_bytes: Option<u64>,
    pub swappiness: Option<u32>,
    pub total_bytes: Option<u64>,
    /// Percent of memory that may be dirty before writers wait; 0 where bytes are set instead.
    pub dirty_ratio: Option<u64>,
    pub dirty_background_ratio: Option<u64>,
    pub zone_reclaim_mode: Option<u32>,
}

pub(crate) const TRANSPARENT_HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

impl Memory {
    pub(super) fn read(root: &Root) -> Self {
        let meminfo = root.text("/proc/meminfo").unwrap_or_default();
        let bytes = |name: &str| meminfo_bytes(&meminfo, name);
        let pages = root.number("/proc/sys/vm/nr_hugepages").or_else(|| {
            meminfo_field(&meminfo, "HugePages_Total").and_then(|text| text.parse().ok())
        });
        Self {
            transparent_huge_pages: root
                .text(TRANSPARENT_HUGE_PAGES)
                .map(|text| chosen(&text).to_owned()),
            reserved_huge_bytes: pages
                .zip(bytes("Hugepagesize"))
                .map(|(count, each): (u64, u64)| count.saturating_mul(each)),
            reserved_huge_pages: pages,
            swap_bytes: bytes("SwapTotal"),
            swappiness: root.number("/proc/sys/vm/swappiness"),
            total_bytes: bytes("MemTotal"),
            dirty_ratio: root.number("/proc/sys/vm/dirty_ratio"),
            dirty_background_ratio: root.number("/proc/sys/vm/dirty_background_ratio"),
            zone_reclaim_mode: root.number("/proc/sys/vm/zone_reclaim_mode"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::Tree;

    #[test]
    fn memory_is_read() {
        let tree = Tree::new(&[
            (
                "/proc/meminfo",
                "MemTotal: 2048 kB\nSwapTotal: 1024 kB\nHugePages_Total: 2\nHugepagesize: 2048 kB\n",
            ),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
            ("/proc/sys/vm/swappiness", "60\n"),
            ("/proc/sys/vm/nr_hugepages", "3\n"),
            ("/proc/sys/vm/dirty_ratio", "20\n"),
        ]);
        let memory = Memory::read(&tree.root());
        assert_eq!(memory.transparent_huge_pages.as_deref(), Some("always"));
        assert_eq!(memory.reserved_huge_bytes, Some(6 << 20));
        assert_eq!(memory.swap_bytes, Some(1 << 20));
        assert_eq!((memory.swappiness, memory.dirty_ratio), (Some(60), Some(20)));
        assert_eq!(memory.dirty_background_ratio, None);
        assert_eq!(Memory::read(&Tree::new(&[]).root()), Memory::default());
    }
}
