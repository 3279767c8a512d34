//! How much each bucket holds in a shard: counted as the index changes, so that to ask costs nothing.
//!
//! Invariant: the sums are those over the entries of the index, whichever way it came to be.

use crate::engine::Engine;
use crate::error::Result;
use crate::index::{Entry, Index};
use crate::index_key::{self, PREFIX_BYTES};
use crate::platform::Platform;
use crate::request::{Reply, Request, mismatched};
use crate::state::FLAG_MARKER;
use crate::types::{BucketId, BucketUsage};
use crate::wait::join_all;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Usage {
    by_bucket: HashMap<BucketId, BucketUsage>,
}

/// What the key of an object or of an upload begins with: what it is, and the bucket.
fn kind_and_bucket(index_key: &[u8]) -> Option<(u8, BucketId)> {
    match index_key.split_first() {
        Some((kind @ (b'o' | b'u'), rest)) => {
            rest.first_chunk().map(|id| (*kind, BucketId(u32::from_be_bytes(*id))))
        }
        _ => None,
    }
}

fn of_entry(kind: u8, entry: &Entry) -> BucketUsage {
    match (kind, entry.flags & FLAG_MARKER != 0) {
        (b'u', _) => BucketUsage { uploads: 1, ..BucketUsage::default() },
        (_, true) => BucketUsage { markers: 1, ..BucketUsage::default() },
        (_, false) => BucketUsage { objects: 1, bytes: entry.size, ..BucketUsage::default() },
    }
}

impl Usage {
    pub(crate) fn of_bucket(&self, bucket: BucketId) -> BucketUsage {
        self.by_bucket.get(&bucket).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, index_key: &[u8], entry: &Entry) {
        if let Some((kind, bucket)) = kind_and_bucket(index_key) {
            self.by_bucket.entry(bucket).or_default().add(of_entry(kind, entry));
        }
    }

    pub(crate) fn remove(&mut self, index_key: &[u8], entry: &Entry) {
        let Some((kind, bucket)) = kind_and_bucket(index_key) else { return };
        let Some(usage) = self.by_bucket.get_mut(&bucket) else { return };
        let gone = of_entry(kind, entry);
        usage.objects = usage.objects.saturating_sub(gone.objects);
        usage.markers = usage.markers.saturating_sub(gone.markers);
        usage.bytes = usage.bytes.saturating_sub(gone.bytes);
        usage.uploads = usage.uploads.saturating_sub(gone.uploads);
        if *usage == BucketUsage::default() {
            self.by_bucket.remove(&bucket);
        }
    }

    /// What a whole index holds.
    pub(crate) fn of_index(index: &Index) -> Self {
        let mut usage = Self::default();
        let first = BucketId(0);
        usage.count(index, &index_key::object(first, b""));
        usage.count(index, &index_key::upload(first, b""));
        usage.by_bucket.retain(|_, usage| *usage != BucketUsage::default());
        usage
    }

    /// Adds what the index holds from a key on, of the key's kind.
    fn count(&mut self, index: &Index, first: &[u8]) {
        let (mut bucket, mut sum) = (BucketId(0), BucketUsage::default());
        let wanted = first.first().copied();
        index.each_from(first, PREFIX_BYTES, |head, entry| {
            let Some((kind, next)) = kind_and_bucket(head) else { return false };
            if Some(kind) != wanted {
                return false;
            }
            if next != bucket {
                self.by_bucket.entry(bucket).or_default().add(std::mem::take(&mut sum));
                bucket = next;
            }
            sum.add(of_entry(kind, entry));
            true
        });
        self.by_bucket.entry(bucket).or_default().add(sum);
    }
}

impl<P: Platform> Engine<P> {
    /// How much a bucket holds, at about this moment.
    pub async fn bucket_usage(&self, bucket: BucketId) -> Result<BucketUsage> {
        Ok(self.bucket_usages(&[bucket]).await?.first().copied().unwrap_or_default())
    }

    /// How much each of some buckets holds, in their order: one question for each shard.
    pub async fn bucket_usages(&self, buckets: &[BucketId]) -> Result<Vec<BucketUsage>> {
        let shards = 0..self.layout().shard_count;
        let asked = shards.map(|shard| self.ask(shard, Request::Usage(buckets.to_vec())));
        let mut usages = vec![BucketUsage::default(); buckets.len()];
        for reply in join_all(asked).await {
            let Reply::Usage(of_shard) = reply? else { return Err(mismatched()) };
            usages.iter_mut().zip(of_shard).for_each(|(sum, usage)| sum.add(usage));
        }
        Ok(usages)
    }
}
