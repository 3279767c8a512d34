//! Request heads: method, path, query and the signed headers, written into a buffer that is reused.
//!
//! **Invariant:** the caller's path and query are in canonical form already; nothing here encodes.

use crate::options::EndpointOptions;
use crate::sign::{Signer, ToSign};
use jiff::Timestamp;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// One request without its body.
#[derive(Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Sorted and encoded; empty if there is none.
    pub query: &'a str,
    /// Hex SHA-256 of the body, or what stands for it.
    pub payload_hash: &'a str,
    /// `None`: a request that has no body.
    pub content_length: Option<u64>,
}

#[derive(Debug)]
pub struct RequestWriter {
    signer: Signer,
    host: String,
    stamp: String,
    stamp_second: u64,
}

impl RequestWriter {
    pub fn new(endpoint: &EndpointOptions, host: &str) -> Self {
        let signer = Signer::new(&endpoint.access_key, &endpoint.secret_key.0, &endpoint.region);
        Self { signer, host: host.to_owned(), stamp: String::new(), stamp_second: 0 }
    }

    /// Replaces what `out` holds by the signed head.
    pub fn write(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        self.refresh_stamp();
        let headers = [
            ("host", self.host.as_str()),
            ("x-amz-content-sha256", head.payload_hash),
            ("x-amz-date", self.stamp.as_str()),
        ];
        out.clear();
        let mark = if head.query.is_empty() { "" } else { "?" };
        for part in [head.method, " ", head.path, mark, head.query, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        if let Some(length) = head.content_length {
            write!(out, "content-length: {length}\r\n").expect("writing to a Vec cannot fail");
        }
        out.extend_from_slice(b"authorization: ");
        let to_sign = ToSign {
            method: head.method,
            path: head.path,
            query: head.query,
            headers: &headers,
            payload_hash: head.payload_hash,
            stamp: &self.stamp,
        };
        self.signer.authorization(&to_sign, out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// The time stamp is formatted once per second.
    fn refresh_stamp(&mut self) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if second != self.stamp_second {
            let now = Timestamp::from_second(second as i64).unwrap_or(Timestamp::UNIX_EPOCH);
            self.stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
            self.stamp_second = second;
        }
    }
}
