//! A drive of several is missing, empty or broken: its keys are refused, listings are refused rather than
//! incomplete, and everything else is served.
#![allow(clippy::unwrap_used)]

use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::store::FormatOptions;
use engine::{BucketId, Commit, Engine, Error, ListQuery, UploadsQuery, Which};
use ringfort_tests::sim::{Machine, Running, seeds};
use ringfort_tests::sim_dying;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 4, segment_bytes: 1 << 20, capacity_bytes: 64 << 20 };
const KEYS: usize = 32;
/// A setting of the bucket.
const TAG: u16 = 7;

/// Long enough for a drive to be looked at again.
const PROBED: Duration = Duration::from_secs(5);

/// A store on two drives, closed in order, with [`KEYS`] objects in bucket `b`.
fn filled() -> Machine {
    let mut machine = Machine::new(1, FORMAT);
    machine.dirs = vec![PathBuf::from("/data-0"), PathBuf::from("/data-1")];
    let work = async {
        let running = machine.start(2).await.unwrap();
        let engine = running.engine(0);
        engine.create_bucket("empty", BTreeMap::new()).await.unwrap();
        let bucket = engine.create_bucket("b", BTreeMap::new()).await.unwrap().id;
        for key in 0..KEYS {
            put(engine, bucket, &name(key)).await.unwrap();
        }
        change_bucket(engine, 1).await.unwrap();
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
    machine
}

fn name(key: usize) -> String {
    format!("key-{key}")
}

async fn put(engine: &Engine<SimPlatform>, bucket: BucketId, key: &str) -> Result<(), Error> {
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(3)).await?;
    writer.spare()[..3].copy_from_slice(b"new");
    writer.advance(3).await?;
    writer.finish(Commit::default()).await.map(drop)
}

/// The bytes of an object that is there.
async fn get(engine: &Engine<SimPlatform>, bucket: BucketId, key: &str) -> Result<Vec<u8>, Error> {
    let mut reader =
        engine.open(bucket, key.as_bytes(), Which::Latest).await?.expect("the object is there");
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        bytes.extend_from_slice(chunk.as_ref());
    }
    Ok(bytes)
}

async fn list(engine: &Engine<SimPlatform>, bucket: BucketId) -> Result<usize, Error> {
    let query = ListQuery { limit: 1000, ..ListQuery::default() };
    Ok(engine.list(bucket, &query).await?.items.len())
}

fn is_offline<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Offline { .. }))
}

/// How many keys are refused because their drive is offline; all others are read, from every core.
async fn count_offline(running: &Running) -> usize {
    let bucket = running.engine(0).catalog().bucket("b").unwrap().id;
    let mut offline = 0;
    for key in 0..KEYS {
        for client in 0..2 {
            match get(running.engine(client), bucket, &name(key)).await {
                Ok(bytes) => assert_eq!(bytes, b"new"),
                Err(Error::Offline { .. }) => offline += 1,
                Err(other) => panic!("{}: {other}", name(key)),
            }
        }
    }
    offline / 2
}

/// A change of the catalogue, which needs the drive of shard 0.
async fn change_bucket(engine: &Engine<SimPlatform>, value: u8) -> Result<(), Error> {
    engine.put_bucket_setting("b", TAG, Some(vec![value])).await
}

/// What a bucket has been set to.
fn setting(running: &Running) -> Option<u8> {
    let catalog = running.engine(0).catalog();
    catalog.bucket("b").unwrap().settings.get(&TAG).map(|value| value[0])
}

/// One drive of two is offline: what must be refused is, and what need not be is not.
async fn check_degraded(running: &Running) {
    let engine = running.engine(1);
    let bucket = engine.catalog().bucket("b").unwrap().id;
    let offline = count_offline(running).await;
    assert!(offline > KEYS / 4 && offline < KEYS * 3 / 4, "{offline} of {KEYS} keys are offline");
    assert!(is_offline(&list(engine, bucket).await));
    let uploads = UploadsQuery { limit: 10, ..UploadsQuery::default() };
    assert!(is_offline(&engine.list_uploads(bucket, &uploads).await));
    assert!(is_offline(&engine.delete_bucket("empty").await));
    // One shard with a key is enough, if the catalogue is there.
    let refused = engine.delete_bucket("b").await;
    assert!(is_offline(&refused) || matches!(refused, Err(Error::BucketNotEmpty)));
    let mut written = 0;
    for key in 0..KEYS {
        match put(engine, bucket, &name(key)).await {
            Ok(()) => written += 1,
            Err(Error::Offline { .. }) => {}
            Err(other) => panic!("{}: {other}", name(key)),
        }
    }
    assert_eq!(written + offline, KEYS, "the bucket takes writes after its deletion was refused");
    let figures = running.quiet().await;
    assert_eq!((figures.drives_offline, figures.shards_offline), (1, 2));
    let health = running.engine(0).health();
    assert_eq!((health.drives_offline.len(), health.is_well()), (1, false));
}

/// All drives are there: so is every key.
fn check_whole(machine: &Machine) {
    let work = async {
        let running = machine.start(2).await.unwrap();
        let bucket = running.engine(0).catalog().bucket("b").unwrap().id;
        assert_eq!(count_offline(&running).await, 0);
        assert_eq!(list(running.engine(0), bucket).await.unwrap(), KEYS);
        assert!(running.engine(0).health().is_well());
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
}

/// Starts the store without one of its drives, and then with it.
fn check_start(drive: usize, without: impl FnOnce(&mut Machine, PathBuf)) {
    let machine = &mut filled();
    let other = machine.dirs[1 - drive].clone();
    let dirs = machine.dirs.clone();
    without(machine, machine.dirs[drive].clone());
    let files = machine.sim.disk().files();
    let work = async {
        let running = machine.start(2).await.unwrap();
        check_degraded(&running).await;
        assert_eq!(setting(&running), Some(1), "the other drive has the catalogue too");
        let changed = change_bucket(running.engine(1), 2).await;
        let certain = running.engine(0).require_catalog();
        if drive == 0 {
            assert!(is_offline(&changed) && is_offline(&certain));
        } else {
            changed.and(certain).unwrap();
        }
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
    let is_of_the_store = |path: &PathBuf| path.starts_with(&other);
    let changed: Vec<_> =
        machine.sim.disk().files().into_iter().filter(|path| !files.contains(path)).collect();
    assert!(changed.iter().all(is_of_the_store), "written on a drive that is offline: {changed:?}");
    machine.sim.mend();
    machine.dirs = dirs;
    check_whole(machine);
    // What the drive missed it has got by now.
    machine.dirs[0] = "/gone".into();
    let work = async {
        let running = machine.start(2).await.unwrap();
        assert_eq!(setting(&running), Some(if drive == 0 { 1 } else { 2 }));
    };
    machine.sim.run_until(work).unwrap();
}

#[test]
fn a_missing_drive_takes_down_its_own_shards_only() {
    for drive in 0..2 {
        check_start(drive, |machine, _| machine.dirs[drive] = "/gone".into());
    }
}

#[test]
fn an_empty_directory_beside_a_store_is_not_formatted() {
    for drive in 0..2 {
        check_start(drive, |machine, _| {
            let platform = machine.sim.platform();
            let make = async { platform.create_dir("/empty".as_ref()).await };
            machine.sim.run_until(make).unwrap().unwrap();
            machine.dirs[drive] = "/empty".into();
        });
    }
}

#[test]
fn a_drive_that_cannot_be_read_is_left_out() {
    for drive in 0..2 {
        check_start(drive, |machine, dir| machine.sim.break_below(dir));
    }
}

#[test]
fn a_drive_of_which_one_shard_cannot_be_read_is_left_out() {
    for shard in 0..4 {
        check_start(shard % 2, |machine, dir| {
            machine.sim.break_below(dir.join(format!("shard-000{shard}")));
        });
    }
}

/// The log with the change may be gone: then a checkpoint has it.
#[test]
fn a_copy_of_the_catalogue_is_in_checkpoints_too() {
    let mut machine = filled();
    machine.options.checkpoint_log_bytes = 1;
    machine.options.checkpoint_records = 1;
    let work = async {
        let running = machine.start(2).await.unwrap();
        let engine = running.engine(0);
        let bucket = engine.catalog().bucket("b").unwrap().id;
        change_bucket(engine, 9).await.unwrap();
        for key in 0..200 {
            put(engine, bucket, &name(key % KEYS)).await.unwrap();
        }
        running.platform().sleep(PROBED).await;
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
    machine.dirs[0] = "/gone".into();
    let work = async {
        let running = machine.start(1).await.unwrap();
        assert!(running.engine(0).recovered().checkpoint_entries > 0);
        assert_eq!(setting(&running), Some(9));
    };
    machine.sim.run_until(work).unwrap();
}

#[test]
fn a_superblock_without_a_valid_copy_is_a_dead_drive_s() {
    let machine = filled();
    let good = machine.sim.disk().read("/data-1/superblock", 0, 16384);
    machine.sim.disk().overwrite("/data-1/superblock", 0, &[7; 16384]);
    let work = async {
        let running = machine.start(1).await.unwrap();
        assert_eq!(running.engine(0).health().shards_offline, [1, 3]);
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
    machine.sim.disk().overwrite("/data-1/superblock", 0, &good);
    check_whole(&machine);
}

#[test]
fn a_drive_that_dies_and_comes_back_is_noticed_both_times() {
    let mut machine = filled();
    let work = async {
        let running = machine.start(2).await.unwrap();
        let engine = running.engine(0);
        let bucket = engine.catalog().bucket("b").unwrap().id;
        machine.sim.break_below("/data-1");
        // The first to come finds out, with an error of its own.
        for key in 0..KEYS {
            let _ = put(engine, bucket, &name(key)).await;
        }
        running.platform().sleep(PROBED).await;
        check_degraded(&running).await;

        machine.sim.mend();
        running.platform().sleep(PROBED).await;
        assert_eq!(count_offline(&running).await, 0);
        assert_eq!(list(engine, bucket).await.unwrap(), KEYS);
        // The catalogue goes on, though the drive has missed a change or was read-only for it.
        change_bucket(engine, 2).await.unwrap();
        change_bucket(engine, 3).await.unwrap();
        // What failed to write takes no writes until the store is reopened.
        let mut refused = 0;
        for key in 0..KEYS {
            match put(engine, bucket, &name(key)).await {
                Ok(()) => {}
                Err(Error::ReadOnly { .. }) => refused += 1,
                Err(other) => panic!("{}: {other}", name(key)),
            }
        }
        assert!(refused > KEYS / 4, "only {refused} of {KEYS} keys are read-only");
        let (health, other) = (engine.health(), running.engine(1).health());
        assert_eq!(health.shards_read_only.len() + other.shards_read_only.len(), 2);
        running.close().await;
    };
    machine.sim.run_until(work).unwrap();
    check_whole(&machine);
    machine.dirs[0] = "/gone".into();
    let work = async { assert_eq!(setting(&machine.start(1).await.unwrap()), Some(3)) };
    machine.sim.run_until(work).unwrap();
}

/// The start must be refused with these words.
fn check_refused(machine: &Machine, words: &str) {
    let error = machine.sim.run_until(machine.start(2)).unwrap().unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn what_is_no_drive_of_this_store_is_refused() {
    let mut machine = filled();
    let dirs = machine.dirs.clone();
    machine.dirs = vec!["/other-0".into(), "/other-1".into()];
    machine.sim.run_until(async { machine.start(1).await.unwrap().close().await }).unwrap();

    machine.dirs = vec![dirs[0].clone(), "/other-1".into()];
    check_refused(&machine, "another store");
    machine.dirs = vec![dirs[0].clone()];
    check_refused(&machine, "has 2 directories, 1 are given");
    machine.dirs = vec![dirs[0].clone(), dirs[1].clone(), "/gone".into()];
    check_refused(&machine, "has 2 directories, 3 are given");
    machine.dirs = dirs;
    machine.sim.break_below("/data-0");
    machine.sim.break_below("/data-1");
    check_refused(&machine, "cannot be read");
}

/// At any moment, with clients at work, for as long as it likes.
#[test]
fn no_drive_that_dies_takes_anything_of_the_others_with_it() {
    let mut fates = BTreeMap::new();
    let seeds = seeds(150);
    for seed in seeds.clone() {
        match sim_dying::run(seed) {
            Ok(fate) => *fates.entry(fate).or_insert(0) += 1,
            Err(violations) => panic!(
                "seed {seed}:\n{}\nto rerun: RINGFORT_SIM_FIRST_SEED={seed} RINGFORT_SIM_SEEDS=1 \
                 cargo test -p ringfort-tests no_drive_that_dies",
                violations.join("\n")
            ),
        }
    }
    assert!(seeds.end - seeds.start < 100 || fates.len() == 2, "{fates:?}");
}
