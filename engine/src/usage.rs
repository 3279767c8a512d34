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

impl Usage {
    pub(crate) fn of_bucket(&self, bucket: BucketId) -> BucketUsage {
        self.by_bucket.get(&bucket).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, index_key: &[u8], entry: &Entry) {
        let Some(bucket) = bucket_of(index_key) else { return };
        let usage = self.by_bucket.entry(bucket).or_default();
        match entry.flags & FLAG_MARKER != 0 {
            true => usage.markers += 1,
            false => {
                usage.objects += 1;
                usage.bytes += entry.size;
            }
        }
    }

    pub(crate) fn remove(&mut self, index_key: &[u8], entry: &Entry) {
        let Some(bucket) = bucket_of(index_key) else { return };
        let Some(usage) = self.by_bucket.get_mut(&bucket) else { return };
        match entry.flags & FLAG_MARKER != 0 {
            true => usage.markers = usage.markers.saturating_sub(1),
            false => {
                usage.objects = usage.objects.saturating_sub(1);
                usage.bytes = usage.bytes.saturating_sub(entry.size);
            }
        }
        if *usage == BucketUsage::default() {
            self.by_bucket.remove(&bucket);
        }
    }

    /// What a whole index holds.
    pub(crate) fn of_index(index: &Index) -> Self {
        let mut usage = Self::default();
        let objects = index_key::object(BucketId(0), b"");
        index.each_from(&objects[..1], PREFIX_BYTES, |head, entry| {
            let is_object = bucket_of(head).is_some();
            if is_object {
                usage.add(head, entry);
            }
            is_object
        });
        usage
    }
}
