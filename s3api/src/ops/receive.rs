//! Moves bytes into the engine: a request's body, or another object's bytes. Digests are computed as
//! the bytes pass, in the engine's own buffers.
//!
//! Invariants: nothing is committed here; what the client said of the body (length, hash, MD5,
//! checksum) was compared with what came when these functions return.

use super::body_writer::BodyWriter;
use super::{Body, Context, ObjectBody};
use crate::auth::payload::RawBody;
use crate::checksum_headers::{Checksum, ChecksumPlan};
use crate::conditional::Conditions;
use crate::error::{Code, Result, S3Error};
use crate::limits::MD5_PIECE_BYTES;
use engine::checksum::{Algorithm, Hasher, Md5};
use engine::platform::Platform;
use engine::{BucketId, Etag, Which};
use std::ops::RangeInclusive;

/// What the bytes came to.
pub(super) struct Received {
    pub etag: Etag,
    pub checksum: Checksum,
}

/// How many bytes a body brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Size {
    Exactly(u64),
    /// Nobody knows before its end.
    Within(RangeInclusive<u64>),
}

impl Size {
    /// For the engine, which can do with less if it knows.
    pub(super) fn known(&self) -> Option<u64> {
        match self {
            Self::Exactly(size) => Some(*size),
            Self::Within(_) => None,
        }
    }

    /// The body has at least so many.
    pub(super) fn least(&self) -> u64 {
        match self {
            Self::Exactly(size) => *size,
            Self::Within(range) => *range.start(),
        }
    }

    /// While the body comes: there are at least so many.
    fn check_growing(&self, bytes: u64) -> Result<()> {
        match self {
            Self::Within(range) if bytes > *range.end() => Err(too_large(bytes, *range.end())),
            _ => Ok(()),
        }
    }

    fn check(&self, bytes: u64) -> Result<()> {
        match self {
            Self::Exactly(size) if bytes != *size => Err(Code::IncompleteBody.into()),
            Self::Within(range) if bytes < *range.start() => {
                Err(S3Error::from(Code::EntityTooSmall)
                    .field("ProposedSize", bytes.to_string())
                    .field("MinSizeAllowed", range.start().to_string()))
            }
            _ => self.check_growing(bytes),
        }
    }
}

impl From<u64> for Size {
    fn from(size: u64) -> Self {
        Self::Exactly(size)
    }
}

fn too_large(size: u64, max: u64) -> S3Error {
    S3Error::from(Code::EntityTooLarge)
        .field("ProposedSize", size.to_string())
        .field("MaxSizeAllowed", max.to_string())
}

/// The length that the body will have, which a client must say and which is bounded.
pub(super) fn declared_size<B>(body: &Body<'_, B>, bytes_max: u64) -> Result<u64> {
    let size = body.size_bytes.ok_or(Code::MissingContentLength)?;
    if size > bytes_max {
        return Err(too_large(size, bytes_max));
    }
    Ok(size)
}

/// Judges the conditions of a write before its body is read: a refusal that is certain now need not
/// wait for the bytes. The engine judges them again at the moment of the write.
pub(super) async fn check_early<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    conditions: &Conditions,
) -> Result<()> {
    if conditions.is_empty() {
        return Ok(());
    }
    let current = context.engine.lookup(bucket, context.key().as_bytes(), Which::Latest).await?;
    let current = current.filter(|current| !current.is_marker);
    Ok(conditions.judge_write(current.as_ref()).map_err(engine::Error::Condition)?)
}

/// Reads a body of that size into the writer and verifies it.
pub(super) async fn receive<P: Platform, B: RawBody>(
    body: Body<'_, B>,
    size: impl Into<Size>,
    plan: &ChecksumPlan,
    writer: &mut BodyWriter<P>,
) -> Result<Received> {
    let size = size.into();
    let mut reader = body.reader;
    let wants_md5 = writer.wants_md5() || plan.wants_md5();
    let mut md5 = Md5::new();
    let mut hasher = Hasher::new(plan.algorithm());
    // Bytes of the spare that came and were not yet handed over: pieces of MD5 are to be long.
    let mut pending = 0;
    loop {
        let spare = writer.spare();
        let room = spare.len().min(*MD5_PIECE_BYTES.end());
        let count = reader.read(&mut spare[pending..room]).await?;
        hasher.update(&spare[pending..pending + count]);
        pending += count;
        size.check_growing(writer.written() + pending as u64)?;
        if pending >= room.min(*MD5_PIECE_BYTES.start()) || count == 0 {
            if wants_md5 {
                writer.update_md5(&mut md5, pending).await;
            }
            writer.advance(pending).await?;
            pending = 0;
        }
        if count == 0 {
            break;
        }
    }
    let trailers = reader.finish().await?;
    size.check(writer.written())?;
    let md5 = md5.finish();
    let checksum = plan.verify(hasher.finish().as_ref(), &md5, &trailers)?;
    let md5 = writer.close().await?.unwrap_or(md5);
    Ok(Received { etag: Etag { md5, parts: 0 }, checksum })
}

/// Copies all of the source into the writer.
pub(super) async fn copy<P: Platform>(
    mut source: ObjectBody<P>,
    algorithm: Algorithm,
    writer: &mut BodyWriter<P>,
) -> Result<Received> {
    let mut md5 = Md5::new();
    let mut hasher = Hasher::new(algorithm);
    while let Some(chunk) = source.next_chunk().await? {
        let mut rest = chunk.as_ref();
        hasher.update(rest);
        while !rest.is_empty() {
            let spare = writer.spare();
            let count = spare.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            spare[..count].copy_from_slice(now);
            if writer.wants_md5() {
                writer.update_md5(&mut md5, count).await;
            }
            writer.advance(count).await?;
            rest = later;
        }
    }
    // A digest of another length than its algorithm's is a bug.
    let checksum = Checksum::full_object(algorithm, hasher.finish().as_ref())
        .ok_or_else(|| S3Error::from(Code::InternalError))?;
    let md5 = writer.close().await?.unwrap_or_else(|| md5.finish());
    Ok(Received { etag: Etag { md5, parts: 0 }, checksum })
}
