//! How the management API shows buckets, objects and sizes.
//!
//! Pure. A time is shown to the millisecond, a size in bytes and, for people, in powers of 1024.

use engine::{Bucket, BucketUsage, Current, Etag, Version};
use serde_json::{Value, json};

use super::api::ApiAnswer;
use crate::attributes::{Attributes, SystemHeader};
use crate::dates::xml_time;

/// The type of an object that was stored without one, as S3 gives it.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// What a change is answered that has nothing else to tell.
pub(super) fn done() -> ApiAnswer {
    ApiAnswer::json(200, json!({ "message": "Operation completed successfully" }))
}

/// A bucket without its objects. Objects and bytes are those of all versions.
pub(super) fn bucket(bucket: &Bucket, owner: &str, region: &str, usage: BucketUsage) -> Value {
    json!({
        "name": bucket.name,
        "region": region,
        "owner": owner,
        "created_at": xml_time(bucket.created),
        "object_count": usage.objects,
        "total_size": usage.bytes,
        "total_size_human": human_size(usage.bytes),
    })
}

/// One row of a list of objects.
pub(super) fn object(key: &str, current: &Current, attributes: &Attributes) -> Value {
    json!({
        "key": key,
        "size": current.size,
        "size_human": human_size(current.size),
        "content_type": content_type(attributes),
        "etag": etag(current.etag),
        "is_multipart": current.etag.parts > 0,
        "created_at": xml_time(current.version),
    })
}

pub(super) fn content_type(attributes: &Attributes) -> String {
    let sent = attributes.system(SystemHeader::ContentType);
    sent.map_or_else(|| DEFAULT_TYPE.to_owned(), |sent| String::from_utf8_lossy(sent).into_owned())
}

/// Without the quotation marks that HTTP puts round it.
pub(super) fn etag(etag: Etag) -> String {
    crate::conditional::Unquoted(etag).to_string()
}

/// When something began whose id is the time.
pub(super) fn time(ns: u64) -> String {
    xml_time(Version(ns))
}

/// `1.0 GB`, in powers of 1024.
pub(super) fn human_size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KB"),
            (26_214_400, "25.0 MB"),
            (1 << 30, "1.0 GB"),
            (5 << 40, "5.0 TB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn an_etag_stands_without_quotation_marks() {
        assert_eq!(etag(Etag { md5: [0xab; 16], parts: 0 }), "ab".repeat(16));
        assert_eq!(etag(Etag { md5: [0xab; 16], parts: 2 }), format!("{}-2", "ab".repeat(16)));
    }
}
