//! A request's head, from bytes to `RequestHead`.
//!
//! `parse` makes a new head each time; a connection reuses one, and so saves its two allocations.

use crate::sample;
use criterion::{Criterion, Throughput};
use http::RequestHead;
use std::hint::black_box;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request head");
    for (name, head) in [("GET", sample::get_head()), ("PUT", sample::put_head())] {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| RequestHead::parse(black_box(&head)).expect("the head is well-formed"));
        });
    }
    group.finish();
}
