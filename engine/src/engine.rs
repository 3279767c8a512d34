//! The handle of one core: finds the owning shard, asks it, joins answers.
//!
//! Cheap to clone; never leaves its core. Every operation is durable when it returns `Ok`.

use crate::backup::BackupStatus;
use crate::catalog::{Catalog, Published};
use crate::core::CoreContext;
use crate::drives::Drives;
use crate::error::{Error, Result};
use crate::health::Health;
use crate::limits::{ATTRIBUTES_BYTES_MAX, KEY_BYTES_MAX, LIST_LIMIT_MAX, PARTS_MAX};
use crate::listing;
use crate::mailbox::Mailboxes;
use crate::metrics::EngineMetrics;
use crate::multipart::CompleteUpload;
use crate::pins::Pin;
use crate::platform::Platform;
use crate::read::{self, ObjectReader};
use crate::recover;
use crate::request::{BucketChange, Reply, Request, mismatched};
use crate::scrub::{self, ScrubBoard, ScrubStatus};
use crate::shard::{Committed, Located, Target};
use crate::store::{EngineOptions, Layout};
use crate::types::{
    Amend, Bucket, BucketId, Commit, CompletePart, Condition, Current, Deleted, Deletion, ListPage,
    ListQuery, PartsPage, UploadId, UploadInfo, UploadedPart, UploadsPage, UploadsQuery, Version,
    VersionsPage, VersionsQuery, Which,
};
use crate::wait::to_the_end;
use crate::writer::ObjectWriter;
use arc_swap::ArcSwap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a core looks how far the others have come.
const START_POLL: Duration = Duration::from_millis(1);

/// What of an object its opener will use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Record,
    /// Some of them.
    Bytes,
    AllBytes,
}

/// What the cores of one store share; made once, before they start.
#[derive(Debug)]
pub struct Shared {
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) catalog: Published,
    pub(crate) drives: Arc<Drives>,
    pub(crate) scrub_board: Arc<ScrubBoard>,
    /// The newest catalogue that a shard was found to hold.
    newest_catalog: Mutex<Arc<Catalog>>,
    /// Cores that have read all of their shards.
    understood: AtomicUsize,
    /// Cores whose shards are ready for requests.
    recovered: AtomicUsize,
    /// Cores that know of no rename that was cut short.
    resolved: AtomicUsize,
    stopped: AtomicUsize,
    failed: AtomicBool,
}

impl Shared {
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            mailboxes: Mailboxes::new(cores.max(1)),
            catalog: Arc::new(ArcSwap::default()),
            drives: Arc::default(),
            scrub_board: Arc::new(ScrubBoard::new(cores)),
            newest_catalog: Mutex::default(),
            understood: AtomicUsize::new(0),
            recovered: AtomicUsize::new(0),
            resolved: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Counts this core in, and waits for the others; gives up if one of them has failed.
    async fn await_all<P: Platform>(&self, platform: &P, arrived: &AtomicUsize) -> Result<()> {
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < self.mailboxes.cores() {
            if self.failed.load(Ordering::Acquire) {
                return Err(Error::Stopping);
            }
            platform.sleep(START_POLL).await;
        }
        Ok(())
    }

    /// A shard that holds the bucket catalogue, or a copy, was found to hold this.
    fn offer_catalog(&self, found: &Catalog) {
        let mut newest = self.newest_catalog.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut newest).offer(found);
    }

    fn newest_catalog(&self) -> Arc<Catalog> {
        self.newest_catalog.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A core will not start: the others stop waiting for it.
    pub fn give_up(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

/// What recovery found on one core.
#[derive(Debug, Default, Clone, Copy)]
pub struct Recovered {
    pub shards: usize,
    /// Keys that checkpoints held.
    pub checkpoint_entries: u64,
    /// Checkpoints that could not be used.
    pub checkpoints_damaged: u64,
    pub groups: u64,
    pub records: u64,
    pub log_bytes: u64,
    /// Torn groups at the end of a log that were never acknowledged.
    pub torn_tails: u64,
}

impl Recovered {
    fn add(&mut self, found: &recover::Found) {
        self.shards += 1;
        self.checkpoint_entries += found.entries;
        self.checkpoints_damaged += found.checkpoints_damaged;
        self.groups += found.groups;
        self.records += found.records;
        self.log_bytes += found.log_bytes;
        self.torn_tails += found.torn_tails;
    }
}

#[derive(Debug)]
pub struct Engine<P: Platform> {
    inner: Rc<Inner<P>>,
}

#[derive(Debug)]
struct Inner<P: Platform> {
    context: Rc<CoreContext<P>>,
    shared: Arc<Shared>,
    core: usize,
    recovered: Recovered,
    /// The backup that was begun last from here.
    backup: RefCell<Option<BackupStatus>>,
    _owner: Owner<P>,
}

/// Shards and context name each other. An engine that is dropped without being closed, as a simulated
/// crash does it, leaves nothing behind all the same.
#[derive(Debug)]
struct Owner<P: Platform>(Rc<CoreContext<P>>);

impl<P: Platform> Drop for Owner<P> {
    fn drop(&mut self) {
        self.0.drop_shards();
    }
}

impl<P: Platform> Clone for Engine<P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// Gives a pin back when dropped.
#[derive(Debug)]
pub(crate) struct PinGuard<P: Platform> {
    engine: Engine<P>,
    shard: u16,
    pin: Pin,
}

impl<P: Platform> Drop for PinGuard<P> {
    fn drop(&mut self) {
        self.engine.tell(self.shard, Request::Unpin(self.pin));
    }
}

impl<P: Platform> Engine<P> {
    /// Recovers the shards of this core and returns when all cores have recovered theirs.
    ///
    /// # Errors
    /// What is wrong with the store; no core starts then.
    pub async fn start(
        platform: P,
        layout: Layout,
        options: EngineOptions,
        shared: Arc<Shared>,
        core: usize,
    ) -> Result<Self> {
        let context = CoreContext::new(platform, layout, options, &shared, core);
        let owner = Owner(context.clone());
        let recovered = match Self::recover(&context, &shared, core).await {
            Ok(recovered) => recovered,
            Err(error) => {
                shared.give_up();
                return Err(error);
            }
        };
        let receiver = shared.mailboxes.clone().receive(context.clone());
        context.platform.spawn(receiver);
        let backup = RefCell::default();
        scrub::start(&context, core);
        let inner = Inner { context, shared, core, recovered, backup, _owner: owner };
        let engine = Self { inner: Rc::new(inner) };
        if core == 0 {
            engine.resolve_renames(&engine.catalog()).await;
        }
        let Inner { context, shared, .. } = &*engine.inner;
        shared.await_all(&context.platform, &shared.resolved).await?;
        Ok(engine)
    }

    /// Every core reads its shards before any core writes to one of its own, so that a store that
    /// cannot be opened stays as it was found. A drive that fails meanwhile is left out.
    async fn recover(
        context: &Rc<CoreContext<P>>,
        shared: &Shared,
        core: usize,
    ) -> Result<Recovered> {
        for (cause, drive) in context.layout.offline.iter().zip(0..) {
            if let Some(cause) = cause {
                context.drives.set_offline(drive, cause);
            }
        }
        let mut understood = Vec::new();
        for shard in 0..context.layout.shard_count {
            if shared.mailboxes.owner_of(shard) != core || context.offline_cause(shard).is_some() {
                continue;
            }
            match recover::understand_shard(context, shard).await {
                Ok(found) => {
                    shared.offer_catalog(found.catalog());
                    understood.push((shard, found));
                }
                Err(error) => context.give_up_drive(shard, error)?,
            }
        }
        shared.await_all(&context.platform, &shared.understood).await?;
        context.require_a_drive()?;
        let catalog = shared.newest_catalog();
        context.catalog.store(catalog.clone());
        let mut total = Recovered::default();
        for (shard, understood) in understood {
            if context.offline_cause(shard).is_some() {
                continue;
            }
            match recover::open_shard(context, understood).await {
                Ok(found) => total.add(&found),
                Err(error) => context.give_up_drive(shard, error)?,
            }
        }
        for home in context.layout.catalog_homes() {
            if let Some(shard) = context.shard(home)
                && context.offline_cause(home).is_none()
            {
                shard.catch_up(&catalog).await;
            }
        }
        shared.await_all(&context.platform, &shared.recovered).await?;
        context.require_a_drive()?;
        Ok(total)
    }

    pub fn platform(&self) -> &P {
        &self.inner.context.platform
    }

    pub(crate) fn context(&self) -> &Rc<CoreContext<P>> {
        &self.inner.context
    }

    pub fn recovered(&self) -> Recovered {
        self.inner.recovered
    }

    pub fn metrics(&self) -> EngineMetrics {
        let mut metrics = self.inner.context.metrics();
        let health = self.health();
        metrics.shards_offline = health.shards_offline.len() as u64;
        metrics.drives_offline = health.drives_offline.len() as u64;
        metrics
    }

    /// What does not work: of this core's shards, and on core 0 of the drives too.
    pub fn health(&self) -> Health {
        self.inner.context.health(self.inner.core == 0)
    }

    /// How far scrubbing is and what it found, all cores together.
    pub fn scrub_status(&self) -> ScrubStatus {
        self.inner.context.scrub_board.status()
    }

    /// What each core reads in a second; 0: scrubbing is switched off.
    pub fn scrub_rate(&self) -> u64 {
        self.inner.context.options.scrub_bytes_per_second
    }

    /// Has every core begin a pass within a second, unless it is in the midst of one; then the next
    /// follows it. Nothing happens if scrubbing is switched off.
    pub fn start_scrub(&self) {
        self.inner.context.scrub_board.ask();
    }

    /// Takes no more writes, waits for those under way, and closes the files of this core. To be
    /// called on every core, after its connections have ended.
    pub async fn close(&self) {
        let Inner { context, shared, core, .. } = &*self.inner;
        context.stopping.set(true);
        self.end_backup().await;
        scrub::ended(context).await;
        for shard in context.own_shards() {
            shard.close().await;
        }
        // Another core may still ask this one until it has closed too.
        shared.stopped.fetch_add(1, Ordering::AcqRel);
        while shared.stopped.load(Ordering::Acquire) < shared.mailboxes.cores() {
            context.platform.sleep(START_POLL).await;
        }
        shared.mailboxes.close(*core);
        context.drop_shards();
        context.files.close_all().await;
    }

    // --- Reaching shards -----------------------------------------------------------------------

    pub(crate) async fn ask(&self, shard: u16, request: Request) -> Result<Reply> {
        let Inner { context, shared, .. } = &*self.inner;
        // What undoes a change in memory must reach its shard all the same.
        if !matches!(request, Request::ChangeBucket(BucketChange::CancelDelete { .. })) {
            context.require_online(shard)?;
        }
        shared.mailboxes.ask(context, shard, request).await
    }

    pub(crate) fn tell(&self, shard: u16, request: Request) {
        let Inner { context, shared, .. } = &*self.inner;
        shared.mailboxes.tell(context, shard, request);
    }

    pub(crate) fn backup_slot(&self) -> &RefCell<Option<BackupStatus>> {
        &self.inner.backup
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.context.layout
    }

    /// The core that owns a shard.
    pub(crate) fn owner_of(&self, shard: u16) -> usize {
        self.inner.shared.mailboxes.owner_of(shard)
    }

    pub(crate) fn cores(&self) -> usize {
        self.inner.shared.mailboxes.cores()
    }

    pub(crate) fn shard_of(&self, bucket: BucketId, key: &[u8]) -> Result<u16> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge("a key is 1 to 1,024 bytes long"));
        }
        Ok(self.inner.context.layout.shard_of(bucket, key))
    }

    pub(crate) fn guard(&self, shard: u16, pin: Pin) -> PinGuard<P> {
        PinGuard { engine: self.clone(), shard, pin }
    }

    // --- Buckets -------------------------------------------------------------------------------

    /// The catalogue as it is now: one atomic load. It may be an older one while the drive of shard 0 is
    /// offline: see [`Self::require_catalog`].
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.context.catalog.load_full()
    }

    /// An error while it is not certain that a bucket which is not in the catalogue does not exist: the
    /// drive with its log is offline, and the copies may be of a time when theirs was.
    pub fn require_catalog(&self) -> Result<()> {
        self.inner.context.require_online(0)
    }

    pub async fn create_bucket(
        &self,
        name: &str,
        settings: BTreeMap<u16, Vec<u8>>,
    ) -> Result<Arc<Bucket>> {
        if name.is_empty() || name.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge("a bucket's name is 1 to 1,024 bytes long"));
        }
        self.change_bucket(BucketChange::Create { name: name.into(), settings }).await
    }

    /// Sets or removes one setting.
    pub async fn put_bucket_setting(
        &self,
        name: &str,
        tag: u16,
        value: Option<Vec<u8>>,
    ) -> Result<()> {
        self.put_bucket_settings(name, BTreeMap::from([(tag, value)]), BTreeMap::new()).await
    }

    /// Sets and removes settings in one change, if those of `expected` are what it says.
    ///
    /// # Errors
    /// [`Error::Condition`] with `PreconditionFailed` if one of them is not.
    pub async fn put_bucket_settings(
        &self,
        name: &str,
        changes: BTreeMap<u16, Option<Vec<u8>>>,
        expected: BTreeMap<u16, Option<Vec<u8>>>,
    ) -> Result<()> {
        let change = BucketChange::Set { name: name.into(), changes, expected };
        self.change_bucket(change).await.map(drop)
    }

    /// Deletes a bucket that holds no version of an object, no delete marker and no upload.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        // Cut short between its steps it would leave a bucket that takes no writes any more.
        let (engine, name) = (self.clone(), name.to_owned());
        let deletion = async move { engine.delete_bucket_if_empty(&name).await };
        to_the_end(self.platform(), deletion).await
    }

    async fn delete_bucket_if_empty(&self, name: &str) -> Result<()> {
        let bucket = self.change_bucket(BucketChange::BeginDelete { name: name.into() }).await?;
        let verdict = self.check_empty(bucket.id).await;
        if let Err(error) = verdict {
            self.change_bucket(BucketChange::CancelDelete { id: bucket.id })
                .await
                .map(drop)
                .or_else(|cancel| match cancel {
                    Error::NoSuchBucket => Ok(()),
                    other => Err(other),
                })?;
            return Err(error);
        }
        self.change_bucket(BucketChange::FinishDelete { name: name.into() }).await.map(drop)
    }

    async fn check_empty(&self, bucket: BucketId) -> Result<()> {
        for shard in 0..self.inner.context.layout.shard_count {
            match self.ask(shard, Request::IsEmpty(bucket)).await? {
                Reply::Empty(true) => {}
                Reply::Empty(false) => return Err(Error::BucketNotEmpty),
                _ => return Err(mismatched()),
            }
        }
        Ok(())
    }

    pub(crate) async fn change_bucket(&self, change: BucketChange) -> Result<Arc<Bucket>> {
        match self.ask(0, Request::ChangeBucket(change)).await? {
            Reply::Bucket(bucket) => Ok(bucket),
            _ => Err(mismatched()),
        }
    }

    // --- Objects -------------------------------------------------------------------------------

    /// Begins to receive an object. `size`: its length, if known.
    pub async fn writer(
        &self,
        bucket: BucketId,
        key: &[u8],
        size: Option<u64>,
    ) -> Result<ObjectWriter<P>> {
        let shard = self.shard_of(bucket, key)?;
        ObjectWriter::open(self.clone(), shard, bucket, key.to_vec(), Target::Object, size).await
    }

    /// Begins to receive bytes that an object is to grow by. It must be its key's latest version, a null
    /// version, with exactly this identity when the commit is judged, and larger than
    /// [`INLINE_BYTES_MAX`](crate::limits::INLINE_BYTES_MAX) or made of parts; what is smaller is to be written anew. `size`: how many bytes
    /// are added, if that is known. What the commit says is of the whole object.
    ///
    /// # Errors
    /// As of [`Self::writer`]; its `finish` gives [`Error::Condition`] with `PreconditionFailed` if there is
    /// no such version any more.
    pub async fn appender(
        &self,
        bucket: BucketId,
        key: &[u8],
        to: Version,
        size: Option<u64>,
    ) -> Result<ObjectWriter<P>> {
        let shard = self.shard_of(bucket, key)?;
        let target = Target::Growth { to };
        ObjectWriter::open(self.clone(), shard, bucket, key.to_vec(), target, size).await
    }

    /// What the index knows of a version of an object, be it a delete marker; no disk is touched.
    pub async fn lookup(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
    ) -> Result<Option<Current>> {
        let shard = self.shard_of(bucket, key)?;
        self.inner.context.require_online(shard)?;
        if let Some(shard) = self.inner.context.shard(shard) {
            shard.await_shown(bucket, key).await;
            return Ok(shard.lookup(bucket, key, which));
        }
        match self.ask(shard, Request::Lookup { bucket, key: key.to_vec(), which }).await? {
            Reply::Current(current) => Ok(current),
            _ => Err(mismatched()),
        }
    }

    /// Opens a version of an object for reading its record and its bytes. A delete marker opens too, and
    /// has none.
    pub async fn open(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
    ) -> Result<Option<ObjectReader<P>>> {
        self.open_located(bucket, key, which, Wants::Bytes).await
    }

    /// As [`Self::open`], for whoever will give out all bytes: where many wait for memory already that a large
    /// object takes, it says so before anything is read.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many wait.
    pub async fn open_whole(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
    ) -> Result<Option<ObjectReader<P>>> {
        self.open_located(bucket, key, which, Wants::AllBytes).await
    }

    /// Opens a version of an object for its record alone: `next` gives nothing.
    pub async fn head(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
    ) -> Result<Option<ObjectReader<P>>> {
        self.open_located(bucket, key, which, Wants::Record).await
    }

    async fn open_located(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
        wants: Wants,
    ) -> Result<Option<ObjectReader<P>>> {
        let shard = self.shard_of(bucket, key)?;
        self.inner.context.require_online(shard)?;
        let located = match self.inner.context.shard(shard) {
            Some(own) => {
                own.await_shown(bucket, key).await;
                own.locate(bucket, key, which)
            }
            None => {
                let request = Request::Locate { bucket, key: key.to_vec(), which };
                match self.ask(shard, request).await? {
                    Reply::Located(located) => located,
                    _ => return Err(mismatched()),
                }
            }
        };
        let Some(located) = located else {
            return Ok(None);
        };
        let pin = self.guard(shard, located.pin);
        if located.has_extents && wants == Wants::AllBytes {
            self.inner.context.check_memory(read::windows_bytes(located.current.size))?;
        }
        let context = self.inner.context.clone();
        let whole = wants != Wants::Record;
        let reader = ObjectReader::open(context, shard, bucket, key, located, pin, whole).await?;
        Ok(Some(reader))
    }

    /// Marks an object as deleted, or removes one of its versions for good. That a version which is to be
    /// removed is not there is no error. The condition is asked about the version that goes if that is
    /// named exactly, else about the latest.
    ///
    /// # Errors
    /// [`Error::Condition`] if the condition does not hold, or the guard refuses; nothing was changed then.
    pub async fn delete(
        &self,
        bucket: BucketId,
        key: &[u8],
        deletion: Deletion,
        condition: Option<Condition>,
    ) -> Result<Deleted> {
        let shard = self.shard_of(bucket, key)?;
        let request = Request::Delete { bucket, key: key.to_vec(), deletion, condition };
        match self.ask(shard, request).await? {
            Reply::Deleted(deleted) => Ok(deleted),
            _ => Err(mismatched()),
        }
    }

    /// Gives a version other attributes and another label, durably; its bytes and its identity stay. What
    /// `change` is given cannot change before what it decides has taken effect.
    ///
    /// # Errors
    /// [`Error::Condition`] with `NoSuchKey` if there is no such version, or with what `change` says;
    /// [`Error::Marker`] if it is a delete marker; and as for a write.
    pub async fn amend(
        &self,
        bucket: BucketId,
        key: &[u8],
        which: Which,
        change: Amend,
    ) -> Result<Current> {
        let shard = self.shard_of(bucket, key)?;
        let request = Request::Amend { bucket, key: key.to_vec(), which, change };
        match self.ask(shard, request).await? {
            Reply::Amended(current) => Ok(current),
            _ => Err(mismatched()),
        }
    }

    /// One page of a bucket's keys, from all shards, in byte order.
    pub async fn list(&self, bucket: BucketId, query: &ListQuery) -> Result<ListPage> {
        listing::merge(self, self.inner.context.layout.shard_count, bucket, query).await
    }

    /// One page of the versions and delete markers of a bucket's keys, from all shards.
    pub async fn list_versions(
        &self,
        bucket: BucketId,
        query: &VersionsQuery,
    ) -> Result<VersionsPage> {
        listing::merge_versions(self, self.inner.context.layout.shard_count, bucket, query).await
    }

    // --- Multipart uploads ---------------------------------------------------------------------

    pub async fn create_upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        attributes: Vec<u8>,
    ) -> Result<UploadId> {
        let shard = self.shard_of(bucket, key)?;
        check_attributes(&attributes)?;
        let request = Request::BeginUpload { bucket, key: key.to_vec(), attributes };
        match self.ask(shard, request).await? {
            Reply::UploadBegun(upload) => Ok(upload),
            _ => Err(mismatched()),
        }
    }

    async fn locate_upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
    ) -> Result<(u16, Located, PinGuard<P>)> {
        let shard = self.shard_of(bucket, key)?;
        let request = Request::LocateUpload { bucket, key: key.to_vec(), upload };
        match self.ask(shard, request).await? {
            Reply::Upload(located) => Ok((shard, located, self.guard(shard, located.pin))),
            _ => Err(mismatched()),
        }
    }

    /// What was stored when an upload began.
    pub async fn upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
    ) -> Result<UploadInfo> {
        let (shard, located, pin) = self.locate_upload(bucket, key, upload).await?;
        let Located { location, current, .. } = located;
        let sections =
            read::sections(&self.inner.context, shard, location, Some(current.version)).await?;
        drop(pin);
        Ok(UploadInfo { key: key.to_vec(), id: upload, attributes: sections.attributes })
    }

    /// Begins to receive a part.
    pub async fn part_writer(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        number: u16,
        size: Option<u64>,
    ) -> Result<ObjectWriter<P>> {
        if number == 0 || number > PARTS_MAX {
            return Err(Error::TooLarge("a part's number is 1 to 10,000"));
        }
        let (shard, _, pin) = self.locate_upload(bucket, key, upload).await?;
        drop(pin);
        let target = Target::Part { upload, number };
        ObjectWriter::open(self.clone(), shard, bucket, key.to_vec(), target, size).await
    }

    /// The parts with a number above `after`, in order.
    pub async fn list_parts(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<PartsPage> {
        let shard = self.shard_of(bucket, key)?;
        let limit = limit.min(usize::from(PARTS_MAX));
        let request = Request::LocateParts { bucket, key: key.to_vec(), upload, after, limit };
        let Reply::Parts { rows, truncated, pin } = self.ask(shard, request).await? else {
            return Err(mismatched());
        };
        let pin = self.guard(shard, pin);
        let sections = read::many_sections(&self.inner.context, shard, &rows).await?;
        drop(pin);
        let parts = rows
            .iter()
            .zip(sections)
            .map(|(row, sections)| UploadedPart {
                number: row.number,
                current: row.current,
                attributes: sections.attributes,
            })
            .collect();
        Ok(PartsPage { parts, truncated })
    }

    /// Uploads under way, from all shards. Their attributes are left empty: see [`Self::upload`].
    pub async fn list_uploads(
        &self,
        bucket: BucketId,
        query: &UploadsQuery,
    ) -> Result<UploadsPage> {
        listing::merge_uploads(self, self.inner.context.layout.shard_count, bucket, query).await
    }

    /// Makes an object of the named parts, which must be in ascending order; the others are freed.
    pub async fn complete_upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        parts: Vec<CompletePart>,
        commit: Commit,
    ) -> Result<Committed> {
        let shard = self.shard_of(bucket, key)?;
        check_attributes(&commit.attributes)?;
        let complete = CompleteUpload { bucket, key: key.to_vec(), upload, parts, commit };
        match self.ask(shard, Request::Complete(Box::new(complete))).await? {
            Reply::Committed(committed) => Ok(committed),
            _ => Err(mismatched()),
        }
    }

    pub async fn abort_upload(&self, bucket: BucketId, key: &[u8], upload: UploadId) -> Result<()> {
        let shard = self.shard_of(bucket, key)?;
        let request = Request::AbortUpload { bucket, key: key.to_vec(), upload };
        self.ask(shard, request).await.map(drop)
    }
}

/// The bound of attributes, for every operation that stores any.
pub(crate) fn check_attributes(attributes: &[u8]) -> Result<()> {
    if attributes.len() > ATTRIBUTES_BYTES_MAX {
        return Err(Error::TooLarge("the attributes are longer than 64 KiB"));
    }
    Ok(())
}

/// The bound of a page.
pub(crate) fn page_limit(limit: usize) -> usize {
    limit.min(LIST_LIMIT_MAX)
}
