//! PutBucketLifecycleConfiguration, GetBucketLifecycleConfiguration, DeleteBucketLifecycle, and what
//! other answers tell of a bucket's lifecycle.
//!
//! Not here: the document, the rules, and who carries them out (`workers::lifecycle`).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::dates::{self, HttpDate};
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_LIFECYCLE_BYTES_MAX;
use crate::settings::{BucketSetting, tag};
use crate::workers::lifecycle::{Day, Lifecycle, document};
use engine::platform::Platform;
use engine::{Bucket, UploadId, Version};
use http::Response;
use std::sync::Arc;

/// What AWS says of the least size for transitions, of which there are none here.
const TRANSITION_SIZE: &str = "x-amz-transition-default-minimum-object-size";
const TRANSITION_SIZES: [&str; 2] = ["all_storage_classes_128K", "varies_by_storage_class"];

impl BucketSetting for Lifecycle {
    const TAG: u16 = tag::LIFECYCLE;
}

pub(super) async fn put_bucket_lifecycle_configuration<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let size = context.header(TRANSITION_SIZE).unwrap_or(TRANSITION_SIZES[0]);
    if !TRANSITION_SIZES.contains(&size) {
        let message = "The default minimum object size for transitions is not valid";
        return Err(S3Error::invalid_argument(message, TRANSITION_SIZE, size));
    }
    let xml = read_document(context, body, XML_LIFECYCLE_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let platform = context.engine.platform();
    let lifecycle = document::parse(&xml, || format!("{:032x}", platform.random_u64()))?;
    if context.has_mfa_delete(&bucket)? {
        return Err(S3Error::new(
            Code::InvalidBucketState,
            "A bucket with MFA delete cannot have a lifecycle: nobody could give the code.",
        ));
    }
    context.put_setting(&bucket, &lifecycle).await?;
    Ok(Response::new(200).with_header(TRANSITION_SIZE, size))
}

pub(super) fn get_bucket_lifecycle_configuration<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<Lifecycle>(&bucket)? {
        Some(lifecycle) => {
            let answer = xml_answer(document::write(&lifecycle));
            Ok(answer.with_header(TRANSITION_SIZE, TRANSITION_SIZES[0]))
        }
        None => {
            let error = S3Error::from(Code::NoSuchLifecycleConfiguration);
            Err(error.field("BucketName", bucket.name.as_str()))
        }
    }
}

pub(super) async fn delete_bucket_lifecycle<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<Lifecycle>(&bucket).await?;
    Ok(Response::new(204))
}

/// Adds `x-amz-expiration` to the answer about a current version, where a rule lets it expire.
/// `tags`: asked for where some rule looks at them.
pub(super) fn write_expiration<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    answer: &mut Answer<P>,
    (size, version): (u64, Version),
    tags: impl FnOnce() -> Result<Vec<(String, String)>>,
) -> Result<()> {
    let Some(lifecycle) = context.setting::<Lifecycle>(bucket)? else { return Ok(()) };
    let tags = if lifecycle.looks_at_tags() { tags()? } else { Vec::new() };
    let (key, created) = (context.key().as_bytes(), dates::seconds(version));
    let day = context.services.day;
    if let Some(value) = lifecycle.expiration_header(day, key, size, created, &tags) {
        answer.header("x-amz-expiration", value);
    }
    Ok(())
}

/// Adds to the answer about an upload when, and by which rule, it will be aborted.
pub(super) fn write_abort<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    answer: &mut Answer<P>,
    upload: UploadId,
) -> Result<()> {
    let Some(lifecycle) = context.setting::<Lifecycle>(bucket)? else { return Ok(()) };
    let begun = dates::seconds(Version(upload.0));
    let day: Day = context.services.day;
    if let Some((when, rule)) = lifecycle.abort(day, context.key().as_bytes(), begun) {
        answer.header_text("x-amz-abort-date", HttpDate(when));
        answer.header("x-amz-abort-rule-id", crate::percent::encode(&rule.id));
    }
    Ok(())
}
