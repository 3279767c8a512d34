//! Bytes, records and requests that several benches use.

use engine::Etag;
use engine::format::Salt;
use engine::format::record::{Record, RecordKind, Sections};
use ringfort_bench::keys::{KeyShape, digest, mixed};
use std::fmt::Write;

/// `cargo bench` says so; without it this is a test, which should take no time.
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Bytes without a pattern.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64).map(|number| mixed(number) as u8).collect()
}

/// `4 KiB`, `1 MiB`.
pub(crate) fn size_name(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

pub(crate) fn salt() -> Salt {
    Salt::of_store(&digest(1))
}

/// An object with a 40-byte key and the attributes of a plain upload.
pub(crate) fn record(data_bytes: usize) -> Record {
    Record {
        version: 1_790_000_000_000_000_000,
        size: data_bytes as u64,
        etag: Etag { md5: digest(2), parts: 0 },
        sections: Sections { attributes: bytes(48), ..Sections::default() },
        data: bytes(data_bytes),
        ..Record::new(RecordKind::Object, 1, KeyShape::Ascending.key(1).into_bytes())
    }
}

/// Whose requests are signed, and for when.
pub(crate) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const STAMP: &str = "20130524T000000Z";
pub(crate) const STAMP_SECONDS: i64 = 1_369_353_600;

const HOST: &str = "127.0.0.1:9000";
const PATH: &str = "/photos/2026/11/20/camera-7/000000001.jpg";

/// The head of a GET as an SDK sends it, signed.
pub(crate) fn get_head() -> Vec<u8> {
    let hash = loadgen::sign::EMPTY_SHA256;
    signed_head("GET", hash, &[("accept-encoding", "identity"), ("user-agent", USER_AGENT)], &[])
}

/// The head of a PUT of 4 KiB as an SDK sends it, signed.
pub(crate) fn put_head() -> Vec<u8> {
    let unsigned = [
        ("accept-encoding", "identity"),
        ("content-length", "4096"),
        ("expect", "100-continue"),
        ("user-agent", USER_AGENT),
    ];
    let signed = [
        ("content-type", "image/jpeg"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-meta-origin", "camera-7"),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
    ];
    signed_head("PUT", loadgen::sign::UNSIGNED_PAYLOAD, &unsigned, &signed)
}

/// Of the length that SDKs send.
const USER_AGENT: &str = "example-sdk/1.41.2 md/core#1.41.2 ua/2.1 os/linux#6.18 md/arch#x86_64 \
                          lang/python#3.14.0 md/pyimpl#CPython cfg/retry-mode#standard";

fn signed_head(
    method: &str,
    payload_hash: &str,
    unsigned: &[(&str, &str)],
    signed: &[(&str, &str)],
) -> Vec<u8> {
    let mut headers =
        vec![("host", HOST), ("x-amz-content-sha256", payload_hash), ("x-amz-date", STAMP)];
    headers.extend_from_slice(signed);
    headers.sort_unstable();
    let mut head = format!("{method} {PATH} HTTP/1.1\r\n");
    for (name, value) in headers.iter().chain(unsigned) {
        // Writing to a string cannot fail.
        _ = write!(head, "{name}: {value}\r\n");
    }
    let mut head = head.into_bytes();
    head.extend_from_slice(b"authorization: ");
    loadgen::sign::Signer::new(ACCESS_KEY, SECRET_KEY, REGION).authorization(
        &loadgen::sign::ToSign {
            method,
            path: PATH,
            query: "",
            headers: &headers,
            payload_hash,
            stamp: STAMP,
        },
        &mut head,
    );
    head.extend_from_slice(b"\r\n\r\n");
    head
}
