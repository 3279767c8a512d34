//! Clocks: what the kernel reads time from, and whether something keeps it right.

use super::Root;
use crate::sys;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clock {
    /// `tsc`, `hpet`, ...
    pub source: Option<String>,
    pub available: Vec<String>,
    pub synchronised: Option<bool>,
}

pub(crate) const CLOCK_SOURCE: &str =
    "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const AVAILABLE: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

impl Clock {
    pub(super) fn read(root: &Root) -> Self {
        let available = root.text(AVAILABLE).unwrap_or_default();
        Self {
            source: root.text(CLOCK_SOURCE),
            available: available.split_whitespace().map(str::to_owned).collect(),
            // A copy of files does not tell; the kernel does.
            synchronised: root.is_host().then(|| sys::clock_is_synchronised().ok()).flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::Tree;

    #[test]
    fn the_source_of_time_is_read() {
        let tree = Tree::new(&[(CLOCK_SOURCE, "hpet\n"), (AVAILABLE, "tsc hpet acpi_pm \n")]);
        let clock = Clock::read(&tree.root());
        assert_eq!(clock.source.as_deref(), Some("hpet"));
        assert_eq!(clock.available, ["tsc", "hpet", "acpi_pm"]);
        assert_eq!(clock.synchronised, None);
        assert!(Clock::read(&Root::host()).synchronised.is_some());
    }
}
