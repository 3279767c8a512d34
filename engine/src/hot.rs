//! Hot records: the records of small objects that were read of late, in memory of the core that reads them.
//!
//! Which records stay is `quick_cache`'s choice (Clock-PRO with a queue for what came once): a scan over many
//! objects does not push out what is asked for again and again.
//!
//! Invariants: what is kept takes at most the bytes that were configured; a record is known by its place, by the use
//! of that place, and by its version, so nothing that was overwritten, moved or amended is given;
//! whoever gets a record verifies it like one from the disk.
//!
//! Not here: records of objects that lie in extents, and their bytes.

use crate::format::record::Location;
use crate::types::Version;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use std::cell::RefCell;
use std::rc::Rc;

/// What a record costs beside its bytes.
const ENTRY_BYTES: u64 = 128;

/// Of so many bytes an average record is taken to be, to size the cache's tables.
const RECORD_BYTES_USUAL: usize = 4 << 10;

/// Which record of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) shard: u16,
    pub(crate) location: Location,
    /// Of the segment's use: a changed record may come to lie where an earlier form of it lay.
    pub(crate) epoch: u64,
    pub(crate) version: Version,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Name, Rc<[u8]>> for Weight {
    fn weight(&self, _: &Name, record: &Rc<[u8]>) -> u64 {
        record.len() as u64 + ENTRY_BYTES
    }
}

type Records = Cache<Name, Rc<[u8]>, Weight>;

/// The records that one core keeps; none where no memory is given for them.
#[derive(Debug)]
pub(crate) struct HotRecords {
    cache: Option<RefCell<Records>>,
}

impl HotRecords {
    pub(crate) fn new(bytes: usize) -> Self {
        let cache = || {
            let records = (bytes / RECORD_BYTES_USUAL).max(1);
            RefCell::new(Cache::with_weighter(records, bytes as u64, Weight))
        };
        Self { cache: (bytes > 0).then(cache) }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.cache.is_some()
    }

    pub(crate) fn get(&self, name: &Name) -> Option<Rc<[u8]>> {
        self.cache.as_ref()?.borrow().get(name).cloned()
    }

    pub(crate) fn keep(&self, name: Name, record: &[u8]) {
        if let Some(cache) = &self.cache {
            cache.borrow_mut().insert(name, record.into());
        }
    }

    pub(crate) fn forget(&self, name: &Name) {
        if let Some(cache) = &self.cache {
            cache.borrow_mut().remove(name);
        }
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.borrow().weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> Name {
        let location = Location { segment: number, offset_units: number, span_bytes: 1000 };
        Name { shard: 1, location, epoch: 1, version: Version(u64::from(number)) }
    }

    #[test]
    fn what_is_kept_stays_within_its_bytes() {
        let records = HotRecords::new(100_000);
        for number in 0..1000 {
            records.keep(name(number), &[number as u8; 1000]);
            assert!(records.bytes() <= 100_000);
        }
        assert!(records.bytes() > 50_000);
        // Larger than all of it.
        records.keep(name(5000), &[0; 200_000]);
        assert!(records.get(&name(5000)).is_none());
    }

    #[test]
    fn a_scan_leaves_what_is_asked_for_again_and_again() {
        let records = HotRecords::new(100_000);
        for _ in 0..5 {
            for number in 0..20 {
                if records.get(&name(number)).is_none() {
                    records.keep(name(number), &[number as u8; 1000]);
                }
            }
        }
        for number in 100..5000 {
            records.keep(name(number), &[0; 1000]);
        }
        let left = (0..20).filter(|number| records.get(&name(*number)).is_some()).count();
        assert!(left >= 15, "{left} of 20");
        records.forget(&name(3));
        assert!(records.get(&name(3)).is_none());
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let records = HotRecords::new(0);
        records.keep(name(1), &[1; 10]);
        assert!(!records.is_on() && records.get(&name(1)).is_none() && records.bytes() == 0);
    }
}
