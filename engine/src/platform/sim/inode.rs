//! The bytes of one simulated file: what a read sees, what is on stable storage, and the writes
//! between the two.
//!
//! ```text
//! submitted -> (in flight) -> completed -> durable      by a sync, or at once with EachWrite
//!                          \-> failed                   seen by reads in part, durable by luck only
//! ```
//!
//! Invariants:
//! - `durable` holds only what a sync or an `EachWrite` write has promised.
//! - A sync covers the writes that had completed when it was submitted, no others.
//! - At power loss each 512-byte sector of each write that is not durable is kept or lost by itself.
//!   A sector that a later durable write has replaced is never brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::random::Random;
use crate::platform::{BLOCK_BYTES, Durability};

/// What a disk writes in one piece.
pub(super) const SECTOR_BYTES: usize = 512;

const SECTORS_IN_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;
const SECTORS_PER_BLOCK: u64 = SECTORS_IN_BLOCK as u64;

pub(super) type WriteId = u64;

/// The content of one block, shared by all that hold it; `None` is zeroes.
type Block = Option<Rc<[u8; BLOCK_BYTES]>>;

const ZEROES: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What a read sees, writes in flight aside.
    current: Image,
    durable: Image,
    /// Submitted and not durable.
    writes: BTreeMap<WriteId, Write>,
    writes_submitted: WriteId,
}

/// What a sync will make durable.
#[derive(Debug)]
pub(super) struct SyncScope {
    writes: BTreeSet<WriteId>,
    length: u64,
}

#[derive(Debug)]
struct Write {
    /// The first of a block.
    first_sector: u64,
    blocks: Vec<Block>,
    /// Sectors that no later durable write has replaced.
    live: Vec<bool>,
    state: WriteState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteState {
    InFlight,
    Completed,
    Failed,
}

impl Inode {
    /// A file that holds durably what a read of this one sees now.
    pub(super) fn settled(&self) -> Self {
        let image = self.current.clone();
        Self { current: image.clone(), durable: image, ..Self::default() }
    }

    pub(super) fn length(&self) -> u64 {
        self.current.length
    }

    /// Reads a range into `bytes`; false if it does not lie within the file. Of a sector that a write
    /// in flight is about to replace it gives the old or the new bytes, as `newer` says each time.
    pub(super) fn read(
        &self,
        offset: u64,
        bytes: &mut [u8],
        newer: &mut dyn FnMut() -> bool,
    ) -> bool {
        let within = offset.checked_add(bytes.len() as u64);
        if within.is_none_or(|end| end > self.current.length) {
            return false;
        }
        let (first, end) = (sector_number(offset), sector_number(offset + bytes.len() as u64));
        self.current.read(first, bytes);
        for write in self.writes.values().filter(|write| write.is_in_flight()) {
            for number in write.first_sector.max(first)..write.end().min(end) {
                if let Some(new) = write.sector(number)
                    && newer()
                {
                    let at = (number - first) as usize * SECTOR_BYTES;
                    bytes[at..at + SECTOR_BYTES].copy_from_slice(new);
                }
            }
        }
        true
    }

    /// Submits a write. Panics when it overlaps one in flight.
    pub(super) fn begin_write(&mut self, offset: u64, bytes: &[u8]) -> WriteId {
        let first_sector = sector_number(offset);
        let live = vec![true; bytes.len() / SECTOR_BYTES];
        let blocks = bytes.chunks(BLOCK_BYTES).map(block_of).collect();
        let write = Write { first_sector, blocks, live, state: WriteState::InFlight };
        let overlap = self.writes.values().find(|other| {
            other.is_in_flight() && other.first_sector < write.end() && first_sector < other.end()
        });
        assert!(overlap.is_none(), "concurrent writes overlap at offset {offset}");
        let id = self.writes_submitted;
        self.writes_submitted += 1;
        self.writes.insert(id, write);
        id
    }

    pub(super) fn complete_write(&mut self, id: WriteId, durability: Durability) {
        let Some(write) = self.writes.get_mut(&id) else { return };
        write.state = WriteState::Completed;
        self.current.apply(write);
        self.current.grow(write.end() * SECTOR_BYTES as u64);
        if durability == Durability::EachWrite {
            self.commit(id);
        }
    }

    /// The write failed: each of its sectors may have been written, and none is promised.
    pub(super) fn fail_write(&mut self, id: WriteId, random: &mut Random) {
        let Some(write) = self.writes.get_mut(&id) else { return };
        write.state = WriteState::Failed;
        let length = self.current.length;
        for (number, sector) in write.live_sectors() {
            if number * (SECTOR_BYTES as u64) < length && random.coin() {
                self.current.write_sector(number, sector);
            }
        }
    }

    /// The write does nothing.
    pub(super) fn lose_write(&mut self, id: WriteId) {
        self.writes.remove(&id);
    }

    /// Bytes that were meant for another place land here, at a block's boundary.
    pub(super) fn stray(&mut self, offset: u64, bytes: &[u8]) {
        for (at, new) in (offset..).zip(bytes) {
            self.damage(at, &mut |byte| *byte = *new);
        }
    }

    pub(super) fn preallocate(&mut self, length: u64) {
        self.current.grow(length);
    }

    /// Takes back what a preallocation has added; it is never durable that it was taken back.
    pub(super) fn cut(&mut self, length: u64) {
        self.current.length = self.current.length.min(length);
    }

    pub(super) fn begin_sync(&self) -> SyncScope {
        let completed = self.writes.iter().filter(|(_, w)| w.state == WriteState::Completed);
        SyncScope { writes: completed.map(|(id, _)| *id).collect(), length: self.current.length }
    }

    pub(super) fn complete_sync(&mut self, scope: &SyncScope) {
        for id in &scope.writes {
            // An earlier sync in flight may have failed and taken its promise back.
            if self.writes.get(id).is_some_and(|write| write.state == WriteState::Completed) {
                self.commit(*id);
            }
        }
        self.durable.grow(scope.length);
    }

    pub(super) fn fail_sync(&mut self, scope: &SyncScope) {
        for id in &scope.writes {
            if let Some(write) = self.writes.get_mut(id) {
                write.state = WriteState::Failed;
            }
        }
    }

    /// What is left when the power fails.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let mut writes: Vec<Write> = std::mem::take(&mut self.writes).into_values().collect();
        if random.coin() {
            // A length that was not made durable may have reached the disk all the same.
            let whole = writes.iter().map(Write::end).max().unwrap_or(0) * SECTOR_BYTES as u64;
            self.durable.grow(self.current.length.max(whole));
        }
        random.shuffle(&mut writes);
        for write in &writes {
            // All, none or some, so that the pure cases are not too rare.
            let fate = random.below(4);
            for (number, sector) in write.live_sectors() {
                let kept = fate == 0 || (fate >= 2 && random.coin());
                if kept && number * (SECTOR_BYTES as u64) < self.durable.length {
                    self.durable.write_sector(number, sector);
                }
            }
        }
        self.current = self.durable.clone();
    }

    /// What is left when only the process ends: the kernel finishes or refuses what is in flight.
    pub(super) fn lose_process(&mut self, random: &mut Random) {
        let in_flight = self.writes.iter().filter(|(_, write)| write.is_in_flight());
        let in_flight: Vec<WriteId> = in_flight.map(|(id, _)| *id).collect();
        for id in in_flight {
            if random.coin() {
                self.complete_write(id, Durability::OnSync);
            } else {
                self.lose_write(id);
            }
        }
    }

    /// Changes bytes everywhere at once, as damage to the medium does.
    pub(super) fn damage(&mut self, offset: u64, change: &mut dyn FnMut(&mut u8)) {
        let number = sector_number(offset);
        let within = (offset % SECTOR_BYTES as u64) as usize;
        for image in [&mut self.current, &mut self.durable] {
            let mut sector = [0; SECTOR_BYTES];
            sector.copy_from_slice(image.sector(number));
            change(&mut sector[within]);
            image.write_sector(number, &sector);
        }
        // What has reached the device is damaged there; what is in flight will overwrite the damage.
        for write in self.writes.values_mut().filter(|write| !write.is_in_flight()) {
            if let Some(index) = write.index(number) {
                let (block, sector) = (index / SECTORS_IN_BLOCK, index % SECTORS_IN_BLOCK);
                let block = write.blocks[block].get_or_insert_with(|| Rc::new([0; BLOCK_BYTES]));
                change(&mut Rc::make_mut(block)[sector * SECTOR_BYTES + within]);
            }
        }
    }

    fn commit(&mut self, id: WriteId) {
        let Some(write) = self.writes.remove(&id) else { return };
        self.durable.apply(&write);
        for earlier in self.writes.range_mut(..id).map(|(_, earlier)| earlier) {
            let common =
                write.first_sector.max(earlier.first_sector)..write.end().min(earlier.end());
            for number in common.filter(|number| write.is_live(*number)) {
                earlier.kill_sector(number);
            }
        }
        self.durable.grow(write.end() * SECTOR_BYTES as u64);
    }
}

impl Write {
    fn is_in_flight(&self) -> bool {
        self.state == WriteState::InFlight
    }

    /// The number of the sector after the last.
    fn end(&self) -> u64 {
        self.first_sector + self.live.len() as u64
    }

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first_sector)?).ok()?;
        (index < self.live.len()).then_some(index)
    }

    fn sector(&self, number: u64) -> Option<&[u8]> {
        self.index(number).map(|index| {
            sector_of(&self.blocks[index / SECTORS_IN_BLOCK], index % SECTORS_IN_BLOCK)
        })
    }

    fn is_live(&self, number: u64) -> bool {
        self.index(number).is_some_and(|index| self.live[index])
    }

    fn live_sectors(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first_sector..self.end())
            .filter(|number| self.is_live(*number))
            .filter_map(|number| Some((number, self.sector(number)?)))
    }

    fn kill_sector(&mut self, number: u64) {
        if let Some(index) = self.index(number) {
            self.live[index] = false;
        }
    }
}

/// A sparse file. Blocks are shared between the images and the writes until one changes.
#[derive(Debug, Default, Clone)]
struct Image {
    /// What lies behind the last one is zeroes.
    blocks: Vec<Block>,
    length: u64,
}

impl Image {
    fn grow(&mut self, length: u64) {
        self.length = self.length.max(length);
    }

    fn sector(&self, number: u64) -> &[u8] {
        let block = self.blocks.get((number / SECTORS_PER_BLOCK) as usize);
        block.map_or(&ZEROES, |block| sector_of(block, (number % SECTORS_PER_BLOCK) as usize))
    }

    /// Sectors from `first` on; whole blocks in one piece.
    fn read(&self, first: u64, bytes: &mut [u8]) {
        let mut number = first;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = (number % SECTORS_PER_BLOCK) as usize * SECTOR_BYTES;
            let (now, later) = rest.split_at_mut((BLOCK_BYTES - start).min(rest.len()));
            match self.blocks.get((number / SECTORS_PER_BLOCK) as usize) {
                Some(Some(block)) => now.copy_from_slice(&block[start..start + now.len()]),
                _ => now.fill(0),
            }
            number += (now.len() / SECTOR_BYTES) as u64;
            rest = later;
        }
    }

    fn write_sector(&mut self, number: u64, sector: &[u8]) {
        let block = self.block_mut(number / SECTORS_PER_BLOCK);
        // Files are filled with zeros before use; holding those would cost memory for nothing.
        if block.is_none() && sector == ZEROES {
            return;
        }
        let block = block.get_or_insert_with(|| Rc::new([0; BLOCK_BYTES]));
        let start = (number % SECTORS_PER_BLOCK) as usize * SECTOR_BYTES;
        Rc::make_mut(block)[start..start + SECTOR_BYTES].copy_from_slice(sector);
    }

    /// Takes over what is live of a write, whole blocks without a copy.
    fn apply(&mut self, write: &Write) {
        let first = write.first_sector / SECTORS_PER_BLOCK;
        let blocks = write.blocks.iter().zip(write.live.chunks(SECTORS_IN_BLOCK));
        for (number, (block, live)) in (first..).zip(blocks) {
            if live.iter().all(|live| *live) {
                *self.block_mut(number) = block.clone();
                continue;
            }
            for index in (0..SECTORS_IN_BLOCK).filter(|index| live[*index]) {
                let sector = number * SECTORS_PER_BLOCK + index as u64;
                self.write_sector(sector, sector_of(block, index));
            }
        }
    }

    fn block_mut(&mut self, number: u64) -> &mut Block {
        let index = number as usize;
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, None);
        }
        &mut self.blocks[index]
    }
}

fn block_of(bytes: &[u8]) -> Block {
    let block: &[u8; BLOCK_BYTES] = bytes.try_into().expect("I/O is of whole blocks");
    (*block != [0; BLOCK_BYTES]).then(|| Rc::new(*block))
}

fn sector_of(block: &Block, index: usize) -> &[u8] {
    match block {
        Some(block) => &block[index * SECTOR_BYTES..(index + 1) * SECTOR_BYTES],
        None => &ZEROES,
    }
}

fn sector_number(offset: u64) -> u64 {
    offset / SECTOR_BYTES as u64
}
