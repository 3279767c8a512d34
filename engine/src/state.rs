//! What a shard knows: its index, its segments, its pins, and what is staged but not yet durable.
//!
//! [`State::publish`] is the one place where a durable record changes what readers see; the log's
//! writer and its replay both go through it. All of it is plain, synchronous bookkeeping.

use crate::append::{Outcome, Staged};
use crate::displaced::Displacements;
use crate::format::checkpoint::Displaced;
use crate::format::manifest::{Extent, Manifest};
use crate::format::record::{Flags, Head, Killed, Location, Record, RecordKind};
use crate::index::{Entry, Index};
use crate::index_key;
use crate::pins::Pins;
use crate::segments::SegmentTable;
use crate::types::{BucketId, Current, Etag, UploadId, Version, Which};
use crate::usage::Usage;
use crate::wait::Ticket;
use std::collections::{HashMap, HashSet};

/// The bytes lie in extents that the record's manifest names.
pub(crate) const FLAG_EXTENTS: u8 = 1;
/// A version beside the others; without it, the null version of its key.
pub(crate) const FLAG_VERSIONED: u8 = 2;
/// A delete marker.
pub(crate) const FLAG_MARKER: u8 = 4;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) segments: SegmentTable,
    pub(crate) pins: Pins<Space>,
    /// The newest staged write of each key that has any, by index key.
    pub(crate) pending: HashMap<Vec<u8>, Pending>,
    /// Uploads whose completion or abort is staged.
    pub(crate) ending: HashSet<UploadId>,
    /// Records with extents that were displaced; their extents are to be freed.
    pub(crate) displaced: Displacements,
    /// Keys whose records are on their way to another place, or that somebody holds to judge a record of
    /// theirs; writers of such a key wait.
    pub(crate) relocating: HashSet<Vec<u8>>,
    /// What the index holds of each bucket.
    pub(crate) usage: Usage,
    /// The highest version at which extents were published. Versions are never given twice, so a slab
    /// segment with the same stamp holds the same bytes, for a backup that has a copy of it.
    pub(crate) content_stamp: u64,
}

/// Space that was freed and that somebody may still read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Space {
    Units(Extent),
    /// A log segment out of which everything was moved.
    Log(u32),
}

/// What a key will be once everything staged for it is durable.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) current: Option<Current>,
    pub(crate) ticket: Ticket<Outcome>,
    /// Staged writes of this key that are not published yet.
    pub(crate) count: u32,
    /// The newest null version among them that has its place in the log.
    submitted: Option<Killed>,
    /// What the null version becomes, if it changes.
    null: Option<Option<Current>>,
    /// The newest of them that stands beside others.
    kept: Option<Current>,
    /// The version beside others that goes.
    removed: Option<u64>,
}

/// What publishing needs to know of a record.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) flags: Flags,
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
            flags: record.flags,
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
            flags: head.flags,
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
        is_null: entry.flags & FLAG_VERSIONED == 0,
        is_marker: entry.flags & FLAG_MARKER != 0,
    }
}

/// The flags of the entry that points to a record.
pub(crate) fn entry_flags(kind: RecordKind, flags: Flags, has_extents: bool) -> u8 {
    u8::from(has_extents) * FLAG_EXTENTS
        + u8::from(flags.versioned) * FLAG_VERSIONED
        + u8::from(kind == RecordKind::DeleteMarker) * FLAG_MARKER
}

/// The entry of a key that is its null version, or of a key without versions the only one.
pub(crate) fn null_version(index: &Index, index_key: &[u8]) -> Option<(u64, Entry)> {
    let (version, entry) = index.latest(index_key)?;
    if entry.flags & FLAG_VERSIONED == 0 {
        return Some((version, entry));
    }
    let mut cursor = index.seek(index_key, version.checked_sub(1)?);
    loop {
        let (key, version, entry) = cursor.next()?;
        if key != index_key {
            return None;
        }
        if entry.flags & FLAG_VERSIONED == 0 {
            return Some((version, entry));
        }
    }
}

fn ends_upload(kind: RecordKind, upload: u64) -> bool {
    kind == RecordKind::UploadAbort || (kind == RecordKind::Object && upload != 0)
}

impl State {
    pub(crate) fn new(segments: SegmentTable) -> Self {
        Self {
            index: Index::new(),
            segments,
            pins: Pins::default(),
            pending: HashMap::new(),
            ending: HashSet::new(),
            displaced: Displacements::default(),
            relocating: HashSet::new(),
            usage: Usage::default(),
            content_stamp: 0,
        }
    }

    /// Takes an index that was made elsewhere.
    pub(crate) fn set_index(&mut self, index: Index) {
        self.usage = Usage::of_index(&index);
        self.index = index;
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

    /// What is published of one version of an index key.
    pub(crate) fn find(&self, index_key: &[u8], which: Which) -> Option<(u64, Entry)> {
        match which {
            Which::Latest => self.index.latest(index_key),
            Which::Null => null_version(&self.index, index_key),
            Which::Exactly(Version(version)) => {
                self.index.get(index_key, version).map(|entry| (version, entry))
            }
        }
    }

    /// What the null version of an index key will be.
    pub(crate) fn upcoming_null(&self, index_key: &[u8]) -> Option<Current> {
        let staged = self.pending.get(index_key).and_then(|pending| pending.null);
        staged.unwrap_or_else(|| {
            let (version, entry) = null_version(&self.index, index_key)?;
            Some(current_of(version, &entry))
        })
    }

    /// What an index key will be without its null version.
    fn upcoming_without_null(&self, index_key: &[u8]) -> Option<Current> {
        let pending = self.pending.get(index_key);
        if let Some(kept) = pending.and_then(|pending| pending.kept) {
            return Some(kept);
        }
        let removed = pending.and_then(|pending| pending.removed);
        let counts = |version: u64, entry: &Entry| {
            entry.flags & FLAG_VERSIONED != 0 && Some(version) != removed
        };
        let (mut version, mut entry) = self.index.latest(index_key)?;
        while !counts(version, &entry) {
            (version, entry) = self.index.newest_before(index_key, version)?;
        }
        Some(current_of(version, &entry))
    }

    /// What an index key for which nothing is staged will be without one version.
    fn published_without(&self, index_key: &[u8], version: u64) -> Option<Current> {
        let newest = self.index.latest(index_key)?;
        let (version, entry) = match newest.0 == version {
            true => self.index.newest_before(index_key, version)?,
            false => newest,
        };
        Some(current_of(version, &entry))
    }

    pub(crate) fn upload_is_open(&self, bucket: BucketId, key: &[u8], upload: UploadId) -> bool {
        !self.ending.contains(&upload)
            && self.index.get(&index_key::upload(bucket, key), upload.0).is_some()
    }

    /// Notes that a record of a key is staged. One that removes a version beside others comes only when
    /// nothing else is staged for its key.
    pub(crate) fn stage(&mut self, index_key: &[u8], record: &Record, ticket: Ticket<Outcome>) {
        let current = match record.kind {
            RecordKind::Tombstone if record.upload == 0 => self.upcoming_without_null(index_key),
            RecordKind::Tombstone => self.published_without(index_key, record.upload),
            _ => Some(Current {
                size: record.size,
                etag: record.etag,
                version: Version(record.version),
                label: record.label,
                is_null: !record.flags.versioned,
                is_marker: record.kind == RecordKind::DeleteMarker,
            }),
        };
        let pending = self.pending.entry(index_key.to_vec()).or_insert_with(|| Pending {
            current: None,
            ticket: ticket.clone(),
            count: 0,
            submitted: None,
            null: None,
            kept: None,
            removed: None,
        });
        match record.kind {
            RecordKind::Tombstone if record.upload == 0 => pending.null = Some(None),
            RecordKind::Tombstone => pending.removed = Some(record.upload),
            _ if record.flags.versioned => pending.kept = current,
            _ => pending.null = Some(current),
        }
        pending.current = current;
        pending.ticket = ticket;
        pending.count += 1;
    }

    /// How many records a new one of this key supersedes, at most.
    pub(crate) fn killed_places(&self, record: &Record, index_key: &[u8]) -> usize {
        let has_predecessor = match record.kind {
            // Uploads of one key stand beside each other.
            RecordKind::UploadAbort | RecordKind::UploadBegin => false,
            RecordKind::Tombstone if record.upload != 0 => true,
            _ if record.flags.versioned => false,
            _ => {
                self.pending.contains_key(index_key)
                    || null_version(&self.index, index_key).is_some()
            }
        };
        let ends_upload = ends_upload(record.kind, record.upload);
        usize::from(has_predecessor) + usize::from(ends_upload)
    }

    /// Names a record that another one supersedes.
    pub(crate) fn killed(&self, location: Location, version: u64) -> Killed {
        let epoch = self.segments.get(location.segment).map_or(0, |row| row.epoch);
        Killed { location, version, epoch }
    }

    /// A staged record has its place in the log now, and so has all that it supersedes: names that
    /// in it, where [`Self::killed_places`] kept places.
    pub(crate) fn name_killed(&mut self, staged: &mut Staged, location: Location) {
        let record = &staged.encoded.record;
        let is_removal = matches!(record.kind, RecordKind::Tombstone | RecordKind::BucketDelete);
        let is_null_version = !is_removal && !record.flags.versioned;
        let this = self.killed(location, record.version);
        let places = record.sections.killed.len();
        if places > 0 {
            let mut killed = Vec::with_capacity(places);
            if ends_upload(record.kind, record.upload) {
                let key = index_key::upload(BucketId(record.bucket), &record.key);
                let begun = self.index.get(&key, record.upload);
                killed.extend(begun.map(|entry| self.killed(location_of(&entry), record.upload)));
            }
            let before = staged.index_key.as_ref().and_then(|key| self.before(record, key));
            killed.extend(before);
            killed.resize(places, Killed::default());
            staged.encoded.set_killed(killed);
        }
        if is_null_version
            && let Some(pending) = staged.index_key.as_ref().and_then(|k| self.pending.get_mut(k))
        {
            pending.submitted = Some(this);
        }
    }

    /// The record of the same key that one which has its place in the log supersedes.
    fn before(&self, record: &Record, index_key: &[u8]) -> Option<Killed> {
        let (version, entry) = if record.kind == RecordKind::Tombstone && record.upload != 0 {
            (record.upload, self.index.get(index_key, record.upload)?)
        } else if record.flags.versioned {
            return None;
        } else {
            let submitted = self.pending.get(index_key).and_then(|pending| pending.submitted);
            if submitted.is_some() {
                return submitted;
            }
            null_version(&self.index, index_key)?
        };
        Some(self.killed(location_of(&entry), version))
    }

    /// Makes a durable record visible, and its manifest's extents its own. What it displaced is noted.
    pub(crate) fn publish(
        &mut self,
        change: &Change<'_>,
        manifest: Option<&Manifest>,
        location: Location,
    ) {
        let gone = self.apply(change, location);
        if !change.flags.relocated {
            self.take_over(change.version, manifest, gone);
        }
    }

    /// Makes a record visible and leaves all extents as they are. Gives the records with extents that
    /// the index no longer points to.
    pub(crate) fn apply(&mut self, change: &Change<'_>, location: Location) -> Vec<Displaced> {
        let mut gone = Vec::new();
        if change.flags.relocated || change.flags.void {
            self.move_entry(change, location);
            return gone;
        }
        match change.kind {
            RecordKind::Object | RecordKind::DeleteMarker => {
                let key = index_key::object(change.bucket, change.key);
                if !change.flags.versioned {
                    self.remove_null(&key, &mut gone);
                }
                self.insert(&key, change, location);
                if ends_upload(change.kind, change.upload.0) {
                    self.end_upload(change, &mut gone);
                }
            }
            RecordKind::Tombstone => {
                let key = index_key::object(change.bucket, change.key);
                match change.upload.0 {
                    0 => self.remove_null(&key, &mut gone),
                    version => self.remove(&key, version, &mut gone),
                }
            }
            RecordKind::UploadBegin => {
                self.insert(&index_key::upload(change.bucket, change.key), change, location);
            }
            RecordKind::Part => {
                let key = index_key::part(change.upload, change.part_number);
                self.remove_null(&key, &mut gone);
                self.insert(&key, change, location);
            }
            RecordKind::UploadAbort => self.end_upload(change, &mut gone),
            RecordKind::Bucket => {
                let key = index_key::bucket(change.bucket);
                self.remove_null(&key, &mut gone);
                self.insert(&key, change, location);
            }
            RecordKind::BucketDelete => {
                self.remove_null(&index_key::bucket(change.bucket), &mut gone);
            }
        }
        gone
    }

    /// The units of a manifest belong to a published record from now on; what that displaced gives up
    /// its own, but for those of parts that the new record took over.
    fn take_over(&mut self, version: u64, manifest: Option<&Manifest>, gone: Vec<Displaced>) {
        let parts = manifest.map_or(&[][..], |manifest| &manifest.parts);
        if !parts.is_empty() {
            // Later than every stamp before, although a rename's version was given some time ago: a
            // backup takes a segment with a stamp that it knows for one that it has.
            self.content_stamp = version.max(self.content_stamp + 1);
        }
        for extent in parts.iter().flat_map(|part| &part.extents) {
            self.segments.publish_units(extent, self.content_stamp);
        }
        for displaced in &gone {
            self.segments.hold(displaced.location.segment);
        }
        self.displaced.push(parts.iter().map(|part| part.tag), gone);
    }

    /// A record lies elsewhere now, if it still counts; it may have been amended.
    fn move_entry(&mut self, change: &Change<'_>, location: Location) {
        let Change { kind, bucket, key, upload, part_number, version, .. } = *change;
        let key = index_key::of_record(kind, bucket, key, upload, part_number);
        if change.flags.void {
            return;
        }
        let Some((key, entry)) =
            key.and_then(|key| self.index.get(&key, version).map(|entry| (key, entry)))
        else {
            return;
        };
        self.segments.move_record(entry.segment, entry.span_bytes, location);
        let Location { segment, offset_units, span_bytes } = location;
        let label = change.label;
        let moved = Entry { segment, offset_units, span_bytes, label, ..entry };
        self.index.insert(&key, version, moved);
    }

    fn insert(&mut self, index_key: &[u8], change: &Change<'_>, location: Location) {
        let entry = Entry {
            segment: location.segment,
            offset_units: location.offset_units,
            span_bytes: location.span_bytes,
            size: change.size,
            etag: change.etag.md5,
            parts: change.etag.parts,
            flags: entry_flags(change.kind, change.flags, change.has_extents),
            label: change.label,
        };
        self.segments.add_record(location.segment, location.span_bytes);
        self.usage.add(index_key, &entry);
        if let Some(replaced) = self.index.insert(index_key, change.version, entry) {
            self.usage.remove(index_key, &replaced);
        }
    }

    fn remove_null(&mut self, index_key: &[u8], gone: &mut Vec<Displaced>) {
        if let Some((version, _)) = null_version(&self.index, index_key) {
            self.remove(index_key, version, gone);
        }
    }

    fn remove(&mut self, index_key: &[u8], version: u64, gone: &mut Vec<Displaced>) {
        if let Some(entry) = self.index.remove(index_key, version) {
            self.segments.remove_record(entry.segment, entry.span_bytes);
            self.usage.remove(index_key, &entry);
            if entry.flags & FLAG_EXTENTS != 0 {
                gone.push(Displaced { location: location_of(&entry), version });
            }
        }
    }

    fn end_upload(&mut self, change: &Change<'_>, gone: &mut Vec<Displaced>) {
        let upload = change.upload;
        self.remove(&index_key::upload(change.bucket, change.key), upload.0, gone);
        for (key, version) in self.part_keys(upload) {
            self.remove(&key, version, gone);
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
