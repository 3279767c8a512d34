//! A leaf: sorted pairs of key and row in one compact byte image.
//!
//! ```text
//! byte  0  u16  entries (count)
//!       2  u16  bytes used, from here to the end of the last tail
//!       4  u16  bytes of the prefix
//!       6  u16  position of the last insert
//!       8  u8   run: how many inserts before it stood each directly behind the one before
//!       9  u8   bytes of a head: two, or none if a suffix is shorter
//!      10  u8   bytes of a row, as the frame says
//!      11  41   frame of the rows (`row`)
//!      52       prefix: what all keys begin with
//!               cell per entry: u16 where its tail ends, counted from the first tail; head
//!               rows
//!               tails, one behind the other in order
//! ```
//!
//! A key is prefix, head and tail; head and tail together are its suffix. All integers are
//! little-endian. A search reads the cells, a few cache lines, and a tail only where heads are
//! equal. Nothing is fragmented: an insert or removal moves what lies behind it, at most 4 KiB.
//! The allocation is the size class of the bytes used, so a leaf that is half full costs half.
//!
//! Invariants: entries are in order, each once; `used` is at most `LEAF_BYTES_MAX` and at most the
//! allocation; there are at most `ENTRIES_MAX` entries. A prefix may be shorter than what the keys
//! share.

mod verify;

use super::contents::Contents;
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
const HEAD_BYTES_AT: usize = 9;
const ROW_BYTES_AT: usize = 10;
const FRAME_AT: usize = 11;
const HEADER_BYTES: usize = FRAME_AT + FRAME_BYTES;

/// The first bytes of a cell: where the tail ends.
const END_BYTES: usize = 2;

/// The other bytes of a cell, unless there are none.
const HEAD_BYTES: usize = 2;

/// However small its rows, no leaf has more entries: bounds the work of rebuilding one, whose keys
/// can be much longer than their suffixes.
const ENTRIES_MAX: usize = 256;

// Images are written to checkpoints as they are.
const _: () = assert!(HEADER_BYTES == 52);

// Whatever is cut apart, a piece of one entry fits, and so do two: a cut always makes progress.
const _: () = assert!(
    HEADER_BYTES + 2 * (KEY_BYTES_MAX + END_BYTES + HEAD_BYTES + ROW_BYTES_MAX) <= LEAF_BYTES_MAX
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
    head_bytes: usize,
    row_bytes: usize,
    cells_at: usize,
    rows_at: usize,
    tails_at: usize,
}

/// A place in the image and the bytes that come or go there.
#[derive(Debug, Clone, Copy)]
struct Gap {
    at: usize,
    bytes: usize,
}

impl Leaf {
    pub(super) fn empty() -> Self {
        Self::new([&[], &[]], std::iter::empty(), &[]).expect("an empty leaf is a header")
    }

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
        let all_have_heads = suffixes.clone().all(|suffix| suffix.len() >= HEAD_BYTES);
        let head_bytes = if all_have_heads { HEAD_BYTES } else { 0 };
        let suffixes_bytes: usize = suffixes.clone().map(<[u8]>::len).sum();
        let used =
            HEADER_BYTES + prefix_bytes + suffixes_bytes + rows.len() * (END_BYTES + row_bytes);
        if used > LEAF_BYTES_MAX || rows.len() > ENTRIES_MAX {
            return None;
        }
        let mut image = Vec::with_capacity(class_bytes(used));
        image.resize(HEADER_BYTES, 0);
        frame.store(&mut image[FRAME_AT..]);
        image[HEAD_BYTES_AT] = head_bytes as u8;
        image[ROW_BYTES_AT] = row_bytes as u8;
        prefix.iter().for_each(|piece| image.extend_from_slice(piece));
        let mut end = 0;
        for suffix in suffixes.clone() {
            let (head, tail) = suffix.split_at(head_bytes);
            end += tail.len();
            image.extend_from_slice(&(end as u16).to_le_bytes());
            image.extend_from_slice(head);
        }
        for row in rows {
            let at = image.len();
            image.resize(at + row_bytes, 0);
            frame.encode(row, &mut image[at..]);
        }
        suffixes.for_each(|suffix| image.extend_from_slice(&suffix[head_bytes..]));
        image.resize(class_bytes(used), 0);

        let mut leaf = Self { image: image.into_boxed_slice() };
        leaf.set_u16(COUNT_AT, rows.len());
        leaf.set_u16(USED_AT, used);
        leaf.set_u16(PREFIX_BYTES_AT, prefix_bytes);
        Some(leaf)
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

    /// The bytes used, which say all of the leaf. `None` if it has no entries, as in a free place
    /// of the arena.
    pub(super) fn used_image(&self) -> Option<&[u8]> {
        let has_entries = !self.image.is_empty() && self.count() > 0;
        has_entries.then(|| &self.image[..self.used_bytes()])
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.image[HEADER_BYTES..HEADER_BYTES + self.u16(PREFIX_BYTES_AT)]
    }

    /// Head and tail of a key.
    pub(super) fn suffix(&self, position: usize) -> [&[u8]; 2] {
        let shape = self.shape();
        let head_at = shape.cell_at(position) + END_BYTES;
        [&self.image[head_at..head_at + shape.head_bytes], self.tail(&shape, position)]
    }

    pub(super) fn frame(&self) -> Frame {
        Frame::load(&self.image[FRAME_AT..])
    }

    pub(super) fn row(&self, frame: &Frame, position: usize) -> Row {
        frame.decode(&self.image[self.shape().row_at(position)..])
    }

    /// The same leaf without room to grow. `None` if it has no entries.
    pub(super) fn copy(&self) -> Option<Self> {
        self.used_image().map(|image| Self { image: image.into() })
    }

    /// Puts the key at `position` together in `key`; gives its version.
    pub(super) fn pair(&self, position: usize, key: &mut Vec<u8>) -> u64 {
        key.clear();
        key.extend_from_slice(self.prefix());
        self.suffix(position).iter().for_each(|piece| key.extend_from_slice(piece));
        version_of(&self.image[FRAME_AT..], &self.image[self.shape().row_at(position)..])
    }

    /// The position of the pair, or else the one where it would have to stand.
    pub(super) fn search(&self, key: &[u8], version: u64) -> Result<usize, usize> {
        let shape = self.shape();
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { shape.count });
        };
        let head = head_of(suffix, shape.head_bytes);
        let (mut low, mut high) = (0, shape.count);
        while low < high {
            let middle = (low + high) / 2;
            let cell = &self.image[shape.cell_at(middle)..];
            let ordering = head_of(&cell[END_BYTES..], shape.head_bytes)
                .cmp(&head)
                .then_with(|| self.order_behind_head(&shape, middle, suffix, version));
            match ordering {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn key_equals(&self, position: usize, key: &[u8]) -> bool {
        let [head, tail] = self.suffix(position);
        let suffix = key.strip_prefix(self.prefix());
        suffix.and_then(|suffix| suffix.strip_prefix(head)).is_some_and(|rest| rest == tail)
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
            let row_at = self.shape().row_at(position);
            frame.encode(row, &mut self.image[row_at..]);
            return true;
        }
        let rebuilt = Contents::with_replaced(self, position, row).build_whole();
        rebuilt.map(|leaf| *self = leaf).is_some()
    }

    pub(super) fn remove(&mut self, position: usize) {
        let shape = self.shape();
        let tail_bytes = self.tail(&shape, position).len();
        for later in position + 1..shape.count {
            let moved = self.tail_end(&shape, later) - tail_bytes;
            self.set_u16(shape.cell_at(later), moved);
        }
        let gaps = shape.gaps(position, self.tail_start(&shape, position), tail_bytes);
        close(&mut self.image[..shape.used], gaps);
        let used = shape.used - bytes_of(gaps);
        self.set_u16(COUNT_AT, shape.count - 1);
        self.set_u16(USED_AT, used);
        // One class of slack is left, lest a removal and an insert in turn allocate each time.
        if class_bytes(used) + CLASS_BYTES < self.image.len() {
            self.reallocate(class_bytes(used));
        }
    }

    /// The usual insert: the key has the prefix and a head, the row is within the frame.
    fn insert_in_place(&mut self, position: usize, key: &[u8], row: &Row) -> bool {
        let (frame, before) = (self.frame(), self.shape());
        let Some(suffix) = key.strip_prefix(self.prefix()) else { return false };
        let Some((head, tail)) = suffix.split_at_checked(before.head_bytes) else { return false };
        let tail_start = self.tail_start(&before, position);
        let gaps = before.gaps(position, tail_start, tail.len());
        let used = before.used + bytes_of(gaps);
        let fits = used <= LEAF_BYTES_MAX && before.count < ENTRIES_MAX;
        if !fits || !frame.holds(row) {
            return false;
        }
        if used > self.image.len() {
            self.reallocate(class_bytes(used));
        }
        open(&mut self.image, before.used, gaps);
        self.set_u16(COUNT_AT, before.count + 1);
        self.set_u16(USED_AT, used);

        let shape = self.shape();
        let (cell_at, tail_at) = (shape.cell_at(position), shape.tails_at + tail_start);
        self.set_u16(cell_at, tail_start + tail.len());
        self.put(cell_at + END_BYTES, head);
        self.put(tail_at, tail);
        frame.encode(row, &mut self.image[shape.row_at(position)..]);
        for later in position + 1..shape.count {
            let moved = self.tail_end(&shape, later) + tail.len();
            self.set_u16(shape.cell_at(later), moved);
        }
        true
    }

    /// The order of the pair at `position`, whose head equals that of `suffix`, and another one.
    fn order_behind_head(
        &self,
        shape: &Shape,
        position: usize,
        suffix: &[u8],
        version: u64,
    ) -> Ordering {
        // A suffix shorter than a head was filled up with zeros to compare: it comes first.
        let Some(tail) = suffix.get(shape.head_bytes..) else { return Ordering::Greater };
        self.tail(shape, position).cmp(tail).then_with(|| {
            let row = &self.image[shape.row_at(position)..];
            version.cmp(&version_of(&self.image[FRAME_AT..], row))
        })
    }

    fn reallocate(&mut self, bytes: usize) {
        self.image = allocated(&self.image[..self.used_bytes()], bytes);
    }

    fn shape(&self) -> Shape {
        let count = self.count();
        let head_bytes = usize::from(self.image[HEAD_BYTES_AT]);
        let row_bytes = usize::from(self.image[ROW_BYTES_AT]);
        let cells_at = HEADER_BYTES + self.u16(PREFIX_BYTES_AT);
        let rows_at = cells_at + count * (END_BYTES + head_bytes);
        let tails_at = rows_at + count * row_bytes;
        let used = self.used_bytes();
        Shape { count, used, head_bytes, row_bytes, cells_at, rows_at, tails_at }
    }

    fn tail_start(&self, shape: &Shape, position: usize) -> usize {
        if position == 0 { 0 } else { self.tail_end(shape, position - 1) }
    }

    fn tail_end(&self, shape: &Shape, position: usize) -> usize {
        self.u16(shape.cell_at(position))
    }

    fn tail(&self, shape: &Shape, position: usize) -> &[u8] {
        let (start, end) = (self.tail_start(shape, position), self.tail_end(shape, position));
        &self.image[shape.tails_at + start..shape.tails_at + end]
    }

    fn u16(&self, at: usize) -> usize {
        u16::from_le_bytes([self.image[at], self.image[at + 1]]).into()
    }

    /// Every value is an offset or count within `LEAF_BYTES_MAX`, which fits.
    fn set_u16(&mut self, at: usize, value: usize) {
        self.put(at, &(value as u16).to_le_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Shape {
    fn cell_at(&self, position: usize) -> usize {
        self.cells_at + position * (END_BYTES + self.head_bytes)
    }

    fn row_at(&self, position: usize) -> usize {
        self.rows_at + position * self.row_bytes
    }

    /// Where an entry's cell, row and tail stand; the tail begins `tail_start` behind the first.
    fn gaps(&self, position: usize, tail_start: usize, tail_bytes: usize) -> [Gap; 3] {
        [
            Gap { at: self.cell_at(position), bytes: END_BYTES + self.head_bytes },
            Gap { at: self.row_at(position), bytes: self.row_bytes },
            Gap { at: self.tails_at + tail_start, bytes: tail_bytes },
        ]
    }
}

/// What of the prefix of `leaf` a key shares.
pub(super) fn shared_prefix<'a>(leaf: &'a Leaf, key: &[u8]) -> &'a [u8] {
    let prefix = leaf.prefix();
    &prefix[..common_prefix_bytes(prefix, key)]
}

/// A head as a number in the order of its bytes, filled up with zeros; zero where there are none.
fn head_of(suffix: &[u8], head_bytes: usize) -> u16 {
    match suffix {
        _ if head_bytes == 0 => 0,
        [first, second, ..] => u16::from_be_bytes([*first, *second]),
        [first] => u16::from_be_bytes([*first, 0]),
        [] => 0,
    }
}

/// The allocation for so many bytes.
fn class_bytes(used: usize) -> usize {
    (used + ALLOCATION_HEADER_BYTES).next_multiple_of(CLASS_BYTES) - ALLOCATION_HEADER_BYTES
}

/// An allocation of `bytes` that begins with `image` and goes on with zeros.
fn allocated(image: &[u8], bytes: usize) -> Box<[u8]> {
    let mut copy = Vec::with_capacity(bytes);
    copy.extend_from_slice(image);
    copy.resize(bytes, 0);
    copy.into_boxed_slice()
}

fn bytes_of(gaps: [Gap; 3]) -> usize {
    gaps.iter().map(|gap| gap.bytes).sum()
}

/// Makes room at every gap, whose places are given as they are before.
fn open(image: &mut [u8], used: usize, gaps: [Gap; 3]) {
    let mut shift = bytes_of(gaps);
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
