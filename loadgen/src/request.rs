//! Request heads: method, path, query and headers, signed as asked for, written into buffers that are
//! reused.
//!
//! **Invariant:** the caller's path and query are in canonical form already; nothing here encodes.

use crate::checksum::Checksum;
use crate::limits;
use crate::options::{EndpointOptions, Signing};
use crate::sign::{ChunkSigner, EMPTY_SHA256, Signer, ToSign, UNSIGNED_PAYLOAD, push_hex};
use jiff::Timestamp;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// One request without its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Of the endpoint: the value of the `Host` header.
    pub host: &'a str,
    pub path: &'a str,
    /// Sorted and encoded; empty if there is none.
    pub query: &'a str,
    /// Hex SHA-256 of the body, or what stands for it. Only the `Authorization` header has it signed.
    pub payload_hash: &'a str,
    /// `None`: a request that has no body.
    pub content_length: Option<u64>,
    /// Sent in a header: the body's checksum.
    pub checksum: Option<(Checksum, &'a str)>,
    /// The body is sent in chunks.
    pub chunked: Option<Chunking>,
    /// Sent, and not signed.
    pub unsigned: Option<(&'a str, &'a str)>,
}

/// What a head says of a body in chunks.
#[derive(Debug, Clone, Copy)]
pub struct Chunking {
    /// Length of the body without its framing.
    pub decoded_length: u64,
    /// Follows in a trailer.
    pub trailer: Option<Checksum>,
}

impl<'a> Head<'a> {
    /// A request without a body, a query, or anything special.
    pub fn plain(method: &'a str, host: &'a str, path: &'a str) -> Self {
        Self {
            method,
            host,
            path,
            query: "",
            payload_hash: EMPTY_SHA256,
            content_length: None,
            checksum: None,
            chunked: None,
            unsigned: None,
        }
    }
}

#[derive(Debug)]
pub struct RequestWriter {
    signer: Signer,
    signing: Signing,
    stamp: String,
    stamp_second: u64,
    query: String,
    decoded_length: String,
}

impl RequestWriter {
    pub fn new(endpoint: &EndpointOptions, signing: Signing) -> Self {
        Self {
            signer: Signer::new(&endpoint.access_key, &endpoint.secret_key.0, &endpoint.region),
            signing,
            stamp: String::new(),
            stamp_second: 0,
            query: String::with_capacity(512),
            decoded_length: String::new(),
        }
    }

    /// Replaces what `out` holds by the head. Returns the signature, if the head has one.
    pub fn write(&mut self, head: &Head<'_>, out: &mut Vec<u8>) -> Option<[u8; 32]> {
        self.refresh_stamp();
        out.clear();
        let signature = match self.signing {
            Signing::Header => Some(self.write_with_authorization(head, out)),
            Signing::Presigned => {
                self.write_presigned(head, out);
                None
            }
            Signing::Anonymous => {
                push(out, &[head.method, " ", head.path]);
                push(out, &[if head.query.is_empty() { "" } else { "?" }, head.query]);
                push(out, &[" HTTP/1.1\r\nhost: ", head.host, "\r\n"]);
                let checksum = head.checksum.map(|(checksum, text)| (checksum.header(), text));
                push_headers(out, checksum.as_slice());
                None
            }
        };
        push_headers(out, head.unsigned.as_slice());
        if let Some(length) = head.content_length {
            write!(out, "content-length: {length}\r\n").expect("writing to a Vec cannot fail");
        }
        push(out, &[if head.chunked.is_some() { "content-encoding: aws-chunked\r\n" } else { "" }]);
        out.extend_from_slice(b"\r\n");
        signature
    }

    /// For the chunks of the request that was written last; `seed` is its signature.
    pub fn chunk_signer(&self, seed: [u8; 32]) -> ChunkSigner {
        self.signer.chunks(&self.stamp, seed)
    }

    fn write_with_authorization(&mut self, head: &Head<'_>, out: &mut Vec<u8>) -> [u8; 32] {
        let mut headers = [("", ""); limits::SIGNED_HEADERS_MAX];
        let mut count = 0;
        let mut add = |name, value| {
            headers[count] = (name, value);
            count += 1;
        };
        add("host", head.host);
        if let Some((checksum, text)) = head.checksum {
            add(checksum.header(), text);
        }
        add("x-amz-content-sha256", head.payload_hash);
        add("x-amz-date", self.stamp.as_str());
        if let Some(chunking) = head.chunked {
            self.decoded_length.clear();
            use std::fmt::Write as _;
            write!(self.decoded_length, "{}", chunking.decoded_length)
                .expect("writing to a String cannot fail");
            add("x-amz-decoded-content-length", self.decoded_length.as_str());
            if let Some(trailer) = chunking.trailer {
                add("x-amz-trailer", trailer.header());
            }
        }
        let headers = &headers[..count];
        let mark = if head.query.is_empty() { "" } else { "?" };
        push(out, &[head.method, " ", head.path, mark, head.query, " HTTP/1.1\r\n"]);
        push_headers(out, headers);
        out.extend_from_slice(b"authorization: ");
        let to_sign = ToSign {
            method: head.method,
            path: head.path,
            query: head.query,
            headers,
            payload_hash: head.payload_hash,
            stamp: &self.stamp,
        };
        let signature = self.signer.authorization(&to_sign, out);
        out.extend_from_slice(b"\r\n");
        signature
    }

    fn write_presigned(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        let checksum = head.checksum.map(|(checksum, text)| (checksum.header(), text));
        let both = [("host", head.host), checksum.unwrap_or_default()];
        let headers = &both[..1 + usize::from(checksum.is_some())];
        self.query.clear();
        let expires = limits::PRESIGNED_EXPIRES;
        self.signer.push_presigned_query(&self.stamp, expires, headers, &mut self.query);
        if !head.query.is_empty() {
            self.query.push('&');
            self.query.push_str(head.query);
        }
        let signature = self.signer.signature(&ToSign {
            method: head.method,
            path: head.path,
            query: &self.query,
            headers,
            payload_hash: UNSIGNED_PAYLOAD,
            stamp: &self.stamp,
        });
        push(out, &[head.method, " ", head.path, "?", &self.query, "&X-Amz-Signature="]);
        push_hex(out, &signature);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_headers(out, headers);
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

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn push_headers(out: &mut Vec<u8>, headers: &[(&str, &str)]) {
    headers.iter().for_each(|(name, value)| push(out, &[name, ": ", value, "\r\n"]));
}
