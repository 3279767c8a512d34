//! The bytes of large objects, and who owns the units that they lie in.
//!
//! Budget: a few chunks of one object at once for each log segment that is being walked.

use super::{Named, Run, Structure, View};
use crate::format::chunk::ChunkHeader;
use crate::format::manifest::{ChunkPlace, Extent, Manifest, ManifestPart};
use crate::limits::{CHUNK_HEADER_BYTES, VERIFY_CHUNKS_IN_FLIGHT};
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::segments::Use;
use crate::wait::join_all;
use std::collections::HashMap;

/// A live object with extents.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) named: Named,
    pub(super) manifest: Manifest,
}

/// The units that live manifests name: a bit each, by segment.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<u32, Vec<u64>>);

impl Owners {
    /// Takes the units of an extent; false if one of them was taken before.
    pub(super) fn take(&mut self, extent: &Extent) -> bool {
        let words = self.0.entry(extent.segment).or_default();
        let end = usize::from(extent.unit) + usize::from(extent.units);
        if words.len() * 64 < end {
            words.resize(end.div_ceil(64), 0);
        }
        let mut is_free = true;
        for unit in usize::from(extent.unit)..end {
            if let Some(word) = words.get_mut(unit / 64) {
                is_free &= *word >> (unit % 64) & 1 == 0;
                *word |= 1 << (unit % 64);
            }
        }
        is_free
    }

    fn words(&self, segment: u32) -> &[u64] {
        self.0.get(&segment).map_or(&[], Vec::as_slice)
    }
}

impl<P: Platform> Run<'_, P> {
    pub(super) async fn larges(&self, view: &View, larges: Vec<Large>) {
        for large in larges {
            self.large(view, &large).await;
        }
    }

    async fn large(&self, view: &View, Large { named, manifest }: &Large) {
        let parts = &manifest.parts;
        for extent in parts.iter().flat_map(|part| &part.extents) {
            if !view.owners.borrow_mut().take(extent) {
                let place = (view.shard, extent.segment, offset_of(extent));
                let reason = "its units are another object's too";
                self.find_in_segment(place, Structure::Slab, reason, Some(named.clone()));
            }
        }
        let chunks: Vec<_> = parts.iter().flat_map(chunks_of).collect();
        let held: u64 = chunks.iter().map(|(.., payload)| *payload as u64).sum();
        if held != parts.iter().map(|part| part.size).sum::<u64>() {
            let reason = "its extents do not hold as many bytes as its manifest says";
            self.find_in_shard(view.shard, Structure::Record, reason, Some(named.clone()));
        }
        for batch in chunks.chunks(VERIFY_CHUNKS_IN_FLIGHT) {
            let reads = batch
                .iter()
                .map(|(part, place, payload)| self.chunk(view.shard, part.tag, place, *payload));
            for (read, (part, place, _)) in join_all(reads).await.into_iter().zip(batch) {
                let Err(reason) = read else { continue };
                let of_part = match part.number {
                    0 => String::new(),
                    number => format!(" of part {number}"),
                };
                let reason = format!("chunk {}{of_part}: {reason}", place.index);
                let at = (view.shard, place.segment, place.offset);
                self.find_in_segment(at, Structure::Chunk, reason, Some(named.clone()));
            }
        }
    }

    /// Reads and verifies one chunk.
    async fn chunk(
        &self,
        shard: u16,
        tag: u64,
        place: &ChunkPlace,
        payload_bytes: usize,
    ) -> Result<(), String> {
        let file = self.context.files.get(shard, place.segment).await;
        let file = file.map_err(|error| error.to_string())?;
        let count = (CHUNK_HEADER_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES);
        let read = file.read_at(place.offset, count).await;
        self.count(|counts| {
            counts.chunks += 1;
            counts.bytes_read += count as u64;
        });
        let chunk = read.map_err(|error| format!("it cannot be read: {error}"))?;
        let payload = chunk.get(CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + payload_bytes);
        let payload = payload.ok_or("too short")?;
        ChunkHeader::decode(self.context.salt, tag, place, &chunk)
            .and_then(|header| {
                if header.payload_bytes != payload_bytes {
                    return Err(crate::format::Malformed("it is not as long as its manifest says"));
                }
                header.verify(0, payload)
            })
            .map_err(|malformed| malformed.0.into())
    }

    /// Every unit that is given out is a live object's, and the other way round.
    pub(super) fn slab_owners(&self, view: &View) {
        let owners = view.owners.borrow();
        if view.state.displaced.has_unreadable() || !view.state.displaced.is_empty() {
            return;
        }
        for (segment, row) in view.state.segments.iter() {
            let published = match row.used() {
                Use::Slab(map) => map.published(),
                _ => &[],
            };
            let owned = owners.words(segment);
            let differs = (0..published.len().max(owned.len())).find(|&word| {
                published.get(word).copied().unwrap_or(0) != owned.get(word).copied().unwrap_or(0)
            });
            if let Some(word) = differs {
                let reason = format!(
                    "of units {} to {} others are given out than live objects have",
                    word * 64,
                    word * 64 + 63
                );
                let place = (view.shard, segment, 0);
                self.find_in_segment(place, Structure::Slab, reason, None);
            }
        }
    }
}

fn offset_of(extent: &Extent) -> u64 {
    u64::from(extent.unit) * crate::limits::UNIT_BYTES as u64
}

/// The chunks that hold bytes of a part, each with how many.
fn chunks_of(part: &ManifestPart) -> impl Iterator<Item = (&ManifestPart, ChunkPlace, usize)> {
    let mut left = part.size;
    part.chunks().map_while(move |place| {
        let payload = left.min(place.payload_max() as u64);
        left -= payload;
        (payload > 0).then_some((part, place, payload as usize))
    })
}
