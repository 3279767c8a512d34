//! A chunk of a large body: sealing before its write, verification after its read.

use crate::sample;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::format::chunk::{ChunkHeader, chunk_bytes, seal_chunk};
use engine::format::manifest::ChunkPlace;
use engine::limits::{CHUNK_HEADER_BYTES, CHUNK_PAYLOAD_MAX, UNIT_BYTES};
use std::hint::black_box;

const TAG: u64 = 9;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    for payload_bytes in [UNIT_BYTES - CHUNK_HEADER_BYTES, CHUNK_PAYLOAD_MAX] {
        let mut chunk = sample::bytes(chunk_bytes(payload_bytes));
        let place = ChunkPlace { segment: 1, offset: 0, bytes: chunk.len(), index: 3 };
        let name = format!("{} KiB", payload_bytes >> 10);
        group.throughput(Throughput::Bytes(payload_bytes as u64));
        group.bench_function(BenchmarkId::new("seal", &name), |bencher| {
            bencher.iter(|| {
                seal_chunk(sample::salt(), TAG, place.index, payload_bytes, black_box(&mut chunk));
            });
        });
        seal_chunk(sample::salt(), TAG, place.index, payload_bytes, &mut chunk);
        group.bench_function(BenchmarkId::new("verify", &name), |bencher| {
            bencher.iter(|| verify(&place, black_box(&chunk)));
        });
    }
    group.finish();
}

fn verify(place: &ChunkPlace, chunk: &[u8]) -> usize {
    let header = ChunkHeader::decode(sample::salt(), TAG, place, chunk).expect("the header fits");
    let payload = &chunk[CHUNK_HEADER_BYTES..][..header.payload_bytes];
    header.verify(0, payload).expect("the payload is intact");
    payload.len()
}
