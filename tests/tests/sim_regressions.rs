//! What the simulated campaign found, each as a small story of its own that needs no luck.
#![allow(clippy::unwrap_used)]

use engine::platform::Platform;
use engine::platform::sim::{Fault, SimPlatform};
use engine::store::FormatOptions;
use engine::{BucketId, Commit, CompletePart, Deletion, Engine, Error, Which};
use ringfort_tests::sim::{Machine, Running, join_all, within};
use ringfort_tests::sim_damage::{scan_groups, segments, store_salt};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 2, segment_bytes: 1 << 20, capacity_bytes: 64 << 20 };

/// Makes a body of extents.
const LARGE: usize = 200_000;

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    bytes: usize,
) -> Result<(), Error> {
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(bytes as u64)).await?;
    let mut left = bytes;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(key.len() as u8);
        writer.advance(count).await?;
        left -= count;
    }
    writer.finish(Commit::default()).await.map(drop)
}

/// The length of an object whose bytes are all what [`put`] stored.
async fn get(engine: &Engine<SimPlatform>, bucket: BucketId, key: &str) -> Option<usize> {
    let mut reader = engine.open(bucket, key.as_bytes(), Which::Latest).await.unwrap()?;
    let mut bytes = 0;
    while let Some(chunk) = reader.next().await.unwrap() {
        assert!(chunk.as_ref().iter().all(|byte| *byte == key.len() as u8));
        bytes += chunk.as_ref().len();
    }
    Some(bytes)
}

/// The bucket of these stories, made if it is not there.
async fn bucket(engine: &Engine<SimPlatform>) -> BucketId {
    if let Some(bucket) = engine.catalog().bucket("b") {
        return bucket.id;
    }
    engine.create_bucket("b", BTreeMap::new()).await.unwrap().id
}

/// Every object there is, by [`get`].
async fn everything(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    keys: &[String],
) -> Vec<Option<usize>> {
    let mut all = Vec::new();
    for key in keys {
        all.push(get(engine, bucket, key).await);
    }
    all
}

fn keys() -> Vec<String> {
    (0..8).map(|index| "k".repeat(index + 1)).collect()
}

/// After a start: reads everything, writes one object more, and loses power. After the next start all
/// that was read or acknowledged must still be there.
fn what_is_served_outlives_the_next_power_failure(machine: &Machine, what: &str) {
    let keys = keys();
    let seen = machine.sim.run_until(async {
        let running = machine.start(2).await.unwrap();
        let bucket = bucket(running.engine(0)).await;
        let seen = everything(running.engine(0), bucket, &keys).await;
        for late in ["late", "later"] {
            put(running.engine(0), bucket, late, LARGE).await.unwrap();
        }
        seen
    });
    machine.sim.crash();
    let after = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let bucket = bucket(running.engine(0)).await;
        for late in ["late", "later"] {
            assert_eq!(get(running.engine(0), bucket, late).await, Some(LARGE), "{what}");
        }
        everything(running.engine(0), bucket, &keys).await
    });
    assert_eq!(seen.unwrap(), after.unwrap(), "{what}");
}

async fn put_all(engine: &Engine<SimPlatform>) {
    let bucket = bucket(engine).await;
    let puts = keys().into_iter().enumerate().map(async |(index, key)| {
        let size = if index.is_multiple_of(2) { LARGE } else { 5000 };
        // The power or the process may go in the middle, and I/O may fail.
        put(engine, bucket, &key, size).await
    });
    join_all(puts).await;
}

/// Crash campaign, seed 104: a process was killed while it made a segment. The next one found the file
/// in full length, used it, acknowledged an object in it, and the power failed: the file's name had
/// never been made durable, and no start succeeded any more. The same went for groups that could be
/// read and were not durable.
#[test]
fn what_a_killed_process_had_not_made_durable_is_not_built_upon() {
    for step in 0..40u64 {
        let machine = Machine::new(step, FORMAT);
        let killed = machine.sim.run_until(async {
            let running = machine.start(2).await.unwrap();
            let time = Duration::from_micros(2000 + step * 500);
            within(running.platform(), time, put_all(running.engine(0))).await;
            machine.sim.kill();
            running.platform().sleep(Duration::from_secs(1)).await;
        });
        assert!(killed.is_err());
        what_is_served_outlives_the_next_power_failure(&machine, &format!("step {step}"));
    }
}

/// Fault campaign, seed 294: the write of a group failed, the store was reopened and found the group
/// whole, although no later sync promises anything for it; what came behind it was acknowledged, and
/// the next power failure tore a hole in front of that.
#[test]
fn a_group_whose_write_failed_is_not_built_upon() {
    for nth in 0..30 {
        for seed in 0..4 {
            let machine = Machine::new(seed, FORMAT);
            let done = machine.sim.run_until(async {
                let running = machine.start(1).await.unwrap();
                bucket(running.engine(0)).await;
                let nth = machine.sim.counters().writes + nth;
                machine.sim.inject(Fault::WriteError { nth });
                put_all(running.engine(0)).await;
            });
            done.unwrap();
            machine.sim.kill();
            machine.sim.forget_faults();
            let what = format!("write {nth}, seed {seed}");
            what_is_served_outlives_the_next_power_failure(&machine, &what);
        }
    }
}

/// Large objects only, half of them from each of two cores.
async fn put_large(running: &Running) {
    let bucket = bucket(running.engine(0)).await;
    let puts = keys()
        .into_iter()
        .enumerate()
        .map(async |(index, key)| put(running.engine(index), bucket, &key, LARGE).await);
    join_all(puts).await;
}

/// Fault campaign, seed 50196: two large bodies lay in one segment. The sync of one failed while the
/// other's was under way, which then found nothing to do and succeeded; its manifest was logged over
/// bytes that the next power failure took.
#[test]
fn a_failed_sync_takes_no_other_body_with_it() {
    for nth in 0..8 {
        for seed in 0..60 {
            let format = FormatOptions { shard_count: 1, segment_bytes: 8 << 20, ..FORMAT };
            let machine = Machine::new(seed, format);
            let done = machine.sim.run_until(async {
                let running = machine.start(2).await.unwrap();
                // Makes the segment in which the others will lie.
                let bucket = bucket(running.engine(0)).await;
                put(running.engine(0), bucket, "first", LARGE).await.unwrap();
                let nth = machine.sim.counters().syncs + nth;
                machine.sim.inject(Fault::SyncError { nth });
                put_large(&running).await;
            });
            done.unwrap();
            machine.sim.crash();
            machine.sim.forget_faults();
            let what = format!("sync {nth}, seed {seed}");
            what_is_served_outlives_the_next_power_failure(&machine, &what);
        }
    }
}

/// Fault campaign, seed 9: formatting stopped between two directories, and every later start said
/// that a drive may be missing.
#[test]
fn a_format_that_is_cut_short_anywhere_can_be_done_again() {
    for drives in [1, 2] {
        for io in 0.. {
            let mut machine = Machine::new(io, FORMAT);
            machine.dirs = (0..drives).map(|drive| PathBuf::from(format!("/d{drive}"))).collect();
            machine.sim.crash_before_io(io);
            let formatted = machine.sim.run_until(async { machine.start(1).await.map(drop) });
            if let Ok(done) = formatted {
                assert!(done.is_ok() && io > 30, "{done:?} after {io}");
                break;
            }
            let again = machine.sim.run_until(async {
                let running = machine.start(2).await?;
                let bucket = bucket(running.engine(0)).await;
                put(running.engine(0), bucket, "key", LARGE).await
            });
            assert!(again.as_ref().is_ok_and(|done| done.is_ok()), "{drives}, {io}: {again:?}");
        }
    }
}

/// Crash campaign, seed 2: clients went away while they were being answered. Each left a pin, so that
/// nothing deleted afterwards was ever used again; granted space and half-opened segments were lost
/// in the same way.
#[test]
fn clients_that_go_away_leave_no_pin_and_no_space_behind() {
    for cores in [1, 2] {
        let machine = Machine::new(cores as u64, FORMAT);
        let done = machine.sim.run_until(async {
            let running = machine.start(cores).await.unwrap();
            let bucket = bucket(running.engine(0)).await;
            let before = running.quiet().await.available_bytes;
            for round in 0..150u64 {
                let patience = Duration::from_micros(round * 20);
                let one = one_of_everything(running.engine(round as usize), bucket, round);
                within(running.platform(), patience, one).await;
            }
            let engine = running.engine(0);
            while let Some(upload) = first_upload(engine, bucket).await {
                engine.abort_upload(bucket, &upload.key, upload.id).await.unwrap();
            }
            for key in keys() {
                engine.delete(bucket, key.as_bytes(), Deletion::NULL, None).await.unwrap();
            }
            let after = running.quiet().await;
            assert_eq!((after.pins_held, after.body_bytes), (0, 0));
            // The logs have grown, and the first unit of a slab holds its header.
            let logs = segments(&machine, engine::format::segment::SegmentKind::Log).len() as u64;
            let slabs = segments(&machine, engine::format::segment::SegmentKind::Slab).len() as u64;
            let used = (logs - 2) * FORMAT.segment_bytes + slabs * (64 << 10);
            assert!(after.available_bytes + used >= before, "{before} then {after:?}, {used}");
        });
        done.unwrap();
    }
}

async fn first_upload(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
) -> Option<engine::UploadInfo> {
    let query = engine::UploadsQuery { limit: 1, ..Default::default() };
    match engine.list_uploads(bucket, &query).await.unwrap().items.pop()? {
        engine::UploadItem::Upload(info) => Some(info),
        engine::UploadItem::CommonPrefix(_) => None,
    }
}

async fn one_of_everything(engine: &Engine<SimPlatform>, bucket: BucketId, round: u64) {
    let key = &keys()[round as usize % 8];
    if round.is_multiple_of(3) {
        put(engine, bucket, key, LARGE).await.unwrap();
        get(engine, bucket, key).await;
        return;
    }
    let name = key.as_bytes();
    let upload = engine.create_upload(bucket, name, Vec::new()).await.unwrap();
    let mut writer = engine.part_writer(bucket, name, upload, 1, Some(1)).await.unwrap();
    writer.advance(1).await.unwrap();
    writer.finish(Commit::default()).await.unwrap();
    let page = engine.list_parts(bucket, name, upload, 0, 10).await.unwrap();
    let version = page.parts[0].current.version;
    let parts = vec![CompletePart { number: 1, version }];
    engine.complete_upload(bucket, name, upload, parts, Commit::default()).await.unwrap();
}

/// Found with the same seed: who gave up on deleting a bucket left one that took no writes any more.
#[test]
fn a_bucket_whose_deletion_was_given_up_is_deleted_or_takes_writes() {
    for step in 0..60u64 {
        let machine = Machine::new(step, FORMAT);
        let done = machine.sim.run_until(async {
            let running = machine.start(2).await.unwrap();
            let engine = running.engine(1);
            let bucket = bucket(engine).await;
            if step.is_multiple_of(2) {
                put(engine, bucket, "key", 1).await.unwrap();
            }
            let patience = Duration::from_micros(step * 5);
            within(running.platform(), patience, engine.delete_bucket("b")).await;
            running.quiet().await;
            let late = put(engine, bucket, "late", 1).await;
            let gone = engine.catalog().bucket("b").is_none();
            assert_eq!(late.is_ok(), !gone, "step {step}: {late:?}");
        });
        done.unwrap();
    }
}

/// Fault campaign, seed 2353: the filesystem gave no space for another segment, the log's last one was
/// full, and closing waited for ever for a group that nobody would write. A start would have, too.
#[test]
fn a_store_whose_log_is_full_closes_and_starts_and_serves_reads() {
    let format = FormatOptions { shard_count: 1, capacity_bytes: 4 << 20, ..FORMAT };
    let mut machine = Machine::new(1, format);
    // Or the settings that were overwritten would make room for others for ever.
    machine.options.compaction = false;
    let filled = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap();
        let engine = running.engine(0);
        let bucket = bucket(engine).await;
        put(engine, bucket, "kept", 100_000).await.unwrap();
        // Settings of buckets may use the reserve; in the end nothing fits any more.
        for size in [60_000, 30_000, 10_000, 1000, 1] {
            while engine.put_bucket_setting("b", 1, Some(vec![1; size])).await.is_ok() {}
        }
        let platform = machine.sim.platform();
        let closed = within(&platform, Duration::from_secs(60), running.close()).await;
        assert!(closed.is_some(), "closing hangs");
    });
    filled.unwrap();
    let served = machine.sim.run_until(async {
        let start = machine.start(1);
        let platform = machine.sim.platform();
        let running = within(&platform, Duration::from_secs(60), start).await;
        let running = running.expect("the start hangs").unwrap();
        let bucket = bucket(running.engine(0)).await;
        assert_eq!(get(running.engine(0), bucket, "kept").await, Some(100_000));
        let refused = put(running.engine(0), bucket, "more", 1000).await;
        assert!(matches!(refused, Err(Error::OutOfSpace)), "{refused:?}");
    });
    served.unwrap();
}

/// Fault campaign, seed 7201: of two groups in flight the later one landed first and then the write of
/// the earlier one failed. Who waited for the later one waited for ever.
#[test]
fn every_write_is_answered_when_one_of_several_groups_in_flight_fails() {
    for nth in 0..25 {
        for seed in 0..4 {
            let format = FormatOptions { shard_count: 1, ..FORMAT };
            let machine = Machine::new(seed, format);
            let answered = machine.sim.run_until(async {
                let running = machine.start(1).await.unwrap();
                let engine = running.engine(0);
                let bucket = bucket(engine).await;
                let nth = machine.sim.counters().writes + nth;
                machine.sim.inject(Fault::WriteError { nth });
                let puts = (0..24)
                    .map(async |index| put(engine, bucket, &format!("{index}"), 100_000).await);
                let minute = Duration::from_secs(60);
                within(running.platform(), minute, join_all(puts)).await.is_some()
            });
            assert!(answered.unwrap(), "write {nth}, seed {seed}");
        }
    }
}

/// Found by reading before the damage campaign did: the group that says where the log goes on was
/// damaged, and everything in the segments behind it vanished without a word.
#[test]
fn a_damaged_seal_does_not_hide_the_segments_behind_it() {
    use engine::format::{Salt, group::GroupHeader, superblock};
    let machine = Machine::new(1, FormatOptions { shard_count: 1, ..FORMAT });
    let filled = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap();
        let bucket = bucket(running.engine(0)).await;
        for index in 0..30 {
            put(running.engine(0), bucket, &format!("{index}"), 100_000).await.unwrap();
        }
        running.close().await;
    });
    filled.unwrap();
    machine.sim.crash();
    let disk = machine.sim.disk();
    let block = disk.read("/data/superblock", 0, 4096);
    let superblock::Copy::Valid(superblock) = superblock::Superblock::decode(&block) else {
        panic!("no superblock");
    };
    let salt = Salt::of_store(&superblock.store_uuid);
    let first = "/data/shard-0000/00000000.seg";
    let is_seal = |offset: &u64| {
        let bytes = disk.read(first, *offset, 4096);
        GroupHeader::decode(salt, &bytes).is_ok_and(|(group, _)| group.next_segment.is_some())
    };
    let seal = (0..1u64 << 20).step_by(4096).find(is_seal).unwrap();
    disk.flip_bit(first, seal + 40, 3);
    let refused = machine.sim.run_until(async { machine.start(1).await.map(drop) }).unwrap();
    assert!(matches!(refused, Err(Error::Unusable { .. })), "{refused:?}");
}

/// Stray campaign, seed 92: a misdirected write put a whole group over another one. The place of a
/// part's record then held the valid record of another part, and was believed: its attributes were
/// listed, its bytes would have been joined.
#[test]
fn the_record_of_another_part_is_not_believed() {
    let machine = Machine::new(1, FormatOptions { shard_count: 1, ..FORMAT });
    let listed = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap();
        let engine = running.engine(0);
        let bucket = bucket(engine).await;
        let upload = engine.create_upload(bucket, b"key", Vec::new()).await.unwrap();
        for number in [1, 2] {
            let mut writer =
                engine.part_writer(bucket, b"key", upload, number, Some(1)).await.unwrap();
            writer.advance(1).await.unwrap();
            let commit = Commit { attributes: vec![number as u8], ..Commit::default() };
            writer.finish(commit).await.unwrap();
        }
        let path = "/data/shard-0000/00000000.seg";
        let disk = machine.sim.disk();
        let log = disk.read(path, 0, 1 << 20);
        let groups = scan_groups(store_salt(&machine).unwrap(), &log);
        let of_parts: Vec<_> = groups.iter().filter(|(_, group)| group.record_count == 1).collect();
        let [.., (first, _), (second, group)] = of_parts.as_slice() else {
            panic!("no groups of parts");
        };
        let second = *second as usize;
        disk.overwrite(path, *first, &log[second..second + group.group_bytes as usize]);
        engine.list_parts(bucket, b"key", upload, 0, 10).await
    });
    assert!(matches!(listed, Ok(Err(Error::Corrupt(_)))), "{listed:?}");
}

/// Crash campaign, seed 670: a large object had overwritten another one and was moved by compaction, all
/// since the last checkpoint. The start took the place of the one for that of the other, gave up the space
/// of the object that was alive, and panicked. Here most of a shard is taken by bodies, so that every log
/// segment is compacted as soon as it has ended, sooner than a checkpoint is due.
#[test]
fn a_large_object_that_was_moved_since_the_checkpoint_keeps_its_space() {
    let format = FormatOptions { shard_count: 1, capacity_bytes: 160 << 20, ..FORMAT };
    let mut machine = Machine::new(1, format);
    (machine.options.checkpoint_log_bytes, machine.options.checkpoint_records) = (1 << 30, 1 << 30);
    let filled = machine.sim.run_until(async {
        let running = machine.start(1).await.unwrap();
        let bucket = bucket(running.engine(0)).await;
        for index in 0..143 {
            put(running.engine(0), bucket, &format!("{index:03}"), 900_000).await.unwrap();
        }
        running.close().await;
    });
    filled.unwrap();
    let mut moved = 0;
    for round in 0..30 {
        let left = machine.sim.run_until(async {
            let running = machine.start(1).await.unwrap();
            let engine = running.engine(0);
            let bucket = bucket(engine).await;
            for key in keys() {
                assert_eq!(get(engine, bucket, &key).await, (round > 0).then_some(LARGE), "{key}");
            }
            for key in keys() {
                put(engine, bucket, &key, LARGE).await.unwrap();
            }
            for _ in 0..8 + round % 12 {
                put(engine, bucket, "churn", 100_000).await.unwrap();
            }
            // Less or more of what was put is moved before the power fails.
            running.platform().sleep(Duration::from_millis(5 * round)).await;
            engine.metrics()
        });
        moved += left.unwrap().relocated_records_total;
        machine.sim.crash();
    }
    assert!(moved > 100, "only {moved} records were moved");
}
