//! An answer: what a service returns, and the bytes of its head.
//!
//! Invariants: header lines are well-formed whatever a value holds; `Content-Length`, `Date` and
//! `Connection` belong to the connection and are written by it alone; no answer is chunked.
//! It does not send; `connection.rs` does.

use std::any::Any;
use std::fmt::Display;
use std::io::{self, Write};

use crate::time::DATE_BYTES;

/// A body that is produced while it is sent.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait ResponseBody {
    type Chunk: AsRef<[u8]>;

    /// The next bytes (empty chunks are skipped), none at the end. It is not asked again once the
    /// announced length is reached. An error, an early end or a chunk that goes beyond the length
    /// cuts the connection, or becomes a 500 if it happens before the first byte.
    async fn next(&mut self) -> io::Result<Option<Self::Chunk>>;
}

/// For services without streamed bodies.
#[derive(Debug, Clone, Copy)]
pub enum NoBody {}

impl ResponseBody for NoBody {
    type Chunk = [u8; 0];

    async fn next(&mut self) -> io::Result<Option<Self::Chunk>> {
        match *self {}
    }
}

#[derive(Debug)]
pub enum Payload<B> {
    Empty,
    Bytes(Vec<u8>),
    Static(&'static [u8]),
    /// Exactly `length` bytes from `source`. For HEAD the source is dropped unasked.
    Stream {
        length: u64,
        source: B,
    },
    /// For HEAD alone: the length that GET would have, where making its body is not worth it.
    LengthOnly(u64),
}

impl<B> Payload<B> {
    /// The length in bytes that GET would have.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Static(bytes) => bytes.len() as u64,
            Self::Stream { length, .. } | Self::LengthOnly(length) => *length,
        }
    }
}

/// An answer before it is sent.
#[derive(Debug)]
pub struct Response<B> {
    status: u16,
    /// Complete header lines, each ended by CRLF: one allocation for all of them.
    lines: Vec<u8>,
    pub payload: Payload<B>,
    pub(crate) close: bool,
    /// Dropped when the answer was sent, or is never going to be.
    kept: Option<Box<dyn Any>>,
}

/// Room for the headers of a usual answer.
const LINES_BYTES: usize = 512;

impl<B> Response<B> {
    /// An empty answer. The status is 200 to 599; another is a bug of the service, sent as 500.
    pub fn new(status: u16) -> Self {
        let status = checked(status);
        Self { status, lines: Vec::new(), payload: Payload::Empty, close: false, kept: None }
    }

    pub fn with_payload(mut self, payload: Payload<B>) -> Self {
        self.payload = payload;
        self
    }

    pub fn with_bytes(self, bytes: Vec<u8>) -> Self {
        self.with_payload(Payload::Bytes(bytes))
    }

    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.header(name, value);
        self
    }

    pub fn with_header_text(mut self, name: &str, value: impl Display) -> Self {
        self.header_text(name, value);
        self
    }

    /// Adds a header line. Bytes of the value that could end the line, or no header may hold,
    /// are replaced by blanks: values may echo what a client sent. A name is the service's own;
    /// one that is no token, or that the connection owns, is a bug and ignored in release.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.line(name, |lines| lines.extend_from_slice(value.as_ref()));
    }

    /// As [`Self::header`], of what is written out here and nowhere before.
    pub fn header_text(&mut self, name: &str, value: impl Display) {
        self.line(name, |lines| {
            // A vector takes everything.
            let _ = write!(lines, "{value}");
        });
    }

    fn line(&mut self, name: &str, write_value: impl FnOnce(&mut Vec<u8>)) {
        let ours = is_token(name) && !is_owned_by_connection(name);
        debug_assert!(ours, "not a header for a service to set: {name:?}");
        if !ours {
            return;
        }
        if self.lines.capacity() == 0 {
            self.lines.reserve(LINES_BYTES);
        }
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        let value_from = self.lines.len();
        write_value(&mut self.lines);
        self.lines[value_from..].iter_mut().for_each(|byte| *byte = printable(*byte));
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Takes all headers of that name away.
    pub fn remove_header(&mut self, name: &str) {
        let mut kept = Vec::with_capacity(self.lines.len());
        for line in self.lines.split_inclusive(|&byte| byte == b'\n') {
            let found = line.split(|&byte| byte == b':').next().unwrap_or_default();
            if !found.eq_ignore_ascii_case(name.as_bytes()) {
                kept.extend_from_slice(line);
            }
        }
        self.lines = kept;
    }

    /// Adds a header line in the place of all that have its name.
    pub fn replace_header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove_header(name);
        self.header(name, value);
    }

    /// The same answer with another payload.
    pub fn map_payload<C>(self, map: impl FnOnce(Payload<B>) -> Payload<C>) -> Response<C> {
        let Self { status, lines, payload, close, kept } = self;
        Response { status, lines, payload: map(payload), close, kept }
    }

    /// Closes the connection after this answer.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// Keeps something until the last byte of this answer was sent, or its connection is gone: what must not be
    /// free before. It takes the place of what was kept before.
    pub fn keep(&mut self, kept: Box<dyn Any>) {
        self.kept = Some(kept);
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn set_status(&mut self, status: u16) {
        self.status = checked(status);
    }

    /// The headers set so far, in order; for logs and tests.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((std::str::from_utf8(name).ok()?, value.strip_prefix(b": ")?))
        })
    }

    /// The first header of that name set so far.
    pub fn get_header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Response<NoBody> {
    /// The same answer, from a service whose others may be streamed.
    pub fn without_stream<B>(self) -> Response<B> {
        let payload = match self.payload {
            Payload::Empty => Payload::Empty,
            Payload::Bytes(bytes) => Payload::Bytes(bytes),
            Payload::Static(bytes) => Payload::Static(bytes),
            Payload::Stream { source, .. } => match source {},
            Payload::LengthOnly(length) => Payload::LengthOnly(length),
        };
        let Self { status, lines, close, kept, .. } = self;
        Response { status, lines, payload, close, kept }
    }
}

/// What the connection adds to a service's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) date: [u8; DATE_BYTES],
    /// Absent for the statuses that have no body by definition.
    pub(crate) length: Option<u64>,
    pub(crate) connection: Option<&'static str>,
}

impl<B> Response<B> {
    /// Whether the status allows a body and its length at all (RFC 9110, sections 8.6, 15.3.5
    /// and 15.4.5; a 304 may tell the length that a 200 would have, which nobody needs).
    pub(crate) fn has_length(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// Replaces `output` by the answer's head, its empty line included.
    pub(crate) fn write_head(&self, frame: &Frame, output: &mut Vec<u8>) {
        output.clear();
        output.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(output, u64::from(self.status));
        output.push(b' ');
        output.extend_from_slice(reason_phrase(self.status).as_bytes());
        output.extend_from_slice(b"\r\nDate: ");
        output.extend_from_slice(&frame.date);
        output.extend_from_slice(b"\r\n");
        if let Some(length) = frame.length {
            output.extend_from_slice(b"Content-Length: ");
            push_decimal(output, length);
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(&self.lines);
        if let Some(connection) = frame.connection {
            output.extend_from_slice(b"Connection: ");
            output.extend_from_slice(connection.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(b"\r\n");
    }
}

fn checked(status: u16) -> u16 {
    let is_final = (200..600).contains(&status);
    debug_assert!(is_final, "not a final status: {status}");
    if is_final { status } else { 500 }
}

/// Without the formatting machinery: it runs twice per answer.
fn push_decimal(output: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[start..]);
}

/// By byte: whether it may stand in a token (RFC 9110, section 5.6.2).
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| TOKEN_BYTES[usize::from(byte)])
}

fn is_owned_by_connection(name: &str) -> bool {
    ["content-length", "date", "connection", "transfer-encoding", "keep-alive"]
        .iter()
        .any(|owned| name.eq_ignore_ascii_case(owned))
}

/// Blanks for the control characters that RFC 9110 (section 5.5) bars from values.
fn printable(byte: u8) -> u8 {
    if (byte < b' ' && byte != b'\t') || byte == 0x7f { b' ' } else { byte }
}

/// The phrase beside a status; clients ignore it.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_cannot_end_their_line() {
        let response = Response::<NoBody>::new(200)
            .with_header("x-amz-meta-a", "evil\r\nSet-Cookie: b\0\x7f\tend")
            .with_header("ETag", b"\"1\"");
        let expected: [(&str, &[u8]); 2] =
            [("x-amz-meta-a", b"evil  Set-Cookie: b  \tend"), ("ETag", b"\"1\"")];
        assert_eq!(response.headers().collect::<Vec<_>>(), expected);
        assert_eq!(response.get_header("etag"), Some(&b"\"1\""[..]));
    }

    #[test]
    fn headers_can_be_replaced() {
        let mut response = Response::<NoBody>::new(200)
            .with_header("A", "1")
            .with_header("Ab", "2")
            .with_header("a", "3");
        response.replace_header("a", "4");
        let expected: [(&str, &[u8]); 2] = [("Ab", b"2"), ("a", b"4")];
        assert_eq!(response.headers().collect::<Vec<_>>(), expected);
        let streamed: Response<NoBody> = response.without_stream();
        assert_eq!((streamed.status(), streamed.headers().count()), (200, 2));
    }

    #[test]
    fn head_is_written_in_full() {
        let frame = Frame {
            date: *b"Sun, 06 Nov 1994 08:49:37 GMT",
            length: Some(u64::MAX),
            connection: Some("close"),
        };
        let mut output = b"earlier".to_vec();
        Response::<NoBody>::new(404).with_header("A", "b").write_head(&frame, &mut output);
        let expected = "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Length: 18446744073709551615\r\nA: b\r\nConnection: close\r\n\r\n";
        assert_eq!(output, expected.as_bytes());
    }
}
