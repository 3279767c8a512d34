//! AWS's published chunked uploads, every way of cutting them, and what is wrong with bodies.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::credentials::Credentials;
use proptest::prelude::*;

const DATA_BYTES: usize = 65 * 1024;

/// AWS's example of a chunked upload: its seed and the signatures of its chunks.
const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const CHUNKS: [&str; 3] = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
];
/// AWS's example of a chunked upload with a trailer.
const TRAILER_SEED: &str = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
const TRAILER_CHUNKS: [&str; 3] = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
];
const SIGNED_TRAILER: &str = "x-amz-checksum-crc32c:sOO8/Q==\r\n\
    x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\
    \r\n";

fn signer(seed: &str) -> ChunkSigner {
    let credentials = Credentials::new("us-east-1");
    credentials.insert("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let key = credentials.signing_key("AKIAIOSFODNN7EXAMPLE", b"20130524").unwrap().1;
    let timestamp = Timestamp::from_basic(b"20130524T000000Z").unwrap();
    ChunkSigner::new(key, timestamp, "20130524/us-east-1/s3/aws4_request".into(), seed)
}

fn form(seed: Option<&str>, trailers: Option<&[&str]>, decoded_bytes: usize) -> ChunkedForm {
    ChunkedForm {
        decoded_bytes: decoded_bytes as u64,
        signer: seed.map(signer).map(Box::new),
        trailers: trailers.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

fn documented_body(signatures: [&str; 3], trailer: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (size, signature) in [65536, 1024, 0].into_iter().zip(signatures) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        if size > 0 {
            body.extend(vec![b'a'; size]);
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(trailer.as_bytes());
    body
}

/// Decodes a body cut into pieces whose sizes repeat.
fn decode(form: ChunkedForm, body: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, Trailers), S3Error> {
    let mut decoder = ChunkDecoder::new(form);
    let mut data = Vec::new();
    let mut rest = body;
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        let mut piece = piece.to_vec();
        let count = decoder.decode(&mut piece)?;
        data.extend_from_slice(&piece[..count]);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    Ok((data, decoder.finish()?))
}

#[test]
fn the_published_bodies_are_good() {
    for size in [1, 2, 89, 1000, 100_000] {
        let body = documented_body(CHUNKS, "\r\n");
        let (data, trailers) = decode(form(Some(SEED), None, DATA_BYTES), &body, &[size]).unwrap();
        assert_eq!((data, trailers.is_empty()), (vec![b'a'; DATA_BYTES], true));

        let body = documented_body(TRAILER_CHUNKS, SIGNED_TRAILER);
        let announced: &[&str] = &["x-amz-checksum-crc32c"];
        let form = form(Some(TRAILER_SEED), Some(announced), DATA_BYTES);
        let (data, trailers) = decode(form, &body, &[size]).unwrap();
        assert_eq!(data, vec![b'a'; DATA_BYTES]);
        assert_eq!(trailers.get("x-amz-checksum-crc32c"), Some("sOO8/Q=="));
    }
}

fn check_refused(form: ChunkedForm, body: &[u8], code: Code) {
    let error = decode(form, body, &[70_000]).unwrap_err();
    assert_eq!(error.code, code, "{}", String::from_utf8_lossy(&body[..body.len().min(200)]));
}

#[test]
fn a_signature_that_does_not_fit_is_refused_wherever_it_is() {
    let mismatch = Code::SignatureDoesNotMatch;
    let signed = || form(Some(SEED), None, DATA_BYTES);
    for position in 0..3 {
        let mut signatures = CHUNKS;
        signatures[position] = TRAILER_CHUNKS[position];
        check_refused(signed(), &documented_body(signatures, "\r\n"), mismatch);
    }
    check_refused(
        form(Some(TRAILER_SEED), None, DATA_BYTES),
        &documented_body(CHUNKS, "\r\n"),
        mismatch,
    );
    let mut changed = documented_body(CHUNKS, "\r\n");
    changed[40_000] ^= 1;
    check_refused(signed(), &changed, mismatch);
    check_refused(signed(), b"10000\r\n", mismatch);
    check_refused(signed(), b"10000;chunk-signature=00\r\n", mismatch);

    let announced: &[&str] = &["x-amz-checksum-crc32c"];
    let with_trailer = || form(Some(TRAILER_SEED), Some(announced), DATA_BYTES);
    for (from, to) in [
        ("d81f", "d81e"),
        ("sOO8", "sOO9"),
        ("x-amz-trailer-signature:d8", "x-amz-trailer-signature:"),
        (&SIGNED_TRAILER[SIGNED_TRAILER.find("x-amz-trailer").unwrap()..], ""),
    ] {
        let trailer = SIGNED_TRAILER.replace(from, to);
        check_refused(with_trailer(), &documented_body(TRAILER_CHUNKS, &trailer), mismatch);
    }
}

#[test]
fn the_announced_length_is_exact() {
    let unsigned = |bytes| form(None, Some(&[]), bytes);
    let body = b"3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(decode(unsigned(3), body, &[5]).unwrap().0, b"abc");
    check_refused(unsigned(2), body, Code::IncompleteBody);
    check_refused(unsigned(4), body, Code::IncompleteBody);
    for cut in 0..body.len() - 4 {
        check_refused(unsigned(3), &body[..cut], Code::IncompleteBody);
    }
}

#[test]
fn malformed_framing_is_refused() {
    for body in
        ["x\r\n", "\r\n", "-1\r\n", "+1\r\n", "3\n", "3\r\nabcd\r\n", "3\r\nabc\n0\r\n", " 3\r\n"]
    {
        check_refused(form(None, Some(&[]), 3), body.as_bytes(), Code::InvalidRequest);
    }
    check_refused(form(None, None, 3), b"11112222333344445\r\n", Code::InvalidRequest);
    check_refused(form(None, None, 3), &[b'0'; CHUNK_LINE_BYTES_MAX + 1], Code::InvalidRequest);
}

fn check_trailer(trailer: &str, announced: &[&str], value: Result<Option<&str>, Code>) {
    let body = format!("1\r\na\r\n0\r\n{trailer}");
    let found = decode(form(None, Some(announced), 1), body.as_bytes(), &[3]);
    let found = found.map(|(_, trailers)| trailers.get("x-amz-checksum-crc32").map(str::to_owned));
    let value = value.map(|value| value.map(str::to_owned));
    assert_eq!(found.map_err(|error| error.code), value, "{trailer:?}");
}

#[test]
fn trailers_are_those_announced() {
    let announced: &[&str] = &["x-amz-checksum-crc32"];
    let good = Ok(Some("s3SFCQ=="));
    let bad = Err(Code::MalformedTrailerError);
    check_trailer("x-amz-checksum-crc32:s3SFCQ==\r\n\r\n", announced, good);
    // With the blanks that other clients write.
    check_trailer("X-Amz-Checksum-Crc32: s3SFCQ==\n\r\n\r\n\r\n", announced, good);
    check_trailer("x-amz-checksum-crc32:s3SFCQ==", announced, good);
    check_trailer("", announced, bad);
    check_trailer("\r\n", &[], Ok(None));
    check_trailer("x-amz-checksum-crc32:s3SFCQ==\r\n\r\n", &[], bad);
    check_trailer("x-amz-checksum-crc32\r\n\r\n", announced, bad);
    let twice = "x-amz-checksum-crc32:s3SFCQ==\r\nx-amz-checksum-crc32:s3SFCQ==\r\n\r\n";
    check_trailer(twice, announced, bad);
    check_trailer(
        &format!("x-amz-checksum-crc32:{}", "a".repeat(TRAILER_BYTES_MAX)),
        announced,
        bad,
    );
    check_refused(
        form(None, None, 0),
        b"0\r\nx-amz-checksum-crc32:a\r\n\r\n",
        Code::MalformedTrailerError,
    );
}

proptest! {
    #[test]
    fn every_way_of_cutting_a_body_gives_the_same(
        chunks in prop::collection::vec(prop::collection::vec(0u8.., 1..300), 0..8),
        sizes in prop::collection::vec(1usize..120, 1..8),
        broken in prop::option::of((0usize..2000, 0u8..)),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        if let Some((position, byte)) = broken {
            let count = body.len();
            body[position % count] = byte;
        }
        let announced: &[&str] = &["x-amz-checksum-crc32"];
        let bytes = chunks.concat().len();
        let whole = decode(form(None, Some(announced), bytes), &body, &[usize::MAX]);
        let cut = decode(form(None, Some(announced), bytes), &body, &sizes);
        if broken.is_none() {
            prop_assert_eq!(&whole.as_ref().unwrap().0, &chunks.concat());
        }
        prop_assert_eq!(whole.map_err(|error| error.code), cut.map_err(|error| error.code));
    }

    #[test]
    fn random_bytes_never_panic(
        body in prop::collection::vec(prop_oneof![
            Just(b'0'), Just(b'3'), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b';'), 0u8..
        ], 0..600),
        sizes in prop::collection::vec(1usize..50, 1..5),
        bytes in 0usize..20,
        is_signed: bool,
    ) {
        let form = form(is_signed.then_some(SEED), Some(&[]), bytes);
        if let Ok((data, _)) = decode(form, &body, &sizes) {
            prop_assert_eq!(data.len(), bytes);
        }
    }
}
