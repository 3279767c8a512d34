//! The leaves of a checkpoint, which are the index's own images.
//!
//! Oracles: an index that is made of them holds its entries in order, as many as were counted, finds each of them, and
//! is the same map as a plain one whatever is inserted and removed; what it walks gives the same index again.

use crate::reader::Reader;
use engine::index::{Entry, Index, Loader};
use std::cmp::Reverse;
use std::collections::BTreeMap;

type Map = BTreeMap<(Vec<u8>, Reverse<u64>), Entry>;

/// Changes before the images, each behind what it is: none ends them.
pub fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut changes = Vec::new();
    for _ in 0..32 {
        let kind = reader.u8();
        if kind == 0 {
            break;
        }
        changes.push((kind, reader.short(), reader.u64(), reader.array::<16>()));
    }
    let images = reader.rest();
    let mut loader = Loader::new();
    let mut told = 0;
    let Ok(count) = loader.push(images, |_, _| told += 1) else { return };
    assert_eq!(count, told);
    let Ok(mut index) = loader.finish() else { return };
    assert_eq!(index.len() as u64, count);
    let mut map = contents(&index);
    assert_eq!(map.len(), index.len(), "a pair stands twice");
    for (kind, key, version, etag) in changes {
        let existing = map.keys().nth(usize::from(kind) % map.len().max(1)).cloned();
        let (key, version) = match existing {
            Some((key, Reverse(version))) if kind & 1 == 1 => (key, version),
            _ => (key.to_vec(), version),
        };
        let pair = (key.clone(), Reverse(version));
        if kind & 2 == 2 {
            let entry = Entry { segment: kind.into(), size: version, etag, ..Entry::default() };
            assert_eq!(index.insert(&key, version, entry), map.insert(pair, entry));
        } else {
            assert_eq!(index.remove(&key, version), map.remove(&pair));
        }
    }
    assert!(contents(&index) == map, "the index and a plain map differ");
    assert_eq!(index.len(), map.len());
    for ((key, version), entry) in &map {
        assert_eq!(index.get(key, version.0), Some(*entry));
    }

    index.begin_walk();
    let mut images = Vec::new();
    while !index.walk(&mut images, 4096).done {}
    let mut loader = Loader::new();
    let count = loader.push(&images, |_, _| {}).expect("a walk gives sound images");
    assert_eq!(count, map.len() as u64);
    let again = loader.finish().expect("a walk gives a sound index");
    assert!(contents(&again) == map, "the index that was walked is another one");
}

/// All of an index; in order, or it panics.
fn contents(index: &Index) -> Map {
    let mut map = Map::new();
    let mut cursor = index.cursor();
    while let Some((key, version, entry)) = cursor.next() {
        let pair = (key.to_vec(), Reverse(version));
        assert!(map.last_key_value().is_none_or(|(last, _)| *last < pair), "the order is broken");
        map.insert(pair, entry);
    }
    map
}
