//! The index of one shard that holds a million keys of 40 bytes.
//!
//! Keys are made beforehand; a lookup is of a key at random, so most leaves come from memory.

use crate::sample;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use engine::index::{Entry, Index};
use ringfort_bench::keys::{KeyShape, digest, mixed};
use std::hint::black_box;
use std::time::{Duration, Instant};

const KEYS: u64 = 1_000_000;
const KEYS_IN_A_TEST: u64 = 1_000;
/// Keys that are asked for, one after the other.
const ASKED: usize = 1 << 16;
/// Rows of a listing's page.
const PAGE_ROWS: usize = 1_000;
/// Keys inserted before they are taken out again.
const INSERTED_AT_ONCE: u64 = 10_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let keys = if sample::is_measuring() { KEYS } else { KEYS_IN_A_TEST };
    let mut group = criterion.benchmark_group("index");
    for shape in KeyShape::ALL {
        let mut index = Index::new();
        for number in 0..keys {
            insert(&mut index, shape.key(number).as_bytes(), number);
        }
        bench_lookup(&mut group, &index, shape, keys);
        bench_scan(&mut group, &index, shape, keys);
        bench_insert(&mut group, &mut index, shape, keys);
    }
    group.finish();
}

/// Objects of 1 to 17 KB, appended to segments of 256 MiB, one every 100 microseconds or so.
fn insert(index: &mut Index, key: &[u8], number: u64) {
    let random = mixed(number ^ 0x1234);
    let (at, size) = (number * 12_288, 1000 + random % 16_000);
    let entry = Entry {
        segment: (at >> 28) as u32,
        offset_units: ((at & ((1 << 28) - 1)) / 8) as u32,
        span_bytes: (size + 300) as u32,
        size,
        etag: digest(number),
        ..Entry::default()
    };
    index.insert(key, version(number), entry);
}

fn version(number: u64) -> u64 {
    1_790_000_000_000_000_000 + number * 100_000 + mixed(number) % 50_000
}

fn asked(shape: KeyShape, keys: u64) -> Vec<String> {
    (0..ASKED as u64).map(|number| shape.key(mixed(number) % keys)).collect()
}

fn bench_lookup(
    group: &mut BenchmarkGroup<'_, WallTime>,
    index: &Index,
    shape: KeyShape,
    keys: u64,
) {
    let asked = asked(shape, keys);
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("lookup", shape.name()), |bencher| {
        let mut next = asked.iter().cycle();
        bencher.iter(|| {
            let key = next.next().map(String::as_bytes).unwrap_or_default();
            index.latest(black_box(key)).expect("the key is there")
        });
    });
}

fn bench_scan(group: &mut BenchmarkGroup<'_, WallTime>, index: &Index, shape: KeyShape, keys: u64) {
    let asked = asked(shape, keys);
    group.throughput(Throughput::Elements(PAGE_ROWS as u64));
    group.bench_function(BenchmarkId::new("scan 1000", shape.name()), |bencher| {
        let mut next = asked.iter().cycle();
        bencher.iter(|| {
            let key = next.next().map(String::as_bytes).unwrap_or_default();
            let mut cursor = index.seek(key, u64::MAX);
            let mut bytes = 0;
            for _ in 0..PAGE_ROWS {
                let Some((key, _, entry)) = cursor.next() else { break };
                bytes += key.len() as u64 + entry.size;
            }
            bytes
        });
    });
}

/// New keys go in under the clock and out again beside it, so that the index keeps its size.
fn bench_insert(
    group: &mut BenchmarkGroup<'_, WallTime>,
    index: &mut Index,
    shape: KeyShape,
    keys: u64,
) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("insert", shape.name()), |bencher| {
        bencher.iter_custom(|rounds| {
            let mut taken = Duration::ZERO;
            for first in (0..rounds).step_by(INSERTED_AT_ONCE as usize) {
                let numbers = keys..keys + INSERTED_AT_ONCE.min(rounds - first);
                let new: Vec<_> = numbers.map(|number| (number, shape.key(number))).collect();
                let begin = Instant::now();
                for (number, key) in &new {
                    insert(index, black_box(key.as_bytes()), *number);
                }
                taken += begin.elapsed();
                for (number, key) in &new {
                    index.remove(key.as_bytes(), version(*number));
                }
            }
            taken
        });
    });
}
