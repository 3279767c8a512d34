//! A request's head: its line and its headers, as offsets into one owned buffer.
//!
//! Invariants: the buffer holds exactly one head that `parse.rs` found well-formed, and every
//! span lies within it; names are tokens, values hold no CR, LF or NUL; framing headers agree.
//! It decodes nothing: target and values are the client's bytes, as signatures need them.

use std::ops::Range;

use crate::parse;
use crate::{Limits, Rejection};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Delete,
    Options,
    Patch,
    /// Any other; see `RequestHead::method_name`.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
}

/// Where the request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; 0 without any framing header.
    Length(u64),
    Chunked,
}

/// A part of `RequestHead::bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// Heads are bounded far below 4 GiB; a range beyond that would become empty.
    pub(crate) fn new(range: Range<usize>) -> Self {
        match (u32::try_from(range.start), u32::try_from(range.end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::EMPTY,
        }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// The head of one request; its memory is reused for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) method_name: Span,
    /// Empty for an absolute target without a path, which means `/`.
    pub(crate) target: Span,
    pub(crate) authority: Option<Span>,
    pub(crate) fields: Vec<Field>,
    pub(crate) framing: Framing,
    pub(crate) has_content_length: bool,
    pub(crate) expects_continue: bool,
    pub(crate) keep_alive: bool,
}

impl RequestHead {
    pub(crate) fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            method: Method::Other,
            version: Version::Http11,
            method_name: Span::EMPTY,
            target: Span::EMPTY,
            authority: None,
            fields: Vec::new(),
            framing: Framing::Length(0),
            has_content_length: false,
            expects_continue: false,
            keep_alive: false,
        }
    }

    /// Parses one complete head, up to and including its empty line; for tests and tools.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        let mut head = Self::empty();
        match parse::head(bytes, Limits::default().head_bytes_max, &mut head)? {
            Some(length) if length == bytes.len() => Ok(head),
            _ => Err(Rejection::bad_request("not exactly one request head")),
        }
    }

    /// The same request for another target, which begins with `/`, and without some of its headers: how
    /// a service hands a request on to another one behind it.
    pub fn handed_on(&self, target: &str, keeps: impl Fn(&str) -> bool) -> Self {
        let mut head = self.clone();
        let start = head.bytes.len();
        head.bytes.extend_from_slice(target.as_bytes());
        head.target = Span::new(start..head.bytes.len());
        head.authority = None;
        head.fields.retain(|field| keeps(self.text(field.name)));
        head
    }

    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as the client wrote it, for signatures and logs.
    pub fn method_name(&self) -> &str {
        self.text(self.method_name)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Path and query exactly as sent, beginning with `/`; or `*` for OPTIONS.
    /// Of an absolute target it is the part behind the authority.
    pub fn target(&self) -> &str {
        if self.target == Span::EMPTY { "/" } else { self.text(self.target) }
    }

    /// Host and port that the request names: an absolute target's, else the `Host` header's.
    pub fn host(&self) -> Option<&str> {
        match self.authority {
            Some(span) => Some(self.text(span)),
            None => self.header_str("host"),
        }
    }

    /// The first header of that name, compared without case, without surrounding blanks.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// The same as text; none as well if it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// How many headers have that name.
    pub fn header_count(&self, name: &str) -> usize {
        self.header_values(name).count()
    }

    /// The values of all headers of that name, in order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| self.slice(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.slice(field.value))
    }

    /// Whether there is a header whose name begins so, compared without case.
    pub fn has_prefixed(&self, prefix: &str) -> bool {
        self.fields.iter().any(|field| {
            let start = self.slice(field.name).get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
    }

    /// All headers in order; names as the client wrote them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.text(field.name), self.slice(field.value)))
    }

    /// The body's length where the client declares one.
    pub fn content_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) if self.has_content_length => Some(length),
            _ => None,
        }
    }

    /// Whether the body comes in chunks, its length unknown.
    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}
