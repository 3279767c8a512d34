//! Criterion benches of the parts of a request's way, one file a part.
//!
//! `cargo bench -p ringfort-bench` measures; with a word behind `--`, those whose names hold it.
//! Under `cargo test` each runs once, over little data, so that none of them rots.
//! Not here: anything that does I/O or waits.

mod aws_chunked;
mod checksum;
mod chunk;
mod group;
mod head;
mod index;
mod record;
mod sample;
mod sigv4;

criterion::criterion_group!(
    parts,
    head::benches,
    sigv4::benches,
    aws_chunked::benches,
    checksum::benches,
    record::benches,
    group::benches,
    chunk::benches,
    index::benches,
);
criterion::criterion_main!(parts);
