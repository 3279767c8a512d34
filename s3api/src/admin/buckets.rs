//! `/api/v1/buckets`: buckets, their owners, what they hold.
//!
//! `GET buckets?prefix=&marker=&limit=` lists a page of them, `POST buckets {"name": ..., "owner_id": ID,
//! "region": ...}` makes one for a credential (0 is root; the region is the server's or left out),
//! `GET buckets/NAME` shows one with its first objects, `DELETE buckets/NAME` takes one away that is empty.
//!
//! Objects and sizes are those of all versions, as the shards count them.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::platform::Platform;
use engine::{Bucket, BucketId, BucketUsage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::as_root::Order;
use super::limits;
use super::management::Management;
use super::objects::{self, Page};
use super::present::{self, done};
use crate::access::authorise::BucketOwner;
use crate::limits::LIST_ROWS_MAX;
use crate::names;
use crate::settings::{BucketSetting, encode};
use crate::system;

/// Who owns what no credential owns.
const ROOT_ID: u64 = 0;
/// Objects that a bucket is shown with.
const FIRST_OBJECTS: usize = 100;

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBucket {
    name: String,
    owner_id: u64,
    region: Option<String>,
}

pub(super) async fn list<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let limit = request.limit(LIST_ROWS_MAX, LIST_ROWS_MAX)?;
    let prefix = request.query("prefix").unwrap_or_default();
    let marker = request.query("marker").unwrap_or_default();
    store.engine.require_catalog()?;
    let catalog = store.engine.catalog();
    let mut rest = catalog
        .buckets()
        .filter(|bucket| !system::is_entry(&bucket.name))
        .filter(|bucket| bucket.name.starts_with(prefix) && bucket.name.as_str() > marker);
    let page: Vec<Arc<Bucket>> = rest.by_ref().take(limit).cloned().collect();
    let is_truncated = rest.next().is_some();
    let next = page.last().filter(|_| is_truncated).map(|bucket| bucket.name.clone());
    let shown = describe_all(store, &page).await?;
    let answer = json!({ "buckets": shown, "is_truncated": is_truncated, "next_marker": next });
    Ok(ApiAnswer::json(200, answer))
}

/// Buckets without their objects.
pub(super) async fn describe_all<P: Platform>(
    store: &Management<'_, P>,
    buckets: &[Arc<Bucket>],
) -> Result<Vec<Value>> {
    let mut shown = Vec::with_capacity(buckets.len());
    for page in buckets.chunks(LIST_ROWS_MAX) {
        let ids: Vec<BucketId> = page.iter().map(|bucket| bucket.id).collect();
        let usages = store.engine.bucket_usages(&ids).await?;
        for (bucket, usage) in page.iter().zip(usages) {
            let owner = store.owner_name(bucket)?;
            shown.push(present::bucket(bucket, &owner, store.region, usage));
        }
    }
    Ok(shown)
}

pub(super) async fn create<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let order: NewBucket = request.document()?;
    names::check_bucket_name(&order.name)
        .map_err(|error| ApiAnswer::problem(400, format!("name: {}", error.message)))?;
    if order.region.as_ref().is_some_and(|region| region != store.region) {
        let detail = format!("region: this server is `{}` and no other", store.region);
        return Err(ApiAnswer::problem(400, detail));
    }
    // The owner must not go while they are given a bucket.
    let _changing = store.services.user_changes.begin()?;
    let (owner, settings) = owner_settings(store, order.owner_id)?;
    match store.engine.create_bucket(&order.name, settings).await {
        Ok(bucket) => {
            let empty = BucketUsage::default();
            let mut shown = present::bucket(&bucket, &owner, store.region, empty);
            show_objects(&mut shown, Page::default());
            Ok(ApiAnswer::json(201, shown))
        }
        Err(engine::Error::BucketExists) => {
            Err(ApiAnswer::problem(409, "name: there is a bucket of this name"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The owner's name, and what says in a bucket that it is theirs.
fn owner_settings<P: Platform>(
    store: &Management<'_, P>,
    id: u64,
) -> Result<(String, BTreeMap<u16, Vec<u8>>)> {
    if id == ROOT_ID {
        return Ok((store.owner.display_name.clone(), BTreeMap::new()));
    }
    let mut users = store.users().all()?.into_iter();
    let user = users
        .find(|user| user.number == id)
        .ok_or_else(|| ApiAnswer::problem(400, "owner_id: there is no credential of this id"))?;
    let owner = &user.owner;
    let setting = BucketOwner { id: owner.id.clone(), access_key: owner.access_key.clone() };
    let settings = BTreeMap::from([(BucketOwner::TAG, encode(&setting)?)]);
    Ok((owner.display_name.clone(), settings))
}

pub(super) async fn show<P: Platform>(store: &Management<'_, P>, name: &str) -> Result<ApiAnswer> {
    let bucket = store.bucket(name)?;
    let owner = store.owner_name(&bucket)?;
    let usage = store.engine.bucket_usage(bucket.id).await?;
    let traffic = store.services.settings.get(&bucket)?;
    let page = objects::first_page(store, &bucket, FIRST_OBJECTS).await?;
    let mut shown = present::bucket(&bucket, &owner, store.region, usage);
    if let Value::Object(fields) = &mut shown {
        fields.insert("delete_marker_count".into(), usage.markers.into());
        fields.insert("upload_count".into(), usage.uploads.into());
        fields.insert("limits".into(), limits::present(traffic.as_deref()));
    }
    show_objects(&mut shown, page);
    Ok(ApiAnswer::json(200, shown))
}

fn show_objects(shown: &mut Value, page: Page) {
    if let Value::Object(fields) = shown {
        fields.insert("objects".into(), page.objects.into());
        fields.insert("is_truncated".into(), page.is_truncated.into());
        fields.insert("next_marker".into(), page.next_marker.into());
    }
}

pub(super) async fn remove<P: Platform>(
    store: &Management<'_, P>,
    name: &str,
) -> Result<ApiAnswer> {
    store.bucket(name)?;
    let order = Order { method: "DELETE", bucket: name, key: "", query: &[], headers: &[] };
    store.as_root(order).await?;
    Ok(done())
}
