//! The store that inputs change: small, with everything in it: two checkpoints and more, a relocation log, objects in
//! records and in chunks, overwritten and deleted ones, an upload under way.

use engine::format::Salt;
use engine::format::superblock::{Copy, Superblock};
use engine::limits::SEGMENTS_MIN;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::platform::{BLOCK_BYTES, Durability, File, OpenMode, Platform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{BucketId, Commit, Deletion, Engine, Error, Etag, Shared};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const DATA_DIR: &str = "/data";
pub(super) const BUCKET: &str = "bucket";
pub(super) const KEYS: usize = 24;
/// So often each key is written, with another body each time.
pub(super) const ROUNDS: usize = 6;
pub(super) const FORMAT: FormatOptions = FormatOptions {
    shard_count: 1,
    segment_bytes: 1 << 20,
    capacity_bytes: (SEGMENTS_MIN as u64 + 4) << 20,
};

/// A run that polls tasks more often spins.
const POLLS_MAX: u64 = 3_000_000;

pub(super) fn options() -> EngineOptions {
    EngineOptions {
        fill_ahead_bytes: 0,
        checkpoint_log_bytes: 64 << 10,
        checkpoint_records: 20,
        body_budget_bytes: 8 << 20,
        index_budget_bytes: 8 << 20,
        open_files_max: 8,
        ..EngineOptions::default()
    }
}

pub(super) fn key(number: usize) -> Vec<u8> {
    format!("directory-{}/key-{number:03}", number % 3).into_bytes()
}

/// Most bodies stay in their records; one key's lies in chunks.
pub(super) fn body(key: usize, round: usize) -> Vec<u8> {
    let bytes = match key {
        0 => 150_000,
        1 => 130_000,
        _ => 100 + 700 * (key * 7 + round) % 9_000,
    };
    (0..bytes).map(|at| (at / 7 + key * 31 + round * 57) as u8).collect()
}

pub(super) async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &[u8],
    mut body: &[u8],
) -> Result<(), Error> {
    let mut writer = engine.writer(bucket, key, Some(body.len() as u64)).await?;
    while !body.is_empty() {
        let spare = writer.spare();
        let count = body.len().min(spare.len());
        spare[..count].copy_from_slice(&body[..count]);
        writer.advance(count).await?;
        body = &body[count..];
    }
    let etag = Etag { md5: [1; 16], parts: 0 };
    writer.finish(Commit { etag, attributes: b"attributes".to_vec(), ..Commit::default() }).await?;
    Ok(())
}

/// The files of a disk.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

fn sim() -> Sim {
    let options = SimOptions {
        disk_bytes: 64 << 20,
        polls_max: POLLS_MAX,
        shuffle_tasks: false,
        ..SimOptions::default()
    };
    Sim::new(1, options)
}

impl Image {
    pub(super) fn make() -> Self {
        let sim = sim();
        let platform = sim.platform();
        let work = async {
            platform.create_dir(Path::new(DATA_DIR)).await.expect("the disk is empty");
            fill(&platform).await
        };
        sim.run_until(work).expect("nothing crashes").expect("the store is sound");
        let disk = sim.disk();
        let files = disk.files().into_iter();
        let files = files.map(|path| {
            let bytes = disk.read(&path, 0, disk.length(&path) as usize);
            (path, bytes)
        });
        Self { files: files.collect() }
    }

    /// File and number of each block that is not empty.
    pub(super) fn used_blocks(&self) -> Vec<(usize, usize)> {
        let mut used = Vec::new();
        for (file, (_, bytes)) in self.files.iter().enumerate() {
            let blocks = bytes.chunks_exact(BLOCK_BYTES).enumerate();
            let filled = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
            used.extend(filled.map(|(block, _)| (file, block)));
        }
        used
    }

    /// The salt of the store's checksums.
    pub(super) fn salt(&self) -> Salt {
        let superblocks = self.files.iter().filter(|(path, _)| path.ends_with("superblock"));
        let copies = superblocks.flat_map(|(_, bytes)| bytes.chunks_exact(BLOCK_BYTES));
        let mut valid = copies.filter_map(|copy| match Superblock::decode(copy) {
            Copy::Valid(superblock) => Some(superblock.store_uuid),
            _ => None,
        });
        Salt::of_store(&valid.next().unwrap_or_default())
    }

    /// A machine with these files on its disk.
    pub(super) fn machine(&self) -> Sim {
        let sim = sim();
        let platform = sim.platform();
        let copy = async {
            for (path, bytes) in &self.files {
                for directory in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
                    // It is there already, or it is made.
                    drop(platform.create_dir(directory).await);
                }
                let mode =
                    OpenMode { create_new: true, write: true, durability: Durability::OnSync };
                let file = platform.open(path, mode).await.expect("the name is free");
                if !bytes.is_empty() {
                    file.preallocate(bytes.len() as u64).await.expect("there is room");
                }
                file.sync().await.expect("nothing fails");
            }
        };
        sim.run_until(copy).expect("nothing crashes");
        let disk = sim.disk();
        for (path, bytes) in &self.files {
            for (at, block) in (0..).step_by(BLOCK_BYTES).zip(bytes.chunks(BLOCK_BYTES)) {
                if block.iter().any(|byte| *byte != 0) {
                    disk.overwrite(path, at, block);
                }
            }
        }
        sim
    }
}

/// Formats and fills the store.
async fn fill(platform: &SimPlatform) -> Result<(), Error> {
    let dirs = [PathBuf::from(DATA_DIR)];
    let store = open_or_format(platform, &dirs, || FORMAT).await?;
    let engine =
        Engine::start(platform.clone(), store.layout.clone(), options(), Shared::new(1), 0).await?;
    let bucket =
        engine.create_bucket(BUCKET, BTreeMap::from([(1, b"a setting".to_vec())])).await?.id;
    for round in 0..ROUNDS {
        for number in 0..KEYS {
            put(&engine, bucket, &key(number), &body(number, round)).await?;
        }
        platform.sleep(Duration::from_secs(1)).await;
    }
    for number in [5, 9, 13] {
        engine.delete(bucket, &key(number), Deletion::NULL, None).await?;
    }
    engine.create_upload(bucket, b"upload", b"attributes".to_vec()).await?;
    platform.sleep(Duration::from_secs(1)).await;
    for number in 2..6 {
        put(&engine, bucket, &key(number), &body(number, 0)).await?;
    }
    engine.close().await;
    Ok(())
}
