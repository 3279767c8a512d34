//! The store that inputs change: small, with everything in it: two checkpoints and more, a relocation log, objects in
//! records and in chunks, overwritten and deleted ones, an upload under way.

use engine::format::Salt;
use engine::format::superblock::{Copy, Superblock};
use engine::limits::SEGMENTS_MIN;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::platform::{BLOCK_BYTES, Platform};
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

/// A machine at rest, with the store on its disk.
#[derive(Debug)]
pub(super) struct Image {
    sim: Sim,
    /// File and number of each block that is not empty.
    pub(super) blocks: Vec<(PathBuf, u64)>,
    /// Of the store's checksums.
    pub(super) salt: Salt,
}

fn sim_options() -> SimOptions {
    SimOptions {
        disk_bytes: 64 << 20,
        polls_max: POLLS_MAX,
        shuffle_tasks: false,
        ..SimOptions::default()
    }
}

impl Image {
    pub(super) fn make() -> Self {
        let sim = Sim::new(1, sim_options());
        let platform = sim.platform();
        let work = async {
            platform.create_dir(Path::new(DATA_DIR)).await.expect("the disk is empty");
            fill(&platform).await
        };
        sim.run_until(work).expect("nothing crashes").expect("the store is sound");
        let (mut blocks, mut salt) = (Vec::new(), None);
        for path in sim.disk().files() {
            let bytes = whole(&sim, &path);
            for (at, block) in (0..).step_by(BLOCK_BYTES).zip(bytes.chunks_exact(BLOCK_BYTES)) {
                if block.iter().any(|byte| *byte != 0) {
                    blocks.push((path.clone(), at));
                }
            }
            if let Some(Copy::Valid(superblock)) = bytes.get(..BLOCK_BYTES).map(Superblock::decode)
            {
                salt = Some(Salt::of_store(&superblock.store_uuid));
            }
        }
        Self { sim, blocks, salt: salt.expect("a store has a superblock") }
    }

    /// Another machine with the same bytes on its disk.
    pub(super) fn machine(&self) -> Sim {
        self.sim.with_same_disk(1, sim_options())
    }
}

/// All of a file.
pub(super) fn whole(sim: &Sim, path: &Path) -> Vec<u8> {
    let disk = sim.disk();
    // What is read is whole sectors; a file that is not is none of the engine's structures.
    let length = disk.length(path) as usize;
    disk.read(path, 0, length - length % 512)
}

/// Overwrites a file where it differs.
pub(super) fn put_back(sim: &Sim, path: &Path, before: &[u8], after: &[u8]) {
    for (at, (before, after)) in (0..).step_by(512).zip(before.chunks(512).zip(after.chunks(512))) {
        if before != after {
            sim.disk().overwrite(path, at, after);
        }
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
