//! Turns the bytes of a request's head into a `RequestHead`.
//!
//! Invariants: what two parties could read in two ways is refused (request smuggling, RFC 9112
//! section 11.2): bare CR or LF, NUL, folded lines, a blank before a colon, two lengths. The
//! verdict depends on the bytes alone, never on how they were cut into reads.
//! It does not decode targets, and keeps no state between calls.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::headers::{Field, Framing, Span};
use crate::limits::HEADERS_MAX;
use crate::{Method, Rejection, RequestHead, Version};

const MALFORMED_LINE: Rejection = Rejection::bad_request("malformed request line");
const MALFORMED_HEADER: Rejection = Rejection::bad_request("malformed header line");
const TOO_LARGE: Rejection = Rejection::new(431, "request head too large");

/// Parses a head that starts `bytes` into `head`: its length, or none while it is incomplete.
/// After a rejection `head` is without meaning.
pub(crate) fn head(
    bytes: &[u8],
    head_bytes_max: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, Rejection> {
    // A head that fits is judged by its own bytes, whatever was read behind it.
    let bytes = bytes.get(..head_bytes_max).unwrap_or(bytes);
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= head_bytes_max => return Err(TOO_LARGE),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(rejection(error, bytes)),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(MALFORMED_LINE);
    };

    head.bytes.clear();
    head.bytes.extend_from_slice(&bytes[..length]);
    head.method = self::method(method);
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    head.method_name = Span::new(position(bytes, method.as_bytes()));
    set_target(head, bytes, target)?;
    let line_end = method.len() + target.len() + " ".len() + " HTTP/1.1".len();
    set_fields(head, &bytes[..length], line_end, request.headers)?;
    set_framing(head)?;
    Ok(Some(length))
}

/// Where `part`, a slice of `whole`, lies in it.
fn position(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        _ => Method::Other,
    }
}

fn rejection(error: httparse::Error, bytes: &[u8]) -> Rejection {
    match error {
        httparse::Error::Version if names_a_version(bytes) => {
            Rejection::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        }
        httparse::Error::TooManyHeaders => Rejection::new(431, "too many headers"),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => MALFORMED_HEADER,
        _ => MALFORMED_LINE,
    }
}

/// Whether the third word of the request line names a version of HTTP.
fn names_a_version(bytes: &[u8]) -> bool {
    let word = bytes.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    matches!(word, [b'H', b'T', b'T', b'P', b'/', digit, ..] if digit.is_ascii_digit())
}

/// Accepts the forms of RFC 9112, section 3.2, except that of CONNECT.
fn set_target(head: &mut RequestHead, bytes: &[u8], target: &str) -> Result<(), Rejection> {
    let whole = position(bytes, target.as_bytes());
    let is_asterisk = target == "*" && head.method == Method::Options;
    head.authority = None;
    head.target = Span::new(whole.clone());
    if target.starts_with('/') || is_asterisk {
        return Ok(());
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| has_prefix(target, scheme))
        .ok_or(Rejection::bad_request("unsupported form of request target"))?;
    let rest = &target[scheme.len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let path = &rest[authority.len()..];
    let has_path = path.is_empty() || path.starts_with('/');
    if authority.is_empty() || !is_host(authority.as_bytes()) || !has_path {
        return Err(Rejection::bad_request("malformed absolute request target"));
    }
    let authority_start = whole.start + scheme.len();
    let authority_end = authority_start + authority.len();
    head.authority = Some(Span::new(authority_start..authority_end));
    head.target = if path.is_empty() { Span::EMPTY } else { Span::new(authority_end..whole.end) };
    Ok(())
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Notes where the headers lie. The parser also takes a bare LF for a line's end and skips empty
/// lines in front; here each line must end with CRLF and follow the one before it.
fn set_fields(
    head: &mut RequestHead,
    bytes: &[u8],
    line_end: usize,
    headers: &[httparse::Header<'_>],
) -> Result<(), Rejection> {
    let mut at = expect_line_end(bytes, line_end).ok_or(MALFORMED_LINE)?;
    head.fields.clear();
    for header in headers {
        let name = position(bytes, header.name.as_bytes());
        let value = position(bytes, header.value);
        if name.start != at {
            return Err(MALFORMED_HEADER);
        }
        let blanks = bytes[value.end..].iter().take_while(|byte| b" \t".contains(byte)).count();
        at = expect_line_end(bytes, value.end + blanks).ok_or(MALFORMED_HEADER)?;
        head.fields.push(Field { name: Span::new(name), value: Span::new(value) });
    }
    match expect_line_end(bytes, at) {
        Some(end) if end == bytes.len() => Ok(()),
        _ => Err(MALFORMED_HEADER),
    }
}

/// The position behind a CRLF at `at`.
fn expect_line_end(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.starts_with(b"\r\n").then_some(at + 2)
}

/// What the headers that matter to the connection said, while they are gathered.
#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
}

fn set_framing(head: &mut RequestHead) -> Result<(), Rejection> {
    let mut seen = Seen::default();
    for (name, value) in head.headers() {
        note(&mut seen, name, value)?;
    }
    let is_new = head.version == Version::Http11;
    if seen.hosts > 1 || (is_new && seen.hosts == 0) {
        return Err(Rejection::bad_request("exactly one Host header is required"));
    }
    if seen.codings > 0 && (seen.length.is_some() || !is_new) {
        return Err(Rejection::bad_request("Transfer-Encoding is not allowed here"));
    }
    if seen.codings > 1 || (seen.codings == 1 && !seen.is_chunked) {
        return Err(Rejection::new(501, "the only transfer coding spoken here is chunked"));
    }
    head.framing = match seen.codings {
        0 => Framing::Length(seen.length.unwrap_or(0)),
        _ => Framing::Chunked,
    };
    head.has_content_length = seen.length.is_some();
    head.expects_continue = seen.expects_continue && is_new;
    head.keep_alive = !seen.close && (is_new || seen.keep_alive);
    Ok(())
}

fn note(seen: &mut Seen, name: &str, value: &[u8]) -> Result<(), Rejection> {
    if name.eq_ignore_ascii_case("host") {
        seen.hosts += 1;
        if !is_host(value) {
            return Err(Rejection::bad_request("malformed Host header"));
        }
    } else if name.eq_ignore_ascii_case("content-length") {
        let length = decimal(value).ok_or(Rejection::bad_request("malformed Content-Length"))?;
        if seen.length.is_some_and(|other| other != length) {
            return Err(Rejection::bad_request("two different values of Content-Length"));
        }
        seen.length = Some(length);
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        seen.codings += 1;
        seen.is_chunked = value.eq_ignore_ascii_case(b"chunked");
    } else if name.eq_ignore_ascii_case("connection") {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            seen.close |= option.eq_ignore_ascii_case(b"close");
            seen.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    } else if name.eq_ignore_ascii_case("expect") {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Rejection::new(417, "the only expectation met here is 100-continue"));
        }
        seen.expects_continue = true;
    }
    Ok(())
}

/// Digits alone: no sign, no list, no overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Host and port: nothing that would let it reach into another part of a URL.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte.is_ascii_graphic() && !b"/?#@,\\".contains(&byte))
}
