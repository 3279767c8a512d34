//! MD5, for the ETag and Content-MD5 that S3 prescribes; it protects nothing against a forger.
//!
//! One stream alone is limited by the latency of its steps, to about 0.6 GB/s. [`update_many`] takes
//! in bytes of several streams at once, one in each lane of a vector (`lanes`), at up to 16 times that.
//!
//! Invariants: a digest depends neither on how its input was cut into updates nor on which of the two
//! ways they went, nor on the processor.
//!
//! Not here: who waits for whom, so that there are several streams (`crate::md5_batch`).
//!
//! Source: RFC 1321.

mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use lanes::{Kernel, Lane};
use std::cmp::Reverse;
use std::fmt;

const BLOCK_BYTES: usize = 64;
/// Blocks for which lanes keep to their streams where there are more streams than lanes.
const TURN_BLOCKS: usize = 64;
/// Where the message's length stands in its last block.
const LENGTH_AT: usize = BLOCK_BYTES - 8;

/// The words A to D.
type State = [u32; 4];

/// Computes the MD5 of bytes that arrive piece by piece.
#[derive(Clone)]
pub struct Md5 {
    state: State,
    /// Bytes taken in; the number modulo the block's size of them wait in `block`.
    bytes: u64,
    block: [u8; BLOCK_BYTES],
}

impl Md5 {
    pub fn new() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self { state, bytes: 0, block: [0; BLOCK_BYTES] }
    }

    /// Takes in bytes of this stream alone. Allocates nothing.
    pub fn update(&mut self, bytes: &[u8]) {
        let lane = self.split(bytes);
        scalar::compress(lane.state, lane.blocks);
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.bytes.wrapping_mul(8);
        let filled = self.filled();
        self.block[filled] = 0x80;
        self.block[filled + 1..].fill(0);
        if filled >= LENGTH_AT {
            scalar::compress(&mut self.state, &self.block);
            self.block.fill(0);
        }
        self.block[LENGTH_AT..].copy_from_slice(&bits.to_le_bytes());
        scalar::compress(&mut self.state, &self.block);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    /// How many bytes wait for their block to be filled.
    fn filled(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    /// Takes in all but the whole blocks, which are left to the caller.
    fn split<'a>(&'a mut self, mut bytes: &'a [u8]) -> Lane<'a> {
        let filled = self.filled();
        self.bytes = self.bytes.wrapping_add(bytes.len() as u64);
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - filled));
            self.block[filled..filled + head.len()].copy_from_slice(head);
            bytes = rest;
            if filled + head.len() == BLOCK_BYTES {
                scalar::compress(&mut self.state, &self.block);
            }
        }
        let (blocks, tail) = bytes.split_at(bytes.len() / BLOCK_BYTES * BLOCK_BYTES);
        self.block[..tail.len()].copy_from_slice(tail);
        Lane { state: &mut self.state, blocks }
    }
}

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5")
    }
}

/// The next bytes of one stream.
#[derive(Debug)]
pub struct Piece<'a> {
    pub md5: &'a mut Md5,
    pub bytes: &'a [u8],
}

/// Takes in bytes of several streams at once, as [`Md5::update`] would one after the other. Fastest
/// with as many streams as [`lanes`] says, and pieces of about one length.
pub fn update_many(pieces: &mut [Piece<'_>]) {
    update_with(Kernel::best(), pieces);
}

/// How many streams this processor takes in at once.
pub fn lanes() -> usize {
    Kernel::best().lanes()
}

fn update_with(kernel: Kernel, pieces: &mut [Piece<'_>]) {
    let mut waiting: Vec<Lane<'_>> =
        pieces.iter_mut().map(|piece| piece.md5.split(piece.bytes)).collect();
    loop {
        waiting.retain(|lane| !lane.blocks.is_empty());
        // All lanes are to be full for as long as can be: those with the most blocks go first, and
        // where there are more, others get their turn before the first have ended.
        let turn = if waiting.len() > kernel.lanes() {
            waiting
                .select_nth_unstable_by_key(kernel.lanes() - 1, |lane| Reverse(lane.blocks.len()));
            TURN_BLOCKS
        } else {
            usize::MAX
        };
        let count = waiting.len().min(kernel.lanes());
        let running = &mut waiting[..count];
        let Some(bytes) = running.iter().map(|lane| lane.blocks.len()).min() else { break };
        kernel.compress(running, turn.min(bytes / BLOCK_BYTES));
    }
}
