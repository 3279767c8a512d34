//! What is kept in bytes of its own beside the engine's structures: how an object is encrypted, what a backup
//! consists of.
//!
//! Oracles: what is accepted says the same when it is written and read again; no file of a list leads out of the
//! backup's directory, or to a segment that its shard does not have.

use crate::reader::Reader;
use engine::backup::Manifest;
use s3api::encryption::envelope::{Envelope, Kms, Scheme};
use std::path::{Component, Path};

/// An envelope; and the parts of one.
pub fn envelope(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (kind, salt, wrapped) = (reader.u8() % 4, reader.array(), Box::new(reader.array()));
    let (key_version, bucket_key) = (reader.u32(), reader.u8() % 2 == 1);
    let key_id = String::from_utf8_lossy(reader.short()).chars().take(60).collect();
    let scheme = match kind {
        0 => Scheme::S3 { master_id: key_id, wrapped },
        1 => {
            let context = reader.rest().to_vec();
            Scheme::Kms(Kms { key_id, key_version, bucket_key, context, wrapped })
        }
        2 => Scheme::Customer { wrapped },
        _ => Scheme::Part,
    };
    let made = Envelope { salt, scheme };
    assert_eq!(Envelope::decode(&made.encode()).ok(), Some(made));
    if let Ok(envelope) = Envelope::decode(input) {
        assert_eq!(Envelope::decode(&envelope.encode()).ok(), Some(envelope));
    }
}

/// A list as it lies on the disk, or, without its checksum, which is put to it then.
pub fn backup_list(input: &[u8]) {
    if let Ok(list) = Manifest::decode(input) {
        is_sound(&list);
    }
    if let Ok(list) = serde_json::from_slice::<Manifest>(input)
        && let Ok(bytes) = list.encode()
        && let Ok(read) = Manifest::decode(&bytes)
    {
        assert_eq!(read, list);
        is_sound(&list);
    }
}

fn is_sound(list: &Manifest) {
    assert_eq!(list.shards.len(), usize::from(list.shard_count));
    for (shard, file) in list.files() {
        let path = Path::new(&file.path);
        let goes_down = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        assert!(path.components().all(goes_down), "{}", file.path);
        assert!(path.starts_with("data"), "{}", file.path);
        assert!(file.segment.is_none_or(|segment| segment < shard.segments), "{file:?}");
    }
}
