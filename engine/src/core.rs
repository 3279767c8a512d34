//! What all shards and operations of one core share.

use crate::budget::{Budget, MemoryBudget};
use crate::catalog::Published;
use crate::drives::Drives;
use crate::engine::Shared;
use crate::files::FileCache;
use crate::format::Salt;
use crate::hot::HotRecords;
use crate::limits::{
    LARGE_READ_BYTES, LARGE_READS_IN_FLIGHT, LARGE_READS_PER_CORE, LISTINGS_AT_ONCE,
};
use crate::mailbox::Mailboxes;
use crate::maintenance::Work;
use crate::md5_batch::Md5Batch;
use crate::metrics::{Counters, EngineMetrics};
use crate::platform::{OpenMode, Platform};
use crate::scrub::{ScrubBoard, ScrubTask};
use crate::shard::Shard;
use crate::slots::{Rank, Slot, Slots};
use crate::store::{EngineOptions, Layout, Mutation};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct CoreContext<P: Platform> {
    pub(crate) core: usize,
    pub(crate) platform: P,
    pub(crate) layout: Rc<Layout>,
    pub(crate) salt: Salt,
    pub(crate) options: EngineOptions,
    pub(crate) files: FileCache<P>,
    pub(crate) catalog: Published,
    pub(crate) drives: Arc<Drives>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) scrub_board: Arc<ScrubBoard>,
    pub(crate) scrub: ScrubTask,
    pub(crate) counters: Counters,
    pub(crate) budget: MemoryBudget,
    /// Whose turn it is to list; its unit is a page.
    pub(crate) listings: Rc<Budget>,
    /// Whose turn it is to copy: all of them together hold at most half of the memory for bodies.
    pub(crate) copies: Rc<Budget>,
    /// For each drive.
    reads: Vec<DriveReads>,
    pub(crate) hot: HotRecords,
    pub(crate) md5_batch: Rc<Md5Batch<P>>,
    /// No new writes are taken.
    pub(crate) stopping: Cell<bool>,
    /// By shard number; `None` where another core owns the shard.
    shards: RefCell<Vec<Option<Rc<Shard<P>>>>>,
}

/// Bounds what one core reads from one drive at once. Who comes next waits here and not in the device, where
/// small reads would wait behind megabytes.
#[derive(Debug)]
struct DriveReads {
    any: Rc<Slots>,
    /// Of these, more than [`LARGE_READ_BYTES`] each.
    large: Rc<Slots>,
}

impl DriveReads {
    fn new(most: usize, cores: usize) -> Self {
        let (least, usual) = LARGE_READS_PER_CORE.into_inner();
        let large = (LARGE_READS_IN_FLIGHT / cores).clamp(least, usual);
        Self { any: Slots::new(most), large: Slots::new(large.min(most / 2)) }
    }
}

/// A read that may be under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct ReadTurn {
    _large: Option<Slot>,
    _any: Slot,
}

impl<P: Platform> CoreContext<P> {
    pub(crate) fn new(
        platform: P,
        layout: Layout,
        options: EngineOptions,
        shared: &Shared,
        core: usize,
    ) -> Rc<Self> {
        let layout = Rc::new(layout);
        Rc::new(Self {
            core,
            files: FileCache::new(platform.clone(), layout.clone(), options.open_files_max),
            budget: MemoryBudget::new(options.body_budget_bytes),
            listings: Budget::new(LISTINGS_AT_ONCE),
            copies: Budget::new(options.body_budget_bytes / 2),
            reads: layout
                .data_dirs
                .iter()
                .map(|_| DriveReads::new(options.reads_in_flight_max, shared.mailboxes.cores()))
                .collect(),
            hot: HotRecords::new(options.hot_record_bytes),
            md5_batch: Md5Batch::new(platform.clone()),
            shards: RefCell::new((0..layout.shard_count).map(|_| None).collect()),
            salt: layout.salt(),
            platform,
            layout,
            options,
            catalog: shared.catalog.clone(),
            drives: shared.drives.clone(),
            mailboxes: shared.mailboxes.clone(),
            scrub_board: shared.scrub_board.clone(),
            scrub: ScrubTask::default(),
            counters: Counters::default(),
            stopping: Cell::new(false),
        })
    }

    /// A shard, if this core owns it.
    pub(crate) fn shard(&self, shard: u16) -> Option<Rc<Shard<P>>> {
        self.shards.borrow().get(usize::from(shard)).cloned().flatten()
    }

    pub(crate) fn add_shard(&self, shard: Rc<Shard<P>>) {
        let id = usize::from(shard.id);
        if let Some(place) = self.shards.borrow_mut().get_mut(id) {
            *place = Some(shard);
        }
    }

    /// Every shard that this core owns.
    pub(crate) fn own_shards(&self) -> Vec<Rc<Shard<P>>> {
        self.shards.borrow().iter().flatten().cloned().collect()
    }

    /// Breaks the cycle between shards and context.
    pub(crate) fn drop_shards(&self) {
        self.shards.borrow_mut().iter_mut().for_each(|shard| *shard = None);
    }

    /// Whose large reads of a shard's drive go first.
    pub(crate) fn read_rank(&self, shard: u16) -> Rank {
        self.reads_of(shard).large.rank()
    }

    /// Waits until this core may read so many bytes more from a shard's drive. Many bytes wait by the rank, a
    /// new one if there is none.
    pub(crate) async fn read_turn(&self, shard: u16, bytes: usize, rank: Option<Rank>) -> ReadTurn {
        let DriveReads { any, large } = self.reads_of(shard);
        // First the slot that is longer in coming: nobody holds one of the others while it waits for it.
        let large = match bytes > LARGE_READ_BYTES {
            true => Some(large.take(rank.unwrap_or_else(|| large.rank())).await),
            false => None,
        };
        ReadTurn { _large: large, _any: any.take(any.rank()).await }
    }

    fn reads_of(&self, shard: u16) -> &DriveReads {
        &self.reads[self.layout.drive_of(shard)]
    }

    pub(crate) fn index_has_room(&self) -> bool {
        let bytes: usize = self
            .shards
            .borrow()
            .iter()
            .flatten()
            .map(|shard| shard.state.borrow().index.memory_bytes())
            .sum();
        bytes < self.options.index_budget_bytes
    }

    /// The safety rule that a test breaks; never any in a build without the feature.
    pub(crate) fn mutation(&self) -> Option<Mutation> {
        #[cfg(feature = "mutants")]
        return self.options.mutation;
        #[cfg(not(feature = "mutants"))]
        None
    }

    /// How files of the log are opened for writing.
    pub(crate) fn log_mode(&self) -> OpenMode {
        match self.mutation() {
            Some(Mutation::SkipLogSync) => OpenMode::WRITE,
            _ => OpenMode::WRITE_DURABLE,
        }
    }

    pub(crate) fn metrics(&self) -> EngineMetrics {
        let mut metrics = self.counters.snapshot();
        for shard in self.shards.borrow().iter().flatten() {
            let state = shard.state.borrow();
            metrics.index_entries += state.index.len() as u64;
            metrics.index_bytes += state.index.memory_bytes() as u64;
            metrics.available_bytes += state.segments.available_bytes();
            metrics.log_capacity_bytes += shard.log_capacity_bytes();
            metrics.log_live_bytes += state.segments.log_use().1;
            let work = shard.maintenance.work();
            metrics.shards_in_checkpoint += u64::from(work == Some(Work::Checkpoint));
            metrics.shards_in_compaction += u64::from(matches!(work, Some(Work::Compact(_))));
            metrics.pins_held += state.pins.held() as u64;
            metrics.shards_read_only += u64::from(shard.is_latched());
        }
        metrics.body_bytes = self.budget.used() as u64;
        metrics.hot_bytes = self.hot.bytes();
        metrics.open_segment_files = self.files.open_count() as u64;
        metrics
    }
}
