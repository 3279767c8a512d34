//! ListMultipartUploads.

use super::parameters::{Encoding, behind_marker, name_text, rows};
use super::{Answer, Context, Owner, STORAGE_CLASS, upload_id, xml_answer};
use crate::attributes::Attributes;
use crate::checksum_headers::algorithm_name;
use crate::dates;
use crate::error::{Result, S3Error};
use crate::xml::Writer;
use engine::platform::Platform;
use engine::{UploadId, UploadInfo, UploadItem, UploadsPage, UploadsQuery, Version};

pub(super) async fn list_multipart_uploads<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let limit = rows(&context.route.query, "max-uploads")?;
    let encoding = Encoding::parse(&context.route.query)?;
    let prefix = context.query("prefix").unwrap_or_default();
    let delimiter = context.query("delimiter").unwrap_or_default();
    let key_marker = context.query("key-marker").unwrap_or_default();
    let after = behind_marker(key_marker, prefix, delimiter);
    let query = UploadsQuery {
        prefix: prefix.into(),
        delimiter: delimiter.into(),
        after: after.into(),
        // An upload of a key that is rolled up was not a row of its own.
        after_id: id_marker(context)?.filter(|_| after == key_marker),
        limit,
    };
    let _turn = context.engine.listing_turn().await?;
    let page = match limit {
        0 => UploadsPage::default(),
        _ => context.engine.list_uploads(bucket.id, &query).await?,
    };

    let owner = context.owner_of(&bucket)?;
    let document = Writer::document("ListMultipartUploadsResult", |writer| {
        writer.text("Bucket", &bucket.name);
        writer.text("KeyMarker", &encoding.apply(key_marker));
        writer.text("UploadIdMarker", context.query("upload-id-marker").unwrap_or_default());
        write_next(writer, &page, encoding);
        writer.text("Prefix", &encoding.apply(prefix));
        if !delimiter.is_empty() {
            writer.text("Delimiter", &encoding.apply(delimiter));
        }
        writer.optional("EncodingType", encoding.name());
        writer.value("MaxUploads", limit);
        writer.value("IsTruncated", page.truncated);
        write_rows(writer, &owner, &page, encoding);
    });
    Ok(xml_answer(document))
}

/// The upload behind which the listing goes on; without a key it has no meaning.
fn id_marker<P: Platform>(context: &Context<'_, P>) -> Result<Option<UploadId>> {
    let given = |name| context.query(name).filter(|text| !text.is_empty());
    let (Some(_), Some(text)) = (given("key-marker"), given("upload-id-marker")) else {
        return Ok(None);
    };
    upload_id::decode(text).map(Some).ok_or_else(|| {
        S3Error::invalid_argument("Invalid uploadId marker", "upload-id-marker", text)
    })
}

/// Where the next page begins.
fn write_next(writer: &mut Writer, page: &UploadsPage, encoding: Encoding) {
    let (key, id) = match page.items.last() {
        Some(UploadItem::Upload(upload)) => (&upload.key, upload_id::encode(upload.id)),
        Some(UploadItem::CommonPrefix(prefix)) => (prefix, String::new()),
        None => return,
    };
    if let (true, Ok(key)) = (page.truncated, name_text(key)) {
        writer.text("NextKeyMarker", &encoding.apply(key));
        writer.text("NextUploadIdMarker", &id);
    }
}

fn write_rows(writer: &mut Writer, owner: &Owner, page: &UploadsPage, encoding: Encoding) {
    for item in &page.items {
        if let UploadItem::Upload(upload) = item {
            write_upload(writer, owner, upload, encoding);
        }
    }
    for item in &page.items {
        let UploadItem::CommonPrefix(prefix) = item else { continue };
        let Ok(prefix) = name_text(prefix) else { continue };
        writer.element("CommonPrefixes", |writer| {
            writer.text("Prefix", &encoding.apply(prefix));
        });
    }
}

fn write_upload(writer: &mut Writer, owner: &Owner, upload: &UploadInfo, encoding: Encoding) {
    let Ok(key) = name_text(&upload.key) else { return };
    let declared = Attributes::decode(&upload.attributes).ok().and_then(|a| a.upload_checksum);
    writer.element("Upload", |writer| {
        writer.text("Key", &encoding.apply(key));
        writer.text("UploadId", &upload_id::encode(upload.id));
        owner.write(writer, "Initiator");
        owner.write(writer, "Owner");
        writer.value("StorageClass", STORAGE_CLASS);
        // An upload's id is the version at which it began.
        writer.value("Initiated", dates::xml_time(Version(upload.id.0)));
        if let Some((algorithm, kind)) = declared {
            writer.text("ChecksumAlgorithm", algorithm_name(algorithm));
            writer.text("ChecksumType", kind.name());
        }
    });
}
