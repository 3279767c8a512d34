//! The manifest of a large object: where the bytes of its parts lie.
//!
//! ```text
//!    part count                   u32
//!    each part:
//!      number                     u16   0: the object was not made of parts
//!      tag                        u64   stands in the part's chunks too, so that no others pass for them
//!      size                       u64   bytes
//!      attributes                 u32 length, bytes
//!      extent count               u32
//!      each extent:
//!        segment                  u32
//!        first unit, units        u16 u16   in units of 64 KiB
//! ```
//!
//! An extent of U units is U/16 chunks of 16 units and, if units remain, one chunk of those. All
//! chunks of a part but the last are full.

use super::Malformed;
use super::codec::{Reader, Write};
use crate::limits::{
    CHUNK_HEADER_BYTES, CHUNK_UNITS_MAX, PARTS_MAX, RECORD_HEAD_BYTES_MAX, UNIT_BYTES,
};

/// A run of units in one slab segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub segment: u32,
    pub unit: u16,
    pub units: u16,
}

/// One chunk's place: at most [`CHUNK_UNITS_MAX`] units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlace {
    pub segment: u32,
    pub offset: u64,
    pub bytes: usize,
    /// Position of the chunk within its part.
    pub index: u32,
}

impl ChunkPlace {
    /// Most bytes of the body that fit.
    pub fn payload_max(&self) -> usize {
        self.bytes - CHUNK_HEADER_BYTES
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPart {
    pub number: u16,
    pub tag: u64,
    pub size: u64,
    pub attributes: Vec<u8>,
    pub extents: Vec<Extent>,
}

/// Where the bytes of all parts lie, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub parts: Vec<ManifestPart>,
}

impl ManifestPart {
    /// The chunks in the order of the part's bytes.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkPlace> + '_ {
        self.extents.iter().flat_map(extent_chunks).zip(0..).map(|(mut place, index)| {
            place.index = index;
            place
        })
    }
}

/// The chunks of one extent; their index counts from zero.
pub fn extent_chunks(extent: &Extent) -> impl Iterator<Item = ChunkPlace> + use<> {
    let Extent { segment, unit, units } = *extent;
    (0..units).step_by(CHUNK_UNITS_MAX).map(move |first| ChunkPlace {
        segment,
        offset: u64::from(unit + first) * UNIT_BYTES as u64,
        bytes: usize::from((units - first).min(CHUNK_UNITS_MAX as u16)) * UNIT_BYTES,
        index: 0,
    })
}

/// Joins neighbouring extents where that keeps the chunks as they were written: the first of two
/// must be a whole number of full chunks.
pub fn push_extent(extents: &mut Vec<Extent>, next: Extent) {
    if let Some(last) = extents.last_mut() {
        let adjacent = last.segment == next.segment && last.unit + last.units == next.unit;
        if adjacent && usize::from(last.units).is_multiple_of(CHUNK_UNITS_MAX) {
            last.units += next.units;
            return;
        }
    }
    extents.push(next);
}

impl Manifest {
    /// Bytes that are stored in all parts together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(self.parts.len() as u32);
        for part in &self.parts {
            out.put_u16(part.number);
            out.put_u64(part.tag);
            out.put_u64(part.size);
            out.put_string(&part.attributes);
            out.put_u32(part.extents.len() as u32);
            for extent in &part.extents {
                out.put_u32(extent.segment);
                out.put_u16(extent.unit);
                out.put_u16(extent.units);
            }
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let part_count = reader.u32()?;
        if part_count > u32::from(PARTS_MAX) {
            return Err(Malformed("the manifest has too many parts"));
        }
        let parts =
            (0..part_count).map(|_| Self::decode_part(&mut reader)).collect::<Result<_, _>>()?;
        if !reader.is_empty() {
            return Err(Malformed("the manifest is too long"));
        }
        Ok(Self { parts })
    }

    fn decode_part(reader: &mut Reader<'_>) -> Result<ManifestPart, Malformed> {
        let number = reader.u16()?;
        let (tag, size) = (reader.u64()?, reader.u64()?);
        let attributes = reader.string()?.to_vec();
        let extent_count = reader.u32()? as usize;
        if extent_count > RECORD_HEAD_BYTES_MAX / 8 {
            return Err(Malformed("the manifest has too many extents"));
        }
        let mut extents = Vec::new();
        for _ in 0..extent_count {
            let extent =
                Extent { segment: reader.u32()?, unit: reader.u16()?, units: reader.u16()? };
            if extent.units == 0 || extent.unit.checked_add(extent.units).is_none() {
                return Err(Malformed("an extent of the manifest is out of range"));
            }
            extents.push(extent);
        }
        let part = ManifestPart { number, tag, size, attributes, extents };
        let room: u64 = part.chunks().map(|chunk| chunk.payload_max() as u64).sum();
        if size > room {
            return Err(Malformed("a part of the manifest is larger than its extents"));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let part = |number: u16| ManifestPart {
            number,
            tag: 42 + u64::from(number),
            size: 1_100_000,
            attributes: vec![1, 2, 3],
            extents: vec![
                Extent { segment: 1, unit: 1, units: 16 },
                Extent { segment: 2, unit: 5, units: 1 },
            ],
        };
        Manifest { parts: vec![part(1), part(2)] }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        assert_eq!(Manifest::decode(&sample().encode()), Ok(sample()));
        assert_eq!(Manifest::decode(&Manifest::default().encode()), Ok(Manifest::default()));
    }

    #[test]
    fn no_truncation_decodes() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn extents_join_only_behind_full_chunks() {
        let mut extents = vec![];
        push_extent(&mut extents, Extent { segment: 1, unit: 1, units: 16 });
        push_extent(&mut extents, Extent { segment: 1, unit: 17, units: 3 });
        push_extent(&mut extents, Extent { segment: 1, unit: 20, units: 16 });
        assert_eq!(
            extents,
            [Extent { segment: 1, unit: 1, units: 19 }, Extent { segment: 1, unit: 20, units: 16 }]
        );
        let part = ManifestPart { number: 0, tag: 0, size: 0, attributes: vec![], extents };
        let chunks: Vec<_> = part.chunks().map(|c| (c.index, c.bytes / UNIT_BYTES)).collect();
        assert_eq!(chunks, [(0, 16), (1, 3), (2, 16)]);
    }
}
