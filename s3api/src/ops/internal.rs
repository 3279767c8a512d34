//! What the server itself stores as objects of a bucket, for its owner.
//!
//! Invariant: such an object is made as a request of the bucket's owner would make it, with the
//! bucket's own settings.

use super::body_writer::{BodyWriter, stored_size};
use super::{encryption, label};
use crate::attributes::{Attributes, SystemHeader};
use crate::checksum_headers::Checksum;
use crate::dates;
use crate::encryption::ring::KeyRing;
use crate::error::{Code, Result, S3Error};
use crate::object_lock::{Lock, ObjectLockSetting};
use crate::services::Services;
use crate::versioning::{Status, VersioningSetting};
use engine::checksum::{Algorithm, Hasher, Md5};
use engine::platform::Platform;
use engine::{Bucket, Commit, Engine, Etag, Version};
use std::sync::Arc;

/// Stores a text; durable when it returns.
pub(crate) async fn put_object<P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    bucket: &Arc<Bucket>,
    key: &str,
    text: &[u8],
) -> Result<()> {
    let ring = KeyRing { engine, cache: &services.settings, encryption: &services.encryption };
    let sealing = encryption::of_bucket(&ring, bucket, key).await?;
    let size = Some(text.len() as u64);
    let stored = stored_size(size, sealing.as_ref());
    let writer = engine.writer(bucket.id, key.as_bytes(), stored).await?;
    let mut writer = BodyWriter::new(writer, size, 0, sealing.as_ref())?;
    let mut md5 = Md5::new();
    let mut hasher = Hasher::new(Algorithm::Crc64Nvme);
    let mut rest = text;
    while !rest.is_empty() {
        let spare = writer.spare();
        let count = spare.len().min(rest.len());
        let (now, later) = rest.split_at(count);
        spare[..count].copy_from_slice(now);
        md5.update(now);
        hasher.update(now);
        writer.advance(count).await?;
        rest = later;
    }
    // A digest of another length than its algorithm's is a bug.
    let checksum = Checksum::full_object(Algorithm::Crc64Nvme, hasher.finish().as_ref())
        .ok_or_else(|| S3Error::from(Code::InternalError))?;
    let mut attributes = Attributes { checksum: Some(checksum), ..Attributes::default() };
    let md5 = writer.close().await?.unwrap_or_else(|| md5.finish());
    encryption::keep(sealing, &mut attributes);
    attributes.set_system(SystemHeader::ContentType, b"text/plain".to_vec());
    if let Some(setting) = services.settings.get::<ObjectLockSetting>(bucket)? {
        let now = dates::seconds(Version(engine.platform().wall_clock_ns()));
        attributes.lock = setting.lock_of_new(Lock::default(), now);
    }
    let versioning = services.settings.get::<VersioningSetting>(bucket)?;
    let commit = Commit {
        etag: Etag { md5, parts: 0 },
        label: label::of(&attributes),
        attributes: attributes.encode()?,
        versioning: Status::of(versioning.as_deref()).of_write(),
        ..Commit::default()
    };
    writer.finish(commit).await?;
    Ok(())
}
