//! AbortMultipartUpload.

use super::{Answer, Context, upload_error, upload_id};
use crate::error::Result;
use engine::platform::Platform;
use http::Response;

pub(super) async fn abort_multipart_upload<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let id = upload_id::of_request(context)?;
    let aborted = context.engine.abort_upload(bucket.id, context.key().as_bytes(), id).await;
    aborted.map_err(|error| upload_error(context, error))?;
    Ok(Response::new(204))
}
