//! Appending: an object grows by bytes that were written behind those it has, and none of these is copied.
//!
//! The new null version's record takes over the extents of the one before, as a completed upload takes over
//! those of its parts, and adds its own. Readers of the former version go on reading: its extents are not
//! freed.
//!
//! Invariants: the version that grows is the latest of its key and lies in extents; its key is held from
//! before its manifest is read until the record is staged.
//!
//! Not here: objects whose bytes lie in their record; they are small enough to be written anew.

use crate::error::{ConditionFailure, Error, Result};
use crate::format::manifest::Manifest;
use crate::format::record::Record;
use crate::limits::PARTS_MAX;
use crate::platform::Platform;
use crate::read;
use crate::segments::Need;
use crate::shard::{Shard, judge};
use crate::state::{FLAG_EXTENTS, FLAG_MARKER, FLAG_VERSIONED, current_of, location_of};
use crate::types::{Commit, Current, Version};
use std::rc::Rc;

impl<P: Platform> Shard<P> {
    /// Writes a record whose manifest names the bytes that are added; gives its version, what the key was
    /// before, and the size that the object has now.
    pub(crate) async fn write_grown(
        self: &Rc<Self>,
        mut record: Record,
        index_key: &[u8],
        to: Version,
        commit: &Commit,
    ) -> Result<(Version, Option<Current>, u64)> {
        let held = self.hold_key(index_key, Need::Data).await?;
        let latest = self.state.borrow().index.latest(index_key);
        let before = latest.map(|(version, entry)| current_of(version, &entry));
        if let Some(failure) = judge(commit.condition.as_ref(), before.as_ref()) {
            return Err(Error::Condition(failure));
        }
        let kind = FLAG_EXTENTS | FLAG_MARKER | FLAG_VERSIONED;
        let (version, entry) = latest
            .filter(|(version, entry)| *version == to.0 && entry.flags & kind == FLAG_EXTENTS)
            .ok_or(Error::Condition(ConditionFailure::PreconditionFailed))?;
        self.ask_guard_of_null(commit.guard.as_ref(), index_key).await?;
        let pin = self.state.borrow_mut().pins.pin();
        let location = location_of(&entry);
        let read = read::sections(&self.context, self.id, location, Some(Version(version))).await;
        self.unpin(pin);
        let mut manifest = read?.manifest.unwrap_or_default();
        let Manifest { parts } = record.sections.manifest.take().unwrap_or_default();
        manifest.parts.extend(parts);
        if manifest.parts.len() > usize::from(PARTS_MAX) {
            return Err(Error::TooLarge("the object is in too many pieces to be added to"));
        }
        let size = commit.shown_size.unwrap_or(manifest.bytes());
        record.size = size;
        record.sections.manifest = Some(manifest);
        self.check_writable(&record, Need::Data)?;
        let (version, ticket) = self.stage(record, index_key, Need::Data)?;
        drop(held);
        self.outcome(ticket.wait().await).map(|()| (version, before, size))
    }
}
