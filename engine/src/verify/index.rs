//! The index against the table of segments and the catalogue.

use super::{Run, Structure, View};
use crate::format::record::{Head, Sections};
use crate::platform::Platform;
use crate::types::Bucket;
use std::collections::HashMap;

impl<P: Platform> Run<'_, P> {
    /// What is counted as alive in each segment is what the index points to there; every object is in a
    /// bucket that there is.
    pub(super) fn live_counts(&self, view: &View) {
        let mut sums: HashMap<u32, (u32, u64)> = HashMap::new();
        let mut cursor = view.state.index.seek(b"", u64::MAX);
        while let Some((key, version, entry)) = cursor.next() {
            let sum = sums.entry(entry.segment).or_default();
            sum.0 += 1;
            sum.1 += u64::from(entry.span_bytes);
            let bucket = key.get(1..).and_then(|rest| rest.first_chunk::<4>());
            let bucket = bucket.map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let is_orphan = key.first() == Some(&b'o')
                && view.buckets.as_ref().is_some_and(|buckets| !buckets.contains_key(&bucket));
            if is_orphan {
                let named = view.name_of_entry(key, version);
                let reason = "its bucket does not exist";
                self.find_in_shard(view.shard, Structure::Catalog, reason, Some(named));
            }
        }
        if view.ends.is_none() {
            return;
        }
        for (segment, row) in view.state.segments.iter() {
            let (records, bytes) = sums.remove(&segment).unwrap_or_default();
            let is_log = row.log().is_some();
            let matches = match is_log {
                true => (row.live_records, row.live_bytes) == (records, bytes),
                false => records == 0,
            };
            if !matches {
                let reason = format!(
                    "the index points to {records} records ({bytes} bytes) here, {} ({} bytes) are \
                     counted",
                    row.live_records, row.live_bytes
                );
                let place = (view.shard, segment, 0);
                self.find_in_segment(place, Structure::Index, reason, None);
            }
        }
        for segment in sums.into_keys() {
            let place = (view.shard, segment, 0);
            let reason = "the index points into a segment that is not there";
            self.find_in_segment(place, Structure::Index, reason, None);
        }
    }

    /// The buckets of the catalogue are those of the index.
    pub(super) fn catalog(&self, view: &View) {
        let Some(catalog) = &view.catalog else { return };
        let mut known: HashMap<u32, &Bucket> =
            catalog.buckets().map(|bucket| (bucket.id.0, &**bucket)).collect();
        let mut cursor = view.state.index.seek(b"b", u64::MAX);
        while let Some((key, version, _)) = cursor.next() {
            let Some((b'b', id)) = key.split_first() else { break };
            let id = id.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            if known.remove(&id).is_none() {
                let named = view.name_of_entry(key, version);
                let reason = "the catalogue lacks a bucket that the index has";
                self.find_in_shard(view.shard, Structure::Catalog, reason, Some(named));
            }
        }
        for bucket in known.into_values() {
            let reason = format!("the index lacks the bucket {}", bucket.name);
            self.find_in_shard(view.shard, Structure::Catalog, reason, None);
        }
    }

    /// What the record of a bucket says, and the catalogue does not.
    pub(super) fn bucket_contradiction(
        view: &View,
        head: &Head<'_>,
        sections: &Sections,
    ) -> Option<String> {
        let catalog = view.catalog.as_ref()?;
        let name = String::from_utf8_lossy(head.key);
        let same = catalog.bucket(&name).is_some_and(|bucket| {
            bucket.id.0 == head.bucket
                && bucket.created.0 == head.size
                && Some(&bucket.settings) == sections.settings.as_ref()
        });
        (!same).then(|| "the catalogue says otherwise".into())
    }
}
