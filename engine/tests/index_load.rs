//! What a checkpoint costs the index: the slices of a walk, the copies that writes make meanwhile,
//! and loading, per entry.
//!
//! Restart must load 2.5 million entries in well under half a second of one core. The measurement of
//! that size is ignored by default:
//! `cargo test --release -p ringfort-engine --test index_load -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
// A measurement needs the real clock.
#![expect(clippy::disallowed_methods, clippy::disallowed_types)]

use ringfort_engine::index::{Entry, Index, Loader};
use std::time::{Duration, Instant};

const SLICE_BYTES: usize = 128 << 10;

/// Writes between two slices, in the measurement of writes during a walk.
const WRITES_PER_SLICE: u64 = 16;

/// A small generator of pseudo-random numbers (SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn hash_key(number: u64) -> String {
    format!("bucket/{:016x}{:016x}", mixed(number), mixed(number ^ 0xabcd))
}

fn ascending_key(number: u64) -> String {
    format!("bucket/photos/2026/11/20/camera-7/{number:09}.jpg")
}

/// A hundred folders that take turns, so that runs of keys end soon.
fn folder_key(number: u64) -> String {
    format!("bucket/folder-{:02}/{:020x}.jpg", number % 100, mixed(number) >> 24)
}

/// Objects of 1 to 17 KB, appended to segments of 256 MiB, one every 100 microseconds or so.
fn entry(number: u64) -> (u64, Entry) {
    let random = mixed(number ^ 0x1234);
    let size = 1000 + random % 16_000;
    let at = number * 12_288;
    let mut etag = [0; 16];
    etag[..8].copy_from_slice(&random.to_le_bytes());
    etag[8..].copy_from_slice(&mixed(random).to_le_bytes());
    let entry = Entry {
        segment: (at >> 28) as u32,
        offset_units: ((at & ((1 << 28) - 1)) / 8) as u32,
        span_bytes: (size + 300) as u32,
        size,
        etag,
        ..Entry::default()
    };
    (1_790_000_000_000_000_000 + number * 100_000 + random % 50_000, entry)
}

fn insert(index: &mut Index, key: fn(u64) -> String, number: u64) {
    let (version, entry) = entry(number);
    index.insert(key(number).as_bytes(), version, entry);
}

/// All slices of a walk, and how long 99 of 100 took at most: the longest was interrupted.
fn walk(index: &mut Index) -> (Vec<Vec<u8>>, Duration) {
    index.begin_walk();
    let (mut slices, mut times) = (Vec::new(), Vec::new());
    // The same buffer each time, as one that was never touched costs page faults.
    let mut slice = vec![1; 2 * SLICE_BYTES];
    while index.is_walking() {
        slice.clear();
        let start = Instant::now();
        index.walk(&mut slice, SLICE_BYTES);
        times.push(start.elapsed());
        slices.push(slice.clone());
    }
    times.sort_unstable();
    let time = times[(times.len() - 1) * 99 / 100];
    (slices, time)
}

fn check(name: &str, keys: u64, key: fn(u64) -> String) {
    let mut index = Index::new();
    (0..keys).for_each(|number| insert(&mut index, key, number));

    let (slices, slice_time) = walk(&mut index);
    let bytes: usize = slices.iter().map(Vec::len).sum();
    let per_key = |elapsed: Duration| elapsed.as_secs_f64() * 1e9 / keys as f64;

    // As recovery counts: live bytes of every segment.
    let mut live_bytes = vec![0u64; 1 << 20];
    let start = Instant::now();
    let mut loader = Loader::new();
    for slice in &slices {
        let count = |_, entry: &Entry| {
            live_bytes[entry.segment as usize] += u64::from(entry.span_bytes);
        };
        loader.push(slice, count).unwrap();
    }
    let pushed = start.elapsed();
    let loaded = loader.finish().unwrap();
    let finished = start.elapsed() - pushed;
    let expected: u64 = (0..keys).map(|number| u64::from(entry(number).1.span_bytes)).sum();
    assert_eq!(live_bytes.iter().sum::<u64>(), expected);
    drop(slices);
    check_equal(&index, &loaded);

    let start = Instant::now();
    (keys..keys + keys / 10).for_each(|number| insert(&mut index, key, number));
    let idle = start.elapsed();
    index.begin_walk();
    let (mut slice, mut copies_bytes) = (Vec::new(), 0);
    let idle_bytes = index.memory_bytes();
    let mut walking = Duration::ZERO;
    let mut writes = 0;
    while index.is_walking() {
        let start = Instant::now();
        for number in 0..WRITES_PER_SLICE {
            insert(&mut index, key, keys + keys / 10 + writes + number);
        }
        walking += start.elapsed();
        writes += WRITES_PER_SLICE;
        copies_bytes = copies_bytes.max(index.memory_bytes().saturating_sub(idle_bytes));
        slice.clear();
        index.walk(&mut slice, SLICE_BYTES);
    }
    println!(
        "{name}: {:.1} bytes of image a key; push {:.1} ns, finish {:.1} ns a key; slice {slice_time:?}; \
         insert {:.0} ns, during a walk {:.0} ns, {} KiB more held",
        bytes as f64 / keys as f64,
        per_key(pushed),
        per_key(finished),
        idle.as_secs_f64() * 1e9 / (keys / 10) as f64,
        walking.as_secs_f64() * 1e9 / writes as f64,
        copies_bytes >> 10,
    );
}

fn check_equal(index: &Index, loaded: &Index) {
    assert_eq!(index.len(), loaded.len());
    let (mut left, mut right) = (index.cursor(), loaded.cursor());
    while let Some(found) = left.next() {
        assert_eq!(Some(found), right.next());
    }
    // Leaves are loaded at the size class of what they hold, without slack.
    assert!(loaded.memory_bytes() <= index.memory_bytes() * 21 / 20);
}

fn check_all(keys: u64) {
    check("hashes", keys, hash_key);
    check("ascending", keys, ascending_key);
    check("folders", keys, folder_key);
}

#[test]
fn a_loaded_index_is_the_walked_one() {
    check_all(20_000);
}

#[test]
#[ignore = "a measurement: takes seconds in a release build"]
fn two_and_a_half_million_entries_load_fast() {
    check_all(2_500_000);
}
