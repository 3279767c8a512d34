//! PutPublicAccessBlock, GetPublicAccessBlock, DeletePublicAccessBlock.

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::access::public_access_block::PublicAccessBlock;
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use engine::platform::Platform;
use http::Response;

pub(super) async fn put_public_access_block<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    context.put_setting(&bucket, &PublicAccessBlock::parse(&document)?).await?;
    Ok(Response::new(200))
}

pub(super) fn get_public_access_block<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<PublicAccessBlock>(&bucket)? {
        Some(block) => Ok(xml_answer(block.document())),
        None => Err(S3Error::from(Code::NoSuchPublicAccessBlockConfiguration)
            .field("BucketName", &bucket.name)),
    }
}

pub(super) async fn delete_public_access_block<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<PublicAccessBlock>(&bucket).await?;
    Ok(Response::new(204))
}
