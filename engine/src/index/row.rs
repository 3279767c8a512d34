//! How a version and its entry are packed into a leaf: fixed-width rows in a frame of the leaf.
//!
//! Neighbours resemble each other: the same label, no parts, sizes of a few thousand bytes, recent
//! versions. So a leaf keeps for every column the least value (`base`) and the bytes that the
//! differences need (`width`, from none to eight). Rows of 52 bytes come down to about 30.
//!
//! A frame, as it stands in a leaf's header:
//! ```text
//! byte  0  8   bytes in a row of: version, segment, offset, span, size, parts, flags, label
//!       8  u8  1 if each row has an ETag (16 bytes) behind its columns, else 0
//!       9  32  bases of the columns, in that order: 8, 4, 4, 4, 8, 2, 1 and 1 bytes
//! ```
//!
//! Invariant: what was encoded with a frame that `holds` it decodes to the same row.

use super::Entry;
use crate::format::Malformed;

/// Version, segment, offset, span, size, parts, flags, label; the ETag stands behind them, raw.
const COLUMNS: usize = 8;

/// In how many bytes the header keeps each column's base; the column's type has as many.
const BASE_BYTES: [usize; COLUMNS] = [8, 4, 4, 4, 8, 2, 1, 1];

const ETAG_BYTES: usize = 16;

/// A frame in a leaf's header: a width per column, whether ETags are stored, the bases.
pub(super) const FRAME_BYTES: usize = COLUMNS + 1 + 32;

/// No row is wider: every column at its full width.
pub(super) const ROW_BYTES_MAX: usize = 32 + ETAG_BYTES;

/// What a leaf holds beside the key's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) entry: Entry,
}

impl Row {
    fn columns(&self) -> [u64; COLUMNS] {
        let entry = &self.entry;
        [
            self.version,
            entry.segment.into(),
            entry.offset_units.into(),
            entry.span_bytes.into(),
            entry.size,
            entry.parts.into(),
            entry.flags.into(),
            entry.label.into(),
        ]
    }

    fn has_etag(&self) -> bool {
        self.entry.etag != [0; ETAG_BYTES]
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    bases: [u64; COLUMNS],
    widths: [u8; COLUMNS],
    has_etags: bool,
}

impl Frame {
    /// The narrowest frame for `rows`.
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut frame = Self::default();
        let Some(first) = rows.first() else { return frame };
        let (mut least, mut greatest) = (first.columns(), first.columns());
        for row in rows {
            frame.has_etags |= row.has_etag();
            for (column, value) in row.columns().into_iter().enumerate() {
                least[column] = least[column].min(value);
                greatest[column] = greatest[column].max(value);
            }
        }
        for column in 0..COLUMNS {
            frame.widths[column] = width_of(greatest[column] - least[column]);
            // A base that saves nothing is left out, lest a smaller value force a new frame.
            if width_of(greatest[column]) > frame.widths[column] {
                frame.bases[column] = least[column];
            }
        }
        frame
    }

    pub(super) fn load(header: &[u8]) -> Self {
        let mut frame = Self::default();
        frame.widths.copy_from_slice(&header[..COLUMNS]);
        frame.has_etags = header[COLUMNS] != 0;
        let mut at = COLUMNS + 1;
        for (base, base_bytes) in frame.bases.iter_mut().zip(BASE_BYTES) {
            *base = load(header, at, base_bytes);
            at += base_bytes;
        }
        frame
    }

    /// A frame from disk: no width exceeds its column.
    pub(super) fn verified(header: &[u8]) -> Result<Self, Malformed> {
        let frame = Self::load(header);
        let fits =
            frame.widths.iter().zip(BASE_BYTES).all(|(width, max)| usize::from(*width) <= max);
        if !fits || header[COLUMNS] > 1 {
            return Err(Malformed("a frame of rows that no leaf has"));
        }
        Ok(frame)
    }

    /// Whether any row whatever, of as many bytes as it takes, decodes within the columns' types.
    pub(super) fn holds_all(&self) -> bool {
        let greatest = self.widths.map(|width| greatest_of(width.into()));
        self.are_within_types(greatest)
    }

    /// Whether this one does.
    pub(super) fn holds_encoded(&self, bytes: &[u8]) -> bool {
        let mut at = 0;
        self.are_within_types(self.widths.map(|width| {
            let difference = load(bytes, at, width.into());
            at += usize::from(width);
            difference
        }))
    }

    fn are_within_types(&self, differences: [u64; COLUMNS]) -> bool {
        self.bases.iter().zip(differences).zip(BASE_BYTES).all(|((base, difference), bytes)| {
            base.checked_add(difference).is_some_and(|value| value <= greatest_of(bytes))
        })
    }

    pub(super) fn store(&self, header: &mut [u8]) {
        header[..COLUMNS].copy_from_slice(&self.widths);
        header[COLUMNS] = self.has_etags.into();
        let mut at = COLUMNS + 1;
        for (base, base_bytes) in self.bases.iter().zip(BASE_BYTES) {
            store(header, at, base_bytes, *base);
            at += base_bytes;
        }
    }

    pub(super) fn row_bytes(&self) -> usize {
        let columns: usize = self.widths.iter().map(|width| usize::from(*width)).sum();
        columns + if self.has_etags { ETAG_BYTES } else { 0 }
    }

    pub(super) fn holds(&self, row: &Row) -> bool {
        let fits = |column: usize, value: u64| {
            value
                .checked_sub(self.bases[column])
                .is_some_and(|d| width_of(d) <= self.widths[column])
        };
        (self.has_etags || !row.has_etag())
            && row.columns().into_iter().enumerate().all(|(column, value)| fits(column, value))
    }

    /// `bytes`: as many as `row_bytes` says.
    pub(super) fn encode(&self, row: &Row, bytes: &mut [u8]) {
        let mut at = 0;
        for (column, value) in row.columns().into_iter().enumerate() {
            let width = usize::from(self.widths[column]);
            store(bytes, at, width, value - self.bases[column]);
            at += width;
        }
        if self.has_etags {
            bytes[at..at + ETAG_BYTES].copy_from_slice(&row.entry.etag);
        }
    }

    /// `bytes`: from the row's first byte on, and more where there is more (it decodes faster).
    pub(super) fn decode(&self, bytes: &[u8]) -> Row {
        let mut columns = [0; COLUMNS];
        let mut at = 0;
        for (column, value) in columns.iter_mut().enumerate() {
            let width = usize::from(self.widths[column]);
            *value = self.bases[column].wrapping_add(load(bytes, at, width));
            at += width;
        }
        let [version, segment, offset_units, span_bytes, size, parts, flags, label] = columns;
        let mut etag = [0; ETAG_BYTES];
        if self.has_etags {
            etag.copy_from_slice(&bytes[at..at + ETAG_BYTES]);
        }
        // Columns never exceed the types that they came from.
        let entry = Entry {
            segment: segment as u32,
            offset_units: offset_units as u32,
            span_bytes: span_bytes as u32,
            size,
            etag,
            parts: parts as u16,
            flags: flags as u8,
            label: label as u8,
        };
        Row { version, entry }
    }
}

/// The version of the row that begins at `bytes`, from the header's frame: for comparing keys
/// without decoding the rest.
pub(super) fn version_of(header: &[u8], bytes: &[u8]) -> u64 {
    let base = load(header, COLUMNS + 1, BASE_BYTES[0]);
    base.wrapping_add(load(bytes, 0, usize::from(header[0])))
}

/// How many bytes `value` needs; none for zero.
fn width_of(value: u64) -> u8 {
    (u64::BITS - value.leading_zeros()).div_ceil(8) as u8
}

/// The greatest integer of so many bytes.
fn greatest_of(bytes: usize) -> u64 {
    if bytes == 0 { 0 } else { u64::MAX >> (64 - 8 * bytes) }
}

/// A little-endian integer of `width` bytes.
#[inline]
fn load(bytes: &[u8], at: usize, width: usize) -> u64 {
    if width == 0 {
        return 0;
    }
    match bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word) & u64::MAX >> (64 - 8 * width),
        None => {
            let mut word = [0; 8];
            word[..width].copy_from_slice(&bytes[at..at + width]);
            u64::from_le_bytes(word)
        }
    }
}

#[inline]
fn store(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[Row], row_bytes: usize) {
        let frame = Frame::of(rows);
        assert_eq!(frame.row_bytes(), row_bytes);
        let mut header = [0; FRAME_BYTES];
        frame.store(&mut header);
        let frame = Frame::load(&header);
        for row in rows {
            assert!(frame.holds(row));
            let mut bytes = vec![0; row_bytes];
            frame.encode(row, &mut bytes);
            assert_eq!(frame.decode(&bytes), *row);
            assert_eq!(version_of(&header, &bytes), row.version);
        }
    }

    #[test]
    fn rows_come_back_as_they_were_at_every_width() {
        let least = Row { version: 0, entry: Entry::default() };
        let greatest = Row {
            version: u64::MAX,
            entry: Entry {
                segment: u32::MAX,
                offset_units: u32::MAX,
                span_bytes: u32::MAX,
                size: u64::MAX,
                etag: [0xff; 16],
                parts: u16::MAX,
                flags: u8::MAX,
                label: u8::MAX,
            },
        };
        check(&[], 0);
        check(&[least], 0);
        check(&[greatest], ETAG_BYTES);
        check(&[least, greatest], ROW_BYTES_MAX);
        let near = Row { version: u64::MAX - 255, ..greatest };
        check(&[near, greatest], 1 + ETAG_BYTES);
        assert!(!Frame::of(&[near, greatest]).holds(&least));
        assert!(!Frame::of(&[least]).holds(&greatest));
    }
}
