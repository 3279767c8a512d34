//! The units of one slab segment: which are given out, and which of those a published record names.
//!
//! Unit 0 holds the segment's header and is never given out. Invariant: what is published is given
//! out. A checkpoint keeps what is published; what is only given out has no owner after a crash.
//! Pure bookkeeping; no I/O.

use crate::format::manifest::Extent;
use crate::limits::UNIT_BYTES;

#[derive(Debug, Clone)]
pub(crate) struct SlabMap {
    used: Vec<u64>,
    published: Vec<u64>,
    units: u16,
    free_units: u16,
    /// No free unit lies below this one.
    first_free: u16,
}

impl SlabMap {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        let units = (segment_bytes / UNIT_BYTES as u64) as u16;
        let mut map = Self {
            used: vec![0; usize::from(units).div_ceil(64)],
            published: vec![0; usize::from(units).div_ceil(64)],
            units,
            free_units: units,
            first_free: 0,
        };
        map.set(0, true);
        map
    }

    /// The map of a checkpoint: what was published is given out. `None` if it is not for so many units.
    pub(crate) fn restore(segment_bytes: u64, published: &[u64]) -> Option<Self> {
        let mut map = Self::new(segment_bytes);
        let beyond = match map.units % 64 {
            0 => 0,
            rest => published.last().copied()? >> rest,
        };
        if published.len() != map.used.len() || published.first()? & 1 == 1 || beyond != 0 {
            return None;
        }
        let extent = |unit| Extent { segment: 0, unit, units: 1 };
        for unit in (1..map.units).filter(|unit| bit(published, *unit)) {
            map.mark(&extent(unit));
            map.publish(&extent(unit));
        }
        Some(map)
    }

    /// One bit for each unit that a published record names.
    pub(crate) fn published(&self) -> &[u64] {
        &self.published
    }

    pub(crate) fn published_units(&self) -> u32 {
        self.published.iter().map(|word| word.count_ones()).sum()
    }

    /// A published record names these units from now on; gives how many of them none named before.
    pub(crate) fn publish(&mut self, extent: &Extent) -> u16 {
        let mut fresh = 0;
        for unit in extent.unit..extent.unit + extent.units {
            let word = &mut self.published[usize::from(unit / 64)];
            fresh += u16::from(*word >> (unit % 64) & 1 == 0);
            *word |= 1 << (unit % 64);
        }
        fresh
    }

    /// No published record names these units any more; they are still given out. Gives how many.
    pub(crate) fn withdraw(&mut self, extent: &Extent) -> u16 {
        let mut gone = 0;
        for unit in extent.unit..extent.unit + extent.units {
            let word = &mut self.published[usize::from(unit / 64)];
            gone += (*word >> (unit % 64) & 1) as u16;
            *word &= !(1 << (unit % 64));
        }
        gone
    }

    pub(crate) fn contains(&self, extent: &Extent) -> bool {
        extent.unit > 0
            && extent.unit.checked_add(extent.units).is_some_and(|end| end <= self.units)
    }

    pub(crate) fn free_units(&self) -> u16 {
        self.free_units
    }

    /// Nothing but the header's unit is given out.
    pub(crate) fn is_vacant(&self) -> bool {
        self.free_units == self.units - 1
    }

    fn get(&self, unit: u16) -> bool {
        bit(&self.used, unit)
    }

    fn set(&mut self, unit: u16, used: bool) {
        let word = &mut self.used[usize::from(unit / 64)];
        if used {
            *word |= 1 << (unit % 64);
            self.free_units -= 1;
        } else {
            *word &= !(1 << (unit % 64));
            self.free_units += 1;
        }
    }

    /// Takes the first run of `wanted` units, or with `any` the first run of at most that many.
    pub(crate) fn take(&mut self, wanted: u16, any: bool) -> Option<(u16, u16)> {
        let mut unit = self.first_free;
        while unit < self.units && self.get(unit) {
            unit += 1;
        }
        self.first_free = unit;
        while unit < self.units {
            let mut end = unit;
            while end < self.units && end - unit < wanted && !self.get(end) {
                end += 1;
            }
            let run = end - unit;
            if run == wanted || (any && run > 0) {
                (unit..end).for_each(|unit| self.set(unit, true));
                return Some((unit, run));
            }
            unit = end + 1;
        }
        None
    }

    /// Marks an extent that a manifest names; false if it is out of range or already taken.
    pub(crate) fn mark(&mut self, extent: &Extent) -> bool {
        let Some(end) = extent.unit.checked_add(extent.units).filter(|end| *end <= self.units)
        else {
            return false;
        };
        if extent.unit == 0 || (extent.unit..end).any(|unit| self.get(unit)) {
            return false;
        }
        (extent.unit..end).for_each(|unit| self.set(unit, true));
        true
    }

    /// Marks what of an extent is not taken yet; false if it is out of range.
    pub(crate) fn mark_rest(&mut self, extent: &Extent) -> bool {
        let is_here = self.contains(extent);
        let units = if is_here { extent.unit..extent.unit + extent.units } else { 0..0 };
        for unit in units {
            if !self.get(unit) {
                self.set(unit, true);
            }
        }
        is_here
    }

    /// Gives an extent back.
    pub(crate) fn free(&mut self, extent: &Extent) {
        for unit in extent.unit..extent.unit + extent.units {
            assert!(self.get(unit) && unit != 0, "an extent is freed that was not given out");
            self.set(unit, false);
        }
        self.first_free = self.first_free.min(extent.unit);
    }
}

fn bit(words: &[u64], unit: u16) -> bool {
    words[usize::from(unit / 64)] >> (unit % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_and_given_back() {
        let mut map = SlabMap::new(8 << 20); // 128 units
        assert_eq!(map.take(16, false), Some((1, 16)));
        assert_eq!(map.take(100, false), Some((17, 100)));
        assert_eq!(map.take(16, false), None);
        assert_eq!(map.take(16, true), Some((117, 11)));
        assert_eq!((map.free_units(), map.take(1, true)), (0, None));
        map.free(&Extent { segment: 0, unit: 5, units: 3 });
        assert_eq!(map.take(2, false), Some((5, 2)));
        map.free(&Extent { segment: 0, unit: 5, units: 2 });
        assert!(map.mark(&Extent { segment: 0, unit: 5, units: 3 }));
        assert!(!map.mark(&Extent { segment: 0, unit: 5, units: 1 }));
        assert!(!map.mark(&Extent { segment: 0, unit: 0, units: 1 }));
        assert!(!map.mark(&Extent { segment: 0, unit: 127, units: 2 }));
        map.free(&Extent { segment: 0, unit: 1, units: 127 });
        assert!(map.is_vacant());
    }
}
