//! A record of the log: encoding as the shard does it, decoding as a GET does it.

use crate::sample;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use engine::format::record::{Encoded, Head, Record};
use std::hint::black_box;

const DATA_SIZES: [usize; 4] = [0, 100, 4 << 10, 64 << 10];
const EPOCH: u64 = 7;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for size in DATA_SIZES {
        let record = sample::record(size);
        let bytes = encode(record.clone());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("encode", sample::size_name(size)), |bencher| {
            let mut out = vec![0; bytes.len()];
            let write = |record: Record| {
                let encoded = Encoded::new(record).expect("the head is within its bound");
                encoded.write(sample::salt(), EPOCH, black_box(&mut out));
                encoded
            };
            bencher.iter_batched(|| record.clone(), write, BatchSize::LargeInput);
        });
        group.bench_function(BenchmarkId::new("decode", sample::size_name(size)), |bencher| {
            bencher.iter(|| decode(black_box(&bytes)));
        });
    }
    group.finish();
}

fn encode(record: Record) -> Vec<u8> {
    let encoded = Encoded::new(record).expect("the head is within its bound");
    let mut out = vec![0; encoded.span_bytes()];
    encoded.write(sample::salt(), EPOCH, &mut out);
    out
}

/// Verifies head and data, and reads the sections.
fn decode(bytes: &[u8]) -> usize {
    let head = Head::decode(sample::salt(), bytes).expect("the record is well-formed");
    let sections = head.sections().expect("the sections are well-formed");
    let data = bytes.get(head.head_bytes..).unwrap_or_default();
    head.verify_data(data).expect("the data is intact");
    sections.attributes.len()
}
