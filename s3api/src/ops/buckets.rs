//! Operations on buckets: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.

use super::{Answer, Body, Context, read_document, unsupported, xml_answer};
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
use engine::platform::Platform;
use http::Response;
use std::collections::BTreeMap;

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
        .peekable();

    let document = Writer::document("ListAllMyBucketsResult", |writer| {
        context.owner.write(writer, "Owner");
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
    unsupported::check_bucket(context.head)?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    if !document.trim_ascii().is_empty() {
        check_configuration(&document, context.region)?;
    }
    let mut settings = BTreeMap::new();
    if wants_lock(context)? {
        let versioning = VersioningSetting { enabled: true, mfa_delete: false };
        settings.insert(VersioningSetting::TAG, encode(&versioning)?);
        settings.insert(ObjectLockSetting::TAG, encode(&ObjectLockSetting::default())?);
    }
    let created = context.engine.create_bucket(name, settings).await;
    match created {
        Ok(_) => {}
        Err(engine::Error::BucketExists) if context.region == CLASSIC_REGION => {}
        Err(error) => return Err(S3Error::from(error).field("BucketName", name)),
    }
    Ok(Response::new(200).with_header("Location", format!("/{name}")))
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

/// What CreateBucketConfiguration may say: the region that this server is, and nothing else.
fn check_configuration(document: &[u8], region: &str) -> Result<()> {
    let configuration = Element::parse(document, "CreateBucketConfiguration")?;
    for child in configuration.children() {
        match child.name() {
            "LocationConstraint" => check_location(child.text().trim(), region)?,
            "Tags" if child.children().is_empty() => {}
            _ => return Err(Code::NotImplemented.into()),
        }
    }
    Ok(())
}

fn check_location(location: &str, region: &str) -> Result<()> {
    if location == region || location.is_empty() {
        return Ok(());
    }
    Err(S3Error::from(Code::InvalidLocationConstraint).field("LocationConstraint", location))
}

pub(super) fn head_bucket<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    context.bucket()?;
    Ok(Response::new(200)
        .with_header("x-amz-bucket-region", context.region)
        .with_header("x-amz-access-point-alias", "false"))
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
