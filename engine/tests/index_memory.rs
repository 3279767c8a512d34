//! What a key costs in the index, measured by counting what is allocated.
//!
//! The budget is 80 bytes per key at 40-byte keys, so that a whole server stays below 100. The
//! same measurement at a million keys is ignored by default; it also prints times:
//! `cargo test --release -p ringfort-engine --test index_memory -- --ignored --nocapture`.

// A global allocator cannot be written in safe Rust.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]
// A measurement needs the real clock.
#![expect(clippy::disallowed_methods, clippy::disallowed_types)]

use ringfort_engine::index::{Entry, Index};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

struct Counting;

thread_local! {
    // Per thread, as tests run side by side; `const`, as its first use must not allocate.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    ALLOCATED.with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BYTES_PER_KEY_MAX: f64 = 80.0;

/// The same for a store that is as varied as can be.
const VARIED_BYTES_PER_KEY_MAX: f64 = 90.0;

/// A small generator of pseudo-random numbers (SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn hash_key(number: u64) -> String {
    let low = mixed(number ^ 0xabcd);
    format!("{:016x}{:016x}{:08x}", mixed(number), low, low as u32 ^ 0x5555)
}

fn ascending_key(number: u64) -> String {
    format!("photos/2026/11/20/camera-7/{number:09}.jpg")
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

fn check(
    name: &str,
    keys: u64,
    key: fn(u64) -> String,
    entry: fn(u64) -> (u64, Entry),
    bytes_per_key_max: f64,
) {
    let start = Instant::now();
    for number in 0..keys {
        std::hint::black_box((key(number), entry(number)));
    }
    let making_ns = start.elapsed().as_nanos() as u64 / keys;

    let (before, resident_before) = (ALLOCATED.get(), resident_bytes());
    let mut index = Index::new();
    let start = Instant::now();
    for number in 0..keys {
        let (version, entry) = entry(number);
        index.insert(key(number).as_bytes(), version, entry);
    }
    let insert_ns = start.elapsed().as_nanos() as u64 / keys;
    let allocated = (ALLOCATED.get() - before) as usize;
    assert_eq!(allocated, index.memory_bytes(), "{name}: memory_bytes counts what is allocated");
    let bytes_per_key = allocated as f64 / keys as f64;
    let resident_per_key = (resident_bytes() - resident_before) as f64 / keys as f64;

    let start = Instant::now();
    for number in 0..keys {
        let number = mixed(number) % keys;
        let (version, entry) = entry(number);
        assert_eq!(index.latest(key(number).as_bytes()), Some((version, entry)));
    }
    let lookup_ns = start.elapsed().as_nanos() as u64 / keys;

    let start = Instant::now();
    let (mut cursor, mut count) = (index.cursor(), 0);
    while cursor.next().is_some() {
        count += 1;
    }
    assert_eq!(count, keys);
    let walk_ns = start.elapsed().as_nanos() as u64 / keys;
    println!(
        "{name}: {bytes_per_key:.1} B/key, {resident_per_key:.1} resident; insert {insert_ns} ns, lookup {lookup_ns} ns (of \
         which {making_ns} ns for making the key), walk {walk_ns} ns"
    );
    assert!(bytes_per_key <= bytes_per_key_max, "{name}: {bytes_per_key:.1} bytes per key");
}

/// Objects of a byte to 4 GB, written throughout a year to 100 TB.
fn varied_entry(number: u64) -> (u64, Entry) {
    let (version, entry) = entry(number);
    let random = mixed(number ^ 0x9876);
    let varied = Entry {
        segment: (random % 400_000) as u32,
        span_bytes: (random >> (32 + random % 32)) as u32,
        size: random >> (32 + random % 32),
        ..entry
    };
    (version + number * 30_000_000_000, varied)
}

/// What the process has in memory, the allocator's losses included. What an earlier check gave back
/// is used again and does not show.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
}

fn check_all(keys: u64) {
    check("hashes", keys, hash_key, entry, BYTES_PER_KEY_MAX);
    check("ascending", keys, ascending_key, entry, BYTES_PER_KEY_MAX);
    check("varied", keys, hash_key, varied_entry, VARIED_BYTES_PER_KEY_MAX);
}

#[test]
fn a_hundred_thousand_keys_stay_within_the_budget() {
    check_all(100_000);
}

#[test]
#[ignore = "a measurement: takes seconds in a release build"]
fn a_million_keys_stay_within_the_budget() {
    check_all(1_000_000);
}
