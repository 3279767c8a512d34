//! The engine's operations through its public interface, on the simulator.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{
    BucketId, Commit, CompletePart, Condition, ConditionFailure, Deletion, Engine, Error, Etag,
    ListItem, ListQuery, Shared, Which,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 4, segment_bytes: 2 << 20, capacity_bytes: 256 << 20 };

fn options() -> EngineOptions {
    EngineOptions { fill_ahead_bytes: 64 << 10, ..EngineOptions::default() }
}

/// Opens the store of a simulated machine with so many cores; the first core's handle comes first.
async fn start(platform: &SimPlatform, cores: usize) -> Vec<Engine<SimPlatform>> {
    let dirs = [PathBuf::from("/data")];
    let store = open_or_format(platform, &dirs, || FORMAT).await.unwrap();
    let shared = Shared::new(cores);
    let starts = (0..cores).map(|core| {
        let (platform, layout) = (platform.clone(), store.layout.clone());
        Engine::start(platform, layout, options(), shared.clone(), core)
    });
    let mut engines = Vec::new();
    for engine in futures_join(starts).await {
        engines.push(engine.unwrap());
    }
    // The lock must outlive the engines.
    std::mem::forget(store);
    engines
}

async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in all.iter_mut().zip(&mut outputs) {
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

fn body(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|at| (at / 251) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    bytes: &[u8],
    announce: bool,
) -> Result<(), Error> {
    let size = announce.then_some(bytes.len() as u64);
    let mut writer = engine.writer(bucket, key.as_bytes(), size).await?;
    feed(&mut writer, bytes).await?;
    writer.finish(commit(bytes)).await.map(drop)
}

async fn feed(
    writer: &mut engine::ObjectWriter<SimPlatform>,
    mut bytes: &[u8],
) -> Result<(), Error> {
    while !bytes.is_empty() {
        let spare = writer.spare();
        let count = spare.len().min(bytes.len()).min(70_001);
        spare[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        writer.advance(count).await?;
    }
    Ok(())
}

fn commit(bytes: &[u8]) -> Commit {
    let etag = Etag { md5: [bytes.len() as u8; 16], parts: 0 };
    Commit { etag, label: 3, attributes: b"attributes".to_vec(), ..Commit::default() }
}

async fn get(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    range: Option<std::ops::Range<u64>>,
) -> Option<Vec<u8>> {
    let mut reader = engine.open(bucket, key.as_bytes(), Which::Latest).await.unwrap()?;
    if let Some(range) = range {
        reader.select(range);
    }
    let mut out = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        out.extend_from_slice(chunk.as_ref());
    }
    Some(out)
}

fn run<T>(seed: u64, test: impl AsyncFnOnce(SimPlatform) -> T) -> T {
    let sim = Sim::new(seed, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(test(platform)).unwrap()
}

#[test]
fn objects_of_every_size_come_back_and_survive_a_restart() {
    let sim = Sim::new(1, SimOptions::default());
    let sizes = [0, 1, 100, 4096, 5000, 131_072, 131_073, 200_000, 1_044_480, 1_044_481, 3_000_000];
    let platform = sim.platform();
    let bucket = sim
        .run_until(async {
            let engines = start(&platform, 2).await;
            let bucket = engines[0].create_bucket("b", BTreeMap::new()).await.unwrap().id;
            for (index, size) in sizes.into_iter().enumerate() {
                for (announce, name) in [(true, "known"), (false, "unknown")] {
                    let engine = &engines[index % 2];
                    let key = format!("{name}/{size}");
                    put(engine, bucket, &key, &body(size, 1), announce).await.unwrap();
                }
            }
            bucket
        })
        .unwrap();
    for cores in [1, 3] {
        let platform = sim.reboot();
        sim.run_until(async {
            let engines = start(&platform, cores).await;
            let engine = engines.last().unwrap();
            for size in sizes {
                for name in ["known", "unknown"] {
                    let key = format!("{name}/{size}");
                    let expected = body(size, 1);
                    assert_eq!(get(engine, bucket, &key, None).await.unwrap(), expected, "{key}");
                    for (from, to) in [(0, 1), (size / 2, size), (size / 3, size / 3 * 2)] {
                        let to = to.min(size).max(from);
                        let part =
                            get(engine, bucket, &key, Some(from as u64..to as u64)).await.unwrap();
                        assert_eq!(part, expected[from.min(size)..to], "{key} {from}..{to}");
                    }
                }
            }
            let reader = engine.head(bucket, b"known/5000", Which::Latest).await.unwrap().unwrap();
            assert_eq!(reader.info().attributes, b"attributes");
            assert_eq!((reader.info().current.size, reader.info().current.label), (5000, 3));
        })
        .unwrap();
    }
}

#[test]
fn space_of_overwritten_and_deleted_objects_is_used_again() {
    run(2, async |platform| {
        let engines = start(&platform, 1).await;
        let engine = &engines[0];
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        // Two hundred times 4 MB in a store of 256 MB.
        for round in 0..200u32 {
            let key = format!("k{}", round % 3);
            let expected = body(4_000_000, round as u8);
            put(engine, bucket, &key, &expected, true).await.unwrap();
            if round % 7 == 0 {
                assert_eq!(get(engine, bucket, &key, None).await.unwrap(), expected);
                assert!(
                    engine
                        .delete(bucket, key.as_bytes(), Deletion::NULL, None)
                        .await
                        .unwrap()
                        .existed
                );
                assert_eq!(get(engine, bucket, &key, None).await, None);
            }
        }
    });
}

#[test]
fn a_full_store_refuses_writes_and_takes_deletes() {
    run(3, async |platform| {
        let engines = start(&platform, 1).await;
        let engine = &engines[0];
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        let mut stored = Vec::new();
        for index in 0..200 {
            let key = format!("k{index}");
            match put(engine, bucket, &key, &body(3_000_000, index as u8), true).await {
                Ok(()) => stored.push((index, key)),
                Err(Error::OutOfSpace) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!((30..90).contains(&stored.len()), "{}", stored.len());
        for (_, key) in stored.iter().take(20) {
            engine.delete(bucket, key.as_bytes(), Deletion::NULL, None).await.unwrap();
        }
        for (index, key) in &stored[20..] {
            let expected = body(3_000_000, *index as u8);
            assert_eq!(get(engine, bucket, key, None).await.unwrap(), expected);
        }
        let mut again = 0;
        for index in 0..20 {
            again += u32::from(
                put(engine, bucket, &format!("n{index}"), &body(3_000_000, 1), true).await.is_ok(),
            );
        }
        assert!(again >= 10, "{again}");
    });
}

#[test]
fn listing_groups_pages_and_orders_over_all_shards() {
    run(4, async |platform| {
        let engines = start(&platform, 2).await;
        let engine = &engines[1];
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        let mut expected = Vec::new();
        for a in 0..7 {
            for b in 0..9 {
                expected.push(format!("dir{a}/file{b}"));
            }
        }
        expected.push("zebra".into());
        for key in &expected {
            put(engine, bucket, key, b"x", true).await.unwrap();
        }
        for limit in [1, 2, 5, 1000] {
            let mut names = Vec::new();
            let mut query = ListQuery { limit, ..ListQuery::default() };
            loop {
                let page = engine.list(bucket, &query).await.unwrap();
                assert!(page.items.len() <= limit);
                names.extend(
                    page.items.iter().map(|i| String::from_utf8(i.name().to_vec()).unwrap()),
                );
                if !page.truncated {
                    break;
                }
                query.after = page.items.last().unwrap().name().to_vec();
            }
            assert_eq!(names, expected, "limit {limit}");
        }
        for limit in [1, 3, 1000] {
            let mut names = Vec::new();
            let mut query = ListQuery { limit, delimiter: b"/".to_vec(), ..ListQuery::default() };
            loop {
                let page = engine.list(bucket, &query).await.unwrap();
                names.extend(page.items.iter().cloned());
                if !page.truncated {
                    break;
                }
                query.after = page.items.last().unwrap().name().to_vec();
            }
            assert_eq!(names.len(), 8, "limit {limit}");
            assert_eq!(names[6], ListItem::CommonPrefix(b"dir6/".to_vec()));
            assert!(matches!(&names[7], ListItem::Key { key, .. } if key == b"zebra"));
        }
        // A place inside a common prefix: the keys behind it still make the prefix appear.
        let query = ListQuery {
            after: b"dir3/file4".to_vec(),
            delimiter: b"/".to_vec(),
            limit: 1,
            ..ListQuery::default()
        };
        let page = engine.list(bucket, &query).await.unwrap();
        assert_eq!(page.items, [ListItem::CommonPrefix(b"dir3/".to_vec())]);
        let query = ListQuery { prefix: b"dir2/file".to_vec(), limit: 100, ..ListQuery::default() };
        assert_eq!(engine.list(bucket, &query).await.unwrap().items.len(), 9);
        let none = ListQuery { prefix: b"nothing".to_vec(), limit: 5, ..ListQuery::default() };
        assert_eq!(engine.list(bucket, &none).await.unwrap().items, []);
    });
}

#[test]
fn multipart_uploads_join_their_parts_without_copying() {
    let sim = Sim::new(5, SimOptions::default());
    let platform = sim.platform();
    let sizes = [5_300_000usize, 1, 70_000];
    let bucket = sim
        .run_until(async {
            let engines = start(&platform, 2).await;
            let engine = &engines[0];
            let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
            let key = b"big";
            let upload = engine.create_upload(bucket, key, b"start".to_vec()).await.unwrap();
            let info = engine.upload(bucket, key, upload).await.unwrap();
            assert_eq!(info.attributes, b"start");
            for number in [3u16, 1, 2, 9, 1] {
                let bytes = body(sizes[usize::from(number) % 3], number as u8);
                let size = Some(bytes.len() as u64);
                let mut writer =
                    engine.part_writer(bucket, key, upload, number, size).await.unwrap();
                feed(&mut writer, &bytes).await.unwrap();
                writer.finish(commit(&bytes)).await.unwrap();
            }
            let page = engine.list_parts(bucket, key, upload, 0, 1000).await.unwrap();
            let numbers: Vec<_> = page.parts.iter().map(|part| part.number).collect();
            assert_eq!(numbers, [1, 2, 3, 9]);
            assert_eq!(page.parts[0].attributes, b"attributes");
            let wanted: Vec<_> = page.parts[..3]
                .iter()
                .map(|part| CompletePart { number: part.number, version: part.current.version })
                .collect();
            let mut wrong = wanted.clone();
            wrong[1].version.0 += 1;
            let refused =
                engine.complete_upload(bucket, key, upload, wrong, Commit::default()).await;
            assert!(matches!(refused, Err(Error::InvalidPart(2))));
            let done = engine
                .complete_upload(bucket, key, upload, wanted.clone(), Commit::default())
                .await
                .unwrap();
            assert_eq!(done.size, (sizes[1] + sizes[2] + sizes[0]) as u64);
            let again =
                engine.complete_upload(bucket, key, upload, wanted, Commit::default()).await;
            assert!(matches!(again, Err(Error::NoSuchUpload)));
            let aborted = engine.create_upload(bucket, b"other", vec![]).await.unwrap();
            engine.abort_upload(bucket, b"other", aborted).await.unwrap();
            let gone = engine.part_writer(bucket, b"other", aborted, 1, None).await;
            assert!(matches!(gone, Err(Error::NoSuchUpload)));
            bucket
        })
        .unwrap();
    let mut expected = body(sizes[1], 1);
    expected.extend(body(sizes[2], 2));
    expected.extend(body(sizes[0], 3));
    let platform = sim.reboot();
    sim.run_until(async {
        let engines = start(&platform, 1).await;
        assert_eq!(get(&engines[0], bucket, "big", None).await.unwrap(), expected);
        let part = get(&engines[0], bucket, "big", Some(0..100_000)).await.unwrap();
        assert_eq!(part, expected[..100_000]);
        let info =
            engines[0].open(bucket, b"big", Which::Latest).await.unwrap().unwrap().info().clone();
        let parts: Vec<_> = info.parts.iter().map(|part| (part.number, part.size)).collect();
        assert_eq!(parts, [(1, sizes[1] as u64), (2, sizes[2] as u64), (3, sizes[0] as u64)]);
    })
    .unwrap();
}

#[test]
fn of_many_creators_of_one_key_exactly_one_wins() {
    run(6, async |platform| {
        let engines = start(&platform, 2).await;
        let bucket = engines[0].create_bucket("b", BTreeMap::new()).await.unwrap().id;
        for round in 0..20 {
            let key = format!("key{round}");
            let attempts = (0..8).map(|index| {
                let (engine, key) = (engines[index % 2].clone(), key.clone());
                async move {
                    let mut writer = engine.writer(bucket, key.as_bytes(), Some(1)).await.unwrap();
                    writer.spare()[0] = index as u8;
                    writer.advance(1).await.unwrap();
                    let absent: Condition = Box::new(|current| match current {
                        None => Ok(()),
                        Some(_) => Err(ConditionFailure::PreconditionFailed),
                    });
                    writer.finish(Commit { condition: Some(absent), ..Commit::default() }).await
                }
            });
            let outcomes = futures_join(attempts).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            assert!(outcomes.iter().all(|outcome| matches!(
                outcome,
                Ok(_) | Err(Error::Condition(ConditionFailure::PreconditionFailed))
            )));
        }
    });
}

#[test]
fn buckets_are_created_once_and_deleted_only_when_empty() {
    run(7, async |platform| {
        let engines = start(&platform, 2).await;
        let engine = &engines[1];
        let settings = BTreeMap::from([(1, b"owner".to_vec())]);
        let bucket = engine.create_bucket("b", settings).await.unwrap();
        let again = engine.create_bucket("b", BTreeMap::new()).await;
        assert!(matches!(again, Err(Error::BucketExists)));
        put(engine, bucket.id, "key", b"x", true).await.unwrap();
        assert!(matches!(engine.delete_bucket("b").await, Err(Error::BucketNotEmpty)));
        put(engine, bucket.id, "key2", b"x", true).await.unwrap();
        for key in ["key", "key2"] {
            engine.delete(bucket.id, key.as_bytes(), Deletion::NULL, None).await.unwrap();
        }
        let upload = engine.create_upload(bucket.id, b"up", vec![]).await.unwrap();
        assert!(matches!(engine.delete_bucket("b").await, Err(Error::BucketNotEmpty)));
        engine.abort_upload(bucket.id, b"up", upload).await.unwrap();
        engine.put_bucket_setting("b", 2, Some(vec![7])).await.unwrap();
        let stored = engines[0].catalog().bucket("b").unwrap().clone();
        assert_eq!(stored.settings, BTreeMap::from([(1, b"owner".to_vec()), (2, vec![7])]));
        engine.delete_bucket("b").await.unwrap();
        assert!(matches!(engine.delete_bucket("b").await, Err(Error::NoSuchBucket)));
        let late = put(engine, bucket.id, "key", b"x", true).await;
        assert!(matches!(late, Err(Error::NoSuchBucket)));
        let next = engine.create_bucket("b", BTreeMap::new()).await.unwrap();
        assert!(next.id > bucket.id);
    });
}

#[test]
fn a_body_longer_than_announced_or_dropped_midway_stores_nothing() {
    run(8, async |platform| {
        let engines = start(&platform, 1).await;
        let engine = &engines[0];
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        let before = engine.metrics().available_bytes;
        for size in [10u64, 2_000_000] {
            let mut writer = engine.writer(bucket, b"k", Some(size)).await.unwrap();
            let outcome = feed(&mut writer, &body(size as usize + 1, 0)).await;
            assert!(matches!(outcome, Err(Error::TooLarge(_))), "{outcome:?}");
            drop(writer);
            let mut writer = engine.writer(bucket, b"k", Some(size)).await.unwrap();
            feed(&mut writer, &body(size as usize - 1, 0)).await.unwrap();
        }
        while engine.metrics().available_bytes < before {
            engine::platform::Platform::yield_now(&platform).await;
        }
        assert_eq!(get(engine, bucket, "k", None).await, None);
        assert_eq!(engine.metrics().body_bytes, 0);
    });
}

/// A shard that was closed right behind its last write waited for a pump that had ended in silence.
#[test]
fn closing_behind_the_last_write_ends() {
    for seed in 0..20 {
        run(seed, async |platform| {
            let engines = start(&platform, 1).await;
            let bucket = engines[0].create_bucket("b", BTreeMap::new()).await.unwrap().id;
            put(&engines[0], bucket, "key", &body(100, 1), true).await.unwrap();
            engines[0].close().await;
        });
    }
}

/// Entries that are no buckets but use the catalogue have names that begin with a dot.
#[test]
fn settings_change_together_if_they_are_as_expected_and_may_be_large() {
    let sim = Sim::new(9, SimOptions::default());
    let platform = sim.platform();
    let value = |byte: u8| vec![byte; 1_000_000];
    sim.run_until(async {
        let engines = start(&platform, 2).await;
        let engine = &engines[0];
        engine.create_bucket(".user/A", BTreeMap::new()).await.unwrap();
        engine.create_bucket("b", BTreeMap::new()).await.unwrap();
        for byte in 0..4 {
            let before = engine.catalog().sequence();
            engine.put_bucket_setting(".user/A", 1, Some(value(byte))).await.unwrap();
            assert!(engine.catalog().sequence() > before);
        }
        let set = async |changes: &[(u16, Option<u8>)], expected: &[(u16, Option<u8>)]| {
            let map = |pairs: &[(u16, Option<u8>)]| {
                pairs.iter().map(|(tag, byte)| (*tag, byte.map(|byte| vec![byte]))).collect()
            };
            engine.put_bucket_settings("b", map(changes), map(expected)).await
        };
        set(&[(1, Some(1)), (2, Some(2))], &[(1, None)]).await.unwrap();
        let refused = set(&[(1, Some(9)), (3, Some(9))], &[(1, Some(1)), (2, None)]).await;
        let failed = ConditionFailure::PreconditionFailed;
        assert!(matches!(refused, Err(Error::Condition(failure)) if failure == failed));
        set(&[(1, None), (3, Some(3))], &[(2, Some(2))]).await.unwrap();
        futures_join(engines.iter().map(Engine::close)).await;
    })
    .unwrap();
    let platform = sim.reboot();
    sim.run_until(async {
        let engines = start(&platform, 1).await;
        let catalog = engines[0].catalog();
        let settings = |name: &str| catalog.bucket(name).unwrap().settings.clone();
        assert_eq!(settings(".user/A"), BTreeMap::from([(1, value(3))]));
        assert_eq!(settings("b"), BTreeMap::from([(2, vec![2]), (3, vec![3])]));
        engines[0].delete_bucket(".user/A").await.unwrap();
        assert!(engines[0].catalog().bucket(".user/A").is_none());
    })
    .unwrap();
}
