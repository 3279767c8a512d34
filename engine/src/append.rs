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
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader, group_bytes};
use crate::format::record::{Encoded, Location, place};
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::limits::{FILL_STEP_BYTES, GROUP_BYTES_TARGET, GROUPS_IN_FLIGHT_MAX, WITNESS_DELAY};
use crate::metrics::count;
use crate::pace::Pace;
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::segments::{Need, Use};
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
}

/// A group being written.
#[derive(Debug)]
struct Flight {
    lsn: u64,
    submitted_ns: u64,
    done: bool,
    staged: Vec<(Staged, Location)>,
}

/// The end of the log and what is on its way there.
#[derive(Debug)]
pub(crate) struct Log<P: Platform> {
    pub(crate) segment: u32,
    file: Rc<P::File>,
    pub(crate) epoch: u64,
    pub(crate) next_lsn: u64,
    /// Header checksum of the last group submitted.
    chain: u64,
    /// Where the next group begins in the segment.
    pub(crate) head: u64,
    /// The segment was written, if only with zeroes, up to here.
    filled_to: u64,
    filling: bool,
    gathered: VecDeque<Staged>,
    gathered_bytes: usize,
    flights: VecDeque<Flight>,
    pub(crate) durable_lsn: u64,
    /// Newest LSN whose group holds records.
    last_record_lsn: u64,
    /// Newest durable LSN that a submitted group tells.
    told_lsn: u64,
    pumping: bool,
    pace: Pace,
    witness_scheduled: bool,
    witness_due: bool,
    /// Groups for which no space was left, empty ones too.
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
    pub(crate) segment: u32,
    pub(crate) head: u64,
    pub(crate) filled: bool,
    pub(crate) epoch: u64,
    pub(crate) next_lsn: u64,
    pub(crate) chain: u64,
}

impl<P: Platform> Log<P> {
    pub(crate) fn new(end: LogEnd, file: Rc<P::File>, segment_bytes: u64) -> Self {
        Self {
            segment: end.segment,
            file,
            epoch: end.epoch,
            next_lsn: end.next_lsn,
            chain: end.chain,
            head: end.head,
            filled_to: if end.filled { segment_bytes } else { end.head },
            filling: false,
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            flights: VecDeque::new(),
            durable_lsn: end.next_lsn - 1,
            last_record_lsn: 0,
            told_lsn: 0,
            pumping: false,
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
        if !std::mem::replace(&mut self.log.borrow_mut().pumping, true) {
            let shard = self.clone();
            self.platform.spawn(async move { shard.pump().await });
        }
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
            let layout = GroupLayout::of(&batch);
            match self.prepare(layout.bytes).await {
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
    async fn prepare(self: &Rc<Self>, bytes: usize) -> Result<()> {
        self.make_room(bytes as u64).await?;
        self.wait_for_fill(bytes as u64).await
    }

    /// Refuses a batch for which there is no space, and whatever was judged against it: a smaller
    /// write of the same key may still fit, and must not rest on one that never was.
    fn refuse_for_space(&self, mut batch: Vec<Staged>) {
        let mut log = self.log.borrow_mut();
        log.groups_refused += 1;
        let keys: HashSet<_> = batch.iter().filter_map(|staged| staged.index_key.clone()).collect();
        let gathered = std::mem::take(&mut log.gathered);
        for staged in gathered {
            if staged.index_key.as_ref().is_some_and(|key| keys.contains(key)) {
                log.gathered_bytes -= staged.encoded.span_bytes();
                batch.push(staged);
            } else {
                log.gathered.push_back(staged);
            }
        }
        drop(log);
        self.refuse(batch, Outcome::OutOfSpace);
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
        let allowed = if full { GROUPS_IN_FLIGHT_MAX } else { 1 };
        let witness = log.witness_due && log.flights.is_empty();
        if log.flights.len() >= allowed || (log.gathered.is_empty() && !witness) {
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
    fn submit(self: &Rc<Self>, batch: Vec<Staged>, layout: GroupLayout, seal: Option<u32>) {
        let GroupLayout { offsets, content_bytes, bytes } = layout;
        let mut buffer = self.platform.allocate(bytes);
        let mut log = self.log.borrow_mut();
        let (lsn, offset, segment) = (log.next_lsn, log.head, log.segment);
        let mut staged = Vec::with_capacity(batch.len());
        let mut end = GROUP_HEADER_BYTES;
        for (item, at) in batch.into_iter().zip(offsets) {
            buffer[end..at].fill(0);
            end = at + item.encoded.span_bytes();
            item.encoded.write(self.context.salt, log.epoch, &mut buffer[at..end]);
            let location = Location {
                segment,
                offset_units: ((offset + at as u64) / 8) as u32,
                span_bytes: item.encoded.span_bytes() as u32,
            };
            staged.push((item, location));
        }
        let mut header = GroupHeader {
            group_bytes: bytes as u32,
            content_bytes: content_bytes as u32,
            record_count: staged.len() as u32,
            segment,
            epoch: log.epoch,
            lsn,
            durable_lsn: log.durable_lsn,
            chain_before: log.chain,
            content_checksum: 0,
            shard: self.id,
            next_segment: seal,
            written_ns: self.platform.wall_clock_ns(),
        };
        log.chain = header.seal_group(self.context.salt, &mut buffer);
        log.next_lsn += 1;
        log.head += bytes as u64;
        log.filled_to = log.filled_to.max(log.head);
        log.told_lsn = header.durable_lsn;
        if !staged.is_empty() {
            log.last_record_lsn = lsn;
        }
        let file = log.file.clone();
        if self.context.mutation() == Some(Mutation::AcknowledgeEarly) {
            for (item, location) in staged.drain(..) {
                self.settle(item, location);
            }
        }
        let counters = &self.context.counters;
        count(&counters.log_groups_total, 1);
        count(&counters.log_records_total, staged.len() as u64);
        count(&counters.log_bytes_total, bytes as u64);
        count(&counters.flushes_total, 1);
        let submitted_ns = self.platform.monotonic_ns();
        log.flights.push_back(Flight { lsn, submitted_ns, done: false, staged });
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
    }

    /// Publishes one durable record and tells who waits for it.
    fn settle(self: &Rc<Self>, item: Staged, location: Location) {
        self.publish(&item.encoded.record, location);
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
            (log.next_lsn, log.groups_refused)
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
    async fn make_room(self: &Rc<Self>, bytes: u64) -> Result<()> {
        let segment_bytes = self.context.layout.segment_bytes;
        if self.log.borrow().head + bytes + BLOCK_BYTES as u64 <= segment_bytes {
            return Ok(());
        }
        self.flights_landed().await?;
        let next = self.take_segment(Need::Reserve).await?;
        let previous = self.log.borrow().segment;
        self.wait_for_fill(BLOCK_BYTES as u64).await?;
        self.submit(Vec::new(), GroupLayout::of(&[]), Some(next));
        self.flights_landed().await?;
        let epoch = self.next_epoch();
        let (first_lsn, chain_before) = {
            let log = self.log.borrow();
            (log.next_lsn, log.chain)
        };
        let filled = self.state.borrow().segments.get(next).is_some_and(|s| s.filled);
        let file =
            self.open_segment(next, SegmentKind::Log, epoch, first_lsn, chain_before).await?;
        let mut state = self.state.borrow_mut();
        state.segments.set_use(next, Use::Log);
        state.segments.set_filled(previous);
        drop(state);
        let mut log = self.log.borrow_mut();
        log.segment = next;
        log.file = Rc::new(file);
        log.epoch = epoch;
        log.head = BLOCK_BYTES as u64;
        log.filled_to = if filled { segment_bytes } else { log.head };
        Ok(())
    }

    /// Opens a segment for a new use: writes its header, durably.
    pub(crate) async fn open_segment(
        &self,
        segment: u32,
        kind: SegmentKind,
        epoch: u64,
        first_lsn: u64,
        chain_before: u64,
    ) -> Result<P::File> {
        let layout = &self.context.layout;
        let path = layout.segment_path(self.id, segment);
        let context = |source| Error::io(format!("open {} for use", path.display()), source);
        let file = self.platform.open(&path, self.context.log_mode()).await.map_err(context)?;
        let mut block = self.platform.allocate(BLOCK_BYTES);
        let header = SegmentHeader {
            kind,
            store_uuid: layout.store_uuid,
            shard: self.id,
            segment,
            epoch,
            segment_bytes: layout.segment_bytes,
            first_lsn,
            chain_before,
            opened_ns: self.platform.wall_clock_ns(),
        };
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
                (!log.filling || log.head + bytes <= log.filled_to).then_some(Ok(()))
            })
            .await
    }

    /// Keeps zeroes written ahead of the head in a segment that was never written in full: an append
    /// into written space costs one flush, into unwritten space two and a change of metadata.
    fn fill_ahead(self: &Rc<Self>) {
        let ahead = self.context.options.fill_ahead_bytes;
        let mut log = self.log.borrow_mut();
        let low = (log.head + ahead / 2).min(self.context.layout.segment_bytes);
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
            if log.segment == segment {
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
        let end = (log.head + ahead).min(self.context.layout.segment_bytes);
        if log.filled_to >= end || self.is_latched() {
            log.filling = false;
            return None;
        }
        let bytes = (end - log.filled_to).min(FILL_STEP_BYTES as u64);
        Some((log.segment, log.filled_to, bytes, log.file.clone()))
    }
}

/// Where the records of a group go.
#[derive(Debug)]
struct GroupLayout {
    /// From the start of the group.
    offsets: Vec<usize>,
    content_bytes: usize,
    /// Of the whole group.
    bytes: usize,
}

impl GroupLayout {
    fn of(batch: &[Staged]) -> Self {
        let mut end = GROUP_HEADER_BYTES;
        let offsets = batch
            .iter()
            .map(|staged| {
                let span = staged.encoded.span_bytes();
                let at = place(end, span);
                end = at + span;
                at
            })
            .collect();
        let content_bytes = end - GROUP_HEADER_BYTES;
        Self { offsets, content_bytes, bytes: group_bytes(content_bytes) }
    }
}
