//! Ranges, conditions and dates of requests, against their rules written plainly.
//!
//! Oracles: RFC 9110, sections 13.1, 13.2.2 and 14.1.2, over what an input says the object is and the headers say.

use crate::chance::Chance;
use crate::reader::Reader;
use engine::{ConditionFailure, Current, Etag, Version};
use s3api::conditional::{Conditions, Outcome, Quoted, Unquoted, range_applies};
use s3api::dates::{HttpDate, parse_http_date, parse_time};
use s3api::range::{resolve, resolve_copy_source};

/// The first eight bytes are the object's size, the rest a header.
pub fn ranges(input: &[u8]) {
    let mut reader = Reader::new(input);
    // Small sizes are met more often.
    let size = reader.u64() >> (reader.u8() % 64);
    let Ok(header) = std::str::from_utf8(reader.rest()) else { return };
    let expected = match spec(header) {
        None => Ok(None),
        Some((None, bytes)) => {
            let bytes = bytes.unwrap_or_default().min(size);
            if bytes == 0 { Err(()) } else { Ok(Some(size - bytes..size)) }
        }
        Some((Some(first), _)) if first >= size => Err(()),
        Some((Some(first), None)) => Ok(Some(first..size)),
        Some((Some(first), Some(last))) => Ok(Some(first..last.min(size - 1) + 1)),
    };
    assert_eq!(resolve(header, size).map_err(drop), expected);
    let expected = match spec(header) {
        Some((Some(first), Some(last))) if last < size => Some(first..last + 1),
        _ => None,
    };
    assert_eq!(resolve_copy_source(header, size).ok(), expected);
}

/// First and last byte, or the length of a suffix as the last one.
fn spec(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let at = header.find('=')?;
    let (unit, set) = (header[..at].trim(), header[at + 1..].trim());
    if unit.to_lowercase() != "bytes" || !unit.is_ascii() || set.contains(',') {
        return None;
    }
    let at = set.find('-')?;
    let number = |text: &str| -> Option<Option<u64>> {
        let text = text.trim();
        if text.is_empty() {
            return Some(None);
        }
        let digits = text.chars().map(|c| c.to_digit(10).map(u128::from));
        // More than any object has is as good as the most.
        let most = u128::from(u64::MAX);
        let number =
            digits.into_iter().try_fold(0u128, |sum, digit| Some((sum * 10 + digit?).min(most)));
        Some(Some(u64::try_from(number?).unwrap_or(u64::MAX)))
    };
    match (number(&set[..at])?, number(&set[at + 1..])?) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        found => Some(found),
    }
}

/// Headers of conditions, of which the input chooses tags and times close to the object's own.
pub fn conditions(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut chance = Chance::of(input);
    let seconds = u64::from(reader.u32());
    let etag = Etag { md5: [reader.u8(); 16], parts: u16::from(reader.u8() % 3) };
    let size = u64::from(reader.u8());
    let version = Version(seconds * 1_000_000_000 + u64::from(reader.u16()));
    let current = Current { version, size, etag, label: 0, is_null: true, is_marker: false };
    let present = reader.u8();
    let if_match = (present & 1 == 1).then(|| Tags::read(&mut reader, &mut chance, etag));
    let if_none_match = (present & 2 == 2).then(|| Tags::read(&mut reader, &mut chance, etag));
    let mut time =
        |bit: u8| (present & bit == bit).then(|| seconds as i64 + i64::from(reader.u8() as i8));
    let (since, unless) = (time(4), time(8));
    let raw = String::from_utf8_lossy(reader.rest()).into_owned();
    let headers = [
        ("if-match", if_match.as_ref().map(|tags| tags.text.clone())),
        ("if-none-match", if_none_match.as_ref().map(|tags| tags.text.clone())),
        ("if-modified-since", since.map(http_date)),
        ("if-unmodified-since", unless.map(http_date)),
    ];
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name)?.1.as_deref();

    let first = match (&if_match, unless) {
        (Some(tags), _) => tags.strong,
        (None, Some(unless)) => seconds as i64 <= unless,
        (None, None) => true,
    };
    let second = match (&if_none_match, since) {
        (Some(tags), _) => !tags.weak,
        (None, Some(since)) => seconds as i64 > since,
        (None, None) => true,
    };
    let found = Conditions::of_read(header).judge_read(&current);
    match (first, second) {
        (false, _) => assert!(matches!(found, Outcome::Failed(_)), "{headers:?}: {found:?}"),
        (true, false) => assert_eq!(found, Outcome::NotModified, "{headers:?}"),
        (true, true) => assert_eq!(found, Outcome::Proceed, "{headers:?}"),
    }
    let write = Conditions::of_write(header).expect("they are well-formed");
    let no_match = if_none_match.as_ref().is_none_or(|tags| !tags.weak);
    assert_eq!(write.judge_write(Some(&current)).is_ok(), first && no_match, "{headers:?}");
    let absent = if if_match.is_some() { Err(ConditionFailure::NoSuchKey) } else { Ok(()) };
    assert_eq!(write.judge_write(None), absent, "{headers:?}");

    // Any text at all: a tag that does not stand there is not matched, and a date is read as it is written.
    let only = |name: &str| (name == "if-match").then_some(raw.as_str());
    let is_any = matches!(raw.trim(), "*" | "\"*\"");
    if !raw.contains(&Unquoted(etag).to_string()) && !is_any {
        let found = Conditions::of_read(only).judge_read(&current);
        assert_eq!(found, Outcome::Failed("If-Match"), "{raw:?}");
        if parse_http_date(&raw).is_none() {
            assert!(!range_applies(Some(&raw), &current), "{raw:?}");
        }
    }
    drop(Conditions::of_delete_entry(Some(&raw), Some(&raw), Some(&raw)));
    if let Some(moment) = parse_http_date(&raw) {
        assert_eq!(parse_http_date(&http_date(moment)), Some(moment), "{raw:?}");
        assert_eq!(parse_time(&raw), Some(moment), "{raw:?}");
    }
}

/// A list of tags, and whether it matches.
struct Tags {
    text: String,
    strong: bool,
    weak: bool,
}

impl Tags {
    fn read(reader: &mut Reader<'_>, chance: &mut Chance, etag: Etag) -> Self {
        let count = reader.u8();
        if count == 0 {
            return Self { text: "*".to_owned(), strong: true, weak: true };
        }
        let (mut text, mut strong, mut weak) = (String::new(), false, false);
        for position in 0..1 + count % 4 {
            let kind = reader.u8();
            if position > 0 {
                text.push_str([",", ", ", " ,\t", ", ,"][chance.below(4)]);
            }
            let (is_own, is_weak) = (kind & 1 == 1, kind & 2 == 2);
            if is_weak {
                text.push_str("W/");
            }
            let other = format!("\"other,{kind}\"");
            let own = Quoted(etag).to_string();
            // Many clients leave out the quotes.
            let own = if kind & 4 == 4 { Unquoted(etag).to_string() } else { own };
            text.push_str(if is_own { &own } else { &other });
            strong |= is_own && !is_weak;
            weak |= is_own;
        }
        Self { text, strong, weak }
    }
}

fn http_date(seconds: i64) -> String {
    HttpDate(seconds).to_string()
}
