//! Request heads: method, path, query and headers, signed as asked for, written into buffers that are
//! reused.
//!
//! Most requests differ from the one before only in method, path and query. What they have in common
//! is made once per second, for each kind of request; see [`Common`].
//!
//! **Invariant:** the caller's path and query are in canonical form already; nothing here encodes.

use crate::checksum::Checksum;
use crate::limits;
use crate::options::{EndpointOptions, Signing};
use crate::sign::{ChunkSigner, EMPTY_SHA256, Signer, Template, UNSIGNED_PAYLOAD, push_hex};
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
    /// Sent in a header: by which the parts of the upload that this begins will be checked.
    pub checksum_algorithm: Option<Checksum>,
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
            checksum_algorithm: None,
            checksum: None,
            chunked: None,
            unsigned: None,
        }
    }

    fn algorithm_header(&self) -> Option<(&'static str, &'static str)> {
        self.checksum_algorithm.map(|checksum| ("x-amz-checksum-algorithm", checksum.name()))
    }

    fn checksum_header(&self) -> Option<(&'static str, &'a str)> {
        self.checksum.map(|(checksum, text)| (checksum.header(), text))
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
    /// The first is of requests that have nothing in common with others.
    commons: Vec<Common>,
    /// Which of them is replaced next.
    oldest: usize,
}

/// What requests of one second have in common that differ in method, path and query alone, ready to
/// be hashed and to be sent.
#[derive(Debug, Default)]
struct Common {
    second: u64,
    host: String,
    payload_hash: String,
    template: Template,
    /// In a presigned request, the query's parameters that are the signature's.
    query: String,
    /// What stands behind the path and query, up to the signature; behind it in a presigned request.
    lines: Vec<u8>,
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
            commons: vec![Common::default()],
            oldest: 0,
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
                push_headers(out, head.algorithm_header().as_slice());
                push_headers(out, head.checksum_header().as_slice());
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
        let place = self.common(head);
        let common = &self.commons[place];
        let (method, path, query) = (head.method, head.path, head.query);
        let signature = self.signer.signature_by(&common.template, method, path, query);
        push(out, &[method, " ", path, if query.is_empty() { "" } else { "?" }, query]);
        out.extend_from_slice(&common.lines);
        push_hex(out, &signature);
        out.extend_from_slice(b"\r\n");
        signature
    }

    fn write_presigned(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        let place = self.common(head);
        let common = &self.commons[place];
        self.query.clear();
        let separator = if head.query.is_empty() { "" } else { "&" };
        [&common.query, separator, head.query].iter().for_each(|part| self.query.push_str(part));
        let (template, query) = (&common.template, self.query.as_str());
        let signature = self.signer.signature_by(template, head.method, head.path, query);
        push(out, &[head.method, " ", head.path, "?", query, "&X-Amz-Signature="]);
        push_hex(out, &signature);
        out.extend_from_slice(&common.lines);
    }

    /// The place of what this request has in common with others, made anew if it is not of this second.
    fn common(&mut self, head: &Head<'_>) -> usize {
        let shares = head.checksum_algorithm.is_none()
            && head.checksum.is_none()
            && head.chunked.is_none()
            && matches!(head.payload_hash, EMPTY_SHA256 | UNSIGNED_PAYLOAD);
        if !shares {
            self.prepare(head, 0);
            return 0;
        }
        let is_of =
            |common: &Common| common.host == head.host && common.payload_hash == head.payload_hash;
        let found = self.commons.iter().skip(1).position(is_of).map(|position| position + 1);
        let place = found.unwrap_or_else(|| {
            if self.commons.len() < limits::REQUEST_KINDS_MAX {
                self.commons.push(Common::default());
                return self.commons.len() - 1;
            }
            self.oldest = self.oldest % (limits::REQUEST_KINDS_MAX - 1) + 1;
            self.oldest
        });
        if found.is_none() || self.commons[place].second != self.stamp_second {
            self.prepare(head, place);
        }
        place
    }

    fn prepare(&mut self, head: &Head<'_>, place: usize) {
        let common = &mut self.commons[place];
        common.second = self.stamp_second;
        head.host.clone_into(&mut common.host);
        head.payload_hash.clone_into(&mut common.payload_hash);
        let mut headers = [("", ""); limits::SIGNED_HEADERS_MAX];
        let mut count = 0;
        let mut add = |name, value| {
            headers[count] = (name, value);
            count += 1;
        };
        add("host", head.host);
        for (name, value) in head.algorithm_header().into_iter().chain(head.checksum_header()) {
            add(name, value);
        }
        common.query.clear();
        common.lines.clear();
        common.lines.extend_from_slice(b" HTTP/1.1\r\n");
        let stamp = self.stamp.as_str();
        if self.signing == Signing::Presigned {
            let (headers, expires) = (&headers[..count], limits::PRESIGNED_EXPIRES);
            self.signer.push_presigned_query(stamp, expires, headers, &mut common.query);
            self.signer.prepare(&mut common.template, headers, UNSIGNED_PAYLOAD, stamp);
            push_headers(&mut common.lines, headers);
            return;
        }
        add("x-amz-content-sha256", head.payload_hash);
        add("x-amz-date", stamp);
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
        self.signer.prepare(&mut common.template, headers, head.payload_hash, stamp);
        push_headers(&mut common.lines, headers);
        common.lines.extend_from_slice(b"authorization: ");
        self.signer.push_authorization(headers, &mut common.lines);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::checksum::Checksum;
    use crate::options::{Cli, Command};
    use crate::sign::ToSign;
    use clap::Parser;

    fn writer(signing: Signing) -> RequestWriter {
        let arguments = "x run get --access-key a --secret-key s --endpoint http://127.0.0.1:1";
        match Cli::try_parse_from(arguments.split(' ')).unwrap().command {
            Command::Run(options) => RequestWriter::new(&options.endpoint, signing),
            _ => unreachable!(),
        }
    }

    /// The value of a header of a head.
    fn value<'a>(head: &'a str, name: &str) -> &'a str {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} in {head}"))
    }

    /// Whether a head's signature is that of the headers that stand in it, made without a template.
    fn check(writer: &mut RequestWriter, request: &Head<'_>) {
        let mut out = b"old".to_vec();
        writer.write(request, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let target = text.split(' ').nth(1).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        assert_eq!((path, query), (request.path, request.query));
        let authorization = value(&text, "authorization");
        let names = authorization.split_once("SignedHeaders=").unwrap().1.split(',').next();
        let headers: Vec<_> =
            names.unwrap().split(';').map(|name| (name, value(&text, name))).collect();
        assert!(headers.is_sorted() && headers.len() >= 3);
        assert_eq!(value(&text, "host"), request.host);
        assert_eq!(value(&text, "x-amz-content-sha256"), request.payload_hash);
        let stamp = value(&text, "x-amz-date");
        let (method, payload_hash) = (request.method, request.payload_hash);
        let to_sign = ToSign { method, path, query, headers: &headers, payload_hash, stamp };
        let mut expected = Vec::new();
        let mut signer = Signer::new("a", "s", "us-east-1");
        signer.authorization(&to_sign, &mut expected);
        assert_eq!(authorization, String::from_utf8(expected).unwrap());
    }

    #[test]
    fn every_head_is_signed_by_what_stands_in_it_whatever_came_before() {
        let mut writer = writer(Signing::Header);
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let chunking = Chunking { decoded_length: 77, trailer: Some(Checksum::Sha1) };
        // More kinds than are remembered, each more than once, over the end of a second.
        let hosts: Vec<String> = (0..limits::REQUEST_KINDS_MAX).map(|n| format!("h{n}")).collect();
        for _ in 0..2 {
            for (host, path) in hosts.iter().chain(&hosts).zip(["/b/1", "/b/2"].into_iter().cycle())
            {
                let get = Head::plain("GET", host, path);
                check(&mut writer, &get);
                check(&mut writer, &Head { query: "a=b", ..get });
                check(&mut writer, &Head { method: "PUT", payload_hash: UNSIGNED_PAYLOAD, ..get });
                check(&mut writer, &Head { payload_hash: hash, ..get });
                check(&mut writer, &Head { chunked: Some(chunking), ..get });
                check(&mut writer, &Head { checksum: Some((Checksum::Crc32, "AAAA")), ..get });
                check(&mut writer, &Head { checksum_algorithm: Some(Checksum::Sha1), ..get });
                check(&mut writer, &Head::plain("HEAD", host, path));
            }
            // As if a second had passed: what was kept is good for nothing.
            for common in &mut writer.commons {
                (common.second, common.template) = (0, Template::default());
                common.lines.clear();
            }
        }
        assert_eq!(writer.commons.len(), limits::REQUEST_KINDS_MAX);
    }

    #[test]
    fn a_presigned_head_is_signed_by_its_query() {
        let mut writer = writer(Signing::Presigned);
        for (path, query) in [("/b/1", ""), ("/b/2", "partNumber=1&uploadId=x"), ("/b/1", "")] {
            let mut out = Vec::new();
            writer.write(&Head { query, ..Head::plain("GET", "h", path) }, &mut out);
            let text = String::from_utf8(out).unwrap();
            let target = text.split(' ').nth(1).unwrap();
            let (signed, signature) = target.split_once("&X-Amz-Signature=").unwrap();
            let (found, signed) = signed.split_once('?').unwrap();
            assert!(found == path && signed.ends_with(query), "{text}");
            let to_sign = ToSign {
                method: "GET",
                path,
                query: signed,
                headers: &[("host", "h")],
                payload_hash: UNSIGNED_PAYLOAD,
                stamp: signed.split_once("X-Amz-Date=").unwrap().1.split('&').next().unwrap(),
            };
            let expected = Signer::new("a", "s", "us-east-1").signature(&to_sign);
            assert_eq!(signature, hex::encode(expected));
        }
    }
}
