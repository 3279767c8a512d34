//! Putting a store back from a backup, into empty directories.
//!
//! Every file of the backup is verified on its way. Segments without a file are blank: they were free
//! at the snapshot. The superblocks come last, with the store's uuid and a new history, so that later
//! backups do not take what they find of the old one for their own.
//!
//! Invariants: nothing is written to a directory that holds anything but what an earlier restore, cut
//! short, has left; until all is durable a mark stands in every directory, with which no server starts.
//!
//! Not here: credentials of the server, which are no part of the store.

use crate::backup::manifest::hex_bytes;
use crate::backup::{
    FileKind, FileRow, Manifest, ShardRow, create, file_error, for_each_window, generations,
    make_dir, read_back,
};
use crate::checkpoint::slot_path;
use crate::checksum::Crc64;
use crate::error::{Error, Result};
use crate::format::packed::PackedHeader;
use crate::format::segment::{SegmentHeader, SegmentKind, Stream};
use crate::format::superblock::Superblock;
use crate::limits::UNIT_BYTES;
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::store::{
    UNFINISHED_RESTORE, create_segment_file, may_be_ignored, segment_path, shard_dir,
    write_superblock,
};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

/// What is to be put back, and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Of the backups.
    pub directory: PathBuf,
    /// The newest, unless another is named.
    pub generation: Option<String>,
    /// As many as divide the shards; they need not be as many as there were.
    pub data_dirs: Vec<PathBuf>,
    /// Verify the backup and write nothing.
    pub dry_run: bool,
}

/// What a restore came to.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    pub generation: String,
    /// When the snapshot was taken, in nanoseconds since the Unix epoch.
    pub taken_ns: u64,
    pub shards: u16,
    pub files: u64,
    pub bytes: u64,
    /// What did not verify already when it was copied.
    pub damage: Vec<String>,
}

/// Puts a store back, or with `dry_run` verifies that it could be. `told` hears of the bytes read.
///
/// # Errors
/// [`Error::Backup`] names the file that is not what it was; [`Error::Unusable`] the directory that
/// is in use.
pub async fn restore<P: Platform>(
    platform: &P,
    options: &RestoreOptions,
    told: impl Fn(u64),
) -> Result<RestoreReport> {
    let manifest = choose(platform, options).await?;
    let report = RestoreReport {
        generation: manifest.generation.clone(),
        taken_ns: manifest.taken_ns,
        shards: manifest.shard_count,
        files: manifest.files().count() as u64,
        bytes: manifest.bytes(),
        damage: manifest.files().filter_map(|(_, file)| file.damage.clone()).collect(),
    };
    if options.dry_run {
        for (_, file) in manifest.files() {
            let path = options.directory.join(&file.path);
            let found = read_back(platform, &path).await?;
            check_file(&path, file, found.bytes, found.checksum)?;
            told(file.bytes);
        }
        return Ok(report);
    }
    let plan = Restore { platform, options, manifest: &manifest };
    plan.prepare().await?;
    for shard in &manifest.shards {
        plan.shard(shard, &told).await?;
    }
    plan.finish().await?;
    Ok(report)
}

async fn choose<P: Platform>(platform: &P, options: &RestoreOptions) -> Result<Manifest> {
    let directory = &options.directory;
    let found = generations(platform, directory).await?;
    let chosen = match &options.generation {
        Some(name) => found.readable.into_iter().find(|manifest| manifest.generation == *name),
        None if !found.damaged.is_empty() => {
            // It may be the newest.
            let (path, reason) = &found.damaged[0];
            return Err(Error::Backup(format!(
                "{} cannot be read ({reason}): name the generation that is wanted",
                path.display()
            )));
        }
        None => found.readable.into_iter().last(),
    };
    let missing = || match &options.generation {
        Some(name) => format!("{} holds no readable generation {name}", directory.display()),
        None => format!("{} holds no backup", directory.display()),
    };
    chosen.ok_or_else(|| Error::Backup(missing()))
}

fn check_file(path: &Path, file: &FileRow, bytes: u64, checksum: u64) -> Result<()> {
    if bytes == file.bytes && crate::backup::manifest::hex(checksum) == file.checksum {
        return Ok(());
    }
    Err(Error::Backup(format!("{} is not what was written to it", path.display())))
}

fn unusable(dir: &Path, reason: impl Into<String>) -> Error {
    Error::Unusable { path: dir.to_owned(), reason: reason.into() }
}

struct Restore<'a, P: Platform> {
    platform: &'a P,
    options: &'a RestoreOptions,
    manifest: &'a Manifest,
}

impl<P: Platform> Restore<'_, P> {
    fn drives(&self) -> usize {
        self.options.data_dirs.len()
    }

    fn dir_of(&self, shard: u16) -> PathBuf {
        shard_dir(&self.options.data_dirs[usize::from(shard) % self.drives()], shard)
    }

    fn superblock(&self, drive: u16, uuid: [u8; 16], history: u64) -> Superblock {
        let manifest = self.manifest;
        let capacity: u64 = manifest.capacity_bytes.iter().sum();
        Superblock {
            sequence: 1,
            store_uuid: uuid,
            drive_index: drive,
            drive_count: self.drives() as u16,
            shard_count: manifest.shard_count,
            segment_bytes: manifest.segment_bytes,
            capacity_bytes: capacity / self.drives() as u64,
            created_ns: manifest.store_created_ns,
            history,
        }
    }

    /// Looks at all directories before anything is written to one, and marks them.
    async fn prepare(&self) -> Result<()> {
        if self.drives() == 0 {
            return Err(Error::TooLarge("at least one data directory is needed"));
        }
        let superblock = self.superblock(0, parse_uuid(self.manifest)?, 0);
        superblock.check().map_err(|reason| Error::Backup(reason.into()))?;
        for row in &self.manifest.shards {
            check_shard(row)?;
        }
        for (dir, drive) in self.options.data_dirs.iter().zip(0..) {
            self.require_empty(dir).await?;
            self.require_space(dir, drive).await?;
        }
        for dir in &self.options.data_dirs {
            make_dir(self.platform, dir).await?;
            let mark = dir.join(UNFINISHED_RESTORE);
            let failed = |source| file_error("write", &mark, source);
            create(self.platform, &mark).await?.close().await.map_err(failed)?;
            self.platform.sync_dir(dir).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn require_empty(&self, dir: &Path) -> Result<()> {
        let paths = match self.platform.list_dir(dir).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|source| file_error("list", dir, source))?,
        };
        let names: Vec<_> = paths.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let is_ours = names.contains(&UNFINISHED_RESTORE);
        let holds = names.iter().find(|name| !is_ours && !may_be_ignored(name));
        match holds {
            Some(name) => Err(unusable(
                dir,
                format!("it holds {name:?}; a store is put back into empty directories"),
            )),
            None => Ok(()),
        }
    }

    async fn require_space(&self, dir: &Path, drive: usize) -> Result<()> {
        let own = |row: &&ShardRow| usize::from(row.shard) % self.drives() == drive;
        let segments: u64 =
            self.manifest.shards.iter().filter(own).map(|row| u64::from(row.segments)).sum();
        let needed = segments * self.manifest.segment_bytes;
        // A directory that is missing is made on the filesystem of its parent.
        let there = [Some(dir), dir.parent()];
        for place in there.into_iter().flatten() {
            if let Ok(space) = self.platform.space(place).await {
                if space.available_bytes < needed {
                    let available = space.available_bytes;
                    let reason = format!("{needed} bytes are needed, {available} are free");
                    return Err(unusable(dir, reason));
                }
                break;
            }
        }
        Ok(())
    }

    async fn shard(&self, row: &ShardRow, told: &impl Fn(u64)) -> Result<()> {
        let dir = self.dir_of(row.shard);
        make_dir(self.platform, &dir).await?;
        let failed = |source| file_error("write", &dir, source);
        self.remove_left_over(&dir).await?;
        let by_segment: HashMap<u32, &FileRow> =
            row.files.iter().filter_map(|file| Some((file.segment?, file))).collect();
        for segment in 0..row.segments {
            let bytes = self.manifest.segment_bytes;
            create_segment_file(self.platform, &dir, segment, bytes).await.map_err(failed)?;
            match by_segment.get(&segment) {
                Some(file) if file.kind == FileKind::Slab => self.slab(row, segment, file).await?,
                Some(file) => self.copy(file, &segment_path(&dir, segment)).await?,
                None => continue,
            }
            told(by_segment.get(&segment).map_or(0, |file| file.bytes));
        }
        for file in row.files.iter().filter(|file| file.kind == FileKind::Checkpoint) {
            let slot = slot_path(&dir, 0);
            create(self.platform, &slot).await?.close().await.map_err(failed)?;
            self.copy(file, &slot).await?;
            told(file.bytes);
        }
        self.platform.sync_dir(&dir).await.map_err(failed)
    }

    /// An earlier restore may have been of another generation.
    async fn remove_left_over(&self, dir: &Path) -> Result<()> {
        let paths = self.platform.list_dir(dir).await;
        for path in paths.map_err(|source| file_error("list", dir, source))? {
            let gone = self.platform.remove(&path).await;
            gone.map_err(|source| file_error("remove", &path, source))?;
        }
        Ok(())
    }

    /// Copies a file to the beginning of another one, durably.
    async fn copy(&self, file: &FileRow, to: &Path) -> Result<()> {
        let from = self.options.directory.join(&file.path);
        let failed = |source| file_error("write", to, source);
        let target = self.open(to).await?;
        let mut checksum = Crc64::new();
        let bytes = for_each_window(self.platform, &from, async |offset, window| {
            checksum.update(window);
            let mut buffer = self.platform.allocate(window.len());
            buffer.copy_from_slice(window);
            target.write_at(buffer, offset).await.map(drop).map_err(failed)
        });
        let bytes = bytes.await?;
        check_file(&from, file, bytes, checksum.finish())?;
        target.sync().await.map_err(failed)?;
        target.close().await.map_err(failed)
    }

    async fn open(&self, path: &Path) -> Result<P::File> {
        let opened = self.platform.open(path, crate::platform::OpenMode::WRITE).await;
        opened.map_err(|source| file_error("open", path, source))
    }

    /// Puts the units of a packed segment back to their places, behind the header of its use.
    async fn slab(&self, row: &ShardRow, segment: u32, file: &FileRow) -> Result<()> {
        let from = self.options.directory.join(&file.path);
        let to = segment_path(&self.dir_of(row.shard), segment);
        let failed = |source| file_error("write", &to, source);
        let wrong = |reason: &str| Error::Backup(format!("{}: {reason}", from.display()));
        let target = self.open(&to).await?;
        let mut checksum = Crc64::new();
        let mut places: Option<Places> = None;
        let bytes = for_each_window(self.platform, &from, async |offset, window| {
            checksum.update(window);
            let mut rest = window;
            if offset == 0 {
                let (block, units) =
                    window.split_at_checked(BLOCK_BYTES).ok_or_else(|| wrong("it is cut short"))?;
                let header = PackedHeader::decode(block).map_err(|m| wrong(m.0))?;
                if (header.shard, header.segment) != (row.shard, segment)
                    || header.segment_bytes != self.manifest.segment_bytes
                {
                    return Err(wrong("it is another segment's"));
                }
                let mut buffer = self.platform.allocate(BLOCK_BYTES);
                slab_header(&header).encode(&mut buffer);
                target.write_at(buffer, 0).await.map_err(failed)?;
                places = Some(Places::new(&header));
                rest = units;
            }
            while !rest.is_empty() {
                let place = places.as_mut().and_then(|places| places.next(rest.len()));
                let (offset, count) = place.ok_or_else(|| wrong("it is too long"))?;
                let (now, later) = rest.split_at(count);
                let mut buffer = self.platform.allocate(count);
                buffer.copy_from_slice(now);
                target.write_at(buffer, offset).await.map_err(failed)?;
                rest = later;
            }
            Ok(())
        });
        let bytes = bytes.await?;
        check_file(&from, file, bytes, checksum.finish())?;
        target.sync().await.map_err(failed)?;
        target.close().await.map_err(failed)
    }

    /// All is durable: the superblocks make it a store, and the marks go.
    async fn finish(&self) -> Result<()> {
        let (uuid, history) = (parse_uuid(self.manifest)?, self.platform.random_u64());
        for dir in &self.options.data_dirs {
            let synced = self.platform.sync_dir(dir).await;
            synced.map_err(|source| file_error("sync", dir, source))?;
        }
        for (dir, drive) in self.options.data_dirs.iter().zip(0..) {
            let superblock = self.superblock(drive, uuid, history);
            let written = write_superblock(self.platform, dir, &superblock);
            written.await.map_err(|source| file_error("write the superblock of", dir, source))?;
        }
        for dir in &self.options.data_dirs {
            let mark = dir.join(UNFINISHED_RESTORE);
            let failed = |source| file_error("remove", &mark, source);
            self.platform.remove(&mark).await.map_err(failed)?;
            self.platform.sync_dir(dir).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// Where the bytes of a packed segment go.
struct Places {
    /// Ranges of the segment that are still to be written.
    ranges: VecDeque<(u64, u64)>,
}

impl Places {
    fn new(header: &PackedHeader) -> Self {
        let unit = UNIT_BYTES as u64;
        let range =
            |(first, units): (u32, u32)| (u64::from(first) * unit, u64::from(first + units) * unit);
        Self { ranges: header.runs().map(range).collect() }
    }

    /// The place of the next bytes: offset, and how many of at most `most` go there.
    fn next(&mut self, most: usize) -> Option<(u64, usize)> {
        let (start, end) = self.ranges.front_mut()?;
        let count = (*end - *start).min(most as u64);
        let offset = *start;
        *start += count;
        if start == end {
            self.ranges.pop_front();
        }
        Some((offset, count as usize))
    }
}

fn slab_header(packed: &PackedHeader) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Slab,
        stream: Stream::Foreground,
        store_uuid: packed.store_uuid,
        shard: packed.shard,
        segment: packed.segment,
        epoch: packed.epoch,
        segment_bytes: packed.segment_bytes,
        first_lsn: 0,
        chain_before: 0,
        opened_ns: packed.opened_ns,
    }
}

/// One checkpoint, and each segment at most once.
fn check_shard(row: &ShardRow) -> Result<()> {
    let checkpoints = row.files.iter().filter(|file| file.kind == FileKind::Checkpoint).count();
    let mut segments: Vec<u32> = row.files.iter().filter_map(|file| file.segment).collect();
    let files = segments.len();
    segments.sort_unstable();
    segments.dedup();
    if checkpoints != 1 || segments.len() != files || row.segments == 0 {
        return Err(Error::Backup(format!("its list of shard {} is impossible", row.shard)));
    }
    Ok(())
}

fn parse_uuid(manifest: &Manifest) -> Result<[u8; 16]> {
    let text = &manifest.store_uuid;
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    let uuid = number.map(u128::to_be_bytes).filter(|uuid| hex_bytes(uuid) == *text);
    uuid.ok_or_else(|| Error::Backup("its store's uuid is impossible".into()))
}
