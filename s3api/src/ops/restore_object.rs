//! RestoreObject: there is no archive here, so there is nothing to bring back from one.

use super::{Answer, Context, STORAGE_CLASS};
use crate::error::{Code, Result, S3Error};
use engine::platform::Platform;

pub(super) async fn restore_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    context.open_record(&bucket).await?;
    Err(S3Error::new(
        Code::InvalidObjectState,
        "Restore is not allowed for the object's current storage class",
    )
    .field("StorageClass", STORAGE_CLASS))
}
