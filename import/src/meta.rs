//! What an object is besides its bytes: the headers that are copied and compared, size, ETag, checksum.
//!
//! Copied are the system metadata that a client chose, user metadata and tags. Not copied: ACLs, storage
//! class, object locks, encryption; they are the target's business.

use std::collections::BTreeMap;

use ureq::http::HeaderMap;

use crate::checksum::{Algorithm, Checksum, is_md5, parts_of};
use crate::client::text_of;
use crate::error::Failure;

const SYSTEM: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
const USER: &str = "x-amz-meta-";

/// What a server says where no content type was given.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// The answer to a HEAD, or the head of the answer to a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    /// Without quotes; empty if there is none.
    pub etag: String,
    pub version: Option<String>,
    /// What is copied, by names in lower case.
    pub headers: BTreeMap<String, String>,
    /// None: the endpoint does not say.
    pub tag_count: Option<u64>,
    pub checksum: Option<Checksum>,
    /// The ETag is not made of MD5s: encrypted with keys that only the endpoint or the customer has.
    pub is_opaque: bool,
    /// Of an object that was asked for by the number of a part.
    pub part_count: Option<u64>,
}

impl Head {
    /// `size`: of the whole object, where the answer is of a part.
    pub fn read(headers: &HeaderMap, size: Option<u64>) -> Result<Self, Failure> {
        let get = |name: &str| headers.get(name).and_then(text_of);
        let number = |name: &str| get(name).and_then(|text| text.trim().parse().ok());
        let size = size.or_else(|| number("content-length"));
        let size = size.ok_or_else(|| Failure::Local("an answer without a length".into()))?;
        let encryption = get("x-amz-server-side-encryption").unwrap_or_default();
        let of_customer = headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
        let of_type = get("x-amz-checksum-type");
        let checksum = Algorithm::ALL
            .into_iter()
            .find_map(|algorithm| Checksum::parse(algorithm, get(algorithm.header())?, of_type));
        Ok(Self {
            size,
            etag: get("etag").unwrap_or_default().trim_matches('"').to_owned(),
            version: get("x-amz-version-id").map(str::to_owned),
            headers: copied(headers)?,
            tag_count: number("x-amz-tagging-count"),
            checksum,
            is_opaque: encryption.starts_with("aws:kms") || of_customer,
            part_count: number("x-amz-mp-parts-count"),
        })
    }

    /// The MD5 that the bytes must have.
    pub fn md5(&self) -> Option<&str> {
        (!self.is_opaque && is_md5(&self.etag)).then_some(&self.etag)
    }

    /// Whether it has a checksum of its bytes in their order, which stays the same whatever its parts are.
    pub fn has_checksum_of_bytes(&self) -> bool {
        let of_bytes = |sum: &Checksum| !sum.is_composite && !sum.algorithm.is_composite();
        self.checksum.as_ref().is_some_and(of_bytes)
    }

    /// Of how many parts its ETag is made.
    pub fn parts(&self) -> Option<u64> {
        parts_of(&self.etag).filter(|_| !self.is_opaque)
    }

    /// Whether its ETag follows from its bytes and the boundaries of its parts.
    pub fn has_plain_etag(&self) -> bool {
        self.md5().is_some() || self.parts().is_some()
    }
}

fn copied(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        if !SYSTEM.contains(&name) && !name.starts_with(USER) {
            continue;
        }
        let value = text_of(value);
        let value = value.ok_or_else(|| Failure::Local(format!("{name} is not UTF-8")))?;
        // No other blanks belong to HTTP.
        let value = value.trim_matches([' ', '\t']);
        let value =
            if name == "content-encoding" { content_encoding(value) } else { value.to_owned() };
        if name.starts_with(USER) || !value.is_empty() {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

/// Some servers keep the framing of an upload as if it were a coding.
fn content_encoding(value: &str) -> String {
    let codings = value.split(',').map(|coding| coding.trim_matches([' ', '\t']));
    let kept: Vec<&str> =
        codings.filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked")).collect();
    kept.join(",")
}

/// What differs, in words; empty if nothing does.
pub fn differences(
    source: &BTreeMap<String, String>,
    target: &BTreeMap<String, String>,
) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = source.keys().chain(target.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (theirs, ours) = (source.get(name), target.get(name));
        let is_default = |value: Option<&String>| {
            name == "content-type" && value.is_none_or(|value| value == DEFAULT_TYPE)
        };
        if theirs != ours && !(is_default(theirs) && is_default(ours)) {
            let show =
                |value: Option<&String>| value.map_or("absent".to_owned(), |v| format!("{v:?}"));
            found.push(format!("{name} is {} and was {}", show(ours), show(theirs)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn head(pairs: &[(&str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Head::read(&headers, None).unwrap()
    }

    const MD5: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";

    #[test]
    fn heads_hold_what_is_copied_and_nothing_else() {
        let head = head(&[
            ("content-length", "5"),
            ("etag", MD5),
            ("content-encoding", "aws-chunked, gzip"),
            ("x-amz-meta-name", "Jürgen"),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-tagging-count", "2"),
        ]);
        assert_eq!(head.size, 5);
        assert_eq!(head.headers["content-encoding"], "gzip");
        assert_eq!(head.headers["x-amz-meta-name"], "Jürgen");
        assert_eq!(head.headers.len(), 2);
        assert_eq!((head.tag_count, head.md5().is_some()), (Some(2), true));
    }

    #[test]
    fn etags_of_encrypted_objects_say_nothing_of_their_bytes() {
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ] {
            let head = head(&[("content-length", "0"), ("etag", MD5), (name, value)]);
            assert!(!head.has_plain_etag(), "{name}");
        }
        let pairs =
            [("content-length", "0"), ("etag", MD5), ("x-amz-server-side-encryption", "AES256")];
        assert!(head(&pairs).has_plain_etag());
    }

    #[test]
    fn differences_are_told_and_defaults_are_none() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let bare = map(&[]);
        assert!(differences(&bare, &map(&[("content-type", DEFAULT_TYPE)])).is_empty());
        assert_eq!(differences(&map(&[("content-type", "text/css")]), &bare).len(), 1);
        let told = differences(&map(&[("x-amz-meta-a", "1")]), &map(&[("x-amz-meta-a", "2")]));
        assert_eq!(told, ["x-amz-meta-a is \"2\" and was \"1\""]);
    }
}
