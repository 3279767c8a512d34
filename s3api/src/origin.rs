//! A bucket as the origin of a content delivery network: what caches are told of its objects, and the secret
//! by which a cache is known.
//!
//! - A default `Cache-Control` for objects that say nothing of their freshness themselves, in answers that are not
//!   for the bearer of a link, a version's id or a key alone.
//! - Surrogate keys (cache tags): names under which a cache files an answer, so that it can be purged by them.
//!   Each object has its bucket's and its own ([`object_key`]); more come from its user metadata.
//! - A secret in a header, which lets who has no access key read objects (`access::origin`).
//!
//! Invariants: nothing that comes from metadata reaches a header but visible ASCII without commas, in keys of
//! bounded length; of a secret only its digest is kept, so that it can neither be shown nor logged; secrets are
//! compared in constant time. A bucket without this setting costs a read one look into its settings.
//!
//! Not here: who sets it (`admin::origin`), and what purges caches (`workers::notify::purge`).

use crate::limits::{
    CACHE_CONTROL_BYTES_MAX, ORIGIN_HEADER_BYTES_MAX, ORIGIN_SECRET_BYTES, ORIGIN_SECRETS_MAX,
    SURROGATE_KEY_BYTES_MAX, SURROGATE_OBJECT_KEY_BYTES_MAX, USER_METADATA_BYTES_MAX,
};
use crate::percent;
use crate::settings::{BucketSetting, tag};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The user metadata that holds an object's surrogate keys, unless another is named.
pub const DEFAULT_KEY_METADATA: &str = "surrogate-key";

const SHA256_BYTES: usize = 32;

// Metadata and the two keys that are made here fit into what Fastly reads of the header, 16 KiB.
const _: () = assert!(USER_METADATA_BYTES_MAX + SURROGATE_OBJECT_KEY_BYTES_MAX + 64 < 16 << 10);

/// What is set of a bucket; at least one thing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// For objects that have neither `Cache-Control` nor `Expires`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// The headers in which surrogate keys are sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_headers: Vec<KeyHeader>,
    /// The user metadata with an object's own keys, without `x-amz-meta-`, in lower case.
    pub key_metadata: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

impl BucketSetting for Origin {
    const TAG: u16 = tag::ORIGIN;
}

/// A header that tells caches an answer's surrogate keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyHeader {
    /// Separated by spaces: Fastly, and Varnish with its xkey module.
    #[serde(rename = "Surrogate-Key")]
    SurrogateKey,
    /// Separated by commas: Cloudflare, CloudFront.
    #[serde(rename = "Cache-Tag")]
    CacheTag,
}

impl KeyHeader {
    pub fn name(self) -> &'static str {
        match self {
            Self::SurrogateKey => "Surrogate-Key",
            Self::CacheTag => "Cache-Tag",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        [Self::SurrogateKey, Self::CacheTag]
            .into_iter()
            .find(|header| header.name().eq_ignore_ascii_case(name))
    }

    fn separator(self) -> &'static str {
        match self {
            Self::SurrogateKey => " ",
            Self::CacheTag => ",",
        }
    }
}

/// The header by which a cache shows that it may read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// In lower case.
    pub header: String,
    /// SHA-256 of each secret that is good, in hex; two while one takes the other's place.
    pub digests: Vec<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Secret {
    /// Secrets must be checked by [`check_secrets`] before.
    pub fn new(header: &str, secrets: &[String]) -> Self {
        let digests = secrets.iter().map(|secret| hex::encode(digest(secret.as_bytes()))).collect();
        Self { header: header.to_ascii_lowercase(), digests }
    }

    /// Whether this is one of the secrets. How long it takes tells nothing of them.
    pub fn is_shown_by(&self, value: &[u8]) -> bool {
        let shown = digest(value);
        let mut is_one = Choice::from(0);
        for kept in &self.digests {
            let mut bytes = [0; SHA256_BYTES];
            if hex::decode_to_slice(kept, &mut bytes).is_ok() {
                is_one |= bytes.ct_eq(&shown);
            }
        }
        is_one.into()
    }
}

fn digest(bytes: &[u8]) -> [u8; SHA256_BYTES] {
    Sha256::digest(bytes).into()
}

impl Origin {
    /// The headers that tell caches an object's surrogate keys. `user`: its user metadata.
    pub fn key_headers<'a>(
        &'a self,
        bucket: &str,
        key: &str,
        user: &[(&str, &[u8])],
    ) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
        let mut keys = Vec::new();
        if !self.key_headers.is_empty() {
            keys = vec![bucket.to_owned(), object_key(bucket, key)];
            let values = user.iter().filter(|(name, _)| *name == self.key_metadata);
            for own in values.flat_map(|(_, value)| keys_of(value)) {
                if !keys.iter().any(|known| known == own) {
                    keys.push(own.to_owned());
                }
            }
        }
        self.key_headers.iter().map(move |header| (header.name(), keys.join(header.separator())))
    }
}

/// The surrogate key under which caches find one object: `BUCKET/KEY`, percent-encoded. A longer one than every
/// cache takes is that of its digest, `BUCKET/sha256-HEX`.
pub fn object_key(bucket: &str, key: &str) -> String {
    let whole = format!("{bucket}/{}", percent::encode(key));
    if whole.len() <= SURROGATE_OBJECT_KEY_BYTES_MAX {
        return whole;
    }
    format!("{bucket}/sha256-{}", hex::encode(digest(key.as_bytes())))
}

/// The keys that a value of metadata names, separated by spaces or commas. What could not stand in a header,
/// or is longer than caches take, is none.
fn keys_of(value: &[u8]) -> impl Iterator<Item = &str> {
    value
        .split(|byte| byte.is_ascii_whitespace() || *byte == b',')
        .filter(|key| (1..=SURROGATE_KEY_BYTES_MAX).contains(&key.len()))
        .filter(|key| key.iter().all(u8::is_ascii_graphic))
        .filter_map(|key| std::str::from_utf8(key).ok())
}

/// Whether a value of `Cache-Control` is one (RFC 9111 section 5.2): directives with commas between, whose
/// times are numbers of seconds. No directive holds a comma here.
///
/// # Errors
/// Why not.
pub fn check_cache_control(value: &str) -> Result<(), String> {
    if value.len() > CACHE_CONTROL_BYTES_MAX {
        return Err(format!("it has more than {CACHE_CONTROL_BYTES_MAX} bytes"));
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("it may hold visible ASCII characters and spaces only".to_owned());
    }
    for directive in value.split(',').map(str::trim) {
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (directive, None),
        };
        if !is_token(name) {
            return Err(format!("{directive:?} is not a directive"));
        }
        let is_time = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"]
            .iter()
            .any(|timed| timed.eq_ignore_ascii_case(name));
        let is_seconds = |text: &str| text.parse::<u32>().is_ok();
        let is_good = match argument {
            Some(seconds) if is_time => is_seconds(seconds),
            None => !is_time,
            Some(other) => is_token(other) || is_quoted(other),
        };
        if !is_good {
            let wants = if is_time { "wants a number of seconds" } else { "has no such value" };
            return Err(format!("the directive {name} {wants}"));
        }
    }
    Ok(())
}

fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains(['"', '\\']))
}

/// Whether a text is a token (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a name can be that of user metadata, without `x-amz-meta-`.
///
/// # Errors
/// Why not.
pub fn check_key_metadata(name: &str) -> Result<(), String> {
    if !is_token(name) || name.len() > ORIGIN_HEADER_BYTES_MAX {
        return Err(format!(
            "a name of user metadata is wanted, without x-amz-meta-, of up to {ORIGIN_HEADER_BYTES_MAX} bytes"
        ));
    }
    if name.to_ascii_lowercase().starts_with("x-amz-") {
        return Err("x-amz-meta- is left out here".to_owned());
    }
    Ok(())
}

/// Whether a header can carry the secret. Such as mean something else to S3 or to HTTP cannot, and neither can
/// those that proxies write over.
///
/// # Errors
/// Why not.
pub fn check_secret_header(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let is_of_proxies = lower.starts_with("x-forwarded") || lower == "x-real-ip";
    let is_free = lower.starts_with("x-") && lower.len() > 2 && !lower.starts_with("x-amz-");
    if is_of_proxies {
        return Err("proxies write their own into it: another header is wanted".to_owned());
    }
    if is_free && is_token(name) && name.len() <= ORIGIN_HEADER_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "a header's name is wanted that begins with x- and not with x-amz-, of up to {ORIGIN_HEADER_BYTES_MAX} bytes"
    ))
}

/// Whether these can be secrets. No complaint holds one.
///
/// # Errors
/// Why not.
pub fn check_secrets(secrets: &[String]) -> Result<(), String> {
    if !(1..=ORIGIN_SECRETS_MAX).contains(&secrets.len()) {
        return Err(format!("from 1 to {ORIGIN_SECRETS_MAX} secrets are wanted"));
    }
    let is_secret = |secret: &String| {
        ORIGIN_SECRET_BYTES.contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secrets.iter().all(is_secret) {
        return Ok(());
    }
    let (least, most) = (ORIGIN_SECRET_BYTES.start(), ORIGIN_SECRET_BYTES.end());
    Err(format!("a secret has from {least} to {most} visible ASCII characters and no spaces"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn origin(headers: &[KeyHeader]) -> Origin {
        Origin {
            key_headers: headers.to_vec(),
            key_metadata: DEFAULT_KEY_METADATA.to_owned(),
            ..Origin::default()
        }
    }

    fn check_keys(key: &str, metadata: &[u8], expected: &str) {
        let user = [("other", b"no".as_slice()), (DEFAULT_KEY_METADATA, metadata)];
        let both = origin(&[KeyHeader::SurrogateKey, KeyHeader::CacheTag]);
        let headers: Vec<_> = both.key_headers("photos", key, &user).collect();
        let [(fastly, by_spaces), (cloudflare, by_commas)] = headers.as_slice() else {
            panic!("{headers:?}")
        };
        assert_eq!((*fastly, *cloudflare), ("Surrogate-Key", "Cache-Tag"));
        assert_eq!(by_spaces, expected);
        assert_eq!(by_commas, &expected.replace(' ', ","));
    }

    #[test]
    fn an_object_has_keys_of_its_bucket_its_own_and_its_metadata() {
        check_keys("a.jpg", b"", "photos photos/a.jpg");
        check_keys("a.jpg", b"sale,  news/1 sale", "photos photos/a.jpg sale news/1");
        check_keys("a b,\u{fc}", b"photos", "photos photos/a%20b%2C%C3%BC");
        assert_eq!(origin(&[]).key_headers("photos", "k", &[]).count(), 0);
    }

    #[test]
    fn nothing_in_metadata_makes_another_header_or_key_than_it_may() {
        check_keys("k", b"a\r\nSet-Cookie: b=c", "photos photos/k a Set-Cookie: b=c");
        check_keys("k", b"a\0b \x7f caf\xc3\xa9 d", "photos photos/k d");
        let long = "x".repeat(SURROGATE_KEY_BYTES_MAX);
        check_keys("k", format!("{long} {long}x").as_bytes(), &format!("photos photos/k {long}"));
    }

    #[test]
    fn a_long_key_is_found_by_its_digest() {
        let longest = "k".repeat(SURROGATE_OBJECT_KEY_BYTES_MAX - 2);
        assert_eq!(object_key("b", &longest), format!("b/{longest}"));
        let other = object_key("b", &format!("{longest}k"));
        assert!(other.starts_with("b/sha256-") && other.len() == 9 + 2 * SHA256_BYTES, "{other}");
        assert_ne!(other, object_key("b", &format!("{longest}l")));
    }

    #[test]
    fn cache_control_is_checked_by_directive() {
        for good in [
            "public, max-age=60",
            "s-maxage=86400,stale-while-revalidate=30 , immutable",
            "private=\"set-cookie\"",
            "no-store",
        ] {
            assert_eq!(check_cache_control(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("", "not a directive"),
            ("max-age", "max-age wants a number"),
            ("public, max-age=soon", "max-age wants a number"),
            ("public,,x", "not a directive"),
            ("public\r\nx: y", "visible ASCII"),
            ("private=\"a\"b\"", "no such value"),
            (&"x".repeat(CACHE_CONTROL_BYTES_MAX + 1), "more than"),
        ] {
            let said = check_cache_control(bad).unwrap_err();
            assert!(said.contains(says), "{bad:?}: {said}");
        }
    }

    #[test]
    fn one_of_two_secrets_is_enough_and_none_is_kept() {
        let (first, second) = ("a-first-long-secret", "the-second-long-one");
        let secret = Secret::new("X-Origin-Secret", &[first.to_owned(), second.to_owned()]);
        assert!(secret.is_shown_by(first.as_bytes()) && secret.is_shown_by(second.as_bytes()));
        for other in ["", "a-first-long-secre", "A-first-long-secret"] {
            assert!(!secret.is_shown_by(other.as_bytes()), "{other}");
        }
        let kept = serde_json::to_string(&secret).unwrap();
        assert!(!kept.contains("long") && kept.contains("x-origin-secret"), "{kept}");
        assert!(!format!("{secret:?}").contains(&secret.digests[0]));
        assert!(!Secret::new("x-a", &[]).is_shown_by(b""));
    }

    #[test]
    fn names_and_secrets_that_cannot_be_are_refused() {
        for name in ["x-origin-secret", "X-CDN"] {
            assert_eq!(check_secret_header(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "x-",
            "authorization",
            "x-amz-meta-a",
            "x a",
            "x-\u{fc}",
            "x-a:",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "x-real-ip",
        ] {
            assert!(check_secret_header(name).is_err(), "{name}");
        }
        for name in ["", "a b", "x-amz-meta-surrogate-key", "a\n"] {
            assert!(check_key_metadata(name).is_err(), "{name}");
        }
        assert_eq!(check_key_metadata("Tags"), Ok(()));
        let secret = || "0123456789abcdef".to_owned();
        assert_eq!(check_secrets(&[secret(), secret()]), Ok(()));
        for bad in [vec![], vec!["short".to_owned()], vec![secret() + " "], vec![secret(); 3]] {
            let said = check_secrets(&bad).unwrap_err();
            assert!(!said.contains("0123456789"), "{said}");
        }
    }
}
