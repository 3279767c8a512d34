//! Deletion: markers, the removal of versions, and the exclusion under which a version is judged by what
//! its record says.
//!
//! Invariants: a guard is asked about the attributes of the very version that goes, and nothing can change
//! them before it has gone: its key is held meanwhile. A version beside others is removed only when nothing
//! else is staged for its key, so what the key becomes is known.

use crate::append::Outcome;
use crate::error::{Error, Result};
use crate::format::record::{Record, RecordKind};
use crate::index::Entry;
use crate::index_key;
use crate::platform::Platform;
use crate::read;
use crate::segments::Need;
use crate::shard::{Shard, judge};
use crate::state::{current_of, location_of};
use crate::types::{
    BucketId, Condition, Current, Deleted, Deletion, Etag, Guard, Version, Versioning, Which,
};
use std::rc::Rc;

/// A key that takes no writes, and whose records stay where they are, until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldKey<P: Platform> {
    shard: Rc<Shard<P>>,
    index_key: Vec<u8>,
}

impl<P: Platform> HeldKey<P> {
    /// Leaves the key held until [`Shard::release_key`].
    pub(crate) fn into_key(mut self) -> Vec<u8> {
        // No key is empty: dropping this lets go of nothing.
        std::mem::take(&mut self.index_key)
    }
}

impl<P: Platform> Drop for HeldKey<P> {
    fn drop(&mut self) {
        self.shard.release_key(&self.index_key);
    }
}

impl<P: Platform> Shard<P> {
    /// Keeps others from writing a key; returns when all that was staged for it is published.
    pub(crate) async fn hold_key(
        self: &Rc<Self>,
        index_key: &[u8],
        need: Need,
    ) -> Result<HeldKey<P>> {
        self.await_turn(need, &[index_key]).await;
        self.hold_key_now(index_key).await
    }

    /// The same, whether there is room for a write or not.
    pub(crate) async fn hold_key_now(self: &Rc<Self>, index_key: &[u8]) -> Result<HeldKey<P>> {
        self.await_relocation(&[index_key]).await;
        let index_key = index_key.to_vec();
        self.state.borrow_mut().relocating.insert(index_key.clone());
        let held = HeldKey { shard: self.clone(), index_key };
        loop {
            let ticket = {
                let state = self.state.borrow();
                state.pending.get(&held.index_key).map(|pending| pending.ticket.clone())
            };
            match ticket {
                None => return Ok(held),
                Some(ticket) if ticket.wait().await == Outcome::Failed => {
                    return Err(self.read_only_error());
                }
                Some(_) => {}
            }
        }
    }

    /// Lets others write a key again.
    pub(crate) fn release_key(&self, index_key: &[u8]) {
        self.state.borrow_mut().relocating.remove(index_key);
        self.relocation_event.notify();
    }

    pub(crate) async fn delete(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        deletion: Deletion,
        condition: Option<Condition>,
    ) -> Result<Deleted> {
        let condition = condition.as_ref();
        match deletion {
            Deletion::Mark(versioning) => self.mark(bucket, key, versioning, condition).await,
            Deletion::Remove { which: Which::Null, guard: None } => {
                self.remove_null(bucket, key, condition).await
            }
            Deletion::Remove { which, guard } => {
                self.remove_judged(bucket, key, which, guard.as_ref(), condition).await
            }
        }
    }

    /// A marker stays for good, so it needs room as new data does.
    async fn mark(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        versioning: Versioning,
        condition: Option<&Condition>,
    ) -> Result<Deleted> {
        let index_key = index_key::object(bucket, &key);
        let mut record = Record::new(RecordKind::DeleteMarker, bucket.0, key);
        record.flags.versioned = versioning == Versioning::Kept;
        let (version, before) = self.write(record, &index_key, condition, Need::Data).await?;
        let marker = Current {
            size: 0,
            etag: Etag::default(),
            version,
            label: 0,
            is_null: versioning == Versioning::Null,
            is_marker: true,
        };
        let existed = before.is_some_and(|before| !before.is_marker);
        Ok(Deleted { existed, current: Some(marker) })
    }

    async fn remove_null(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        condition: Option<&Condition>,
    ) -> Result<Deleted> {
        let index_key = index_key::object(bucket, &key);
        let is_nothing = {
            let state = self.state.borrow();
            !state.pending.contains_key(&index_key) && state.upcoming_null(&index_key).is_none()
        };
        if is_nothing && condition.is_none() {
            return Ok(Deleted { existed: false, current: None });
        }
        let record = Record::new(RecordKind::Tombstone, bucket.0, key);
        let (_, current) = self.write(record, &index_key, condition, Need::Reserve).await?;
        Ok(Deleted { existed: current.is_some(), current })
    }

    /// Removes a version that only its identity names, or that a guard keeps.
    async fn remove_judged(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        which: Which,
        guard: Option<&Guard>,
        condition: Option<&Condition>,
    ) -> Result<Deleted> {
        let index_key = index_key::object(bucket, &key);
        let begun_ns = self.platform.monotonic_ns();
        loop {
            let held = self.hold_key(&index_key, Need::Reserve).await?;
            let (found, latest) = {
                let state = self.state.borrow();
                (state.find(&index_key, which), state.published(&index_key))
            };
            let current = found.map(|(version, entry)| current_of(version, &entry));
            let judged = if matches!(which, Which::Exactly(_)) { current } else { latest };
            if let Some(failure) = judge(condition, judged.as_ref()) {
                return Err(Error::Condition(failure));
            }
            let (Some((version, entry)), Some(current)) = (found, current) else {
                return Ok(Deleted { existed: false, current: None });
            };
            self.ask_guard(guard, version, &entry).await?;
            let upload = if current.is_null { 0 } else { version };
            let record =
                Record { upload, ..Record::new(RecordKind::Tombstone, bucket.0, key.clone()) };
            self.check_writable(&record, Need::Reserve)?;
            let may_be_overtaken = self.is_nearly_full();
            let (_, ticket) = self.stage(record, &index_key, Need::Reserve)?;
            drop(held);
            match ticket.wait().await {
                Outcome::OutOfSpace if may_be_overtaken && self.may_wait_on(begun_ns) => {}
                outcome => {
                    self.outcome(outcome)?;
                    return Ok(Deleted { existed: true, current: Some(current) });
                }
            }
        }
    }

    /// As [`Shard::write`] for an object, once the guard lets go of the null version that it replaces.
    pub(crate) async fn write_over_guarded(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        condition: Option<&Condition>,
        guard: &Guard,
    ) -> Result<(Version, Option<Current>)> {
        let held = self.hold_key(index_key, Need::Data).await?;
        self.ask_guard_of_null(Some(guard), index_key).await?;
        self.check_writable(&record, Need::Data)?;
        let current = self.state.borrow().published(index_key);
        if let Some(failure) = judge(condition, current.as_ref()) {
            return Err(Error::Condition(failure));
        }
        let (version, ticket) = self.stage(record, index_key, Need::Data)?;
        drop(held);
        self.outcome(ticket.wait().await).map(|()| (version, current))
    }

    /// Asks a guard about the null version of a key that is held.
    pub(crate) async fn ask_guard_of_null(
        &self,
        guard: Option<&Guard>,
        index_key: &[u8],
    ) -> Result<()> {
        let found = self.state.borrow().find(index_key, Which::Null);
        match found {
            Some((version, entry)) => self.ask_guard(guard, version, &entry).await,
            None => Ok(()),
        }
    }

    /// Asks a guard about a version whose key is held.
    async fn ask_guard(&self, guard: Option<&Guard>, version: u64, entry: &Entry) -> Result<()> {
        let Some(guard) = guard else { return Ok(()) };
        if current_of(version, entry).is_marker {
            return Ok(());
        }
        let pin = self.state.borrow_mut().pins.pin();
        let version = Some(Version(version));
        let read = read::sections(&self.context, self.id, location_of(entry), version).await;
        self.unpin(pin);
        guard(&read?.attributes).map_err(Error::Condition)
    }
}
