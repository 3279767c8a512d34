//! What a check says of sound and of damaged stores, and what a rebuild makes of them, on the simulator.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::format::checkpoint::{FRAME_HEADER_BYTES, peek_frame_bytes};
use engine::format::group::GROUP_HEADER_BYTES;
use engine::format::record::RecordKind;
use engine::format::segment::SegmentKind;
use engine::inspect::{Flow, Inspector, LogRow, RecordItem, RecordRow};
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::platform::{BLOCK_BYTES, Platform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::verify::{
    Concern, Grade, Listener, RebuildOptions, Rebuilt, Report, Structure, check, rebuild,
};
use engine::{BucketId, Commit, Deletion, Engine, Error, Etag, Shared, UploadId, Which};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 2, segment_bytes: 1 << 20, capacity_bytes: 32 << 20 };

fn dirs() -> [PathBuf; 1] {
    [PathBuf::from("/data")]
}

fn options() -> EngineOptions {
    EngineOptions {
        fill_ahead_bytes: 0,
        checkpoint_log_bytes: 300 << 10,
        checkpoint_records: 40,
        ..EngineOptions::default()
    }
}

/// By key: size and the byte of which it is made.
type Model = BTreeMap<Vec<u8>, (usize, u8)>;

type Parts = BTreeMap<u16, (usize, u8)>;

struct Store {
    sim: Sim,
    model: Model,
    bucket: BucketId,
    /// An upload under way: its key and parts, by number, as in the model.
    upload: Option<(UploadId, Parts)>,
    random: u64,
}

const UPLOAD_KEY: &[u8] = b"upload/under way";

impl Store {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed, SimOptions::default());
        Self { sim, model: Model::new(), bucket: BucketId(0), upload: None, random: seed | 1 }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    fn run<T>(&self, work: impl AsyncFnOnce(Engine<SimPlatform>) -> T) -> T {
        let platform = self.sim.platform();
        let run = async {
            let store = open_or_format(&platform, &dirs(), || FORMAT).await.unwrap();
            let (layout, shared) = (store.layout.clone(), Shared::new(1));
            let engine =
                Engine::start(platform.clone(), layout, options(), shared, 0).await.unwrap();
            let done = work(engine.clone()).await;
            engine.close().await;
            done
        };
        self.sim.run_until(run).unwrap()
    }

    /// Writes, overwrites and deletes at random, so much that checkpoints and compaction run, and
    /// leaves an upload under way. Then the store is closed.
    fn filled(seed: u64, writes: usize) -> Self {
        let mut store = Self::new(seed);
        let steps: Vec<_> = (0..writes)
            .map(|_| (store.below(60), store.below(20), store.below(40_000), store.below(256)))
            .collect();
        let (model, bucket, upload) = store.run(async |engine| {
            let settings = BTreeMap::from([(1, b"setting".to_vec())]);
            let bucket = engine.create_bucket("the-bucket", settings).await.unwrap().id;
            let mut model = Model::new();
            for (key, kind, size, byte) in steps {
                let key = format!("key/{key:03}").into_bytes();
                let size = match kind {
                    0 => 1_500_000 + size as usize,
                    1 => 150_000 + size as usize,
                    _ => size as usize,
                };
                if kind > 15 {
                    engine.delete(bucket, &key, Deletion::NULL, None).await.unwrap();
                    model.remove(&key);
                } else {
                    match put(&engine, bucket, &key, size, byte as u8).await {
                        Ok(()) => drop(model.insert(key, (size, byte as u8))),
                        Err(error) => assert!(matches!(error, Error::OutOfSpace), "{error}"),
                    }
                }
            }
            let id = engine.create_upload(bucket, UPLOAD_KEY, b"kind".to_vec()).await.unwrap();
            let parts = BTreeMap::from([(1, (200_000, 1)), (3, (70_000, 3))]);
            for (number, (size, byte)) in &parts {
                put_part(&engine, bucket, id, *number, *size, *byte).await;
            }
            let other = engine.create_upload(bucket, b"upload/aborted", Vec::new()).await.unwrap();
            engine.abort_upload(bucket, b"upload/aborted", other).await.unwrap();
            // Large stores are those in which something was moved.
            for round in 0.. {
                if writes < 900 || engine.metrics().relocated_records_total > 0 {
                    break;
                }
                assert!(round < 5000, "no compaction");
                let (key, size) = (format!("key/{:03}", round % 60).into_bytes(), 20_000);
                put(&engine, bucket, &key, size, round as u8).await.unwrap();
                model.insert(key, (size, round as u8));
            }
            (model, bucket, (id, parts))
        });
        Self { model, bucket, upload: Some(upload), ..store }
    }

    fn check(&self) -> Report {
        let platform = self.sim.platform();
        let before = self.sim.counters();
        let run = async { check(&platform, &dirs(), Listener::default()).await.unwrap() };
        let report = self.sim.run_until(run).unwrap();
        assert_eq!(before.writes, self.sim.counters().writes, "a check writes nothing");
        report
    }

    fn rebuild(&self) -> Rebuilt {
        let platform = self.sim.platform();
        let options = RebuildOptions::default();
        let run =
            async { rebuild(&platform, &dirs(), options, Listener::default()).await.unwrap() };
        self.sim.run_until(run).unwrap()
    }

    /// Starts the store and reads everything.
    fn compare(&self) {
        let (model, bucket) = (&self.model, self.bucket);
        self.run(async |engine| {
            let query = engine::ListQuery { limit: 1000, ..Default::default() };
            let page = engine.list(bucket, &query).await.unwrap();
            let names: Vec<_> = page.items.iter().map(|item| item.name().to_vec()).collect();
            assert_eq!(names, model.keys().cloned().collect::<Vec<_>>());
            for (key, expected) in model {
                assert_eq!(get(&engine, bucket, key).await, *expected, "{}", key.escape_ascii());
            }
            let catalog = engine.catalog();
            let found = catalog.bucket("the-bucket").unwrap();
            assert_eq!((found.id, found.settings.len()), (bucket, 1));
            if let Some((id, parts)) = &self.upload {
                let page = engine.list_parts(bucket, UPLOAD_KEY, *id, 0, 10).await.unwrap();
                let sizes = page.parts.iter().map(|part| (part.number, part.current.size as usize));
                let expected = parts.iter().map(|(number, (size, _))| (*number, *size));
                assert_eq!(sizes.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        });
    }

    /// Everything on disk that counts, and whose it is if it is an object's.
    fn live_ranges(&self) -> Vec<Live> {
        let platform = self.sim.platform();
        let run = async {
            let inspector = Inspector::open(platform, &dirs()).await.unwrap();
            let mut ranges = Vec::new();
            ranges.push(Live::structure("/data/superblock".into(), 0..4 * BLOCK_BYTES as u64));
            for shard in 0..FORMAT.shard_count {
                self.live_metadata(&inspector, shard, &mut ranges).await;
            }
            for (record, is_only) in self.live_records(&inspector).await {
                live_object(&inspector, &record, is_only, &mut ranges).await;
            }
            ranges
        };
        self.sim.run_until(run).unwrap()
    }

    async fn live_metadata(
        &self,
        inspector: &Inspector<SimPlatform>,
        shard: u16,
        ranges: &mut Vec<Live>,
    ) {
        let layout = inspector.layout();
        let header = |kind| matches!(kind, SegmentKind::Log | SegmentKind::Slab);
        for row in inspector.segments(shard).await.unwrap() {
            // A slab without units is free and keeps its header; those are of no account.
            if row.header.is_some_and(|h| header(h.kind) && h.kind == SegmentKind::Log) {
                let path = layout.segment_path(shard, row.segment);
                ranges.push(Live::structure(path, 0..BLOCK_BYTES as u64));
            }
        }
        let group = |row| {
            if let LogRow::Group(group) = row {
                let path = layout.segment_path(shard, group.header.segment);
                let bytes = GROUP_HEADER_BYTES as u64 + u64::from(group.header.content_bytes);
                ranges.push(Live::structure(path, group.offset..group.offset + bytes));
            }
            Flow::Continue(())
        };
        inspector.groups(shard, None, group).await.unwrap();
        let disk = self.sim.disk();
        let mut slots = Vec::new();
        for slot in 0..3 {
            let path = layout.shard_dir(shard).join(format!("checkpoint-{slot}.ckp"));
            if disk.files().contains(&path) {
                let block = disk.read(&path, 0, BLOCK_BYTES);
                let header = engine::format::checkpoint::CheckpointHeader::decode(&block);
                slots.extend(header.unwrap().map(|header| (header, path)));
            }
        }
        slots.sort_by_key(|(header, _)| std::cmp::Reverse(header.sequence));
        for (header, path) in slots.into_iter().take(2) {
            ranges.push(Live::structure(path.clone(), 0..BLOCK_BYTES as u64));
            let mut offset = BLOCK_BYTES as u64;
            while offset < BLOCK_BYTES as u64 + header.body_bytes {
                let block = disk.read(&path, offset, BLOCK_BYTES);
                let content = u32::from_le_bytes(*block[16..].first_chunk().unwrap());
                let bytes = FRAME_HEADER_BYTES as u64 + u64::from(content);
                ranges.push(Live::structure(path.clone(), offset..offset + bytes));
                offset += peek_frame_bytes(&block).unwrap() as u64;
            }
        }
    }

    /// The newest record of each object, upload and part that there is.
    /// Which of several copies counts is not known here: `true` where there is only one.
    async fn live_records(&self, inspector: &Inspector<SimPlatform>) -> Vec<(RecordRow, bool)> {
        let mut newest: BTreeMap<(u8, Vec<u8>, u16), (RecordRow, bool)> = BTreeMap::new();
        let (upload, _) = self.upload.as_ref().unwrap();
        for shard in 0..FORMAT.shard_count {
            let visit = |item| {
                let RecordItem::Record(record) = item else { return Flow::Continue(()) };
                let number = record.sections.part_number.unwrap_or(0);
                let counts = match record.kind {
                    _ if record.flags.void => false,
                    RecordKind::Object => self.model.contains_key(&record.key),
                    RecordKind::UploadBegin => record.version == upload.0,
                    RecordKind::Part => record.upload == upload.0,
                    _ => false,
                };
                let key = (record.kind as u8, record.key.clone(), number);
                let old = newest.get(&key).map(|(old, _)| old.version);
                if counts && old <= Some(record.version) {
                    let is_only = old != Some(record.version);
                    newest.insert(key, (*record, is_only));
                }
                Flow::Continue(())
            };
            inspector.records(shard, None, visit).await.unwrap();
        }
        newest.into_values().collect()
    }
}

/// Bytes on disk of which none may be another.
struct Live {
    path: PathBuf,
    range: Range<u64>,
    /// What a report must name.
    named: Option<(Vec<u8>, Option<u16>)>,
}

impl Live {
    fn structure(path: PathBuf, range: Range<u64>) -> Self {
        Self { path, range, named: None }
    }
}

async fn live_object(
    inspector: &Inspector<SimPlatform>,
    record: &RecordRow,
    is_only: bool,
    ranges: &mut Vec<Live>,
) {
    let layout = inspector.layout();
    let part = (record.kind == RecordKind::Part).then_some(record.sections.part_number).flatten();
    let named = Some((record.key.clone(), part));
    if is_only {
        let end = record.offset + (record.head_bytes + record.data_bytes) as u64;
        let path = layout.segment_path(record.shard, record.segment);
        ranges.push(Live { path, range: record.offset..end, named: named.clone() });
    }
    let mut chunks = Vec::new();
    let visit = |chunk: engine::inspect::ChunkRow| {
        chunks.push((chunk.segment, chunk.offset, chunk.payload_bytes));
        Flow::Continue(())
    };
    inspector.chunks(record, visit).await;
    for (segment, offset, payload) in chunks {
        let path = layout.segment_path(record.shard, segment);
        let range = offset..offset + BLOCK_BYTES as u64 + payload;
        ranges.push(Live { path, range, named: named.clone() });
    }
}

async fn fill(
    writer: &mut engine::ObjectWriter<SimPlatform>,
    size: usize,
    byte: u8,
) -> Result<(), Error> {
    let mut left = size;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(byte);
        left -= count;
        writer.advance(count).await?;
    }
    Ok(())
}

fn commit(byte: u8) -> Commit {
    let etag = Etag { md5: [byte; 16], parts: 0 };
    Commit {
        etag,
        label: 3,
        attributes: b"attributes".to_vec(),
        condition: None,
        ..Commit::default()
    }
}

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &[u8],
    size: usize,
    byte: u8,
) -> Result<(), Error> {
    let mut writer = engine.writer(bucket, key, Some(size as u64)).await?;
    fill(&mut writer, size, byte).await?;
    writer.finish(commit(byte)).await.map(drop)
}

async fn put_part(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    upload: UploadId,
    number: u16,
    size: usize,
    byte: u8,
) {
    let size_hint = Some(size as u64);
    let mut writer =
        engine.part_writer(bucket, UPLOAD_KEY, upload, number, size_hint).await.unwrap();
    fill(&mut writer, size, byte).await.unwrap();
    writer.finish(commit(byte)).await.unwrap();
}

/// The size of an object and the byte of which it is made.
async fn get(engine: &Engine<SimPlatform>, bucket: BucketId, key: &[u8]) -> (usize, u8) {
    let mut reader = engine.open(bucket, key, Which::Latest).await.unwrap().unwrap();
    let etag = reader.info().current.etag.md5[0];
    let mut size = 0;
    while let Some(chunk) = reader.next().await.unwrap() {
        assert!(chunk.as_ref().iter().all(|&byte| byte == etag));
        size += chunk.as_ref().len();
    }
    (size, etag)
}

#[expect(clippy::disallowed_methods, reason = "how long a test runs is set from outside")]
fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn scrubbing_finds_flipped_bits_and_names_their_objects() {
    let store = Store::filled(7, 900);
    let of_objects = |live: &&Live| matches!(&live.named, Some((key, None)) if key != UPLOAD_KEY);
    let ranges = store.live_ranges();
    let mut damaged = std::collections::BTreeSet::new();
    for live in ranges.iter().filter(of_objects).step_by(3) {
        // A log that ends with damage would not start: only records that a checkpoint covers count.
        store.sim.disk().flip_bit(&live.path, live.range.end - 1, 3);
        let starts = store.check().findings.iter().all(|f| f.structure != Structure::Start);
        if starts {
            damaged.insert(live.named.clone().unwrap().0);
        } else {
            store.sim.disk().flip_bit(&live.path, live.range.end - 1, 3);
        }
    }
    assert!(damaged.len() > 2);
    let named = store.run(async |engine| {
        engine.start_scrub();
        while engine.scrub_status().passes == 0 {
            engine.platform().sleep(std::time::Duration::from_secs(1)).await;
        }
        let (status, metrics) = (engine.scrub_status(), engine.metrics());
        assert_eq!((status.running, metrics.scrub_passes_total), (0, 1));
        assert_eq!(status.findings_total, metrics.scrub_findings_total);
        assert!(metrics.scrub_bytes_total > 1 << 20, "{metrics:?}");
        assert_eq!(metrics.pins_held, 0);
        let named = status.findings.into_iter().filter_map(|finding| finding.named);
        named.map(|named| named.key).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(named, damaged);
}

#[test]
fn scrubbing_finds_nothing_in_a_sound_store_that_is_written_to() {
    let store = Store::filled(8, 900);
    store.run(async |engine| {
        engine.start_scrub();
        let mut round = 0;
        while engine.scrub_status().passes < 2 {
            put(&engine, store.bucket, format!("key/{:03}", round % 9).as_bytes(), 200_000, 7)
                .await
                .unwrap();
            round += 1;
            if engine.scrub_status().running == 0 {
                engine.start_scrub();
            }
        }
        assert_eq!(engine.scrub_status().findings, []);
        assert!(round > 10);
    });
    assert_eq!(store.check().damaged, 0);
}

#[test]
fn a_sound_store_has_no_findings() {
    let mut chunks = 0;
    for seed in 1..4 {
        let store = Store::filled(seed, 900);
        let report = store.check();
        assert_eq!(report.findings, []);
        assert!(report.counts.live_records > 30 && report.counts.checkpoints > 3, "{report:?}");
        chunks += report.counts.chunks;
    }
    assert!(chunks > 9, "{chunks}");
}

#[test]
fn a_store_that_lost_its_power_has_no_damage() {
    for seed in 1..12 {
        let store = Store::filled(seed, 60);
        let ios = store.sim.counters().ios;
        store.sim.crash_before_io(ios + 40 + 97 * seed);
        let platform = store.sim.platform();
        let _ = store.sim.run_until(async {
            let opened = open_or_format(&platform, &dirs(), || FORMAT).await.unwrap();
            let (layout, shared) = (opened.layout.clone(), Shared::new(1));
            let engine =
                Engine::start(platform.clone(), layout, options(), shared, 0).await.unwrap();
            for round in 0..200 {
                put(&engine, store.bucket, format!("new/{round}").as_bytes(), 30_000, 7).await?;
            }
            Ok::<(), Error>(())
        });
        store.sim.forget_faults();
        store.sim.reboot();
        let report = store.check();
        assert_eq!(report.damaged, 0, "seed {seed}: {:?}", report.findings);
    }
}

#[test]
fn every_flipped_bit_is_found_and_its_object_named() {
    let flips = number_of("RINGFORT_VERIFY_FLIPS", 300);
    let mut store = Store::filled(5, 900);
    let ranges = store.live_ranges();
    assert!(ranges.iter().filter(|live| live.named.is_some()).count() > 20);
    for flip in 0..flips {
        // Every other flip hits an object.
        let of_object = flip % 2 == 0;
        let live = loop {
            let at = store.below(ranges.len() as u64) as usize;
            if ranges[at].named.is_some() == of_object {
                break &ranges[at];
            }
        };
        let offset = live.range.start + store.below(live.range.end - live.range.start);
        let bit = store.below(8) as u8;
        store.sim.disk().flip_bit(&live.path, offset, bit);
        let report = store.check();
        let place = format!("flip {flip}: bit {bit} of {} at {offset}", live.path.display());
        assert!(report.damaged > 0, "{place} is not found: {:?}", report.findings);
        if let Some((key, part)) = &live.named {
            let is_it = |named: &engine::verify::Named| match named.concern {
                Concern::Part { number, .. } => named.key == *key && *part == Some(number),
                _ => named.key == *key && part.is_none(),
            };
            let is_named =
                report.findings.iter().filter_map(|found| found.named.as_ref()).any(is_it);
            assert!(
                is_named,
                "{place} does not name {}: {:?}",
                key.escape_ascii(),
                report.findings
            );
        }
        store.sim.disk().flip_bit(&live.path, offset, bit);
    }
    assert_eq!(store.check().findings, []);
}

#[test]
fn findings_say_what_and_where() {
    let store = Store::filled(6, 100);
    store.sim.disk().flip_bit("/data/superblock", 4096, 1);
    let report = store.check();
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((finding.grade, finding.structure), (Grade::Damage, Structure::Superblock));
    assert_eq!((finding.offset, report.damaged), (Some(4096), 1));
}

#[test]
fn a_rebuilt_store_is_what_it_was() {
    for seed in 1..6 {
        let store = Store::filled(seed, 900);
        let rebuilt = store.rebuild();
        assert_eq!(rebuilt.report.findings, [], "seed {seed}");
        let objects: u64 = rebuilt.shards.iter().map(|shard| shard.objects).sum();
        assert_eq!(objects, store.model.len() as u64, "seed {seed}");
        assert_eq!(store.check().findings, [], "seed {seed}, before the first start");
        store.compare();
        assert_eq!(store.check().findings, [], "seed {seed}, after the first start");
        // Once more, on top of what a rebuild left.
        assert_eq!(store.rebuild().report.findings, [], "seed {seed}, again");
        store.compare();
    }
}

/// What compaction was cut short in leaves copies of what is alive, and husks of such copies.
#[test]
fn a_store_that_was_often_cut_short_is_rebuilt() {
    for seed in 20..26 {
        let mut store = Store::filled(seed, 900);
        for life in 0..6 {
            let steps: Vec<_> =
                (0..500).map(|_| (store.below(60), store.below(8), store.below(40_000))).collect();
            let crash = store.sim.counters().ios + 400 + store.below(900);
            store.sim.crash_before_io(crash);
            let platform = store.sim.platform();
            let bucket = store.bucket;
            let _ = store.sim.run_until(async {
                let opened = open_or_format(&platform, &dirs(), || FORMAT).await.unwrap();
                let (layout, shared) = (opened.layout.clone(), Shared::new(1));
                let engine =
                    Engine::start(platform.clone(), layout, options(), shared, 0).await.unwrap();
                for (key, kind, size) in steps {
                    let key = format!("key/{key:03}").into_bytes();
                    match kind {
                        0 => drop(engine.delete(bucket, &key, Deletion::NULL, None).await),
                        1 => drop(put(&engine, bucket, &key, 150_000, life).await),
                        _ => drop(put(&engine, bucket, &key, size as usize, life).await),
                    }
                }
            });
            store.sim.forget_faults();
            store.sim.reboot();
        }
        let bucket = store.bucket;
        store.model = store.run(async |engine| {
            let mut model = Model::new();
            let query = engine::ListQuery { limit: 1000, ..Default::default() };
            for item in engine.list(bucket, &query).await.unwrap().items {
                let found = get(&engine, bucket, item.name()).await;
                model.insert(item.name().to_vec(), found);
            }
            model
        });
        assert_eq!(store.check().damaged, 0, "seed {seed}: {:?}", store.check().findings);
        let lost = store.rebuild().report.findings;
        assert_eq!(lost, [], "seed {seed}");
        store.compare();
        assert_eq!(store.check().findings, [], "seed {seed}");
    }
}

#[test]
fn a_rebuild_needs_no_checkpoint() {
    let store = Store::filled(9, 900);
    for path in store.sim.disk().files() {
        if path.extension().is_some_and(|extension| extension == "ckp") {
            store.sim.disk().overwrite(&path, 0, &[0xA5; 8192]);
        }
    }
    assert!(!store.check().is_clean());
    assert_eq!(store.rebuild().report.findings, []);
    assert_eq!(store.check().findings, []);
    store.compare();
}

#[test]
fn a_rebuild_that_is_cut_short_leaves_the_store_as_it_was_or_rebuilt() {
    let mut io = 0;
    loop {
        let store = Store::filled(3, 120);
        store.sim.crash_before_io(store.sim.counters().ios + io);
        let platform = store.sim.platform();
        let options = RebuildOptions::default();
        let dirs = dirs();
        let run = rebuild(&platform, &dirs, options, Listener::default());
        let done = store.sim.run_until(run).is_ok();
        store.sim.forget_faults();
        store.sim.reboot();
        store.compare();
        assert_eq!(store.check().damaged, 0, "cut short at I/O {io}");
        if done {
            break;
        }
        io += 1 + io / 12;
    }
    assert!(io > 100);
}

#[test]
fn what_a_rebuild_cannot_read_is_named_and_nothing_older_takes_its_place() {
    let store = Store::filled(4, 900);
    let ranges = store.live_ranges();
    let is_record = |live: &&Live| {
        let (key, part) = live.named.clone().unwrap_or_default();
        part.is_none() && key.starts_with(b"key/") && !live.range.start.is_multiple_of(65_536)
    };
    let live = ranges.iter().find(is_record).unwrap();
    let (key, _) = live.named.clone().unwrap();
    // In its data, which stands at its end.
    store.sim.disk().flip_bit(&live.path, live.range.end - 1, 3);
    let report = store.rebuild().report;
    let lost = report.findings.iter().filter_map(|found| found.named.as_ref());
    assert_eq!(lost.map(|named| named.key.clone()).collect::<Vec<_>>(), std::slice::from_ref(&key));
    let mut model = store.model.clone();
    model.remove(&key);
    Store { model, ..store }.compare();
}

#[test]
fn a_dry_run_writes_nothing() {
    let store = Store::filled(2, 100);
    let (platform, before) = (store.sim.platform(), store.sim.counters());
    let options = RebuildOptions { dry_run: true };
    let dirs = dirs();
    let run = rebuild(&platform, &dirs, options, Listener::default());
    store.sim.run_until(run).unwrap().unwrap();
    assert_eq!(before.writes, store.sim.counters().writes);
}
