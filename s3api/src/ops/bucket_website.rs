//! PutBucketWebsite, GetBucketWebsite, DeleteBucketWebsite.

use super::{Answer, Body, Context, configuration_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::website::WebsiteConfiguration;
use engine::platform::Platform;
use http::Response;

pub(super) async fn put_bucket_website<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = configuration_document(context, body).await?;
    let configuration = WebsiteConfiguration::parse_document(&document)?;
    context.put_setting(&bucket, &configuration).await?;
    Ok(Response::new(200))
}

pub(super) fn get_bucket_website<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<WebsiteConfiguration>(&bucket)? {
        Some(configuration) => Ok(xml_answer(configuration.document())),
        None => {
            Err(S3Error::from(Code::NoSuchWebsiteConfiguration).field("BucketName", &bucket.name))
        }
    }
}

pub(super) async fn delete_bucket_website<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<WebsiteConfiguration>(&bucket).await?;
    Ok(Response::new(204))
}
