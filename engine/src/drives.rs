//! Which drives of the store are offline, and why: known to all cores.
//!
//! A drive goes offline at the start, when its directory is missing or a shard on it cannot be read, and
//! stays so; or while the store runs, when an I/O failed and its superblock cannot be read either. Then
//! it is looked at again and again, and comes back when it answers. (Shards that failed to write take
//! no writes all the same, until the store is reopened.) A request for a shard of an offline drive is
//! refused before the shard is asked, so that nobody waits for a device that does not answer.
//!
//! Invariant: one core at a time looks at a drive.
//!
//! Not here: an I/O error of one place on a drive that is well otherwise. It concerns one object, or
//! latches one shard.

use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::limits::DRIVES_MAX;
use crate::platform::Platform;
use crate::store::read_superblock_copies;
use arc_swap::ArcSwapOption;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a drive that has failed is looked at again.
const PROBE_STEPS: u32 = 20;
const PROBE_STEP: Duration = Duration::from_millis(100);

/// The state of every drive that a store may have.
#[derive(Debug)]
pub(crate) struct Drives(Vec<Drive>);

#[derive(Debug, Default)]
struct Drive {
    /// Why it is offline.
    cause: ArcSwapOption<String>,
    is_probed: AtomicBool,
}

impl Default for Drives {
    fn default() -> Self {
        Self((0..DRIVES_MAX).map(|_| Drive::default()).collect())
    }
}

impl Drives {
    /// Why a drive is offline, if it is.
    pub(crate) fn cause(&self, drive: usize) -> Option<Arc<String>> {
        self.0.get(drive)?.cause.load_full()
    }

    pub(crate) fn set_offline(&self, drive: usize, cause: &str) {
        if let Some(drive) = self.0.get(drive) {
            drive.cause.store(Some(Arc::new(cause.to_owned())));
        }
    }

    fn set_online(&self, drive: usize) {
        if let Some(drive) = self.0.get(drive) {
            drive.cause.store(None);
        }
    }
}

impl<P: Platform> CoreContext<P> {
    /// Why the drive of a shard is offline, if it is.
    pub(crate) fn offline_cause(&self, shard: u16) -> Option<Arc<String>> {
        self.drives.cause(self.layout.drive_of(shard))
    }

    /// An error if the drive of a shard is offline.
    pub(crate) fn require_online(&self, shard: u16) -> Result<()> {
        match self.offline_cause(shard) {
            None => Ok(()),
            Some(cause) => Err(Error::Offline { shard, cause: cause.as_str().to_owned() }),
        }
    }

    /// A shard could not be recovered. If that is its drive's fault, the store goes on without the drive.
    ///
    /// # Errors
    /// The one that was given, if it is not.
    pub(crate) fn give_up_drive(&self, shard: u16, error: Error) -> Result<()> {
        match error {
            // It was understood, so it can be read; it logged why it cannot be written.
            Error::ReadOnly { .. } => Ok(()),
            error if !error.is_of_the_drive() || self.layout.data_dirs.len() == 1 => Err(error),
            error => {
                let drive = self.layout.drive_of(shard);
                let dir = self.layout.data_dirs[drive].display();
                tracing::error!(%dir, shard, %error, "a drive goes offline: a shard cannot be opened");
                self.drives.set_offline(drive, &error.to_string());
                Ok(())
            }
        }
    }

    /// An error if no drive is left.
    pub(crate) fn require_a_drive(&self) -> Result<()> {
        let mut homes = self.layout.catalog_homes();
        if homes.any(|first_shard| self.offline_cause(first_shard).is_none()) {
            return Ok(());
        }
        self.require_online(0)
    }

    /// An I/O on the drive of a shard has failed: finds out whether the whole drive has.
    pub(crate) fn suspect_drive(self: &Rc<Self>, shard: u16) {
        let drive = self.layout.drive_of(shard);
        let is_known = self.drives.cause(drive).is_some();
        let Some(state) = self.drives.0.get(drive).filter(|_| !is_known) else {
            return;
        };
        if !state.is_probed.swap(true, Ordering::AcqRel) {
            let context = self.clone();
            self.platform.spawn(async move { context.probe_drive(drive).await });
        }
    }

    /// In small steps, so that a stop need not wait for it.
    async fn pause_probing(&self) {
        for _ in 0..PROBE_STEPS {
            if !self.stopping.get() {
                self.platform.sleep(PROBE_STEP).await;
            }
        }
    }

    /// Looks at a drive until it answers.
    async fn probe_drive(self: Rc<Self>, drive: usize) {
        let dir = &self.layout.data_dirs[drive];
        let mut has_failed = false;
        while !self.stopping.get() {
            match read_superblock_copies(&self.platform, dir).await {
                Err(error) if error.is_of_the_drive() => {
                    if !has_failed {
                        tracing::error!(dir = %dir.display(), %error, "a drive is offline");
                    }
                    has_failed = true;
                    self.drives.set_offline(drive, &error.to_string());
                    self.pause_probing().await;
                }
                _ => break,
            }
        }
        if has_failed && !self.stopping.get() {
            tracing::warn!(dir = %dir.display(), "a drive that was offline answers again");
            self.drives.set_online(drive);
        }
        if let Some(state) = self.drives.0.get(drive) {
            state.is_probed.store(false, Ordering::Release);
        }
    }
}
