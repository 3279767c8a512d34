//! Backups of the whole store while it serves: a snapshot of all shards at one instant, copied to a
//! directory of files that several generations share.
//!
//! 1. Every shard takes its turn: nobody else walks its index from then on.
//! 2. Every shard is held; when all are, each takes its snapshot and goes on (`hold`).
//! 3. Every shard's core copies its snapshot (`copy`).
//! 4. When all files are durable, the list of them is written: the generation exists (`directory`).
//!
//! Invariants: whatever fails, every shard gets its turn's end; a backup that was cut short leaves the
//! earlier ones as they were; space that the snapshot needs is not used again before it is copied.
//!
//! Not here: putting a store back (`restore`), when a backup is made and what it is called.

mod copy;
mod directory;
mod hold;
pub mod manifest;
mod progress;
mod status;
mod target;

pub use self::directory::{Generations, generations};
pub(crate) use self::hold::Turn;
pub use self::manifest::{FileKind, FileRow, Manifest, ShardRow};
pub use self::progress::BackupProgress;
pub(crate) use self::progress::Order as CopyOrder;
pub use self::status::BackupStatus;
pub(crate) use self::target::{create, file_error, for_each_window, read_back};

use self::directory::Directory;
use self::manifest::{hex, hex_bytes};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits::{BACKUP_HOLD_TRIES, BACKUP_SHARDS_AT_ONCE, FORMAT_VERSION};
use crate::platform::Platform;
use crate::request::{BackupStep, Reply, Request, mismatched};
use crate::wait::join_all;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the operator asks for.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Made if it is missing; its parent must be there.
    pub directory: PathBuf,
    /// What the backup is called: letters, digits, `-`, `_` and `:`.
    pub generation: String,
    /// Afterwards all but so many of the newest generations are removed.
    pub keep: Option<usize>,
    /// Zero: as fast as it goes.
    pub bytes_per_second: u64,
    /// Stored data that does not verify is kept as it is, instead of failing the backup.
    pub allow_damaged: bool,
}

/// What a backup came to.
#[derive(Debug, Clone, Default)]
pub struct BackupReport {
    pub generation: String,
    pub files: u64,
    pub bytes: u64,
    pub bytes_copied: u64,
    /// For how long writes were held back.
    pub held: Duration,
    /// What did not verify.
    pub damage: Vec<String>,
    /// Generations that were removed.
    pub removed: Vec<String>,
}

/// Ends every shard's turn when it is dropped.
struct Turns<P: Platform> {
    engine: Engine<P>,
    id: u64,
}

impl<P: Platform> Drop for Turns<P> {
    fn drop(&mut self) {
        for shard in self.engine.shards() {
            self.engine.tell(shard, Request::EndBackup(self.id));
        }
    }
}

impl<P: Platform> Engine<P> {
    pub(crate) fn shards(&self) -> std::ops::Range<u16> {
        0..self.context().layout.shard_count
    }

    async fn make_backup(
        &self,
        options: BackupOptions,
        progress: Arc<BackupProgress>,
    ) -> Result<BackupReport> {
        for shard in self.shards() {
            self.context().require_online(shard)?;
        }
        let BackupOptions { directory: path, generation, keep, .. } = options;
        let layout = self.context().layout.clone();
        let uuid = hex_bytes(&layout.store_uuid);
        let platform = self.platform();
        let mut directory =
            Directory::open(platform, &path, &generation, &uuid, layout.history).await?;
        progress.set_rate(options.bytes_per_second);
        let order = CopyOrder {
            directory: path.clone(),
            known: Arc::new(directory.known()),
            allow_damaged: options.allow_damaged,
            progress: progress.clone(),
        };
        let turns = Turns { engine: self.clone(), id: platform.random_u64() };
        self.ask_all(turns.id, || BackupStep::Begin).await?;
        let (held, bytes) = self.snapshot_all(turns.id).await?;
        progress.set_total(bytes);
        let taken_ns = platform.wall_clock_ns();
        let shards = self.copy_all(turns.id, &order).await?;
        drop(turns);
        let data = data_dir(&path, layout.history);
        for dir in [&data, &path.join("data"), &path] {
            let synced = platform.sync_dir(dir).await;
            synced.map_err(|source| file_error("sync", dir, source))?;
        }
        let manifest = Manifest {
            version: Manifest::VERSION,
            format_version: FORMAT_VERSION,
            generation: generation.clone(),
            taken_ns,
            store_uuid: uuid,
            history: hex(layout.history),
            store_created_ns: layout.created_ns,
            shard_count: layout.shard_count,
            segment_bytes: layout.segment_bytes,
            capacity_bytes: layout.capacity_bytes.clone(),
            shards,
        };
        let mut report = BackupReport {
            generation,
            files: manifest.files().count() as u64,
            bytes: manifest.bytes(),
            bytes_copied: progress.bytes_copied(),
            held,
            damage: manifest.files().filter_map(|(_, file)| file.damage.clone()).collect(),
            removed: Vec::new(),
        };
        directory.add(manifest).await?;
        report.removed = directory.prune(keep).await?;
        Ok(report)
    }

    /// Asks every shard at once, and waits for all answers even if one is a refusal.
    async fn ask_all(&self, id: u64, step: impl Fn() -> BackupStep) -> Result<Vec<Reply>> {
        let asked = self.shards().map(|shard| {
            let step = step();
            self.ask(shard, Request::Backup { id, step })
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Takes the snapshots of all shards while all are held. Gives how long that took, and about how
    /// many bytes they have.
    async fn snapshot_all(&self, id: u64) -> Result<(Duration, u64)> {
        let platform = self.platform();
        let mut refused = Error::Stopping;
        for _ in 0..BACKUP_HOLD_TRIES {
            let begin_ns = platform.monotonic_ns();
            let taken = match self.ask_all(id, || BackupStep::Hold).await {
                Ok(_) => self.ask_all(id, || BackupStep::Snapshot).await,
                Err(error) => Err(error),
            };
            let held = Duration::from_nanos(platform.monotonic_ns().saturating_sub(begin_ns));
            match taken {
                Ok(replies) => {
                    let bytes = replies.iter().map(|reply| match reply {
                        Reply::Snapshot(bytes) => *bytes,
                        _ => 0,
                    });
                    return Ok((held, bytes.sum()));
                }
                Err(error @ Error::Backup(_)) => {
                    self.ask_all(id, || BackupStep::Retry).await?;
                    refused = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Has every core copy its shards, a few at once.
    async fn copy_all(&self, id: u64, order: &CopyOrder) -> Result<Vec<ShardRow>> {
        // Shards are dealt out to the cores in turn, and so to these.
        let lanes = self.cores() * BACKUP_SHARDS_AT_ONCE;
        let copied = (0..lanes as u16).map(|lane| self.copy_lane(id, order, lane, lanes));
        let mut rows = Vec::new();
        let mut failure = None;
        for lane in join_all(copied).await {
            match lane {
                Ok(lane) => rows.extend(lane),
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none() {
            order.check()?;
        }
        rows.sort_by_key(|row: &ShardRow| row.shard);
        failure.map_or(Ok(rows), Err)
    }

    async fn copy_lane(
        &self,
        id: u64,
        order: &CopyOrder,
        lane: u16,
        lanes: usize,
    ) -> Result<Vec<ShardRow>> {
        let mut rows = Vec::new();
        for shard in self.shards().skip(usize::from(lane)).step_by(lanes) {
            let step = BackupStep::Copy(order.clone());
            match self.ask(shard, Request::Backup { id, step }).await {
                Ok(Reply::Copied(row)) => rows.push(*row),
                Ok(_) => return Err(mismatched()),
                // The others stop; what they say then is not the reason.
                Err(_) if order.progress.cancel() => break,
                Err(error) => return Err(error),
            }
            self.tell(shard, Request::EndBackup(id));
        }
        Ok(rows)
    }
}

pub(crate) fn data_dir(directory: &Path, history: u64) -> PathBuf {
    directory.join("data").join(hex(history))
}

/// Makes a directory, if it is missing, whose name is durable.
pub(crate) async fn make_dir<P: Platform>(platform: &P, dir: &Path) -> Result<()> {
    match platform.create_dir(dir).await {
        Ok(()) => match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => {
                platform.sync_dir(parent).await.map_err(|source| file_error("sync", parent, source))
            }
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(file_error("create", dir, source)),
    }
}
