//! The way from an image on disk to a leaf: nothing is believed.
//!
//! Invariant: whatever the bytes are, a leaf that comes out of here keeps every invariant that
//! `leaf` states, so that no later operation on it can panic, loop or decode another row than was
//! checked. The checksum of the checkpoint tells whether bytes are those that were written; this
//! tells whether they can be used.

use super::{
    END_BYTES, ENTRIES_MAX, FRAME_AT, HEAD_BYTES, HEADER_BYTES, KEY_BYTES_MAX, LAST_POSITION_AT,
    LEAF_BYTES_MAX, Leaf, PREFIX_BYTES_AT, ROW_BYTES_AT, Shape, allocated, class_bytes, head_of,
};
use crate::format::Malformed;
use crate::index::Entry;
use crate::index::row::Frame;

impl Leaf {
    /// The leaf of an image, which ends with its last byte used. `each` gets every version and
    /// entry, also those before the one that is found to be malformed.
    pub(in crate::index) fn of_image(
        image: &[u8],
        each: &mut impl FnMut(u64, &Entry),
    ) -> Result<Self, Malformed> {
        if image.len() < HEADER_BYTES || image.len() > LEAF_BYTES_MAX {
            return Err(Malformed("an image of a size that no leaf has"));
        }
        let leaf = Self { image: allocated(image, class_bytes(image.len())) };
        let frame = Frame::verified(&leaf.image[FRAME_AT..])?;
        let shape = leaf.verified_shape(image.len(), &frame)?;
        leaf.verify_entries(&frame, &shape, each)?;
        Ok(leaf)
    }

    /// The header's counts fit each other, and all cells and rows lie within the bytes used.
    fn verified_shape(&self, used: usize, frame: &Frame) -> Result<Shape, Malformed> {
        let shape = self.shape();
        let is_sound = shape.used == used
            && (1..=ENTRIES_MAX).contains(&shape.count)
            && self.u16(PREFIX_BYTES_AT) <= KEY_BYTES_MAX
            && self.u16(LAST_POSITION_AT) < ENTRIES_MAX
            && (shape.head_bytes == 0 || shape.head_bytes == HEAD_BYTES)
            && usize::from(self.image[ROW_BYTES_AT]) == frame.row_bytes()
            && shape.tails_at <= used;
        if is_sound { Ok(shape) } else { Err(Malformed("a leaf's header")) }
    }

    /// Tails lie one behind the other up to the last byte used, no key is too long, rows are within
    /// their types, and pairs ascend.
    fn verify_entries(
        &self,
        frame: &Frame,
        shape: &Shape,
        each: &mut impl FnMut(u64, &Entry),
    ) -> Result<(), Malformed> {
        let tails = &self.image[shape.tails_at..shape.used];
        let before_tail_bytes = self.u16(PREFIX_BYTES_AT) + shape.head_bytes;
        let tail_bytes_max = KEY_BYTES_MAX
            .checked_sub(before_tail_bytes)
            .ok_or(Malformed("a leaf's prefix is too long"))?;
        let holds_all = frame.holds_all();
        let mut tail_start = 0;
        let mut before: Option<(u16, &[u8], u64)> = None;
        for position in 0..shape.count {
            let cell = &self.image[shape.cell_at(position)..];
            let tail_end = usize::from(u16::from_le_bytes([cell[0], cell[1]]));
            let tail = tails.get(tail_start..tail_end).ok_or(Malformed("where a key ends"))?;
            if tail.len() > tail_bytes_max {
                return Err(Malformed("a key is too long"));
            }
            let encoded = &self.image[shape.row_at(position)..];
            if !holds_all && !frame.holds_encoded(encoded) {
                return Err(Malformed("a row exceeds its types"));
            }
            let row = frame.decode(encoded);
            let head = head_of(&cell[END_BYTES..], shape.head_bytes);
            if let Some((before_head, before_tail, before_version)) = before {
                // Versions descend.
                let ordering = before_head
                    .cmp(&head)
                    .then_with(|| before_tail.cmp(tail))
                    .then(row.version.cmp(&before_version));
                if ordering.is_ge() {
                    return Err(Malformed("a leaf's keys are not in order"));
                }
            }
            each(row.version, &row.entry);
            before = Some((head, tail, row.version));
            tail_start = tail_end;
        }
        if tail_start < tails.len() {
            return Err(Malformed("bytes behind a leaf's last key"));
        }
        Ok(())
    }
}
