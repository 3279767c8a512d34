//! One shard: the only owner of its part of the keyspace, its index, its log and its space.
//!
//! Invariants:
//! - No state is borrowed across an await.
//! - A write's condition is judged against what is staged, not only what is published, and a refusal
//!   is answered only when what it was judged against is durable.
//! - After an I/O error of a write the shard takes no more writes until the store is reopened.
//!
//! The shard knows nothing of cores; [`crate::mailbox`] brings requests to it.

use crate::amend::Amendments;
use crate::append::{Log, Outcome, Staged};
use crate::bucket_ops::is_catalog;
use crate::catalog::Catalog;
use crate::checkpoint::Checkpoints;
use crate::core::CoreContext;
use crate::data_sync::DataSyncs;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::manifest::{Extent, Manifest, ManifestPart};
use crate::format::record::{Encoded, Flags, Killed, Location, Record, RecordKind, Sections};
use crate::index_key;
use crate::maintenance::Maintenance;
use crate::pins::Pin;
use crate::platform::Platform;
use crate::relocation::RelocationLog;
use crate::rename::Holds;
use crate::segments::Need;
use crate::state::{Change, FLAG_EXTENTS, State, current_of, location_of};
use crate::store::Mutation;
use crate::types::{BucketId, Commit, Condition, Current, UploadId, Version, Versioning, Which};
use crate::wait::{Event, Gate, Ticket};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Shard<P: Platform> {
    pub(crate) id: u16,
    pub(crate) platform: P,
    pub(crate) context: Rc<CoreContext<P>>,
    pub(crate) clock: crate::clock::HybridClock,
    pub(crate) state: RefCell<State>,
    pub(crate) log: RefCell<Log<P>>,
    /// Notified when groups land, segments are opened, or the shard is latched.
    pub(crate) log_event: Event,
    /// Notified when as many records have gathered as are expected.
    pub(crate) gather_event: Event,
    pub(crate) data_syncs: RefCell<DataSyncs>,
    pub(crate) relocation: RefCell<Option<RelocationLog<P>>>,
    /// Held by whoever writes to the relocation log or takes its position.
    pub(crate) relocation_gate: Gate,
    pub(crate) amendments: RefCell<Amendments<P>>,
    /// Notified when records have been moved or amended, and when a key is no longer held.
    pub(crate) relocation_event: Event,
    /// Keys that renames hold.
    pub(crate) holds: RefCell<Holds>,
    pub(crate) maintenance: Maintenance,
    /// What a backup has of the shard, while one is under way.
    pub(crate) backup: RefCell<Option<crate::backup::Turn>>,
    /// Notified when a sync of data has ended, or the shard is latched.
    pub(crate) sync_event: Event,
    /// Highest epoch used.
    epoch: Cell<u64>,
    latched: RefCell<Option<String>>,
    /// One segment is created or opened at a time.
    pub(crate) space_gate: Gate,
    pub(crate) catalog_gate: Gate,
    /// The filesystem has refused space, and that was said; it will be asked again.
    pub(crate) filesystem_full: Cell<bool>,
    pub(crate) asks_again: Cell<bool>,
    /// The bucket catalogue as this shard's log has it, in the first shard of each drive.
    pub(crate) catalog: RefCell<Catalog>,
}

/// What a start found, of which a shard is made.
pub(crate) struct Parts<P: Platform> {
    pub(crate) state: State,
    pub(crate) log: Log<P>,
    pub(crate) relocation: Option<RelocationLog<P>>,
    pub(crate) checkpoints: Checkpoints,
    /// Highest epoch used.
    pub(crate) epoch: u64,
    pub(crate) clock: crate::clock::HybridClock,
    pub(crate) catalog: Catalog,
}

/// Where a published object's record lies; its space is pinned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub(crate) current: Current,
    pub(crate) location: Location,
    /// Of the segment's use.
    pub(crate) epoch: u64,
    pub(crate) has_extents: bool,
    pub(crate) pin: Pin,
}

/// What a write makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Object,
    /// The null version of that identity, with these bytes behind its own.
    Growth {
        to: Version,
    },
    /// An object of that identity; who asks holds its key.
    Held {
        version: Version,
    },
    Part {
        upload: UploadId,
        number: u16,
    },
}

/// The bytes of a write.
#[derive(Debug)]
pub(crate) enum Body {
    Inline(Vec<u8>),
    /// Chunks that are written, of one part or of several.
    Extents(Vec<ManifestPart>),
}

#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) bucket: BucketId,
    pub(crate) key: Vec<u8>,
    pub(crate) target: Target,
    pub(crate) body: Body,
    pub(crate) commit: Commit,
}

/// What a write made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub size: u64,
    /// An object of this key existed.
    pub replaced: bool,
}

impl<P: Platform> Shard<P> {
    pub(crate) fn new(id: u16, context: Rc<CoreContext<P>>, parts: Parts<P>) -> Rc<Self> {
        Rc::new(Self {
            id,
            platform: context.platform.clone(),
            context,
            clock: parts.clock,
            state: RefCell::new(parts.state),
            log: RefCell::new(parts.log),
            log_event: Event::default(),
            gather_event: Event::default(),
            relocation: RefCell::new(parts.relocation),
            relocation_gate: Gate::default(),
            amendments: RefCell::default(),
            relocation_event: Event::default(),
            holds: RefCell::default(),
            maintenance: Maintenance::new(parts.checkpoints),
            backup: RefCell::default(),
            data_syncs: RefCell::default(),
            sync_event: Event::default(),
            epoch: Cell::new(parts.epoch),
            latched: RefCell::new(None),
            space_gate: Gate::default(),
            catalog_gate: Gate::default(),
            filesystem_full: Cell::default(),
            asks_again: Cell::default(),
            catalog: RefCell::new(parts.catalog),
        })
    }

    /// The highest epoch used.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    pub(crate) fn next_epoch(&self) -> u64 {
        if self.context.mutation() != Some(Mutation::SkipEpochSalt) {
            self.epoch.set(self.epoch.get() + 1);
        }
        self.epoch.get()
    }

    // --- The latch -----------------------------------------------------------------------------

    pub(crate) fn is_latched(&self) -> bool {
        self.latched.borrow().is_some()
    }

    /// Stops all writes of this shard until the store is reopened.
    pub(crate) fn latch(&self, cause: String) {
        if self.is_latched() {
            return;
        }
        tracing::error!(
            shard = self.id,
            cause,
            "the shard is read-only until the store is reopened"
        );
        *self.latched.borrow_mut() = Some(cause);
        self.context.suspect_drive(self.id);
        self.log_event.notify();
        self.sync_event.notify();
        self.relocation_event.notify();
        self.maintenance.event.notify();
        self.maintenance.space_event.notify();
    }

    pub(crate) fn read_only_error(&self) -> Error {
        let cause = self.latched.borrow().clone().unwrap_or_default();
        Error::ReadOnly { shard: self.id, cause }
    }

    // --- Reading -------------------------------------------------------------------------------

    pub(crate) fn lookup(&self, bucket: BucketId, key: &[u8], which: Which) -> Option<Current> {
        let found = self.state.borrow().find(&index_key::object(bucket, key), which);
        found.map(|(version, entry)| current_of(version, &entry))
    }

    pub(crate) fn locate(&self, bucket: BucketId, key: &[u8], which: Which) -> Option<Located> {
        let mut state = self.state.borrow_mut();
        let (version, entry) = state.find(&index_key::object(bucket, key), which)?;
        let pin = state.pins.pin();
        Some(Located {
            current: current_of(version, &entry),
            location: location_of(&entry),
            epoch: state.segments.get(entry.segment).map_or(0, |row| row.epoch),
            has_extents: entry.flags & FLAG_EXTENTS != 0,
            pin,
        })
    }

    pub(crate) fn unpin(&self, pin: Pin) {
        let mut freed = false;
        {
            let mut state = self.state.borrow_mut();
            let State { pins, segments, .. } = &mut *state;
            pins.unpin(pin, |space| {
                segments.free(space);
                freed = true;
            });
        }
        if freed {
            self.note_freed();
        }
    }

    // --- Writing -------------------------------------------------------------------------------

    pub(crate) async fn put(self: &Rc<Self>, put: Put) -> Result<Committed> {
        let Put { bucket, key, target, body, mut commit } = put;
        let index_key = match target {
            Target::Object | Target::Growth { .. } | Target::Held { .. } => {
                index_key::object(bucket, &key)
            }
            Target::Part { upload, number } => index_key::part(upload, number),
        };
        let (kind, upload, part_number) = match target {
            Target::Object | Target::Growth { .. } | Target::Held { .. } => {
                (RecordKind::Object, 0, None)
            }
            Target::Part { upload, number } => (RecordKind::Part, upload.0, Some(number)),
        };
        let size = commit.shown_size.unwrap_or(body.size());
        let flags = Flags {
            versioned: target == Target::Object && commit.versioning == Versioning::Kept,
            shown_size: commit.shown_size.is_some(),
            ..Flags::default()
        };
        let record = Record {
            flags,
            size,
            etag: commit.etag,
            label: commit.label,
            upload,
            sections: Sections {
                attributes: std::mem::take(&mut commit.attributes),
                part_number,
                ..Sections::default()
            },
            ..Record::new(kind, bucket.0, key)
        };
        let (record, extents) = body.put_into(record);
        let segments = extents.iter().map(|extent| extent.segment).collect();
        let result = match self.sync_data(segments).await {
            Ok(()) => self.write_object(record, &index_key, target, &commit).await,
            Err(error) => Err(error),
        };
        if result.is_err() && !self.is_latched() {
            self.release(&extents);
        }
        let (version, before, size) = result?;
        Ok(Committed { version, size, replaced: before.is_some_and(|before| !before.is_marker) })
    }

    async fn write_object(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        target: Target,
        commit: &Commit,
    ) -> Result<(Version, Option<Current>, u64)> {
        match target {
            Target::Growth { to } => {
                return Box::pin(self.write_grown(record, index_key, to, commit)).await;
            }
            Target::Held { version } => {
                return Box::pin(self.write_held(record, index_key, version)).await;
            }
            Target::Object | Target::Part { .. } => {}
        }
        let (condition, size) = (commit.condition.as_ref(), record.size);
        let (version, before) = match &commit.guard {
            Some(guard) if replaces_null(&record) => {
                Box::pin(self.write_over_guarded(record, index_key, condition, guard)).await?
            }
            _ => self.write(record, index_key, condition, Need::Data).await?,
        };
        Ok((version, before, size))
    }

    /// Judges the condition, stages the record and waits until it is durable. Returns its version and
    /// what the key was before; of a removal, what the null version was.
    pub(crate) async fn write(
        self: &Rc<Self>,
        mut record: Record,
        index_key: &[u8],
        condition: Option<&Condition>,
        need: Need,
    ) -> Result<(Version, Option<Current>)> {
        let begun_ns = self.platform.monotonic_ns();
        loop {
            self.await_turn(need, &[index_key]).await;
            self.check_writable(&record, need)?;
            let (current, pending) = self.state.borrow().upcoming(index_key);
            let Some(failure) = judge(condition, current.as_ref()) else {
                let before = match record.kind {
                    RecordKind::Tombstone => self.state.borrow().upcoming_null(index_key),
                    _ => current,
                };
                // Compaction may take what there was when this was let in.
                let again = self.is_nearly_full().then(|| record.clone());
                let (version, ticket) = self.stage(record, index_key, need)?;
                match (ticket.wait().await, again) {
                    (Outcome::OutOfSpace, Some(again)) if self.may_wait_on(begun_ns) => {
                        record = again;
                        continue;
                    }
                    (outcome, _) => return self.outcome(outcome).map(|()| (version, before)),
                }
            };
            // The refusal rests on a write that is not durable yet: only if that lasts, it stands.
            if let Some(ticket) = pending
                && ticket.wait().await != Outcome::Durable
            {
                continue;
            }
            return Err(Error::Condition(failure));
        }
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Durable => Ok(()),
            Outcome::Failed => Err(self.read_only_error()),
            Outcome::OutOfSpace => Err(Error::OutOfSpace),
        }
    }

    /// Everything that may refuse a write besides its condition; nothing may await between this and
    /// [`Self::stage`].
    pub(crate) fn check_writable(&self, record: &Record, need: Need) -> Result<()> {
        if self.is_latched() {
            return Err(self.read_only_error());
        }
        if self.context.stopping.get() {
            return Err(Error::Stopping);
        }
        if self.log_is_tight(need) {
            return Err(Error::OutOfSpace);
        }
        if need == Need::Reserve {
            return Ok(());
        }
        let bucket = BucketId(record.bucket);
        self.context.catalog.load().accepts_writes(bucket)?;
        if record.kind == RecordKind::Part {
            let upload = UploadId(record.upload);
            if !self.state.borrow().upload_is_open(bucket, &record.key, upload) {
                return Err(Error::NoSuchUpload);
            }
        }
        if !self.context.index_has_room() {
            return Err(Error::IndexFull);
        }
        if self.log_is_full() {
            return Err(Error::OutOfSpace);
        }
        Ok(())
    }

    /// Gives the record its version and its place in the order of writes. Returns at once; the ticket
    /// tells when it is durable and published.
    pub(crate) fn stage(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        need: Need,
    ) -> Result<(Version, Ticket<Outcome>)> {
        let version = self.clock.next(&self.platform);
        self.stage_as(version, record, index_key, need).map(|ticket| (version, ticket))
    }

    /// As [`Self::stage`], with a version that was given before, and is later than all that are staged or
    /// published for the key.
    pub(crate) fn stage_as(
        self: &Rc<Self>,
        version: Version,
        mut record: Record,
        index_key: &[u8],
        need: Need,
    ) -> Result<Ticket<Outcome>> {
        record.version = version.0;
        let places = self.state.borrow().killed_places(&record, index_key);
        record.sections.killed = vec![Killed::default(); places];
        let encoded = Encoded::new(record)
            .filter(|e| e.span_bytes() as u64 <= self.context.layout.segment_bytes / 2)
            .ok_or(Error::TooLarge("the object is in too many pieces for one record"))?;
        let ticket = Ticket::new();
        self.state.borrow_mut().stage(index_key, &encoded.record, ticket.clone());
        let index_key = Some(index_key.to_vec());
        self.append(Staged { encoded, index_key, ticket: ticket.clone(), need });
        Ok(ticket)
    }

    /// One staged write of a key is settled.
    pub(crate) fn forget_pending(&self, index_key: &[u8]) {
        let mut state = self.state.borrow_mut();
        if let Some(pending) = state.pending.get_mut(index_key) {
            pending.count -= 1;
            if pending.count == 0 {
                state.pending.remove(index_key);
            }
        }
    }

    /// Makes a durable record visible and lets go of what it displaced.
    pub(crate) fn publish(self: &Rc<Self>, record: &Record, location: Location) {
        let manifest = record.sections.manifest.as_ref();
        self.state.borrow_mut().publish(&Change::of_record(record), manifest, location);
        if is_catalog(record.kind) && !record.flags.relocated {
            self.publish_bucket(record);
        }
        self.free_displaced();
    }
}

/// Whether an object takes the place of its key's null version.
pub(crate) fn replaces_null(record: &Record) -> bool {
    record.kind == RecordKind::Object && !record.flags.versioned
}

/// Why a condition does not hold, if it does not. A delete marker counts as no object.
pub(crate) fn judge(
    condition: Option<&Condition>,
    current: Option<&Current>,
) -> Option<ConditionFailure> {
    let object = current.filter(|current| !current.is_marker);
    condition.and_then(|condition| condition(object).err())
}

impl Body {
    fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Extents(parts) => parts.iter().map(|part| part.size).sum(),
        }
    }

    /// Moves the body into its record; returns the extents too, for the case that it is refused.
    fn put_into(self, mut record: Record) -> (Record, Vec<Extent>) {
        match self {
            Self::Inline(bytes) => {
                record.data = bytes;
                (record, Vec::new())
            }
            Self::Extents(parts) => {
                let extents = parts.iter().flat_map(|part| part.extents.clone()).collect();
                record.sections.manifest = Some(Manifest { parts });
                (record, extents)
            }
        }
    }
}
