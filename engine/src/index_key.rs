//! The keys of the index: what kind of thing, and which.
//!
//! ```text
//! object   'o' bucket (u32, big-endian) key            version of the object
//! upload   'u' bucket (u32, big-endian) key            the upload's id
//! part     'p' upload (u64, big-endian) number (u16, big-endian)   version of the part
//! bucket   'b' bucket (u32, big-endian)       version of the bucket's newest record
//! ```

use crate::format::record::RecordKind;
use crate::types::{BucketId, UploadId};

pub(crate) const PREFIX_BYTES: usize = 5;

pub(crate) fn object(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    named(b'o', bucket, key)
}

pub(crate) fn upload(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    named(b'u', bucket, key)
}

pub(crate) fn bucket(bucket: BucketId) -> Vec<u8> {
    named(b'b', bucket, b"")
}

/// The key under which a record of a kind that the index holds stands there. `None`: it only ends
/// others.
pub(crate) fn of_record(
    kind: RecordKind,
    bucket_id: BucketId,
    key: &[u8],
    upload: UploadId,
    part_number: u16,
) -> Option<Vec<u8>> {
    match kind {
        RecordKind::Object | RecordKind::Tombstone | RecordKind::DeleteMarker => {
            Some(object(bucket_id, key))
        }
        RecordKind::UploadBegin => Some(self::upload(bucket_id, key)),
        RecordKind::Part => Some(part(upload, part_number)),
        RecordKind::Bucket | RecordKind::BucketDelete => Some(bucket(bucket_id)),
        RecordKind::UploadAbort => None,
    }
}

fn named(kind: u8, bucket: BucketId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + key.len());
    out.push(kind);
    out.extend_from_slice(&bucket.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

pub(crate) fn part(upload: UploadId, number: u16) -> Vec<u8> {
    let mut out = parts_of(upload);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// What the keys of all parts of an upload begin with.
pub(crate) fn parts_of(upload: UploadId) -> Vec<u8> {
    let mut out = Vec::with_capacity(11);
    out.push(b'p');
    out.extend_from_slice(&upload.0.to_be_bytes());
    out
}

/// The part number at the end of a part's key.
pub(crate) fn part_number(key: &[u8]) -> Option<u16> {
    key.last_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The first byte string behind all that begin with `prefix`; `None` if there is none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xFF\xFF"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xFF"), None);
        assert_eq!(successor(b""), None);
    }
}
