//! A leaf: sorted pairs of key and row in one compact byte image.
//!
//! ```text
//! byte  0  u16  entries (count)
//!       2  u16  bytes used, from here to the end of the last suffix
//!       4  u16  bytes of the prefix
//!       6  u16  position of the last insert
//!       8  u8   run: how many inserts before it stood each directly behind the one before
//!       9  u8   bytes of a row
//!      10  41   frame of the rows (`row`)
//!      51       prefix: what all keys begin with
//!               u16 per entry: where its suffix ends, counted from the first suffix
//!               rows
//!               suffixes, one behind the other in order
//! ```
//!
//! All integers are little-endian. Nothing is fragmented: an insert or removal moves what lies
//! behind it, at most 4 KiB. The allocation is the size class of the bytes used, so a leaf that
//! is half full costs half.
//!
//! Invariants: entries are in order, each once; `used` is at most `LEAF_BYTES_MAX` and at most the
//! allocation. A prefix may be shorter than what the keys share.

use super::contents::Contents;
use super::order;
use super::row::{FRAME_BYTES, Frame, ROW_BYTES_MAX, Row, version_of};
use super::{KEY_BYTES_MAX, common_prefix_bytes};
use std::cmp::Ordering;

/// Leaves are allocated in steps of so many bytes.
const CLASS_BYTES: usize = 256;

/// What common allocators put before an allocation: so much less is asked for, that the whole
/// fits a class.
const ALLOCATION_HEADER_BYTES: usize = 8;

/// No leaf is larger.
pub(super) const LEAF_BYTES_MAX: usize = 4096 - ALLOCATION_HEADER_BYTES;

const COUNT_AT: usize = 0;
const USED_AT: usize = 2;
const PREFIX_BYTES_AT: usize = 4;
const LAST_POSITION_AT: usize = 6;
const RUN_AT: usize = 8;
const ROW_BYTES_AT: usize = 9;
const FRAME_AT: usize = 10;
pub(super) const HEADER_BYTES: usize = FRAME_AT + FRAME_BYTES;

/// Bytes of a suffix's end.
pub(super) const END_BYTES: usize = 2;

// Whatever is cut apart, a piece of one entry fits, and so do two: a cut always makes progress.
const _: () = assert!(
    HEADER_BYTES + 2 * (KEY_BYTES_MAX + END_BYTES + ROW_BYTES_MAX) <= LEAF_BYTES_MAX
        && LEAF_BYTES_MAX <= u16::MAX as usize
);

/// So many inserts, each directly behind the one before, are taken for a run that goes on.
const RUN_MIN: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Empty only in a free place of the arena.
    image: Box<[u8]>,
}

/// Where in the image the regions begin.
#[derive(Debug, Clone, Copy)]
struct Shape {
    count: usize,
    used: usize,
    row_bytes: usize,
    ends_at: usize,
    rows_at: usize,
    suffixes_at: usize,
}

/// A place in the image and the bytes that come or go there.
#[derive(Debug, Clone, Copy)]
struct Gap {
    at: usize,
    bytes: usize,
}

impl Leaf {
    /// A leaf of `rows`, whose keys are `prefix` and one of `suffixes` each. `None` if it would be
    /// too large.
    pub(super) fn new<'a>(
        prefix: [&[u8]; 2],
        suffixes: impl Iterator<Item = &'a [u8]> + Clone,
        rows: &[Row],
    ) -> Option<Self> {
        let frame = Frame::of(rows);
        let row_bytes = frame.row_bytes();
        let prefix_bytes = prefix[0].len() + prefix[1].len();
        let suffixes_at =
            HEADER_BYTES + prefix_bytes + rows.len().checked_mul(END_BYTES + row_bytes)?;
        let used = suffixes_at + suffixes.clone().map(<[u8]>::len).sum::<usize>();
        if used > LEAF_BYTES_MAX {
            return None;
        }
        let mut image = Vec::with_capacity(class_bytes(used));
        image.resize(HEADER_BYTES, 0);
        frame.store(&mut image[FRAME_AT..]);
        image[ROW_BYTES_AT] = row_bytes as u8;
        prefix.iter().for_each(|piece| image.extend_from_slice(piece));
        let mut end = 0;
        for suffix in suffixes.clone() {
            end += suffix.len();
            image.extend_from_slice(&(end as u16).to_le_bytes());
        }
        let rows_at = image.len();
        image.resize(suffixes_at, 0);
        for (row, bytes) in rows.iter().zip(image[rows_at..].chunks_exact_mut(row_bytes.max(1))) {
            frame.encode(row, bytes);
        }
        suffixes.for_each(|suffix| image.extend_from_slice(suffix));
        image.resize(class_bytes(used), 0);

        let mut leaf = Self { image: image.into_boxed_slice() };
        leaf.set_u16(COUNT_AT, rows.len());
        leaf.set_u16(USED_AT, used);
        leaf.set_u16(PREFIX_BYTES_AT, prefix_bytes);
        Some(leaf)
    }

    pub(super) fn empty() -> Self {
        Self::new([&[], &[]], std::iter::empty(), &[]).expect("an empty leaf is a header")
    }

    pub(super) fn count(&self) -> usize {
        self.u16(COUNT_AT)
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.u16(USED_AT)
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.image.len()
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.image[HEADER_BYTES..HEADER_BYTES + self.u16(PREFIX_BYTES_AT)]
    }

    pub(super) fn frame(&self) -> Frame {
        Frame::load(&self.image[FRAME_AT..])
    }

    pub(super) fn suffix(&self, position: usize) -> &[u8] {
        self.suffix_in(&self.shape(), position)
    }

    pub(super) fn row(&self, frame: &Frame, position: usize) -> Row {
        let shape = self.shape();
        frame.decode(&self.image[shape.rows_at + position * shape.row_bytes..])
    }

    /// The position of the pair, or else the one where it would have to stand.
    pub(super) fn search(&self, key: &[u8], version: u64) -> Result<usize, usize> {
        let shape = self.shape();
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { shape.count });
        };
        let (mut low, mut high) = (0, shape.count);
        while low < high {
            let middle = (low + high) / 2;
            let ordering = self.suffix_in(&shape, middle).cmp(suffix).then_with(|| {
                let row = &self.image[shape.rows_at + middle * shape.row_bytes..];
                order((&[], version_of(&self.image[FRAME_AT..], row)), (&[], version))
            });
            match ordering {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn key_equals(&self, position: usize, key: &[u8]) -> bool {
        key.strip_prefix(self.prefix()).is_some_and(|suffix| suffix == self.suffix(position))
    }

    /// Puts a new pair where `search` says. False, and nothing is changed, if the leaf would be too
    /// large.
    pub(super) fn insert(&mut self, position: usize, key: &[u8], row: &Row) -> bool {
        let (last_position, run) = (self.u16(LAST_POSITION_AT), self.image[RUN_AT]);
        let continues = self.count() > 0 && position == last_position + 1;
        let done = self.insert_in_place(position, key, row) || {
            let rebuilt = Contents::with_inserted(self, position, key, row).build_whole();
            rebuilt.map(|leaf| *self = leaf).is_some()
        };
        if done {
            self.image[RUN_AT] = if continues { run.saturating_add(1) } else { 0 };
            self.set_u16(LAST_POSITION_AT, position);
        }
        done
    }

    /// Whether an insert at `position` goes on with a run: every insert directly behind the last.
    pub(super) fn is_in_run(&self, position: usize) -> bool {
        position == self.u16(LAST_POSITION_AT) + 1 && self.image[RUN_AT] >= RUN_MIN
    }

    /// Puts another row in place of the one at `position`. False, and nothing is changed, if the
    /// leaf would be too large.
    pub(super) fn replace(&mut self, position: usize, row: &Row) -> bool {
        let frame = self.frame();
        if frame.holds(row) {
            let shape = self.shape();
            let at = shape.rows_at + position * shape.row_bytes;
            frame.encode(row, &mut self.image[at..at + shape.row_bytes]);
            return true;
        }
        let rebuilt = Contents::with_replaced(self, position, row).build_whole();
        rebuilt.map(|leaf| *self = leaf).is_some()
    }

    pub(super) fn remove(&mut self, position: usize) {
        let shape = self.shape();
        let (start, end) = (self.suffix_start(&shape, position), self.end(&shape, position));
        let suffix_bytes = end - start;
        for later in position + 1..shape.count {
            let moved = self.end(&shape, later) - suffix_bytes;
            self.set_u16(shape.ends_at + later * END_BYTES, moved);
        }
        let gaps = gaps(&shape, position, start, suffix_bytes);
        close(&mut self.image[..shape.used], gaps);
        let used = shape.used - gaps.iter().map(|gap| gap.bytes).sum::<usize>();
        self.set_u16(COUNT_AT, shape.count - 1);
        self.set_u16(USED_AT, used);
        // One class of slack is left, lest a removal and an insert in turn allocate each time.
        if class_bytes(used) + CLASS_BYTES < self.image.len() {
            self.reallocate(class_bytes(used));
        }
    }

    /// The usual insert: the key has the prefix, the row is within the frame.
    fn insert_in_place(&mut self, position: usize, key: &[u8], row: &Row) -> bool {
        let frame = self.frame();
        let Some(suffix) = key.strip_prefix(self.prefix()) else { return false };
        let shape = self.shape();
        let start = self.suffix_start(&shape, position);
        let gaps = gaps(&shape, position, start, suffix.len());
        let used = shape.used + gaps.iter().map(|gap| gap.bytes).sum::<usize>();
        if used > LEAF_BYTES_MAX || !frame.holds(row) {
            return false;
        }
        if used > self.image.len() {
            self.reallocate(class_bytes(used));
        }
        open(&mut self.image, shape.used, gaps);
        self.set_u16(COUNT_AT, shape.count + 1);
        self.set_u16(USED_AT, used);

        let shape = self.shape();
        self.set_u16(shape.ends_at + position * END_BYTES, start + suffix.len());
        for later in position + 1..shape.count {
            let moved = self.end(&shape, later) + suffix.len();
            self.set_u16(shape.ends_at + later * END_BYTES, moved);
        }
        let row_at = shape.rows_at + position * shape.row_bytes;
        frame.encode(row, &mut self.image[row_at..row_at + shape.row_bytes]);
        let suffix_at = shape.suffixes_at + start;
        self.image[suffix_at..suffix_at + suffix.len()].copy_from_slice(suffix);
        true
    }

    fn reallocate(&mut self, bytes: usize) {
        let used = self.used_bytes();
        let mut image = Vec::with_capacity(bytes);
        image.extend_from_slice(&self.image[..used]);
        image.resize(bytes, 0);
        self.image = image.into_boxed_slice();
    }

    fn shape(&self) -> Shape {
        let (count, row_bytes) = (self.count(), usize::from(self.image[ROW_BYTES_AT]));
        let ends_at = HEADER_BYTES + self.u16(PREFIX_BYTES_AT);
        let rows_at = ends_at + count * END_BYTES;
        let suffixes_at = rows_at + count * row_bytes;
        Shape { count, used: self.used_bytes(), row_bytes, ends_at, rows_at, suffixes_at }
    }

    fn end(&self, shape: &Shape, position: usize) -> usize {
        self.u16(shape.ends_at + position * END_BYTES)
    }

    fn suffix_start(&self, shape: &Shape, position: usize) -> usize {
        if position == 0 { 0 } else { self.end(shape, position - 1) }
    }

    fn suffix_in(&self, shape: &Shape, position: usize) -> &[u8] {
        let (start, end) = (self.suffix_start(shape, position), self.end(shape, position));
        &self.image[shape.suffixes_at + start..shape.suffixes_at + end]
    }

    fn u16(&self, at: usize) -> usize {
        u16::from_le_bytes([self.image[at], self.image[at + 1]]).into()
    }

    /// Every value is an offset or count within `LEAF_BYTES_MAX`, which fits.
    fn set_u16(&mut self, at: usize, value: usize) {
        self.image[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    }
}

/// What of the prefix of `leaf` a key shares.
pub(super) fn shared_prefix<'a>(leaf: &'a Leaf, key: &[u8]) -> &'a [u8] {
    let prefix = leaf.prefix();
    &prefix[..common_prefix_bytes(prefix, key)]
}

/// The allocation for so many bytes.
fn class_bytes(used: usize) -> usize {
    (used + ALLOCATION_HEADER_BYTES).next_multiple_of(CLASS_BYTES) - ALLOCATION_HEADER_BYTES
}

/// Where an entry's end, row and suffix stand; the suffix begins `suffix_start` behind the first.
fn gaps(shape: &Shape, position: usize, suffix_start: usize, suffix_bytes: usize) -> [Gap; 3] {
    [
        Gap { at: shape.ends_at + position * END_BYTES, bytes: END_BYTES },
        Gap { at: shape.rows_at + position * shape.row_bytes, bytes: shape.row_bytes },
        Gap { at: shape.suffixes_at + suffix_start, bytes: suffix_bytes },
    ]
}

/// Makes room at every gap, whose places are given as they are before.
fn open(image: &mut [u8], used: usize, gaps: [Gap; 3]) {
    let mut shift: usize = gaps.iter().map(|gap| gap.bytes).sum();
    let mut end = used;
    for gap in gaps.iter().rev() {
        image.copy_within(gap.at..end, gap.at + shift);
        shift -= gap.bytes;
        end = gap.at;
    }
}

/// Takes out every gap.
fn close(image: &mut [u8], gaps: [Gap; 3]) {
    let ends = [gaps[1].at, gaps[2].at, image.len()];
    let mut shift = 0;
    for (gap, end) in gaps.iter().zip(ends) {
        shift += gap.bytes;
        let start = gap.at + gap.bytes;
        image.copy_within(start..end, start - shift);
    }
}
