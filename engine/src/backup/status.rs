//! The backup that a core has begun last: whether it runs, how far it is, what became of it.

use super::{BackupOptions, BackupProgress, BackupReport};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::metrics::count;
use crate::platform::Platform;
use crate::wait::to_the_end;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a core that closes looks whether its backup has ended.
const END_POLL: Duration = Duration::from_millis(5);

/// A backup, running or ended.
#[derive(Debug, Clone)]
pub struct BackupStatus {
    pub generation: String,
    pub directory: PathBuf,
    /// Nanoseconds since the Unix epoch.
    pub begun_ns: u64,
    pub progress: Arc<BackupProgress>,
    /// None while it runs; what failed, in words.
    pub outcome: Option<std::result::Result<BackupReport, String>>,
}

impl BackupStatus {
    pub fn is_running(&self) -> bool {
        self.outcome.is_none()
    }
}

/// Ends a backup's status, should its task panic: nobody is to wait for it for ever.
struct Ended<P: Platform>(Engine<P>);

impl<P: Platform> Drop for Ended<P> {
    fn drop(&mut self) {
        if let Some(status) = self.0.backup_slot().borrow_mut().as_mut() {
            status.outcome.get_or_insert(Err("it broke off".into()));
        }
    }
}

impl<P: Platform> Engine<P> {
    /// Makes a backup, which runs to its end whether or not this is waited for. One at a time.
    ///
    /// # Errors
    /// [`Error::Backup`] and [`Error::Io`] say what; [`Error::Corrupt`] names stored data that does not
    /// verify. No generation came to be then, and the earlier ones are as they were.
    pub async fn backup(&self, options: BackupOptions) -> Result<BackupReport> {
        let progress = self.admit_backup(&options)?;
        let engine = self.clone();
        to_the_end(self.platform(), async move { engine.run_backup(options, progress).await }).await
    }

    /// The same, without waiting: see [`Self::last_backup`].
    pub fn begin_backup(&self, options: BackupOptions) -> Result<()> {
        let progress = self.admit_backup(&options)?;
        let engine = self.clone();
        self.platform().spawn(async move {
            if let Err(error) = engine.run_backup(options, progress).await {
                tracing::error!(%error, "a backup failed");
            }
        });
        Ok(())
    }

    /// The backup that this core's engine has begun last.
    pub fn last_backup(&self) -> Option<BackupStatus> {
        self.backup_slot().borrow().clone()
    }

    fn admit_backup(&self, options: &BackupOptions) -> Result<Arc<BackupProgress>> {
        let mut slot = self.backup_slot().borrow_mut();
        if slot.as_ref().is_some_and(BackupStatus::is_running) {
            return Err(Error::Backup("another one is under way".into()));
        }
        if self.context().stopping.get() {
            return Err(Error::Stopping);
        }
        let progress = Arc::new(BackupProgress::default());
        *slot = Some(BackupStatus {
            generation: options.generation.clone(),
            directory: options.directory.clone(),
            begun_ns: self.platform().wall_clock_ns(),
            progress: progress.clone(),
            outcome: None,
        });
        Ok(progress)
    }

    async fn run_backup(
        &self,
        options: BackupOptions,
        progress: Arc<BackupProgress>,
    ) -> Result<BackupReport> {
        let _ended = Ended(self.clone());
        let made = self.make_backup(options, progress).await;
        let counters = &self.context().counters;
        match &made {
            Ok(report) => {
                count(&counters.backups_total, 1);
                counters.backup_hold_us.set(report.held.as_micros() as u64);
            }
            Err(_) => count(&counters.backup_failures_total, 1),
        }
        if let Some(status) = self.backup_slot().borrow_mut().as_mut() {
            status.outcome =
                Some(made.as_ref().map(BackupReport::clone).map_err(ToString::to_string));
        }
        made
    }

    /// Cuts a backup under way short and waits for its end.
    pub(crate) async fn end_backup(&self) {
        while let Some(status) = self.last_backup().filter(BackupStatus::is_running) {
            status.progress.cancel();
            self.platform().sleep(END_POLL).await;
        }
    }
}
