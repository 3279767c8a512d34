//! Freeing the extents of records that the index no longer points to.
//!
//! A displaced record is known by its place only: which extents it had stands in its manifest, on
//! disk. So it is queued, its manifest is read, and its extents are freed, all but those of the parts
//! that the record which displaced it took over. A checkpoint stores the queue.
//!
//! Invariants: a record is in the queue until its extents are withdrawn, in the same step; the log
//! segment that holds it is held meanwhile; one task works on the queue; while that is long, writes wait.

use crate::error::Result;
use crate::format::checkpoint::{Displaced, DisplacedRow};
use crate::format::manifest::{Extent, Manifest};
use crate::limits::{DISPLACED_QUEUE_MAX, MANIFEST_READS_IN_FLIGHT};
use crate::platform::Platform;
use crate::read;
use crate::segments::{SegmentTable, Use};
use crate::shard::Shard;
use crate::state::{Space, State};
use crate::wait::join_all;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

/// Records that one publication displaced.
#[derive(Debug)]
struct Batch {
    /// Tags of the parts that live on.
    kept: HashSet<u64>,
    gone: VecDeque<Displaced>,
}

#[derive(Debug, Default)]
pub(crate) struct Displacements {
    batches: VecDeque<Batch>,
    /// Whose manifest could not be read; tried again at the next start.
    unreadable: Vec<DisplacedRow>,
    /// At the start some could not be read: their units stay taken for good.
    lost: bool,
    running: bool,
    /// In the queue now, and queued in all since the start.
    queued: usize,
    pub(crate) queued_total: u64,
}

impl Displacements {
    pub(crate) fn push(&mut self, kept: impl Iterator<Item = u64>, gone: Vec<Displaced>) {
        if !gone.is_empty() {
            self.queued += gone.len();
            self.queued_total += gone.len() as u64;
            self.batches.push_back(Batch { kept: kept.collect(), gone: gone.into() });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Reading manifests has fallen so far behind that writes are to wait.
    pub(crate) fn is_long(&self) -> bool {
        self.queued >= DISPLACED_QUEUE_MAX
    }

    /// The space of records whose manifests cannot be read stays taken.
    fn keep_unreadable(&mut self, kept: &HashSet<u64>, gone: Displaced) {
        let kept = sorted(kept);
        self.unreadable.push(DisplacedRow { kept, gone: vec![gone] });
    }

    pub(crate) fn note_lost(&mut self) {
        self.lost = true;
    }

    /// Whether units are taken that no live record names.
    pub(crate) fn has_unreadable(&self) -> bool {
        self.lost || !self.unreadable.is_empty()
    }

    /// As a checkpoint stores it.
    pub(crate) fn rows(&self) -> Vec<DisplacedRow> {
        let row = |batch: &Batch| DisplacedRow {
            kept: sorted(&batch.kept),
            gone: batch.gone.iter().copied().collect(),
        };
        self.batches.iter().map(row).chain(self.unreadable.iter().cloned()).collect()
    }

    /// Those that are next, in order.
    fn front(&self) -> Vec<Displaced> {
        let gone = self.batches.iter().flat_map(|batch| &batch.gone);
        gone.copied().take(MANIFEST_READS_IN_FLIGHT).collect()
    }

    /// Takes the front one out; gives what may live on of it.
    fn pop(&mut self) -> Option<&HashSet<u64>> {
        while self.batches.front().is_some_and(|batch| batch.gone.is_empty()) {
            self.batches.pop_front();
        }
        let batch = self.batches.front_mut()?;
        batch.gone.pop_front()?;
        self.queued -= 1;
        Some(&batch.kept)
    }

    fn trim(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.gone.is_empty()) {
            self.batches.pop_front();
        }
    }
}

/// In order, so that equal histories write equal bytes.
fn sorted(tags: &HashSet<u64>) -> Vec<u64> {
    let mut tags: Vec<_> = tags.iter().copied().collect();
    tags.sort_unstable();
    tags
}

/// Withdraws the extents of a displaced record, but for those of `kept` parts and those whose segment
/// was opened for something else since the record was written. Gives those that are free now.
pub(crate) fn withdraw(
    segments: &mut SegmentTable,
    manifest: &Manifest,
    version: u64,
    kept: &HashSet<u64>,
) -> Vec<Extent> {
    let mut freed = Vec::new();
    for part in manifest.parts.iter().filter(|part| !kept.contains(&part.tag)) {
        for extent in &part.extents {
            let is_its_own = segments.get(extent.segment).is_some_and(|row| {
                matches!(row.used(), Use::Slab(map) if map.contains(extent))
                    && row.opened <= version
            });
            if is_its_own {
                segments.withdraw_units(extent);
                freed.push(*extent);
            }
        }
    }
    freed
}

impl<P: Platform> Shard<P> {
    /// Starts to work on the queue, unless that runs or there is nothing to do.
    pub(crate) fn free_displaced(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.displaced.is_empty() || std::mem::replace(&mut state.displaced.running, true) {
            return;
        }
        drop(state);
        let shard = self.clone();
        self.platform.spawn(async move {
            while shard.free_next_displaced().await {}
            shard.state.borrow_mut().displaced.running = false;
            shard.note_freed();
        });
    }

    /// A few at once: the end of an upload displaces thousands of parts.
    async fn free_next_displaced(self: &Rc<Self>) -> bool {
        let next = self.state.borrow().displaced.front();
        let reads = next.iter().map(|gone| read::manifest(&self.context, self.id, *gone));
        for (read, gone) in join_all(reads).await.into_iter().zip(&next) {
            self.free_manifest(read, *gone);
        }
        self.maintenance.space_event.notify();
        !next.is_empty()
    }

    /// Frees the front one of the queue, whose manifest was read.
    fn free_manifest(&self, read: Result<Manifest>, gone: Displaced) {
        let mut state = self.state.borrow_mut();
        let State { pins, segments, displaced, .. } = &mut *state;
        let Some(kept) = displaced.pop().cloned() else { return };
        match read {
            Ok(manifest) => {
                for extent in withdraw(segments, &manifest, gone.version, &kept) {
                    pins.free_later(Space::Units(extent), |space| segments.free(space));
                }
                segments.release_hold(gone.location.segment);
            }
            Err(error) => {
                // The space stays taken until the store is reopened; no data is at risk.
                tracing::error!(shard = self.id, %error, "the extents of a displaced object are lost");
                displaced.keep_unreadable(&kept, gone);
            }
        }
        displaced.trim();
    }
}
