//! PutObject.

use super::aftermath::{self, Made};
use super::compared::check_conditions;
use super::receive::{Received, Size, declared_size, receive};
use super::write_new_version;
use super::{Answer, Body, Context, append_object, asked_attributes, body_writer, encryption};
use super::{object_commit, unsupported};
use crate::auth::payload::RawBody;
use crate::checksum_headers::ChecksumPlan;
use crate::conditional::{Conditions, Quoted};
use crate::dates::{self, HttpDate};
use crate::error::Result;
use crate::limits::PUT_BYTES_MAX;
use crate::quota;
use crate::workers::notify::EventName;
use engine::platform::Platform;
use http::Response;

pub(super) async fn put_object<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    if context.header(append_object::OFFSET).is_some() {
        return append_object::append_object(context, body).await;
    }
    let size = declared_size(&body, PUT_BYTES_MAX)?;
    store(context, body, size.into(), EventName::CreatedPut).await
}

/// Stores the object that the request's head tells of, with the bytes of a body of that size.
pub(super) async fn store<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
    size: Size,
    event: EventName,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    unsupported::check_write(context.head)?;
    let mut attributes = asked_attributes(context, &bucket)?;
    let plan = ChecksumPlan::parse(|name| context.head.header(name), None)?;
    let conditions = Conditions::of_write(|name| context.header(name))?;
    let compared = check_conditions(context, &bucket, &conditions).await?;
    quota::check(context, &bucket, size.least()).await?;

    let sealing = encryption::of_write(context, &bucket).await?;
    let mut writer = body_writer(context, bucket.id, size.known(), sealing.as_ref()).await?;
    let Received { etag, checksum } = receive(body, size, &plan, &mut writer).await?;
    let size = writer.written();
    attributes.checksum = Some(checksum);
    let shown = encryption::keep(sealing, &mut attributes);
    quota::check(context, &bucket, size).await?;
    let (mut commit, bucket) = object_commit(context, &bucket, etag, &mut attributes, conditions)?;
    commit.condition = compared.pin(commit.condition);
    let committed = writer.finish(commit).await?;

    // The last two are not AWS's, but other services' clients are told them.
    let mut answer = Response::new(200)
        .with_header_text("ETag", Quoted(etag))
        .with_header("Accept-Ranges", "bytes")
        .with_header_text("Last-Modified", HttpDate(dates::seconds(committed.version)));
    for (name, value) in checksum.headers() {
        answer.header(name, value);
    }
    write_new_version(context, &mut answer, &bucket, committed.version)?;
    encryption::write(shown.as_ref(), &mut answer);
    let made = Made { size, etag, version: committed.version };
    aftermath::made(context, &bucket, event, made, &attributes, &mut answer).await?;
    Ok(answer)
}
