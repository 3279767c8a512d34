//! Backups on the simulator: what a snapshot holds while the store is written to, and what a restore
//! brings back.
//!
//! Each client writes a numbered sequence over keys of many shards, one write at a time. So a snapshot is
//! right if, for every client, it holds what its first so many writes come to, for some number between
//! those that were answered before the backup began and those that had begun when it ended.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::backup::{BackupOptions, BackupReport, generations};
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::platform::{File, OpenMode, Platform};
use engine::restore::{RestoreOptions, RestoreReport, restore};
use engine::store::{EngineOptions, FormatOptions, OpenStore, open_or_format};
use engine::verify::{Listener, RebuildOptions, check, rebuild};
use engine::{BucketId, Commit, Deletion, Engine, Error, Etag, Shared, Which};
use futures_lite::future::zip;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

const KEYS: u64 = 24;
const SHARDS: u16 = 6;
const MOMENT: Duration = Duration::from_millis(5);

/// A store that some cores serve.
struct Store {
    engines: Vec<Engine<SimPlatform>>,
    bucket: BucketId,
    _open: OpenStore<SimPlatform>,
}

async fn start(platform: &SimPlatform, dirs: &[&str], cores: usize) -> Store {
    try_start(platform, dirs, cores).await.unwrap()
}

async fn try_start(platform: &SimPlatform, dirs: &[&str], cores: usize) -> Result<Store, Error> {
    let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    let format =
        FormatOptions { shard_count: SHARDS, segment_bytes: 1 << 20, capacity_bytes: 120 << 20 };
    let open = open_or_format(platform, &dirs, || format).await?;
    let options = EngineOptions {
        fill_ahead_bytes: 64 << 10,
        checkpoint_log_bytes: 128 << 10,
        checkpoint_records: 30,
        ..EngineOptions::default()
    };
    let shared = Shared::new(cores);
    let starts = (0..cores).map(|core| {
        let (layout, options) = (open.layout.clone(), options.clone());
        Engine::start(platform.clone(), layout, options, shared.clone(), core)
    });
    let engines = all(starts).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let bucket = match engines[0].catalog().bucket("bucket") {
        Some(bucket) => bucket.id,
        None => engines[0].create_bucket("bucket", BTreeMap::new()).await?.id,
    };
    Ok(Store { engines, bucket, _open: open })
}

impl Store {
    fn engine(&self, client: usize) -> &Engine<SimPlatform> {
        &self.engines[client % self.engines.len()]
    }

    async fn close(self) {
        all(self.engines.iter().map(Engine::close)).await;
    }

    async fn backup(&self, name: &str) -> Result<BackupReport, Error> {
        self.backup_with(options(name)).await
    }

    async fn backup_with(&self, options: BackupOptions) -> Result<BackupReport, Error> {
        self.engines[0].backup(options).await
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut reader =
            self.engines[0].open(self.bucket, key.as_bytes(), Which::Latest).await.unwrap()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            bytes.extend_from_slice(chunk.as_ref());
        }
        Some(bytes)
    }
}

fn options(name: &str) -> BackupOptions {
    BackupOptions {
        directory: "/backups".into(),
        generation: name.into(),
        keep: None,
        bytes_per_second: 0,
        allow_damaged: false,
    }
}

async fn restored(
    platform: &SimPlatform,
    generation: Option<&str>,
    dirs: &[&str],
) -> Result<RestoreReport, Error> {
    let options = RestoreOptions {
        directory: "/backups".into(),
        generation: generation.map(str::to_owned),
        data_dirs: dirs.iter().map(PathBuf::from).collect(),
        dry_run: false,
    };
    restore(platform, &options, |_| ()).await
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
        match outputs.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

// --- The numbered sequence -------------------------------------------------------------------------

fn key(client: usize, number: u64) -> String {
    format!("{client}/{}", number % KEYS)
}

/// What the write with this number stores; none: it deletes.
fn body(client: usize, number: u64) -> Option<Vec<u8>> {
    let sizes = [10, 5_000, 100, 60_000, 300, 200_000, 9_000];
    if number % 5 == 4 {
        return None;
    }
    let size = sizes[(number * 7 + client as u64) as usize % sizes.len()];
    let word = (number << 8 | client as u64).to_le_bytes();
    Some(word.iter().copied().cycle().take(size).collect())
}

#[derive(Debug, Default)]
struct Sequence {
    begun: Cell<u64>,
    answered: Cell<u64>,
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
    let etag = Etag { md5: (bytes.len() as u128).to_le_bytes(), parts: 0 };
    writer.finish(Commit { etag, ..Commit::default() }).await.map(drop)
}

/// Space comes back, if there is none.
async fn put_in_time(engine: &Engine<SimPlatform>, bucket: BucketId, key: &str, bytes: &[u8]) {
    for _ in 0..5_000 {
        match put(engine, bucket, key, bytes).await {
            Err(Error::OutOfSpace) => engine.platform().sleep(MOMENT).await,
            other => return other.unwrap(),
        }
    }
    panic!("no space came back for {key}");
}

/// Writes on until told to stop, or so many.
async fn write(store: &Store, client: usize, sequence: &Sequence, stop: &Cell<bool>, most: u64) {
    let engine = store.engine(client);
    let end = sequence.begun.get() + most;
    while !stop.get() && sequence.begun.get() < end {
        let number = sequence.begun.get() + 1;
        sequence.begun.set(number);
        let key = key(client, number);
        match body(client, number) {
            // What the snapshot pins may be all that there is, until it is copied.
            Some(bytes) => put_in_time(engine, store.bucket, &key, &bytes).await,
            None => drop(
                engine.delete(store.bucket, key.as_bytes(), Deletion::NULL, None).await.unwrap(),
            ),
        }
        sequence.answered.set(number);
    }
}

/// The number of writes after which a client's keys are what the store holds.
async fn find_cut(store: &Store, client: usize, range: std::ops::RangeInclusive<u64>) -> u64 {
    let mut found = Vec::new();
    for place in 0..KEYS {
        found.push(store.get(&key(client, place)).await);
    }
    let holds = |count: u64| {
        (0..KEYS).all(|place| {
            let last = (1..=count).rev().find(|number| number % KEYS == place);
            found[place as usize] == last.and_then(|number| body(client, number))
        })
    };
    let cut = range.clone().find(|count| holds(*count));
    cut.unwrap_or_else(|| panic!("client {client}: no cut within {range:?} is what was found"))
}

// --- Tests -----------------------------------------------------------------------------------------

#[test]
fn a_snapshot_under_load_is_one_cut_through_all_shards() {
    let compacted = Cell::new(0);
    for seed in 0..12 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let clients = 4;
            let store = start(&platform, &["/data"], 1 + seed as usize % 3).await;
            let sequences: Vec<_> = (0..clients).map(|_| Sequence::default()).collect();
            let stop = Cell::new(false);
            let (mut bounds, mut copied) = (Vec::new(), Vec::new());
            let writers =
                all((0..clients).map(|c| write(&store, c, &sequences[c], &stop, u64::MAX / 2)));
            let backups = async {
                for name in ["one", "two", "three"] {
                    platform.sleep(Duration::from_millis(150)).await;
                    let before: Vec<_> = sequences.iter().map(|s| s.answered.get()).collect();
                    let report = store.backup(name).await.unwrap();
                    let after: Vec<_> = sequences.iter().map(|s| s.begun.get()).collect();
                    assert!(report.held < Duration::from_millis(500), "{:?}", report.held);
                    bounds.push(before.into_iter().zip(after).collect::<Vec<_>>());
                    copied.push((report.bytes, report.bytes_copied));
                }
                platform.sleep(Duration::from_millis(300)).await;
                stop.set(true);
            };
            zip(writers, backups).await;
            let metrics = store.engines[0].metrics();
            compacted.set(compacted.get() + metrics.segments_recycled_total);
            assert_eq!((metrics.backups_total, metrics.pins_held), (3, 0));
            store.close().await;
            for (name, bounds) in ["one", "two", "three"].iter().zip(&bounds) {
                let dir = format!("/restored-{name}");
                restored(&platform, Some(name), &[&dir]).await.unwrap();
                let dirs = [PathBuf::from(&dir)];
                let report = check(&platform, &dirs, Listener::default()).await.unwrap();
                assert_eq!(report.findings, [], "seed {seed}, {name}");
                if *name == "two" {
                    // Nor does it need the snapshot's checkpoint.
                    let (options, listener) = (RebuildOptions::default(), Listener::default());
                    let rebuilt = rebuild(&platform, &dirs, options, listener).await.unwrap();
                    assert_eq!(rebuilt.report.findings, [], "seed {seed}, {name}");
                }
                let store = start(&platform, &[&dir], 2).await;
                for (client, (before, after)) in bounds.iter().enumerate() {
                    find_cut(&store, client, *before..=*after).await;
                }
                // It is a store like any other.
                put_in_time(&store.engines[0], store.bucket, "new", &[7; 200_000]).await;
                assert_eq!(store.get("new").await.unwrap(), [7; 200_000]);
                store.close().await;
            }
        })
        .unwrap();
    }
    assert!(compacted.get() > 0, "no log segment was used again");
}

#[test]
fn what_did_not_change_is_not_copied_again() {
    let sim = Sim::new(3, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let store = start(&platform, &["/data"], 2).await;
        for number in 0..60 {
            let bytes = vec![number; 200_000];
            put(&store.engines[0], store.bucket, &format!("large {number}"), &bytes).await.unwrap();
        }
        let first = store.backup("first").await.unwrap();
        assert!(first.bytes_copied > 60 * 200_000);
        put(&store.engines[0], store.bucket, "small", b"one more").await.unwrap();
        let second = store.backup("second").await.unwrap();
        assert!(second.bytes > 60 * 200_000);
        assert!(second.bytes_copied < second.bytes / 10, "{second:?}");
        // Deleting needs no copy; the first generation still has all.
        store.engines[0].delete(store.bucket, b"large 7", Deletion::NULL, None).await.unwrap();
        let third = store.backup_with(BackupOptions { keep: Some(2), ..options("third") }).await;
        let third = third.unwrap();
        assert!(third.bytes_copied < third.bytes / 10, "{third:?}");
        assert_eq!(third.removed, ["first"]);
        store.close().await;
        assert!(restored(&platform, Some("first"), &["/a"]).await.is_err());
        restored(&platform, Some("second"), &["/b"]).await.unwrap();
        restored(&platform, None, &["/c"]).await.unwrap();
        for (dir, deleted) in [("/b", false), ("/c", true)] {
            let store = start(&platform, &[dir], 1).await;
            assert_eq!(store.get("small").await.unwrap(), b"one more");
            assert_eq!(store.get("large 7").await.is_none(), deleted);
            assert_eq!(store.get("large 8").await.unwrap(), vec![8; 200_000]);
            store.close().await;
        }
    })
    .unwrap();
}

/// After a restore the store goes on from the snapshot, while the backups hold what the first store
/// became after it: segments of the same numbers and epochs, with other bytes.
#[test]
fn a_restored_store_takes_nothing_of_its_former_life_for_its_own() {
    let sim = Sim::new(5, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let fill = async |store: &Store, byte: u8| {
            for number in 0..40 {
                let (key, bytes) = (format!("{number}"), vec![byte; 30_000 + 4_000 * number]);
                put(&store.engines[0], store.bucket, &key, &bytes).await.unwrap();
            }
        };
        let store = start(&platform, &["/data"], 1).await;
        fill(&store, 1).await;
        store.backup("one").await.unwrap();
        fill(&store, 2).await;
        store.backup("two").await.unwrap();
        store.close().await;
        restored(&platform, Some("one"), &["/again"]).await.unwrap();
        let store = start(&platform, &["/again"], 1).await;
        fill(&store, 3).await;
        store.backup("three").await.unwrap();
        store.close().await;
        for (generation, byte) in [("one", 1), ("two", 2), ("three", 3)] {
            let dir = format!("/last-{generation}");
            restored(&platform, Some(generation), &[&dir]).await.unwrap();
            let store = start(&platform, &[&dir], 1).await;
            for number in 0..40 {
                let found = store.get(&format!("{number}")).await.unwrap();
                assert_eq!(found, vec![byte; 30_000 + 4_000 * number], "{generation}");
            }
            store.close().await;
        }
    })
    .unwrap();
}

/// The same segment had the same stamp before and after a crash, when stamps were counted instead of
/// taken from versions: an incremental backup then kept bytes of before.
#[test]
fn a_crash_between_two_backups_hides_no_change_from_the_second() {
    for seed in 0..10 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let store = start(&platform, &["/data"], 1).await;
            for number in 0..20u8 {
                let key = format!("{}", number % 6);
                put(&store.engines[0], store.bucket, &key, &vec![number; 150_000]).await.unwrap();
            }
            store.backup("one").await.unwrap();
        })
        .unwrap();
        let platform = sim.reboot();
        sim.run_until(async {
            let store = start(&platform, &["/data"], 1).await;
            for number in 20..40u8 {
                let key = format!("{}", number % 6);
                put(&store.engines[0], store.bucket, &key, &vec![number; 150_000]).await.unwrap();
            }
            store.backup("two").await.unwrap();
            store.close().await;
            restored(&platform, None, &["/restored"]).await.unwrap();
            let store = start(&platform, &["/restored"], 1).await;
            for number in 34..40u8 {
                let found = store.get(&format!("{}", number % 6)).await.unwrap();
                assert_eq!(found, vec![number; 150_000], "seed {seed}");
            }
            store.close().await;
        })
        .unwrap();
    }
}

#[test]
fn a_crash_during_a_backup_leaves_the_earlier_ones_as_they_were() {
    for seed in 0..24u64 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        let sequences: Rc<Vec<Sequence>> = Rc::new((0..3).map(|_| Sequence::default()).collect());
        let cut = Rc::new(RefCell::new(Vec::new()));
        let crashed = sim.run_until(async {
            let store = start(&platform, &["/data"], 2).await;
            let stop = Cell::new(false);
            all((0..3).map(|c| write(&store, c, &sequences[c], &stop, 60))).await;
            store.backup("first").await.unwrap();
            *cut.borrow_mut() = sequences.iter().map(|s| s.answered.get()).collect();
            sim.crash_before_io(sim.counters().ios + 20 + seed * 9);
            zip(
                all((0..3).map(|c| write(&store, c, &sequences[c], &stop, 40))),
                store.backup("second"),
            )
            .await
        });
        let is_cut_short = crashed.is_err();
        let platform = sim.reboot();
        sim.run_until(async {
            let found = generations(&platform, Path::new("/backups")).await.unwrap();
            assert!(found.damaged.is_empty(), "seed {seed}: {:?}", found.damaged);
            let names: Vec<_> = found.readable.iter().map(|m| m.generation.clone()).collect();
            assert!(names.contains(&"first".to_owned()) && (is_cut_short || names.len() == 2));
            restored(&platform, Some("first"), &["/one", "/two"]).await.unwrap();
            let store = start(&platform, &["/one", "/two"], 1).await;
            let cut = cut.take();
            for (client, count) in cut.iter().enumerate() {
                find_cut(&store, client, *count..=*count).await;
            }
            store.close().await;
            // What was left over does not stand in the way.
            let store = start(&platform, &["/data"], 2).await;
            store.backup("third").await.unwrap();
            store.close().await;
            restored(&platform, Some("third"), &["/three"]).await.unwrap();
            let store = start(&platform, &["/three"], 1).await;
            for (client, sequence) in sequences.iter().enumerate() {
                let range = sequence.answered.get()..=sequence.begun.get();
                find_cut(&store, client, range).await;
            }
            store.close().await;
        })
        .unwrap();
    }
}

#[test]
fn a_restore_that_is_cut_short_leaves_no_store() {
    for seed in 0..12u64 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        let crashed = sim.run_until(async {
            let store = start(&platform, &["/data"], 1).await;
            put(&store.engines[0], store.bucket, "key", &[1; 200_000]).await.unwrap();
            store.backup("one").await.unwrap();
            store.close().await;
            sim.crash_before_io(sim.counters().ios + 5 + seed * 17);
            restored(&platform, None, &["/one", "/two"]).await
        });
        let is_cut_short = crashed.is_err();
        let platform = sim.reboot();
        sim.run_until(async {
            if is_cut_short {
                let list = platform.list_dir(Path::new("/one")).await;
                let is_marked = list
                    .is_ok_and(|list| list.iter().any(|path| path.ends_with("unfinished-restore")));
                if is_marked {
                    let refused = try_start(&platform, &["/one", "/two"], 1).await.err().unwrap();
                    assert!(refused.to_string().contains("done again"), "{refused}");
                }
                restored(&platform, None, &["/one", "/two"]).await.unwrap();
            }
            let store = start(&platform, &["/one", "/two"], 1).await;
            assert_eq!(store.get("key").await.unwrap(), [1; 200_000]);
            store.close().await;
        })
        .unwrap();
    }
}

/// Flips a bit in the middle of a file.
async fn rot(platform: &SimPlatform, path: &Path) {
    let file = platform.open(path, OpenMode::WRITE).await.unwrap();
    let middle = file.len().await.unwrap() / 2 / 4096 * 4096;
    let block = file.read_at(middle, 4096).await.unwrap();
    let mut changed = platform.allocate(4096);
    changed.copy_from_slice(&block);
    changed[1234] ^= 4;
    file.write_at(changed, middle).await.unwrap();
    file.sync().await.unwrap();
}

#[test]
fn a_changed_file_of_a_backup_is_named_and_nothing_is_started_from_it() {
    let sim = Sim::new(9, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let store = start(&platform, &["/data"], 1).await;
        for number in 0..10 {
            let bytes = vec![number; 150_000];
            put(&store.engines[0], store.bucket, &format!("{number}"), &bytes).await.unwrap();
        }
        store.backup("one").await.unwrap();
        store.close().await;
        let found = generations(&platform, Path::new("/backups")).await.unwrap();
        for (number, (_, file)) in found.readable[0].files().enumerate() {
            let path = Path::new("/backups").join(&file.path);
            rot(&platform, &path).await;
            let dir = format!("/restored-{number}");
            let refused = restored(&platform, None, &[&dir]).await.unwrap_err().to_string();
            assert!(refused.contains(&file.path), "{refused}");
            assert!(try_start(&platform, &[&dir], 1).await.is_err());
            rot(&platform, &path).await;
        }
        let list = Path::new("/backups/backups/one.json");
        rot(&platform, list).await;
        let refused = restored(&platform, None, &["/last"]).await.unwrap_err().to_string();
        assert!(refused.contains("one.json"), "{refused}");
    })
    .unwrap();
}

#[test]
fn stored_data_that_rots_fails_a_backup_unless_it_is_allowed() {
    for what in ["log", "slab"] {
        let sim = Sim::new(9, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let store = start(&platform, &["/data"], 1).await;
            for number in 0..60 {
                let bytes = vec![number; if what == "log" { 100_000 } else { 150_000 }];
                put(&store.engines[0], store.bucket, &format!("{number}"), &bytes).await.unwrap();
            }
            store.backup("one").await.unwrap();
            let found = generations(&platform, Path::new("/backups")).await.unwrap();
            let (shard, file) = found.readable[0]
                .files()
                .find(|(_, file)| file.path.contains(what) && file.bytes > 500_000)
                .unwrap();
            let segment = file.segment.unwrap();
            let path = format!("/data/shard-{:04}/{segment:08}.seg", shard.shard);
            rot_anywhere(&platform, Path::new(&path), what == "log").await;
            // A backup elsewhere copies all of it anew.
            let elsewhere = BackupOptions { directory: "/other".into(), ..options("two") };
            let refused = store.backup_with(elsewhere.clone()).await.unwrap_err().to_string();
            assert!(refused.contains(&path), "{refused}");
            let allowed = BackupOptions { allow_damaged: true, ..elsewhere };
            let report = store.backup_with(allowed).await.unwrap();
            assert_eq!(report.damage.len(), 1, "{report:?}");
            assert_eq!(store.engines[0].metrics().pins_held, 0);
            store.close().await;
        })
        .unwrap();
    }
}

/// Damages what verifies: a group of a log, or a chunk.
async fn rot_anywhere(platform: &SimPlatform, path: &Path, is_log: bool) {
    let file = platform.open(path, OpenMode::WRITE).await.unwrap();
    let offset = if is_log { 300 << 10 } else { (64 << 10) + 8192 };
    let block = file.read_at(offset, 4096).await.unwrap();
    let mut changed = platform.allocate(4096);
    changed.copy_from_slice(&block);
    changed[77] ^= 1;
    file.write_at(changed, offset).await.unwrap();
    file.sync().await.unwrap();
}

#[test]
fn one_backup_at_a_time_and_none_of_another_store() {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let store = start(&platform, &["/data"], 2).await;
        put(&store.engines[0], store.bucket, "key", &[1; 300_000]).await.unwrap();
        let (first, second) = zip(
            store.backup("one"),
            store.backup_with(BackupOptions { directory: "/other".into(), ..options("one") }),
        )
        .await;
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        store.backup("two").await.unwrap();
        let again = store.backup("two").await.unwrap_err().to_string();
        assert!(again.contains("there already"), "{again}");
        let odd = store.backup("../x").await.unwrap_err().to_string();
        assert!(odd.contains("no name"), "{odd}");
        store.close().await;
        let other = start(&platform, &["/data2"], 1).await;
        let refused = other.backup("three").await.unwrap_err().to_string();
        assert!(refused.contains("another store"), "{refused}");
        other.close().await;
    })
    .unwrap();
}

/// A rename publishes a version that was given before those of others: a segment that has its bytes must not
/// be taken for one that a former backup has.
#[test]
fn an_object_that_was_renamed_meanwhile_is_in_the_next_backup() {
    for seed in 0..40 {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let store = start(&platform, &["/data"], 2).await;
            let (engine, bucket) = (&store.engines[0], store.bucket);
            let bytes = |number: u8| vec![number; 140_000];
            for number in 0..8 {
                put(engine, bucket, &format!("from {number}"), &bytes(number)).await.unwrap();
            }
            let done = Cell::new(0);
            let renames = all((0..8).map(async |number| {
                let (from, to) = (format!("from {number}"), format!("to {number}"));
                let reader = engine.open(bucket, from.as_bytes(), Which::Latest).await.unwrap();
                let copy =
                    engine.copy_object(reader.unwrap(), bucket, to.as_bytes()).await.unwrap();
                let commit = Commit::default();
                engine.rename(from.as_bytes(), Box::new(|_| Ok(())), copy, commit).await.unwrap();
                done.set(done.get() + 1);
            }));
            let backups = async {
                let mut number = 0;
                while done.get() < 8 {
                    store.backup(&format!("during-{number:03}")).await.unwrap();
                    number += 1;
                }
            };
            let puts = async {
                let mut number = 0;
                while done.get() < 8 {
                    put(engine, bucket, &format!("other {}", number % 30), &bytes(99))
                        .await
                        .unwrap();
                    number += 1;
                }
            };
            zip(renames, zip(backups, puts)).await;
            store.backup("last").await.unwrap();
            store.close().await;
            restored(&platform, None, &["/restored"]).await.unwrap();
            let store = start(&platform, &["/restored"], 2).await;
            for number in 0..8 {
                assert_eq!(store.get(&format!("to {number}")).await, Some(bytes(number)), "{seed}");
                assert_eq!(store.get(&format!("from {number}")).await, None, "{seed}");
            }
            store.close().await;
        })
        .unwrap();
    }
}
