//! How far a backup has come, how fast it may go, and what each shard is told of it.
//!
//! Besides the mailbox this is all that the cores of a backup share: counters and a flag.

use super::manifest::FileRow;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Read by whoever wants to know.
#[derive(Debug, Default)]
pub struct BackupProgress {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_copied: AtomicU64,
    bytes_per_second: AtomicU64,
    /// On the clock of the platform: no further byte is to be written before.
    next_ns: AtomicU64,
    cancelled: AtomicBool,
}

impl BackupProgress {
    /// About how many bytes the snapshot has; zero before it is taken.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total.load(Ordering::Relaxed)
    }

    /// Bytes of it that are in the backup, copied now or before.
    pub fn bytes_done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }

    /// Bytes copied.
    pub fn bytes_copied(&self) -> u64 {
        self.bytes_copied.load(Ordering::Relaxed)
    }

    /// Ends the backup at the next piece. Says whether that was to happen already.
    pub fn cancel(&self) -> bool {
        self.cancelled.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Zero: as fast as it goes.
    pub(super) fn set_rate(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_done(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_copied(&self, bytes: u64) {
        self.bytes_copied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How long to wait before so many bytes are written, for all cores together.
    pub(super) fn pace(&self, now_ns: u64, bytes: u64) -> u64 {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return 0;
        }
        let cost_ns = (u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64;
        self.next_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.next_ns.fetch_add(cost_ns, Ordering::Relaxed).saturating_sub(now_ns)
    }
}

/// What a shard needs to copy its snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Of the backups.
    pub(super) directory: PathBuf,
    /// Files that a complete backup names and that need not be copied again, by path.
    pub(super) known: Arc<HashMap<String, FileRow>>,
    pub(super) allow_damaged: bool,
    pub(super) progress: Arc<BackupProgress>,
}

impl Order {
    pub(super) fn check(&self) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(cancelled());
        }
        Ok(())
    }
}

pub(super) fn cancelled() -> Error {
    Error::Backup("it was cancelled".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_of_all_together_is_kept() {
        let progress = BackupProgress::default();
        assert_eq!(progress.pace(5, 1 << 20), 0);
        progress.set_rate(1_000_000);
        assert_eq!(progress.pace(1_000, 1_000), 0);
        assert_eq!(progress.pace(1_000, 1_000), 1_000_000);
        assert_eq!(progress.pace(2_001_000, 1_000), 0);
        assert_eq!(progress.pace(9_000_000, 1_000), 0);
    }
}
