//! A group of the log: sealing before its write, and reading as recovery does.

use crate::sample;
use criterion::{BenchmarkId, Criterion, Throughput};
use engine::format::group::{GROUP_HEADER_BYTES, GroupHeader, group_bytes};
use engine::format::record::{Encoded, Records, place};
use engine::format::segment::Stream;
use std::hint::black_box;

const RECORD_COUNTS: [u32; 3] = [1, 16, 200];
const DATA_BYTES: usize = 4 << 10;
const EPOCH: u64 = 7;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group");
    for record_count in RECORD_COUNTS {
        let (mut header, mut bytes) = unsealed(record_count);
        let name = format!("{record_count} records of 4 KiB");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("seal", &name), |bencher| {
            bencher.iter(|| header.seal_group(sample::salt(), black_box(&mut bytes)));
        });
        header.seal_group(sample::salt(), &mut bytes);
        group.bench_function(BenchmarkId::new("replay", &name), |bencher| {
            bencher.iter(|| replay(black_box(&bytes)));
        });
    }
    group.finish();
}

/// A group whose records stand in place and whose header does not.
fn unsealed(record_count: u32) -> (GroupHeader, Vec<u8>) {
    let encoded = Encoded::new(sample::record(DATA_BYTES)).expect("the head is within its bound");
    let (mut bytes, mut end) = (Vec::new(), GROUP_HEADER_BYTES);
    for _ in 0..record_count {
        let start = place(end, encoded.span_bytes());
        end = start + encoded.span_bytes();
        bytes.resize(end, 0);
        encoded.write(sample::salt(), EPOCH, &mut bytes[start..]);
    }
    let content_bytes = end - GROUP_HEADER_BYTES;
    bytes.resize(group_bytes(content_bytes), 0);
    let header = GroupHeader {
        group_bytes: bytes.len() as u32,
        content_bytes: content_bytes as u32,
        record_count,
        segment: 1,
        epoch: EPOCH,
        lsn: 9,
        durable_lsn: 8,
        chain_before: 1,
        content_checksum: 0,
        shard: 0,
        stream: Stream::Foreground,
        next_segment: None,
        written_ns: 1_790_000_000_000_000_000,
    };
    (header, bytes)
}

/// Verifies the group, and every record's head.
fn replay(bytes: &[u8]) -> u64 {
    let (header, _) = GroupHeader::decode(sample::salt(), bytes).expect("the group is intact");
    header.content(sample::salt(), bytes).expect("the content is intact");
    let end = GROUP_HEADER_BYTES + header.content_bytes as usize;
    let (start, count) = (GROUP_HEADER_BYTES, header.record_count);
    let records = Records::new(sample::salt(), bytes, start, end, count);
    records.map(|record| record.expect("the record is intact").1.size).sum()
}
