//! Where a shard's space comes from: units of slabs for large bodies, segments for all uses, files of the
//! filesystem for segments.
//!
//! Invariants: one segment is created or opened at a time; what was granted and is not named by a durable
//! record is released by whoever asked; a filesystem that is full is asked again after a while.
//!
//! Not here: which segment is used for what (`segments`), waiting for space (`pressure`).

use crate::error::{Error, Result};
use crate::format::manifest::Extent;
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::limits::{CHUNK_UNITS_MAX, EXHAUSTED_RETRY, GRANT_UNITS_MAX};
use crate::platform::{File, Platform};
use crate::segments::{Need, Use};
use crate::shard::Shard;
use crate::slab::SlabMap;
use crate::store::{create_new_segment_file, remove_left_over};
use std::rc::Rc;

impl<P: Platform> Shard<P> {
    /// Space for a large body: extents of about `units` units in all, at least one. They are the
    /// caller's until it commits or releases them.
    pub(crate) async fn grant(self: &Rc<Self>, units: usize) -> Result<Vec<Extent>> {
        let mut wanted = units.clamp(1, GRANT_UNITS_MAX);
        let mut extents = Vec::new();
        let begun_ns = self.platform.monotonic_ns();
        while wanted > 0 {
            if self.is_latched() {
                self.release(&extents);
                return Err(self.read_only_error());
            }
            let run = wanted.min(CHUNK_UNITS_MAX) as u16;
            let taken = self.state.borrow_mut().segments.take_units(run, false);
            let extent = match taken {
                Some(extent) => extent,
                None => match self.open_slab().await {
                    Ok(()) => continue,
                    Err(Error::OutOfSpace) => {
                        let rest = self.state.borrow_mut().segments.take_units(run, true);
                        match rest {
                            Some(extent) => extent,
                            None if extents.is_empty() && self.await_units(begun_ns).await => {
                                continue;
                            }
                            None if extents.is_empty() => return Err(Error::OutOfSpace),
                            None => return Ok(extents),
                        }
                    }
                    Err(error) => {
                        self.release(&extents);
                        return Err(error);
                    }
                },
            };
            wanted = wanted.saturating_sub(usize::from(extent.units));
            extents.push(extent);
        }
        Ok(extents)
    }

    /// Takes back extents that no durable record names.
    pub(crate) fn release(&self, extents: &[Extent]) {
        let mut state = self.state.borrow_mut();
        extents.iter().for_each(|extent| state.segments.free_units(extent));
        drop(state);
        self.note_freed();
    }

    async fn open_slab(self: &Rc<Self>) -> Result<()> {
        let segment = self.take_segment(Need::Slab).await?;
        let epoch = self.next_epoch();
        let header = SegmentHeader { kind: SegmentKind::Slab, ..self.blank_header(segment, epoch) };
        let file = match self.open_segment(&header).await {
            Ok(file) => file,
            Err(error) => {
                self.latch(error.to_string());
                return Err(self.read_only_error());
            }
        };
        let map = SlabMap::new(self.context.layout.segment_bytes);
        {
            let mut state = self.state.borrow_mut();
            state.segments.set_opened(segment, epoch, header.opened_ns);
            state.segments.set_use(segment, Use::Slab(map));
        }
        self.note_freed();
        if let Err(error) = file.close().await {
            tracing::warn!(%error, "closing a segment file failed");
        }
        Ok(())
    }

    /// A segment for a new use: a free one, or a new one.
    pub(crate) async fn take_segment(self: &Rc<Self>, need: Need) -> Result<u32> {
        let _guard = self.space_gate.enter().await;
        // A slab stays one for long, and the filesystem may refuse a segment: the logs' share comes first.
        while need == Need::Slab && self.state.borrow().segments.lacks_spares(need) {
            if self.context.stopping.get() {
                return Err(Error::Stopping);
            }
            self.create_segment(Use::Free).await?;
        }
        let free = {
            let segments = &mut self.state.borrow_mut().segments;
            if !segments.may_take(need) {
                return Err(Error::OutOfSpace);
            }
            segments.take_free(need)
        };
        self.maintenance.event.notify();
        if let Some(segment) = free {
            return Ok(segment);
        }
        match self.create_segment(Use::Opening).await {
            // Now it is known that there is none but what is free: the reserve is for this.
            Err(Error::OutOfSpace) => {
                let segments = &mut self.state.borrow_mut().segments;
                let free = segments.may_take(need).then(|| segments.take_free(need)).flatten();
                free.ok_or(Error::OutOfSpace)
            }
            created => created,
        }
    }

    /// Creates one more segment file. The gate is held by the caller.
    pub(crate) async fn create_segment(self: &Rc<Self>, used: Use) -> Result<u32> {
        let segment = self.state.borrow().segments.len() as u32;
        let layout = &self.context.layout;
        let dir = layout.shard_dir(self.id);
        let bytes = layout.segment_bytes;
        // What a crash may have left of an attempt must not keep checkpoints from their space.
        if let Err(error) =
            remove_left_over(&self.platform, &layout.segment_path(self.id, segment)).await
        {
            if error.kind() == std::io::ErrorKind::StorageFull {
                self.note_exhausted();
                return Err(Error::OutOfSpace);
            }
            self.latch(format!("removing what was left of segment {segment} failed: {error}"));
            return Err(self.read_only_error());
        }
        match self.reserve_slots().await {
            Ok(()) => {}
            Err(Error::OutOfSpace) => {
                self.note_exhausted();
                return Err(Error::OutOfSpace);
            }
            Err(error) => {
                self.latch(format!("taking space for checkpoints failed: {error}"));
                return Err(self.read_only_error());
            }
        }
        match create_new_segment_file(&self.platform, &dir, segment, bytes).await {
            Ok(()) => {
                if self.filesystem_full.replace(false) {
                    tracing::info!(shard = self.id, "the filesystem has space again");
                }
                let segments = &mut self.state.borrow_mut().segments;
                segments.set_exhausted(false);
                Ok(segments.push(used, false))
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.note_exhausted();
                Err(Error::OutOfSpace)
            }
            Err(error) => {
                self.latch(format!("creating segment {segment} failed: {error}"));
                Err(self.read_only_error())
            }
        }
    }

    /// The filesystem has refused space: it is asked again after a while, others may have given some
    /// back. Said once, however often that is.
    fn note_exhausted(self: &Rc<Self>) {
        self.state.borrow_mut().segments.set_exhausted(true);
        if !self.filesystem_full.replace(true) {
            tracing::warn!(shard = self.id, "the filesystem has no space for another segment");
        }
        if self.asks_again.replace(true) {
            return;
        }
        let (shard, platform) = (Rc::downgrade(self), self.platform.clone());
        self.platform.spawn(async move {
            platform.sleep(EXHAUSTED_RETRY).await;
            if let Some(shard) = shard.upgrade() {
                shard.asks_again.set(false);
                shard.ask_for_space().await;
            }
        });
    }

    /// Whether the filesystem has space again. Until it has given some, nobody counts on it: whoever did
    /// would use up what deletions need.
    async fn ask_for_space(self: &Rc<Self>) {
        let _guard = self.space_gate.enter().await;
        let may_create = self.state.borrow().segments.is_below_limit();
        let is_ending = self.is_latched() || self.context.stopping.get();
        // What comes of a failure is done there.
        if may_create && !is_ending && self.create_segment(Use::Free).await.is_ok() {
            self.note_freed();
        }
    }
}
