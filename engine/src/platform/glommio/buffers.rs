//! Memory for direct I/O, in huge pages, kept for use again.
//!
//! Regions of [`REGION_BYTES`] are cut into blocks of one size each; a region none of whose blocks is in use can
//! be cut anew for another size. What exceeds the regions a core may have comes from the allocator, which has to
//! clear it and search for room: 1.7 times the CPU for each large read of a server in overload, and far more memory than
//! is in use.
//!
//! Invariants: a buffer starts on a [`BLOCK_BYTES`] boundary, and all of it has been initialised, by the kernel
//! with zeroes if by nobody else; regions have a bound, none is mapped before it is needed, and of those that
//! nothing uses only so many keep their memory as a core is to keep.
//!
//! Nothing is registered with the kernel, so that nothing need be resident from the start. What makes that
//! cheap is the pages' size: pinning 64 small pages for each window of a large read, and handing the device as many
//! pieces, cost a third of what reading and sending it takes; of a huge page there is one.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use crate::platform::BLOCK_BYTES;

/// Two huge pages: four chunks, or a dozen windows with their header.
const REGION_BYTES: usize = 4 << 20;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The memory of one core.
#[derive(Debug)]
pub(super) struct Buffers {
    regions: RefCell<Regions>,
}

#[derive(Debug, Default)]
struct Regions {
    all: Vec<Region>,
    count_max: usize,
    /// How many that nothing uses keep their memory, and how many do.
    kept_max: usize,
    kept: usize,
    /// How many nothing uses.
    unused: usize,
    /// By class, the regions that have a block to give; not those that nothing uses and that have no memory.
    available: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Region {
    memory: Mapping,
    class: usize,
    /// Blocks that are not in use, the last one given back last.
    free: Vec<u32>,
    used: u32,
    /// Whether it may have memory, rather than an address alone.
    is_backed: bool,
}

/// A buffer of whole blocks.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: NonNull<u8>,
    bytes: usize,
    /// Its region and its block there; none if it is the allocator's.
    place: Option<(usize, u32)>,
    home: Rc<Buffers>,
}

/// Which size is taken for so many bytes: the next of 4, 8, 12 and 16 KiB, then four steps to each power of two, so
/// that at most a fifth is wasted.
fn class_of(bytes: usize) -> usize {
    let blocks = bytes.div_ceil(BLOCK_BYTES).max(1);
    if blocks <= 4 {
        return blocks - 1;
    }
    let power = (blocks - 1).ilog2() as usize;
    // The two bits behind the first.
    let step = ((blocks - 1) >> (power - 2)) & 3;
    4 + (power - 2) * 4 + step
}

fn class_bytes(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * BLOCK_BYTES;
    }
    let (power, step) = ((class - 4) / 4 + 2, (class - 4) % 4);
    ((step + 5) << (power - 2)) * BLOCK_BYTES
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, BLOCK_BYTES).expect("far below the address space")
}

impl Buffers {
    /// Memory that keeps so many bytes when they are not in use, and so many at most when they are.
    pub(super) fn new(kept_bytes_max: usize, used_bytes_max: usize) -> Rc<Self> {
        let kept_max = kept_bytes_max / REGION_BYTES;
        let count_max = kept_max.max(used_bytes_max / REGION_BYTES);
        Rc::new(Self {
            regions: RefCell::new(Regions { count_max, kept_max, ..Regions::default() }),
        })
    }

    /// A buffer with whatever it held before.
    pub(super) fn take(self: &Rc<Self>, bytes: usize) -> Buffer {
        let (memory, place) = match self.regions.borrow_mut().take(class_of(bytes)) {
            Some((memory, place)) => (memory, Some(place)),
            None => {
                let layout = layout(bytes);
                // SAFETY: the layout's size is not zero.
                let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
                (memory.unwrap_or_else(|| handle_alloc_error(layout)), None)
            }
        };
        Buffer { memory, bytes, place, home: Rc::clone(self) }
    }
}

impl Regions {
    fn take(&mut self, class: usize) -> Option<(NonNull<u8>, (usize, u32))> {
        if class_bytes(class) > REGION_BYTES {
            return None;
        }
        let number = self.available_region(class)?;
        let region = &mut self.all[number];
        let block = region.free.pop()?;
        if region.used == 0 {
            self.unused -= 1;
            self.kept -= usize::from(region.is_backed);
            region.is_backed = true;
        }
        region.used += 1;
        let (class, is_full) = (region.class, region.free.is_empty());
        let memory = region.memory.at(block as usize * class_bytes(class));
        if is_full {
            self.available[class].pop();
        }
        Some((memory, (number, block)))
    }

    /// A region with a free block of that class; when no region is left, of a larger one.
    fn available_region(&mut self, class: usize) -> Option<usize> {
        if self.available.len() <= class {
            self.available.resize_with(class + 1, Vec::new);
        }
        if let Some(number) = self.available[class].last() {
            return Some(*number);
        }
        let Some(number) = self.find_region() else {
            return self.available[class..].iter().find_map(|regions| regions.last().copied());
        };
        let blocks = (REGION_BYTES / class_bytes(class)) as u32;
        self.all[number].class = class;
        self.all[number].free = (0..blocks).rev().collect();
        self.available[class].push(number);
        Some(number)
    }

    /// One that nothing uses, rather one that has its memory, or a new region.
    fn find_region(&mut self) -> Option<usize> {
        if self.unused > 0 {
            let is_backed = self.kept > 0;
            let fits = |region: &Region| region.used == 0 && region.is_backed == is_backed;
            let number = self.all.iter().position(fits)?;
            self.available[self.all[number].class].retain(|other| *other != number);
            return Some(number);
        }
        if self.all.len() >= self.count_max {
            return None;
        }
        let memory = Mapping::new()?;
        self.unused += 1;
        self.all.push(Region { memory, class: 0, free: Vec::new(), used: 0, is_backed: false });
        Some(self.all.len() - 1)
    }

    fn give_back(&mut self, (number, block): (usize, u32)) {
        let region = &mut self.all[number];
        region.free.push(block);
        region.used -= 1;
        if region.free.len() == 1 {
            self.available[region.class].push(number);
        }
        if region.used == 0 {
            self.unused += 1;
            if self.kept < self.kept_max {
                self.kept += 1;
            } else {
                region.memory.clear();
                region.is_backed = false;
                // It is taken only when no other has a block to give.
                self.available[region.class].retain(|other| *other != number);
            }
        }
    }
}

/// The memory of a region.
#[derive(Debug)]
struct Mapping(NonNull<u8>);

impl Mapping {
    /// Zeroed memory in huge pages, if the host gives any; none if it has no memory at all.
    fn new() -> Option<Self> {
        let asked = REGION_BYTES + HUGE_PAGE_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at whatever address the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), asked, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(HUGE_PAGE_BYTES);
        let after = HUGE_PAGE_BYTES - before;
        // SAFETY: all of it lies in the mapping, at multiples of the page's size; nobody knows the parts that are given
        // back. That a page is small, or that a part stays mapped, does no harm.
        unsafe {
            let memory = start.add(before);
            if before > 0 {
                libc::munmap(start.cast(), before);
            }
            if after > 0 {
                libc::munmap(memory.add(REGION_BYTES).cast(), after);
            }
            libc::madvise(memory.cast(), REGION_BYTES, libc::MADV_HUGEPAGE);
            NonNull::new(memory).map(Self)
        }
    }

    /// Gives its memory back; it is zeroes when it is used again.
    fn clear(&mut self) {
        // SAFETY: the mapping is this one's, and nobody has a buffer in it. Where it fails the memory stays as it is.
        unsafe { libc::madvise(self.0.as_ptr().cast(), REGION_BYTES, libc::MADV_DONTNEED) };
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < REGION_BYTES);
        // SAFETY: within the mapping.
        unsafe { self.0.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and each buffer in it keeps its home.
        unsafe { libc::munmap(self.0.as_ptr().cast(), REGION_BYTES) };
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.place {
            Some(place) => self.home.regions.borrow_mut().give_back(place),
            // SAFETY: it was allocated with this layout, and its only owner is being dropped.
            None => unsafe { dealloc(self.memory.as_ptr(), layout(self.bytes)) },
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes at least are there and initialised, and they are this buffer's.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the buffer is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_smallest_that_hold_what_is_asked_for() {
        let sizes: Vec<_> = (0..40).map(class_bytes).collect();
        assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
        for blocks in 1..=1024 {
            let bytes = blocks * BLOCK_BYTES;
            let class = class_of(bytes);
            assert!(class_bytes(class) >= bytes, "{blocks}");
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{blocks}");
            assert!(class_bytes(class) * 4 <= bytes * 5, "{blocks}");
        }
        assert_eq!(class_bytes(class_of(REGION_BYTES)), REGION_BYTES);
    }

    #[test]
    fn buffers_do_not_overlap_and_are_used_again() {
        let home = Buffers::new(2 * REGION_BYTES, 0);
        let sizes = [1, 1, 3, 64, 65, 256, 256, 256, 256, 2000].map(|blocks| blocks * BLOCK_BYTES);
        let mut buffers: Vec<_> = sizes.iter().map(|bytes| home.take(*bytes)).collect();
        for (number, (buffer, bytes)) in buffers.iter_mut().zip(sizes).enumerate() {
            assert_eq!(buffer.len(), bytes);
            assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(number as u8 + 1);
        }
        for (number, buffer) in buffers.iter().enumerate() {
            assert!(buffer.iter().all(|byte| usize::from(*byte) == number + 1), "{number}");
        }
        let first = buffers[0].as_ptr();
        buffers.clear();
        let again = home.take(BLOCK_BYTES);
        assert!(again[0] > 0, "not new, and not cleared");
        assert!(again.as_ptr().addr().abs_diff(first.addr()) < REGION_BYTES);
    }

    #[test]
    fn regions_are_bounded_and_change_their_size_when_nothing_uses_them() {
        let home = Buffers::new(REGION_BYTES, 0);
        let many: Vec<_> = (0..2000).map(|_| home.take(BLOCK_BYTES)).collect();
        assert_eq!(home.regions.borrow().all.len(), 1);
        let outside = many.iter().filter(|buffer| buffer.place.is_none()).count();
        assert_eq!(outside, 2000 - REGION_BYTES / BLOCK_BYTES);
        assert!(home.take(1 << 20).place.is_none(), "all of it is in use");
        drop(many);
        let large: Vec<_> = (0..3).map(|_| home.take(1 << 20)).collect();
        assert!(large.iter().all(|buffer| buffer.place.is_some()));
        let small = home.take(BLOCK_BYTES);
        assert!(small.place.is_some(), "a larger block will do");
        assert!(home.take(BLOCK_BYTES).place.is_none(), "that was the last one");
        drop((large, small));
        assert!(home.take(2 * BLOCK_BYTES).place.is_some());
        assert_eq!(home.regions.borrow().all.len(), 1);
    }

    #[test]
    fn beyond_what_is_kept_memory_goes_back_when_nothing_uses_it() {
        let home = Buffers::new(2 * REGION_BYTES, 5 * REGION_BYTES);
        for _ in 0..3 {
            let mut all: Vec<_> = (0..6).map(|_| home.take(REGION_BYTES)).collect();
            let outside = all.iter().filter(|buffer| buffer.place.is_none()).count();
            assert_eq!((outside, home.regions.borrow().kept), (1, 0));
            let kept = |buffer: &Buffer| buffer[REGION_BYTES - 1] == 1;
            assert!(all.iter().filter(|buffer| kept(buffer)).count() <= 2);
            all.iter_mut().for_each(|buffer| buffer.fill(1));
            drop(all);
            assert_eq!((home.regions.borrow().kept, home.regions.borrow().unused), (2, 5));
            // Those with their memory are used first.
            let again: Vec<_> = (0..3).map(|_| home.take(REGION_BYTES)).collect();
            assert_eq!(again.iter().map(kept).collect::<Vec<_>>(), [true, true, false]);
        }
        let mut small: Vec<_> = (0..3 * 1024).map(|_| home.take(BLOCK_BYTES)).collect();
        small.truncate(1);
        assert_eq!((home.regions.borrow().kept, home.regions.borrow().unused), (2, 4));
    }

    #[test]
    fn a_buffer_outlives_its_core() {
        let home = Buffers::new(REGION_BYTES, 0);
        let mut buffer = home.take(3 * BLOCK_BYTES);
        drop(home);
        buffer.fill(7);
        assert_eq!(buffer[..], [7; 3 * BLOCK_BYTES]);
    }
}
