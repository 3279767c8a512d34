//! PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption.
//!
//! Not here: the document (`encryption::bucket`), what new objects get (`encryption`).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::encryption::bucket::BucketEncryption;
use crate::encryption::master::NOT_CONFIGURED;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use engine::platform::Platform;
use http::Response;

pub(super) async fn put_bucket_encryption<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let encryption = BucketEncryption::parse(&document)?;
    if context.services.encryption.masters.is_empty() {
        return Err(S3Error::new(Code::NotImplemented, NOT_CONFIGURED));
    }
    context.put_setting(&bucket, &encryption).await?;
    Ok(Response::new(200))
}

pub(super) fn get_bucket_encryption<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<BucketEncryption>(&bucket)? {
        Some(encryption) => Ok(xml_answer(encryption.write())),
        None => Err(S3Error::from(Code::ServerSideEncryptionConfigurationNotFoundError)
            .field("BucketName", &bucket.name)),
    }
}

pub(super) async fn delete_bucket_encryption<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<BucketEncryption>(&bucket).await?;
    Ok(Response::new(204))
}
