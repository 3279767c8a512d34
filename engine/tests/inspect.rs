//! What an inspection says of sound and of damaged stores, on the simulator.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::format::superblock::Copy;
use engine::inspect::{
    ChunkRow, Flow, GroupRow, Inspector, LogRow, ObjectReport, RecordItem, RecordRow, SegmentRow,
    Verdict, superblocks,
};
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{Commit, Deletion, Engine, Etag, Shared};
use std::collections::BTreeMap;
use std::path::PathBuf;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 2, segment_bytes: 1 << 20, capacity_bytes: 128 << 20 };
const LARGE: usize = 2_500_000;

fn dirs() -> [PathBuf; 1] {
    [PathBuf::from("/data")]
}

/// A store that was written to and closed, and what a walk over it says.
struct Store {
    sim: Sim,
}

async fn put(engine: &Engine<SimPlatform>, bucket: engine::BucketId, key: &str, size: usize) {
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(size as u64)).await.unwrap();
    let mut left = size;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(key.len() as u8);
        left -= count;
        writer.advance(count).await.unwrap();
    }
    let etag = Etag { md5: [7; 16], parts: 0 };
    let commit = Commit { etag, label: 3, attributes: b"attributes".to_vec(), ..Commit::default() };
    writer.finish(commit).await.unwrap();
}

impl Store {
    fn new(seed: u64, fill: impl AsyncFnOnce(&Engine<SimPlatform>, engine::BucketId)) -> Self {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(async {
            let store = open_or_format(&platform, &dirs(), || FORMAT).await.unwrap();
            let options = EngineOptions { fill_ahead_bytes: 0, ..EngineOptions::default() };
            let layout = store.layout.clone();
            let engine =
                Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await.unwrap();
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            fill(&engine, bucket).await;
            engine.close().await;
        })
        .unwrap();
        Self { sim }
    }

    /// Small objects until the log of each shard fills several segments, a large one, and a deletion.
    fn sample() -> Self {
        Self::new(1, async |engine, bucket| {
            for index in 0..40 {
                put(engine, bucket, &format!("small/{index}"), 100_000).await;
            }
            put(engine, bucket, "large", LARGE).await;
            engine.delete(bucket, b"small/0", Deletion::NULL, None).await.unwrap();
        })
    }

    fn look<T>(&self, look: impl AsyncFnOnce(Inspector<SimPlatform>) -> T) -> T {
        let platform = self.sim.platform();
        let before = self.sim.counters();
        let seen = self
            .sim
            .run_until(async { look(Inspector::open(platform, &dirs()).await.unwrap()).await })
            .unwrap();
        let after = self.sim.counters();
        assert_eq!(before.writes, after.writes, "an inspection writes nothing");
        seen
    }

    fn segments(&self, shard: u16) -> Vec<SegmentRow> {
        self.look(async |inspector| inspector.segments(shard).await.unwrap())
    }

    fn log(&self, shard: u16) -> Vec<LogRow> {
        self.look(async |inspector| {
            let mut rows = Vec::new();
            let visit = |row| {
                rows.push(row);
                Flow::Continue(())
            };
            inspector.groups(shard, None, visit).await.unwrap();
            rows
        })
    }

    fn groups(&self, shard: u16) -> Vec<GroupRow> {
        let group = |row| match row {
            LogRow::Group(group) => Some(group),
            LogRow::Gap(_) => None,
        };
        self.log(shard).into_iter().filter_map(group).collect()
    }

    fn records(&self, shard: u16) -> Vec<RecordItem> {
        self.look(async |inspector| {
            let mut rows = Vec::new();
            let visit = |row| {
                rows.push(row);
                Flow::Continue(())
            };
            inspector.records(shard, None, visit).await.unwrap();
            rows
        })
    }

    fn object(&self, key: &str) -> (ObjectReport, Vec<ChunkRow>) {
        self.look(async |inspector| {
            let report = inspector.object("bucket", key.as_bytes()).await.unwrap().unwrap();
            let mut chunks = Vec::new();
            if let Some(record) = &report.last {
                let visit = |row| {
                    chunks.push(row);
                    Flow::Continue(())
                };
                inspector.chunks(record, visit).await;
            }
            (report, chunks)
        })
    }

    fn segment_path(&self, shard: u16, segment: u32) -> PathBuf {
        self.look(async |inspector| inspector.layout().segment_path(shard, segment))
    }

    fn flip(&self, shard: u16, segment: u32, offset: u64) {
        self.sim.disk().flip_bit(self.segment_path(shard, segment), offset, 3);
    }
}

fn good_records(items: &[RecordItem]) -> impl Iterator<Item = &RecordRow> {
    items.iter().filter_map(|item| match item {
        RecordItem::Record(row) if row.problem.is_none() => Some(&**row),
        _ => None,
    })
}

#[test]
fn a_sound_store_shows_its_whole_log() {
    let store = Store::sample();
    for shard in 0..FORMAT.shard_count {
        let segments = store.segments(shard);
        assert!(segments.len() > 2);
        assert!(segments.iter().all(|row| row.problem.is_none()), "{segments:?}");
        let groups = store.groups(shard);
        assert!(groups.iter().all(|group| group.verdict.is_good()));
        let expected: Vec<u64> = (1..=groups.len() as u64).collect();
        let lsns: Vec<u64> = groups.iter().map(|group| group.header.lsn).collect();
        assert_eq!(lsns, expected, "every group is seen once, across segments");
        assert!(groups.iter().any(|group| group.header.next_segment.is_some()));
        let counted: u32 = groups.iter().map(|group| group.header.record_count).sum();
        assert_eq!(good_records(&store.records(shard)).count(), counted as usize);
    }
}

#[test]
fn objects_are_found_with_their_chunks() {
    let store = Store::sample();
    let (report, chunks) = store.object("large");
    assert_eq!(report.last.as_ref().unwrap().size, LARGE as u64);
    assert_eq!(chunks.iter().map(|chunk| chunk.payload_bytes).sum::<u64>(), LARGE as u64);
    assert!(chunks.iter().all(|chunk| chunk.problem.is_none()), "{chunks:?}");
    let (report, chunks) = store.object("small/1");
    assert_eq!((report.records, report.last.unwrap().data_bytes), (1, 100_000));
    assert!(chunks.is_empty());
    let (deleted, _) = store.object("small/0");
    assert!(deleted.to_string().contains("deleted"), "{deleted}");
    assert_eq!(store.object("never").0.last, None);
    let other = store.look(async |inspector| inspector.object("none", b"key").await.unwrap());
    assert_eq!(other, None);
}

#[test]
fn a_walk_ends_when_its_visitor_has_enough() {
    let store = Store::sample();
    let seen = store.look(async |inspector| {
        let mut seen = 0;
        let visit = |_| {
            seen += 1;
            if seen == 3 { Flow::Break(()) } else { Flow::Continue(()) }
        };
        inspector.records(0, None, visit).await.unwrap();
        seen
    });
    assert_eq!(seen, 3);
}

#[test]
fn damaged_and_missing_superblocks_are_rows() {
    let store = Store::sample();
    let superblock = dirs()[0].join("superblock");
    store.sim.disk().flip_bit(&superblock, 4096 + 20, 0);
    store.sim.disk().overwrite(&superblock, 2 * 4096 + 8, &[9, 0, 0, 0]);
    let platform = store.sim.platform();
    let all = [dirs()[0].clone(), PathBuf::from("/elsewhere")];
    let rows = store.sim.run_until(superblocks(&platform, &all)).unwrap();
    assert_eq!(rows.len(), 8);
    assert!(matches!(rows[0].state, Ok(Copy::Valid(_))));
    assert!(matches!(rows[1].state, Ok(Copy::Damaged(_))));
    assert_eq!(rows[2].state, Ok(Copy::OtherVersion(9)));
    assert!(rows[4..].iter().all(|row| row.state.is_err()));
    // Three copies of a directory may go; the walk still works.
    assert!(!store.groups(0).is_empty());
}

#[test]
fn a_damaged_group_does_not_hide_what_follows() {
    let store = Store::sample();
    let groups = store.groups(0);
    let victim = groups[3].clone();
    // Behind the header: the content no longer verifies, the chain goes on.
    store.flip(0, victim.header.segment, victim.offset + 5000);
    let after = store.groups(0);
    assert_eq!(after.len(), groups.len());
    assert!(matches!(after[3].verdict, Verdict::Damaged(_)));
    assert!(after[4..].iter().all(|group| group.verdict.is_good()));
    let problems =
        store.records(0).iter().filter(|item| item.to_string().contains("DAMAGED")).count();
    assert!(problems > 0);
}

#[test]
fn a_lost_group_is_a_gap_and_the_next_one_tells_that_it_was_durable() {
    let store = Store::sample();
    let groups = store.groups(0);
    let victim = groups[3].clone();
    store.flip(0, victim.header.segment, victim.offset + 40);
    let rows = store.log(0);
    let LogRow::Gap(gap) = &rows[3] else { panic!("{}", rows[3]) };
    assert_eq!((gap.offset, gap.bytes), (victim.offset, u64::from(victim.header.group_bytes)));
    let LogRow::Group(next) = &rows[4] else { panic!("{}", rows[4]) };
    let missing_lsn = victim.header.lsn;
    assert_eq!(next.verdict, Verdict::Detached { missing_lsn, was_durable: true });
    assert_eq!(store.groups(0).len(), groups.len() - 1);
}

#[test]
fn a_damaged_segment_header_hides_neither_the_segment_nor_its_log() {
    let store = Store::sample();
    let groups = store.groups(0);
    let second = groups.iter().find(|group| group.header.segment != 0).unwrap().header.segment;
    store.flip(0, second, 17);
    let row = store.segments(0).into_iter().find(|row| row.segment == second).unwrap();
    assert!(row.header.is_none() && row.problem.is_some(), "{row}");
    assert_eq!(store.groups(0), groups);
}

#[test]
fn a_damaged_chunk_is_named() {
    let store = Store::sample();
    let (report, chunks) = store.object("large");
    let victim = chunks[1].clone();
    store.flip(report.shard, victim.segment, victim.offset + 4096 + 10_000);
    let (_, after) = store.object("large");
    let bad: Vec<u32> = after.iter().filter(|c| c.problem.is_some()).map(|c| c.index).collect();
    assert_eq!(bad, [victim.index]);
}

#[test]
fn a_tail_that_was_never_acknowledged_is_told_from_damage() {
    // A crash while groups are in flight; some seed leaves a group whose predecessor is missing.
    let mut torn = 0;
    for seed in 0..60 {
        let store = Store::new(seed, async |_, _| {});
        let platform = store.sim.reboot();
        let io = store.sim.counters().ios + 60 + seed;
        store.sim.crash_before_io(io);
        let ended = store.sim.run_until(async {
            let opened = open_or_format(&platform, &dirs(), || FORMAT).await.unwrap();
            let options = EngineOptions { fill_ahead_bytes: 0, ..EngineOptions::default() };
            let layout = opened.layout.clone();
            let engine =
                Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await.unwrap();
            let bucket = engine.catalog().bucket("bucket").unwrap().id;
            for index in 0..200 {
                put(&engine, bucket, &format!("key/{index}"), 90_000).await;
            }
        });
        assert!(ended.is_err(), "the crash comes before the end");
        store.sim.reboot();
        for shard in 0..FORMAT.shard_count {
            for row in store.log(shard) {
                match row {
                    LogRow::Gap(gap) => torn += u32::from(!gap.blank),
                    LogRow::Group(group) => assert!(
                        matches!(
                            group.verdict,
                            Verdict::Good
                                | Verdict::Damaged(_)
                                | Verdict::Detached { was_durable: false, .. }
                        ),
                        "seed {seed}: {group}"
                    ),
                }
            }
        }
    }
    assert!(torn > 0, "no crash tore a group");
}
