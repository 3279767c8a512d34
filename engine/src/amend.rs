//! Amendments: a version gets other attributes and another label, and stays what it was.
//!
//! The changed record has the same key, version and bytes; so it is a copy that lies elsewhere, and is
//! written as one: to the relocation log, naming its former place. What lies there now is what counts.
//!
//! Invariants: the key of a version that is being amended is held, so nothing writes, moves or removes it
//! between what was judged and what is published; an amendment is published and acknowledged only when its
//! group is durable. Those that come while one group is written make up the next one.
//!
//! An amended record names its former place, and not all of what that one names. That stays named: compaction
//! leaves a husk of a record of which it finds a copy elsewhere.
//!
//! Budget: one read of the record, one copy of its data, its share of a group.

use crate::append::Outcome;
use crate::compact::is_there;
use crate::engine::check_attributes;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::Malformed;
use crate::format::record::{Encoded, Head, Killed, Record};
use crate::index::Entry;
use crate::index_key;
use crate::limits::{AMENDED_NAMES_MAX, RELOCATION_GROUP_MAX, WITNESS_DELAY};
use crate::metrics::count;
use crate::platform::Platform;
use crate::read;
use crate::removal::HeldKey;
use crate::segments::Need;
use crate::shard::Shard;
use crate::state::{Change, FLAG_EXTENTS, current_of, location_of};
use crate::store::Mutation;
use crate::types::{Amend, BucketId, Current, Which};
use crate::wait::Ticket;
use std::collections::VecDeque;
use std::rc::Rc;

/// Who waits for a changed record on its way to the relocation log.
#[derive(Debug)]
struct Waiter<P: Platform> {
    /// Length of the record whose place it takes.
    former_bytes: u32,
    ticket: Ticket<Outcome>,
    _held: HeldKey<P>,
}

/// Amendments that wait for the group under way.
#[derive(Debug)]
pub(crate) struct Amendments<P: Platform> {
    waiting: VecDeque<(Encoded, Waiter<P>)>,
    is_writing: bool,
    witness_scheduled: bool,
}

impl<P: Platform> Default for Amendments<P> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), is_writing: false, witness_scheduled: false }
    }
}

impl<P: Platform> Shard<P> {
    pub(crate) async fn amend(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        which: Which,
        change: Amend,
    ) -> Result<Current> {
        let index_key = index_key::object(bucket, &key);
        let gone = || Error::Condition(ConditionFailure::NoSuchKey);
        let span_bytes = {
            let state = self.state.borrow();
            state.find(&index_key, which).map_or(0, |(_, entry)| entry.span_bytes)
        };
        let _permit = self.context.take_memory(span_bytes as usize).await?;
        self.await_amend_room().await;
        let held = self.hold_key(&index_key, Need::Data).await?;
        let found = self.state.borrow().find(&index_key, which);
        let (version, entry) = found.ok_or_else(gone)?;
        let current = current_of(version, &entry);
        if current.is_marker {
            return Err(Error::Marker);
        }
        let mut record = self.read_record(&key, version, &entry).await?;
        self.check_writable(&record, Need::Data)?;
        let amended = change(&current, &record.sections.attributes).map_err(Error::Condition)?;
        check_attributes(&amended.attributes)?;
        record.flags.relocated = true;
        record.label = amended.label;
        record.sections.attributes = amended.attributes;
        self.name_former_place(&mut record.sections.killed, version, &entry);
        let encoded = Encoded::new(record)
            .filter(|e| e.span_bytes() as u64 <= self.context.layout.segment_bytes / 2)
            .ok_or(Error::TooLarge("the object is in too many pieces for one record"))?;
        let ticket = Ticket::new();
        let former_bytes = entry.span_bytes;
        let waiter = Waiter { former_bytes, ticket: ticket.clone(), _held: held };
        self.amendments.borrow_mut().waiting.push_back((encoded, waiter));
        self.write_amendments();
        self.outcome(ticket.wait().await)?;
        Ok(Current { label: amended.label, ..current })
    }

    /// What an amended record names: its former place, and of what that one names what is still there.
    fn name_former_place(&self, killed: &mut Vec<Killed>, version: u64, entry: &Entry) {
        let state = self.state.borrow();
        killed.retain(|killed| is_there(&state.segments, killed));
        killed.insert(0, state.killed(location_of(entry), version));
        killed.truncate(AMENDED_NAMES_MAX);
    }

    /// The record of a version whose key is held, with its data.
    async fn read_record(&self, key: &[u8], version: u64, entry: &Entry) -> Result<Record> {
        let location = location_of(entry);
        let is_inline = entry.flags & FLAG_EXTENTS == 0;
        let pin = self.state.borrow_mut().pins.pin();
        let read = read::record(&self.context, self.id, location, is_inline).await;
        self.unpin(pin);
        let read = read?;
        let decode = || {
            let head = Head::decode(self.context.salt, read.bytes())?;
            if (head.key, head.version) != (key, version) {
                return Err(Malformed("the record is another one"));
            }
            let mut record = Record::of_head(&head)?;
            if is_inline {
                let data = read.bytes().get(head.head_bytes..head.span_bytes());
                let data = data.ok_or(Malformed("too short"))?;
                head.verify_data(data)?;
                record.data = data.to_vec();
            }
            Ok(record)
        };
        decode().map_err(|malformed| read::corrupt(&self.context, self.id, location, &malformed))
    }

    /// Writes what waits, group by group, unless that is being done.
    fn write_amendments(self: &Rc<Self>) {
        if std::mem::replace(&mut self.amendments.borrow_mut().is_writing, true) {
            return;
        }
        let shard = self.clone();
        self.platform.spawn(async move {
            while shard.write_amended_group().await {}
            shard.relocation_event.notify();
        });
    }

    async fn write_amended_group(self: &Rc<Self>) -> bool {
        // A checkpoint and a snapshot see all of a group or nothing.
        let guard = self.relocation_gate.enter().await;
        let (records, waiters) = self.next_amendments();
        if records.is_empty() {
            return false;
        }
        if self.context.mutation() == Some(Mutation::AmendBeforeDurable) {
            waiters.iter().for_each(|waiter| waiter.ticket.resolve(Outcome::Durable));
        }
        let written = match self.is_latched() {
            true => Err(self.read_only_error()),
            false => self.write_relocated(&records, Need::Data).await,
        };
        let outcome = match written {
            Ok(locations) => {
                let state = &mut *self.state.borrow_mut();
                for ((record, location), waiter) in records.iter().zip(locations).zip(&waiters) {
                    state.publish(&Change::of_record(&record.record), None, location);
                    state.segments.died_bytes += u64::from(waiter.former_bytes);
                }
                count(&self.context.counters.amended_total, records.len() as u64);
                Outcome::Durable
            }
            Err(Error::OutOfSpace) => Outcome::OutOfSpace,
            Err(error) => {
                self.latch(format!("writing an amendment failed: {error}"));
                Outcome::Failed
            }
        };
        drop(guard);
        for waiter in waiters {
            waiter.ticket.resolve(outcome);
        }
        self.schedule_relocation_witness();
        self.maintenance.event.notify();
        true
    }

    /// What goes into the next group: one amendment, and more as long as they fit.
    fn next_amendments(&self) -> (Vec<Encoded>, Vec<Waiter<P>>) {
        let most = RELOCATION_GROUP_MAX.min(self.context.layout.segment_bytes as usize / 8);
        let mut amendments = self.amendments.borrow_mut();
        let mut bytes = 0;
        let fitting = amendments.waiting.iter().take_while(|(record, _)| {
            bytes += record.span_bytes();
            bytes <= most
        });
        let count = fitting.count().max(1).min(amendments.waiting.len());
        amendments.is_writing = count > 0;
        amendments.waiting.drain(..count).unzip()
    }

    /// After some idle time it is said on disk that the last amendments are durable, so that the end of
    /// the log can be told from damage.
    fn schedule_relocation_witness(self: &Rc<Self>) {
        if std::mem::replace(&mut self.amendments.borrow_mut().witness_scheduled, true) {
            return;
        }
        let shard = self.clone();
        self.platform.spawn(async move {
            shard.platform.sleep(WITNESS_DELAY).await;
            shard.amendments.borrow_mut().witness_scheduled = false;
            let is_over = shard.is_latched() || shard.context.stopping.get();
            if !is_over && !shard.amendments.borrow().is_writing {
                shard.witness_amendments().await;
            }
        });
    }

    async fn witness_amendments(self: &Rc<Self>) {
        let _guard = self.relocation_gate.enter().await;
        let is_told = self.relocation.borrow().as_ref().is_none_or(|log| log.is_told);
        if is_told || self.is_latched() {
            return;
        }
        match self.witness_relocation(Need::Data).await {
            // The next group will say it.
            Ok(()) | Err(Error::OutOfSpace) => {}
            Err(error) => self.latch(format!("writing the relocation log failed: {error}")),
        }
    }

    /// Waits until no amendment is under way; to be called when no new ones are taken.
    pub(crate) async fn amendments_ended(self: &Rc<Self>) {
        let ended = || (!self.amendments.borrow().is_writing).then_some(());
        self.relocation_event.wait_until(ended).await;
        self.witness_amendments().await;
    }
}
