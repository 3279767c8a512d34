//! The logs of a shard against the index that points into them.
//!
//! Each segment is read from its beginning to its end. Of every group: the chain, header and content
//! checksums; of every record its head and data; of a record that the index points to, that the entry
//! says what the record says. Entries to which no record was found are read one by one afterwards, and
//! named with what is wrong.
//!
//! Budget: a few segments at once, each with one window and the large objects of one group; four bytes
//! for each live record of those segments.

use super::chunks::Large;
use super::groups::{FoundGroup, Gap, Groups, LogSegment, Piece};
use super::salvage::{self, Salvaged};
use super::{At, Grade, Run, Structure, View};
use crate::format::Malformed;
use crate::format::group::GROUP_HEADER_BYTES;
use crate::format::manifest::Manifest;
use crate::format::record::{Head, RecordKind, Records, Sections};
use crate::format::segment::{Header, SegmentHeader, Stream};
use crate::index::Entry;
use crate::inspect::bytes::SegmentBytes;
use crate::limits::{GROUP_BYTES_MAX, VERIFY_SEGMENTS_IN_FLIGHT};
use crate::platform::{BLOCK_BYTES, Platform};
use crate::segments::Segment;
use crate::state::{entry_flags, location_of};
use crate::wait::join_all;
use crate::window::Window;

/// One segment of a log, and what is known of it beforehand.
#[derive(Debug, Clone, Copy)]
struct Plan {
    of: LogSegment,
    /// LSN behind its last group.
    end_lsn: Option<u64>,
    /// The log goes on elsewhere.
    is_sealed: bool,
    live_records: u32,
}

impl Plan {
    /// Whether the log does not have that group in this segment: it has gone on elsewhere before.
    fn ends_before(&self, lsn: u64) -> bool {
        self.is_sealed && self.end_lsn.is_some_and(|end_lsn| lsn >= end_lsn)
    }
}

/// How a segment turned out.
#[derive(Debug, Default)]
struct Walked {
    /// What continues the chain: LSN, and checksum of the group before. None behind a gap.
    next: Option<(u64, u64)>,
    /// The same as the segment's header has it.
    first: Option<(u64, u64)>,
    epoch: u64,
    has_seal: bool,
    /// Offsets of live records that were found, ascending.
    seen: Vec<u32>,
}

impl<P: Platform> Run<'_, P> {
    pub(super) async fn logs(&self, view: &View) {
        let segments = view.state.segments.iter();
        let plans: Vec<Plan> =
            segments.filter_map(|(segment, row)| self.plan(view, segment, row)).collect();
        let segment_bytes = self.context.layout.segment_bytes;
        self.count(|counts| counts.bytes_total += plans.len() as u64 * segment_bytes);
        for stream in [Stream::Foreground, Stream::Relocation] {
            let mut links = Vec::new();
            let plans: Vec<&Plan> = plans.iter().filter(|plan| plan.of.stream == stream).collect();
            for batch in plans.chunks(VERIFY_SEGMENTS_IN_FLIGHT) {
                let walks = batch.iter().map(|plan| self.log_segment(view, plan));
                for (walked, plan) in join_all(walks).await.into_iter().zip(batch) {
                    links.push((plan.of.segment, Walked { seen: Vec::new(), ..walked }));
                }
            }
            self.chain_across(view.shard, links);
        }
    }

    fn plan(&self, view: &View, segment: u32, row: &Segment) -> Option<Plan> {
        let log = row.log()?;
        let end = match &view.ends {
            Some((foreground, relocation)) => [Some(foreground), relocation.as_ref()],
            None => [None, None],
        };
        let active = end.into_iter().flatten().find(|at| at.segment == segment);
        let of = LogSegment {
            shard: view.shard,
            segment,
            stream: log.stream,
            epoch: row.epoch,
            end: active.map_or(self.context.layout.segment_bytes, |at| at.offset),
        };
        let end_lsn = active.map(|at| at.next_lsn).or(log.end_lsn);
        let is_sealed = active.is_none() && log.end_lsn.is_some();
        Some(Plan { of, end_lsn, is_sealed, live_records: row.live_records })
    }

    /// Neighbours in the log, of those that are still there, continue each other.
    fn chain_across(&self, shard: u16, mut links: Vec<(u32, Walked)>) {
        links.sort_by_key(|(_, walked)| walked.first.map(|(lsn, _)| lsn));
        for [(_, before), (segment, walked)] in links.array_windows() {
            if let (Some((end, chain)), Some((first, chain_before))) = (before.next, walked.first)
                && end == first
                && chain != chain_before
            {
                let place = (shard, *segment, 0);
                let reason = "the segment does not continue the one before it";
                self.find_in_segment(place, Structure::Segment, reason, None);
            }
        }
    }

    async fn log_segment(&self, view: &View, plan: &Plan) -> Walked {
        let mut walked = Walked { epoch: plan.of.epoch, ..Walked::default() };
        let LogSegment { shard, segment, .. } = plan.of;
        let path = self.context.layout.segment_path(shard, segment);
        let segment_bytes = self.context.layout.segment_bytes;
        match SegmentBytes::open(&self.context.platform, &path, segment_bytes).await {
            Ok(mut bytes) => {
                walked.first = self.first_link(plan, &mut bytes).await;
                walked.next = walked.first;
                let groups = Groups::new(bytes, self.context.salt, plan.of);
                self.walk(view, plan, groups, &mut walked).await;
            }
            Err(reason) => {
                self.find_in_segment((shard, segment, 0), Structure::Segment, reason, None);
            }
        }
        if walked.seen.len() < plan.live_records as usize {
            self.seek_missing(view, segment, &walked.seen).await;
        }
        walked
    }

    async fn first_link(&self, plan: &Plan, bytes: &mut SegmentBytes<P>) -> Option<(u64, u64)> {
        match SegmentHeader::decode(bytes.at(0, BLOCK_BYTES).await.ok()?) {
            Header::Valid(header) if header.epoch == plan.of.epoch => {
                Some((header.first_lsn, header.chain_before))
            }
            _ => None,
        }
    }

    async fn walk(&self, view: &View, plan: &Plan, mut groups: Groups<P>, walked: &mut Walked) {
        let mut last_gap = None;
        while let Some(piece) = groups.next().await {
            let (read, larges) = match piece {
                Piece::Group(group) if plan.ends_before(group.header.lsn) => break,
                Piece::Group(group) => {
                    (group.bytes.len() as u64, self.group(view, plan, &group, walked))
                }
                Piece::Gap(gap)
                    if gap.is_last
                        || walked.next.is_some_and(|(next, _)| plan.ends_before(next)) =>
                {
                    last_gap = Some(gap);
                    break;
                }
                Piece::Gap(gap) => {
                    walked.next = None;
                    let larges = self.gap(view, plan, &gap, &mut groups.bytes, walked).await;
                    (gap.to - gap.from, larges)
                }
            };
            self.larges(view, larges).await;
            self.count(|counts| counts.bytes_read += read);
        }
        self.judge_end(view, plan, groups, last_gap, walked).await;
    }

    /// Whether the segment's groups end where the log says that they do.
    async fn judge_end(
        &self,
        view: &View,
        plan: &Plan,
        mut groups: Groups<P>,
        last_gap: Option<Gap>,
        walked: &mut Walked,
    ) {
        let LogSegment { shard, segment, end, .. } = plan.of;
        let bytes = &mut groups.bytes;
        if let (Some((next, _)), Some(end_lsn)) = (walked.next, plan.end_lsn)
            && next != end_lsn
        {
            let from = last_gap.as_ref().map_or(end, |gap| gap.from);
            let gap = last_gap.unwrap_or(Gap {
                from,
                to: from,
                reason: "the segment ends".into(),
                is_last: true,
            });
            let to = gap.to.min(gap.from + GROUP_BYTES_MAX as u64);
            let reason = format!("groups {next} to {} are missing: {}", end_lsn - 1, gap.reason);
            let larges = self.gap(view, plan, &Gap { to, reason, ..gap }, bytes, walked).await;
            return self.larges(view, larges).await;
        }
        if view.ends.is_none() && plan.is_sealed && !walked.has_seal {
            let reason = "the last group of the segment does not verify".to_owned();
            let from = last_gap.as_ref().map_or(end, |gap| gap.from);
            let to = (from + GROUP_BYTES_MAX as u64).min(end);
            let gap = Gap { from, to, reason, is_last: true };
            let larges = self.gap(view, plan, &gap, bytes, walked).await;
            return self.larges(view, larges).await;
        }
        if walked.has_seal || plan.is_sealed {
            return;
        }
        // Sectors are written whole: what is a header but for one bit was not torn.
        let end = last_gap.map_or(end, |gap| gap.from);
        let at_end = bytes.at(end, BLOCK_BYTES).await.map(<[u8]>::to_vec).unwrap_or_default();
        let of = (plan.of.shard, plan.of.stream, segment);
        let is_newer = |header: &crate::format::group::GroupHeader| {
            (header.shard, header.stream, header.segment) == of
                && header.epoch >= walked.epoch
                && walked.next.is_none_or(|(next, _)| header.lsn >= next)
        };
        let salt = self.context.salt;
        let whole = crate::format::group::GroupHeader::decode(salt, &at_end).ok();
        if let Some((header, _)) = whole.filter(|(header, _)| is_newer(header)) {
            let path = self.context.layout.segment_path(shard, segment);
            let structure = Structure::Group;
            let at = At { shard: Some(shard), structure, path: &path, offset: Some(end) };
            let reason = format!(
                "group {} behind the end of the log does not verify: it was never acknowledged, or is \
                 damaged",
                header.lsn
            );
            self.find(Grade::Doubt, at, reason, None);
        } else if salvage::corrected_group(salt, &at_end).is_some_and(|header| is_newer(&header)) {
            let reason = "the header of the log's last group does not verify".to_owned();
            let to = (end + GROUP_BYTES_MAX as u64).min(self.context.layout.segment_bytes);
            let gap = Gap { from: end, to, reason, is_last: true };
            let larges = self.gap(view, plan, &gap, bytes, walked).await;
            self.larges(view, larges).await;
        }
    }

    /// One group; gives its live large objects.
    fn group(
        &self,
        view: &View,
        plan: &Plan,
        group: &FoundGroup<'_>,
        walked: &mut Walked,
    ) -> Vec<Large> {
        let header = &group.header;
        let LogSegment { shard, segment, .. } = plan.of;
        let place = (shard, segment, group.offset);
        let continues = walked.next.is_none_or(|next| next == (header.lsn, header.chain_before));
        if !continues || header.epoch < walked.epoch {
            let reason = format!("group {} does not continue the log", header.lsn);
            self.find_in_segment(place, Structure::Group, reason, None);
        }
        walked.next = Some((header.lsn + 1, group.checksum));
        walked.epoch = header.epoch;
        walked.has_seal |= header.next_segment.is_some();
        let mut larges = Vec::new();
        let mut records = 0;
        let content_end = GROUP_HEADER_BYTES + header.content_bytes as usize;
        if let Err(malformed) = &group.content {
            let reason = format!("group {}: {malformed}", header.lsn);
            self.find_in_segment(place, Structure::Group, reason, None);
            let range = GROUP_HEADER_BYTES..content_end;
            salvage::records(self.context.salt, group.bytes, range, |found| {
                records += 1;
                let record = RecordAt::new(plan, group.offset, group.bytes, &found);
                larges.extend(self.record(view, &record, None, walked));
            });
        } else {
            let salt = self.context.salt;
            let count = header.record_count;
            for item in Records::new(salt, group.bytes, GROUP_HEADER_BYTES, content_end, count) {
                let (at, head) = match item {
                    Ok(item) => item,
                    Err(malformed) => {
                        let reason = format!("a record of group {}: {malformed}", header.lsn);
                        self.find_in_segment(place, Structure::Record, reason, None);
                        break;
                    }
                };
                records += 1;
                let found = Salvaged { at, head, corrected: false };
                let record = RecordAt::new(plan, group.offset, group.bytes, &found);
                larges.extend(self.record(view, &record, None, walked));
            }
        }
        self.count(|counts| {
            counts.groups += 1;
            counts.records += records;
        });
        larges
    }

    /// A place without a readable group; gives the large objects whose records can be read.
    async fn gap(
        &self,
        view: &View,
        plan: &Plan,
        gap: &Gap,
        bytes: &mut SegmentBytes<P>,
        walked: &mut Walked,
    ) -> Vec<Large> {
        let LogSegment { shard, segment, .. } = plan.of;
        let place = (shard, segment, gap.from);
        self.find_in_segment(place, Structure::Group, gap.reason.clone(), None);
        let mut larges = Vec::new();
        let mut from = gap.from;
        while from < gap.to {
            let count = (gap.to - from).min(GROUP_BYTES_MAX as u64) as usize;
            // Where a part cannot be read, the index tells what lay there.
            if let Ok(bytes) = bytes.at(from, count).await {
                salvage::records(self.context.salt, bytes, 0..count, |found| {
                    let record = RecordAt::new(plan, from, bytes, &found);
                    let reason = "it lies in a group that cannot be read";
                    larges.extend(self.record(view, &record, Some(reason), walked));
                });
            }
            from += count as u64;
        }
        larges
    }

    /// A record that was found. `concern`: what is to be said of it if it is alive.
    fn record(
        &self,
        view: &View,
        record: &RecordAt<'_>,
        concern: Option<&str>,
        walked: &mut Walked,
    ) -> Option<Large> {
        let RecordAt { head, location, .. } = record;
        let place = (view.shard, location.segment, location.offset());
        let mut reasons: Vec<String> = concern.map(str::to_owned).into_iter().collect();
        if record.corrected {
            reasons.push("its head does not verify".into());
        }
        if let Err(malformed) = record.verify_data() {
            reasons.push(malformed.0.into());
        }
        let sections = match head.sections() {
            Ok(sections) => sections,
            Err(malformed) => {
                self.find_in_segment(place, Structure::Record, malformed.0, None);
                return None;
            }
        };
        let part_number = sections.part_number.unwrap_or(0);
        let entry = live_entry(view, head, part_number, record)?;
        walked.seen.push(location.offset_units);
        self.count(|counts| counts.live_records += 1);
        reasons.extend(contradictions(head, &sections, &entry).into_iter().map(str::to_owned));
        if head.kind == RecordKind::Bucket {
            reasons.extend(Self::bucket_contradiction(view, head, &sections));
        }
        let named = view.name_of(head, part_number);
        for reason in reasons {
            self.find_in_segment(place, Structure::Record, reason, Some(named.clone()));
        }
        Some(Large { named, manifest: sections.manifest? })
    }

    /// Entries that point into a segment and to no record that was found: each is read by itself.
    async fn seek_missing(&self, view: &View, segment: u32, seen: &[u32]) {
        let mut from: (Vec<u8>, u64) = (Vec::new(), u64::MAX);
        let mut is_first = true;
        loop {
            let mut missing = Vec::new();
            let mut cursor = view.state.index.seek(&from.0, from.1);
            if !std::mem::take(&mut is_first) {
                cursor.next();
            }
            while let Some((key, version, entry)) = cursor.next() {
                if entry.segment == segment && seen.binary_search(&entry.offset_units).is_err() {
                    missing.push((key.to_vec(), version, entry));
                }
                if missing.len() == SOUGHT_AT_ONCE {
                    break;
                }
            }
            for (key, version, entry) in &missing {
                self.seek_record(view, key, *version, entry).await;
            }
            match missing.pop() {
                Some((key, version, _)) if missing.len() + 1 == SOUGHT_AT_ONCE => {
                    from = (key, version);
                }
                _ => return,
            }
        }
    }

    async fn seek_record(&self, view: &View, key: &[u8], version: u64, entry: &Entry) {
        let location = location_of(entry);
        let start = location.offset() - location.offset() % BLOCK_BYTES as u64;
        let at = (location.offset() - start) as usize;
        let bytes = at + location.span_bytes as usize;
        let reason = match Window::open(self.context, view.shard, entry.segment).await {
            Err(error) => error.to_string(),
            Ok(_) if start + bytes as u64 > self.context.layout.segment_bytes => {
                "it should lie beyond the end of its segment".into()
            }
            Ok(mut window) => match window.at(start, bytes).await {
                Err(error) => error.to_string(),
                Ok(bytes) => self.judge_sought(key, version, bytes.get(at..).unwrap_or_default()),
            },
        };
        let named = view.name_of_entry(key, version);
        let place = (view.shard, entry.segment, location.offset());
        self.find_in_segment(place, Structure::Record, reason, Some(named));
    }

    fn judge_sought(&self, key: &[u8], version: u64, bytes: &[u8]) -> String {
        let head = match Head::decode(self.context.salt, bytes) {
            Ok(head) => head,
            Err(malformed) => return format!("its record cannot be read: {malformed}"),
        };
        let data = bytes.get(head.head_bytes..head.span_bytes()).unwrap_or_default();
        let part_number = head.sections().ok().and_then(|sections| sections.part_number);
        let is_it = View::index_key(&head, part_number.unwrap_or(0)).as_deref() == Some(key);
        if !is_it || head.version != version {
            "another record lies where the index has it".into()
        } else if let Err(malformed) = head.verify_data(data) {
            malformed.0.into()
        } else {
            "no group that can be read holds its record".into()
        }
    }
}

/// Entries without a record that are looked into at once.
const SOUGHT_AT_ONCE: usize = 1024;

/// A record and where it lies.
struct RecordAt<'a> {
    head: &'a Head<'a>,
    /// `None`: it reaches beyond what was read.
    data: Option<&'a [u8]>,
    location: crate::format::record::Location,
    corrected: bool,
}

impl<'a> RecordAt<'a> {
    fn new(plan: &Plan, offset: u64, bytes: &'a [u8], found: &'a Salvaged<'_>) -> Self {
        let Salvaged { at, head, corrected } = found;
        let location = crate::format::record::Location {
            segment: plan.of.segment,
            offset_units: ((offset + *at as u64) / 8) as u32,
            span_bytes: head.span_bytes() as u32,
        };
        let data = bytes.get(at + head.head_bytes..at + head.span_bytes());
        Self { head, data, location, corrected: *corrected }
    }

    fn verify_data(&self) -> Result<(), Malformed> {
        self.head.verify_data(self.data.ok_or(Malformed("its data reaches into the next group"))?)
    }
}

/// The entry that points to this very record.
fn live_entry(
    view: &View,
    head: &Head<'_>,
    part_number: u16,
    record: &RecordAt<'_>,
) -> Option<Entry> {
    if head.flags.void || matches!(head.kind, RecordKind::Tombstone | RecordKind::BucketDelete) {
        return None;
    }
    let key = View::index_key(head, part_number)?;
    let entry = view.state.index.get(&key, head.version)?;
    let location = location_of(&entry);
    let is_here = (location.segment, location.offset_units)
        == (record.location.segment, record.location.offset_units);
    is_here.then_some(entry)
}

/// What the index says of a record, and the record does not.
fn contradictions(head: &Head<'_>, sections: &Sections, entry: &Entry) -> Vec<&'static str> {
    let has_extents = sections.manifest.is_some();
    let stored = sections.manifest.as_ref().map_or(head.data_bytes as u64, Manifest::bytes);
    let tells_bytes =
        matches!(head.kind, RecordKind::Object | RecordKind::Part) && !head.flags.shown_size;
    let flags = entry_flags(head.kind, head.flags, has_extents);
    let checks = [
        (entry.size == head.size, "the index has another size"),
        (
            entry.etag == head.etag.md5 && entry.parts == head.etag.parts,
            "the index has another ETag",
        ),
        (entry.label == head.label, "the index has another label"),
        (entry.span_bytes as usize == head.span_bytes(), "the index has another length of it"),
        (entry.flags == flags, "the index has another kind of version or body"),
        (!tells_bytes || stored == head.size, "its bytes are not as many as its size says"),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, reason)| reason).collect()
}
