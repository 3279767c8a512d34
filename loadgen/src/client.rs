//! A minimal HTTP/1.1 client: one connection, one request at a time, kept alive.
//!
//! **Invariant:** in steady state a request allocates nothing: the head's buffer, the receive buffer
//! and the pattern that bodies are windows of all live longer than the request.
//! **Invariant:** a connection that saw any failure is closed, never used again.
//! **Invariant:** whatever the server sends is bounded by `limits` or passes through in pieces.
//!
//! Deliberately absent: retries, pipelining, redirects, TLS.

use crate::body::Body;
use crate::limits;
use crate::options::Target;
use crate::runtime::{Expired, Watch};
use crate::stream::{ReceiveBuffer, Stream};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::time::Instant;

/// Why a request got no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection was never made, so the server has seen nothing of the request.
    #[error("connect: {0}")]
    Connect(String),
    #[error("no byte moved within the timeout")]
    Timeout,
    #[error("closed by the server")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("not HTTP as expected: {0}")]
    Protocol(&'static str),
}

impl Failure {
    /// Whether the server cannot have carried out the request.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl From<Expired> for Failure {
    fn from(_: Expired) -> Self {
        Self::Timeout
    }
}

/// The head of the final answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub content_length: Option<u64>,
    pub content_range: Option<ContentRange>,
    /// When the first byte of the answer was there.
    pub first_byte: Instant,
}

/// Bytes `from..end` of `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    pub from: u64,
    pub end: u64,
    pub size: u64,
}

impl ContentRange {
    /// `bytes FIRST-LAST/SIZE`.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?.strip_prefix("bytes ")?;
        let (range, size) = text.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let last: u64 = last.parse().ok()?;
        let found = Self { from: first.parse().ok()?, end: last + 1, size: size.parse().ok()? };
        (found.from < found.end && found.end <= found.size).then_some(found)
    }
}

/// Takes an answer's body as it arrives.
pub trait Receive {
    fn start(&mut self, answer: &Answer);
    fn piece(&mut self, bytes: &[u8]);
}

enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

struct ParsedHead {
    length: usize,
    status: u16,
    content_length: Option<u64>,
    content_range: Option<ContentRange>,
    chunked: bool,
    keep_alive: bool,
}

#[derive(Debug)]
pub struct Connection {
    target: Rc<Target>,
    stream: Option<Stream>,
    buffer: ReceiveBuffer,
    watch: Rc<Watch>,
    last_used: Option<Instant>,
    /// A head or a chunk's line of which not all has arrived.
    partial: Vec<u8>,
    /// The last answer's ETag, as sent; empty if there was none.
    pub etag: Vec<u8>,
}

impl Connection {
    /// Connects with the first request. `watch` is this connection's own, and somebody must call its
    /// `tick`; `buffer` is all connections'.
    pub(crate) fn new(target: Rc<Target>, watch: Rc<Watch>, buffer: &ReceiveBuffer) -> Self {
        Self {
            target,
            stream: None,
            buffer: buffer.clone(),
            watch,
            last_used: None,
            partial: Vec::new(),
            etag: Vec::with_capacity(64),
        }
    }

    /// Closes a connection that has been idle for so long that the server may be closing it too: a
    /// request that meets that would look like a failure of the server.
    pub fn refresh(&mut self, now: Instant) {
        let idle = self.last_used.map(|last| now.saturating_duration_since(last));
        if idle.is_some_and(|idle| idle > limits::IDLE_MAX) {
            self.stream = None;
        }
    }

    /// Sends one request and receives its answer. `to_head`: the method is HEAD.
    pub async fn exchange(
        &mut self,
        head: &mut Vec<u8>,
        mut body: Body<'_>,
        to_head: bool,
        receiver: &mut impl Receive,
    ) -> Result<Answer, Failure> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        let result = self.exchange_connected(head, &mut body, to_head, receiver).await;
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let connecting = Stream::connect(self.target.address, &self.watch, &self.buffer);
        self.stream = Some(connecting.await?);
        Ok(())
    }

    async fn exchange_connected(
        &mut self,
        head: &mut Vec<u8>,
        body: &mut Body<'_>,
        to_head: bool,
        receiver: &mut impl Receive,
    ) -> Result<Answer, Failure> {
        match self.send(head, body).await {
            Ok(()) => {}
            // A server may refuse an upload and close before it has read it all: its answer counts.
            Err(failure @ Failure::Io(_)) => {
                let answer = self.receive(to_head, receiver).await.map_err(|_| failure)?;
                self.stream = None;
                return Ok(answer);
            }
            Err(failure) => return Err(failure),
        }
        self.receive(to_head, receiver).await
    }

    /// Sends head and body, with as few system calls as the socket's buffer allows.
    async fn send(&mut self, head: &mut Vec<u8>, body: &mut Body<'_>) -> Result<(), Failure> {
        body.begin(head);
        let mut head_sent = 0;
        loop {
            let head_rest = &head[head_sent..];
            let [first, second] = body.next();
            let slices = [IoSlice::new(head_rest), IoSlice::new(first), IoSlice::new(second)];
            let from = slices.iter().take_while(|slice| slice.is_empty()).count();
            let after = slices.iter().rev().take_while(|slice| slice.is_empty()).count();
            if from == slices.len() {
                return Ok(());
            }
            let stream = self.stream.as_ref().ok_or(Failure::Closed)?;
            let written = stream.write(&slices[from..slices.len() - after]).await?;
            if written == 0 {
                return Err(Failure::Closed);
            }
            let of_head = written.min(head_rest.len());
            head_sent += of_head;
            body.advance(written - of_head);
        }
    }

    async fn receive(
        &mut self,
        to_head: bool,
        receiver: &mut impl Receive,
    ) -> Result<Answer, Failure> {
        let (head, first_byte) = self.receive_head().await?;
        self.last_used = Some(first_byte);
        let answer = Answer {
            status: head.status,
            content_length: head.content_length,
            content_range: head.content_range,
            first_byte,
        };
        receiver.start(&answer);
        let framing = match head {
            _ if to_head || matches!(head.status, 204 | 304) => Framing::Empty,
            ParsedHead { chunked: true, .. } => Framing::Chunked,
            ParsedHead { content_length: Some(length), .. } => Framing::Length(length),
            _ => Framing::UntilClose,
        };
        let keep_alive = head.keep_alive && !matches!(framing, Framing::UntilClose);
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => self.receive_length(length, receiver).await?,
            Framing::Chunked => self.receive_chunks(receiver).await?,
            Framing::UntilClose => self.receive_until_close(receiver).await?,
        }
        if keep_alive && self.stream.as_ref().is_some_and(Stream::has_received) {
            return Err(Failure::Protocol("bytes behind the end of the answer"));
        }
        if !keep_alive {
            self.stream = None;
        }
        Ok(answer)
    }

    /// The final answer's head; informational ones before it are passed over.
    async fn receive_head(&mut self) -> Result<(ParsedHead, Instant), Failure> {
        let mut first_byte = None;
        for _ in 0..=limits::INFORMATIONAL_MAX {
            self.partial.clear();
            let head = loop {
                if self.fill().await? == 0 {
                    return Err(Failure::Closed);
                }
                first_byte.get_or_insert_with(Instant::now);
                if let Some(head) = self.take_head()? {
                    break head;
                }
            };
            if head.status >= 200 {
                return Ok((head, first_byte.unwrap_or_else(Instant::now)));
            }
        }
        Err(Failure::Protocol("too many informational answers"))
    }

    /// Consumes the head if all of it is there, else all of what is there.
    fn take_head(&mut self) -> Result<Option<ParsedHead>, Failure> {
        let stream = self.stream.as_ref().ok_or(Failure::Closed)?;
        let bytes = stream.received();
        let before = self.partial.len();
        let parsed = if before == 0 {
            parse_head(&bytes, &mut self.etag)?
        } else {
            self.partial.extend_from_slice(&bytes);
            parse_head(&self.partial, &mut self.etag)?
        };
        match &parsed {
            Some(head) => stream.consume(head.length - before),
            None => {
                if before == 0 {
                    self.partial.extend_from_slice(&bytes);
                }
                if self.partial.len() > limits::ANSWER_HEAD_BYTES_MAX {
                    return Err(Failure::Protocol("the answer's head is too long"));
                }
                stream.consume(bytes.len());
            }
        }
        Ok(parsed)
    }

    async fn receive_length(
        &mut self,
        mut remaining: u64,
        receiver: &mut impl Receive,
    ) -> Result<(), Failure> {
        while remaining > 0 {
            if self.fill().await? == 0 {
                return Err(Failure::Closed);
            }
            let stream = self.stream.as_ref().ok_or(Failure::Closed)?;
            let bytes = stream.received();
            let take = (bytes.len() as u64).min(remaining) as usize;
            receiver.piece(&bytes[..take]);
            stream.consume(take);
            remaining -= take as u64;
        }
        Ok(())
    }

    async fn receive_chunks(&mut self, receiver: &mut impl Receive) -> Result<(), Failure> {
        let malformed = Failure::Protocol("malformed chunk");
        loop {
            self.receive_line().await?;
            let Ok(httparse::Status::Complete((_, size))) =
                httparse::parse_chunk_size(&self.partial)
            else {
                return Err(malformed);
            };
            if size == 0 {
                break;
            }
            self.receive_length(size, receiver).await?;
            self.receive_line().await?;
            if self.partial != b"\r\n" {
                return Err(malformed);
            }
        }
        for _ in 0..limits::TRAILER_LINES_MAX {
            self.receive_line().await?;
            if self.partial == b"\r\n" {
                return Ok(());
            }
        }
        Err(Failure::Protocol("too many trailers"))
    }

    /// One line, its end included, into `partial`.
    async fn receive_line(&mut self) -> Result<(), Failure> {
        self.partial.clear();
        while self.partial.last() != Some(&b'\n') {
            if self.fill().await? == 0 {
                return Err(Failure::Closed);
            }
            let stream = self.stream.as_ref().ok_or(Failure::Closed)?;
            let bytes = stream.received();
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let take = end.map_or(bytes.len(), |end| end + 1);
            if self.partial.len() + take > limits::CHUNK_LINE_BYTES_MAX {
                return Err(Failure::Protocol("a chunk's line is too long"));
            }
            self.partial.extend_from_slice(&bytes[..take]);
            stream.consume(take);
        }
        Ok(())
    }

    async fn receive_until_close(&mut self, receiver: &mut impl Receive) -> Result<(), Failure> {
        while self.fill().await? > 0 {
            let stream = self.stream.as_ref().ok_or(Failure::Closed)?;
            let bytes = stream.received();
            receiver.piece(&bytes);
            stream.consume(bytes.len());
        }
        Ok(())
    }

    /// Waits until received bytes are there and says how many; 0 at the end of the stream.
    async fn fill(&mut self) -> Result<usize, Failure> {
        self.stream.as_ref().ok_or(Failure::Closed)?.fill().await
    }
}

/// `None`: not all of the head is there.
fn parse_head(bytes: &[u8], etag: &mut Vec<u8>) -> Result<Option<ParsedHead>, Failure> {
    let mut headers = [const { MaybeUninit::uninit() }; limits::ANSWER_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Protocol("malformed answer head")),
    };
    let mut head = ParsedHead {
        length,
        status: response.code.unwrap_or(0),
        content_length: None,
        content_range: None,
        chunked: false,
        keep_alive: response.version == Some(1),
    };
    etag.clear();
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            head.content_length = Some(length.ok_or(Failure::Protocol("bad Content-Length"))?);
        } else if is("etag") {
            etag.extend_from_slice(value);
        } else if is("content-range") && head.status == 206 {
            let range = ContentRange::parse(value);
            head.content_range = Some(range.ok_or(Failure::Protocol("bad Content-Range"))?);
        } else if is("transfer-encoding") {
            let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
            head.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if is("connection") {
            if value.eq_ignore_ascii_case(b"close") {
                head.keep_alive = false;
            } else if value.eq_ignore_ascii_case(b"keep-alive") {
                head.keep_alive = true;
            }
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nContent-Length: 5\r\n\r\nhello";
        let mut etag = Vec::new();
        let head_bytes = text.len() - 5;
        assert!(parse_head(&text[..head_bytes - 1], &mut etag).unwrap().is_none());
        let head = parse_head(text, &mut etag).unwrap().unwrap();
        assert_eq!((head.length, head.status, head.content_length), (head_bytes, 200, Some(5)));
        assert_eq!(etag, b"\"abc\"");
        assert!(head.keep_alive && !head.chunked);
    }

    #[test]
    fn http_1_0_and_close_end_the_connection() {
        let check = |text: &str, expected: bool| {
            let head = parse_head(text.as_bytes(), &mut Vec::new()).unwrap().unwrap();
            assert_eq!(head.keep_alive, expected, "{text}");
        };
        check("HTTP/1.0 200 OK\r\n\r\n", false);
        check("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true);
        check("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false);
    }

    #[test]
    fn a_content_range_is_read_and_must_make_sense() {
        let range = |text: &str| ContentRange::parse(text.as_bytes());
        assert_eq!(range("bytes 3-9/100"), Some(ContentRange { from: 3, end: 10, size: 100 }));
        for bad in ["bytes 9-3/100", "bytes 0-100/100", "bytes */100", "0-1/2", "bytes 0-1/*"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse_head(b"SSH-2.0\r\n\r\n", &mut Vec::new()).is_err());
        let bad = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n";
        assert!(parse_head(bad, &mut Vec::new()).is_err());
    }
}
