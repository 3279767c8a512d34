//! The hybrid clock of a shard: wall time that never steps back and never repeats.

use crate::platform::Platform;
use crate::types::Version;
use std::cell::Cell;

#[derive(Debug, Default)]
pub(crate) struct HybridClock {
    last: Cell<u64>,
}

impl HybridClock {
    /// A version later than all before it, and as close to the wall clock as that allows.
    pub(crate) fn next<P: Platform>(&self, platform: &P) -> Version {
        let version = platform.wall_clock_ns().max(self.last.get() + 1);
        self.last.set(version);
        Version(version)
    }

    /// The newest version given or learned of.
    pub(crate) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Learns of a version given earlier.
    pub(crate) fn observe(&self, version: u64) {
        self.last.set(self.last.get().max(version));
    }
}
