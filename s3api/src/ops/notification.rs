//! PutBucketNotificationConfiguration and GetBucketNotificationConfiguration, and the one call by which
//! operations tell what happened.
//!
//! Not here: the document, the messages and their delivery (`workers::notify`).

use super::{Answer, Body, Context, Owner, read_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::Result;
use crate::limits::XML_BODY_BYTES_MAX;
use crate::settings::{BucketSetting, tag};
use crate::workers::notify::message::{self, Place};
use crate::workers::notify::{Cause, Event, Notification, document};
use engine::platform::Platform;
use engine::{Bucket, Version};
use http::Response;
use std::collections::BTreeSet;
use std::sync::Arc;

impl BucketSetting for Notification {
    const TAG: u16 = tag::NOTIFICATION;
}

/// Each target that the configuration names gets a test event first. It is queued like any other, so
/// that a target that is down at the moment is no reason to refuse the configuration.
pub(super) async fn put_bucket_notification_configuration<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let xml = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let source = context.source();
    let (platform, queue) = (context.engine.platform(), &context.services.events);
    let make_id = || format!("{:016x}{:016x}", platform.random_u64(), platform.random_u64());
    let notification = document::parse(&xml, queue.targets(), make_id)?;
    if notification.configurations.is_empty() {
        context.remove_setting::<Notification>(&bucket).await?;
        return Ok(Response::new(200));
    }
    context.put_setting(&bucket, &notification).await?;
    let time = Version(platform.wall_clock_ns());
    let owner = context.owner_of(&bucket)?;
    let test = message::of_test(&context.cause(&source), &context.place(&bucket, &owner), time);
    let configurations = notification.configurations.iter();
    let targets: BTreeSet<&str> = configurations.map(|one| one.target.as_str()).collect();
    for target in targets {
        queue.put(context.engine, target, &test).await;
    }
    Ok(Response::new(200))
}

pub(super) fn get_bucket_notification_configuration<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let notification = context.setting::<Notification>(&bucket)?;
    Ok(xml_answer(document::write(notification.as_deref().unwrap_or(&Notification::default()))))
}

impl<P: Platform> Context<'_, P> {
    /// Tells what happened to an object, for whoever the bucket's configuration wants to know. To be
    /// called when it is durable and before it is answered: when this returns, so is the event.
    ///
    /// It never fails: what happened cannot be taken back. An event that could not be kept is counted
    /// and logged (`workers::notify::queue`).
    pub(crate) async fn event(&self, bucket: &Arc<Bucket>, event: Event<'_>) {
        // The usual case: one look into the bucket's settings.
        match self.setting::<Notification>(bucket) {
            Ok(None) => {}
            Ok(Some(notification)) => {
                let source = self.source();
                let Ok(owner) = self.owner_of(bucket) else {
                    return self.services.events.count_lost();
                };
                let (cause, place) = (self.cause(&source), self.place(bucket, &owner));
                let queue = &self.services.events;
                queue.event(self.engine, &notification, &event, &cause, &place).await;
            }
            // The setting cannot be read, which was logged.
            Err(_) => self.services.events.count_lost(),
        }
    }

    /// Where the request came from, as messages show it.
    fn source(&self) -> String {
        self.caller.peer.address.map(|address| address.to_string()).unwrap_or_default()
    }

    fn cause<'b>(&'b self, source_ip: &'b str) -> Cause<'b> {
        Cause {
            principal: &self.caller.owner().id,
            source_ip,
            request_id: &self.ids.request,
            host_id: self.ids.host,
        }
    }

    fn place<'b>(&'b self, bucket: &'b Bucket, owner: &'b Owner) -> Place<'b> {
        Place { region: self.region, bucket: &bucket.name, owner: &owner.id }
    }
}
