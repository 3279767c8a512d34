//! RestoreObject: there is no archive here, so there is nothing to bring back from one.

use super::{Answer, Context, STORAGE_CLASS, check_version_id};
use crate::error::{Code, Result, S3Error};
use engine::Which;
use engine::platform::Platform;

pub(super) async fn restore_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    check_version_id(context.query("versionId"))?;
    let current = context.engine.lookup(bucket.id, context.key().as_bytes(), Which::Latest).await?;
    current.ok_or_else(|| context.no_such_key())?;
    Err(S3Error::new(
        Code::InvalidObjectState,
        "Restore is not allowed for the object's current storage class",
    )
    .field("StorageClass", STORAGE_CLASS))
}
