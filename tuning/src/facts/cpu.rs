//! CPUs: their clocks, threads and nodes.

use super::Root;
use crate::limits::CPUS_PER_RANGE_MAX;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus {
    /// Online ones.
    pub online: Vec<usize>,
    /// The governor of each CPU whose clock the kernel scales.
    pub governors: Vec<Governor>,
    /// What scales it, such as `intel_pstate`.
    pub scaling_driver: Option<String>,
    /// Two threads share a core.
    pub smt: Option<bool>,
    /// The CPUs of each node of memory, by its number.
    pub nodes: Vec<(usize, Vec<usize>)>,
    /// The longest time that an idle CPU takes to wake, of the states that are not disabled.
    pub idle_exit_us: Option<u64>,
    /// A daemon spreads interrupts over CPUs.
    pub irqbalance: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governor {
    pub cpu: usize,
    pub name: String,
    pub available: Vec<String>,
}

const CPU: &str = "/sys/devices/system/cpu";
const NODE: &str = "/sys/devices/system/node";

impl Cpus {
    pub(super) fn read(root: &Root) -> Self {
        let online = cpu_list(&root.text(format!("{CPU}/online")).unwrap_or_default());
        let governor = |cpu: &usize| Governor::read(root, *cpu);
        let first = online.first().copied().unwrap_or_default();
        Self {
            governors: online.iter().filter_map(governor).collect(),
            scaling_driver: root.text(format!("{CPU}/cpu{first}/cpufreq/scaling_driver")),
            smt: root.switch(format!("{CPU}/smt/active")),
            nodes: nodes(root),
            idle_exit_us: idle_exit_us(root, first),
            irqbalance: runs(root, "irqbalance"),
            online,
        }
    }

    /// The node that a CPU belongs to.
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map(|(node, _)| *node)
    }
}

impl Governor {
    fn read(root: &Root, cpu: usize) -> Option<Self> {
        let name = root.text(format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"))?;
        let available = root.text(format!("{CPU}/cpu{cpu}/cpufreq/scaling_available_governors"));
        let available =
            available.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Some(Self { cpu, name, available })
    }

    /// The file that sets it.
    pub fn path(&self) -> String {
        format!("{CPU}/cpu{}/cpufreq/scaling_governor", self.cpu)
    }
}

fn nodes(root: &Root) -> Vec<(usize, Vec<usize>)> {
    let node = |name: String| {
        let number = name.strip_prefix("node")?.parse().ok()?;
        Some((number, cpu_list(&root.text(format!("{NODE}/{name}/cpulist"))?)))
    };
    root.names(NODE).into_iter().filter_map(node).collect()
}

fn idle_exit_us(root: &Root, cpu: usize) -> Option<u64> {
    let states = format!("{CPU}/cpu{cpu}/cpuidle");
    let exit = |name: String| {
        let is_disabled = root.switch(format!("{states}/{name}/disable")) == Some(true);
        let latency = root.number(format!("{states}/{name}/latency"));
        latency.filter(|_| !is_disabled)
    };
    root.names(&states).into_iter().filter_map(exit).max()
}

/// Whether a process of that name runs.
fn runs(root: &Root, name: &str) -> bool {
    let processes = root.names("/proc");
    let is_process = |entry: &&String| entry.starts_with(|c: char| c.is_ascii_digit());
    processes
        .iter()
        .filter(is_process)
        .any(|process| root.text(format!("/proc/{process}/comm")).as_deref() == Some(name))
}

/// A list such as `0-3,8`; what is none is left out.
pub(crate) fn cpu_list(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first = first.parse::<usize>().ok()?;
        let last = last.parse::<usize>().ok()?;
        Some(first..=last.min(first.saturating_add(CPUS_PER_RANGE_MAX)))
    });
    ranges.flatten().collect()
}

/// The shortest list of those CPUs, as the kernel and `--cores` take it.
pub(crate) fn as_list(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let range = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::Tree;

    #[test]
    fn lists_of_cpus_are_read_and_written() {
        for (text, cpus) in
            [("0-3,8", &[0, 1, 2, 3, 8][..]), ("5", &[5]), ("", &[]), ("7,9-10", &[7, 9, 10])]
        {
            assert_eq!(cpu_list(text), cpus);
            assert_eq!(as_list(cpus), text);
        }
        assert!(cpu_list("0-18446744073709551615").len() <= CPUS_PER_RANGE_MAX + 1);
    }

    #[test]
    fn cpus_are_read() {
        let tree = Tree::new(&[
            ("/sys/devices/system/cpu/online", "0-1\n"),
            ("/sys/devices/system/cpu/smt/active", "1\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n"),
            (
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors",
                "performance powersave\n",
            ),
            ("/sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2\n"),
            ("/sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0\n"),
            ("/sys/devices/system/cpu/cpu0/cpuidle/state3/latency", "133\n"),
            ("/sys/devices/system/cpu/cpu0/cpuidle/state3/disable", "1\n"),
            ("/sys/devices/system/node/node0/cpulist", "0\n"),
            ("/sys/devices/system/node/node1/cpulist", "1\n"),
            ("/sys/devices/system/node/online", "0-1\n"),
            ("/proc/417/comm", "irqbalance\n"),
        ]);
        let cpus = Cpus::read(&tree.root());
        assert_eq!(cpus.online, [0, 1]);
        assert_eq!(cpus.governors.len(), 1, "only one CPU says how it is scaled");
        assert_eq!(cpus.governors[0].name, "powersave");
        assert_eq!(cpus.governors[0].available, ["performance", "powersave"]);
        assert_eq!(cpus.scaling_driver.as_deref(), Some("intel_pstate"));
        assert_eq!((cpus.smt, cpus.idle_exit_us), (Some(true), Some(2)));
        assert_eq!(cpus.node_of(1), Some(1));
        assert!(cpus.irqbalance);
        assert_eq!(Cpus::read(&Tree::new(&[]).root()), Cpus::default());
    }
}
