//! The index of a shard from its logs alone.
//!
//! No checkpoint is read. Every group of every segment that holds a log is looked at, in no particular
//! order. A record is dead if its place is named by what superseded it or by a husk of that; so what must
//! not come back is told as long as it is on disk itself (`FORMAT.md`, *Moved records and husks*). It is
//! dead, too, if a tombstone names its version; and a null version, if a newer null version of its key, a
//! husk of one, or a tombstone of null versions is there. Versions beside others say nothing about each
//! other. Of copies that were moved or amended the one that was written last counts.
//!
//! **Damage.** A record has checksums of its own, so one in a damaged group counts if it verifies. Of
//! one that does not, the head may still tell what it was: then that is lost, and nothing older takes
//! its place.
//!
//! **The end of a log** is judged as recovery does: what follows the first missing group counts only if
//! something tells that it was durable.

use super::groups::{Groups, LogSegment, Piece};
use super::salvage;
use crate::bucket_ops::is_catalog;
use crate::catalog::Catalog;
use crate::core::CoreContext;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::record::{Head, Location, RecordKind, Sections};
use crate::format::segment::{Header, SegmentKind, Stream};
use crate::index::{Entry, Index};
use crate::index_key;
use crate::inspect::bytes::SegmentBytes;
use crate::limits::{FINDINGS_KEPT_MAX, GROUP_BYTES_MAX, GROUPS_IN_FLIGHT_MAX};
use crate::platform::{BLOCK_BYTES, Platform};
use crate::recover::begins_relocation_log;
use crate::state::{FLAG_VERSIONED, entry_flags, null_version};
use crate::types::{BucketId, UploadId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// By so many LSNs a log begins anew behind a rebuild: groups that cannot be read may have had some beyond
/// the last that can.
pub(super) const LSN_DISTANCE: u64 = 1 << 32;

/// What the logs of a shard say.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) index: Index,
    /// By segment: those that hold a log.
    pub(super) logs: BTreeMap<u32, LogFound>,
    /// Greatest of anything seen.
    pub(super) bucket_id: u32,
    pub(super) version: u64,
    pub(super) epoch: u64,
    pub(super) lsn: u64,
    pub(super) groups: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Places that cannot be read.
    pub(super) damages: Vec<Damage>,
    /// Records that cannot be read, and what they were.
    pub(super) lost: Vec<Lost>,
    /// Buckets that there are, by id.
    buckets: HashMap<u32, BucketFound>,
    /// The newest version at which a key's null version was gone.
    deaths: HashMap<Vec<u8>, u64>,
    /// Versions that were removed by name.
    removed: HashSet<(Vec<u8>, u64)>,
    ended: HashSet<u64>,
    /// Segment, offset and epoch of records that others superseded.
    dead_places: HashSet<(u32, u32, u64)>,
    /// Number of the newest change of the catalogue.
    catalog_sequence: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LogFound {
    pub(super) stream: Stream,
    pub(super) epoch: u64,
    pub(super) opened: u64,
    first_lsn: u64,
    /// Behind its last group.
    pub(super) end_lsn: u64,
    /// The segment that the seal names, and the seal's checksum.
    seal: Option<(u32, u64)>,
}

impl LogFound {
    /// Whether the same log goes on there. Behind a rebuild it is another one.
    fn is_before(&self, other: &Self) -> bool {
        other.stream == self.stream
            && other.first_lsn > self.first_lsn
            && other.first_lsn - self.first_lsn < LSN_DISTANCE
    }
}

#[derive(Debug)]
struct BucketFound {
    version: u64,
    name: Vec<u8>,
    created: u64,
    settings: BTreeMap<u16, Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Damage {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) struct Lost {
    pub(super) index_key: Vec<u8>,
    pub(super) version: u64,
    /// It stands beside other versions.
    is_versioned: bool,
    pub(super) location: Location,
}

/// Gathers what the logs of a shard say. With `by_name`, records that cannot be read count too if it is
/// known what they were: for telling what is damaged.
pub(super) async fn collect<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    headers: &[Header],
    by_name: bool,
) -> Collected {
    let mut collected = Collected::default();
    let mut plans: Vec<(u32, LogFound)> = Vec::new();
    for (header, segment) in headers.iter().zip(0..) {
        if let Header::Valid(header) = header {
            collected.epoch = collected.epoch.max(header.epoch);
            collected.version = collected.version.max(header.opened_ns);
            collected.lsn = collected.lsn.max(header.first_lsn);
            if header.kind == SegmentKind::Log {
                let found = LogFound {
                    stream: header.stream,
                    epoch: header.epoch,
                    opened: header.opened_ns,
                    first_lsn: header.first_lsn,
                    end_lsn: header.first_lsn,
                    seal: None,
                };
                plans.push((segment, found));
            }
        }
    }
    collected.logs.extend(plans.iter().copied());
    while let Some((segment, found)) = plans.pop() {
        let is_last = collected.is_last(&found);
        collected.segment(context, shard, segment, found, is_last, by_name).await;
        if plans.is_empty() {
            plans.extend(collected.unheaded(context, shard, headers).await);
            collected.logs.extend(plans.iter().copied());
        }
    }
    collected.settle();
    collected
}

impl Collected {
    /// Whether no other segment of its log begins behind it.
    pub(super) fn is_last(&self, log: &LogFound) -> bool {
        !self.logs.values().any(|other| log.is_before(other))
    }

    /// A segment whose header is damaged and that a seal names as the next one: its first group
    /// continues the log.
    async fn unheaded<P: Platform>(
        &self,
        context: &Rc<CoreContext<P>>,
        shard: u16,
        headers: &[Header],
    ) -> Option<(u32, LogFound)> {
        for log in self.logs.values() {
            let Some((segment, chain)) = log.seal else { continue };
            let is_damaged = matches!(headers.get(segment as usize), Some(Header::Damaged(_)));
            if !is_damaged || self.logs.contains_key(&segment) {
                continue;
            }
            let path = context.layout.segment_path(shard, segment);
            let bytes = SegmentBytes::open(&context.platform, &path, context.layout.segment_bytes);
            let Ok(mut bytes) = bytes.await else { continue };
            let Ok(block) = bytes.at(BLOCK_BYTES as u64, BLOCK_BYTES).await else { continue };
            let Ok((group, _)) = GroupHeader::decode(context.salt, block) else { continue };
            let continues = (group.shard, group.stream, group.segment)
                == (shard, log.stream, segment)
                && (group.lsn, group.chain_before) == (log.end_lsn, chain);
            if continues {
                let found = LogFound {
                    epoch: group.epoch,
                    first_lsn: group.lsn,
                    end_lsn: group.lsn,
                    seal: None,
                    ..*log
                };
                return Some((segment, found));
            }
        }
        self.unheaded_beginning(context, shard, headers).await
    }

    /// The same for the segment in which the relocation log begins, which nothing names.
    async fn unheaded_beginning<P: Platform>(
        &self,
        context: &Rc<CoreContext<P>>,
        shard: u16,
        headers: &[Header],
    ) -> Option<(u32, LogFound)> {
        for (header, segment) in headers.iter().zip(0..) {
            if matches!(header, Header::Valid(_)) || self.logs.contains_key(&segment) {
                continue;
            }
            let path = context.layout.segment_path(shard, segment);
            let bytes = SegmentBytes::open(&context.platform, &path, context.layout.segment_bytes);
            let Ok(mut bytes) = bytes.await else { continue };
            let Ok(block) = bytes.at(BLOCK_BYTES as u64, BLOCK_BYTES).await else { continue };
            let Ok((group, _)) = GroupHeader::decode(context.salt, block) else { continue };
            if begins_relocation_log(context.salt, shard, segment, block) {
                let found = LogFound {
                    stream: Stream::Relocation,
                    epoch: group.epoch,
                    opened: 0,
                    first_lsn: 1,
                    end_lsn: 1,
                    seal: None,
                };
                return Some((segment, found));
            }
        }
        None
    }

    async fn segment<P: Platform>(
        &mut self,
        context: &Rc<CoreContext<P>>,
        shard: u16,
        segment: u32,
        mut found: LogFound,
        is_last: bool,
        by_name: bool,
    ) {
        let mut of = LogSegment {
            shard,
            segment,
            stream: found.stream,
            epoch: found.epoch,
            end: context.layout.segment_bytes,
        };
        if is_last {
            of.end = end_of_log(context, of, found.first_lsn).await;
        }
        let path = context.layout.segment_path(shard, segment);
        let bytes = SegmentBytes::open(&context.platform, &path, context.layout.segment_bytes);
        let bytes = match bytes.await {
            Ok(bytes) => bytes,
            Err(reason) => {
                self.logs.insert(segment, found);
                return self.damages.push(Damage { segment, offset: 0, reason });
            }
        };
        let mut groups = Groups::new(bytes, context.salt, of);
        while let Some(piece) = groups.next().await {
            match piece {
                Piece::Group(group) => {
                    let header = &group.header;
                    found.end_lsn = header.lsn + 1;
                    found.seal = header.next_segment.map(|next| (next, group.checksum));
                    self.lsn = self.lsn.max(header.lsn);
                    self.epoch = self.epoch.max(header.epoch);
                    self.groups += 1;
                    self.bytes += u64::from(header.group_bytes);
                    if let Err(malformed) = &group.content {
                        let (offset, reason) = (group.offset, malformed.0.to_owned());
                        self.damages.push(Damage { segment, offset, reason });
                    }
                    let end = GROUP_HEADER_BYTES + header.content_bytes as usize;
                    let place = (segment, group.offset);
                    self.records(context, place, group.bytes, GROUP_HEADER_BYTES..end, by_name);
                }
                // Behind the last group there need be nothing; what is there was never acknowledged.
                Piece::Gap(gap) if gap.is_last && is_last => break,
                Piece::Gap(gap) => {
                    let (offset, reason) = (gap.from, gap.reason.clone());
                    self.damages.push(Damage { segment, offset, reason });
                    // Behind a sealed segment's damaged end may lie an earlier use's remains.
                    let to = match gap.is_last {
                        true => gap.to.min(gap.from + GROUP_BYTES_MAX as u64),
                        false => gap.to,
                    };
                    let mut from = gap.from;
                    while from < to {
                        let count = (to - from).min(GROUP_BYTES_MAX as u64) as usize;
                        if let Ok(bytes) = groups.bytes.at(from, count).await {
                            self.records(context, (segment, from), bytes, 0..count, by_name);
                        }
                        from += count as u64;
                    }
                }
            }
        }
        self.logs.insert(segment, found);
    }

    /// The records in a range of bytes that were read from a place.
    fn records<P: Platform>(
        &mut self,
        context: &CoreContext<P>,
        (segment, offset): (u32, u64),
        bytes: &[u8],
        range: std::ops::Range<usize>,
        by_name: bool,
    ) {
        salvage::records(context.salt, bytes, range, |found| {
            let head = &found.head;
            let Ok(sections) = head.sections() else { return };
            let location = Location {
                segment,
                offset_units: ((offset + found.at as u64) / 8) as u32,
                span_bytes: head.span_bytes() as u32,
            };
            let data = bytes.get(found.at + head.head_bytes..found.at + head.span_bytes());
            let is_whole =
                !found.corrected && data.is_some_and(|data| head.verify_data(data).is_ok());
            self.records += 1;
            self.record(head, sections, location, is_whole || by_name);
        });
    }

    fn record(&mut self, head: &Head<'_>, sections: Sections, location: Location, counts: bool) {
        self.bucket_id = self.bucket_id.max(head.bucket);
        self.version = self.version.max(head.version);
        if is_catalog(head.kind) {
            self.catalog_sequence = self.catalog_sequence.max(head.upload);
        }
        let (bucket, upload) = (BucketId(head.bucket), UploadId(head.upload));
        let part_number = sections.part_number.unwrap_or(0);
        let key = index_key::of_record(head.kind, bucket, head.key, upload, part_number);
        let ends_upload = matches!(head.kind, RecordKind::Object | RecordKind::UploadAbort);
        if ends_upload && head.upload != 0 {
            self.ended.insert(head.upload);
        }
        let Some(key) = key else { return };
        let is_end = head.flags.void
            || matches!(head.kind, RecordKind::Tombstone | RecordKind::BucketDelete);
        self.take_killed(head, &sections);
        if head.kind == RecordKind::Tombstone && head.upload != 0 {
            self.removed.insert((key, head.upload));
        } else if is_end {
            // A husk may be of a copy, and its record be alive elsewhere; what was before it is gone.
            let last = head.version.saturating_sub(u64::from(head.flags.void));
            if head.kind != RecordKind::UploadBegin && !head.flags.versioned {
                let death = self.deaths.entry(key).or_default();
                *death = (*death).max(last);
            }
        } else if counts {
            self.candidate(key, head, sections, location);
        } else if self.lost.len() < FINDINGS_KEPT_MAX {
            self.lost.push(Lost {
                index_key: key,
                version: head.version,
                is_versioned: head.flags.versioned,
                location,
            });
        }
    }

    /// Notes the places whose records are dead. A record that was moved names its former place, and is
    /// told from that one by `is_later`. The beginning of an upload names others that are open.
    fn take_killed(&mut self, head: &Head<'_>, sections: &Sections) {
        for killed in &sections.killed {
            let is_own = killed.version == head.version;
            let counts = match head.kind {
                RecordKind::UploadBegin => is_own && head.flags.void,
                _ => !is_own || head.flags.void,
            };
            if counts {
                let Location { segment, offset_units, .. } = killed.location;
                self.dead_places.insert((segment, offset_units, killed.epoch));
            }
        }
    }

    fn is_dead(&self, entry: &Entry) -> bool {
        let epoch = self.logs.get(&entry.segment).map_or(0, |log| log.epoch);
        self.dead_places.contains(&(entry.segment, entry.offset_units, epoch))
    }

    /// A record that is alive unless something newer says otherwise.
    fn candidate(&mut self, key: Vec<u8>, head: &Head<'_>, sections: Sections, place: Location) {
        let entry = Entry {
            segment: place.segment,
            offset_units: place.offset_units,
            span_bytes: place.span_bytes,
            size: head.size,
            etag: head.etag.md5,
            parts: head.etag.parts,
            flags: entry_flags(head.kind, head.flags, sections.manifest.is_some()),
            label: head.label,
        };
        // Several uploads of a key may be under way.
        let stands_beside = head.kind == RecordKind::UploadBegin || head.flags.versioned;
        let known = match stands_beside {
            true => self.index.get(&key, head.version).map(|entry| (head.version, entry)),
            false => null_version(&self.index, &key),
        };
        match known {
            Some((version, _)) if version > head.version => return,
            Some((version, old)) if version == head.version && self.is_later(&old, &place) => {
                return;
            }
            Some((version, _)) => {
                self.index.remove(&key, version);
            }
            None => {}
        }
        self.index.insert(&key, head.version, entry);
        if head.kind == RecordKind::Bucket {
            let found = BucketFound {
                version: head.version,
                name: head.key.to_vec(),
                created: head.size,
                settings: sections.settings.unwrap_or_default(),
            };
            self.buckets.insert(head.bucket, found);
        }
    }

    /// Of two copies of one record, whether the one that is known was moved there later.
    fn is_later(&self, known: &Entry, other: &Location) -> bool {
        let rank = |segment: u32, offset_units: u32| {
            let log = self.logs.get(&segment);
            let log = log.map(|log| (log.stream == Stream::Relocation, log.first_lsn));
            (log, offset_units)
        };
        rank(known.segment, known.offset_units) > rank(other.segment, other.offset_units)
    }

    /// Takes out what is gone.
    fn settle(&mut self) {
        let lost: Vec<_> = self
            .lost
            .iter()
            .map(|lost| (lost.index_key.clone(), lost.version, lost.is_versioned))
            .collect();
        for (key, version, is_versioned) in lost {
            let flags = if is_versioned { FLAG_VERSIONED } else { 0 };
            if self.is_gone(&key, version, flags) || self.is_known(&key, version, flags) {
                self.lost.retain(|lost| (&lost.index_key, lost.version) != (&key, version));
            } else if key.first() != Some(&b'u') && !is_versioned {
                self.deaths.insert(key, version);
            }
        }
        for (key, death) in &self.deaths {
            let null = null_version(&self.index, key).filter(|(version, _)| version <= death);
            if let Some((version, _)) = null {
                self.index.remove(key, version);
            }
        }
        for (key, version) in &self.removed {
            self.index.remove(key, *version);
        }
        for (key, version) in self.keys(None, |_, _, entry| self.is_dead(entry)) {
            self.index.remove(&key, version);
        }
        let open = self.settle_uploads();
        let of_open = |key: &[u8]| {
            let upload = key.get(1..).and_then(|rest| rest.first_chunk::<8>());
            upload.is_some_and(|id| open.contains(&u64::from_be_bytes(*id)))
        };
        let orphans = self.keys(Some(b'p'), |key, _, _| !of_open(key));
        for (key, version) in orphans {
            self.index.remove(&key, version);
        }
        self.lost.retain(|lost| lost.index_key.first() != Some(&b'p') || of_open(&lost.index_key));
        let index = &self.index;
        self.buckets.retain(|id, found| {
            index.get(&index_key::bucket(BucketId(*id)), found.version).is_some()
        });
    }

    /// Whether something says that a version of a key is gone.
    fn is_gone(&self, key: &[u8], version: u64, flags: u8) -> bool {
        let is_null = flags & FLAG_VERSIONED == 0;
        (is_null && self.deaths.get(key).is_some_and(|death| *death >= version))
            || self.removed.contains(&(key.to_vec(), version))
    }

    /// Whether a version of a key, or a later one that took its place, was found.
    fn is_known(&self, key: &[u8], version: u64, flags: u8) -> bool {
        match flags & FLAG_VERSIONED == 0 {
            true => null_version(&self.index, key).is_some_and(|(newest, _)| newest >= version),
            false => self.index.get(key, version).is_some(),
        }
    }

    /// Takes out the uploads that have ended; gives the others.
    fn settle_uploads(&mut self) -> HashSet<u64> {
        let mut open = HashSet::new();
        for (key, version) in self.keys(Some(b'u'), |_, _, _| true) {
            if self.ended.contains(&version) {
                self.index.remove(&key, version);
            } else {
                open.insert(version);
            }
        }
        self.lost.retain(|lost| {
            lost.index_key.first() != Some(&b'u') || !self.ended.contains(&lost.version)
        });
        open
    }

    /// The keys of one kind, or of all, for which something holds.
    fn keys(
        &self,
        kind: Option<u8>,
        holds: impl Fn(&[u8], u64, &Entry) -> bool,
    ) -> Vec<(Vec<u8>, u64)> {
        let mut keys = Vec::new();
        let mut cursor = self.index.seek(kind.as_slice(), u64::MAX);
        while let Some((key, version, entry)) = cursor.next() {
            if kind.is_some() && key.first() != kind.as_ref() {
                break;
            }
            if holds(key, version, &entry) {
                keys.push((key.to_vec(), version));
            }
        }
        keys
    }

    /// An entry of a checkpoint, unless something newer is known: for telling what is damaged.
    pub(super) fn take_entry(&mut self, key: &[u8], version: u64, entry: Entry) {
        let is_upload = key.first() == Some(&b'u');
        let upload = match key.first() {
            Some(b'u') => Some(version),
            Some(b'p') => {
                let id = key.get(1..).and_then(|rest| rest.first_chunk::<8>());
                id.map(|id| u64::from_be_bytes(*id))
            }
            _ => None,
        };
        let is_known = match is_upload {
            true => self.index.get(key, version).is_some(),
            false => self.is_known(key, version, entry.flags),
        };
        let is_gone = self.is_gone(key, version, entry.flags)
            || upload.is_some_and(|upload| self.ended.contains(&upload));
        if !is_known && !is_gone {
            self.index.insert(key, version, entry);
        }
    }

    /// The buckets that there are.
    pub(super) fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for (id, found) in &self.buckets {
            let BucketFound { name, created, settings, .. } = found;
            catalog.apply(RecordKind::Bucket, BucketId(*id), name, *created, settings);
        }
        // One that lacks a bucket counts less than a copy that does not.
        let lacks = self.lost.iter().any(|lost| lost.index_key.first() == Some(&b'b'));
        catalog.set_sequence(self.catalog_sequence.saturating_sub(u64::from(lacks)));
        catalog
    }
}

/// Where a log ends in its last segment: at the first missing group, unless something behind it tells
/// that it was durable.
async fn end_of_log<P: Platform>(
    context: &Rc<CoreContext<P>>,
    of: LogSegment,
    first_lsn: u64,
) -> u64 {
    let path = context.layout.segment_path(of.shard, of.segment);
    let bytes = SegmentBytes::open(&context.platform, &path, context.layout.segment_bytes);
    let Ok(bytes) = bytes.await else { return of.end };
    let mut groups = Groups::new(bytes, context.salt, of);
    let mut next = first_lsn;
    let mut missing: Option<(u64, u64)> = None;
    while let Some(piece) = groups.next().await {
        let Piece::Group(group) = piece else {
            if let Piece::Gap(gap) = piece {
                missing.get_or_insert((next, gap.from));
            }
            continue;
        };
        let header = &group.header;
        if let Some((lsn, _)) = missing {
            if header.durable_lsn >= lsn || header.lsn >= lsn + GROUPS_IN_FLIGHT_MAX as u64 {
                return of.end;
            }
        } else if group.content.is_err() || header.lsn != next {
            missing = Some((next, group.offset));
        }
        next = header.lsn + 1;
    }
    missing.map_or(of.end, |(_, offset)| offset)
}
