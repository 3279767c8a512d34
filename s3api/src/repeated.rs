//! Headers that came more than once.
//!
//! A signature covers the values of a repeated header joined by commas, so that `a,b` and two lines `a` and `b` have one
//! signature. Whoever reads the first of them alone would do another thing than was signed, or than a policy
//! was asked about. So what says what a request is and does comes once, or the request is refused.
//!
//! Not here: lists, which HTTP lets anybody split into lines (RFC 9110, section 5.3): `Cache-Control`,
//! `Content-Encoding` and their like, user metadata, the attributes that are asked for.

use crate::error::{Code, Result, S3Error};
use http::RequestHead;

/// Beside all that begin with `x-amz-`.
const ONCE: [&str; 9] = [
    "authorization",
    "content-md5",
    "content-type",
    "date",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
];
const AMAZON: &str = "x-amz-";
/// Lists, and metadata, whose values are joined.
const LISTS: [&str; 3] =
    ["x-amz-meta-", "x-amz-object-attributes", "x-amz-optional-object-attributes"];

/// `InvalidArgument` where a header came twice that says one thing.
pub fn refuse(head: &RequestHead) -> Result<()> {
    let repeated = head.headers().find(|(name, _)| comes_once(name) && head.header_count(name) > 1);
    match repeated {
        None => Ok(()),
        Some((name, _)) => {
            let name = name.to_ascii_lowercase();
            let error = S3Error::new(Code::InvalidArgument, "This header came more than once.");
            Err(error.field("ArgumentName", name))
        }
    }
}

fn comes_once(name: &str) -> bool {
    if begins(name, AMAZON) {
        return !LISTS.iter().any(|list| begins(name, list));
    }
    ONCE.iter().any(|once| once.eq_ignore_ascii_case(name))
}

fn begins(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_says_one_thing_comes_once() {
        let check = |lines: &str, is_refused: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            let head = RequestHead::parse(head.as_bytes()).unwrap();
            assert_eq!(refuse(&head).is_err(), is_refused, "{lines}");
        };
        check("Range: bytes=0-1\r\n", false);
        check("Range: bytes=0-1\r\nrange: bytes=0-1\r\n", true);
        check("x-amz-acl: private\r\n", false);
        check("x-amz-acl: private\r\nX-Amz-ACL: public-read\r\n", true);
        check("x-amz-copy-source: /a\r\nx-amz-copy-source: b\r\n", true);
        check("Authorization: a\r\nAuthorization: b\r\n", true);
        check("x-amz-meta-a: 1\r\nx-amz-meta-a: 2\r\n", false);
        check("x-amz-object-attributes: ETag\r\nx-amz-object-attributes: ObjectSize\r\n", false);
        check("Cache-Control: private\r\nCache-Control: no-cache\r\n", false);
    }
}
