//! PutBucketLogging and GetBucketLogging.
//!
//! Who may have logs delivered: the target must belong to the owner of the bucket that is logged. AWS
//! asks for a grant to its log delivery group or service on top, because there the log is written by
//! another account; here it is written by the server, as the owner.
//!
//! Not here: the document and the delivery (`workers::access_log`).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::settings::{BucketSetting, tag};
use crate::system;
use crate::workers::access_log::{Logging, document};
use engine::Bucket;
use engine::platform::Platform;
use http::Response;
use std::sync::Arc;

impl BucketSetting for Logging {
    const TAG: u16 = tag::LOGGING;
}

pub(super) async fn put_bucket_logging<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let xml = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    match document::parse(&xml)? {
        Some(logging) => {
            check_target(context, &bucket, &logging)?;
            context.put_setting(&bucket, &logging).await?;
        }
        None => context.remove_setting::<Logging>(&bucket).await?,
    }
    Ok(Response::new(200))
}

fn check_target<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    logging: &Logging,
) -> Result<()> {
    let name = logging.target_bucket.as_str();
    let refused = |message: &'static str| {
        S3Error::new(Code::InvalidTargetBucketForLogging, message).field("TargetBucket", name)
    };
    let catalog = context.engine.catalog();
    match catalog.bucket(name) {
        Some(target) if !system::is_entry(name) => {
            if context.owner_of(target)?.id == context.owner_of(bucket)?.id {
                return Ok(());
            }
            Err(refused(
                "The owner for the bucket to be logged and the target bucket must be the same.",
            ))
        }
        _ => {
            context.engine.require_catalog()?;
            Err(refused("The target bucket for logging does not exist"))
        }
    }
}

pub(super) fn get_bucket_logging<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let logging = context.setting::<Logging>(&bucket)?;
    Ok(xml_answer(document::write(logging.as_deref())))
}
