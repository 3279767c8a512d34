//! GetObjectTagging, PutObjectTagging and DeleteObjectTagging.
//!
//! Tags belong to a version; changing them makes no new one and changes neither its time nor its ETag.
//!
//! Not here: the rules of tags (`tags`), and tags of buckets.

use super::{Answer, Body, Context, aftermath, read_document, xml_answer};
use crate::access::Given;
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::error::Result;
use crate::limits::XML_BODY_BYTES_MAX;
use crate::tags::{TagSet, Tagged};
use crate::workers::notify::EventName;
use engine::platform::Platform;
use http::Response;

pub(super) async fn get_object_tagging<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let reader = context.open_record(&bucket).await?;
    let info = reader.info();
    let tags = Attributes::decode(&info.attributes)?.tags;
    let mut answer = xml_answer(tags.document());
    context.write_version(&mut answer, &bucket, &info.current)?;
    Ok(answer)
}

pub(super) async fn put_object_tagging<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    context.as_now(&bucket)?;
    let tags = TagSet::parse_document(&document, Tagged::Object)?;
    set_tags(context, &tags, 200).await
}

pub(super) async fn delete_object_tagging<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    set_tags(context, &TagSet::default(), 204).await
}

async fn set_tags<P: Platform>(
    context: &Context<'_, P>,
    tags: &TagSet,
    status: u16,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let given = Given { tags: Some(tags), ..Given::default() };
    let tags = tags.clone();
    let current = context
        .amend(&bucket, &given, move |attributes| {
            attributes.tags = tags;
            Ok(())
        })
        .await?;
    let mut answer = Response::new(status);
    context.write_version(&mut answer, &bucket, &current)?;
    let name = if status == 204 { EventName::TaggingDelete } else { EventName::TaggingPut };
    aftermath::changed(context, &bucket, name, &current, &answer).await;
    Ok(answer)
}
