//! Makes index and checkpoints anew from the segments alone.
//!
//! The logs stay as they are. What they say is written as a checkpoint whose positions are the
//! beginnings of two segments that are free: both logs go on there, in a new epoch and with LSNs above
//! all that were seen, and the next start opens them. So one write decides: with the checkpoint's header
//! the shard is rebuilt, before it the shard is as it was. Only then are the older checkpoints written
//! over, which the new state does not continue.
//!
//! Invariants: nothing is written before all logs of a shard were read; nothing of a segment in use is
//! ever written; what was read is durable before a checkpoint says it; each shard is as it was or rebuilt,
//! whenever this is cut short.
//!
//! Budget: the index of one shard, what was deleted and is still on disk, and a few groups.

use super::chunks::Owners;
use super::collect::{Collected, LSN_DISTANCE, collect};
use super::{Listener, Report, Run, Structure, View, context_of};
use crate::append::{Log, LogEnd};
use crate::catalog::Catalog;
use crate::checkpoint::{Checkpoints, Retained};
use crate::clock::HybridClock;
use crate::error::{Error, Result};
use crate::format::checkpoint::{Displaced, LogPosition, SLOTS};
use crate::format::segment::{Header, SegmentKind};
use crate::limits::MANIFEST_READS_IN_FLIGHT;
use crate::platform::{BLOCK_BYTES, OpenMode, Platform};
use crate::read;
use crate::recover::headers::sync_segment;
use crate::recover::load::read_slot_header;
use crate::relocation::RelocationLog;
use crate::segments::{LogUse, SegmentTable, Use};
use crate::shard::{Parts, Shard};
use crate::slab::SlabMap;
use crate::state::{FLAG_EXTENTS, State, location_of};
use crate::store::{create_segment_file, lock_existing};
use crate::types::BucketId;
use crate::wait::join_all;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, Default)]
pub struct RebuildOptions {
    /// Tell what would be done, and write nothing.
    pub dry_run: bool,
}

/// What a rebuild did, or would do.
#[derive(Debug, Default)]
pub struct Rebuilt {
    pub shards: Vec<ShardRebuilt>,
    /// What is lost, and where it lay.
    pub report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRebuilt {
    pub shard: u16,
    pub objects: u64,
    pub uploads: u64,
    pub parts: u64,
    pub buckets: u64,
    pub log_segments: u64,
}

/// Rebuilds the index of every shard from its segments.
///
/// # Errors
/// There is no store, it is in use, or a drive is offline; or something cannot be written, then the
/// shards before are rebuilt and the others as they were.
pub async fn rebuild<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
    options: RebuildOptions,
    listener: Listener<'_>,
) -> Result<Rebuilt> {
    let (layout, locks) = lock_existing(platform, data_dirs).await?;
    if let Some((dir, cause)) = layout.offline_drives().next() {
        let reason = format!("the drive is offline: {cause}");
        return Err(Error::Unusable { path: dir.to_owned(), reason });
    }
    let context = context_of(platform, layout);
    let run = Run::new(&context, listener);
    let mut rebuilt = Rebuilt::default();
    // The catalogue is read first, for its names, and written last: no bucket may get an id that any
    // shard knows.
    let first = run.gather(0).await;
    let mut bucket_id = first.1.bucket_id;
    context.catalog.store(Arc::new(first.1.catalog()));
    for shard in 1..context.layout.shard_count {
        let gathered = run.gather(shard).await;
        bucket_id = bucket_id.max(gathered.1.bucket_id);
        let done = run.rebuild_shard(shard, gathered, BucketId(bucket_id), options).await?;
        rebuilt.shards.push(done);
    }
    let done = run.rebuild_shard(0, first, BucketId(bucket_id), options).await?;
    rebuilt.shards.insert(0, done);
    context.files.close_all().await;
    drop(locks);
    rebuilt.report = run.report.into_inner();
    Ok(rebuilt)
}

fn summary(shard: u16, state: &State, log_segments: usize) -> ShardRebuilt {
    let mut counts: HashMap<u8, u64> = HashMap::new();
    let mut cursor = state.index.seek(b"", u64::MAX);
    while let Some((key, ..)) = cursor.next() {
        *counts.entry(key.first().copied().unwrap_or(0)).or_default() += 1;
    }
    let of = |kind: u8| counts.get(&kind).copied().unwrap_or(0);
    ShardRebuilt {
        shard,
        objects: of(b'o'),
        uploads: of(b'u'),
        parts: of(b'p'),
        buckets: of(b'b'),
        log_segments: log_segments as u64,
    }
}

impl<P: Platform> Run<'_, P> {
    async fn gather(&self, shard: u16) -> (Vec<Header>, Collected) {
        let headers = self.headers(shard).await;
        let collected = collect(self.context, shard, &headers, false).await;
        self.count(|counts| {
            counts.shards += 1;
            counts.groups += collected.groups;
            counts.records += collected.records;
            counts.bytes_read += collected.bytes;
        });
        (headers, collected)
    }

    async fn rebuild_shard(
        &self,
        shard: u16,
        (headers, mut collected): (Vec<Header>, Collected),
        highest_bucket: BucketId,
        options: RebuildOptions,
    ) -> Result<ShardRebuilt> {
        let state = self.rebuilt_state(shard, &headers, &mut collected).await;
        let summary = summary(shard, &state, collected.logs.len());
        if !options.dry_run {
            let mut catalog = collected.catalog();
            catalog.observe_id(highest_bucket);
            self.write(shard, state, catalog, &collected).await?;
        }
        Ok(summary)
    }

    /// The state for a check of a shard that recovery refuses: what its logs say, and what the newest
    /// checkpoint that can be read says of places that cannot.
    pub(super) async fn fall_back(&self, shard: u16, mut collected: Collected) -> (State, Catalog) {
        let mut known = Catalog::default();
        if let Ok(found) = crate::recover::load::load_newest(self.context, shard).await
            && let Some(loaded) = found.loaded
        {
            known = loaded.catalog;
            let mut cursor = loaded.index.seek(b"", u64::MAX);
            while let Some((key, version, entry)) = cursor.next() {
                collected.take_entry(key, version, entry);
            }
        }
        let mut catalog = collected.catalog();
        catalog.offer(&known);
        let segments = collected.logs.keys().next_back().map_or(0, |last| *last as usize + 1);
        let headers = vec![Header::Blank; segments];
        let mut table = self.table(shard, &headers, &collected);
        for (segment, log) in &collected.logs {
            if !collected.is_last(log) {
                table.seal(*segment, log.end_lsn);
            }
        }
        (state_of(table, collected.index), catalog)
    }

    /// What the logs of a shard say, with the space of live objects marked. What is damaged or lost is
    /// reported.
    async fn rebuilt_state(
        &self,
        shard: u16,
        headers: &[Header],
        collected: &mut Collected,
    ) -> State {
        for damage in &collected.damages {
            let place = (shard, damage.segment, damage.offset);
            self.find_in_segment(place, Structure::Group, damage.reason.clone(), None);
        }
        let mut table = self.table(shard, headers, collected);
        for (segment, log) in &collected.logs {
            table.seal(*segment, log.end_lsn);
        }
        let mut view = View {
            shard,
            state: state_of(table, std::mem::take(&mut collected.index)),
            buckets: Some(self.bucket_names()),
            catalog: None,
            ends: None,
            owners: RefCell::new(Owners::default()),
        };
        for lost in &collected.lost {
            let named = view.name_of_entry(&lost.index_key, lost.version);
            let place = (shard, lost.location.segment, lost.location.offset());
            self.find_in_segment(place, Structure::Record, "it is lost", Some(named));
        }
        self.mark_space(&mut view).await;
        view.state
    }

    /// The table of segments: logs as they were found, slabs without units, everything else free.
    fn table(&self, shard: u16, headers: &[Header], collected: &Collected) -> SegmentTable {
        let layout = &self.context.layout;
        let mut table = SegmentTable::new(layout.segment_bytes, layout.segments_max(shard));
        for (header, number) in headers.iter().zip(0..) {
            let (used, epoch, opened) = match (collected.logs.get(&number), header) {
                (Some(log), _) => (Use::Log(LogUse::new(log.stream)), log.epoch, log.opened),
                (None, Header::Valid(header)) if header.kind == SegmentKind::Slab => {
                    let map = SlabMap::new(layout.segment_bytes);
                    (Use::Slab(map), header.epoch, header.opened_ns)
                }
                (None, Header::Valid(header)) => (Use::Free, header.epoch, header.opened_ns),
                // It may have been a slab, whose objects tell.
                (None, Header::Damaged(_)) => {
                    (Use::Slab(SlabMap::new(layout.segment_bytes)), collected.epoch, 0)
                }
                (None, Header::Blank) => (Use::Free, 0, 0),
            };
            let was_log =
                matches!(header, Header::Valid(header) if header.kind != SegmentKind::Slab);
            let segment = table.push(used, was_log);
            table.set_opened(segment, epoch, opened);
        }
        table
    }

    /// Marks the units of all live objects, of newer ones first. An object whose units another has is
    /// lost: they were given out again.
    async fn mark_space(&self, view: &mut View) {
        let mut larges = Vec::new();
        let mut cursor = view.state.index.seek(b"", u64::MAX);
        while let Some((key, version, entry)) = cursor.next() {
            if entry.flags & FLAG_EXTENTS != 0 {
                larges.push((version, location_of(&entry), key.to_vec()));
            }
        }
        larges.sort_unstable_by_key(|(version, ..)| std::cmp::Reverse(*version));
        // Above any that was counted up from zero, so that no backup takes it for what it has.
        let stamp = self.context.platform.wall_clock_ns();
        for batch in larges.chunks(MANIFEST_READS_IN_FLIGHT) {
            let reads = batch.iter().map(|(version, location, _)| {
                let displaced = Displaced { location: *location, version: *version };
                read::manifest(self.context, view.shard, displaced)
            });
            for (read, (version, location, key)) in join_all(reads).await.into_iter().zip(batch) {
                let reason = match read {
                    Err(error) => Some(error.to_string()),
                    Ok(manifest) => {
                        let parts = manifest.parts.iter();
                        let extents: Vec<_> = parts.flat_map(|part| &part.extents).collect();
                        let segments = &mut view.state.segments;
                        let marked = extents.iter().take_while(|e| segments.mark_units(e, false));
                        let marked = marked.count();
                        if marked == extents.len() {
                            extents.iter().for_each(|e| segments.publish_units(e, stamp));
                            None
                        } else {
                            extents.iter().take(marked).for_each(|e| segments.give_back(e));
                            Some("its units are another object's, or not there".to_owned())
                        }
                    }
                };
                let Some(reason) = reason else { continue };
                let named = view.name_of_entry(key, *version);
                let place = (view.shard, location.segment, location.offset());
                let reason = format!("it is lost: {reason}");
                self.find_in_segment(place, Structure::Record, reason, Some(named));
                view.state.index.remove(key, *version);
                let span = location.span_bytes;
                view.state.segments.remove_record(location.segment, span);
            }
        }
        view.state.segments.free_vacant();
    }

    /// Writes the checkpoint: first into a slot that does not count, then over the others.
    async fn write(
        &self,
        shard: u16,
        mut state: State,
        catalog: Catalog,
        collected: &Collected,
    ) -> Result<()> {
        let context = self.context;
        let epoch = collected.epoch + 1;
        self.settle(shard, &state).await?;
        let foreground = self.begin_log(shard, &mut state, &[], collected).await?;
        let relocation =
            self.begin_log(shard, &mut state, &[foreground.segment], collected).await?;
        let (retained, sequence) = self.old_slots(shard).await?;
        state.segments.next_checkpoint = sequence;
        let open = async |segment: u32| {
            let path = context.layout.segment_path(shard, segment);
            let file = context.platform.open(&path, OpenMode::READ).await;
            file.map(Rc::new)
                .map_err(|source| Error::io(format!("open {}", path.display()), source))
        };
        let end = LogEnd { at: foreground, filled: true, read_bytes: 0, read_records: 0 };
        let log = Log::new(end, open(foreground.segment).await?, context.layout.segment_bytes);
        let relocation =
            RelocationLog { file: open(relocation.segment).await?, at: relocation, is_told: true };
        let clock = HybridClock::default();
        clock.observe(collected.version);
        let checkpoints = Checkpoints::new(retained, false);
        let relocation = Some(relocation);
        let parts = Parts { state, log, relocation, checkpoints, epoch, clock, catalog };
        let shard = Shard::new(shard, context.clone(), parts);
        for _ in 0..SLOTS {
            shard.write_checkpoint().await?;
        }
        Ok(())
    }

    /// A process that was killed may have left what can be read and is not durable.
    async fn settle(&self, shard: u16, state: &State) -> Result<()> {
        for (segment, _) in state.segments.iter() {
            // One that is missing was reported.
            match sync_segment(self.context, shard, segment).await {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        let dir = self.context.layout.shard_dir(shard);
        let synced = self.context.platform.sync_dir(&dir).await;
        synced.map_err(|source| Error::io(format!("sync {}", dir.display()), source))
    }

    /// A free segment in which a log is to go on. It stays free until a start opens it.
    async fn begin_log(
        &self,
        shard: u16,
        state: &mut State,
        taken: &[u32],
        collected: &Collected,
    ) -> Result<LogPosition> {
        let layout = &self.context.layout;
        let free = {
            let rows = state.segments.iter();
            let mut free = rows.filter(|(_, row)| matches!(row.used(), Use::Free));
            free.find(|(number, _)| !taken.contains(number)).map(|(number, _)| number)
        };
        let segment = match free {
            Some(segment) => segment,
            None => {
                let segment = state.segments.len() as u32;
                let (dir, bytes) = (layout.shard_dir(shard), layout.segment_bytes);
                create_segment_file(&self.context.platform, &dir, segment, bytes)
                    .await
                    .map_err(|source| Error::io(format!("create segment {segment}"), source))?;
                state.segments.push(Use::Free, false)
            }
        };
        Ok(LogPosition {
            segment,
            offset: BLOCK_BYTES as u64,
            epoch: collected.epoch + 1,
            next_lsn: collected.lsn + LSN_DISTANCE,
            chain: 0,
        })
    }

    /// The two newest checkpoints, which are written over last, and the next sequence.
    async fn old_slots(&self, shard: u16) -> Result<(Vec<Retained>, u64)> {
        let mut retained = Vec::new();
        for slot in 0..SLOTS {
            if let Ok(Some(header)) = read_slot_header(self.context, shard, slot).await? {
                retained.push(Retained { slot, header });
            }
        }
        retained.sort_by_key(|slot| std::cmp::Reverse(slot.header.sequence));
        // One whose header cannot be read may have been the newest.
        let sequence = retained.first().map_or(1, |slot| slot.header.sequence + SLOTS);
        retained.truncate(SLOTS as usize - 1);
        Ok((retained, sequence))
    }
}

fn state_of(mut table: SegmentTable, index: crate::index::Index) -> State {
    let mut cursor = index.seek(b"", u64::MAX);
    while let Some((.., entry)) = cursor.next() {
        table.add_record(entry.segment, entry.span_bytes);
    }
    let mut state = State::new(table);
    state.set_index(index);
    state
}
