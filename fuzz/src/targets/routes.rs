//! Where a request goes, and where a copy comes from.
//!
//! Oracles: RFC 3986's decoding written plainly; the same bucket and key whichever way a client addresses and writes
//! them; an operation on an object if and only if there is a key, and then a bucket too.

use crate::reader::Reader;
use s3api::ops::copy_source::CopySource;
use s3api::route::{Route, Target, route, website};

const METHODS: [&str; 7] = ["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "PATCH"];
const DOMAINS: [&str; 2] = ["example.com", "s3.example.com"];
const HOSTS: [&str; 6] =
    ["127.0.0.1:9000", "example.com", "S3.Example.Com.:80", "[::1]:9000", "", "com"];

/// A method, a host, and a target as it is sent.
pub fn routes(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (method, host, copy) = (reader.pick(&METHODS), reader.pick(&HOSTS), reader.u8() % 2 == 1);
    let Ok(target) = std::str::from_utf8(reader.rest()) else { return };
    let domains = DOMAINS.map(str::to_owned);
    let ask = |host: &str, target: &str| {
        route(Target { method, host: Some(host), target, copy }, &domains)
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = ask(host, target);
    let Some((bucket, key)) = place(path) else {
        assert!(found.is_err(), "{found:?}");
        return;
    };
    if let Ok(found) = &found {
        assert_eq!((&found.bucket, &found.key), (&bucket, &key));
        assert!(!found.bucket.is_empty() || found.key.is_empty());
    }
    // However much of it is encoded.
    let again = ask(host, &format!("/{}/{}?{query}", encoded(&bucket), encoded(&key)));
    if !(bucket.is_empty() || key.is_empty()) {
        same(&found, &again);
    }
    // In the name of the host, which may not be cased or spelt in another way than buckets are.
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !bucket.is_empty() && bucket.bytes().all(is_label) && bucket != "s3" {
        for domain in DOMAINS {
            let host = format!("{bucket}.{domain}:9000");
            same(&found, &ask(&host, &format!("/{}?{query}", encoded(&key))));
            let page =
                Target { method, host: Some(&host), target: &format!("/{}", encoded(&key)), copy };
            match website(page, &domains) {
                Some(Ok(page)) => {
                    assert_eq!((page.bucket, page.key), (bucket.clone(), key.clone()))
                }
                Some(Err(_)) => assert!(!["GET", "HEAD", "OPTIONS"].contains(&method)),
                None => panic!("{host} is the host of a website"),
            }
        }
    }
}

fn same(one: &s3api::error::Result<Route>, other: &s3api::error::Result<Route>) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => assert_eq!(one.code, other.code),
        _ => panic!("{one:?} and {other:?}"),
    }
}

/// Bucket and key of a path, of which only the first slash behind the bucket is none of the key's.
fn place(path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('/')?;
    let (bucket, key) = match path.find('/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, ""),
    };
    let (bucket, key) = (decoded(bucket)?, decoded(key)?);
    (!bucket.is_empty() || key.is_empty()).then_some((bucket, key))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Every byte of it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The value of `x-amz-copy-source`; and a bucket and a key, of which one is made.
pub fn copy_source(input: &[u8]) {
    let Ok(header) = std::str::from_utf8(input) else { return };
    if let Some((bucket, key)) = header.split_once('/')
        && !bucket.is_empty()
        && !key.is_empty()
        && !bucket.starts_with("arn:")
    {
        let path = encoded(&format!("{bucket}/{key}"));
        for (id, query) in [(None, ""), (Some("null".to_owned()), "?versionId=null")] {
            let source = CopySource::parse(&format!("{path}{query}")).ok();
            let expected =
                CopySource { bucket: bucket.to_owned(), key: key.to_owned(), version_id: id };
            assert_eq!(source, Some(expected));
        }
    }
    let Ok(source) = CopySource::parse(header) else { return };
    assert!(!source.bucket.is_empty() && !source.bucket.contains('/') && !source.key.is_empty());
    let (path, query) = header.split_once('?').unwrap_or((header, ""));
    let named = decoded(path).unwrap_or_default();
    let named = named.strip_prefix('/').unwrap_or(&named);
    assert_eq!(named, format!("{}/{}", source.bucket, source.key));
    let id = source.version_id.as_deref();
    assert_eq!(query, id.map_or(String::new(), |id| format!("versionId={id}")));
    // Written in full it is the same.
    let path = encoded(&format!("/{}/{}", source.bucket, source.key));
    let again = if query.is_empty() { path } else { format!("{path}?{query}") };
    assert_eq!(CopySource::parse(&again).ok(), Some(source));
}
