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
    /// A delete marker has no attributes to change.
    #[error("the version is a delete marker")]
    Marker,
    /// A bound of `limits.rs` that the caller must keep.
    #[error("{0}")]
    TooLarge(&'static str),
    /// No space is left for new data; reads and deletes still work.
    #[error("no space left")]
    OutOfSpace,
    /// The memory for indexes is used up: until keys are deleted, or there is more memory, writes are
    /// refused. Reads and deletes still work.
    #[error("no memory left for more keys")]
    IndexFull,
    /// The memory budget is used up; the request may be repeated later.
    #[error("busy: the memory budget is used up")]
    Busy,
    /// A write or a sync failed earlier: the shard takes no writes until the store is reopened.
    #[error("shard {shard} is read-only since an I/O error: {cause}")]
    ReadOnly { shard: u16, cause: String },
    /// The drive of a shard cannot be used now: nothing of the shard can be read or written.
    #[error("shard {shard} is offline with its drive: {cause}")]
    Offline { shard: u16, cause: String },
    /// Stored bytes do not match their checksum, or name another object.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    #[error("the store is stopping")]
    Stopping,
    /// A backup or a restore cannot be made, and why.
    #[error("backup: {0}")]
    Backup(String),
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
    /// The object is no longer the version that was meant.
    Superseded,
    /// A reason of the caller's own, by its number.
    Refused(u16),
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }

    /// Whether it is the drive (or the file system on it) that failed, not the process or its host.
    pub(crate) fn is_of_the_drive(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_of_the_drive(source))
    }
}

/// What the kernel says of a drive that is gone, ailing, or taken out of service by its file system.
/// Everything else (too many open files, no permission, no memory) another try or the operator mends,
/// and no drive is given up for it.
pub(crate) fn is_of_the_drive(error: &io::Error) -> bool {
    const CODES: [i32; 14] = [
        libc::EIO,
        libc::ENXIO,
        libc::ENODEV,
        libc::EROFS,
        libc::ETIMEDOUT,
        libc::EREMOTEIO,
        libc::ENODATA,
        libc::EILSEQ,
        libc::ENOLINK,
        libc::EBADMSG,
        libc::EUCLEAN,
        libc::ESHUTDOWN,
        libc::ESTALE,
        libc::ENOTCONN,
    ];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}
