//! Headers that came more than once.
//!
//! A signature covers the values of a repeated header joined by commas, so that `a,b` and two lines `a` and `b` have one
//! signature. Whoever reads the first of them alone would do another thing than was signed, or than a policy
//! was asked about. So what says what a request is and does comes once, or the request is refused.
//!
//! Not here: lists whose lines are joined where they are read (RFC 9110, section 5.3): `Cache-Control`,
//! `Content-Encoding` and their like, user metadata, the attributes that are asked for, announced trailers. The lists
//! of entity tags in conditions are read from one line, and refused in two.

use crate::error::{Code, Result, S3Error};
use http::RequestHead;
use smallvec::SmallVec;

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
const LISTS: [&str; 4] =
    ["x-amz-meta-", "x-amz-object-attributes", "x-amz-optional-object-attributes", "x-amz-trailer"];

/// `InvalidArgument` where a header came twice that says one thing. Of anybody: so the names are sorted, not compared
/// each with each.
pub fn refuse(head: &RequestHead) -> Result<()> {
    let mut names: SmallVec<[&str; 16]> =
        head.headers().map(|(name, _)| name).filter(|name| comes_once(name)).collect();
    names.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
    let repeated = names.windows(2).find(|pair| pair[0].eq_ignore_ascii_case(pair[1]));
    match repeated {
        None => Ok(()),
        Some(pair) => {
            let error = S3Error::new(Code::InvalidArgument, "This header came more than once.");
            Err(error.field("ArgumentName", pair[0].to_ascii_lowercase()))
        }
    }
}

fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
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
