//! What follows when an object was made or removed: the events of its bucket, and what the answer tells
//! of its expiry.
//!
//! To be called when the change is durable and before it is answered. Where the bucket has neither
//! lifecycle nor notifications this costs two looks into its settings.

use super::removal::Removed;
use super::{Answer, Context, lifecycle};
use crate::attributes::{self, Attributes, Field};
use crate::error::Result;
use crate::tags::TagSet;
use crate::workers::notify::{Event, EventName};
use engine::platform::Platform;
use engine::{Bucket, Current, Etag, Version};
use std::sync::Arc;

/// The header that tells the version that was made or removed.
const VERSION_ID: &str = "x-amz-version-id";

/// A current version that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) size: u64,
    pub(super) etag: Etag,
    pub(super) version: Version,
}

/// An object was made. The answer has its `x-amz-version-id` already, where there is one.
pub(super) async fn made<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    name: EventName,
    object: Made,
    attributes: &Attributes,
    answer: &mut Answer<P>,
) -> Result<()> {
    let Made { size, etag, version } = object;
    let version_id = answer.get_header(VERSION_ID).and_then(|id| std::str::from_utf8(id).ok());
    let event = Event::new(name, context.key()).object(size, etag, version).version_id(version_id);
    context.event(bucket, event).await;
    let tags = || Ok(pairs(&attributes.tags));
    lifecycle::write_expiration(context, bucket, answer, (size, version), tags)
}

/// What is kept with a version was changed (its tags, its ACL). The answer has its `x-amz-version-id`
/// already, where there is one.
pub(super) async fn changed<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    name: EventName,
    current: &Current,
    answer: &Answer<P>,
) {
    let version_id = answer.get_header(VERSION_ID).and_then(|id| std::str::from_utf8(id).ok());
    let Current { size, etag, version, .. } = *current;
    let event = Event::new(name, context.key()).object(size, etag, version).version_id(version_id);
    context.event(bucket, event).await;
}

/// Something was removed, or covered by a delete marker. `asked`: the version that the request named.
pub(super) async fn removed<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    key: &str,
    asked: Option<&str>,
    removed: &Removed,
) {
    let version_id = removed.version_id.as_deref();
    let event = match removed.current {
        Some(made) if asked.is_none() && made.is_marker => Event {
            version: Some(made.version),
            ..Event::new(EventName::RemovedDeleteMarkerCreated, key)
        },
        _ if removed.existed => Event::new(EventName::RemovedDelete, key),
        _ => return,
    };
    context.event(bucket, event.version_id(version_id)).await;
}

/// The tags among an object's encoded attributes.
pub(crate) fn tags_of(encoded: &[u8]) -> Result<Vec<(String, String)>> {
    for field in attributes::fields(encoded) {
        if let Field::Tags(value) = field? {
            return Ok(pairs(&TagSet::decode(value)?));
        }
    }
    Ok(Vec::new())
}

fn pairs(tags: &TagSet) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
