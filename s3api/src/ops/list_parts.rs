//! ListParts.

use super::parameters::{Encoding, rows};
use super::{Answer, Context, STORAGE_CLASS, lifecycle, upload_error, upload_id, xml_answer};
use crate::attributes::Attributes;
use crate::checksum_headers::{algorithm_name, element_name};
use crate::conditional::Quoted;
use crate::dates;
use crate::error::{Result, S3Error};
use crate::xml::Writer;
use engine::platform::Platform;
use engine::{PartsPage, UploadedPart};

pub(super) async fn list_parts<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let id = upload_id::of_request(context)?;
    let limit = rows(&context.route.query, "max-parts")?;
    let encoding = Encoding::parse(&context.route.query)?;
    let marker = marker(context.query("part-number-marker"))?;
    let key = context.key().as_bytes();
    let info = context.engine.upload(bucket.id, key, id).await;
    let info = info.map_err(|error| upload_error(context, error))?;
    let declared = Attributes::decode(&info.attributes)?.upload_checksum;
    let page = match limit {
        0 => PartsPage::default(),
        _ => {
            let page = context.engine.list_parts(bucket.id, key, id, marker, limit).await;
            page.map_err(|error| upload_error(context, error))?
        }
    };
    let parts = page.parts.iter().map(|part| Ok((part, Attributes::decode(&part.attributes)?)));
    let parts = parts.collect::<Result<Vec<_>>>()?;

    let owner = context.owner_of(&bucket)?;
    let document = Writer::document("ListPartsResult", |writer| {
        writer.text("Bucket", &bucket.name);
        writer.optional("EncodingType", encoding.name());
        writer.text("Key", &encoding.apply(context.key()));
        writer.text("UploadId", &upload_id::encode(id));
        writer.value("PartNumberMarker", marker);
        if let Some(last) = page.parts.last() {
            writer.value("NextPartNumberMarker", last.number);
        }
        writer.value("MaxParts", limit);
        writer.value("IsTruncated", page.truncated);
        for (part, attributes) in &parts {
            write_part(writer, part, attributes);
        }
        owner.write(writer, "Initiator");
        owner.write(writer, "Owner");
        writer.value("StorageClass", STORAGE_CLASS);
        if let Some((algorithm, kind)) = declared {
            writer.text("ChecksumAlgorithm", algorithm_name(algorithm));
            writer.text("ChecksumType", kind.name());
        }
    });
    let mut answer = xml_answer(document);
    lifecycle::write_abort(context, &bucket, &mut answer, id)?;
    Ok(answer)
}

fn write_part(writer: &mut Writer, part: &UploadedPart, attributes: &Attributes) {
    writer.element("Part", |writer| {
        writer.value("PartNumber", part.number);
        writer.value("LastModified", dates::xml_time(part.current.version));
        writer.display("ETag", Quoted(part.current.etag));
        writer.value("Size", part.current.size);
        if let Some(checksum) = &attributes.checksum {
            writer.text(element_name(checksum.algorithm), &checksum.text());
        }
    });
}

/// Parts behind this number are listed; more than a part's number can be lists none.
fn marker(text: Option<&str>) -> Result<u16> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    let number: u32 = text.parse().map_err(|_| {
        S3Error::invalid_argument(
            "Provided part-number-marker not an integer or within integer range",
            "part-number-marker",
            text,
        )
    })?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}
