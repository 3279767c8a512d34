//! PutBucketOwnershipControls, GetBucketOwnershipControls, DeleteBucketOwnershipControls.

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::access::acl::Acl;
use crate::access::ownership::Ownership;
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use engine::platform::Platform;
use http::Response;

pub(super) async fn put_ownership_controls<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let ownership = Ownership::parse(&document)?;
    // What the ACL grants would end without a word.
    if !ownership.has_acls() && context.setting::<Acl>(&bucket)?.is_some() {
        return Err(Code::InvalidBucketAclWithObjectOwnership.into());
    }
    context.put_setting(&bucket, &ownership).await?;
    Ok(Response::new(200))
}

pub(super) fn get_ownership_controls<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<Ownership>(&bucket)? {
        Some(ownership) => Ok(xml_answer(ownership.document())),
        None => {
            Err(S3Error::from(Code::OwnershipControlsNotFoundError)
                .field("BucketName", &bucket.name))
        }
    }
}

pub(super) async fn delete_ownership_controls<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<Ownership>(&bucket).await?;
    Ok(Response::new(204))
}
