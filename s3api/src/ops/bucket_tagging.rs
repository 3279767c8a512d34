//! PutBucketTagging, GetBucketTagging, DeleteBucketTagging.

use super::{Answer, Body, Context, configuration_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::settings::{BucketSetting, tag};
use crate::tags::{TagSet, Tagged};
use engine::platform::Platform;
use http::Response;
use serde::{Deserialize, Serialize};

/// The tags of a bucket, of which there is at least one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BucketTags(pub(crate) TagSet);

impl BucketSetting for BucketTags {
    const TAG: u16 = tag::TAGGING;
}

pub(super) async fn put_bucket_tagging<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = configuration_document(context, body).await?;
    let tags = TagSet::parse_document(&document, Tagged::Bucket)?;
    if tags.is_empty() {
        context.remove_setting::<BucketTags>(&bucket).await?;
    } else {
        context.put_setting(&bucket, &BucketTags(tags)).await?;
    }
    Ok(Response::new(204))
}

pub(super) fn get_bucket_tagging<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<BucketTags>(&bucket)? {
        Some(tags) => Ok(xml_answer(tags.0.document())),
        None => Err(S3Error::from(Code::NoSuchTagSet).field("BucketName", &bucket.name)),
    }
}

pub(super) async fn delete_bucket_tagging<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<BucketTags>(&bucket).await?;
    Ok(Response::new(204))
}
