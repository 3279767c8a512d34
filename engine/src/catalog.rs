//! The bucket catalogue: which buckets there are, and their settings.
//!
//! Its records live in the log of shard 0, which judges every change, and as copies in the log of the first
//! shard of every other drive, so that the loss of a drive loses no bucket. Changes are numbered; a copy
//! takes them in order and without a gap, so the copy with the highest number is the newest state whole.
//! The present state is published to every core as one immutable snapshot, so that looking a bucket up
//! costs one atomic load and no hop.
//!
//! Invariants: ids are never reused; a snapshot is published only after its change is durable; a
//! bucket being deleted takes no new keys from before the shards are asked whether it is empty.

use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::codec::{Reader, Write};
use crate::format::record::{Head, Record, RecordKind, Sections};
use crate::types::{Bucket, BucketId, Version};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// One state of the catalogue.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    by_name: BTreeMap<String, Arc<Bucket>>,
    ids: HashSet<BucketId>,
    deleting: BTreeSet<BucketId>,
    /// Highest id ever given.
    last_id: u32,
    /// Number of the newest change.
    sequence: u64,
}

/// The published state, shared by all cores.
pub(crate) type Published = Arc<ArcSwap<Catalog>>;

impl Catalog {
    pub fn bucket(&self, name: &str) -> Option<&Arc<Bucket>> {
        self.by_name.get(name)
    }

    /// In order of name.
    pub fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.by_name.values()
    }

    /// Those whose names begin so, in order of name.
    pub(crate) fn named_from<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Bucket>> {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let from = self.by_name.range::<str, _>(range).map(|(_, bucket)| bucket);
        from.take_while(move |bucket| bucket.name.starts_with(prefix))
    }

    /// Whether new keys may be written to a bucket now.
    pub(crate) fn accepts_writes(&self, bucket: BucketId) -> Result<()> {
        if !self.ids.contains(&bucket) {
            Err(Error::NoSuchBucket)
        } else if self.deleting.contains(&bucket) {
            Err(Error::Busy)
        } else {
            Ok(())
        }
    }

    /// Number of the newest change: another one says that something may have changed.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Says that nothing is missing up to the newest change of another state, which was caught up with.
    pub(crate) fn set_caught_up(&mut self, newest: &Self) {
        self.set_sequence(newest.sequence);
        self.observe_id(BucketId(newest.last_id));
    }

    /// Becomes the newer of two states; no id that either has given is given again.
    pub(crate) fn offer(&mut self, found: &Self) {
        let last_id = self.last_id.max(found.last_id);
        if found.sequence > self.sequence {
            *self = found.clone();
        }
        self.last_id = last_id;
    }

    /// Says that nothing is missing up to a change.
    pub(crate) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// An id that nothing has had.
    pub(crate) fn next_id(&self) -> Result<BucketId> {
        let next = self.last_id.checked_add(1);
        next.map(BucketId)
            .ok_or(Error::TooLarge("4 billion buckets were made: there is no id left"))
    }

    pub(crate) fn set_deleting(&mut self, bucket: BucketId, deleting: bool) {
        if deleting {
            self.deleting.insert(bucket);
        } else {
            self.deleting.remove(&bucket);
        }
    }

    pub(crate) fn is_deleting(&self, bucket: BucketId) -> bool {
        self.deleting.contains(&bucket)
    }

    /// The record that makes a bucket what it is here.
    pub(crate) fn bucket_record(bucket: &Bucket, version: Version) -> Record {
        Record {
            version: version.0,
            // The creation time survives a change of settings.
            size: bucket.created.0,
            sections: Sections { settings: Some(bucket.settings.clone()), ..Sections::default() },
            ..Record::new(RecordKind::Bucket, bucket.id.0, bucket.name.clone().into_bytes())
        }
    }

    pub(crate) fn delete_record(bucket: &Bucket, version: Version) -> Record {
        Record {
            kind: RecordKind::BucketDelete,
            sections: Sections::default(),
            ..Self::bucket_record(bucket, version)
        }
    }

    /// What makes this state of an older one. Cut short in between it leaves the older number.
    pub(crate) fn changes_since(&self, older: &Self) -> Vec<Record> {
        let is_gone = |bucket: &&Arc<Bucket>| !self.ids.contains(&bucket.id);
        let is_new = |bucket: &&Arc<Bucket>| older.bucket(&bucket.name) != Some(*bucket);
        let gone = older.buckets().filter(is_gone).map(|b| Self::delete_record(b, Version(0)));
        let new = self.buckets().filter(is_new).map(|b| Self::bucket_record(b, Version(0)));
        let mut changes: Vec<Record> = gone.chain(new).collect();
        changes.iter_mut().for_each(|change| change.upload = older.sequence);
        if let Some(last) = changes.last_mut() {
            last.upload = self.sequence;
        }
        changes
    }

    /// [`Self::apply`] for a durable record of this process.
    pub(crate) fn apply_record(&mut self, record: &Record) {
        let settings = record.sections.settings.clone().unwrap_or_default();
        self.apply(record.kind, BucketId(record.bucket), &record.key, record.size, &settings);
        self.sequence = self.sequence.max(record.upload);
    }

    /// Applies a durable change, from the log's writer or from its replay.
    pub(crate) fn apply(
        &mut self,
        kind: RecordKind,
        id: BucketId,
        name: &[u8],
        created: u64,
        settings: &BTreeMap<u16, Vec<u8>>,
    ) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.last_id = self.last_id.max(id.0);
        if kind == RecordKind::BucketDelete {
            self.ids.remove(&id);
            self.deleting.remove(&id);
            self.by_name.remove(&name);
        } else {
            self.ids.insert(id);
            let bucket = Bucket {
                id,
                name: name.clone(),
                created: Version(created),
                settings: settings.clone(),
            };
            self.by_name.insert(name, Arc::new(bucket));
        }
    }

    /// An id that was given, whatever became of its bucket.
    pub(crate) fn observe_id(&mut self, id: BucketId) {
        self.last_id = self.last_id.max(id.0);
    }

    /// As a checkpoint stores it, in pieces: the highest id ever given and the number of the newest
    /// change, then the buckets.
    pub(crate) fn encode(&self) -> Vec<Vec<u8>> {
        let mut first = Vec::new();
        first.put_u32(self.last_id);
        first.put_u64(self.sequence);
        let mut items = vec![first];
        for bucket in self.by_name.values() {
            let mut item = Vec::new();
            item.put_u32(bucket.id.0);
            item.put_u64(bucket.created.0);
            item.put_string(bucket.name.as_bytes());
            item.put_u32(bucket.settings.len() as u32);
            for (tag, value) in &bucket.settings {
                item.put_u16(*tag);
                item.put_string(value);
            }
            items.push(item);
        }
        items
    }

    /// Takes pieces of [`Self::encode`], in their order.
    pub(crate) fn decode(&mut self, reader: &mut Reader<'_>) -> std::result::Result<(), Malformed> {
        if self.last_id == 0 {
            self.last_id = reader.u32()?;
            self.sequence = reader.counter()?;
        }
        while !reader.is_empty() {
            let id = BucketId(reader.u32()?);
            let created = reader.counter()?;
            let name = reader.string()?;
            let count = reader.u32()?;
            let setting = |_| Ok((reader.u16()?, reader.string()?.to_vec()));
            let settings = (0..count).map(setting).collect::<std::result::Result<_, _>>()?;
            self.apply(RecordKind::Bucket, id, name, created, &settings);
        }
        Ok(())
    }

    /// [`Self::apply`] for a record read back from the log.
    pub(crate) fn apply_head(&mut self, head: &Head<'_>) -> std::result::Result<(), Malformed> {
        let settings = head.sections()?.settings.unwrap_or_default();
        self.apply(head.kind, BucketId(head.bucket), head.key, head.size, &settings);
        self.sequence = self.sequence.max(head.upload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: u32, name: &str, setting: u8) -> Bucket {
        let settings = BTreeMap::from([(1, vec![setting])]);
        Bucket { id: BucketId(id), name: name.into(), created: Version(5), settings }
    }

    /// The state after so many changes of one history.
    fn state(changes: usize) -> Catalog {
        let history = [
            Catalog::bucket_record(&bucket(1, "a", 0), Version(0)),
            Catalog::bucket_record(&bucket(2, "b", 0), Version(0)),
            Catalog::bucket_record(&bucket(1, "a", 1), Version(0)),
            Catalog::delete_record(&bucket(2, "b", 0), Version(0)),
            Catalog::bucket_record(&bucket(3, "b", 2), Version(0)),
            Catalog::delete_record(&bucket(1, "a", 1), Version(0)),
        ];
        let mut catalog = Catalog::default();
        for (mut change, number) in history.into_iter().zip(1..).take(changes) {
            change.upload = number;
            catalog.apply_record(&change);
        }
        catalog
    }

    #[test]
    fn an_older_state_is_brought_up_to_a_newer_one() {
        for (old, new) in (0..=6).flat_map(|new| (0..=new).map(move |old| (old, new))) {
            let (mut older, newer) = (state(old), state(new));
            let changes = newer.changes_since(&older);
            for (at, change) in changes.iter().enumerate() {
                older.apply_record(change);
                let is_last = at + 1 == changes.len();
                assert_eq!(older.sequence() == newer.sequence(), is_last, "{old} to {new}");
            }
            assert_eq!(older.by_name, newer.by_name, "{old} to {new}");
            assert_eq!(older.ids, newer.ids, "{old} to {new}");
        }
    }

    /// Found by review: a bucket was made and deleted while a drive was away. Its copy of the catalogue
    /// took the number of the newest change and not the id, and the next start believed the copy.
    #[test]
    fn no_id_is_given_twice_whichever_copy_is_found_first() {
        for changes in 0..=6 {
            let (mut copy, newest) = (Catalog::default(), state(changes));
            copy.set_caught_up(&newest);
            assert_eq!((copy.sequence, copy.last_id), (newest.sequence, newest.last_id));
        }
        let behind = Catalog { last_id: 1, ..state(4) };
        for (first, second) in
            [(state(4), behind.clone()), (behind, state(4)), (state(2), state(4))]
        {
            let mut found = Catalog::default();
            found.offer(&first);
            found.offer(&second);
            assert_eq!((found.next_id().expect("there are ids"), found.sequence), (BucketId(3), 4));
        }
    }

    #[test]
    fn a_checkpoint_holds_the_whole_state() {
        for changes in 0..=6 {
            let (state, mut read) = (state(changes), Catalog::default());
            for item in state.encode() {
                assert!(read.decode(&mut Reader::new(&item)).is_ok());
            }
            assert_eq!((&read.by_name, read.sequence), (&state.by_name, state.sequence));
            assert_eq!(read.last_id, state.last_id);
        }
    }
}
