//! What can be asked of a shard by its name, from the same core or through the mailbox.

use crate::backup::{CopyOrder, ShardRow};
use crate::error::{Error, Result};
use crate::format::manifest::Extent;
use crate::format::record::Record;
use crate::listing::{Slice, UploadMark, VersionMark};
use crate::multipart::{CompleteUpload, PartRow};
use crate::pins::Pin;
use crate::platform::Platform;
use crate::rename::RenameStep;
use crate::shard::{Committed, Located, Put, Shard};
use crate::status::ShardState;
use crate::types::{
    Amend, Bucket, BucketId, BucketUsage, Condition, Current, Deleted, Deletion, ListItem,
    ListQuery, UploadId, UploadItem, UploadsQuery, Version, VersionItem, VersionsQuery, Which,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Values of settings by tag; none: it is not there.
pub(crate) type Settings = BTreeMap<u16, Option<Vec<u8>>>;

/// A change of the bucket catalogue; only shard 0 takes it.
#[derive(Debug)]
pub(crate) enum BucketChange {
    Create {
        name: String,
        settings: BTreeMap<u16, Vec<u8>>,
    },
    /// Sets and removes settings, if others are as expected.
    Set {
        name: String,
        changes: Settings,
        expected: Settings,
    },
    /// From now on the bucket takes no new keys.
    BeginDelete {
        name: String,
    },
    /// It was not empty after all.
    CancelDelete {
        id: BucketId,
    },
    FinishDelete {
        name: String,
    },
}

/// What a backup asks of every shard, in this order.
pub(crate) enum BackupStep {
    Begin,
    Hold,
    Snapshot,
    /// Not all could be held at once: what was taken is given back, and all are held again.
    Retry,
    Copy(CopyOrder),
}

pub(crate) enum Request {
    Lookup {
        bucket: BucketId,
        key: Vec<u8>,
        which: Which,
    },
    Locate {
        bucket: BucketId,
        key: Vec<u8>,
        which: Which,
    },
    Unpin(Pin),
    Put(Box<Put>),
    Delete {
        bucket: BucketId,
        key: Vec<u8>,
        deletion: Deletion,
        condition: Option<Condition>,
    },
    Amend {
        bucket: BucketId,
        key: Vec<u8>,
        which: Which,
        change: Amend,
    },
    Grant {
        units: usize,
    },
    Release(Vec<Extent>),
    /// An I/O error of another core in this shard's files.
    Latch(String),
    List {
        bucket: BucketId,
        query: ListQuery,
    },
    ListVersions {
        bucket: BucketId,
        query: VersionsQuery,
    },
    BeginUpload {
        bucket: BucketId,
        key: Vec<u8>,
        attributes: Vec<u8>,
    },
    LocateUpload {
        bucket: BucketId,
        key: Vec<u8>,
        upload: UploadId,
    },
    LocateParts {
        bucket: BucketId,
        key: Vec<u8>,
        upload: UploadId,
        after: u16,
        limit: usize,
    },
    ListUploads {
        bucket: BucketId,
        query: UploadsQuery,
    },
    Complete(Box<CompleteUpload>),
    AbortUpload {
        bucket: BucketId,
        key: Vec<u8>,
        upload: UploadId,
    },
    Usage(Vec<BucketId>),
    Status,
    /// Whether no key and no upload of a bucket is there, counting what is on its way.
    IsEmpty(BucketId),
    ChangeBucket(BucketChange),
    /// A change that is durable at shard 0, for another drive's copy of the catalogue.
    CopyBucketChange(Box<Record>),
    /// A step of the backup with this number.
    Backup {
        id: u64,
        step: BackupStep,
    },
    EndBackup(u64),
    Rename(RenameStep),
    /// A rename lets go of a key.
    EndHold(u64),
}

pub(crate) enum Reply {
    Done,
    Current(Option<Current>),
    Amended(Current),
    Located(Option<Located>),
    Committed(Committed),
    Deleted(Deleted),
    Granted(Vec<Extent>),
    Page(Slice<ListItem, Vec<u8>>),
    Versions(Slice<VersionItem, VersionMark>),
    UploadBegun(UploadId),
    Upload(Located),
    Parts {
        rows: Vec<PartRow>,
        truncated: bool,
        pin: Pin,
    },
    Uploads(Slice<UploadItem, UploadMark>),
    Usage(Vec<BucketUsage>),
    Status(Box<ShardState>),
    Empty(bool),
    Bucket(Arc<Bucket>),
    /// About how many bytes a snapshot has.
    Snapshot(u64),
    Copied(Box<ShardRow>),
    /// A key is held, and a version is reserved for what may be written to it.
    Held {
        hold: u64,
        reserved: Version,
    },
}

impl Reply {
    /// The request that undoes what this answer gives into the asker's keeping, if it gives anything.
    pub(crate) fn into_return(self) -> Option<Request> {
        match self {
            Self::Located(Some(located)) | Self::Upload(located) => {
                Some(Request::Unpin(located.pin))
            }
            Self::Parts { pin, .. } => Some(Request::Unpin(pin)),
            Self::Granted(extents) => Some(Request::Release(extents)),
            Self::Held { hold, .. } => Some(Request::EndHold(hold)),
            _ => None,
        }
    }
}

impl<P: Platform> Shard<P> {
    /// Serves a request. What is rare or long is boxed, since every request moves to the heap in a task
    /// that is as large as the largest of them.
    pub(crate) async fn handle(self: &Rc<Self>, request: Request) -> Result<Reply> {
        Ok(match request {
            Request::Lookup { bucket, key, which } => {
                self.await_shown(bucket, &key).await;
                Reply::Current(self.lookup(bucket, &key, which))
            }
            Request::Locate { bucket, key, which } => {
                self.await_shown(bucket, &key).await;
                Reply::Located(self.locate(bucket, &key, which))
            }
            Request::Unpin(_)
            | Request::Release(_)
            | Request::Latch(_)
            | Request::EndBackup(_)
            | Request::EndHold(_) => {
                self.handle_notice(request);
                Reply::Done
            }
            Request::Put(put) => Reply::Committed(self.put(*put).await?),
            Request::Delete { bucket, key, deletion, condition } => {
                Reply::Deleted(self.delete(bucket, key, deletion, condition).await?)
            }
            Request::Amend { bucket, key, which, change } => {
                Reply::Amended(Box::pin(self.amend(bucket, key, which, change)).await?)
            }
            Request::Grant { units } => Reply::Granted(self.grant(units).await?),
            Request::List { bucket, query } => Reply::Page(self.list(bucket, &query)),
            Request::ListVersions { bucket, query } => {
                Reply::Versions(self.list_versions(bucket, &query))
            }
            Request::BeginUpload { bucket, key, attributes } => {
                Reply::UploadBegun(Box::pin(self.begin_upload(bucket, key, attributes)).await?)
            }
            Request::LocateUpload { bucket, key, upload } => {
                Reply::Upload(self.locate_upload(bucket, &key, upload)?)
            }
            Request::LocateParts { bucket, key, upload, after, limit } => {
                self.locate_parts(bucket, &key, upload, after, limit)?
            }
            Request::ListUploads { bucket, query } => {
                Reply::Uploads(self.list_uploads(bucket, &query))
            }
            Request::Complete(complete) => {
                Reply::Committed(Box::pin(self.complete_upload(*complete)).await?)
            }
            Request::AbortUpload { bucket, key, upload } => {
                Box::pin(self.abort_upload(bucket, key, upload)).await?;
                Reply::Done
            }
            Request::Usage(buckets) => {
                let usage = &self.state.borrow().usage;
                Reply::Usage(buckets.into_iter().map(|bucket| usage.of_bucket(bucket)).collect())
            }
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::IsEmpty(bucket) => Reply::Empty(Box::pin(self.is_empty(bucket)).await?),
            Request::ChangeBucket(change) => Box::pin(self.change_bucket(change)).await?,
            Request::CopyBucketChange(change) => {
                Box::pin(self.write_next_change(*change)).await?;
                Reply::Done
            }
            Request::Backup { id, step } => Box::pin(self.backup_step(id, step)).await?,
            Request::Rename(step) => Box::pin(self.rename_step(step)).await?,
        })
    }

    async fn backup_step(self: &Rc<Self>, id: u64, step: BackupStep) -> Result<Reply> {
        match step {
            BackupStep::Begin => self.begin_backup(id).await.map(|()| Reply::Done),
            BackupStep::Hold => self.hold_for_backup(id).await.map(|()| Reply::Done),
            BackupStep::Snapshot => self.take_snapshot(id).map(Reply::Snapshot),
            BackupStep::Retry => self.retry_backup(id).map(|()| Reply::Done),
            BackupStep::Copy(order) => {
                self.copy_snapshot(id, order).await.map(|row| Reply::Copied(Box::new(row)))
            }
        }
    }

    /// Requests that need no answer.
    pub(crate) fn handle_notice(&self, request: Request) {
        match request {
            Request::Unpin(pin) => self.unpin(pin),
            Request::Release(extents) => self.release(&extents),
            Request::Latch(cause) => self.latch(cause),
            Request::EndBackup(id) => self.end_backup(id),
            Request::EndHold(hold) => self.end_hold(hold),
            _ => {}
        }
    }
}

/// The answer to another request than the one that was asked: a bug, told instead of a panic.
pub(crate) fn mismatched() -> Error {
    Error::Corrupt("a shard answered another request than it was asked".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::sim::SimPlatform;

    /// Every request of another core, and every write, moves as much to the heap.
    #[test]
    fn the_task_of_a_request_is_small() {
        fn size_of_task<F: Future>(_: impl FnOnce(Rc<Shard<SimPlatform>>, Request) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of_task(async |shard, request| shard.handle(request).await.is_ok());
        assert!(bytes <= 3 << 10, "{bytes} bytes");
    }
}
