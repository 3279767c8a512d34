//! ListObjectVersions.
//!
//! Invariant: a page says where the next one begins by the last key and version that it shows, so that
//! it needs no memory of the server's.

use super::parameters::{Encoding, behind_marker, name_text, rows};
use super::{Answer, Context, Owner, STORAGE_CLASS, label, xml_answer};
use crate::conditional::Quoted;
use crate::dates;
use crate::error::{Result, S3Error};
use crate::versioning::{self, id_of};
use crate::xml::Writer;
use engine::platform::Platform;
use engine::{Current, Version, VersionItem, VersionsPage, VersionsQuery, Which};

pub(super) async fn list_object_versions<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let prefix = context.query("prefix").unwrap_or_default();
    let delimiter = context.query("delimiter").unwrap_or_default();
    let limit = rows(&context.route.query, "max-keys")?;
    let encoding = Encoding::parse(&context.route.query)?;
    let key_marker = context.query("key-marker").unwrap_or_default();
    let version_marker = context.query("version-id-marker").filter(|text| !text.is_empty());
    let after_version = match version_marker {
        None => None,
        Some(_) if key_marker.is_empty() => {
            return Err(S3Error::invalid_argument(
                "A version-id marker cannot be specified without a key marker.",
                "version-id-marker",
                version_marker.unwrap_or_default(),
            ));
        }
        Some(text) => after_version(context, &bucket, key_marker, text).await?,
    };
    let _turn = context.engine.listing_turn().await?;
    let page = match limit {
        0 => VersionsPage::default(),
        _ => {
            let query = VersionsQuery {
                prefix: prefix.into(),
                delimiter: delimiter.into(),
                after: behind_marker(key_marker, prefix, delimiter).into(),
                after_version,
                limit,
            };
            context.engine.list_versions(bucket.id, &query).await?
        }
    };

    let owner = context.owner_of(&bucket)?;
    let document = Writer::document("ListVersionsResult", |writer| {
        writer.text("Name", &bucket.name);
        writer.text("Prefix", &encoding.apply(prefix));
        writer.text("KeyMarker", &encoding.apply(key_marker));
        writer.text("VersionIdMarker", version_marker.unwrap_or_default());
        if let (true, Some(last)) = (page.truncated, page.items.last()) {
            if let Ok(name) = name_text(last.name()) {
                writer.text("NextKeyMarker", &encoding.apply(name));
            }
            if let VersionItem::Version { current, .. } = last {
                writer.text("NextVersionIdMarker", &id_of(current));
            }
        }
        writer.value("MaxKeys", limit);
        if !delimiter.is_empty() {
            writer.text("Delimiter", &encoding.apply(delimiter));
        }
        writer.optional("EncodingType", encoding.name());
        writer.value("IsTruncated", page.truncated);
        write_rows(writer, &owner, &page, encoding);
    });
    Ok(xml_answer(document))
}

/// Behind which version of a key the page begins. The null version has its time in the index only.
async fn after_version<P: Platform>(
    context: &Context<'_, P>,
    bucket: &engine::Bucket,
    key: &str,
    text: &str,
) -> Result<Option<Version>> {
    match versioning::parse_id(text)? {
        Which::Exactly(version) => Ok(Some(version)),
        which => {
            let current = context.engine.lookup(bucket.id, key.as_bytes(), which).await?;
            // One that is gone stood somewhere among the others: all of them are shown again.
            Ok(Some(current.map_or(Version(u64::MAX), |current| current.version)))
        }
    }
}

fn write_rows(writer: &mut Writer, owner: &Owner, page: &VersionsPage, encoding: Encoding) {
    for item in &page.items {
        let VersionItem::Version { key, current, is_latest } = item else { continue };
        let Ok(key) = name_text(key) else { continue };
        let element = if current.is_marker { "DeleteMarker" } else { "Version" };
        writer.element(element, |writer| {
            writer.text("Key", &encoding.apply(key));
            writer.text("VersionId", &id_of(current));
            writer.value("IsLatest", is_latest);
            writer.value("LastModified", dates::xml_time(current.version));
            if !current.is_marker {
                write_object(writer, current);
            }
            owner.write(writer, "Owner");
        });
    }
    for item in &page.items {
        let VersionItem::CommonPrefix(prefix) = item else { continue };
        let Ok(prefix) = name_text(prefix) else { continue };
        writer.element("CommonPrefixes", |writer| {
            writer.text("Prefix", &encoding.apply(prefix));
        });
    }
}

fn write_object(writer: &mut Writer, current: &Current) {
    writer.display("ETag", Quoted(current.etag));
    label::write(writer, current.label);
    writer.value("Size", current.size);
    writer.value("StorageClass", STORAGE_CLASS);
}
