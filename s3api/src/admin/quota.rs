//! `/api/v1/buckets/NAME/quota`: how much a bucket may hold.
//!
//! `GET quota` shows it with what is used, `PUT quota {"max_bytes": N, "max_objects": N}` sets it (what is left
//! out is not bounded), `DELETE quota` takes it away. What is there stays, though it be more.
//!
//! Not here: how writes are judged by it (`crate::quota`).

use std::sync::Arc;

use engine::Bucket;
use engine::platform::Platform;
use serde::Deserialize;
use serde_json::json;

use super::api::{ApiAnswer, ApiRequest};
use super::management::Management;
use super::present::done;
use crate::quota::Quota;
use crate::settings;

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    max_bytes: Option<u64>,
    max_objects: Option<u64>,
}

pub(super) async fn show<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    let quota = store.services.settings.get::<Quota>(&bucket)?;
    answer(store, &bucket, quota.as_deref()).await
}

async fn answer<P: Platform>(
    store: &Management<'_, P>,
    bucket: &Arc<Bucket>,
    quota: Option<&Quota>,
) -> Result<ApiAnswer> {
    let usage = store.engine.bucket_usage(bucket.id).await?;
    let shown = json!({
        "max_bytes": quota.and_then(|quota| quota.max_bytes),
        "max_objects": quota.and_then(|quota| quota.max_objects),
        "used_bytes": usage.bytes,
        "used_objects": usage.objects,
    });
    Ok(ApiAnswer::json(200, shown))
}

pub(super) async fn put<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let Order { max_bytes, max_objects } = request.document()?;
    if max_bytes.is_none() && max_objects.is_none() {
        let detail = "max_bytes, max_objects: give one of them or both, or DELETE the quota";
        return Err(ApiAnswer::problem(400, detail));
    }
    let bucket = store.bucket(bucket)?;
    let quota = Quota { max_bytes, max_objects };
    settings::put(store.engine, &bucket, &quota).await?;
    answer(store, &bucket, Some(&quota)).await
}

pub(super) async fn remove<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    settings::remove::<P, Quota>(store.engine, &bucket).await?;
    Ok(done())
}
