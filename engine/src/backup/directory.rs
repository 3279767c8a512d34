//! The directory of the backups: its generations, and what of it nobody needs any more.
//!
//! Invariants: one process at a time writes to it; a generation exists when its list is there, whole,
//! under its name; a data file is removed only when every list that is there could be read and none
//! names it.

use super::manifest::{FileRow, Manifest};
use super::target::{create, file_error, for_each_window};
use super::{data_dir, make_dir};
use crate::error::{Error, Result};
use crate::limits::{BACKUP_MANIFEST_BYTES_MAX, BACKUP_NAME_BYTES_MAX, BACKUP_WINDOW_BYTES};
use crate::platform::{BLOCK_BYTES, File, Platform};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

const EXTENSION: &str = "json";

/// The lists that are there, oldest first, and those that cannot be read.
#[derive(Debug, Default)]
pub struct Generations {
    pub readable: Vec<Manifest>,
    /// Path and reason.
    pub damaged: Vec<(PathBuf, String)>,
}

fn lists_dir(directory: &Path) -> PathBuf {
    directory.join("backups")
}

fn list_path(directory: &Path, generation: &str) -> PathBuf {
    lists_dir(directory).join(format!("{generation}.{EXTENSION}"))
}

/// Names become file names.
fn check_name(generation: &str) -> Result<()> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
    if generation.is_empty()
        || generation.len() > BACKUP_NAME_BYTES_MAX
        || !generation.chars().all(is_sound)
    {
        return Err(Error::Backup(format!("{generation:?} is no name of a generation")));
    }
    Ok(())
}

/// All generations of a directory.
pub async fn generations<P: Platform>(platform: &P, directory: &Path) -> Result<Generations> {
    let dir = lists_dir(directory);
    let mut found = Generations::default();
    let paths = match platform.list_dir(&dir).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(|source| file_error("list", &dir, source))?,
    };
    let is_list = |path: &PathBuf| path.extension().is_some_and(|e| e == EXTENSION);
    for path in paths.into_iter().filter(is_list) {
        match read_list(platform, &path).await {
            Ok(manifest) => found.readable.push(manifest),
            Err(error) => found.damaged.push((path, error.to_string())),
        }
    }
    found.readable.sort_by_key(|manifest| manifest.taken_ns);
    Ok(found)
}

async fn read_list<P: Platform>(platform: &P, path: &Path) -> Result<Manifest> {
    let mut bytes = Vec::new();
    for_each_window(platform, path, async |_, window| {
        bytes.extend_from_slice(window);
        if bytes.len() as u64 > BACKUP_MANIFEST_BYTES_MAX {
            return Err(Error::Backup(format!("{} is too long", path.display())));
        }
        Ok(())
    })
    .await?;
    let manifest = Manifest::decode(&bytes)
        .map_err(|reason| Error::Backup(format!("{}: {reason}", path.display())))?;
    if list_path(Path::new(""), &manifest.generation).file_name() != path.file_name() {
        return Err(Error::Backup(format!("{} lists another generation", path.display())));
    }
    Ok(manifest)
}

/// The directory while a backup is made.
#[derive(Debug)]
pub(super) struct Directory<P: Platform> {
    platform: P,
    path: PathBuf,
    found: Generations,
    _lock: P::Lock,
}

impl<P: Platform> Directory<P> {
    /// Makes what is missing, and locks it.
    pub(super) async fn open(
        platform: &P,
        path: &Path,
        generation: &str,
        store_uuid: &str,
        history: u64,
    ) -> Result<Self> {
        check_name(generation)?;
        for dir in [path, &lists_dir(path), &path.join("data"), &data_dir(path, history)] {
            make_dir(platform, dir).await?;
        }
        let lock = path.join("lock");
        let lock = platform.lock(&lock).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                Error::Backup(format!("another backup to {} is under way", path.display()))
            }
            _ => file_error("lock", &lock, error),
        })?;
        let found = generations(platform, path).await?;
        for (list, reason) in &found.damaged {
            tracing::error!(path = %list.display(), reason, "a list of a backup cannot be read");
        }
        if found.readable.iter().any(|manifest| manifest.store_uuid != store_uuid) {
            return Err(Error::Backup(format!(
                "{} holds backups of another store",
                path.display()
            )));
        }
        if found.readable.iter().any(|manifest| manifest.generation == generation) {
            return Err(Error::Backup(format!("the generation {generation} is there already")));
        }
        Ok(Self { platform: platform.clone(), path: path.to_owned(), found, _lock: lock })
    }

    /// Files that complete backups name, by path: what is in them need not be copied again.
    pub(super) fn known(&self) -> HashMap<String, FileRow> {
        let files = self.found.readable.iter().flat_map(Manifest::files);
        let sound = files.filter(|(_, file)| file.damage.is_none());
        sound.map(|(_, file)| (file.path.clone(), file.clone())).collect()
    }

    /// Makes a generation exist: its list is written, made durable, and given its name.
    pub(super) async fn add(&mut self, manifest: Manifest) -> Result<()> {
        let dir = lists_dir(&self.path);
        let path = list_path(&self.path, &manifest.generation);
        let temporary = path.with_extension("new");
        self.write_list(&temporary, manifest.encode()?).await?;
        let platform = &self.platform;
        let failed = |source| file_error("write", &path, source);
        platform.sync_dir(&dir).await.map_err(failed)?;
        platform.rename(&temporary, &path).await.map_err(failed)?;
        platform.sync_dir(&dir).await.map_err(failed)?;
        self.found.readable.push(manifest);
        Ok(())
    }

    async fn write_list(&self, path: &Path, mut bytes: Vec<u8>) -> Result<()> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), b' ');
        let failed = |source| file_error("write", path, source);
        let file = create(&self.platform, path).await?;
        for (piece, offset) in
            bytes.chunks(BACKUP_WINDOW_BYTES).zip((0..).step_by(BACKUP_WINDOW_BYTES))
        {
            let mut buffer = self.platform.allocate(piece.len());
            buffer.copy_from_slice(piece);
            file.write_at(buffer, offset).await.map_err(failed)?;
        }
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)
    }

    /// Removes all but the newest `keep` generations, and files that none names: those of what was
    /// removed, and what backups that were cut short have left. Gives the names of what was removed.
    pub(super) async fn prune(&mut self, keep: Option<usize>) -> Result<Vec<String>> {
        if !self.found.damaged.is_empty() {
            tracing::warn!(
                "nothing is removed from the backups while one of their lists is damaged"
            );
            return Ok(Vec::new());
        }
        let count = self.found.readable.len();
        let surplus = count - keep.unwrap_or(count).clamp(1, count);
        let mut removed = Vec::new();
        for manifest in self.found.readable.drain(..surplus) {
            let path = list_path(&self.path, &manifest.generation);
            let gone = self.platform.remove(&path).await;
            gone.map_err(|source| file_error("remove", &path, source))?;
            removed.push(manifest.generation);
        }
        let dir = lists_dir(&self.path);
        let synced = self.platform.sync_dir(&dir).await;
        synced.map_err(|source| file_error("sync", &dir, source))?;
        self.remove_unnamed().await?;
        Ok(removed)
    }

    async fn remove_unnamed(&self) -> Result<()> {
        let files = self.found.readable.iter().flat_map(Manifest::files);
        let named: HashSet<PathBuf> = files.map(|(_, file)| self.path.join(&file.path)).collect();
        for history in self.list(&self.path.join("data")).await? {
            for shard in self.list(&history).await? {
                let paths = self.list(&shard).await?;
                for path in paths.into_iter().filter(|path| !named.contains(path)) {
                    let gone = self.platform.remove(&path).await;
                    gone.map_err(|source| file_error("remove", &path, source))?;
                }
            }
        }
        Ok(())
    }

    async fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let paths = self.platform.list_dir(dir).await;
        paths.map_err(|source| file_error("list", dir, source))
    }
}
