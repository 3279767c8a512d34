//! Versions of objects, delete markers, guards and amendments: seeded histories of one client against a
//! plain model of what each key holds, through restarts, power losses, checks and rebuilds.
#![allow(clippy::unwrap_used)]

use ringfort_engine as engine;

use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::verify::{Listener, RebuildOptions, check, rebuild};
use engine::{
    Amended, BucketId, Commit, CompletePart, Condition, ConditionFailure, Current, Deletion,
    Engine, EngineMetrics, Error, Etag, Guard, ListItem, ListQuery, Shared, Version, VersionItem,
    Versioning, VersionsQuery, Which,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 2, segment_bytes: 1 << 20, capacity_bytes: 20 << 20 };

const KEYS: [&str; 12] =
    ["a", "a/1", "a/2", "a/2/x", "a/3", "b", "b/1", "c", "c/\u{ff}", "c/\u{ff}/1", "d", "d/e/f/g"];

/// Larger bodies do not lie in their record.
const INLINE: usize = engine::limits::INLINE_BYTES_MAX;

/// What a guard and a change refuse with.
const LOCKED: ConditionFailure = ConditionFailure::Refused(7);

fn dirs() -> [PathBuf; 1] {
    [PathBuf::from("/data")]
}

fn options() -> EngineOptions {
    EngineOptions {
        fill_ahead_bytes: 64 << 10,
        checkpoint_log_bytes: 512 << 10,
        checkpoint_records: 300,
        ..EngineOptions::default()
    }
}

/// One version as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    current: Current,
    /// Bytes that are stored, and what they are made of.
    bytes: usize,
    byte: u8,
    /// Its bytes do not lie in its record.
    is_large: bool,
    attributes: Vec<u8>,
}

impl Known {
    fn is_locked(&self) -> bool {
        self.attributes.first() == Some(&b'L')
    }
}

/// Newest first.
type Model = BTreeMap<Vec<u8>, Vec<Known>>;

fn find(model: &Model, key: &[u8], which: Which) -> Option<Known> {
    let versions = model.get(key)?;
    match which {
        Which::Latest => versions.first().cloned(),
        Which::Null => versions.iter().find(|known| known.current.is_null).cloned(),
        Which::Exactly(version) => {
            versions.iter().find(|known| known.current.version == version).cloned()
        }
    }
}

fn forget(model: &mut Model, key: &[u8], version: Version) {
    if let Some(versions) = model.get_mut(key) {
        versions.retain(|known| known.current.version != version);
        if versions.is_empty() {
            model.remove(key);
        }
    }
}

fn add(model: &mut Model, key: &[u8], known: Known) {
    let versions = model.entry(key.to_vec()).or_default();
    if known.current.is_null {
        versions.retain(|known| !known.current.is_null);
    }
    assert!(versions.first().is_none_or(|first| first.current.version < known.current.version));
    versions.insert(0, known);
}

struct History {
    sim: Sim,
    random: u64,
    model: Model,
    bucket: BucketId,
    moved: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed, SimOptions::default());
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { sim, random, model: Model::new(), bucket: BucketId(0), moved: 0 }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    async fn start(platform: &SimPlatform) -> Engine<SimPlatform> {
        let store = open_or_format(platform, &dirs(), || FORMAT).await.unwrap();
        let layout = store.layout.clone();
        let engine = Engine::start(platform.clone(), layout, options(), Shared::new(1), 0).await;
        // The lock must outlive the engine.
        std::mem::forget(store);
        engine.unwrap()
    }

    /// One life of the store: some work, then an orderly stop or a power loss.
    fn live(&mut self, steps: u64) {
        let platform = self.sim.platform();
        let orderly = self.one_in(2);
        let sim = std::mem::replace(&mut self.sim, Sim::new(0, SimOptions::default()));
        let metrics = sim
            .run_until(async {
                let engine = Self::start(&platform).await;
                let known = engine.catalog().bucket("the-bucket").map(|bucket| bucket.id);
                self.bucket = match known {
                    Some(id) => id,
                    None => engine.create_bucket("the-bucket", BTreeMap::new()).await.unwrap().id,
                };
                self.compare_all(&engine).await;
                for step in 0..steps {
                    self.step(&engine).await;
                    if step % 16 == 15 {
                        self.compare(&engine).await;
                    }
                }
                self.compare_all(&engine).await;
                let metrics: EngineMetrics = engine.metrics();
                if orderly {
                    engine.close().await;
                }
                metrics
            })
            .unwrap();
        self.moved += metrics.relocated_records_total;
        self.sim = sim;
        if !orderly {
            self.sim.crash();
        }
        self.sim.reboot();
    }

    async fn step(&mut self, engine: &Engine<SimPlatform>) {
        let key = KEYS[self.below(KEYS.len() as u64) as usize].as_bytes();
        match self.below(20) {
            0..8 => self.put(engine, key).await,
            8..10 => self.mark(engine, key).await,
            10..14 => self.remove(engine, key).await,
            14..18 => self.amend(engine, key).await,
            18 => self.append(engine, key).await,
            _ => self.complete(engine, key).await,
        }
    }

    fn any_versioning(&mut self) -> Versioning {
        if self.one_in(3) { Versioning::Null } else { Versioning::Kept }
    }

    fn any_which(&mut self, key: &[u8]) -> Which {
        let versions: Vec<Version> =
            self.model.get(key).into_iter().flatten().map(|known| known.current.version).collect();
        match self.below(6) {
            0 => Which::Latest,
            1 => Which::Null,
            2 => Which::Exactly(Version(self.below(u64::MAX))),
            _ if versions.is_empty() => Which::Null,
            _ => Which::Exactly(versions[self.below(versions.len() as u64) as usize]),
        }
    }

    fn any_attributes(&mut self) -> Vec<u8> {
        let kind = if self.one_in(4) { b'L' } else { b'o' };
        let more = if self.one_in(10) { 20_000 } else { self.below(60) };
        std::iter::once(kind).chain((0..more).map(|at| at as u8)).collect()
    }

    /// A condition on the latest version, and whether it holds.
    fn any_condition(&mut self, judged: Option<&Known>) -> (Option<Condition>, bool) {
        let is_there = judged.is_some_and(|known| !known.current.is_marker);
        match self.below(8) {
            0 => (Some(Box::new(|c| c.is_none().then_some(()).ok_or(LOCKED))), !is_there),
            1 => (Some(Box::new(|c| c.is_some().then_some(()).ok_or(LOCKED))), is_there),
            _ => (None, true),
        }
    }

    async fn put(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let bytes = match self.below(12) {
            0 => 140_000 + self.below(100_000) as usize,
            1 => self.below(100_000) as usize,
            _ => self.below(3000) as usize,
        };
        let byte = self.below(256) as u8;
        let attributes = self.any_attributes();
        let shown_size = self.one_in(3).then(|| self.below(1 << 40));
        let versioning = self.any_versioning();
        let latest = find(&self.model, key, Which::Latest);
        let (condition, holds) = self.any_condition(latest.as_ref());
        let guard = self.one_in(2).then(guard);
        let null = find(&self.model, key, Which::Null);
        let is_kept = versioning == Versioning::Null
            && guard.is_some()
            && null.is_some_and(|null| null.is_locked());
        let etag = Etag { md5: [byte; 16], parts: 0 };
        let commit = Commit {
            etag,
            label: byte,
            attributes: attributes.clone(),
            condition,
            versioning,
            shown_size,
            guard,
        };
        let mut writer = match engine.writer(self.bucket, key, Some(bytes as u64)).await {
            Err(Error::OutOfSpace) => return,
            other => other.unwrap(),
        };
        let written = match fill(&mut writer, bytes, byte).await {
            Ok(()) => writer.finish(commit).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(committed) => {
                assert!(holds && !is_kept);
                let was_there = latest.is_some_and(|latest| !latest.current.is_marker);
                assert_eq!(committed.replaced, was_there);
                let current = Current {
                    size: shown_size.unwrap_or(bytes as u64),
                    etag,
                    version: committed.version,
                    label: byte,
                    is_null: versioning == Versioning::Null,
                    is_marker: false,
                };
                assert_eq!(committed.size, current.size);
                add(
                    &mut self.model,
                    key,
                    Known { current, bytes, byte, is_large: bytes > INLINE, attributes },
                );
            }
            Err(Error::Condition(LOCKED)) => assert!(!holds || is_kept),
            Err(Error::OutOfSpace) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// A version that an upload makes.
    async fn complete(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let (bytes, byte) = (1 + self.below(150_000) as usize, self.below(256) as u8);
        let versioning = self.any_versioning();
        let attributes = self.any_attributes();
        let upload = match engine.create_upload(self.bucket, key, Vec::new()).await {
            Err(Error::OutOfSpace) => return,
            other => other.unwrap(),
        };
        let writer = engine.part_writer(self.bucket, key, upload, 1, Some(bytes as u64)).await;
        let mut writer = match writer {
            Ok(writer) => writer,
            Err(Error::OutOfSpace) => {
                return engine.abort_upload(self.bucket, key, upload).await.unwrap();
            }
            Err(other) => panic!("{other}"),
        };
        let written = match fill(&mut writer, bytes, byte).await {
            Ok(()) => writer.finish(Commit::default()).await,
            Err(error) => Err(error),
        };
        let part = match written {
            Err(Error::OutOfSpace) => {
                return engine.abort_upload(self.bucket, key, upload).await.unwrap();
            }
            other => other.unwrap(),
        };
        let parts = vec![CompletePart { number: 1, version: part.version }];
        let etag = Etag { md5: [byte; 16], parts: 1 };
        let is_kept = versioning == Versioning::Null
            && find(&self.model, key, Which::Null).is_some_and(|null| null.is_locked());
        let commit = Commit {
            etag,
            label: byte,
            attributes: attributes.clone(),
            versioning,
            guard: Some(guard()),
            ..Commit::default()
        };
        match engine.complete_upload(self.bucket, key, upload, parts, commit).await {
            Ok(committed) => {
                assert!(!is_kept);
                let current = Current {
                    size: bytes as u64,
                    etag,
                    version: committed.version,
                    label: byte,
                    is_null: versioning == Versioning::Null,
                    is_marker: false,
                };
                add(
                    &mut self.model,
                    key,
                    Known { current, bytes, byte, is_large: true, attributes },
                );
            }
            Err(error) => {
                assert!(is_kept || matches!(error, Error::OutOfSpace), "{error}");
                engine.abort_upload(self.bucket, key, upload).await.unwrap();
            }
        }
    }

    /// The latest version grows, or is not one that can.
    async fn append(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let Some(latest) = find(&self.model, key, Which::Latest) else { return };
        let stale = self.one_in(6);
        let to = if stale { Version(1) } else { latest.current.version };
        let added = 1 + self.below(90_000) as usize;
        let opened = engine.appender(self.bucket, key, to, Some(added as u64)).await;
        let mut writer = match opened {
            Err(Error::OutOfSpace) => return,
            other => other.unwrap(),
        };
        let commit = Commit {
            etag: latest.current.etag,
            label: latest.current.label,
            attributes: latest.attributes.clone(),
            guard: Some(guard()),
            ..Commit::default()
        };
        let written = match fill(&mut writer, added, latest.byte).await {
            Ok(()) => writer.finish(commit).await,
            Err(error) => Err(error),
        };
        let may_grow = latest.current.is_null && latest.is_large && !stale;
        match written {
            Ok(committed) => {
                assert!(may_grow && !latest.is_locked());
                let bytes = latest.bytes + added;
                let (size, version) = (bytes as u64, committed.version);
                assert_eq!(committed.size, size);
                let current = Current { size, version, ..latest.current };
                add(&mut self.model, key, Known { current, bytes, ..latest });
            }
            Err(Error::Condition(ConditionFailure::PreconditionFailed)) => assert!(!may_grow),
            Err(Error::Condition(LOCKED)) => assert!(may_grow && latest.is_locked()),
            Err(Error::OutOfSpace) => {}
            Err(other) => panic!("{other}"),
        }
    }

    async fn mark(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let versioning = self.any_versioning();
        let latest = find(&self.model, key, Which::Latest);
        let (condition, holds) = self.any_condition(latest.as_ref());
        let deletion = Deletion::Mark(versioning);
        match engine.delete(self.bucket, key, deletion, condition).await {
            Ok(deleted) => {
                assert!(holds);
                let was_there = latest.is_some_and(|latest| !latest.current.is_marker);
                assert_eq!(deleted.existed, was_there);
                let current = deleted.current.unwrap();
                assert!(current.is_marker && current.is_null == (versioning == Versioning::Null));
                let known =
                    Known { current, bytes: 0, byte: 0, is_large: false, attributes: Vec::new() };
                add(&mut self.model, key, known);
            }
            Err(Error::Condition(LOCKED)) => assert!(!holds),
            Err(Error::OutOfSpace) => {}
            Err(other) => panic!("{other}"),
        }
    }

    async fn remove(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let which = self.any_which(key);
        let target = find(&self.model, key, which);
        let judged = match which {
            Which::Exactly(_) => target.clone(),
            _ => find(&self.model, key, Which::Latest),
        };
        let (condition, holds) = self.any_condition(judged.as_ref());
        let guard = self.one_in(2).then(guard);
        let is_kept = guard.is_some() && target.as_ref().is_some_and(Known::is_locked);
        let deletion = Deletion::Remove { which, guard };
        match engine.delete(self.bucket, key, deletion, condition).await {
            Ok(deleted) => {
                assert!(holds && !is_kept, "{which:?}");
                assert_eq!(deleted.existed, target.is_some());
                assert_eq!(deleted.current, target.as_ref().map(|target| target.current));
                if let Some(target) = target {
                    forget(&mut self.model, key, target.current.version);
                }
            }
            Err(Error::Condition(LOCKED)) => assert!(!holds || is_kept),
            Err(other) => panic!("{other}"),
        }
    }

    async fn amend(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let which = self.any_which(key);
        let target = find(&self.model, key, which);
        let (attributes, label) = (self.any_attributes(), self.below(256) as u8);
        let refuses = self.one_in(8);
        let expected = target.clone();
        let amended = Amended { attributes: attributes.clone(), label };
        let change = Box::new(move |current: &Current, attributes: &[u8]| {
            let expected = expected.unwrap();
            assert_eq!((*current, attributes), (expected.current, &expected.attributes[..]));
            if refuses { Err(LOCKED) } else { Ok(amended) }
        });
        match (engine.amend(self.bucket, key, which, change).await, target) {
            (Ok(current), Some(target)) => {
                assert_eq!(current, Current { label, ..target.current });
                let versions = self.model.get_mut(key).unwrap();
                let known = versions.iter_mut().find(|it| it.current.version == current.version);
                let known = known.unwrap();
                known.current = current;
                known.attributes = attributes;
            }
            (Err(Error::Condition(LOCKED)), Some(_)) => assert!(refuses),
            (Err(Error::Condition(ConditionFailure::NoSuchKey)), None) => {}
            (Err(Error::Marker), Some(target)) => assert!(target.current.is_marker),
            (Err(Error::OutOfSpace), _) => {}
            (other, target) => panic!("{other:?} for {target:?}"),
        }
    }

    /// Everything that the store says of some key, and listings of all.
    async fn compare(&mut self, engine: &Engine<SimPlatform>) {
        let key = KEYS[self.below(KEYS.len() as u64) as usize].as_bytes();
        self.compare_key(engine, key).await;
        let limit = 1 + self.below(12) as usize;
        let prefix = [&b""[..], b"a", b"a/", b"c", b"z"][self.below(5) as usize];
        let delimiter = [&b""[..], b"/"][self.below(2) as usize];
        self.compare_listings(engine, prefix, delimiter, limit).await;
    }

    async fn compare_all(&mut self, engine: &Engine<SimPlatform>) {
        for key in KEYS {
            self.compare_key(engine, key.as_bytes()).await;
        }
        self.compare_listings(engine, b"", b"", 7).await;
        self.compare_listings(engine, b"", b"/", 1000).await;
        let all = self.model.values().flatten();
        let objects: Vec<_> = all.clone().filter(|known| !known.current.is_marker).collect();
        let usage = engine.bucket_usage(self.bucket).await.unwrap();
        assert_eq!(usage.objects, objects.len() as u64);
        assert_eq!(usage.markers, (all.count() - objects.len()) as u64);
        assert_eq!(usage.bytes, objects.iter().map(|known| known.current.size).sum::<u64>());
    }

    async fn compare_key(&mut self, engine: &Engine<SimPlatform>, key: &[u8]) {
        let versions: Vec<Which> = self
            .model
            .get(key)
            .into_iter()
            .flatten()
            .map(|known| Which::Exactly(known.current.version))
            .collect();
        let others = [Which::Latest, Which::Null, Which::Exactly(Version(1))];
        for which in versions.into_iter().chain(others) {
            let known = find(&self.model, key, which);
            let current = known.as_ref().map(|known| known.current);
            assert_eq!(engine.lookup(self.bucket, key, which).await.unwrap(), current);
            let reader = engine.open(self.bucket, key, which).await.unwrap();
            assert_eq!(reader.is_some(), known.is_some());
            let (Some(mut reader), Some(known)) = (reader, known) else { continue };
            assert_eq!(reader.info().current, known.current);
            assert_eq!(reader.info().attributes, known.attributes);
            assert_eq!(reader.info().stored_bytes, known.bytes as u64);
            let mut bytes = 0;
            while let Some(chunk) = reader.next().await.unwrap() {
                assert!(chunk.as_ref().iter().all(|byte| *byte == known.byte));
                bytes += chunk.as_ref().len();
            }
            assert_eq!(bytes, known.bytes);
        }
    }

    async fn compare_listings(
        &self,
        engine: &Engine<SimPlatform>,
        prefix: &[u8],
        delimiter: &[u8],
        limit: usize,
    ) {
        let (mut items, mut after) = (Vec::new(), Vec::new());
        loop {
            let (prefix, delimiter) = (prefix.to_vec(), delimiter.to_vec());
            let query = ListQuery { prefix, delimiter, after: after.clone(), limit };
            let page = engine.list(self.bucket, &query).await.unwrap();
            assert!(page.items.len() == limit || !page.truncated);
            items.extend(page.items);
            if !page.truncated {
                break;
            }
            after = items.last().unwrap().name().to_vec();
        }
        assert_eq!(items, self.expected(prefix, delimiter), "{prefix:?} {delimiter:?} {limit}");
        let (mut items, mut after, mut after_version) = (Vec::new(), Vec::new(), None);
        loop {
            let (prefix, delimiter) = (prefix.to_vec(), delimiter.to_vec());
            let after_key = std::mem::take(&mut after);
            let query = VersionsQuery { prefix, delimiter, after: after_key, after_version, limit };
            let page = engine.list_versions(self.bucket, &query).await.unwrap();
            assert!(page.items.len() == limit || !page.truncated);
            items.extend(page.items);
            if !page.truncated {
                break;
            }
            (after, after_version) = match items.last().unwrap() {
                VersionItem::Version { key, current, .. } => (key.clone(), Some(current.version)),
                VersionItem::CommonPrefix(prefix) => (prefix.clone(), None),
            };
        }
        let expected = self.expected_versions(prefix, delimiter);
        assert_eq!(items, expected, "{prefix:?} {delimiter:?} {limit}");
    }

    fn expected(&self, prefix: &[u8], delimiter: &[u8]) -> Vec<ListItem> {
        let mut items = Vec::new();
        let mut prefixes = BTreeSet::new();
        for (key, versions) in self.model.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let current = versions[0].current;
            if current.is_marker {
                continue;
            }
            match common(key, prefix, delimiter) {
                Some(common) => {
                    if prefixes.insert(common.clone()) {
                        items.push(ListItem::CommonPrefix(common));
                    }
                }
                None => items.push(ListItem::Key { key: key.clone(), current }),
            }
        }
        items.sort_by(|a, b| a.name().cmp(b.name()));
        items
    }

    fn expected_versions(&self, prefix: &[u8], delimiter: &[u8]) -> Vec<VersionItem> {
        let mut items = Vec::new();
        let mut prefixes = BTreeSet::new();
        for (key, versions) in self.model.iter().filter(|(key, _)| key.starts_with(prefix)) {
            match common(key, prefix, delimiter) {
                Some(common) => {
                    if prefixes.insert(common.clone()) {
                        items.push(VersionItem::CommonPrefix(common));
                    }
                }
                None => items.extend(versions.iter().enumerate().map(|(at, known)| {
                    let (key, current) = (key.clone(), known.current);
                    VersionItem::Version { key, current, is_latest: at == 0 }
                })),
            }
        }
        items.sort_by(|a, b| a.name().cmp(b.name()));
        items
    }

    fn check(&self, seed: u64) {
        let platform = self.sim.platform();
        let run = async { check(&platform, &dirs(), Listener::default()).await.unwrap() };
        let report = self.sim.run_until(run).unwrap();
        assert_eq!(report.findings, [], "seed {seed}");
    }

    fn rebuild(&self, seed: u64) {
        let platform = self.sim.platform();
        let run = async {
            let options = RebuildOptions::default();
            rebuild(&platform, &dirs(), options, Listener::default()).await.unwrap()
        };
        let rebuilt = self.sim.run_until(run).unwrap();
        assert_eq!(rebuilt.report.findings, [], "seed {seed}");
    }
}

fn guard() -> Guard {
    Box::new(|attributes| {
        let is_locked = attributes.first() == Some(&b'L');
        if is_locked { Err(LOCKED) } else { Ok(()) }
    })
}

fn common(key: &[u8], prefix: &[u8], delimiter: &[u8]) -> Option<Vec<u8>> {
    let rest = &key[prefix.len()..];
    let at = rest.iter().position(|byte| delimiter == [*byte])?;
    Some(key[..=prefix.len() + at].to_vec())
}

async fn fill(
    writer: &mut engine::ObjectWriter<SimPlatform>,
    bytes: usize,
    byte: u8,
) -> Result<(), Error> {
    let mut left = bytes;
    while left > 0 {
        let spare = writer.spare();
        let count = left.min(spare.len());
        spare[..count].fill(byte);
        writer.advance(count).await?;
        left -= count;
    }
    Ok(())
}

fn check_histories(seeds: std::ops::Range<u64>) {
    let mut moved = 0;
    for seed in seeds {
        let mut history = History::new(seed);
        for life in 0..5 {
            history.live(300);
            history.check(seed);
            if life % 2 == 1 {
                history.rebuild(seed);
                history.check(seed);
            }
        }
        history.live(0);
        moved += history.moved;
    }
    assert!(moved > 0, "compaction has never run");
}

#[test]
fn versions_are_what_the_model_says_through_restarts_losses_and_rebuilds() {
    check_histories(1..9);
}

#[test]
#[ignore = "minutes: many more of the same"]
fn many_histories_of_versions() {
    check_histories(1000..3000);
}
