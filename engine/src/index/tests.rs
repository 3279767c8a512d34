//! The index against the standard library's map, and its structural invariants.

#![allow(clippy::unwrap_used)]

mod checkpoint;

use super::leaf::LEAF_BYTES_MAX;
use super::{Cursor, Entry, Index, KEY_BYTES_MAX};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;

type Model = BTreeMap<(Vec<u8>, Reverse<u64>), Entry>;

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u8>, u64, Entry),
    Remove(Vec<u8>, u64),
    /// Removes so many entries from a place on, as a purge does.
    RemoveFrom(Vec<u8>, usize),
    Seek(Vec<u8>, u64, usize),
}

/// Keys that meet often: none, few letters, shared prefixes, prefixes of each other, long ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 0..4);
    let numbered = (0u32..400).prop_map(|number| format!("photos/2024/{number:06}").into_bytes());
    let nested = (0usize..300).prop_map(|bytes| vec![b'n'; bytes]);
    let long = (0u8..40, 0usize..KEY_BYTES_MAX).prop_map(|(salt, bytes)| {
        let mut key = vec![salt; bytes];
        key.push(salt.wrapping_mul(7));
        key
    });
    let random = prop::collection::vec(any::<u8>(), 20..40);
    prop_oneof![2 => short, 4 => numbered, 1 => nested, 2 => long, 1 => random]
}

fn version() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..4, 2 => (1u64 << 60)..(1 << 60) + 100_000, 1 => any::<u64>(),
        1 => Just(u64::MAX)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let plain = (0u32..1000).prop_map(|number| Entry {
        segment: 7,
        offset_units: number * 512,
        span_bytes: 4096,
        size: 4000,
        ..Entry::default()
    });
    let any = (any::<(u32, u32, u32, u64)>(), any::<([u8; 16], u16, u8, u8)>()).prop_map(
        |((segment, offset_units, span_bytes, size), (etag, parts, flags, label))| Entry {
            segment,
            offset_units,
            span_bytes,
            size,
            etag,
            parts,
            flags,
            label,
        },
    );
    prop_oneof![20 => plain, 1 => any]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (key(), version(), entry()).prop_map(|(k, v, e)| Step::Insert(k, v, e)),
        5 => (key(), version()).prop_map(|(k, v)| Step::Remove(k, v)),
        1 => (key(), 0usize..120).prop_map(|(k, count)| Step::RemoveFrom(k, count)),
        3 => (key(), version(), 0usize..50).prop_map(|(k, v, count)| Step::Seek(k, v, count)),
    ]
}

fn model_from<'m>(
    model: &'m Model,
    key: &[u8],
    version: u64,
) -> impl Iterator<Item = (&'m [u8], u64, Entry)> {
    model
        .range((key.to_vec(), Reverse(version))..)
        .map(|((key, Reverse(version)), entry)| (key.as_slice(), *version, *entry))
}

fn check_walk(cursor: &mut Cursor<'_>, model: &Model, key: &[u8], version: u64, count: usize) {
    let mut expected = model_from(model, key, version);
    for _ in 0..count {
        let found = cursor.next();
        assert_eq!(found, expected.next());
        if found.is_none() {
            break;
        }
    }
}

/// Does the same to both, and compares what they answer.
fn apply(step: &Step, index: &mut Index, model: &mut Model) {
    match step {
        Step::Insert(key, version, entry) => {
            let key = &key[..key.len().min(KEY_BYTES_MAX)];
            let replaced = model.insert((key.to_vec(), Reverse(*version)), *entry);
            assert_eq!(index.insert(key, *version, *entry), replaced);
            assert_eq!(index.get(key, *version), Some(*entry));
        }
        Step::Remove(key, version) => {
            let removed = model.remove(&(key.clone(), Reverse(*version)));
            assert_eq!(index.remove(key, *version), removed);
            assert_eq!(index.get(key, *version), None);
        }
        Step::RemoveFrom(key, count) => {
            let doomed: Vec<_> = model
                .range((key.clone(), Reverse(u64::MAX))..)
                .take(*count)
                .map(|(pair, _)| pair.clone())
                .collect();
            for pair in doomed {
                assert_eq!(index.remove(&pair.0, pair.1.0), model.remove(&pair));
            }
        }
        Step::Seek(key, version, count) => {
            let newest = model_from(model, key, u64::MAX).next();
            let newest = newest.filter(|(found, ..)| found == key);
            assert_eq!(index.latest(key), newest.map(|(_, version, entry)| (version, entry)));
            let mut cursor = index.seek(key, *version);
            check_walk(&mut cursor, model, key, *version, *count);
            // A jump from wherever the cursor is now.
            let target = [key, b"b".as_slice()].concat();
            cursor.seek(&target, *version);
            check_walk(&mut cursor, model, &target, *version, 3);
        }
    }
    assert_eq!(index.len(), model.len());
}

fn run(steps: &[Step]) {
    let mut index = Index::new();
    let mut model = Model::new();
    for (at, step) in steps.iter().enumerate() {
        apply(step, &mut index, &mut model);
        if at % 64 == 0 {
            index.check();
        }
    }
    index.check();
    check_walk(&mut index.cursor(), &model, &[], u64::MAX, usize::MAX);
    for (key, Reverse(version)) in model.keys() {
        assert!(index.remove(key, *version).is_some());
    }
    assert!(index.is_empty());
    index.check();
    assert_eq!(index.cursor().next(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_does_what_a_sorted_map_does(steps in prop::collection::vec(step(), 1..1200)) {
        run(&steps);
    }
}

/// A small generator of pseudo-random numbers (SplitMix64).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn plausible(number: u64) -> Entry {
    let mut etag = [0; 16];
    etag[..8].copy_from_slice(&next_random(&mut number.clone()).to_le_bytes());
    Entry {
        segment: (number / 60_000) as u32,
        offset_units: (number % 60_000 * 512) as u32,
        span_bytes: 4096,
        size: 3000 + number % 700,
        etag,
        ..Entry::default()
    }
}

fn filled(keys: impl Iterator<Item = Vec<u8>>) -> Index {
    let mut index = Index::new();
    for (number, key) in keys.enumerate() {
        index.insert(
            &key,
            1_700_000_000_000_000_000 + number as u64 * 9_000,
            plausible(number as u64),
        );
    }
    index.check();
    index
}

#[test]
fn ascending_inserts_leave_full_leaves_even_amid_other_keys() {
    let ascending = |name: &'static str| {
        (0..20_000).map(move |number| format!("{name}/{number:035}").into_bytes())
    };
    let index = filled(ascending("logs"));
    assert!(index.leaf_fill_percent() >= 95, "{}", index.leaf_fill_percent());
    let amid = filled(
        ascending("zebra").take(30).chain(ascending("ant").take(30)).chain(ascending("logs")),
    );
    assert!(amid.leaf_fill_percent() >= 95, "{}", amid.leaf_fill_percent());
}

#[test]
fn random_inserts_leave_leaves_two_thirds_full() {
    let mut state = 1;
    let index = filled((0..50_000).map(|_| next_random(&mut state).to_be_bytes().to_vec()));
    assert!(index.leaf_fill_percent() >= 64, "{}", index.leaf_fill_percent());
}

#[test]
fn many_versions_of_one_key_stay_in_order_across_leaves() {
    let key = [b'k'; 1000];
    let mut index = Index::new();
    let mut state = 2;
    for number in 0..5_000 {
        index.insert(&key, next_random(&mut state), plausible(number));
    }
    index.check();
    let mut cursor = index.seek(&key, u64::MAX);
    let mut before = u64::MAX;
    let mut count = 0;
    while let Some((found, version, _)) = cursor.next() {
        assert!(found == key && version < before);
        (before, count) = (version, count + 1);
    }
    assert_eq!(count, 5_000);
    let (newest, _) = index.latest(&key).unwrap();
    let mut cursor = index.cursor();
    assert_eq!(cursor.next().unwrap().1, newest);
}

/// One row of full width forces every row of a dense leaf to full width: several leaves at once.
#[test]
fn an_outlier_in_a_dense_leaf_cuts_it_into_several() {
    let mut index = Index::new();
    for version in 0..1_000 {
        index.insert(b"key", version, Entry { segment: 3, ..Entry::default() });
    }
    let outlier = Entry {
        segment: u32::MAX,
        offset_units: u32::MAX,
        span_bytes: u32::MAX,
        size: u64::MAX,
        etag: [0xff; 16],
        parts: u16::MAX,
        flags: u8::MAX,
        label: u8::MAX,
    };
    assert!(index.insert(b"key", 500, outlier).is_some());
    index.check();
    index.insert(b"key", u64::MAX - 3, outlier);
    index.check();
    assert_eq!(index.len(), 1_001);
    assert_eq!(index.get(b"key", 500), Some(outlier));
    assert_eq!(index.latest(b"key"), Some((u64::MAX - 3, outlier)));
    assert_eq!(index.get(b"key", 499), Some(Entry { segment: 3, ..Entry::default() }));
}

#[test]
fn memory_is_given_back_when_everything_is_removed() {
    let mut state = 3;
    let keys: Vec<_> =
        (0..20_000).map(|_| next_random(&mut state).to_be_bytes().to_vec()).collect();
    let mut index = filled(keys.iter().cloned());
    for (number, key) in keys.iter().enumerate() {
        let version = 1_700_000_000_000_000_000 + number as u64 * 9_000;
        assert_eq!(index.remove(key, version), Some(plausible(number as u64)));
        if number % 1_000 == 0 {
            index.check();
        }
    }
    index.check();
    // What stays are the arenas' places.
    assert!(index.memory_bytes() < 64 * keys.len() / 10, "{}", index.memory_bytes());
}

#[test]
fn skip_scan_over_common_prefixes_finds_each_once() {
    let keys = (0..200).flat_map(|folder| {
        (0..folder % 70).map(move |file| format!("f{folder:03}/{file:03}").into_bytes())
    });
    let index = filled(keys);
    let (mut folders, mut cursor) = (Vec::new(), index.cursor());
    while let Some((key, ..)) = cursor.next() {
        let folder = String::from_utf8(key[..4].to_vec()).unwrap();
        let behind = format!("{folder}0").into_bytes();
        folders.push(folder);
        cursor.seek(&behind, u64::MAX);
    }
    let expected: Vec<_> =
        (0..200).filter(|folder| folder % 70 > 0).map(|folder| format!("f{folder:03}")).collect();
    assert_eq!(folders, expected);
}

#[test]
fn leaves_are_bounded() {
    let index = filled((0..3_000u32).map(|number| {
        let mut key = number.reverse_bits().to_be_bytes().to_vec();
        key.resize(KEY_BYTES_MAX, 1);
        key
    }));
    assert!(index.leaf_bytes_greatest() <= LEAF_BYTES_MAX);
}
