//! AWS Signature Version 4 for requests with an `Authorization` header.
//!
//! Source: "Signature Calculations for the Authorization Header: Transferring Payload in a Single
//! Chunk (AWS Signature Version 4)", Amazon S3 API Reference.
//!
//! **Invariant:** written from AWS's documents alone, sharing nothing with the server's verifier.
//!
//! Deliberately absent: canonicalisation. The caller passes the path and the query in canonical form
//! and the headers in lower case and sorted.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// SHA-256 of nothing, as hex: the payload hash of a request without a body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What stands in the payload hash's place when the body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The parts of a request that are signed.
#[derive(Debug)]
pub struct ToSign<'a> {
    pub method: &'a str,
    /// URI-encoded, with its slashes.
    pub path: &'a str,
    /// Sorted, encoded, joined by `&`; empty if there is none.
    pub query: &'a str,
    /// Names in lower case, sorted; among them `host`, `x-amz-content-sha256` and `x-amz-date`.
    pub headers: &'a [(&'a str, &'a str)],
    pub payload_hash: &'a str,
    /// `YYYYMMDDTHHMMSSZ`, the same as in `x-amz-date`.
    pub stamp: &'a str,
}

/// Holds the credentials, the day's signing key, and the buffers that signing needs.
pub struct Signer {
    access_key: String,
    /// `AWS4` and the secret key, the first key of the derivation.
    secret: Vec<u8>,
    region: String,
    /// The day (`YYYYMMDD`) of `key`.
    day: String,
    /// Keyed and ready to be cloned: this spares two compressions per request.
    key: Hmac<Sha256>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Signer {
    pub fn new(access_key: &str, secret_key: &str, region: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret: [b"AWS4", secret_key.as_bytes()].concat(),
            region: region.to_owned(),
            day: String::new(),
            key: keyed(b""),
            scratch: Vec::with_capacity(1024),
        }
    }

    /// Appends the value of the `Authorization` header to `out`.
    pub fn authorization(&mut self, request: &ToSign<'_>, out: &mut Vec<u8>) {
        self.use_day(request.stamp.get(..8).unwrap_or_default());
        let canonical_hash = self.canonical_hash(request);
        let scratch = &mut self.scratch;
        scratch.clear();
        push(scratch, &["AWS4-HMAC-SHA256\n", request.stamp, "\n"]);
        push(scratch, &[&self.day, "/", &self.region, "/s3/aws4_request\n"]);
        push_hex(scratch, &canonical_hash);
        let mut mac = self.key.clone();
        mac.update(scratch);
        let signature = mac.finalize().into_bytes();

        push(out, &["AWS4-HMAC-SHA256 Credential=", &self.access_key, "/", &self.day, "/"]);
        push(out, &[&self.region, "/s3/aws4_request,SignedHeaders="]);
        push_names(out, request.headers);
        push(out, &[",Signature="]);
        push_hex(out, &signature);
    }

    /// Signs a text with the key of a day (`YYYYMMDD`), as the policy of a form upload is.
    pub fn sign(&mut self, day: &str, text: &[u8]) -> [u8; 32] {
        self.use_day(day);
        let mut mac = self.key.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn canonical_hash(&mut self, request: &ToSign<'_>) -> [u8; 32] {
        let scratch = &mut self.scratch;
        scratch.clear();
        push(scratch, &[request.method, "\n", request.path, "\n", request.query, "\n"]);
        for (name, value) in request.headers {
            push(scratch, &[name, ":", value.trim(), "\n"]);
        }
        push(scratch, &["\n"]);
        push_names(scratch, request.headers);
        push(scratch, &["\n", request.payload_hash]);
        Sha256::digest(&scratch).into()
    }

    fn use_day(&mut self, day: &str) {
        if self.day == day {
            return;
        }
        day.clone_into(&mut self.day);
        let mut key = hmac(&self.secret, day.as_bytes());
        for step in [self.region.as_bytes(), b"s3", b"aws4_request"] {
            key = hmac(&key, step);
        }
        self.key = keyed(&key);
    }
}

/// Appends bytes in lower-case hex.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    hex::encode_to_slice(bytes, &mut out[start..]).expect("the space is twice the input");
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn push_names(out: &mut Vec<u8>, headers: &[(&str, &str)]) {
    for (index, (name, _)) in headers.iter().enumerate() {
        push(out, &[if index == 0 { "" } else { ";" }, name]);
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    /// AWS's published examples: credentials, time and region are the same in all of them.
    fn check(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        hash: &str,
        signature: &str,
    ) {
        let mut signer = Signer::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "us-east-1",
        );
        let stamp = "20130524T000000Z";
        let request = ToSign { method, path, query, headers, payload_hash: hash, stamp };
        let mut out = Vec::new();
        signer.authorization(&request, &mut out);
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={},Signature={signature}",
            names.join(";")
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn aws_example_get_object_with_range() {
        let headers = [HOST, ("range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY_SHA256), DATE];
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        check("GET", "/test.txt", "", &headers, EMPTY_SHA256, signature);
    }

    #[test]
    fn aws_example_put_object() {
        let hash = hex::encode(Sha256::digest(b"Welcome to Amazon S3."));
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            HOST,
            ("x-amz-content-sha256", &hash),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        check("PUT", "/test%24file.text", "", &headers, &hash, signature);
    }

    #[test]
    fn aws_example_get_bucket_lifecycle() {
        let headers = [HOST, ("x-amz-content-sha256", EMPTY_SHA256), DATE];
        let signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        check("GET", "/", "lifecycle=", &headers, EMPTY_SHA256, signature);
    }

    #[test]
    fn aws_example_list_objects() {
        let headers = [HOST, ("x-amz-content-sha256", EMPTY_SHA256), DATE];
        let signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        check("GET", "/", "max-keys=2&prefix=J", &headers, EMPTY_SHA256, signature);
    }
}
