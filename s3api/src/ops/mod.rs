//! The operations, one file a family, and what they all need.
//!
//! Invariants: an operation decides everything that it can (bucket, key, parameters, conditions)
//! before it reads the first byte of the body, so that a refused upload is never sent; an answer
//! with a body of an object's bytes holds a bounded number of them.
//!
//! Not here: routing, authentication, ids of requests, error documents (`service`).

mod abort_upload;
mod acl;
pub(crate) mod aftermath;
mod append_object;
mod body_writer;
mod bucket_cors;
mod bucket_encryption;
mod bucket_policy;
mod bucket_tagging;
mod bucket_versioning;
mod bucket_website;
mod buckets;
mod compared;
mod complete_upload;
mod copy_object;
pub mod copy_source;
mod create_upload;
mod delete_object;
mod delete_objects;
#[doc(hidden)]
pub mod documents;
mod encryption;
mod get_object;
pub(crate) mod internal;
pub(crate) mod join;
mod label;
mod lifecycle;
mod list_objects;
mod list_parts;
mod list_uploads;
mod list_versions;
mod logging;
mod notification;
mod object_attributes;
mod object_body;
mod object_lock;
mod object_tagging;
mod ownership;
mod parameters;
mod post_object;
mod public_access;
mod put_object;
mod receive;
pub(crate) mod removal;
mod rename_object;
mod request_payment;
mod restore_object;
mod unsupported;
pub(crate) mod upload_id;
mod upload_part;
mod version;
mod website;

pub use crate::access::Owner;
pub use bucket_cors::CrossOrigin;
pub use object_body::ObjectBody;
pub(crate) use website::visit;

use crate::access::action::Action;
use crate::access::{self, Caller, Given};
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::auth::{Authenticator, PayloadReader};
use crate::checksum_headers::ChecksumPlan;
use crate::conditional::Conditions;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::names;
use crate::route::{Operation, Route};
use crate::services::Services;
use crate::settings::{self, BucketSetting};
use crate::system;
use crate::tags::TagSet;
use crate::throttle::{self, Admission};
use crate::users::Users;
use body_writer::BodyWriter;
use engine::checksum::{Hasher, Md5};
use engine::platform::Platform;
use engine::{Bucket, BucketId, Commit, Engine, Etag, Version};
use http::{RequestHead, Response};
use std::rc::Rc;
use std::sync::Arc;

/// What an operation answers.
pub type Answer<P> = Response<ObjectBody<P>>;

/// The storage class that every object has.
const STORAGE_CLASS: &str = "STANDARD";

/// The two ids by which a request can be found again.
#[derive(Debug)]
pub struct Ids<'a> {
    pub request: String,
    pub host: &'a str,
}

/// What an operation works with.
pub struct Context<'a, P: Platform> {
    pub engine: &'a Engine<P>,
    pub region: &'a str,
    /// Root, who owns what no user owns.
    pub owner: &'a Rc<Owner>,
    pub caller: &'a Caller,
    /// What it was let in by, for as long as it is held.
    pub admission: &'a Admission,
    pub services: &'a Services,
    /// Who signs what a request's body holds (forms).
    pub authenticator: &'a Authenticator,
    pub ids: &'a Ids<'a>,
    pub head: &'a RequestHead,
    pub route: &'a Route,
}

impl<P: Platform> std::fmt::Debug for Context<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("route", self.route).finish_non_exhaustive()
    }
}

/// The request's body, verified while it is read.
#[derive(Debug)]
pub struct Body<'a, B> {
    pub reader: PayloadReader<'a, B>,
    /// What the reader will give out, where the client said so.
    pub size_bytes: Option<u64>,
}

/// Runs the operation that the request was routed to, if the caller may, and neither their limits nor the bucket's
/// are reached.
pub async fn run<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    throttle::admit_caller(context)?;
    if let Some(bucket) = access::authorise(context)? {
        throttle::admit_to_bucket(context, &bucket)?;
    }
    let is_charged = request_payment::is_charged(context)?;
    let operated = operate(context, body).await;
    if operated.as_ref().is_err_and(|error| error.code == Code::AccessDenied) {
        context.admission.give_back_bucket();
    }
    let mut answer = operated?;
    if is_charged {
        let (name, value) = request_payment::CHARGED;
        answer.header(name, value);
    }
    if access::authorise::is_decided(context) {
        return Ok(answer);
    }
    tracing::error!(operation = context.route.operation.name(), "an answer without a decision");
    Err(Code::AccessDenied.into())
}

async fn operate<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    match context.route.operation {
        Operation::ListBuckets => buckets::list_buckets(context),
        Operation::CreateBucket => buckets::create_bucket(context, body).await,
        Operation::HeadBucket => buckets::head_bucket(context).await,
        Operation::DeleteBucket => buckets::delete_bucket(context).await,
        Operation::GetBucketLocation => buckets::get_bucket_location(context),
        Operation::ListObjects => list_objects::list_objects(context).await,
        Operation::ListObjectsV2 => list_objects::list_objects_v2(context).await,
        Operation::ListMultipartUploads => list_uploads::list_multipart_uploads(context).await,
        Operation::DeleteObjects => delete_objects::delete_objects(context, body).await,
        Operation::PutObject => put_object::put_object(context, body).await,
        Operation::CopyObject => copy_object::copy_object(context).await,
        Operation::GetObject => get_object::get_object(context).await,
        Operation::HeadObject => get_object::head_object(context).await,
        Operation::DeleteObject => delete_object::delete_object(context).await,
        Operation::CreateMultipartUpload => create_upload::create_multipart_upload(context).await,
        Operation::UploadPart => upload_part::upload_part(context, body).await,
        Operation::UploadPartCopy => upload_part::upload_part_copy(context).await,
        Operation::CompleteMultipartUpload => {
            complete_upload::complete_multipart_upload(context, body).await
        }
        Operation::AbortMultipartUpload => abort_upload::abort_multipart_upload(context).await,
        Operation::ListParts => list_parts::list_parts(context).await,
        Operation::PutBucketEncryption => {
            bucket_encryption::put_bucket_encryption(context, body).await
        }
        Operation::GetBucketEncryption => bucket_encryption::get_bucket_encryption(context),
        Operation::DeleteBucketEncryption => {
            bucket_encryption::delete_bucket_encryption(context).await
        }
        Operation::PutBucketCors => bucket_cors::put_bucket_cors(context, body).await,
        Operation::GetBucketCors => bucket_cors::get_bucket_cors(context),
        Operation::DeleteBucketCors => bucket_cors::delete_bucket_cors(context).await,
        Operation::PutBucketWebsite => bucket_website::put_bucket_website(context, body).await,
        Operation::GetBucketWebsite => bucket_website::get_bucket_website(context),
        Operation::DeleteBucketWebsite => bucket_website::delete_bucket_website(context).await,
        Operation::PutBucketTagging => bucket_tagging::put_bucket_tagging(context, body).await,
        Operation::GetBucketTagging => bucket_tagging::get_bucket_tagging(context),
        Operation::DeleteBucketTagging => bucket_tagging::delete_bucket_tagging(context).await,
        Operation::PutBucketRequestPayment => {
            request_payment::put_bucket_request_payment(context, body).await
        }
        Operation::GetBucketRequestPayment => request_payment::get_bucket_request_payment(context),
        Operation::GetObjectAttributes => object_attributes::get_object_attributes(context).await,
        Operation::PostObject => post_object::post_object(context, body).await,
        Operation::RestoreObject => restore_object::restore_object(context).await,
        Operation::ListObjectVersions => list_versions::list_object_versions(context).await,
        Operation::GetBucketVersioning => bucket_versioning::get_bucket_versioning(context),
        Operation::PutBucketVersioning => {
            bucket_versioning::put_bucket_versioning(context, body).await
        }
        Operation::GetObjectLockConfiguration => {
            object_lock::get_object_lock_configuration(context)
        }
        Operation::PutObjectLockConfiguration => {
            object_lock::put_object_lock_configuration(context, body).await
        }
        Operation::GetObjectRetention => object_lock::get_object_retention(context).await,
        Operation::PutObjectRetention => object_lock::put_object_retention(context, body).await,
        Operation::GetObjectLegalHold => object_lock::get_object_legal_hold(context).await,
        Operation::PutObjectLegalHold => object_lock::put_object_legal_hold(context, body).await,
        Operation::GetObjectTagging => object_tagging::get_object_tagging(context).await,
        Operation::PutObjectTagging => object_tagging::put_object_tagging(context, body).await,
        Operation::DeleteObjectTagging => object_tagging::delete_object_tagging(context).await,
        Operation::GetBucketLifecycleConfiguration => {
            lifecycle::get_bucket_lifecycle_configuration(context)
        }
        Operation::PutBucketLifecycleConfiguration => {
            lifecycle::put_bucket_lifecycle_configuration(context, body).await
        }
        Operation::DeleteBucketLifecycle => lifecycle::delete_bucket_lifecycle(context).await,
        Operation::GetBucketLogging => logging::get_bucket_logging(context),
        Operation::PutBucketLogging => logging::put_bucket_logging(context, body).await,
        Operation::GetBucketNotificationConfiguration => {
            notification::get_bucket_notification_configuration(context)
        }
        Operation::PutBucketNotificationConfiguration => {
            notification::put_bucket_notification_configuration(context, body).await
        }
        Operation::GetBucketPolicy => bucket_policy::get_bucket_policy(context),
        Operation::PutBucketPolicy => bucket_policy::put_bucket_policy(context, body).await,
        Operation::DeleteBucketPolicy => bucket_policy::delete_bucket_policy(context).await,
        Operation::GetBucketPolicyStatus => bucket_policy::get_bucket_policy_status(context),
        Operation::GetBucketAcl => acl::get_bucket_acl(context),
        Operation::PutBucketAcl => acl::put_bucket_acl(context, body).await,
        Operation::GetObjectAcl => acl::get_object_acl(context).await,
        Operation::PutObjectAcl => acl::put_object_acl(context, body).await,
        Operation::GetPublicAccessBlock => public_access::get_public_access_block(context),
        Operation::PutPublicAccessBlock => {
            public_access::put_public_access_block(context, body).await
        }
        Operation::DeletePublicAccessBlock => {
            public_access::delete_public_access_block(context).await
        }
        Operation::GetBucketOwnershipControls => ownership::get_ownership_controls(context),
        Operation::PutBucketOwnershipControls => {
            ownership::put_ownership_controls(context, body).await
        }
        Operation::DeleteBucketOwnershipControls => {
            ownership::delete_ownership_controls(context).await
        }
        Operation::RenameObject => rename_object::rename_object(context).await,
        _ => Err(Code::NotImplemented.into()),
    }
}

impl<'a, P: Platform> Context<'a, P> {
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        header_text(self.head, name)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&'a str> {
        self.route.query.get(name)
    }

    fn key(&self) -> &'a str {
        &self.route.key
    }

    /// The bucket that the request names, about whose owner `access` has asked.
    fn bucket(&self) -> Result<Arc<Bucket>> {
        self.find_bucket(&self.route.bucket)
    }

    /// The bucket of an object, for a key that S3 allows.
    fn bucket_of_object(&self) -> Result<Arc<Bucket>> {
        names::check_key(self.key())?;
        self.bucket()
    }

    pub(crate) fn find_bucket(&self, name: &str) -> Result<Arc<Bucket>> {
        match self.engine.catalog().bucket(name) {
            Some(bucket) if !system::is_entry(name) => Ok(bucket.clone()),
            _ => {
                names::check_bucket_name(name)?;
                self.engine.require_catalog()?;
                Err(S3Error::from(Code::NoSuchBucket).field("BucketName", name))
            }
        }
    }

    /// The bucket as it is now: while a body came, its settings may have changed, or another bucket may
    /// have taken its name.
    fn as_now(&self, bucket: &Arc<Bucket>) -> Result<Arc<Bucket>> {
        let now = self.find_bucket(&bucket.name)?;
        if now.id == bucket.id {
            return Ok(now);
        }
        Err(S3Error::from(Code::NoSuchBucket).field("BucketName", &bucket.name))
    }

    /// A setting of a bucket; none where it was never set.
    pub fn setting<T: BucketSetting>(&self, bucket: &Arc<Bucket>) -> Result<Option<Rc<T>>> {
        self.services.settings.get(bucket)
    }

    /// Stores a setting of a bucket, durably.
    pub async fn put_setting<T: BucketSetting>(&self, bucket: &Bucket, value: &T) -> Result<()> {
        self.put_judged_setting(bucket, value, &[]).await
    }

    /// The same for one that was judged by other settings, which must not have changed meanwhile.
    pub async fn put_judged_setting<T: BucketSetting>(
        &self,
        bucket: &Bucket,
        value: &T,
        judged: &[u16],
    ) -> Result<()> {
        let value = settings::encode(value)?;
        let holdings = &self.services.holdings;
        let _pending = holdings.admit_setting::<P, T>(self.engine, bucket, value.len())?;
        settings::put_encoded::<P, T>(self.engine, bucket, value, judged).await
    }

    /// Takes a setting of a bucket away.
    pub async fn remove_setting<T: BucketSetting>(&self, bucket: &Bucket) -> Result<()> {
        settings::remove::<P, T>(self.engine, bucket).await
    }

    pub(crate) fn users(&self) -> Users<'_, P> {
        Users { engine: self.engine, cache: &self.services.settings, root: self.owner }
    }

    /// Whose a bucket is.
    pub(crate) fn owner_of(&self, bucket: &Arc<Bucket>) -> Result<Rc<Owner>> {
        access::authorise::owner_of(self, bucket)
    }

    /// Decides about the request once the object that it names is known by its attributes. Nothing may
    /// be told or changed of an object before.
    fn check_object(&self, bucket: &Arc<Bucket>, attributes: &[u8]) -> Result<()> {
        access::authorise::check_object(self, bucket, attributes, &Given::default())
    }

    /// Decides about one more action than the operation needs of itself.
    fn check_action(&self, bucket: &Arc<Bucket>, action: Action, key: &str) -> Result<()> {
        access::authorise::check_action(self, bucket, action, key)
    }

    fn no_such_key(&self) -> S3Error {
        S3Error::from(Code::NoSuchKey).field("Key", self.key())
    }

    /// What the request hears of a thing that is not there: only who may list learns that it is not.
    fn of_missing(&self, error: S3Error) -> S3Error {
        let Route { bucket, key, .. } = self.route;
        access::authorise::of_missing(self, bucket, key, self.query("versionId"), error)
    }

    fn no_such_upload(&self) -> S3Error {
        S3Error::from(Code::NoSuchUpload)
            .field("UploadId", self.query("uploadId").unwrap_or_default())
    }
}

/// What stands for a header's value that is no text: no condition, owner or option is called so.
const NOT_TEXT: &str = "\u{fffd}";

/// The first header of that name. One that is not UTF-8 is there all the same: were it taken as
/// absent, a condition that cannot hold would be none.
fn header_text<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    head.header(name).map(|value| std::str::from_utf8(value).unwrap_or(NOT_TEXT))
}

/// An engine's error of a multipart operation, with the upload that the request names.
fn upload_error<P: Platform>(context: &Context<'_, P>, error: engine::Error) -> S3Error {
    match error {
        engine::Error::NoSuchUpload => context.no_such_upload(),
        other => other.into(),
    }
}

/// A writer for the object that the request names, of so many bytes if that is known.
async fn body_writer<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    size: Option<u64>,
    sealing: Option<&encryption::Sealing>,
) -> Result<BodyWriter<P>> {
    let stored = body_writer::stored_size(size, sealing);
    let writer = context.engine.writer(bucket, context.key().as_bytes(), stored).await?;
    BodyWriter::new(writer, size, 0, sealing)
}

/// What a request that makes an object wants to be kept with it, its checksum aside.
fn asked_attributes<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<Attributes> {
    let mut attributes = Attributes::from_headers(context.head.headers())?;
    if let Some(tags) = context.header("x-amz-tagging") {
        attributes.tags = TagSet::parse_header(tags)?;
    }
    attributes.lock = object_lock::lock_of_headers(context, bucket)?;
    access::authorise::stamp(context, bucket, &mut attributes)?;
    Ok(attributes)
}

/// What makes an object visible, with what is kept of it, as the bucket wants it now; and the bucket as
/// it is now, by which the write is to be answered.
fn object_commit<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    etag: Etag,
    attributes: &mut Attributes,
    conditions: Conditions,
) -> Result<(Commit, Arc<Bucket>)> {
    let bucket = context.as_now(bucket)?;
    attributes.lock = object_lock::lock_of_new(context, &bucket, attributes.lock)?;
    let has_lock = context.has_lock(&bucket)?;
    let commit = Commit {
        etag,
        label: label::of(attributes),
        attributes: attributes.encode()?,
        condition: conditions.into_condition(),
        versioning: context.versioning(&bucket)?.of_write(),
        // Asked only where a null version is replaced.
        guard: has_lock.then(|| object_lock::guard(context.now(), false)),
        ..Commit::default()
    };
    Ok((commit, bucket))
}

/// Names the version that was just written, where the bucket has or had versions.
fn write_new_version<P: Platform>(
    context: &Context<'_, P>,
    answer: &mut Answer<P>,
    bucket: &Arc<Bucket>,
    version: Version,
) -> Result<()> {
    if let Some(id) = context.versioning(bucket)?.written_id(version) {
        answer.header(version::VERSION_ID, id);
    }
    Ok(())
}

/// The XML document of a request, compared with what its headers say of it; empty if there is no
/// body.
async fn read_document<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let plan = ChecksumPlan::parse(|name| context.head.header(name), None)?;
    let (document, trailers) = body.reader.collect(bytes_max).await?;
    let mut md5 = Md5::new();
    md5.update(&document);
    let mut hasher = Hasher::new(plan.algorithm());
    hasher.update(&document);
    plan.verify(hasher.finish().as_ref(), &md5.finish(), &trailers)?;
    Ok(document)
}

/// The document by which a request configures something; a request without one is refused.
async fn configuration_document<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Vec<u8>> {
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    if document.trim_ascii().is_empty() {
        return Err(Code::MissingRequestBodyError.into());
    }
    Ok(document)
}

/// An answer with an XML document.
fn xml_answer<P: Platform>(document: Vec<u8>) -> Answer<P> {
    Response::new(200).with_header("Content-Type", "application/xml").with_bytes(document)
}

#[cfg(test)]
mod tests;
