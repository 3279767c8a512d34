//! Listing: one shard's walk by prefix, delimiter and place, and the merge of all shards' walks.
//!
//! Every shard is asked for a slice; the slices are merged in byte order; only a shard whose slice is
//! used up while it has more is asked again. A walk jumps past each common prefix, and past older versions
//! of a key; what it must step over one by one (keys whose latest version is a delete marker) is bounded for
//! each time that a shard is asked, so that no core is held up by it.
//!
//! Rows that a page leaves out are the caller's to ask for with `after`. A common prefix equal to
//! `after` was given by the page before and is not given again.

use crate::engine::{Engine, page_limit};
use crate::error::Result;
use crate::index_key::{self, PREFIX_BYTES, successor};
use crate::limits::LIST_STEPS_MAX;
use crate::platform::Platform;
use crate::request::{Reply, Request, mismatched};
use crate::shard::Shard;
use crate::state::{FLAG_MARKER, current_of};
use crate::types::{
    BucketId, ListItem, ListPage, ListQuery, UploadId, UploadInfo, UploadItem, UploadsPage,
    UploadsQuery, Version, VersionItem, VersionsPage, VersionsQuery,
};
use crate::wait::join_all;
use std::collections::VecDeque;

/// Rows that each shard is asked for beyond its even share of a page.
const SLICE_SLACK: usize = 16;

/// So many older versions of a key are stepped over one by one before the walk jumps behind all of them.
const OLDER_STEPS_MAX: usize = 3;
/// What a jump costs, in steps.
const JUMP_STEPS: usize = 8;

/// Where a listing of versions goes on: behind this version of this key, or behind all that have its name.
pub(crate) type VersionMark = (Vec<u8>, Option<Version>);

/// The same of a listing of uploads: behind this upload of this key, or behind all of them.
pub(crate) type UploadMark = (Vec<u8>, Option<UploadId>);

/// What one shard gives of a page.
#[derive(Debug)]
pub(crate) struct Slice<T, M> {
    items: VecDeque<T>,
    /// The shard may have more behind this.
    resume: Option<M>,
}

impl<T, M> Default for Slice<T, M> {
    fn default() -> Self {
        Self { items: VecDeque::new(), resume: None }
    }
}

/// Where the first key behind `after` stands, and behind its versions; or the prefix, if that comes later.
fn start_behind(bucket: BucketId, prefix: &[u8], after: &[u8]) -> Vec<u8> {
    if after.is_empty() || after < prefix {
        return index_key::object(bucket, prefix);
    }
    let mut start = index_key::object(bucket, after);
    start.push(0);
    start
}

impl<P: Platform> Shard<P> {
    /// A slice of a page; it ends early when the walk has come across much that does not count.
    pub(crate) fn list(&self, bucket: BucketId, query: &ListQuery) -> Slice<ListItem, Vec<u8>> {
        let state = self.state.borrow();
        let start = start_behind(bucket, &query.prefix, &query.after);
        let mut cursor = state.index.seek(&start, u64::MAX);
        let scope = index_key::object(bucket, &query.prefix);
        let mut slice = Slice::default();
        let mut last_key: Vec<u8> = Vec::new();
        let (mut steps, mut older) = (0, 0);
        while let Some((index_key, version, entry)) = cursor.next() {
            if !index_key.starts_with(&scope) {
                break;
            }
            let key = &index_key[PREFIX_BYTES..];
            steps += 1;
            // Older versions stand behind the newest.
            if key == last_key {
                older += 1;
                if older == OLDER_STEPS_MAX {
                    steps += JUMP_STEPS;
                    let behind = start_behind(bucket, b"", &last_key);
                    cursor.seek(&behind, u64::MAX);
                }
                continue;
            }
            let is_marker = entry.flags & FLAG_MARKER != 0;
            let common = match is_marker {
                true => None,
                false => common_prefix(key, &query.prefix, &query.delimiter),
            };
            if !is_marker && common.is_none_or(|common| common != query.after) {
                if slice.items.len() == query.limit {
                    slice.resume = slice.items.back().map(|item: &ListItem| item.name().to_vec());
                    break;
                }
                slice.items.push_back(match common {
                    Some(common) => ListItem::CommonPrefix(common.to_vec()),
                    None => {
                        ListItem::Key { key: key.to_vec(), current: current_of(version, &entry) }
                    }
                });
            }
            if steps >= LIST_STEPS_MAX {
                slice.resume = Some(common.unwrap_or(key).to_vec());
                break;
            }
            match common.map(successor) {
                Some(Some(next)) => {
                    steps += JUMP_STEPS;
                    cursor.seek(&index_key::object(bucket, &next), u64::MAX);
                }
                // Nothing can follow a prefix of 0xFF bytes.
                Some(None) => break,
                None => {
                    older = 0;
                    last_key.clear();
                    last_key.extend_from_slice(key);
                }
            }
        }
        slice
    }

    pub(crate) fn list_versions(
        &self,
        bucket: BucketId,
        query: &VersionsQuery,
    ) -> Slice<VersionItem, VersionMark> {
        let state = self.state.borrow();
        let older_than = query.after_version.filter(|_| query.after >= query.prefix);
        let mut cursor = match older_than.and_then(|Version(version)| version.checked_sub(1)) {
            Some(version) => state.index.seek(&index_key::object(bucket, &query.after), version),
            None => {
                let start = start_behind(bucket, &query.prefix, &query.after);
                state.index.seek(&start, u64::MAX)
            }
        };
        let scope = index_key::object(bucket, &query.prefix);
        let mut slice = Slice::default();
        let mut last_key: Vec<u8> = Vec::new();
        while let Some((index_key, version, entry)) = cursor.next() {
            if !index_key.starts_with(&scope) {
                break;
            }
            let key = &index_key[PREFIX_BYTES..];
            let common = common_prefix(key, &query.prefix, &query.delimiter);
            if common.is_none_or(|common| common != query.after) {
                if slice.items.len() == query.limit {
                    slice.resume = slice.items.back().map(version_mark);
                    break;
                }
                slice.items.push_back(match common {
                    Some(common) => VersionItem::CommonPrefix(common.to_vec()),
                    None => {
                        // Newer ones may stand before the place where the walk began.
                        let is_latest = key != last_key
                            && (key != query.after
                                || state.index.latest(index_key).is_some_and(|it| it.0 == version));
                        let current = current_of(version, &entry);
                        VersionItem::Version { key: key.to_vec(), current, is_latest }
                    }
                });
            }
            match common.map(successor) {
                Some(Some(next)) => cursor.seek(&index_key::object(bucket, &next), u64::MAX),
                Some(None) => break,
                None if key != last_key => {
                    last_key.clear();
                    last_key.extend_from_slice(key);
                }
                None => {}
            }
        }
        slice
    }

    /// A slice of a page. The walk over the uploads of one key is not bounded, what is kept of it is.
    pub(crate) fn list_uploads(
        &self,
        bucket: BucketId,
        query: &UploadsQuery,
    ) -> Slice<UploadItem, UploadMark> {
        let state = self.state.borrow();
        let start = query.prefix.as_slice().max(&query.after);
        let mut cursor = state.index.seek(&index_key::upload(bucket, start), u64::MAX);
        let scope = index_key::upload(bucket, &query.prefix);
        let mut slice = Slice::default();
        let items = &mut slice.items;
        // The uploads of one key stand newest first and are given oldest first.
        let mut of_key: VecDeque<UploadInfo> = VecDeque::new();
        while let Some((index_key, version, _)) = cursor.next() {
            if !index_key.starts_with(&scope) {
                break;
            }
            let key = &index_key[PREFIX_BYTES..];
            if of_key.front().is_some_and(|upload| upload.key != key) {
                items.extend(of_key.drain(..).rev().map(UploadItem::Upload));
            }
            if items.len() > query.limit {
                break;
            }
            if key < query.after.as_slice() {
                continue;
            }
            if key == query.after && !query.after.is_empty() {
                let later = query.after_id.is_some_and(|after| version > after.0);
                if !later {
                    continue;
                }
            }
            match common_prefix(key, &query.prefix, &query.delimiter) {
                Some(common) => {
                    if common != query.after {
                        items.push_back(UploadItem::CommonPrefix(common.to_vec()));
                    }
                    let Some(next) = successor(common) else {
                        break;
                    };
                    cursor.seek(&index_key::upload(bucket, &next), u64::MAX);
                }
                None => {
                    if of_key.len() > query.limit {
                        of_key.pop_front();
                    }
                    let id = UploadId(version);
                    of_key.push_back(UploadInfo { key: key.to_vec(), id, attributes: Vec::new() });
                }
            }
        }
        items.extend(of_key.drain(..).rev().map(UploadItem::Upload));
        if items.len() > query.limit {
            items.truncate(query.limit);
            slice.resume = slice.items.back().map(upload_mark);
        }
        slice
    }
}

/// The part of a key up to and with the first delimiter behind the prefix.
fn common_prefix<'k>(key: &'k [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'k [u8]> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.get(prefix.len()..)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The place behind a row.
fn version_mark(item: &VersionItem) -> VersionMark {
    match item {
        VersionItem::Version { key, current, .. } => (key.clone(), Some(current.version)),
        VersionItem::CommonPrefix(prefix) => (prefix.clone(), None),
    }
}

fn upload_mark(item: &UploadItem) -> UploadMark {
    match item {
        UploadItem::Upload(upload) => (upload.key.clone(), Some(upload.id)),
        UploadItem::CommonPrefix(prefix) => (prefix.clone(), None),
    }
}

pub(crate) async fn merge<P: Platform>(
    engine: &Engine<P>,
    shards: u16,
    bucket: BucketId,
    query: &ListQuery,
) -> Result<ListPage> {
    let (limit, slice_limit) = limits(query.limit, shards);
    let ask = async |shard: u16, after: Vec<u8>| {
        let query = ListQuery { after, limit: slice_limit, ..query.clone() };
        match engine.ask(shard, Request::List { bucket, query }).await? {
            Reply::Page(slice) => Ok(slice),
            _ => Err(mismatched()),
        }
    };
    let begin = query.after.clone();
    let (items, truncated) = merge_slices(shards, limit, begin, ask, ListItem::name).await?;
    Ok(ListPage { items, truncated })
}

pub(crate) async fn merge_versions<P: Platform>(
    engine: &Engine<P>,
    shards: u16,
    bucket: BucketId,
    query: &VersionsQuery,
) -> Result<VersionsPage> {
    let (limit, slice_limit) = limits(query.limit, shards);
    let ask = async |shard: u16, (after, after_version): VersionMark| {
        let query = VersionsQuery { after, after_version, limit: slice_limit, ..query.clone() };
        match engine.ask(shard, Request::ListVersions { bucket, query }).await? {
            Reply::Versions(slice) => Ok(slice),
            _ => Err(mismatched()),
        }
    };
    let begin = (query.after.clone(), query.after_version);
    let (items, truncated) = merge_slices(shards, limit, begin, ask, VersionItem::name).await?;
    Ok(VersionsPage { items, truncated })
}

/// Rows of a page, and of what each shard is asked for at once.
fn limits(limit: usize, shards: u16) -> (usize, usize) {
    let limit = page_limit(limit);
    let share = limit.div_ceil(usize::from(shards)) + SLICE_SLACK;
    (limit, share.min(limit + 1))
}

/// Merges the slices of all shards into a page; says whether more rows follow it.
async fn merge_slices<T: PartialEq, M: Clone>(
    shards: u16,
    limit: usize,
    begin: M,
    ask: impl AsyncFn(u16, M) -> Result<Slice<T, M>>,
    name: impl Fn(&T) -> &[u8] + Copy,
) -> Result<(Vec<T>, bool)> {
    // A slice may hold nothing although more follows.
    let ask = async |shard: u16, mark: M| {
        let mut slice = ask(shard, mark).await?;
        while slice.items.is_empty()
            && let Some(mark) = slice.resume.take()
        {
            slice = ask(shard, mark).await?;
        }
        Ok(slice)
    };
    let first = join_all((0..shards).map(|shard| ask(shard, begin.clone()))).await;
    let mut slices = first.into_iter().collect::<Result<Vec<_>>>()?;
    let mut items: Vec<T> = Vec::new();
    while let Some(at) = smallest(&slices, name) {
        let Some(item) = slices[at].items.pop_front() else {
            break;
        };
        if slices[at].items.is_empty()
            && let Some(mark) = slices[at].resume.take()
        {
            slices[at] = ask(at as u16, mark).await?;
        }
        // Several shards may hold keys of one common prefix.
        if items.last() == Some(&item) {
            continue;
        }
        if items.len() == limit {
            return Ok((items, limit > 0));
        }
        items.push(item);
    }
    Ok((items, false))
}

pub(crate) async fn merge_uploads<P: Platform>(
    engine: &Engine<P>,
    shards: u16,
    bucket: BucketId,
    query: &UploadsQuery,
) -> Result<UploadsPage> {
    let (limit, slice_limit) = limits(query.limit, shards);
    let ask = async |shard: u16, (after, after_id): UploadMark| {
        let query = UploadsQuery { after, after_id, limit: slice_limit, ..query.clone() };
        match engine.ask(shard, Request::ListUploads { bucket, query }).await? {
            Reply::Uploads(slice) => Ok(slice),
            _ => Err(mismatched()),
        }
    };
    let begin = (query.after.clone(), query.after_id);
    let (items, truncated) = merge_slices(shards, limit, begin, ask, UploadItem::name).await?;
    Ok(UploadsPage { items, truncated })
}

/// Which slice begins with the smallest row.
fn smallest<T, M>(slices: &[Slice<T, M>], name: impl Fn(&T) -> &[u8]) -> Option<usize> {
    let heads =
        slices.iter().enumerate().filter_map(|(at, slice)| Some((slice.items.front()?, at)));
    heads.min_by(|(a, _), (b, _)| name(a).cmp(name(b))).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefixes_end_with_the_first_delimiter_behind_the_prefix() {
        let check = |key: &str, prefix: &str, delimiter: &str, expected: Option<&str>| {
            let found = common_prefix(key.as_bytes(), prefix.as_bytes(), delimiter.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{key} {prefix} {delimiter}");
        };
        check("a/b/c", "", "/", Some("a/"));
        check("a/b/c", "a/", "/", Some("a/b/"));
        check("a/b/c", "a/b/c", "/", None);
        check("a/b/c", "a", "/", Some("a/"));
        check("abc", "", "", None);
        check("a--b--c", "a", "--", Some("a--"));
        check("a-b--c", "", "--", Some("a-b--"));
    }
}
