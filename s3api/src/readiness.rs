//! Whether the server is to be sent requests: one answer for both ports and every core.
//!
//! Invariant: ready means that every core has recovered and listens, and that no stop was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Shared by all cores; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    /// Every core listens. Has no effect once the server stops.
    pub fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    pub fn set_stopping(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) == STOPPING
    }

    /// The state in one word, for health answers.
    pub fn describe(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            STARTING => "starting",
            READY => "ready",
            _ => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopping_server_never_becomes_ready_again() {
        let readiness = Readiness::default();
        assert_eq!(readiness.describe(), "starting");
        readiness.set_ready();
        assert!(readiness.clone().is_ready());
        readiness.set_stopping();
        readiness.set_ready();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.describe(), "stopping");
    }
}
