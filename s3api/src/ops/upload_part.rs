//! UploadPart and UploadPartCopy.

use super::body_writer::{BodyWriter, stored_size};
use super::copy_source::CopySource;
use super::encryption::{self, Sealing, Shown};
use super::receive::{Received, copy, declared_size, receive};
use super::{Answer, Body, Context, copy_object, label, parameters, unsupported, upload_id};
use super::{upload_error, xml_answer};
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::checksum_headers::{Checksum, ChecksumPlan, DEFAULT_ALGORITHM, header_name};
use crate::conditional::Quoted;
use crate::error::Result;
use crate::limits::PART_BYTES_MAX;
use crate::quota;
use crate::range;
use engine::checksum::Algorithm;
use engine::platform::Platform;
use engine::{BucketId, Commit, Etag, UploadId};
use http::Response;

pub(super) async fn upload_part<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let part = Part::of_request(context).await?;
    let plan = ChecksumPlan::parse(|name| context.head.header(name), part.algorithm)?;
    let size = declared_size(&body, PART_BYTES_MAX)?;
    quota::check_part(context, &context.bucket()?, part.upload, part.number, size).await?;
    let mut writer = part.writer(context, size).await?;
    let Received { etag, checksum } = receive(body, size, &plan, &mut writer).await?;
    let (commit, shown) = part.commit(etag, checksum)?;
    writer.finish(commit).await.map_err(|error| upload_error(context, error))?;
    let mut answer = Response::new(200)
        .with_header_text("ETag", Quoted(etag))
        .with_header(header_name(checksum.algorithm), checksum.text());
    encryption::write(shown.as_ref(), &mut answer);
    Ok(answer)
}

pub(super) async fn upload_part_copy<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let part = Part::of_request(context).await?;
    let source = CopySource::of_request(context)?;
    let reader = source.open(context).await?;
    let size = reader.info().current.size;
    let range = match context.header("x-amz-copy-source-range") {
        Some(header) => range::resolve_copy_source(header, size)?,
        None => 0..size,
    };
    let size = range.end - range.start;
    if size > PART_BYTES_MAX {
        return Err(copy_object::too_large_source());
    }
    quota::check_part(context, &context.bucket()?, part.upload, part.number, size).await?;
    let copied = reader.info().current;
    let of_source = Attributes::decode(&reader.info().attributes)?.checksum;
    let algorithm = part.algorithm.or(of_source.map(|checksum| checksum.algorithm));
    let algorithm = algorithm.unwrap_or(DEFAULT_ALGORITHM);
    let _turn = context.engine.copy_turn(size).await?;
    let body = source.body(context, reader, range)?;
    let mut writer = part.writer(context, size).await?;
    let Received { etag, checksum } = copy(body, algorithm, &mut writer).await?;
    let (commit, shown) = part.commit(etag, checksum)?;
    let committed = writer.finish(commit).await.map_err(|error| upload_error(context, error))?;
    let document = copy_object::result("CopyPartResult", committed.version, etag, &checksum);
    let mut answer = xml_answer(document);
    source.write_version(context, &mut answer, &copied)?;
    encryption::write(shown.as_ref(), &mut answer);
    Ok(answer)
}

/// Which part of which upload the request writes.
struct Part {
    bucket: BucketId,
    upload: UploadId,
    number: u16,
    /// The checksum that the upload was created with.
    algorithm: Option<Algorithm>,
    /// How it is encrypted, if its upload is.
    sealing: Option<Sealing>,
}

impl Part {
    /// Finds the upload before the body is read.
    async fn of_request<P: Platform>(context: &Context<'_, P>) -> Result<Self> {
        let bucket = context.bucket_of_object()?.id;
        unsupported::check_write(context.head)?;
        let number = parameters::part_number(context.query("partNumber").unwrap_or_default())?;
        let upload = upload_id::of_request(context)?;
        let info = context.engine.upload(bucket, context.key().as_bytes(), upload).await;
        let info = info.map_err(|error| upload_error(context, error))?;
        let of_upload = Attributes::decode(&info.attributes)?;
        let algorithm = of_upload.upload_checksum.map(|(algorithm, _)| algorithm);
        let sealing = encryption::of_part(context, bucket, of_upload.encryption.as_ref())?;
        Ok(Self { bucket, upload, number, algorithm, sealing })
    }

    async fn writer<P: Platform>(
        &self,
        context: &Context<'_, P>,
        size: u64,
    ) -> Result<BodyWriter<P>> {
        let key = context.key().as_bytes();
        let (size, sealing) = (Some(size), self.sealing.as_ref());
        let stored = stored_size(size, sealing);
        let writer = context.engine.part_writer(self.bucket, key, self.upload, self.number, stored);
        let writer = writer.await.map_err(|error| upload_error(context, error))?;
        BodyWriter::new(writer, size, self.number, sealing)
    }

    /// Of a part nothing is kept but its checksum and how it is encrypted, and nothing is asked of the
    /// part before it.
    fn commit(self, etag: Etag, checksum: Checksum) -> Result<(Commit, Option<Shown>)> {
        let mut attributes = Attributes { checksum: Some(checksum), ..Attributes::default() };
        let shown = encryption::keep(self.sealing, &mut attributes);
        let commit = Commit {
            etag,
            label: label::of(&attributes),
            attributes: attributes.encode()?,
            ..Commit::default()
        };
        Ok((commit, shown))
    }
}
