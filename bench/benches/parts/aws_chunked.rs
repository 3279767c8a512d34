//! Decoding of `aws-chunked` bodies in place: with signatures, and with a trailer alone.

use crate::sample::{self, ACCESS_KEY, REGION, SECRET_KEY, STAMP};
use criterion::{BatchSize, Criterion, Throughput};
use s3api::auth::Credentials;
use s3api::auth::chunked::{ChunkDecoder, ChunkSigner, ChunkedForm};
use s3api::auth::timestamp::Timestamp;
use std::hint::black_box;

/// AWS's example of a chunked upload ("Signature Calculations for the Authorization Header:
/// Transferring Payload in Multiple Chunks"): the request's signature, and the chunks'.
const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const SIGNED_CHUNKS: [(usize, &str); 3] = [
    (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
];
const SIGNED_BYTES: usize = 65 * 1024;
/// A body in chunks of the size that SDKs choose.
const UNSIGNED_BYTES: usize = 1 << 20;
const UNSIGNED_CHUNK_BYTES: usize = 64 << 10;
const TRAILER: &str = "x-amz-checksum-crc32";

pub(crate) fn benches(criterion: &mut Criterion) {
    bench(criterion, "signed, 65 KiB", SIGNED_BYTES, &signed_body(), signed_form);
    bench(criterion, "unsigned, 1 MiB", UNSIGNED_BYTES, &unsigned_body(), unsigned_form);
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    data_bytes: usize,
    body: &[u8],
    form: impl Fn() -> ChunkedForm,
) {
    let mut group = criterion.benchmark_group("aws-chunked decoding");
    group.throughput(Throughput::Bytes(data_bytes as u64));
    group.bench_function(name, |bencher| {
        // The data is moved within the body, so each round needs a fresh one.
        let fresh = || (ChunkDecoder::new(form()), body.to_vec());
        bencher.iter_batched(
            fresh,
            |(mut decoder, mut body)| {
                let count = decoder.decode(black_box(&mut body)).expect("the body is well-formed");
                assert_eq!(count, data_bytes);
                decoder.finish().expect("the body is complete");
                // Freed outside the measurement.
                body
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn signed_form() -> ChunkedForm {
    let credentials = Credentials::new(REGION);
    credentials.insert(ACCESS_KEY, SECRET_KEY);
    let (_, key) = credentials.signing_key(ACCESS_KEY, b"20130524").expect("the key is known");
    let timestamp = Timestamp::from_basic(STAMP.as_bytes()).expect("the time is well-formed");
    let scope = "20130524/us-east-1/s3/aws4_request".to_owned();
    ChunkedForm {
        decoded_bytes: SIGNED_BYTES as u64,
        signer: Some(Box::new(ChunkSigner::new(key, timestamp, scope, SEED))),
        trailers: None,
    }
}

fn signed_body() -> Vec<u8> {
    let mut body = Vec::new();
    for (bytes, signature) in SIGNED_CHUNKS {
        body.extend_from_slice(format!("{bytes:x};chunk-signature={signature}\r\n").as_bytes());
        body.resize(body.len() + bytes, b'a');
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn unsigned_form() -> ChunkedForm {
    ChunkedForm {
        decoded_bytes: UNSIGNED_BYTES as u64,
        signer: None,
        trailers: Some(vec![TRAILER.to_owned()]),
    }
}

fn unsigned_body() -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in sample::bytes(UNSIGNED_BYTES).chunks(UNSIGNED_CHUNK_BYTES) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0\r\n{TRAILER}:AAAAAA==\r\n\r\n").as_bytes());
    body
}
