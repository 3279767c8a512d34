//! GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl.
//!
//! Not here: what ACLs mean (`access::acl`).

use super::{Answer, Body, Context, aftermath, read_document, xml_answer};
use crate::access::acl::{Acl, Owners};
use crate::access::authorise::{check_acl, ownership_of};
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::error::{Code, Result};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::workers::notify::EventName;
use engine::platform::Platform;
use engine::{Bucket, Which};
use http::Response;
use std::sync::Arc;

pub(super) fn get_bucket_acl<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let owner = context.owner_of(&bucket)?;
    let acl = match context.setting::<Acl>(&bucket)? {
        Some(acl) if ownership_of(context, &bucket)?.has_acls() => (*acl).clone(),
        _ => Acl::private(&owner.id),
    };
    Ok(xml_answer(acl.document(&owner.id, &context.users())))
}

pub(super) async fn put_bucket_acl<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let owner = context.owner_of(&bucket)?;
    let owners = Owners { own: &owner.id, bucket: &owner.id };
    match requested(context, &document, &bucket, owners)? {
        Some(acl) => context.put_setting(&bucket, &acl).await?,
        None => context.remove_setting::<Acl>(&bucket).await?,
    }
    Ok(Response::new(200))
}

pub(super) async fn get_object_acl<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let reader = context.open_record(&bucket).await?;
    let info = reader.info();
    let attributes = Attributes::decode(&info.attributes)?;
    let bucket_owner = context.owner_of(&bucket)?;
    let has_acls = ownership_of(context, &bucket)?.has_acls();
    let owner = attributes.owner.filter(|_| has_acls).unwrap_or_else(|| bucket_owner.id.clone());
    let acl = attributes.acl.filter(|_| has_acls).unwrap_or_else(|| Acl::private(&owner));
    let mut answer = xml_answer(acl.document(&owner, &context.users()));
    context.write_version(&mut answer, &bucket, &info.current)?;
    Ok(answer)
}

pub(super) async fn put_object_acl<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let reader = context.open_record(&bucket).await?;
    let attributes = Attributes::decode(&reader.info().attributes)?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let bucket_owner = context.owner_of(&bucket)?;
    let has_acls = ownership_of(context, &bucket)?.has_acls();
    let owner = attributes.owner.as_deref().filter(|_| has_acls).unwrap_or(&bucket_owner.id);
    let owners = Owners { own: owner, bucket: &bucket_owner.id };
    let acl = requested(context, &document, &bucket, owners)?;
    // The very version that was decided about.
    let which = Which::Exactly(reader.info().current.version);
    drop(reader);
    let current = context
        .amend_version(&bucket, which, move |attributes| {
            attributes.acl = acl;
            Ok(())
        })
        .await?;
    let mut answer = Response::new(200);
    context.write_version(&mut answer, &bucket, &current)?;
    aftermath::changed(context, &bucket, EventName::AclPut, &current, &answer).await;
    Ok(answer)
}

/// The list that the request gives by header or by document, as it is to be kept.
fn requested<P: Platform>(
    context: &Context<'_, P>,
    document: &[u8],
    bucket: &Arc<Bucket>,
    owners: Owners<'_>,
) -> Result<Option<Acl>> {
    let has_document = !document.trim_ascii().is_empty();
    let users = context.users();
    let acl = match Acl::of_headers(|name| context.header(name), owners, &users)? {
        Some(_) if has_document => return Err(Code::UnexpectedContent.into()),
        Some(acl) => acl,
        None if has_document => Acl::parse(document, owners.own, &users)?,
        None => return Err(Code::MissingSecurityHeader.into()),
    };
    check_acl(context, bucket, acl, owners)
}
