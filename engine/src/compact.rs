//! Compaction: moves what is alive out of a log segment, so that the segment can be used again.
//!
//! A victim is read from its beginning. Records that the index points to go to the relocation log and
//! keep key and version; the index is changed to their new place when they are durable there. Of dead
//! records something stays too, as long as what they killed is still on disk: without it a rebuild
//! from segments alone would bring that back. Such a husk is a record without a body. It stays of a record
//! that the index knows elsewhere as well: an amended one need not name all that its former copy does.
//!
//! Invariants: a key with a write under way is not moved, and a key that is being moved takes no
//! write: so a record always names the one that it supersedes by its last place. A moved record
//! names its former place. A victim that cannot be read whole keeps what could not be moved, and
//! stays.
//!
//! Budget: one read window, one group, and the heads of what waits for a write under way.

use crate::error::{Error, Result};
use crate::format::group::GROUP_HEADER_BYTES;
use crate::format::record::{
    Encoded, Flags, Head, Killed, Location, Record, RecordKind, Sections, place,
};
use crate::index_key;
use crate::metrics::count;
use crate::platform::Platform;
use crate::scan::{Scan, Scanned};
use crate::segments::{Need, SegmentTable, Stage};
use crate::shard::Shard;
use crate::state::{Change, Space, State, location_of};
use crate::store::Mutation;
use crate::types::{BucketId, UploadId};
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// How often to look again at an upload that is about to end.
const RECHECK: Duration = Duration::from_millis(1);

/// Others run after so many bytes of groups were looked through.
const SLICE_BYTES: u64 = 64 << 10;

/// Something on its way out of the victim.
#[derive(Debug)]
struct Item {
    record: Record,
    /// The key under which the index points to `from`; none for what is dead.
    index_key: Option<Vec<u8>>,
    from: Location,
}

/// How the index knows a record.
enum Standing {
    /// It points to it, under this key.
    Alive(Vec<u8>),
    /// It points to a copy of it: it was amended, or an earlier compaction of this segment was cut short.
    Moved,
    Dead,
}

#[derive(Debug, Default)]
struct Outgoing {
    items: Vec<Item>,
    bytes: usize,
    /// Alive, with a write under way.
    later: Vec<Item>,
    /// Something could not be read, and so nobody knows what it was.
    unreadable: bool,
}

impl Outgoing {
    fn push(&mut self, item: Item) {
        self.bytes += item.from.span_bytes as usize;
        self.items.push(item);
    }
}

/// Whether what a record killed is still on disk.
pub(crate) fn is_there(segments: &SegmentTable, killed: &Killed) -> bool {
    killed.location.span_bytes > 0
        && segments
            .get(killed.location.segment)
            .is_some_and(|row| row.log().is_some() && row.epoch == killed.epoch)
}

/// What remains of a dead record: that its key at its version is gone.
fn husk_of(record: Record) -> Record {
    let Sections { part_number, killed, .. } = record.sections;
    Record {
        flags: Flags {
            relocated: true,
            void: record.kind != RecordKind::Tombstone,
            ..record.flags
        },
        sections: Sections { part_number, killed, ..Sections::default() },
        data: Vec::new(),
        ..record
    }
}

impl State {
    fn standing(&self, head: &Head<'_>, part_number: u16, location: Location) -> Standing {
        let (bucket, upload) = (BucketId(head.bucket), UploadId(head.upload));
        let key = index_key::of_record(head.kind, bucket, head.key, upload, part_number);
        let Some(key) = key.filter(|_| !head.flags.void) else { return Standing::Dead };
        match self.index.get(&key, head.version) {
            Some(entry) if location_of(&entry) == location => Standing::Alive(key),
            Some(_) => Standing::Moved,
            None => Standing::Dead,
        }
    }

    /// Whether a write of the item's key is under way, or somebody holds it.
    fn is_busy(&self, item: &Item, key: &[u8]) -> bool {
        self.pending.contains_key(key)
            || self.relocating.contains(key)
            || (item.record.kind == RecordKind::UploadBegin
                && self.ending.contains(&UploadId(item.record.version)))
    }

    fn is_alive(&self, item: &Item, key: &[u8]) -> bool {
        let entry = self.index.get(key, item.record.version);
        entry.is_some_and(|entry| location_of(&entry) == item.from)
    }
}

impl<P: Platform> Shard<P> {
    /// Moves everything out of a segment that still counts.
    pub(crate) async fn compact(self: &Rc<Self>, segment: u32) -> Result<()> {
        let mut outgoing = Outgoing::default();
        self.empty_segment(segment, &mut outgoing).await?;
        while !outgoing.items.is_empty() || !outgoing.later.is_empty() {
            self.check_going_on()?;
            self.await_writes(&outgoing.later).await;
            let later = std::mem::take(&mut outgoing.later);
            outgoing.items.extend(later);
            self.flush(&mut outgoing).await?;
        }
        let guard = self.relocation_gate.enter().await;
        self.witness_relocation(Need::Compaction).await?;
        drop(guard);
        self.let_go(segment, outgoing.unreadable);
        Ok(())
    }

    /// Background work stops when the shard does.
    fn check_going_on(&self) -> Result<()> {
        let is_over = self.is_latched() || self.context.stopping.get();
        if is_over { Err(Error::Stopping) } else { Ok(()) }
    }

    /// Reads a segment and flushes what comes out of it, group by group.
    async fn empty_segment(self: &Rc<Self>, segment: u32, outgoing: &mut Outgoing) -> Result<()> {
        let (stream, epoch, end_lsn) = {
            let state = self.state.borrow();
            let Some(row) = state.segments.get(segment) else { return Ok(()) };
            let Some(log) = row.log() else { return Ok(()) };
            (log.stream, row.epoch, log.end_lsn)
        };
        let mut scan = Scan::open(&self.context, self.id, segment, stream, epoch, end_lsn).await?;
        let mut started_ns = self.platform.monotonic_ns();
        let mut slice_bytes = 0;
        loop {
            self.check_going_on()?;
            let scanned = match scan.next().await {
                Ok(Some(scanned)) => scanned,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(shard = self.id, segment, %error, "a segment cannot be compacted");
                    outgoing.unreadable = true;
                    break;
                }
            };
            if scanned.gap_bytes > 0 || scanned.content.is_err() {
                count(&self.context.counters.checksum_failures_total, 1);
                outgoing.unreadable = true;
            }
            self.collect(&scanned, outgoing);
            slice_bytes += u64::from(scanned.header.group_bytes);
            if slice_bytes >= SLICE_BYTES {
                slice_bytes = 0;
                self.platform.yield_now().await;
            }
            if outgoing.bytes >= self.relocation_target() {
                self.flush(outgoing).await?;
                self.pause_after(started_ns).await;
                started_ns = self.platform.monotonic_ns();
            }
        }
        // Groups that are damaged at the end are not told of by one behind them.
        outgoing.unreadable |= scan.missing_from().is_some();
        Ok(())
    }

    /// Picks out of a group what must not be lost.
    fn collect(&self, scanned: &Scanned<'_>, outgoing: &mut Outgoing) {
        for item in scanned.records(self.context.salt) {
            // A record that cannot be read is left where it is: the segment will not become empty.
            let Ok((from, at, head)) = item else {
                outgoing.unreadable = true;
                continue;
            };
            let data = scanned.bytes.get(at + head.head_bytes..at + head.span_bytes());
            let Ok(mut record) = Record::of_head(&head) else {
                outgoing.unreadable = true;
                continue;
            };
            let state = self.state.borrow();
            let part_number = record.sections.part_number.unwrap_or(0);
            record.sections.killed.retain(|killed| {
                killed.location.segment != from.segment && is_there(&state.segments, killed)
            });
            match state.standing(&head, part_number, from) {
                Standing::Alive(key) => {
                    let Some(data) = data.filter(|data| head.verify_data(data).is_ok()) else {
                        continue;
                    };
                    record.data = data.to_vec();
                    outgoing.push(Item { record, index_key: Some(key), from });
                }
                Standing::Moved | Standing::Dead => self.keep_husk(record, from, outgoing),
            }
        }
    }

    fn keep_husk(&self, record: Record, from: Location, outgoing: &mut Outgoing) {
        let drops = self.context.mutation() == Some(Mutation::DropTombstoneTooSoon);
        if !record.sections.killed.is_empty() && !drops {
            outgoing.push(Item { record: husk_of(record), index_key: None, from });
        }
    }

    /// Writes what was collected, in groups, and publishes it.
    async fn flush(self: &Rc<Self>, outgoing: &mut Outgoing) -> Result<()> {
        let mut items: VecDeque<_> = std::mem::take(&mut outgoing.items).into();
        outgoing.bytes = 0;
        while !items.is_empty() {
            self.check_going_on()?;
            self.flush_group(&mut items, &mut outgoing.later).await?;
        }
        Ok(())
    }

    async fn flush_group(
        self: &Rc<Self>,
        items: &mut VecDeque<Item>,
        later: &mut Vec<Item>,
    ) -> Result<()> {
        // A snapshot sees all of a move or nothing.
        let _guard = self.relocation_gate.enter().await;
        let (records, keys) = self.prepare_group(items, later);
        if records.is_empty() {
            return Ok(());
        }
        let written = self.write_relocated(&records, Need::Compaction).await;
        let mut state = self.state.borrow_mut();
        if let Ok(locations) = &written {
            for (encoded, location) in records.iter().zip(locations) {
                state.publish(&Change::of_record(&encoded.record), None, *location);
            }
            count(&self.context.counters.relocated_records_total, records.len() as u64);
        }
        keys.iter().for_each(|key| {
            state.relocating.remove(key);
        });
        drop(state);
        self.relocation_event.notify();
        written.map(drop)
    }

    /// What goes into the next group, and the keys that take no writes until it is published. One
    /// record always does; a second one only if the group keeps to its size.
    fn prepare_group(
        &self,
        items: &mut VecDeque<Item>,
        later: &mut Vec<Item>,
    ) -> (Vec<Encoded>, HashSet<Vec<u8>>) {
        let (mut records, mut keys) = (Vec::new(), HashSet::new());
        let (mut end, target) = (GROUP_HEADER_BYTES, self.relocation_target());
        while let Some(mut item) = items.pop_front() {
            let span = item.from.span_bytes as usize + size_of::<Killed>() * 2;
            let behind = place(end, span) + span;
            if behind > target && !records.is_empty() {
                items.push_front(item);
                break;
            }
            let mut moved_key = None;
            let mut state = self.state.borrow_mut();
            if let Some(key) = item.index_key.take() {
                // Versions of one key may go together.
                if !keys.contains(&key) && state.is_busy(&item, &key) {
                    later.push(Item { index_key: Some(key), ..item });
                    continue;
                }
                if state.is_alive(&item, &key) {
                    item.record.flags.relocated = true;
                    let former = state.killed(item.from, item.record.version);
                    item.record.sections.killed.push(former);
                    moved_key = Some(key);
                } else if item.record.sections.killed.is_empty() {
                    continue;
                } else {
                    item.record = husk_of(item.record);
                }
            }
            // What does not fit any more stays in its old place, and the segment with it.
            let Some(encoded) = Encoded::new(item.record) else { continue };
            if let Some(key) = moved_key {
                state.relocating.insert(key.clone());
                keys.insert(key);
            }
            records.push(encoded);
            end = behind;
        }
        (records, keys)
    }

    /// Waits until a write under way of one of these is settled.
    async fn await_writes(&self, items: &[Item]) {
        let Some(first) = items.first() else { return };
        let key = first.index_key.as_deref().unwrap_or_default();
        let ticket = self.state.borrow().pending.get(key).map(|pending| pending.ticket.clone());
        match ticket {
            Some(ticket) => {
                ticket.wait().await;
            }
            None => self.platform.sleep(RECHECK).await,
        }
    }

    /// Nothing that counts is left in a segment, or what is left cannot be read.
    fn let_go(self: &Rc<Self>, segment: u32, unreadable: bool) {
        let mut state = self.state.borrow_mut();
        let State { pins, segments, .. } = &mut *state;
        // What dead records killed must not be lost with them.
        if unreadable || segments.get(segment).is_some_and(|row| row.live_records > 0) {
            segments.set_stage(segment, Stage::Damaged);
            count(&self.context.counters.segments_damaged_total, 1);
            tracing::error!(
                shard = self.id,
                segment,
                "a log segment holds records that cannot be read"
            );
            return;
        }
        segments.set_stage(segment, Stage::Emptied);
        pins.free_later(Space::Log(segment), |space| segments.free(space));
        count(&self.context.counters.segments_compacted_total, 1);
    }

    /// Waits while one of these keys is on its way to another place, or held.
    pub(crate) async fn await_relocation(&self, keys: &[&[u8]]) {
        self.relocation_event
            .wait_until(|| {
                let state = self.state.borrow();
                let moving = keys.iter().any(|key| state.relocating.contains(*key));
                (!moving).then_some(())
            })
            .await;
    }
}
