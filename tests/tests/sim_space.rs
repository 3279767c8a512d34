//! Stores that are full, and what their background work does: it gains what can be gained, and ends.
#![allow(clippy::unwrap_used)]

use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::store::FormatOptions;
use engine::{BucketId, Commit, Deletion, Engine, EngineMetrics, Error};
use ringfort_tests::sim::{Machine, Running, join_all};
use std::collections::BTreeMap;
use std::time::Duration;

/// Writes under way at once.
const AT_ONCE: usize = 64;

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: usize,
    bytes: usize,
) -> Result<(), Error> {
    let key = format!("{key:08}");
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(bytes as u64)).await?;
    let mut left = bytes;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(7);
        writer.advance(count).await?;
        left -= count;
    }
    writer.finish(Commit::default()).await.map(drop)
}

/// One shard of so many segments of 1 MiB.
fn machine(segments: u64) -> Machine {
    let format =
        FormatOptions { shard_count: 1, segment_bytes: 1 << 20, capacity_bytes: segments << 20 };
    let mut machine = Machine::new(1, format);
    machine.options.checkpoint_records = 1000;
    machine.options.scrub_bytes_per_second = 0;
    machine
}

async fn bucket(engine: &Engine<SimPlatform>) -> BucketId {
    engine.create_bucket("b", BTreeMap::new()).await.unwrap().id
}

/// Puts objects of a size until some are refused; how many keys were tried.
async fn fill(engine: &Engine<SimPlatform>, bucket: BucketId, bytes: usize) -> usize {
    for keys in (0..).step_by(AT_ONCE) {
        let puts = (keys..keys + AT_ONCE).map(|key| put(engine, bucket, key, bytes));
        if join_all(puts).await.iter().any(Result::is_err) {
            return keys + AT_ONCE;
        }
    }
    0
}

async fn figures_after(running: &Running, seconds: u64) -> EngineMetrics {
    running.platform().sleep(Duration::from_secs(seconds)).await;
    running.engines[0].metrics()
}

/// Crash campaign, seed 1169: a full store to which nobody wrote moved nearly full segments around for
/// ever, six hundred checkpoints in a history of ten records.
#[test]
fn background_work_in_a_full_store_ends() {
    for bytes in [50, 1500, 3000, 20_000, 100_000, 200_000] {
        for every in [usize::MAX, 10, 3] {
            let machine = machine(20);
            let done = machine.sim.run_until(async {
                let running = machine.start(1).await.unwrap();
                let engine = running.engine(0);
                let bucket = bucket(engine).await;
                let keys = fill(engine, bucket, bytes).await;
                for key in (0..keys).step_by(every) {
                    let name = format!("{key:08}");
                    let _ = engine.delete(bucket, name.as_bytes(), Deletion::NULL, None).await;
                }
                let before = figures_after(&running, 120).await;
                assert_eq!(before, figures_after(&running, 3600).await, "{bytes} {every}");
            });
            done.unwrap();
        }
    }
}

/// Found by review: records grow when they are moved, and a store filled with tiny ones up to what was
/// allowed had no room for that. It could not even delete them.
#[test]
fn a_store_full_of_tiny_objects_can_be_relieved() {
    for segments in [12, 24] {
        let machine = machine(segments);
        let done = machine.sim.run_until(async {
            let running = machine.start(1).await.unwrap();
            let engine = running.engine(0);
            let bucket = bucket(engine).await;
            let keys = fill(engine, bucket, 1).await;
            figures_after(&running, 60).await;
            for key in (0..keys).step_by(3) {
                let name = format!("{key:08}");
                engine.delete(bucket, name.as_bytes(), Deletion::NULL, None).await.unwrap();
            }
            figures_after(&running, 60).await;
            for key in (0..keys).step_by(30) {
                put(engine, bucket, key, 1).await.unwrap();
            }
        });
        done.unwrap();
    }
}

/// Found by review: what a deletion frees is known only once its manifest was read, and a large body that
/// came right behind it was refused.
#[test]
fn a_large_body_waits_for_the_space_of_a_deleted_one() {
    let machine = machine(16);
    let done = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap();
        let engine = running.engine(0);
        let bucket = bucket(engine).await;
        fill(engine, bucket, 900_000).await;
        for key in 0..8 {
            let name = format!("{key:08}");
            if engine.delete(bucket, name.as_bytes(), Deletion::NULL, None).await.unwrap().existed {
                put(engine, bucket, key, 900_000).await.unwrap();
            }
        }
    });
    done.unwrap();
}

/// Found with a real server: one large body was left in each segment, none of which was the log's then, and small
/// writes were refused for good though most of the space held nothing.
#[test]
fn large_bodies_leave_the_log_room_to_turn_over() {
    for segments in [8, 16, 40] {
        let machine = machine(segments);
        let done = machine.sim.run_until(async {
            let running = machine.start(1).await.unwrap();
            let engine = running.engine(0);
            let bucket = bucket(engine).await;
            // Three to a segment, one after the other.
            let mut keys = 0;
            while put(engine, bucket, keys, 300_000).await.is_ok() {
                keys += 1;
            }
            for key in (0..keys).filter(|key| key % 3 > 0) {
                let name = format!("{key:08}");
                engine.delete(bucket, name.as_bytes(), Deletion::NULL, None).await.unwrap();
            }
            // Of both sizes, many times as much as the log holds.
            for round in 0..3000 {
                put(engine, bucket, keys + round % 8, 20_000).await.unwrap();
                if round % 10 == 0 {
                    put(engine, bucket, round % keys / 3 * 3, 300_000).await.unwrap();
                }
            }
        });
        done.unwrap();
    }
}
