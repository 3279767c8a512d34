//! What the engine does at its edges: a full log, failed writes behind landed ones, thousands of parts,
//! requests after the end. On the simulator, which panics when everybody waits for ever.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::limits::ATTRIBUTES_BYTES_MAX;
use engine::platform::Platform;
use engine::platform::sim::{Fault, Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{
    BucketId, Commit, Condition, ConditionFailure, Deleted, Deletion, Engine, Error, Etag, Shared,
    Which,
};
use futures_lite::future::zip;
use std::collections::BTreeMap;
use std::path::PathBuf;

const KIB: usize = 1 << 10;

/// One shard with segments of so many MiB.
fn format(segment_mib: u64, capacity_mib: u64) -> FormatOptions {
    FormatOptions {
        shard_count: 1,
        segment_bytes: segment_mib << 20,
        capacity_bytes: capacity_mib << 20,
    }
}

async fn start(
    platform: &SimPlatform,
    format: FormatOptions,
) -> Result<Engine<SimPlatform>, Error> {
    let store = open_or_format(platform, &[PathBuf::from("/data")], || format).await?;
    let layout = store.layout.clone();
    // The lock must outlive the engine.
    std::mem::forget(store);
    // Compaction would make room where these tests want none.
    let options = EngineOptions { compaction: false, ..EngineOptions::default() };
    Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await
}

async fn with_bucket(
    platform: &SimPlatform,
    format: FormatOptions,
) -> (Engine<SimPlatform>, BucketId) {
    let engine = start(platform, format).await.unwrap();
    let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
    (engine, bucket)
}

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(bytes.len() as u64)).await?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let spare = writer.spare();
        let count = spare.len().min(rest.len());
        spare[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        writer.advance(count).await?;
    }
    writer.finish(Commit { etag: etag(bytes.len()), ..Commit::default() }).await.map(drop)
}

fn etag(bytes: usize) -> Etag {
    Etag { md5: (bytes as u128).to_le_bytes(), parts: 0 }
}

async fn delete_if(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    wanted: Option<Etag>,
) -> Result<Deleted, Error> {
    let condition: Condition = Box::new(move |current| {
        let holds = wanted.is_none_or(|wanted| current.is_some_and(|c| c.etag == wanted));
        if holds { Ok(()) } else { Err(ConditionFailure::PreconditionFailed) }
    });
    engine.delete(bucket, key.as_bytes(), Deletion::NULL, Some(condition)).await
}

async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Groups that are in flight at once land in any order. The one that fails latches the shard, and
/// those behind it that had landed already are answered too.
#[test]
fn a_failed_write_leaves_nobody_waiting() {
    for seed in 0..20 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let (engine, bucket) = with_bucket(&platform, format(8, 256)).await;
            sim.inject(Fault::WriteError { nth: sim.counters().writes + 2 });
            let body = vec![7; 128 * KIB];
            let keys: Vec<_> = (0..60).map(|number| format!("key {number}")).collect();
            let puts = keys.iter().map(|key| put(&engine, bucket, key, &body));
            let refused = all(puts).await.iter().filter(|put| put.is_err()).count();
            assert!(refused > 0, "seed {seed}");
        })
        .unwrap();
    }
}

#[test]
fn a_store_whose_log_is_full_to_the_last_block_closes_and_opens() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    let bucket = sim
        .run_until(async {
            let (engine, bucket) = with_bucket(&platform, format(1, 3)).await;
            put(&engine, bucket, "kept", b"bytes").await.unwrap();
            let error = loop {
                if let Err(error) = delete_if(&engine, bucket, "missing", None).await {
                    break error;
                }
            };
            assert!(matches!(error, Error::OutOfSpace), "{error}");
            engine.close().await;
            bucket
        })
        .unwrap();
    let platform = sim.reboot();
    sim.run_until(async {
        let engine = start(&platform, format(1, 3)).await.unwrap();
        assert_eq!(engine.lookup(bucket, b"kept", Which::Latest).await.unwrap().unwrap().size, 5);
        assert!(matches!(put(&engine, bucket, "new", b"x").await, Err(Error::OutOfSpace)));
        engine.close().await;
    })
    .unwrap();
}

/// It lasts until somebody does something, so it is not said to be a matter of time.
#[test]
fn writes_for_whose_keys_there_is_no_memory_are_refused_and_deletions_are_not() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let dirs = [PathBuf::from("/data")];
        let store = open_or_format(&platform, &dirs, || format(1, 64)).await.unwrap();
        let options = EngineOptions { index_budget_bytes: 100 * KIB, ..EngineOptions::default() };
        let (layout, shared) = (store.layout.clone(), Shared::new(1));
        let engine = Engine::start(platform.clone(), layout, options, shared, 0).await.unwrap();
        let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
        let mut keys = 0;
        let refused = loop {
            match put(&engine, bucket, &format!("{keys:040}"), b"x").await {
                Ok(()) => keys += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::IndexFull), "{refused}");
        assert!(keys > 100, "{keys}");
        for key in 0..keys {
            assert!(delete_if(&engine, bucket, &format!("{key:040}"), None).await.unwrap().existed);
        }
        put(&engine, bucket, "new", b"x").await.unwrap();
        engine.close().await;
    })
    .unwrap();
}

/// A write for which there is no space takes with it what was judged against it, though that would
/// still fit: otherwise the condition would have held for an object that never was.
#[test]
fn no_write_rests_on_one_that_was_refused_for_space() {
    let mut refused = 0;
    for seed in 0..20 {
        // In order, so that the deletion comes last.
        let sim = Sim::new(seed, SimOptions { shuffle_tasks: false, ..SimOptions::default() });
        let platform = sim.platform();
        sim.run_until(async {
            let (engine, bucket) = with_bucket(&platform, format(1, 3)).await;
            let (old, new) = (vec![1; 1000], vec![2; 128 * KIB]);
            put(&engine, bucket, "key", &old).await.unwrap();
            // Where the log ends within its last segment differs from seed to seed.
            for _ in 0..seed {
                put(&engine, bucket, "shift", &vec![3; 27 * KIB]).await.unwrap();
            }
            loop {
                // All are staged at once, so that the deletion may be judged by the write before it.
                let others =
                    all(["a", "b", "c"].map(|key| put(&engine, bucket, key, &new)).into_iter());
                let write = put(&engine, bucket, "key", &new);
                let deletion = delete_if(&engine, bucket, "key", Some(etag(new.len())));
                let ((_, written), deleted) = zip(zip(others, write), deletion).await;
                if matches!(written, Err(Error::OutOfSpace)) {
                    refused += 1;
                    assert!(deleted.is_err(), "seed {seed}: {deleted:?}");
                    assert!(engine.lookup(bucket, b"key", Which::Latest).await.unwrap().is_some());
                }
                if put(&engine, bucket, "key", &old).await.is_err() {
                    break;
                }
            }
        })
        .unwrap();
    }
    assert!(refused > 0);
}

/// Records of little more than half a block are placed one a block, and one of the largest size may
/// follow in the same group: what is written must be read again.
#[test]
fn the_largest_group_is_read_again() {
    // In order, so that the large record comes last.
    let sim = Sim::new(1, SimOptions { shuffle_tasks: false, ..SimOptions::default() });
    let platform = sim.platform();
    let bucket = sim
        .run_until(async {
            let (engine, bucket) = with_bucket(&platform, format(16, 256)).await;
            let body = vec![7; 1960];
            let keys: Vec<_> = (0..505).map(|number| format!("{number:04}")).collect();
            let first = put(&engine, bucket, "in flight", b"x");
            let puts = all(keys.iter().map(|key| put(&engine, bucket, key, &body)));
            let setting = vec![5; (4 << 20) - 4096];
            let set = engine.put_bucket_setting("bucket", 1, Some(setting));
            let ((first, puts), set) = zip(zip(first, puts), set).await;
            first.unwrap();
            puts.into_iter().for_each(Result::unwrap);
            set.unwrap();
            put(&engine, bucket, "last", b"x").await.unwrap();
            bucket
        })
        .unwrap();
    let platform = sim.reboot();
    sim.run_until(async {
        let engine = start(&platform, format(16, 256)).await.unwrap();
        for key in ["in flight", "0000", "0504", "last"] {
            assert!(
                engine.lookup(bucket, key.as_bytes(), Which::Latest).await.unwrap().is_some(),
                "{key}"
            );
        }
        assert_eq!(engine.catalog().bucket("bucket").unwrap().settings.len(), 1);
    })
    .unwrap();
}

#[test]
fn a_request_after_the_end_is_told_so() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let (engine, bucket) = with_bucket(&platform, format(1, 64)).await;
        engine.close().await;
        // The mailbox's own task has ended too.
        engine.platform().sleep(std::time::Duration::from_millis(1)).await;
        assert!(matches!(engine.lookup(bucket, b"key", Which::Latest).await, Err(Error::Stopping)));
    })
    .unwrap();
}

/// A reader that is dropped while it reads ahead keeps its space until those reads have returned: they
/// would find other bytes, and report damage where there is none.
#[test]
fn space_stays_pinned_until_the_last_read_has_returned() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let (engine, bucket) = with_bucket(&platform, format(4, 64)).await;
        put(&engine, bucket, "key", &vec![1; 3 << 20]).await.unwrap();
        let mut reader = engine.open(bucket, b"key", Which::Latest).await.unwrap().unwrap();
        reader.next().await.unwrap();
        drop(reader);
        assert_eq!(engine.metrics().pins_held, 1);
        engine.platform().sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(engine.metrics().pins_held, 0);
    })
    .unwrap();
}

/// A reader whose `next` was given up before it answered goes on with the same bytes.
#[test]
fn giving_up_a_read_loses_no_bytes() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let (engine, bucket) = with_bucket(&platform, format(4, 64)).await;
        let body: Vec<u8> = (0..1_000_000).map(|at| (at / 1000) as u8).collect();
        put(&engine, bucket, "key", &body).await.unwrap();
        let mut reader = engine.open(bucket, b"key", Which::Latest).await.unwrap().unwrap();
        assert!(futures_lite::future::poll_once(reader.next()).await.is_none());
        let mut read = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            read.extend_from_slice(chunk.as_ref());
        }
        assert!(read == body);
    })
    .unwrap();
}

#[test]
fn attributes_beyond_their_bound_are_refused_with_the_object() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let (engine, bucket) = with_bucket(&platform, format(1, 64)).await;
        for (bytes, fits) in [(ATTRIBUTES_BYTES_MAX, true), (ATTRIBUTES_BYTES_MAX + 1, false)] {
            let writer = engine.writer(bucket, b"key", Some(0)).await.unwrap();
            let commit = Commit { attributes: vec![1; bytes], ..Commit::default() };
            assert_eq!(writer.finish(commit).await.is_ok(), fits);
        }
    })
    .unwrap();
}

const SECOND: &str = "/data/shard-0000/00000001.seg";

/// A store whose log has just gone on in its second segment, with so many groups there; power failed.
fn rolled_over(sim: &Sim, groups: usize) {
    let platform = sim.platform();
    let body = vec![7; 100 * KIB];
    sim.run_until(async {
        let (engine, bucket) = with_bucket(&platform, format(1, 64)).await;
        let mut behind = 0;
        while behind < groups {
            put(&engine, bucket, "key", &body).await.unwrap();
            let has_second = sim.disk().files().contains(&PathBuf::from(SECOND));
            let entered = has_second && sim.disk().read(SECOND, 4096, 512).starts_with(b"RFGR");
            behind += usize::from(entered);
        }
    })
    .unwrap();
    sim.crash();
}

/// Power fails while the first group of a segment is written, and again while recovery writes the
/// segment's header anew: a torn header and a torn group are no acknowledged data.
#[test]
fn a_torn_header_before_a_torn_group_is_no_damage() {
    let sim = Sim::new(1, SimOptions::default());
    rolled_over(&sim, 1);
    let platform = sim.reboot();
    sim.disk().flip_bit(SECOND, 48, 0);
    sim.disk().flip_bit(SECOND, 4096 + 5000, 0);
    sim.run_until(async { start(&platform, format(1, 64)).await.unwrap() }).unwrap();
}

#[test]
fn a_segment_whose_header_and_first_group_are_damaged_is_not_taken_for_empty() {
    let sim = Sim::new(1, SimOptions::default());
    rolled_over(&sim, 4);
    let platform = sim.reboot();
    sim.disk().flip_bit(SECOND, 48, 0);
    sim.disk().flip_bit(SECOND, 4096 + 48, 0);
    let started = sim.run_until(start(&platform, format(1, 64))).unwrap();
    assert!(matches!(started, Err(Error::Unusable { .. })));
}
