//! The queue of events: durable, bounded, one for each target, in the store itself.
//!
//! An event is a small object in a bucket that no request can name, `.notify/queue`, under the key
//! `TARGET/TIME-CORE-NUMBER`: a listing of a target gives its events in about the order in which they
//! happened, and they survive whatever the store survives.
//!
//! Invariants: an event that was put is durable when that returns; it leaves the queue only when its
//! target has confirmed it or refused it for good, or when it is older than [`NOTIFY_AGE_MAX`]; a target has
//! at most as many events waiting as the operator allows.
//!
//! Where an event cannot be kept (the target's queue is full, the store is) it is dropped: counted by
//! target and reason, and said in the log. The operation that it tells of has happened by then, so
//! refusing that would be no truth either; and a target that is down for long must not stop writes.
//!
//! Not here: sending (`delivery`).

use super::Notification;
use super::event::{Cause, Event};
use super::message::{self, Place};
use super::target::TargetConfig;
use crate::limits::{LIST_ROWS_MAX, NOTIFY_AGE_MAX};
use crate::metrics::Sample;
use engine::checksum::Md5;
use engine::platform::Platform;
use engine::{BucketId, Commit, Deletion, Engine, Etag, ListItem, ListQuery, Version, Which};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are tried for one event beyond the first: where half of the shards are offline, one event in
/// four billion finds none. Each refusal is known at once.
const STORE_ATTEMPTS_MAX: usize = 32;
/// The same where there is no space, for which a write may wait.
const FULL_ATTEMPTS_MAX: usize = 3;

/// The bucket of the queue: a system entry by its name.
const BUCKET: &str = ".notify/queue";

/// What all cores share of the queue.
#[derive(Debug)]
pub struct Targets {
    configs: Vec<TargetConfig>,
    states: Vec<TargetState>,
    /// Events that may wait for one target.
    waiting_max: u64,
    /// Events of which not even the target was known.
    lost: AtomicU64,
}

/// Counters of one target, all cores together.
#[derive(Debug, Default)]
pub(super) struct TargetState {
    /// Events in the queue, those on their way into it included.
    waiting: AtomicU64,
    queued: AtomicU64,
    delivered: AtomicU64,
    attempts_failed: AtomicU64,
    dropped_full: AtomicU64,
    dropped_error: AtomicU64,
    dropped_old: AtomicU64,
    dropped_refused: AtomicU64,
}

/// Why events leave the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Delivered,
    /// Their target took none for too long.
    Old,
    /// Their target will never take them.
    Refused,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn subtract(counter: &AtomicU64, count: u64) {
    let less = |value: u64| Some(value.saturating_sub(count));
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

impl TargetState {
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn attempt_failed(&self) {
        add(&self.attempts_failed, 1);
    }

    /// An event left the queue.
    pub(super) fn left(&self, why: Leaving) {
        subtract(&self.waiting, 1);
        let counter = match why {
            Leaving::Delivered => &self.delivered,
            Leaving::Old => &self.dropped_old,
            Leaving::Refused => &self.dropped_refused,
        };
        add(counter, 1);
    }
}

impl Targets {
    pub fn new(configs: Vec<TargetConfig>, waiting_max: u64) -> Arc<Self> {
        let states = configs.iter().map(|_| TargetState::default()).collect();
        Arc::new(Self { configs, states, waiting_max, lost: AtomicU64::new(0) })
    }

    /// Each target with its counters.
    pub(super) fn all(&self) -> impl Iterator<Item = (&TargetConfig, &TargetState)> {
        self.configs.iter().zip(&self.states)
    }

    pub(super) fn state(&self, target: &str) -> Option<&TargetState> {
        self.all().find(|(config, _)| config.name == target).map(|(_, state)| state)
    }

    /// The counters as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (config, state) in self.all() {
            let mut sample = |name, help, counter: &AtomicU64, reason: Option<&'static str>| {
                let mut labels = vec![("target", config.name.clone())];
                labels.extend(reason.map(|reason| ("reason", reason.to_owned())));
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "metrics are floating-point numbers"
                )]
                let value = counter.load(Ordering::Relaxed) as f64;
                samples.push(Sample { name, help, labels, value });
            };
            sample(
                "notify_waiting_events",
                "Events that wait to be delivered to a target",
                &state.waiting,
                None,
            );
            sample("notify_queued_total", "Events that were queued", &state.queued, None);
            sample(
                "notify_delivered_total",
                "Events that a target has confirmed",
                &state.delivered,
                None,
            );
            sample(
                "notify_attempts_failed_total",
                "Deliveries that failed and are tried again",
                &state.attempts_failed,
                None,
            );
            for (counter, reason) in [
                (&state.dropped_full, "full"),
                (&state.dropped_error, "error"),
                (&state.dropped_old, "old"),
                (&state.dropped_refused, "refused"),
            ] {
                sample(
                    "notify_dropped_total",
                    "Events that were given up: the queue was full, they could not be stored, nobody \
                     took them for too long, or their target will never take them",
                    counter,
                    Some(reason),
                );
            }
        }
        samples
    }
}

/// One core's way to the queue.
#[derive(Debug)]
pub struct EventQueue {
    targets: Arc<Targets>,
    core: usize,
    number: Cell<u64>,
}

impl Default for EventQueue {
    fn default() -> Self {
        Self::new(Targets::new(Vec::new(), 0), 0)
    }
}

impl EventQueue {
    pub fn new(targets: Arc<Targets>, core: usize) -> Self {
        Self { targets, core, number: Cell::new(0) }
    }

    /// What configurations may name.
    pub fn targets(&self) -> &[TargetConfig] {
        &self.targets.configs
    }

    /// An event was lost before it was known where it should go.
    pub fn count_lost(&self) {
        add(&self.targets.lost, 1);
    }

    /// Puts an event into the queues of all targets whose configurations ask for it.
    pub async fn event<P: Platform>(
        &self,
        engine: &Engine<P>,
        notification: &Notification,
        event: &Event<'_>,
        cause: &Cause<'_>,
        place: &Place<'_>,
    ) {
        for configuration in notification.asking(event.name, event.key) {
            let time = Version(engine.platform().wall_clock_ns());
            let message = message::of_event(event, &configuration.id, cause, place, time);
            self.put(engine, &configuration.target, &message).await;
        }
    }

    /// Puts a message into a target's queue.
    pub async fn put<P: Platform>(&self, engine: &Engine<P>, target: &str, message: &[u8]) {
        let Some(state) = self.targets.state(target) else {
            // The operator took the target away, and the bucket still names it.
            self.count_lost();
            tracing::warn!(
                destination = target,
                "an event was dropped: its target is not configured any more"
            );
            return;
        };
        if state.waiting.fetch_add(1, Ordering::Relaxed) >= self.targets.waiting_max {
            subtract(&state.waiting, 1);
            add(&state.dropped_full, 1);
            tracing::warn!(
                destination = target,
                "an event was dropped: the queue of its target is full"
            );
            return;
        }
        match self.store(engine, target, message).await {
            Ok(()) => add(&state.queued, 1),
            Err(error) => {
                subtract(&state.waiting, 1);
                add(&state.dropped_error, 1);
                tracing::error!(destination = target, %error, "an event was dropped: it could not be stored");
            }
        }
    }

    /// Under another name it may lie on a drive that works.
    async fn store<P: Platform>(
        &self,
        engine: &Engine<P>,
        target: &str,
        message: &[u8],
    ) -> Result<(), engine::Error> {
        let mut attempts = 0;
        loop {
            let number = self.number.get();
            self.number.set(number.wrapping_add(1));
            let time = engine.platform().wall_clock_ns();
            let key = format!("{target}/{time:016x}-{:03x}-{number:08x}", self.core);
            match store(engine, key.as_bytes(), message).await {
                Err(engine::Error::Offline { .. } | engine::Error::ReadOnly { .. })
                    if attempts < STORE_ATTEMPTS_MAX =>
                {
                    attempts += 1;
                }
                Err(engine::Error::OutOfSpace) if attempts < FULL_ATTEMPTS_MAX => attempts += 1,
                stored => return stored,
            }
        }
    }
}

async fn store<P: Platform>(
    engine: &Engine<P>,
    key: &[u8],
    message: &[u8],
) -> Result<(), engine::Error> {
    let bucket = bucket(engine).ok_or(engine::Error::NoSuchBucket)?;
    let mut writer = engine.writer(bucket, key, Some(message.len() as u64)).await?;
    let mut rest = message;
    while !rest.is_empty() {
        let spare = writer.spare();
        let count = spare.len().min(rest.len());
        let (now, later) = rest.split_at(count);
        spare[..count].copy_from_slice(now);
        writer.advance(count).await?;
        rest = later;
    }
    let mut md5 = Md5::new();
    md5.update(message);
    let etag = Etag { md5: md5.finish(), parts: 0 };
    writer.finish(Commit { etag, ..Commit::default() }).await?;
    Ok(())
}

/// The queue's bucket, if it was made.
pub(super) fn bucket<P: Platform>(engine: &Engine<P>) -> Option<BucketId> {
    engine.catalog().bucket(BUCKET).map(|bucket| bucket.id)
}

/// Makes the queue's bucket where there are targets, and counts what an earlier run has left in it.
pub(super) async fn open<P: Platform>(
    engine: &Engine<P>,
    targets: &Targets,
) -> Result<(), engine::Error> {
    if bucket(engine).is_none() {
        if targets.configs.is_empty() {
            return Ok(());
        }
        match engine.create_bucket(BUCKET, BTreeMap::new()).await {
            Ok(_) | Err(engine::Error::BucketExists) => {}
            Err(error) => return Err(error),
        }
    }
    let bucket = bucket(engine).ok_or(engine::Error::NoSuchBucket)?;
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let mut query = ListQuery { limit: LIST_ROWS_MAX, ..ListQuery::default() };
    loop {
        let page = engine.list(bucket, &query).await?;
        for item in &page.items {
            *left.entry(target_of(item.name()).to_owned()).or_default() += 1;
        }
        match page.items.last() {
            Some(last) if page.truncated => query.after = last.name().to_vec(),
            _ => break,
        }
    }
    for (target, events) in left {
        match targets.state(&target) {
            Some(state) => add(&state.waiting, events),
            None => tracing::warn!(
                destination = target,
                events,
                "events wait for a target that is not configured any more"
            ),
        }
    }
    Ok(())
}

fn target_of(key: &[u8]) -> &str {
    let name = key.split(|byte| *byte == b'/').next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

/// An event in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) key: Vec<u8>,
    pub(super) version: Version,
}

impl Waiting {
    /// Whether it is to be given up.
    pub(super) fn is_too_old(&self, now_ns: u64) -> bool {
        let age_max = u64::try_from(NOTIFY_AGE_MAX.as_nanos()).unwrap_or(u64::MAX);
        now_ns.saturating_sub(self.version.0) > age_max
    }
}

/// The events that a target waits for longest.
pub(super) async fn oldest<P: Platform>(
    engine: &Engine<P>,
    target: &str,
    limit: usize,
) -> Result<Vec<Waiting>, engine::Error> {
    let Some(bucket) = bucket(engine) else { return Ok(Vec::new()) };
    let prefix = format!("{target}/").into_bytes();
    let query = ListQuery { prefix, limit, ..ListQuery::default() };
    let page = engine.list(bucket, &query).await?;
    let of_item = |item| match item {
        ListItem::Key { key, current } => Some(Waiting { key, version: current.version }),
        ListItem::CommonPrefix(_) => None,
    };
    Ok(page.items.into_iter().filter_map(of_item).collect())
}

/// The message of an event; none if it is not there any more.
pub(super) async fn read<P: Platform>(
    engine: &Engine<P>,
    waiting: &Waiting,
) -> Result<Option<Vec<u8>>, engine::Error> {
    let Some(bucket) = bucket(engine) else { return Ok(None) };
    let Some(mut reader) = engine.open(bucket, &waiting.key, Which::Latest).await? else {
        return Ok(None);
    };
    let size = reader.info().current.size;
    if size == 0 {
        return Ok(Some(Vec::new()));
    }
    reader.select(0..size);
    let mut message = Vec::new();
    while let Some(chunk) = reader.next().await? {
        message.extend_from_slice(chunk.as_ref());
    }
    Ok(Some(message))
}

/// An event's bytes do not verify: nobody will ever be told of it.
pub(super) fn note_unreadable(state: &TargetState) {
    subtract(&state.waiting, 1);
    add(&state.dropped_error, 1);
}

/// Takes an event out of the queue.
pub(super) async fn remove<P: Platform>(
    engine: &Engine<P>,
    waiting: &Waiting,
) -> Result<(), engine::Error> {
    let Some(bucket) = bucket(engine) else { return Ok(()) };
    engine.delete(bucket, &waiting.key, Deletion::NULL, None).await.map(drop)
}
