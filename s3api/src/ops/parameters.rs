//! Query parameters that several operations share.

use crate::error::{Code, Result, S3Error};
use crate::limits::{LIST_ROWS_MAX, PART_NUMBER_MAX};
use crate::percent;
use crate::route::Query;

/// How names are written in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    /// From `encoding-type`.
    pub(super) fn parse(query: &Query) -> Result<Self> {
        match query.get("encoding-type") {
            None | Some("") => Ok(Self::Plain),
            Some(text) if text.eq_ignore_ascii_case("url") => Ok(Self::Url),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }

    /// A name as it stands in the listing.
    pub(super) fn apply(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Url => percent::encode(name),
        }
    }

    /// The value of the `EncodingType` element.
    pub(super) fn name(self) -> Option<&'static str> {
        (self == Self::Url).then_some("url")
    }
}

/// A limit on the rows of a page (`max-keys` and its like). More than S3 gives on one page counts
/// as that many.
pub(super) fn rows(query: &Query, name: &str) -> Result<usize> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else {
        return Ok(LIST_ROWS_MAX);
    };
    let number: i64 = text.parse().map_err(|_| {
        let message = format!("Provided {name} not an integer or within integer range");
        S3Error::invalid_argument(message, name, text)
    })?;
    match usize::try_from(number) {
        Ok(rows) if number <= i64::from(i32::MAX) => Ok(rows.min(LIST_ROWS_MAX)),
        _ => {
            let message = format!("Argument {name} must be an integer between 0 and 2147483647");
            Err(S3Error::invalid_argument(message, name, text))
        }
    }
}

/// Where a listing goes on behind a marker: one that points into a common prefix stands for all of
/// it, since the page before has shown it.
pub(super) fn behind_marker<'a>(marker: &'a str, prefix: &str, delimiter: &str) -> &'a str {
    let rest = marker.strip_prefix(prefix).filter(|_| !delimiter.is_empty());
    match rest.and_then(|rest| rest.find(delimiter)) {
        Some(at) => &marker[..prefix.len() + at + delimiter.len()],
        None => marker,
    }
}

/// `partNumber`.
pub(super) fn part_number(text: &str) -> Result<u16> {
    text.parse().ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number)).ok_or_else(|| {
        S3Error::invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            text,
        )
    })
}

/// A name that the engine gives back: keys were UTF-8 when they were written.
pub(super) fn name_text(name: &[u8]) -> Result<&str> {
    std::str::from_utf8(name).map_err(|_| {
        tracing::error!("a stored key is not UTF-8");
        Code::InternalError.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Target, route};

    fn query(text: &str) -> Query {
        let target = format!("/b?{text}");
        let target = Target { method: "GET", host: None, target: &target, copy: false };
        route(target, &[]).map(|route| route.query).unwrap_or_default()
    }

    #[test]
    fn limits_on_rows() {
        let check = |text, expected: Result<usize, Code>| {
            assert_eq!(rows(&query(text), "max-keys").map_err(|error| error.code), expected);
        };
        check("", Ok(1000));
        check("max-keys=", Ok(1000));
        check("max-keys=0", Ok(0));
        check("max-keys=7", Ok(7));
        check("max-keys=5000", Ok(1000));
        check("max-keys=-1", Err(Code::InvalidArgument));
        check("max-keys=blah", Err(Code::InvalidArgument));
        check("max-keys=3000000000", Err(Code::InvalidArgument));
    }

    #[test]
    fn part_numbers() {
        for (text, expected) in [("1", Some(1)), ("10000", Some(10_000)), ("0", None)] {
            assert_eq!(part_number(text).ok(), expected, "{text}");
        }
        for text in ["10001", "", "-1", "one", "99999999999"] {
            assert!(part_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_marker_within_a_common_prefix_stands_for_all_of_it() {
        let check = |marker, prefix, delimiter, expected| {
            assert_eq!(behind_marker(marker, prefix, delimiter), expected, "{marker}");
        };
        check("a/b", "", "/", "a/");
        check("a/", "", "/", "a/");
        check("a/b/c", "a/", "/", "a/b/");
        check("a--b--c", "", "--", "a--");
        check("a/b", "", "", "a/b");
        check("a/b", "x", "/", "a/b");
        check("ab", "", "/", "ab");
        check("ü/ü", "ü", "/", "ü/");
    }

    #[test]
    fn encodings() {
        assert_eq!(Encoding::parse(&query("encoding-type=url")), Ok(Encoding::Url));
        assert_eq!(Encoding::parse(&query("")), Ok(Encoding::Plain));
        assert!(Encoding::parse(&query("encoding-type=base64")).is_err());
        assert_eq!(Encoding::Url.apply("a b/\u{1}"), "a%20b/%01");
    }
}
