//! How the things that the index and the logs hold are named to people.

use super::{Concern, Named, View};
use crate::format::record::{Head, RecordKind};
use crate::index_key::{self, PREFIX_BYTES};
use crate::types::{BucketId, UploadId};

/// What a record is about.
pub(crate) fn name_of(
    head: &Head<'_>,
    part_number: u16,
    bucket_name: impl Fn(u32) -> String,
) -> Named {
    let version = head.version;
    let concern = match head.kind {
        RecordKind::Bucket | RecordKind::BucketDelete => {
            let bucket = String::from_utf8_lossy(head.key).into_owned();
            return Named { concern: Concern::Bucket, bucket, key: Vec::new(), version };
        }
        RecordKind::UploadBegin => Concern::Upload { id: version },
        RecordKind::Part => Concern::Part { upload: head.upload, number: part_number },
        _ => Concern::Object,
    };
    Named { concern, bucket: bucket_name(head.bucket), key: head.key.to_vec(), version }
}

impl View {
    pub(super) fn bucket_name(&self, id: u32) -> String {
        let name = self.buckets.as_ref().and_then(|buckets| buckets.get(&id));
        name.cloned().unwrap_or_else(|| format!("#{id}"))
    }

    /// What a record is about.
    pub(super) fn name_of(&self, head: &Head<'_>, part_number: u16) -> Named {
        name_of(head, part_number, |id| self.bucket_name(id))
    }

    /// What an entry of the index is about.
    pub(super) fn name_of_entry(&self, index_key: &[u8], version: u64) -> Named {
        let (kind, rest) =
            index_key.split_first().map_or((0, index_key), |(kind, rest)| (*kind, rest));
        if kind == b'p' {
            let id = rest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let number = index_key::part_number(index_key).unwrap_or(0);
            let (bucket, key) = self.upload(id).unwrap_or_default();
            let concern = Concern::Part { upload: id, number };
            return Named { concern, bucket: self.bucket_name(bucket), key, version };
        }
        let bucket = rest.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let key = index_key.get(PREFIX_BYTES..).unwrap_or_default().to_vec();
        let concern = match kind {
            b'u' => Concern::Upload { id: version },
            b'b' => Concern::Bucket,
            _ => Concern::Object,
        };
        Named { concern, bucket: self.bucket_name(bucket), key, version }
    }

    /// The bucket and key of an upload. A walk over all uploads: for findings only.
    fn upload(&self, id: u64) -> Option<(u32, Vec<u8>)> {
        let mut cursor = self.state.index.seek(b"u", u64::MAX);
        while let Some((key, version, _)) = cursor.next() {
            if key.first() != Some(&b'u') {
                return None;
            }
            if version == id {
                let bucket = key.get(1..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))?;
                return Some((bucket, key.get(PREFIX_BYTES..)?.to_vec()));
            }
        }
        None
    }

    /// The key of the index under which a record may stand.
    pub(super) fn index_key(head: &Head<'_>, part_number: u16) -> Option<Vec<u8>> {
        let (bucket, upload) = (BucketId(head.bucket), UploadId(head.upload));
        index_key::of_record(head.kind, bucket, head.key, upload, part_number)
    }
}
