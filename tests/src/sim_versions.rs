//! Simulated clients of a bucket with versions: they add, mark, remove, amend and look, and tell the model
//! of each answer.
//!
//! Invariants: what names a version's attributes is a value that was offered, so a reader can tell which
//! were given to it and whether they are whole; a few keys only, so that clients meet.

use crate::model::{Guard, OpId, Register, ValueId};
use crate::model_versions::{Held, Op, Outcome, Pick, Seen, Versions, is_locked, label_of};
use crate::sim_client::Client;
use crate::sim_world::{Place, Verdict, World};
use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::{
    Amended, BucketId, Commit, ConditionFailure, Current, Deletion, Error, ListQuery, ObjectReader,
    Version, VersionItem, Versioning, VersionsQuery, Which,
};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bucket in which versions are kept.
pub const BUCKET: &str = "gamma";

/// Keys of it.
const KEYS: usize = 4;

/// A key with more versions is rather taken from than added to.
const VERSIONS_MANY: usize = 5;

/// Unanswered operations of a key beyond which no client begins another one there.
const UNANSWERED_MAX: usize = 4;

/// Of values whose name is a multiple of this another size is told than is stored.
const SHOWN_EVERY: ValueId = 5;

impl World {
    fn versions<T>(&self, key: usize, use_it: impl FnOnce(&mut Register<Versions>) -> T) -> T {
        use_it(self.versions.borrow_mut().entry(key).or_default())
    }

    fn begin_of_versions(&self, key: usize, op: Op) -> OpId {
        self.versions(key, |register| register.begin(op))
    }

    fn end_of_versions(&self, key: usize, op: OpId, result: Result<Outcome, &Error>) {
        let name = self.name_of_versions(key);
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(Error::Marker) => Outcome::Refused,
            Err(error) => match self.judge_error(error, &name) {
                Verdict::Refused => Outcome::Refused,
                Verdict::NoEffect => {
                    let ended = self.versions(key, |register| register.end_without_effect(op));
                    return self.check(ended, &name);
                }
                Verdict::Unknown => return,
            },
        };
        self.answered.set(self.answered.get() + 1);
        let ended = self.versions(key, |register| register.end(op, outcome));
        self.check(ended, &name);
    }

    fn name_of_versions(&self, key: usize) -> String {
        format!("{BUCKET}/{}", String::from_utf8_lossy(&self.keys()[key]))
    }

    fn shown_size(&self, id: ValueId) -> Option<u64> {
        let size = self.value(id).map_or(0, |value| value.size);
        id.is_multiple_of(SHOWN_EVERY).then_some(size + 1000)
    }

    /// Which version an index entry stands for; complains if it is none, or not as it was offered. Of its
    /// attributes only the label is known.
    fn recognise_version(&self, current: &Current, what: &str) -> Option<Seen> {
        let is_null = current.is_null;
        if current.is_marker {
            if current.size != 0 || current.label != 0 {
                self.fail(format!("{what}: a delete marker with a size or a label: {current:?}"));
            }
            return Some(Seen { id: 0, attributes: 0, is_null });
        }
        let mut id = [0; 8];
        id.copy_from_slice(&current.etag.md5[..8]);
        let id = ValueId::from_le_bytes(id);
        let Some(value) = self.value(id) else {
            self.fail(format!("{what}: a value that was never offered: {current:?}"));
            return None;
        };
        let is_as_offered = current.etag == self.etag(id)
            && current.size == self.shown_size(id).unwrap_or(value.size)
            && self.version_of(id).is_none_or(|version| version == current.version);
        if !is_as_offered {
            self.fail(format!("{what}: value {id} was offered as {value:?}, found {current:?}"));
        }
        self.learn_version(id, current.version);
        Some(Seen { id, attributes: current.label.into(), is_null })
    }

    /// The same, with all that stands in the record.
    fn recognise_reader(
        &self,
        reader: &ObjectReader<SimPlatform>,
        what: &str,
    ) -> Option<(Seen, u64)> {
        let info = reader.info();
        let seen = self.recognise_version(&info.current, what)?;
        if info.current.is_marker {
            if !info.attributes.is_empty() || info.stored_bytes != 0 {
                self.fail(format!("{what}: a delete marker that holds something: {info:?}"));
            }
            return Some((seen, 0));
        }
        let attributes = attributes_of(&info.attributes);
        let size = self.value(seen.id).map_or(0, |value| value.size);
        if info.attributes != self.attributes(attributes)
            || label_of(attributes) != info.current.label
            || info.stored_bytes != size
        {
            self.fail(format!("{what}: value {} has what it was never given: {info:?}", seen.id));
        }
        Some((Seen { attributes, ..seen }, size))
    }
}

/// The name of attributes, from their bytes.
fn attributes_of(bytes: &[u8]) -> ValueId {
    bytes.first_chunk::<8>().map_or(0, |bytes| ValueId::from_le_bytes(*bytes))
}

/// Refuses where the attributes are locked.
fn guard() -> engine::Guard {
    Box::new(|attributes| match is_locked(attributes_of(attributes)) {
        true => Err(ConditionFailure::Refused(1)),
        false => Ok(()),
    })
}

impl Client<'_> {
    fn bucket_of_versions(&self) -> Option<BucketId> {
        self.engine().catalog().bucket(BUCKET).map(|bucket| bucket.id)
    }

    /// Does one random thing with a key that has versions.
    pub(crate) async fn work_on_versions(&self) {
        let key = self.world.below(KEYS as u64) as usize;
        let Some(bucket) = self.bucket_of_versions() else {
            return self.world.fail(format!("bucket {BUCKET} has vanished"));
        };
        if self.world.versions(key, |register| register.unanswered()) >= UNANSWERED_MAX {
            return self.platform().sleep(Duration::from_millis(1)).await;
        }
        let held = self.possible(key).len();
        match self.world.below(20) {
            0..7 if held < VERSIONS_MANY => self.put_version(bucket, key).await,
            7..9 if held < VERSIONS_MANY => self.mark_version(bucket, key).await,
            0..12 => self.remove_version(bucket, key).await,
            12..16 => self.amend_version(bucket, key).await,
            16..18 => drop(self.read_version(bucket, key, self.any_pick(key), false).await),
            _ => drop(self.list_versions_of(bucket, key, 1000).await),
        }
    }

    /// One of the states that are possible.
    fn possible(&self, key: usize) -> Vec<Held> {
        let mut possible: Vec<_> =
            self.world.versions(key, |register| register.possible()).into_iter().collect();
        let at = self.world.below(possible.len().max(1) as u64) as usize;
        if possible.is_empty() { Vec::new() } else { possible.swap_remove(at) }
    }

    /// A version, if it is known by what the engine calls it.
    fn any_pick(&self, key: usize) -> Pick {
        let mut known = self.possible(key);
        known.retain(|held| self.world.version_of(held.id).is_some());
        match self.world.below(5) {
            0 => Pick::Latest,
            1 => Pick::Null,
            _ if known.is_empty() => Pick::Null,
            _ => Pick::Exactly(known[self.world.below(known.len() as u64) as usize].id),
        }
    }

    fn which(&self, pick: Pick) -> Which {
        match pick {
            Pick::Latest => Which::Latest,
            Pick::Null => Which::Null,
            Pick::Exactly(id) => {
                Which::Exactly(self.world.version_of(id).unwrap_or(Version(u64::MAX)))
            }
        }
    }

    fn any_condition(&self, key: usize) -> Guard {
        let objects: Vec<ValueId> =
            self.possible(key).iter().filter(|held| !held.is_marker).map(|held| held.id).collect();
        match self.world.below(12) {
            0 => Guard::Absent,
            1 => Guard::Present,
            2 if !objects.is_empty() => {
                Guard::Equals(objects[self.world.below(objects.len() as u64) as usize])
            }
            _ => Guard::Always,
        }
    }

    async fn put_version(&self, bucket: BucketId, key: usize) {
        let (world, condition) = (self.world, self.any_condition(key));
        let id = world.offer(world.any_size());
        let is_null = world.one_in(3);
        let held = Held { id, attributes: id, is_null, is_marker: false };
        let op = world.begin_of_versions(key, Op::Add { held, condition });
        let versioning = if is_null { Versioning::Null } else { Versioning::Kept };
        let commit =
            Commit { versioning, shown_size: world.shown_size(id), ..world.commit(id, condition) };
        let body = world.body(id);
        let store = async {
            let name = &world.keys()[key];
            let mut writer = self.engine().writer(bucket, name, Some(body.len() as u64)).await?;
            self.feed(&mut writer, &body).await?;
            writer.finish(commit).await
        };
        let result = store.await;
        if let Ok(committed) = &result {
            world.learn_version(id, committed.version);
        }
        let outcome = result.as_ref().map(|it| Outcome::Done { existed: it.replaced });
        world.end_of_versions(key, op, outcome);
    }

    async fn mark_version(&self, bucket: BucketId, key: usize) {
        let (world, condition) = (self.world, self.any_condition(key));
        let id = world.offer(0);
        let is_null = world.one_in(3);
        let held = Held { id, attributes: 0, is_null, is_marker: true };
        let op = world.begin_of_versions(key, Op::Add { held, condition });
        let versioning = if is_null { Versioning::Null } else { Versioning::Kept };
        let (name, asked) = (&world.keys()[key], world.condition(condition));
        let result = self.engine().delete(bucket, name, Deletion::Mark(versioning), asked).await;
        if let Ok(deleted) = &result {
            match deleted.current.filter(|it| it.is_marker && it.is_null == is_null) {
                Some(marker) => world.learn_version(id, marker.version),
                None => world.fail(format!("a marker was made and not given: {deleted:?}")),
            }
        }
        let outcome = result.as_ref().map(|it| Outcome::Done { existed: it.existed });
        world.end_of_versions(key, op, outcome);
    }

    async fn remove_version(&self, bucket: BucketId, key: usize) {
        let (world, condition) = (self.world, self.any_condition(key));
        let (pick, guarded) = (self.any_pick(key), world.one_in(2));
        let which = self.which(pick);
        let op = world.begin_of_versions(key, Op::Remove { pick, condition, guarded });
        let deletion = Deletion::Remove { which, guard: guarded.then(guard) };
        let (name, asked) = (&world.keys()[key], world.condition(condition));
        let result = self.engine().delete(bucket, name, deletion, asked).await;
        if let Ok(deleted) = &result {
            let is_right = deleted.current.is_some() == deleted.existed
                && match (deleted.current, which) {
                    (Some(current), Which::Exactly(version)) => current.version == version,
                    (Some(current), Which::Null) => current.is_null,
                    _ => true,
                };
            if !is_right {
                world.fail(format!("{pick:?} was removed, and the answer was {deleted:?}"));
            }
        }
        let outcome = result.as_ref().map(|it| Outcome::Done { existed: it.existed });
        world.end_of_versions(key, op, outcome);
    }

    async fn amend_version(&self, bucket: BucketId, key: usize) {
        let world = self.world;
        let (pick, attributes) = (self.any_pick(key), world.offer(0));
        let op = world.begin_of_versions(key, Op::Amend { pick, attributes });
        let amended =
            Amended { attributes: world.attributes(attributes), label: label_of(attributes) };
        let before = Arc::new(AtomicU64::new(0));
        let found = before.clone();
        let change = Box::new(move |_: &Current, attributes: &[u8]| {
            found.store(attributes_of(attributes), Ordering::Relaxed);
            Ok(amended)
        });
        let name = &world.keys()[key];
        let result = self.engine().amend(bucket, name, self.which(pick), change).await;
        let outcome = result.as_ref().map(|_| Outcome::Amended(before.load(Ordering::Relaxed)));
        world.end_of_versions(key, op, outcome);
    }

    /// Opens a version, tells the model what it is, and compares its bytes. What it was, if that was
    /// answered.
    async fn read_version(
        &self,
        bucket: BucketId,
        key: usize,
        pick: Pick,
        record_only: bool,
    ) -> Option<Option<Seen>> {
        let (world, name) = (self.world, self.world.name_of_versions(key));
        let op = world.begin_of_versions(key, Op::Read(pick));
        let (bytes, which) = (&world.keys()[key], self.which(pick));
        let opened = match record_only {
            true => self.engine().head(bucket, bytes, which).await,
            false => self.engine().open(bucket, bytes, which).await,
        };
        match opened {
            Ok(None) => {
                world.end_of_versions(key, op, Ok(Outcome::Saw(None)));
                Some(None)
            }
            Ok(Some(mut reader)) => {
                let (seen, size) = world.recognise_reader(&reader, &name)?;
                world.end_of_versions(key, op, Ok(Outcome::Saw(Some(seen))));
                if size > 0 && !record_only {
                    let place: Place = (0, key);
                    self.verify(&mut reader, place, seen.id, world.one_in(3)).await;
                }
                Some(Some(seen))
            }
            Err(error) => {
                world.judge_error(&error, &name);
                world.versions(key, |register| register.drop_read(op));
                None
            }
        }
    }

    /// Lists a key's versions, and tells the model if that was done in one step. What they are called.
    async fn list_versions_of(
        &self,
        bucket: BucketId,
        key: usize,
        limit: usize,
    ) -> Option<Vec<Which>> {
        let (world, name) = (self.world, self.world.name_of_versions(key));
        let bytes = &world.keys()[key];
        let op = world.begin_of_versions(key, Op::List);
        let mut rows: Vec<(Current, bool)> = Vec::new();
        let mut query = VersionsQuery { prefix: bytes.clone(), limit, ..VersionsQuery::default() };
        let is_whole = Cell::new(true);
        loop {
            let page = match self.engine().list_versions(bucket, &query).await {
                Ok(page) => page,
                Err(error) => {
                    world.judge_error(&error, &name);
                    world.versions(key, |register| register.drop_read(op));
                    return None;
                }
            };
            let mut is_over = !page.truncated;
            for item in page.items {
                let VersionItem::Version { key, current, is_latest } = item else { continue };
                is_over |= key != *bytes;
                if key == *bytes {
                    query.after_version = Some(current.version);
                    query.after.clone_from(bytes);
                    rows.push((current, is_latest));
                }
            }
            if is_over {
                break;
            }
            is_whole.set(false);
        }
        let is_descending = rows.array_windows().all(|[(a, _), (b, _)]| a.version > b.version);
        let is_marked = rows.iter().enumerate().all(|(at, (_, latest))| (at == 0) == *latest);
        if is_whole.get() && !(is_descending && is_marked) {
            world.fail(format!("{name}: versions out of order: {rows:?}"));
        }
        let seen: Option<Vec<Seen>> =
            rows.iter().map(|(current, _)| world.recognise_version(current, &name)).collect();
        match seen {
            Some(seen) => world.end_of_versions(key, op, Ok(Outcome::SawAll(seen))),
            None => world.versions(key, |register| register.drop_read(op)),
        }
        Some(rows.iter().map(|(current, _)| Which::Exactly(current.version)).collect())
    }

    /// Looks at every version of every key while nobody else is there, and at the listing of keys.
    pub(crate) async fn audit_versions(&self) {
        let Some(bucket) = self.bucket_of_versions() else { return };
        let mut present = BTreeSet::new();
        let mut is_sure = true;
        for key in 0..KEYS {
            self.list_versions_of(bucket, key, 3).await;
            let latest = self.read_version(bucket, key, Pick::Latest, false).await;
            self.read_version(bucket, key, Pick::Null, true).await;
            for held in self.possible(key) {
                if self.world.version_of(held.id).is_some() {
                    self.read_version(bucket, key, Pick::Exactly(held.id), false).await;
                }
            }
            match latest {
                Some(Some(seen)) if seen.id != 0 => {
                    present.insert(self.world.keys()[key].clone());
                }
                Some(_) => {}
                None => is_sure = false,
            }
        }
        let query = ListQuery { limit: 1000, ..ListQuery::default() };
        match self.engine().list(bucket, &query).await {
            Ok(page) => {
                let listed: BTreeSet<Vec<u8>> =
                    page.items.iter().map(|item| item.name().to_vec()).collect();
                if is_sure && listed != present {
                    self.world.fail(format!("{BUCKET}: listed {listed:?}, there are {present:?}"));
                }
            }
            Err(error) => drop(self.world.judge_error(&error, BUCKET)),
        }
    }

    /// Removes every version; the errors that came of it.
    pub(crate) async fn clear_versions(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        let Some(bucket) = self.bucket_of_versions() else { return errors };
        for key in 0..KEYS {
            let versions = self.list_versions_of(bucket, key, 3).await.unwrap_or_default();
            for which in versions {
                let deletion = Deletion::Remove { which, guard: None };
                let name = &self.world.keys()[key];
                errors.extend(self.engine().delete(bucket, name, deletion, None).await.err());
            }
        }
        errors
    }
}
