//! The `Range` header, by RFC 9110 section 14 and by what S3 makes of it.
//!
//! Invariants: a range that is returned is not empty and lies within the object. A header that is
//! malformed, of another unit, or names several ranges is ignored: the whole object is the answer.
//!
//! Not here: `If-Range` (`conditional`) and the headers of the answer (`ops::get_object`).

use crate::error::{Code, S3Error};
use std::ops::Range;

/// Resolves a `Range` header against an object of `size` bytes. `None`: send the whole object.
pub fn resolve(header: &str, size: u64) -> Result<Option<Range<u64>>, S3Error> {
    let Some(spec) = single_spec(header) else { return Ok(None) };
    let range = match spec {
        Spec::From { first, last } => {
            first..last.map_or(size, |last| last.saturating_add(1).min(size))
        }
        Spec::Suffix { bytes } => size.saturating_sub(bytes)..size,
    };
    if range.is_empty() { Err(unsatisfiable(header, size)) } else { Ok(Some(range)) }
}

/// The bytes of an inclusive `bytes=first-last`, as `x-amz-copy-source-range` needs it: both ends
/// given and within the source.
pub fn resolve_copy_source(header: &str, size: u64) -> Result<Range<u64>, S3Error> {
    let malformed = || {
        S3Error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            header,
        )
    };
    match single_spec(header) {
        Some(Spec::From { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        Some(Spec::From { last: Some(_), .. }) => Err(S3Error::new(
            Code::InvalidRange,
            format!("Range specified is not valid for source object of size: {size}"),
        )),
        _ => Err(malformed()),
    }
}

/// One range as it stands in the header.
enum Spec {
    /// `last` is inclusive.
    From {
        first: u64,
        last: Option<u64>,
    },
    Suffix {
        bytes: u64,
    },
}

fn single_spec(header: &str) -> Option<Spec> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", bytes) => Some(Spec::Suffix { bytes: offset(bytes)? }),
        (first, "") => Some(Spec::From { first: offset(first)?, last: None }),
        (first, last) => {
            let (first, last) = (offset(first)?, offset(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// Digits as a number; one that is too large for 64 bits lies beyond every object, as the largest
/// number does.
fn offset(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn unsatisfiable(header: &str, size: u64) -> S3Error {
    S3Error::from(Code::InvalidRange)
        .field("RangeRequested", header)
        .field("ActualObjectSize", size.to_string())
        .header("Content-Range", format!("bytes */{size}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(header: &str, size: u64, expected: Result<Option<Range<u64>>, Code>) {
        let actual = resolve(header, size).map_err(|error| error.code);
        assert_eq!(actual, expected, "range {header:?} of {size} bytes");
    }

    #[test]
    fn ranges_that_hold() {
        check("bytes=0-0", 10, Ok(Some(0..1)));
        check("bytes=2-5", 10, Ok(Some(2..6)));
        check("bytes=2-", 10, Ok(Some(2..10)));
        check("bytes=-3", 10, Ok(Some(7..10)));
        check("bytes=-30", 10, Ok(Some(0..10)));
        check("bytes=9-900", 10, Ok(Some(9..10)));
        check("Bytes = 1 - 2", 10, Ok(Some(1..3)));
        check("bytes=0-99999999999999999999999", 10, Ok(Some(0..10)));
    }

    #[test]
    fn ranges_beyond_the_object() {
        check("bytes=10-", 10, Err(Code::InvalidRange));
        check("bytes=10-11", 10, Err(Code::InvalidRange));
        check("bytes=-0", 10, Err(Code::InvalidRange));
        check("bytes=0-0", 0, Err(Code::InvalidRange));
        check("bytes=-5", 0, Err(Code::InvalidRange));
        check("bytes=99999999999999999999999-", 10, Err(Code::InvalidRange));
    }

    #[test]
    fn headers_that_are_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=0-1-2",
        ] {
            check(header, 10, Ok(None));
        }
    }

    proptest! {
        #[test]
        fn a_range_that_is_given_lies_within_the_object(
            header in "bytes=[0-9]{0,21}-[0-9]{0,21}",
            size: u64,
        ) {
            if let Ok(Some(range)) = resolve(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
            if let Ok(range) = resolve_copy_source(&header, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }

    #[test]
    fn an_unsatisfiable_range_names_the_size() {
        let error = resolve("bytes=20-", 10).err();
        assert_eq!(
            error.map(|error| error.headers),
            Some(vec![("Content-Range", "bytes */10".to_owned())])
        );
    }

    #[test]
    fn copy_source_ranges_are_exact() {
        let resolve = |header| resolve_copy_source(header, 10).map_err(|error| error.code);
        assert_eq!(resolve("bytes=0-9"), Ok(0..10));
        assert_eq!(resolve("bytes=3-3"), Ok(3..4));
        assert_eq!(resolve("bytes=0-10"), Err(Code::InvalidRange));
        for malformed in ["bytes=0-", "bytes=-3", "bytes=5-3", "0-3", "bytes=0-1,2-3"] {
            assert_eq!(resolve(malformed), Err(Code::InvalidArgument), "{malformed}");
        }
    }
}
