//! The bytes of an object once more, in the shard of another key, as an upload would bring them.
//!
//! Invariants: parts stay parts, with their numbers and attributes; of a copy that nothing becomes of, no space is
//! lost; a body in extents takes no memory once it is written.

use crate::budget::Permit;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::ManifestPart;
use crate::platform::Platform;
use crate::read::{Chunk, ObjectReader};
use crate::shard::{Body, Target};
use crate::types::{BucketId, Version};
use crate::writer::{ObjectWriter, Sealed};
use xxhash_rust::xxh3::xxh3_64;

/// The bytes of an object once more, to become an object of another key; dropped, it leaves nothing.
#[derive(Debug)]
pub struct ObjectCopy<P: Platform> {
    pub(super) shard: u16,
    pub(super) bucket: BucketId,
    pub(super) key: Vec<u8>,
    /// What was copied.
    pub(super) source: Version,
    pub(super) attributes_hash: u64,
    pieces: Vec<(ManifestPart, Sealed<P>)>,
}

/// The bytes of an object that is read, in any portions.
struct Portions<P: Platform> {
    reader: ObjectReader<P>,
    chunk: Option<Chunk<P>>,
    given: usize,
}

impl<P: Platform> Portions<P> {
    /// Fills `writer` up to so many bytes.
    async fn fill(&mut self, writer: &mut ObjectWriter<P>, bytes: u64) -> Result<()> {
        while writer.written() < bytes {
            let chunk = self.chunk.as_ref().map_or(&[][..], AsRef::as_ref);
            let rest = &chunk[self.given..];
            if rest.is_empty() {
                let next = self.reader.next().await?;
                self.chunk =
                    Some(next.ok_or_else(|| Error::Corrupt("an object ended early".into()))?);
                self.given = 0;
                continue;
            }
            let most = usize::try_from(bytes - writer.written()).unwrap_or(usize::MAX);
            let spare = writer.spare();
            let count = rest.len().min(spare.len()).min(most);
            spare[..count].copy_from_slice(&rest[..count]);
            self.given += count;
            writer.advance(count).await?;
        }
        Ok(())
    }
}

impl<P: Platform> ObjectCopy<P> {
    /// The body of the new record; its owner gives back the space if it refuses it.
    pub(super) fn into_body(self) -> (Body, Vec<Option<Permit>>) {
        let (bodies, permits): (Vec<_>, Vec<_>) = self
            .pieces
            .into_iter()
            .map(|(part, sealed)| {
                let (body, permit) = sealed.into_body();
                ((part, body), permit)
            })
            .unzip();
        let mut parts = Vec::with_capacity(bodies.len());
        for (part, body) in bodies {
            match body {
                Body::Inline(bytes) => return (Body::Inline(bytes), permits),
                Body::Extents(written) => {
                    parts.extend(written.into_iter().map(|written| ManifestPart {
                        number: part.number,
                        attributes: part.attributes.clone(),
                        ..written
                    }))
                }
            }
        }
        (Body::Extents(parts), permits)
    }
}

impl<P: Platform> Engine<P> {
    /// Copies what is stored of an object, part by part, to become an object of the key `to` of the same
    /// bucket by [`Self::rename`].
    ///
    /// # Errors
    /// Those of reading and of writing.
    pub async fn copy_object(
        &self,
        reader: ObjectReader<P>,
        bucket: BucketId,
        to: &[u8],
    ) -> Result<ObjectCopy<P>> {
        let shard = self.shard_of(bucket, to)?;
        let source = reader.info().current.version;
        let stored_bytes = reader.info().stored_bytes;
        let attributes_hash = xxh3_64(&reader.info().attributes);
        let parts = reader.manifest_parts();
        let is_inline = parts.is_none();
        let whole = ManifestPart {
            number: 0,
            tag: 0,
            size: stored_bytes,
            attributes: vec![],
            extents: vec![],
        };
        let mut portions = Portions { reader, chunk: None, given: 0 };
        let (mut key, mut pieces) = (to.to_vec(), Vec::new());
        for part in parts.unwrap_or_else(|| vec![whole]) {
            let size = part.size;
            let engine = self.clone();
            let mut writer = ObjectWriter::open_as(
                engine,
                shard,
                bucket,
                key,
                Target::Object,
                Some(size),
                is_inline,
            )
            .await?;
            portions.fill(&mut writer, size).await?;
            let sealed;
            (key, sealed) = writer.seal().await?;
            pieces.push((part, sealed));
        }
        Ok(ObjectCopy { shard, bucket, key, source, attributes_hash, pieces })
    }
}
