//! Renaming: an object gets another key of its bucket, with all that it is but its version.
//!
//! The two keys may lie in shards on different drives, so the bytes are copied first, as an upload would
//! bring them. Then both keys are held, and four writes follow each other, each durable before the next:
//!
//! 1. an entry of the catalogue, the intent, which names both keys, the version that goes and the version
//!    that the new record will have;
//! 2. the record under the new key;
//! 3. the tombstone of the former key;
//! 4. the removal of the intent.
//!
//! A start that finds an intent looks for the record of 2. If it is there, 3 follows, else nothing has
//! happened. So after a crash the object has one of its keys, never both and never none.
//!
//! Invariants: from before 2 until 3 is published the former key answers nobody, so whoever has seen the
//! object under its new key does not find it under the former one. Only that very version goes, and only
//! for that very record: what was written to either key after a failure is not touched.
//!
//! Not here: keys with several versions. A listing that is under way meanwhile may show both names or none.
//!
//! Budget: a copy of the bytes; four flushes, one after the other, and eight hops at most.

use crate::budget::Permit;
use crate::catalog::Catalog;
use crate::engine::{Engine, check_attributes};
use crate::error::{ConditionFailure, Error, Result};
use crate::format::Malformed;
use crate::format::codec::{Reader, Write};
use crate::format::manifest::ManifestPart;
use crate::format::record::{Record, RecordKind};
use crate::index_key;
use crate::platform::Platform;
use crate::read::{Chunk, ObjectReader};
use crate::removal::HeldKey;
use crate::request::{BucketChange, Reply, Request, mismatched};
use crate::segments::Need;
use crate::shard::{Body, Committed, Put, Shard, Target, judge};
use crate::store::Mutation;
use crate::types::{BucketId, Commit, Condition, Current, Deletion, Guard, Version, Which};
use crate::wait::to_the_end;
use crate::writer::{ObjectWriter, Sealed};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64;

/// What the names of intents begin with in the catalogue; no bucket's name begins with a dot.
const PREFIX: &str = ".rename/";

/// Under which an intent has its value.
const VALUE: u16 = 0;
/// Set where the new record was found, and the former key could not be asked.
const HAPPENED: u16 = 1;

// --- The copy --------------------------------------------------------------------------------------

/// The bytes of an object once more, to become an object of another key; dropped, it leaves nothing.
#[derive(Debug)]
pub struct ObjectCopy<P: Platform> {
    shard: u16,
    bucket: BucketId,
    key: Vec<u8>,
    /// What was copied.
    source: Version,
    attributes_hash: u64,
    pieces: Vec<(ManifestPart, Sealed<P>)>,
}

/// The bytes of an object that is read, in any portions.
struct Portions<P: Platform> {
    reader: ObjectReader<P>,
    chunk: Option<Chunk<P>>,
    given: usize,
}

impl<P: Platform> Portions<P> {
    /// Fills `writer` up to so many bytes.
    async fn fill(&mut self, writer: &mut ObjectWriter<P>, bytes: u64) -> Result<()> {
        while writer.written() < bytes {
            let chunk = self.chunk.as_ref().map_or(&[][..], AsRef::as_ref);
            let rest = &chunk[self.given..];
            if rest.is_empty() {
                let next = self.reader.next().await?;
                self.chunk =
                    Some(next.ok_or_else(|| Error::Corrupt("an object ended early".into()))?);
                self.given = 0;
                continue;
            }
            let most = usize::try_from(bytes - writer.written()).unwrap_or(usize::MAX);
            let spare = writer.spare();
            let count = rest.len().min(spare.len()).min(most);
            spare[..count].copy_from_slice(&rest[..count]);
            self.given += count;
            writer.advance(count).await?;
        }
        Ok(())
    }
}

impl<P: Platform> ObjectCopy<P> {
    /// The body of the new record; its owner gives back the space if it refuses it.
    fn into_body(self) -> (Body, Vec<Option<Permit>>) {
        let (bodies, permits): (Vec<_>, Vec<_>) = self
            .pieces
            .into_iter()
            .map(|(part, sealed)| {
                let (body, permit) = sealed.into_body();
                ((part, body), permit)
            })
            .unzip();
        let mut parts = Vec::with_capacity(bodies.len());
        for (part, body) in bodies {
            match body {
                Body::Inline(bytes) => return (Body::Inline(bytes), permits),
                Body::Extents(written) => {
                    parts.extend(written.into_iter().map(|written| ManifestPart {
                        number: part.number,
                        attributes: part.attributes.clone(),
                        ..written
                    }))
                }
            }
        }
        (Body::Extents(parts), permits)
    }
}

// --- The intent ------------------------------------------------------------------------------------

/// A rename that is to happen whole or not at all.
///
/// ```text
/// bucket: u32, version of the object: u64, version of the new record: u64, xxh3 of the object's attributes: u64,
/// former key and new key, each behind its length as u32; little-endian
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
struct Intent {
    bucket: BucketId,
    from: Vec<u8>,
    /// The version that goes.
    version: Version,
    to: Vec<u8>,
    /// The version that the record of the new key has, and no other record of its shard.
    reserved: Version,
    /// Of the attributes that the object had: whoever changes them after a failed rename is not ignored.
    attributes_hash: u64,
}

impl Intent {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(self.bucket.0);
        bytes.put_u64(self.version.0);
        bytes.put_u64(self.reserved.0);
        bytes.put_u64(self.attributes_hash);
        bytes.put_string(&self.from);
        bytes.put_string(&self.to);
        bytes
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let bucket = BucketId(reader.u32()?);
        let (version, reserved) = (Version(reader.u64()?), Version(reader.u64()?));
        let attributes_hash = reader.u64()?;
        let (from, to) = (reader.string()?.to_vec(), reader.string()?.to_vec());
        if !reader.is_empty() {
            return Err(Malformed("an intent is too long"));
        }
        Ok(Self { bucket, from, version, to, reserved, attributes_hash })
    }
}

// --- The steps of a shard --------------------------------------------------------------------------

/// What a rename asks of the shards of its keys.
pub(crate) enum RenameStep {
    /// Waits until there is room for what is to be written, as long as others wait for it: once a key is
    /// held, nobody waits.
    AwaitRoom { need: Need },
    /// Holds the former key, if that version is its latest and the guard lets it go.
    HoldSource { bucket: BucketId, key: Vec<u8>, version: Version, guard: Guard },
    /// Holds the new key, if the condition allows that it is written.
    HoldTarget { bucket: BucketId, key: Vec<u8>, condition: Option<Condition> },
    /// A held key answers no reader any more.
    Hide { hold: u64 },
    /// Removes the null version of a held key.
    Remove { hold: u64, bucket: BucketId, key: Vec<u8> },
}

/// Keys of one shard that renames hold.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    last: u64,
    /// Index keys.
    held: BTreeMap<u64, Vec<u8>>,
    /// Those of them that answer no readers.
    hidden: HashSet<Vec<u8>>,
}

impl<P: Platform> Shard<P> {
    pub(crate) async fn rename_step(self: &Rc<Self>, step: RenameStep) -> Result<Reply> {
        match step {
            RenameStep::AwaitRoom { need } => {
                self.await_turn(need, &[]).await;
                Ok(Reply::Done)
            }
            RenameStep::HoldSource { bucket, key, version, guard } => {
                let index_key = index_key::object(bucket, &key);
                let held = self.hold_key_now(&index_key).await?;
                self.check_tombstone(bucket, &key)?;
                let latest = self.state.borrow().published(&index_key);
                let failed = |failure| Err(Error::Condition(failure));
                match latest.filter(|latest| !latest.is_marker) {
                    Some(latest) if latest.is_null && latest.version == version => {}
                    Some(_) => return failed(ConditionFailure::Superseded),
                    None => return failed(ConditionFailure::NoSuchKey),
                }
                self.ask_guard_of_null(Some(&guard), &index_key).await?;
                Ok(self.keep_hold(held))
            }
            RenameStep::HoldTarget { bucket, key, condition } => {
                let index_key = index_key::object(bucket, &key);
                let held = self.hold_key_now(&index_key).await?;
                let record = Record::new(RecordKind::Object, bucket.0, key);
                self.check_writable(&record, Need::Data)?;
                let latest = self.state.borrow().published(&index_key);
                if let Some(failure) = judge(condition.as_ref(), latest.as_ref()) {
                    return Err(Error::Condition(failure));
                }
                Ok(self.keep_hold(held))
            }
            RenameStep::Hide { hold } => {
                let Holds { held, hidden, .. } = &mut *self.holds.borrow_mut();
                hidden.extend(held.get(&hold).cloned());
                Ok(Reply::Done)
            }
            RenameStep::Remove { hold, bucket, key } => {
                let index_key = index_key::object(bucket, &key);
                if !self.holds.borrow().held.contains_key(&hold) {
                    return Err(mismatched());
                }
                self.check_tombstone(bucket, &key)?;
                let record = Record::new(RecordKind::Tombstone, bucket.0, key);
                let (_, ticket) = self.stage(record, &index_key, Need::Reserve)?;
                self.outcome(ticket.wait().await)?;
                Ok(Reply::Done)
            }
        }
    }

    /// Refuses what could not be ended.
    fn check_tombstone(&self, bucket: BucketId, key: &[u8]) -> Result<()> {
        let record = Record::new(RecordKind::Tombstone, bucket.0, key.to_vec());
        self.check_writable(&record, Need::Reserve)
    }

    /// Holds a key beyond this request, until [`Self::end_hold`]. The version is later than all that the
    /// key has, and is given to nothing else.
    fn keep_hold(&self, held: HeldKey<P>) -> Reply {
        let reserved = self.clock.next(&self.platform);
        let mut holds = self.holds.borrow_mut();
        holds.last += 1;
        let hold = holds.last;
        holds.held.insert(hold, held.into_key());
        Reply::Held { hold, reserved }
    }

    pub(crate) fn end_hold(&self, hold: u64) {
        let ended = self.holds.borrow_mut().held.remove(&hold);
        if let Some(index_key) = ended {
            self.holds.borrow_mut().hidden.remove(&index_key);
            self.release_key(&index_key);
        }
    }

    /// Whether readers have to wait for what becomes of a key.
    pub(crate) fn is_hidden(&self, bucket: BucketId, key: &[u8]) -> bool {
        let Holds { hidden, .. } = &*self.holds.borrow();
        !hidden.is_empty() && hidden.contains(&index_key::object(bucket, key))
    }

    pub(crate) async fn await_shown(&self, bucket: BucketId, key: &[u8]) {
        let shown = || (!self.is_hidden(bucket, key)).then_some(());
        self.relocation_event.wait_until(shown).await;
    }

    /// Writes the record of a key that is held by who asks.
    pub(crate) async fn write_held(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        version: Version,
    ) -> Result<(Version, Option<Current>, u64)> {
        self.check_writable(&record, Need::Data)?;
        let (before, size) = (self.state.borrow().published(index_key), record.size);
        let ticket = self.stage_as(version, record, index_key, Need::Data)?;
        self.outcome(ticket.wait().await).map(|()| (version, before, size))
    }
}

// --- The rename ------------------------------------------------------------------------------------

/// A key that is held in its shard; let go when dropped.
#[derive(Debug)]
struct RemoteHold<P: Platform> {
    engine: Engine<P>,
    shard: u16,
    hold: u64,
    reserved: Version,
}

impl<P: Platform> Drop for RemoteHold<P> {
    fn drop(&mut self) {
        self.engine.tell(self.shard, Request::EndHold(self.hold));
    }
}

impl<P: Platform> Engine<P> {
    /// Copies what is stored of an object, part by part, to become an object of the key `to` of the same
    /// bucket by [`Self::rename`].
    ///
    /// # Errors
    /// Those of reading and of writing.
    pub async fn copy_object(
        &self,
        reader: ObjectReader<P>,
        bucket: BucketId,
        to: &[u8],
    ) -> Result<ObjectCopy<P>> {
        let shard = self.shard_of(bucket, to)?;
        let source = reader.info().current.version;
        let stored_bytes = reader.info().stored_bytes;
        let attributes_hash = xxh3_64(&reader.info().attributes);
        let parts = reader.manifest_parts();
        let is_inline = parts.is_none();
        let whole = ManifestPart {
            number: 0,
            tag: 0,
            size: stored_bytes,
            attributes: vec![],
            extents: vec![],
        };
        let mut portions = Portions { reader, chunk: None, given: 0 };
        let (mut key, mut pieces) = (to.to_vec(), Vec::new());
        for part in parts.unwrap_or_else(|| vec![whole]) {
            let size = part.size;
            let engine = self.clone();
            let mut writer = ObjectWriter::open_as(
                engine,
                shard,
                bucket,
                key,
                Target::Object,
                Some(size),
                is_inline,
            )
            .await?;
            portions.fill(&mut writer, size).await?;
            let sealed;
            (key, sealed) = writer.seal().await?;
            pieces.push((part, sealed));
        }
        Ok(ObjectCopy { shard, bucket, key, source, attributes_hash, pieces })
    }

    /// Gives an object the key that its copy was made for, in the place of the object that is there, if
    /// any. `guard` is asked about the attributes that the object has at that moment; the condition of the
    /// commit is about the object under the new key. Keys with several versions are not for this.
    ///
    /// # Errors
    /// [`Error::Condition`]: with `NoSuchKey` if the object is gone, `Superseded` if it is no longer the one
    /// that was copied, or what guard and condition say. Then nothing was changed, and after
    /// the other refusals of a write neither. After [`Error::ReadOnly`] it is not known before the next
    /// start.
    pub async fn rename(
        &self,
        from: &[u8],
        guard: Guard,
        copy: ObjectCopy<P>,
        commit: Commit,
    ) -> Result<Committed> {
        check_attributes(&commit.attributes)?;
        // Cut short between its steps it would leave the object with two keys until the next start.
        let (engine, from) = (self.clone(), from.to_vec());
        let renamed = async move { engine.rename_whole(from, guard, copy, commit).await };
        to_the_end(self.platform(), renamed).await
    }

    async fn rename_whole(
        &self,
        from: Vec<u8>,
        guard: Guard,
        copy: ObjectCopy<P>,
        mut commit: Commit,
    ) -> Result<Committed> {
        let (bucket, version) = (copy.bucket, copy.source);
        if from == copy.key {
            return Err(Error::Condition(ConditionFailure::Superseded));
        }
        let source_shard = self.shard_of(bucket, &from)?;
        for (shard, need) in [(source_shard, Need::Reserve), (copy.shard, Need::Data)] {
            self.ask(shard, Request::Rename(RenameStep::AwaitRoom { need })).await?;
        }
        let hold_source = RenameStep::HoldSource { bucket, key: from.clone(), version, guard };
        let condition = commit.condition.take();
        let hold_target = RenameStep::HoldTarget { bucket, key: copy.key.clone(), condition };
        // In the order of the keys: of renames that need each other's keys none waits for one that waits.
        let (source, target) = if from < copy.key {
            let source = self.hold(source_shard, hold_source).await?;
            (source, self.hold(copy.shard, hold_target).await?)
        } else {
            let target = self.hold(copy.shard, hold_target).await?;
            (self.hold(source_shard, hold_source).await?, target)
        };
        let reserved = target.reserved;
        let intent = Intent {
            bucket,
            from: from.clone(),
            version,
            to: copy.key.clone(),
            reserved,
            attributes_hash: copy.attributes_hash,
        };
        let name = format!("{PREFIX}{:04x}{:016x}", copy.shard, reserved.0);
        if self.context().mutation() != Some(Mutation::RenameWithoutIntent) {
            let settings = BTreeMap::from([(VALUE, intent.encode())]);
            self.change_bucket(BucketChange::Create { name: name.clone(), settings }).await?;
        }
        let moved = self.move_held(&source, &target, from, copy, commit).await;
        if moved.as_ref().err().is_none_or(is_refusal) {
            self.forget_intent(name).await;
        }
        moved
    }

    async fn hold(&self, shard: u16, step: RenameStep) -> Result<RemoteHold<P>> {
        match self.ask(shard, Request::Rename(step)).await? {
            Reply::Held { hold, reserved } => {
                Ok(RemoteHold { engine: self.clone(), shard, hold, reserved })
            }
            _ => Err(mismatched()),
        }
    }

    async fn move_held(
        &self,
        source: &RemoteHold<P>,
        target: &RemoteHold<P>,
        from: Vec<u8>,
        copy: ObjectCopy<P>,
        commit: Commit,
    ) -> Result<Committed> {
        let (bucket, hold) = (copy.bucket, source.hold);
        self.ask(source.shard, Request::Rename(RenameStep::Hide { hold })).await?;
        let key = copy.key.clone();
        let (body, permits) = copy.into_body();
        let put =
            Put { bucket, key, target: Target::Held { version: target.reserved }, body, commit };
        let reply = self.ask(target.shard, Request::Put(Box::new(put))).await?;
        drop(permits);
        let Reply::Committed(committed) = reply else { return Err(mismatched()) };
        let remove = RenameStep::Remove { hold, bucket, key: from };
        match self.ask(source.shard, Request::Rename(remove)).await {
            Ok(_) => Ok(committed),
            // The next start does it.
            Err(error) => {
                let cause = format!("the object has both keys until the next start: {error}");
                Err(Error::ReadOnly { shard: source.shard, cause })
            }
        }
    }

    async fn forget_intent(&self, name: String) {
        match self.change_bucket(BucketChange::FinishDelete { name }).await {
            Ok(_) | Err(Error::NoSuchBucket) => {}
            // The next start will see that nothing is left to be done.
            Err(error) => tracing::warn!(%error, "the note of a rename stays"),
        }
    }

    /// Ends the renames that a crash has cut short; before any request is served. Those that need a shard
    /// which is not there are left for a later start.
    pub(crate) async fn resolve_renames(&self, catalog: &Catalog) {
        let entries: Vec<_> =
            catalog.buckets().filter(|entry| entry.name.starts_with(PREFIX)).cloned().collect();
        for entry in entries {
            let value = entry.settings.get(&VALUE).map_or(&[][..], Vec::as_slice);
            let resolved = match Intent::decode(value) {
                Ok(intent) => {
                    let is_told = entry.settings.contains_key(&HAPPENED);
                    self.resolve(&entry.name, &intent, is_told).await
                }
                Err(malformed) => Err(Error::Corrupt(malformed.to_string())),
            };
            match resolved {
                Ok(()) => self.forget_intent(entry.name.clone()).await,
                Err(error) => tracing::error!(%error, "a rename could not be ended"),
            }
        }
    }

    /// Ends what an intent tells of; `is_told`: that it has happened was found before.
    async fn resolve(&self, name: &str, intent: &Intent, is_told: bool) -> Result<()> {
        let Intent { bucket, from, version, to, reserved, attributes_hash } = intent;
        if !is_told {
            let renamed = self.lookup(*bucket, to, Which::Latest).await?;
            if renamed.is_none_or(|renamed| renamed.version != *reserved) {
                return Ok(());
            }
        }
        match self.resolve_source(*bucket, from, *version, *attributes_hash).await {
            // The new key may be written to before the drive of the former one is back.
            Err(error @ Error::Offline { .. }) if !is_told => {
                self.put_bucket_setting(name, HAPPENED, Some(Vec::new())).await?;
                Err(error)
            }
            resolved => resolved,
        }
    }

    async fn resolve_source(
        &self,
        bucket: BucketId,
        from: &[u8],
        version: Version,
        attributes_hash: u64,
    ) -> Result<()> {
        let former = self.lookup(bucket, from, Which::Latest).await?;
        if former.is_none_or(|former| former.version != version) {
            return Ok(());
        }
        let guard: Guard =
            Box::new(move |attributes| match xxh3_64(attributes) == attributes_hash {
                true => Ok(()),
                false => Err(ConditionFailure::Superseded),
            });
        let removal = Deletion::Remove { which: Which::Null, guard: Some(guard) };
        match self.delete(bucket, from, removal, None).await {
            Ok(_) => Ok(()),
            Err(Error::Condition(_)) => {
                let key = String::from_utf8_lossy(from);
                tracing::warn!(%key, "an object was changed after its rename had failed: it has both keys");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a rename to this key has begun and is not known to be ended.
    pub fn is_renaming(&self, bucket: BucketId, to: &[u8]) -> bool {
        let catalog = self.catalog();
        let mut intents = catalog.named_from(PREFIX).filter_map(|entry| {
            Intent::decode(entry.settings.get(&VALUE).map_or(&[][..], Vec::as_slice)).ok()
        });
        intents.any(|intent| intent.bucket == bucket && intent.to == to)
    }
}

/// Whether a write that failed so has surely not happened.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Condition(_)
            | Error::NoSuchBucket
            | Error::Busy
            | Error::OutOfSpace
            | Error::TooLarge(_)
    )
}
