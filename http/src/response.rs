//! An answer: what a service returns, and the bytes of its head.
//!
//! Invariants: header lines are well-formed whatever a value holds; `Content-Length`, `Date` and
//! `Connection` belong to the connection and are written by it alone; no answer is chunked.
//! It does not send; `connection.rs` does.

use std::io;

/// A body that is produced while it is sent.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait ResponseBody {
    type Chunk: AsRef<[u8]>;

    /// The next bytes (empty chunks are skipped), none at the end. The chunks together must have
    /// the announced length; an error, an early end or a surplus cuts the connection.
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
    close: bool,
}

/// Room for the headers of a usual answer.
const LINES_BYTES: usize = 512;

impl<B> Response<B> {
    /// An empty answer. The status is 200 to 599; another is a bug of the service.
    pub fn new(status: u16) -> Self {
        debug_assert!((200..600).contains(&status));
        Self { status, lines: Vec::new(), payload: Payload::Empty, close: false }
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

    /// Adds a header line. Bytes of the value that could end the line, or no header may hold,
    /// are replaced by blanks: values may echo what a client sent. A name is the service's own;
    /// one that is no token, or that the connection owns, is a bug and ignored in release.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) {
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
        self.lines.extend(value.as_ref().iter().map(|&byte| printable(byte)));
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Closes the connection after this answer.
    pub fn close(&mut self) {
        self.close = true;
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn set_status(&mut self, status: u16) {
        debug_assert!((200..600).contains(&status));
        self.status = status;
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

fn is_token(name: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
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
