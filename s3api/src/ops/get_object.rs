//! GetObject and HeadObject.
//!
//! Invariants: HEAD answers what GET would, but for the body; every answer with a body has its exact
//! length; `ETag`, `Last-Modified` and `Cache-Control` stand on 200, 206 and 304 alike.
//!
//! Not here: streaming and verification of the bytes (`object_body`, the engine).

use super::encryption::{self, Opening};
use super::{Answer, Context, ObjectBody, aftermath, lifecycle, object_lock, parameters};
use crate::access;
use crate::access::action::Action;
use crate::attributes::{self, Attributes, Field, SystemHeader};
use crate::checksum_headers::Checksum;
use crate::conditional::{self, Conditions, Outcome, Quoted};
use crate::cors;
use crate::dates::{self, HttpDate};
use crate::error::{Code, Result, S3Error};
use crate::object_lock::Lock;
use crate::origin::Origin;
use crate::range;
use crate::settings::tag;
use crate::tags::TagSet;
use engine::platform::Platform;
use engine::{Bucket, BucketId, Current, ObjectInfo, ObjectReader};
use http::{Payload, Response};
use std::ops::Range;
use std::sync::Arc;

/// The type of an object that was stored without one, as AWS has it.
const DEFAULT_CONTENT_TYPE: &[u8] = b"binary/octet-stream";

pub(super) async fn get_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let Found { reader, opening, decision } = open(context, &bucket, Reads::Bytes).await?;
    let (mut answer, range) = head(context, &bucket, reader.info(), opening.as_ref(), decision)?;
    write_expiration(context, &bucket, &mut answer, reader.info())?;
    let length = range.end - range.start;
    if length == 0 {
        return Ok(answer);
    }
    let mut source = ObjectBody::new(reader, opening.and_then(|opening| opening.data_key), range)?;
    source.admit().await?;
    Ok(answer.with_payload(Payload::Stream { length, source }))
}

pub(super) async fn head_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let Found { reader, opening, decision } = open(context, &bucket, Reads::Record).await?;
    let (mut answer, range) = head(context, &bucket, reader.info(), opening.as_ref(), decision)?;
    write_expiration(context, &bucket, &mut answer, reader.info())?;
    Ok(answer.with_payload(Payload::LengthOnly(range.end - range.start)))
}

/// When the object expires, if it is the current one and a rule of its bucket says so.
fn write_expiration<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    answer: &mut Answer<P>,
    info: &ObjectInfo,
) -> Result<()> {
    if context.query("versionId").is_some() {
        return Ok(());
    }
    let tags = || aftermath::tags_of(&info.attributes);
    let object = (info.current.size, info.current.version);
    lifecycle::write_expiration(context, bucket, answer, object, tags)
}

/// What of the object is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Record,
    Bytes,
}

/// An object, and what to send of it.
struct Found<P: Platform> {
    reader: ObjectReader<P>,
    /// Of an encrypted one.
    opening: Option<Opening>,
    decision: Decision,
}

/// What to send.
enum Decision {
    NotModified,
    Whole,
    /// A range that the client gave.
    Range(Range<u64>),
    /// A part by its place among the object's parts; none for the one part of an object that was
    /// not made of parts.
    Part {
        index: Option<usize>,
        range: Range<u64>,
    },
}

/// Opens the object and decides, in the order that RFC 9110 gives: conditions, then the range.
async fn open<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    reads: Reads,
) -> Result<Found<P>> {
    let which = context.which()?;
    encryption::check_read(context.head)?;
    let part = context.query("partNumber").map(parameters::part_number).transpose()?;
    let range = context.header("range");
    if part.is_some() && range.is_some() {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    let key = context.key().as_bytes();
    let conditions = Conditions::of_read(|name| context.header(name));
    if reads == Reads::Bytes && conditions.may_be_not_modified() {
        // A cache that asks again mostly hears that nothing changed: no byte is read for that.
        let reader = context.engine.head(bucket.id, key, which).await?;
        let reader = context.present(reader)?;
        context.check_object(bucket, &reader.info().attributes)?;
        if conditions.judge_read(&reader.info().current) == Outcome::NotModified {
            check_key(context, bucket.id, reader.info(), Reads::Record)?;
            return Ok(Found { reader, opening: None, decision: Decision::NotModified });
        }
    }
    // What the object's record could still decide comes before the answer that the store is busy, but for the key that
    // a request lacks.
    let is_decided = conditions == Conditions::default()
        && !context.caller.is_by_object.get()
        && !encryption::is_mentioned(context.head);
    let reader = match reads {
        Reads::Record => context.engine.head(bucket.id, key, which).await?,
        Reads::Bytes if is_decided && part.is_none() && range.is_none() => {
            context.engine.open_whole(bucket.id, key, which).await?
        }
        Reads::Bytes => context.engine.open(bucket.id, key, which).await?,
    };
    let reader = context.present(reader)?;
    let info = reader.info();
    context.check_object(bucket, &info.attributes)?;
    let opening = check_key(context, bucket.id, info, reads)?;
    let decision = match conditions.judge_read(&info.current) {
        Outcome::Failed(header) => return Err(conditional::precondition_failed(header)),
        Outcome::NotModified => Decision::NotModified,
        Outcome::Proceed => match (part, range) {
            (Some(number), _) => select_part(info, number)?,
            (None, Some(range)) => select_range(context, &info.current, range)?,
            (None, None) => Decision::Whole,
        },
    };
    Ok(Found { reader, opening, decision })
}

/// Whether the request brings the key that the object needs, before anything is told of it.
fn check_key<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    info: &ObjectInfo,
    reads: Reads,
) -> Result<Option<Opening>> {
    let customer = encryption::customer_key(context)?;
    let wants_bytes = reads == Reads::Bytes;
    encryption::of_read(context, bucket, context.key(), info, customer, wants_bytes)
}

fn select_range<P: Platform>(
    context: &Context<'_, P>,
    current: &Current,
    header: &str,
) -> Result<Decision> {
    if !conditional::range_applies(context.header("if-range"), current) {
        return Ok(Decision::Whole);
    }
    Ok(range::resolve(header, current.size)?.map_or(Decision::Whole, Decision::Range))
}

fn select_part(info: &ObjectInfo, number: u16) -> Result<Decision> {
    if info.parts.is_empty() && number == 1 {
        return Ok(Decision::Part { index: None, range: 0..info.current.size });
    }
    let mut start = 0;
    for (index, part) in info.parts.iter().enumerate() {
        let end = start + encryption::part_size(info, part)?;
        if part.number == number {
            return Ok(Decision::Part { index: Some(index), range: start..end });
        }
        start = end;
    }
    Err(S3Error::from(Code::InvalidPartNumber)
        .field("PartNumberRequested", number.to_string())
        .field("ActualPartCount", info.parts.len().max(1).to_string()))
}

/// The answer without its body, and which bytes belong into that.
fn head<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    info: &ObjectInfo,
    opening: Option<&Opening>,
    decision: Decision,
) -> Result<(Answer<P>, Range<u64>)> {
    let size = info.current.size;
    let (range, is_partial, part) = match decision {
        Decision::NotModified => return Ok((not_modified(context, bucket, info)?, 0..0)),
        Decision::Whole => (0..size, false, None),
        Decision::Range(range) => (range, true, None),
        Decision::Part { index, range } => {
            (range, true, index.and_then(|index| info.parts.get(index)))
        }
    };
    // An empty part has no range that a header could name.
    let is_partial = is_partial && !range.is_empty();
    let mut answer = Response::new(if is_partial { 206 } else { 200 });
    if is_partial {
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        answer.header("Content-Range", content_range);
    }
    write_validators(&mut answer, &info.current);
    context.write_version(&mut answer, bucket, &info.current)?;
    write_vary(&mut answer, bucket);
    answer.header("Accept-Ranges", "bytes");
    // As Ceph's gateway tells it, and services that are built on it.
    answer.header("x-rgw-object-type", "Normal");
    let kept = write_attributes(&mut answer, context, &info.attributes, |header| {
        // The one class that there is goes without saying.
        header != SystemHeader::StorageClass
    })?;
    if !kept.has_content_type {
        answer.header("Content-Type", DEFAULT_CONTENT_TYPE);
    }
    write_origin(&mut answer, context, bucket, &kept)?;
    write_guarded(&mut answer, context, bucket, &info.attributes, &kept)?;
    for (name, value) in kept.user {
        answer.header(&format!("x-amz-meta-{name}"), value);
    }
    if context.query("partNumber").is_some() && !info.parts.is_empty() {
        answer.header("x-amz-mp-parts-count", info.parts.len().to_string());
    }
    if let Some(opening) = opening {
        opening.shown.write(&mut answer, false);
    }
    if is_checksum_wanted(context) {
        // Of what is sent: the whole object or one part. A range has none.
        let checksum = match part {
            Some(part) => Attributes::decode(&part.attributes)?.checksum,
            None => kept.checksum.filter(|_| range == (0..size)),
        };
        for (name, value) in checksum.iter().flat_map(Checksum::headers) {
            answer.header(name, value);
        }
    }
    Ok((answer, range))
}

/// Writes what has an action of its own, where there is such and the caller may do that too.
fn write_guarded<P: Platform>(
    answer: &mut Answer<P>,
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    attributes: &[u8],
    kept: &Kept<'_>,
) -> Result<()> {
    let may = |action| access::authorise::may_also(context, bucket, attributes, action);
    let tagging = match context.query("versionId") {
        None => Action::GetObjectTagging,
        Some(_) => Action::GetObjectVersionTagging,
    };
    if kept.tags > 0 && may(tagging)? {
        answer.header("x-amz-tagging-count", kept.tags.to_string());
    }
    let Lock { mut retention, mut legal_hold } = kept.lock;
    if retention.is_some() && !may(Action::GetObjectRetention)? {
        retention = None;
    }
    if legal_hold.is_some() && !may(Action::GetObjectLegalHold)? {
        legal_hold = None;
    }
    object_lock::write_headers(answer, &Lock { retention, legal_hold });
    Ok(())
}

/// What a cache needs to know of an answer that it already has (RFC 9110 section 15.4.5).
fn not_modified<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    info: &ObjectInfo,
) -> Result<Answer<P>> {
    let mut answer = Response::new(304);
    write_validators(&mut answer, &info.current);
    context.write_version(&mut answer, bucket, &info.current)?;
    write_vary(&mut answer, bucket);
    let kept = write_attributes(&mut answer, context, &info.attributes, is_freshness)?;
    write_origin(&mut answer, context, bucket, &kept)?;
    Ok(answer)
}

/// What a cache decides by how long an answer is good.
fn is_freshness(header: SystemHeader) -> bool {
    matches!(header, SystemHeader::CacheControl | SystemHeader::Expires)
}

/// What the bucket tells caches of its objects, where it is the origin of some.
fn write_origin<P: Platform>(
    answer: &mut Answer<P>,
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    kept: &Kept<'_>,
) -> Result<()> {
    let Some(origin) = context.setting::<Origin>(bucket)? else { return Ok(()) };
    if let Some(default) = &origin.cache_control
        && !kept.has_freshness
        && may_be_shared(context)
    {
        answer.header(SystemHeader::CacheControl.name(), default.as_str());
    }
    for (name, value) in origin.key_headers(&bucket.name, context.key(), &kept.user) {
        answer.header(name, value);
    }
    Ok(())
}

/// Whether the bucket's default is meant for such an answer. It is not for what only the bearer of a link, of a
/// customer's key or of a version's id can get, nor for an error. It is for who signs by a header: a cache
/// may do so.
fn may_be_shared<P: Platform>(context: &Context<'_, P>) -> bool {
    let caller = context.caller;
    !caller.is_for_error
        && !caller.is_presigned
        && context.query("versionId").is_none()
        && !encryption::is_mentioned(context.head)
}

/// Whether a page of another origin may read the answer is written into it: a cache must not give one
/// origin what another one got, nor what came to a request that named none.
fn write_vary<P: Platform>(answer: &mut Answer<P>, bucket: &Bucket) {
    if bucket.settings.contains_key(&tag::CORS) {
        answer.header("Vary", cors::VARY);
    }
}

fn write_validators<P: Platform>(answer: &mut Answer<P>, current: &Current) {
    answer.header_text("ETag", Quoted(current.etag));
    answer.header_text("Last-Modified", HttpDate(dates::seconds(current.version)));
}

/// What is kept with an object beside its system headers.
struct Kept<'a> {
    user: Vec<(&'a str, &'a [u8])>,
    checksum: Option<Checksum>,
    /// How many there are.
    tags: usize,
    lock: Lock,
    /// The object has one, or the request gives one.
    has_content_type: bool,
    /// Something was written by which caches decide how long the answer is good.
    has_freshness: bool,
}

/// Writes the system headers that are `shown`, as they were stored or as the request overrides them.
fn write_attributes<'a, P: Platform>(
    answer: &mut Answer<P>,
    context: &Context<'_, P>,
    encoded: &'a [u8],
    shown: impl Fn(SystemHeader) -> bool,
) -> Result<Kept<'a>> {
    let mut kept = Kept {
        user: Vec::new(),
        checksum: None,
        tags: 0,
        lock: Lock::default(),
        has_content_type: false,
        has_freshness: false,
    };
    let mut overridden = Vec::new();
    for header in SystemHeader::ALL.into_iter().filter(|header| shown(*header)) {
        if let Some(value) = override_of(context, header) {
            answer.header(header.name(), value);
            overridden.push(header);
        }
    }
    kept.has_content_type = overridden.contains(&SystemHeader::ContentType);
    kept.has_freshness = overridden.iter().any(|header| is_freshness(*header));
    for field in attributes::fields(encoded) {
        match field? {
            Field::System(header, value) if shown(header) && !overridden.contains(&header) => {
                answer.header(header.name(), value);
                kept.has_content_type |= header == SystemHeader::ContentType;
                kept.has_freshness |= is_freshness(header);
            }
            Field::User { name, value } => kept.user.push((name, value)),
            Field::Checksum(checksum) => kept.checksum = Some(checksum),
            Field::Tags(encoded) => kept.tags = TagSet::decode(encoded)?.len(),
            Field::Retention(retention) => kept.lock.retention = Some(retention),
            Field::LegalHold(on) => kept.lock.legal_hold = Some(on),
            Field::System(..)
            | Field::UploadChecksum(..)
            | Field::Encryption(_)
            | Field::Acl(_)
            | Field::Owner(_)
            | Field::Renamed { .. }
            | Field::Other { .. } => {}
        }
    }
    Ok(kept)
}

/// What the request wants a header to be. Only signed requests come this far.
fn override_of<'a, P: Platform>(context: &Context<'a, P>, header: SystemHeader) -> Option<&'a str> {
    let parameter = match header {
        SystemHeader::ContentType => "response-content-type",
        SystemHeader::CacheControl => "response-cache-control",
        SystemHeader::ContentDisposition => "response-content-disposition",
        SystemHeader::ContentEncoding => "response-content-encoding",
        SystemHeader::ContentLanguage => "response-content-language",
        SystemHeader::Expires => "response-expires",
        SystemHeader::WebsiteRedirectLocation | SystemHeader::StorageClass => return None,
    };
    context.query(parameter)
}

fn is_checksum_wanted<P: Platform>(context: &Context<'_, P>) -> bool {
    context.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
}
