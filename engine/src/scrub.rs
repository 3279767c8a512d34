//! Scrubbing: a slow pass over everything that is stored, again and again, while the store serves.
//!
//! One task per core goes through the logs of its shards, group by group, and through the chunks of
//! every large object that it comes across alive there. What does not verify is counted, logged with the
//! object's name, and kept for the operator.
//!
//! Invariants: what is being read is pinned, and no pin outlives one read, so that space is never held
//! up; the rate is kept over a tenth of a second; it ends when the store closes.
//!
//! Not here: the index against the records, slab owners, checkpoints: `verify` checks those, offline.
//! Nothing is repaired.

use crate::core::CoreContext;
use crate::error::Error;
use crate::format::Malformed;
use crate::format::chunk::ChunkHeader;
use crate::format::group::GROUP_HEADER_BYTES;
use crate::format::manifest::{ChunkPlace, Manifest};
use crate::format::record::Head;
use crate::format::segment::Stream;
use crate::index_key;
use crate::limits::{
    CHUNK_HEADER_BYTES, GROUP_BYTES_MAX, SCRUB_FINDINGS_KEPT_MAX, SCRUB_FIRST_DELAY, SCRUB_TICK,
};
use crate::metrics::count;
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::scan::Scan;
use crate::segments::Use;
use crate::shard::Shard;
use crate::state::location_of;
use crate::types::{BucketId, UploadId};
use crate::verify::names::name_of;
use crate::verify::salvage;
use crate::verify::{Finding, Grade, Named, Structure};
use crate::wait::Event;
use futures_lite::FutureExt;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Pauses are made when so much is due.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What the operator may ask of scrubbing, all cores together.
#[derive(Debug, Clone, Default)]
pub struct ScrubStatus {
    /// Cores that are in the midst of a pass.
    pub running: usize,
    /// Passes that all cores have completed since the start.
    pub passes: u64,
    /// Of the present passes, or the last ones.
    pub bytes_done: u64,
    /// As it was reckoned when they began; at their end what it was.
    pub bytes_expected: u64,
    pub findings_total: u64,
    /// The newest ones.
    pub findings: Vec<Finding>,
}

impl ScrubStatus {
    pub fn percent(&self) -> u64 {
        (self.bytes_done * 100).checked_div(self.bytes_expected).unwrap_or(0).min(100)
    }
}

/// Where the cores of a store say how far they are, and are told to begin.
#[derive(Debug)]
pub(crate) struct ScrubBoard {
    asked: AtomicU64,
    cores: Vec<Mutex<CoreStatus>>,
}

#[derive(Debug, Default)]
struct CoreStatus {
    running: bool,
    passes: u64,
    bytes_done: u64,
    bytes_expected: u64,
    findings_total: u64,
    findings: VecDeque<Finding>,
}

impl ScrubBoard {
    pub(crate) fn new(cores: usize) -> Self {
        let cores = (0..cores).map(|_| Mutex::default()).collect();
        Self { asked: AtomicU64::new(0), cores }
    }

    fn on<T>(&self, core: usize, change: impl FnOnce(&mut CoreStatus) -> T) -> Option<T> {
        let status = self.cores.get(core)?;
        Some(change(&mut status.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Every core that is not in the midst of a pass begins one.
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn status(&self) -> ScrubStatus {
        let mut sum = ScrubStatus { passes: u64::MAX, ..ScrubStatus::default() };
        for core in 0..self.cores.len() {
            self.on(core, |status| {
                sum.running += usize::from(status.running);
                sum.passes = sum.passes.min(status.passes);
                sum.bytes_done += status.bytes_done;
                sum.bytes_expected += status.bytes_expected;
                sum.findings_total += status.findings_total;
                sum.findings.extend(status.findings.iter().cloned());
            });
        }
        sum
    }
}

/// One core's task, as the core knows of it.
#[derive(Debug, Default)]
pub(crate) struct ScrubTask {
    running: Cell<bool>,
    event: Event,
}

/// Starts the task of a core, unless scrubbing is switched off.
pub(crate) fn start<P: Platform>(context: &Rc<CoreContext<P>>, core: usize) {
    if context.options.scrub_bytes_per_second == 0 {
        return;
    }
    context.scrub.running.set(true);
    let context = context.clone();
    context.platform.clone().spawn(async move {
        Scrub { context: &context, core, due_ns: Cell::new(0) }.run().await;
        context.scrub.running.set(false);
        context.scrub.event.notify();
    });
}

/// Waits until the task has ended, which the caller has made it do.
pub(crate) async fn ended<P: Platform>(context: &CoreContext<P>) {
    context.scrub.event.notify();
    context.scrub.event.wait_until(|| (!context.scrub.running.get()).then_some(())).await;
}

struct Scrub<'a, P: Platform> {
    context: &'a Rc<CoreContext<P>>,
    core: usize,
    /// When the next byte may be read.
    due_ns: Cell<u64>,
}

/// A log segment as it was when the pass came to its shard.
#[derive(Debug, Clone, Copy)]
struct Target {
    segment: u32,
    stream: Stream,
    epoch: u64,
    end_lsn: Option<u64>,
    /// Where to stop in the segment in which the log goes on.
    end: u64,
}

/// The store is closing.
struct Stopped;

impl<P: Platform> Scrub<'_, P> {
    async fn run(&self) {
        let board = &self.context.scrub_board;
        let mut wait = SCRUB_FIRST_DELAY;
        loop {
            let asked = board.asked.load(Ordering::Acquire);
            if self.wait(wait, asked).await.is_err() || self.pass().await.is_err() {
                return;
            }
            wait = self.context.options.scrub_interval;
        }
    }

    /// Waits for the next pass, until it is asked for or its time has come.
    async fn wait(&self, wait: Duration, asked: u64) -> Result<(), Stopped> {
        let begin_ns = self.context.platform.monotonic_ns();
        loop {
            let passed = self.context.platform.monotonic_ns() - begin_ns;
            if u128::from(passed) >= wait.as_nanos()
                || self.context.scrub_board.asked.load(Ordering::Acquire) != asked
            {
                return Ok(());
            }
            self.pause(SCRUB_TICK).await?;
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), Stopped> {
        let stopping = &self.context.stopping;
        let stopped = self.context.scrub.event.wait_until(|| stopping.get().then_some(()));
        stopped.or(self.context.platform.sleep(pause)).await;
        if stopping.get() { Err(Stopped) } else { Ok(()) }
    }

    /// Keeps the rate.
    async fn spend(&self, bytes: u64) -> Result<(), Stopped> {
        let context = self.context;
        count(&context.counters.scrub_bytes_total, bytes);
        let percent = context.scrub_board.on(self.core, |status| {
            status.bytes_done += bytes;
            (status.bytes_done * 100).checked_div(status.bytes_expected).unwrap_or(100).min(100)
        });
        context.counters.scrub_progress_percent.set(percent.unwrap_or(0));
        let rate = context.options.scrub_bytes_per_second;
        let now_ns = context.platform.monotonic_ns();
        let cost_ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let due_ns = self.due_ns.get().max(now_ns) + cost_ns as u64;
        self.due_ns.set(due_ns);
        let early = Duration::from_nanos(due_ns - now_ns);
        if early >= PAUSE_MIN {
            return self.pause(early).await;
        }
        context.platform.yield_now().await;
        if context.stopping.get() { Err(Stopped) } else { Ok(()) }
    }

    async fn pass(&self) -> Result<(), Stopped> {
        let shards = self.context.own_shards();
        let expected = shards.iter().map(|shard| bytes_of(shard)).sum();
        let board = &self.context.scrub_board;
        board.on(self.core, |status| {
            (status.running, status.bytes_done, status.bytes_expected) = (true, 0, expected);
        });
        self.due_ns.set(0);
        let mut done = Ok(());
        for shard in &shards {
            if self.context.offline_cause(shard.id).is_none() {
                done = self.shard(shard).await;
            }
            if done.is_err() {
                break;
            }
        }
        board.on(self.core, |status| {
            status.running = false;
            if done.is_ok() {
                status.passes += 1;
                status.bytes_expected = status.bytes_done;
            }
        });
        if done.is_ok() {
            self.context.counters.scrub_progress_percent.set(100);
            count(&self.context.counters.scrub_passes_total, 1);
            tracing::info!(core = self.core, "a pass over all stored data has ended");
        }
        done
    }

    async fn shard(&self, shard: &Rc<Shard<P>>) -> Result<(), Stopped> {
        for target in targets(shard) {
            self.segment(shard, target).await?;
        }
        Ok(())
    }

    async fn segment(&self, shard: &Rc<Shard<P>>, target: Target) -> Result<(), Stopped> {
        let Target { segment, stream, epoch, end_lsn, end } = target;
        let scan = Scan::open(self.context, shard.id, segment, stream, epoch, end_lsn).await;
        let mut scan = match scan {
            Ok(scan) => scan.until(end),
            Err(error) => {
                self.find(shard, Structure::Segment, (segment, 0), error.to_string(), None);
                return Ok(());
            }
        };
        loop {
            // The use of the segment may have ended since the last group.
            let pin = shard.state.borrow_mut().pins.pin();
            let step = match is_current(shard, &target) {
                true => self.group(shard, &mut scan, segment).await,
                false => None,
            };
            shard.unpin(pin);
            let Some((bytes, larges)) = step else { return Ok(()) };
            self.spend(bytes).await?;
            for (key, version, named, manifest) in larges {
                self.large(shard, &key, version, &named, &manifest).await?;
            }
        }
    }

    /// The next group; gives its bytes and the live large objects in it.
    async fn group(
        &self,
        shard: &Rc<Shard<P>>,
        scan: &mut Scan<P>,
        segment: u32,
    ) -> Option<(u64, Vec<Large>)> {
        let (gap, bytes, mut larges) = match scan.next().await {
            Ok(Some(scanned)) => {
                let mut larges = Vec::new();
                let content = GROUP_HEADER_BYTES + scanned.header.content_bytes as usize;
                let place = (segment, scanned.offset);
                let damaged = scanned.content.as_ref().err().map(|malformed| malformed.0);
                if let Some(reason) = damaged {
                    self.find(shard, Structure::Group, place, reason, None);
                }
                let range = GROUP_HEADER_BYTES..content;
                larges.extend(self.records(shard, place, scanned.bytes, range, None));
                let gap = scanned.offset - scanned.gap_bytes..scanned.offset;
                (gap, scanned.bytes.len() as u64 + scanned.gap_bytes, larges)
            }
            Ok(None) => {
                let missing = scan.missing_from()?;
                let state = shard.state.borrow();
                let is_vacant = state.segments.get(segment).is_none_or(|row| row.live_records == 0);
                if missing == BLOCK_BYTES as u64 && is_vacant {
                    return None;
                }
                (missing..(missing + GROUP_BYTES_MAX as u64), 0, Vec::new())
            }
            Err(error) => {
                self.find(shard, Structure::Segment, (segment, 0), error.to_string(), None);
                return None;
            }
        };
        if !gap.is_empty() {
            let reason = "no group can be read here";
            self.find(shard, Structure::Group, (segment, gap.start), reason, None);
            if let Ok(bytes) = scan.bytes_at(gap.start, gap.end - gap.start).await {
                let concern = Some("it lies in a group that cannot be read");
                let place = (segment, gap.start);
                larges.extend(self.records(shard, place, bytes, 0..bytes.len(), concern));
            }
        }
        (bytes > 0).then_some((bytes, larges))
    }

    /// The records in a range of bytes. `concern`: what is wrong with all that are alive.
    fn records(
        &self,
        shard: &Rc<Shard<P>>,
        (segment, offset): (u32, u64),
        bytes: &[u8],
        range: std::ops::Range<usize>,
        concern: Option<&'static str>,
    ) -> Vec<Large> {
        let mut larges = Vec::new();
        salvage::records(self.context.salt, bytes, range, |found| {
            let head = &found.head;
            let Ok(sections) = head.sections() else { return };
            let part_number = sections.part_number.unwrap_or(0);
            let at = offset + found.at as u64;
            let Some(key) = live_key(shard, head, part_number, (segment, at)) else { return };
            let data = bytes.get(found.at + head.head_bytes..found.at + head.span_bytes());
            let verified = head.verify_data(data.unwrap_or_default());
            let reason = concern
                .or(found.corrected.then_some("its head does not verify"))
                .or(verified.err().map(|malformed| malformed.0));
            let bucket_name = |id| self.bucket_name(id);
            if let Some(reason) = reason {
                let named = name_of(head, part_number, bucket_name);
                self.find(shard, Structure::Record, (segment, at), reason, Some(named));
            }
            if let Some(manifest) = sections.manifest {
                let named = name_of(head, part_number, bucket_name);
                larges.push((key, head.version, named, manifest));
            }
        });
        larges
    }

    /// The chunks of a large object, as long as it is alive.
    async fn large(
        &self,
        shard: &Rc<Shard<P>>,
        key: &[u8],
        version: u64,
        named: &Named,
        manifest: &Manifest,
    ) -> Result<(), Stopped> {
        for part in &manifest.parts {
            let mut left = part.size;
            for place in part.chunks() {
                let payload = left.min(place.payload_max() as u64) as usize;
                left -= payload as u64;
                let pin = shard.state.borrow_mut().pins.pin();
                let is_alive = shard.state.borrow().index.get(key, version).is_some();
                let read = match is_alive && payload > 0 {
                    true => Some(self.chunk(shard.id, part.tag, &place, payload).await),
                    false => None,
                };
                shard.unpin(pin);
                let Some(read) = read else { return Ok(()) };
                if let Err(reason) = read {
                    let place = (place.segment, place.offset);
                    self.find(shard, Structure::Chunk, place, reason, Some(named.clone()));
                }
                self.spend((CHUNK_HEADER_BYTES + payload) as u64).await?;
            }
        }
        Ok(())
    }

    async fn chunk(
        &self,
        shard: u16,
        tag: u64,
        place: &ChunkPlace,
        payload_bytes: usize,
    ) -> Result<(), String> {
        let count = (CHUNK_HEADER_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES);
        let read = async {
            let file = self.context.files.get(shard, place.segment).await?;
            let failed = |source| Error::io(format!("read segment {}", place.segment), source);
            file.read_at(place.offset, count).await.map_err(failed)
        };
        let chunk = read.await.map_err(|error| error.to_string())?;
        let payload = chunk.get(CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + payload_bytes);
        let payload = payload.ok_or("it is too short")?;
        ChunkHeader::decode(self.context.salt, tag, place, &chunk)
            .and_then(|header| match header.payload_bytes == payload_bytes {
                true => header.verify(0, payload),
                false => Err(Malformed("it is not as long as its manifest says")),
            })
            .map_err(|malformed| malformed.0.into())
    }

    fn bucket_name(&self, id: u32) -> String {
        let catalog = self.context.catalog.load();
        let bucket = catalog.buckets().find(|bucket| bucket.id.0 == id);
        bucket.map_or_else(|| format!("#{id}"), |bucket| bucket.name.clone())
    }

    fn find(
        &self,
        shard: &Shard<P>,
        structure: Structure,
        (segment, offset): (u32, u64),
        reason: impl Into<String>,
        named: Option<Named>,
    ) {
        let finding = Finding {
            grade: Grade::Damage,
            structure,
            path: self.context.layout.segment_path(shard.id, segment),
            shard: Some(shard.id),
            offset: Some(offset),
            reason: reason.into(),
            named,
        };
        tracing::error!(shard = shard.id, %finding, "scrubbing found damage");
        count(&self.context.counters.scrub_findings_total, 1);
        self.context.scrub_board.on(self.core, |status| {
            status.findings_total += 1;
            // The same damage is found in every pass.
            status.findings.retain(|known| *known != finding);
            if status.findings.len() == SCRUB_FINDINGS_KEPT_MAX {
                status.findings.pop_front();
            }
            status.findings.push_back(finding);
        });
    }
}

/// A large object that was alive: index key, version, name, manifest.
type Large = (Vec<u8>, u64, Named, Manifest);

/// What a pass over a shard will read, roughly.
fn bytes_of<P: Platform>(shard: &Shard<P>) -> u64 {
    let state = shard.state.borrow();
    let bytes = |(_, row): (u32, &crate::segments::Segment)| match row.used() {
        Use::Log(_) => state.segments.segment_bytes,
        Use::Slab(_) => row.live_bytes,
        _ => 0,
    };
    state.segments.iter().map(bytes).sum()
}

fn targets<P: Platform>(shard: &Shard<P>) -> Vec<Target> {
    let (state, log) = (shard.state.borrow(), shard.log.borrow());
    let relocation = shard.relocation.borrow().as_ref().map(|log| log.at);
    let active = [Some(log.settled), relocation];
    let target = |(segment, row): (u32, &crate::segments::Segment)| {
        let used = row.log()?;
        let at = active.iter().flatten().find(|at| at.segment == segment);
        let end = at.map_or(state.segments.segment_bytes, |at| at.offset);
        let end_lsn = at.map(|at| at.next_lsn).or(used.end_lsn);
        Some(Target { segment, stream: used.stream, epoch: row.epoch, end_lsn, end })
    };
    // One whose end is not known was opened just now.
    state.segments.iter().filter_map(target).filter(|target| target.end_lsn.is_some()).collect()
}

/// Whether the segment still holds what it did.
fn is_current<P: Platform>(shard: &Shard<P>, target: &Target) -> bool {
    let state = shard.state.borrow();
    let row = state.segments.get(target.segment);
    row.is_some_and(|row| row.log().is_some() && row.epoch == target.epoch)
}

/// The key under which the index points to a record at this place.
fn live_key<P: Platform>(
    shard: &Shard<P>,
    head: &Head<'_>,
    part_number: u16,
    (segment, offset): (u32, u64),
) -> Option<Vec<u8>> {
    if head.flags.void {
        return None;
    }
    let (bucket, upload) = (BucketId(head.bucket), UploadId(head.upload));
    let key = index_key::of_record(head.kind, bucket, head.key, upload, part_number)?;
    let entry = shard.state.borrow().index.get(&key, head.version)?;
    let location = location_of(&entry);
    ((location.segment, location.offset()) == (segment, offset)).then_some(key)
}
