//! Listing: one shard's walk by prefix, delimiter and place, and the merge of all shards' walks.
//!
//! Every shard is asked for a slice; the slices are merged in byte order; only a shard whose slice is
//! used up while it has more is asked again. A walk jumps past each common prefix.
//!
//! Rows that a page leaves out are the caller's to ask for with `after`. A common prefix equal to
//! `after` was given by the page before and is not given again.

use crate::engine::{Engine, page_limit};
use crate::error::Result;
use crate::index_key::{self, PREFIX_BYTES, successor};
use crate::platform::Platform;
use crate::request::{Reply, Request, mismatched};
use crate::shard::Shard;
use crate::state::current_of;
use crate::types::{
    BucketId, ListItem, ListPage, ListQuery, UploadId, UploadInfo, UploadItem, UploadsPage,
    UploadsQuery,
};
use crate::wait::join_all;
use std::collections::VecDeque;

/// Rows that each shard is asked for beyond its even share of a page.
const SLICE_SLACK: usize = 16;

impl<P: Platform> Shard<P> {
    pub(crate) fn list(&self, bucket: BucketId, query: &ListQuery) -> ListPage {
        let state = self.state.borrow();
        let start = query.prefix.as_slice().max(&query.after);
        let mut cursor = state.index.seek(&index_key::object(bucket, start), u64::MAX);
        let scope = index_key::object(bucket, &query.prefix);
        let mut page = ListPage::default();
        let mut last_key: Vec<u8> = Vec::new();
        while let Some((index_key, version, entry)) = cursor.next() {
            if !index_key.starts_with(&scope) {
                break;
            }
            let key = &index_key[PREFIX_BYTES..];
            // Older versions stand behind the newest; `after` itself was given before.
            if (!query.after.is_empty() && key <= query.after.as_slice()) || key == last_key {
                continue;
            }
            let common = common_prefix(key, &query.prefix, &query.delimiter);
            if common.is_none_or(|common| common != query.after) {
                if page.items.len() == query.limit {
                    page.truncated = true;
                    break;
                }
                page.items.push(match common {
                    Some(common) => ListItem::CommonPrefix(common.to_vec()),
                    None => {
                        ListItem::Key { key: key.to_vec(), current: current_of(version, &entry) }
                    }
                });
            }
            match common.map(successor) {
                Some(Some(next)) => cursor.seek(&index_key::object(bucket, &next), u64::MAX),
                // Nothing can follow a prefix of 0xFF bytes.
                Some(None) => break,
                None => {
                    last_key.clear();
                    last_key.extend_from_slice(key);
                }
            }
        }
        page
    }

    pub(crate) fn list_uploads(&self, bucket: BucketId, query: &UploadsQuery) -> UploadsPage {
        let state = self.state.borrow();
        let start = query.prefix.as_slice().max(&query.after);
        let mut cursor = state.index.seek(&index_key::upload(bucket, start), u64::MAX);
        let scope = index_key::upload(bucket, &query.prefix);
        let mut page = UploadsPage::default();
        // The uploads of one key stand newest first and are given oldest first.
        let mut of_key: Vec<UploadInfo> = Vec::new();
        while let Some((index_key, version, _)) = cursor.next() {
            if !index_key.starts_with(&scope) {
                break;
            }
            let key = &index_key[PREFIX_BYTES..];
            if of_key.first().is_some_and(|upload| upload.key != key) {
                page.items.extend(of_key.drain(..).rev().map(UploadItem::Upload));
            }
            if page.items.len() > query.limit {
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
                        page.items.push(UploadItem::CommonPrefix(common.to_vec()));
                    }
                    let Some(next) = successor(common) else {
                        break;
                    };
                    cursor.seek(&index_key::upload(bucket, &next), u64::MAX);
                }
                None => of_key.push(UploadInfo {
                    key: key.to_vec(),
                    id: UploadId(version),
                    attributes: Vec::new(),
                }),
            }
        }
        page.items.extend(of_key.drain(..).rev().map(UploadItem::Upload));
        page.truncated = page.items.len() > query.limit;
        page.items.truncate(query.limit);
        page
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

/// What one shard has given and not yet lost to the page.
struct Slice<T> {
    items: VecDeque<T>,
    /// The shard has more behind these.
    more: bool,
}

pub(crate) async fn merge<P: Platform>(
    engine: &Engine<P>,
    shards: u16,
    bucket: BucketId,
    query: &ListQuery,
) -> Result<ListPage> {
    let limit = page_limit(query.limit);
    let share = limit.div_ceil(usize::from(shards)) + SLICE_SLACK;
    let slice_limit = share.min(limit + 1);
    let ask = async |shard: u16, after: Vec<u8>| -> Result<Slice<ListItem>> {
        let query = ListQuery { after, limit: slice_limit, ..query.clone() };
        match engine.ask(shard, Request::List { bucket, query }).await? {
            Reply::Page(page) => Ok(Slice { items: page.items.into(), more: page.truncated }),
            _ => Err(mismatched()),
        }
    };
    let first = join_all((0..shards).map(|shard| ask(shard, query.after.clone()))).await;
    let mut slices = first.into_iter().collect::<Result<Vec<_>>>()?;
    let mut page = ListPage::default();
    while let Some(at) = smallest(&slices, ListItem::name) {
        let Some(item) = slices[at].items.pop_front() else {
            break;
        };
        if slices[at].items.is_empty() && slices[at].more {
            slices[at] = ask(at as u16, item.name().to_vec()).await?;
        }
        // Several shards may hold keys of one common prefix.
        if page.items.last() == Some(&item) {
            continue;
        }
        if page.items.len() == limit {
            page.truncated = true;
            break;
        }
        page.items.push(item);
    }
    if limit == 0 {
        page.truncated = false;
    }
    Ok(page)
}

pub(crate) async fn merge_uploads<P: Platform>(
    engine: &Engine<P>,
    shards: u16,
    bucket: BucketId,
    query: &UploadsQuery,
) -> Result<UploadsPage> {
    let limit = page_limit(query.limit);
    // Uploads are few: every shard gives a whole page.
    let query = UploadsQuery { limit: limit + 1, ..query.clone() };
    let asked = (0..shards)
        .map(|shard| engine.ask(shard, Request::ListUploads { bucket, query: query.clone() }));
    let mut items = Vec::new();
    for reply in join_all(asked).await {
        match reply? {
            Reply::Uploads(page) => items.extend(page.items),
            _ => return Err(mismatched()),
        }
    }
    items.sort_by(|a, b| upload_order(a).cmp(&upload_order(b)));
    items.dedup();
    let truncated = items.len() > limit && limit > 0;
    items.truncate(limit);
    Ok(UploadsPage { items, truncated })
}

fn upload_order(item: &UploadItem) -> (&[u8], u64) {
    match item {
        UploadItem::Upload(upload) => (&upload.key, upload.id.0),
        UploadItem::CommonPrefix(prefix) => (prefix, 0),
    }
}

/// Which slice begins with the smallest row.
fn smallest<T>(slices: &[Slice<T>], name: impl Fn(&T) -> &[u8]) -> Option<usize> {
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
