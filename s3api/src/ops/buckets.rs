//! Operations on buckets: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::access::acl::{Acl, Owners};
use crate::access::authorise::BucketOwner;
use crate::access::ownership::Ownership;
use crate::access::{self, Given};
use crate::auth::payload::RawBody;
use crate::dates;
use crate::error::{Code, Result, S3Error};
use crate::limits::{LIST_BUCKETS_MAX, XML_BODY_BYTES_MAX};
use crate::names;
use crate::object_lock::ObjectLockSetting;
use crate::ops::list_objects::{decode_token, encode_token};
use crate::settings::{BucketSetting, encode};
use crate::system;
use crate::versioning::VersioningSetting;
use crate::xml::{Element, Writer};
use engine::Bucket;
use engine::platform::Platform;
use http::Response;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The region whose name `GetBucketLocation` leaves out, and where creating a bucket again is no
/// error: both as AWS has had it from the start.
const CLASSIC_REGION: &str = "us-east-1";

pub(super) fn list_buckets<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let prefix = context.query("prefix").unwrap_or_default();
    let limit = max_buckets(context.query("max-buckets"))?;
    let after = match context.query("continuation-token") {
        Some(token) if !token.is_empty() => decode_token(token)?,
        _ => String::new(),
    };
    let elsewhere = context.query("bucket-region").is_some_and(|region| region != context.region);
    context.engine.require_catalog()?;
    let catalog = context.engine.catalog();
    let mut buckets = catalog
        .buckets()
        .filter(|bucket| !system::is_entry(&bucket.name))
        .filter(|bucket| !elsewhere && bucket.name.starts_with(prefix) && bucket.name > after)
        .filter(|bucket| is_shown(context, bucket))
        .peekable();

    let document = Writer::document("ListAllMyBucketsResult", |writer| {
        context.caller.owner().write(writer, "Owner");
        let mut last = None;
        writer.element("Buckets", |writer| {
            for bucket in buckets.by_ref().take(limit) {
                writer.element("Bucket", |writer| {
                    writer.text("Name", &bucket.name);
                    writer.value("CreationDate", dates::xml_time(bucket.created));
                    writer.text("BucketRegion", context.region);
                });
                last = Some(bucket.name.as_str());
            }
        });
        if let (Some(last), Some(_)) = (last, buckets.peek()) {
            writer.text("ContinuationToken", &encode_token(last));
        }
        writer.optional("Prefix", context.query("prefix"));
    });
    Ok(xml_answer(document))
}

/// Root sees all buckets, others see their own.
fn is_shown<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> bool {
    let caller = &context.caller.subject;
    caller.is_root()
        || context
            .setting::<BucketOwner>(bucket)
            .is_ok_and(|owner| owner.is_some_and(|owner| caller.is(&owner.id)))
}

fn max_buckets(text: Option<&str>) -> Result<usize> {
    let Some(text) = text else { return Ok(LIST_BUCKETS_MAX) };
    text.parse().ok().filter(|number| (1..=LIST_BUCKETS_MAX).contains(number)).ok_or_else(|| {
        S3Error::invalid_argument(
            "Argument max-buckets must be an integer between 1 and 10000",
            "max-buckets",
            text,
        )
    })
}

pub(super) async fn create_bucket<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let name = &context.route.bucket;
    names::check_bucket_name(name)?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let location = match document.trim_ascii() {
        [] => None,
        _ => read_configuration(&document)?,
    };
    let given = Given { location: location.as_deref(), ..Given::default() };
    access::authorise::check_creation(context, &given)?;
    check_location(location.as_deref().unwrap_or_default(), context.region)?;
    let mut settings = BTreeMap::new();
    give_to_caller(context, &mut settings)?;
    if wants_lock(context)? {
        let versioning = VersioningSetting { enabled: true, mfa_delete: None };
        settings.insert(VersioningSetting::TAG, encode(&versioning)?);
        settings.insert(ObjectLockSetting::TAG, encode(&ObjectLockSetting::default())?);
    }
    // One that is there already is no new one.
    let _pending = match context.find_bucket(name) {
        Ok(_) => None,
        Err(_) => context.services.holdings.admit_bucket(context.engine, &settings)?,
    };
    match context.engine.create_bucket(name, settings).await {
        Ok(_) => {}
        Err(engine::Error::BucketExists) => {
            let bucket = context.find_bucket(name)?;
            if !context.caller.subject.is(&context.owner_of(&bucket)?.id) {
                return Err(S3Error::from(Code::BucketAlreadyExists).field("BucketName", name));
            }
            if context.region != CLASSIC_REGION {
                let error = S3Error::from(Code::BucketAlreadyOwnedByYou);
                return Err(error.field("BucketName", name));
            }
        }
        Err(error) => return Err(S3Error::from(error).field("BucketName", name)),
    }
    Ok(Response::new(200).with_header("Location", format!("/{name}")))
}

/// The settings of a new bucket that say whose it is, who owns its objects, and who was granted what.
fn give_to_caller<P: Platform>(
    context: &Context<'_, P>,
    settings: &mut BTreeMap<u16, Vec<u8>>,
) -> Result<()> {
    let owner = context.caller.owner();
    if !context.caller.subject.is_root() {
        let owner = BucketOwner { id: owner.id.clone(), access_key: owner.access_key.clone() };
        settings.insert(BucketOwner::TAG, encode(&owner)?);
    }
    let ownership = match context.header("x-amz-object-ownership") {
        None => Ownership::UNSAID,
        Some(name) => {
            let ownership = Ownership::of_name(name).ok_or_else(|| {
                S3Error::invalid_argument(
                    "Invalid x-amz-object-ownership header",
                    "x-amz-object-ownership",
                    name,
                )
            })?;
            settings.insert(Ownership::TAG, encode(&ownership)?);
            ownership
        }
    };
    let owners = Owners { own: &owner.id, bucket: &owner.id };
    match Acl::of_headers(|name| context.header(name), owners, &context.users())? {
        Some(acl) if acl.is_private(&owner.id) => {}
        Some(_) if !ownership.has_acls() => {
            return Err(Code::InvalidBucketAclWithObjectOwnership.into());
        }
        Some(acl) => {
            settings.insert(Acl::TAG, encode(&acl)?);
        }
        None => {}
    }
    Ok(())
}

/// `x-amz-bucket-object-lock-enabled`. A bucket with object lock keeps versions from its first object on.
fn wants_lock<P: Platform>(context: &Context<'_, P>) -> Result<bool> {
    const HEADER: &str = "x-amz-bucket-object-lock-enabled";
    match context.header(HEADER) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) => Err(S3Error::invalid_argument("It is either true or false.", HEADER, text)),
    }
}

/// What CreateBucketConfiguration may say: a region, and nothing else.
pub(super) fn read_configuration(document: &[u8]) -> Result<Option<String>> {
    let mut location = None;
    let configuration = Element::parse(document, "CreateBucketConfiguration")?;
    for child in configuration.children() {
        match child.name() {
            "LocationConstraint" => location = Some(child.text().trim().to_owned()),
            "Tags" if child.children().is_empty() => {}
            _ => return Err(Code::NotImplemented.into()),
        }
    }
    Ok(location)
}

/// The one region is the one that this server is.
fn check_location(location: &str, region: &str) -> Result<()> {
    if location == region || location.is_empty() {
        return Ok(());
    }
    Err(S3Error::from(Code::InvalidLocationConstraint).field("LocationConstraint", location))
}

pub(super) async fn head_bucket<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let mut answer = Response::new(200)
        .with_header("x-amz-bucket-region", context.region)
        .with_header("x-amz-access-point-alias", "false");
    match context.engine.bucket_usage(bucket.id).await {
        Ok(usage) => {
            answer.header("x-rgw-object-count", usage.objects.to_string());
            answer.header("x-rgw-bytes-used", usage.bytes.to_string());
        }
        // The bucket is there, though a drive that holds some of it is not.
        Err(engine::Error::Offline { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(answer)
}

pub(super) async fn delete_bucket<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.engine.delete_bucket(&bucket.name).await {
        Ok(()) => Ok(Response::new(204)),
        Err(error) => Err(S3Error::from(error).field("BucketName", &bucket.name)),
    }
}

pub(super) fn get_bucket_location<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    context.bucket()?;
    let location = if context.region == CLASSIC_REGION { "" } else { context.region };
    Ok(xml_answer(Writer::text_document("LocationConstraint", location)))
}
