//! DeleteObject.

use super::compared::Compared;
use super::removal::Removal;
use super::version::{DELETE_MARKER, VERSION_ID};
use super::{Answer, Context, aftermath, bucket_versioning};
use crate::conditional::Conditions;
use crate::error::Result;
use engine::platform::Platform;
use http::Response;

/// Deleting what is not there is a success, unless a condition asks for it to be there.
pub(super) async fn delete_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let version_id = context.query("versionId");
    if version_id.is_some() {
        bucket_versioning::check_mfa_delete(context, &bucket)?;
    }
    let conditions = Conditions::of_write(|name| context.header(name))?;
    let compared = Compared::of(context, &bucket, context.key(), version_id, &conditions).await?;
    let removal = Removal {
        bucket: bucket.id,
        status: context.versioning(&bucket)?,
        has_lock: context.has_lock(&bucket)?,
        key: context.key(),
        version_id,
        bypasses: context.bypasses_governance(&bucket, context.key()),
        condition: compared.pin(conditions.into_condition()),
        now: context.now(),
    };
    let removed = removal.run(context.engine).await?;
    aftermath::removed(context, &bucket, context.key(), version_id, &removed).await;
    let mut answer = Response::new(204);
    if removed.is_marker {
        answer.header(DELETE_MARKER, "true");
    }
    if let Some(id) = removed.version_id {
        answer.header(VERSION_ID, id);
    }
    Ok(answer)
}
