//! How much is under way at once follows the options, and the bytes are the same whatever they are. On the
//! simulator, where requests of the disk take the same time, but for the few that are slow: many are made,
//! and what is compared differs by much.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::platform::Platform;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{BucketId, Commit, CompletePart, Engine, Error, Etag, Shared, Which};
use futures_lite::future;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 1, segment_bytes: 64 << 20, capacity_bytes: 2 << 30 };
const LATENCY_NS: u64 = 100_000;
const SMALL: usize = 100_000;
const LARGE: usize = 40 << 20;

/// What some work took of the disk's time, on a store with these options.
fn took(
    options: EngineOptions,
    prepare: impl AsyncFnOnce(&Engine<SimPlatform>, BucketId),
    work: impl AsyncFnOnce(&Engine<SimPlatform>, BucketId),
) -> u64 {
    took_with(1, options, prepare, work)
}

fn took_with(
    seed: u64,
    options: EngineOptions,
    prepare: impl AsyncFnOnce(&Engine<SimPlatform>, BucketId),
    work: impl AsyncFnOnce(&Engine<SimPlatform>, BucketId),
) -> u64 {
    let latency_ns = LATENCY_NS..=LATENCY_NS;
    let sync_latency_ns = latency_ns.clone();
    let sim = Sim::new(seed, SimOptions { latency_ns, sync_latency_ns, ..SimOptions::default() });
    let platform = sim.platform();
    sim.run_until(async {
        let dirs = [PathBuf::from("/data")];
        let store = open_or_format(&platform, &dirs, || FORMAT).await.unwrap();
        let options = EngineOptions { fill_ahead_bytes: 0, hot_record_bytes: 0, ..options };
        let layout = store.layout.clone();
        let engine = Engine::start(platform.clone(), layout, options, Shared::new(1), 0);
        let engine = engine.await.unwrap();
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        prepare(&engine, bucket).await;
        let begin = platform.monotonic_ns();
        work(&engine, bucket).await;
        platform.monotonic_ns() - begin
    })
    .unwrap()
}

fn body(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 251) as u8 ^ (at as u8).wrapping_mul(31) ^ seed as u8).collect()
}

async fn put(engine: &Engine<SimPlatform>, bucket: BucketId, key: usize, size: usize) {
    let (bytes, name) = (body(size, key), key.to_string());
    let mut writer = engine.writer(bucket, name.as_bytes(), Some(size as u64)).await.unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let spare = writer.spare();
        let count = spare.len().min(rest.len());
        spare[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        writer.advance(count).await.unwrap();
    }
    let etag = Etag { md5: [0; 16], parts: 0 };
    writer.finish(Commit { etag, ..Commit::default() }).await.unwrap();
}

async fn get(engine: &Engine<SimPlatform>, bucket: BucketId, key: usize, size: usize) {
    let name = key.to_string();
    let mut reader = engine.open(bucket, name.as_bytes(), Which::Latest).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        bytes.extend_from_slice(chunk.as_ref());
    }
    assert!(bytes == body(size, key), "object {key} is another one");
}

/// Runs one future for each key at once.
async fn at_once<F: Future<Output = ()>>(keys: usize, each: impl Fn(usize) -> F) {
    let mut all: Vec<_> = (0..keys).map(|key| Some(Box::pin(each(key)))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut all {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(context).is_ready()) {
                *slot = None;
            }
        }
        match all.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

async fn nothing(_: &Engine<SimPlatform>, _: BucketId) {
    future::ready(()).await;
}

#[test]
fn reads_beyond_their_bound_wait_and_come() {
    const KEYS: usize = 200;
    let read = |reads_in_flight_max| {
        took(
            EngineOptions { reads_in_flight_max, ..EngineOptions::default() },
            async |engine, bucket| {
                for key in 0..KEYS {
                    put(engine, bucket, key, SMALL).await;
                }
            },
            async |engine, bucket| at_once(KEYS, |key| get(engine, bucket, key, SMALL)).await,
        )
    };
    let (free, four, one) = (read(usize::MAX), read(4), read(1));
    assert!(free * 2 < four && four * 2 < one, "{free}, {four}, {one}");
    assert!(one > KEYS as u64 * LATENCY_NS, "{one}");
}

#[test]
fn a_small_read_does_not_wait_for_large_ones() {
    const READERS: usize = 40;
    let work = async |engine: &Engine<SimPlatform>, bucket| {
        let took = Cell::new(u64::MAX);
        let large = at_once(READERS, |_| get(engine, bucket, 0, 4 << 20));
        let small = async {
            // They have all asked by then.
            engine.platform().sleep(Duration::from_nanos(2 * LATENCY_NS)).await;
            // One in some dozens finds the disk slow.
            for _ in 0..4 {
                let asked = engine.platform().monotonic_ns();
                get(engine, bucket, 1, SMALL).await;
                took.update(|least| least.min(engine.platform().monotonic_ns() - asked));
            }
        };
        future::zip(large, small).await;
        // Ten, if it stood behind two windows of each reader.
        let turns = took.get() / LATENCY_NS;
        assert!(turns <= 2, "{turns} turns of the disk");
    };
    took(
        EngineOptions { reads_in_flight_max: 8, ..EngineOptions::default() },
        async |engine, bucket| {
            put(engine, bucket, 0, 4 << 20).await;
            put(engine, bucket, 1, SMALL).await;
        },
        work,
    );
}

/// Of many bodies those that were asked for first are done first. If the windows of all took turns, hardly any would
/// be done before the last is.
#[test]
fn bodies_are_read_one_after_another() {
    const READERS: usize = 60;
    // One chunk, four windows.
    let size = 1_000_000;
    took(
        EngineOptions { reads_in_flight_max: 8, ..EngineOptions::default() },
        async |engine, bucket| put(engine, bucket, 0, size).await,
        async |engine, bucket| {
            let begun = engine.platform().monotonic_ns();
            let (done, last) = (Cell::new(0), Cell::new(0));
            at_once(READERS, async |_| {
                get(engine, bucket, 0, size).await;
                let took = engine.platform().monotonic_ns() - begun;
                done.update(|sum| sum + took);
                last.update(|most| most.max(took));
            })
            .await;
            let mean = done.get() / READERS as u64;
            assert!(mean * 10 < last.get() * 6, "mean {mean}, last {}", last.get());
        },
    );
}

/// What asks for memory that many wait for already costs no read.
#[test]
fn who_would_wait_too_long_for_memory_is_told_before_anything_is_read() {
    let size = 1 << 20;
    took(
        EngineOptions { body_budget_bytes: 1 << 20, ..EngineOptions::default() },
        async |engine, bucket| {
            put(engine, bucket, 0, size).await;
            put(engine, bucket, 1, SMALL).await;
            // Small, and yet not in its record.
            let upload = engine.create_upload(bucket, b"part", Vec::new()).await.unwrap();
            let writer = engine.part_writer(bucket, b"part", upload, 1, Some(0)).await.unwrap();
            let version = writer.finish(Commit::default()).await.unwrap().version;
            let parts = vec![CompletePart { number: 1, version }];
            let complete =
                engine.complete_upload(bucket, b"part", upload, parts, Commit::default());
            complete.await.unwrap();
        },
        async |engine, bucket| {
            let open_whole = |key: &'static [u8]| engine.open_whole(bucket, key, Which::Latest);
            let mut first = open_whole(b"0").await.unwrap().unwrap();
            first.admit().await.unwrap();
            let mut last = open_whole(b"0").await.unwrap().unwrap();
            // While nobody waits one may, and it is learnt how slowly things move.
            let mut second = open_whole(b"0").await.unwrap().unwrap();
            for _ in 0..2 {
                assert!(matches!(second.admit().await, Err(Error::Busy)));
            }
            let mut waiting = pin!(last.admit());
            assert!(future::poll_once(&mut waiting).await.is_none());
            let before = engine.metrics();
            assert!(matches!(open_whole(b"0").await, Err(Error::Busy)));
            let after = engine.metrics();
            assert_eq!(after.reads_total, before.reads_total);
            assert_eq!(after.budget_refusals_total, before.budget_refusals_total + 1);
            // Neither what is small nor what may want a few bytes only.
            open_whole(b"1").await.unwrap().unwrap();
            open_whole(b"part").await.unwrap().unwrap();
            engine.open(bucket, b"0", Which::Latest).await.unwrap().unwrap();
            drop(first);
            waiting.await.unwrap();
        },
    );
}

#[test]
fn large_objects_are_read_further_ahead_while_there_is_memory() {
    let read = |read_ahead_windows, body_budget_bytes| {
        took(
            EngineOptions { read_ahead_windows, body_budget_bytes, ..EngineOptions::default() },
            async |engine, bucket| put(engine, bucket, 0, LARGE).await,
            async |engine, bucket| get(engine, bucket, 0, LARGE).await,
        )
    };
    let (two, eight, scarce) = (read(2, 64 << 20), read(8, 64 << 20), read(8, 1 << 20));
    assert!(eight * 3 < two * 2, "{eight} against {two}");
    assert!(scarce * 4 > two * 3, "{scarce} against {two}");
}

#[test]
fn chunks_of_an_upload_are_written_at_once_while_there_is_memory() {
    let write = |chunk_writes_in_flight, body_budget_bytes| {
        took(
            EngineOptions { chunk_writes_in_flight, body_budget_bytes, ..EngineOptions::default() },
            nothing,
            async |engine, bucket| put(engine, bucket, 0, LARGE).await,
        )
    };
    let (one, four) = (write(1, 64 << 20), write(4, 64 << 20));
    assert!(four < one, "{four} against {one}");
    let held = |engine: &Engine<SimPlatform>| engine.metrics().body_bytes;
    for (writes, taken) in [(2, 3 << 20), (4, 5 << 20)] {
        took(
            EngineOptions { chunk_writes_in_flight: writes, ..EngineOptions::default() },
            nothing,
            async |engine, bucket| {
                let writer = engine.writer(bucket, b"k", None).await.unwrap();
                assert_eq!(held(engine), taken);
                drop(writer);
            },
        );
    }
    // Of two uploads the second finds half of the budget taken.
    let (options, budget) = (EngineOptions::default(), 12 << 20);
    took(
        EngineOptions { chunk_writes_in_flight: 4, body_budget_bytes: budget, ..options },
        nothing,
        async |engine, bucket| {
            let one = engine.writer(bucket, b"k", None).await.unwrap();
            let two = engine.writer(bucket, b"l", None).await.unwrap();
            assert_eq!(held(engine), 8 << 20);
            drop((one, two));
        },
    );
}

#[test]
fn full_groups_are_written_at_once() {
    const KEYS: usize = 400;
    // So few groups that one slow request is as long as all the rest: on average it counts for little.
    let write = |groups_in_flight_max| -> u64 {
        let took = |seed| {
            took_with(
                seed,
                EngineOptions { groups_in_flight_max, ..EngineOptions::default() },
                nothing,
                async |engine, bucket| at_once(KEYS, |key| put(engine, bucket, key, SMALL)).await,
            )
        };
        (0..16).map(took).sum()
    };
    let (none, one, four, more) = (write(0), write(1), write(4), write(100));
    assert_eq!((none, four), (one, more), "never less than one, nor more than the format knows");
    assert!(four * 3 < one * 2, "{four} against {one}");
}
