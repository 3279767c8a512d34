//! The worker that carries lifecycles out: one task, on one core, for all buckets.
//!
//! A pass begins soon after the start and at every midnight; it walks the prefixes that rules name, page
//! by page, and does what their verdicts say.
//!
//! Invariants: it holds one page of a listing at a time; it looks at no more than
//! [`LIFECYCLE_ROWS_PER_SECOND`] rows and removes no more than [`LIFECYCLE_REMOVALS_PER_SECOND`] versions
//! in a second, however many there are; every removal names the version that was judged, by the rules,
//! versioning and locks that its bucket has at that moment, and is refused by the engine if another took
//! its place or a lock holds it; a bucket that fails is counted, logged, and left for the next pass, and
//! the others are served.
//!
//! Not here: the verdicts (`verdict`).

use super::removal::{self, Removed};
use super::verdict::{self, Standing, Verdict, Walk};
use super::{Day, Lifecycle};
use crate::dates;
use crate::error::Result;
use crate::limits::{
    LIFECYCLE_CONCURRENT, LIFECYCLE_FIRST_PASS, LIFECYCLE_PAGE_ROWS, LIFECYCLE_REMOVALS_PER_SECOND,
    LIFECYCLE_ROWS_PER_SECOND,
};
use crate::metrics::Sample;
use crate::ops::{aftermath, join};
use crate::services::Services;
use crate::versioning::VersioningSetting;
use crate::workers::notify::message::Place;
use crate::workers::notify::{Cause, Event, EventName, Notification};
use crate::workers::{Origin, Stop, Tasks};
use engine::platform::Platform;
use engine::{Bucket, Engine, UploadInfo, UploadItem, UploadsQuery, Version};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whom messages about expired objects name as the one who did it.
const PRINCIPAL: &str = "ringfort";

/// What the worker has done.
#[derive(Debug, Default)]
pub struct Progress {
    passes: Cell<u64>,
    is_running: Cell<bool>,
    rows: Cell<u64>,
    expired: Cell<u64>,
    noncurrent: Cell<u64>,
    markers: Cell<u64>,
    uploads: Cell<u64>,
    locked: Cell<u64>,
    failures: Cell<u64>,
    buckets_failed: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get() + count as u64);
}

impl Progress {
    /// The counters as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        let sample = |name, help, value: u64, action: Option<&str>| Sample {
            name,
            help,
            labels: action.map(|action| ("action", action.to_owned())).into_iter().collect(),
            value: value as f64,
        };
        let done = "What lifecycles have done, by action";
        let action = |counter: &Cell<u64>, action| {
            sample("lifecycle_actions_total", done, counter.get(), Some(action))
        };
        let failed = "Versions and uploads that a lifecycle could not remove";
        let of_buckets = "Passes over a bucket that failed";
        let locked = "Versions that a lifecycle left alone because they are locked";
        vec![
            sample(
                "lifecycle_passes_total",
                "Passes of the lifecycle worker",
                self.passes.get(),
                None,
            ),
            sample(
                "lifecycle_running",
                "Whether a pass is under way",
                u64::from(self.is_running.get()),
                None,
            ),
            sample("lifecycle_rows_total", "Versions and uploads looked at", self.rows.get(), None),
            action(&self.expired, "expire"),
            action(&self.noncurrent, "remove_noncurrent"),
            action(&self.markers, "remove_marker"),
            action(&self.uploads, "abort_upload"),
            sample("lifecycle_locked_total", locked, self.locked.get(), None),
            sample("lifecycle_failures_total", failed, self.failures.get(), None),
            sample("lifecycle_buckets_failed_total", of_buckets, self.buckets_failed.get(), None),
        ]
    }
}

/// Starts the worker. To be called on one core.
pub fn start<P: Platform>(
    engine: &Engine<P>,
    services: &Rc<Services>,
    origin: Origin,
    tasks: &Tasks,
) -> Rc<Progress> {
    let progress = Rc::new(Progress::default());
    let worker = Worker {
        engine: engine.clone(),
        day: services.day,
        services: Rc::clone(services),
        origin,
        stop: tasks.stop(),
        progress: Rc::clone(&progress),
    };
    tasks.spawn(engine.platform(), worker.run());
    progress
}

struct Worker<P: Platform> {
    engine: Engine<P>,
    services: Rc<Services>,
    day: Day,
    origin: Origin,
    stop: Stop,
    progress: Rc<Progress>,
}

/// Something that is to be done.
struct Due {
    key: Vec<u8>,
    standing: Standing,
}

/// A bucket as it is at the moment, and its rules.
type Subject = (Arc<Bucket>, Rc<Lifecycle>);

impl<P: Platform> Worker<P> {
    async fn run(self) {
        let platform = self.engine.platform().clone();
        let day_length = Duration::from_secs(self.day.seconds().unsigned_abs());
        self.stop.sleep(&platform, LIFECYCLE_FIRST_PASS.min(day_length / 10)).await;
        while !self.stop.is_requested() {
            let next = self.day.midnight_after(self.now(), 0);
            self.pass().await;
            while self.now() < next && !self.stop.is_requested() {
                self.stop.sleep(&platform, Duration::from_millis(500).min(day_length / 10)).await;
            }
        }
    }

    fn now(&self) -> i64 {
        dates::seconds(Version(self.engine.platform().wall_clock_ns()))
    }

    async fn pass(&self) {
        self.progress.is_running.set(true);
        let names: Vec<String> = {
            let catalog = self.engine.catalog();
            let buckets = catalog.buckets().filter(|bucket| !crate::system::is_entry(&bucket.name));
            buckets.map(|bucket| bucket.name.clone()).collect()
        };
        for bucket in names {
            if self.stop.is_requested() {
                break;
            }
            if let Err(error) = self.pass_bucket(&bucket).await {
                add(&self.progress.buckets_failed, 1);
                tracing::warn!(bucket, %error, "a lifecycle could not be carried out; tried again later");
            }
        }
        self.progress.is_running.set(false);
        add(&self.progress.passes, 1);
    }

    /// The bucket, if it is there and has a lifecycle. Where versions are removed only with a code of
    /// the root's device (it may have been asked for after the lifecycle was), nothing is done.
    fn subject(&self, name: &str) -> Result<Option<Subject>> {
        let catalog = self.engine.catalog();
        let Some(bucket) = catalog.bucket(name) else { return Ok(None) };
        let lifecycle = self.services.settings.get::<Lifecycle>(bucket)?;
        let versioning = self.services.settings.get::<VersioningSetting>(bucket)?;
        let lifecycle = lifecycle.filter(|_| !versioning.is_some_and(|set| set.has_mfa_delete()));
        Ok(lifecycle.map(|lifecycle| (bucket.clone(), lifecycle)))
    }

    /// The same of a bucket of which a page was listed, if it is still that one.
    fn subject_again(&self, listed: &Bucket) -> Result<Option<Subject>> {
        Ok(self.subject(&listed.name)?.filter(|(bucket, _)| bucket.id == listed.id))
    }

    async fn pass_bucket(&self, name: &str) -> Result<()> {
        let Some((_, lifecycle)) = self.subject(name)? else { return Ok(()) };
        for prefix in
            lifecycle.prefixes(|rule| rule.expiration.is_some() || rule.noncurrent.is_some())
        {
            self.pass_versions(name, &prefix).await?;
        }
        for prefix in lifecycle.prefixes(|rule| rule.abort_days.is_some()) {
            self.pass_uploads(name, &prefix).await?;
        }
        Ok(())
    }

    /// The rules are looked up for each page: they may change, or end, during a long pass.
    async fn pass_versions(&self, name: &str, prefix: &str) -> Result<()> {
        let mut walk = Walk::default();
        let mut cursor = removal::Cursor::new(prefix, LIFECYCLE_PAGE_ROWS);
        while let Some((bucket, lifecycle)) = self.subject(name)? {
            let rows = cursor.page(&self.engine, bucket.id).await?;
            let (now, mut due) = (self.now(), Vec::new());
            let mut take = |key: &[u8], standing: Standing| {
                let verdict = verdict::judge(&lifecycle, self.day, now, key, &standing, None);
                due.extend(verdict.map(|_| Due { key: key.to_vec(), standing }));
            };
            for (key, row) in &rows {
                walk.step(key, *row, &mut take);
            }
            if cursor.is_at_end() {
                walk.finish(&mut take);
            }
            self.carry_out(&bucket, due).await;
            self.rest(rows.len(), LIFECYCLE_ROWS_PER_SECOND).await;
            add(&self.progress.rows, rows.len());
            if cursor.is_at_end() || self.stop.is_requested() {
                break;
            }
        }
        Ok(())
    }

    /// Lets so much time pass that no more than so many of a kind are dealt with in a second.
    async fn rest(&self, count: usize, per_second: u32) {
        let pause = Duration::from_secs(1) * u32::try_from(count).unwrap_or(u32::MAX) / per_second;
        self.stop.sleep(self.engine.platform(), pause).await;
    }

    async fn carry_out(&self, bucket: &Bucket, due: Vec<Due>) {
        for some in due.chunks(LIFECYCLE_CONCURRENT) {
            if self.stop.is_requested() {
                return;
            }
            join::all(some.iter().map(|one| self.do_one(bucket, one))).await;
            self.rest(some.len(), LIFECYCLE_REMOVALS_PER_SECOND).await;
        }
    }

    async fn do_one(&self, bucket: &Bucket, due: &Due) {
        let outcome = match self.still_due(bucket, due).await {
            Ok(Some((bucket, verdict))) => self.remove(&bucket, due, verdict).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            add(&self.progress.failures, 1);
            let key = String::from_utf8_lossy(&due.key);
            tracing::warn!(bucket = bucket.name, %key, %error, "an object could not be expired");
        }
    }

    /// The bucket and the verdict as they are now, with the tags at hand where rules look at them.
    async fn still_due(
        &self,
        listed: &Bucket,
        due: &Due,
    ) -> Result<Option<(Arc<Bucket>, Verdict)>> {
        let Due { key, standing, .. } = due;
        let asks_for_tags =
            |lifecycle: &Lifecycle| lifecycle.looks_at_tags() && !standing.row.is_marker;
        let Some((_, lifecycle)) = self.subject_again(listed)? else { return Ok(None) };
        let tags = if asks_for_tags(&lifecycle) {
            let found = removal::attributes(&self.engine, listed.id, key, &standing.row).await?;
            let Some(attributes) = found else { return Ok(None) };
            Some(aftermath::tags_of(&attributes)?)
        } else {
            None
        };
        // Reading the tags took its time.
        let Some((bucket, lifecycle)) = self.subject_again(listed)? else { return Ok(None) };
        if tags.is_none() && asks_for_tags(&lifecycle) {
            return Ok(None);
        }
        let (day, now) = (self.day, self.now());
        let verdict = verdict::judge(&lifecycle, day, now, key, standing, tags.as_deref());
        Ok(verdict.map(|verdict| (bucket, verdict)))
    }

    async fn remove(&self, bucket: &Arc<Bucket>, due: &Due, verdict: Verdict) -> Result<()> {
        let services = &self.services;
        let row = &due.standing.row;
        let Ok(key) = std::str::from_utf8(&due.key) else { return Ok(()) };
        let removed = removal::remove(&self.engine, services, bucket, key, row, verdict).await?;
        let progress = &self.progress;
        match removed {
            // Somebody else changed the key: the next pass sees what it is then.
            Removed::Overtaken => return Ok(()),
            Removed::Locked => {
                add(&progress.locked, 1);
                return Ok(());
            }
            Removed::Version { .. } | Removed::Marked { .. } => {}
        }
        add(
            match verdict {
                Verdict::ExpireCurrent => &progress.expired,
                Verdict::RemoveNoncurrent => &progress.noncurrent,
                Verdict::RemoveMarker => &progress.markers,
            },
            1,
        );
        self.tell(bucket, &due.key, &removed).await;
        Ok(())
    }

    /// Puts the event of a removal into the queue.
    async fn tell(&self, bucket: &Arc<Bucket>, key: &[u8], removed: &Removed) {
        let notification = match self.services.settings.get::<Notification>(bucket) {
            Ok(Some(notification)) => notification,
            Ok(None) => return,
            Err(_) => return self.services.events.count_lost(),
        };
        let Ok(key) = std::str::from_utf8(key) else { return };
        let (name, version_id, version) = match removed {
            Removed::Version { version_id } => {
                (EventName::LifecycleDelete, version_id.as_deref(), None)
            }
            Removed::Marked { version_id, version } => {
                let name = EventName::LifecycleDeleteMarkerCreated;
                (name, version_id.as_deref(), Some(*version))
            }
            Removed::Overtaken | Removed::Locked => return,
        };
        let event = Event { version, ..Event::new(name, key).version_id(version_id) };
        let request_id = format!("{:016X}", self.engine.platform().random_u64());
        let cause = Cause {
            principal: PRINCIPAL,
            source_ip: "",
            request_id: &request_id,
            host_id: &self.origin.host_id,
        };
        let Ok(owner) = self.origin.owner_of(&self.services, bucket) else {
            return self.services.events.count_lost();
        };
        let place = Place { region: &self.origin.region, bucket: &bucket.name, owner: &owner.id };
        self.services.events.event(&self.engine, &notification, &event, &cause, &place).await;
    }

    async fn pass_uploads(&self, name: &str, prefix: &str) -> Result<()> {
        let mut query = UploadsQuery {
            prefix: prefix.into(),
            limit: LIFECYCLE_PAGE_ROWS,
            ..UploadsQuery::default()
        };
        while let Some((bucket, lifecycle)) = self.subject(name)? {
            let page = self.engine.list_uploads(bucket.id, &query).await?;
            let count = page.items.len();
            add(&self.progress.rows, count);
            let uploads: Vec<UploadInfo> = page
                .items
                .into_iter()
                .filter_map(|item| match item {
                    UploadItem::Upload(upload) => Some(upload),
                    UploadItem::CommonPrefix(_) => None,
                })
                .collect();
            if let Some(last) = uploads.last() {
                (query.after, query.after_id) = (last.key.clone(), Some(last.id));
            }
            let is_due = |upload: &&UploadInfo| self.is_abort_due(&lifecycle, upload);
            let due: Vec<&UploadInfo> = uploads.iter().filter(is_due).collect();
            for some in due.chunks(LIFECYCLE_CONCURRENT) {
                join::all(some.iter().map(|upload| self.abort(&bucket, upload))).await;
                self.rest(some.len(), LIFECYCLE_REMOVALS_PER_SECOND).await;
            }
            self.rest(count, LIFECYCLE_ROWS_PER_SECOND).await;
            if !page.truncated || self.stop.is_requested() {
                break;
            }
        }
        Ok(())
    }

    fn is_abort_due(&self, lifecycle: &Lifecycle, upload: &UploadInfo) -> bool {
        let begun = dates::seconds(Version(upload.id.0));
        let when = lifecycle.abort(self.day, &upload.key, begun);
        when.is_some_and(|(when, _)| self.now() >= when)
    }

    async fn abort(&self, bucket: &Bucket, upload: &UploadInfo) {
        // What cannot be read now is an error of the next page.
        let subject = self.subject_again(bucket).ok().flatten();
        if !subject.is_some_and(|(_, lifecycle)| self.is_abort_due(&lifecycle, upload)) {
            return;
        }
        match self.engine.abort_upload(bucket.id, &upload.key, upload.id).await {
            Ok(()) => add(&self.progress.uploads, 1),
            // It was completed or aborted meanwhile.
            Err(engine::Error::NoSuchUpload) => {}
            Err(error) => {
                add(&self.progress.failures, 1);
                let key = String::from_utf8_lossy(&upload.key);
                tracing::warn!(bucket = bucket.name, %key, %error, "an upload could not be aborted");
            }
        }
    }
}

#[cfg(test)]
mod tests;
