//! Changes of the bucket catalogue, at shard 0, their copies on the other drives, and each shard's part in
//! deleting a bucket.
//!
//! A change is durable at shard 0 first, then on every other drive that is there, and then answered. A drive
//! that misses one takes no later one: the next start brings it up to date.

use crate::append::Outcome;
use crate::catalog::Catalog;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::record::{Record, RecordKind};
use crate::index_key;
use crate::platform::Platform;
use crate::request::{BucketChange, Reply, Request};
use crate::segments::Need;
use crate::shard::Shard;
use crate::types::{Bucket, BucketId, Version};
use crate::wait::join_all;
use std::rc::Rc;
use std::sync::Arc;

impl<P: Platform> Shard<P> {
    /// One change at a time; durable and published when it returns.
    pub(crate) async fn change_bucket(self: &Rc<Self>, change: BucketChange) -> Result<Reply> {
        let _guard = self.catalog_gate.enter().await;
        let catalog = self.context.catalog.load_full();
        let find = |name: &str| catalog.bucket(name).cloned().ok_or(Error::NoSuchBucket);
        match change {
            BucketChange::Create { name, settings } => {
                if catalog.bucket(&name).is_some() {
                    return Err(Error::BucketExists);
                }
                let created = Version(self.platform.wall_clock_ns());
                self.store_bucket(Bucket { id: catalog.next_id()?, name, created, settings }).await
            }
            BucketChange::Set { name, changes, expected } => {
                let mut bucket = Bucket::clone(&*find(&name)?);
                let is_as_expected =
                    expected.iter().all(|(tag, value)| bucket.settings.get(tag) == value.as_ref());
                if !is_as_expected {
                    return Err(Error::Condition(ConditionFailure::PreconditionFailed));
                }
                for (tag, value) in changes {
                    match value {
                        Some(value) => bucket.settings.insert(tag, value),
                        None => bucket.settings.remove(&tag),
                    };
                }
                self.store_bucket(bucket).await
            }
            BucketChange::BeginDelete { name } => {
                let bucket = find(&name)?;
                if catalog.is_deleting(bucket.id) {
                    return Err(Error::Busy);
                }
                self.set_deleting(bucket.id, true);
                Ok(Reply::Bucket(bucket))
            }
            BucketChange::CancelDelete { id } => {
                self.set_deleting(id, false);
                let bucket = catalog.buckets().find(|bucket| bucket.id == id).cloned();
                bucket.map(Reply::Bucket).ok_or(Error::NoSuchBucket)
            }
            BucketChange::FinishDelete { name } => {
                let bucket = find(&name)?;
                let record = Catalog::delete_record(&bucket, Version(0));
                let written = self.write_bucket(record).await;
                if written.is_err() {
                    self.set_deleting(bucket.id, false);
                }
                written.map(|()| Reply::Bucket(bucket))
            }
        }
    }

    async fn store_bucket(self: &Rc<Self>, bucket: Bucket) -> Result<Reply> {
        self.write_bucket(Catalog::bucket_record(&bucket, Version(0))).await?;
        Ok(Reply::Bucket(Arc::new(bucket)))
    }

    /// Writes the next change, here and on the other drives.
    async fn write_bucket(self: &Rc<Self>, mut record: Record) -> Result<()> {
        record.upload = self.context.catalog.load().sequence() + 1;
        let copy = record.clone();
        self.write_next_change(record).await?;
        let context = &self.context;
        let homes = context.layout.catalog_homes().filter(|home| *home != self.id);
        join_all(homes.map(async |home| {
            let request = Request::CopyBucketChange(Box::new(copy.clone()));
            let copied = match context.require_online(home) {
                Ok(()) => context.mailboxes.ask(context, home, request).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = copied {
                tracing::warn!(shard = home, %error, "a change of a bucket is not on this drive yet");
            }
        }))
        .await;
        Ok(())
    }

    /// Writes a change of the catalogue, or its copy, unless an earlier one is missing here.
    pub(crate) async fn write_next_change(self: &Rc<Self>, record: Record) -> Result<()> {
        if record.upload != self.catalog.borrow().sequence() + 1 {
            let cause = "its copy of the bucket catalogue is behind".to_owned();
            return Err(Error::ReadOnly { shard: self.id, cause });
        }
        self.write_change(record).await
    }

    async fn write_change(self: &Rc<Self>, record: Record) -> Result<()> {
        let index_key = index_key::bucket(BucketId(record.bucket));
        self.await_turn(Need::Reserve, &[&index_key]).await;
        self.check_writable(&record, Need::Reserve)?;
        let (_, ticket) = self.stage(record, &index_key, Need::Reserve)?;
        self.outcome(ticket.wait().await)
    }

    /// Brings this drive's copy up to the newest state that a start has found. Where that fails the store
    /// is served all the same, and the next start tries again.
    pub(crate) async fn catch_up(self: &Rc<Self>, newest: &Catalog) {
        let changes = newest.changes_since(&self.catalog.borrow());
        for change in changes {
            if let Err(error) = self.write_change(change).await {
                let shard = self.id;
                tracing::error!(shard, %error, "this drive's copy of the bucket catalogue stays behind");
                return;
            }
        }
        self.catalog.borrow_mut().set_caught_up(newest);
    }

    fn set_deleting(&self, bucket: BucketId, deleting: bool) {
        let mut catalog = Catalog::clone(&self.context.catalog.load());
        catalog.set_deleting(bucket, deleting);
        self.context.catalog.store(Arc::new(catalog));
    }

    /// Applies a durable record of the catalogue; shard 0 publishes the result to all cores.
    pub(crate) fn publish_bucket(&self, record: &Record) {
        self.catalog.borrow_mut().apply_record(record);
        if self.id == 0 {
            let mut catalog = Catalog::clone(&self.context.catalog.load());
            catalog.apply_record(record);
            self.context.catalog.store(Arc::new(catalog));
        }
    }

    /// Whether a bucket that takes no new keys any more holds none here, once everything staged
    /// before is settled.
    pub(crate) async fn is_empty(self: &Rc<Self>, bucket: BucketId) -> Result<bool> {
        for prefix in [index_key::object(bucket, b""), index_key::upload(bucket, b"")] {
            let staged: Vec<_> = {
                let state = self.state.borrow();
                let of_bucket = state.pending.iter().filter(|(key, _)| key.starts_with(&prefix));
                of_bucket.map(|(_, pending)| pending.ticket.clone()).collect()
            };
            for ticket in staged {
                if ticket.wait().await == Outcome::Failed {
                    return Err(self.read_only_error());
                }
            }
            let state = self.state.borrow();
            let mut cursor = state.index.seek(&prefix, u64::MAX);
            if cursor.next().is_some_and(|(key, _, _)| key.starts_with(&prefix)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until nothing is on its way to disk, tells the next start that it is all there, and
    /// closes the log.
    pub(crate) async fn close(self: &Rc<Self>) {
        self.maintenance_ended().await;
        self.amendments_ended().await;
        let idle = || (self.log.borrow().is_idle() || self.is_latched()).then_some(());
        self.log_event.wait_until(idle).await;
        if !self.is_latched() && self.log.borrow().durable_lsn > 0 {
            if let Err(error) = self.write_witness().await {
                tracing::error!(shard = self.id, %error, "the log could not be closed in order");
            }
            self.log_event.wait_until(idle).await;
        }
        // A segment that is being made is made to the end: whoever opens the store next may make the same
        // one. Nobody waits for anything but I/O behind this gate, and who enters later sees the stop.
        drop(self.space_gate.enter().await);
    }
}

/// Whether a record belongs to the catalogue.
pub(crate) fn is_catalog(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Bucket | RecordKind::BucketDelete)
}
