//! The canonical request: the form of a request that its signature covers, in S3's flavour.
//!
//! S3's flavour: the path is decoded once and encoded once (never twice), and neither `//` nor
//! `.` nor `..` is folded, since all of them are parts of keys.
//!
//! Invariant: the same writer feeds the hash and the text of an error answer, so that what a
//! client is shown is what was compared.
//!
//! ```text
//! method \n path \n query \n (header ':' value \n)* \n signed-headers \n payload
//! ```

use crate::percent::{Plus, code, decoded_bytes, is_unreserved};
use crate::text::split;
use sha2::Sha256;
use sha2::digest::{FixedOutput, Update};

/// The parts of a request's head that a signature may cover.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    pub method: &'a str,
    /// The path as it was sent, up to the question mark.
    pub path: &'a str,
    /// The query as it was sent, without the question mark; empty if there is none.
    pub query: &'a str,
    /// In the order in which they came, a name as often as it came.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> RequestParts<'a> {
    /// `target` in origin form, as it stood in the request line.
    pub fn new(method: &'a str, target: &'a str, headers: &'a [(&'a str, &'a [u8])]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { method, path, query, headers }
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
    }

    /// The first query parameter of that name, still encoded. The name is compared as it was
    /// sent: no client encodes the letters of `X-Amz-Date`.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        parameters(self.query).find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// What of the request is signed, beside method, path and query.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Names of headers, separated by semicolons, as the client gave them.
    pub headers: &'a str,
    /// The last line: a hash or one of the words that stand for one.
    pub payload: &'a str,
}

/// Where the canonical request goes.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Gathers the many small pieces of a request for a hash, to which each call costs more than what such a
/// piece holds.
pub(super) struct Gathered<H> {
    hasher: H,
    buffer: [u8; GATHERED_BYTES],
    filled: usize,
}

/// Most canonical requests are shorter.
const GATHERED_BYTES: usize = 1024;

impl<H: Update> Gathered<H> {
    pub(super) fn new(hasher: H) -> Self {
        Self { hasher, buffer: [0; GATHERED_BYTES], filled: 0 }
    }

    /// The hash, which has had everything.
    pub(super) fn finish(mut self) -> H {
        self.hasher.update(&self.buffer[..self.filled]);
        self.hasher
    }
}

impl<H: Update> Sink for Gathered<H> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.buffer[self.filled..].get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            self.filled += bytes.len();
        } else {
            self.hasher.update(&self.buffer[..self.filled]);
            self.hasher.update(bytes);
            self.filled = 0;
        }
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The query parameter that the signature cannot cover.
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// SHA-256 of the canonical request.
pub fn hash(request: &RequestParts<'_>, signed: Signed<'_>) -> [u8; 32] {
    let mut gathered = Gathered::new(Sha256::default());
    write(&mut gathered, request, signed);
    gathered.finish().finalize_fixed().into()
}

/// The canonical request itself, for the answer to a signature that does not match.
pub fn text(request: &RequestParts<'_>, signed: Signed<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    write(&mut text, request, signed);
    text
}

fn write(sink: &mut impl Sink, request: &RequestParts<'_>, signed: Signed<'_>) {
    sink.put(request.method.as_bytes());
    sink.put(b"\n");
    write_path(sink, request.path);
    sink.put(b"\n");
    write_query(sink, request.query);
    sink.put(b"\n");
    for name in split(signed.headers, b';') {
        write_header(sink, request, name);
    }
    sink.put(b"\n");
    sink.put(signed.headers.as_bytes());
    sink.put(b"\n");
    sink.put(signed.payload.as_bytes());
}

fn write_path(sink: &mut impl Sink, path: &str) {
    if path.is_empty() {
        sink.put(b"/");
    } else {
        write_encoded(sink, path, Plus::IsPlus, |byte| is_unreserved(byte) || byte == b'/');
    }
}

fn write_query(sink: &mut impl Sink, query: &str) {
    let mut sorted: Vec<(&str, &str)> =
        parameters(query).filter(|(name, _)| *name != SIGNATURE_PARAMETER).collect();
    sorted.sort_by(|a, b| {
        encoded_parameter(a.0)
            .cmp(encoded_parameter(b.0))
            .then_with(|| encoded_parameter(a.1).cmp(encoded_parameter(b.1)))
    });
    for (position, (name, value)) in sorted.into_iter().enumerate() {
        if position > 0 {
            sink.put(b"&");
        }
        write_encoded(sink, name, Plus::IsSpace, is_unreserved);
        sink.put(b"=");
        write_encoded(sink, value, Plus::IsSpace, is_unreserved);
    }
}

/// A header's values, joined by commas if it came more than once. A signed header that did not
/// come is written without a value: the signature then fits only if it was signed as empty.
fn write_header(sink: &mut impl Sink, request: &RequestParts<'_>, name: &str) {
    sink.put(name.as_bytes());
    sink.put(b":");
    let values = request.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
    for (position, (_, value)) in values.enumerate() {
        if position > 0 {
            sink.put(b",");
        }
        write_folded(sink, value);
    }
    sink.put(b"\n");
}

/// A value without spaces at its ends, and with one space for each run of them within.
fn write_folded(sink: &mut impl Sink, value: &[u8]) {
    if memchr::memchr2(b' ', b'\t', value).is_none() {
        return sink.put(value);
    }
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (position, word) in words.enumerate() {
        if position > 0 {
            sink.put(b" ");
        }
        sink.put(word);
    }
}

/// The parameters of a query as they were sent; one without `=` has an empty value.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// Writes what a text stands for percent-encoded, but for the bytes that `keep` wants kept: never the percent sign, and
/// no plus sign that stands for a space. Goes by way of a small buffer, since hashing byte by byte is slow.
fn write_encoded(sink: &mut impl Sink, text: &str, plus: Plus, keep: impl Fn(u8) -> bool) {
    // So most keys are: as they come.
    if text.bytes().all(&keep) {
        return sink.put(text.as_bytes());
    }
    let mut buffer = [0; 192];
    let mut filled = 0;
    for byte in decoded_bytes(text, plus) {
        if filled + 3 > buffer.len() {
            sink.put(&buffer[..filled]);
            filled = 0;
        }
        if keep(byte) {
            buffer[filled] = byte;
            filled += 1;
        } else {
            buffer[filled..filled + 3].copy_from_slice(&code(byte));
            filled += 3;
        }
    }
    sink.put(&buffer[..filled]);
}

/// A parameter's name or value in canonical encoding, for sorting.
fn encoded_parameter(text: &str) -> impl Iterator<Item = u8> {
    decoded_bytes(text, Plus::IsSpace).flat_map(|byte| {
        let (bytes, count) = if is_unreserved(byte) { ([byte, 0, 0], 1) } else { (code(byte), 3) };
        bytes.into_iter().take(count)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use sha2::Digest;

    fn check_path(sent: &str, canonical: &str) {
        let mut text = Vec::new();
        write_path(&mut text, sent);
        assert_eq!(String::from_utf8(text).unwrap(), canonical, "{sent}");
    }

    fn check_query(sent: &str, canonical: &str) {
        let mut text = Vec::new();
        write_query(&mut text, sent);
        assert_eq!(String::from_utf8(text).unwrap(), canonical, "{sent}");
    }

    #[test]
    fn a_path_is_decoded_and_encoded_once_and_never_folded() {
        check_path("", "/");
        check_path("/b/a b+c%2Bd$e", "/b/a%20b%2Bc%2Bd%24e");
        check_path("/b//x/../y/./", "/b//x/../y/./");
        check_path("/b/%7e%41", "/b/~A");
        check_path("/b/%", "/b/%25");
        check_path("/b/%zz%4", "/b/%25zz%254");
        check_path("/b/%25zz", "/b/%25zz");
        check_path("/b/\u{fc}%C3%BC", "/b/%C3%BC%C3%BC");
        check_path(
            &format!("/{}", "\u{20ac}".repeat(400)),
            &format!("/{}", "%E2%82%AC".repeat(400)),
        );
    }

    #[test]
    fn a_query_is_sorted_by_its_encoded_form() {
        check_query("", "");
        check_query("uploads", "uploads=");
        check_query("b=2&a=1&&a=", "a=&a=1&b=2");
        check_query("prefix=a+b%20c", "prefix=a%20b%20c");
        check_query("X-Amz-Signature=x&versionId=1", "versionId=1");
        // '%' sorts before letters, so an encoded name comes first.
        check_query("a=1&%C3%BC=2", "%C3%BC=2&a=1");
        check_query("k=a=b", "k=a%3Db");
    }

    #[test]
    fn header_values_are_joined_and_folded() {
        let headers: &[(&str, &[u8])] =
            &[("X-Amz-Meta", b"  a   b "), ("Host", b"h:9000"), ("x-amz-meta", b"c\td")];
        let request = RequestParts::new("GET", "/?x", headers);
        let signed = Signed { headers: "host;x-amz-meta;absent", payload: "UNSIGNED-PAYLOAD" };
        assert_eq!(
            String::from_utf8(text(&request, signed)).unwrap(),
            "GET\n/\nx=\nhost:h:9000\nx-amz-meta:a b,c d\nabsent:\n\nhost;x-amz-meta;absent\n\
             UNSIGNED-PAYLOAD"
        );
        assert_eq!(
            hash(&request, signed),
            <[u8; 32]>::from(Sha256::digest(text(&request, signed)))
        );
    }
}
