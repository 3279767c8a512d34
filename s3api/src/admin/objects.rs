//! `/api/v1/buckets/NAME/objects`: what is in a bucket.
//!
//! `GET objects?prefix=&delimiter=&marker=&limit=` lists a page of the current objects,
//! `GET objects/KEY?version_id=` shows one, `DELETE objects/KEY?version_id=&bypass_governance=true` deletes
//! one, `POST delete-objects {"keys": [...]}` up to 1,000. Deleting is what S3's DELETE by root is: with
//! versioning it makes a delete marker, a lock holds, what is not there counts as deleted.
//!
//! Invariant: a page costs one record read for each of its rows (the type of an object stands there), a
//! bounded number of them at once.

use std::sync::Arc;

use engine::platform::Platform;
use engine::{Bucket, ListItem, ListQuery, ObjectInfo};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::as_root::Order;
use super::management::Management;
use super::present::{self, done};
use crate::attributes::Attributes;
use crate::error::{Code, S3Error};
use crate::limits::{API_READS_AT_ONCE, DELETE_KEYS_MAX, LIST_ROWS_MAX};
use crate::names;
use crate::ops::join;
use crate::versioning::{id_of, which};

/// Rows of a page, unless another number is asked for.
const USUAL_ROWS: usize = 100;
/// What S3 asks of who may bypass governance, and wants to.
const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

/// A page of a bucket's objects, as it is shown.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Value>,
    pub(super) common_prefixes: Vec<String>,
    pub(super) is_truncated: bool,
    /// Behind which the next page begins.
    pub(super) next_marker: Option<String>,
}

pub(super) async fn list<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let text = |name: &str| request.query(name).unwrap_or_default();
    let limit = request.limit(USUAL_ROWS, LIST_ROWS_MAX)?;
    let bucket = store.bucket(bucket)?;
    let query = ListQuery {
        prefix: text("prefix").into(),
        delimiter: text("delimiter").into(),
        after: text("marker").into(),
        limit,
    };
    let page = page(store, &bucket, &query).await?;
    let answer = json!({
        "objects": page.objects,
        "common_prefixes": page.common_prefixes,
        "is_truncated": page.is_truncated,
        "next_marker": page.next_marker,
    });
    Ok(ApiAnswer::json(200, answer))
}

pub(super) async fn first_page<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    limit: usize,
) -> Result<Page> {
    page(store, bucket, &ListQuery { limit, ..ListQuery::default() }).await
}

async fn page<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    query: &ListQuery,
) -> Result<Page> {
    let found = store.engine.list(bucket.id, query).await?;
    let last = found.items.last().filter(|_| found.truncated);
    let mut page = Page {
        is_truncated: found.truncated,
        next_marker: last.map(|item| String::from_utf8_lossy(item.name()).into_owned()),
        ..Page::default()
    };
    for items in found.items.chunks(API_READS_AT_ONCE) {
        for row in join::all(items.iter().map(|item| row(store, bucket, item))).await {
            match row? {
                Row::Object(shown) => page.objects.push(shown),
                Row::Prefix(prefix) => page.common_prefixes.push(prefix),
                Row::Gone => {}
            }
        }
    }
    Ok(page)
}

enum Row {
    Object(Value),
    Prefix(String),
    /// Since the page was listed.
    Gone,
}

async fn row<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    item: &ListItem,
) -> Result<Row> {
    let key = match item {
        ListItem::CommonPrefix(prefix) => {
            return Ok(Row::Prefix(String::from_utf8_lossy(prefix).into_owned()));
        }
        ListItem::Key { key, .. } => key,
    };
    // It may have been overwritten since; it is still there then.
    let reader = store.engine.head(bucket.id, key, engine::Which::Latest).await?;
    let Some(reader) = reader.filter(|reader| !reader.info().current.is_marker) else {
        return Ok(Row::Gone);
    };
    let attributes = Attributes::decode(&reader.info().attributes)?;
    let key = String::from_utf8_lossy(key);
    Ok(Row::Object(present::object(&key, &reader.info().current, &attributes)))
}

pub(super) async fn show<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    key: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    check_key(key)?;
    let which = which(request.query("version_id")).map_err(of_version)?;
    let missing = || ApiAnswer::problem(404, "key: the bucket has no such object");
    let reader = store.engine.head(bucket.id, key.as_bytes(), which).await?;
    let reader = reader.filter(|reader| !reader.info().current.is_marker).ok_or_else(missing)?;
    let place = reader.place();
    let mut shown = describe(key, reader.info())?;
    if let Value::Object(fields) = &mut shown {
        fields.insert("storage_path".into(), place.file.display().to_string().into());
        fields.insert("storage_offset".into(), place.offset.into());
        fields.insert("shard".into(), place.shard.into());
    }
    Ok(ApiAnswer::json(200, shown))
}

/// An object with all that is known of it but its place. Its bytes never change, so that it was updated
/// when it was made.
fn describe(key: &str, info: &ObjectInfo) -> Result<Value> {
    let attributes = Attributes::decode(&info.attributes)?;
    let mut shown = present::object(key, &info.current, &attributes);
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value).into_owned());
    let metadata: Map<String, Value> =
        attributes.user.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let headers: Map<String, Value> = attributes
        .system
        .iter()
        .map(|(header, value)| (header.name().to_ascii_lowercase(), text(value)))
        .collect();
    let tags: Map<String, Value> =
        attributes.tags.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    if let Value::Object(fields) = &mut shown {
        fields.insert("part_count".into(), info.parts.len().into());
        fields.insert("metadata".into(), metadata.into());
        fields.insert("headers".into(), headers.into());
        fields.insert("tags".into(), tags.into());
        fields.insert("version_id".into(), id_of(&info.current).into());
        fields.insert("is_encrypted".into(), attributes.encryption.is_some().into());
        fields.insert("updated_at".into(), present::time(info.current.version.0).into());
    }
    Ok(shown)
}

pub(super) async fn remove<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    key: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    store.bucket(bucket)?;
    check_key(key)?;
    let version_id = request.query("version_id");
    which(version_id).map_err(of_version)?;
    let headers: &[_] = match request.query("bypass_governance") {
        None | Some("false") => &[],
        Some("true") => &[BYPASS],
        Some(_) => {
            let detail = "bypass_governance: it is either true or false";
            return Err(ApiAnswer::problem(400, detail));
        }
    };
    let query: Vec<_> = version_id.iter().map(|id| ("versionId", *id)).collect();
    let answer =
        store.as_root(Order { method: "DELETE", bucket, key, query: &query, headers }).await?;
    let ApiAnswer { status, .. } = done();
    let header = |name| answer.get_header(name).map(|value| String::from_utf8_lossy(value));
    let shown = json!({
        "message": "Operation completed successfully",
        "version_id": header("x-amz-version-id"),
        "is_delete_marker": header("x-amz-delete-marker").is_some(),
    });
    Ok(ApiAnswer::json(status, shown))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<String>,
}

pub(super) async fn remove_many<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    store.bucket(bucket)?;
    let Keys { keys } = request.document()?;
    if !(1..=DELETE_KEYS_MAX).contains(&keys.len()) {
        let detail = format!("keys: there must be 1 to {DELETE_KEYS_MAX}");
        return Err(ApiAnswer::problem(400, detail));
    }
    keys.iter().try_for_each(|key| check_key(key))?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for keys in keys.chunks(API_READS_AT_ONCE) {
        let removals = keys.iter().map(|key| {
            store.as_root(Order { method: "DELETE", bucket, key, query: &[], headers: &[] })
        });
        for (key, result) in keys.iter().zip(join::all(removals).await) {
            match result {
                Ok(_) => deleted.push(key),
                // The bucket went meanwhile, and with it all keys.
                Err(error) if error.code == Code::NoSuchBucket => return Err(error.into()),
                Err(error) => errors.push(json!({
                    "key": key,
                    "code": error.code.name(),
                    "message": error.message,
                })),
            }
        }
    }
    Ok(ApiAnswer::json(200, json!({ "deleted": deleted, "errors": errors })))
}

fn check_key(key: &str) -> Result<()> {
    names::check_key(key)
        .map_err(|error| ApiAnswer::problem(400, format!("key: {}", error.message)))
}

fn of_version(error: S3Error) -> ApiAnswer {
    ApiAnswer::problem(400, format!("version_id: {}", error.message))
}
