//! PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus.
//!
//! Not here: what policies mean (`access::policy`).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::access::authorise::block_of;
use crate::access::policy::{Kind, Policy, Principal};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::xml::Writer;
use engine::Bucket;
use engine::platform::Platform;
use http::Response;
use std::rc::Rc;
use std::sync::Arc;

pub(super) async fn put_bucket_policy<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let text = String::from_utf8(document)
        .map_err(|_| S3Error::new(Code::MalformedPolicy, "This policy contains invalid Json"))?;
    let policy = Policy::parse(&text, Kind::Bucket(&bucket.name))?;
    check_principals(context, &policy)?;
    if policy.is_public() && block_of(context, &bucket)?.block_public_policy {
        return Err(Code::AccessDenied.into());
    }
    context.put_setting(&bucket, &policy).await?;
    Ok(Response::new(204))
}

/// A policy that names somebody who is not there would wait for whoever is given that name.
fn check_principals<P: Platform>(context: &Context<'_, P>, policy: &Policy) -> Result<()> {
    if policy.principals().all(|principal| matches!(principal, Principal::Everyone)) {
        return Ok(());
    }
    let users = context.users().all()?;
    let root = context.owner;
    for principal in policy.principals() {
        let mut owners = users.iter().map(|user| &user.owner);
        let is_there = match principal {
            Principal::Everyone | Principal::Account | Principal::Service => true,
            Principal::Id(id) => root.id == *id || owners.any(|owner| owner.id == *id),
            Principal::AccessKey(key) => {
                root.access_key == *key || owners.any(|owner| owner.access_key == *key)
            }
            Principal::Name(name) => owners.any(|owner| owner.display_name == *name),
        };
        if !is_there {
            return Err(S3Error::new(Code::MalformedPolicy, "Invalid principal in policy"));
        }
    }
    Ok(())
}

fn policy_of<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<Rc<Policy>> {
    context
        .setting::<Policy>(bucket)?
        .ok_or_else(|| S3Error::from(Code::NoSuchBucketPolicy).field("BucketName", &bucket.name))
}

/// The client's own text.
pub(super) fn get_bucket_policy<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let policy = policy_of(context, &context.bucket()?)?;
    Ok(Response::new(200)
        .with_header("Content-Type", "application/json")
        .with_bytes(policy.text().as_bytes().to_vec()))
}

pub(super) async fn delete_bucket_policy<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<Policy>(&bucket).await?;
    Ok(Response::new(204))
}

pub(super) fn get_bucket_policy_status<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let policy = policy_of(context, &context.bucket()?)?;
    Ok(xml_answer(Writer::document("PolicyStatus", |writer| {
        writer.value("IsPublic", policy.is_public());
    })))
}
