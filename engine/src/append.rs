//! Group commit: gather, write, make durable, publish, acknowledge.
//!
//! Invariants:
//! - A staged record is acknowledged and published only when its group and all groups before it are
//!   durable, in the order of the log.
//! - The log goes on in the next segment only when everything in the present one is durable, and the
//!   present one says where (its seal).
//! - After a failed write nothing more is written: the shard is latched read-only.
//!
//! With nothing in flight a record is submitted at once, otherwise records gather until the write in
//! flight completes, and a moment longer for those who were just answered ([`crate::pace`]), or until
//! the group is full.
//!
//! Budget per group: one write (durable by `O_DSYNC`), one copy of the inline data, one buffer.

use crate::error::{Error, Result};
use crate::format::checkpoint::LogPosition;
use crate::format::record::{Encoded, Location};
use crate::format::segment::{SegmentHeader, SegmentKind, Stream};
use crate::limits::{
    FILL_STEP_BYTES, GROUP_BYTES_TARGET, GROUPS_IN_FLIGHT_MAX, PROGRESS_BYTES, WITNESS_DELAY,
};
use crate::log_group::{GroupFacts, GroupLayout, encode};
use crate::metrics::count;
use crate::pace::Pace;
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::segments::{LogUse, Need, Use};
use crate::shard::Shard;
use crate::store::Mutation;
use crate::wait::Ticket;
use futures_lite::FutureExt;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// What became of a staged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Durable,
    /// The shard is read-only now; whether the record survives a restart is not known.
    Failed,
    /// Nothing was written.
    OutOfSpace,
}

#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) encoded: Encoded,
    /// The key under which the record is pending, if it is.
    pub(crate) index_key: Option<Vec<u8>>,
    pub(crate) ticket: Ticket<Outcome>,
    pub(crate) need: Need,
}

/// A group being written.
#[derive(Debug)]
struct Flight {
    lsn: u64,
    submitted_ns: u64,
    done: bool,
    /// The end of the log behind it; none behind a seal, where no log goes on.
    behind: Option<LogPosition>,
    staged: Vec<(Staged, Location)>,
}

/// The end of the log and what is on its way there.
#[derive(Debug)]
pub(crate) struct Log<P: Platform> {
    file: Rc<P::File>,
    /// Where the next group begins.
    pub(crate) at: LogPosition,
    /// Behind the last group that is durable and published.
    pub(crate) settled: LogPosition,
    /// The segment was written, if only with zeroes, up to here.
    filled_to: u64,
    filling: bool,
    gathered: VecDeque<Staged>,
    pub(crate) gathered_bytes: usize,
    /// Since the start, what a start read of the log included.
    pub(crate) appended_bytes: u64,
    pub(crate) appended_records: u64,
    /// Where `appended_bytes` stood when background work was last told.
    noted_bytes: u64,
    flights: VecDeque<Flight>,
    pub(crate) durable_lsn: u64,
    /// Newest LSN whose group holds records.
    last_record_lsn: u64,
    /// Newest durable LSN that a submitted group tells.
    told_lsn: u64,
    pumping: bool,
    /// No group is begun while a backup takes its snapshot; records gather.
    held: bool,
    pub(crate) pace: Pace,
    witness_scheduled: bool,
    witness_due: bool,
    /// Groups of which nothing is left because there was no space, empty ones too.
    groups_refused: u64,
}

/// What the pump does next.
enum Batch {
    Ready(Vec<Staged>),
    /// More are expected within this time.
    Hold(Duration),
}

/// Where recovery found the end of the log, or formatting its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEnd {
    pub(crate) at: LogPosition,
    pub(crate) filled: bool,
    /// What was read of the log to get there.
    pub(crate) read_bytes: u64,
    pub(crate) read_records: u64,
}

impl<P: Platform> Log<P> {
    pub(crate) fn new(end: LogEnd, file: Rc<P::File>, segment_bytes: u64) -> Self {
        Self {
            file,
            at: end.at,
            settled: end.at,
            filled_to: if end.filled { segment_bytes } else { end.at.offset },
            filling: false,
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            appended_bytes: end.read_bytes,
            appended_records: end.read_records,
            noted_bytes: 0,
            flights: VecDeque::new(),
            durable_lsn: end.at.next_lsn - 1,
            last_record_lsn: 0,
            told_lsn: 0,
            pumping: false,
            held: false,
            pace: Pace::default(),
            witness_scheduled: false,
            witness_due: false,
            groups_refused: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.gathered.is_empty() && self.flights.is_empty() && !self.pumping && !self.filling
    }
}

impl<P: Platform> Shard<P> {
    /// Hands a record to the log. The caller has registered it as pending if it must be.
    pub(crate) fn append(self: &Rc<Self>, staged: Staged) {
        let mut log = self.log.borrow_mut();
        log.gathered_bytes += staged.encoded.span_bytes();
        log.gathered.push_back(staged);
        let complete = !log.pace.is_short(log.gathered.len());
        drop(log);
        if complete {
            self.gather_event.notify();
        }
        self.kick();
    }

    /// Starts the pump unless it runs.
    fn kick(self: &Rc<Self>) {
        let mut log = self.log.borrow_mut();
        if !log.held && !std::mem::replace(&mut log.pumping, true) {
            let shard = self.clone();
            self.platform.spawn(async move { shard.pump().await });
        }
    }

    /// Holds back new groups, and waits until those under way are durable and published.
    pub(crate) async fn hold_log(&self) {
        self.log.borrow_mut().held = true;
        self.log_event
            .wait_until(|| {
                let log = self.log.borrow();
                (!log.pumping && log.flights.is_empty()).then_some(())
            })
            .await;
    }

    pub(crate) fn release_log(self: &Rc<Self>) {
        self.log.borrow_mut().held = false;
        self.kick();
    }

    async fn pump(self: Rc<Self>) {
        while let Some(batch) = self.next_batch() {
            let batch = match batch {
                Batch::Ready(batch) => batch,
                Batch::Hold(wait) => {
                    self.wait_for_more(wait).await;
                    continue;
                }
            };
            let layout = GroupLayout::of(batch.iter().map(|staged| &staged.encoded));
            let need = need_of(&batch);
            match self.prepare(layout.bytes, need).await {
                Ok(()) => self.submit(batch, layout, None),
                Err(Error::OutOfSpace) => self.refuse_for_space(batch),
                Err(error) => {
                    self.latch(error.to_string());
                    self.refuse(batch, Outcome::Failed);
                }
            }
        }
    }

    /// Waits until as many records have gathered as are expected, or the time is over.
    async fn wait_for_more(&self, wait: Duration) {
        let complete = self.gather_event.wait_until(|| {
            let log = self.log.borrow();
            (!log.pace.is_short(log.gathered.len()) || self.is_latched()).then_some(())
        });
        complete.or(self.platform.sleep(wait)).await;
    }

    /// Sees to it that a group of `bytes` can be written at the head.
    async fn prepare(self: &Rc<Self>, bytes: usize, need: Need) -> Result<()> {
        self.make_room(bytes as u64, need).await?;
        self.wait_for_fill(bytes as u64).await
    }

    /// Refuses a batch for which there is no space: those of its records that may take the least, and then
    /// the rest is tried again. Refused too is whatever was judged against what is refused: a smaller write
    /// of the same key may still fit, and must not rest on one that never was.
    fn refuse_for_space(&self, batch: Vec<Staged>) {
        let need = need_of(&batch);
        let (mut refused, kept): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|staged| staged.need == need);
        let mut log = self.log.borrow_mut();
        let keys: HashSet<_> =
            refused.iter().filter_map(|staged| staged.index_key.clone()).collect();
        let waiting = kept.into_iter().chain(std::mem::take(&mut log.gathered));
        let (same_key, others): (Vec<_>, Vec<_>) = waiting
            .partition(|staged| staged.index_key.as_ref().is_some_and(|key| keys.contains(key)));
        refused.extend(same_key);
        // Otherwise a group of the others comes, or is refused.
        log.groups_refused += u64::from(others.is_empty());
        log.gathered_bytes = others.iter().map(|staged| staged.encoded.span_bytes()).sum();
        log.gathered = others.into();
        drop(log);
        self.refuse(refused, Outcome::OutOfSpace);
        self.log_event.notify();
    }

    /// Tells everyone who waits for these records that they were not written.
    fn refuse(&self, batch: impl IntoIterator<Item = Staged>, outcome: Outcome) {
        for staged in batch {
            if let Some(key) = &staged.index_key {
                self.forget_pending(key);
            }
            staged.ticket.resolve(outcome);
        }
    }

    /// What the next group shall hold; `None` stops the pump.
    fn next_batch(&self) -> Option<Batch> {
        let mut log = self.log.borrow_mut();
        if self.is_latched() {
            log.pumping = false;
            drop(log);
            self.fail_all();
            return None;
        }
        let target = self.group_target();
        let full = log.gathered_bytes >= target;
        let most = self.context.options.groups_in_flight_max.clamp(1, GROUPS_IN_FLIGHT_MAX);
        let allowed = if full { most } else { 1 };
        let witness = log.witness_due && log.flights.is_empty();
        if log.held || log.flights.len() >= allowed || (log.gathered.is_empty() && !witness) {
            log.pumping = false;
            drop(log);
            // Whoever closes the shard waits for this too.
            self.log_event.notify();
            return None;
        }
        if !full
            && !log.gathered.is_empty()
            && let Some(wait) = log.pace.hold(log.gathered.len(), self.platform.monotonic_ns())
        {
            return Some(Batch::Hold(wait));
        }
        log.witness_due = false;
        let mut batch = Vec::with_capacity(log.gathered.len());
        let mut bytes = 0;
        while bytes < target
            && let Some(staged) = log.gathered.pop_front()
        {
            bytes += staged.encoded.span_bytes();
            batch.push(staged);
        }
        log.gathered_bytes -= bytes;
        Some(Batch::Ready(batch))
    }

    fn group_target(&self) -> usize {
        GROUP_BYTES_TARGET.min(self.context.layout.segment_bytes as usize / 8)
    }

    /// Writes one group, for which room was prepared: `batch`, or a seal that names the next segment.
    fn submit(self: &Rc<Self>, mut batch: Vec<Staged>, layout: GroupLayout, seal: Option<u32>) {
        let mut log = self.log.borrow_mut();
        let LogPosition { next_lsn: lsn, offset, .. } = log.at;
        let locations: Vec<_> =
            layout.locations(&log.at, batch.iter().map(|staged| &staged.encoded)).collect();
        for (item, location) in batch.iter_mut().zip(&locations) {
            self.state.borrow_mut().name_killed(item, *location);
        }
        let record_bytes = GroupLayout::record_bytes(batch.iter().map(|staged| &staged.encoded));
        let placed_bytes = layout.content_bytes as u64;
        let segment = log.at.segment;
        self.state.borrow_mut().segments.add_written(segment, record_bytes, placed_bytes);
        let facts = GroupFacts {
            shard: self.id,
            stream: Stream::Foreground,
            durable_lsn: log.durable_lsn,
            next_segment: seal,
        };
        let records = batch.iter().map(|staged| &staged.encoded);
        let salt = self.context.salt;
        let buffer = encode(&self.platform, salt, &mut log.at, facts, &layout, records);
        let mut staged: Vec<_> = batch.into_iter().zip(locations).collect();
        log.filled_to = log.filled_to.max(log.at.offset);
        log.told_lsn = facts.durable_lsn;
        if !staged.is_empty() {
            log.last_record_lsn = lsn;
        }
        log.appended_bytes += layout.bytes as u64;
        log.appended_records += staged.len() as u64;
        let file = log.file.clone();
        if self.context.mutation() == Some(Mutation::AcknowledgeEarly) {
            for (item, location) in staged.drain(..) {
                self.settle(item, location);
            }
        }
        if self.context.mutation() == Some(Mutation::PublishBeforeDurable) {
            staged.iter().for_each(|(item, at)| self.publish(&item.encoded.record, *at));
        }
        let counters = &self.context.counters;
        count(&counters.log_groups_total, 1);
        count(&counters.log_records_total, staged.len() as u64);
        count(&counters.log_bytes_total, layout.bytes as u64);
        count(&counters.flushes_total, 1);
        let submitted_ns = self.platform.monotonic_ns();
        let behind = seal.is_none().then_some(log.at);
        log.flights.push_back(Flight { lsn, submitted_ns, done: false, behind, staged });
        drop(log);
        let shard = self.clone();
        self.platform.spawn(async move {
            let written = file.write_at(buffer, offset).await.map(drop);
            shard.group_written(lsn, written);
        });
        self.fill_ahead();
    }

    /// A group's write has returned: publish and acknowledge what is durable now without a gap.
    fn group_written(self: &Rc<Self>, lsn: u64, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.latch(format!("writing the log failed: {error}"));
        }
        if self.is_latched() {
            // A later group may have landed before this one: nobody else will settle it.
            self.log.borrow_mut().flights.retain(|flight| {
                let settled = flight.done || flight.lsn == lsn;
                if settled {
                    flight.staged.iter().for_each(|(s, _)| s.ticket.resolve(Outcome::Failed));
                }
                !settled
            });
            self.log_event.notify();
            self.kick();
            return;
        }
        let (mut durable, mut submitted_ns) = (Vec::new(), 0);
        let mut log = self.log.borrow_mut();
        if let Some(flight) = log.flights.iter_mut().find(|flight| flight.lsn == lsn) {
            flight.done = true;
        }
        while log.flights.front().is_some_and(|flight| flight.done) {
            if let Some(flight) = log.flights.pop_front() {
                log.durable_lsn = flight.lsn;
                log.settled = flight.behind.unwrap_or(log.settled);
                submitted_ns = flight.submitted_ns;
                durable.extend(flight.staged);
            }
        }
        if !durable.is_empty() {
            let (gathered, now_ns) = (log.gathered.len(), self.platform.monotonic_ns());
            let took_ns = now_ns.saturating_sub(submitted_ns);
            log.pace.landed(durable.len(), gathered, took_ns, now_ns);
        }
        drop(log);
        for (item, location) in durable {
            self.settle(item, location);
        }
        self.log_event.notify();
        self.kick();
        self.schedule_witness();
        self.note_progress();
    }

    /// Tells background work now and then that the log has grown.
    fn note_progress(&self) {
        let mut log = self.log.borrow_mut();
        let step = PROGRESS_BYTES.min(self.context.layout.segment_bytes / 16);
        if log.appended_bytes - log.noted_bytes >= step {
            log.noted_bytes = log.appended_bytes;
            drop(log);
            self.maintenance.event.notify();
        }
    }

    /// Publishes one durable record and tells who waits for it.
    fn settle(self: &Rc<Self>, item: Staged, location: Location) {
        if self.context.mutation() != Some(Mutation::PublishBeforeDurable) {
            self.publish(&item.encoded.record, location);
        }
        if let Some(key) = &item.index_key {
            self.forget_pending(key);
        }
        item.ticket.resolve(Outcome::Durable);
    }

    /// Resolves everything that will not be written any more.
    pub(crate) fn fail_all(&self) {
        let mut log = self.log.borrow_mut();
        let gathered = std::mem::take(&mut log.gathered);
        log.gathered_bytes = 0;
        drop(log);
        self.refuse(gathered, Outcome::Failed);
        self.log_event.notify();
    }

    /// After some idle time a witness group tells what is durable, so that the tail of the log can
    /// be told from damage.
    fn schedule_witness(self: &Rc<Self>) {
        let mut log = self.log.borrow_mut();
        let wanted = log.flights.is_empty() && log.told_lsn < log.last_record_lsn;
        if !wanted || std::mem::replace(&mut log.witness_scheduled, true) {
            return;
        }
        drop(log);
        let shard = self.clone();
        self.platform.spawn(async move {
            shard.platform.sleep(WITNESS_DELAY).await;
            let mut log = shard.log.borrow_mut();
            log.witness_scheduled = false;
            let idle = log.gathered.is_empty() && log.flights.is_empty();
            log.witness_due = idle && log.told_lsn < log.last_record_lsn;
            let due = log.witness_due;
            drop(log);
            if due {
                shard.kick();
            }
        });
    }

    /// Writes an empty group and waits until it is durable; tells that all before it is. There may be
    /// no space for it.
    pub(crate) async fn write_witness(self: &Rc<Self>) -> Result<()> {
        self.log.borrow_mut().witness_due = true;
        let (lsn, refused) = {
            let log = self.log.borrow();
            (log.at.next_lsn, log.groups_refused)
        };
        self.kick();
        self.log_event
            .wait_until(|| {
                if self.is_latched() {
                    return Some(Err(self.read_only_error()));
                }
                if self.log.borrow().groups_refused > refused {
                    return Some(Err(Error::OutOfSpace));
                }
                (self.log.borrow().durable_lsn >= lsn).then_some(Ok(()))
            })
            .await
    }

    async fn flights_landed(&self) -> Result<()> {
        self.log_event
            .wait_until(|| {
                if self.is_latched() {
                    return Some(Err(self.read_only_error()));
                }
                self.log.borrow().flights.is_empty().then_some(Ok(()))
            })
            .await
    }

    /// Goes on in another segment if a group of `bytes` and a seal do not fit behind the head.
    async fn make_room(self: &Rc<Self>, bytes: u64, need: Need) -> Result<()> {
        let segment_bytes = self.context.layout.segment_bytes;
        if self.log.borrow().at.offset + bytes + BLOCK_BYTES as u64 <= segment_bytes {
            return Ok(());
        }
        self.flights_landed().await?;
        let next = self.take_segment(need).await?;
        let previous = self.log.borrow().at.segment;
        self.wait_for_fill(BLOCK_BYTES as u64).await?;
        self.submit(Vec::new(), GroupLayout::empty(), Some(next));
        self.flights_landed().await?;
        let (epoch, at) = (self.next_epoch(), self.log.borrow().at);
        let filled = self.state.borrow().segments.get(next).is_some_and(|s| s.filled);
        let file = self.open_log(next, Stream::Foreground, epoch, at).await?;
        let mut state = self.state.borrow_mut();
        state.segments.seal(previous, at.next_lsn);
        state.segments.set_filled(previous);
        drop(state);
        let mut log = self.log.borrow_mut();
        log.file = Rc::new(file);
        log.at = LogPosition { segment: next, offset: BLOCK_BYTES as u64, epoch, ..at };
        log.settled = log.at;
        log.filled_to = if filled { segment_bytes } else { log.at.offset };
        drop(log);
        self.note_freed();
        Ok(())
    }

    /// Opens a segment in which a log goes on behind `at`.
    pub(crate) async fn open_log(
        &self,
        segment: u32,
        stream: Stream,
        epoch: u64,
        at: LogPosition,
    ) -> Result<P::File> {
        let header = SegmentHeader {
            kind: SegmentKind::Log,
            stream,
            first_lsn: at.next_lsn,
            chain_before: at.chain,
            ..self.blank_header(segment, epoch)
        };
        let file = self.open_segment(&header).await?;
        let mut state = self.state.borrow_mut();
        state.segments.set_use(segment, Use::Log(LogUse::new(stream)));
        state.segments.set_opened(segment, epoch, header.opened_ns);
        Ok(file)
    }

    /// The header of a segment of this shard that holds nothing.
    pub(crate) fn blank_header(&self, segment: u32, epoch: u64) -> SegmentHeader {
        let layout = &self.context.layout;
        SegmentHeader {
            kind: SegmentKind::Free,
            stream: Stream::Foreground,
            store_uuid: layout.store_uuid,
            shard: self.id,
            segment,
            epoch,
            segment_bytes: layout.segment_bytes,
            first_lsn: 0,
            chain_before: 0,
            opened_ns: self.clock.next(&self.platform).0,
        }
    }

    /// Opens a segment for a new use: writes its header, durably.
    pub(crate) async fn open_segment(&self, header: &SegmentHeader) -> Result<P::File> {
        let path = self.context.layout.segment_path(self.id, header.segment);
        let context = |source| Error::io(format!("open {} for use", path.display()), source);
        let file = self.platform.open(&path, self.context.log_mode()).await.map_err(context)?;
        let mut block = self.platform.allocate(BLOCK_BYTES);
        header.encode(&mut block);
        file.write_at(block, 0).await.map_err(context)?;
        count(&self.context.counters.flushes_total, 1);
        Ok(file)
    }

    /// Waits while zeroes are being written where the next group of `bytes` goes. An error: the shard
    /// was latched meanwhile, and nothing more may be written.
    async fn wait_for_fill(&self, bytes: u64) -> Result<()> {
        self.log_event
            .wait_until(|| {
                if self.is_latched() {
                    return Some(Err(self.read_only_error()));
                }
                let log = self.log.borrow();
                (!log.filling || log.at.offset + bytes <= log.filled_to).then_some(Ok(()))
            })
            .await
    }

    /// Keeps zeroes written ahead of the head in a segment that was never written in full: an append
    /// into written space costs one flush, into unwritten space two and a change of metadata.
    fn fill_ahead(self: &Rc<Self>) {
        let ahead = self.context.options.fill_ahead_bytes;
        let mut log = self.log.borrow_mut();
        let low = (log.at.offset + ahead / 2).min(self.context.layout.segment_bytes);
        if ahead == 0 || log.filled_to >= low || std::mem::replace(&mut log.filling, true) {
            return;
        }
        drop(log);
        let shard = self.clone();
        self.platform.spawn(async move { shard.fill(ahead).await });
    }

    async fn fill(self: Rc<Self>, ahead: u64) {
        while let Some((segment, offset, bytes, file)) = self.next_fill(ahead) {
            let mut zeroes = self.platform.allocate(bytes as usize);
            zeroes.fill(0);
            if let Err(error) = file.write_at(zeroes, offset).await {
                self.latch(format!("filling a log segment failed: {error}"));
            }
            let mut log = self.log.borrow_mut();
            if log.at.segment == segment {
                log.filled_to = log.filled_to.max(offset + bytes);
            }
            drop(log);
            self.log_event.notify();
        }
        self.log_event.notify();
    }

    /// The next range to fill; `None` ends the filling.
    fn next_fill(&self, ahead: u64) -> Option<(u32, u64, u64, Rc<P::File>)> {
        let mut log = self.log.borrow_mut();
        let end = (log.at.offset + ahead).min(self.context.layout.segment_bytes);
        if log.filled_to >= end || self.is_latched() {
            log.filling = false;
            return None;
        }
        let bytes = (end - log.filled_to).min(FILL_STEP_BYTES as u64);
        Some((log.at.segment, log.filled_to, bytes, log.file.clone()))
    }
}

/// What a group may take: no more than each of its records. A group of none is for what goes on.
fn need_of(batch: &[Staged]) -> Need {
    batch.iter().map(|staged| staged.need).min().unwrap_or(Need::Reserve)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::format::record::{Record, RecordKind};

    /// Found by review: deletions took what is compaction's if they came along with the end of a rename.
    #[test]
    fn a_group_takes_no_more_than_the_least_of_its_records_may() {
        let group = |needs: &[Need]| -> Vec<Staged> {
            let staged = |need: &Need| Staged {
                encoded: Encoded::new(Record::new(RecordKind::Tombstone, 1, vec![])).unwrap(),
                index_key: None,
                ticket: Ticket::new(),
                need: *need,
            };
            needs.iter().map(staged).collect()
        };
        let of = |needs: &[Need]| need_of(&group(needs));
        assert_eq!(of(&[Need::Compaction, Need::Reserve, Need::Data]), Need::Data);
        assert_eq!(of(&[Need::Compaction, Need::Reserve]), Need::Reserve);
        assert_eq!(of(&[Need::Compaction]), Need::Compaction);
        assert_eq!(of(&[]), Need::Reserve);
    }
}
