//! Every checksum of S3, MD5, and the CRC of the store's own blocks, over one piece at a time.

use crate::sample;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::checksum::{Algorithm, Hasher, Md5, block_checksum};
use std::hint::black_box;

const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
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
    bench(criterion, "blocks", |bytes| bytes.chunks(4096).map(block_checksum).max());
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
