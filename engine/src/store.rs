//! The data directories of a store: formatting, opening, and what every core needs to know of them.
//!
//! Invariants: a directory that is not ours, or not all of ours, is never written to, nor is that of a
//! drive that is offline; the superblock appears only after all that it promises exists; one process at
//! a time (a lock per directory).

mod found;

pub use self::found::read_superblock_copies;

use self::found::{Found, assemble, format_is_due, look_at_all};
use crate::error::{Error, Result, is_of_the_drive};
use crate::format::Salt;
use crate::format::segment::{SegmentHeader, SegmentKind, Stream};
use crate::format::superblock::{COPIES, Superblock};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_MAX, SEGMENTS_MIN};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::types::BucketId;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file by which a directory is known to be a store's.
pub const SUPERBLOCK: &str = "superblock";
/// Stands in a directory while a store is put back into it.
pub(crate) const UNFINISHED_RESTORE: &str = "unfinished-restore";
const SUPERBLOCK_NEW: &str = "superblock.new";
const LOCK: &str = "lock";
/// What may stand in a directory that is not formatted yet.
const IGNORED: [&str; 7] = [
    LOCK,
    SUPERBLOCK_NEW,
    "root-credentials.json",
    "sse-keys",
    "lost+found",
    "device-profile.json",
    "device-profile.json.new",
];

/// Safety rules that tests break on purpose, to prove that they notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The log is written without its sync.
    SkipLogSync,
    /// The bodies of large objects are not synced before their manifest.
    SkipDataSync,
    /// Writes are acknowledged when they are submitted.
    AcknowledgeEarly,
    /// Writes are visible when they are submitted, and acknowledged when they are durable.
    PublishBeforeDurable,
    /// Epochs neither salt checksums nor tell one use of a segment from the next.
    SkipEpochSalt,
    /// Checkpoints are written without syncs.
    SkipCheckpointSync,
    /// Emptied segments are used again although a checkpoint still needs them.
    RecycleTooSoon,
    /// Compaction drops what dead records killed although that is still on disk.
    DropTombstoneTooSoon,
    /// Changes of attributes are acknowledged before they are written.
    AmendBeforeDurable,
    /// Nothing says that an object is on its way to another key.
    RenameWithoutIntent,
}

/// What the operator chooses for each core.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Memory of one core for bodies under way.
    pub body_budget_bytes: usize,
    /// Memory of one core for its indexes; new keys are refused beyond it.
    pub index_budget_bytes: usize,
    /// Memory of one core for records of small objects that are read often; 0: none are kept.
    pub hot_record_bytes: usize,
    /// Segment files that one core keeps open.
    pub open_files_max: usize,
    /// Zeroes are written so far ahead in log segments that are used for the first time.
    pub fill_ahead_bytes: u64,
    /// A shard writes a checkpoint after so many bytes of log, or as many as its index has.
    pub checkpoint_log_bytes: u64,
    /// ... and after so many records, or an eighth of what its index has.
    pub checkpoint_records: u64,
    /// Whether space of dead records is regained.
    pub compaction: bool,
    /// What each core reads in a second to look for damage; 0: never.
    pub scrub_bytes_per_second: u64,
    /// How long after such a pass the next one begins.
    pub scrub_interval: Duration,
    /// Share of the log's space that may be alive, in percent; new data is refused beyond it.
    pub log_utilisation_max_percent: u8,
    /// Windows of a large body that are read ahead of the one that is being sent, while there is memory.
    pub read_ahead_windows: usize,
    /// Chunks of one upload being written at once.
    pub chunk_writes_in_flight: usize,
    /// Full groups of one shard being written at once; more than the format allows are never.
    pub groups_in_flight_max: usize,
    /// Reads of requests that one core has under way on one drive; who comes next waits here,
    /// and not in the device, where what is urgent would wait behind it: records in order, windows of large bodies in
    /// the order in which their chunks were begun. Of those of windows of large bodies there
    /// are half as many, and never more than all cores' share of `LARGE_READS_IN_FLIGHT`.
    pub reads_in_flight_max: usize,
    #[cfg(feature = "mutants")]
    pub mutation: Option<Mutation>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            body_budget_bytes: 256 << 20,
            index_budget_bytes: 1 << 30,
            hot_record_bytes: 1 << 20,
            open_files_max: 512,
            fill_ahead_bytes: crate::limits::FILL_AHEAD_BYTES,
            checkpoint_log_bytes: crate::limits::CHECKPOINT_LOG_BYTES,
            checkpoint_records: crate::limits::CHECKPOINT_RECORDS,
            compaction: true,
            scrub_bytes_per_second: crate::limits::SCRUB_BYTES_PER_SECOND,
            scrub_interval: crate::limits::SCRUB_INTERVAL,
            log_utilisation_max_percent: crate::limits::LOG_UTILISATION_MAX_PERCENT,
            read_ahead_windows: crate::limits::READ_AHEAD_WINDOWS,
            chunk_writes_in_flight: crate::limits::CHUNK_WRITES_IN_FLIGHT,
            groups_in_flight_max: crate::limits::GROUPS_IN_FLIGHT_MAX,
            reads_in_flight_max: usize::MAX,
            #[cfg(feature = "mutants")]
            mutation: None,
        }
    }
}

/// How a new store is laid out; all of it is fixed by formatting.
#[derive(Debug, Clone, Copy)]
pub struct FormatOptions {
    pub shard_count: u16,
    pub segment_bytes: u64,
    /// What each directory may use.
    pub capacity_bytes: u64,
}

impl FormatOptions {
    /// A layout for directories that may each use `capacity_bytes`, served by `cores` cores at first.
    pub fn for_capacity(capacity_bytes: u64, cores: usize, drives: usize) -> Self {
        // Twice the cores, so that the store can move to a larger host. More logs cost nothing that
        // could be measured: the block layer joins flushes that wait for the device.
        let shards = (cores * 2).next_power_of_two().clamp(4, 256);
        let shard_count = shards.next_multiple_of(drives.max(1)) as u16;
        let per_shard = capacity_bytes * drives.max(1) as u64 / u64::from(shard_count);
        let preferred = match capacity_bytes {
            0..0x100_0000_0000 => 64 << 20,
            0x100_0000_0000..0x1000_0000_0000 => 256 << 20,
            _ => SEGMENT_BYTES_MAX,
        };
        // A shard of few segments could hardly recycle any.
        let most = (per_shard / 16).max(SEGMENT_BYTES_MIN);
        let segment_bytes = preferred.min(1 << most.ilog2());
        Self { shard_count, segment_bytes, capacity_bytes }
    }
}

/// The facts of an opened store, the same on every core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the drives.
    pub data_dirs: Vec<PathBuf>,
    pub store_uuid: [u8; 16],
    pub shard_count: u16,
    pub segment_bytes: u64,
    /// Per directory.
    pub capacity_bytes: Vec<u64>,
    pub created_ns: u64,
    /// Another one after each restore: what backups of two histories hold is told apart by it.
    pub history: u64,
    /// By drive: why it was left out at the start. Its directory is neither read nor written.
    pub offline: Vec<Option<String>>,
}

impl Layout {
    pub fn salt(&self) -> Salt {
        Salt::of_store(&self.store_uuid)
    }

    /// The shard that owns a key.
    pub fn shard_of(&self, bucket: BucketId, key: &[u8]) -> u16 {
        let seed = self.salt().with(u64::from(bucket.0));
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(key, seed);
        // The high half of the product is uniform without a division.
        ((u128::from(hash) * u128::from(self.shard_count)) >> 64) as u16
    }

    pub fn drive_of(&self, shard: u16) -> usize {
        usize::from(shard) % self.data_dirs.len()
    }

    pub fn shard_dir(&self, shard: u16) -> PathBuf {
        shard_dir(&self.data_dirs[self.drive_of(shard)], shard)
    }

    pub fn segment_path(&self, shard: u16, segment: u32) -> PathBuf {
        segment_path(&self.shard_dir(shard), segment)
    }

    /// The shards whose logs hold the bucket catalogue or a copy of it: the first of each drive.
    pub fn catalog_homes(&self) -> std::ops::Range<u16> {
        0..self.data_dirs.len() as u16
    }

    /// Why the drive of a shard was left out at the start, if it was.
    pub fn offline_cause(&self, shard: u16) -> Option<&str> {
        self.offline.get(self.drive_of(shard))?.as_deref()
    }

    /// The drives that were left out at the start: where they should be, and why.
    pub fn offline_drives(&self) -> impl Iterator<Item = (&Path, &str)> {
        let drives = self.data_dirs.iter().zip(&self.offline);
        drives.filter_map(|(dir, cause)| Some((dir.as_path(), cause.as_deref()?)))
    }

    /// Most segments of one shard.
    pub fn segments_max(&self, shard: u16) -> usize {
        let shards_on_drive = usize::from(self.shard_count) / self.data_dirs.len();
        let per_shard = self.capacity_bytes[self.drive_of(shard)] / shards_on_drive as u64;
        ((per_shard / self.segment_bytes) as usize).clamp(SEGMENTS_MIN, SEGMENTS_MAX as usize)
    }
}

pub(crate) fn shard_dir(data_dir: &Path, shard: u16) -> PathBuf {
    data_dir.join(format!("shard-{shard:04}"))
}

pub(crate) fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.seg"))
}

/// A store whose directories are locked by this process.
#[derive(Debug)]
pub struct OpenStore<P: Platform> {
    pub layout: Layout,
    /// Whether opening formatted it.
    pub formatted: bool,
    _locks: Vec<P::Lock>,
}

/// Opens a store, or formats one if all directories are empty (missing ones are made). Drives that are
/// missing or cannot be read are left out as long as there is one that can: see [`Layout::offline`].
///
/// # Errors
/// [`Error::Unusable`] says what is wrong with which directory; nothing was changed in it then.
pub async fn open_or_format<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
    format: impl FnOnce() -> FormatOptions,
) -> Result<OpenStore<P>> {
    if data_dirs.is_empty() {
        return Err(Error::TooLarge("at least one data directory is needed"));
    }
    // Looked at before a lock is taken, so that a foreign directory is not even given a lock file; and
    // again below, because whoever held the locks may have formatted meanwhile.
    let found = look_at_all(platform, data_dirs).await?;
    let is_due = format_is_due(platform, data_dirs, &found).await?;
    let mut locks = Vec::new();
    // By directory: why it was not locked.
    let mut unlocked: Vec<Option<String>> = Vec::new();
    for (dir, found) in data_dirs.iter().zip(&found) {
        if is_due {
            make_dir(platform, dir).await?;
        } else if !matches!(found, Found::Valid(_)) {
            unlocked.push(Some("it appeared only while the store was being opened".into()));
            continue;
        }
        match platform.lock(&dir.join(LOCK)).await {
            Ok(lock) => {
                locks.push(lock);
                unlocked.push(None);
            }
            Err(error) if !is_due && is_of_the_drive(&error) => {
                unlocked.push(Some(format!("its lock cannot be taken: {error}")));
            }
            Err(error) => return Err(not_locked(dir, &error)),
        }
    }
    let mut found = look_at_all(platform, data_dirs).await?;
    let formatted = is_due && format_is_due(platform, data_dirs, &found).await?;
    if formatted {
        format_store(platform, data_dirs, format()).await?;
        found = look_at_all(platform, data_dirs).await?;
    }
    for ((dir, found), unlocked) in data_dirs.iter().zip(&mut found).zip(unlocked) {
        match (&*found, unlocked) {
            (Found::Valid(_), Some(cause)) => *found = Found::Dead(cause),
            (Found::Valid(_), None) => make_names_durable(platform, dir, found).await?,
            _ => {}
        }
    }
    let layout = assemble(data_dirs, found)?;
    require_shards(platform, &layout).await?;
    for (dir, cause) in layout.offline_drives() {
        tracing::error!(
            dir = %dir.display(),
            cause,
            "a drive of the store is offline: its keys answer an error, and so does every listing"
        );
    }
    Ok(OpenStore { layout, formatted, _locks: locks })
}

/// Locks the directories of an existing store, but for drives that are offline, and reads its layout.
/// Locks are given up when they are dropped.
///
/// # Errors
/// [`Error::Unusable`] if there is no store, or another process uses it. Nothing was changed then.
pub(crate) async fn lock_existing<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
) -> Result<(Layout, Vec<P::Lock>)> {
    let before = read_layout(platform, data_dirs).await?;
    let mut locks = Vec::new();
    for (dir, offline) in before.data_dirs.iter().zip(&before.offline) {
        if offline.is_none() {
            let lock = platform.lock(&dir.join(LOCK)).await;
            locks.push(lock.map_err(|error| not_locked(dir, &error))?);
        }
    }
    Ok((read_layout(platform, data_dirs).await?, locks))
}

/// A process that was killed while it formatted may have left names that are not durable.
async fn make_names_durable<P: Platform>(
    platform: &P,
    dir: &Path,
    found: &mut Found,
) -> Result<()> {
    match platform.sync_dir(dir).await {
        Ok(()) => Ok(()),
        Err(error) if is_of_the_drive(&error) => {
            *found = Found::Dead(format!("it cannot be synced: {error}"));
            Ok(())
        }
        Err(source) => Err(Error::io(format!("sync {}", dir.display()), source)),
    }
}

/// The directory of every shard is there, where its drive is.
async fn require_shards<P: Platform>(platform: &P, layout: &Layout) -> Result<()> {
    for shard in 0..layout.shard_count {
        if layout.offline_cause(shard).is_some() {
            continue;
        }
        let dir = layout.shard_dir(shard);
        match platform.list_dir(&dir).await {
            // Recovery finds the drive offline.
            Err(error) if !is_of_the_drive(&error) => {
                return Err(unusable(
                    &dir,
                    format!("the directory of a shard is missing or unreadable: {error}"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads the layout of an existing store without locking or changing anything.
pub async fn read_layout<P: Platform>(platform: &P, data_dirs: &[PathBuf]) -> Result<Layout> {
    assemble(data_dirs, look_at_all(platform, data_dirs).await?)
}

fn unusable(path: &Path, reason: impl Into<String>) -> Error {
    Error::Unusable { path: path.to_owned(), reason: reason.into() }
}

async fn make_dir<P: Platform>(platform: &P, dir: &Path) -> Result<()> {
    match platform.create_dir(dir).await {
        Ok(()) => {
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                platform
                    .sync_dir(parent)
                    .await
                    .map_err(|source| Error::io(format!("sync {}", parent.display()), source))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(dir, format!("it cannot be made: {error}"))),
    }
}

fn not_locked(dir: &Path, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::WouldBlock {
        unusable(dir, "another process uses it (its lock is held)")
    } else {
        unusable(dir, format!("its lock cannot be taken: {error}"))
    }
}

/// Whether an entry of a data directory can be ours, by its name. Whoever writes beside a store before
/// it is opened asks this of all that is there, so that a foreign directory is not written to.
pub fn may_be_ours(name: &str) -> bool {
    name == SUPERBLOCK || name == UNFINISHED_RESTORE || may_be_ignored(name) || may_be_shard(name)
}

pub(crate) fn may_be_ignored(name: &str) -> bool {
    IGNORED.contains(&name)
}

fn may_be_shard(name: &str) -> bool {
    name.strip_prefix("shard-").is_some_and(|number| number.parse::<u16>().is_ok())
}

/// Whether a shard's directory is what an interrupted format leaves: empty, or with a first segment
/// into which nothing was written behind its header.
async fn is_unused_shard<P: Platform>(platform: &P, dir: &Path) -> Result<bool> {
    let Ok(inside) = platform.list_dir(dir).await else {
        return Ok(false);
    };
    let [only] = inside.as_slice() else {
        return Ok(inside.is_empty());
    };
    if only != &segment_path(dir, 0) {
        return Ok(false);
    }
    let failed = |source| Error::io(format!("read {}", only.display()), source);
    let file = platform.open(only, OpenMode::READ).await.map_err(failed)?;
    let length = file.len().await.map_err(failed)?;
    if length < 2 * BLOCK_BYTES as u64 {
        return Ok(length == 0);
    }
    let block = file.read_at(BLOCK_BYTES as u64, BLOCK_BYTES).await.map_err(failed)?;
    Ok(block.iter().all(|&byte| byte == 0))
}

async fn format_store<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
    options: FormatOptions,
) -> Result<()> {
    let mut store_uuid = [0; 16];
    store_uuid[..8].copy_from_slice(&platform.random_u64().to_le_bytes());
    store_uuid[8..].copy_from_slice(&platform.random_u64().to_le_bytes());
    let created_ns = platform.wall_clock_ns();
    let history = platform.random_u64();
    let superblock = |drive_index: u16| Superblock {
        sequence: 1,
        store_uuid,
        drive_index,
        drive_count: data_dirs.len() as u16,
        shard_count: options.shard_count,
        segment_bytes: options.segment_bytes,
        capacity_bytes: options.capacity_bytes,
        created_ns,
        history,
    };
    superblock(0).check().map_err(Error::TooLarge)?;
    for (drive, dir) in data_dirs.iter().enumerate() {
        let shards = (0..options.shard_count).skip(drive).step_by(data_dirs.len());
        require_room(platform, dir, shards, options.segment_bytes).await?;
    }
    for shard in 0..options.shard_count {
        let data_dir = &data_dirs[usize::from(shard) % data_dirs.len()];
        let dir = shard_dir(data_dir, shard);
        match platform.create_dir(&dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("create {}", dir.display()), error));
            }
            _ => {}
        }
        let header = SegmentHeader {
            kind: SegmentKind::Log,
            stream: Stream::Foreground,
            store_uuid,
            shard,
            segment: 0,
            epoch: 1,
            segment_bytes: options.segment_bytes,
            first_lsn: 1,
            chain_before: 0,
            opened_ns: created_ns,
        };
        format_shard(platform, &dir, &header)
            .await
            .map_err(|source| Error::io(format!("format {}", dir.display()), source))?;
        platform
            .sync_dir(data_dir)
            .await
            .map_err(|source| Error::io(format!("sync {}", data_dir.display()), source))?;
    }
    for (dir, index) in data_dirs.iter().zip(0..) {
        write_superblock(platform, dir, &superblock(index))
            .await
            .map_err(|source| Error::io(format!("format {}", dir.display()), source))?;
    }
    Ok(())
}

/// Refuses a drive that has not even the fewest segments for each of its shards: one that never gets its
/// reserve cannot delete what it holds.
async fn require_room<P: Platform>(
    platform: &P,
    data_dir: &Path,
    shards: impl Iterator<Item = u16>,
    segment_bytes: u64,
) -> Result<()> {
    let failed = |source| Error::io(format!("look at {}", data_dir.display()), source);
    let mut available = platform.space(data_dir).await.map_err(failed)?.available_bytes;
    let mut count = 0;
    for shard in shards {
        count += 1;
        // What an interrupted format has made already.
        let first = segment_path(&shard_dir(data_dir, shard), 0);
        if let Ok(file) = platform.open(&first, OpenMode::READ).await {
            available += file.len().await.map_err(failed)?;
        }
    }
    let needed = count * SEGMENTS_MIN as u64 * segment_bytes;
    if available < needed {
        return Err(unusable(
            data_dir,
            format!(
                "{needed} bytes are needed for {count} shards of at least {SEGMENTS_MIN} segments of \
                 {segment_bytes} bytes, {available} are free"
            ),
        ));
    }
    Ok(())
}

/// Gives a shard the segment in which its log begins, so that its absence is always a loss.
async fn format_shard<P: Platform>(
    platform: &P,
    dir: &Path,
    header: &SegmentHeader,
) -> std::io::Result<()> {
    create_segment_file(platform, dir, 0, header.segment_bytes).await?;
    let path = segment_path(dir, 0);
    let file = platform.open(&path, OpenMode::WRITE_DURABLE).await?;
    let mut block = platform.allocate(BLOCK_BYTES);
    header.encode(&mut block);
    file.write_at(block, 0).await?;
    file.close().await
}

/// Makes a segment file in the place of what an earlier attempt may have left.
pub(crate) async fn create_segment_file<P: Platform>(
    platform: &P,
    dir: &Path,
    segment: u32,
    segment_bytes: u64,
) -> std::io::Result<()> {
    remove_left_over(platform, &segment_path(dir, segment)).await?;
    create_new_segment_file(platform, dir, segment, segment_bytes).await
}

/// Makes a segment file of full length whose name is durable. A failed attempt leaves neither name nor bytes.
pub(crate) async fn create_new_segment_file<P: Platform>(
    platform: &P,
    dir: &Path,
    segment: u32,
    segment_bytes: u64,
) -> std::io::Result<()> {
    let path = segment_path(dir, segment);
    let file = platform.open(&path, OpenMode::CREATE).await?;
    let filled = match file.preallocate(segment_bytes).await {
        Ok(()) => file.sync().await,
        failed => failed,
    };
    let closed = file.close().await;
    let made = match filled.and(closed) {
        Ok(()) => platform.sync_dir(dir).await,
        failed => failed,
    };
    if made.is_err() {
        // The first error says more than that of this; and the next attempt tries it again.
        let _ = platform.remove(&path).await;
    }
    made
}

/// Removes what an attempt to make a file may have left when it was cut short.
pub(crate) async fn remove_left_over<P: Platform>(
    platform: &P,
    path: &Path,
) -> std::io::Result<()> {
    match platform.remove(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Two copies, a sync, the other two, a sync; then the name.
pub(crate) async fn write_superblock<P: Platform>(
    platform: &P,
    dir: &Path,
    superblock: &Superblock,
) -> std::io::Result<()> {
    let temporary = dir.join(SUPERBLOCK_NEW);
    remove_left_over(platform, &temporary).await?;
    let file = platform.open(&temporary, OpenMode::CREATE).await?;
    file.preallocate((COPIES * BLOCK_BYTES) as u64).await?;
    for pair in 0..COPIES / 2 {
        let mut block = platform.allocate(2 * BLOCK_BYTES);
        block.chunks_mut(BLOCK_BYTES).for_each(|copy| superblock.encode(copy));
        file.write_at(block, (pair * 2 * BLOCK_BYTES) as u64).await?;
        file.sync().await?;
    }
    file.close().await?;
    platform.sync_dir(dir).await?;
    platform.rename(&temporary, &dir.join(SUPERBLOCK)).await?;
    platform.sync_dir(dir).await
}
