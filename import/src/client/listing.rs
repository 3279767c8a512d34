//! Listings, page by page: of objects and of versions, as one stream of keys in their order.
//!
//! Invariants: keys come in the order of their bytes, which everything that compares two listings stands on:
//! an endpoint that lists otherwise is told of, not guessed at. One page and the versions of one key are in
//! memory. Keys are asked for URL-encoded, so that those that XML cannot hold arrive.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::xml::Element;
use super::{Client, Request, percent};
use crate::error::Failure;
use crate::limits::{PAGE_ENTRIES, VERSIONS_MAX};

/// One version of an object, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// None where versions are not asked for.
    pub id: Option<String>,
    pub is_marker: bool,
    pub is_latest: bool,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified: String,
}

impl Version {
    /// As it is asked for: the object of a bucket without versions by its key alone, for not every endpoint
    /// knows it as `null`.
    pub fn asked(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !(self.is_latest && *id == "null"))
    }
}

/// A key with what is to be copied of it: the oldest version first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub versions: Vec<Version>,
    /// The endpoint does not tell in which order.
    pub is_ambiguous: bool,
}

impl Item {
    pub fn bytes(&self) -> u64 {
        self.versions.iter().fold(0, |sum, version| sum.saturating_add(version.size))
    }
}

pub type Items<'a> = Box<dyn Iterator<Item = Result<Item, Failure>> + Send + 'a>;

/// What of a bucket is listed.
#[derive(Debug, Clone)]
pub struct Scope {
    pub bucket: String,
    pub prefix: String,
    /// Only keys behind this one.
    pub after: Option<String>,
    pub versions: bool,
}

/// The keys of a bucket.
pub fn list(client: &Client, scope: Scope) -> Items<'_> {
    Box::new(Listing {
        client,
        last: scope.after.clone(),
        scope,
        ready: VecDeque::new(),
        open: Vec::new(),
        is_grouped: false,
        next: Some(Next::default()),
    })
}

/// Where the next page begins.
#[derive(Debug, Clone, Default)]
struct Next {
    token: Option<String>,
    key_marker: Option<String>,
    version_marker: Option<String>,
}

#[derive(Debug)]
struct Listing<'a> {
    client: &'a Client,
    scope: Scope,
    ready: VecDeque<Item>,
    /// Versions of the last key of the page, which the next page may go on with; newest first.
    open: Vec<(String, Version)>,
    /// It lists all versions of a page before all markers.
    is_grouped: bool,
    /// The last key that was given out.
    last: Option<String>,
    /// None: there is no further page.
    next: Option<Next>,
}

impl Iterator for Listing<'_> {
    type Item = Result<Item, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let next = self.next.take()?;
            if let Err(failure) = self.load(&next) {
                self.next = None;
                return Some(Err(failure));
            }
        }
        let item = self.ready.pop_front()?;
        if self.last.as_ref().is_some_and(|last| *last >= item.key) {
            self.next = None;
            self.ready.clear();
            let reason = format!("it lists {:?} behind {:?}", item.key, self.last);
            return Some(Err(self.client.odd(reason)));
        }
        self.last = Some(item.key.clone());
        Some(Ok(item))
    }
}

impl Listing<'_> {
    fn load(&mut self, next: &Next) -> Result<(), Failure> {
        let request = Request::new("GET", &self.scope.bucket, "")
            .query("encoding-type", "url")
            .query("max-keys", PAGE_ENTRIES.to_string())
            .query("prefix", &self.scope.prefix);
        if self.scope.versions {
            self.load_versions(request, next)
        } else {
            self.load_objects(request, next)
        }
    }

    fn load_objects(&mut self, request: Request, next: &Next) -> Result<(), Failure> {
        let mut request = request.query("list-type", "2");
        match (&next.token, &self.scope.after) {
            (Some(token), _) => request = request.query("continuation-token", token),
            (None, Some(after)) => request = request.query("start-after", after),
            (None, None) => {}
        }
        let page = self.client.send_for_xml(&request, b"", "ListBucketResult")?;
        for entry in page.all("Contents") {
            let (key, version) = self.entry(&page, entry)?;
            self.ready.push_back(Item { key, versions: vec![version], is_ambiguous: false });
        }
        if page.text_of("IsTruncated") == "true" {
            let token = page.text_of("NextContinuationToken");
            if token.is_empty() || next.token.as_deref() == Some(token) {
                return Err(self.client.odd("a cut listing does not say how to go on"));
            }
            self.next = Some(Next { token: Some(token.to_owned()), ..Next::default() });
        }
        Ok(())
    }

    fn load_versions(&mut self, request: Request, next: &Next) -> Result<(), Failure> {
        let mut request = request.query("versions", "");
        if let Some(marker) = next.key_marker.as_ref().or(self.scope.after.as_ref()) {
            request = request.query("key-marker", marker);
        }
        if let Some(marker) = &next.version_marker {
            request = request.query("version-id-marker", marker);
        }
        let page = self.client.send_for_xml(&request, b"", "ListVersionsResult")?;
        let mut entries = std::mem::take(&mut self.open);
        let of_page = entries.len();
        for entry in &page.children {
            if matches!(entry.name.as_str(), "Version" | "DeleteMarker") {
                entries.push(self.entry(&page, entry)?);
            }
        }
        self.is_grouped |= !entries.is_sorted_by_key(|(key, _)| key);
        let is_cut = page.text_of("IsTruncated") == "true";
        if is_cut {
            let going_on = Next {
                token: None,
                key_marker: Some(decoded(&page, page.text_of("NextKeyMarker"), self.client)?),
                version_marker: Some(page.text_of("NextVersionIdMarker").to_owned())
                    .filter(|marker| !marker.is_empty()),
            };
            if entries.len() == of_page || going_on.key_marker.as_deref() == Some("") {
                return Err(self.client.odd("a cut listing of versions does not go on"));
            }
            self.next = Some(going_on);
        }
        self.group(entries, is_cut)
    }

    /// Versions of one key stand together, also where markers are listed behind all versions of a page.
    fn group(&mut self, mut entries: Vec<(String, Version)>, is_cut: bool) -> Result<(), Failure> {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        if is_cut && let Some(last) = entries.last().map(|(key, _)| key.clone()) {
            let from = entries.partition_point(|(key, _)| *key < last);
            self.open = entries.split_off(from);
            if self.open.len() > VERSIONS_MAX {
                let reason = format!("{last:?} has more than {VERSIONS_MAX} versions");
                return Err(Failure::Local(reason));
            }
        }
        // A listing that begins behind a key may repeat it.
        let after = self.scope.after.clone();
        entries.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        let mut entries = entries.into_iter().peekable();
        while let Some((key, version)) = entries.next() {
            let mut versions = vec![version];
            while let Some((_, more)) = entries.next_if(|(other, _)| *other == key) {
                versions.push(more);
            }
            let (versions, is_ambiguous) = oldest_first(versions, self.is_grouped);
            self.ready.push_back(Item { key, versions, is_ambiguous });
        }
        Ok(())
    }

    fn entry(&self, page: &Element, entry: &Element) -> Result<(String, Version), Failure> {
        let key = decoded(page, entry.text_of("Key"), self.client)?;
        let is_marker = entry.name == "DeleteMarker";
        let size = entry.text_of("Size").parse();
        let size =
            if is_marker { 0 } else { size.map_err(|_| self.client.odd("an entry without size"))? };
        let version = Version {
            id: self.scope.versions.then(|| entry.text_of("VersionId").to_owned()),
            is_marker,
            is_latest: entry.text_of("IsLatest") == "true",
            size,
            etag: entry.text_of("ETag").trim_matches('"').to_owned(),
            modified: entry.text_of("LastModified").to_owned(),
        };
        Ok((key, version))
    }
}

/// The order of a listing, newest first, counts. Where markers are listed apart, times do, which are of
/// seconds: whether they leave a marker's place open is told too.
fn oldest_first(mut versions: Vec<Version>, is_grouped: bool) -> (Vec<Version>, bool) {
    let mut is_ambiguous = false;
    if is_grouped || versions.iter().skip(1).any(|version| version.is_latest) {
        let newest_first =
            |version: &Version| Reverse((version.is_latest, version.modified.clone()));
        versions.sort_by_key(newest_first);
        is_ambiguous = versions.windows(2).any(|two| {
            let (a, b) = (&two[0], &two[1]);
            !a.is_latest && a.modified == b.modified && a.is_marker != b.is_marker
        });
    }
    versions.reverse();
    (versions, is_ambiguous)
}

fn decoded(page: &Element, text: &str, client: &Client) -> Result<String, Failure> {
    if page.text_of("EncodingType") != "url" {
        return Ok(text.to_owned());
    }
    percent::decode(text).ok_or_else(|| client.odd(format!("the key {text:?} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `m` marks a delete marker, `!` the latest; the number is its time.
    fn version(text: &str) -> Version {
        Version {
            id: Some(text.into()),
            is_marker: text.starts_with('m'),
            is_latest: text.ends_with('!'),
            size: 1,
            etag: String::new(),
            modified: text.chars().filter(char::is_ascii_digit).collect(),
        }
    }

    fn check(listed: &str, is_grouped: bool, expected: &str, ambiguous: bool) {
        let versions = listed.split(' ').map(version).collect();
        let (versions, is_ambiguous) = oldest_first(versions, is_grouped);
        let ids: Vec<String> = versions.into_iter().filter_map(|version| version.id).collect();
        assert_eq!((ids.join(" ").as_str(), is_ambiguous), (expected, ambiguous), "{listed}");
    }

    #[test]
    fn the_order_of_the_listing_counts_whatever_the_times() {
        check("va1! mb1 vc1", false, "vc1 mb1 va1!", false);
        check("v1! v3 v2", false, "v2 v3 v1!", false);
    }

    #[test]
    fn markers_listed_behind_versions_find_their_place_by_time() {
        check("v4! v1 m3 m2", true, "v1 m2 m3 v4!", false);
        check("v1 m1!", true, "v1 m1!", false);
        check("v1 m1!", false, "v1 m1!", false);
    }

    #[test]
    fn what_times_leave_open_is_told() {
        check("v2! v1 m1", true, "m1 v1 v2!", true);
        check("v2! va1 vb1 m0", true, "m0 vb1 va1 v2!", false);
    }
}
