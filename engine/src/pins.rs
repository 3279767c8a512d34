//! Pins keep space from being used again while somebody still reads it.
//!
//! Every pin has a number. Space that is freed waits until all pins taken before it was freed are
//! gone: whoever comes later cannot have seen it. Memory: one byte per pin between the oldest held
//! and the newest taken, and one row per piece of space that waits; both end when readers do, and a
//! reader's time is limited by the server.

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin(u64);

#[derive(Debug)]
pub(crate) struct Pins<T> {
    /// Number of the pin at the front of `held`.
    first: u64,
    held: VecDeque<bool>,
    /// Freed space behind the number that the next pin had when it was freed.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Pins<T> {
    fn default() -> Self {
        Self { first: 0, held: VecDeque::new(), waiting: VecDeque::new() }
    }
}

impl<T> Pins<T> {
    pub(crate) fn pin(&mut self) -> Pin {
        self.held.push_back(true);
        Pin(self.first + self.held.len() as u64 - 1)
    }

    /// Gives back a pin; `free` gets the space for which nobody needs to wait any longer.
    pub(crate) fn unpin(&mut self, pin: Pin, free: impl FnMut(T)) {
        if let Some(held) =
            pin.0.checked_sub(self.first).and_then(|at| self.held.get_mut(at as usize))
        {
            *held = false;
        }
        while self.held.front() == Some(&false) {
            self.held.pop_front();
            self.first += 1;
        }
        self.settle(free);
    }

    /// Frees space once nobody reads it.
    pub(crate) fn free_later(&mut self, space: T, free: impl FnMut(T)) {
        self.waiting.push_back((self.first + self.held.len() as u64, space));
        self.settle(free);
    }

    fn settle(&mut self, mut free: impl FnMut(T)) {
        while self.waiting.front().is_some_and(|(number, _)| *number <= self.first) {
            if let Some((_, space)) = self.waiting.pop_front() {
                free(space);
            }
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.iter().filter(|held| **held).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_waits_for_the_pins_before_it_and_for_no_later_one() {
        let mut pins = Pins::default();
        let mut freed = Vec::new();
        pins.free_later("unpinned", |space| freed.push(space));
        assert_eq!(freed, ["unpinned"]);

        let (first, second) = (pins.pin(), pins.pin());
        pins.free_later("a", |space| freed.push(space));
        let third = pins.pin();
        pins.unpin(second, |space| freed.push(space));
        assert_eq!(freed, ["unpinned"]);
        pins.unpin(first, |space| freed.push(space));
        assert_eq!(freed, ["unpinned", "a"]);
        pins.free_later("b", |space| freed.push(space));
        pins.unpin(third, |space| freed.push(space));
        assert_eq!(freed, ["unpinned", "a", "b"]);
        assert_eq!(pins.held(), 0);
    }
}
