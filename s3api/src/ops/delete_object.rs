//! DeleteObject.

use super::{Answer, Context, check_version_id};
use crate::conditional::Conditions;
use crate::error::Result;
use engine::Deletion;
use engine::platform::Platform;
use http::Response;

/// Deleting what is not there is a success, unless a condition asks for it to be there.
pub(super) async fn delete_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    check_version_id(context.query("versionId"))?;
    let condition = Conditions::of_write(|name| context.header(name))?.into_condition();
    context.engine.delete(bucket.id, context.key().as_bytes(), Deletion::NULL, condition).await?;
    Ok(Response::new(204))
}
