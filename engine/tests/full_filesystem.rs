//! Stores whose filesystem has less to give than they were promised: what is too little for them is left to
//! others, and is asked for in order.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::platform::{File, OpenMode, Platform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{BucketId, Commit, Engine, Error, Shared};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const FORMAT: FormatOptions =
    FormatOptions { shard_count: 1, segment_bytes: MIB, capacity_bytes: 32 * MIB };
/// Room for about half of the segments, and some more that is too little for another one.
const DISK_BYTES: u64 = 18 * MIB + (300 << 10);

fn sim(seed: u64, disk_bytes: u64) -> Sim {
    Sim::new(seed, SimOptions { disk_bytes, polls_max: 50_000_000, ..SimOptions::default() })
}

fn dirs() -> [PathBuf; 1] {
    [PathBuf::from("/data")]
}

async fn start(platform: &SimPlatform) -> Engine<SimPlatform> {
    let store = open_or_format(platform, &dirs(), || FORMAT).await.unwrap();
    let layout = store.layout.clone();
    // The lock must outlive the engine.
    std::mem::forget(store);
    let options = EngineOptions { scrub_bytes_per_second: 0, ..EngineOptions::default() };
    Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await.unwrap()
}

/// What takes a segment for itself.
const LARGE_BYTES: usize = 900_000;

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    bytes: usize,
) -> Result<(), Error> {
    let mut left = bytes;
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(left as u64)).await?;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(7);
        writer.advance(count).await?;
        left -= count;
    }
    writer.finish(Commit::default()).await.map(drop)
}

/// Puts large bodies, which need segments, until the filesystem has none; where they were put.
async fn exhaust(engine: &Engine<SimPlatform>) -> BucketId {
    let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
    for number in 0.. {
        if let Err(error) = put(engine, bucket, &format!("{number}"), LARGE_BYTES).await {
            assert!(matches!(error, Error::OutOfSpace), "{error}");
            assert!(number > 0, "nothing was taken");
            break;
        }
    }
    bucket
}

/// Has the shard ask the filesystem for another segment.
fn ask(platform: &SimPlatform, engine: &Engine<SimPlatform>, bucket: BucketId) {
    let engine = engine.clone();
    platform.spawn(async move {
        let _ = put(&engine, bucket, "more", LARGE_BYTES).await;
    });
}

async fn sleep(platform: &SimPlatform, seconds: u64) {
    platform.sleep(Duration::from_secs(seconds)).await;
}

async fn available_bytes(platform: &SimPlatform) -> u64 {
    platform.space(Path::new("/data")).await.unwrap().available_bytes
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

/// A preallocation that fails has taken what was free by then: others on the filesystem were refused for the sake
/// of a segment that nobody had.
#[test]
fn what_is_too_little_for_a_segment_is_left_to_others() {
    for seed in 0..3 {
        let sim = sim(seed, DISK_BYTES);
        let platform = sim.platform();
        let left = sim.run_until(async {
            let engine = start(&platform).await;
            let bucket = exhaust(&engine).await;
            sleep(&platform, 5).await;
            let left = available_bytes(&platform).await;
            assert!(0 < left && left < MIB, "{left} bytes are left");
            // The filesystem is asked again, several times.
            let preallocations = sim.counters().preallocations;
            sleep(&platform, 200).await;
            assert!(sim.counters().preallocations > preallocations, "it was not asked");
            assert_eq!(available_bytes(&platform).await, left);
            for path in sim.disk().files().iter().filter(|path| is_segment(path)) {
                assert_eq!(sim.disk().length(path), MIB, "{}", path.display());
            }
            (left, bucket)
        });
        let (left, bucket) = left.unwrap();
        // A crash in the middle of an attempt may keep it, until the next one.
        for io in 0..8 {
            let platform = sim.reboot();
            let crashed = sim.run_until(async {
                let preallocations = sim.counters().preallocations;
                let engine = start(&platform).await;
                ask(&platform, &engine, bucket);
                while sim.counters().preallocations == preallocations {
                    platform.sleep(Duration::from_micros(1)).await;
                }
                sim.crash_after_io(sim.counters().ios + io);
                sleep(&platform, 200).await;
                drop(engine);
            });
            assert!(crashed.is_err(), "seed {seed}: too little is done after the attempt");
            sim.forget_faults();
            let platform = sim.reboot();
            let after = sim.run_until(async {
                let engine = start(&platform).await;
                ask(&platform, &engine, bucket);
                sleep(&platform, 5).await;
                available_bytes(&platform).await
            });
            assert_eq!(after.unwrap(), left, "seed {seed}, I/O {io}");
        }
    }
}

/// Of shards that share too little, some would never get what they need to delete anything.
#[test]
fn a_disk_without_room_for_the_fewest_segments_of_each_shard_is_refused() {
    let format = FormatOptions { shard_count: 2, capacity_bytes: 64 * MIB, ..FORMAT };
    let least = 16 * MIB;
    let sim = sim(1, least);
    let platform = sim.platform();
    let done = sim.run_until(async {
        let others = platform.open(Path::new("/others"), OpenMode::CREATE).await.unwrap();
        others.preallocate(4096).await.unwrap();
        let refused = open_or_format(&platform, &dirs(), || format).await.unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, Error::Unusable { .. }), "{told}");
        for figure in [least, least - 4096] {
            assert!(told.contains(&figure.to_string()), "{told}");
        }
        assert!(!sim.disk().files().iter().any(|path| is_segment(path)), "nothing was made");
        platform.remove(Path::new("/others")).await.unwrap();
        // What an interrupted attempt has made is not missing.
        platform.create_dir(Path::new("/data/shard-0001")).await.unwrap();
        let first = Path::new("/data/shard-0001/00000000.seg");
        let first = platform.open(first, OpenMode::CREATE).await.unwrap();
        first.preallocate(MIB).await.unwrap();
        open_or_format(&platform, &dirs(), || format).await.unwrap();
    });
    done.unwrap();
}

/// What a crash had left of a segment kept the checkpoints from their space, and was removed only behind them.
#[test]
fn what_is_left_of_an_attempt_does_not_stand_in_its_own_way() {
    let sim = sim(1, DISK_BYTES);
    let platform = sim.platform();
    let left_over = Path::new("/data/shard-0000/00000001.seg");
    let available = sim.run_until(async {
        drop(open_or_format(&platform, &dirs(), || FORMAT).await.unwrap());
        let file = platform.open(left_over, OpenMode::CREATE).await.unwrap();
        file.preallocate(MIB - 4096).await.unwrap();
        let others = platform.open(Path::new("/others"), OpenMode::CREATE).await.unwrap();
        others.preallocate(available_bytes(&platform).await).await.unwrap();
        let _engine = start(&platform).await;
        sleep(&platform, 100).await;
        available_bytes(&platform).await
    });
    assert!(available.unwrap() > 0);
    assert!(!sim.disk().files().contains(&left_over.to_owned()));
}

/// An attempt that had begun before the store was closed went on behind it, and would have removed a segment of
/// whoever opened the store meanwhile.
#[test]
fn a_closed_store_makes_no_segments() {
    for seed in 0..6 {
        let sim = sim(seed, DISK_BYTES);
        let platform = sim.platform();
        let done = sim.run_until(async {
            let engine = start(&platform).await;
            exhaust(&engine).await;
            sleep(&platform, 5).await;
            // Nothing goes on but that the filesystem is asked again.
            let before = sim.counters();
            while sim.counters().ios == before.ios {
                platform.sleep(Duration::from_micros(20)).await;
            }
            engine.close().await;
            let closed = sim.counters();
            sleep(&platform, 100).await;
            assert_eq!(sim.counters(), closed, "seed {seed}: I/O in a closed store");
            assert!(closed.preallocations > before.preallocations, "seed {seed}");
        });
        done.unwrap();
    }
}

/// Not the configured capacity but the filesystem is the limit, and nobody knows before it says so: what slabs leave to
/// the logs then must be there, and not only be hoped for.
#[test]
fn small_objects_are_overwritten_for_ever_beside_large_ones() {
    for more in 0..4 {
        let sim = sim(more, DISK_BYTES + more * (200 << 10));
        let platform = sim.platform();
        let done = sim.run_until(async {
            let engine = start(&platform).await;
            let bucket = exhaust(&engine).await;
            for round in 0..3000 {
                let put = put(&engine, bucket, &format!("small {}", round % 8), 20_000).await;
                assert!(put.is_ok(), "{more} {round}: {put:?}");
            }
        });
        done.unwrap();
    }
}
