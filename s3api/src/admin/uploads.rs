//! `/api/v1/buckets/NAME/uploads`: multipart uploads under way.
//!
//! `GET uploads?prefix=&marker=&upload_id_marker=&limit=` lists a page of them, with what was uploaded so
//! far, `DELETE uploads/ID?key=` aborts one. An upload is shown as begun by the owner that its object
//! would have.

use std::collections::HashMap;
use std::sync::Arc;

use engine::platform::Platform;
use engine::{Bucket, UploadId, UploadInfo, UploadItem, UploadsQuery};
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::as_root::Order;
use super::management::Management;
use super::present::{self, done};
use crate::attributes::Attributes;
use crate::limits::{API_READS_AT_ONCE, LIST_ROWS_MAX};
use crate::ops::{join, upload_id};

/// Rows of a page, unless another number is asked for.
const USUAL_ROWS: usize = 100;

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

pub(super) async fn list<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let text = |name: &str| request.query(name).unwrap_or_default();
    let limit = request.limit(USUAL_ROWS, LIST_ROWS_MAX)?;
    let bucket = store.bucket(bucket)?;
    let query = UploadsQuery {
        prefix: text("prefix").into(),
        after: text("marker").into(),
        after_id: id_marker(request)?,
        limit,
        ..UploadsQuery::default()
    };
    let page = store.engine.list_uploads(bucket.id, &query).await?;
    let names = owner_names(store)?;
    let mut uploads = Vec::with_capacity(page.items.len());
    for items in page.items.chunks(API_READS_AT_ONCE) {
        let rows = items.iter().filter_map(|item| match item {
            UploadItem::Upload(upload) => Some(row(store, &bucket, &names, upload)),
            UploadItem::CommonPrefix(_) => None,
        });
        for row in join::all(rows).await {
            uploads.extend(row?);
        }
    }
    let last = match page.items.last() {
        Some(UploadItem::Upload(upload)) if page.truncated => Some(upload),
        _ => None,
    };
    let answer = json!({
        "uploads": uploads,
        "is_truncated": page.truncated,
        "next_marker": last.map(|upload| String::from_utf8_lossy(&upload.key)),
        "next_upload_id_marker": last.map(|upload| upload_id::encode(upload.id)),
    });
    Ok(ApiAnswer::json(200, answer))
}

/// The upload of the marker's key behind which the page begins.
fn id_marker(request: &ApiRequest) -> Result<Option<UploadId>> {
    let Some(text) = request.query("upload_id_marker") else { return Ok(None) };
    match upload_id::decode(text) {
        Some(id) if request.query("marker").is_some() => Ok(Some(id)),
        Some(_) => Err(ApiAnswer::problem(400, "upload_id_marker: it goes with a marker")),
        None => Err(ApiAnswer::problem(400, "upload_id_marker: it is the id of no upload")),
    }
}

/// None of an upload that has ended since.
async fn row<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    names: &HashMap<String, String>,
    upload: &UploadInfo,
) -> Result<Option<Value>> {
    let found = async {
        let info = store.engine.upload(bucket.id, &upload.key, upload.id).await?;
        let parts = store.engine.count_parts(bucket.id, &upload.key, upload.id, 0).await?;
        Ok((info, parts))
    };
    let (info, parts) = match found.await {
        Ok(found) => found,
        Err(engine::Error::NoSuchUpload) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let attributes = Attributes::decode(&info.attributes)?;
    Ok(Some(json!({
        "upload_id": upload_id::encode(upload.id),
        "object_key": String::from_utf8_lossy(&upload.key),
        "initiated_by": initiator(store, bucket, names, &attributes)?,
        "content_type": present::content_type(&attributes),
        // An upload's id is the time at which it began.
        "initiated_at": present::time(upload.id.0),
        "part_count": parts.count,
        "total_size": parts.bytes,
        "total_size_human": present::human_size(parts.bytes),
    })))
}

fn initiator<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    names: &HashMap<String, String>,
    attributes: &Attributes,
) -> Result<String> {
    let Some(id) = &attributes.owner else { return store.owner_name(bucket) };
    Ok(names.get(id).unwrap_or(id).clone())
}

/// The name of everybody, by canonical id: looked up once for a page.
fn owner_names<P: Platform>(store: &Management<'_, P>) -> Result<HashMap<String, String>> {
    let users = store.users().all()?;
    let owners = users.iter().map(|user| &user.owner).chain([store.owner]);
    Ok(owners.map(|owner| (owner.id.clone(), owner.display_name.clone())).collect())
}

pub(super) async fn abort<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    id: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    store.bucket(bucket)?;
    let key = request.query("key").filter(|key| !key.is_empty()).ok_or_else(|| {
        ApiAnswer::problem(400, "key: say in the query which object the upload is of")
    })?;
    let query = [("uploadId", id)];
    store.as_root(Order { method: "DELETE", bucket, key, query: &query, headers: &[] }).await?;
    Ok(done())
}
