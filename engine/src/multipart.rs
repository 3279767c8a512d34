//! Multipart uploads: their state, and completion by reference.
//!
//! Parts are hidden keys of the index whose bytes lie in extents already. Completing writes one
//! record that names the extents of all parts: the object appears and the upload ends in the same
//! moment, and nothing is copied.

use crate::append::Outcome;
use crate::engine::{Engine, check_attributes};
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, ManifestPart};
use crate::format::record::{Flags, Location, Record, RecordKind, Sections};
use crate::index_key;
use crate::limits::PARTS_MAX;
use crate::platform::Platform;
use crate::read;
use crate::request::{Reply, Request, mismatched};
use crate::segments::Need;
use crate::shard::{Committed, Located, Shard, judge, replaces_null};
use crate::state::{current_of, location_of};
use crate::types::{
    BucketId, Commit, CompletePart, Current, PartsCount, UploadId, Version, Versioning,
};
use crate::wait::Ticket;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct CompleteUpload {
    pub(crate) bucket: BucketId,
    pub(crate) key: Vec<u8>,
    pub(crate) upload: UploadId,
    /// In ascending order of number.
    pub(crate) parts: Vec<CompletePart>,
    pub(crate) commit: Commit,
}

/// One uploaded part, as the index knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartRow {
    pub(crate) number: u16,
    pub(crate) current: Current,
    pub(crate) location: Location,
}

impl<P: Platform> Shard<P> {
    pub(crate) async fn begin_upload(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        attributes: Vec<u8>,
    ) -> Result<UploadId> {
        let index_key = index_key::upload(bucket, &key);
        let mut record = Record::new(RecordKind::UploadBegin, bucket.0, key);
        record.sections.attributes = attributes;
        let (version, _) = self.write(record, &index_key, None, Need::Data).await?;
        Ok(UploadId(version.0))
    }

    pub(crate) fn locate_upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
    ) -> Result<Located> {
        let mut state = self.state.borrow_mut();
        if !state.upload_is_open(bucket, key, upload) {
            return Err(Error::NoSuchUpload);
        }
        let index_key = index_key::upload(bucket, key);
        let entry = state.index.get(&index_key, upload.0).ok_or(Error::NoSuchUpload)?;
        Ok(Located {
            current: current_of(upload.0, &entry),
            location: location_of(&entry),
            epoch: 0,
            has_extents: false,
            pin: state.pins.pin(),
        })
    }

    pub(crate) fn locate_parts(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<Reply> {
        let mut state = self.state.borrow_mut();
        if !state.upload_is_open(bucket, key, upload) {
            return Err(Error::NoSuchUpload);
        }
        let mut rows: Vec<PartRow> = state
            .parts(upload, after, limit + 1)
            .into_iter()
            .map(|(number, version, entry)| PartRow {
                number,
                current: current_of(version, &entry),
                location: location_of(&entry),
            })
            .collect();
        let truncated = rows.len() > limit;
        rows.truncate(limit);
        Ok(Reply::Parts { rows, truncated, pin: state.pins.pin() })
    }

    pub(crate) async fn complete_upload(
        self: &Rc<Self>,
        complete: CompleteUpload,
    ) -> Result<Committed> {
        let CompleteUpload { bucket, key, upload, parts, commit } = complete;
        check_attributes(&commit.attributes)?;
        if parts.is_empty() || parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(Error::TooLarge("parts to complete are named in ascending order"));
        }
        if !self.state.borrow().upload_is_open(bucket, &key, upload) {
            return Err(Error::NoSuchUpload);
        }
        let manifest = self.join_parts(upload, &parts).await?;
        let index_key = index_key::object(bucket, &key);
        let size = commit.shown_size.unwrap_or(manifest.bytes());
        let record = Record {
            flags: Flags {
                versioned: commit.versioning == Versioning::Kept,
                shown_size: commit.shown_size.is_some(),
                ..Flags::default()
            },
            size,
            etag: commit.etag,
            label: commit.label,
            upload: upload.0,
            sections: Sections {
                attributes: commit.attributes.clone(),
                manifest: Some(manifest),
                ..Sections::default()
            },
            ..Record::new(RecordKind::Object, bucket.0, key)
        };
        let (version, replaced) =
            self.write_completion(record, &index_key, upload, &parts, &commit).await?;
        Ok(Committed { version, size, replaced })
    }

    /// As [`Shard::write`], and in the same moment the parts must be those that were read.
    async fn write_completion(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        upload: UploadId,
        parts: &[CompletePart],
        commit: &Commit,
    ) -> Result<(Version, bool)> {
        let bucket = BucketId(record.bucket);
        let upload_key = index_key::upload(bucket, &record.key);
        loop {
            let mut held = None;
            if commit.guard.is_some() && replaces_null(&record) {
                held = Some(self.hold_key(index_key, Need::Data).await?);
                self.ask_guard_of_null(commit.guard.as_ref(), index_key).await?;
                self.await_relocation(&[&upload_key]).await;
            } else {
                self.await_turn(Need::Data, &[index_key, &upload_key]).await;
            }
            self.check_writable(&record, Need::Data)?;
            if !self.state.borrow().upload_is_open(bucket, &record.key, upload) {
                return Err(Error::NoSuchUpload);
            }
            if let Some(ticket) = self.check_parts(upload, parts)? {
                ticket.wait().await;
                continue;
            }
            let (current, pending) = self.state.borrow().upcoming(index_key);
            if let Some(failure) = judge(commit.condition.as_ref(), current.as_ref()) {
                if let Some(ticket) = pending
                    && ticket.wait().await != Outcome::Durable
                {
                    continue;
                }
                return Err(Error::Condition(failure));
            }
            let (version, ticket) = self.stage(record, index_key, Need::Data)?;
            drop(held);
            let replaced = current.is_some_and(|current| !current.is_marker);
            return self.end(upload, ticket).await.map(|()| (version, replaced));
        }
    }

    /// No part may be written from the moment when the end of its upload is staged.
    async fn end(&self, upload: UploadId, ticket: Ticket<Outcome>) -> Result<()> {
        self.state.borrow_mut().ending.insert(upload);
        let outcome = ticket.wait().await;
        if outcome != Outcome::Durable {
            self.state.borrow_mut().ending.remove(&upload);
        }
        self.outcome(outcome)
    }

    /// Whether the parts are still those that the caller names. A ticket: one of them is being
    /// replaced, wait and look again.
    fn check_parts(
        &self,
        upload: UploadId,
        parts: &[CompletePart],
    ) -> Result<Option<Ticket<Outcome>>> {
        let state = self.state.borrow();
        for part in parts {
            let key = index_key::part(upload, part.number);
            if let Some(pending) = state.pending.get(&key) {
                return Ok(Some(pending.ticket.clone()));
            }
            if state.index.get(&key, part.version.0).is_none() {
                return Err(Error::InvalidPart(part.number));
            }
        }
        Ok(None)
    }

    /// The manifest of the object that the parts make.
    async fn join_parts(&self, upload: UploadId, parts: &[CompletePart]) -> Result<Manifest> {
        let rows: Vec<PartRow> = {
            let state = self.state.borrow();
            let row = |part: &CompletePart| {
                let key = index_key::part(upload, part.number);
                let entry =
                    state.index.get(&key, part.version.0).ok_or(Error::InvalidPart(part.number))?;
                Ok(PartRow {
                    number: part.number,
                    current: current_of(part.version.0, &entry),
                    location: location_of(&entry),
                })
            };
            parts.iter().map(row).collect::<Result<_>>()?
        };
        let pin = self.state.borrow_mut().pins.pin();
        let read = read::many_sections(&self.context, self.id, &rows).await;
        self.unpin(pin);
        let mut manifest = Manifest::default();
        for (row, sections) in rows.iter().zip(read?) {
            let part = sections
                .manifest
                .and_then(|manifest| manifest.parts.into_iter().next())
                .ok_or_else(|| Error::Corrupt(format!("part {} has no manifest", row.number)))?;
            let attributes = sections.attributes;
            manifest.parts.push(ManifestPart { number: row.number, attributes, ..part });
        }
        Ok(manifest)
    }

    pub(crate) async fn abort_upload(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        upload: UploadId,
    ) -> Result<()> {
        let upload_id = upload.0;
        let record =
            Record { upload: upload_id, ..Record::new(RecordKind::UploadAbort, bucket.0, key) };
        self.await_turn(Need::Reserve, &[&index_key::upload(bucket, &record.key)]).await;
        self.check_writable(&record, Need::Reserve)?;
        if !self.state.borrow().upload_is_open(bucket, &record.key, upload) {
            return Err(Error::NoSuchUpload);
        }
        let index_key = index_key::parts_of(upload);
        let (_, ticket) = self.stage(record, &index_key, Need::Reserve)?;
        self.end(upload, ticket).await
    }
}

impl<P: Platform> Engine<P> {
    /// How many parts an upload has by now, and how large they are, but for one number (0 is none): from the
    /// index, no record is read.
    pub async fn count_parts(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        except: u16,
    ) -> Result<PartsCount> {
        let shard = self.shard_of(bucket, key)?;
        let limit = usize::from(PARTS_MAX);
        let request = Request::LocateParts { bucket, key: key.to_vec(), upload, after: 0, limit };
        let Reply::Parts { rows, pin, .. } = self.ask(shard, request).await? else {
            return Err(mismatched());
        };
        drop(self.guard(shard, pin));
        let counted = || rows.iter().filter(|row| row.number != except);
        let bytes = counted().map(|row| row.current.size).sum();
        Ok(PartsCount { count: counted().count(), bytes })
    }
}
