//! The keys of one executor, and which versions of each a read may find.
//!
//! Writes of one key are made one after the other, and versions count up. A read that starts when
//! version `a` is the last acknowledged may find `a` or a later one that was begun before the read
//! ended; anything older is a stale read, anything else is not ours. This is the linearizability of
//! a single key, checked on every GET.
//!
//! **Invariant:** at most one write of a key is in flight. A key whose write got no answer is not
//! written again in this run: the server may still carry it out, after a later one.
//!
//! Versions are microseconds since 1970 at the start of the run plus a count per key. A write takes
//! longer than a microsecond, so a later run's versions are greater than those of all earlier runs.

use crate::content::hash_key;
use crate::limits;
use crate::options::Order;
use crate::workload::Random;
use crate::zipf::Zipf;

/// Which part of the whole keyspace belongs to an executor: every `step`th key from `first` on.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    pub first: u64,
    pub step: u64,
    pub objects: u64,
}

impl Partition {
    pub fn len(&self) -> u64 {
        (self.objects.saturating_sub(self.first)).div_ceil(self.step)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct KeyState {
    /// Counts of the last acknowledged and the last begun write; 0: none in this run.
    acknowledged: u32,
    begun: u32,
    /// Count of the last DELETE that was begun.
    deleted: u32,
    busy: bool,
    retired: bool,
}

/// The ETag last seen of a key; longer ones than this holds are not remembered.
#[derive(Debug, Clone, Copy)]
struct SeenEtag {
    count: u32,
    length: u8,
    bytes: [u8; limits::ETAG_BYTES_MAX],
}

#[derive(Debug)]
pub struct Keyspace {
    partition: Partition,
    states: Vec<KeyState>,
    /// By slot; empty where nobody asks for them.
    etags: Vec<SeenEtag>,
    cursor: u64,
    order: Order,
    popularity: Option<Popularity>,
    base_version: u64,
}

/// Which slot has which rank. Neighbours in rank lie far apart, as popular keys do anywhere.
#[derive(Debug)]
struct Popularity {
    ranks: Zipf,
    /// Has no divisor in common with the number of slots, so that each slot has one rank.
    stride: u64,
}

impl Popularity {
    fn new(slots: u64, exponent: f64) -> Self {
        // By the golden ratio: such multiples spread evenly.
        let wanted = ((slots as f64 * 0.618_034) as u64).max(1);
        let stride = (wanted..).find(|&stride| common_divisor(stride, slots) == 1).unwrap_or(1);
        Self { ranks: Zipf::new(slots, exponent), stride }
    }

    fn pick(&self, slots: u64, random: &mut Random) -> usize {
        let place = u128::from(self.ranks.pick(random)) * u128::from(self.stride);
        (place % u128::from(slots)) as usize
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    Acknowledged,
    /// Certainly not carried out.
    Refused,
    /// Answered with a server error: carried out or not.
    Unknown,
    /// No answer: carried out or not, now or later.
    Lost,
}

/// A write under way.
#[derive(Debug, Clone, Copy)]
pub struct KeyWrite {
    pub slot: usize,
    pub version: u64,
    count: u32,
}

impl Keyspace {
    /// Versions count up from behind `base_version`.
    pub fn new(partition: Partition, base_version: u64) -> Self {
        Self {
            partition,
            states: vec![KeyState::default(); partition.len() as usize],
            etags: Vec::new(),
            cursor: 0,
            order: Order::Sequential,
            popularity: None,
            base_version,
        }
    }

    /// What is known of the keys stays; how they are picked is set anew.
    pub fn begin_phase(&mut self, order: Order, zipf_exponent: f64) {
        self.cursor = 0;
        self.order = order;
        self.popularity = (order == Order::Zipf)
            .then(|| Popularity::new(self.states.len() as u64, zipf_exponent));
    }

    /// From now on `see_etag` remembers; takes as much memory again as limits say of an ETag.
    pub fn remember_etags(&mut self) {
        let none = SeenEtag { count: 0, length: 0, bytes: [0; limits::ETAG_BYTES_MAX] };
        self.etags.resize(self.states.len(), none);
    }

    /// A key's version came with this ETag.
    pub fn see_etag(&mut self, slot: usize, version: u64, etag: &[u8]) {
        let count = version.checked_sub(self.base_version).and_then(|count| count.try_into().ok());
        let (Some(seen), Some(count)) = (self.etags.get_mut(slot), count) else { return };
        if count >= seen.count && etag.len() <= seen.bytes.len() {
            (seen.count, seen.length) = (count, etag.len() as u8);
            seen.bytes[..etag.len()].copy_from_slice(etag);
        }
    }

    /// The ETag last seen of a key, and the version that it is of.
    pub fn etag(&self, slot: usize) -> Option<(u64, &str)> {
        let seen = self.etags.get(slot).filter(|seen| seen.count > 0 && seen.length > 0)?;
        let text = std::str::from_utf8(&seen.bytes[..usize::from(seen.length)]).ok()?;
        Some((self.base_version + u64::from(seen.count), text))
    }

    /// Any key, for a read.
    pub fn pick(&mut self, random: &mut Random) -> usize {
        let length = self.states.len() as u64;
        match self.order {
            Order::Random => random.below(length) as usize,
            Order::Zipf => {
                self.popularity.as_ref().map_or(0, |popularity| popularity.pick(length, random))
            }
            Order::Sequential => {
                self.cursor += 1;
                ((self.cursor - 1) % length) as usize
            }
        }
    }

    /// Picks a key that nobody is writing, and begins a write of it. `None`: none was found.
    pub fn begin_write(&mut self, delete: bool, random: &mut Random) -> Option<KeyWrite> {
        for _ in 0..limits::KEY_TRIES_MAX {
            let slot = self.pick(random);
            let state = &mut self.states[slot];
            if state.busy || state.retired || state.begun == u32::MAX {
                continue;
            }
            state.busy = true;
            state.begun += 1;
            if delete {
                state.deleted = state.begun;
            }
            let count = state.begun;
            return Some(KeyWrite { slot, version: self.base_version + u64::from(count), count });
        }
        None
    }

    pub fn end_write(&mut self, write: KeyWrite, end: WriteEnd) {
        let state = &mut self.states[write.slot];
        state.busy = false;
        match end {
            WriteEnd::Acknowledged => state.acknowledged = write.count,
            WriteEnd::Lost => state.retired = true,
            WriteEnd::Refused | WriteEnd::Unknown => {}
        }
    }

    /// Whether every key has been begun once: the end of a delete-only run.
    pub fn passed_once(&self) -> bool {
        self.cursor >= self.states.len() as u64
    }

    /// To be remembered when a read begins, and passed to the judgements when it ends.
    pub fn floor(&self, slot: usize) -> u32 {
        self.states[slot].acknowledged
    }

    /// Whether a read that began at `floor` may find nothing.
    pub fn may_be_absent(&self, slot: usize, floor: u32) -> bool {
        self.states[slot].deleted >= floor.max(1)
    }

    /// Judges the version that a read has found.
    pub fn judge(&self, slot: usize, floor: u32, version: u64) -> Result<(), &'static str> {
        if version <= self.base_version {
            let stale = "stale: an earlier run's version, though this run's was acknowledged";
            return if floor == 0 { Ok(()) } else { Err(stale) };
        }
        let count = version - self.base_version;
        if count < u64::from(floor) {
            Err("stale: a later version had been acknowledged before the read began")
        } else if count > u64::from(self.states[slot].begun) {
            Err("a version that was never written")
        } else {
            Ok(())
        }
    }

    pub fn is_of_this_run(&self, version: u64) -> bool {
        version > self.base_version
    }

    /// The versions that a read that began at `floor` may find, for what does not tell its own.
    pub fn candidates(&self, slot: usize, floor: u32) -> impl Iterator<Item = u64> {
        let base = self.base_version;
        (floor.max(1)..=self.states[slot].begun).map(move |count| base + u64::from(count))
    }

    /// Position of a slot in the whole keyspace.
    pub fn index(&self, slot: usize) -> u64 {
        self.partition.first + slot as u64 * self.partition.step
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

/// Enough for `limits::OBJECTS_MAX`.
const KEY_DIGITS: usize = 10;

/// Writes the name of the key at `index` into `key`. Names sort as their indexes do.
pub fn name_key(key: &mut String, prefix: &str, index: u64) {
    key.clear();
    key.push_str(prefix);
    // Once per request, where the general formatter costs several times as much.
    let (mut digits, mut rest) = ([0; KEY_DIGITS], index);
    for digit in digits.iter_mut().rev() {
        (*digit, rest) = (b'0' + (rest % 10) as u8, rest / 10);
    }
    key.push_str(std::str::from_utf8(&digits).expect("digits are ASCII"));
}

/// The hash by which content is bound to a key of a bucket.
pub fn content_hash(key: &str) -> u64 {
    hash_key(key.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keyspace(objects: u64, prepared: bool) -> Keyspace {
        let mut keys = Keyspace::new(Partition { first: 0, step: 1, objects }, 1000);
        for _ in 0..if prepared { objects } else { 0 } {
            let write = keys.begin_write(false, &mut Random::new(1)).unwrap();
            keys.end_write(write, WriteEnd::Acknowledged);
        }
        keys
    }

    #[test]
    fn partitions_cover_every_key_once() {
        for (objects, step) in [(10, 3), (1, 1), (7, 7), (100, 4)] {
            let part = |first| Partition { first, step, objects };
            assert_eq!((0..step).map(|first| part(first).len()).sum::<u64>(), objects);
        }
    }

    #[test]
    fn a_read_finds_the_acknowledged_version_or_a_later_one_begun() {
        let mut keys = keyspace(1, true);
        let mut random = Random::new(1);
        let floor = keys.floor(0);
        let write = keys.begin_write(false, &mut random).unwrap();
        assert!(keys.judge(0, floor, 1001).is_ok() && keys.judge(0, floor, 1002).is_ok());
        assert!(keys.judge(0, floor, 1003).is_err() && keys.judge(0, floor, 900).is_err());
        keys.end_write(write, WriteEnd::Acknowledged);
        assert!(keys.judge(0, keys.floor(0), 1001).is_err(), "stale");
        assert_eq!(keys.candidates(0, keys.floor(0)).collect::<Vec<_>>(), [1002]);
    }

    #[test]
    fn nothing_is_found_only_after_a_delete_was_begun() {
        let mut keys = keyspace(1, true);
        let mut random = Random::new(1);
        assert!(!keys.may_be_absent(0, keys.floor(0)));
        let delete = keys.begin_write(true, &mut random).unwrap();
        assert!(keys.may_be_absent(0, keys.floor(0)));
        keys.end_write(delete, WriteEnd::Acknowledged);
        assert!(keys.may_be_absent(0, keys.floor(0)));
        let put = keys.begin_write(false, &mut random).unwrap();
        keys.end_write(put, WriteEnd::Acknowledged);
        assert!(!keys.may_be_absent(0, keys.floor(0)));
        assert!(!keyspace(1, false).may_be_absent(0, 0), "a missing prepared object is an error");
    }

    #[test]
    fn one_write_of_a_key_at_a_time_and_none_after_a_lost_one() {
        let mut keys = keyspace(1, false);
        let mut random = Random::new(1);
        let write = keys.begin_write(false, &mut random).unwrap();
        assert!(keys.begin_write(false, &mut random).is_none());
        keys.end_write(write, WriteEnd::Lost);
        assert!(keys.begin_write(false, &mut random).is_none());
    }

    #[test]
    fn popular_keys_are_spread_and_every_key_has_a_rank() {
        for objects in [1, 2, 10, 97] {
            let mut keys = keyspace(objects, true);
            keys.begin_phase(Order::Zipf, 0.5);
            let mut random = Random::new(1);
            let mut found = vec![0; objects as usize];
            (0..20_000).for_each(|_| found[keys.pick(&mut random)] += 1);
            assert!(found.iter().all(|&count| count > 0), "{objects}");
            if objects > 10 {
                assert!(found[0] > 5 * found[1], "{found:?}");
            }
        }
    }

    #[test]
    fn the_newest_etag_seen_is_remembered() {
        let mut keys = keyspace(2, true);
        keys.see_etag(0, 1001, b"ignored");
        assert_eq!(keys.etag(0), None);
        keys.remember_etags();
        keys.see_etag(0, 1002, b"\"b\"");
        keys.see_etag(0, 1001, b"\"a\"");
        keys.see_etag(0, 900, b"\"of an earlier run\"");
        keys.see_etag(1, 1001, &[b'x'; 200]);
        assert_eq!(keys.etag(0), Some((1002, "\"b\"")));
        assert_eq!(keys.etag(1), None);
    }

    #[test]
    fn names_sort_as_their_indexes_do() {
        let name = |index| {
            let mut key = "old".to_owned();
            name_key(&mut key, "p/", index);
            key
        };
        assert_eq!(name(0), "p/0000000000");
        assert_eq!(name(limits::OBJECTS_MAX - 1), "p/0268435455");
        assert!(name(9) < name(10) && name(99_999) < name(100_000));
    }
}
