//! AWS Signature Version 4: in an `Authorization` header, in a query, and of the chunks and trailers
//! of a body.
//!
//! Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference, its chapters on
//! the Authorization header in a single chunk, in multiple chunks and with trailing headers, and on
//! query parameters.
//!
//! **Invariant:** written from AWS's documents alone, sharing nothing with the server's verifier.
//!
//! Deliberately absent: canonicalisation. The caller passes the path and the query in canonical form
//! and the headers in lower case and sorted.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::Duration;

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
    /// Names in lower case, sorted; among them `host`, and, unless the query is signed,
    /// `x-amz-content-sha256` and `x-amz-date`.
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

/// What requests have in common that differ in method, path and query alone, in the forms in which it
/// is hashed.
#[derive(Debug)]
pub struct Template {
    /// Of the canonical request, what stands behind the query.
    canonical: Vec<u8>,
    /// Has taken in the string to sign up to the canonical request's hash.
    mac: Hmac<Sha256>,
}

impl Default for Template {
    fn default() -> Self {
        Self { canonical: Vec::new(), mac: keyed(b"") }
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

    /// Appends the value of the `Authorization` header to `out`; returns the signature.
    pub fn authorization(&mut self, request: &ToSign<'_>, out: &mut Vec<u8>) -> [u8; 32] {
        let signature = self.signature(request);
        self.push_authorization(request.headers, out);
        push_hex(out, &signature);
        signature
    }

    /// The same up to the signature, with the day of the template or request that came last.
    pub fn push_authorization(&self, headers: &[(&str, &str)], out: &mut Vec<u8>) {
        push(out, &["AWS4-HMAC-SHA256 Credential=", &self.access_key, "/", &self.day, "/"]);
        push(out, &[&self.region, "/s3/aws4_request,SignedHeaders="]);
        push_names(out, headers);
        push(out, &[",Signature="]);
    }

    /// Appends the parameters of a presigned query to `out`, all but the signature, which comes last.
    /// They sort before those of S3, whose names begin in lower case.
    pub fn push_presigned_query(
        &self,
        stamp: &str,
        expires: Duration,
        headers: &[(&str, &str)],
        out: &mut String,
    ) {
        let day = stamp.get(..8).unwrap_or_default();
        for part in ["X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=", &self.access_key] {
            out.push_str(part);
        }
        for part in ["%2F", day, "%2F", &self.region, "%2Fs3%2Faws4_request&X-Amz-Date=", stamp] {
            out.push_str(part);
        }
        write!(out, "&X-Amz-Expires={}", expires.as_secs())
            .expect("writing to a String cannot fail");
        out.push_str("&X-Amz-SignedHeaders=");
        for (index, (name, _)) in headers.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { "%3B" });
            out.push_str(name);
        }
    }

    /// The signature of a request.
    pub fn signature(&mut self, request: &ToSign<'_>) -> [u8; 32] {
        let mut template = Template::default();
        self.prepare(&mut template, request.headers, request.payload_hash, request.stamp);
        self.signature_by(&template, request.method, request.path, request.query)
    }

    /// Makes a template of what a request has but its method, path and query.
    pub fn prepare(
        &mut self,
        template: &mut Template,
        headers: &[(&str, &str)],
        payload_hash: &str,
        stamp: &str,
    ) {
        let canonical = &mut template.canonical;
        canonical.clear();
        for (name, value) in headers {
            push(canonical, &[name, ":", value.trim(), "\n"]);
        }
        push(canonical, &["\n"]);
        push_names(canonical, headers);
        push(canonical, &["\n", payload_hash]);
        self.use_day(stamp.get(..8).unwrap_or_default());
        let scratch = &mut self.scratch;
        scratch.clear();
        push(scratch, &["AWS4-HMAC-SHA256\n", stamp, "\n"]);
        push(scratch, &[&self.day, "/", &self.region, "/s3/aws4_request\n"]);
        template.mac.clone_from(&self.key);
        template.mac.update(scratch);
    }

    /// The signature of the request that a template gives with these.
    pub fn signature_by(
        &mut self,
        template: &Template,
        method: &str,
        path: &str,
        query: &str,
    ) -> [u8; 32] {
        let scratch = &mut self.scratch;
        scratch.clear();
        push(scratch, &[method, "\n", path, "\n", query, "\n"]);
        scratch.extend_from_slice(&template.canonical);
        let canonical_hash = Sha256::digest(&scratch);
        scratch.clear();
        push_hex(scratch, &canonical_hash);
        let mut mac = template.mac.clone();
        mac.update(scratch);
        mac.finalize().into_bytes().into()
    }

    /// For the chunks of the request that was signed last: `seed` is its signature.
    pub fn chunks(&self, stamp: &str, seed: [u8; 32]) -> ChunkSigner {
        let scope = format!("\n{stamp}\n{}/{}/s3/aws4_request\n", self.day, self.region);
        ChunkSigner { key: self.key.clone(), scope, previous: seed, scratch: Vec::new() }
    }

    /// Signs a text with the key of a day (`YYYYMMDD`), as the policy of a form upload is.
    pub fn sign(&mut self, day: &str, text: &[u8]) -> [u8; 32] {
        self.use_day(day);
        let mut mac = self.key.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
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

/// Signs a body's chunks one after the other: each signature covers the one before it.
#[derive(Debug)]
pub struct ChunkSigner {
    key: Hmac<Sha256>,
    /// Stamp and scope, between line ends.
    scope: String,
    previous: [u8; 32],
    scratch: Vec<u8>,
}

impl ChunkSigner {
    /// The signature of the next chunk, of which `hash` is the SHA-256.
    pub fn chunk(&mut self, hash: &[u8]) -> [u8; 32] {
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_SHA256, "\n"], hash)
    }

    /// The signature of the trailers, given as `name:value\n`, behind the last chunk.
    pub fn trailers(&mut self, text: &str) -> [u8; 32] {
        self.next("AWS4-HMAC-SHA256-TRAILER", &[], &Sha256::digest(text))
    }

    fn next(&mut self, algorithm: &str, between: &[&str], hash: &[u8]) -> [u8; 32] {
        let scratch = &mut self.scratch;
        scratch.clear();
        push(scratch, &[algorithm, &self.scope]);
        push_hex(scratch, &self.previous);
        scratch.push(b'\n');
        push(scratch, between);
        push_hex(scratch, hash);
        let mut mac = self.key.clone();
        mac.update(scratch);
        self.previous = mac.finalize().into_bytes().into();
        self.previous
    }
}

/// Appends bytes in lower-case hex.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (digits, byte) in out[start..].chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
}

/// By arithmetic, of which the compiler makes vectors.
fn hex_digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
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

    fn signer() -> Signer {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        Signer::new("AKIAIOSFODNN7EXAMPLE", secret, "us-east-1")
    }

    /// AWS's published examples: credentials, time and region are the same in all of them.
    fn check(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        hash: &str,
        signature: &str,
    ) {
        let mut signer = signer();
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

    #[test]
    fn aws_example_presigned_url() {
        let mut signer = signer();
        let mut query = String::new();
        let day = Duration::from_secs(86_400);
        signer.push_presigned_query("20130524T000000Z", day, &[HOST], &mut query);
        let request = ToSign {
            method: "GET",
            path: "/test.txt",
            query: &query,
            headers: &[HOST],
            payload_hash: UNSIGNED_PAYLOAD,
            stamp: "20130524T000000Z",
        };
        let expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert_eq!(hex::encode(signer.signature(&request)), expected);
    }

    /// AWS's two examples of a body of 65 KiB of `a` in chunks of 64 KiB.
    fn chunk_signatures(seed: &str) -> (ChunkSigner, Vec<String>) {
        let mut signer = signer();
        signer.use_day("20130524");
        let seed = hex::decode(seed).unwrap().try_into().unwrap();
        let mut chunks = signer.chunks("20130524T000000Z", seed);
        let bodies = [vec![b'a'; 65_536], vec![b'a'; 1024], Vec::new()];
        let signatures = bodies.map(|body| hex::encode(chunks.chunk(&Sha256::digest(body))));
        (chunks, signatures.to_vec())
    }

    #[test]
    fn aws_example_chunked_upload() {
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        assert_eq!(
            chunk_signatures(seed).1,
            [
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ]
        );
    }

    #[test]
    fn aws_example_chunked_upload_with_trailer() {
        let seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
        let (mut chunks, signatures) = chunk_signatures(seed);
        assert_eq!(
            signatures,
            [
                "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
                "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
                "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
            ]
        );
        assert_eq!(
            hex::encode(chunks.trailers("x-amz-checksum-crc32c:sOO8/Q==\n")),
            "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
        );
    }
}
