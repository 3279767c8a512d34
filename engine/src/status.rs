//! What a shard is doing now, for the operator.
//!
//! Not here: counters (`metrics`), what does not work (`health`), scrubbing (`scrub`).

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::maintenance::Work;
use crate::platform::Platform;
use crate::request::{Reply, Request, mismatched};
use crate::segments::Use;
use crate::shard::Shard;
use crate::wait::join_all;
use std::path::PathBuf;

/// One shard, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    pub shard: u16,
    /// The core that owns it.
    pub core: usize,
    pub data_dir: PathBuf,
    /// None of a shard whose drive is offline.
    pub state: Option<ShardState>,
}

/// What a shard that is there holds and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardState {
    /// Segments by what they are used for; a few may be on their way from one use to another.
    pub segments: usize,
    pub segments_free: usize,
    pub segments_log: usize,
    pub segments_slab: usize,
    /// Objects, uploads, parts and buckets in the index, and its memory.
    pub index_entries: u64,
    pub index_bytes: u64,
    /// Of the segments that logs may fill, and of the records in them that are alive.
    pub log_capacity_bytes: u64,
    pub log_live_bytes: u64,
    /// What new data may still take.
    pub available_bytes: u64,
    /// Readers that pin space.
    pub pins: u64,
    pub work: ShardWork,
    /// It takes no writes since an I/O error.
    pub is_read_only: bool,
}

/// What background work a shard is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShardWork {
    #[default]
    None,
    Checkpoint,
    Compaction,
    /// Segments are created or given back.
    Segments,
}

impl<P: Platform> Shard<P> {
    pub(crate) fn status(&self) -> ShardState {
        let state = self.state.borrow();
        let of_use = |wanted: fn(&Use) -> bool| {
            state.segments.iter().filter(|(_, segment)| wanted(segment.used())).count()
        };
        ShardState {
            segments: state.segments.len(),
            segments_free: of_use(|used| matches!(used, Use::Free)),
            segments_log: of_use(|used| matches!(used, Use::Log(_))),
            segments_slab: of_use(|used| matches!(used, Use::Slab(_))),
            index_entries: state.index.len() as u64,
            index_bytes: state.index.memory_bytes() as u64,
            log_capacity_bytes: self.log_capacity_bytes(),
            log_live_bytes: state.segments.log_use().1,
            available_bytes: state.segments.available_bytes(),
            pins: state.pins.held() as u64,
            work: match self.maintenance.work() {
                None | Some(Work::Stop) => ShardWork::None,
                Some(Work::Checkpoint) => ShardWork::Checkpoint,
                Some(Work::Compact(_)) => ShardWork::Compaction,
                Some(Work::Spare | Work::Recycle(_)) => ShardWork::Segments,
            },
            is_read_only: self.is_latched(),
        }
    }
}

impl<P: Platform> Engine<P> {
    /// Every shard, in order of number. One that is offline is told without its state.
    pub async fn shard_statuses(&self) -> Result<Vec<ShardStatus>> {
        let layout = self.layout();
        let shards = 0..layout.shard_count;
        let asked = shards.clone().map(|shard| self.ask(shard, Request::Status));
        let mut statuses = Vec::with_capacity(shards.len());
        for (shard, reply) in shards.zip(join_all(asked).await) {
            let state = match reply {
                Ok(Reply::Status(state)) => Some(*state),
                Ok(_) => return Err(mismatched()),
                Err(Error::Offline { .. }) => None,
                Err(error) => return Err(error),
            };
            let data_dir = layout.data_dirs[layout.drive_of(shard)].clone();
            statuses.push(ShardStatus { shard, core: self.owner_of(shard), data_dir, state });
        }
        Ok(statuses)
    }
}
