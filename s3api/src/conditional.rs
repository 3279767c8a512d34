//! Conditional requests, by RFC 9110 section 13 and by what S3 adds to it.
//!
//! Reads compare when the object is open; writes hand the engine a condition that is judged at the
//! moment of the write, so that of two `If-None-Match: *` one wins.
//!
//! Invariants: times compare at whole seconds, as `Last-Modified` carries them; a date that cannot
//! be read is as if it were absent; an entity tag that must match never matches what is not there.
//!
//! Not here: the answers' headers.

use crate::dates;
use crate::error::{Code, Result, S3Error};
use engine::{Condition, ConditionFailure, Current, Etag};
use std::fmt::{self, Display, Formatter};

/// What a conditional read comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Proceed,
    /// 304.
    NotModified,
    /// 412; holds the header that failed.
    Failed(&'static str),
}

/// The conditions of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<TagList>,
    if_none_match: Option<TagList>,
    /// Seconds since the Unix epoch.
    if_modified_since: Option<i64>,
    if_unmodified_since: Option<i64>,
    /// S3's own, of deletes: the object's time in seconds and its size must be these.
    last_modified: Option<i64>,
    size: Option<u64>,
}

/// The names under which a family of conditional headers goes.
#[derive(Debug, Clone, Copy)]
struct Names {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

const STANDARD: Names = Names {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

const COPY_SOURCE: Names = Names {
    if_match: "x-amz-copy-source-if-match",
    if_none_match: "x-amz-copy-source-if-none-match",
    if_modified_since: "x-amz-copy-source-if-modified-since",
    if_unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

const RENAME_SOURCE: Names = Names {
    if_match: "x-amz-rename-source-if-match",
    if_none_match: "x-amz-rename-source-if-none-match",
    if_modified_since: "x-amz-rename-source-if-modified-since",
    if_unmodified_since: "x-amz-rename-source-if-unmodified-since",
};

impl Conditions {
    /// The conditions of a GET or HEAD.
    pub fn of_read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::named(STANDARD, header)
    }

    /// The conditions on the source of a copy.
    pub fn of_copy_source<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::named(COPY_SOURCE, header)
    }

    /// The conditions on the object that a rename gives another key.
    pub fn of_rename_source<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::named(RENAME_SOURCE, header)
    }

    /// The conditions on what has the key already that a rename gives.
    pub fn of_rename<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::named(STANDARD, header)
    }

    /// The conditions of a write or delete. `If-Modified-Since` has no meaning there.
    pub fn of_write<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let size =
            header("x-amz-if-match-size").map(|text| parse_size("x-amz-if-match-size", text));
        let time = header("x-amz-if-match-last-modified-time")
            .map(|text| parse_last_modified("x-amz-if-match-last-modified-time", text));
        Ok(Self {
            if_modified_since: None,
            size: size.transpose()?,
            last_modified: time.transpose()?,
            ..Self::named(STANDARD, header)
        })
    }

    /// The conditions on one object of a DeleteObjects request.
    pub fn of_delete_entry(
        etag: Option<&str>,
        last_modified: Option<&str>,
        size: Option<&str>,
    ) -> Result<Self> {
        Ok(Self {
            if_match: etag.map(TagList::parse),
            last_modified: last_modified
                .map(|text| parse_last_modified("LastModifiedTime", text))
                .transpose()?,
            size: size.map(|text| parse_size("Size", text)).transpose()?,
            ..Self::default()
        })
    }

    fn named<'a>(names: Names, header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let date = |name| header(name).and_then(dates::parse_http_date);
        Self {
            if_match: header(names.if_match).map(TagList::parse),
            if_none_match: header(names.if_none_match).map(TagList::parse),
            if_modified_since: date(names.if_modified_since),
            if_unmodified_since: date(names.if_unmodified_since),
            last_modified: None,
            size: None,
        }
    }

    /// Judges a read of an object that exists, in the order of RFC 9110 section 13.2.2.
    pub fn judge_read(&self, current: &Current) -> Outcome {
        let modified = dates::seconds(current.version);
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.matches_strong(current.etag) => {
                return Outcome::Failed("If-Match");
            }
            (None, Some(limit)) if modified > limit => {
                return Outcome::Failed("If-Unmodified-Since");
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if tags.matches_weak(current.etag) => Outcome::NotModified,
            (None, Some(limit)) if modified <= limit => Outcome::NotModified,
            _ => Outcome::Proceed,
        }
    }

    /// Whether a read can come to 304.
    pub fn may_be_not_modified(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// Judges the source of a copy or rename, whose headers are called `x-amz-{kind}-source-...`: what
    /// would be 304 for a read is 412 there.
    pub fn judge_source(&self, kind: &str, current: &Current) -> Result<()> {
        let header = match self.judge_read(current) {
            Outcome::Proceed => return Ok(()),
            Outcome::Failed(header) => return Err(precondition_failed(header)),
            Outcome::NotModified if self.if_none_match.is_some() => "If-None-Match",
            Outcome::NotModified => "If-Modified-Since",
        };
        Err(precondition_failed(&format!("x-amz-{kind}-source-{header}")))
    }

    /// Judges a write against what is there now.
    pub fn judge_write(&self, current: Option<&Current>) -> Result<(), ConditionFailure> {
        let Some(current) = current else {
            return if self.needs_an_object() { Err(ConditionFailure::NoSuchKey) } else { Ok(()) };
        };
        let modified = dates::seconds(current.version);
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags.matches_strong(current.etag),
            (None, Some(limit)) => modified <= limit,
            (None, None) => true,
        };
        let holds = holds
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.matches_weak(current.etag))
            && self.if_modified_since.is_none_or(|limit| modified > limit)
            && self.last_modified.is_none_or(|time| time == modified)
            && self.size.is_none_or(|size| size == current.size);
        if holds { Ok(()) } else { Err(ConditionFailure::PreconditionFailed) }
    }

    /// Whether the request has no conditions.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they ask for more than whether something is there, which is all that `*` asks for.
    pub fn tell_of_content(&self) -> bool {
        let Self {
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            last_modified,
            size,
        } = self;
        let names_tags = |tags: &Option<TagList>| matches!(tags, Some(TagList::Tags(_)));
        let times = [if_modified_since, if_unmodified_since, last_modified];
        names_tags(if_match)
            || names_tags(if_none_match)
            || times.iter().any(|time| time.is_some())
            || size.is_some()
    }

    /// What the engine is to judge at the moment of the write; `None` without conditions.
    pub fn into_condition(self) -> Option<Condition> {
        if self.is_empty() {
            return None;
        }
        Some(Box::new(move |current| self.judge_write(current)))
    }

    /// S3's own conditions on time and size do not: they hold where there is nothing to delete.
    fn needs_an_object(&self) -> bool {
        self.if_match.is_some() || self.if_modified_since.is_some()
    }
}

/// `If-Range`: whether the range still applies to this object. A tag compares strongly, a date must
/// be the object's own (RFC 9110 section 13.1.5).
pub fn range_applies(if_range: Option<&str>, current: &Current) -> bool {
    let Some(text) = if_range else { return true };
    match dates::parse_http_date(text) {
        Some(date) => date == dates::seconds(current.version),
        None => TagList::parse(text).matches_strong(current.etag),
    }
}

/// `PreconditionFailed`, with the condition's name as AWS gives it.
pub fn precondition_failed(condition: &str) -> S3Error {
    S3Error::from(Code::PreconditionFailed).field("Condition", condition)
}

/// An entity tag as S3 writes it, with its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Quoted(pub Etag);

/// An entity tag without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Unquoted(pub Etag);

impl Display for Quoted {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("\"")?;
        Unquoted(self.0).fmt(out)?;
        out.write_str("\"")
    }
}

impl Display for Unquoted {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0.md5, &mut digits).expect("two digits for each byte");
        out.write_str(std::str::from_utf8(&digits).expect("digits are ASCII"))?;
        match self.0.parts {
            0 => Ok(()),
            parts => write!(out, "-{parts}"),
        }
    }
}

/// `*`, or a list of entity tags.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TagList {
    Any,
    Tags(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// Without quotes.
    opaque: String,
}

impl TagList {
    /// Reads a list. Tags without quotes are common among S3 clients and are taken as they are.
    fn parse(text: &str) -> Self {
        let mut rest = text.trim();
        if rest == "*" || rest == "\"*\"" {
            return Self::Any;
        }
        let mut tags = Vec::new();
        while !rest.is_empty() {
            let (tag, after) = Tag::parse(rest);
            tags.extend(tag);
            rest = after.trim_start_matches([',', ' ', '\t']);
        }
        Self::Tags(tags)
    }

    fn matches_strong(&self, etag: Etag) -> bool {
        self.matches(etag, |tag| !tag.weak)
    }

    fn matches_weak(&self, etag: Etag) -> bool {
        self.matches(etag, |_| true)
    }

    fn matches(&self, etag: Etag, eligible: impl Fn(&Tag) -> bool) -> bool {
        let Self::Tags(tags) = self else { return true };
        let text = Unquoted(etag).to_string();
        tags.iter().any(|tag| eligible(tag) && tag.opaque == text)
    }
}

impl Tag {
    /// The first tag of a list that is not empty, and what follows it.
    fn parse(text: &str) -> (Option<Self>, &str) {
        let (weak, text) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if let Some(inner) = text.strip_prefix('"') {
            let (opaque, rest) = inner.split_once('"').unwrap_or((inner, ""));
            return (Some(Self { weak, opaque: opaque.to_owned() }), rest);
        }
        let (opaque, rest) = text.split_once(',').unwrap_or((text, ""));
        let opaque = opaque.trim().trim_end_matches('"');
        let tag = (!opaque.is_empty()).then(|| Self { weak, opaque: opaque.to_owned() });
        (tag, rest)
    }
}

fn parse_size(name: &str, text: &str) -> Result<u64> {
    text.trim()
        .parse()
        .map_err(|_| S3Error::invalid_argument("The size is not a whole number.", name, text))
}

fn parse_last_modified(name: &str, text: &str) -> Result<i64> {
    dates::parse_time(text)
        .ok_or_else(|| S3Error::invalid_argument("The time cannot be read.", name, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use engine::Version;
    use proptest::prelude::*;

    const TAG: &str = "\"abababababababababababababababab\"";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn object() -> Current {
        Current {
            size: 5,
            etag: Etag { md5: [0xab; 16], parts: 0 },
            version: Version(784_111_777_900_000_000),
            label: 0,
            is_null: true,
            is_marker: false,
        }
    }

    /// A header lookup over a few pairs.
    fn lookup<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
        |name| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value)
    }

    fn check_read(headers: &[(&str, &str)], expected: Outcome) {
        let outcome = Conditions::of_read(lookup(headers)).judge_read(&object());
        assert_eq!(outcome, expected, "{headers:?}");
    }

    #[test]
    fn reads_follow_rfc_9110() {
        use Outcome::{Failed, NotModified, Proceed};
        check_read(&[], Proceed);
        check_read(&[("if-match", TAG)], Proceed);
        check_read(&[("if-match", "*")], Proceed);
        check_read(&[("if-match", "abababababababababababababababab")], Proceed);
        check_read(&[("if-match", &format!("\"x\", {TAG}"))], Proceed);
        check_read(&[("if-match", &format!("W/{TAG}"))], Failed("If-Match"));
        check_read(&[("if-match", "\"x\"")], Failed("If-Match"));
        check_read(&[("if-match", "")], Failed("If-Match"));
        check_read(&[("if-none-match", TAG)], NotModified);
        check_read(&[("if-none-match", "*")], NotModified);
        check_read(&[("if-none-match", &format!("\"x\" ,\t W/{TAG}"))], NotModified);
        check_read(&[("if-none-match", "\"x\", \"y,z\"")], Proceed);
        check_read(&[("if-modified-since", MODIFIED)], NotModified);
        check_read(&[("if-modified-since", BEFORE)], Proceed);
        check_read(&[("if-modified-since", "nonsense")], Proceed);
        check_read(&[("if-unmodified-since", MODIFIED)], Proceed);
        check_read(&[("if-unmodified-since", BEFORE)], Failed("If-Unmodified-Since"));
    }

    #[test]
    fn tags_go_before_dates() {
        check_read(&[("if-match", TAG), ("if-unmodified-since", BEFORE)], Outcome::Proceed);
        check_read(
            &[("if-none-match", "\"x\""), ("if-modified-since", MODIFIED)],
            Outcome::Proceed,
        );
        check_read(&[("if-none-match", TAG), ("if-modified-since", BEFORE)], Outcome::NotModified);
        check_read(&[("if-match", "\"x\""), ("if-none-match", TAG)], Outcome::Failed("If-Match"));
    }

    fn check_write(headers: &[(&str, &str)], there: bool, expected: Result<(), ConditionFailure>) {
        let conditions = Conditions::of_write(lookup(headers)).unwrap();
        let current = there.then(object);
        assert_eq!(conditions.judge_write(current.as_ref()), expected, "{headers:?}");
    }

    #[test]
    fn writes_are_judged_against_what_is_there() {
        const FAILED: Result<(), ConditionFailure> = Err(ConditionFailure::PreconditionFailed);
        const ABSENT: Result<(), ConditionFailure> = Err(ConditionFailure::NoSuchKey);
        check_write(&[], true, Ok(()));
        check_write(&[("if-none-match", "*")], false, Ok(()));
        check_write(&[("if-none-match", "*")], true, FAILED);
        check_write(&[("if-none-match", "\"x\"")], true, Ok(()));
        check_write(&[("if-none-match", TAG)], true, FAILED);
        check_write(&[("if-match", TAG)], true, Ok(()));
        check_write(&[("if-match", "\"x\"")], true, FAILED);
        check_write(&[("if-match", TAG)], false, ABSENT);
        check_write(&[("if-match", "*")], false, ABSENT);
        check_write(&[("if-unmodified-since", BEFORE)], true, FAILED);
        check_write(&[("if-modified-since", MODIFIED)], true, Ok(()));
        check_write(&[("x-amz-if-match-size", "5")], true, Ok(()));
        check_write(&[("x-amz-if-match-size", "6")], true, FAILED);
        check_write(&[("x-amz-if-match-size", "5")], false, Ok(()));
        check_write(&[("x-amz-if-match-size", "5"), ("if-match", TAG)], false, ABSENT);
        check_write(&[("x-amz-if-match-last-modified-time", MODIFIED)], false, Ok(()));
        check_write(&[("x-amz-if-match-last-modified-time", MODIFIED)], true, Ok(()));
        check_write(&[("x-amz-if-match-last-modified-time", BEFORE)], true, FAILED);
    }

    #[test]
    fn a_write_without_conditions_gives_the_engine_none() {
        assert!(Conditions::of_write(lookup(&[])).unwrap().into_condition().is_none());
        let condition = Conditions::of_write(lookup(&[("if-none-match", "*")])).unwrap();
        assert!(condition.into_condition().unwrap()(Some(&object())).is_err());
    }

    #[test]
    fn a_copy_source_fails_where_a_read_is_not_modified() {
        let judge = |name, value| {
            let headers = [(name, value)];
            Conditions::of_copy_source(lookup(&headers)).judge_source("copy", &object()).is_ok()
        };
        assert!(judge("x-amz-copy-source-if-match", TAG));
        assert!(!judge("x-amz-copy-source-if-match", "\"x\""));
        assert!(!judge("x-amz-copy-source-if-none-match", TAG));
        assert!(!judge("x-amz-copy-source-if-modified-since", MODIFIED));
        assert!(judge("if-none-match", TAG));
    }

    proptest! {
        #[test]
        fn a_list_is_read_to_its_end_whatever_it_holds(text in "[W/\"*, a\u{e0}]{0,40}") {
            let matches = TagList::parse(&text).matches_weak(object().etag);
            prop_assert!(!matches || text.contains('*'));
            let list = format!("{text},{TAG}");
            let quotes = text.matches('"').count();
            prop_assert!(quotes > 0 || TagList::parse(&list).matches_weak(object().etag));
        }
    }

    #[test]
    fn a_range_applies_only_to_the_same_object() {
        let check = |if_range: Option<&str>, applies| {
            assert_eq!(range_applies(if_range, &object()), applies)
        };
        check(None, true);
        check(Some(TAG), true);
        check(Some("\"x\""), false);
        check(Some(&format!("W/{TAG}")), false);
        check(Some(MODIFIED), true);
        check(Some(BEFORE), false);
    }

    #[test]
    fn tags_of_objects_made_of_parts_end_in_their_number() {
        let etag = Etag { md5: [1; 16], parts: 3 };
        assert_eq!(Quoted(etag).to_string(), "\"01010101010101010101010101010101-3\"");
    }

    #[test]
    fn all_conditions_but_a_star_tell_of_content() {
        let check = |headers: &[(&str, &str)], expected: bool| {
            let found = |name: &str| headers.iter().find(|(header, _)| *header == name);
            let conditions = Conditions::of_write(|name| found(name).map(|(_, value)| *value));
            assert_eq!(conditions.unwrap().tell_of_content(), expected, "{headers:?}");
        };
        check(&[], false);
        check(&[("if-match", "*")], false);
        check(&[("if-none-match", "\"*\"")], false);
        check(&[("if-match", "*"), ("if-none-match", "*")], false);
        check(&[("if-unmodified-since", "nonsense")], false);
        for (name, value) in [
            ("if-match", "\"x\""),
            ("if-none-match", "x"),
            ("if-none-match", ""),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-amz-if-match-size", "3"),
            ("x-amz-if-match-last-modified-time", "1994-11-06T08:49:37Z"),
        ] {
            check(&[(name, value)], true);
            let other = if name == "if-match" { "if-none-match" } else { "if-match" };
            check(&[(name, value), (other, "*")], true);
        }
    }
}
