//! SigV4 against botocore's signer, which most of S3's clients stand on: each request that it signs is found good, and
//! the canonical request is the same to the byte.
//!
//! `RINGFORT_BOTOCORE_REQUESTS` says how many requests, `RINGFORT_SEED` which. `RINGFORT_PYTHON` names the interpreter.

#![allow(clippy::unwrap_used)]

use http::RequestHead;
use s3api::auth::canonical::{self, RequestParts, Signed};
use s3api::auth::timestamp::Timestamp;
use s3api::auth::{Authenticator, Credentials};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const REQUESTS: u64 = 400;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// That of the tests' clients, where botocore is.
fn python(root: &Path) -> PathBuf {
    let usual = root.join("target/python/bin/python3");
    match std::env::var_os("RINGFORT_PYTHON") {
        Some(path) => path.into(),
        None if usual.exists() => usual,
        None => "python3".into(),
    }
}

#[test]
fn what_botocore_signs_is_found_good_with_the_same_canonical_request() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (seed, count) =
        (number("RINGFORT_SEED", 1), number("RINGFORT_BOTOCORE_REQUESTS", REQUESTS));
    let output = Command::new(python(root))
        .arg(root.join("fuzz/differential/botocore_sign.py"))
        .args([seed.to_string(), count.to_string()])
        .output()
        .expect("python can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut checked = 0;
    for line in lines.lines() {
        check(&serde_json::from_str(line).unwrap());
        checked += 1;
    }
    assert_eq!(checked, 2 * count, "each request is signed in both forms");
}

fn check(request: &Value) {
    let text = |name: &str| request[name].as_str().unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\n", text("method"), text("target"));
    for header in request["headers"].as_array().unwrap() {
        let [name, value] = [&header[0], &header[1]].map(|part| part.as_str().unwrap());
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let parsed =
        RequestHead::parse(head.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {head}"));
    let headers: Vec<(&str, &[u8])> = parsed.headers().collect();
    let parts = RequestParts::new(parsed.method_name(), parsed.target(), &headers);

    let canonical = text("canonical");
    let mut last = canonical.rsplitn(3, '\n');
    let (payload, signed_headers) = (last.next().unwrap(), last.next().unwrap());
    let ours = canonical::text(&parts, Signed { headers: signed_headers, payload });
    assert_eq!(String::from_utf8(ours).unwrap(), canonical, "another canonical request: {head}");

    let stamp = parts.header("x-amz-date").or(parts.parameter("X-Amz-Date").map(str::as_bytes));
    let now = Timestamp::from_basic(stamp.unwrap()).unwrap().seconds;
    let credentials = Credentials::new("us-east-1");
    credentials.insert("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let found = Authenticator::new(credentials).authenticate(&parsed, now, &());
    let found = found.unwrap_or_else(|error| panic!("{error:?}: {head}"));
    assert_eq!(found.access_key.as_deref(), Some("AKIAIOSFODNN7EXAMPLE"), "{head}");
}
