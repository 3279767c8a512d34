//! What a shard knows: its index, its segments, its pins, and what is staged but not yet durable.
//!
//! [`State::publish`] is the one place where a durable record changes what readers see; the log's
//! writer and its replay both go through it. All of it is plain, synchronous bookkeeping.

use crate::append::Outcome;
use crate::format::manifest::Extent;
use crate::format::record::{Head, Location, Record, RecordKind};
use crate::index::{Entry, Index};
use crate::index_key;
use crate::pins::Pins;
use crate::segments::SegmentTable;
use crate::types::{BucketId, Current, Etag, UploadId, Version};
use crate::wait::Ticket;
use std::collections::{HashMap, HashSet};

/// The bytes lie in extents that the record's manifest names.
pub(crate) const FLAG_EXTENTS: u8 = 1;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) segments: SegmentTable,
    pub(crate) pins: Pins<Extent>,
    /// The newest staged write of each key that has any, by index key.
    pub(crate) pending: HashMap<Vec<u8>, Pending>,
    /// Uploads whose completion or abort is staged.
    pub(crate) ending: HashSet<UploadId>,
}

/// What a key will be once everything staged for it is durable.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) current: Option<Current>,
    pub(crate) ticket: Ticket<Outcome>,
    /// Staged writes of this key that are not published yet.
    pub(crate) count: u32,
}

/// What publishing needs to know of a record.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) bucket: BucketId,
    pub(crate) key: &'a [u8],
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) label: u8,
    pub(crate) upload: UploadId,
    pub(crate) part_number: u16,
    pub(crate) has_extents: bool,
}

impl<'a> Change<'a> {
    pub(crate) fn of_record(record: &'a Record) -> Self {
        Self {
            kind: record.kind,
            bucket: BucketId(record.bucket),
            key: &record.key,
            version: record.version,
            size: record.size,
            etag: record.etag,
            label: record.label,
            upload: UploadId(record.upload),
            part_number: record.sections.part_number.unwrap_or(0),
            has_extents: record.sections.manifest.is_some(),
        }
    }

    pub(crate) fn of_head(head: &Head<'a>, part_number: u16, has_extents: bool) -> Self {
        Self {
            kind: head.kind,
            bucket: BucketId(head.bucket),
            key: head.key,
            version: head.version,
            size: head.size,
            etag: head.etag,
            label: head.label,
            upload: UploadId(head.upload),
            part_number,
            has_extents,
        }
    }
}

/// An entry that a publication removed from the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Displaced {
    pub(crate) location: Location,
    pub(crate) has_extents: bool,
}

pub(crate) fn location_of(entry: &Entry) -> Location {
    Location {
        segment: entry.segment,
        offset_units: entry.offset_units,
        span_bytes: entry.span_bytes,
    }
}

pub(crate) fn current_of(version: u64, entry: &Entry) -> Current {
    Current {
        size: entry.size,
        etag: Etag { md5: entry.etag, parts: entry.parts },
        version: Version(version),
        label: entry.label,
    }
}

impl State {
    pub(crate) fn new(segments: SegmentTable) -> Self {
        Self {
            index: Index::new(),
            segments,
            pins: Pins::default(),
            pending: HashMap::new(),
            ending: HashSet::new(),
        }
    }

    /// What is published for an index key.
    pub(crate) fn published(&self, index_key: &[u8]) -> Option<Current> {
        self.index.latest(index_key).map(|(version, entry)| current_of(version, &entry))
    }

    /// What an index key will be, and the ticket of the write that makes it so if that is not
    /// published yet.
    pub(crate) fn upcoming(&self, index_key: &[u8]) -> (Option<Current>, Option<Ticket<Outcome>>) {
        match self.pending.get(index_key) {
            Some(pending) => (pending.current, Some(pending.ticket.clone())),
            None => (self.published(index_key), None),
        }
    }

    pub(crate) fn upload_is_open(&self, bucket: BucketId, key: &[u8], upload: UploadId) -> bool {
        !self.ending.contains(&upload)
            && self.index.get(&index_key::upload(bucket, key), upload.0).is_some()
    }

    /// Makes a durable record visible. Returns what it displaced.
    pub(crate) fn publish(&mut self, change: &Change<'_>, location: Location) -> Vec<Displaced> {
        let mut displaced = Vec::new();
        match change.kind {
            RecordKind::Object => {
                let key = index_key::object(change.bucket, change.key);
                self.remove_all(&key, &mut displaced);
                self.insert(&key, change, location);
                if change.upload != UploadId(0) {
                    self.end_upload(change, &mut displaced);
                }
            }
            RecordKind::Tombstone => {
                self.remove_all(&index_key::object(change.bucket, change.key), &mut displaced);
            }
            RecordKind::UploadBegin => {
                self.insert(&index_key::upload(change.bucket, change.key), change, location);
            }
            RecordKind::Part => {
                let key = index_key::part(change.upload, change.part_number);
                self.remove_all(&key, &mut displaced);
                self.insert(&key, change, location);
            }
            RecordKind::UploadAbort => self.end_upload(change, &mut displaced),
            RecordKind::Bucket | RecordKind::BucketDelete => {}
        }
        displaced
    }

    fn insert(&mut self, index_key: &[u8], change: &Change<'_>, location: Location) {
        let entry = Entry {
            segment: location.segment,
            offset_units: location.offset_units,
            span_bytes: location.span_bytes,
            size: change.size,
            etag: change.etag.md5,
            parts: change.etag.parts,
            flags: if change.has_extents { FLAG_EXTENTS } else { 0 },
            label: change.label,
        };
        self.segments.add_live(location.segment, u64::from(location.span_bytes));
        self.index.insert(index_key, change.version, entry);
    }

    fn remove_all(&mut self, index_key: &[u8], displaced: &mut Vec<Displaced>) {
        while let Some((version, _)) = self.index.latest(index_key) {
            self.remove(index_key, version, displaced);
        }
    }

    fn remove(&mut self, index_key: &[u8], version: u64, displaced: &mut Vec<Displaced>) {
        if let Some(entry) = self.index.remove(index_key, version) {
            self.segments.sub_live(entry.segment, u64::from(entry.span_bytes));
            displaced.push(Displaced {
                location: location_of(&entry),
                has_extents: entry.flags & FLAG_EXTENTS != 0,
            });
        }
    }

    fn end_upload(&mut self, change: &Change<'_>, displaced: &mut Vec<Displaced>) {
        let upload = change.upload;
        self.remove(&index_key::upload(change.bucket, change.key), upload.0, displaced);
        for (key, version) in self.part_keys(upload) {
            self.remove(&key, version, displaced);
        }
        self.ending.remove(&upload);
    }

    fn part_keys(&self, upload: UploadId) -> Vec<(Vec<u8>, u64)> {
        let prefix = index_key::parts_of(upload);
        let mut keys = Vec::new();
        let mut cursor = self.index.seek(&prefix, u64::MAX);
        while let Some((key, version, _)) = cursor.next() {
            if !key.starts_with(&prefix) {
                break;
            }
            keys.push((key.to_vec(), version));
        }
        keys
    }

    /// The parts of an upload with a number above `after`, in order.
    pub(crate) fn parts(
        &self,
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Vec<(u16, u64, Entry)> {
        let prefix = index_key::parts_of(upload);
        let mut parts = Vec::new();
        let Some(first) = after.checked_add(1) else {
            return parts;
        };
        let mut cursor = self.index.seek(&index_key::part(upload, first), u64::MAX);
        while let Some((key, version, entry)) = cursor.next() {
            if !key.starts_with(&prefix) || parts.len() == limit {
                break;
            }
            if let Some(number) = index_key::part_number(key) {
                parts.push((number, version, entry));
            }
        }
        parts
    }
}
