//! Every checksum of S3, MD5, and the CRC of the store's own blocks, over one piece at a time; MD5 over
//! pieces of several streams at once too.

use crate::sample;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::checksum::{Algorithm, Hasher, Md5, Piece, block_checksum, update_many};
use std::hint::black_box;

const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Of the pieces that several uploads bring, and how many of them.
const PIECE_SIZES: [usize; 2] = [64 << 10, 1 << 20];
const STREAM_COUNTS: [usize; 5] = [1, 4, 8, 16, 32];
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("CRC32", Algorithm::Crc32),
    ("CRC32C", Algorithm::Crc32c),
    ("CRC64NVME", Algorithm::Crc64Nvme),
    ("SHA1", Algorithm::Sha1),
    ("SHA256", Algorithm::Sha256),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    for (name, algorithm) in ALGORITHMS {
        bench(criterion, name, |bytes| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(bytes);
            hasher.finish()
        });
    }
    bench(criterion, "MD5", |bytes| {
        let mut md5 = Md5::new();
        md5.update(bytes);
        md5.finish()
    });
    bench_many(criterion);
    bench(criterion, "blocks", |bytes| bytes.chunks(4096).map(block_checksum).max());
}

fn bench_many(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for size in PIECE_SIZES {
        for count in STREAM_COUNTS {
            let contents: Vec<Vec<u8>> = (0..count).map(|_| sample::bytes(size)).collect();
            let mut streams = vec![Md5::new(); count];
            group.throughput(Throughput::Bytes((count * size) as u64));
            let name = format!("MD5 of {count} streams");
            group.bench_function(BenchmarkId::new(name, sample::size_name(size)), |bencher| {
                bencher.iter(|| {
                    let contents = black_box(&contents).iter();
                    let mut pieces: Vec<Piece<'_>> = streams
                        .iter_mut()
                        .zip(contents)
                        .map(|(md5, bytes)| Piece { md5, bytes })
                        .collect();
                    update_many(&mut pieces);
                });
            });
        }
    }
    group.finish();
}

fn bench<T>(criterion: &mut Criterion, name: &str, compute: impl Fn(&[u8]) -> T) {
    let mut group = criterion.benchmark_group("checksum");
    for size in SIZES {
        let bytes = sample::bytes(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(name, sample::size_name(size)), |bencher| {
            bencher.iter(|| compute(black_box(&bytes)));
        });
    }
    group.finish();
}
