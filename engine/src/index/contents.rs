//! The contents of one or two leaves taken apart, to be built anew: when the frame or the prefix no
//! longer holds, when a leaf must be cut, when two are joined.
//!
//! Invariant: entries are pushed in order.

use super::branch::Separator;
use super::common_prefix_bytes;
use super::leaf::{Leaf, shared_prefix};
use super::row::Row;
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Contents {
    /// What all keys begin with; they may share more.
    prefix: Vec<u8>,
    /// The rests of all keys, one behind the other.
    rests: Vec<u8>,
    /// Where in `rests` each ends.
    ends: Vec<usize>,
    rows: Vec<Row>,
}

impl Contents {
    /// What `leaf` holds, and a new pair at its position.
    pub(super) fn with_inserted(leaf: &Leaf, position: usize, key: &[u8], row: &Row) -> Self {
        let mut contents = Self::new(shared_prefix(leaf, key), leaf.count() + 1);
        contents.push_leaf(leaf, 0..position);
        contents.push(&[&key[contents.prefix.len()..]], row);
        contents.push_leaf(leaf, position..leaf.count());
        contents
    }

    /// What `leaf` holds, with another row at `position`.
    pub(super) fn with_replaced(leaf: &Leaf, position: usize, row: &Row) -> Self {
        let mut contents = Self::new(leaf.prefix(), leaf.count());
        contents.push_leaf(leaf, 0..leaf.count());
        contents.rows[position] = *row;
        contents
    }

    /// What two neighbours hold.
    pub(super) fn of_both(left: &Leaf, right: &Leaf) -> Self {
        let shared = shared_prefix(left, right.prefix());
        let mut contents = Self::new(shared, left.count() + right.count());
        contents.push_leaf(left, 0..left.count());
        contents.push_leaf(right, 0..right.count());
        contents
    }

    /// One leaf of everything, if it fits.
    pub(super) fn build_whole(&self) -> Option<Leaf> {
        self.build(0..self.rows.len())
    }

    /// As many leaves as it takes; beside each the position of its first entry. `run_position`:
    /// where the newest entry of a run of inserts stands.
    pub(super) fn build_pieces(&self, run_position: Option<usize>) -> Vec<(usize, Leaf)> {
        let mut pieces = Vec::with_capacity(2);
        let all = 0..self.rows.len();
        let cut = run_position.map_or_else(|| self.middle(all.clone()), |at| self.run_cut(at));
        self.build_into(all.start..cut, &mut pieces);
        self.build_into(cut..all.end, &mut pieces);
        pieces
    }

    /// The shortest separator between the entries at `position - 1` and at `position`.
    pub(super) fn separator(&self, position: usize) -> Separator {
        let (left, right) = (self.rest(position - 1), self.rest(position));
        Separator::between(&self.prefix, left, right, self.rows[position].version)
    }

    fn new(prefix: &[u8], count: usize) -> Self {
        Self {
            prefix: prefix.to_vec(),
            rests: Vec::new(),
            ends: Vec::with_capacity(count),
            rows: Vec::with_capacity(count),
        }
    }

    /// `leaf`'s prefix begins with that of the contents.
    fn push_leaf(&mut self, leaf: &Leaf, positions: Range<usize>) {
        let frame = leaf.frame();
        let prefix_rest = &leaf.prefix()[self.prefix.len()..];
        for position in positions {
            let [head, tail] = leaf.suffix(position);
            self.push(&[prefix_rest, head, tail], &leaf.row(&frame, position));
        }
    }

    fn push(&mut self, rest: &[&[u8]], row: &Row) {
        rest.iter().for_each(|piece| self.rests.extend_from_slice(piece));
        self.ends.push(self.rests.len());
        self.rows.push(*row);
    }

    fn rest(&self, position: usize) -> &[u8] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.rests[start..self.ends[position]]
    }

    fn build(&self, positions: Range<usize>) -> Option<Leaf> {
        // In order, so what the first and the last share all share.
        let shared = match positions.is_empty() {
            true => &[],
            false => {
                let (first, last) = (self.rest(positions.start), self.rest(positions.end - 1));
                &first[..common_prefix_bytes(first, last)]
            }
        };
        let suffixes = positions.clone().map(|position| &self.rest(position)[shared.len()..]);
        Leaf::new([&self.prefix, shared], suffixes, &self.rows[positions])
    }

    /// A wider frame or a shorter prefix can make contents several times as large as the leaf that
    /// they came from: cut on until all pieces fit. One entry always does.
    fn build_into(&self, positions: Range<usize>, pieces: &mut Vec<(usize, Leaf)>) {
        match self.build(positions.clone()) {
            Some(leaf) => pieces.push((positions.start, leaf)),
            None => {
                let middle = self.middle(positions.clone());
                self.build_into(positions.start..middle, pieces);
                self.build_into(middle..positions.end, pieces);
            }
        }
    }

    /// Where to cut within a run. What stands behind it is split off and what follows will fill the
    /// left side; once the run alone fills a leaf, its newest entry begins the next one. So both
    /// an only run and one amid other keys leave full leaves behind.
    fn run_cut(&self, position: usize) -> usize {
        let behind = position + 1;
        let fits = behind < self.rows.len() && self.build(0..behind).is_some();
        if fits { behind } else { position }
    }

    /// Where both sides have about the same bytes, and each at least one entry.
    fn middle(&self, positions: Range<usize>) -> usize {
        // A row's width is the same on both sides, near enough.
        const ROW_BYTES: usize = 34;
        let bytes_before = |position: usize| {
            let rests = if position == 0 { 0 } else { self.ends[position - 1] };
            rests + position * ROW_BYTES
        };
        let half = (bytes_before(positions.start) + bytes_before(positions.end)) / 2;
        let behind = positions.clone().skip(1).find(|position| bytes_before(*position) >= half);
        behind.unwrap_or(positions.end - 1)
    }
}
