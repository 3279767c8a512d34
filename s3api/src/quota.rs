//! Quotas of buckets: how many bytes and objects one may hold.
//!
//! A write is judged by what the shards count at that moment, before its body is read and once more
//! before it is made visible; what it replaces for good is taken off. Parts of an upload count to it
//! while they come, the whole when it is completed.
//!
//! Invariants: without a quota a write costs two looks into the bucket's settings; the quota is the one
//! that the bucket had when the request came; what waits to be freed counts no more. Writes that are judged
//! at the same moment do not see each other, so that a bucket may go beyond its quota by what is in flight.
//!
//! Not here: what the server itself writes (access logs), and who sets a quota (`admin::quota`).

use crate::error::{Code, Result, S3Error};
use crate::ops::Context;
use crate::settings::{BucketSetting, tag};
use crate::versioning::{Status, VersioningSetting};
use engine::platform::Platform;
use engine::{Bucket, BucketUsage, UploadId, Versioning, Which};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// At least one of both is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_objects: Option<u64>,
}

impl BucketSetting for Quota {
    const TAG: u16 = tag::QUOTA;
}

impl Quota {
    /// Whether a bucket that holds so much may come to hold `after`. What makes it smaller always may.
    fn check(&self, before: BucketUsage, after: BucketUsage) -> Result<()> {
        let is_over = |most: Option<u64>, before: u64, after: u64| {
            most.filter(|most| after > *most && after > before)
        };
        if let Some(most) = is_over(self.max_bytes, before.bytes, after.bytes) {
            return Err(exceeded(&format!("{most} bytes")));
        }
        if let Some(most) = is_over(self.max_objects, before.objects, after.objects) {
            return Err(exceeded(&format!("{most} objects")));
        }
        Ok(())
    }
}

fn exceeded(quota: &str) -> S3Error {
    S3Error::new(Code::QuotaExceeded, format!("The quota of the bucket is {quota}."))
}

/// Judges that the request's object comes to have this size.
pub(crate) async fn check<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    size: u64,
) -> Result<()> {
    let Some(quota) = context.setting::<Quota>(bucket)? else { return Ok(()) };
    let usage = context.engine.bucket_usage(bucket.id).await?;
    let setting = context.setting::<VersioningSetting>(bucket)?;
    let replaced = match Status::of(setting.as_deref()).of_write() {
        Versioning::Kept => None,
        Versioning::Null => {
            let key = context.route.key.as_bytes();
            context.engine.lookup(bucket.id, key, Which::Null).await?
        }
    };
    let replaced = replaced.filter(|current| !current.is_marker);
    let (bytes, objects) = replaced.map_or((0, 0), |current| (current.size, 1));
    let after = BucketUsage {
        bytes: usage.bytes.saturating_sub(bytes).saturating_add(size),
        objects: usage.objects.saturating_sub(objects).saturating_add(1),
        ..usage
    };
    quota.check(usage, after)
}

/// Judges that a part of this size comes into an upload, in the place of one of its number: as if the upload
/// were completed with it. Other uploads do not count.
pub(crate) async fn check_part<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    upload: UploadId,
    number: u16,
    size: u64,
) -> Result<()> {
    if context.setting::<Quota>(bucket)?.is_none() {
        return Ok(());
    }
    let key = context.route.key.as_bytes();
    let parts = context.engine.count_parts(bucket.id, key, upload, number).await?;
    check(context, bucket, parts.bytes.saturating_add(size)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(quota: (Option<u64>, Option<u64>), before: (u64, u64), after: (u64, u64)) -> bool {
        let usage = |(bytes, objects)| BucketUsage { bytes, objects, ..BucketUsage::default() };
        let quota = Quota { max_bytes: quota.0, max_objects: quota.1 };
        match quota.check(usage(before), usage(after)) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.code, Code::QuotaExceeded);
                false
            }
        }
    }

    #[test]
    fn a_quota_is_filled_to_its_last_byte_and_object() {
        let quota = (Some(100), Some(3));
        assert!(check(quota, (0, 0), (100, 3)));
        assert!(!check(quota, (0, 0), (101, 1)));
        assert!(!check(quota, (50, 3), (50, 4)));
        assert!(check((None, Some(3)), (0, 0), (u64::MAX, 1)));
        assert!(check((Some(100), None), (0, 0), (1, u64::MAX)));
        assert!(check((Some(0), None), (0, 0), (0, 1)));
    }

    #[test]
    fn what_is_over_already_may_become_smaller() {
        let quota = (Some(100), Some(3));
        assert!(check(quota, (500, 9), (400, 9)));
        assert!(check(quota, (500, 9), (500, 9)));
        assert!(!check(quota, (500, 9), (501, 9)));
    }
}
