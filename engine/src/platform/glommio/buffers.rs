//! Memory for direct I/O, kept for use again.
//!
//! Invariants: a buffer starts on a [`BLOCK_BYTES`] boundary and was initialised when it was first made;
//! what a core keeps of freed ones has a bound.
//!
//! Nothing is registered with the kernel: pinning the pages of a read costs 0.1 us for 4 KiB and a hundredth of
//! what sending them does for 256 KiB, and memory that is not registered need not be resident from the start.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::platform::BLOCK_BYTES;

/// Sizes from one block to 2^11 of them (8 MiB) are kept, by powers of two.
const CLASSES: usize = 12;

/// Freed buffers of one core.
#[derive(Debug)]
pub(super) struct Buffers {
    free: RefCell<[Vec<NonNull<u8>>; CLASSES]>,
    kept_bytes: Cell<usize>,
    kept_bytes_max: usize,
}

/// A buffer of whole blocks.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: NonNull<u8>,
    bytes: usize,
    home: Rc<Buffers>,
}

/// What is allocated for that many bytes.
fn layout(bytes: usize) -> Layout {
    let class_bytes = bytes.next_power_of_two().max(BLOCK_BYTES);
    Layout::from_size_align(class_bytes, BLOCK_BYTES).expect("far below the address space")
}

fn class(layout: Layout) -> usize {
    (layout.size() / BLOCK_BYTES).trailing_zeros() as usize
}

impl Buffers {
    pub(super) fn new(kept_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self { free: RefCell::default(), kept_bytes: Cell::new(0), kept_bytes_max })
    }

    /// A buffer with whatever it held before.
    pub(super) fn take(self: &Rc<Self>, bytes: usize) -> Buffer {
        let layout = layout(bytes);
        let free = self.free.borrow_mut().get_mut(class(layout)).and_then(Vec::pop);
        let memory = match free {
            Some(memory) => {
                self.kept_bytes.set(self.kept_bytes.get() - layout.size());
                memory
            }
            // SAFETY: the layout's size is not zero.
            None => NonNull::new(unsafe { alloc_zeroed(layout) })
                .unwrap_or_else(|| handle_alloc_error(layout)),
        };
        Buffer { memory, bytes, home: Rc::clone(self) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for (class, free) in self.free.get_mut().iter_mut().enumerate() {
            for memory in free.drain(..) {
                // SAFETY: what is kept in a class was allocated with its layout, and nobody has it.
                unsafe { dealloc(memory.as_ptr(), layout(BLOCK_BYTES << class)) };
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let layout = layout(self.bytes);
        let kept_bytes = self.home.kept_bytes.get() + layout.size();
        if let Some(free) = self.home.free.borrow_mut().get_mut(class(layout))
            && kept_bytes <= self.home.kept_bytes_max
        {
            self.home.kept_bytes.set(kept_bytes);
            return free.push(self.memory);
        }
        // SAFETY: it was allocated with this layout, and its only owner is being dropped.
        unsafe { dealloc(self.memory.as_ptr(), layout) };
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes at least were allocated and initialised, and they are this buffer's.
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
    fn buffers_are_aligned_and_used_again_up_to_a_bound() {
        let home = Buffers::new(5 * BLOCK_BYTES);
        let sizes = [1, 3, 4, 1 << CLASSES].map(|blocks| blocks * BLOCK_BYTES);
        let mut buffers: Vec<_> = sizes.iter().map(|bytes| home.take(*bytes)).collect();
        for (buffer, bytes) in buffers.iter_mut().zip(sizes) {
            assert_eq!(buffer.len(), bytes);
            assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
        }
        let three = buffers[1].as_ptr();
        buffers.clear();
        assert_eq!(home.kept_bytes.get(), 5 * BLOCK_BYTES, "one block, and four");
        let again = home.take(4 * BLOCK_BYTES);
        assert_eq!(again.as_ptr(), three);
        assert_eq!(again[..3 * BLOCK_BYTES], [7; 3 * BLOCK_BYTES]);
        assert_eq!(home.kept_bytes.get(), BLOCK_BYTES);
    }
}
