//! The offline check of a whole store, and the rebuilding of its index from segments alone.
//!
//! A check crosses every structure with every other: superblock copies, segment headers, checkpoints,
//! each group and record of both logs, the index against the records that it points to, the bytes of
//! every large object, the owners of slab units, live counts, the catalogue. What the index should
//! hold is what recovery makes of checkpoint and log. If recovery refuses, the newest version of each
//! key over all logs stands in for it, with what can be salvaged of damaged places, so that damage is
//! still told by the names of objects.
//!
//! Invariants: [`check`] writes nothing; no damage stops it, it goes on behind; memory is bounded by
//! the index of one shard, one bit for each unit of its slabs, and a few groups and chunks.
//!
//! Not here: the command line (`s3api`), the check in the background (`scrub`).

mod chunks;
mod collect;
mod groups;
mod headers;
mod index;
mod log;
pub(crate) mod names;
mod rebuild;
mod report;
pub(crate) mod salvage;
mod slots;

pub use rebuild::{RebuildOptions, Rebuilt, ShardRebuilt, rebuild};
pub use report::{Concern, Counts, Finding, Grade, Named, Report, Structure};

use crate::catalog::Catalog;
use crate::core::CoreContext;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::format::checkpoint::LogPosition;
use crate::format::superblock::Copy;
use crate::platform::Platform;
use crate::recover::understand_shard;
use crate::state::State;
use crate::store::{EngineOptions, Layout, SUPERBLOCK, lock_existing, read_superblock_copies};
use crate::types::Bucket;
use chunks::Owners;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Whom to tell while a check or a rebuild runs.
#[derive(Default, Clone, Copy)]
pub struct Listener<'a> {
    /// Called often, with what was done so far.
    pub progress: Option<&'a dyn Fn(&Counts)>,
    /// Called for each finding, in the order in which they are found.
    pub found: Option<&'a dyn Fn(&Finding)>,
}

impl std::fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// Checks every invariant of a store that nobody serves.
///
/// # Errors
/// There is no store, or it is in use: nothing was checked. All that is wrong with a store is in the
/// report.
pub async fn check<P: Platform>(
    platform: &P,
    data_dirs: &[PathBuf],
    listener: Listener<'_>,
) -> Result<Report> {
    let (layout, locks) = lock_existing(platform, data_dirs).await?;
    let context = context_of(platform, layout);
    let run = Run::new(&context, listener);
    run.drives().await;
    let mut catalog_is_known = false;
    for shard in 0..context.layout.shard_count {
        if context.layout.offline_cause(shard).is_none() {
            let check = run.view(shard, catalog_is_known).await;
            catalog_is_known |= shard == 0;
            run.shard(&check).await;
        }
    }
    context.files.close_all().await;
    drop(locks);
    Ok(run.report.into_inner())
}

fn context_of<P: Platform>(platform: &P, layout: Layout) -> Rc<CoreContext<P>> {
    let (options, shared) = (EngineOptions::default(), Shared::new(1));
    let context = CoreContext::new(platform.clone(), layout, options, &shared, 0);
    // Nobody is served meanwhile: no work gives way to others.
    context.stopping.set(true);
    context
}

/// What a check or a rebuild works with.
struct Run<'a, P: Platform> {
    context: &'a Rc<CoreContext<P>>,
    listener: Listener<'a>,
    report: RefCell<Report>,
}

/// A shard as it is judged.
struct View {
    shard: u16,
    state: State,
    /// In the shards that have it, or a copy.
    catalog: Option<Catalog>,
    /// By id; `None` if the catalogue is not known.
    buckets: Option<HashMap<u32, String>>,
    /// Where the logs end, if recovery understood the shard: then its state is exact.
    ends: Option<(LogPosition, Option<LogPosition>)>,
    owners: RefCell<Owners>,
}

/// Where and what a finding is, before it is told.
struct At<'a> {
    shard: Option<u16>,
    structure: Structure,
    path: &'a std::path::Path,
    offset: Option<u64>,
}

impl<'a, P: Platform> Run<'a, P> {
    fn new(context: &'a Rc<CoreContext<P>>, listener: Listener<'a>) -> Self {
        Self { context, listener, report: RefCell::default() }
    }

    fn find(&self, grade: Grade, at: At<'_>, reason: impl Into<String>, named: Option<Named>) {
        let At { shard, structure, path, offset } = at;
        let (path, reason) = (path.to_owned(), reason.into());
        let finding = Finding { grade, structure, path, shard, offset, reason, named };
        if let Some(found) = self.listener.found {
            found(&finding);
        }
        self.report.borrow_mut().add(finding);
    }

    /// A finding in a segment of a shard.
    fn find_in_segment(
        &self,
        place: (u16, u32, u64),
        structure: Structure,
        reason: impl Into<String>,
        named: Option<Named>,
    ) {
        let (shard, segment, offset) = place;
        let path = self.context.layout.segment_path(shard, segment);
        let at = At { shard: Some(shard), structure, path: &path, offset: Some(offset) };
        self.find(Grade::Damage, at, reason, named);
    }

    /// A finding about a shard as a whole.
    fn find_in_shard(
        &self,
        shard: u16,
        structure: Structure,
        reason: impl Into<String>,
        named: Option<Named>,
    ) {
        let path = self.context.layout.shard_dir(shard);
        let at = At { shard: Some(shard), structure, path: &path, offset: None };
        self.find(Grade::Damage, at, reason, named);
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut report = self.report.borrow_mut();
        change(&mut report.counts);
        let counts = report.counts;
        drop(report);
        if let Some(progress) = self.listener.progress {
            progress(&counts);
        }
    }

    /// Drives that are not there, and the copies of the others' superblocks.
    async fn drives(&self) {
        let layout = &self.context.layout;
        for (dir, offline) in layout.data_dirs.iter().zip(&layout.offline) {
            let at = |structure, path| At { shard: None, structure, path, offset: None };
            if let Some(cause) = offline {
                self.find(Grade::Damage, at(Structure::Drive, dir), cause, None);
                continue;
            }
            let path = dir.join(SUPERBLOCK);
            let copies = match read_superblock_copies(&self.context.platform, dir).await {
                Ok(copies) => copies,
                Err(error) => {
                    self.find(
                        Grade::Damage,
                        at(Structure::Superblock, &path),
                        error.to_string(),
                        None,
                    );
                    continue;
                }
            };
            let newest = copies.iter().find(|copy| matches!(copy, Copy::Valid(_))).cloned();
            for (copy, number) in copies.iter().zip(0..) {
                let reason = match copy {
                    Copy::Valid(_) if Some(copy) == newest.as_ref() => continue,
                    Copy::Valid(_) => "differs from another",
                    Copy::OtherVersion(_) => "is of another format version",
                    Copy::Damaged(reason) => reason,
                    Copy::Foreign => "is none",
                };
                let at = At {
                    offset: Some(number * crate::platform::BLOCK_BYTES as u64),
                    ..at(Structure::Superblock, &path)
                };
                self.find(Grade::Damage, at, format!("copy {number}: {reason}"), None);
            }
        }
    }

    /// What a shard should hold: what recovery makes of it, or, if it refuses, what can be gathered.
    async fn view(&self, shard: u16, catalog_is_known: bool) -> View {
        self.slots(shard).await;
        let headers = self.headers(shard).await;
        let (state, catalog, ends) = match understand_shard(self.context, shard).await {
            Ok(understood) => {
                let (state, catalog, ends) = understood.into_view();
                (state, catalog, Some(ends))
            }
            Err(error) => {
                let (structure, path) = match &error {
                    Error::Unusable { path, .. } => (Structure::Start, path.clone()),
                    _ => (Structure::Start, self.context.layout.shard_dir(shard)),
                };
                let reason = format!("the store would not start: {error}");
                let at = At { shard: Some(shard), structure, path: &path, offset: None };
                self.find(Grade::Damage, at, reason, None);
                let gathered = collect::collect(self.context, shard, &headers, true).await;
                let (state, catalog) = self.fall_back(shard, gathered).await;
                (state, catalog, None)
            }
        };
        self.judge_headers(shard, &headers, &state, ends.as_ref());
        let is_home = self.context.layout.catalog_homes().contains(&shard);
        if is_home && catalog.sequence() >= self.context.catalog.load().sequence() {
            self.context.catalog.store(Arc::new(catalog.clone()));
        }
        let known = shard == 0 || catalog_is_known;
        let buckets = known.then(|| self.bucket_names());
        let catalog = is_home.then_some(catalog);
        View { shard, state, catalog, buckets, ends, owners: RefCell::default() }
    }

    fn bucket_names(&self) -> HashMap<u32, String> {
        let name = |bucket: &Arc<Bucket>| (bucket.id.0, bucket.name.clone());
        self.context.catalog.load().buckets().map(name).collect()
    }

    async fn shard(&self, view: &View) {
        let damaged = self.report.borrow().damaged;
        self.logs(view).await;
        self.live_counts(view);
        self.catalog(view);
        // What could not be read may own space that nobody else seems to.
        if self.report.borrow().damaged == damaged && view.ends.is_some() {
            self.slab_owners(view);
        }
        self.count(|counts| counts.shards += 1);
    }
}
