//! CreateMultipartUpload.

use super::{
    Answer, Context, asked_attributes, encryption, lifecycle, unsupported, upload_id, xml_answer,
};
use crate::checksum_headers::{algorithm_name, parse_upload_checksum};
use crate::error::Result;
use crate::xml::Writer;
use engine::platform::Platform;

pub(super) async fn create_multipart_upload<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    unsupported::check_write(context.head)?;
    let mut attributes = asked_attributes(context, &bucket)?;
    attributes.upload_checksum = parse_upload_checksum(|name| context.head.header(name))?;
    let sealing = encryption::of_write(context, &bucket).await?;
    let shown = encryption::keep(sealing, &mut attributes);
    let id = context
        .engine
        .create_upload(bucket.id, context.key().as_bytes(), attributes.encode()?)
        .await?;

    let document = Writer::document("InitiateMultipartUploadResult", |writer| {
        writer.text("Bucket", &bucket.name);
        writer.text("Key", context.key());
        writer.text("UploadId", &upload_id::encode(id));
    });
    let mut answer = xml_answer(document);
    lifecycle::write_abort(context, &bucket, &mut answer, id)?;
    if let Some((algorithm, kind)) = attributes.upload_checksum {
        answer.header("x-amz-checksum-algorithm", algorithm_name(algorithm));
        answer.header("x-amz-checksum-type", kind.name());
    }
    encryption::write(shown.as_ref(), &mut answer);
    Ok(answer)
}
