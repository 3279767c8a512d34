//! How much each bucket holds in a shard: counted as the index changes, so that to ask costs nothing.
//!
//! Invariant: the sums are those over the entries of the index, whichever way it came to be.

use crate::index::{Entry, Index};
use crate::index_key::{self, PREFIX_BYTES};
use crate::state::FLAG_MARKER;
use crate::types::{BucketId, BucketUsage};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Usage {
    by_bucket: HashMap<BucketId, BucketUsage>,
}

/// The bucket of an object's key of the index.
fn bucket_of(index_key: &[u8]) -> Option<BucketId> {
    match index_key.split_first() {
        Some((b'o', rest)) => rest.first_chunk().map(|id| BucketId(u32::from_be_bytes(*id))),
        _ => None,
    }
}

fn of_entry(entry: &Entry) -> BucketUsage {
    match entry.flags & FLAG_MARKER != 0 {
        true => BucketUsage { markers: 1, ..BucketUsage::default() },
        false => BucketUsage { objects: 1, bytes: entry.size, ..BucketUsage::default() },
    }
}

impl Usage {
    pub(crate) fn of_bucket(&self, bucket: BucketId) -> BucketUsage {
        self.by_bucket.get(&bucket).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, index_key: &[u8], entry: &Entry) {
        if let Some(bucket) = bucket_of(index_key) {
            self.by_bucket.entry(bucket).or_default().add(of_entry(entry));
        }
    }

    pub(crate) fn remove(&mut self, index_key: &[u8], entry: &Entry) {
        let Some(bucket) = bucket_of(index_key) else { return };
        let Some(usage) = self.by_bucket.get_mut(&bucket) else { return };
        let gone = of_entry(entry);
        usage.objects = usage.objects.saturating_sub(gone.objects);
        usage.markers = usage.markers.saturating_sub(gone.markers);
        usage.bytes = usage.bytes.saturating_sub(gone.bytes);
        if *usage == BucketUsage::default() {
            self.by_bucket.remove(&bucket);
        }
    }

    /// What a whole index holds.
    pub(crate) fn of_index(index: &Index) -> Self {
        let mut usage = Self::default();
        let (mut bucket, mut sum) = (BucketId(0), BucketUsage::default());
        let first = index_key::object(bucket, b"");
        index.each_from(&first, PREFIX_BYTES, |head, entry| {
            let Some(next) = bucket_of(head) else { return false };
            if next != bucket {
                usage.by_bucket.insert(bucket, std::mem::take(&mut sum));
                bucket = next;
            }
            sum.add(of_entry(entry));
            true
        });
        usage.by_bucket.insert(bucket, sum);
        usage.by_bucket.retain(|_, usage| *usage != BucketUsage::default());
        usage
    }
}
