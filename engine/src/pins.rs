//! Pins keep space from being used again while somebody still reads it.
//!
//! Every pin belongs to a generation; each piece of space that is freed ends one. Space waits until no
//! pin of its generation or an older one is held: whoever pins later cannot have seen it. Memory: one
//! row per generation with a held pin, and one per piece of space that waits; both end when readers
//! do, and a reader's time is limited by the server.

use std::collections::{BTreeMap, VecDeque};

/// Names the generation in which it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin(u64);

#[derive(Debug)]
pub(crate) struct Pins<T> {
    generation: u64,
    /// How many pins of this generation are held.
    latest: u32,
    /// How many of each earlier one; none is zero.
    earlier: BTreeMap<u64, u32>,
    /// Freed space behind the generation that its freeing ended.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Pins<T> {
    fn default() -> Self {
        Self { generation: 0, latest: 0, earlier: BTreeMap::new(), waiting: VecDeque::new() }
    }
}

impl<T> Pins<T> {
    pub(crate) fn pin(&mut self) -> Pin {
        self.latest += 1;
        Pin(self.generation)
    }

    /// Gives back a pin; `free` gets the space for which nobody needs to wait any longer.
    pub(crate) fn unpin(&mut self, pin: Pin, free: impl FnMut(T)) {
        if pin.0 == self.generation {
            self.latest -= 1;
        } else if let Some(count) = self.earlier.get_mut(&pin.0) {
            *count -= 1;
            if *count == 0 {
                self.earlier.remove(&pin.0);
            }
        }
        self.settle(free);
    }

    /// Frees space once nobody reads it.
    pub(crate) fn free_later(&mut self, space: T, free: impl FnMut(T)) {
        self.waiting.push_back((self.generation, space));
        if self.latest > 0 {
            self.earlier.insert(self.generation, self.latest);
        }
        self.generation += 1;
        self.latest = 0;
        self.settle(free);
    }

    fn settle(&mut self, mut free: impl FnMut(T)) {
        // All that waits is of an earlier generation than this one.
        let oldest = self.earlier.keys().next().copied().unwrap_or(self.generation);
        while self.waiting.front().is_some_and(|(generation, _)| *generation < oldest) {
            if let Some((_, space)) = self.waiting.pop_front() {
                free(space);
            }
        }
    }

    pub(crate) fn held(&self) -> usize {
        let earlier: u32 = self.earlier.values().sum();
        (earlier + self.latest) as usize
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

    #[test]
    fn an_old_pin_costs_nothing_while_others_come_and_go() {
        let mut pins = Pins::<()>::default();
        let old = pins.pin();
        for _ in 0..1000 {
            let pin = pins.pin();
            pins.unpin(pin, |()| {});
        }
        assert!(pins.earlier.is_empty());
        pins.free_later((), |()| {});
        for _ in 0..1000 {
            let pin = pins.pin();
            pins.unpin(pin, |()| {});
        }
        assert_eq!((pins.earlier.len(), pins.held()), (1, 1));
        pins.unpin(old, |()| {});
        assert_eq!((pins.earlier.len(), pins.held()), (0, 0));
    }
}
