//! What can go wrong in the engine, as its callers must tell it apart.
//!
//! S3's codes are not here; `s3api` translates.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("no such multipart upload")]
    NoSuchUpload,
    /// A part named for completion is missing or was replaced meanwhile.
    #[error("part {0} is missing or was replaced")]
    InvalidPart(u16),
    /// The caller's condition did not hold for the current object.
    #[error("the condition did not hold: {0:?}")]
    Condition(ConditionFailure),
    /// A bound of `limits.rs` that the caller must keep.
    #[error("{0}")]
    TooLarge(&'static str),
    /// No space is left for new data; reads and deletes still work.
    #[error("no space left")]
    OutOfSpace,
    /// The memory budget is used up; the request may be repeated later.
    #[error("busy: the memory budget is used up")]
    Busy,
    /// A write or a sync failed earlier: the shard takes no writes until the store is reopened.
    #[error("shard {shard} is read-only since an I/O error: {cause}")]
    ReadOnly { shard: u16, cause: String },
    /// Stored bytes do not match their checksum, or name another object.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    #[error("the store is stopping")]
    Stopping,
    /// The data directory cannot be opened; nothing was changed in it.
    #[error("{}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
}

/// Why a conditional operation was refused; the caller's condition decides which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionFailure {
    /// The object is not as the condition wants it.
    PreconditionFailed,
    /// The condition needs an object and there is none.
    NoSuchKey,
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}
