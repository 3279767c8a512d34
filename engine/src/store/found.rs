//! The data directories as a start finds them: which belong to the store, and which drives are offline.
//!
//! Invariants: nothing is written or locked here. A directory that is another store's, a newer build's or
//! not a store's at all is an error, because its name was given by mistake; one that is missing, empty
//! or unreadable beside valid ones is a dead drive's, or the place where that drive should have been
//! mounted. It is left as it is, and the store goes on without it.

use super::{
    Layout, SUPERBLOCK, UNFINISHED_RESTORE, is_unused_shard, may_be_ignored, may_be_shard,
    shard_dir, unusable,
};
use crate::error::{Error, Result, is_of_the_drive};
use crate::format::superblock::{COPIES, Copy, Superblock};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use std::io;
use std::path::{Path, PathBuf};

/// One directory, as it was found.
#[derive(Debug)]
pub(super) enum Found {
    Valid(Superblock),
    /// There is nothing in it, or not even the directory; and in which words that is said.
    Vacant(&'static str),
    /// What formatting that was cut short leaves: shards without a superblock, none ever used.
    Unfinished,
    /// It cannot be used, and why.
    Dead(String),
}

pub(super) async fn look_at_all<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(data_dirs.len());
    for dir in data_dirs {
        found.push(look_at(platform, dir).await?);
    }
    Ok(found)
}

async fn look_at<P: Platform>(platform: &P, dir: &Path) -> Result<Found> {
    let entries = match platform.list_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Found::Vacant("it does not exist"));
        }
        Err(error) if is_of_the_drive(&error) => {
            return Ok(Found::Dead(format!("it cannot be read: {error}")));
        }
        Err(error) => return Err(unusable(dir, format!("it cannot be read: {error}"))),
    };
    let name = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let names: Vec<String> = entries.iter().filter_map(name).collect();
    if names.iter().any(|name| name == UNFINISHED_RESTORE) {
        return Err(unusable(
            dir,
            "a restore into it did not come to its end; it is to be done again",
        ));
    }
    if !names.iter().any(|name| name == SUPERBLOCK) {
        return without_superblock(platform, dir, &names).await;
    }
    let copies = match read_superblock_copies(platform, dir).await {
        Ok(copies) => copies,
        Err(error) => {
            let reason = format!("its superblock cannot be read: {error}");
            let is_lost = error.is_of_the_drive() || is_too_short(&error);
            return if is_lost { Ok(Found::Dead(reason)) } else { Err(unusable(dir, reason)) };
        }
    };
    newest(dir, &copies)
}

fn is_too_short(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
}

fn newest(dir: &Path, copies: &[Copy]) -> Result<Found> {
    let valid = copies.iter().filter_map(|copy| match copy {
        Copy::Valid(superblock) => Some(superblock),
        _ => None,
    });
    if let Some(superblock) = valid.max_by_key(|superblock| superblock.sequence) {
        let bad = copies.iter().filter(|copy| !matches!(copy, Copy::Valid(_))).count();
        if bad > 0 {
            tracing::warn!(dir = %dir.display(), bad, "copies of the superblock are damaged");
        }
        return Ok(Found::Valid(superblock.clone()));
    }
    let other = copies.iter().find_map(|copy| match copy {
        Copy::OtherVersion(version) => Some(*version),
        _ => None,
    });
    match other {
        Some(version) => Err(unusable(
            dir,
            format!(
                "it is of format version {version}; this build reads version {} only",
                crate::limits::FORMAT_VERSION
            ),
        )),
        None => Ok(Found::Dead("no copy of its superblock is valid".into())),
    }
}

/// Only what is ours may stand in a directory without a superblock.
async fn without_superblock<P: Platform>(
    platform: &P,
    dir: &Path,
    names: &[String],
) -> Result<Found> {
    let mut found = Found::Vacant("it is empty");
    for name in names.iter().filter(|name| !may_be_ignored(name)) {
        if !may_be_shard(name) {
            return Err(unusable(
                dir,
                format!("it holds {name:?} and no superblock: it is not a Ringfort data directory"),
            ));
        }
        if !is_unused_shard(platform, &dir.join(name)).await? {
            return Ok(Found::Dead(format!("it holds {name:?} and no superblock")));
        }
        found = Found::Unfinished;
    }
    Ok(found)
}

/// The copies of a directory's superblock, as they are.
pub async fn read_superblock_copies<P: Platform>(platform: &P, dir: &Path) -> Result<Vec<Copy>> {
    let path = dir.join(SUPERBLOCK);
    let context = |source| Error::io(format!("read {}", path.display()), source);
    let file = platform.open(&path, OpenMode::READ).await.map_err(context)?;
    let bytes = file.read_at(0, COPIES * BLOCK_BYTES).await.map_err(context)?;
    Ok(bytes.chunks(BLOCK_BYTES).map(Superblock::decode).collect())
}

/// Whether no directory belongs to a store; or some do, and formatting was cut short between them. Then
/// the others have all their shards already, and no shard anywhere was ever opened. An empty directory
/// beside a store is never formatted: it may be where a drive should have been mounted.
///
/// # Errors
/// What cannot be read leaves that open: a store that was cut short must not be opened without the
/// rest of it.
pub(super) async fn format_is_due<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
    found: &[Found],
) -> Result<bool> {
    let is_new = found.iter().all(|found| matches!(found, Found::Vacant(_) | Found::Unfinished));
    if is_new {
        return Ok(true);
    }
    if !found.iter().any(|found| matches!(found, Found::Unfinished)) {
        return Ok(false);
    }
    for (dir, found) in data_dirs.iter().zip(found) {
        match found {
            Found::Unfinished => {}
            Found::Valid(superblock) => {
                let complete = usize::from(superblock.drive_count) == data_dirs.len();
                if !complete || !is_never_opened(platform, dir, superblock).await? {
                    return Ok(false);
                }
            }
            Found::Vacant(_) | Found::Dead(_) => return Ok(false),
        }
    }
    Ok(true)
}

async fn is_never_opened<P: Platform>(
    platform: &P,
    dir: &Path,
    superblock: &Superblock,
) -> Result<bool> {
    let shards = superblock.drive_index..superblock.shard_count;
    for shard in shards.step_by(usize::from(superblock.drive_count)) {
        if !is_unused_shard(platform, &shard_dir(dir, shard)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the directories of one store in order, and checks that none is foreign. Which drive a dead
/// directory was is told by the place that the others leave open; of several nothing tells which is
/// which, and nothing depends on it, because they are not touched.
pub(super) fn assemble(data_dirs: &[PathBuf], found: Vec<Found>) -> Result<Layout> {
    let mut valid: Vec<(&PathBuf, Superblock)> = Vec::new();
    let mut dead: Vec<(&PathBuf, String)> = Vec::new();
    for (dir, found) in data_dirs.iter().zip(found) {
        match found {
            Found::Valid(superblock) => valid.push((dir, superblock)),
            Found::Vacant(cause) => dead.push((dir, cause.into())),
            Found::Unfinished => dead.push((dir, "it has no superblock".into())),
            Found::Dead(cause) => dead.push((dir, cause)),
        }
    }
    let Some((first_dir, first)) = valid.first().cloned() else {
        return Err(match dead.into_iter().next() {
            Some((dir, cause)) => unusable(dir, cause),
            None => Error::TooLarge("at least one data directory is needed"),
        });
    };
    if data_dirs.len() != usize::from(first.drive_count) {
        return Err(unusable(
            first_dir,
            format!(
                "its store has {} directories, {} are given; a dead drive's is to be given too",
                first.drive_count,
                data_dirs.len()
            ),
        ));
    }
    let mut drives: Vec<Option<(&PathBuf, Superblock)>> = data_dirs.iter().map(|_| None).collect();
    for (dir, superblock) in valid {
        if superblock.store_uuid != first.store_uuid {
            return Err(unusable(dir, "it belongs to another store than the other directories"));
        }
        let same = superblock.shard_count == first.shard_count
            && superblock.segment_bytes == first.segment_bytes
            && superblock.drive_count == first.drive_count;
        if !same {
            return Err(unusable(dir, "its superblock contradicts the other directories'"));
        }
        match drives.get_mut(usize::from(superblock.drive_index)) {
            Some(place @ None) => *place = Some((dir, superblock)),
            _ => return Err(unusable(dir, "it is given twice")),
        }
    }
    let mut layout = Layout {
        data_dirs: Vec::new(),
        store_uuid: first.store_uuid,
        shard_count: first.shard_count,
        segment_bytes: first.segment_bytes,
        capacity_bytes: Vec::new(),
        created_ns: first.created_ns,
        history: first.history,
        offline: Vec::new(),
    };
    let mut dead = dead.into_iter();
    for drive in drives {
        match drive {
            Some((dir, superblock)) => {
                layout.data_dirs.push(dir.clone());
                layout.capacity_bytes.push(superblock.capacity_bytes);
                layout.offline.push(None);
            }
            // As many directories are given as there are drives: one is left for each open place.
            None => {
                let (dir, cause) = dead.next().ok_or(Error::TooLarge("a drive is missing"))?;
                layout.data_dirs.push(dir.clone());
                layout.capacity_bytes.push(first.capacity_bytes);
                layout.offline.push(Some(cause));
            }
        }
    }
    Ok(layout)
}
